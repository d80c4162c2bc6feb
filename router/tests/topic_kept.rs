//! What topics keep: packet ids of quality 2 and retained messages, one behaviour at a time.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::code;
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use hawser_router::record;
use shard_world::{Client, Heard, Message, World, settings};

fn once(topic: &str, request: u16) -> Message<'_> {
    Message { qos: 2, request, ..Message::new(topic, b"x") }
}

fn retained<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { retain: true, ..Message::new(topic, payload) }
}

fn publishes(world: &World) -> usize {
    world.records().filter(|framed| framed.kind == record::Publish::KIND).count()
}

fn released(world: &mut World, client: &Client) -> Vec<(u16, bool)> {
    let heard = world.hear(client).into_iter();
    let released = heard.filter_map(|heard| match heard {
        Heard::Released { request, found, .. } => Some((request, found)),
        _ => None,
    });
    released.collect()
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs.iter().map(|(topic, payload)| ((*topic).into(), payload.as_bytes().into())).collect()
}

// norm: MQTT5-4.3.3-8
// norm: MQTT5-4.3.3-10
// norm: MQTT5-4.3.3-12
// norm: MQTT3-4.3.3-2
#[test]
fn a_repeat_of_quality_2_is_answered_and_not_published_again() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.route(0, "a", true, 0);
    for _ in 0..3 {
        world.publish(&ann, once("a", 7));
    }
    world.publish(&ann, once("a", 8));
    world.settle();
    assert_eq!(world.published(&ann), [(7, 0), (7, 0), (7, 0), (8, 0)]);
    assert_eq!((world.told().len(), publishes(&world)), (2, 2));
    assert_eq!(world.hosts[0].counters().packet_ids, 2);
    world.release(&ann, "a", 7);
    world.release(&ann, "a", 7);
    world.settle();
    assert_eq!(released(&mut world, &ann), [(7, true), (7, false)]);
    world.publish(&ann, once("a", 7));
    world.settle();
    assert_eq!(publishes(&world), 3, "a packet id that is free again");
}

// norm: MQTT5-3.1.2-23
#[test]
fn packet_ids_outlive_a_crash_and_so_does_their_release() {
    for by_checkpoint in [false, true] {
        let mut world = World::new();
        let ann = world.client("ann", "phone");
        world.publish(&ann, once("a", 7));
        world.publish(&ann, once("b", 8));
        world.settle();
        world.release(&ann, "b", 8);
        world.settle();
        if by_checkpoint {
            world.checkpoint();
            world.checkpoint();
            world.drop_records();
        }
        world.crash(2, |_| 0);
        let before = publishes(&world);
        world.publish(&ann, once("a", 7));
        world.publish(&ann, once("b", 8));
        world.settle();
        assert_eq!(world.published(&ann), [(7, 0), (8, 0)]);
        assert_eq!(publishes(&world), before + 1, "only the one that was released");
    }
}

#[test]
fn a_release_is_said_only_when_it_is_durable() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.publish(&ann, once("a", 7));
    world.settle();
    world.hear(&ann);
    world.release(&ann, "a", 7);
    world.turn();
    assert!(released(&mut world, &ann).is_empty());
    world.crash(1, |_| 0);
    world.publish(&ann, once("a", 7));
    world.settle();
    assert_eq!(publishes(&world), 1, "it was never released");
}

#[test]
fn who_does_not_know_the_topic_releases_everywhere() {
    let mut world = World::with(settings(), 2);
    let (ann, bob) = (world.client("ann", "phone"), world.client("bob", "phone"));
    for (request, topic) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        world.publish(&ann, once(topic, request));
        world.publish(&bob, once(topic, request));
    }
    world.settle();
    let ids =
        |world: &World| -> u64 { world.hosts.iter().map(|host| host.counters().packet_ids).sum() };
    assert_eq!(ids(&world), 8);
    world.hear(&ann);
    world.release(&ann, "", 2);
    world.settle();
    let mut found = released(&mut world, &ann);
    found.sort_unstable();
    assert_eq!((found, ids(&world)), (vec![(2, false), (2, true)], 7));
    // A session that begins new has none left.
    world.release(&ann, "", 0);
    world.settle();
    assert_eq!((released(&mut world, &ann), ids(&world)), (vec![], 4));
    world.crash(1, |_| 0);
    assert_eq!(ids(&world), 4);
}

