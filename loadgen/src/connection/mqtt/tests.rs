//! The client against packets of a scripted server.

use std::sync::{Arc, atomic::AtomicU64};

use hawser_codec::mqtt::packet::{Answer, Disconnect};

use super::*;
use crate::{
    connection::{Connection, Ground, To},
    identity::Names,
    oracle::{Audience, Bounds, Findings, Oracle, Promise},
    payload::Payload,
    scenario::{Addressing, Groups, HeartbeatShare, Kind as Plot},
    wire::{Wire, fault},
};

mod wrong;

const RUN: u64 = 5;

/// Who it is about: user 0 of ten.
const ME: u32 = 0;

fn at(ms: u64) -> Now {
    Now { monotonic_us: 1 + ms * 1000, wall_ms: 1_000_000 + ms }
}

/// One client and its scripted server.
struct Pair {
    world: World,
    client: Connection,
    now: Now,
    /// Messages user 3 has sent to [`ME`].
    theirs: u32,
}

fn scenario(version: Version, qos: u8) -> Scenario {
    let mut scenario = Scenario::usual(Plot::Chat);
    scenario.protocol = if version == Version::V5 { Protocol::Mqtt5 } else { Protocol::Mqtt3 };
    scenario.users = 10;
    scenario.mqtt.qos = qos;
    scenario.mqtt.clean = true;
    scenario
}

impl Pair {
    fn new(scenario: Scenario) -> Self {
        let oracle = Oracle::new(RUN, Bounds { directions: 6400, exceptions: 6400 });
        let world = World::new(Arc::new(Ground {
            wire: Wire::new(scenario.protocol, ([127, 0, 0, 1], 1883).into()),
            names: Names::new(RUN),
            oracle: oracle.judging(Audience::of(&scenario), Promise::of(&scenario)),
            payload_bytes: 64,
            token: String::new(),
            measure_from_us: AtomicU64::new(0),
            measure_to_us: AtomicU64::new(u64::MAX),
            scenario,
        }));
        let client = Connection::new(&world.ground.scenario);
        Self { world, client, now: at(0), theirs: 0 }
    }

    fn online(scenario: Scenario) -> Self {
        let mut pair = Self::new(scenario);
        pair.log_in(false, Properties::NONE);
        pair
    }

    fn version(&self) -> Version {
        version(&self.world.ground.scenario)
    }

    fn greet(&mut self) {
        self.client.greet(&mut self.world, ME, self.now);
    }

    fn log_in(&mut self, session_present: bool, properties: Properties<'_>) {
        self.greet();
        self.said();
        let reason = reason::SUCCESS;
        self.hear(&Packet::Connack(Connack { session_present, reason, properties })).unwrap();
        if !self.client.is_online() {
            self.grant();
        }
        assert!(self.client.is_online());
    }

    /// Grants what is asked.
    fn grant(&mut self) {
        let qos = self.world.ground.scenario.mqtt.qos;
        let said = self.said();
        let asked = said.iter().filter(|text| text.starts_with("Subscribe")).count();
        assert_eq!(asked, 1, "{said:?}");
        let reasons = vec![qos; said[0].matches("load/").count().max(1)];
        let properties = Properties::NONE;
        let suback = Suback { packet_id: SUBSCRIBE_ID, properties, reasons: &reasons };
        self.hear(&Packet::Suback(suback)).unwrap();
    }

    fn lose(&mut self) {
        self.client.on_disconnected(&mut self.world);
    }

