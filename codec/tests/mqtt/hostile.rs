//! What each norm forbids, refused with its reason.

use crate::{CLIENT, SERVER};
use Version::{V5, V311};
use hawser_codec::mqtt::{
    Fault, Kind, Malformed, PacketLimits, Role, Step, TopicFault, Version, reason, step,
};

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Header and body; at most 127 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, body.len() as u8], body].concat()
}

fn refusal(limits: &PacketLimits, version: Version, bytes: &[u8]) -> Malformed {
    match step(limits, version, bytes) {
        Err(malformed) => malformed,
        Ok(step) => panic!("{bytes:02x?} was taken: {step:?}"),
    }
}

fn refused(version: Version, first: u8, body: &str) -> (u8, Fault) {
    let malformed = refusal(&SERVER, version, &packet(first, &bytes(body)));
    assert_eq!(malformed.kind, Kind::of(first));
    (malformed.reason(), malformed.fault)
}

fn taken(version: Version, first: u8, body: &str) {
    let bytes = packet(first, &bytes(body));
    let step = step(&SERVER, version, &bytes);
    assert!(matches!(step, Ok(Step::Packet { .. })), "{step:?}");
}

// norm: MQTT3-2.2.2-1
// norm: MQTT3-2.2.2-2
// norm: MQTT5-2.1.3-1
// norm: MQTT3-3.8.1-1
// norm: MQTT3-3.10.1-1
// norm: MQTT3-3.6.1-1
// norm: MQTT5-3.8.1-1
// norm: MQTT5-3.10.1-1
// norm: MQTT5-3.6.1-1
// norm: MQTT3-3.14.1-1
// norm: MQTT5-3.14.1-1
// norm: MQTT5-3.15.1-1
#[test]
fn reserved_flags_are_refused_with_the_first_byte() {
    for kind in Kind::ALL {
        for flags in 0..16u8 {
            let first = (*kind as u8) << 4 | flags;
            let stands = match kind {
                Kind::Publish => ![6, 7, 8, 9, 14, 15].contains(&flags),
                Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => flags == 2,
                _ => flags == 0,
            };
            let faulty = [&SERVER, &CLIENT].map(|limits| {
                matches!(
                    step(limits, V5, &[first]),
                    Err(Malformed { fault: Fault::Flags { .. }, .. })
                )
            });
            assert_eq!(faulty, [!stands; 2], "{kind:?} {flags:04b}");
        }
    }
    assert_eq!(refusal(&SERVER, V5, &[0x00]).fault, Fault::PacketType { found: 0 });
}

// norm: MQTT3-3.3.1-4
// norm: MQTT5-3.3.1-4
// norm: MQTT3-3.3.1-2
// norm: MQTT5-3.3.1-2
#[test]
fn a_publish_has_no_third_quality_and_no_repeat_of_the_lowest() {
    assert_eq!(refusal(&SERVER, V311, &[0x36]).reason(), reason::MALFORMED_PACKET);
    assert_eq!(refusal(&SERVER, V5, &[0x38]).reason(), reason::MALFORMED_PACKET);
}

#[test]
fn packets_of_the_other_side_and_of_the_other_version_are_refused() {
    for first in [0x20, 0x90, 0xB0, 0xD0] {
        assert_eq!(refusal(&SERVER, V5, &[first]).fault, Fault::WrongSide);
    }
    for first in [0x10, 0x82, 0xA2, 0xC0] {
        assert_eq!(refusal(&CLIENT, V5, &[first]).fault, Fault::WrongSide);
    }
    assert_eq!(refusal(&SERVER, V311, &[0xF0]).reason(), reason::PROTOCOL_ERROR);
    assert_eq!(refusal(&CLIENT, V311, &[0xE0]).fault, Fault::WrongSide);
}

