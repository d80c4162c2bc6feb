//! Bytes to packets.

use super::{
    Fault, HEADER_BYTES_MAX, Kind, Malformed, PacketLimits, Properties, Qos, Role, Step, Version,
    packet::{
        Answer, Connack, Connect, Disconnect, Filters, Options, Packet, Publish, Suback, Subscribe,
        Unsubscribe, Will,
    },
    property::{self, place},
    reader::{Reader, variable},
    reason, topic,
};

/// Takes the packet at the start of `bytes`. A CONNECT says its own version; `version` is that of
/// all other packets.
///
/// # Errors
/// What is wrong; the connection is lost then.
#[inline]
pub fn step<'a>(
    limits: &PacketLimits,
    version: Version,
    bytes: &'a [u8],
) -> Result<Step<'a>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Step::NeedMore { at_least: 2 });
    };
    let kind = check_first(first, limits.receiver, version)?;
    let blame = |fault| Malformed { kind: Some(kind), fault };
    let Some((length, length_bytes)) = variable(rest).map_err(blame)? else {
        return Ok(Step::NeedMore { at_least: bytes.len() + 1 });
    };
    let header_bytes = 1 + length_bytes;
    let packet_bytes = length + header_bytes as u32;
    if packet_bytes > limits.packet_bytes_max {
        let packet_bytes_max = limits.packet_bytes_max;
        return Err(blame(Fault::TooLarge { packet_bytes, packet_bytes_max }));
    }
    let consumed = packet_bytes as usize;
    let Some(body) = bytes.get(header_bytes..consumed) else {
        return Ok(Step::NeedMore { at_least: consumed });
    };
    let mut reader = Reader::new(body);
    let packet = read(kind, first, limits.receiver, version, &mut reader).map_err(blame)?;
    Ok(Step::Packet { packet, consumed })
}

const _: () = assert!(HEADER_BYTES_MAX == 1 + super::reader::VARIABLE_BYTES_MAX);

/// Type and flags, which are refused before anything else has come.
#[inline]
fn check_first(first: u8, receiver: Role, version: Version) -> Result<Kind, Malformed> {
    let Some(kind) = Kind::of(first) else {
        return Err(Malformed { kind: None, fault: Fault::PacketType { found: first >> 4 } });
    };
    let flags = first & 0x0F;
    let flags_stand = match kind {
        // DUP has no meaning without an acknowledgement; QoS 3 is none.
        Kind::Publish => flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000,
        Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => flags == 0b0010,
        _ => flags == 0,
    };
    if !flags_stand {
        return Err(Malformed { kind: Some(kind), fault: Fault::Flags { found: flags } });
    }
    let from_server =
        matches!(kind, Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp);
    let from_client =
        matches!(kind, Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq);
    let wrong = match (receiver, version) {
        (Role::Server, _) if from_server => true,
        (Role::Client, _) if from_client => true,
        (Role::Client, Version::V311) => kind == Kind::Disconnect || kind == Kind::Auth,
        (Role::Server, Version::V311) => kind == Kind::Auth,
        _ => false,
    };
    if wrong {
        return Err(Malformed { kind: Some(kind), fault: Fault::WrongSide });
    }
    Ok(kind)
}

#[inline]
fn read<'a>(
    kind: Kind,
    first: u8,
    receiver: Role,
    version: Version,
    reader: &mut Reader<'a>,
) -> Result<Packet<'a>, Fault> {
    match kind {
        Kind::Publish => publish(first, receiver, version, reader).map(Packet::Publish),
        Kind::Puback => answer(version, reason::in_puback, reader).map(Packet::Puback),
        Kind::Pubrec => answer(version, reason::in_puback, reader).map(Packet::Pubrec),
        Kind::Pubrel => answer(version, reason::in_pubrel, reader).map(Packet::Pubrel),
        Kind::Pubcomp => answer(version, reason::in_pubrel, reader).map(Packet::Pubcomp),
        Kind::Connect => connect(reader).map(Packet::Connect),
        Kind::Connack => connack(version, reader).map(Packet::Connack),
        Kind::Subscribe => {
            let (packet_id, properties) = asked(version, place::SUBSCRIBE, reader)?;
            let filters = subscriptions(version, reader)?;
            Ok(Packet::Subscribe(Subscribe { packet_id, properties, filters }))
        }
        Kind::Unsubscribe => {
            let (packet_id, properties) = asked(version, place::UNSUBSCRIBE, reader)?;
            let filters = patterns(reader)?;
            Ok(Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }))
        }
        Kind::Suback => suback(version, reader).map(Packet::Suback),
        Kind::Unsuback => unsuback(version, reader).map(Packet::Unsuback),
        Kind::Pingreq => reader.end().map(|()| Packet::Pingreq),
        Kind::Pingresp => reader.end().map(|()| Packet::Pingresp),
        Kind::Disconnect => {
            disconnect(version, receiver, reason::in_disconnect, place::DISCONNECT, reader)
                .map(Packet::Disconnect)
        }
        Kind::Auth => {
            disconnect(version, receiver, reason::in_auth, place::AUTH, reader).map(Packet::Auth)
        }
    }
}