    /// Byte by byte, as an unlucky network would bring it.
    fn hear(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, self.version(), packet).unwrap();
        for byte in bytes {
            self.client.on_bytes(&mut self.world, ME, self.now, &[byte])?;
        }
        Ok(())
    }

    fn answer(&mut self, kind: Kind, packet_id: u16, reason: u8) -> Result<(), Fault> {
        let answer = Answer { packet_id, reason, properties: Properties::NONE };
        self.hear(&match kind {
            Kind::Puback => Packet::Puback(answer),
            Kind::Pubrec => Packet::Pubrec(answer),
            Kind::Pubrel => Packet::Pubrel(answer),
            _ => Packet::Pubcomp(answer),
        })
    }

    fn offer(&mut self, to: To) {
        let offer = Offer { to, intended_us: self.now.monotonic_us, hop: 0 };
        self.client.offer(&mut self.world, ME, offer, self.now);
    }

    /// What the client said since it was last asked: publishes in short, the rest in full.
    fn said(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.client.outbound);
        let limits = PacketLimits { receiver: Role::Server, packet_bytes_max: 1 << 20 };
        let mut rest = bytes.as_slice();
        let mut all = Vec::new();
        while let Step::Packet { packet, consumed } =
            hawser_codec::mqtt::step(&limits, self.version(), rest).unwrap()
        {
            rest = &rest[consumed..];
            all.push(match packet {
                Packet::Publish(publish) => {
                    let payload = Payload::read(publish.payload).unwrap();
                    let dup = if publish.dup { " again" } else { "" };
                    let qos = publish.qos as u8;
                    let id = publish.packet_id;
                    format!("{} as {id} with {qos} to {}{dup}", payload.counter, publish.topic)
                }
                Packet::Puback(answer) => format!("Puback {}", answer.packet_id),
                Packet::Pubrec(answer) => format!("Pubrec {}", answer.packet_id),
                Packet::Pubrel(answer) => format!("Pubrel {}", answer.packet_id),
                Packet::Pubcomp(answer) => {
                    format!("Pubcomp {} 0x{:02X}", answer.packet_id, answer.reason)
                }
                Packet::Subscribe(subscribe) => {
                    let filters: Vec<_> = subscribe
                        .filters
                        .iter()
                        .map(|(filter, options)| format!("{filter} {}", options.qos() as u8))
                        .collect();
                    format!("Subscribe {}", filters.join(", "))
                }
                other => format!("{other:?}"),
            });
        }
        assert!(rest.is_empty());
        all
    }

    fn findings(&self) -> Findings {
        self.world.ground.oracle.findings()
    }
}

fn topic_of(user: u32) -> String {
    format!("load/{RUN:016x}/u/{}", Names::new(RUN).name(user).as_str())
}

/// A message of user 3 to user 0, as the server would bring it.
fn body(pair: &mut Pair, counter: u32) -> Vec<u8> {
    while pair.theirs <= counter {
        pair.theirs += 1;
        pair.world.ground.oracle.send(3, ME);
    }
    let mut body = Vec::new();
    let payload =
        Payload { run: RUN, sender: 3, recipient: ME, counter, lag_us: 0, intended_us: 1, hop: 0 };
    payload.write(64, &mut body);
    body
}

fn bring(pair: &mut Pair, counter: u32, qos: Qos, packet_id: u16, dup: bool) {
    let body = body(pair, counter);
    let topic = topic_of(ME);
    let publish = Publish {
        dup,
        qos,
        retain: false,
        topic: &topic,
        packet_id,
        properties: Properties::NONE,
        payload: &body,
    };
    pair.hear(&Packet::Publish(publish)).unwrap();
}

#[test]
fn it_is_online_only_when_every_filter_is_granted() {
    for version in [Version::V311, Version::V5] {
        let mut pair = Pair::new(scenario(version, 1));
        pair.greet();
        let said = pair.said();
        let name = Names::new(RUN).name(ME);
        assert!(said[0].contains(&format!("client_id: \"{}-0\"", name.as_str())), "{said:?}");
        assert!(said[0].contains("clean: true, keep_alive_s: 60"), "{said:?}");
        let reason = reason::SUCCESS;
        let properties = Properties::NONE;
        let session_present = false;
        pair.hear(&Packet::Connack(Connack { session_present, reason, properties })).unwrap();
        assert!(!pair.client.is_online());
        pair.offer(To::User(1));
        assert_eq!(pair.said(), [format!("Subscribe {} 1", topic_of(ME))]);
        let suback = Suback { packet_id: SUBSCRIBE_ID, properties, reasons: &[1] };
        pair.hear(&Packet::Suback(suback)).unwrap();
        assert!(pair.client.is_online() && pair.client.take_came_online());
        assert_eq!(pair.said(), [format!("0 as 1 with 1 to {}", topic_of(1))]);
        assert_eq!(pair.world.tally.counters.logged_in, 1);
    }
}

