//! An MQTT client byte by byte: it says packets, and hears what comes one by one. Nothing is
//! answered by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use hawser_codec::mqtt::{
    Kind, PacketLimits, Qos, Role, Step, Version, encode,
    packet::{
        Answer, Connect, Disconnect, Filters, Options, Packet, Publish, Subscribe, Unsubscribe,
    },
    property::Properties,
    step,
};

use crate::websocket::connect as open;

const LIMITS: PacketLimits =
    PacketLimits { receiver: Role::Client, packet_bytes_max: 16 * 1024 * 1024 };

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload; a text in all tests.
    pub payload: String,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Flag.
    pub retain: bool,
    /// Flag.
    pub dup: bool,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// Properties as they came.
    pub properties: Vec<u8>,
}

/// What the server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Session present, reason and properties.
    Connack(bool, u8, Vec<u8>),
    /// A message.
    Message(Message),
    /// PUBACK to PUBCOMP: packet id and reason.
    Answer(Kind, u16, u8),
    /// Packet id and reasons of SUBACK.
    Suback(u16, Vec<u8>),
    /// The same of UNSUBACK.
    Unsuback(u16, Vec<u8>),
    /// PINGRESP.
    Pingresp,
    /// Its reason.
    Disconnect(u8),
    /// The connection has ended.
    End,
}

/// See the module.
pub struct MqttClient {
    socket: TcpStream,
    bytes: Vec<u8>,
    version: Version,
}

/// A CONNECT of this client id, as plain as it can be.
pub fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::NONE,
        client_id,
        will: None,
        user: None,
        password: None,
    }
}

/// A PUBLISH with packet id 9 above QoS 0.
pub fn publish<'a>(topic: &'a str, payload: &'a str, qos: Qos) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: if qos == Qos::AtMostOnce { 0 } else { 9 },
        properties: Properties::NONE,
        payload: payload.as_bytes(),
    }
}

impl MqttClient {
    /// Opens a connection and says nothing.
    ///
    /// # Panics
    /// If nobody listens.
    #[track_caller]
    pub fn open(address: SocketAddr, version: Version) -> Self {
        Self { socket: open(address), bytes: Vec::new(), version }
    }

    /// Opens a session, and says whether there was one.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn connect(address: SocketAddr, connect: &Connect<'_>) -> (Self, bool) {
        let mut client = Self::open(address, connect.version);
        client.say(&Packet::Connect(*connect));
        match client.hear() {
            Heard::Connack(present, 0, _) => (client, present),
            other => panic!("not connected: {other:?}"),
        }
    }

    /// Sends bytes. A server that has closed meanwhile does not hear them.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        // The failure shows when the answer is read.
        let _ = self.socket.write_all(bytes);
    }

    /// Sends a packet.
    pub fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, self.version, packet).expect("a test's packet can be written");
        self.say_bytes(&bytes);
    }

    /// Sends PUBACK to PUBCOMP.
    pub fn answer(&mut self, kind: Kind, packet_id: u16) {
        let mut bytes = Vec::new();
        encode::answer(&mut bytes, self.version, kind, packet_id, 0);
        self.say_bytes(&bytes);
    }

    /// Subscribes; gives the reasons.
    ///
    /// # Panics
    /// If something else than its SUBACK comes.
    #[track_caller]
    pub fn subscribe(&mut self, filters: &[(&str, Options)]) -> Vec<u8> {
        self.subscribe_with(filters, Properties::NONE);
        match self.hear() {
            Heard::Suback(77, reasons) => reasons,
            other => panic!("no SUBACK: {other:?}"),
        }
    }

    /// Says SUBSCRIBE with packet id 77, without waiting.
    pub fn subscribe_with(&mut self, filters: &[(&str, Options)], properties: Properties<'_>) {
        let mut put = Vec::new();
        filters.iter().for_each(|(filter, options)| Filters::put(&mut put, filter, Some(*options)));
        let filters = Filters::of(&put, true);
        self.say(&Packet::Subscribe(Subscribe { packet_id: 77, properties, filters }));
    }

    /// Unsubscribes; gives the reasons.
    ///
    /// # Panics
    /// If something else than its UNSUBACK comes.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let mut put = Vec::new();
        filters.iter().for_each(|filter| Filters::put(&mut put, filter, None));
        let filters = Filters::of(&put, false);
        let properties = Properties::NONE;
        self.say(&Packet::Unsubscribe(Unsubscribe { packet_id: 78, properties, filters }));
        match self.hear() {
            Heard::Unsuback(78, reasons) => reasons,
            other => panic!("no UNSUBACK: {other:?}"),
        }
    }

    /// Says DISCONNECT with this reason, and waits for the end.
    ///
    /// # Panics
    /// If the connection goes on.
    #[track_caller]
    pub fn disconnect(mut self, reason: u8) {
        let properties = Properties::NONE;
        self.say(&Packet::Disconnect(Disconnect { reason, properties }));
        assert_eq!(self.hear(), Heard::End);
    }

    /// Waits for what comes next.
    ///
    /// # Panics
    /// If nothing comes, or no packet does.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            match step(&LIMITS, self.version, &self.bytes) {
                Ok(Step::Packet { packet, consumed }) => {
                    let heard = heard(&packet);
                    self.bytes.drain(..consumed);
                    return heard;
                }
                Ok(Step::NeedMore { .. }) => {}
                Err(malformed) => panic!("the server breaks the norm: {malformed:?}"),
            }
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing came")
                }
                Err(_) => return Heard::End,
            }
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// If something else comes.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        match self.hear() {
            Heard::Message(message) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    /// Nothing is on its way: the answer to a ping is what comes next.
    ///
    /// # Panics
    /// If something else comes before it.
    #[track_caller]
    pub fn nothing(&mut self) {
        self.say(&Packet::Pingreq);
        assert_eq!(self.hear(), Heard::Pingresp);
    }
}

fn heard(packet: &Packet<'_>) -> Heard {
    let answer = |kind, answer: &Answer<'_>| Heard::Answer(kind, answer.packet_id, answer.reason);
    match packet {
        Packet::Connack(connack) => Heard::Connack(
            connack.session_present,
            connack.reason,
            connack.properties.bytes().to_vec(),
        ),
        Packet::Publish(publish) => Heard::Message(Message {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            properties: publish.properties.bytes().to_vec(),
        }),
        Packet::Puback(of) => answer(Kind::Puback, of),
        Packet::Pubrec(of) => answer(Kind::Pubrec, of),
        Packet::Pubrel(of) => answer(Kind::Pubrel, of),
        Packet::Pubcomp(of) => answer(Kind::Pubcomp, of),
        Packet::Suback(of) => Heard::Suback(of.packet_id, of.reasons.to_vec()),
        Packet::Unsuback(of) => Heard::Unsuback(of.packet_id, of.reasons.to_vec()),
        Packet::Pingresp => Heard::Pingresp,
        Packet::Disconnect(of) => Heard::Disconnect(of.reason),
        other => panic!("no packet of a server: {other:?}"),
    }
}
