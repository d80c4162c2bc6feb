//! HTTP/1.1 as far as a message gateway needs it: request heads, answers, rules of origins.
//!
//! ```text
//! request line | fields … | empty line | body of Content-Length bytes
//! ```
//!
//! [`request::step`] cuts a head off a stream and judges it; [`Answer`] appends one answer to the
//! caller's buffer, whole or as an event stream; [`OriginRule`] says which pages of the web may
//! read it. What the paths of long-poll and events take and give is in [`poll`]. Nothing
//! is kept between calls. Invariant: a head that is given out has one meaning only, what could be
//! read in two ways (RFC 9112 section 11.2, request smuggling) is refused with its status.

pub mod answer;
pub mod date;
pub mod origin;
pub mod poll;
pub mod query;
pub mod request;

pub use answer::{Answer, reason};
pub use origin::{OriginRule, Verdict};
pub use request::{Head, Step, Version};

use std::fmt;

/// A request that is answered with a status and, if it cannot be told where the next one begins,
/// the end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Status of the answer (RFC 9110 section 15).
    pub status: u16,
    /// For people, with what is allowed.
    pub text: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, reason(self.status), self.text)
    }
}

impl std::error::Error for Refused {}
