//! Messages of clients.

use crate::desk::{Desk, Got, connect, one, options};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use Version::{V5, V311};
use hawser_codec::code;
use hawser_codec::mqtt::{
    Properties, Qos, Version,
    packet::Connect,
    property::{self, Value},
    reason,
};
use hawser_gateway::mqtt::MqttSettings;

// norm: MQTT3-3.3.4-1
// norm: MQTT3-4.3.2-2
// norm: MQTT3-4.3.3-2
// norm: MQTT3-2.3.1-6
// norm: MQTT5-3.3.4-1
// norm: MQTT5-4.3.2-4
// norm: MQTT5-4.3.3-8
// norm: MQTT5-2.2.1-5
// norm: MQTT5-4.3.2-5
#[test]
fn a_publish_is_acknowledged_only_when_its_shard_has_it() {
    let mut desk = Desk::new();
    for version in [V311, V5] {
        let client = desk.client(version, "p");
        let nobody = if version == V5 { reason::NO_MATCHING_SUBSCRIBERS } else { 0 };
        desk.publish(client, "t", "x", AtLeastOnce, 7);
        assert_eq!(desk.got(client), [Got::Answer { kind: 4, id: 7, reason: nobody }]);
        desk.publish(client, "t", "x", ExactlyOnce, 8);
        assert_eq!(desk.got(client), [Got::Answer { kind: 5, id: 8, reason: nobody }]);
        desk.hosts.silent = true;
        desk.publish(client, "t", "x", AtLeastOnce, 9);
        assert!(desk.got(client).is_empty());
        desk.hosts.silent = false;
        desk.cut(client);
    }
}

// norm: MQTT3-4.3.3-2
// norm: MQTT5-4.3.3-9
// norm: MQTT5-4.3.3-10
// norm: MQTT5-4.3.3-11
// norm: MQTT5-4.3.3-12
// norm: MQTT5-4.3.3-13
// norm: MQTT3-4.4.0-1
#[test]
fn a_publish_of_the_highest_quality_is_taken_once_until_it_is_released() {
    let mut desk = Desk::new();
    for version in [V311, V5] {
        let (client, other) = (desk.client(version, "p"), desk.client(V5, "s"));
        desk.subscribed(other, "t", ExactlyOnce);
        desk.publish(client, "t", "once", ExactlyOnce, 8);
        desk.publish(client, "t", "once", ExactlyOnce, 8);
        assert_eq!(desk.got(client).len(), 2);
        assert_eq!(desk.got(other).len(), 1);
        desk.answer(client, 6, 8, 0);
        assert_eq!(desk.got(client), [Got::Answer { kind: 7, id: 8, reason: 0 }]);
        desk.publish(client, "t", "next", ExactlyOnce, 8);
        assert_eq!(desk.got(other).len(), 1);
        desk.answer(client, 6, 8, 0);
        // Unknown by now, and known to no shard: the newer version is told so.
        desk.got(client);
        desk.answer(client, 6, 8, 0);
        let unknown = if version == V5 { reason::PACKET_IDENTIFIER_NOT_FOUND } else { 0 };
        assert_eq!(desk.got(client), [Got::Answer { kind: 7, id: 8, reason: unknown }]);
        desk.cut(client);
        desk.cut(other);
    }
}

#[test]
fn a_release_on_a_later_connection_finds_the_shard_that_keeps_the_identifier() {
    let mut desk = Desk::new();
    let expiry = one(property::SESSION_EXPIRY, Value::Long(1000));
    let kept = Connect { clean: false, properties: Properties::of(&expiry), ..connect(V5, "k") };
    let client = desk.client_with(&kept);
    desk.publish(client, "t", "once", ExactlyOnce, 8);
    desk.cut(client);
    let client = desk.client_with(&kept);
    desk.answer(client, 6, 8, 0);
    assert_eq!(desk.got(client), [Got::Answer { kind: 7, id: 8, reason: 0 }]);
    assert_eq!(desk.hosts.heard("release 8"), 2, "every host was asked");
}