fn properties_of<'a>(
    version: Version,
    at: property::Places,
    reader: &mut Reader<'a>,
) -> Result<Properties<'a>, Fault> {
    match version {
        Version::V311 => Ok(Properties::NONE),
        Version::V5 => Properties::take(reader, at),
    }
}

fn packet_id(reader: &mut Reader<'_>) -> Result<u16, Fault> {
    match reader.u16("packet identifier")? {
        0 => Err(Fault::Forbidden { what: "packet identifier 0" }),
        packet_id => Ok(packet_id),
    }
}

fn connect<'a>(reader: &mut Reader<'a>) -> Result<Connect<'a>, Fault> {
    let name = reader.binary("protocol name")?;
    // The predecessor's name: its clients are told the versions that are spoken.
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Fault::ProtocolName);
    }
    let version = match reader.u8("protocol level")? {
        4 if name == b"MQTT" => Version::V311,
        5 if name == b"MQTT" => Version::V5,
        level => return Err(Fault::ProtocolVersion { level }),
    };
    let flags = reader.u8("connect flags")?;
    let has = |bit: u8| flags & 1 << bit != 0;
    if has(0) {
        return Err(Fault::Reserved { field: "connect flag", value: 1 });
    }
    let will_qos = flags >> 3 & 3;
    if !has(2) && (will_qos != 0 || has(5)) {
        return Err(Fault::Reserved { field: "connect flags without a will", value: flags.into() });
    }
    let Some(qos) = Qos::from_bits(will_qos) else {
        return Err(Fault::Reserved { field: "QoS of the will", value: 3 });
    };
    if version == Version::V311 && has(6) && !has(7) {
        return Err(Fault::Forbidden { what: "a password without a user name" });
    }
    let keep_alive_s = reader.u16("keep alive")?;
    let properties = properties_of(version, place::CONNECT, reader)?;
    if properties.has(property::AUTHENTICATION_DATA)
        && !properties.has(property::AUTHENTICATION_METHOD)
    {
        return Err(Fault::Forbidden { what: "authentication data without a method" });
    }
    let client_id = reader.text("client identifier")?;
    let will = if has(2) {
        let properties = properties_of(version, place::WILL, reader)?;
        let topic = reader.text("topic of the will")?;
        topic::check_name(topic).map_err(Fault::TopicName)?;
        let payload = reader.binary("payload of the will")?;
        Some(Will { qos, retain: has(5), properties, topic, payload })
    } else {
        None
    };
    let user = if has(7) { Some(reader.text("user name")?) } else { None };
    let password = if has(6) { Some(reader.binary("password")?) } else { None };
    reader.end()?;
    let clean = has(1);
    Ok(Connect { version, clean, keep_alive_s, properties, client_id, will, user, password })
}

fn connack<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Connack<'a>, Fault> {
    let flags = reader.u8("acknowledge flags")?;
    if flags > 1 {
        return Err(Fault::Reserved { field: "acknowledge flags", value: flags.into() });
    }
    let found = reader.u8("reason code")?;
    let stands = match version {
        Version::V311 => found <= 5,
        Version::V5 => reason::in_connack(found),
    };
    if !stands {
        return Err(Fault::Reason { found });
    }
    let session_present = flags == 1;
    if session_present && found != reason::SUCCESS {
        return Err(Fault::Forbidden { what: "a session present though refused" });
    }
    let properties = properties_of(version, place::CONNACK, reader)?;
    reader.end()?;
    Ok(Connack { session_present, reason: found, properties })
}

