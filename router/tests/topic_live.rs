//! Publish and live delivery, one behaviour at a time.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use shard_world::{Heard, Message, World, settings};

fn payloads(world: &mut World) -> Vec<(u16, String)> {
    let told = world.told().into_iter();
    told.map(|(worker, told)| (worker, String::from_utf8(told.payload).unwrap())).collect()
}

#[test]
fn one_copy_goes_to_each_worker_whose_filters_match() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for filter in ["a/+", "a/b", "#", "a/b"] {
        world.route(0, filter, true, 0);
    }
    world.route(1, "a/c", true, 7);
    world.settle();
    assert!(world.heard.contains(&(1, Heard::Routed { request: 7, code: 0 })));
    let quick = |topic| Message { qos: 0, ..Message::new(topic, b"hello") };
    world.publish(&ann, quick("a/b"));
    world.settle();
    assert_eq!(payloads(&mut world), [(0, "hello".into())]);
    world.publish(&ann, quick("a/c"));
    world.settle();
    assert_eq!(payloads(&mut world).len(), 2);
    // Of two connections with one filter the first to leave changes nothing.
    for _ in 0..2 {
        world.publish(&ann, quick("a/b"));
        world.settle();
        assert_eq!(payloads(&mut world), [(0, "hello".into())]);
        world.route(0, "a/b", false, 0);
        world.route(0, "#", false, 0);
        world.route(0, "a/+", false, 0);
    }
    world.publish(&ann, quick("a/b"));
    world.settle();
    assert!(payloads(&mut world).is_empty());
    assert!(world.published(&ann).is_empty(), "quality 0 is not answered");
    assert_eq!(world.lanes[0].waiting.len(), 0);
    let counters = world.hosts[0].counters();
    assert_eq!((counters.published, counters.matched, counters.routes), (5, 4, 1));
}

// norm: MQTT5-3.3.4-1
// norm: MQTT5-4.3.2-4
// norm: MQTT3-4.3.2-2
#[test]
fn a_publish_of_quality_1_is_answered_and_told_only_when_it_is_durable() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.route(1, "a", true, 0);
    world.publish(&ann, Message { request: 12, ..Message::new("a", b"x") });
    world.turn();
    assert!(world.published(&ann).is_empty() && payloads(&mut world).is_empty());
    world.flush_one(0);
    world.turn();
    assert_eq!(world.published(&ann), [(12, 0)]);
    assert_eq!(payloads(&mut world), [(1, "x".into())]);
}

#[test]
fn who_publishes_hears_whether_anybody_wants_it() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.publish(&ann, Message::new("a", b"x"));
    world.settle();
    let matched = |world: &mut World| match world.hear(&ann)[..] {
        [Heard::Published { matched, code: 0, .. }] => matched,
        ref other => panic!("{other:?}"),
    };
    assert!(!matched(&mut world));
    world.route(0, "+", true, 0);
    world.publish(&ann, Message::new("a", b"x"));
    world.settle();
    assert!(matched(&mut world));
}

#[test]
fn what_is_no_publish_is_refused() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for topic in ["a/+", "#", "", "a\0b"] {
        world.publish(&ann, Message::new(topic, b"x"));
    }
    world.publish(&ann, Message { qos: 3, ..Message::new("a", b"x") });
    world.publish(&ann, Message::new("a", &vec![0; 256 << 10]));
    world.settle();
    assert_eq!(world.published(&ann), [(1, code::BAD_REQUEST); 6]);
    world.route(0, "a/#/b", true, 3);
    world.route(0, "$share/g", true, 4);
    world.settle();
    let bad = |request| (0, Heard::Routed { request, code: code::BAD_REQUEST });
    assert!(world.heard.contains(&bad(3)) && world.heard.contains(&bad(4)));
    world.hosts[0].set_storage(false);
    world.publish(&ann, Message::new("a", b"x"));
    world.settle();
    assert_eq!(world.published(&ann), [(1, code::STORAGE_UNAVAILABLE)]);
}

