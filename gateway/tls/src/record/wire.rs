//! Writing a record state down, for a process that takes the connection over.
//!
//! ```text
//! | version u8 = 1 | suite u8 | idle u8 | flags u8 |
//! | secret in u8[48] | count in u64 | secret out u8[48] | count out u64 |      little-endian
//! ```

use super::{Half, REFUSAL_OWED, Record, UPDATE_OWED};
use crate::keys::{SECRET_BYTES_MAX, Suite};

const VERSION: u8 = 1;

impl Record {
    /// Bytes of a written state.
    pub const WIRE_BYTES: usize = 4 + 2 * (SECRET_BYTES_MAX + 8);

    /// Appends the state. It holds secrets: whoever owns `out` wipes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.suite as u8, self.idle, self.flags]);
        for half in [&self.incoming, &self.outgoing] {
            out.extend_from_slice(&half.secret);
            out.extend_from_slice(&half.count.to_le_bytes());
        }
    }

    /// Reads a state; `None` if it is of another version, of another length, or no state.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::WIRE_BYTES] = bytes.try_into().ok()?;
        let (&[version, suite, idle, flags], halves) = bytes.split_first_chunk()?;
        if version != VERSION || flags & !(UPDATE_OWED | REFUSAL_OWED) != 0 {
            return None;
        }
        let (incoming, outgoing) = halves.split_at(SECRET_BYTES_MAX + 8);
        Some(Self {
            incoming: Half::read(incoming)?,
            outgoing: Half::read(outgoing)?,
            suite: Suite::from_byte(suite)?,
            idle,
            flags,
        })
    }
}

impl Half {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (secret, count) = bytes.split_first_chunk()?;
        Some(Self { secret: *secret, count: u64::from_le_bytes(count.try_into().ok()?) })
    }
}