#[inline]
fn publish<'a>(
    first: u8,
    receiver: Role,
    version: Version,
    reader: &mut Reader<'a>,
) -> Result<Publish<'a>, Fault> {
    let qos = match first >> 1 & 3 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    };
    let topic = reader.text("topic name")?;
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { packet_id(reader)? };
    let properties = properties_of(version, place::PUBLISH, reader)?;
    if !topic.is_empty() {
        topic::check_name(topic).map_err(Fault::TopicName)?;
    } else if version == Version::V311 {
        return Err(Fault::TopicName(super::TopicFault::Empty));
    } else if !properties.has(property::TOPIC_ALIAS) {
        return Err(Fault::Forbidden { what: "neither topic name nor alias" });
    }
    if receiver == Role::Server && properties.has(property::SUBSCRIPTION_IDENTIFIER) {
        return Err(Fault::MisplacedProperty { id: property::SUBSCRIPTION_IDENTIFIER });
    }
    Ok(Publish {
        dup: first & 0b1000 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

#[inline]
fn answer<'a>(
    version: Version,
    stands: fn(u8) -> bool,
    reader: &mut Reader<'a>,
) -> Result<Answer<'a>, Fault> {
    let packet_id = packet_id(reader)?;
    if version == Version::V311 || reader.is_empty() {
        reader.end()?;
        return Ok(Answer { packet_id, reason: reason::SUCCESS, properties: Properties::NONE });
    }
    let found = reader.u8("reason code")?;
    if !stands(found) {
        return Err(Fault::Reason { found });
    }
    let properties =
        if reader.is_empty() { Properties::NONE } else { Properties::take(reader, place::ANSWER)? };
    reader.end()?;
    Ok(Answer { packet_id, reason: found, properties })
}

fn asked<'a>(
    version: Version,
    at: property::Places,
    reader: &mut Reader<'a>,
) -> Result<(u16, Properties<'a>), Fault> {
    Ok((packet_id(reader)?, properties_of(version, at, reader)?))
}

fn subscriptions<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Filters<'a>, Fault> {
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Fault::Forbidden { what: "no topic filter" });
    }
    while !reader.is_empty() {
        let filter = reader.text("topic filter")?;
        let filter = topic::Filter::parse(filter).map_err(Fault::TopicFilter)?;
        let bits = reader.u8("subscription options")?;
        let options = match version {
            Version::V311 if bits > 2 => None,
            _ => Options::from_bits(bits),
        };
        let Some(options) = options else {
            return Err(Fault::Reserved { field: "subscription options", value: bits.into() });
        };
        if options.no_local() && filter.share.is_some() {
            return Err(Fault::Forbidden { what: "no local with a shared subscription" });
        }
    }
    Ok(Filters { bytes, options: true })
}

fn patterns<'a>(reader: &mut Reader<'a>) -> Result<Filters<'a>, Fault> {
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Fault::Forbidden { what: "no topic filter" });
    }
    while !reader.is_empty() {
        let filter = reader.text("topic filter")?;
        topic::Filter::parse(filter).map_err(Fault::TopicFilter)?;
    }
    Ok(Filters { bytes, options: false })
}

fn suback<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Suback<'a>, Fault> {
    let (packet_id, properties) = asked(version, place::SUBACK, reader)?;
    let reasons = reader.rest();
    let stands = |found: &u8| match version {
        Version::V311 => matches!(*found, 0..=2 | reason::FAILURE_311),
        Version::V5 => reason::in_suback(*found),
    };
    match reasons.iter().find(|found| !stands(found)) {
        Some(&found) => Err(Fault::Reason { found }),
        None => Ok(Suback { packet_id, properties, reasons }),
    }
}

fn unsuback<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Suback<'a>, Fault> {
    let (packet_id, properties) = asked(version, place::SUBACK, reader)?;
    if version == Version::V311 {
        reader.end()?;
    }
    let reasons = reader.rest();
    match reasons.iter().find(|found| !reason::in_unsuback(**found)) {
        Some(&found) => Err(Fault::Reason { found }),
        None => Ok(Suback { packet_id, properties, reasons }),
    }
}

fn disconnect<'a>(
    version: Version,
    receiver: Role,
    stands: fn(u8, Role) -> bool,
    at: property::Places,
    reader: &mut Reader<'a>,
) -> Result<Disconnect<'a>, Fault> {
    if version == Version::V311 || reader.is_empty() {
        reader.end()?;
        let normal = Disconnect { reason: reason::SUCCESS, properties: Properties::NONE };
        return if stands(reason::SUCCESS, receiver) || at == place::DISCONNECT {
            Ok(normal)
        } else {
            Err(Fault::Reason { found: reason::SUCCESS })
        };
    }
    let found = reader.u8("reason code")?;
    if !stands(found, receiver) {
        return Err(Fault::Reason { found });
    }
    let properties =
        if reader.is_empty() { Properties::NONE } else { Properties::take(reader, at)? };
    if at == place::AUTH && !properties.has(property::AUTHENTICATION_METHOD) && found != 0 {
        return Err(Fault::Forbidden { what: "no authentication method" });
    }
    // A server may not lengthen a session's life at its end.
    if receiver == Role::Client && properties.has(property::SESSION_EXPIRY) {
        return Err(Fault::MisplacedProperty { id: property::SESSION_EXPIRY });
    }
    reader.end()?;
    Ok(Disconnect { reason: found, properties })
}
