//! MQTT 3.1.1 and 5.0: a client that publishes, subscribes, and keeps what the norm wants kept.
//!
//! ```text
//!  Down --greet--> Connecting --CONNACK--> Subscribing --all granted--> Online --fault, end--> Down
//! ```
//!
//! Works with any broker by topics of each user and group; `$hawser/…` is for Hawser alone (see
//! [`address`]). Nothing is sent twice on one connection; after a lost one, what has no answer is
//! sent again, with its old packet identifier if the server has kept the session. Not here: wills,
//! retained messages, topic aliases, which no scenario needs. Invariant: it counts as online only
//! once every subscription is granted, so what is sent after that is to arrive.

mod address;
mod fault;
mod receiving;
mod sending;

use hawser_codec::{
    code,
    mqtt::{
        Kind, Packet, PacketLimits, Properties, Qos, Role, Step, Version, encode,
        packet::{Connack, Connect, Filters, Options, Publish, Suback, Subscribe},
        property::{self, Value},
        reason,
    },
    time::Now,
};

use super::{Fault, Offer, World, client::Speak};
use crate::{
    scenario::{Protocol, Scenario},
    tally::Stage,
};
use receiving::Receiving;
use sending::{Flow, Sending};

/// Longest packet taken, bytes: any message of a run, and room for a broker's properties.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// Keep-alive if the scenario names none, seconds: the usual one of clients.
const KEEP_ALIVE_DEFAULT_S: u16 = 60;

/// Silence after a PINGREQ before the connection is given up, microseconds.
const PONG_WAIT_US: u64 = 10_000_000;

/// From connect to the last SUBACK, microseconds: a million clients may be logging in at once.
const LOGIN_WAIT_US: u64 = 30_000_000;

/// Seconds a session that is kept outlives its connection: longer than any run is away.
const SESSION_EXPIRY_S: u32 = 3600;

/// Filters in one SUBSCRIBE: brokers have limits.
const FILTERS_MAX: usize = 512;

/// Packet identifier of every SUBSCRIBE, which publishes do not use.
const SUBSCRIBE_ID: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Down,
    Connecting,
    Subscribing,
    Online,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mqtt {
    sending: Option<Box<Sending>>,
    receiving: Receiving,
    sent_us: u64,
    received_us: u64,
    /// When the PINGREQ that is not answered yet was sent, 0 for none.
    pinged_us: u64,
    keep_alive_ms: u32,
    /// Longest packet the server takes, bytes.
    packet_bytes_max: u32,
    /// Publishes of QoS 1 and 2 the server takes unanswered.
    receive_max: u16,
    /// Filters granted.
    granted: u16,
    phase: Phase,
    was_online: bool,
    /// Logged in since [`Speak::take_came_online`].
    came_online: bool,
}

/// Version of the protocol in a scenario.
fn version(scenario: &Scenario) -> Version {
    if scenario.protocol == Protocol::Mqtt3 { Version::V311 } else { Version::V5 }
}

/// Quality of service of a scenario.
fn qos(scenario: &Scenario) -> Qos {
    Qos::from_bits(scenario.mqtt.qos).unwrap_or(Qos::ExactlyOnce)
}

impl Speak for Mqtt {
    fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    fn is_quiet(&self) -> bool {
        let waits = self.sending.as_ref().is_some_and(|sending| !sending.is_empty());
        self.is_online() && !waits && self.pinged_us == 0 && self.receiving.is_level()
    }

    fn take_came_online(&mut self) -> bool {
        std::mem::take(&mut self.came_online)
    }

    fn greet(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        self.phase = Phase::Connecting;
        self.received_us = now.monotonic_us;
        let ground = &world.ground;
        let user = ground.names.name(ground.oracle.audience().user(index));
        let client_id = address::client_id(ground, index);
        let mut properties = Vec::new();
        if !ground.scenario.mqtt.clean {
            property::put(&mut properties, property::SESSION_EXPIRY, Value::Long(SESSION_EXPIRY_S));
        }
        let receive_max = Value::Short(receiving::UNRELEASED_MAX as u16);
        property::put(&mut properties, property::RECEIVE_MAXIMUM, receive_max);
        let connect = Connect {
            version: version(&ground.scenario),
            clean: ground.scenario.mqtt.clean,
            keep_alive_s: keep_alive_s(&ground.scenario, index),
            properties: Properties::of(&properties),
            client_id: &client_id,
            will: None,
            user: Some(user.as_str()),
            password: Some(ground.token.as_bytes()).filter(|token| !token.is_empty()),
        };
        put(outbound, connect.version, &Packet::Connect(connect));
        self.sent_us = now.monotonic_us;
    }

    fn on_disconnected(&mut self, world: &mut World) {
        if self.is_online() {
            world.tally.counters.online -= 1;
        }
        if self.pinged_us != 0 {
            // The break is counted as such, so the beat it swallowed is not asked for again.
            world.tally.counters.heartbeats_expected -= 1;
        }
        self.pinged_us = 0;
        self.phase = Phase::Down;
    }

