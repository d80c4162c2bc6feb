//! The record state of one connection: two secrets, two counters.
//!
//! ```text
//! secret of what comes in (48) | count (8) | secret of what goes out (48) | count (8) |
//! suite | idle records | flags                                            = 120 B in memory
//! ```
//!
//! It opens and seals records with keys that a worker's [`crate::Keys`] expands on use, and it answers what
//! TLS asks for after a handshake: key updates, closures, a refusal to negotiate again. It can be
//! written down and read back by another process.
//!
//! What it is not: a buffer. It is given one whole record (see [`crate::cut`]) and keeps no byte.
//!
//! Invariant: a pair of secret and count is used once. Counts only grow, and go back to zero only
//! with a new secret.

use zeroize::Zeroize;

use crate::{
    agreed::Version,
    keys::{Secret, Suite, next_secret},
};

mod open;
mod seal;
mod wire;

pub use open::Opened;
pub use seal::{Exhausted, sealed_bytes_max};

/// Most memory a record state may take, bytes: part of what an idle TLS connection costs.
pub const RECORD_STATE_BYTES_MAX: usize = 200;

/// Records sealed under one key before it is changed. RFC 8446 section 5.5 allows AES-GCM 2^24.5 full
/// records; half of that leaves room for the peer to be slow.
pub(crate) const KEY_UPDATE_AT: u64 = 1 << 23;
/// Records sealed under a key of TLS 1.2 AES-GCM, which cannot be changed, before the connection
/// has to end: 2^24 less room for its last words.
pub(crate) const OLD_RECORDS_MAX: u64 = (1 << 24) - 64;
/// Records in a row that carry nothing for us (key updates, empty ones, warnings, hellos of a
/// renegotiation) before it is a flood. BoringSSL and rustls stop at the same number.
pub(crate) const IDLE_RECORDS_MAX: u8 = 32;

/// The peer asked that our key be changed, too; not yet done.
const UPDATE_OWED: u8 = 1;
/// A renegotiation was asked for; not yet refused.
const REFUSAL_OWED: u8 = 2;

/// One direction.
#[derive(Clone)]
pub(crate) struct Half {
    pub(crate) secret: Secret,
    /// Records so far under this secret.
    pub(crate) count: u64,
}

impl Half {
    /// Changes to the next traffic secret of TLS 1.3.
    fn update(&mut self, suite: Suite) {
        next_secret(suite, &mut self.secret);
        self.count = 0;
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// See the module.
pub struct Record {
    incoming: Half,
    outgoing: Half,
    suite: Suite,
    /// Records in a row that carried nothing.
    idle: u8,
    flags: u8,
}

const _: () = assert!(size_of::<Record>() <= RECORD_STATE_BYTES_MAX);

impl Record {
    pub(crate) fn new(suite: Suite, incoming: Half, outgoing: Half) -> Self {
        Self { incoming, outgoing, suite, idle: 0, flags: 0 }
    }

    /// Version the peers agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        if self.suite.is_tls13() { Version::Tls13 } else { Version::Tls12 }
    }

    /// The peer waits for an answer of the protocol itself: seal something, or call
    /// [`Record::answer`].
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        self.flags != 0
    }
}

impl std::fmt::Debug for Record {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("suite", &self.suite)
            .field("incoming", &self.incoming.count)
            .field("outgoing", &self.outgoing.count)
            .finish_non_exhaustive()
    }
}

/// Additional data of a record of TLS 1.2 (RFC 5246 section 6.2.3.3).
fn old_additional_data(count: u64, kind: u8, plain_bytes: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&count.to_be_bytes());
    data[8..11].copy_from_slice(&[kind, 3, 3]);
    data[11..].copy_from_slice(&(plain_bytes as u16).to_be_bytes());
    data
}

#[cfg(test)]
mod tests;
