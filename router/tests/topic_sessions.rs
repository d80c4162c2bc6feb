//! Sessions of publish/subscribe at their home: what is kept of them, and what of that survives.

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use shard_world::sessions::{CLEAN, KEPT, Told, Way, entries};
use shard_world::{Client, Message, Queued, World, content, settings};

/// A topic's shard of another place, by hand.
#[derive(Default)]
struct Source {
    position: u64,
    previous: u64,
}

impl Source {
    /// Publishes for the home shard of `to`.
    fn publish(&mut self, world: &mut World, to: &Client, topic: &str, payload: &[u8]) {
        let content = &content(payload)[..];
        self.publish_as(world, to, link::TopicEntry { content, ..entry(topic.as_bytes()) });
    }

    fn publish_as(&mut self, world: &mut World, to: &Client, entry: link::TopicEntry) {
        self.position += 2;
        let (position, previous) = (self.position, self.previous);
        let time_ms = world.now.wall_ms;
        let home = to.user[0];
        world.put_entry(&link::TopicEntry { home, position, previous, time_ms, ..entry });
        self.previous = position;
    }
}

fn entry(topic: &[u8]) -> link::TopicEntry<'_> {
    link::TopicEntry {
        source: 7,
        home: 0,
        position: 0,
        previous: 0,
        realm: 0,
        user: [9; 16],
        device: [9; 16],
        qos: 1,
        retain: false,
        time_ms: 0,
        expiry_s: 0,
        topic,
        shares: b"",
        content: b"\0\0\0\0content",
    }
}

fn queued(told: &[Told]) -> Vec<Queued> {
    told.iter()
        .filter_map(|told| match told {
            Told::Entry(queued) => Some(queued.clone()),
            _ => None,
        })
        .collect()
}

fn attached(told: &[Told]) -> Option<(bool, u16)> {
    told.iter().find_map(|told| match told {
        Told::Attached { present, code } => Some((*present, *code)),
        _ => None,
    })
}

fn content_of(byte: u8) -> Vec<u8> {
    content(&[byte; 700])
}

/// A kept session with a filter of quality 1.
fn subscriber(world: &mut World, filter: &str) -> Client {
    let client = world.session("ann", "sensor", KEPT);
    world.subscribe(&client, filter, 1, 0);
    world.settle();
    world.listen(&client);
    client
}

#[test]
fn a_session_that_is_not_kept_is_taken_over_and_leaves_nothing() {
    let mut world = World::new();
    let old = world.session("ann", "sensor", CLEAN);
    assert_eq!(world.listen(&old), [Told::Attached { present: false, code: 0 }]);
    let mut new = old.clone();
    world.reattach(&mut new, CLEAN);
    world.settle();
    assert_eq!(world.listen(&old), [Told::Kick { code: code::REPLACED }]);
    // The good-bye of the old one comes late and means nothing.
    world.detach(&old, 0, true);
    assert_eq!(world.hosts[0].counters().attached, 1);
    world.detach(&new, 0, true);
    world.settle();
    let counters = world.hosts[0].counters();
    assert_eq!((counters.attached, counters.attached_slots, counters.kept), (0, 0, 0));
    assert_eq!(world.lanes[0].waiting.len() + world.hosts[0].last_run() as usize, 0);
}

