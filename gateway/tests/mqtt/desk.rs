//! A worker's part around the core, without sockets: connections, queues, and clients that write
//! packets and read what comes back.

use crate::hosts::Hosts;
use hawser_codec::link::Downlink;
use hawser_codec::mqtt::{
    Packet, PacketLimits, Properties, Qos, Role, Step, Version, encode,
    packet::{self, Filters, Options, Publish},
    property::{self, Value},
    step,
};
use hawser_codec::{frame::FrameLimits, time::Now};
use hawser_gateway::{
    auth::Authenticator,
    config::{AuthConfig, AuthKind, WebSocketConfig},
    connection::{Connection, Protocol, State},
    face::Faces,
    limits,
    metrics::WorkerMetrics,
    mqtt::{MqttSessions, MqttSettings},
    outbound::Pool,
    pressure::Marks,
    resume::ResumeKeys,
    session::{Farewell, Outlet, SessionSettings, Stop},
    shared_keys::SharedKeys,
    slab::{Handle, Slab},
    uplinks::Uplinks,
    websocket::WebSocketSettings,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Hosts there are.
const HOSTS: u16 = 2;

pub struct Desk {
    pub core: MqttSessions,
    pub hosts: Hosts,
    pub marks: Marks,
    pub now: Now,
    pub metrics: WorkerMetrics,
    connections: Slab<Connection>,
    pool: Pool,
    uplinks: Uplinks,
    faces: Faces,
    clients: HashMap<u32, Client>,
    next: u32,
    /// Deliveries of one turn.
    pub deliveries: usize,
}

struct Client {
    version: Version,
    unread: Vec<u8>,
    untaken: Vec<u8>,
}

/// A packet that has come, on its own feet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Connack {
        present: bool,
        reason: u8,
        properties: Vec<u8>,
    },
    Publish {
        topic: String,
        payload: String,
        qos: u8,
        retain: bool,
        dup: bool,
        id: u16,
        properties: Vec<u8>,
    },
    Answer {
        kind: u8,
        id: u16,
        reason: u8,
    },
    Suback {
        id: u16,
        reasons: Vec<u8>,
    },
    Unsuback {
        id: u16,
        reasons: Vec<u8>,
    },
    Pingresp,
    Disconnect {
        reason: u8,
        properties: Vec<u8>,
    },
}

pub fn settings(mqtt: MqttSettings) -> SessionSettings {
    let auth = AuthConfig { kind: AuthKind::None, resume_lifetime_s: 60 };
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    SessionSettings {
        authenticator: Authenticator::new(&auth, &[1; 32], &no_file).unwrap(),
        resume: ResumeKeys::from_secrets([2; 32], None),
        resume_lifetime_s: 60,
        keys: SharedKeys::known([3; 32]),
        frames: FrameLimits { body_bytes_max: 65_536 },
        heartbeat_s: [30; 4],
        heartbeat_range_ms: (5_000, 600_000),
        grace_ms: 10_000,
        outbound_bytes_high: limits::OUTBOUND_BYTES_HIGH as usize,
        requests_max: limits::REQUESTS_IN_FLIGHT,
        websocket: WebSocketSettings::of(&WebSocketConfig::SHIPPED, 1),
        mqtt,
    }
}

impl Desk {
    pub fn new() -> Self {
        Self::with(MqttSettings::shipped())
    }

    pub fn with(mqtt: MqttSettings) -> Self {
        Self::with_settings(settings(mqtt))
    }

