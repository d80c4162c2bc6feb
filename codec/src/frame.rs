//! Frames of the native protocol: a header of 8 bytes and a body.
//!
//! ```text
//! | body length u32 | kind u8 | flags u8 | channel u16 | body … |     little-endian
//! ```
//!
//! This module cuts a stream of bytes into frames; it does not look into bodies
//! ([`crate::message`] does) and keeps no bytes of its own: the caller does, and is told how many
//! it needs. Invariant: a frame is given out only whole and within [`FrameLimits`], and a length
//! beyond them is refused as soon as the header is there, before anything is stored for it.

use crate::malformed::Malformed;

/// What a client sends before its first frame: a byte with which no TLS, HTTP, PROXY or MQTT
/// client begins, two letters, and the version of this very opening.
pub const PREFACE: [u8; 4] = [0xA7, b'H', b'W', 1];

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// A receiver that does not know the kind may skip the frame.
pub const FLAG_OPTIONAL: u8 = 1;
/// A notify that belongs to the page being sent, not pushed.
pub const FLAG_PAGE: u8 = 2;
/// The body is compressed as negotiated. Nothing negotiates it yet, so it is always refused.
pub const FLAG_COMPRESSED: u8 = 4;

/// Kinds of frames; each has the table of the same name in `schema/native.fbs`.
pub mod kind {
    /// Client's first frame.
    pub const HELLO: u8 = 1;
    /// Answer to hello.
    pub const WELCOME: u8 = 2;
    /// Message to be sent.
    pub const REQUEST: u8 = 3;
    /// A request is durable.
    pub const ACKNOWLEDGE: u8 = 4;
    /// Mailbox entry.
    pub const NOTIFY: u8 = 5;
    /// Cumulative acknowledgement of mailbox entries.
    pub const NOTIFY_ACKNOWLEDGE: u8 = 6;
    /// Head number of the mailbox.
    pub const HEAD: u8 = 7;
    /// Question for a page of the mailbox.
    pub const SYNC: u8 = 8;
    /// End of a page.
    pub const PAGE: u8 = 9;
    /// Delivery or read receipt.
    pub const RECEIPT: u8 = 10;
    /// Heartbeat; table `Beat`.
    pub const PING: u8 = 11;
    /// Answer to a heartbeat; table `Beat`.
    pub const PONG: u8 = 12;
    /// Please leave.
    pub const GO_AWAY: u8 = 13;
    /// Something was refused.
    pub const ERROR: u8 = 14;
}

/// What a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest body, bytes.
    pub body_bytes_max: u32,
}

/// One frame, its body unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// One of [`kind`], or a kind of a newer version.
    pub kind: u8,
    /// Bits [`FLAG_OPTIONAL`], [`FLAG_PAGE`], [`FLAG_COMPRESSED`]; others are to be ignored.
    pub flags: u8,
    /// Channel of a request; its answer comes back on it.
    pub channel: u16,
    /// FlatBuffers table.
    pub body: &'a [u8],
}

/// What is at the start of the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes it took, header included: the next frame starts there.
        consumed: usize,
    },
    /// An unfinished frame.
    NeedMore {
        /// Bytes needed in all, counted from the start of those given; more than were given, and
        /// at most the header and the longest body allowed.
        at_least: usize,
    },
}

/// Takes the frame at the start of `bytes`.
///
/// # Errors
/// [`Malformed::BodyTooLong`] if the header names a body beyond `limits`; the stream is lost then.
#[inline]
pub fn step<'a>(limits: &FrameLimits, bytes: &'a [u8]) -> Result<Step<'a>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Step::NeedMore { at_least: HEADER_BYTES });
    };
    let [l0, l1, l2, l3, kind, flags, c0, c1] = *header;
    let body_bytes = u32::from_le_bytes([l0, l1, l2, l3]);
    if body_bytes > limits.body_bytes_max {
        let body_bytes_max = limits.body_bytes_max;
        return Err(Malformed::BodyTooLong { body_bytes, body_bytes_max });
    }
    let consumed = HEADER_BYTES + body_bytes as usize;
    let Some(body) = rest.get(..body_bytes as usize) else {
        return Ok(Step::NeedMore { at_least: consumed });
    };
    let channel = u16::from_le_bytes([c0, c1]);
    Ok(Step::Frame { frame: Frame { kind, flags, channel, body }, consumed })
}