// norm: MQTT5-4.13.1-1
#[test]
fn a_packet_beyond_the_limit_is_refused_with_its_header_alone() {
    let limits = PacketLimits { receiver: Role::Server, packet_bytes_max: 200 };
    let header = |remaining: u8| [0x30, remaining | 0x80, 1];
    assert_eq!(step(&limits, V5, &header(69)), Ok(Step::NeedMore { at_least: 200 }));
    let malformed = refusal(&limits, V5, &header(70));
    let too_large = Fault::TooLarge { packet_bytes: 201, packet_bytes_max: 200 };
    assert_eq!((malformed.fault, malformed.reason()), (too_large, reason::PACKET_TOO_LARGE));
    assert_eq!(refusal(&limits, V5, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).fault, Fault::Length);
    assert_eq!(refusal(&limits, V5, &[0x30, 0x80, 0x00]).fault, Fault::Length);
    for cut in 0..5 {
        let header = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
        let most = PacketLimits { receiver: Role::Server, packet_bytes_max: u32::MAX };
        assert_eq!(
            step(&most, V5, &header[..cut]),
            Ok(Step::NeedMore { at_least: (cut + 1).max(2) })
        );
    }
}

const NAME_5: &str = "0004 4d515454 05";
const NAME_4: &str = "0004 4d515454 04";

// norm: MQTT3-3.1.2-1
// norm: MQTT3-3.1.2-2
// norm: MQTT5-3.1.2-1
// norm: MQTT5-3.1.2-2
#[test]
fn another_protocol_or_level_is_refused() {
    let (reason, fault) = refused(V311, 0x10, "0004 4d515458 04 02 0000 0001 61");
    assert_eq!((reason, fault), (reason::UNSUPPORTED_PROTOCOL_VERSION, Fault::ProtocolName));
    let (_, fault) = refused(V311, 0x10, "0006 4d5149736470 03 02 0000 0001 61");
    assert_eq!(fault, Fault::ProtocolVersion { level: 3 });
    let (_, fault) = refused(V311, 0x10, "0004 4d515454 84 02 0000 0001 61");
    assert_eq!(fault, Fault::ProtocolVersion { level: 0x84 });
    let (_, fault) = refused(V311, 0x10, "0004 4d515454 06 02 0000 00 0001 61");
    assert_eq!(fault, Fault::ProtocolVersion { level: 6 });
}

// norm: MQTT3-3.1.2-3
// norm: MQTT5-3.1.2-3
// norm: MQTT3-3.1.2-11
// norm: MQTT3-3.1.2-13
// norm: MQTT3-3.1.2-14
// norm: MQTT3-3.1.2-15
// norm: MQTT5-3.1.2-11
// norm: MQTT5-3.1.2-12
// norm: MQTT5-3.1.2-13
#[test]
fn reserved_connect_flags_are_refused() {
    for (flags, body) in [("03", ""), ("0a", ""), ("22", ""), ("1e", "0001 77 0000")] {
        let (reason, fault) = refused(V311, 0x10, &format!("{NAME_4} {flags} 0000 0001 61 {body}"));
        assert_eq!(reason, reason::MALFORMED_PACKET, "{flags}");
        assert!(matches!(fault, Fault::Reserved { .. }));
        let (reason, _) = refused(V5, 0x10, &format!("{NAME_5} {flags} 0000 00 0001 61 {body}"));
        assert_eq!(reason, reason::MALFORMED_PACKET, "{flags}");
    }
}

// norm: MQTT3-3.1.2-22
#[test]
fn a_password_without_a_user_is_refused_in_the_older_version_only() {
    let (reason, _) = refused(V311, 0x10, &format!("{NAME_4} 42 0000 0001 61 0001 70"));
    assert_eq!(reason, reason::PROTOCOL_ERROR);
    taken(V5, 0x10, &format!("{NAME_5} 42 0000 00 0001 61 0001 70"));
}

