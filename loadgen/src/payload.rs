//! The body of a generated message: it says what it is, so that a receiver can judge it alone.
//!
//! ```text
//! | crc u32 | run u64 | sender u32 | recipient u32 | counter u32 | lag_us u32 | intended_us u56 | hop u8 | filler |
//! ```
//!
//! Little-endian; `crc` is CRC-32C of all that follows it, filler included. A repeat has the very
//! same bytes: all of them follow from the fields. 56 bits of microseconds are 2,284 years.

/// Bytes of the fields: the shortest body.
pub const PAYLOAD_BYTES_MIN: usize = 36;

/// Longest body: any server takes it.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024;

/// Set in [`Payload::recipient`]: the other bits are the number of a group, not of a user. Runs have
/// far fewer users than this.
pub const GROUP: u32 = 1 << 31;

/// Bits of the intended time that are carried.
const INTENDED_BITS: u32 = 56;

/// The fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Run.
    pub run: u64,
    /// Index of the sending connection.
    pub sender: u32,
    /// Index of the receiving user, or of a group with [`GROUP`].
    pub recipient: u32,
    /// Number of the message from this sender to this recipient, from 0.
    pub counter: u32,
    /// First sent so long after the intended time, microseconds, saturating.
    pub lag_us: u32,
    /// Intended time, microseconds of the machine's monotonic clock.
    pub intended_us: u64,
    /// Messages of the conversation before this one, each the answer to the one before it.
    pub hop: u8,
}

impl Payload {
    /// Writes a body of `bytes` bytes.
    ///
    /// # Panics
    /// If `bytes` is below [`PAYLOAD_BYTES_MIN`]; arguments are checked before a run.
    pub fn write(&self, bytes: usize, body: &mut Vec<u8>) {
        assert!(bytes >= PAYLOAD_BYTES_MIN);
        body.clear();
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&self.run.to_le_bytes());
        body.extend_from_slice(&self.sender.to_le_bytes());
        body.extend_from_slice(&self.recipient.to_le_bytes());
        body.extend_from_slice(&self.counter.to_le_bytes());
        body.extend_from_slice(&self.lag_us.to_le_bytes());
        debug_assert!(self.intended_us >> INTENDED_BITS == 0);
        let last = self.intended_us | u64::from(self.hop) << INTENDED_BITS;
        body.extend_from_slice(&last.to_le_bytes());
        let first = self.counter as u8;
        body.extend((PAYLOAD_BYTES_MIN..bytes).map(|at| first.wrapping_add(at as u8)));
        let crc = crc32c::crc32c(&body[4..]);
        body[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a body; `None` if it is damaged or none of ours.
    pub fn read(body: &[u8]) -> Option<Self> {
        let (fields, _) = body.split_first_chunk::<PAYLOAD_BYTES_MIN>()?;
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| fields[at + i]));
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(0) != crc32c::crc32c(&body[4..]) {
            return None;
        }
        Some(Self {
            run: long(4),
            sender: word(12),
            recipient: word(16),
            counter: word(20),
            lag_us: word(24),
            intended_us: long(28) & ((1 << INTENDED_BITS) - 1),
            hop: (long(28) >> INTENDED_BITS) as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Payload = Payload {
        run: 1 << 60,
        sender: 2,
        recipient: 3 | GROUP,
        counter: 4,
        lag_us: 5,
        intended_us: (1 << 56) - 6,
        hop: 7,
    };

    #[test]
    fn body_of_every_length_reads_back() {
        let mut body = Vec::new();
        for bytes in [PAYLOAD_BYTES_MIN, 64, PAYLOAD_BYTES_MAX] {
            SAMPLE.write(bytes, &mut body);
            assert_eq!(body.len(), bytes);
            assert_eq!(Payload::read(&body), Some(SAMPLE));
        }
    }

    #[test]
    fn one_wrong_or_missing_byte_is_noticed() {
        let mut body = Vec::new();
        SAMPLE.write(64, &mut body);
        for at in 0..body.len() {
            body[at] ^= 1;
            assert_eq!(Payload::read(&body), None, "byte {at}");
            body[at] ^= 1;
        }
        for end in 0..body.len() {
            assert_eq!(Payload::read(&body[..end]), None, "cut at {end}");
        }
    }
}
