//! Who a simulated user is: names, incarnations and message ids, all computed from the
//! run and the user's index, so that none of them is stored a million times.

pub use crate::source::CONNECTIONS_PER_ADDRESS;

/// Length of every user name, bytes: as long as a UUID in text.
pub const NAME_BYTES: usize = 36;

/// `load-`, the run in hexadecimal, `-`.
const PREFIX_BYTES: usize = 22;

/// A new run's users must find empty mailboxes, so its number is part of every name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    run: u64,
    prefix: [u8; PREFIX_BYTES],
}

/// One name, without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII digits and letters")
    }
}

impl Names {
    /// Names of run `run`.
    pub fn new(run: u64) -> Self {
        let text = format!("load-{run:016x}-");
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(text.as_bytes());
        Self { run, prefix }
    }

    /// The run's number.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Name of the user with this index.
    pub fn name(&self, index: u32) -> Name {
        let mut name = [b'0'; NAME_BYTES];
        name[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        let mut rest = index;
        for digit in name[PREFIX_BYTES..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Name(name)
    }

    /// Index of the user with this name; `None` if no user of this run has it.
    pub fn index(&self, name: &str) -> Option<u32> {
        let digits = name.as_bytes().strip_prefix(&self.prefix)?;
        if digits.len() != NAME_BYTES - PREFIX_BYTES {
            return None;
        }
        let mut index = 0u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            index = index * 10 + u64::from(digit - b'0');
        }
        u32::try_from(index).ok()
    }

    /// Incarnation of a user's outbox: the same for the whole run, never 0.
    pub fn incarnation(&self, index: u32) -> u64 {
        mix(self.run ^ mix(u64::from(index))) | 1
    }

    /// Message id of a user's request.
    pub fn uuid(&self, index: u32, client_seq: u64) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&mix(self.incarnation(index) ^ client_seq).to_le_bytes());
        uuid[8..].copy_from_slice(&mix(client_seq ^ u64::from(index) << 32).to_le_bytes());
        uuid
    }
}

/// SplitMix64's finaliser: spreads every bit of the input over the output.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_index_and_no_other_name_does() {
        let names = Names::new(0xabcd);
        for index in [0, 7, 1_999_999, u32::MAX] {
            let name = names.name(index);
            assert_eq!(name.as_str().len(), NAME_BYTES);
            assert_eq!(names.index(name.as_str()), Some(index));
            assert_eq!(Names::new(1).index(name.as_str()), None);
        }
        assert_eq!(names.index("load-000000000000abcd-0000000000000x"), None);
        assert_eq!(names.index("load-000000000000abcd-"), None);
    }
}
