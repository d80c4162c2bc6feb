//! MQTT 3.1.1 and 5.0 on the wire: what a whole gateway answers, packet by packet.

use hawser_codec::mqtt::{
    Kind, Qos, Version, encode,
    packet::{Connect, Options, Packet, Publish, Will},
    property::{self, Properties, Value},
};
use hawser_tests::{
    company::random_name,
    mqtt::{Heard, MqttClient, connect, publish},
    process::{Gateway, Setup},
};

use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use Version::{V5, V311};

const BOTH: [Version; 2] = [V311, V5];

/// Something a client does.
type Act<'a> = &'a dyn Fn(&mut MqttClient);

fn gateway() -> Gateway {
    Setup::new().start()
}

const fn plain(qos: Qos) -> Options {
    Options::new(qos, false, false, Options::RETAIN_ALWAYS)
}

fn properties(list: &[(u8, Value<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|(id, value)| property::put(&mut bytes, *id, *value));
    bytes
}

#[track_caller]
fn client(gateway: &Gateway, version: Version) -> MqttClient {
    MqttClient::connect(gateway.mqtt(), &connect(version, &random_name())).0
}

#[track_caller]
fn subscriber(gateway: &Gateway, version: Version, filter: &str, qos: Qos) -> MqttClient {
    let mut client = client(gateway, version);
    assert_eq!(client.subscribe(&[(filter, plain(qos))]), [qos as u8]);
    client
}

// norm: MQTT3-3.1.0-1
// norm: MQTT3-3.1.0-2
// norm: MQTT3-4.8.0-1
// norm: MQTT5-3.1.0-1
// norm: MQTT5-3.1.0-2
// norm: MQTT5-4.13.1-1
// norm: MQTT5-4.13.2-1
#[test]
fn what_is_no_packet_in_its_place_ends_the_connection() {
    let gateway = gateway();
    for version in BOTH {
        let mut early = MqttClient::open(gateway.mqtt(), version);
        early.say(&Packet::Pingreq);
        assert_eq!(early.hear(), Heard::End, "before CONNECT");
        let id = random_name();
        let wrong: [(&str, Act<'_>); 3] = [
            ("second CONNECT", &|client| client.say(&Packet::Connect(connect(version, &id)))),
            ("reserved type", &|client| client.say_bytes(&[0x00, 0x00])),
            ("QoS 3", &|client| client.say_bytes(&[0x36, 0x05, 0, 1, b'a', 0, 1])),
        ];
        for (what, say) in wrong {
            let mut client = client(&gateway, version);
            say(&mut client);
            if version == V5 {
                let heard = client.hear();
                assert!(matches!(heard, Heard::Disconnect(0x80..)), "{what}: {heard:?}");
            }
            assert_eq!(client.hear(), Heard::End, "{what}");
        }
    }
}

// norm: MQTT3-3.1.2-2
// norm: MQTT3-3.1.3-6
// norm: MQTT3-3.1.3-8
// norm: MQTT3-3.2.2-4
// norm: MQTT3-3.2.2-5
// norm: MQTT5-3.1.2-2
// norm: MQTT5-3.1.3-6
// norm: MQTT5-3.1.3-7
// norm: MQTT5-3.2.2-6
// norm: MQTT5-3.2.2-7
// norm: MQTT5-3.2.2-16
// norm: MQTT5-4.12.0-1
#[test]
fn a_connect_that_is_refused_says_why_and_ends() {
    let gateway = gateway();
    let mut level = MqttClient::open(gateway.mqtt(), V311);
    level.say_bytes(b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01a");
    assert_eq!(level.hear(), Heard::Connack(false, 1, Vec::new()));
    assert_eq!(level.hear(), Heard::End);
    let mut nameless = MqttClient::open(gateway.mqtt(), V311);
    nameless.say(&Packet::Connect(Connect { clean: false, ..connect(V311, "") }));
    assert_eq!(nameless.hear(), Heard::Connack(false, 2, Vec::new()));
    assert_eq!(nameless.hear(), Heard::End);
    MqttClient::connect(gateway.mqtt(), &connect(V311, ""));
    let mut assigned = Vec::new();
    for _ in 0..2 {
        let mut nameless = MqttClient::open(gateway.mqtt(), V5);
        nameless.say(&Packet::Connect(connect(V5, "")));
        let Heard::Connack(false, 0, told) = nameless.hear() else { panic!("refused") };
        let id = Properties::of(&told).text(property::ASSIGNED_CLIENT_IDENTIFIER);
        assigned.push(id.expect("an id was assigned").to_owned());
    }
    assert_ne!(assigned[0], assigned[1]);
    let method = properties(&[(property::AUTHENTICATION_METHOD, Value::Text("X"))]);
    let mut enhanced = MqttClient::open(gateway.mqtt(), V5);
    let properties = Properties::of(&method);
    enhanced.say(&Packet::Connect(Connect { properties, ..connect(V5, "enhanced") }));
    assert!(matches!(enhanced.hear(), Heard::Connack(false, 0x8c, _)));
    assert_eq!(enhanced.hear(), Heard::End);
}

// norm: MQTT3-3.1.2-4
// norm: MQTT3-3.1.2-6
// norm: MQTT3-3.1.4-3
// norm: MQTT3-3.1.4-4
// norm: MQTT3-3.2.0-1
// norm: MQTT3-3.2.2-1
// norm: MQTT3-3.2.2-2
// norm: MQTT3-3.2.2-3
// norm: MQTT5-3.1.2-4
// norm: MQTT5-3.1.2-5
// norm: MQTT5-3.1.2-6
// norm: MQTT5-3.1.4-4
// norm: MQTT5-3.1.4-5
// norm: MQTT5-3.2.0-1
// norm: MQTT5-3.2.2-2
// norm: MQTT5-3.2.2-3
// norm: MQTT5-3.2.2-1
#[test]
fn session_present_says_whether_there_was_a_session() {
    let gateway = gateway();
    let keep = properties(&[(property::SESSION_EXPIRY, Value::Long(3600))]);
    for version in BOTH {
        let id = random_name();
        let kept = Connect {
            clean: false,
            properties: if version == V5 { Properties::of(&keep) } else { Properties::NONE },
            ..connect(version, &id)
        };
        for (connect, expected) in [
            (kept, false),
            (kept, true),
            (Connect { clean: true, ..kept }, false),
            (Connect { properties: Properties::NONE, ..kept }, version == V5),
        ] {
            let (client, present) = MqttClient::connect(gateway.mqtt(), &connect);
            assert_eq!(present, expected, "{version:?} {connect:?}");
            client.disconnect(0);
        }
    }
}

// norm: MQTT3-3.1.4-2
// norm: MQTT5-3.1.4-3
#[test]
fn a_second_connection_of_a_client_id_ends_the_first() {
    let gateway = gateway();
    for version in BOTH {
        let id = random_name();
        let (mut old, _) = MqttClient::connect(gateway.mqtt(), &connect(version, &id));
        let (mut new, _) = MqttClient::connect(gateway.mqtt(), &connect(version, &id));
        if version == V5 {
            assert_eq!(old.hear(), Heard::Disconnect(0x8e));
        }
        assert_eq!(old.hear(), Heard::End);
        new.nothing();
    }
}

// norm: MQTT3-2.3.1-6
// norm: MQTT3-3.3.4-1
// norm: MQTT3-3.12.4-1
// norm: MQTT3-4.3.2-2
// norm: MQTT3-4.3.3-2
// norm: MQTT5-2.2.1-5
// norm: MQTT5-3.3.4-1
// norm: MQTT5-3.12.4-1
// norm: MQTT5-4.3.2-4
// norm: MQTT5-4.3.2-5
// norm: MQTT5-4.3.3-8
// norm: MQTT5-4.3.3-10
// norm: MQTT5-4.3.3-11
// norm: MQTT5-4.3.3-12
#[test]
fn a_publish_is_answered_as_its_quality_asks_for() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut hears = subscriber(&gateway, version, &topic, AtMostOnce);
        let mut says = client(&gateway, version);
        says.say(&Packet::Publish(publish(&topic, "zero", AtMostOnce)));
        says.nothing();
        for payload in ["one", "one again"] {
            says.say(&Packet::Publish(publish(&topic, payload, AtLeastOnce)));
            assert_eq!(says.hear(), Heard::Answer(Kind::Puback, 9, 0));
        }
        for payload in ["two", "two, new"] {
            for _ in 0..2 {
                says.say(&Packet::Publish(publish(&topic, payload, ExactlyOnce)));
                assert_eq!(says.hear(), Heard::Answer(Kind::Pubrec, 9, 0));
            }
            says.answer(Kind::Pubrel, 9);
            assert_eq!(says.hear(), Heard::Answer(Kind::Pubcomp, 9, 0));
        }
        for payload in ["zero", "one", "one again", "two", "two, new"] {
            assert_eq!(hears.message().payload, payload);
        }
        hears.nothing();
    }
}

// norm: MQTT3-2.3.1-7
// norm: MQTT3-3.8.4-1
// norm: MQTT3-3.8.4-2
// norm: MQTT3-3.8.4-4
// norm: MQTT3-3.8.4-5
// norm: MQTT3-3.9.3-1
// norm: MQTT3-3.10.4-1
// norm: MQTT3-3.10.4-2
// norm: MQTT3-3.10.4-4
// norm: MQTT3-3.10.4-5
// norm: MQTT3-3.10.4-6
// norm: MQTT5-2.2.1-6
// norm: MQTT5-3.8.4-1
// norm: MQTT5-3.8.4-2
// norm: MQTT5-3.8.4-5
// norm: MQTT5-3.8.4-6
// norm: MQTT5-3.8.4-7
// norm: MQTT5-3.9.3-1
// norm: MQTT5-3.10.4-1
// norm: MQTT5-3.10.4-2
// norm: MQTT5-3.10.4-4
// norm: MQTT5-3.10.4-5
// norm: MQTT5-3.10.4-6
// norm: MQTT5-3.11.3-1
#[test]
fn each_filter_has_its_answer_in_its_place() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let filters = [format!("{topic}/a"), format!("{topic}/b"), format!("{topic}/c")];
        let mut client = client(&gateway, version);
        let asked = [ExactlyOnce, AtMostOnce, AtLeastOnce];
        let all: Vec<(&str, Options)> =
            filters.iter().zip(asked).map(|(filter, qos)| (filter.as_str(), plain(qos))).collect();
        assert_eq!(client.subscribe(&all), [2, 0, 1]);
        client.say(&Packet::Publish(publish(&filters[0], "before", AtMostOnce)));
        assert_eq!(client.message().payload, "before");
        let gone = [filters[0].as_str(), "never/subscribed", filters[2].as_str()];
        let reasons = client.unsubscribe(&gone);
        let expected: &[u8] = if version == V5 { &[0, 0x11, 0] } else { &[] };
        assert_eq!(reasons, expected);
        for filter in &filters {
            client.say(&Packet::Publish(publish(filter, "behind", AtMostOnce)));
        }
        assert_eq!(client.message().topic, filters[1]);
        client.nothing();
    }
}

