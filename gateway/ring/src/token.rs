//! What the kernel carries for us: `user_data` = operation 8 bit, generation 24, slot 32.
//!
//! A descriptor number would not do: it may already belong to the next connection when a late
//! completion arrives. The generation tells the two apart.

/// Kind of operation, as far as the owner of a token must tell completions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // named after the methods of `Ring`
pub enum Operation {
    Accept = 1,
    Connect = 2,
    Receive = 3,
    Watch = 4,
    Send = 5,
    Cancel = 6,
    Close = 7,
    Pass = 8,
    Arrive = 9,
    Write = 10,
    Sync = 11,
    Read = 12,
    Wake = 13,
}

impl Operation {
    const ALL: [Self; 13] = [
        Self::Accept,
        Self::Connect,
        Self::Receive,
        Self::Watch,
        Self::Send,
        Self::Cancel,
        Self::Close,
        Self::Pass,
        Self::Arrive,
        Self::Write,
        Self::Sync,
        Self::Read,
        Self::Wake,
    ];
}

/// Names one operation in flight: what it is, whose it is, and which life of that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Kind of operation.
    pub operation: Operation,
    /// Life of the slot, 24 bits.
    pub generation: u32,
    /// Owner's slot.
    pub slot: u32,
}

/// Generations count modulo this.
pub const GENERATIONS: u32 = 1 << 24;

impl Token {
    /// A token; `generation` is taken modulo [`GENERATIONS`].
    pub const fn new(operation: Operation, slot: u32, generation: u32) -> Self {
        Self { operation, generation: generation % GENERATIONS, slot }
    }

    /// As the kernel's 64-bit `user_data`.
    pub const fn to_u64(self) -> u64 {
        (self.operation as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64
    }

    /// Back from `user_data`; `None` if no operation has that number.
    pub fn from_u64(raw: u64) -> Option<Self> {
        let operation = (raw >> 56) as u8;
        let operation = *Operation::ALL.get(usize::from(operation).checked_sub(1)?)?;
        let generation = (raw >> 32) as u32 % GENERATIONS;
        Some(Self { operation, generation, slot: raw as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        for operation in Operation::ALL {
            for (slot, generation) in [(0, 0), (u32::MAX, GENERATIONS - 1), (7, 0x00ab_cdef)] {
                let token = Token::new(operation, slot, generation);
                assert_eq!(Token::from_u64(token.to_u64()), Some(token));
            }
        }
    }

    #[test]
    fn foreign_user_data_is_no_token() {
        assert_eq!(Token::from_u64(0), None);
        assert_eq!(Token::from_u64(u64::MAX), None);
    }
}
