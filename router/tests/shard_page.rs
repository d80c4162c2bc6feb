//! Reading a mailbox.

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::host::Mark;
use shard_world::{Client, Heard, World, deliveries, numbers, settings};

/// Bob's mailbox with entries 1 to `count`, durable in runs of seven.
fn mailbox(world: &mut World, count: u64) -> Client {
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.stall(&bob);
    for seq in 1..=count {
        world.send(&ann, "bob", seq, format!("body {seq}").as_bytes());
        if seq % 7 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.heard.clear();
    bob
}

fn page(world: &mut World, bob: &Client, after: u64, limit: u16, backward: bool) -> Vec<Heard> {
    world.read(bob, after, limit, backward);
    world.settle();
    world.hear(bob)
}

fn end(heard: &[Heard]) -> (bool, u64, u16) {
    match heard.last() {
        Some(Heard::PageEnd { more, floor, code, .. }) => (*more, *floor, *code),
        other => panic!("a page ends with its end, not {other:?}"),
    }
}

#[test]
fn any_range_is_read_forward_and_backward_with_few_reads() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 1000);
    for after in [0u64, 1, 15, 16, 17, 500, 949, 998] {
        world.read_count = 0;
        let heard = page(&mut world, &bob, after, 50, false);
        let wanted: Vec<u64> = (after + 1..=1000.min(after + 50)).collect();
        assert_eq!(numbers(&heard), wanted);
        assert_eq!(end(&heard), (wanted.last() < Some(&1000), 0, 0));
        assert!(world.read_count <= 3, "{} reads", world.read_count);
        let bodies = deliveries(&heard);
        assert!(bodies.iter().all(|d| d.body == format!("body {}", d.number).into_bytes()));
    }
    for before in [u64::MAX, 1001, 990, 40, 2] {
        let heard = page(&mut world, &bob, before, 50, true);
        let top = 1000.min(before - 1);
        let wanted: Vec<u64> = (top.saturating_sub(49).max(1)..=top).rev().collect();
        assert_eq!(numbers(&heard), wanted);
        assert_eq!(end(&heard).0, top > 50);
    }
}

#[test]
fn a_mailbox_is_read_the_same_after_recovery() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 300);
    let before: Vec<_> = [0, 100, 250]
        .map(|after| deliveries(&page(&mut world, &bob, after, 50, false)))
        .into_iter()
        .map(|page| page.into_iter().map(|d| (d.number, d.body)).collect::<Vec<_>>())
        .collect();
    for checkpoint in [false, true] {
        if checkpoint {
            world.checkpoint();
        }
        world.crash(2, |waiting| waiting);
        let bob = world.login("bob", "desk");
        world.hear(&bob);
        for (after, wanted) in [0, 100, 250].into_iter().zip(&before) {
            let told = deliveries(&page(&mut world, &bob, after, 50, false));
            let told: Vec<_> = told.into_iter().map(|d| (d.number, d.body)).collect();
            assert_eq!(told, *wanted);
        }
    }
}

#[test]
fn a_page_waits_for_the_run_that_holds_its_entries() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 0);
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 1, b"soon");
    world.turn();
    world.read(&bob, 0, 10, false);
    world.turn();
    assert_eq!(world.hear(&bob), []);
    world.settle();
    assert_eq!(numbers(&world.hear(&bob)), [1]);
    assert_eq!(world.hosts[0].counters().mark(Mark::PageWaited), 1);
}

#[test]
fn a_long_body_is_read_from_its_message() {
    for hosts in [1, 2] {
        for same_lane in [true, false] {
            let mut world = World::with(settings_with(same_lane), hosts);
            let ann = world.login("ann", "phone");
            let long = vec![b'y'; 5000];
            for peer in ["bob", "cid", "dee", "eve"] {
                let bob = world.login(peer, "desk");
                world.hear(&bob);
                let seq = u64::from(peer.as_bytes()[0]);
                world.send(&ann, peer, seq, &long);
                world.settle();
                assert_eq!(deliveries(&world.hear(&bob))[0].body, long, "pushed whole");
                world.stall(&bob);
                let told = deliveries(&page(&mut world, &bob, 0, 10, false));
                assert_eq!(told[0].body, long, "read whole");
            }
        }
    }
}

fn settings_with(same_lane: bool) -> hawser_router::HostSettings {
    let mut settings = settings();
    settings.same_lane = same_lane;
    settings
}

