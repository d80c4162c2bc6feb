//! Packets to bytes: appended to the caller's buffer, whole.
//!
//! A message for many receivers is written once as a [`Form`]; each copy differs in its packet
//! identifier alone, which is patched.

use super::{
    Fault, Kind, Properties, Qos, Version,
    packet::{
        Answer, Connack, Connect, Disconnect, Packet, Publish, Suback, Subscribe, Unsubscribe,
    },
    property::{block_bytes, put_binary},
    reader::{VARIABLE_MAX, put_variable, variable_bytes},
    reason,
};

/// Appends any packet. Properties are left out in version 3.1.1, reason codes too.
///
/// # Errors
/// [`Fault::TooLarge`] for a packet beyond what the protocol can say; nothing is appended then.
pub fn packet(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) -> Result<(), Fault> {
    let first = |kind: Kind| (kind as u8) << 4;
    match packet {
        Packet::Connect(connect) => {
            framed(out, first(Kind::Connect), |out| put_connect(out, connect))
        }
        Packet::Connack(packet) => framed(out, first(Kind::Connack), |out| {
            put_connack(out, version, packet);
        }),
        Packet::Publish(publish) => {
            let form = Form::of(version, publish);
            form.check()?;
            form.put(out);
            Ok(())
        }
        Packet::Puback(answer) => put_answer(out, version, first(Kind::Puback), answer),
        Packet::Pubrec(answer) => put_answer(out, version, first(Kind::Pubrec), answer),
        Packet::Pubrel(answer) => put_answer(out, version, first(Kind::Pubrel) | 2, answer),
        Packet::Pubcomp(answer) => put_answer(out, version, first(Kind::Pubcomp), answer),
        Packet::Subscribe(Subscribe { packet_id, properties, filters }) => {
            asked(out, version, first(Kind::Subscribe) | 2, *packet_id, properties, filters.bytes)
        }
        Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }) => {
            let first = first(Kind::Unsubscribe) | 2;
            asked(out, version, first, *packet_id, properties, filters.bytes)
        }
        Packet::Suback(Suback { packet_id, properties, reasons }) => {
            asked(out, version, first(Kind::Suback), *packet_id, properties, reasons)
        }
        Packet::Unsuback(Suback { packet_id, properties, reasons }) => {
            let reasons = if version == Version::V5 { reasons } else { &[][..] };
            asked(out, version, first(Kind::Unsuback), *packet_id, properties, reasons)
        }
        Packet::Pingreq => framed(out, first(Kind::Pingreq), |_| {}),
        Packet::Pingresp => framed(out, first(Kind::Pingresp), |_| {}),
        Packet::Disconnect(packet) => put_end(out, version, first(Kind::Disconnect), packet),
        Packet::Auth(packet) => put_end(out, version, first(Kind::Auth), packet),
    }
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties: the four bytes of the usual
/// case, five with a reason other than success.
#[inline]
pub fn answer(out: &mut Vec<u8>, version: Version, kind: Kind, packet_id: u16, reason: u8) {
    let first = (kind as u8) << 4 | if matches!(kind, Kind::Pubrel) { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V311 || reason == reason::SUCCESS {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, reason]);
    }
}

/// A PUBLISH about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Version it is written in; without properties in 3.1.1.
    pub version: Version,
    /// It may have been sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty where an alias among `own` stands for it.
    pub topic: &'a [u8],
    /// Packet identifier, if `qos` is not 0.
    pub packet_id: u16,
    /// Properties of this connection (expiry, alias, identifiers), in their form on the wire.
    pub own: &'a [u8],
    /// Properties that are passed on, in their form on the wire.
    pub passed: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Form<'a> {
    /// As `publish` says.
    #[must_use]
    pub fn of(version: Version, publish: &Publish<'a>) -> Self {
        Self {
            version,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic.as_bytes(),
            packet_id: publish.packet_id,
            own: &[],
            passed: publish.properties.bytes(),
            payload: publish.payload,
        }
    }

    fn remaining_bytes(&self) -> usize {
        let properties = match self.version {
            Version::V311 => 0,
            Version::V5 => block_bytes(self.own.len() + self.passed.len()),
        };
        2 + self.topic.len() + self.packet_id_bytes() + properties + self.payload.len()
    }

    fn packet_id_bytes(&self) -> usize {
        if self.qos == Qos::AtMostOnce { 0 } else { 2 }
    }

    /// Bytes of the packet.
    #[inline]
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        let remaining = self.remaining_bytes();
        1 + variable_bytes(remaining as u32) + remaining
    }

    fn check(&self) -> Result<(), Fault> {
        check_length(self.remaining_bytes())
    }

    /// Appends the packet and says where in it the packet identifier stands, counted from the
    /// packet's first byte (see [`patch`]); 0 if it has none. The packet is within what the
    /// protocol can say ([`Form::packet_bytes`] of at most [`super::PACKET_BYTES_MAX`]) and the
    /// topic within 65,535 bytes.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let remaining = self.remaining_bytes();
        out.reserve(1 + variable_bytes(remaining as u32) + remaining);
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push((Kind::Publish as u8) << 4 | flags);
        put_variable(out, remaining as u32);
        put_binary(out, self.topic);
        let mut packet_id_at = 0;
        if self.qos != Qos::AtMostOnce {
            packet_id_at = out.len() - start;
            out.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        if self.version == Version::V5 {
            put_variable(out, (self.own.len() + self.passed.len()) as u32);
            out.extend_from_slice(self.own);
            out.extend_from_slice(self.passed);
        }
        out.extend_from_slice(self.payload);
        packet_id_at
    }
}