#[test]
fn message_of_each_quality_goes_its_way() {
    for version in [Version::V311, Version::V5] {
        let mut pair = Pair::online(scenario(version, 0));
        pair.offer(To::User(1));
        assert_eq!(pair.said(), [format!("0 as 0 with 0 to {}", topic_of(1))]);
        let counters = &pair.world.tally.counters;
        assert_eq!((counters.forgotten, counters.acknowledged), (1, 0));
        assert!(pair.client.is_quiet());

        let mut pair = Pair::online(scenario(version, 1));
        pair.offer(To::User(1));
        assert!(!pair.client.is_quiet());
        pair.answer(Kind::Puback, 1, 0).unwrap();
        assert_eq!(pair.world.tally.counters.acknowledged, 1);
        assert!(pair.client.is_quiet());

        let mut pair = Pair::online(scenario(version, 2));
        pair.offer(To::User(1));
        pair.said();
        pair.answer(Kind::Pubrec, 1, 0).unwrap();
        assert_eq!(pair.world.tally.counters.acknowledged, 1);
        pair.answer(Kind::Pubrec, 1, 0).unwrap();
        assert_eq!(pair.said(), ["Pubrel 1", "Pubrel 1"]);
        assert_eq!(pair.world.tally.counters.acknowledged, 1);
        assert!(!pair.client.is_quiet());
        pair.answer(Kind::Pubcomp, 1, 0).unwrap();
        assert!(pair.client.is_quiet());
        assert_eq!(pair.findings().acknowledged, 1);
    }
}

#[test]
fn what_comes_is_answered_and_delivered_once() {
    for version in [Version::V311, Version::V5] {
        let mut pair = Pair::online(scenario(version, 1));
        bring(&mut pair, 0, Qos::AtMostOnce, 0, false);
        bring(&mut pair, 1, Qos::AtLeastOnce, 7, false);
        assert_eq!(pair.said(), ["Puback 7"]);
        bring(&mut pair, 2, Qos::ExactlyOnce, 8, false);
        bring(&mut pair, 2, Qos::ExactlyOnce, 8, true);
        assert!(!pair.client.is_quiet());
        pair.answer(Kind::Pubrel, 8, 0).unwrap();
        pair.answer(Kind::Pubrel, 8, 0).unwrap();
        let unknown = if version == Version::V5 { "0x92" } else { "0x00" };
        let last = format!("Pubcomp 8 {unknown}");
        assert_eq!(pair.said(), ["Pubrec 8", "Pubrec 8", "Pubcomp 8 0x00", &last]);
        assert!(pair.client.is_quiet());
        let expected = Findings { sent: 3, delivered: 3, ..Findings::default() };
        assert_eq!(pair.findings(), expected);
        assert_eq!(pair.world.arrived.len(), 3);
    }
}

#[test]
fn servers_receive_maximum_holds_messages_back() {
    let mut properties = Vec::new();
    property::put(&mut properties, property::RECEIVE_MAXIMUM, Value::Short(2));
    let mut pair = Pair::new(scenario(Version::V5, 2));
    pair.log_in(false, Properties::of(&properties));
    for _ in 0..4 {
        pair.offer(To::User(1));
    }
    assert_eq!(pair.said().len(), 2);
    pair.answer(Kind::Pubrec, 2, 0).unwrap();
    assert_eq!(pair.said(), ["Pubrel 2"], "it is not over yet");
    pair.answer(Kind::Pubcomp, 2, 0).unwrap();
    assert_eq!(pair.said(), [format!("2 as 3 with 2 to {}", topic_of(1))]);
}

#[test]
fn without_a_receive_maximum_as_many_are_on_their_way_as_usual() {
    for (version, most) in [(Version::V311, 20), (Version::V5, 128)] {
        let mut pair = Pair::online(scenario(version, 1));
        for _ in 0..most + 1 {
            pair.offer(To::User(1));
        }
        assert_eq!(pair.said().len(), most);
    }
}

#[test]
fn kept_session_goes_on_where_it_was() {
    let kept = Scenario {
        mqtt: crate::scenario::MqttSettings { qos: 2, clean: false, addressing: Addressing::Topic },
        ..scenario(Version::V5, 2)
    };
    let mut pair = Pair::new(kept);
    pair.greet();
    assert!(pair.said()[0].contains("clean: false"));
    pair.lose();
    pair.log_in(false, Properties::NONE);
    for _ in 0..3 {
        pair.offer(To::User(1));
    }
    pair.said();
    pair.answer(Kind::Pubrec, 1, 0).unwrap();
    bring(&mut pair, 0, Qos::ExactlyOnce, 9, false);
    pair.said();
    pair.lose();
    pair.offer(To::User(2));
    pair.greet();
    pair.said();
    let connack = Connack { session_present: true, reason: 0, properties: Properties::NONE };
    pair.hear(&Packet::Connack(connack)).unwrap();
    let to_one =
        |number: u32| format!("{number} as {} with 2 to {} again", number + 1, topic_of(1));
    let expected =
        ["Pubrel 1".to_owned(), to_one(1), to_one(2), format!("0 as 4 with 2 to {}", topic_of(2))];
    assert_eq!(pair.said(), expected, "without subscribing again");
    // The server repeats what it has no answer to; it was seen.
    bring(&mut pair, 0, Qos::ExactlyOnce, 9, true);
    assert_eq!(pair.said(), ["Pubrec 9"]);
    let counters = &pair.world.tally.counters;
    assert_eq!((counters.repeats, counters.reconnects), (2, 1));
    assert_eq!(pair.findings().delivered, 1);
    assert_eq!(pair.findings().duplicated, 0);
}

