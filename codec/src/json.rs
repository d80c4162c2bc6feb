//! The sub-protocol `hawser.json.v1`: every message of the native protocol as one JSON object in
//! one text message, for browsers and for people at a console.
//!
//! ```text
//! {"type":"hello","user":"alice","device":"web"}   text -> [`Parsed`] -> Message view
//! native frame -> Message view -> {"type":"welcome","version":1,…}
//! ```
//!
//! A text becomes the same [`crate::message::Message`] that a native frame does, so one session
//! logic serves both; what the client may leave out is filled in here, without randomness of its
//! own. Members, defaults and examples are in docs/protocol/json.md. This module does not know
//! WebSocket. Invariant: what [`put`] writes, [`Parsed`] reads as the same message.

pub(crate) mod object;
pub(crate) mod read;
pub(crate) mod terms;
pub(crate) mod write;

pub use read::Parsed;
pub use write::{put, put_frame};

use std::fmt;

/// Largest number written as a JSON number: beyond it, programs that keep numbers in binary64 would
/// round it, so it is written as a text of digits. Both are read.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Most bytes a message's text takes beyond twice the body it carries, the largest being a notify
/// whose three names of 64 bytes are all control characters, of six bytes each.
pub const OVERHEAD_BYTES_MAX: usize = 2048;

/// Bytes of text that a message of `body_bytes` bytes may take: base64 makes a third more of it, a
/// text full of quotes twice as much.
#[must_use]
pub const fn text_bytes_max(body_bytes: usize) -> usize {
    2 * body_bytes + OVERHEAD_BYTES_MAX
}

/// A text that is no message, with the member at fault and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// One of [`crate::code`].
    pub code: u16,
    /// For the people who wrote the client.
    pub text: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Wrong {}

#[cfg(test)]
mod tests;
