//! Messages to clients: what is in flight, what waits, what comes again.

use crate::desk::{Desk, Got, connect, one, options};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use Version::{V5, V311};
use hawser_codec::link;
use hawser_codec::mqtt::{
    Properties, Qos, Version,
    packet::Connect,
    property::{self, Value},
    reason,
};
use hawser_gateway::slab::Handle;

fn with(desk: &mut Desk, id: &str, clean: bool, list: &[(u8, Value<'_>)]) -> Handle {
    let mut properties = Vec::new();
    list.iter().for_each(|(id, value)| property::put(&mut properties, *id, *value));
    let properties = Properties::of(&properties);
    desk.client_with(&Connect { clean, properties, ..connect(V5, id) })
}

fn texts(got: &[Got]) -> Vec<&str> {
    got.iter().map(Got::text).collect()
}

// norm: MQTT5-3.3.4-9
// norm: MQTT5-4.9.0-1
// norm: MQTT5-4.9.0-2
// norm: MQTT5-4.9.0-3
// norm: MQTT3-4.3.2-1
// norm: MQTT5-4.3.2-1
// norm: MQTT5-4.3.2-2
// norm: MQTT5-4.3.2-3
// norm: MQTT3-4.6.0-5
// norm: MQTT3-4.6.0-6
// norm: MQTT5-4.6.0-5
// norm: MQTT5-4.6.0-6
#[test]
fn a_clean_session_gets_as_many_as_it_takes_and_the_rest_in_order_as_it_answers() {
    let mut desk = Desk::new();
    let client = with(&mut desk, "s", true, &[(property::RECEIVE_MAXIMUM, Value::Short(2))]);
    let publisher = desk.client(V5, "p");
    desk.subscribed(client, "t", AtLeastOnce);
    for number in 1..=5 {
        desk.publish(publisher, "t", &number.to_string(), AtLeastOnce, number);
    }
    let first = desk.got(client);
    assert_eq!(texts(&first), ["1", "2"]);
    assert!(first[0].id() != first[1].id() && first.iter().all(|got| got.id() != 0));
    // What is not in flight waits behind what waits, whatever its quality.
    desk.answer(client, 4, first[1].id(), 0);
    let next = desk.got(client);
    assert_eq!(texts(&next), ["3"]);
    desk.answer(client, 4, 31_313, 0);
    assert!(desk.got(client).is_empty(), "an answer to nothing brings nothing");
    desk.answer(client, 4, first[0].id(), 0);
    desk.answer(client, 4, next[0].id(), 0);
    assert_eq!(texts(&desk.got(client)), ["4", "5"]);
    desk.publish(publisher, "t", "live", AtMostOnce, 0);
    assert_eq!(texts(&desk.got(client)), ["live"], "QoS 0 never waits for answers");
}

// norm: MQTT3-4.3.3-1
// norm: MQTT5-4.3.3-1
// norm: MQTT5-4.3.3-2
// norm: MQTT5-4.3.3-3
// norm: MQTT5-4.3.3-4
// norm: MQTT5-4.3.3-5
// norm: MQTT5-4.3.3-6
// norm: MQTT5-4.3.3-7
#[test]
fn the_highest_quality_takes_both_halves() {
    let mut desk = Desk::new();
    let client = with(&mut desk, "s", true, &[(property::RECEIVE_MAXIMUM, Value::Short(1))]);
    let publisher = desk.client(V5, "p");
    desk.subscribed(client, "t", ExactlyOnce);
    for number in 1..=3 {
        desk.publish(publisher, "t", &number.to_string(), ExactlyOnce, number);
    }
    let id = desk.one(client).id();
    desk.answer(client, 4, id, 0);
    assert!(desk.got(client).is_empty(), "PUBACK is no answer to it");
    desk.answer(client, 5, id, 0);
    assert_eq!(desk.got(client), [Got::Answer { kind: 6, id, reason: 0 }]);
    desk.answer(client, 7, id, 0);
    let second = desk.one(client);
    assert_eq!(second.text(), "2");
    // Refused by the client: that ends it.
    desk.answer(client, 5, second.id(), reason::QUOTA_EXCEEDED);
    assert_eq!(desk.one(client).text(), "3");
    desk.answer(client, 5, 4242, 0);
    let unknown = reason::PACKET_IDENTIFIER_NOT_FOUND;
    assert_eq!(desk.got(client), [Got::Answer { kind: 6, id: 4242, reason: unknown }]);
}

const KEPT: (u8, Value<'static>) = (property::SESSION_EXPIRY, Value::Long(1000));

// norm: MQTT3-3.1.2-4
// norm: MQTT3-4.4.0-1
// norm: MQTT5-4.4.0-1
// norm: MQTT5-4.4.0-2
// norm: MQTT3-3.3.1-1
// norm: MQTT5-3.3.1-1
// norm: MQTT3-4.6.0-1
// norm: MQTT5-4.6.0-1
// norm: MQTT5-4.5.0-1
// norm: MQTT3-4.5.0-1
#[test]
fn a_kept_session_gets_again_what_it_has_not_answered() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let client = with(&mut desk, "k", false, &[KEPT]);
    desk.subscribed(client, "t", AtLeastOnce);
    desk.publish(publisher, "t", "one", AtLeastOnce, 1);
    desk.publish(publisher, "t", "two", AtLeastOnce, 2);
    let first = desk.got(client);
    assert_eq!(first, [Got::message("t", "one", 1, 1), Got::message("t", "two", 1, 3)]);
    desk.answer(client, 4, 1, 0);
    assert_eq!(desk.hosts.heard("mark 1 done true"), 1);
    desk.cut(client);
    desk.publish(publisher, "t", "three", AtLeastOnce, 3);
    desk.publish(publisher, "t", "gone", AtMostOnce, 0);
    let client = with(&mut desk, "k", false, &[KEPT]);
    let got = desk.got(client);
    assert_eq!(texts(&got), ["two", "three"]);
    assert_eq!((got[0].id(), got[1].id()), (3, 5), "the same identifiers as before");
    assert!(matches!(got[0], Got::Publish { dup: true, .. }));
    desk.publish(publisher, "t", "live", AtMostOnce, 0);
    assert_eq!(desk.got(client), [Got::live("t", "live")]);
}

// norm: MQTT3-4.6.0-4
// norm: MQTT5-4.6.0-4
#[test]
fn a_release_waits_until_the_home_has_noted_what_it_is_for() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let client = with(&mut desk, "k", false, &[KEPT]);
    desk.subscribed(client, "t", ExactlyOnce);
    desk.publish(publisher, "t", "once", ExactlyOnce, 1);
    assert_eq!(desk.got(client), [Got::message("t", "once", 2, 1)]);
    desk.hosts.silent = true;
    desk.answer(client, 5, 1, 0);
    desk.answer(client, 5, 1, 0);
    assert!(desk.got(client).is_empty());
    assert_eq!(desk.hosts.heard("mark 1 done false"), 1);
    desk.hosts.silent = false;
    desk.cut(client);
    // It was noted: the client is asked to finish, and gets nothing twice.
    let client = with(&mut desk, "k", false, &[KEPT]);
    assert_eq!(desk.got(client), [Got::Answer { kind: 6, id: 1, reason: 0 }]);
    desk.answer(client, 7, 1, 0);
    assert_eq!(desk.hosts.heard("mark 1 done true"), 1);
}

#[test]
fn what_a_home_pushes_again_is_not_sent_again_on_a_live_connection() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let client = with(&mut desk, "k", false, &[KEPT]);
    desk.subscribed(client, "t", AtLeastOnce);
    desk.publish(publisher, "t", "one", AtLeastOnce, 1);
    desk.publish(publisher, "t", "two", AtLeastOnce, 2);
    assert_eq!(desk.got(client).len(), 2);
    let mut again = Vec::new();
    desk.hosts.push_again(&mut again);
    desk.hear(0, &again);
    assert!(desk.got(client).is_empty());
    // One that is done with is done with once more, in case the home has forgotten that.
    desk.answer(client, 4, 1, 0);
    desk.hear(0, &again);
    desk.settle();
    assert!(desk.got(client).is_empty());
    assert_eq!(desk.hosts.heard("mark 1 done true"), 2);
    assert_eq!(desk.hosts.heard("mark 2 done true"), 0);
}