    pub fn with_settings(settings: SessionSettings) -> Self {
        Self {
            core: MqttSessions::new(Arc::new(settings), 7),
            hosts: Hosts::default(),
            marks: Marks {
                push: 64 * 1024,
                read: 80 * 1024,
                resume: 16 * 1024,
                crowded: false,
                full: false,
            },
            now: Now { monotonic_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            metrics: WorkerMetrics::default(),
            connections: Slab::new(100),
            pool: Pool::new(1 << 20),
            uplinks: Uplinks::new(HOSTS),
            faces: Faces::default(),
            clients: HashMap::new(),
            next: 0,
            deliveries: usize::MAX,
        }
    }

    /// A connection just accepted.
    pub fn accept(&mut self, version: Version) -> Handle {
        let slot = self.next;
        self.next += 1;
        let connection = Connection::new(0, 40, 0, Protocol::Mqtt);
        let handle = self.connections.insert(slot, connection);
        let client = Client { version, unread: Vec::new(), untaken: Vec::new() };
        self.clients.insert(slot, client);
        handle
    }

    /// The client writes `bytes`; everything that follows from it happens.
    pub fn write(&mut self, client: Handle, bytes: &[u8]) {
        self.clients.get_mut(&client.slot).unwrap().untaken.extend_from_slice(bytes);
        self.take(client);
        self.settle();
    }

    fn take(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let untaken = std::mem::take(&mut self.clients.get_mut(&handle.slot).unwrap().untaken);
        let mut outlet = Outlet {
            now: self.now,
            tick: 1,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
            marks: self.marks,
            faces: &mut self.faces,
        };
        match self.core.on_bytes(connection, handle, &untaken, usize::MAX, &mut outlet) {
            Ok(taken) => {
                assert!(taken.stop != Stop::Budget);
                let rest = untaken[taken.bytes..].to_vec();
                self.clients.get_mut(&handle.slot).unwrap().untaken = rest;
            }
            Err(farewell) => self.dismiss(handle, farewell),
        }
    }

    fn dismiss(&mut self, handle: Handle, farewell: Farewell) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let mut outlet = Outlet {
            now: self.now,
            tick: 1,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
            marks: self.marks,
            faces: &mut self.faces,
        };
        if farewell != Farewell::silent() {
            self.core.say_farewell(connection, handle, &farewell, &mut outlet);
        }
        self.close(handle);
    }

    /// The worker ends a connection for its own reason.
    pub fn end(&mut self, handle: Handle, farewell: Farewell) {
        self.dismiss(handle, farewell);
        self.settle();
    }

    /// The server drains.
    pub fn go_away(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let mut outlet = Outlet {
            now: self.now,
            tick: 1,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
            marks: self.marks,
            faces: &mut self.faces,
        };
        self.core.say_go_away(connection, handle, 1000, &mut outlet);
        self.close(handle);
        self.settle();
    }

    /// The network is gone.
    pub fn cut(&mut self, handle: Handle) {
        self.close(handle);
        self.settle();
    }

    fn close(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if matches!(connection.state, State::LoggingIn | State::Open) {
            self.core.logout(connection, handle, &mut self.uplinks);
        }
        let bytes = self.pool.take(&mut connection.queued);
        self.clients.get_mut(&handle.slot).unwrap().unread.extend_from_slice(&bytes);
        self.core.forget(connection);
        self.connections.remove(handle);
    }