/// Looks for [`PREFACE`] at the start of `bytes`: `Some(4)` once it is whole, `None` while it is
/// unfinished (four bytes are needed in all).
///
/// # Errors
/// [`Malformed::Preface`] at the first byte that differs.
pub fn preface(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    for (at, (&found, &expected)) in bytes.iter().zip(&PREFACE).enumerate() {
        if found != expected {
            return Err(Malformed::Preface { at, found, expected });
        }
    }
    Ok((bytes.len() >= PREFACE.len()).then_some(PREFACE.len()))
}

/// Appends a frame to `out`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, channel: u16, body: &[u8]) {
    out.reserve(HEADER_BYTES + body.len());
    out.extend_from_slice(&header(kind, flags, channel, body.len()));
    out.extend_from_slice(body);
}

/// Appends a frame with a body of `body_bytes` zeros and gives the body, to be filled in.
#[inline]
pub(crate) fn open(
    out: &mut Vec<u8>,
    kind: u8,
    flags: u8,
    channel: u16,
    body_bytes: usize,
) -> &mut [u8] {
    let body_at = out.len() + HEADER_BYTES;
    out.reserve(HEADER_BYTES + body_bytes);
    out.extend_from_slice(&header(kind, flags, channel, body_bytes));
    out.resize(body_at + body_bytes, 0);
    &mut out[body_at..]
}

#[inline]
fn header(kind: u8, flags: u8, channel: u16, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let [l0, l1, l2, l3] = (body_bytes as u32).to_le_bytes();
    let [c0, c1] = channel.to_le_bytes();
    [l0, l1, l2, l3, kind, flags, c0, c1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 4 };

    #[test]
    fn frame_is_given_whole_and_leaves_what_follows() {
        let bytes = [2, 0, 0, 0, 11, 1, 7, 1, 0xAA, 0xBB, 0xCC];
        let frame = Frame { kind: 11, flags: 1, channel: 0x107, body: &[0xAA, 0xBB] };
        assert_eq!(step(&LIMITS, &bytes), Ok(Step::Frame { frame, consumed: 10 }));
    }

    #[test]
    fn unfinished_frame_says_how_many_bytes_it_needs_in_all() {
        let bytes = [2, 0, 0, 0, 11, 0, 0, 0, 0xAA];
        for cut in 0..HEADER_BYTES {
            assert_eq!(step(&LIMITS, &bytes[..cut]), Ok(Step::NeedMore { at_least: 8 }));
        }
        assert_eq!(step(&LIMITS, &bytes), Ok(Step::NeedMore { at_least: 10 }));
    }

    #[test]
    fn length_beyond_the_limit_is_refused_with_the_header_alone() {
        let header = |length: u32| {
            let [a, b, c, d] = length.to_le_bytes();
            [a, b, c, d, 3, 0, 0, 0]
        };
        assert_eq!(step(&LIMITS, &header(4)), Ok(Step::NeedMore { at_least: 12 }));
        for body_bytes in [5, u32::MAX] {
            let refused = Malformed::BodyTooLong { body_bytes, body_bytes_max: 4 };
            assert_eq!(step(&LIMITS, &header(body_bytes)), Err(refused));
        }
    }

    #[test]
    fn preface_is_recognised_at_every_split_and_refused_at_its_first_wrong_byte() {
        for cut in 0..PREFACE.len() {
            assert_eq!(preface(&PREFACE[..cut]), Ok(None));
            let mut wrong = PREFACE;
            wrong[cut] ^= 1;
            let refused = Malformed::Preface { at: cut, found: wrong[cut], expected: PREFACE[cut] };
            assert_eq!(preface(&wrong[..=cut]), Err(refused));
        }
        assert_eq!(preface(&[0xA7, b'H', b'W', 1, 9]), Ok(Some(4)));
    }
}
