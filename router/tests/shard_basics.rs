//! The first walk through a host: log in, send, be told, and nothing before it is durable.

mod shard_world;
use hawser_router::HostSettings;
use shard_world::{Heard, World, deliveries};

#[test]
fn a_message_is_numbered_acknowledged_and_delivered_to_both_sides() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.hear(&ann);
    world.hear(&bob);
    world.send(&ann, "bob", 1, b"hello");
    world.settle();

    let heard = world.hear(&ann);
    assert!(matches!(heard[0], Heard::Accepted { client_seq: 1, sequence: 1, .. }));
    let own = &deliveries(&heard)[0];
    assert_eq!((own.number, own.own, own.body.as_slice()), (1, true, &b""[..]));
    let told = &deliveries(&world.hear(&bob))[0];
    assert_eq!((told.number, told.sequence, told.own), (1, 1, false));
    assert_eq!((told.peer.as_str(), told.body.as_slice()), ("ann", &b"hello"[..]));
}

#[test]
fn nothing_is_said_before_its_record_is_durable() {
    let mut world = World::new();
    let ann = world.client("ann", "phone");
    world.put_login(&ann, world.login_frame(&ann));
    world.turn();
    assert!(world.heard.is_empty(), "a first login is a record too");
    world.settle();
    let bob = world.login("bob", "desk");
    world.heard.clear();
    world.send(&ann, "bob", 1, b"hello");
    world.turn();
    assert_eq!(world.heard, []);
    world.flush_one(0);
    world.turn();
    assert_eq!(world.hear(&bob).len(), 1);
    assert_eq!(world.hear(&ann).len(), 2);
}

#[test]
fn a_send_to_oneself_makes_one_entry() {
    let mut world = World::new();
    let phone = world.login("ann", "phone");
    let desk = world.login("ann", "desk");
    world.hear(&phone);
    world.hear(&desk);
    world.send(&phone, "ann", 1, b"note");
    world.settle();
    assert!(deliveries(&world.hear(&phone))[0].own);
    let told = deliveries(&world.hear(&desk));
    assert_eq!((told.len(), told[0].number, told[0].body.as_slice()), (1, 1, &b"note"[..]));
}

#[test]
fn acknowledging_up_to_the_head_ends_cursor_mode() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.send(&ann, "bob", 1, b"one");
    world.settle();
    world.hear(&bob);
    // Bob has the entry; then his connection is slow, and pushing stops.
    world.stall(&bob);
    world.settle();
    assert!(matches!(world.hear(&bob)[..], [Heard::Head { head: 1, .. }]));
    world.confirm(&bob, 1);
    world.send(&ann, "bob", 2, b"two");
    world.settle();
    assert_eq!(deliveries(&world.hear(&bob))[0].number, 2);

    // What came meanwhile is told, since he does not know that there is more to read.
    world.stall(&bob);
    world.send(&ann, "bob", 3, b"three");
    world.settle();
    world.hear(&bob);
    world.confirm(&bob, 2);
    world.settle();
    assert!(matches!(world.hear(&bob)[..], [Heard::Head { head: 3, .. }]));
}

#[test]
fn the_latest_record_of_a_spilled_window_counts_whichever_lane_is_replayed_last() {
    let settings = HostSettings { dedup_bytes_max: 1, same_lane: false, ..shard_world::settings() };
    let mut world = World::with(settings, 2);
    let mut phone = world.login("ann", "phone");
    let mut desk = world.login("ann", "desk");
    // A conversation of the second host, which writes the second lane.
    let names: Vec<String> = (0..64).map(|number| format!("bob-{number}")).collect();
    let second = |name: &&String| {
        let (user, _) = world.keys.user(0, name.as_bytes());
        world.keys.direct(&phone.user, &user)[0] % 2 == 1
    };
    let bob = names.iter().find(second).unwrap().clone();
    world.send(&phone, &bob, 1, b"one");
    world.settle();
    world.send(&desk, &bob, 1, b"spills the window of the phone");
    world.settle();

    // Now one host and the first lane; the phone's window is spilled again, with two answers, and
    // the checkpoint is made before its place is known.
    world.crash(1, |waiting| waiting);
    world.relogin(&mut phone);
    world.relogin(&mut desk);
    for _ in 0..2 {
        world.send(&phone, &bob, 2, b"two");
        world.settle();
    }
    world.hear(&phone);
    world.send(&desk, &bob, 2, b"spills it again");
    world.settle();
    world.send(&desk, &bob, 2, b"spills it again");
    world.turn();
    world.checkpoint();
    world.settle();

    world.crash(1, |waiting| waiting);
    world.relogin(&mut phone);
    for _ in 0..2 {
        world.send(&phone, &bob, 2, b"two");
        world.settle();
    }
    let accepted = world.hear(&phone).into_iter().find_map(|heard| match heard {
        Heard::Accepted { sequence, .. } => Some(sequence),
        _ => None,
    });
    assert_eq!(accepted, Some(3), "the repeat gets the first answer");
}
