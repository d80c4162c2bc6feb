//! What is wrong with a peer's packets.

use super::{Kind, reason};
use std::fmt;

/// A packet that is refused: always fatal for its connection, as both norms say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The packet, once its first byte names one.
    pub kind: Option<Kind>,
    /// What was found.
    pub fault: Fault,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A packet type that is reserved.
    PacketType {
        /// The type.
        found: u8,
    },
    /// A packet that only the other side sends, or that this version does not have.
    WrongSide,
    /// Flags of the fixed header that are reserved.
    Flags {
        /// Low four bits of the first byte.
        found: u8,
    },
    /// A length of more than four bytes, or of more bytes than it needs.
    Length,
    /// A header that names a longer packet than the receiver takes.
    TooLarge {
        /// Named, header included.
        packet_bytes: u32,
        /// Allowed.
        packet_bytes_max: u32,
    },
    /// The packet ends before this field does.
    Cut {
        /// Field.
        field: &'static str,
    },
    /// There is more in the packet than belongs there.
    Trailing {
        /// Bytes too many.
        bytes: usize,
    },
    /// A text that is not UTF-8, or holds U+0000.
    Text {
        /// Field.
        field: &'static str,
    },
    /// A protocol name that is not this protocol's.
    ProtocolName,
    /// A protocol level this side does not speak.
    ProtocolVersion {
        /// The level.
        level: u8,
    },
    /// A bit or value that is reserved.
    Reserved {
        /// Field.
        field: &'static str,
        /// Found.
        value: u32,
    },
    /// A combination or a value that the norm forbids.
    Forbidden {
        /// What.
        what: &'static str,
    },
    /// A property that does not exist.
    UnknownProperty {
        /// Identifier.
        id: u32,
    },
    /// A property that may not stand in this packet.
    MisplacedProperty {
        /// Identifier.
        id: u8,
    },
    /// A property that is there twice.
    RepeatedProperty {
        /// Identifier.
        id: u8,
    },
    /// A property with a value it may not have.
    PropertyValue {
        /// Identifier.
        id: u8,
        /// Found.
        value: u32,
    },
    /// A reason code that may not stand in this packet.
    Reason {
        /// The code.
        found: u8,
    },
    /// A topic name that is not one.
    TopicName(TopicFault),
    /// A topic filter that is not one.
    TopicFilter(TopicFault),
}

/// What is wrong with a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFault {
    /// It has no character.
    Empty,
    /// A name with `+` or `#`.
    Wildcard,
    /// `#` not alone in the last level, or `+` not alone in its level.
    WildcardPlace,
    /// More levels than [`super::topic::LEVELS_MAX`].
    TooDeep,
    /// `$share/` without a group, a group with a wildcard, or without a filter behind it.
    Share,
}

impl Malformed {
    /// Reason code to be said before the connection is closed.
    #[must_use]
    pub const fn reason(&self) -> u8 {
        match self.fault {
            Fault::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            Fault::WrongSide
            | Fault::Forbidden { .. }
            | Fault::MisplacedProperty { .. }
            | Fault::RepeatedProperty { .. }
            | Fault::Reason { .. } => reason::PROTOCOL_ERROR,
            Fault::PropertyValue { id: super::property::TOPIC_ALIAS, .. } => {
                reason::TOPIC_ALIAS_INVALID
            }
            Fault::PropertyValue { .. } => reason::PROTOCOL_ERROR,
            Fault::ProtocolName | Fault::ProtocolVersion { .. } => {
                reason::UNSUPPORTED_PROTOCOL_VERSION
            }
            Fault::TopicName(_) => reason::TOPIC_NAME_INVALID,
            Fault::TopicFilter(_) => reason::TOPIC_FILTER_INVALID,
            Fault::PacketType { .. }
            | Fault::Flags { .. }
            | Fault::Length
            | Fault::Cut { .. }
            | Fault::Trailing { .. }
            | Fault::Text { .. }
            | Fault::Reserved { .. }
            | Fault::UnknownProperty { .. } => reason::MALFORMED_PACKET,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}: {}", kind.name(), self.fault),
            None => self.fault.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PacketType { found } => write!(f, "packet type {found} is reserved"),
            Self::WrongSide => write!(f, "not sent by this side in this version"),
            Self::Flags { found } => write!(f, "flags {found:#06b} of the first byte"),
            Self::Length => write!(f, "length beyond four bytes or not in its shortest form"),
            Self::TooLarge { packet_bytes, packet_bytes_max } => {
                write!(f, "{packet_bytes} bytes, allowed {packet_bytes_max}")
            }
            Self::Cut { field } => write!(f, "ends within {field}"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes too many"),
            Self::Text { field } => write!(f, "{field} is not UTF-8 without U+0000"),
            Self::ProtocolName => write!(f, "protocol name is not MQTT"),
            Self::ProtocolVersion { level } => {
                write!(f, "protocol level {level}, spoken are 4 and 5")
            }
            Self::Reserved { field, value } => write!(f, "{field} {value} is reserved"),
            Self::Forbidden { what } => write!(f, "{what}"),
            Self::UnknownProperty { id } => write!(f, "property {id:#04x} does not exist"),
            Self::MisplacedProperty { id } => write!(f, "property {id:#04x} may not stand here"),
            Self::RepeatedProperty { id } => write!(f, "property {id:#04x} is there twice"),
            Self::PropertyValue { id, value } => {
                write!(f, "property {id:#04x} may not be {value}")
            }
            Self::Reason { found } => write!(f, "reason code {found:#04x} may not stand here"),
            Self::TopicName(fault) => write!(f, "topic name {fault}"),
            Self::TopicFilter(fault) => write!(f, "topic filter {fault}"),
        }
    }
}

impl fmt::Display for TopicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Wildcard => "holds a wildcard",
            Self::WildcardPlace => "has a wildcard that is not a level of its own, or # not last",
            Self::TooDeep => "has more than 128 levels",
            Self::Share => "is no $share/group/filter",
        })
    }
}

impl std::error::Error for Malformed {}