// norm: MQTT3-3.3.1-5
// norm: MQTT3-3.3.1-6
// norm: MQTT3-3.3.1-8
// norm: MQTT3-3.3.1-9
// norm: MQTT3-3.3.1-10
// norm: MQTT5-3.3.1-5
// norm: MQTT5-3.3.1-6
// norm: MQTT5-3.3.1-9
// norm: MQTT5-3.3.1-12
#[test]
fn a_retained_message_waits_for_new_subscriptions() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut there = subscriber(&gateway, version, &topic, AtLeastOnce);
        let mut says = client(&gateway, version);
        let mut retain = |payload: &str| {
            let mut packet = publish(&topic, payload, AtLeastOnce);
            packet.retain = true;
            says.say(&Packet::Publish(packet));
            assert_eq!(says.hear(), Heard::Answer(Kind::Puback, 9, 0));
        };
        retain("old");
        retain("new");
        for payload in ["old", "new"] {
            let message = there.message();
            assert_eq!((message.payload.as_str(), message.retain), (payload, false));
            there.answer(Kind::Puback, message.packet_id);
        }
        let mut later = subscriber(&gateway, version, &topic, AtLeastOnce);
        let message = later.message();
        assert_eq!((message.payload.as_str(), message.retain, message.qos), ("new", true, 1));
        later.answer(Kind::Puback, message.packet_id);
        retain("");
        assert_eq!(later.message().payload, "");
        subscriber(&gateway, version, &topic, AtLeastOnce).nothing();
    }
}