// norm: MQTT5-3.1.2-5
// norm: MQTT5-3.1.2-23
// norm: MQTT5-4.5.0-1
// norm: MQTT3-3.1.2-4
// norm: MQTT3-3.1.2-5
// norm: MQTT3-4.1.0-1
// norm: MQTT3-4.5.0-1
#[test]
fn a_kept_session_keeps_filters_and_entries_over_a_crash_at_any_point() {
    for kept in 0..12 {
        let mut world = World::new();
        let mut ann = subscriber(&mut world, "a/+");
        world.detach(&ann, 3600, false);
        world.settle();
        let mut source = Source::default();
        for (seq, body) in [&b"one"[..], b"two", &[3; 2000]].into_iter().enumerate() {
            source.publish(&mut world, &ann, &format!("a/{seq}"), body);
            world.turn();
        }
        world.crash(1 + kept as u16 % 2, |waiting| if kept < 3 { kept } else { waiting });
        let survived = kept.min(3);
        world.reattach(&mut ann, KEPT);
        world.settle();
        let told = world.listen(&ann);
        let restored = Told::Restored { filter: "a/+".into(), options: 1, identifier: 0 };
        assert_eq!(told[..2], [restored, Told::Attached { present: true, code: 0 }]);
        let queued = queued(&told);
        assert_eq!(entries(&told), (1..=survived as u64).collect::<Vec<_>>());
        for (at, queued) in queued.iter().enumerate() {
            assert_eq!((&*queued.topic, queued.qos), (&*format!("a/{at}"), 1));
            assert!(!queued.repeated && !queued.retain && queued.identifiers.is_empty());
        }
        assert_eq!(
            queued.get(2).map(|queued| queued.payload.len()),
            (survived > 2).then_some(2000)
        );
    }
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut world = World::new();
    let ann = world.client("ann", "sensor");
    world.attach(&ann, KEPT);
    world.turn();
    assert_eq!(world.listen(&ann), []);
    world.settle();
    assert_eq!(world.listen(&ann), [Told::Attached { present: false, code: 0 }]);
    world.subscribe(&ann, "a", 1, 0);
    world.turn();
    assert_eq!(world.listen(&ann), []);
    world.settle();
    assert_eq!(world.listen(&ann), [Told::Subscribed { request: 1, existed: false, code: 0 }]);
    Source::default().publish(&mut world, &ann, "a", b"x");
    world.turn();
    assert_eq!(world.listen(&ann), []);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [1]);
    world.mark(&ann, 1, false);
    world.turn();
    assert_eq!(world.listen(&ann), []);
    world.settle();
    assert_eq!(world.listen(&ann), [Told::Marked { number: 1 }]);
}

// norm: MQTT5-3.3.4-2
// norm: MQTT5-3.3.4-3
// norm: MQTT5-3.3.4-4
// norm: MQTT5-3.3.1-13
// norm: MQTT5-3.8.4-8
// norm: MQTT3-3.3.5-1
// norm: MQTT3-3.8.4-6
#[test]
fn an_entry_comes_once_with_the_highest_quality_and_all_identifiers() {
    let mut world = World::new();
    let ann = world.session("ann", "sensor", KEPT);
    world.subscribe(&ann, "a/#", 1, 11);
    world.subscribe(&ann, "a/+", 2 | 8, 12);
    world.subscribe(&ann, "b", 2, 13);
    world.subscribe(&ann, "quiet", 0, 14);
    world.settle();
    world.listen(&ann);
    let mut source = Source::default();
    let twice = link::TopicEntry { qos: 2, retain: true, ..entry(b"a/x") };
    source.publish_as(&mut world, &ann, twice);
    source.publish(&mut world, &ann, "quiet", b"of quality 0 for this session");
    source.publish(&mut world, &ann, "b", b"qos 1");
    world.settle();
    let queued = queued(&world.listen(&ann));
    assert_eq!(queued.len(), 2);
    let identifiers = [11u32, 12].map(u32::to_le_bytes).concat();
    assert_eq!((queued[0].qos, queued[0].retain), (2, true));
    assert_eq!(queued[0].identifiers, identifiers);
    assert_eq!((queued[1].qos, queued[1].retain), (1, false));
}

// norm: MQTT5-3.8.3-3
#[test]
fn no_local_keeps_a_session_from_its_own_messages() {
    let mut world = World::new();
    let ann = world.session("ann", "sensor", KEPT);
    world.subscribe(&ann, "a", 1 | 4, 0);
    world.settle();
    world.listen(&ann);
    let mut source = Source::default();
    let (user, device) = (ann.user, ann.device);
    source.publish_as(&mut world, &ann, link::TopicEntry { user, device, ..entry(b"a") });
    source.publish_as(&mut world, &ann, link::TopicEntry { user, ..entry(b"a") });
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [1]);
}