#[test]
fn a_new_session_begins_with_no_identifier_in_use() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "p");
    desk.publish(client, "t", "x", AtLeastOnce, 1);
    assert_eq!(desk.hosts.heard("release 0"), 0);
    desk.publish(client, "t", "x", ExactlyOnce, 2);
    desk.publish(client, "t", "x", ExactlyOnce, 3);
    assert_eq!(desk.hosts.heard("release 0"), 2, "once to each host");
}

// norm: MQTT3-3.3.5-2
// norm: MQTT3-4.8.0-2
#[test]
fn a_publish_that_cannot_be_kept_is_never_acknowledged_as_if_it_were() {
    let mut desk = Desk::new();
    desk.hosts.refuse_publish = code::OVERLOADED;
    let new = desk.client(V5, "new");
    desk.publish(new, "t", "x", AtLeastOnce, 1);
    desk.publish(new, "t", "x", ExactlyOnce, 2);
    let quota = reason::QUOTA_EXCEEDED;
    let refused = [
        Got::Answer { kind: 4, id: 1, reason: quota },
        Got::Answer { kind: 5, id: 2, reason: quota },
    ];
    assert_eq!(desk.got(new), refused);
    let old = desk.client(V311, "old");
    desk.publish(old, "t", "x", AtLeastOnce, 1);
    assert!(desk.got(old).is_empty() && !desk.is_open(old));
    desk.hosts.refuse_publish = 0;
    desk.marks.crowded = true;
    desk.publish(new, "t", "x", AtLeastOnce, 3);
    assert_eq!(desk.got(new), [Got::Answer { kind: 4, id: 3, reason: quota }]);
}

