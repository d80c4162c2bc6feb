//! Typed messages of the native protocol, version 1, as both sides see them.
//!
//! Views borrow from the received bytes; what is decoded has been verified once, texts are valid
//! UTF-8 and names are within [`NAME_BYTES_MAX`].

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::Encoder;

/// The protocol version this crate speaks.
pub const VERSION: u16 = 1;

/// Longest name of a user, device or conversation, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;

/// Most bytes a notify frame takes beyond its message body: header, numbers and three names of the
/// longest kind. Whoever accepts a request with a body of this much less than the receiver's frame
/// limit can always deliver it.
pub const NOTIFY_OVERHEAD_BYTES_MAX: usize = 384;

/// Most entries a page may be asked for: about what one screen and the next need, and a bounded
/// number of disk reads for the server.
pub const SYNC_LIMIT_MAX: u16 = 100;

/// A receipt says that messages were delivered.
pub const RECEIPT_DELIVERED: u8 = 1;
/// A receipt says that messages were read.
pub const RECEIPT_READ: u8 = 2;
const RECEIPT_WHAT_MAX: u8 = RECEIPT_READ;

/// Class of a client: decides heartbeat and limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Phone: 30 s heartbeat by default.
    #[default]
    Mobile = 0,
    /// Browser: 15 s.
    Web = 1,
    /// Desktop program: 30 s.
    Desktop = 2,
    /// Server-side program.
    Bot = 3,
}

/// First frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest protocol version the client speaks.
    pub version_min: u16,
    /// Highest.
    pub version_max: u16,
    /// Realm (tenant), 0 by default.
    pub realm: u32,
    /// User's name. Empty with `resume_token`.
    pub user: &'a str,
    /// Device's name. Empty with `resume_token`.
    pub device: &'a str,
    /// Static token or JWT; empty under auth none.
    pub token: &'a str,
    /// Token from an earlier welcome; empty without one.
    pub resume_token: &'a [u8],
    /// Random number made with the client's outbox; client sequences count within it. Not 0.
    pub incarnation: u64,
    /// Client's class.
    pub class: Class,
    /// Heartbeat the client would like, seconds; 0: the class's.
    pub heartbeat_s: u16,
    /// Client's own mailbox cursor; `None`: the one the server has.
    pub cursor: Option<u64>,
    /// The cursor named is meant even if lower than the server's.
    pub rewind: bool,
    /// Payload compression offered, bit set: 1 zstd, 2 gzip, 4 snappy, 8 lz4.
    pub compression: u8,
    /// Client's program and version, for logs only.
    pub agent: &'a str,
}

/// Answer to [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// Version spoken from now on.
    pub version: u16,
    /// Server's wall time, milliseconds.
    pub server_time_ms: u64,
    /// The server expires the connection this long after the last byte plus a grace, seconds.
    pub heartbeat_s: u16,
    /// Opaque token with which a dropped client comes back.
    pub resume_token: &'a [u8],
    /// Highest number of the mailbox.
    pub head: u64,
    /// This device's cursor: all up to it are acknowledged. Unread entries are `head - cursor`
    /// at most.
    pub cursor: u64,
    /// Entries up to this number are no longer kept.
    pub floor: u64,
    /// Longest frame body the server takes, bytes.
    pub frame_bytes_max: u32,
    /// Requests a client may have unanswered.
    pub requests_max: u16,
    /// Chosen compression, one bit of the offer, or 0.
    pub compression: u8,
}

/// Level of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Never stored, delivered to who is on-line.
    Ephemeral = 0,
    /// Durable.
    #[default]
    Normal = 1,
    /// Durable, flushed without waiting.
    Important = 2,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Number within the incarnation, from 1, never reused.
    pub client_seq: u64,
    /// `client_seq` of the sender's latest unanswered earlier request in this conversation, or 0.
    pub after: u64,
    /// Client message id.
    pub uuid: [u8; 16],
    /// Receiving user of a direct chat.
    pub to: &'a str,
    /// Level.
    pub level: Level,
    /// Content kind: 0 custom, 1 text, 2 emoji, 3 image, 4 video, 5 voice, 6 file.
    pub content: u8,
    /// Receipts asked for: bit 0 delivery, bit 1 read.
    pub receipts: u8,
    /// Wall time of the first attempt, milliseconds, corrected by the server time of the welcome;
    /// 0 on a first attempt.
    pub first_attempt_ms: u64,
    /// The message itself.
    pub body: &'a [u8],
}