    fn take(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        self.received_us = now.monotonic_us;
        let version = version(&world.ground.scenario);
        let limits = PacketLimits { receiver: Role::Client, packet_bytes_max: PACKET_BYTES_MAX };
        let before = outbound.len();
        let mut used = 0;
        loop {
            if self.phase == Phase::Connecting && version == Version::V5 {
                fault::check_older(&bytes[used..])?;
            }
            match hawser_codec::mqtt::step(&limits, version, &bytes[used..]) {
                Ok(Step::NeedMore { .. }) => break,
                Ok(Step::Packet { packet, consumed }) => {
                    used += consumed;
                    self.on_packet(world, index, now, &packet, outbound)?;
                }
                Err(malformed) => return Err(fault::malformed(&malformed)),
            }
        }
        self.pump(world, index, now, outbound);
        if outbound.len() > before {
            self.sent_us = now.monotonic_us;
        }
        Ok(used)
    }

    fn offer(
        &mut self,
        world: &mut World,
        index: u32,
        offer: Offer,
        now: Now,
        outbound: &mut Vec<u8>,
    ) {
        let sending = self.sending.get_or_insert_default();
        sending.offer(world, index, &offer, now);
        let before = outbound.len();
        self.pump(world, index, now, outbound);
        if outbound.len() > before {
            self.sent_us = now.monotonic_us;
        }
    }

    fn on_time(
        &mut self,
        world: &mut World,
        _index: u32,
        now: Now,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match self.phase {
            Phase::Down => return Ok(()),
            Phase::Connecting | Phase::Subscribing => {
                let late = now.monotonic_us >= self.received_us + LOGIN_WAIT_US;
                return if late { Err(Fault::new(code::TIMEOUT)) } else { Ok(()) };
            }
            Phase::Online => {}
        }
        if self.pinged_us != 0 && now.monotonic_us >= self.pinged_us + PONG_WAIT_US {
            // Expected and not answered: stays counted so.
            self.pinged_us = 0;
            return Err(Fault::new(code::TIMEOUT));
        }
        if self.pinged_us == 0 && !world.draining && now.monotonic_us >= self.ping_at_us() {
            put(outbound, version(&world.ground.scenario), &Packet::Pingreq);
            world.tally.counters.heartbeats_expected += 1;
            self.pinged_us = now.monotonic_us;
            self.sent_us = now.monotonic_us;
        }
        Ok(())
    }

    fn deadline(&self) -> u64 {
        match self.phase {
            Phase::Down => u64::MAX,
            Phase::Connecting | Phase::Subscribing => self.received_us + LOGIN_WAIT_US,
            Phase::Online if self.pinged_us == 0 => self.ping_at_us(),
            Phase::Online => self.pinged_us + PONG_WAIT_US,
        }
    }
}

impl Mqtt {
    fn on_packet(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        packet: &Packet<'_>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match packet {
            Packet::Connack(connack) if self.phase == Phase::Connecting => {
                self.on_connack(world, index, now, connack, outbound)?;
            }
            Packet::Disconnect(leave) => return Err(fault::named(leave.reason)),
            _ if matches!(self.phase, Phase::Down | Phase::Connecting) => {
                return Err(fault::unexpected());
            }
            Packet::Suback(suback) if self.phase == Phase::Subscribing => {
                self.on_suback(world, index, now, suback, outbound)?;
            }
            Packet::Publish(publish) => self.on_publish(world, index, now, publish, outbound)?,
            Packet::Pubrel(answer) => {
                let found = self.receiving.release(answer.packet_id);
                let found =
                    if found { reason::SUCCESS } else { reason::PACKET_IDENTIFIER_NOT_FOUND };
                let version = version(&world.ground.scenario);
                encode::answer(outbound, version, Kind::Pubcomp, answer.packet_id, found);
            }
            Packet::Puback(answer) => {
                self.asked()?.on_puback(world, index, now, answer)?;
            }
            Packet::Pubrec(answer) => {
                self.asked()?.on_pubrec(world, index, now, answer, outbound)?;
            }
            Packet::Pubcomp(answer) => self.asked()?.on_pubcomp(answer.packet_id)?,
            Packet::Pingresp => self.on_pong(world, now),
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Subscribe(_)
            | Packet::Suback(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Auth(_) => return Err(fault::unexpected()),
        }
        Ok(())
    }

    /// What is being sent, which an answer presumes.
    fn asked(&mut self) -> Result<&mut Sending, Fault> {
        self.sending.as_deref_mut().ok_or(fault::unexpected())
    }

