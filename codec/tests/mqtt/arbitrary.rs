//! Properties over arbitrary packets and arbitrary bytes.

use crate::{CLIENT, SERVER, checks};
use hawser_codec::mqtt::{
    Packet, PacketLimits, Properties, Qos, Role, Step, Version, encode,
    packet::{
        Answer, Connack, Connect, Disconnect, Filters, Options, Publish, Suback, Subscribe,
        Unsubscribe, Will,
    },
    property::{self, Value},
    reason, step,
};
use proptest::prelude::*;

/// Arbitrary values of which a packet of any type is put together.
#[derive(Clone, Debug)]
struct Parts {
    version: Version,
    flags: [bool; 4],
    qos: Qos,
    packet_id: u16,
    small: [u16; 3],
    long: u32,
    texts: [String; 4],
    bytes: Vec<u8>,
    which: usize,
}

prop_compose! {
    fn parts()(
        version in prop::sample::select(&[Version::V311, Version::V5][..]),
        flags in any::<[bool; 4]>(),
        qos in (0u8..3).prop_map(|bits| Qos::from_bits(bits).unwrap()),
        packet_id in 1..=u16::MAX,
        small in prop::array::uniform3(1..=u16::MAX),
        long in 1..=u32::MAX,
        texts in prop::array::uniform4("[^\\x00+#/$]{1,20}"),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        which in any::<usize>(),
    ) -> Parts {
        Parts { version, flags, qos, packet_id, small, long, texts, bytes, which }
    }
}

