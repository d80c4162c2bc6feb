//! WebSocket: messages in frames (RFC 6455), compressed if agreed (RFC 7692), after an HTTP upgrade.
//!
//! ```text
//! | FIN RSV1-3 opcode | MASK length 7 | length 0, 2 or 8 | key 0 or 4 | payload … |   big-endian
//! ```
//!
//! Server and client role. Up: [`handshake::Upgrade`] reads the request and writes the 101, then
//! [`Reader::step`] takes bytes and collects a message's payload, unmasked and checked, in the
//! caller's buffer. Down: [`mod@write`] appends frames to the caller's buffer. [`deflate`] agrees on
//! and does compression. What is *not* here: HTTP itself (the caller has parsed the head), who may
//! log in, which Origin is allowed, time-outs, and the order of the closing handshake, which needs
//! a clock.
//!
//! Invariant: between messages a connection costs nothing here. A [`Reader`] is 16 bytes, equals
//! its default when idle, and the payload under way is the caller's; a peer's header never makes
//! anything be stored or reserved, only its bytes do, and never more than [`Limits`] allow.

pub mod close;
pub mod deflate;
pub mod extension;
pub mod handshake;
pub mod header;
pub mod mask;
mod reader;
mod violation;
pub mod write;

pub use close::Close;
pub use header::Opcode;
pub use reader::{ControlPayload, Event, Reader, Step};
pub use violation::Violation;

/// Longest payload of a control frame, bytes (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Highest setting for a frame and for a message, bytes: above it one message would hold a worker
/// for more than a few turns and its buffer for longer than its connection is worth.
pub const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Which end of the connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes masked frames only.
    Server,
    /// Takes unmasked frames only.
    Client,
}

/// What a receiver takes, bytes of payload; at most [`MESSAGE_BYTES_MAX`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame.
    pub frame_bytes_max: u32,
    /// Longest message, all its frames together, before and after it is inflated.
    pub message_bytes_max: u32,
}

/// By what a connection's bytes are judged; the same as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Our end.
    pub role: Role,
    /// permessage-deflate was agreed: messages may be compressed.
    pub deflate: bool,
    /// How much is taken.
    pub limits: Limits,
}

#[cfg(test)]
mod tests;
