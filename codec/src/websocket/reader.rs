//! Frames up: bytes in, whole messages and control frames out, whatever the cuts between the bytes.
//!
//! ```text
//!         header of text or binary            last byte, FIN not set
//!  Idle ----------------------------> Frame ---------------------------> Between
//!   ^                                 |   ^                                 |
//!   |        last byte, FIN set       |   |    header of a continuation     |
//!   +---------------------------------+   +---------------------------------+
//! ```
//! Control frames are taken in Idle and Between, whole, and change nothing. A header and a control
//! frame are taken only when they are there in full (at most 14 and 131 bytes): until then the
//! caller keeps their bytes. Invariant: Idle is [`Reader::default`].

use super::{CONTROL_BYTES_MAX, Close, Opcode, Rules, Violation, header::Header, mask};

/// The frame under way still lacks payload, or has just got its last.
const IN_FRAME: u8 = 1;
/// The frame under way is its message's last.
const LAST: u8 = 2;
/// A message is under way.
const IN_MESSAGE: u8 = 4;
/// It is a text.
const TEXT: u8 = 8;
/// It is compressed.
const COMPRESSED: u8 = 16;

/// RSV1 among [`Header::reserved`].
const RESERVED_COMPRESSED: u8 = 4;

/// Where a connection is between two reads. The payload of its unfinished message is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Payload bytes that the frame under way still lacks.
    lacking: u32,
    /// Payload bytes, from the message's first, that are known to be UTF-8; used for texts that
    /// are not compressed.
    checked: u32,
    /// Key of the frame under way, turned so that its first byte belongs to the next payload byte.
    key: [u8; 4],
    flags: u8,
}

const _: () = assert!(size_of::<Reader>() <= 16);

/// How far the bytes given were taken, and what was found then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes done with; the next step starts behind them.
    pub consumed: usize,
    /// What was found; `None`: more bytes are needed, and those not consumed (an unfinished header
    /// or control frame, at most 130 bytes) are to be given again with them.
    pub event: Option<Event>,
}

/// What a peer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message; its payload stands in the caller's buffer.
    Message {
        /// Text, checked to be UTF-8 unless compressed; else binary.
        text: bool,
        /// To be inflated ([`super::deflate`]); a text is to be checked after that.
        compressed: bool,
    },
    /// To be answered by a pong with the same payload.
    Ping(ControlPayload),
    /// Answer to a ping, or a sign of life.
    Pong(ControlPayload),
    /// The peer's last frame. To be answered by a close frame unless one was sent before; whatever
    /// follows is to be dropped unread.
    Close(Close),
}

/// Payload of a control frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    length: u8,
    bytes: [u8; CONTROL_BYTES_MAX],
}

impl ControlPayload {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn unmasked(masked: &[u8], key: [u8; 4]) -> Self {
        let mut bytes = [0; CONTROL_BYTES_MAX];
        bytes[..masked.len()].copy_from_slice(masked);
        mask::apply(&mut bytes[..masked.len()], key);
        Self { length: masked.len() as u8, bytes }
    }
}

impl std::fmt::Debug for ControlPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().fmt(f)
    }
}

impl Reader {
    /// Nothing is under way: the reader may be forgotten, [`Reader::default`] goes on in its place.
    pub fn is_idle(&self) -> bool {
        self.flags == 0
    }

    /// Payload bytes that the frame under way still lacks, for whoever wants to reserve room once
    /// most of them are sure to come.
    pub fn lacking_bytes(&self) -> u32 {
        self.lacking
    }

