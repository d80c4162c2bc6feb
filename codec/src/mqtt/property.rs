//! Properties of MQTT 5.0 (section 2.2.2): checked once when the packet is decoded, then read in
//! place.
//!
//! Invariant: a [`Properties`] given out by the decoder holds known properties only, each where it
//! may stand, each once unless it may be repeated, each with a value it may have.

use super::{
    malformed::Fault,
    reader::{Reader, put_variable, variable_bytes},
    topic,
};

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $form:ident, $places:expr;)*) => {
        $($(#[$doc])* pub const $name: u8 = $id;)*

        /// How a property's value is written, and where it may stand.
        const fn shape(id: u8) -> Option<(Form, Places)> {
            match id {
                $($id => Some((Form::$form, $places)),)*
                _ => None,
            }
        }
    };
}

/// Packets a property may stand in, a set.
pub(super) type Places = u16;

/// See [`Places`].
pub(super) mod place {
    use super::Places;

    pub const CONNECT: Places = 1;
    pub const WILL: Places = 2;
    pub const CONNACK: Places = 4;
    pub const PUBLISH: Places = 8;
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub const ANSWER: Places = 16;
    pub const SUBSCRIBE: Places = 32;
    /// SUBACK, UNSUBACK.
    pub const SUBACK: Places = 64;
    pub const UNSUBSCRIBE: Places = 128;
    pub const DISCONNECT: Places = 256;
    pub const AUTH: Places = 512;
    pub const ALL: Places = 1023;
}

use place::*;

#[derive(Clone, Copy)]
enum Form {
    Byte,
    Short,
    Long,
    Variable,
    Text,
    Binary,
    Pair,
}

properties! {
    /// 1: the payload is UTF-8.
    PAYLOAD_FORMAT = 0x01, Byte, PUBLISH | WILL;
    /// Seconds until the message is worth nothing.
    MESSAGE_EXPIRY = 0x02, Long, PUBLISH | WILL;
    /// MIME type or the like.
    CONTENT_TYPE = 0x03, Text, PUBLISH | WILL;
    /// Topic name for an answer.
    RESPONSE_TOPIC = 0x08, Text, PUBLISH | WILL;
    /// Tells what an answer is an answer to.
    CORRELATION_DATA = 0x09, Binary, PUBLISH | WILL;
    /// Number of a subscription; several may stand in a PUBLISH to a client.
    SUBSCRIPTION_IDENTIFIER = 0x0B, Variable, PUBLISH | SUBSCRIBE;
    /// Seconds the session is kept after the connection, `u32::MAX`: for ever.
    SESSION_EXPIRY = 0x11, Long, CONNECT | CONNACK | DISCONNECT;
    /// Client identifier made by the server.
    ASSIGNED_CLIENT_IDENTIFIER = 0x12, Text, CONNACK;
    /// Keep-alive the client shall use, seconds.
    SERVER_KEEP_ALIVE = 0x13, Short, CONNACK;
    /// Name of an authentication method.
    AUTHENTICATION_METHOD = 0x15, Text, CONNECT | CONNACK | AUTH;
    /// Its data.
    AUTHENTICATION_DATA = 0x16, Binary, CONNECT | CONNACK | AUTH;
    /// 0: reason strings and user properties only where they cannot be left out.
    REQUEST_PROBLEM_INFORMATION = 0x17, Byte, CONNECT;
    /// Seconds from the end of the connection to the will.
    WILL_DELAY = 0x18, Long, WILL;
    /// 1: the client wants response information.
    REQUEST_RESPONSE_INFORMATION = 0x19, Byte, CONNECT;
    /// Base of response topics.
    RESPONSE_INFORMATION = 0x1A, Text, CONNACK;
    /// Another server to be used.
    SERVER_REFERENCE = 0x1C, Text, CONNACK | DISCONNECT;
    /// Text for people.
    REASON_STRING = 0x1F, Text, CONNACK | ANSWER | SUBACK | DISCONNECT | AUTH;
    /// Publishes of QoS 1 and 2 the sender takes unanswered.
    RECEIVE_MAXIMUM = 0x21, Short, CONNECT | CONNACK;
    /// Topic aliases the sender takes.
    TOPIC_ALIAS_MAXIMUM = 0x22, Short, CONNECT | CONNACK;
    /// Stands for the topic name, or sets what it stands for.
    TOPIC_ALIAS = 0x23, Short, PUBLISH;
    /// Highest quality of service the server takes.
    MAXIMUM_QOS = 0x24, Byte, CONNACK;
    /// 0: the server keeps no retained messages.
    RETAIN_AVAILABLE = 0x25, Byte, CONNACK;
    /// A name and a value; may be repeated, order is kept.
    USER_PROPERTY = 0x26, Pair, ALL;
    /// Longest packet the sender takes, bytes.
    MAXIMUM_PACKET_SIZE = 0x27, Long, CONNECT | CONNACK;
    /// 0: no wildcards in filters.
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28, Byte, CONNACK;
    /// 0: no subscription identifiers.
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29, Byte, CONNACK;
    /// 0: no shared subscriptions.
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A, Byte, CONNACK;
}

/// Properties of a published message that go with it to whoever receives it. What else a PUBLISH
/// holds is between two sides of one connection, or counted down (the expiry).
pub const PASSED_ON: u64 = 1 << PAYLOAD_FORMAT
    | 1 << CONTENT_TYPE
    | 1 << RESPONSE_TOPIC
    | 1 << CORRELATION_DATA
    | 1 << USER_PROPERTY;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Short(u16),
    /// Four bytes.
    Long(u32),
    /// Variable byte integer.
    Variable(u32),
    /// UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// Name and value.
    Pair(&'a str, &'a str),
}