// norm: MQTT5-3.3.4-9
// norm: MQTT5-4.9.0-2
#[test]
fn the_window_holds_back_and_moves_with_marks_in_any_order() {
    let mut world = World::new();
    let ann = world.session("ann", "sensor", Way { window: 3, ..KEPT });
    world.subscribe(&ann, "a", 2, 0);
    world.settle();
    world.listen(&ann);
    let mut source = Source::default();
    for _ in 0..8 {
        source.publish(&mut world, &ann, "a", b"x");
    }
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [1, 2, 3]);
    world.mark(&ann, 2, true);
    world.mark(&ann, 2, true);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [4]);
    world.confirm_queue(&ann, 3);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [5, 6]);
    world.confirm_queue(&ann, 99);
    world.mark(&ann, 77, true);
    world.settle();
    assert!(entries(&world.listen(&ann)).is_empty());
    assert_eq!(world.hosts[0].counters().mark(Mark::ConfirmBeyondHead), 2);
}

// norm: MQTT5-4.4.0-1
// norm: MQTT5-4.3.3-3
// norm: MQTT5-4.3.3-6
// norm: MQTT3-4.4.0-1
// norm: MQTT3-4.3.3-1
#[test]
fn what_is_not_done_comes_again_with_its_number_and_what_was_received_does_not() {
    for crash in [false, true] {
        let mut world = World::new();
        let mut ann = world.session("ann", "sensor", KEPT);
        world.subscribe(&ann, "a", 2, 0);
        world.settle();
        let mut source = Source::default();
        for _ in 0..4 {
            source.publish_as(&mut world, &ann, link::TopicEntry { qos: 2, ..entry(b"a") });
        }
        world.settle();
        world.listen(&ann);
        world.mark(&ann, 3, false);
        world.mark(&ann, 2, true);
        world.settle();
        world.after_ms(1000);
        world.settle();
        assert_eq!(world.listen(&ann), [Told::Marked { number: 3 }]);
        if crash {
            world.crash(2, |_| 0);
        }
        world.reattach(&mut ann, KEPT);
        world.settle();
        let told = world.listen(&ann);
        assert!(told.contains(&Told::Marked { number: 3 }), "{told:?}");
        assert_eq!(entries(&told), [1, 4]);
        assert!(queued(&told).iter().all(|queued| queued.repeated));
        // Its window counts the received one too.
        world.mark(&ann, 3, true);
        world.confirm_queue(&ann, 4);
        world.settle();
        let host = world.host_of(&ann.user);
        assert_eq!(world.hosts[usize::from(host)].counters().queued, 0);
    }
}

#[test]
fn a_full_queue_drops_its_oldest() {
    let narrow = HostSettings { queue_entries_max: 3, ..settings() };
    let mut world = World::with(narrow, 1);
    let mut ann = subscriber(&mut world, "a");
    world.detach(&ann, 3600, false);
    let mut source = Source::default();
    for _ in 0..5 {
        source.publish(&mut world, &ann, "a", b"x");
    }
    world.settle();
    world.crash(1, |_| 0);
    assert_eq!(world.hosts[0].counters().queued, 3);
    world.reattach(&mut ann, KEPT);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [3, 4, 5]);
    let heavy = HostSettings { queue_bytes_max: 250, ..settings() };
    let mut world = World::with(heavy, 1);
    let mut ann = subscriber(&mut world, "a");
    world.detach(&ann, 3600, false);
    let mut source = Source::default();
    for _ in 0..5 {
        source.publish(&mut world, &ann, "a", &[1; 99]);
    }
    source.publish(&mut world, &ann, "a", &[1; 500]);
    world.reattach(&mut ann, KEPT);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [6]);
    assert_eq!(world.hosts[0].counters().queue_dropped, 5);
}