/// A request is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// Which request.
    pub client_seq: u64,
    /// Its sequence in the conversation.
    pub sequence: u64,
    /// Wall time the server gave it, milliseconds.
    pub time_ms: u64,
}

/// An entry of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// Mailbox number: dense, per user.
    pub number: u64,
    /// Other user of the direct chat.
    pub conversation: &'a str,
    /// Sequence in the conversation: dense.
    pub sequence: u64,
    /// User who sent it.
    pub sender: &'a str,
    /// Device that sent it.
    pub device: &'a str,
    /// Sender's incarnation.
    pub incarnation: u64,
    /// Sender's number.
    pub client_seq: u64,
    /// Sender's message id.
    pub uuid: [u8; 16],
    /// Wall time the server gave it, milliseconds.
    pub time_ms: u64,
    /// Content kind.
    pub content: u8,
    /// Receipts the sender asks for.
    pub receipts: u8,
    /// This very device sent it: there is no body.
    pub own: bool,
    /// The message.
    pub body: &'a [u8],
}

/// All mailbox entries up to `number` are safe with this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyAcknowledge {
    /// Highest contiguous mailbox number.
    pub number: u64,
}

/// There are entries up to `head`; the server pushes none until the client has read up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Highest number of the mailbox.
    pub head: u64,
}

/// Asks for a page of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Client's number of this question, comes back in the page.
    pub request: u64,
    /// Forward: entries above this number, and all up to it are acknowledged. Backward: entries
    /// below it, `u64::MAX` for the newest.
    pub after: u64,
    /// Entries wanted, 1 to 100.
    pub limit: u16,
    /// Newest first, a preview: acknowledges nothing.
    pub backward: bool,
    /// Only entries not older than this wall time, milliseconds; 0: all.
    pub since_ms: u64,
}

/// End of a page. Its entries were sent before it as [`Notify`] frames with the flag
/// [`crate::frame::FLAG_PAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The question's number.
    pub request: u64,
    /// Entries in it.
    pub count: u16,
    /// Highest number of the mailbox now.
    pub head: u64,
    /// Cursor of this device now.
    pub cursor: u64,
    /// Entries up to this number are no longer kept.
    pub floor: u64,
    /// There is more in this direction.
    pub more: bool,
}

/// Delivery or read receipt, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// Other user of the direct chat.
    pub conversation: &'a str,
    /// 1 delivered, 2 read.
    pub what: u8,
    /// All up to this sequence.
    pub sequence: u64,
}

/// Heartbeat, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The sender's next one comes within this time, milliseconds; 0: as agreed.
    pub next_ms: u32,
}

/// The server asks the client to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// Why, one of the error codes.
    pub code: u16,
    /// Come back after this, milliseconds.
    pub retry_after_ms: u32,
    /// Where to go, empty: here.
    pub endpoint: &'a str,
}

/// Something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// One of the codes of [`crate::code`].
    pub code: u16,
    /// For people.
    pub text: &'a str,
    /// Try again after this, milliseconds; 0: do not.
    pub retry_after_ms: u32,
    /// The request it answers, 0: none in particular.
    pub client_seq: u64,
    /// The connection ends after this frame.
    pub fatal: bool,
}

/// Any message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is documented at its struct
pub enum Message<'a> {
    Hello(Hello<'a>),
    Welcome(Welcome<'a>),
    Request(Request<'a>),
    Acknowledge(Acknowledge),
    Notify(Notify<'a>),
    NotifyAcknowledge(NotifyAcknowledge),
    Head(Head),
    Sync(Sync),
    Page(Page),
    Receipt(Receipt<'a>),
    Ping(Beat),
    Pong(Beat),
    GoAway(GoAway<'a>),
    Error(Error<'a>),
}