// norm: MQTT5-3.1.2-24
// norm: MQTT5-3.1.2-25
#[test]
fn a_message_too_long_for_its_client_counts_as_given() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let small = (property::MAXIMUM_PACKET_SIZE, Value::Long(40));
    let client = with(&mut desk, "small", true, &[small]);
    let kept = with(&mut desk, "kept", false, &[small, KEPT]);
    for client in [client, kept] {
        desk.subscribed(client, "t", AtLeastOnce);
    }
    let long = "x".repeat(100);
    desk.publish(publisher, "t", &long, AtMostOnce, 0);
    desk.publish(publisher, "t", &long, AtLeastOnce, 1);
    desk.publish(publisher, "t", "short", AtLeastOnce, 2);
    for client in [client, kept] {
        assert_eq!(texts(&desk.got(client)), ["short"]);
    }
    assert_eq!(desk.hosts.heard("mark 1 done true"), 1);
}

// norm: MQTT5-3.3.2-5
// norm: MQTT5-3.3.2-6
#[test]
fn what_waits_grows_old_and_expires() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let client = with(&mut desk, "s", true, &[(property::RECEIVE_MAXIMUM, Value::Short(1))]);
    desk.subscribed(client, "t", AtLeastOnce);
    for (number, expiry_s) in [(1, 100), (2, 5), (3, 60)] {
        let expiry = one(property::MESSAGE_EXPIRY, Value::Long(expiry_s));
        let text = number.to_string();
        desk.publish_with(publisher, "t", &text, AtLeastOnce, number, false, &expiry);
    }
    let first = desk.one(client);
    desk.now.monotonic_us += 20_000_000;
    desk.answer(client, 4, first.id(), 0);
    let next = desk.one(client);
    assert_eq!((next.text(), next.number(property::MESSAGE_EXPIRY)), ("3", Some(40)));
}

