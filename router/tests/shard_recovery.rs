//! What recovery refuses, and what it does not depend on.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::link;
use hawser_router::host::Mark;
use hawser_router::record::{self, Framed, describe};
use hawser_router::recovery::RecoveryError;
use hawser_router::{Host, Location, Outputs, Recovery};
use shard_world::{Heard, World, numbers, settings};

fn cursor(shard: u8, position: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let key = [shard; 16];
    record::Cursor { user: key, device: [1; 16], cursor: position }
        .put(shard, position, &mut bytes);
    bytes
}

fn framed(bytes: &[u8]) -> Framed<'_> {
    Framed::take(bytes).unwrap().0
}

#[test]
fn records_of_a_shard_are_applied_in_order_wherever_they_stand() {
    let mut recovery = Recovery::new(16);
    // A shard that wrote lane 1 first and lane 0 later, replayed lane by lane.
    for position in [3, 4, 1, 2] {
        recovery.apply(&framed(&cursor(9, position)), Location(1 << 28)).unwrap();
    }
    assert!(recovery.finish(1).is_ok());
}

#[test]
fn a_missing_record_is_named() {
    let mut recovery = Recovery::new(16);
    for position in [1, 3] {
        recovery.apply(&framed(&cursor(9, position)), Location(1 << 28)).unwrap();
    }
    let error = recovery.finish(1).map(|_| ()).unwrap_err();
    assert_eq!(error, RecoveryError::Gap { shard: 9, expected: 2, found: 3 });
    assert_eq!(error.to_string(), "shard 9: record 2 is missing, 3 is there");
}

#[test]
fn damage_is_refused_with_its_place_and_unknown_kinds_are_passed_over() {
    let mut recovery = Recovery::new(16);
    let place = Location(2 << 58 | 3 << 28 | 4);
    let unknown = Framed { kind: 200, shard: 1, position: 1, payload: b"?" };
    recovery.apply(&unknown, place).unwrap();
    let broken = Framed { kind: record::Entry::KIND, shard: 1, position: 2, payload: b"\x01short" };
    let error = recovery.apply(&broken, place).unwrap_err();
    assert_eq!(error, RecoveryError::Record { location: place });
    assert!(error.to_string().contains("lane 2 segment 3 offset 4"));
    assert_eq!(recovery.section(5, b"\x01"), Err(RecoveryError::Section { shard: 5 }));
    assert_eq!(recovery.section(5, b"\x07"), Err(RecoveryError::Section { shard: 5 }));
}

#[test]
fn a_checkpoint_alone_brings_everything_back() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    for seq in 1..=40 {
        world.send(&ann, "bob", seq, b"kept");
    }
    world.settle();
    world.confirm(&bob, 7);
    world.checkpoint();
    world.checkpoint();
    world.drop_records();
    world.crash(3, |_| 0);
    let mut bob = bob;
    world.relogin(&mut bob);
    world.settle();
    let heard = world.hear(&bob);
    assert!(matches!(heard[0], Heard::LoggedIn { head: 40, cursor: 7, .. }), "{heard:?}");
    world.read(&bob, 30, 50, false);
    world.settle();
    assert_eq!(numbers(&world.hear(&bob)), (31..=40).collect::<Vec<_>>());
    // The window is there too.
    world.send(&ann, "bob", 40, b"kept");
    world.settle();
    let accepted = |heard: &Heard| matches!(heard, Heard::Accepted { sequence: 40, .. });
    assert!(world.hear(&ann).iter().any(accepted));
}

#[test]
fn a_message_whose_entries_were_lost_is_streamed_again() {
    let mut settings = settings();
    settings.same_lane = false;
    let mut world = World::with(settings, 2);
    let ann = world.login("ann", "phone");
    for peer in ["bob", "cid", "dee", "eve"] {
        let seq = u64::from(peer.as_bytes()[0]);
        world.send(&ann, peer, seq, b"must arrive");
    }
    world.turn();
    // The messages become durable, the entries for the other host do not.
    world.crash(1, |_| 1);
    assert!(world.hosts[0].counters().mark(Mark::StreamedAgain) > 0);
    world.settle();
    for peer in ["bob", "cid", "dee", "eve"] {
        let client = world.login(peer, "desk");
        assert!(matches!(world.hear(&client)[0], Heard::LoggedIn { head: 1, .. }), "{peer}");
    }
}

