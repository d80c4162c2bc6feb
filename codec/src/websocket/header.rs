//! Headers of frames (RFC 6455 5.2): 2, 4 or 10 bytes, and 4 more for the mask's key.

use super::{CONTROL_BYTES_MAX, Role, Violation};

/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED_SHIFT: u32 = 4;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Next fragment of the message under way.
    Continuation = 0,
    /// First or only fragment of a text.
    Text = 1,
    /// First or only fragment of bytes.
    Binary = 2,
    /// End of the connection.
    Close = 8,
    /// Question for a pong.
    Ping = 9,
    /// Answer to a ping, or a sign of life.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong: short, whole, allowed between the fragments of a message.
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn of(opcode: u8) -> Option<Self> {
        match opcode {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }
}

/// A frame's header; it exists only if the norm allows it from that end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Last fragment of its message.
    pub fin: bool,
    /// RSV1 to RSV3 as the bits 4, 2, 1; the reader knows which are allowed.
    pub reserved: u8,
    /// What it is.
    pub opcode: Opcode,
    /// Bytes of payload.
    pub payload_bytes: u64,
    /// Key of the mask; zeros from a server, which change nothing.
    pub key: [u8; 4],
    /// Bytes of the header itself.
    pub header_bytes: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`, sent to the end with the given role; `None` while
    /// it is unfinished. What can be refused by its first two bytes, is.
    ///
    /// # Errors
    /// [`Violation`] of what is wrong in itself, whatever came before.
    #[inline]
    pub fn parse(role: Role, bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let (fin, reserved) = (first & FIN != 0, first >> RESERVED_SHIFT & 7);
        let Some(opcode) = Opcode::of(first & 15) else {
            return Err(Violation::ReservedOpcode { opcode: first & 15 });
        };
        match (role, second & MASKED != 0) {
            (Role::Server, false) => return Err(Violation::Unmasked),
            (Role::Client, true) => return Err(Violation::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() {
            if !fin {
                return Err(Violation::ControlFragmented);
            }
            if usize::from(short) > CONTROL_BYTES_MAX {
                return Err(Violation::ControlTooLong);
            }
        }
        let Some((payload_bytes, rest)) = length(short, rest)? else { return Ok(None) };
        let key_bytes = if role == Role::Server { 4 } else { 0 };
        let Some(key) = rest.get(..key_bytes) else { return Ok(None) };
        let key = key.try_into().unwrap_or_default();
        let header_bytes = bytes.len() - rest.len() + key_bytes;
        Ok(Some(Self { fin, reserved, opcode, payload_bytes, key, header_bytes }))
    }
}

/// The length behind the header's first two bytes, and the bytes after it.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (payload_bytes, fewest, rest) = match short {
        LENGTH_16 => {
            let Some((wide, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*wide)), u64::from(LENGTH_16), rest)
        }
        LENGTH_64 => {
            let Some((wide, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*wide), 1 << 16, rest)
        }
        short => (u64::from(short), 0, rest),
    };
    if payload_bytes > i64::MAX as u64 {
        return Err(Violation::LengthTooHigh);
    }
    if payload_bytes < fewest {
        return Err(Violation::LengthNotMinimal { payload_bytes });
    }
    Ok(Some((payload_bytes, rest)))
}

/// A header ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    bytes: [u8; HEADER_BYTES_MAX],
    length: u8,
}

impl Written {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Puts it into `out` before what stands there from `start` on.
    ///
    /// # Panics
    /// If `start` is beyond the end of `out`.
    pub fn insert(&self, out: &mut Vec<u8>, start: usize) {
        let end = out.len();
        let header = self.as_bytes();
        out.extend_from_slice(header);
        out.copy_within(start..end, start + header.len());
        out[start..start + header.len()].copy_from_slice(header);
    }
}

/// The header of a frame; `compressed` sets RSV1, `key` is a client's.
pub fn of(
    opcode: Opcode,
    fin: bool,
    compressed: bool,
    payload_bytes: usize,
    key: Option<[u8; 4]>,
) -> Written {
    let first =
        opcode as u8 | if fin { FIN } else { 0 } | if compressed { 4 << RESERVED_SHIFT } else { 0 };
    let masked = if key.is_some() { MASKED } else { 0 };
    let mut bytes = [0; HEADER_BYTES_MAX];
    bytes[0] = first;
    let mut length = match payload_bytes {
        0..=125 => {
            bytes[1] = masked | payload_bytes as u8;
            2
        }
        126..=0xffff => {
            bytes[1] = masked | LENGTH_16;
            bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = masked | LENGTH_64;
            bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = key {
        bytes[length..length + 4].copy_from_slice(&key);
        length += 4;
    }
    Written { bytes, length: length as u8 }
}