// norm: MQTT5-4.1.0-2
// norm: MQTT3-4.1.0-2
#[test]
fn a_session_ends_when_its_time_has_come_also_over_a_restart() {
    for restart in [false, true] {
        let mut world = World::new();
        let mut ann = subscriber(&mut world, "a");
        // Its time does not run while it is connected.
        world.after_ms(120_000);
        world.settle();
        assert_eq!(world.hosts[0].counters().kept, 1);
        world.detach(&ann, 60, false);
        world.settle();
        world.after_ms(40_000);
        if restart {
            world.settle();
            world.crash(1, |_| 0);
        }
        world.after_ms(19_000);
        world.settle();
        assert_eq!(world.hosts[0].counters().kept, 1);
        world.after_ms(2_000);
        world.settle();
        let counters = world.hosts[0].counters();
        assert_eq!((counters.kept, counters.kept_filters, counters.attached_slots), (0, 0, 0));
        world.reattach(&mut ann, KEPT);
        world.settle();
        assert_eq!(attached(&world.listen(&ann)), Some((false, 0)));
        world.crash(1, |_| 0);
        assert_eq!(world.hosts[0].counters().kept, 1);
    }
}

// norm: MQTT5-3.1.2-4
// norm: MQTT3-3.1.2-6
#[test]
fn a_clean_start_forgets_and_a_resumed_session_may_become_one_that_is_not_kept() {
    let mut world = World::new();
    let mut ann = subscriber(&mut world, "a");
    Source::default().publish(&mut world, &ann, "a", b"x");
    world.settle();
    world.reattach(&mut ann, Way { clean: true, ..KEPT });
    world.settle();
    assert_eq!(world.listen(&ann), [Told::Attached { present: false, code: 0 }]);
    world.subscribe(&ann, "b", 1, 0);
    world.settle();
    world.reattach(&mut ann, Way { expiry_s: 0, ..KEPT });
    world.settle();
    assert_eq!(attached(&world.listen(&ann)), Some((true, 0)));
    world.detach(&ann, 0, false);
    world.settle();
    world.crash(1, |_| 0);
    let counters = world.hosts[0].counters();
    assert_eq!((counters.kept, counters.kept_filters), (0, 0));
}

// norm: MQTT5-3.3.2-5
// norm: MQTT5-3.3.2-6
#[test]
fn entries_expire_in_the_queue_and_tell_what_time_is_left() {
    let mut world = World::new();
    let mut ann = subscriber(&mut world, "a");
    world.detach(&ann, 3600, false);
    let mut source = Source::default();
    for expiry_s in [5, 0, 60] {
        source.publish_as(&mut world, &ann, link::TopicEntry { expiry_s, ..entry(b"a") });
    }
    world.settle();
    world.after_ms(20_000);
    world.crash(1, |_| 0);
    world.reattach(&mut ann, KEPT);
    world.settle();
    let queued = queued(&world.listen(&ann));
    let told: Vec<_> = queued.iter().map(|queued| (queued.number, queued.expiry_s)).collect();
    assert_eq!(told, [(2, 0), (3, 40)]);
    assert_eq!(world.hosts[0].counters().queue_expired, 1);
}

#[test]
fn limits_refuse_with_a_code_and_change_nothing() {
    let narrow = HostSettings {
        attached_max: 2,
        kept_max: 1,
        session_filters_max: 2,
        session_filter_bytes_max: 20,
        will_bytes_max: 40,
        ..settings()
    };
    let mut world = World::with(narrow, 1);
    let ann = world.session("ann", "sensor", KEPT);
    let bob = world.session("bob", "sensor", KEPT);
    assert_eq!(attached(&world.listen(&bob)), Some((false, code::OVERLOADED)));
    let bob = world.session("bob", "sensor", CLEAN);
    assert_eq!(attached(&world.listen(&bob)), Some((false, 0)));
    let eve = world.session("eve", "sensor", CLEAN);
    assert_eq!(attached(&world.listen(&eve)), Some((false, code::OVERLOADED)));
    world.listen(&ann);
    for filter in ["a", "b", "c"] {
        world.subscribe(&ann, filter, 1, 0);
    }
    world.subscribe(&ann, "a", 2, 0);
    world.settle();
    let code = |told: &Told| match told {
        Told::Subscribed { code, existed, .. } => (*existed, *code),
        _ => (false, 999),
    };
    let codes: Vec<_> = world.listen(&ann).iter().map(code).collect();
    let full = (false, code::OVERLOADED);
    assert_eq!(codes, [(false, 0), (false, 0), full, (true, 0)]);
    world.unsubscribe(&ann, "b");
    world.subscribe(&ann, "a filter that is too long", 1, 0);
    world.subscribe(&ann, "not/#/one", 1, 0);
    world.settle();
    let told = world.listen(&ann);
    assert_eq!(told[0], Told::Unsubscribed { request: 1, existed: true });
    assert_eq!((code(&told[1]).1, code(&told[2]).1), (code::OVERLOADED, code::BAD_REQUEST));
    let mut bob = bob;
    world.reattach(&mut bob, Way { will: Some((1, 0)), ..CLEAN });
    world.settle();
    assert_eq!(attached(&world.listen(&bob)), Some((false, 0)));
    world.reattach(&mut bob, Way { will: Some((1, 0)), ..CLEAN });
    world.settle();
    // The will of the older connection still counts when the newer one is judged.
    assert_eq!(world.hosts[0].counters().kept_filters, 1);
}