// norm: MQTT5-3.3.1-10
// norm: MQTT5-3.3.1-11
// norm: MQTT5-3.3.1-13
// norm: MQTT5-3.3.4-3
// norm: MQTT5-3.8.3-3
// norm: MQTT5-3.8.4-3
#[test]
fn subscription_options_do_what_they_say() {
    let gateway = gateway();
    let topic = random_name();
    let mut says = client(&gateway, V5);
    let mut kept = publish(&topic, "kept", AtMostOnce);
    kept.retain = true;
    says.say(&Packet::Publish(kept));
    says.nothing();
    let mut hears = client(&gateway, V5);
    let options = |handling| Options::new(AtMostOnce, true, true, handling);
    assert_eq!(hears.subscribe(&[(&topic, options(Options::RETAIN_NEVER))]), [0]);
    hears.nothing();
    assert_eq!(hears.subscribe(&[(&topic, options(Options::RETAIN_IF_NEW))]), [0]);
    hears.nothing();
    hears.say(&Packet::Publish(publish(&topic, "its own", AtMostOnce)));
    hears.nothing();
    says.say(&Packet::Publish(kept));
    assert!(hears.message().retain, "as published");
    let mut fresh = client(&gateway, V5);
    let identifier = properties(&[(property::SUBSCRIPTION_IDENTIFIER, Value::Variable(300))]);
    let wanted = [(topic.as_str(), options(Options::RETAIN_IF_NEW))];
    fresh.subscribe_with(&wanted, Properties::of(&identifier));
    assert_eq!(fresh.hear(), Heard::Suback(77, vec![0]));
    let message = fresh.message();
    assert_eq!((message.payload.as_str(), message.retain), ("kept", true));
    let told = Properties::of(&message.properties);
    assert_eq!(told.number(property::SUBSCRIPTION_IDENTIFIER), Some(300));
}