/// The properties of one packet, in the form they have on the wire (without their length).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    /// Bit n: property n is there.
    present: u64,
}

impl<'a> Properties<'a> {
    /// None.
    pub const NONE: Self = Self { bytes: &[], present: 0 };

    /// Reads length and properties off `reader` and checks them for a packet.
    pub(super) fn take(reader: &mut Reader<'a>, at: Places) -> Result<Self, Fault> {
        let length = reader.variable("property length")?;
        if length == 0 {
            return Ok(Self::NONE);
        }
        Self::check(reader.bytes(length as usize, "properties")?, at)
    }

    fn check(bytes: &'a [u8], at: Places) -> Result<Self, Fault> {
        let mut present = 0;
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let id = reader.variable("property identifier")?;
            let unknown = Fault::UnknownProperty { id };
            let (id, (form, places)) =
                u8::try_from(id).ok().and_then(|id| Some((id, shape(id)?))).ok_or(unknown)?;
            if places & at == 0 {
                return Err(Fault::MisplacedProperty { id });
            }
            let many = id == USER_PROPERTY || id == SUBSCRIPTION_IDENTIFIER && at & PUBLISH != 0;
            if present & (1 << id) != 0 && !many {
                return Err(Fault::RepeatedProperty { id });
            }
            present |= 1 << id;
            check_value(id, read_value(form, &mut reader)?)?;
        }
        Ok(Self { bytes, present })
    }

    /// Properties from bytes that [`put`] made or a decoder has checked.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut all = Self { bytes, present: 0 };
        for (id, _) in all.iter() {
            all.present |= 1 << id;
        }
        all
    }

    /// As on the wire, without their length.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Is property `id` there?
    #[must_use]
    pub fn has(&self, id: u8) -> bool {
        self.present >> id & 1 != 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Value<'a>)> + use<'a> {
        self.iter_raw().map(|(id, value, _)| (id, value))
    }

    /// As [`Properties::iter`], with the bytes of each, identifier included.
    fn iter_raw(&self) -> impl Iterator<Item = (u8, Value<'a>, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let before = reader.rest();
            let id = reader.u8("").ok()?;
            let value = read_value(shape(id)?.0, &mut reader).ok()?;
            Some((id, value, &before[..before.len() - reader.rest().len()]))
        })
    }

    /// First value of property `id`.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<Value<'a>> {
        if !self.has(id) {
            return None;
        }
        self.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// Number of property `id`, if it is there and is one.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Byte(value) => Some(value.into()),
            Value::Short(value) => Some(value.into()),
            Value::Long(value) | Value::Variable(value) => Some(value),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }

    /// Text of property `id`, if it is there and is one.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<&'a str> {
        match self.get(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Those that go with a published message to its receivers ([`PASSED_ON`]), in their order:
    /// the bytes as they are if nothing else is there, else gathered in `scratch`.
    #[must_use]
    pub fn passed_on<'s>(&self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        if self.present & !PASSED_ON == 0 {
            return self.bytes;
        }
        scratch.clear();
        for (id, _, raw) in self.iter_raw() {
            if PASSED_ON >> id & 1 != 0 {
                scratch.extend_from_slice(raw);
            }
        }
        scratch
    }
}

fn read_value<'a>(form: Form, reader: &mut Reader<'a>) -> Result<Value<'a>, Fault> {
    const FIELD: &str = "property";
    Ok(match form {
        Form::Byte => Value::Byte(reader.u8(FIELD)?),
        Form::Short => Value::Short(reader.u16(FIELD)?),
        Form::Long => Value::Long(reader.u32(FIELD)?),
        Form::Variable => Value::Variable(reader.variable(FIELD)?),
        Form::Text => Value::Text(reader.text(FIELD)?),
        Form::Binary => Value::Binary(reader.binary(FIELD)?),
        Form::Pair => Value::Pair(reader.text(FIELD)?, reader.text(FIELD)?),
    })
}

fn check_value(id: u8, value: Value<'_>) -> Result<(), Fault> {
    let wrong = |value: u32| Err(Fault::PropertyValue { id, value });
    match (id, value) {
        // All properties of one byte are switches, the maximum QoS (0 or 1) included.
        (_, Value::Byte(found)) if found > 1 => wrong(found.into()),
        (RECEIVE_MAXIMUM | TOPIC_ALIAS, Value::Short(0))
        | (MAXIMUM_PACKET_SIZE, Value::Long(0))
        | (SUBSCRIPTION_IDENTIFIER, Value::Variable(0)) => wrong(0),
        (RESPONSE_TOPIC, Value::Text(name)) => topic::check_name(name).map_err(Fault::TopicName),
        _ => Ok(()),
    }
}

