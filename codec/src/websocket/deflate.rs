//! Compressed messages: the extension permessage-deflate (RFC 7692).
//!
//! ```text
//! payload --DEFLATE, flushed to a byte--> … 00 00 ff ff --last four bytes left out--> RSV1 message
//! ```
//!
//! With *context take-over* a message may refer to the one before, and each direction that agreed
//! to it keeps a window for as long as its connection lives: [`Kept`], [`KEPT_BYTES_MAX`] at most,
//! allocated when the direction is first used. Without it, which is the default of
//! [`Settings`], a connection keeps nothing: all of a worker's share [`Shared`].
//!
//! Invariant: inflating stops at the message limit, one byte beyond it at the latest, however
//! little was sent for it.

mod agree;

pub use agree::{Agreement, Answered, Settings, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Opcode, Role, Violation, header, mask, write};

/// Memory of one inflating context, bytes, at most: its window of 32 KiB, whatever was agreed, and
/// the tables of the code under way.
pub const INFLATER_BYTES: usize = 48 * 1024;
/// Memory of one deflating context, bytes, at most: two windows, two tables of places, and the
/// block under way.
pub const DEFLATER_BYTES: usize = 400 * 1024;
/// Memory of a connection that agreed to context take-over in both directions, bytes, at most.
pub const KEPT_BYTES_MAX: usize = INFLATER_BYTES + DEFLATER_BYTES;
/// Memory of a worker's shared codecs, bytes, at most: one to inflate, one to deflate with the
/// full window, one for clients that take a smaller one only.
pub const SHARED_BYTES_MAX: usize = INFLATER_BYTES + 2 * DEFLATER_BYTES;

/// Payloads shorter than this are sent as they are: what DEFLATE might win is less than a packet's
/// noise, and costs some microseconds.
pub const PAYLOAD_BYTES_MIN: usize = 64;
/// Final blocks in one message. Only a sender that has no other way of flushing makes them, one
/// for each of its writes; each costs us a new start, so many of nothing would be work for nothing.
pub const FINAL_BLOCKS_MAX: usize = 64;

/// What a sender leaves out at the end of each message.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// A stored block of nothing, up to the length that is part of [`TAIL`].
const NOTHING: u8 = 0;
/// Room made before output is asked for, bytes; then twice what there is.
const ROOM_BYTES_MIN: usize = 512;
/// The farthest a message can refer back, bytes.
const WINDOW_BYTES: usize = 1 << WINDOW_BITS_MAX;

/// One direction's inflating context.
struct Inflater(Decompress);

impl Inflater {
    fn new() -> Self {
        // The full window whatever was agreed: a smaller one saves no memory.
        Self(Decompress::new(false))
    }

    /// Inflates one message to the end of `out`, which is empty.
    fn message(
        &mut self,
        compressed: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let mut room = (4 * compressed.len()).max(ROOM_BYTES_MIN);
        let mut final_blocks = 0;
        for mut input in [compressed, &TAIL] {
            // Bounded: a round takes input, or makes output, or is the last of this input.
            loop {
                let start = out.len();
                out.resize(start + room.min(bytes_max + 1 - start), 0);
                let before = (self.0.total_in(), self.0.total_out());
                let result = self.0.decompress(input, &mut out[start..], FlushDecompress::Sync);
                let taken = (self.0.total_in() - before.0) as usize;
                let made = (self.0.total_out() - before.1) as usize;
                let is_full = start + made == out.len();
                out.truncate(start + made);
                input = &input[taken..];
                if out.len() > bytes_max {
                    return Err(Violation::MessageTooLong { message_bytes_max: bytes_max as u32 });
                }
                match result {
                    Ok(Status::StreamEnd) => {
                        final_blocks += 1;
                        if final_blocks > FINAL_BLOCKS_MAX {
                            return Err(Violation::NotDeflate);
                        }
                        self.start_again(out)?;
                    }
                    Ok(Status::Ok | Status::BufError) if is_full => room = out.len(),
                    Ok(Status::Ok | Status::BufError) if input.is_empty() => break,
                    Ok(Status::Ok) if taken + made > 0 => {}
                    Ok(_) | Err(_) => return Err(Violation::NotDeflate),
                }
                if input.is_empty() && !is_full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Goes on behind a final block. What came before it in this message may still be referred to;
    /// what came before the message is forgotten.
    fn start_again(&mut self, out: &[u8]) -> Result<(), Violation> {
        self.0.reset(false);
        let window = &out[out.len().saturating_sub(WINDOW_BYTES)..];
        self.0.set_dictionary(window).map_err(|_| Violation::NotDeflate)?;
        Ok(())
    }
}

/// One direction's deflating context.
struct Deflater(Compress);

impl Deflater {
    fn new(level: u8, window_bits: u8) -> Self {
        Self(Compress::new_with_window_bits(Compression::new(u32::from(level)), false, window_bits))
    }

    /// Appends one message, deflated, to `out`.
    fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            return out.push(NOTHING);
        }
        let (mut input, mut room) = (payload, payload.len() / 2 + 64);
        // Bounded: a round takes input or makes output, and ends when there is neither.
        loop {
            let start = out.len();
            out.resize(start + room, 0);
            let before = (self.0.total_in(), self.0.total_out());
            let result = self.0.compress(input, &mut out[start..], FlushCompress::Sync);
            result.expect("deflating fails on no input, only when it is called in a wrong order");
            input = &input[(self.0.total_in() - before.0) as usize..];
            let made = (self.0.total_out() - before.1) as usize;
            let is_full = made == room;
            out.truncate(start + made);
            if !is_full && input.is_empty() {
                break;
            }
            room *= 2;
        }
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
    }
}

/// What a connection with context take-over keeps, in the directions that agreed to it.
pub struct Kept {
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
}

impl Kept {
    /// For a connection with this agreement; `None`: nothing is to be kept. Nothing is allocated
    /// yet, so what [`Kept::bytes`] says may grow up to [`Kept::bytes_max`].
    pub fn new(agreement: Agreement) -> Option<Self> {
        let keeps = agreement.server().take_over || agreement.client().take_over;
        keeps.then_some(Self { inflater: None, deflater: None })
    }