// norm: MQTT3-3.1.2-8
// norm: MQTT3-3.1.2-16
// norm: MQTT3-3.14.4-3
// norm: MQTT5-3.1.2-7
// norm: MQTT5-3.1.2-8
// norm: MQTT5-3.1.2-10
// norm: MQTT5-3.1.2-14
// norm: MQTT5-3.14.4-3
#[test]
fn a_will_is_published_unless_its_client_says_good_bye() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut hears = subscriber(&gateway, version, &topic, AtMostOnce);
        let (gone, lost) = (random_name(), random_name());
        for (id, payload) in [(&gone, "of the one that left"), (&lost, "of the one that was lost")]
        {
            let will = Will {
                qos: AtLeastOnce,
                retain: false,
                properties: Properties::NONE,
                topic: &topic,
                payload: payload.as_bytes(),
            };
            let will = Connect { will: Some(will), ..connect(version, id) };
            let (client, _) = MqttClient::connect(gateway.mqtt(), &will);
            if *id == gone {
                client.disconnect(0);
            }
        }
        let message = hears.message();
        assert_eq!(message.payload, "of the one that was lost");
        assert!(!message.retain);
        hears.nothing();
    }
}

// norm: MQTT3-3.1.2-24
// norm: MQTT5-3.1.2-22
// norm: MQTT5-3.2.2-22
#[test]
fn a_client_that_is_silent_beyond_its_keep_alive_is_disconnected() {
    let gateway = gateway();
    for version in BOTH {
        let id = random_name();
        let short = Connect { keep_alive_s: 1, ..connect(version, &id) };
        let (mut client, _) = MqttClient::connect(gateway.mqtt(), &short);
        if version == V5 {
            assert_eq!(client.hear(), Heard::Disconnect(0x8d));
        }
        assert_eq!(client.hear(), Heard::End);
    }
}