// norm: MQTT3-3.1.3-1
// norm: MQTT3-3.1.3-3
// norm: MQTT5-3.1.3-1
// norm: MQTT5-3.1.3-3
// norm: MQTT3-3.1.2-9
// norm: MQTT3-3.1.2-18
// norm: MQTT3-3.1.2-19
// norm: MQTT3-3.1.2-20
// norm: MQTT3-3.1.2-21
// norm: MQTT5-3.1.2-9
// norm: MQTT5-3.1.2-16
// norm: MQTT5-3.1.2-17
// norm: MQTT5-3.1.2-18
// norm: MQTT5-3.1.2-19
#[test]
fn a_connect_has_exactly_the_fields_its_flags_name() {
    for body in [
        "02 0000",
        "06 0000 0001 61",
        "06 0000 0001 61 0001 77",
        "82 0000 0001 61",
        "c2 0000 0001 61 0001 75",
    ] {
        let (reason, fault) = refused(V311, 0x10, &format!("{NAME_4} {body}"));
        assert_eq!(reason, reason::MALFORMED_PACKET, "{body}");
        assert!(matches!(fault, Fault::Cut { .. }), "{body}");
    }
    for body in ["02 0000 0001 61 0001 75", "82 0000 0001 61 0001 75 00"] {
        let (reason, fault) = refused(V311, 0x10, &format!("{NAME_4} {body}"));
        assert_eq!(reason, reason::MALFORMED_PACKET);
        assert!(matches!(fault, Fault::Trailing { .. }), "{body}");
    }
    taken(V311, 0x10, &format!("{NAME_4} 02 0000 0000"));
}

// norm: MQTT3-3.1.3-4
// norm: MQTT3-3.1.3-10
// norm: MQTT3-3.1.3-11
// norm: MQTT5-3.1.3-4
// norm: MQTT5-3.1.3-11
// norm: MQTT5-3.1.3-12
// norm: MQTT3-3.3.2-1
// norm: MQTT5-3.3.2-1
// norm: MQTT3-3.8.3-1
// norm: MQTT5-3.8.3-1
// norm: MQTT3-3.10.3-1
// norm: MQTT5-3.10.3-1
// norm: MQTT5-1.5.7-1
// norm: MQTT3-4.7.3-2
// norm: MQTT5-4.7.3-2
// norm: MQTT5-3.3.2-19
#[test]
fn every_text_of_every_packet_is_utf8_without_the_null_character() {
    for wrong in ["0001 ff", "0001 00"] {
        for body in [
            format!("{NAME_4} 02 0000 {wrong}"),
            format!("{NAME_4} 06 0000 0001 61 {wrong} 0000"),
            format!("{NAME_4} 82 0000 0001 61 {wrong}"),
        ] {
            let (reason, fault) = refused(V311, 0x10, &body);
            assert_eq!(reason, reason::MALFORMED_PACKET, "{body}");
            assert!(matches!(fault, Fault::Text { .. }));
        }
        for (first, body) in [
            (0x30, format!("{wrong} 00")),
            (0x82, format!("0001 00 {wrong} 00")),
            (0xA2, format!("0001 00 {wrong}")),
            (0x40, format!("0001 80 07 26 {wrong} 0001 61")),
            (0x40, format!("0001 80 07 26 0001 61 {wrong}")),
            (0x30, format!("0001 61 04 03 {wrong}")),
        ] {
            let (reason, fault) = refused(V5, first, &body);
            assert_eq!(reason, reason::MALFORMED_PACKET, "{body}");
            assert!(matches!(fault, Fault::Text { .. }), "{body}");
        }
    }
}

// norm: MQTT3-2.3.1-1
// norm: MQTT5-2.2.1-3
// norm: MQTT5-2.2.1-4
// norm: MQTT5-2.2.1-2
#[test]
fn a_packet_identifier_is_not_zero() {
    for (first, body) in [
        (0x32, "0001 61 0000"),
        (0x34, "0001 61 0000"),
        (0x40, "0000"),
        (0x50, "0000"),
        (0x62, "0000"),
        (0x70, "0000"),
        (0x82, "0000 0001 61 00"),
        (0xA2, "0000 0001 61"),
    ] {
        assert_eq!(refused(V311, first, body).0, reason::PROTOCOL_ERROR, "{first:#x}");
    }
}