/// Writes another packet identifier into a copy of a PUBLISH, `at` as [`Form::put`] said. Without
/// one (`at` 0) nothing is written.
#[inline]
pub fn patch(packet: &mut [u8], at: usize, packet_id: u16) {
    if let Some(place) = packet.get_mut(at..at + 2).filter(|_| at > 0) {
        place.copy_from_slice(&packet_id.to_be_bytes());
    }
}

fn check_length(remaining: usize) -> Result<(), Fault> {
    if remaining <= VARIABLE_MAX as usize {
        return Ok(());
    }
    let packet_bytes = u32::try_from(remaining).unwrap_or(u32::MAX);
    Err(Fault::TooLarge { packet_bytes, packet_bytes_max: VARIABLE_MAX })
}

/// Appends header and body. Most bodies are short, so one byte is left for their length, and the
/// body is moved if it needs more.
fn framed(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), Fault> {
    let start = out.len();
    out.extend_from_slice(&[first, 0]);
    body(out);
    let body_at = start + 2;
    let remaining = out.len() - body_at;
    if let Err(fault) = check_length(remaining) {
        out.truncate(start);
        return Err(fault);
    }
    let more = variable_bytes(remaining as u32) - 1;
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(body_at..body_at + remaining, body_at + more);
    }
    let mut left = remaining as u32;
    for place in &mut out[start + 1..=start + 1 + more] {
        *place = left as u8 | 0x80;
        left >>= 7;
    }
    out[start + 1 + more] &= 0x7F;
    Ok(())
}

fn put_properties(out: &mut Vec<u8>, version: Version, properties: &Properties<'_>) {
    if version == Version::V5 {
        put_variable(out, properties.bytes().len() as u32);
        out.extend_from_slice(properties.bytes());
    }
}

fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let version = connect.version;
    put_binary(out, b"MQTT");
    out.push(version as u8);
    let mut flags = u8::from(connect.clean) << 1
        | u8::from(connect.user.is_some()) << 7
        | u8::from(connect.password.is_some()) << 6;
    if let Some(will) = &connect.will {
        flags |= 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    out.push(flags);
    out.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    put_properties(out, version, &connect.properties);
    put_binary(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_properties(out, version, &will.properties);
        put_binary(out, will.topic.as_bytes());
        put_binary(out, will.payload);
    }
    if let Some(user) = connect.user {
        put_binary(out, user.as_bytes());
    }
    if let Some(password) = connect.password {
        put_binary(out, password);
    }
}

fn put_connack(out: &mut Vec<u8>, version: Version, connack: &Connack<'_>) {
    out.extend_from_slice(&[u8::from(connack.session_present), connack.reason]);
    put_properties(out, version, &connack.properties);
}

fn put_answer(
    out: &mut Vec<u8>,
    version: Version,
    first: u8,
    answer: &Answer<'_>,
) -> Result<(), Fault> {
    framed(out, first, |out| {
        out.extend_from_slice(&answer.packet_id.to_be_bytes());
        put_reason(out, version, answer.reason, &answer.properties);
    })
}

fn put_end(
    out: &mut Vec<u8>,
    version: Version,
    first: u8,
    packet: &Disconnect<'_>,
) -> Result<(), Fault> {
    framed(out, first, |out| put_reason(out, version, packet.reason, &packet.properties))
}

/// Reason and properties, in their shortest form.
fn put_reason(out: &mut Vec<u8>, version: Version, reason: u8, properties: &Properties<'_>) {
    if version == Version::V311 || reason == reason::SUCCESS && properties.is_empty() {
        return;
    }
    out.push(reason);
    if !properties.is_empty() {
        put_properties(out, version, properties);
    }
}

fn asked(
    out: &mut Vec<u8>,
    version: Version,
    first: u8,
    packet_id: u16,
    properties: &Properties<'_>,
    rest: &[u8],
) -> Result<(), Fault> {
    framed(out, first, |out| {
        out.extend_from_slice(&packet_id.to_be_bytes());
        put_properties(out, version, properties);
        out.extend_from_slice(rest);
    })
}