// norm: MQTT3-4.6.0-5
// norm: MQTT3-4.6.0-6
// norm: MQTT3-3.8.4-6
// norm: MQTT5-3.8.4-8
// norm: MQTT5-4.6.0-5
// norm: MQTT5-4.6.0-6
#[test]
fn messages_of_a_client_come_in_their_order_and_with_the_lower_quality() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut hears = subscriber(&gateway, version, &topic, AtLeastOnce);
        let mut lowly = subscriber(&gateway, version, &topic, AtMostOnce);
        let mut says = client(&gateway, version);
        for number in 1..=30u16 {
            let payload = number.to_string();
            let mut packet = publish(&topic, &payload, AtLeastOnce);
            packet.packet_id = number;
            says.say(&Packet::Publish(packet));
        }
        for number in 1..=30u16 {
            assert_eq!(says.hear(), Heard::Answer(Kind::Puback, number, 0));
            let message = hears.message();
            assert_eq!((message.payload, message.qos), (number.to_string(), 1));
            hears.answer(Kind::Puback, message.packet_id);
            let message = lowly.message();
            assert_eq!((message.payload, message.qos), (number.to_string(), 0));
        }
    }
}

// norm: MQTT5-3.1.2-27
// norm: MQTT5-3.3.2-4
// norm: MQTT5-3.3.2-6
// norm: MQTT5-3.3.2-15
// norm: MQTT5-3.3.2-16
// norm: MQTT5-3.3.2-17
// norm: MQTT5-3.3.2-18
// norm: MQTT5-3.3.2-20
#[test]
fn properties_of_a_message_reach_its_listeners_unchanged() {
    let gateway = gateway();
    let topic = format!("{0}/{0}", random_name());
    let mut hears = subscriber(&gateway, V5, &topic, AtMostOnce);
    let mut says = client(&gateway, V5);
    let passed = [
        (property::PAYLOAD_FORMAT, Value::Byte(1)),
        (property::USER_PROPERTY, Value::Pair("z", "1")),
        (property::RESPONSE_TOPIC, Value::Text("answers/here")),
        (property::USER_PROPERTY, Value::Pair("a", "2")),
        (property::CORRELATION_DATA, Value::Binary(&[0, 255])),
        (property::USER_PROPERTY, Value::Pair("z", "3")),
        (property::CONTENT_TYPE, Value::Text("text/plain")),
    ];
    let mut said = properties(&passed);
    said.extend(properties(&[(property::MESSAGE_EXPIRY, Value::Long(1000))]));
    for _ in 0..3 {
        let mut packet = publish(&topic, "x", AtMostOnce);
        packet.properties = Properties::of(&said);
        says.say(&Packet::Publish(packet));
        let message = hears.message();
        assert_eq!(message.topic, topic);
        let told = Properties::of(&message.properties);
        assert!(!told.has(property::TOPIC_ALIAS), "the client takes none");
        let expiry = told.number(property::MESSAGE_EXPIRY).expect("it still expires");
        assert!((900..=1000).contains(&expiry), "{expiry}");
        let rest: Vec<_> = told.iter().filter(|(id, _)| *id != property::MESSAGE_EXPIRY).collect();
        for id in passed.map(|(id, _)| id) {
            let of = |list: &[(u8, Value<'_>)]| -> Vec<String> {
                let same = list.iter().filter(|(found, _)| *found == id);
                same.map(|(_, value)| format!("{value:?}")).collect()
            };
            assert_eq!(of(&rest), of(&passed), "property {id}");
        }
        assert_eq!(rest.len(), passed.len());
    }
}

// norm: MQTT5-3.1.2-24
// norm: MQTT5-3.1.2-25
// norm: MQTT5-3.3.4-9
// norm: MQTT5-3.3.4-10
// norm: MQTT5-4.9.0-2
// norm: MQTT5-4.9.0-3
#[test]
fn a_client_gets_no_more_and_nothing_larger_than_it_takes() {
    let gateway = gateway();
    let (topic, id) = (random_name(), random_name());
    let takes = properties(&[
        (property::RECEIVE_MAXIMUM, Value::Short(2)),
        (property::MAXIMUM_PACKET_SIZE, Value::Long(200)),
    ]);
    let narrow = Connect { properties: Properties::of(&takes), ..connect(V5, &id) };
    let (mut hears, _) = MqttClient::connect(gateway.mqtt(), &narrow);
    assert_eq!(hears.subscribe(&[(&topic, plain(AtLeastOnce))]), [1]);
    let mut says = client(&gateway, V5);
    let large = "x".repeat(500);
    for payload in ["1", "2", large.as_str(), "3", "4"] {
        says.say(&Packet::Publish(publish(&topic, payload, AtLeastOnce)));
        assert_eq!(says.hear(), Heard::Answer(Kind::Puback, 9, 0));
    }
    let (first, second) = (hears.message(), hears.message());
    assert_eq!([first.payload.as_str(), second.payload.as_str()], ["1", "2"]);
    hears.nothing();
    hears.answer(Kind::Puback, first.packet_id);
    assert_eq!(hears.message().payload, "3");
    hears.nothing();
    hears.answer(Kind::Puback, second.packet_id);
    assert_eq!(hears.message().payload, "4");
}

// norm: MQTT3-2.3.1-4
// norm: MQTT3-3.3.1-1
// norm: MQTT3-4.4.0-1
// norm: MQTT3-4.5.0-1
// norm: MQTT5-3.3.1-1
// norm: MQTT5-4.4.0-1
// norm: MQTT5-4.5.0-1
#[test]
fn a_session_that_comes_back_gets_what_it_has_not_answered_with_the_same_id() {
    let gateway = gateway();
    let keep = properties(&[(property::SESSION_EXPIRY, Value::Long(3600))]);
    for version in BOTH {
        let (topic, id, lost) = (random_name(), random_name(), random_name());
        let will = Will {
            qos: AtMostOnce,
            retain: false,
            properties: Properties::NONE,
            topic: &lost,
            payload: b"",
        };
        let kept = Connect {
            clean: false,
            properties: if version == V5 { Properties::of(&keep) } else { Properties::NONE },
            will: Some(will),
            ..connect(version, &id)
        };
        let mut mourner = subscriber(&gateway, version, &lost, AtMostOnce);
        let (mut hears, _) = MqttClient::connect(gateway.mqtt(), &kept);
        assert_eq!(hears.subscribe(&[(&topic, plain(AtLeastOnce))]), [1]);
        let mut says = client(&gateway, version);
        let mut say = |payload: &str| {
            says.say(&Packet::Publish(publish(&topic, payload, AtLeastOnce)));
            assert_eq!(says.hear(), Heard::Answer(Kind::Puback, 9, 0));
        };
        say("while there");
        let first = hears.message();
        assert!(!first.dup);
        // The home publishes the will, so it does not try to deliver what comes next to a connection
        // that is gone; that would count as a first time.
        drop(hears);
        assert_eq!(mourner.message().topic, lost);
        say("while away");
        let (mut hears, present) = MqttClient::connect(gateway.mqtt(), &kept);
        assert!(present);
        let again = hears.message();
        assert_eq!((again.payload.as_str(), again.dup), ("while there", true));
        assert_eq!(again.packet_id, first.packet_id);
        let later = hears.message();
        assert_eq!((later.payload.as_str(), later.dup), ("while away", false));
        hears.answer(Kind::Puback, again.packet_id);
        hears.answer(Kind::Puback, later.packet_id);
        hears.nothing();
    }
}

/// Says a message of QoS 1 and hears that it is durable.
#[track_caller]
fn put(says: &mut MqttClient, topic: &str, payload: &str, retain: bool) {
    let packet = Publish { retain, ..publish(topic, payload, AtLeastOnce) };
    says.say(&Packet::Publish(packet));
    let heard = says.hear();
    assert!(matches!(heard, Heard::Answer(Kind::Puback, 9, 0 | 0x10)), "{heard:?}");
}

// norm: MQTT3-3.1.2-7
// norm: MQTT3-3.3.1-7
#[test]
fn a_retained_message_outlives_its_session_and_goes_when_another_is_retained() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut says = client(&gateway, version);
        put(&mut says, &topic, "kept", true);
        says.disconnect(0);
        let heard = subscriber(&gateway, version, &topic, AtMostOnce).message();
        assert_eq!((heard.payload.as_str(), heard.retain), ("kept", true));
        let mut says = client(&gateway, version);
        let newer = Publish { retain: true, ..publish(&topic, "newer", AtMostOnce) };
        says.say(&Packet::Publish(newer));
        // What follows on the connection is said of the same topic, hence behind it.
        put(&mut says, &topic, "live", false);
        let heard = subscriber(&gateway, version, &topic, AtMostOnce).message();
        assert_eq!((heard.payload.as_str(), heard.retain), ("newer", true));
    }
}