    fn on_connack(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        connack: &Connack<'_>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let scenario = &world.ground.scenario;
        if connack.reason != reason::SUCCESS {
            return Err(fault::refused(version(scenario), connack.reason));
        }
        let number = |id| connack.properties.number(id);
        if number(property::MAXIMUM_QOS).is_some_and(|max| max < u32::from(scenario.mqtt.qos)) {
            return Err(fault::named(reason::QOS_NOT_SUPPORTED));
        }
        let seconds = number(property::SERVER_KEEP_ALIVE)
            .unwrap_or_else(|| keep_alive_s(scenario, index).into());
        self.keep_alive_ms = seconds.saturating_mul(1000);
        self.receive_max = number(property::RECEIVE_MAXIMUM).map_or(u16::MAX, |max| max as u16);
        self.packet_bytes_max = number(property::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX);
        let kept = connack.session_present && !scenario.mqtt.clean;
        self.receiving.on_connected(world, index, kept);
        if let Some(sending) = &mut self.sending {
            sending.on_connected(world, index, kept, outbound);
        }
        self.phase = Phase::Subscribing;
        if kept && self.was_online {
            self.come_online(world);
        } else {
            self.granted = 0;
            self.subscribe(world, index, outbound);
        }
        self.sent_us = now.monotonic_us;
        Ok(())
    }

    /// Asks for the next filters; with none left it is online.
    fn subscribe(&mut self, world: &mut World, index: u32, outbound: &mut Vec<u8>) {
        let ground = &world.ground;
        let version = version(&ground.scenario);
        // Nothing is retained by a run; who asks for it all the same gets other people's.
        let retained = match version {
            Version::V5 => Options::RETAIN_NEVER,
            Version::V311 => Options::RETAIN_ALWAYS,
        };
        let options = Options::new(qos(&ground.scenario), false, false, retained);
        let mut filters = Vec::new();
        let all = address::filters(ground, index);
        let mut asked = 0;
        for filter in all.skip(usize::from(self.granted)).take(FILTERS_MAX) {
            Filters::put(&mut filters, &filter, Some(options));
            asked += 1;
        }
        if asked == 0 {
            self.come_online(world);
            return;
        }
        let subscribe = Subscribe {
            packet_id: SUBSCRIBE_ID,
            properties: Properties::NONE,
            filters: Filters::of(&filters, true),
        };
        put(outbound, version, &Packet::Subscribe(subscribe));
    }

    fn on_suback(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        suback: &Suback<'_>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if suback.packet_id != SUBSCRIBE_ID || suback.reasons.is_empty() {
            return Err(fault::unexpected());
        }
        for &granted in suback.reasons {
            if granted >= reason::ERROR {
                return Err(fault::named(granted));
            }
            if granted != world.ground.scenario.mqtt.qos {
                return Err(fault::named(reason::QOS_NOT_SUPPORTED));
            }
        }
        self.granted = self.granted.saturating_add(suback.reasons.len() as u16);
        self.subscribe(world, index, outbound);
        self.sent_us = now.monotonic_us;
        Ok(())
    }

    fn come_online(&mut self, world: &mut World) {
        self.phase = Phase::Online;
        world.note_login(self.was_online);
        self.was_online = true;
        self.came_online = true;
    }

    fn on_publish(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        publish: &Publish<'_>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if publish.alias().is_some() {
            // None was offered.
            return Err(fault::unexpected());
        }
        let version = version(&world.ground.scenario);
        let answer = |out: &mut Vec<u8>, kind| {
            encode::answer(out, version, kind, publish.packet_id, reason::SUCCESS);
        };
        match publish.qos {
            Qos::AtMostOnce => self.receiving.deliver(world, index, now, publish),
            Qos::AtLeastOnce => {
                self.receiving.deliver(world, index, now, publish);
                answer(outbound, Kind::Puback);
            }
            Qos::ExactlyOnce => {
                if self.receiving.hold(publish.packet_id)? {
                    self.receiving.deliver(world, index, now, publish);
                }
                answer(outbound, Kind::Pubrec);
            }
        }
        Ok(())
    }

    fn on_pong(&mut self, world: &mut World, now: Now) {
        if self.pinged_us != 0 {
            world.tally.counters.heartbeats_answered += 1;
            let (from_us, us) = (self.pinged_us, now.monotonic_us - self.pinged_us);
            world.record(from_us, us, Stage::Heartbeat);
            self.pinged_us = 0;
        }
    }

    /// A beat is due when either direction has been quiet for the agreed time.
    fn ping_at_us(&self) -> u64 {
        if self.keep_alive_ms == 0 {
            return u64::MAX;
        }
        self.sent_us.min(self.received_us) + u64::from(self.keep_alive_ms) * 1000
    }

    fn pump(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        if self.is_online()
            && let Some(sending) = &mut self.sending
        {
            let (receive_max, packet_bytes_max) = (self.receive_max, self.packet_bytes_max);
            sending.pump(world, index, now, &Flow { receive_max, packet_bytes_max }, outbound);
        }
    }
}

/// Keep-alive a connection asks for, seconds.
fn keep_alive_s(scenario: &Scenario, index: u32) -> u16 {
    match scenario.heartbeat_s(index) {
        0 => KEEP_ALIVE_DEFAULT_S,
        seconds => seconds,
    }
}

/// Appends a packet of a client, of which none comes near the protocol's limit.
fn put(outbound: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    let fits = encode::packet(outbound, version, packet);
    debug_assert!(fits.is_ok(), "{packet:?}");
}

#[cfg(test)]
mod tests;
