//! Origins that come and go.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::link;
use hawser_router::host::{Mark, ORIGINS_MAX};
use shard_world::{Heard, World, numbers};

#[test]
fn an_origin_that_comes_is_asked_to_announce_and_one_that_went_hears_nothing() {
    let mut world = World::new();
    assert!(world.hosts[0].origin_came(7));
    world.turn();
    assert_eq!(world.heard, [(7, Heard::Announce)]);
    assert!(!world.hosts[0].origin_came(7), "the number is taken");
    assert!(!world.hosts[0].origin_came(ORIGINS_MAX), "there is no such number");
    assert!(world.hosts[0].on_uplink(world.now, 7, &[]).is_ok());
    world.hosts[0].origin_gone(7);
    assert!(world.hosts[0].on_uplink(world.now, 7, &[]).is_err());
    world.hosts[0].origin_gone(7);
    world.hosts[0].origin_gone(ORIGINS_MAX);
}

#[test]
fn what_waits_for_an_origin_is_not_said_to_the_next_of_its_number() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    world.hear(&ann);
    world.send(&ann, "ann", 1, b"note");
    world.turn();
    // Its answer and its entry are held until they are durable.
    world.hosts[0].origin_gone(ann.worker);
    assert!(world.hosts[0].origin_came(ann.worker));
    world.settle();
    assert_eq!(world.hear(&ann), []);
    assert_eq!(world.heard, [(ann.worker, Heard::Announce)]);
    assert_eq!(world.hosts[0].counters().held_bytes, 0);
}

#[test]
fn sessions_end_with_their_origin() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    assert_ne!(ann.worker, bob.worker);
    world.hosts[0].origin_gone(ann.worker);
    assert!(world.hosts[0].origin_came(ann.worker));
    let counters = world.hosts[0].counters();
    assert_eq!((counters.sessions, counters.mark(Mark::OriginGone)), (1, 1));
    world.heard.clear();
    // What comes is kept, and not pushed to whoever has that connection's number now.
    world.send(&bob, "ann", 1, b"hello");
    world.settle();
    world.logout(&ann);
    world.confirm(&ann, 1);
    assert_eq!(world.hear(&ann), []);
    assert_eq!(world.hosts[0].counters().sessions, 1);
    // The device comes back through another origin; nobody is told that it was replaced.
    let mut ann = ann;
    world.relogin(&mut ann);
    world.settle();
    let heard = world.hear(&ann);
    assert!(matches!(heard[..], [Heard::LoggedIn { head: 1, cursor: 0, .. }]), "{heard:?}");
    assert_eq!(world.hosts[0].counters().sessions, 2);
    assert_eq!(world.hosts[0].counters().mark(Mark::Replaced), 0);
    world.read(&ann, 0, 10, false);
    world.settle();
    assert_eq!(numbers(&world.hear(&ann)), [1]);
}

#[test]
fn a_page_being_read_is_not_told_to_the_next_of_the_number() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    for seq in 1..=3 {
        world.send(&ann, "bob", seq, &[b'x'; 700]);
    }
    world.settle();
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    world.reads_by_hand = true;
    world.read(&bob, 0, 10, false);
    world.turn();
    assert!(!world.reads.is_empty());
    world.hosts[0].origin_gone(bob.worker);
    assert!(world.hosts[0].origin_came(bob.worker));
    // The same device, on a connection that happens to have the same number at the next gateway.
    let login = link::Login { announce: true, ..world.login_frame(&bob) };
    world.put_login(&bob, login);
    world.reads_by_hand = false;
    world.settle();
    let heard = world.hear(&bob);
    assert!(numbers(&heard).is_empty(), "{heard:?}");
    assert!(heard.iter().any(|heard| matches!(heard, Heard::LoggedIn { announced: true, .. })));
}

#[test]
fn an_announcement_does_not_end_a_session_that_is_newer() {
    let mut world = World::new();
    let mut ann = world.login("ann", "phone");
    // The link of her gateway is lost; she comes back through another one before it is up again.
    world.hosts[0].origin_gone(ann.worker);
    let old = ann.clone();
    world.heard.clear();
    ann.worker = 1 - old.worker;
    world.relogin(&mut ann);
    world.settle();
    assert!(world.hosts[0].origin_came(old.worker));
    let announce = link::Login { announce: true, ..world.login_frame(&old) };
    world.put_login(&old, announce);
    world.settle();
    let heard = world.hear(&old);
    assert!(matches!(heard[..], [Heard::Kick { .. }]), "{heard:?}");
    world.send(&ann, "ann", 1, b"note");
    world.settle();
    assert_eq!(numbers(&world.hear(&ann)), [1], "she is not disturbed");
    let counters = world.hosts[0].counters();
    assert_eq!((counters.sessions, counters.mark(Mark::AnnouncedTooLate)), (1, 1));
    // After a restart all are announced, and the last to come is believed.
    world.crash(1, |_| 9);
    for client in [&old, &ann] {
        let announce = link::Login { announce: true, ..world.login_frame(client) };
        world.put_login(client, announce);
        world.settle();
    }
    assert!(world.hear(&ann).iter().any(|heard| matches!(heard, Heard::LoggedIn { .. })));
    assert!(world.hear(&old).iter().any(|heard| matches!(heard, Heard::Kick { .. })));
}