/// Appends one property.
pub fn put(out: &mut Vec<u8>, id: u8, value: Value<'_>) {
    out.push(id);
    match value {
        Value::Byte(value) => out.push(value),
        Value::Short(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Long(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Variable(value) => put_variable(out, value),
        Value::Text(text) => put_binary(out, text.as_bytes()),
        Value::Binary(bytes) => put_binary(out, bytes),
        Value::Pair(name, value) => {
            put_binary(out, name.as_bytes());
            put_binary(out, value.as_bytes());
        }
    }
}

/// Appends a field with its length; one beyond 65,535 bytes is cut, which only a text of our own
/// could be.
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().min(usize::from(u16::MAX));
    debug_assert_eq!(length, bytes.len());
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&bytes[..length]);
}

/// Bytes of a block of properties with the length before it.
pub(super) fn block_bytes(properties: usize) -> usize {
    variable_bytes(properties as u32) + properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8], at: Places) -> Result<Properties<'_>, Fault> {
        Properties::check(bytes, at)
    }

    #[test]
    fn a_property_stands_where_it_may_and_once() {
        let mut alias = Vec::new();
        put(&mut alias, TOPIC_ALIAS, Value::Short(3));
        assert_eq!(checked(&alias, PUBLISH).unwrap().number(TOPIC_ALIAS), Some(3));
        let misplaced = Err(Fault::MisplacedProperty { id: TOPIC_ALIAS });
        assert_eq!(checked(&alias, CONNECT), misplaced);
        let twice = [alias.as_slice(), &alias].concat();
        assert_eq!(checked(&twice, PUBLISH), Err(Fault::RepeatedProperty { id: TOPIC_ALIAS }));
        assert_eq!(checked(&[0x7F, 0], PUBLISH), Err(Fault::UnknownProperty { id: 0x7F }));
        assert_eq!(checked(&[0xFF, 1, 0], PUBLISH), Err(Fault::UnknownProperty { id: 255 }));
    }

    // norm: MQTT5-3.3.2-8
    #[test]
    fn values_that_the_norm_forbids_are_refused() {
        for (id, value, found) in [
            (TOPIC_ALIAS, Value::Short(0), 0),
            (PAYLOAD_FORMAT, Value::Byte(2), 2),
            (SUBSCRIPTION_IDENTIFIER, Value::Variable(0), 0),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, id, value);
            let wrong = Err(Fault::PropertyValue { id, value: found });
            assert_eq!(checked(&bytes, PUBLISH), wrong);
        }
        for (id, value) in
            [(RECEIVE_MAXIMUM, Value::Short(0)), (MAXIMUM_PACKET_SIZE, Value::Long(0))]
        {
            let mut bytes = Vec::new();
            put(&mut bytes, id, value);
            assert_eq!(checked(&bytes, CONNECT), Err(Fault::PropertyValue { id, value: 0 }));
        }
    }

    // norm: MQTT5-3.3.2-14
    #[test]
    fn a_response_topic_is_a_topic_name() {
        let mut bytes = Vec::new();
        put(&mut bytes, RESPONSE_TOPIC, Value::Text("answers/+"));
        assert!(matches!(checked(&bytes, PUBLISH), Err(Fault::TopicName(_))));
    }

    // norm: MQTT5-3.3.2-17
    // norm: MQTT5-3.3.2-18
    // norm: MQTT5-3.3.2-20
    // norm: MQTT5-3.3.2-15
    // norm: MQTT5-3.3.2-16
    // norm: MQTT5-3.3.2-4
    #[test]
    fn what_is_passed_on_keeps_its_bytes_and_its_order() {
        let mut passed = Vec::new();
        put(&mut passed, USER_PROPERTY, Value::Pair("b", "2"));
        put(&mut passed, CORRELATION_DATA, Value::Binary(&[0, 255]));
        put(&mut passed, RESPONSE_TOPIC, Value::Text("r"));
        put(&mut passed, PAYLOAD_FORMAT, Value::Byte(1));
        put(&mut passed, CONTENT_TYPE, Value::Text("text/plain"));
        put(&mut passed, USER_PROPERTY, Value::Pair("a", "1"));
        let mut scratch = Vec::new();
        let alone = checked(&passed, PUBLISH).unwrap();
        assert_eq!(alone.passed_on(&mut scratch), passed);
        assert!(scratch.is_empty(), "nothing was copied");
        let mut mixed = Vec::new();
        put(&mut mixed, TOPIC_ALIAS, Value::Short(1));
        mixed.extend_from_slice(&passed[..7]);
        put(&mut mixed, MESSAGE_EXPIRY, Value::Long(9));
        mixed.extend_from_slice(&passed[7..]);
        put(&mut mixed, SUBSCRIPTION_IDENTIFIER, Value::Variable(300));
        put(&mut mixed, SUBSCRIPTION_IDENTIFIER, Value::Variable(301));
        let mixed = checked(&mixed, PUBLISH).unwrap();
        assert_eq!(mixed.passed_on(&mut scratch), passed);
    }
}