#[test]
fn an_entry_without_its_predecessor_is_counted_and_not_applied() {
    let mut world = World::with(settings(), 2);
    let (user, _) = world.keys.user(0, b"bob");
    let host = usize::from(user[0] % 2);
    let mut batch = Vec::new();
    let entry = link::Stream {
        source: 1 - user[0] % 2,
        position: 4,
        previous: 2,
        user,
        device: [1; 16],
        conversation: [2; 16],
        sequence: 1,
        incarnation: 1,
        client_seq: 1,
        uuid: [3; 16],
        time_ms: 1,
        content: 0,
        receipts: 0,
        own: false,
        location: 0,
        peer_name: b"ann",
        sender_name: b"ann",
        device_name: b"phone",
        body: b"hi",
    };
    entry.put(&mut batch);
    let from = 1 - host as u16;
    world.hosts[host].on_peer(world.now, from, &batch).unwrap();
    assert_eq!(world.hosts[host].counters().stream_gaps, 1);
    assert_eq!(world.hosts[host].counters().entries, 0);
    for (previous, position) in [(0, 2), (0, 2), (2, 4)] {
        batch.clear();
        link::Stream { previous, position, ..entry }.put(&mut batch);
        world.hosts[host].on_peer(world.now, from, &batch).unwrap();
    }
    let counters = world.hosts[host].counters();
    assert_eq!((counters.entries, counters.mark(Mark::StreamRepeated)), (2, 1));
}

#[test]
fn broken_batches_are_refused_without_harm() {
    let recovered = Recovery::new(16).finish(1).unwrap().remove(0);
    let world = World::new();
    let mut host = Host::new(settings(), world.now, recovered);
    let mut good = Vec::new();
    let mut state = 1u64;
    let mut refused = 0;
    for round in 0..20_000u64 {
        good.clear();
        link::Logout { connection: 1, user: [0; 16], device: [0; 16] }.put(&mut good);
        link::Confirm { connection: 1, user: [0; 16], device: [0; 16], number: 1 }.put(&mut good);
        link::Receipt {
            user: [0; 16],
            peer: [0; 16],
            conversation: [0; 16],
            what: 1,
            sequence: 1,
            user_name: b"ann",
        }
        .put(&mut good);
        for _ in 0..1 + round % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % good.len();
            good[at] = (state >> 20) as u8;
        }
        refused += u64::from(host.on_uplink(world.now, 0, &good).is_err());
        let _ = host.on_peer(world.now, 0, &good);
    }
    assert!(refused > 0);
    assert!(host.on_uplink(world.now, 999, &[]).is_err());
    let mut out = Outputs::default();
    host.seal(world.now, &mut out);
    assert!(out.runs.is_empty());
}

#[test]
fn a_long_turn_is_cut_into_runs_the_store_can_take() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    for seq in 1..=40 {
        world.send(&ann, "bob", seq, &vec![b'x'; 60_000]);
    }
    world.turn();
    let waiting: Vec<usize> =
        world.lanes[0].waiting.iter().map(|(_, run)| run.records.len()).collect();
    assert!(waiting.len() > 5);
    assert!(waiting.iter().all(|bytes| *bytes <= 512 << 10));
    world.hear(&ann);
    world.settle();
    let accepted = |heard: &&Heard| matches!(heard, Heard::Accepted { .. });
    assert_eq!(world.hear(&ann).iter().filter(accepted).count(), 40);
}

#[test]
fn every_record_has_a_line_for_people() {
    let bytes = cursor(9, 3);
    let line = describe(record::Cursor::KIND, framed(&bytes).payload);
    assert_eq!(line, "cursor 01010101 of 09090909: 3");
    assert_eq!(describe(record::Cursor::KIND, b"\x01"), "kind 3, 1 bytes, unreadable");
    assert_eq!(describe(99, b"abc"), "kind 99, 3 bytes, not known here");
}
