//! As much of MQTT 3.1.1 as the yardsticks speak: both ends of it are ours, so nothing is checked.

/// First byte of a packet without its flags.
pub mod kind {
    pub const CONNECT: u8 = 0x10;
    pub const CONNACK: u8 = 0x20;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const SUBSCRIBE: u8 = 0x80;
    pub const SUBACK: u8 = 0x90;
    pub const PINGREQ: u8 = 0xC0;
    pub const PINGRESP: u8 = 0xD0;
}

/// A packet: its first byte and what follows the remaining length.
pub struct Packet<'a> {
    pub first: u8,
    pub body: &'a [u8],
}

impl Packet<'_> {
    /// One of [`kind`].
    pub fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    /// Packet id at the front of the body.
    pub fn id(&self) -> u16 {
        self.body.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
    }
}

/// A publish, taken apart.
pub struct Publish<'a> {
    pub topic: &'a [u8],
    /// 0 at quality 0.
    pub id: u16,
    pub payload: &'a [u8],
}

/// The packet at the front of `bytes` and the bytes it takes.
pub fn cut(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (mut length, mut at) = (0, 0);
    loop {
        let byte = *rest.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * at);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = rest.get(at..at + length)?;
    Some((Packet { first, body }, 1 + at + length))
}

/// Takes a publish apart.
pub fn open<'a>(packet: &Packet<'a>) -> Option<Publish<'a>> {
    let (length, rest) = packet.body.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    if packet.first & 0x06 == 0 {
        return Some(Publish { topic, id: 0, payload: rest });
    }
    let (id, payload) = rest.split_first_chunk()?;
    Some(Publish { topic, id: u16::from_be_bytes(*id), payload })
}

fn head(out: &mut Vec<u8>, first: u8, mut length: usize) {
    out.push(first);
    loop {
        let byte = (length & 0x7F) as u8;
        length >>= 7;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// A clean session without keep-alive.
pub fn connect(out: &mut Vec<u8>, client: &str) {
    head(out, kind::CONNECT, 12 + client.len());
    text(out, b"MQTT");
    out.extend_from_slice(&[4, 2, 0, 0]);
    text(out, client.as_bytes());
}

/// One filter.
pub fn subscribe(out: &mut Vec<u8>, id: u16, filter: &str, quality: u8) {
    head(out, kind::SUBSCRIBE | 2, 5 + filter.len());
    out.extend_from_slice(&id.to_be_bytes());
    text(out, filter.as_bytes());
    out.push(quality);
}

/// A message; `id` counts at quality 1 only.
pub fn publish(out: &mut Vec<u8>, topic: &[u8], quality: u8, id: u16, payload: &[u8]) {
    let identified = if quality > 0 { 2 } else { 0 };
    head(out, kind::PUBLISH | quality << 1, 2 + topic.len() + identified + payload.len());
    text(out, topic);
    if quality > 0 {
        out.extend_from_slice(&id.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// A packet of a kind and a packet id.
pub fn answer(out: &mut Vec<u8>, kind: u8, id: u16) {
    head(out, kind, 2);
    out.extend_from_slice(&id.to_be_bytes());
}
