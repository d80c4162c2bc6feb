//! The link protocol: what gateways and routers, and routers among themselves, speak over TCP.
//!
//! ```text
//!  initiator                             acceptor
//!  preface, Hello ───────────────────▶
//!                 ◀─────────────────── preface, Hello        (or Refused)
//!  Proof          ───────────────────▶
//!                 ◀─────────────────── Welcome with proof    (or Refused)
//!  batches, credit, heartbeats ◀────▶ batches, credit, heartbeats
//! ```
//!
//! Pure: [`LinkSession`] is the state machine of either end. Bytes and time go in; bytes, events
//! and the next deadline come out. Epochs and nonces are given. It is not the tier itself: what a
//! batch holds is of no interest here ([`hawser_codec::link`]), and who may be told what is the
//! shell's business.
//!
//! The bytes are specified in docs/protocol/link.md; a test compares that page with this code.
//!
//! Invariants: nothing of a batch is taken before both sides have proved the secret. A receiver
//! never holds more than its window and one frame. What is sent is sent in order and once; a link
//! that ends says nothing about what the other side has taken.

mod hello;
mod inbox;
mod outgoing;
mod refusal;
mod secret;
mod session;
pub mod wire;

pub use hello::{Hello, Role};
pub use inbox::Inbox;
pub use outgoing::{BatchQueue, QueueFull};
pub use refusal::{LinkEnd, Refusal, refusal_code, refusal_text};
pub use secret::{LinkSecret, SECRET_BYTES_MIN};
pub use session::{LinkEvent, LinkSession, LinkSettings, PeerIdentity, Taken};
pub use wire::Family;

/// Lowest version of the protocol this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Highest.
pub const VERSION_MAX: u16 = 1;

/// Window a receiver opens unless told otherwise, bytes: 80 ms of 50 MB/s, more than the round trip
/// within a data centre by two orders of magnitude, and little enough for a thousand links.
pub const WINDOW_BYTES: u32 = 4 << 20;
/// Smallest and largest window a peer may name, bytes. Below, a page of long bodies would go in
/// steps of a round trip; above, the window bounds nothing.
pub const WINDOW_BYTES_RANGE: (u32, u32) = (64 << 10, 64 << 20);

/// A batch longer than this is cut at a frame's end, bytes: heartbeats and credit then come between
/// the pieces.
pub const PIECE_BYTES: usize = 256 << 10;
/// Longest body of a link frame, bytes: the longest message body a gateway takes (1 MiB) with its
/// names fits in one.
pub const FRAME_BODY_BYTES_MAX: usize = 2 << 20;
/// Longest body before the link is up, bytes: nobody who has not proved the secret makes us hold
/// more.
pub const HANDSHAKE_BODY_BYTES_MAX: usize = 1024;
/// Longest name of a gateway or router, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest text of a refusal or farewell, bytes; a longer one is cut.
pub const TEXT_BYTES_MAX: usize = 512;

/// Encoded bytes that may wait for the socket; above it [`LinkSession::send`] takes nothing more.
/// With the socket's own buffer this keeps a connection within a data centre busy.
pub const OUT_BYTES_HIGH: usize = 512 << 10;

/// Time from the connection to the welcome, microseconds: some round trips and a busy peer.
pub const HANDSHAKE_US: u64 = 5_000_000;
/// A ping leaves this long after the one before, microseconds, whatever else is sent: its answer is
/// the round-trip time.
pub const PING_US: u64 = 1_000_000;
/// Nothing heard for this long ends the link, microseconds: five pings. A router's longest pause is a
/// write the disk takes its time for, and that does not stop its thread.
pub const SILENCE_US: u64 = 5_000_000;

const _: () = assert!(PIECE_BYTES < FRAME_BODY_BYTES_MAX);
const _: () = assert!(2 * PING_US < SILENCE_US);
const _: () = assert!(TEXT_BYTES_MAX + 64 < HANDSHAKE_BODY_BYTES_MAX);
const _: () = assert!(WINDOW_BYTES_RANGE.0 <= WINDOW_BYTES && WINDOW_BYTES <= WINDOW_BYTES_RANGE.1);
