//! Servers that refuse, leave, or send what is no MQTT.

use super::*;

fn text(result: Result<(), Fault>) -> String {
    fault::text(result.unwrap_err().code).unwrap()
}

fn connack(reason: u8) -> Packet<'static> {
    Packet::Connack(Connack { session_present: false, reason, properties: Properties::NONE })
}

fn greeted(version: Version) -> Pair {
    let mut pair = Pair::new(scenario(version, 1));
    pair.greet();
    pair.said();
    pair
}

#[test]
fn refusal_is_told_in_words() {
    let refused = text(greeted(Version::V5).hear(&connack(reason::BANNED)));
    assert_eq!(refused, "the server answered MQTT reason 0x8A, banned");
    let words = [
        (1, "unsupported protocol version"),
        (2, "client identifier not valid"),
        (3, "server unavailable"),
        (4, "bad user name or password"),
        (5, "not authorized"),
    ];
    for (code, words) in words {
        let refused = text(greeted(Version::V311).hear(&connack(code)));
        assert!(refused.ends_with(words), "{refused}");
    }
}

#[test]
fn broker_of_the_older_version_alone_is_recognised() {
    let mut pair = greeted(Version::V5);
    let refused = pair.client.on_bytes(&mut pair.world, ME, pair.now, &[0x20, 2, 0, 1]);
    assert_eq!(text(refused), "the server answered MQTT reason 0x84, unsupported protocol version");
}

#[test]
fn refused_or_lowered_subscription_is_a_fault() {
    for (granted, words) in [
        (reason::NOT_AUTHORIZED, "not authorized"),
        (0, "QoS not supported"),
        (0x80, "unspecified"),
    ] {
        let mut pair = greeted(Version::V5);
        pair.hear(&connack(0)).unwrap();
        let properties = Properties::NONE;
        let suback = Suback { packet_id: SUBSCRIBE_ID, properties, reasons: &[granted] };
        let fault = text(pair.hear(&Packet::Suback(suback)));
        assert!(fault.contains(words), "{fault}");
        assert!(!pair.client.is_online());
    }
}

#[test]
fn quality_that_the_server_does_not_have_is_noticed_at_login() {
    let mut properties = Vec::new();
    property::put(&mut properties, property::MAXIMUM_QOS, Value::Byte(0));
    let properties = Properties::of(&properties);
    let connack = Connack { session_present: false, reason: 0, properties };
    let fault = text(greeted(Version::V5).hear(&Packet::Connack(connack)));
    assert_eq!(fault, "the server answered MQTT reason 0x9B, QoS not supported");
}

#[test]
fn goodbye_names_its_reason() {
    let mut pair = Pair::online(scenario(Version::V5, 1));
    let reason = reason::SERVER_SHUTTING_DOWN;
    let leave = Disconnect { reason, properties: Properties::NONE };
    assert_eq!(
        text(pair.hear(&Packet::Disconnect(leave))),
        "the server answered MQTT reason 0x8B, server shutting down"
    );
    pair.lose();
    assert_eq!(pair.world.tally.counters.online, 0);
}

#[test]
fn nonsense_is_a_fault_and_no_panic() {
    let wrong =
        |text: String| assert!(text.starts_with("the server sent what is wrong in MQTT"), "{text}");
    for version in [Version::V311, Version::V5] {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 8], &[0xFF; 8], &[0x24, 0]] {
            let mut pair = greeted(version);
            wrong(text(pair.client.on_bytes(&mut pair.world, ME, pair.now, bytes)));
        }
        // Answers to what was never asked, before the login and after it.
        let suback = Suback { packet_id: 1, properties: Properties::NONE, reasons: &[1] };
        for packet in [connack(0), Packet::Suback(suback)] {
            wrong(text(Pair::online(scenario(version, 1)).hear(&packet)));
        }
        for kind in [Kind::Puback, Kind::Pubrec, Kind::Pubcomp] {
            wrong(text(greeted(version).answer(kind, 1, 0)));
            wrong(text(Pair::online(scenario(version, 1)).answer(kind, 1, 0)));
            let mut pair = Pair::online(scenario(version, 1));
            pair.offer(To::User(1));
            wrong(text(pair.answer(kind, 2, 0)));
        }
        let mut pair = Pair::online(scenario(version, 1));
        pair.offer(To::User(1));
        wrong(text(pair.answer(Kind::Pubrec, 1, 0)));
        let mut pair = Pair::online(scenario(version, 2));
        pair.offer(To::User(1));
        wrong(text(pair.answer(Kind::Pubcomp, 1, 0)));
    }
}

#[test]
fn more_unreleased_messages_than_were_allowed_are_a_fault() {
    let mut pair = Pair::online(scenario(Version::V5, 2));
    for id in 1..=receiving::UNRELEASED_MAX as u16 {
        bring(&mut pair, u32::from(id) - 1, Qos::ExactlyOnce, id, false);
    }
    let topic = topic_of(ME);
    let publish = Publish {
        dup: false,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: &topic,
        packet_id: 5000,
        properties: Properties::NONE,
        payload: &[],
    };
    let fault = text(pair.hear(&Packet::Publish(publish)));
    assert!(fault.ends_with("receive maximum exceeded"), "{fault}");
}

#[test]
fn silence_at_login_is_given_up() {
    let mut pair = greeted(Version::V5);
    assert_eq!(pair.client.deadline(), at(30_000).monotonic_us);
    let late = pair.client.on_time(&mut pair.world, ME, at(30_000));
    assert_eq!(late, Err(Fault::new(code::TIMEOUT)));
}

#[test]
fn foreign_message_is_misdelivered_and_a_damaged_one_corrupted() {
    let mut pair = Pair::online(scenario(Version::V5, 1));
    let whole = body(&mut pair, 0);
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    let own = topic_of(ME);
    let other = topic_of(1);
    for (topic, payload) in [(&own, &damaged), (&other, &whole), (&"x/y".to_owned(), &whole)] {
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            properties: Properties::NONE,
            payload,
        };
        pair.hear(&Packet::Publish(publish)).unwrap();
    }
    let findings = pair.findings();
    assert_eq!((findings.corrupted, findings.misdelivered, findings.delivered), (1, 2, 0));
}