#[test]
fn without_storage_nothing_is_kept_and_what_need_not_be_is_served() {
    let mut world = World::new();
    world.hosts[0].set_storage(false);
    let ann = world.session("ann", "sensor", KEPT);
    assert_eq!(attached(&world.listen(&ann)), Some((false, code::STORAGE_UNAVAILABLE)));
    let ann = world.session("ann", "sensor", CLEAN);
    assert_eq!(attached(&world.listen(&ann)), Some((false, 0)));
}

#[test]
fn a_session_whose_worker_was_lost_is_announced_again_or_given_up() {
    let mut world = World::new();
    let mut ann = world.session("ann", "sensor", KEPT);
    let mut bob = world.session("bob", "sensor", CLEAN);
    world.subscribe(&ann, "a", 1, 0);
    world.settle();
    Source::default().publish(&mut world, &ann, "a", b"x");
    world.settle();
    world.listen(&ann);
    for worker in 0..2 {
        world.hosts[0].origin_gone(worker);
        world.hosts[0].origin_came(worker);
    }
    world.settle();
    assert_eq!(world.hosts[0].counters().attached, 0);
    world.after_ms(5_000);
    world.reattach(&mut bob, Way { announce: true, ..CLEAN });
    world.reattach(&mut ann, Way { announce: true, ..KEPT });
    world.settle();
    let told = world.listen(&ann);
    assert_eq!(told[0], Told::Attached { present: true, code: 0 });
    assert_eq!(entries(&told), [1]);
    assert!(queued(&told)[0].repeated);
    world.after_ms(60_000);
    world.settle();
    assert_eq!(world.hosts[0].counters().attached, 2);
    // Announced on a connection that a newer one has followed.
    let mut late = ann.clone();
    world.reattach(&mut ann, KEPT);
    world.attach(&late, Way { announce: true, ..KEPT });
    world.settle();
    assert!(world.listen(&late).contains(&Told::Kick { code: code::REPLACED }));
    // Nobody announces it.
    world.hosts[0].origin_gone(ann.worker);
    world.settle();
    world.after_ms(11_000);
    world.settle();
    let counters = world.hosts[0].counters();
    assert_eq!((counters.mark(Mark::SessionLost), counters.kept), (1, 1));
    world.after_ms(3_600_000);
    world.settle();
    assert_eq!(world.hosts[0].counters().kept, 0);
    late.connection = 0;
}

#[test]
fn a_checkpoint_alone_brings_sessions_back_and_entries_are_read_from_the_log() {
    let mut world = World::new();
    let mut ann = world.session("ann", "sensor", KEPT);
    world.subscribe(&ann, "a", 2, 5);
    world.settle();
    let mut source = Source::default();
    for content in 0..30u8 {
        let content = &content_of(content)[..];
        source.publish_as(&mut world, &ann, link::TopicEntry { qos: 2, content, ..entry(b"a") });
    }
    world.settle();
    world.mark(&ann, 2, false);
    world.mark(&ann, 1, true);
    world.mark(&ann, 3, true);
    world.settle();
    world.checkpoint();
    world.checkpoint();
    world.drop_records();
    world.crash(3, |_| 0);
    world.reattach(&mut ann, KEPT);
    world.settle();
    let told = world.listen(&ann);
    assert_eq!(told[0], Told::Restored { filter: "a".into(), options: 2, identifier: 5 });
    assert_eq!(told[1], Told::Marked { number: 2 });
    assert_eq!(entries(&told), (4..=22).collect::<Vec<_>>());
    let queued = queued(&told);
    assert!(queued.iter().all(|queued| queued.payload == [queued.number as u8 - 1; 700]));
    world.confirm_queue(&ann, 22);
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), (23..=30).collect::<Vec<_>>());
    // A repeat of the stream brings nothing new.
    source.position = 0;
    source.previous = 0;
    source.publish(&mut world, &ann, "a", b"again");
    world.settle();
    assert!(entries(&world.listen(&ann)).is_empty());
}