// norm: MQTT3-3.3.2-2
// norm: MQTT5-3.3.2-2
// norm: MQTT3-4.7.3-1
// norm: MQTT5-4.7.3-1
// norm: MQTT5-3.3.4-6
#[test]
fn a_publish_names_a_topic_without_wildcards() {
    for topic in ["0001 23", "0003 612f2b"] {
        let (reason, fault) = refused(V311, 0x30, topic);
        assert_eq!(
            (reason, fault),
            (reason::TOPIC_NAME_INVALID, Fault::TopicName(TopicFault::Wildcard))
        );
    }
    assert_eq!(refused(V311, 0x30, "0000").0, reason::TOPIC_NAME_INVALID);
    assert_eq!(refused(V5, 0x30, "0000 00").0, reason::PROTOCOL_ERROR);
    taken(V5, 0x30, "0000 03 23 0001");
    let (reason, _) = refused(V5, 0x30, "0000 03 23 0000");
    assert_eq!(reason, reason::TOPIC_ALIAS_INVALID);
    // Subscription identifiers are the server's word.
    assert_eq!(refused(V5, 0x30, "0001 61 02 0b 01").0, reason::PROTOCOL_ERROR);
    let will = format!("{NAME_4} 06 0000 0001 61 0001 23 0000");
    assert_eq!(refused(V311, 0x10, &will).0, reason::TOPIC_NAME_INVALID);
}

// norm: MQTT3-3.8.3-3
// norm: MQTT5-3.8.3-2
// norm: MQTT3-3.10.3-2
// norm: MQTT5-3.10.3-2
#[test]
fn a_subscribe_and_an_unsubscribe_have_a_filter() {
    assert_eq!(refused(V311, 0x82, "0001").0, reason::PROTOCOL_ERROR);
    assert_eq!(refused(V5, 0x82, "0001 00").0, reason::PROTOCOL_ERROR);
    assert_eq!(refused(V311, 0xA2, "0001").0, reason::PROTOCOL_ERROR);
    assert_eq!(refused(V5, 0xA2, "0001 00").0, reason::PROTOCOL_ERROR);
}

// norm: MQTT3-3-8.3-4
// norm: MQTT5-3.8.3-5
// norm: MQTT5-3.8.3-4
#[test]
fn reserved_subscription_options_are_refused() {
    for options in ["03", "04", "40", "80"] {
        let (reason, _) = refused(V311, 0x82, &format!("0001 0001 61 {options}"));
        assert_eq!(reason, reason::MALFORMED_PACKET, "{options}");
    }
    for options in ["03", "30", "40", "80"] {
        let (reason, _) = refused(V5, 0x82, &format!("0001 00 0001 61 {options}"));
        assert_eq!(reason, reason::MALFORMED_PACKET, "{options}");
    }
    taken(V5, 0x82, "0001 00 0001 61 2e");
    // No local has no meaning where each message goes to one of many.
    let shared = "000a 2473686172652f672f61";
    taken(V5, 0x82, &format!("0001 00 {shared} 02"));
    assert_eq!(refused(V5, 0x82, &format!("0001 00 {shared} 06")).0, reason::PROTOCOL_ERROR);
}

// norm: MQTT3-4.7.1-2
// norm: MQTT3-4.7.1-3
// norm: MQTT5-4.7.1-1
// norm: MQTT5-4.7.1-2
// norm: MQTT5-4.8.2-1
// norm: MQTT5-4.8.2-2
#[test]
fn a_filter_that_is_none_ends_the_connection_with_its_reason() {
    for filter in ["0000", "0002 6123", "0004 612f232f", "0002 2b61", "0008 2473686172652f67"] {
        assert_eq!(
            refused(V5, 0x82, &format!("0001 00 {filter} 00")).0,
            reason::TOPIC_FILTER_INVALID,
            "{filter}"
        );
        assert_eq!(
            refused(V5, 0xA2, &format!("0001 00 {filter}")).0,
            reason::TOPIC_FILTER_INVALID,
            "{filter}"
        );
    }
}

