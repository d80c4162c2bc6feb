//! What a peer did that ends its connection, with the close code that says so.

use std::fmt;

use super::close;

/// A broken rule of RFC 6455 or RFC 7692, or a limit passed. Fatal for the connection: the caller
/// sends a close frame with [`Violation::close_code`] and reads no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Reserved bits that no agreed extension gives a meaning to here.
    ReservedBits {
        /// RSV1 to RSV3 as the bits 4, 2, 1.
        bits: u8,
    },
    /// An opcode the norm reserves.
    ReservedOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A client's frame without mask.
    Unmasked,
    /// A server's frame with mask.
    Masked,
    /// A length written in more bytes than it needs.
    LengthNotMinimal {
        /// The length.
        payload_bytes: u64,
    },
    /// A length with its highest bit set.
    LengthTooHigh,
    /// A control frame in fragments.
    ControlFragmented,
    /// A control frame beyond [`super::CONTROL_BYTES_MAX`].
    ControlTooLong,
    /// A continuation though no message is under way.
    NothingToContinue,
    /// A new message within a message.
    MessageUnfinished,
    /// A frame longer than the receiver takes.
    FrameTooLong {
        /// Named in its header.
        payload_bytes: u64,
        /// Allowed.
        payload_bytes_max: u32,
    },
    /// A message longer than the receiver takes, before or after it was inflated.
    MessageTooLong {
        /// Allowed.
        message_bytes_max: u32,
    },
    /// A text that is not UTF-8.
    NotUtf8 {
        /// Offset of the first wrong byte in the message or close reason.
        at: usize,
    },
    /// A close frame of one byte.
    CloseOneByte,
    /// A close code that must not be sent.
    CloseCode {
        /// The code.
        code: u16,
    },
    /// A compressed payload that is no DEFLATE data.
    NotDeflate,
}

impl Violation {
    /// Code for the close frame ([`close::code`]).
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal { .. }
            | Self::LengthTooHigh
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::NothingToContinue
            | Self::MessageUnfinished
            | Self::CloseOneByte
            | Self::CloseCode { .. } => close::code::PROTOCOL_ERROR,
            Self::NotUtf8 { .. } | Self::NotDeflate => close::code::INVALID_PAYLOAD,
            Self::FrameTooLong { .. } | Self::MessageTooLong { .. } => close::code::TOO_BIG,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ReservedBits { bits } => {
                write!(f, "reserved bits {bits:#05b} without an agreed meaning")
            }
            Self::ReservedOpcode { opcode } => write!(f, "reserved opcode {opcode:#x}"),
            Self::Unmasked => f.write_str("frame of a client without mask"),
            Self::Masked => f.write_str("frame of a server with mask"),
            Self::LengthNotMinimal { payload_bytes } => {
                write!(f, "length {payload_bytes} not written in the fewest bytes")
            }
            Self::LengthTooHigh => f.write_str("length with its highest bit set"),
            Self::ControlFragmented => f.write_str("control frame in fragments"),
            Self::ControlTooLong => f.write_str("control frame of more than 125 bytes"),
            Self::NothingToContinue => f.write_str("continuation of no message"),
            Self::MessageUnfinished => f.write_str("new message within an unfinished one"),
            Self::FrameTooLong { payload_bytes, payload_bytes_max } => {
                write!(f, "frame of {payload_bytes} bytes, allowed 0 to {payload_bytes_max}")
            }
            Self::MessageTooLong { message_bytes_max } => {
                write!(f, "message of more than {message_bytes_max} bytes")
            }
            Self::NotUtf8 { at } => write!(f, "text byte {at} is not UTF-8"),
            Self::CloseOneByte => f.write_str("close frame of one byte"),
            Self::CloseCode { code } => write!(f, "close code {code} may not be sent"),
            Self::NotDeflate => f.write_str("compressed payload is no DEFLATE data"),
        }
    }
}

impl std::error::Error for Violation {}