    /// Runs until nobody has anything more to say.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let mut quiet = true;
            for host in 0..HOSTS {
                let batch = self.uplinks.take(host.into(), Vec::new());
                quiet &= batch.is_empty();
                let mut answers = Vec::new();
                self.hosts.on_batch(host, &batch, &mut answers);
                self.hear(host, &answers);
            }
            if quiet {
                self.flush();
                return;
            }
        }
        panic!("they never stop talking");
    }

    /// Link frames of a host arrive.
    pub fn hear(&mut self, host: u16, answers: &[u8]) {
        let mut rest = answers;
        while let Some(downlink) = Downlink::take(&mut rest).unwrap() {
            match downlink.connection() {
                Some(connection) => self.tell(Handle::from_u64(connection), &downlink),
                None => self.core.on_broadcast(&downlink, host),
            }
        }
        let mut told = Vec::new();
        for _ in 0..10_000 {
            let mut outlet = Outlet {
                now: self.now,
                tick: 1,
                pool: &mut self.pool,
                uplinks: &mut self.uplinks,
                metrics: &self.metrics,
                marks: self.marks,
                faces: &mut self.faces,
            };
            let more =
                self.core.spread(&mut self.connections, self.deliveries, &mut told, &mut outlet);
            if !more {
                break;
            }
        }
        for handle in told {
            self.take(handle);
        }
    }

    fn tell(&mut self, handle: Handle, downlink: &Downlink<'_>) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let mut outlet = Outlet {
            now: self.now,
            tick: 1,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
            marks: self.marks,
            faces: &mut self.faces,
        };
        match self.core.on_downlink(connection, handle, downlink, &mut outlet) {
            Ok(()) => self.take(handle),
            Err(farewell) => self.dismiss(handle, farewell),
        }
    }

    /// A host has lost its memory and asks who is there.
    pub fn announce(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let mut outlet = Outlet {
            now: self.now,
            tick: 1,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
            marks: self.marks,
            faces: &mut self.faces,
        };
        let unanswered = self.core.has_unanswered(connection, handle);
        if let Err(farewell) = self.core.announce(connection, handle, unanswered, &mut outlet) {
            self.dismiss(handle, farewell);
        }
        self.settle();
    }

    /// Tells `host` all routes again.
    pub fn announce_routes(&mut self, host: u16) {
        while self.core.announce_routes(host, &mut self.uplinks) {}
        self.settle();
    }

    fn flush(&mut self) {
        for (slot, client) in &mut self.clients {
            let Some(handle) = self.connections.handle(*slot) else { continue };
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            let bytes = self.pool.take(&mut connection.queued);
            client.unread.extend_from_slice(&bytes);
        }
    }

    pub fn connection(&mut self, handle: Handle) -> Option<&mut Connection> {
        self.connections.get_mut(handle)
    }

    /// Is the connection still there?
    pub fn is_open(&mut self, handle: Handle) -> bool {
        self.connections.get_mut(handle).is_some()
    }

    /// Bytes the client has got since it looked last, which are then gone.
    pub fn unread_bytes(&mut self, handle: Handle) -> usize {
        self.flush();
        std::mem::take(&mut self.clients.get_mut(&handle.slot).unwrap().unread).len()
    }

    /// Packets the client has got since it looked last.
    pub fn got(&mut self, handle: Handle) -> Vec<Got> {
        self.flush();
        let client = self.clients.get_mut(&handle.slot).unwrap();
        let limits = PacketLimits { receiver: Role::Client, packet_bytes_max: 1 << 20 };
        let bytes = std::mem::take(&mut client.unread);
        let (mut rest, mut all) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let Step::Packet { packet, consumed } = step(&limits, client.version, rest).unwrap()
            else {
                panic!("half a packet: {rest:02x?}");
            };
            all.push(Got::of(&packet));
            rest = &rest[consumed..];
        }
        all
    }

    /// The one packet it has got.
    pub fn one(&mut self, handle: Handle) -> Got {
        let mut all = self.got(handle);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn version(&self, handle: Handle) -> Version {
        self.clients[&handle.slot].version
    }

    pub fn packet(&mut self, handle: Handle, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, self.version(handle), packet).unwrap();
        self.write(handle, &bytes);
    }

    /// A client that is connected, its CONNACK read.
    pub fn client(&mut self, version: Version, id: &str) -> Handle {
        self.client_with(&connect(version, id))
    }

    pub fn client_with(&mut self, connect: &packet::Connect<'_>) -> Handle {
        let handle = self.accept(connect.version);
        self.packet(handle, &Packet::Connect(*connect));
        self.flush();
        let unread = &mut self.clients.get_mut(&handle.slot).unwrap().unread;
        // What follows the CONNACK is left to be read.
        let behind = unread.split_off(2 + usize::from(unread[1]));
        let got = self.one(handle);
        assert!(matches!(got, Got::Connack { reason: 0, .. }), "{got:?}");
        self.clients.get_mut(&handle.slot).unwrap().unread = behind;
        handle
    }

    /// SUBSCRIBE, answered; gives the reason codes. What came behind the SUBACK is left.
    pub fn subscribe(
        &mut self,
        handle: Handle,
        filters: &[(&str, Options)],
        own: &[u8],
    ) -> Vec<Got> {
        let mut bytes = Vec::new();
        filters
            .iter()
            .for_each(|(filter, options)| Filters::put(&mut bytes, filter, Some(*options)));
        let subscribe = packet::Subscribe {
            packet_id: 99,
            properties: Properties::of(own),
            filters: Filters::of(&bytes, true),
        };
        self.packet(handle, &Packet::Subscribe(subscribe));
        self.got(handle)
    }

    pub fn subscribed(&mut self, handle: Handle, filter: &str, qos: Qos) {
        let got = self.subscribe(handle, &[(filter, options(qos))], &[]);
        assert_eq!(got, [Got::Suback { id: 99, reasons: vec![qos as u8] }]);
    }

    pub fn unsubscribe(&mut self, handle: Handle, filter: &str) -> Got {
        let mut bytes = Vec::new();
        Filters::put(&mut bytes, filter, None);
        let properties = Properties::NONE;
        let filters = Filters::of(&bytes, false);
        let packet = packet::Unsubscribe { packet_id: 98, properties, filters };
        self.packet(handle, &Packet::Unsubscribe(packet));
        self.one(handle)
    }

    pub fn publish(&mut self, handle: Handle, topic: &str, payload: &str, qos: Qos, id: u16) {
        self.publish_with(handle, topic, payload, qos, id, false, &[]);
    }

    #[allow(clippy::too_many_arguments)]
    pub fn publish_with(
        &mut self,
        handle: Handle,
        topic: &str,
        payload: &str,
        qos: Qos,
        packet_id: u16,
        retain: bool,
        properties: &[u8],
    ) {
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_id,
            properties: Properties::of(properties),
            payload: payload.as_bytes(),
        };
        self.packet(handle, &Packet::Publish(publish));
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP by its number.
    pub fn answer(&mut self, handle: Handle, kind: u8, packet_id: u16, reason: u8) {
        let answer = packet::Answer { packet_id, reason, properties: Properties::NONE };
        let packet = match kind {
            4 => Packet::Puback(answer),
            5 => Packet::Pubrec(answer),
            6 => Packet::Pubrel(answer),
            _ => Packet::Pubcomp(answer),
        };
        self.packet(handle, &packet);
    }

    pub fn disconnect(&mut self, handle: Handle, reason: u8, properties: &[u8]) {
        let properties = Properties::of(properties);
        self.packet(handle, &Packet::Disconnect(packet::Disconnect { reason, properties }));
    }
}