// norm: MQTT5-3.3.1-5
// norm: MQTT5-3.3.1-6
// norm: MQTT5-3.3.1-7
// norm: MQTT5-3.3.1-8
// norm: MQTT3-3.3.1-5
// norm: MQTT3-3.3.1-10
// norm: MQTT3-3.3.1-11
// norm: MQTT3-3.3.1-12
// norm: MQTT5-4.7.2-1
// norm: MQTT3-4.7.2-1
#[test]
fn the_last_retained_message_of_a_topic_is_kept_and_an_empty_one_clears_it() {
    let mut world = World::with(settings(), 2);
    let ann = world.client("ann", "phone");
    for (topic, payload) in [("a/b", "1"), ("a/c", "2"), ("a", "3"), ("$x/b", "4"), ("a/b", "5")] {
        world.publish(&ann, retained(topic, payload.as_bytes()));
    }
    world.publish(&ann, Message { qos: 0, request: 0, ..retained("q", b"6") });
    world.publish(&ann, Message::new("a/c", b"not retained"));
    world.settle();
    world.hear(&ann);
    assert_eq!(world.retained(&ann, "a/b"), of(&[("a/b", "5")]));
    assert_eq!(world.retained(&ann, "a/#"), of(&[("a", "3"), ("a/b", "5"), ("a/c", "2")]));
    assert_eq!(world.retained(&ann, "+/b"), of(&[("a/b", "5")]));
    assert_eq!(world.retained(&ann, "$x/#"), of(&[("$x/b", "4")]));
    assert_eq!(world.retained(&ann, "#").len(), 4);
    assert_eq!(world.retained(&ann, "nobody/+"), of(&[]));
    assert_eq!(world.retained(&ann, "$share/g/#"), of(&[]), "shared filters get none");
    world.publish(&ann, retained("a/b", b""));
    world.publish(&ann, retained("never", b""));
    world.settle();
    world.hear(&ann);
    assert_eq!(world.retained(&ann, "a/#"), of(&[("a", "3"), ("a/c", "2")]));
    let kept: u64 = world.hosts.iter().map(|host| host.counters().retained).sum();
    assert_eq!(kept, 4);
}

#[test]
fn retained_messages_outlive_a_crash() {
    for by_checkpoint in [false, true] {
        let mut world = World::new();
        let ann = world.client("ann", "phone");
        for number in 0..50 {
            let topic = format!("room/{}", number % 20);
            world.publish(&ann, retained(&topic, format!("{number}").as_bytes()));
        }
        world.publish(&ann, retained("room/3", b""));
        world.settle();
        world.hear(&ann);
        let before = world.retained(&ann, "room/+");
        assert_eq!(before.len(), 19);
        if by_checkpoint {
            world.checkpoint();
            world.checkpoint();
            world.drop_records();
        }
        let bytes = world.hosts[0].counters().retained_bytes;
        world.crash(2, |_| 0);
        let after: u64 = world.hosts.iter().map(|host| host.counters().retained_bytes).sum();
        assert_eq!(after, bytes);
        assert_eq!(world.retained(&ann, "room/+"), before);
    }
}

// norm: MQTT5-3.3.2-6
// norm: MQTT5-3.3.2-5
#[test]
fn a_retained_message_says_how_long_it_has_left_and_expires() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.publish(&ann, Message { expiry_s: 60, ..retained("a", b"x") });
    world.publish(&ann, Message { expiry_s: 60, ..retained("b", b"x") });
    world.settle();
    world.hear(&ann);
    world.after_ms(20_500);
    world.ask_retained(&ann, 1, "+");
    world.settle();
    let left: Vec<u32> = world
        .hear(&ann)
        .iter()
        .filter_map(|heard| if let Heard::Topic(told) = heard { Some(told.expiry_s) } else { None })
        .collect();
    assert_eq!(left, [40, 40]);
    world.after_ms(40_000);
    assert_eq!(world.retained(&ann, "a"), of(&[]));
    assert_eq!(world.hosts[0].counters().retained, 1);
    world.crash(1, |_| 0);
    assert_eq!(world.retained(&ann, "#"), of(&[]), "recovery does not bring it back");
}