#[test]
fn entries_beyond_retention_are_not_shown_and_a_clock_set_forward_loses_nothing() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 100);
    world.after_ms(world.settings.retention_ms + 1);
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 101, b"fresh");
    world.settle();
    world.hear(&bob);
    let heard = page(&mut world, &bob, 0, 20, false);
    assert_eq!(numbers(&heard), [101], "old pages are passed over");
    assert!(!end(&heard).0);
    world.now.wall_ms -= world.settings.retention_ms;
    let heard = page(&mut world, &bob, 0, 20, false);
    assert_eq!(numbers(&heard), (1..=20).collect::<Vec<_>>());
}

#[test]
fn only_entries_since_a_time_are_shown_when_asked() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 60);
    world.after_ms(10_000);
    let since_ms = world.now.wall_ms;
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 61, b"fresh");
    world.settle();
    world.hear(&bob);
    for (backward, after) in [(false, 0), (true, u64::MAX)] {
        let read = link::Read {
            connection: bob.connection,
            user: bob.user,
            device: bob.device,
            channel: 0,
            request: 1,
            after,
            limit: 20,
            backward,
            since_ms,
            preview: false,
        };
        world.put_read(&bob, read);
        world.settle();
        assert_eq!(numbers(&world.hear(&bob)), [61]);
    }
}

#[test]
fn dropped_segments_raise_the_floor() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 1000);
    world.next_segment();
    let ann = world.login("ann", "phone");
    for seq in 1001..=1200 {
        world.send(&ann, "bob", seq, b"new");
        world.settle();
    }
    world.heard.clear();
    world.drop_segments();
    world.read_count = 0;
    let heard = page(&mut world, &bob, 0, 20, false);
    // The block that holds 993 to 1024 was written behind the segments that are gone.
    assert_eq!(numbers(&heard), (993..=1012).collect::<Vec<_>>());
    assert_eq!(end(&heard), (true, 992, 0));
    assert!(world.read_count <= 4, "{} reads", world.read_count);
    let heard = page(&mut world, &bob, 996, 20, true);
    assert_eq!(numbers(&heard), [995, 994, 993]);
    assert!(world.hosts[0].counters().mark(Mark::FloorRaised) > 0);
}

#[test]
fn segments_dropped_after_the_checkpoint_are_known_after_recovery() {
    let mut world = World::new();
    mailbox(&mut world, 100);
    world.next_segment();
    world.checkpoint();
    world.drop_records();
    world.drop_segments();
    world.crash(2, |_| 0);
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 101, b"new");
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    let heard = page(&mut world, &bob, 0, 20, false);
    assert_eq!((numbers(&heard), end(&heard)), (vec![101], (false, 100, 0)));
}

#[test]
fn a_failed_read_is_reported_with_a_time_to_come_back() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 40);
    world.reads_by_hand = true;
    world.read(&bob, 30, 5, false);
    world.turn();
    while let Some((host, read)) = world.reads.pop_front() {
        world.hosts[host].on_read(world.now, read.id, Err(5));
    }
    world.turn();
    let heard = world.hear(&bob);
    assert_eq!(end(&heard).2, code::STORAGE_UNAVAILABLE);
    assert_eq!(numbers(&heard), [0; 0]);
}

#[test]
fn damaged_bytes_never_become_an_entry() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 40);
    world.reads_by_hand = true;
    for after in [0, 30] {
        world.read(&bob, after, 5, false);
        for _ in 0..20 {
            world.turn();
            while let Some((host, read)) = world.reads.pop_front() {
                let garbage = vec![0x5a; read.length as usize];
                world.hosts[host].on_read(world.now, read.id, Ok(&garbage));
            }
        }
        assert_eq!(end(&world.hear(&bob)).2, code::STORAGE_UNAVAILABLE);
    }
    assert!(world.hosts[0].counters().unreadable > 0);
}

#[test]
fn a_forward_page_acknowledges_what_is_below_it_and_a_backward_one_nothing() {
    let mut world = World::new();
    let bob = mailbox(&mut world, 20);
    let cursor = |heard: &[Heard]| match heard.last() {
        Some(Heard::PageEnd { cursor, .. }) => *cursor,
        other => panic!("{other:?}"),
    };
    assert_eq!(cursor(&page(&mut world, &bob, 15, 5, true)), 0);
    assert_eq!(cursor(&page(&mut world, &bob, 7, 5, false)), 7);
    let heard = page(&mut world, &bob, 21, 5, false);
    assert_eq!(end(&heard).2, code::BAD_NUMBER);
}