#[test]
fn a_shared_entry_goes_to_one_member_of_those_that_are_there() {
    let mut world = World::new();
    let ann = world.session("ann", "one", KEPT);
    let other = world.session("ann", "two", KEPT);
    let shared = "$share/g/a";
    world.subscribe(&ann, shared, 1, 0);
    world.subscribe(&other, shared, 1, 0);
    world.settle();
    let mut source = Source::default();
    let mut list = vec![shared.len() as u8, 0];
    list.extend_from_slice(shared.as_bytes());
    for _ in 0..4 {
        source.publish_as(&mut world, &ann, link::TopicEntry { shares: &list, ..entry(b"a") });
    }
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [1, 2]);
    assert_eq!(entries(&world.listen(&other)), [1, 2]);
    world.detach(&other, 60, false);
    for _ in 0..2 {
        source.publish_as(&mut world, &ann, link::TopicEntry { shares: &list, ..entry(b"a") });
    }
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [3, 4]);
}

/// Somebody who hears of wills.
fn heir(world: &mut World) -> Client {
    let heir = world.session("heir", "desk", KEPT);
    world.subscribe(&heir, "wills/#", 1, 0);
    world.settle();
    world.listen(&heir);
    heir
}

fn wills(world: &mut World, heir: &Client) -> usize {
    world.settle();
    let told = world.listen(heir);
    let all = queued(&told);
    assert!(all.iter().all(|will| will.topic == "wills/sensor" && will.payload == b"gone"));
    all.len()
}

// norm: MQTT5-3.1.3-9
#[test]
fn a_will_is_published_without_a_good_bye_and_after_its_delay() {
    let mut world = World::with(settings(), 2);
    let heir = heir(&mut world);
    let now = Way { will: Some((1, 0)), ..CLEAN };
    let ann = world.session("ann", "sensor", now);
    world.detach(&ann, 0, false);
    assert_eq!(wills(&mut world, &heir), 0);
    let mut ann = world.session("ann", "sensor", now);
    world.detach(&ann, 0, true);
    assert_eq!(wills(&mut world, &heir), 1);
    // Taken over: the connection of the older one ends without a good-bye.
    world.reattach(&mut ann, now);
    world.reattach(&mut ann, CLEAN);
    assert_eq!(wills(&mut world, &heir), 1);
    let later = Way { will: Some((1, 5)), ..KEPT };
    world.reattach(&mut ann, later);
    world.detach(&ann, 60, true);
    world.after_ms(4_000);
    assert_eq!(wills(&mut world, &heir), 0);
    // Back in time; and again not.
    world.reattach(&mut ann, later);
    world.after_ms(10_000);
    assert_eq!(wills(&mut world, &heir), 0);
    world.reattach(&mut ann, later);
    world.detach(&ann, 60, true);
    world.after_ms(5_001);
    assert_eq!(wills(&mut world, &heir), 1);
    world.after_ms(50_000);
    assert_eq!(wills(&mut world, &heir), 0);
    // The end of the session is the end of the delay.
    world.reattach(&mut ann, Way { will: Some((1, 500)), ..KEPT });
    world.detach(&ann, 60, true);
    world.after_ms(61_000);
    assert_eq!(wills(&mut world, &heir), 1);
    let left: u64 = world.hosts.iter().map(|host| host.counters().will_bytes).sum();
    assert_eq!(left, 0);
}

