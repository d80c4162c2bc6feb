//! Bytes as the norms write them.

use crate::{CLIENT, SERVER};
use hawser_codec::mqtt::{
    Packet, PacketLimits, Properties, Qos, Step, Version, encode,
    packet::{
        Answer, Connack, Connect, Disconnect, Filters, Publish, Suback, Subscribe, Unsubscribe,
        Will,
    },
    property::{self, Value},
    step,
};

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn golden(limits: &PacketLimits, version: Version, hex: &str, packet: Packet<'_>) {
    let expected = bytes(hex);
    let mut out = Vec::new();
    encode::packet(&mut out, version, &packet).unwrap();
    assert_eq!(out, expected, "{packet:?}");
    let consumed = expected.len();
    assert_eq!(step(limits, version, &expected), Ok(Step::Packet { packet, consumed }));
}

fn one(id: u8, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    property::put(&mut out, id, value);
    out
}

#[test]
fn connect_as_the_older_norm_shows_it() {
    let connect = Connect {
        version: Version::V311,
        clean: true,
        keep_alive_s: 10,
        properties: Properties::NONE,
        client_id: "ab",
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Properties::NONE,
            topic: "w",
            payload: b"x",
        }),
        user: Some("u"),
        password: Some(b"p"),
    };
    let hex = "10 1a 0004 4d515454 04 ce 000a 0002 6162 0001 77 0001 78 0001 75 0001 70";
    golden(&SERVER, Version::V311, hex, Packet::Connect(connect));
}

#[test]
fn connect_of_the_newer_version() {
    let properties = one(property::SESSION_EXPIRY, Value::Long(10));
    let delay = one(property::WILL_DELAY, Value::Long(5));
    let connect = Connect {
        version: Version::V5,
        clean: false,
        keep_alive_s: 60,
        properties: Properties::of(&properties),
        client_id: "",
        will: Some(Will {
            qos: Qos::ExactlyOnce,
            retain: true,
            properties: Properties::of(&delay),
            topic: "w",
            payload: b"",
        }),
        user: None,
        password: Some(b"secret"),
    };
    let hex = "10 25 0004 4d515454 05 74 003c 05 11 0000000a 0000 05 18 00000005 0001 77 0000
               0006 736563726574";
    golden(&SERVER, Version::V5, hex, Packet::Connect(connect));
}

// norm: MQTT5-2.2.2-1
// norm: MQTT3-2.3.1-5
// norm: MQTT5-2.2.1-2
#[test]
fn publish_of_both_versions() {
    let publish = Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "a/b",
        packet_id: 10,
        properties: Properties::NONE,
        payload: b"hi",
    };
    golden(&SERVER, Version::V311, "32 09 0003 612f62 000a 6869", Packet::Publish(publish));
    golden(&SERVER, Version::V5, "32 0a 0003 612f62 000a 00 6869", Packet::Publish(publish));
    let alias = one(property::TOPIC_ALIAS, Value::Short(1));
    let aliased = Publish {
        qos: Qos::AtMostOnce,
        retain: true,
        topic: "",
        packet_id: 0,
        properties: Properties::of(&alias),
        ..publish
    };
    golden(&SERVER, Version::V5, "31 08 0000 03 23 0001 6869", Packet::Publish(aliased));
}

#[test]
fn a_body_of_128_bytes_has_a_length_of_two() {
    let publish = Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: "a",
        packet_id: 1,
        properties: Properties::NONE,
        payload: &[0; 123],
    };
    let hex = format!("3c 8001 0001 61 0001 {}", "00".repeat(123));
    golden(&SERVER, Version::V311, &hex, Packet::Publish(publish));
    let reasons = [0; 126];
    let suback = Suback { packet_id: 7, properties: Properties::NONE, reasons: &reasons };
    let hex = format!("90 8001 0007 {}", "00".repeat(126));
    golden(&CLIENT, Version::V311, &hex, Packet::Suback(suback));
}