// norm: MQTT3-3.1.2-12
#[test]
fn without_a_will_nothing_is_said_of_a_client_that_is_lost() {
    let gateway = gateway();
    for version in BOTH {
        let mut hears = subscriber(&gateway, version, "#", AtMostOnce);
        let lost = random_name();
        let (mut old, _) = MqttClient::connect(gateway.mqtt(), &connect(version, &lost));
        // That the next one is there says that the home has heard of the end of the first.
        let (_new, _) = MqttClient::connect(gateway.mqtt(), &connect(version, &lost));
        while old.hear() != Heard::End {}
        put(&mut client(&gateway, version), "behind", "it", false);
        assert_eq!(hears.message().topic, "behind");
        hears.nothing();
    }
}

// norm: MQTT3-3.1.2-17
// norm: MQTT5-3.1.2-15
// norm: MQTT5-3.1.3-10
#[test]
fn a_will_is_retained_if_it_asks_for_that_and_keeps_its_user_properties_in_order() {
    let gateway = gateway();
    let pairs = [("z", "1"), ("a", "2"), ("z", "3")];
    let order: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (property::USER_PROPERTY, Value::Pair(key, value)))
        .collect();
    let said = properties(&order);
    for version in BOTH {
        let (topic, lost) = (random_name(), random_name());
        // What is retained is looked up behind SUBACK, and might be the will by then.
        let live_only = Options::new(AtMostOnce, false, false, Options::RETAIN_NEVER);
        let mut hears = client(&gateway, V5);
        assert_eq!(hears.subscribe(&[(&topic, live_only)]), [0]);
        let properties = if version == V5 { Properties::of(&said) } else { Properties::NONE };
        let will =
            Will { qos: AtLeastOnce, retain: true, properties, topic: &topic, payload: b"lost" };
        let mortal = Connect { will: Some(will), ..connect(version, &lost) };
        drop(MqttClient::connect(gateway.mqtt(), &mortal));
        let live = hears.message();
        assert_eq!((live.payload.as_str(), live.retain), ("lost", false));
        let later = subscriber(&gateway, version, &topic, AtMostOnce).message();
        assert_eq!((later.payload.as_str(), later.retain), ("lost", true));
        for message in [live, later] {
            let told: Vec<_> = Properties::of(&message.properties).iter().collect();
            assert_eq!(told, if version == V5 { order.clone() } else { Vec::new() });
        }
    }
}