#[test]
fn lost_session_sends_what_has_no_answer_as_something_new() {
    let mut pair = Pair::online(scenario(Version::V311, 1));
    for _ in 0..3 {
        pair.offer(To::User(1));
    }
    pair.answer(Kind::Puback, 2, 0).unwrap();
    pair.lose();
    pair.said();
    pair.log_in(false, Properties::NONE);
    let new = |number: u32, id: u16| format!("{number} as {id} with 1 to {}", topic_of(1));
    assert_eq!(pair.said(), [new(0, 4), new(2, 5)]);
    assert_eq!(pair.world.tally.counters.repeats, 2);
}

#[test]
fn double_after_a_reconnect_is_no_defect_of_quality_1_and_one_without_is() {
    let mut kept = scenario(Version::V5, 1);
    kept.mqtt.clean = false;
    let mut pair = Pair::online(kept);
    bring(&mut pair, 0, Qos::AtLeastOnce, 1, false);
    pair.lose();
    pair.log_in(true, Properties::NONE);
    bring(&mut pair, 0, Qos::AtLeastOnce, 1, true);
    assert_eq!(pair.findings().doubled_unpromised, 1);
    bring(&mut pair, 0, Qos::AtLeastOnce, 2, false);
    let findings = pair.findings();
    assert_eq!((findings.doubled_unpromised, findings.duplicated), (1, 1));
}

#[test]
fn what_came_while_a_session_was_not_there_is_not_missed() {
    let mut pair = Pair::online(scenario(Version::V5, 1));
    bring(&mut pair, 0, Qos::AtLeastOnce, 1, false);
    pair.lose();
    for number in 0..5 {
        body(&mut pair, number);
        pair.world.ground.oracle.acknowledge(3, ME, number);
    }
    assert_eq!(pair.findings().lost, 4, "it has not come back");
    pair.log_in(false, Properties::NONE);
    bring(&mut pair, 3, Qos::AtLeastOnce, 1, false);
    let findings = pair.findings();
    assert_eq!((findings.missed_away, findings.lost), (2, 1), "number 4 is after it came");
}

#[test]
fn members_subscribe_to_their_groups_and_publish_to_any() {
    let mut fanout = scenario(Version::V5, 1);
    fanout.kind = Plot::Fanout;
    fanout.groups = Groups { count: 4, members: 5 };
    let mut pair = Pair::new(fanout);
    pair.greet();
    pair.said();
    let connack = Connack { session_present: false, reason: 0, properties: Properties::NONE };
    pair.hear(&Packet::Connack(connack)).unwrap();
    // Groups begin at users 0, 2, 5 and 7.
    let group = |number: u32| format!("load/{RUN:016x}/g/{number}");
    let said = pair.said();
    let expected = format!("Subscribe {} 1, {} 1", group(3), group(0));
    assert_eq!(said, [expected]);
    let suback = Suback { packet_id: SUBSCRIBE_ID, properties: Properties::NONE, reasons: &[1, 1] };
    pair.hear(&Packet::Suback(suback)).unwrap();
    pair.offer(To::Group(2));
    assert_eq!(pair.said(), [format!("0 as 1 with 1 to {}", group(2))]);
}

#[test]
fn more_filters_than_a_packet_takes_are_asked_for_in_turn() {
    let mut fanout = scenario(Version::V311, 0);
    fanout.kind = Plot::Fanout;
    fanout.groups = Groups { count: FILTERS_MAX as u32 + 1, members: 0 };
    let mut pair = Pair::new(fanout);
    pair.greet();
    pair.said();
    let connack = Connack { session_present: false, reason: 0, properties: Properties::NONE };
    pair.hear(&Packet::Connack(connack)).unwrap();
    pair.grant();
    assert!(!pair.client.is_online());
    pair.grant();
    assert!(pair.client.is_online());
}