impl Got {
    fn of(packet: &Packet<'_>) -> Self {
        let answer = |kind: u8, answer: &packet::Answer<'_>| Self::Answer {
            kind,
            id: answer.packet_id,
            reason: answer.reason,
        };
        match packet {
            Packet::Connack(connack) => Self::Connack {
                present: connack.session_present,
                reason: connack.reason,
                properties: connack.properties.bytes().to_vec(),
            },
            Packet::Publish(publish) => Self::Publish {
                topic: publish.topic.to_owned(),
                payload: String::from_utf8_lossy(publish.payload).into_owned(),
                qos: publish.qos as u8,
                retain: publish.retain,
                dup: publish.dup,
                id: publish.packet_id,
                properties: publish.properties.bytes().to_vec(),
            },
            Packet::Puback(one) => answer(4, one),
            Packet::Pubrec(one) => answer(5, one),
            Packet::Pubrel(one) => answer(6, one),
            Packet::Pubcomp(one) => answer(7, one),
            Packet::Suback(one) => {
                Self::Suback { id: one.packet_id, reasons: one.reasons.to_vec() }
            }
            Packet::Unsuback(one) => {
                Self::Unsuback { id: one.packet_id, reasons: one.reasons.to_vec() }
            }
            Packet::Pingresp => Self::Pingresp,
            Packet::Disconnect(one) => {
                Self::Disconnect { reason: one.reason, properties: one.properties.bytes().to_vec() }
            }
            other => panic!("a server does not send {other:?}"),
        }
    }

    /// Payload of a message of QoS 0.
    pub fn live(topic: &str, payload: &str) -> Self {
        Self::message(topic, payload, 0, 0)
    }

    pub fn message(topic: &str, payload: &str, qos: u8, id: u16) -> Self {
        Self::Publish {
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            qos,
            retain: false,
            dup: false,
            id,
            properties: Vec::new(),
        }
    }

    pub fn id(&self) -> u16 {
        match self {
            Self::Publish { id, .. } => *id,
            other => panic!("no message: {other:?}"),
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Publish { payload, .. } => payload,
            other => panic!("no message: {other:?}"),
        }
    }

    pub fn number(&self, id: u8) -> Option<u32> {
        Properties::of(self.properties()).number(id)
    }

    pub fn properties(&self) -> &[u8] {
        match self {
            Self::Connack { properties, .. }
            | Self::Publish { properties, .. }
            | Self::Disconnect { properties, .. } => properties,
            _ => &[],
        }
    }
}

pub fn connect(version: Version, id: &str) -> packet::Connect<'_> {
    packet::Connect {
        version,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::NONE,
        client_id: id,
        will: None,
        user: None,
        password: None,
    }
}

pub const fn options(qos: Qos) -> Options {
    Options::new(qos, false, false, Options::RETAIN_ALWAYS)
}

pub fn one(id: u8, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    property::put(&mut out, id, value);
    out
}
