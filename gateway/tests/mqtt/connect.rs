//! How clients come and go.

use crate::desk::{Desk, Got, connect, one};
use hawser_codec::code;
use hawser_codec::mqtt::{
    Packet, Properties, Qos, Version,
    packet::Connect,
    packet::Will,
    property::{self, Value},
    reason,
};
use hawser_gateway::mqtt::MqttSettings;
use hawser_gateway::session::Farewell;

fn refused(desk: &mut Desk, connect: &Connect<'_>) -> u8 {
    let client = desk.accept(connect.version);
    desk.packet(client, &Packet::Connect(*connect));
    assert!(!desk.is_open(client));
    match desk.one(client) {
        Got::Connack { present: false, reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

// norm: MQTT3-3.2.0-1
// norm: MQTT5-3.2.0-1
// norm: MQTT3-3.1.4-4
// norm: MQTT5-3.1.4-5
#[test]
fn a_client_is_attached_at_home_and_answered_first_with_connack() {
    let mut desk = Desk::new();
    for version in [Version::V311, Version::V5] {
        let client = desk.accept(version);
        // It need not wait for the answer.
        let mut bytes = Vec::new();
        let packet = Packet::Connect(connect(version, "one"));
        hawser_codec::mqtt::encode::packet(&mut bytes, version, &packet).unwrap();
        bytes.extend_from_slice(&[0xC0, 0]);
        desk.write(client, &bytes);
        let got = desk.got(client);
        assert!(matches!(got[0], Got::Connack { present: false, reason: 0, .. }));
        assert_eq!(got[1..], [Got::Pingresp]);
        desk.disconnect(client, 0, &[]);
    }
    assert_eq!(desk.hosts.heard("attach mqtt:one one clean true expiry 0"), 2);
    assert_eq!(desk.hosts.heard("detach expiry 0 will false"), 2);
}

// norm: MQTT3-3.1.0-1
// norm: MQTT5-3.1.0-1
// norm: MQTT3-3.1.0-2
// norm: MQTT5-3.1.0-2
// norm: MQTT5-3.2.0-2
#[test]
fn the_first_packet_is_connect_and_no_other_is() {
    let mut desk = Desk::new();
    let client = desk.accept(Version::V5);
    desk.write(client, &[0xC0, 0]);
    assert!(!desk.is_open(client) && desk.got(client).is_empty());
    for version in [Version::V311, Version::V5] {
        let client = desk.client(version, "twice");
        desk.packet(client, &Packet::Connect(connect(version, "twice")));
        assert!(!desk.is_open(client));
        let got = desk.got(client);
        match version {
            Version::V311 => assert!(got.is_empty()),
            Version::V5 => {
                assert!(matches!(
                    got[..],
                    [Got::Disconnect { reason: reason::PROTOCOL_ERROR, .. }]
                ));
            }
        }
    }
}

// norm: MQTT3-3.1.2-2
// norm: MQTT5-3.1.2-2
// norm: MQTT3-3.1.4-1
// norm: MQTT5-3.1.4-1
// norm: MQTT5-3.1.4-2
// norm: MQTT3-3.2.2-4
// norm: MQTT3-3.2.2-5
#[test]
fn a_connect_that_is_refused_is_answered_in_the_words_of_its_version() {
    let mut desk = Desk::new();
    for (level, bytes) in [
        (3, vec![0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 0, 0, 1, b'a']),
        (6, vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 0, 0, 0, 1]),
    ] {
        let version = if level == 3 { Version::V311 } else { Version::V5 };
        let client = desk.accept(version);
        desk.write(client, &bytes);
        let reason = if level == 3 { 1 } else { reason::UNSUPPORTED_PROTOCOL_VERSION };
        let got = desk.got(client);
        assert!(matches!(&got[..], [Got::Connack { reason: found, .. }] if *found == reason));
    }
    // A reserved flag: the newer version may say so, the older only closes.
    for (version, expected) in [(4, None), (5, Some(reason::MALFORMED_PACKET))] {
        let client = desk.accept(Version::V5);
        desk.write(client, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', version, 3, 0, 0, 0, 0, 1]);
        assert!(!desk.is_open(client));
        let found = desk.got(client).first().map(|got| match got {
            Got::Connack { reason, .. } => *reason,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected);
    }
    let client = desk.accept(Version::V311);
    desk.write(client, b"GET / HTTP/1.1\r\n");
    assert!(!desk.is_open(client) && desk.got(client).is_empty());
}

// norm: MQTT3-3.1.3-5
// norm: MQTT3-3.1.3-6
// norm: MQTT3-3.1.3-7
// norm: MQTT3-3.1.3-8
// norm: MQTT3-3.1.3-9
// norm: MQTT5-3.1.3-5
// norm: MQTT5-3.1.3-6
// norm: MQTT5-3.1.3-7
// norm: MQTT5-3.1.3-8
// norm: MQTT5-3.2.2-16
#[test]
fn a_client_without_an_identifier_is_given_one_of_its_own() {
    let mut desk = Desk::new();
    let mut names = std::collections::HashSet::new();
    for _ in 0..2 {
        let client = desk.accept(Version::V5);
        desk.packet(client, &Packet::Connect(connect(Version::V5, "")));
        let got = desk.one(client);
        let assigned = Properties::of(got.properties()).text(property::ASSIGNED_CLIENT_IDENTIFIER);
        assert!(names.insert(assigned.unwrap().to_owned()));
    }
    desk.client(Version::V311, "");
    let kept = Connect { clean: false, ..connect(Version::V311, "") };
    assert_eq!(refused(&mut desk, &kept), 2);
    let long = "x".repeat(65);
    let too_long = Connect { user: Some("ann"), ..connect(Version::V5, &long) };
    assert_eq!(refused(&mut desk, &too_long), reason::CLIENT_IDENTIFIER_NOT_VALID);
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for start in (0..40).step_by(10) {
        desk.client(Version::V311, &letters[start..start + 23]);
    }
}

// norm: MQTT3-3.1.4-2
// norm: MQTT3-3.2.2-6
// norm: MQTT5-3.1.4-3
#[test]
fn a_session_is_taken_over_by_the_next_connection_of_its_client() {
    let mut desk = Desk::new();
    for version in [Version::V311, Version::V5] {
        let first = desk.client(version, "same");
        let second = desk.client(version, "same");
        assert!(!desk.is_open(first) && desk.is_open(second));
        let got = desk.got(first);
        match version {
            Version::V311 => assert!(got.is_empty()),
            Version::V5 => assert!(matches!(
                got[..],
                [Got::Disconnect { reason: reason::SESSION_TAKEN_OVER, .. }]
            )),
        }
        desk.disconnect(second, 0, &[]);
    }
}

// norm: MQTT3-3.1.2-4
// norm: MQTT3-3.1.2-5
// norm: MQTT3-3.1.2-6
// norm: MQTT3-3.2.2-1
// norm: MQTT3-3.2.2-2
// norm: MQTT3-3.2.2-3
// norm: MQTT5-3.1.2-4
// norm: MQTT5-3.1.2-5
// norm: MQTT5-3.1.2-6
// norm: MQTT5-3.1.2-23
// norm: MQTT5-3.2.2-2
// norm: MQTT5-3.2.2-3
// norm: MQTT5-3.2.2-6
#[test]
fn a_kept_session_is_there_again_and_a_clean_start_forgets_it() {
    let mut desk = Desk::new();
    let expiry = one(property::SESSION_EXPIRY, Value::Long(1000));
    for version in [Version::V311, Version::V5] {
        let properties =
            if version == Version::V5 { Properties::of(&expiry) } else { Properties::NONE };
        let kept = Connect { clean: false, properties, ..connect(version, "kept") };
        let presence = |desk: &mut Desk, connect: &Connect<'_>| {
            let client = desk.accept(version);
            desk.packet(client, &Packet::Connect(*connect));
            let Got::Connack { present, reason: 0, .. } = desk.one(client) else { panic!() };
            desk.disconnect(client, 0, &[]);
            present
        };
        assert!(!presence(&mut desk, &kept));
        assert!(presence(&mut desk, &kept));
        assert!(!presence(&mut desk, &Connect { clean: true, ..kept }));
        assert!(
            presence(&mut desk, &kept) == (version == Version::V5),
            "a clean start may be kept"
        );
        let clean = connect(version, "kept");
        assert!(!presence(&mut desk, &clean));
        assert!(!presence(&mut desk, &kept), "a clean session is not kept");
        presence(&mut desk, &clean);
    }
}

// norm: MQTT5-3.2.2-21
// norm: MQTT5-3.1.2-21
#[test]
fn a_client_is_told_what_differs_from_what_it_asked_for() {
    let mqtt = MqttSettings {
        keep_alive_max_s: 100,
        session_expiry_max_s: 50,
        aliases_max: 7,
        receive_max: 9,
        packet_bytes_max: 5000,
        ..MqttSettings::shipped()
    };
    let mut desk = Desk::with(mqtt);
    let expiry = one(property::SESSION_EXPIRY, Value::Long(u32::MAX));
    let asked = Connect {
        keep_alive_s: 0,
        properties: Properties::of(&expiry),
        ..connect(Version::V5, "asks")
    };
    let client = desk.accept(Version::V5);
    desk.packet(client, &Packet::Connect(asked));
    let got = desk.one(client);
    for (id, value) in [
        (property::SESSION_EXPIRY, Some(50)),
        (property::SERVER_KEEP_ALIVE, Some(100)),
        (property::TOPIC_ALIAS_MAXIMUM, Some(7)),
        (property::RECEIVE_MAXIMUM, Some(9)),
        (property::MAXIMUM_PACKET_SIZE, Some(5000)),
        (property::MAXIMUM_QOS, None),
        (property::RETAIN_AVAILABLE, None),
    ] {
        assert_eq!(got.number(id), value, "{id:#x}");
    }
    let silence = desk.connection(client).unwrap().silence;
    assert_eq!(hawser_gateway::mqtt::silence_ticks(silence), 600);
    let modest = Connect { keep_alive_s: 60, ..connect(Version::V5, "modest") };
    let client = desk.accept(Version::V5);
    desk.packet(client, &Packet::Connect(modest));
    let got = desk.one(client);
    assert_eq!(got.number(property::SERVER_KEEP_ALIVE), None);
    assert_eq!(got.number(property::SESSION_EXPIRY), None);
    let silence = desk.connection(client).unwrap().silence;
    assert_eq!(hawser_gateway::mqtt::silence_ticks(silence), 360);
}

// norm: MQTT5-3.1.2-28
#[test]
fn response_information_comes_only_if_asked_for() {
    let mut desk = Desk::new();
    let asks = one(property::REQUEST_RESPONSE_INFORMATION, Value::Byte(1));
    let client = desk.accept(Version::V5);
    let properties = Properties::of(&asks);
    desk.packet(client, &Packet::Connect(Connect { properties, ..connect(Version::V5, "r") }));
    let got = desk.one(client);
    let base = Properties::of(got.properties()).text(property::RESPONSE_INFORMATION);
    assert_eq!(base, Some("response/r"));
    let client = desk.accept(Version::V5);
    desk.packet(client, &Packet::Connect(connect(Version::V5, "s")));
    assert!(!Properties::of(desk.one(client).properties()).has(property::RESPONSE_INFORMATION));
}

// norm: MQTT5-4.12.0-1
#[test]
fn an_authentication_method_is_refused() {
    let mut desk = Desk::new();
    let method = one(property::AUTHENTICATION_METHOD, Value::Text("SCRAM-SHA-1"));
    let properties = Properties::of(&method);
    let asks = Connect { properties, ..connect(Version::V5, "auth") };
    assert_eq!(refused(&mut desk, &asks), reason::BAD_AUTHENTICATION_METHOD);
    let client = desk.client(Version::V5, "later");
    let properties = Properties::of(&method);
    let auth = hawser_codec::mqtt::packet::Disconnect { reason: 0x19, properties };
    desk.packet(client, &Packet::Auth(auth));
    assert!(matches!(desk.one(client), Got::Disconnect { reason: reason::PROTOCOL_ERROR, .. }));
}

// norm: MQTT3-3.1.2-8
// norm: MQTT3-3.1.2-10
// norm: MQTT3-3.14.4-3
// norm: MQTT5-3.1.2-8
// norm: MQTT5-3.1.2-10
// norm: MQTT5-3.14.4-3
#[test]
fn the_home_keeps_the_will_and_is_told_whether_to_publish_it() {
    let mut desk = Desk::new();
    let will = Will {
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: Properties::NONE,
        topic: "last/words",
        payload: b"bye",
    };
    let dying = |version| Connect { will: Some(will), ..connect(version, "mortal") };
    let client = desk.client_with(&dying(Version::V311));
    assert_eq!(
        desk.hosts
            .heard("attach mqtt:mortal mortal clean true expiry 0 receive 128 will 2 last/words"),
        1
    );
    desk.cut(client);
    assert_eq!(desk.hosts.heard("detach expiry 0 will true"), 1);
    let client = desk.client_with(&dying(Version::V311));
    desk.disconnect(client, 0, &[]);
    assert_eq!(desk.hosts.heard("detach expiry 0 will false"), 1);
    let client = desk.client_with(&dying(Version::V5));
    desk.disconnect(client, reason::DISCONNECT_WITH_WILL, &[]);
    assert_eq!(desk.hosts.heard("detach expiry 0 will true"), 2);
    let client = desk.client_with(&dying(Version::V5));
    desk.write(client, &[0x00]);
    assert_eq!(desk.hosts.heard("detach expiry 0 will true"), 3);
}

// norm: MQTT5-3.14.2-2
// norm: MQTT5-3.14.4-1
// norm: MQTT3-3.14.4-2
// norm: MQTT5-3.14.4-2
#[test]
fn a_client_may_change_how_long_it_is_kept_when_it_leaves() {
    let mut desk = Desk::new();
    let expiry = one(property::SESSION_EXPIRY, Value::Long(10));
    let longer = one(property::SESSION_EXPIRY, Value::Long(77));
    let kept = Connect { properties: Properties::of(&expiry), ..connect(Version::V5, "k") };
    let client = desk.client_with(&kept);
    desk.disconnect(client, 0, &longer);
    assert_eq!(desk.hosts.heard("detach expiry 77 will false"), 1);
    assert!(desk.got(client).is_empty(), "a client that leaves is told nothing");
    let client = desk.client(Version::V5, "k2");
    desk.disconnect(client, 0, &longer);
    assert!(matches!(desk.one(client), Got::Disconnect { reason: reason::PROTOCOL_ERROR, .. }));
}

// norm: MQTT3-3.1.2-24
// norm: MQTT5-3.1.2-22
// norm: MQTT5-3.14.0-1
#[test]
fn endings_are_said_by_reason_where_the_version_has_words() {
    for (code, found) in [
        (code::TIMEOUT, reason::KEEP_ALIVE_TIMEOUT),
        (code::KICKED, reason::ADMINISTRATIVE_ACTION),
        (code::OVERLOADED, reason::SERVER_BUSY),
        (code::TOKEN_EXPIRED, reason::NOT_AUTHORIZED),
    ] {
        let mut desk = Desk::new();
        let old = desk.client(Version::V311, "old");
        let new = desk.client(Version::V5, "new");
        desk.end(old, Farewell::of(code));
        desk.end(new, Farewell::of(code));
        assert!(desk.got(old).is_empty());
        assert!(matches!(desk.one(new), Got::Disconnect { reason, .. } if reason == found));
    }
}

// norm: MQTT5-3.14.2-3
// norm: MQTT5-3.2.2-19
// norm: MQTT5-3.2.2-20
#[test]
fn a_reason_string_never_makes_a_packet_too_long_for_the_client() {
    let mut desk = Desk::new();
    let small = one(property::MAXIMUM_PACKET_SIZE, Value::Long(30));
    let properties = Properties::of(&small);
    let client = desk.client_with(&Connect { properties, ..connect(Version::V5, "small") });
    desk.end(client, Farewell::saying(code::TIMEOUT, "a long story that nobody asked for"));
    let got = desk.one(client);
    assert!(matches!(&got, Got::Disconnect { properties, .. } if properties.is_empty()));
    let client = desk.client(Version::V5, "large");
    desk.end(client, Farewell::saying(code::TIMEOUT, "a short one"));
    let got = desk.one(client);
    assert_eq!(Properties::of(got.properties()).text(property::REASON_STRING), Some("a short one"));
}

#[test]
fn a_server_that_drains_names_another_one() {
    let mqtt = MqttSettings { server_reference: "other:1883".into(), ..MqttSettings::shipped() };
    let mut desk = Desk::with(mqtt);
    let (old, new) = (desk.client(Version::V311, "old"), desk.client(Version::V5, "new"));
    desk.go_away(old);
    desk.go_away(new);
    assert!(desk.got(old).is_empty());
    let got = desk.one(new);
    assert!(matches!(got, Got::Disconnect { reason: reason::USE_ANOTHER_SERVER, .. }));
    let reference = Properties::of(got.properties()).text(property::SERVER_REFERENCE);
    assert_eq!(reference, Some("other:1883"));
    let mut desk = Desk::new();
    let new = desk.client(Version::V5, "new");
    desk.go_away(new);
    assert!(matches!(desk.one(new), Got::Disconnect { reason: reason::SERVER_SHUTTING_DOWN, .. }));
}

#[test]
fn a_home_that_refuses_is_heard_by_the_client() {
    let mut desk = Desk::new();
    desk.hosts.refuse_attach = code::RECOVERING;
    assert_eq!(refused(&mut desk, &connect(Version::V311, "a")), 3);
    assert_eq!(refused(&mut desk, &connect(Version::V5, "a")), reason::SERVER_UNAVAILABLE);
    desk.hosts.refuse_attach = 0;
    desk.marks.crowded = true;
    assert_eq!(refused(&mut desk, &connect(Version::V5, "a")), reason::SERVER_BUSY);
}

// norm: MQTT5-3.12.4-1
// norm: MQTT3-3.12.4-1
#[test]
fn a_ping_is_answered() {
    let mut desk = Desk::new();
    let client = desk.client(Version::V311, "p");
    desk.write(client, &[0xC0, 0, 0xC0, 0]);
    assert_eq!(desk.got(client), [Got::Pingresp, Got::Pingresp]);
}