    /// Memory that [`Kept`] of this agreement can take, bytes; 0 if there is none.
    pub fn bytes_max(agreement: Agreement, role: Role) -> usize {
        let (sent, received) = directions(agreement, role);
        let inflater = if received.take_over { INFLATER_BYTES } else { 0 };
        inflater + if sent.take_over { DEFLATER_BYTES } else { 0 }
    }

    /// Memory it takes now, bytes.
    pub fn bytes(&self) -> usize {
        let inflater = if self.inflater.is_some() { INFLATER_BYTES } else { 0 };
        inflater + if self.deflater.is_some() { DEFLATER_BYTES } else { 0 }
    }
}

/// Codecs of a worker that its connections without context take-over use in turn.
pub struct Shared {
    level: u8,
    inflater: Option<Inflater>,
    /// With the full window, and with the smallest one, which every client understands.
    deflaters: [Option<Deflater>; 2],
}

impl Shared {
    /// Allocates nothing until the first compressed message; `level` from 1 (fast) to 9 (small).
    pub fn new(level: u8) -> Self {
        Self { level: level.clamp(1, 9), inflater: None, deflaters: [None, None] }
    }

    /// Memory it takes now, bytes.
    pub fn bytes(&self) -> usize {
        let inflater = if self.inflater.is_some() { INFLATER_BYTES } else { 0 };
        inflater + self.deflaters.iter().flatten().count() * DEFLATER_BYTES
    }

    fn inflater(&mut self) -> &mut Inflater {
        let inflater = self.inflater.get_or_insert_with(Inflater::new);
        inflater.0.reset(false);
        inflater
    }

    fn deflater(&mut self, window_bits: u8) -> &mut Deflater {
        let (place, window_bits) = match window_bits {
            WINDOW_BITS_MAX => (0, WINDOW_BITS_MAX),
            _ => (1, WINDOW_BITS_MIN),
        };
        let level = self.level;
        let deflater =
            self.deflaters[place].get_or_insert_with(|| Deflater::new(level, window_bits));
        deflater.0.reset();
        deflater
    }
}

/// How a connection's messages are compressed: its agreement, its end, and what it keeps, if it
/// keeps anything.
pub struct Codec<'a> {
    /// What the handshake agreed on.
    pub agreement: Agreement,
    /// Our end.
    pub role: Role,
    /// This connection's contexts; needed if the agreement is with take-over.
    pub kept: Option<&'a mut Kept>,
    /// The worker's.
    pub shared: &'a mut Shared,
}

impl Codec<'_> {
    /// Inflates a whole message of [`super::Event::Message`] into `out`, which is emptied before,
    /// and checks it if it is a text. What a message of this limit can cost is the time of
    /// inflating as many bytes: about 1 ms per MiB.
    ///
    /// # Errors
    /// [`Violation::MessageTooLong`], [`Violation::NotDeflate`] or [`Violation::NotUtf8`].
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        text: bool,
        message_bytes_max: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let received = directions(self.agreement, self.role).1;
        let inflater = match self.kept.as_deref_mut() {
            Some(kept) if received.take_over => kept.inflater.get_or_insert_with(Inflater::new),
            _ => self.shared.inflater(),
        };
        out.clear();
        inflater.message(compressed, message_bytes_max as usize, out)?;
        if text && let Err(error) = simdutf8::compat::from_utf8(out) {
            return Err(Violation::NotUtf8 { at: error.valid_up_to() });
        }
        Ok(())
    }

    /// Appends one message as one frame, compressed where that is worth it. `key` is a client's.
    pub fn frame(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[u8],
        key: Option<[u8; 4]>,
    ) {
        let sent = directions(self.agreement, self.role).0;
        if payload.len() < PAYLOAD_BYTES_MIN || sent.window_bits < WINDOW_BITS_MIN {
            return write::frame(out, opcode, true, false, payload, key);
        }
        let start = out.len();
        let level = self.shared.level;
        let is_kept = match self.kept.as_deref_mut() {
            Some(kept) if sent.take_over => {
                let make = || Deflater::new(level, sent.window_bits);
                kept.deflater.get_or_insert_with(make).message(payload, out);
                true
            }
            _ => {
                self.shared.deflater(sent.window_bits).message(payload, out);
                false
            }
        };
        // The peer's window must hear of all that ours has heard, but nobody else cares.
        if !is_kept && out.len() - start >= payload.len() {
            out.truncate(start);
            return write::frame(out, opcode, true, false, payload, key);
        }
        finish(out, start, opcode, key);
    }
}

/// Makes a compressed frame of what stands in `out` from `start` on.
fn finish(out: &mut Vec<u8>, start: usize, opcode: Opcode, key: Option<[u8; 4]>) {
    let end = out.len();
    if let Some(key) = key {
        mask::apply(&mut out[start..], key);
    }
    let header = header::of(opcode, true, true, end - start, key);
    header.insert(out, start);
}

/// What is sent and what is received, as agreed, seen from one end.
fn directions(agreement: Agreement, role: Role) -> (agree::Direction, agree::Direction) {
    match role {
        Role::Server => (agreement.server(), agreement.client()),
        Role::Client => (agreement.client(), agreement.server()),
    }
}

#[cfg(test)]
mod tests;
