//! What is wrong with a peer's bytes: its fault, never ours; it costs its own connection only.

use std::fmt;

use flatbuffers::InvalidFlatbuffer;

use crate::code;

/// Bytes that are no protocol, with what was found where and what is allowed.
///
/// All are fatal for the connection, except [`Malformed::UnknownKind`] with `optional`, which asks
/// for nothing but to be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The connection does not begin with [`crate::frame::PREFACE`].
    Preface {
        /// Offset of the first wrong byte.
        at: usize,
        /// The byte.
        found: u8,
        /// What stands there in the preface.
        expected: u8,
    },
    /// A header that names a longer body than the receiver takes.
    BodyTooLong {
        /// Named.
        body_bytes: u32,
        /// Allowed.
        body_bytes_max: u32,
    },
    /// A kind this version does not know.
    UnknownKind {
        /// The kind.
        kind: u8,
        /// The sender says that it may be skipped.
        optional: bool,
    },
    /// A compressed body though no compression was negotiated.
    Compressed {
        /// The frame's kind.
        kind: u8,
    },
    /// A body that is no FlatBuffers table of this kind.
    Body {
        /// The frame's kind.
        kind: u8,
        /// Why not.
        fault: BodyFault,
        /// Offset in the body; 0 if it has none in particular.
        at: usize,
    },
    /// A name that is longer than [`crate::message::NAME_BYTES_MAX`].
    NameTooLong {
        /// Field.
        field: &'static str,
        /// Its bytes.
        name_bytes: usize,
        /// Allowed.
        name_bytes_max: usize,
    },
    /// A number outside of its range.
    OutOfRange {
        /// Field.
        field: &'static str,
        /// Found.
        value: u64,
        /// Lowest allowed.
        min: u64,
        /// Highest allowed.
        max: u64,
    },
}

/// Why a body is no FlatBuffers table of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Something lies outside of the body.
    OutOfBounds,
    /// Something stands at an odd place.
    Unaligned,
    /// A text is not UTF-8.
    NotUtf8,
    /// A text is not followed by a zero byte.
    Unterminated,
    /// A field that must be there is not.
    Missing,
    /// More parts, or parts shared more often, than any honest body has.
    TooComplex,
}

impl Malformed {
    /// Code of [`crate::code`] to be sent before the connection is closed.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Preface { .. } | Self::Compressed { .. } | Self::Body { .. } => code::MALFORMED,
            Self::BodyTooLong { .. } => code::FRAME_TOO_LONG,
            Self::UnknownKind { .. } => code::UNKNOWN_KIND,
            Self::NameTooLong { .. } => code::BAD_NAME,
            Self::OutOfRange { .. } => code::BAD_REQUEST,
        }
    }

    /// The connection is to be closed; otherwise the frame is to be skipped.
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::UnknownKind { optional: true, .. })
    }

    #[cold]
    pub(crate) fn body(kind: u8, invalid: &InvalidFlatbuffer) -> Self {
        let (fault, at) = match invalid {
            InvalidFlatbuffer::RangeOutOfBounds { range, .. } => {
                (BodyFault::OutOfBounds, range.start)
            }
            InvalidFlatbuffer::SignedOffsetOutOfBounds { position, .. } => {
                (BodyFault::OutOfBounds, *position)
            }
            InvalidFlatbuffer::Unaligned { position, .. } => (BodyFault::Unaligned, *position),
            InvalidFlatbuffer::Utf8Error { error, range, .. } => {
                (BodyFault::NotUtf8, range.start + error.valid_up_to())
            }
            InvalidFlatbuffer::MissingNullTerminator { range, .. } => {
                (BodyFault::Unterminated, range.end)
            }
            InvalidFlatbuffer::MissingRequiredField { .. }
            | InvalidFlatbuffer::InconsistentUnion { .. } => (BodyFault::Missing, 0),
            InvalidFlatbuffer::TooManyTables
            | InvalidFlatbuffer::ApparentSizeTooLarge
            | InvalidFlatbuffer::DepthLimitReached => (BodyFault::TooComplex, 0),
        };
        Self::Body { kind, fault, at }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Preface { at, found, expected } => {
                write!(f, "preface: byte {at} is {found:#04x}, must be {expected:#04x}")
            }
            Self::BodyTooLong { body_bytes, body_bytes_max } => {
                write!(
                    f,
                    "header byte 0: body of {body_bytes} bytes, allowed 0 to {body_bytes_max}"
                )
            }
            Self::UnknownKind { kind, optional } => {
                let word = if optional { "optional" } else { "required" };
                write!(f, "header byte 4: unknown {word} kind {kind}, known are 1 to 14")
            }
            Self::Compressed { kind } => {
                write!(f, "header byte 5: kind {kind} compressed, but no compression is agreed")
            }
            Self::Body { kind, fault, at } => {
                let word = match fault {
                    BodyFault::OutOfBounds => "points out of the body",
                    BodyFault::Unaligned => "is not aligned",
                    BodyFault::NotUtf8 => "is not UTF-8",
                    BodyFault::Unterminated => "is not the zero byte that ends a text",
                    BodyFault::Missing => "lacks a required field",
                    BodyFault::TooComplex => "has more parts than allowed",
                };
                write!(f, "kind {kind}: body byte {at} {word}")
            }
            Self::NameTooLong { field, name_bytes, name_bytes_max } => {
                write!(f, "{field}: {name_bytes} bytes, allowed 0 to {name_bytes_max}")
            }
            Self::OutOfRange { field, value, min, max } => {
                write!(f, "{field}: {value}, allowed {min} to {max}")
            }
        }
    }
}

impl std::error::Error for Malformed {}