#[test]
fn mailbox_is_written_to_by_name_and_read_from_one_topic() {
    let mut mailbox = scenario(Version::V5, 1);
    mailbox.mqtt.addressing = Addressing::Mailbox;
    let mut pair = Pair::new(mailbox);
    pair.greet();
    pair.said();
    let connack = Connack { session_present: false, reason: 0, properties: Properties::NONE };
    pair.hear(&Packet::Connack(connack)).unwrap();
    assert_eq!(pair.said(), ["Subscribe $hawser/inbox 1"]);
    let suback = Suback { packet_id: SUBSCRIBE_ID, properties: Properties::NONE, reasons: &[1] };
    pair.hear(&Packet::Suback(suback)).unwrap();
    pair.offer(To::User(4));
    let names = Names::new(RUN);
    let (four, three) = (names.name(4), names.name(3));
    assert_eq!(pair.said(), [format!("0 as 1 with 1 to $hawser/u/{}", four.as_str())]);
    for (number, sender) in [(0, three), (1, four)] {
        let mut properties = Vec::new();
        for (name, value) in [("conversation", three.as_str()), ("sender", sender.as_str())] {
            let pair = Value::Pair(name, value);
            property::put(&mut properties, property::USER_PROPERTY, pair);
        }
        let body = body(&mut pair, number);
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: "$hawser/inbox",
            packet_id: 1,
            properties: Properties::of(&properties),
            payload: &body,
        };
        pair.hear(&Packet::Publish(publish)).unwrap();
    }
    let findings = pair.findings();
    assert_eq!((findings.delivered, findings.misdelivered), (1, 1), "4 is not who sent it");
}

#[test]
fn quiet_connection_beats_as_agreed_and_a_missing_answer_ends_it() {
    let mut beating = scenario(Version::V5, 1);
    beating.heartbeats = vec![HeartbeatShare { share: 1.0, seconds: 20 }];
    let mut pair = Pair::online(beating.clone());
    assert_eq!(pair.client.deadline(), at(20_000).monotonic_us);
    pair.client.on_time(&mut pair.world, ME, at(20_000)).unwrap();
    assert_eq!(pair.said(), ["Pingreq"]);
    pair.now = at(20_100);
    pair.hear(&Packet::Pingresp).unwrap();
    assert_eq!(pair.client.deadline(), at(40_000).monotonic_us);
    pair.client.on_time(&mut pair.world, ME, at(40_000)).unwrap();
    let late = pair.client.on_time(&mut pair.world, ME, at(50_000));
    assert_eq!(late, Err(Fault::new(code::TIMEOUT)));
    let counters = &pair.world.tally.counters;
    assert_eq!((counters.heartbeats_expected, counters.heartbeats_answered), (2, 1));
    // What the server wants instead.
    let mut properties = Vec::new();
    property::put(&mut properties, property::SERVER_KEEP_ALIVE, Value::Short(5));
    let mut pair = Pair::new(beating);
    pair.log_in(false, Properties::of(&properties));
    assert_eq!(pair.client.deadline(), at(5000).monotonic_us);
}

#[test]
fn refused_message_is_not_waited_for() {
    for (qos, kind) in [(1, Kind::Puback), (2, Kind::Pubrec)] {
        let mut pair = Pair::online(scenario(Version::V5, qos));
        pair.offer(To::User(1));
        pair.answer(kind, 1, reason::QUOTA_EXCEEDED).unwrap();
        assert!(pair.client.is_quiet());
        let counters = &pair.world.tally.counters;
        assert_eq!((counters.refused, counters.acknowledged), (1, 0));
        assert_eq!(
            fault::text(counters.last_code as u16).unwrap(),
            "the server answered MQTT reason 0x97, quota exceeded"
        );
        assert_eq!(pair.findings().lost, 0);
    }
}

#[test]
fn message_longer_than_the_server_takes_is_refused_before_it_leaves() {
    let mut properties = Vec::new();
    property::put(&mut properties, property::MAXIMUM_PACKET_SIZE, Value::Long(100));
    let mut pair = Pair::new(scenario(Version::V5, 1));
    pair.log_in(false, Properties::of(&properties));
    pair.offer(To::User(1));
    assert!(pair.said().is_empty() && pair.client.is_quiet());
    assert_eq!(pair.world.tally.counters.refused, 1);
}

#[test]
fn identifiers_of_messages_on_their_way_are_not_given_again() {
    let mut pair = Pair::online(scenario(Version::V5, 1));
    pair.offer(To::User(1));
    pair.said();
    for round in 0..u32::from(u16::MAX) + 10 {
        pair.offer(To::User(2));
        let said = pair.said();
        let id: u16 = said[0].split(' ').nth(2).unwrap().parse().unwrap();
        assert!(id > 1 && id < SUBSCRIBE_ID, "round {round}");
        pair.answer(Kind::Puback, id, 0).unwrap();
    }
}
