//! Frames of the link: cutting the stream, and the small bodies.
//!
//! ```text
//! | length u32 | kind u8 | flags u8 | worker u16 | body (length bytes) |   little-endian
//! ```

/// What both sides send first, once: no other protocol of the product, no TLS, HTTP, PROXY or MQTT
/// peer begins with it.
pub const PREFACE: [u8; 4] = [0xA7, b'H', b'L', 1];

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// A receiver that does not know the kind skips the frame; without it, the link ends.
pub const FLAG_OPTIONAL: u8 = 1;

/// Numbers of the frame kinds.
#[allow(missing_docs)] // the page of the protocol describes each
pub mod kind {
    pub const HELLO: u8 = 1;
    pub const PROOF: u8 = 2;
    pub const WELCOME: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const CREDIT: u8 = 5;
    pub const PING: u8 = 6;
    pub const PONG: u8 = 7;
    pub const GO_AWAY: u8 = 8;
    pub const UPLINK: u8 = 16;
    pub const DOWNLINK: u8 = 17;
    pub const PEER: u8 = 18;

    /// All kinds of version 1 with the names the page gives them.
    pub const ALL: [(u8, &str); 11] = [
        (HELLO, "hello"),
        (PROOF, "proof"),
        (WELCOME, "welcome"),
        (REFUSED, "refused"),
        (CREDIT, "credit"),
        (PING, "ping"),
        (PONG, "pong"),
        (GO_AWAY, "go_away"),
        (UPLINK, "uplink"),
        (DOWNLINK, "downlink"),
        (PEER, "peer"),
    ];
}

/// Which frames of [`hawser_codec::link`] a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// From a gateway's worker to a router.
    Uplink,
    /// From a router to a gateway's worker.
    Downlink,
    /// From router to router.
    Peer,
}

impl Family {
    /// Kind of the frame that carries it.
    pub const fn kind(self) -> u8 {
        match self {
            Self::Uplink => kind::UPLINK,
            Self::Downlink => kind::DOWNLINK,
            Self::Peer => kind::PEER,
        }
    }

    /// The family a frame of `kind` carries; `None` if it is no batch.
    pub const fn of(kind: u8) -> Option<Self> {
        match kind {
            kind::UPLINK => Some(Self::Uplink),
            kind::DOWNLINK => Some(Self::Downlink),
            kind::PEER => Some(Self::Peer),
            _ => None,
        }
    }
}

/// One frame, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// One of [`kind`], or unknown.
    pub kind: u8,
    /// See [`FLAG_OPTIONAL`].
    pub flags: u8,
    /// Worker a batch is from or for; 0 in other frames.
    pub worker: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

/// What the front of the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole frame and its length with the header.
    Frame(Frame<'a>, usize),
    /// Nothing whole before so many bytes are there.
    NeedMore(usize),
    /// The header names a body beyond `body_bytes_max`, bytes.
    TooLong(usize),
}

/// Looks at the front of `bytes`, without the preface.
pub fn step(bytes: &[u8], body_bytes_max: usize) -> Step<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Step::NeedMore(HEADER_BYTES);
    };
    let [a, b, c, d, kind, flags, low, high] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > body_bytes_max {
        return Step::TooLong(length);
    }
    match rest.get(..length) {
        Some(body) => {
            let worker = u16::from_le_bytes([low, high]);
            Step::Frame(Frame { kind, flags, worker, body }, HEADER_BYTES + length)
        }
        None => Step::NeedMore(HEADER_BYTES + length),
    }
}

/// Appends a frame; `body` is within the limit of its kind.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, worker: u16, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("the callers' limits are far below 4 GiB");
    out.reserve(HEADER_BYTES + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&worker.to_le_bytes());
    out.extend_from_slice(body);
}

/// A farewell: the body of `refused` and of `go_away`.
///
/// ```text
/// | code u16 | retry_after_ms u32 | text, UTF-8, to the end |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Why.
    pub code: u16,
    /// When to come back, milliseconds; 0: no time is named.
    pub retry_after_ms: u32,
    /// For people.
    pub text: String,
}

impl Farewell {
    /// Appends it as a frame of `kind`. The text is cut to the limit.
    pub fn put(&self, out: &mut Vec<u8>, kind: u8) {
        let text = cut(&self.text, super::TEXT_BYTES_MAX);
        let mut body = Vec::with_capacity(6 + text.len());
        body.extend_from_slice(&self.code.to_le_bytes());
        body.extend_from_slice(&self.retry_after_ms.to_le_bytes());
        body.extend_from_slice(text.as_bytes());
        put(out, kind, 0, 0, &body);
    }

    /// Reads one. The peer's text ends up in logs and on terminals: what is no letter is replaced.
    pub fn take(body: &[u8]) -> Option<Self> {
        let (code, rest) = body.split_first_chunk()?;
        let (retry, text) = rest.split_first_chunk()?;
        Some(Self {
            code: u16::from_le_bytes(*code),
            retry_after_ms: u32::from_le_bytes(*retry),
            text: printable(text, super::TEXT_BYTES_MAX),
        })
    }
}

/// The body of `credit`, `ping` and `pong`: one number.
pub fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    put(out, kind, 0, 0, &number.to_le_bytes());
}

/// Reads it; bytes behind it belong to a newer version.
pub fn take_number(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The longest prefix of whole characters within `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Bytes of a peer as a text that does a terminal no harm.
pub(super) fn printable(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(bytes_max)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