#[test]
fn a_filter_beyond_the_limit_is_refused() {
    let mut world = World::with(HostSettings { routes_max: 2, ..settings() }, 1);
    for (request, filter) in [(1, "a"), (2, "a"), (3, "b/+"), (4, "c"), (5, "$share/g/c")] {
        world.route(0, filter, true, request);
    }
    world.settle();
    let code = |request| {
        world.heard.iter().find_map(|(_, heard)| match heard {
            Heard::Routed { request: of, code } if *of == request => Some(*code),
            _ => None,
        })
    };
    let full = Some(code::OVERLOADED);
    assert_eq!((1..=5).map(code).collect::<Vec<_>>(), [Some(0), Some(0), Some(0), full, full]);
    assert_eq!(world.hosts[0].counters().topic_limits, 2);
}

// norm: MQTT5-4.8.2-1
#[test]
fn each_message_of_a_shared_filter_goes_to_one_member_and_all_have_their_part() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for (worker, members) in [(0, 1), (1, 3)] {
        for _ in 0..members {
            world.route(worker, "$share/g/a/+", true, 0);
        }
    }
    world.route(0, "$share/h/#", true, 0);
    world.route(1, "a/b", true, 0);
    let mut counts = [0; 2];
    for _ in 0..400 {
        world.publish(&ann, Message { qos: 0, ..Message::new("a/b", b"x") });
        world.settle();
        let told = world.told();
        assert_eq!(told.len(), 3, "{told:?}");
        let share = |name: &str| told.iter().find(|(_, told)| told.share == name).unwrap().0;
        counts[usize::from(share("$share/g/a/+"))] += 1;
        assert_eq!((share("$share/h/#"), share("")), (0, 1));
    }
    assert!((60..140).contains(&counts[0]), "a quarter of the members has {counts:?}");
    for _ in 0..3 {
        world.route(1, "$share/g/a/+", false, 0);
    }
    for _ in 0..20 {
        world.publish(&ann, Message { qos: 0, ..Message::new("a/b", b"x") });
    }
    world.settle();
    let told = world.told();
    let mut shared = told.iter().filter(|(_, told)| told.share == "$share/g/a/+");
    assert!(shared.all(|(worker, _)| *worker == 0));
}

#[test]
fn the_filters_of_a_worker_that_goes_are_forgotten_in_portions() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    for number in 0..5_000 {
        world.route(0, &format!("{number}/+"), true, 0);
        world.route(0, &format!("$share/g/{number}"), true, 0);
        world.route(1, &format!("{number}"), true, 0);
    }
    world.settle();
    assert_eq!(world.hosts[0].counters().routes, 15_000);
    world.hosts[0].origin_gone(0);
    // Another one has its number; what was said to the first is not for it.
    assert!(world.hosts[0].origin_came(0));
    world.publish(&ann, Message { qos: 0, ..Message::new("7/x", b"x") });
    world.route(0, "8/+", true, 0);
    world.publish(&ann, Message { qos: 0, ..Message::new("8/x", b"x") });
    world.seal(0);
    assert!(world.hosts[0].is_ready(), "not all of it in one turn");
    while world.hosts[0].is_ready() {
        assert_eq!(world.hosts[0].next_deadline(), Some(0), "it goes on at once");
        world.now.monotonic_us += 1;
        world.seal(0);
    }
    assert_eq!(world.told().len(), 1);
    let counters = world.hosts[0].counters();
    assert_eq!((counters.routes, counters.mark(Mark::RoutesSwept)), (5_001, 10_000));
}

#[test]
fn bytes_that_are_no_frames_of_ours_cost_an_error() {
    let mut world = World::with(settings(), 2);
    let key = world.keys.topic(0, b"a");
    let other = usize::from(1 - world.host_of(&key));
    let content = shard_world::content(b"x");
    let mut batch = Vec::new();
    let publish = link::Publish {
        connection: 1,
        user: [0; 16],
        device: [0; 16],
        topic_key: key,
        realm: 0,
        request: 1,
        qos: 1,
        retain: false,
        expiry_s: 0,
        topic: b"a",
        content: &content,
    };
    publish.put(&mut batch);
    assert!(world.hosts[other].on_uplink(world.now, 0, &batch).is_err(), "of another host");
    batch.clear();
    let home = 1 - other as u8;
    link::Follow { home, add: true, request: 0, realm: 0, filter: b"a" }.put(&mut batch);
    let from = 1 - usize::from(home);
    assert!(world.hosts[from].on_peer(world.now, from as u16, &batch).is_err());
}