// norm: MQTT3-3.1.3-2
// norm: MQTT5-3.1.3-2
#[test]
fn a_session_belongs_to_its_client_id() {
    let gateway = gateway();
    let keep = properties(&[(property::SESSION_EXPIRY, Value::Long(3600))]);
    for version in BOTH {
        let (mine, other, topic) = (random_name(), random_name(), random_name());
        let kept = |id| Connect {
            clean: false,
            properties: if version == V5 { Properties::of(&keep) } else { Properties::NONE },
            ..connect(version, id)
        };
        let (mut client, _) = MqttClient::connect(gateway.mqtt(), &kept(&mine));
        assert_eq!(client.subscribe(&[(&topic, plain(AtLeastOnce))]), [1]);
        client.disconnect(0);
        let (mut stranger, present) = MqttClient::connect(gateway.mqtt(), &kept(&other));
        assert!(!present);
        put(&mut stranger, &topic, "for one", false);
        stranger.nothing();
        let (mut client, present) = MqttClient::connect(gateway.mqtt(), &kept(&mine));
        assert!(present);
        assert_eq!(client.message().payload, "for one");
    }
}

// norm: MQTT3-3.1.4-5
// norm: MQTT5-3.1.4-6
#[test]
fn what_follows_a_connect_that_is_refused_is_not_done() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut hears = subscriber(&gateway, version, &topic, AtMostOnce);
        // Refused on sight in the older version, for its method in the newer.
        let method = properties(&[(property::AUTHENTICATION_METHOD, Value::Text("X"))]);
        let refused = match version {
            V311 => Connect { clean: false, ..connect(version, "") },
            V5 => Connect { properties: Properties::of(&method), ..connect(version, "x") },
        };
        let mut bytes = Vec::new();
        for packet in
            [Packet::Connect(refused), Packet::Publish(publish(&topic, "behind", AtMostOnce))]
        {
            encode::packet(&mut bytes, version, &packet).expect("it can be written");
        }
        let mut client = MqttClient::open(gateway.mqtt(), version);
        client.say_bytes(&bytes);
        let heard = client.hear();
        assert!(matches!(heard, Heard::Connack(false, 1.., _)), "{heard:?}");
        assert_eq!(client.hear(), Heard::End);
        put(&mut self::client(&gateway, version), &topic, "later", false);
        assert_eq!(hears.message().payload, "later");
    }
}

