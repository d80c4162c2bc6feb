//! MQTT 3.1.1 and 5.0: control packets, as a server reads and writes them, and as a client does.
//!
//! ```text
//! | type, flags u8 | remaining length 1..4 | variable header … | payload … |      big-endian
//! ```
//!
//! [`step`] cuts a stream into packets and verifies each once; what it gives borrows from the bytes
//! given, and nothing is copied or allocated. [`encode`] appends whole packets to the caller's
//! buffer. What is *not* here: anything that two packets say to each other (packet identifiers in
//! use, aliases, windows): that is the session's.
//!
//! Invariant: a length beyond [`PacketLimits`] is refused as soon as the header is there, a wrong
//! first byte as soon as that is.

mod decode;
pub mod encode;
pub mod malformed;
pub mod packet;
pub mod property;
mod reader;
pub mod reason;
pub mod topic;

pub use decode::step;
pub use malformed::{Fault, Malformed, TopicFault};
pub use packet::Packet;
pub use property::Properties;

/// Bytes of a fixed header, at most.
pub const HEADER_BYTES_MAX: usize = 5;

/// Longest packet of the protocol, header included.
pub const PACKET_BYTES_MAX: u32 = reader::VARIABLE_MAX + HEADER_BYTES_MAX as u32;

/// A version of the protocol, as CONNECT names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Packets of clients are read.
    Server,
    /// Packets of a server are read.
    Client,
}

/// What a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketLimits {
    /// Whose packets are not wanted.
    pub receiver: Role,
    /// Longest packet, bytes, header included.
    pub packet_bytes_max: u32,
}

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// From two bits; 3 is none.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Type of a control packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name = $value,)*
        }

        impl Kind {
            /// All types, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The type of the first byte of a packet.
            #[must_use]
            pub const fn of(first_byte: u8) -> Option<Self> {
                match first_byte >> 4 {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// As the norms write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A client's first packet.
    Connect = 1, "CONNECT";
    /// Its answer.
    Connack = 2, "CONNACK";
    /// A message.
    Publish = 3, "PUBLISH";
    /// It is taken (QoS 1).
    Puback = 4, "PUBACK";
    /// It has arrived (QoS 2).
    Pubrec = 5, "PUBREC";
    /// It will not be repeated.
    Pubrel = 6, "PUBREL";
    /// Its packet identifier is free.
    Pubcomp = 7, "PUBCOMP";
    /// Filters are wanted.
    Subscribe = 8, "SUBSCRIBE";
    /// Their answers.
    Suback = 9, "SUBACK";
    /// Filters are not wanted any more.
    Unsubscribe = 10, "UNSUBSCRIBE";
    /// Their answers.
    Unsuback = 11, "UNSUBACK";
    /// Are you there?
    Pingreq = 12, "PINGREQ";
    /// Yes.
    Pingresp = 13, "PINGRESP";
    /// Good-bye.
    Disconnect = 14, "DISCONNECT";
    /// Part of an authentication.
    Auth = 15, "AUTH";
}

/// What is at the start of the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole packet.
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// Bytes it took: the next one starts there.
        consumed: usize,
    },
    /// An unfinished packet.
    NeedMore {
        /// Bytes needed in all, counted from the start of those given; more than were given, and
        /// at most the longest packet allowed.
        at_least: usize,
    },
}