// norm: MQTT5-3.1.2-29
#[test]
fn reason_strings_are_left_out_where_they_are_not_wanted() {
    let mut desk = Desk::new();
    desk.hosts.refuse_publish = code::OVERLOADED;
    let silent = one(property::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    let properties = Properties::of(&silent);
    let quiet = desk.client_with(&Connect { properties, ..connect(V5, "quiet") });
    let curious = desk.client(V5, "curious");
    for (client, bytes) in [(quiet, 5), (curious, 5 + 4 + "quota exceeded".len())] {
        desk.publish(client, "t", "x", AtLeastOnce, 1);
        assert_eq!(desk.unread_bytes(client), bytes);
    }
}

// norm: MQTT5-3.4.2-2
// norm: MQTT5-3.5.2-2
#[test]
fn reason_strings_are_left_out_where_the_answer_would_be_too_long() {
    let mut desk = Desk::new();
    desk.hosts.refuse_publish = code::OVERLOADED;
    let whole = 5 + 4 + "quota exceeded".len();
    for (id, packet_bytes_max, expected) in [("small", 20, 5), ("large", 60, whole)] {
        let takes = one(property::MAXIMUM_PACKET_SIZE, Value::Long(packet_bytes_max));
        let properties = Properties::of(&takes);
        let client = desk.client_with(&Connect { properties, ..connect(V5, id) });
        for (packet_id, qos) in [(1, AtLeastOnce), (2, ExactlyOnce)] {
            desk.publish(client, "t", "x", qos, packet_id);
            assert_eq!(desk.unread_bytes(client), expected, "{id} {qos:?}");
        }
    }
}

// norm: MQTT5-3.3.2-9
// norm: MQTT5-3.3.2-10
// norm: MQTT5-3.3.2-12
// norm: MQTT5-3.3.2-7
#[test]
fn an_alias_stands_for_a_topic_on_its_connection() {
    let mut desk = Desk::with(MqttSettings { aliases_max: 3, ..MqttSettings::shipped() });
    let (client, other) = (desk.client(V5, "p"), desk.client(V5, "s"));
    desk.subscribed(other, "#", AtMostOnce);
    let alias = |number: u16| one(property::TOPIC_ALIAS, Value::Short(number));
    desk.publish_with(client, "long/topic", "1", AtMostOnce, 0, false, &alias(3));
    desk.publish_with(client, "", "2", AtMostOnce, 0, false, &alias(3));
    desk.publish_with(client, "new/topic", "3", AtMostOnce, 0, false, &alias(3));
    desk.publish_with(client, "", "4", AtMostOnce, 0, false, &alias(3));
    let topics = [("long/topic", "1"), ("long/topic", "2"), ("new/topic", "3"), ("new/topic", "4")];
    let expected: Vec<Got> = topics.iter().map(|(topic, text)| Got::live(topic, text)).collect();
    assert_eq!(desk.got(other), expected);
    let unset = desk.client(V5, "unset");
    desk.publish_with(unset, "", "x", AtMostOnce, 0, false, &alias(1));
    assert!(matches!(desk.one(unset), Got::Disconnect { reason: reason::PROTOCOL_ERROR, .. }));
    let beyond = desk.client(V5, "beyond");
    desk.publish_with(beyond, "a", "x", AtMostOnce, 0, false, &alias(4));
    assert!(matches!(
        desk.one(beyond),
        Got::Disconnect { reason: reason::TOPIC_ALIAS_INVALID, .. }
    ));
}

// norm: MQTT5-3.1.2-26
// norm: MQTT5-3.1.2-27
// norm: MQTT5-3.3.2-11
// norm: MQTT5-3.3.2-13
#[test]
fn towards_a_client_only_as_many_aliases_are_set_as_it_takes() {
    let mut desk = Desk::new();
    let takes = one(property::TOPIC_ALIAS_MAXIMUM, Value::Short(1));
    let properties = Properties::of(&takes);
    let client = desk.client_with(&Connect { properties, ..connect(V5, "takes") });
    let plain = desk.client(V5, "plain");
    desk.subscribed(client, "#", AtMostOnce);
    desk.subscribed(plain, "#", AtMostOnce);
    for topic in ["first/topic", "second/topic", "first/topic"] {
        desk.publish(plain, topic, "x", AtMostOnce, 0);
    }
    let got = desk.got(client);
    let seen: Vec<(&str, Option<u32>)> = got
        .iter()
        .map(|got| match got {
            Got::Publish { topic, .. } => (topic.as_str(), got.number(property::TOPIC_ALIAS)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [("first/topic", Some(1)), ("second/topic", None), ("", Some(1))]);
    assert!(desk.got(plain).iter().all(|got| got.properties().is_empty()));
}

// norm: MQTT5-3.3.4-7
// norm: MQTT5-3.3.4-8
#[test]
fn more_unanswered_than_the_receive_maximum_ends_the_connection() {
    let mut desk = Desk::with(MqttSettings { receive_max: 2, ..MqttSettings::shipped() });
    let client = desk.client(V5, "fast");
    desk.publish(client, "t", "1", ExactlyOnce, 1);
    desk.publish(client, "t", "2", ExactlyOnce, 2);
    assert!(desk.is_open(client));
    desk.answer(client, 6, 1, 0);
    desk.publish(client, "t", "3", AtLeastOnce, 3);
    assert!(desk.is_open(client));
    desk.got(client);
    desk.publish(client, "t", "4", ExactlyOnce, 4);
    desk.publish(client, "t", "5", ExactlyOnce, 5);
    let last = desk.got(client).pop().unwrap();
    assert!(matches!(last, Got::Disconnect { reason: reason::RECEIVE_MAXIMUM_EXCEEDED, .. }));
}

#[test]
fn a_client_of_the_older_version_is_held_back_instead() {
    let mut desk = Desk::with(MqttSettings { receive_max: 2, ..MqttSettings::shipped() });
    let client = desk.client(V311, "fast");
    desk.hosts.silent = true;
    for id in 1..=4 {
        desk.publish(client, "t", "x", AtLeastOnce, id);
    }
    assert!(desk.is_open(client));
    assert_eq!(desk.hosts.heard("publish t"), 2, "the others wait for an answer");
}

// norm: MQTT3-4.7.2-1
// norm: MQTT5-4.7.2-1
#[test]
fn what_the_server_keeps_for_itself_is_not_published_to() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "p");
    for (id, topic) in
        ["$SYS/x", "$hawser/g/team", "$hawser/inbox", "$hawser/u/", "$x"].iter().enumerate()
    {
        let id = id as u16 + 1;
        desk.publish(client, topic, "x", AtLeastOnce, id);
        let refused = Got::Answer { kind: 4, id, reason: reason::NOT_AUTHORIZED };
        assert_eq!(desk.got(client), [refused], "{topic}");
    }
    assert_eq!(desk.hosts.heard("publish"), 0);
}

// norm: MQTT5-3.3.2-6
#[test]
fn an_expiry_goes_with_the_message() {
    let mut desk = Desk::new();
    let (client, old) = (desk.client(V5, "p"), desk.client(V311, "old"));
    desk.subscribed(client, "t", AtMostOnce);
    desk.subscribed(old, "t", AtMostOnce);
    let expiry = one(property::MESSAGE_EXPIRY, Value::Long(30));
    desk.publish_with(client, "t", "x", AtMostOnce, 0, false, &expiry);
    assert_eq!(desk.hosts.heard("publish t qos 0 retain false expiry 30"), 1);
    assert_eq!(desk.one(client).number(property::MESSAGE_EXPIRY), Some(30));
    assert_eq!(desk.one(old), Got::live("t", "x"));
}

#[test]
fn a_direct_chat_is_acknowledged_when_its_conversation_has_it() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "chat");
    desk.publish(client, "$hawser/u/bob", "hi", AtLeastOnce, 1);
    desk.publish(client, "$hawser/u/bob", "there", ExactlyOnce, 2);
    let answers =
        [Got::Answer { kind: 4, id: 1, reason: 0 }, Got::Answer { kind: 5, id: 2, reason: 0 }];
    assert_eq!(desk.got(client), answers);
    desk.answer(client, 6, 2, 0);
    assert_eq!(desk.got(client), [Got::Answer { kind: 7, id: 2, reason: 0 }]);
    assert_eq!(desk.hosts.heard("send to bob after 0"), 2, "each was accepted before the next");
    desk.hosts.silent = true;
    desk.publish(client, "$hawser/u/bob", "one", AtLeastOnce, 3);
    desk.publish(client, "$hawser/u/bob", "two", AtLeastOnce, 4);
    desk.publish(client, "$hawser/u/eve", "three", AtLeastOnce, 5);
    assert_eq!(desk.hosts.heard("send to bob after 3"), 1);
    assert_eq!(desk.hosts.heard("send to eve after 0"), 1);
}

#[test]
fn a_client_that_waits_for_answers_of_a_lost_host_is_asked_to_come_again() {
    let mut desk = Desk::new();
    let (waits, idle) = (desk.client(V5, "waits"), desk.client(V5, "idle"));
    desk.subscribe(idle, &[("t", options(AtMostOnce))], &[]);
    desk.hosts.silent = true;
    desk.publish(waits, "t", "x", AtLeastOnce, 1);
    desk.hosts.silent = false;
    desk.announce(waits);
    desk.announce(idle);
    assert!(matches!(desk.got(waits)[..], [Got::Disconnect { reason: reason::SERVER_BUSY, .. }]));
    assert!(desk.is_open(idle));
    assert!(desk.got(idle).is_empty(), "no second CONNACK");
    assert_eq!(
        desk.hosts
            .heard("attach mqtt:idle idle clean false expiry 0 receive 128 will 0  announce true"),
        1
    );
}