    /// Takes `bytes` up to the end of the next message or control frame, or all of them.
    ///
    /// `payload` holds what the message under way has so far: it is emptied when a message begins,
    /// and must come back as it was left until the message is whole. It grows by bytes that came,
    /// never by what a header promises.
    ///
    /// # Errors
    /// [`Violation`]; the stream is lost then.
    ///
    /// # Panics
    /// If a message is under way and `payload` is shorter than it was left.
    pub fn step(
        &mut self,
        rules: &Rules,
        bytes: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<Step, Violation> {
        let mut consumed = 0;
        // Bounded: every round takes a header of two bytes at least, or returns.
        loop {
            if self.has(IN_FRAME) {
                consumed += self.take_payload(&bytes[consumed..], payload)?;
                if self.lacking > 0 {
                    return Ok(Step { consumed, event: None });
                }
                self.flags &= !IN_FRAME;
                if self.has(LAST) {
                    let event = self.finish(payload)?;
                    return Ok(Step { consumed, event: Some(event) });
                }
            }
            let rest = &bytes[consumed..];
            let Some(header) = Header::parse(rules.role, rest)? else {
                return Ok(Step { consumed, event: None });
            };
            if header.opcode.is_control() {
                if header.reserved != 0 {
                    return Err(Violation::ReservedBits { bits: header.reserved });
                }
                let end = header.header_bytes + header.payload_bytes as usize;
                let Some(masked) = rest.get(header.header_bytes..end) else {
                    return Ok(Step { consumed, event: None });
                };
                let control = ControlPayload::unmasked(masked, header.key);
                let event = match header.opcode {
                    Opcode::Ping => Event::Ping(control),
                    Opcode::Pong => Event::Pong(control),
                    _ => Event::Close(Close::parse(control)?),
                };
                return Ok(Step { consumed: consumed + end, event: Some(event) });
            }
            self.begin(rules, &header, payload)?;
            consumed += header.header_bytes;
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Takes the header of a data frame.
    fn begin(
        &mut self,
        rules: &Rules,
        header: &Header,
        payload: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let is_first = header.opcode != Opcode::Continuation;
        match (is_first, self.has(IN_MESSAGE)) {
            (true, true) => return Err(Violation::MessageUnfinished),
            (false, false) => return Err(Violation::NothingToContinue),
            (true, false) | (false, true) => {}
        }
        let allowed = if is_first && rules.deflate { RESERVED_COMPRESSED } else { 0 };
        if header.reserved & !allowed != 0 {
            return Err(Violation::ReservedBits { bits: header.reserved });
        }
        let limits = rules.limits;
        if header.payload_bytes > u64::from(limits.frame_bytes_max) {
            let payload_bytes_max = limits.frame_bytes_max;
            let payload_bytes = header.payload_bytes;
            return Err(Violation::FrameTooLong { payload_bytes, payload_bytes_max });
        }
        if is_first {
            payload.clear();
        }
        if payload.len() as u64 + header.payload_bytes > u64::from(limits.message_bytes_max) {
            return Err(Violation::MessageTooLong { message_bytes_max: limits.message_bytes_max });
        }
        if is_first {
            self.checked = 0;
            self.flags = IN_MESSAGE;
            self.flags |= if header.opcode == Opcode::Text { TEXT } else { 0 };
            self.flags |= if header.reserved != 0 { COMPRESSED } else { 0 };
        }
        self.flags |= IN_FRAME | if header.fin { LAST } else { 0 };
        self.lacking = header.payload_bytes as u32;
        self.key = header.key;
        Ok(())
    }

    /// Takes payload of the frame under way off the start of `bytes`; returns how much.
    fn take_payload(&mut self, bytes: &[u8], payload: &mut Vec<u8>) -> Result<usize, Violation> {
        let masked = &bytes[..bytes.len().min(self.lacking as usize)];
        let start = payload.len();
        payload.extend_from_slice(masked);
        self.key = mask::apply(&mut payload[start..], self.key);
        self.lacking -= masked.len() as u32;
        if self.has(TEXT) && !self.has(COMPRESSED) {
            self.check_text(payload)?;
        }
        Ok(masked.len())
    }

    /// Checks what has come since the last check; a character whose end has not come is left for
    /// the next one.
    fn check_text(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let checked = self.checked as usize;
        match simdutf8::compat::from_utf8(&payload[checked..]) {
            Ok(_) => self.checked = payload.len() as u32,
            Err(error) if error.error_len().is_none() => {
                self.checked += error.valid_up_to() as u32;
            }
            Err(error) => return Err(Violation::NotUtf8 { at: checked + error.valid_up_to() }),
        }
        Ok(())
    }

    fn finish(&mut self, payload: &[u8]) -> Result<Event, Violation> {
        let (text, compressed) = (self.has(TEXT), self.has(COMPRESSED));
        let checked = self.checked as usize;
        if text && !compressed && checked < payload.len() {
            return Err(Violation::NotUtf8 { at: checked });
        }
        *self = Self::default();
        Ok(Event::Message { text, compressed })
    }
}