#[test]
fn the_will_of_a_kept_session_outlives_a_crash() {
    let mut world = World::with(settings(), 2);
    let mut heir = heir(&mut world);
    world.session("ann", "sensor", Way { will: Some((2, 3)), ..KEPT });
    world.crash(1, |_| 0);
    world.reattach(&mut heir, Way { expiry_s: 3600, ..KEPT });
    // Its worker may still announce it.
    world.after_ms(9_000);
    let mut ann = world.client("ann", "sensor");
    world.reattach(&mut ann, Way { announce: true, ..KEPT });
    world.after_ms(9_000);
    assert_eq!(wills(&mut world, &heir), 0);
    world.crash(1, |_| 0);
    world.reattach(&mut heir, Way { expiry_s: 3600, ..KEPT });
    world.after_ms(9_000);
    assert_eq!(wills(&mut world, &heir), 0);
    world.after_ms(2_000);
    assert_eq!(wills(&mut world, &heir), 0);
    world.after_ms(3_001);
    assert_eq!(wills(&mut world, &heir), 1);
    world.crash(2, |_| 0);
    world.reattach(&mut heir, KEPT);
    world.settle();
    let told = world.listen(&heir);
    assert_eq!(entries(&told), [1], "the same, not another one: {told:?}");
    world.after_ms(30_000);
    assert_eq!(wills(&mut world, &heir), 0);
}

#[test]
fn a_will_whose_topic_has_no_host_now_waits_without_haste() {
    let mut world = World::of_routers(settings(), 2);
    world.connect_all();
    world.settle();
    // A home at the other router than the topic's.
    let topic = world.keys.topic(0, b"wills/sensor");
    let host = world.host_of(&topic);
    let user = (0..9).map(|number| format!("ann{number}")).find(|user| {
        let (key, _) = world.keys.user(0, user.as_bytes());
        world.host_of(&key) != host
    });
    let ann = world.session(&user.unwrap(), "sensor", Way { will: Some((1, 9)), ..KEPT });
    let home = usize::from(world.host_of(&ann.user));
    world.cut(home as u16, host);
    world.cut(host, home as u16);
    world.detach(&ann, 3, true);
    world.after_ms(3_001);
    world.settle();
    let counters = world.hosts[home].counters();
    assert_eq!((counters.kept, counters.wills, counters.attached_slots), (0, 0, 1));
    assert!(world.hosts[home].next_deadline().unwrap() > world.now.monotonic_us);
    world.connect_all();
    world.settle();
    world.after_ms(1_001);
    world.settle();
    let counters = world.hosts[home].counters();
    assert_eq!((counters.wills, counters.attached_slots), (1, 0));
    assert_eq!(counters.will_bytes, 0);
}

#[test]
fn a_filter_is_confirmed_when_every_router_follows_it() {
    let mut world = World::of_routers(settings(), 2);
    world.connect_all();
    world.settle();
    let ann = world.session("ann", "sensor", KEPT);
    world.listen(&ann);
    let home = world.host_of(&ann.user);
    let other = 1 - home;
    world.cut(home, other);
    world.cut(other, home);
    for filter in ["a", "$share/g/b", "$share/g/b"] {
        world.subscribe(&ann, filter, 1, 0);
    }
    world.settle();
    // The shared one is there already when it is asked for again, and waits like the first.
    assert_eq!(world.listen(&ann), []);
    world.connect_all();
    world.settle();
    let mut told = world.listen(&ann);
    told.sort_by_key(|told| matches!(told, Told::Subscribed { existed: true, .. }));
    let requests: Vec<(u32, bool, u16)> = told
        .iter()
        .filter_map(|told| match told {
            Told::Subscribed { request, existed, code } => Some((*request, *existed, *code)),
            _ => None,
        })
        .collect();
    assert_eq!(requests.len(), 3, "{told:?}");
    assert!(requests.contains(&(1, false, 0)) && requests.contains(&(10, true, 0)));
    // Now a publish at either router finds it.
    let publisher = world.client("pub", "one");
    for topic in ["a", "b"] {
        world.publish(&publisher, Message::new(topic, b"x"));
    }
    world.settle();
    assert_eq!(entries(&world.listen(&ann)), [1, 2]);
}