#[test]
fn a_slow_reader_loses_what_is_not_kept_and_nothing_else_grows() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let client = desk.client(V311, "slow");
    desk.subscribed(client, "t", AtMostOnce);
    desk.marks.push = 0;
    let body = "x".repeat(100);
    let message = link::Topic {
        connection: 0,
        request: 0,
        realm: 0,
        user: [0; 16],
        device: [0; 16],
        qos: 0,
        retain: false,
        expiry_s: 0,
        topic: b"t",
        share: &[],
        content: &[&[0; 4], body.as_bytes()].concat(),
    };
    let mut frames = Vec::new();
    (0..10).for_each(|_| message.put(&mut frames));
    desk.hear(0, &frames);
    assert_eq!(desk.got(client).len(), 1);
    assert_eq!(desk.metrics.mqtt_dropped.get(), 9);
    desk.publish(publisher, "t", "after", AtMostOnce, 0);
    assert_eq!(desk.got(client), [Got::live("t", "after")]);
}

#[test]
fn a_long_fan_out_is_cut_into_turns_and_reaches_everybody_once() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let clients: Vec<Handle> = (0..50)
        .map(|number| {
            let client =
                desk.client(if number % 2 == 0 { V311 } else { V5 }, &format!("c{number}"));
            desk.subscribed(client, if number % 3 == 0 { "t" } else { "+" }, AtLeastOnce);
            client
        })
        .collect();
    desk.deliveries = 7;
    desk.publish(publisher, "t", "first", AtMostOnce, 0);
    desk.publish(publisher, "t", "second", AtLeastOnce, 1);
    for client in clients {
        assert_eq!(texts(&desk.got(client)), ["first", "second"]);
    }
}

#[test]
fn an_idle_client_leaves_nothing_in_the_tables() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "idle");
    desk.subscribe(client, &[("t", options(ExactlyOnce))], &[]);
    desk.publish(client, "t", "x", ExactlyOnce, 1);
    let got = desk.got(client);
    let id = got.iter().find(|got| matches!(got, Got::Publish { .. })).unwrap().id();
    assert!(desk.core.asides() > 0);
    desk.answer(client, 6, 1, 0);
    desk.answer(client, 5, id, 0);
    desk.answer(client, 7, id, 0);
    assert_eq!(desk.core.asides(), 0);
}

fn deliver(connection: Handle, number: u64, own: bool, body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    link::Deliver {
        connection: connection.to_u64(),
        page: false,
        number,
        sequence: number,
        incarnation: 1,
        client_seq: number,
        uuid: [0; 16],
        time_ms: 5,
        content: 0,
        receipts: 0,
        own,
        peer_name: b"bob",
        sender_name: b"bob",
        device_name: b"desk",
        body: body.as_bytes(),
    }
    .put(&mut out);
    out
}

#[test]
fn the_mailbox_comes_in_order_and_its_cursor_has_no_hole() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "me");
    let got = desk.subscribe(client, &[("$hawser/inbox", options(AtLeastOnce))], &[]);
    assert_eq!(got, [Got::Suback { id: 99, reasons: vec![1] }]);
    assert_eq!(desk.hosts.heard("login announce false"), 1);
    assert_eq!(desk.hosts.heard("route"), 0);
    for (number, own) in [(1, false), (2, true), (3, false)] {
        let frame = deliver(client, number, own, "hello");
        desk.hear(0, &frame);
    }
    let got = desk.got(client);
    assert_eq!(texts(&got), ["hello", "hello"]);
    assert_eq!((got[0].id(), got[1].id()), (2, 6));
    let sender = Properties::of(got[0].properties()).iter().find_map(|(_, value)| match value {
        Value::Pair("sender", name) => Some(name.to_owned()),
        _ => None,
    });
    assert_eq!(sender.as_deref(), Some("bob"));
    desk.answer(client, 4, 6, 0);
    assert_eq!(desk.hosts.heard("confirm"), 0, "the first is not answered yet");
    desk.answer(client, 4, 2, 0);
    assert_eq!(desk.hosts.heard("confirm 3"), 1);
    // A hole is read from the mailbox, never jumped over.
    let frame = deliver(client, 6, false, "later");
    desk.hear(0, &frame);
    desk.settle();
    assert!(desk.got(client).is_empty());
    assert_eq!(desk.hosts.heard("read after 3 limit 50"), 1);
    desk.unsubscribe(client, "$hawser/inbox");
    assert_eq!(desk.hosts.heard("logout"), 1);
}