// norm: MQTT5-3.4.2-1
#[test]
fn answers_take_their_shortest_form() {
    let answer = Answer { packet_id: 0x1234, reason: 0, properties: Properties::NONE };
    golden(&SERVER, Version::V5, "40 02 1234", Packet::Puback(answer));
    golden(&SERVER, Version::V311, "50 02 1234", Packet::Pubrec(answer));
    golden(&SERVER, Version::V5, "62 02 1234", Packet::Pubrel(answer));
    golden(
        &SERVER,
        Version::V5,
        "70 03 1234 92",
        Packet::Pubcomp(Answer { reason: 0x92, ..answer }),
    );
    let why = one(property::REASON_STRING, Value::Text("no"));
    let told = Answer { reason: 0x97, properties: Properties::of(&why), ..answer };
    golden(&SERVER, Version::V5, "40 09 1234 97 05 1f 0002 6e6f", Packet::Puback(told));
    for (kind, hex) in [
        (hawser_codec::mqtt::Kind::Puback, "40 02 1234"),
        (hawser_codec::mqtt::Kind::Pubrel, "62 02 1234"),
    ] {
        let mut out = Vec::new();
        encode::answer(&mut out, Version::V5, kind, 0x1234, 0);
        assert_eq!(out, bytes(hex));
    }
    let mut out = Vec::new();
    encode::answer(&mut out, Version::V5, hawser_codec::mqtt::Kind::Puback, 1, 0x10);
    encode::answer(&mut out, Version::V311, hawser_codec::mqtt::Kind::Puback, 1, 0x10);
    assert_eq!(out, bytes("40 03 0001 10 40 02 0001"));
}

#[test]
fn subscribe_and_its_kin() {
    let wanted = bytes("0003 612f62 01 0003 632f64 02");
    let mut put = Vec::new();
    for (filter, qos) in [("a/b", Qos::AtLeastOnce), ("c/d", Qos::ExactlyOnce)] {
        let options = hawser_codec::mqtt::packet::Options::new(qos, false, false, 0);
        Filters::put(&mut put, filter, Some(options));
    }
    assert_eq!(put, wanted);
    let subscribe = Subscribe {
        packet_id: 10,
        properties: Properties::NONE,
        filters: Filters::of(&wanted, true),
    };
    let hex = "82 0e 000a 0003 612f62 01 0003 632f64 02";
    golden(&SERVER, Version::V311, hex, Packet::Subscribe(subscribe));
    let identifier = one(property::SUBSCRIPTION_IDENTIFIER, Value::Variable(300));
    let subscribe = Subscribe { properties: Properties::of(&identifier), ..subscribe };
    assert_eq!(subscribe.identifier(), 300);
    let hex = "82 12 000a 03 0b ac02 0003 612f62 01 0003 632f64 02";
    golden(&SERVER, Version::V5, hex, Packet::Subscribe(subscribe));
    let unwanted = bytes("0003 612f62");
    let unsubscribe = Unsubscribe {
        packet_id: 10,
        properties: Properties::NONE,
        filters: Filters::of(&unwanted, false),
    };
    golden(&SERVER, Version::V5, "a2 08 000a 00 0003 612f62", Packet::Unsubscribe(unsubscribe));
    let answers = Suback { packet_id: 10, properties: Properties::NONE, reasons: &[0, 2, 0x80] };
    golden(&CLIENT, Version::V311, "90 05 000a 00 02 80", Packet::Suback(answers));
    let answers = Suback { reasons: &[0x11], ..answers };
    golden(&CLIENT, Version::V5, "b0 04 000a 00 11", Packet::Unsuback(answers));
    let answers = Suback { reasons: &[], ..answers };
    golden(&CLIENT, Version::V311, "b0 02 000a", Packet::Unsuback(answers));
}

#[test]
fn the_short_ones() {
    golden(&SERVER, Version::V311, "c0 00", Packet::Pingreq);
    golden(&CLIENT, Version::V5, "d0 00", Packet::Pingresp);
    let end = Disconnect { reason: 0, properties: Properties::NONE };
    golden(&SERVER, Version::V311, "e0 00", Packet::Disconnect(end));
    golden(&SERVER, Version::V5, "e0 01 04", Packet::Disconnect(Disconnect { reason: 4, ..end }));
    golden(
        &CLIENT,
        Version::V5,
        "e0 01 8e",
        Packet::Disconnect(Disconnect { reason: 0x8E, ..end }),
    );
    let connack = Connack { session_present: true, reason: 0, properties: Properties::NONE };
    golden(&CLIENT, Version::V311, "20 02 01 00", Packet::Connack(connack));
    golden(&CLIENT, Version::V5, "20 03 01 00 00", Packet::Connack(connack));
    let method = one(property::AUTHENTICATION_METHOD, Value::Text("X"));
    let auth = Disconnect { reason: 0x18, properties: Properties::of(&method) };
    golden(&SERVER, Version::V5, "f0 06 18 04 15 0001 58", Packet::Auth(auth));
}