// norm: MQTT5-2.2.2-1
#[test]
fn properties_have_a_length_and_stand_once_where_they_may() {
    assert!(matches!(refused(V5, 0x30, "0001 61").1, Fault::Cut { .. }));
    let (reason, fault) = refused(V5, 0x30, "0001 61 02 17 00");
    assert_eq!((reason, fault), (reason::PROTOCOL_ERROR, Fault::MisplacedProperty { id: 0x17 }));
    let (reason, fault) = refused(V5, 0x30, "0001 61 04 01 00 01 00");
    assert_eq!((reason, fault), (reason::PROTOCOL_ERROR, Fault::RepeatedProperty { id: 1 }));
    let (reason, fault) = refused(V5, 0x30, "0001 61 02 77 00");
    assert_eq!((reason, fault), (reason::MALFORMED_PACKET, Fault::UnknownProperty { id: 0x77 }));
    assert!(matches!(refused(V5, 0x30, "0001 61 02 02 00").1, Fault::Cut { .. }));
    for body in ["22 0000 00", "19 02", "17 02", "27 00000000", "21 0000"] {
        let body = body.replace(' ', "");
        let connect = format!("{NAME_5} 02 0000 {:02x} {body} 0001 61", body.len() / 2);
        let (reason, _) = refused(V5, 0x10, &connect);
        let expected =
            if body.starts_with("22") { reason::MALFORMED_PACKET } else { reason::PROTOCOL_ERROR };
        assert_eq!(reason, expected, "{body}");
    }
}

// norm: MQTT5-3.4.2-1
// norm: MQTT5-3.5.2-1
// norm: MQTT5-3.6.2-1
// norm: MQTT5-3.7.2-1
// norm: MQTT5-3.14.2-1
// norm: MQTT5-3.15.2-1
#[test]
fn a_reason_code_stands_only_where_it_may() {
    for (first, body) in [
        (0x40, "0001 92"),
        (0x50, "0001 01"),
        (0x62, "0001 10"),
        (0x70, "0001 80"),
        (0xE0, "8b"),
        (0xE0, "01"),
        (0xF0, "00"),
    ] {
        let (reason, fault) = refused(V5, first, body);
        assert!(matches!(fault, Fault::Reason { .. }), "{first:#x} {body}");
        assert_eq!(reason, reason::PROTOCOL_ERROR);
    }
    for (first, body) in [(0x40, "0001 10"), (0x62, "0001 92"), (0xE0, "04"), (0xE0, "")] {
        taken(V5, first, body);
    }
    let connack = |flags: u8, code: u8| step(&CLIENT, V311, &[0x20, 2, flags, code]).is_ok();
    assert!(connack(1, 0) && connack(0, 5));
    assert!(!connack(0, 6) && !connack(1, 5) && !connack(2, 0));
}

#[test]
fn nothing_may_follow_where_nothing_belongs() {
    for (first, body) in [(0xC0, "00"), (0xE0, "00"), (0x40, "0001 00"), (0x62, "0001 00 00")] {
        let (reason, fault) = refused(V311, first, body);
        assert_eq!(reason, reason::MALFORMED_PACKET);
        assert!(matches!(fault, Fault::Trailing { .. }), "{first:#x}");
    }
    assert!(matches!(refused(V5, 0xE0, "00 00 00").1, Fault::Trailing { .. }));
}

// norm: MQTT5-4.13.1-1
#[test]
fn authentication_data_come_with_a_method() {
    let (reason, _) = refused(V5, 0x10, &format!("{NAME_5} 02 0000 04 16 0001 61 0001 61"));
    assert_eq!(reason, reason::PROTOCOL_ERROR);
    taken(V5, 0x10, &format!("{NAME_5} 02 0000 08 15 0001 58 16 0001 61 0001 61"));
}