// norm: MQTT3-3.3.1-3
// norm: MQTT3-3.3.2-3
// norm: MQTT3-4.3.1-1
// norm: MQTT5-3.3.1-3
// norm: MQTT5-3.3.2-3
// norm: MQTT5-4.3.1-1
#[test]
fn a_message_is_forwarded_with_its_own_topic_and_a_dup_of_its_own() {
    let gateway = gateway();
    for version in BOTH {
        let name = random_name();
        let topic = format!("{name}/b/c");
        let mut one = subscriber(&gateway, version, &format!("{name}/+/c"), AtLeastOnce);
        let mut zero = subscriber(&gateway, version, &format!("{name}/#"), AtMostOnce);
        let mut says = client(&gateway, version);
        let again = Publish { dup: true, ..publish(&topic, "again", AtLeastOnce) };
        says.say(&Packet::Publish(again));
        assert_eq!(says.hear(), Heard::Answer(Kind::Puback, 9, 0));
        let (one, zero) = (one.message(), zero.message());
        assert_eq!((one.qos, one.dup, one.topic), (1, false, topic.clone()));
        assert_eq!((zero.qos, zero.dup, zero.topic), (0, false, topic));
    }
}

// norm: MQTT3-3.10.4-3
// norm: MQTT5-3.10.4-3
#[test]
fn a_delivery_that_has_begun_is_completed_behind_unsubscribe() {
    let gateway = gateway();
    for version in BOTH {
        let topic = random_name();
        let mut hears = subscriber(&gateway, version, &topic, ExactlyOnce);
        put(&mut client(&gateway, version), &topic, "one", false);
        let one = hears.message();
        let mut says = client(&gateway, version);
        says.say(&Packet::Publish(publish(&topic, "two", ExactlyOnce)));
        let two = hears.message();
        assert_eq!((one.qos, two.qos), (1, 2));
        hears.unsubscribe(&[&topic]);
        hears.answer(Kind::Pubrec, two.packet_id);
        assert_eq!(hears.hear(), Heard::Answer(Kind::Pubrel, two.packet_id, 0));
        hears.answer(Kind::Pubcomp, two.packet_id);
        hears.answer(Kind::Puback, one.packet_id);
        hears.nothing();
    }
}

// norm: MQTT5-3.8.4-4
#[test]
fn a_filter_replaced_gets_what_is_retained_again_and_misses_nothing() {
    let gateway = gateway();
    let topic = random_name();
    let mut client = client(&gateway, V5);
    put(&mut client, &topic, "kept", true);
    for _ in 0..2 {
        assert_eq!(client.subscribe(&[(&topic, plain(AtMostOnce))]), [0]);
        let message = client.message();
        assert_eq!((message.payload.as_str(), message.retain), ("kept", true));
    }
    let live = ["1", "2", "3", "4", "5"];
    for payload in live {
        client.say(&Packet::Publish(publish(&topic, payload, AtMostOnce)));
        client.subscribe_with(&[(&topic, plain(AtMostOnce))], Properties::NONE);
    }
    let (mut answers, mut again, mut came) = (0, 0, Vec::new());
    while answers < live.len() || again < live.len() || came.len() < live.len() {
        match client.hear() {
            Heard::Suback(77, reasons) => {
                assert_eq!(reasons, [0]);
                answers += 1;
            }
            Heard::Message(message) if message.retain => again += 1,
            Heard::Message(message) => came.push(message.payload),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, live);
    assert_eq!((answers, again), (live.len(), live.len()));
    client.nothing();
}