#[test]
fn a_retained_message_beyond_the_limits_is_refused_and_live_ones_go_on() {
    let limits = HostSettings { retained_max: 2, retained_bytes_max: 4096, ..settings() };
    let mut world = World::with(limits, 1);
    let ann = world.client("ann", "phone");
    world.route(0, "#", true, 0);
    for (request, topic) in [(1, "a"), (2, "b"), (3, "c"), (4, "a")] {
        world.publish(&ann, Message { request, ..retained(topic, b"x") });
    }
    world.publish(&ann, Message { request: 5, ..retained("a", &[0; 5000]) });
    world.publish(&ann, Message { request: 6, ..Message::new("c", b"x") });
    world.settle();
    let full = code::OVERLOADED;
    assert_eq!(world.published(&ann), [(1, 0), (2, 0), (3, full), (4, 0), (5, full), (6, 0)]);
    assert_eq!((world.told().len(), world.hosts[0].counters().topic_limits), (4, 2));
    let deep = "x/".repeat(128);
    world.publish(&ann, retained(&deep, b"x"));
    world.settle();
    assert_eq!(world.published(&ann), [(1, code::BAD_REQUEST)]);
}

#[test]
fn what_has_expired_makes_room() {
    let limits = HostSettings { retained_max: 1, ..settings() };
    let mut world = World::with(limits, 1);
    let ann = world.client("ann", "phone");
    world.publish(&ann, Message { expiry_s: 1, ..retained("a", b"x") });
    world.settle();
    world.after_ms(1_500);
    for topic in ["b", "c"] {
        world.publish(&ann, retained(topic, b"y"));
    }
    world.settle();
    assert_eq!(world.published(&ann), [(1, 0), (1, 0), (1, code::OVERLOADED)]);
    assert_eq!(world.hosts[0].counters().mark(Mark::RetainedExpired), 1);
    assert_eq!(world.retained(&ann, "#"), of(&[("b", "y")]));
}

#[test]
fn a_retained_message_of_quality_0_that_cannot_be_kept_is_told_all_the_same() {
    let mut world = World::with(HostSettings { retained_max: 0, ..settings() }, 1);
    let ann = world.client("ann", "phone");
    world.route(0, "a", true, 0);
    world.publish(&ann, Message { qos: 0, ..retained("a", b"x") });
    world.settle();
    assert_eq!(world.told().len(), 1);
    assert_eq!(world.retained(&ann, "#"), of(&[]));
}

#[test]
fn a_search_through_many_retained_messages_is_cut_and_whole() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for number in 0..6_000 {
        let topic = format!("device/{number}/state");
        world.publish(&ann, Message { qos: 0, ..retained(&topic, b"on") });
    }
    world.settle();
    world.hear(&ann);
    world.ask_retained(&ann, 1, "device/+/state");
    world.ask_retained(&ann, 2, "device/7/state");
    world.ask_retained(&ann, 3, "device/+/nothing");
    let mut turns = 0;
    while world.hosts[0].is_ready() {
        assert_eq!(world.hosts[0].next_deadline(), Some(0), "it goes on at once");
        world.now.monotonic_us += 1;
        world.seal(0);
        turns += 1;
    }
    let heard = world.hear(&ann);
    assert!(turns > 3, "{turns}");
    let ends: Vec<usize> =
        (0..heard.len()).filter(|at| matches!(heard[*at], Heard::RetainedEnd { .. })).collect();
    assert_eq!(ends, [6_000, 6_002, 6_003], "in the order in which they were asked");
    assert!(world.hosts[0].counters().mark(Mark::RetainedSearchCut) > 2);
}

#[test]
fn a_topic_cleared_while_a_search_is_under_way_is_not_said() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for number in 0..5_000 {
        world.publish(&ann, Message { qos: 0, ..retained(&format!("{number}"), b"on") });
    }
    world.settle();
    world.hear(&ann);
    world.ask_retained(&ann, 1, "+");
    world.now.monotonic_us += 1;
    world.seal(0);
    for number in 0..5_000 {
        world.publish(&ann, Message { qos: 0, ..retained(&format!("{number}"), b"") });
    }
    world.settle();
    let said = world.hear(&ann).len();
    assert!((1_000..4_998).contains(&said), "{said}");
    assert_eq!(world.hosts[0].counters().retained, 0);
    assert_eq!(world.retained(&ann, "#"), of(&[]));
}