/// Those of `list` in the form of the wire; none in the older version.
fn written(version: Version, list: &[(u8, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    if version == Version::V5 {
        list.iter().for_each(|(id, value)| property::put(&mut out, *id, *value));
    }
    out
}

fn check(limits: &PacketLimits, version: Version, packet: Packet<'_>) -> Result<(), TestCaseError> {
    let mut out = vec![0xEE];
    encode::packet(&mut out, version, &packet).unwrap();
    let bytes = &out[1..];
    for cut in 0..bytes.len() {
        let Ok(Step::NeedMore { at_least }) = step(limits, version, &bytes[..cut]) else {
            panic!("{packet:?} is whole or wrong at {cut} of {}", bytes.len());
        };
        prop_assert!(at_least > cut && at_least <= bytes.len());
    }
    let mut more = bytes.to_vec();
    more.push(0xC0);
    let consumed = bytes.len();
    prop_assert_eq!(step(limits, version, &more), Ok(Step::Packet { packet, consumed }));
    Ok(())
}

fn of(bytes: &[u8]) -> Properties<'_> {
    Properties::of(bytes)
}

proptest! {
    #[test]
    fn every_packet_of_a_client_is_read_as_it_was_written_at_every_split(p in parts()) {
        let [first, second, third, fourth] = &p.texts;
        let user = (property::USER_PROPERTY, Value::Pair(second, third));
        let properties = written(p.version, &[
            (property::SESSION_EXPIRY, Value::Long(p.long)),
            user,
            (property::RECEIVE_MAXIMUM, Value::Short(p.small[0])),
            (property::MAXIMUM_PACKET_SIZE, Value::Long(p.long)),
            (property::TOPIC_ALIAS_MAXIMUM, Value::Short(p.small[1])),
            (property::REQUEST_PROBLEM_INFORMATION, Value::Byte(p.flags[0].into())),
            user,
            (property::AUTHENTICATION_METHOD, Value::Text(fourth)),
            (property::AUTHENTICATION_DATA, Value::Binary(&p.bytes)),
        ]);
        let will = written(p.version, &[
            (property::WILL_DELAY, Value::Long(p.long)),
            (property::MESSAGE_EXPIRY, Value::Long(p.long)),
            user,
        ]);
        let message = written(p.version, &[
            (property::MESSAGE_EXPIRY, Value::Long(p.long)),
            (property::TOPIC_ALIAS, Value::Short(p.small[2])),
            user,
            (property::CORRELATION_DATA, Value::Binary(&p.bytes)),
            (property::RESPONSE_TOPIC, Value::Text(third)),
        ]);
        let subscription = written(p.version, &[
            (property::SUBSCRIPTION_IDENTIFIER, Value::Variable(p.long % 268_435_455 + 1)),
            user,
        ]);
        let userly = written(p.version, &[user]);
        let new = p.version == Version::V5;
        let options = Options::new(p.qos, new && p.flags[0], new && p.flags[1],
            if new { p.long as u8 % 3 } else { 0 });
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for filter in [first.as_str(), "a/+/b", "#"] {
            Filters::put(&mut wanted, filter, Some(options));
            Filters::put(&mut unwanted, filter, None);
        }
        let packet_id = p.packet_id;
        let answer = Answer {
            packet_id,
            reason: if new { reason::QUOTA_EXCEEDED } else { reason::SUCCESS },
            properties: of(&userly),
        };
        let release = Answer {
            reason: if new { reason::PACKET_IDENTIFIER_NOT_FOUND } else { reason::SUCCESS },
            ..answer
        };
        let end = Disconnect {
            reason: if new { reason::DISCONNECT_WITH_WILL } else { reason::SUCCESS },
            properties: of(&userly),
        };
        let packets = [
            Packet::Connect(Connect {
                version: p.version,
                clean: p.flags[0],
                keep_alive_s: p.small[0],
                properties: of(&properties),
                client_id: first,
                will: p.flags[1].then_some(Will {
                    qos: p.qos,
                    retain: p.flags[2],
                    properties: of(&will),
                    topic: second,
                    payload: &p.bytes,
                }),
                user: p.flags[3].then_some(third),
                password: p.flags[3].then_some(&p.bytes),
            }),
            Packet::Publish(Publish {
                dup: p.flags[0] && p.qos != Qos::AtMostOnce,
                qos: p.qos,
                retain: p.flags[1],
                topic: first,
                packet_id: if p.qos == Qos::AtMostOnce { 0 } else { packet_id },
                properties: of(&message),
                payload: &p.bytes,
            }),
            Packet::Puback(answer),
            Packet::Pubrec(answer),
            Packet::Pubrel(release),
            Packet::Pubcomp(release),
            Packet::Subscribe(Subscribe {
                packet_id,
                properties: of(&subscription),
                filters: Filters::of(&wanted, true),
            }),
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties: of(&userly),
                filters: Filters::of(&unwanted, false),
            }),
            Packet::Pingreq,
            Packet::Disconnect(end),
        ];
        check(&SERVER, p.version, packets[p.which % packets.len()])?;
    }

    #[test]
    fn every_packet_of_a_server_is_read_as_it_was_written_at_every_split(p in parts()) {
        let [first, second, third, _] = &p.texts;
        let user = (property::USER_PROPERTY, Value::Pair(second, third));
        let properties = written(p.version, &[
            (property::SESSION_EXPIRY, Value::Long(p.long)),
            (property::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(first)),
            (property::SERVER_KEEP_ALIVE, Value::Short(p.small[0])),
            (property::MAXIMUM_QOS, Value::Byte(1)),
            (property::SHARED_SUBSCRIPTION_AVAILABLE, Value::Byte(0)),
            (property::SERVER_REFERENCE, Value::Text(third)),
            (property::REASON_STRING, Value::Text(second)),
            user,
        ]);
        let message = written(p.version, &[
            (property::SUBSCRIPTION_IDENTIFIER, Value::Variable(1)),
            (property::SUBSCRIPTION_IDENTIFIER, Value::Variable(268_435_455)),
            (property::CONTENT_TYPE, Value::Text(second)),
        ]);
        let told = written(p.version, &[(property::REASON_STRING, Value::Text(first)), user]);
        let method = written(p.version, &[(property::AUTHENTICATION_METHOD, Value::Text(first))]);
        let new = p.version == Version::V5;
        let refused = if new { reason::BANNED } else { 5 };
        let answers = Suback {
            packet_id: p.packet_id,
            properties: of(&told),
            reasons: &[0, 1, 2, 0x80],
        };
        let packets = [
            Packet::Connack(Connack {
                session_present: p.flags[0],
                reason: if p.flags[0] { 0 } else { refused },
                properties: of(&properties),
            }),
            Packet::Publish(Publish {
                dup: false,
                qos: p.qos,
                retain: p.flags[1],
                topic: first,
                packet_id: if p.qos == Qos::AtMostOnce { 0 } else { p.packet_id },
                properties: of(&message),
                payload: &p.bytes,
            }),
            Packet::Suback(answers),
            Packet::Unsuback(Suback { reasons: if new { &[0, 0x11, 0x8F] } else { &[] }, ..answers }),
            Packet::Pingresp,
            if new {
                let reason = reason::SESSION_TAKEN_OVER;
                Packet::Disconnect(Disconnect { reason, properties: of(&told) })
            } else {
                Packet::Pingresp
            },
            if new {
                let reason = reason::CONTINUE_AUTHENTICATION;
                Packet::Auth(Disconnect { reason, properties: of(&method) })
            } else {
                Packet::Pingresp
            },
        ];
        check(&CLIENT, p.version, packets[p.which % packets.len()])?;
    }

    #[test]
    fn arbitrary_bytes_are_cut_or_refused(
        version in prop::sample::select(&[Version::V311, Version::V5][..]),
        receiver in prop::sample::select(&[Role::Server, Role::Client][..]),
        first in any::<u8>(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        checks::packet_stream(receiver, version, &bytes);
        // Most random bytes fail at once; a right header lets them get further.
        bytes.splice(0..0, [first, bytes.len() as u8]);
        checks::packet_stream(receiver, version, &bytes);
    }

    #[test]
    fn a_damaged_packet_never_panics(p in parts(), at in any::<usize>(), bit in 0u8..8) {
        let [first, second, third, _] = &p.texts;
        let properties = written(p.version, &[
            (property::RESPONSE_TOPIC, Value::Text(third)),
            (property::USER_PROPERTY, Value::Pair(second, third)),
        ]);
        let publish = Publish {
            dup: false,
            qos: p.qos,
            retain: false,
            topic: first,
            packet_id: if p.qos == Qos::AtMostOnce { 0 } else { p.packet_id },
            properties: of(&properties),
            payload: &p.bytes,
        };
        let mut out = Vec::new();
        encode::packet(&mut out, p.version, &Packet::Publish(publish)).unwrap();
        let at = at % out.len();
        out[at] ^= 1 << bit;
        checks::packet_stream(Role::Server, p.version, &out);
    }

    #[test]
    fn copies_of_one_form_differ_in_their_packet_identifier_alone(
        p in parts(),
        packet_id in 1..=u16::MAX,
    ) {
        let publish = Publish {
            dup: p.flags[0] && p.qos != Qos::AtMostOnce,
            qos: p.qos,
            retain: p.flags[1],
            topic: &p.texts[0],
            packet_id: if p.qos == Qos::AtMostOnce { 0 } else { p.packet_id },
            properties: Properties::NONE,
            payload: &p.bytes,
        };
        let form = encode::Form::of(p.version, &publish);
        let mut copy = Vec::new();
        let at = form.put(&mut copy);
        prop_assert_eq!(copy.len(), form.packet_bytes());
        encode::patch(&mut copy, at, packet_id);
        let Ok(Step::Packet { packet: Packet::Publish(read), .. }) =
            step(&CLIENT, p.version, &copy) else { panic!("not whole") };
        let packet_id = if p.qos == Qos::AtMostOnce { 0 } else { packet_id };
        prop_assert_eq!(read, Publish { packet_id, ..publish });
    }
}
