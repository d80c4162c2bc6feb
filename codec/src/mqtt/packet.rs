//! Control packets as views of the bytes they stand in.
//!
//! The same types are read by [`super::step`] and written by [`super::encode`]. What the older
//! version does not have is empty there: properties, reason codes other than success.

use super::{
    Properties, Qos, Version,
    property::{MESSAGE_EXPIRY, SUBSCRIPTION_IDENTIFIER, TOPIC_ALIAS},
    reader::Reader,
};

/// One control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client's first packet.
    Connect(Connect<'a>),
    /// Its answer.
    Connack(Connack<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// It is taken (QoS 1).
    Puback(Answer<'a>),
    /// It has arrived (QoS 2).
    Pubrec(Answer<'a>),
    /// It will not be repeated.
    Pubrel(Answer<'a>),
    /// Its packet identifier is free.
    Pubcomp(Answer<'a>),
    /// Filters are wanted.
    Subscribe(Subscribe<'a>),
    /// Their answers.
    Suback(Suback<'a>),
    /// Filters are not wanted any more.
    Unsubscribe(Unsubscribe<'a>),
    /// Their answers.
    Unsuback(Suback<'a>),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// Good-bye.
    Disconnect(Disconnect<'a>),
    /// Part of an authentication.
    Auth(Disconnect<'a>),
}

/// CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Version of all that follows on the connection.
    pub version: Version,
    /// Clean session (3.1.1), clean start (5.0).
    pub clean: bool,
    /// Seconds between two packets of the client, at most; 0: no bound.
    pub keep_alive_s: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// May be empty: the server is to make one.
    pub client_id: &'a str,
    /// Published when the connection ends otherwise than by DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User name.
    pub user: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// A will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its quality of service.
    pub qos: Qos,
    /// It is to be retained.
    pub retain: bool,
    /// Properties.
    pub properties: Properties<'a>,
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
}

/// CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// The server had a session of this client.
    pub session_present: bool,
    /// Reason code, or return code of 3.1.1.
    pub reason: u8,
    /// Properties.
    pub properties: Properties<'a>,
}

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// It may have been sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// To be retained; towards a client: it was.
    pub retain: bool,
    /// Topic name; empty where an alias stands for it.
    pub topic: &'a str,
    /// Packet identifier, 0 with QoS 0.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    /// Topic alias, if there is one.
    #[must_use]
    pub fn alias(&self) -> Option<u16> {
        self.properties.number(TOPIC_ALIAS).map(|alias| alias as u16)
    }

    /// Seconds until it is worth nothing, if it says so.
    #[must_use]
    pub fn expiry_s(&self) -> Option<u32> {
        self.properties.number(MESSAGE_EXPIRY)
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Packet identifier.
    pub packet_id: u16,
    /// Reason code.
    pub reason: u8,
    /// Properties.
    pub properties: Properties<'a>,
}

/// DISCONNECT, AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Reason code.
    pub reason: u8,
    /// Properties.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet identifier.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Filters<'a>,
}

impl Subscribe<'_> {
    /// Subscription identifier, 0 without one.
    #[must_use]
    pub fn identifier(&self) -> u32 {
        self.properties.number(SUBSCRIPTION_IDENTIFIER).unwrap_or(0)
    }
}

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// At least one; without options.
    pub filters: Filters<'a>,
}

/// SUBACK, UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Packet identifier.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// One reason code for each filter asked for, in its order; an UNSUBACK of 3.1.1 has none.
    pub reasons: &'a [u8],
}

/// Filters of a SUBSCRIBE or UNSUBSCRIBE, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) options: bool,
}

impl<'a> Filters<'a> {
    /// Filters from bytes that [`Filters::put`] made, with options or all without.
    #[must_use]
    pub fn of(bytes: &'a [u8], options: bool) -> Self {
        Self { bytes, options }
    }

    /// Appends one filter.
    pub fn put(out: &mut Vec<u8>, filter: &str, options: Option<Options>) {
        super::property::put_binary(out, filter.as_bytes());
        out.extend(options.map(Options::bits));
    }

    /// Each filter with its options (those of an UNSUBSCRIBE are zero).
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Options)> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        let options = self.options;
        std::iter::from_fn(move || {
            let filter = reader.text("").ok()?;
            let bits = if options { reader.u8("").ok()? } else { 0 };
            Some((filter, Options(bits)))
        })
    }
}

/// Options of a subscription; in 3.1.1 only the quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options(pub(super) u8);

impl Options {
    /// Retained messages are sent when subscribing.
    pub const RETAIN_ALWAYS: u8 = 0;
    /// Only if the subscription is new.
    pub const RETAIN_IF_NEW: u8 = 1;
    /// Never.
    pub const RETAIN_NEVER: u8 = 2;

    /// Options put together; `retain_handling` is one of the constants here.
    #[must_use]
    pub const fn new(
        qos: Qos,
        no_local: bool,
        retain_as_published: bool,
        retain_handling: u8,
    ) -> Self {
        let flags = (no_local as u8) << 2 | (retain_as_published as u8) << 3;
        Self(qos as u8 | flags | (retain_handling & 3) << 4)
    }

    /// From their byte, if it is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & 3 == 3 || bits >> 4 > 2 { None } else { Some(Self(bits)) }
    }

    /// As on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Highest quality of service wanted.
    #[must_use]
    pub const fn qos(self) -> Qos {
        match self.0 & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    /// Messages the client itself publishes are not wanted.
    #[must_use]
    pub const fn no_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// The retain flag is to be passed on as published.
    #[must_use]
    pub const fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }

    /// When retained messages are wanted: one of the constants here.
    #[must_use]
    pub const fn retain_handling(self) -> u8 {
        self.0 >> 4 & 3
    }
}
