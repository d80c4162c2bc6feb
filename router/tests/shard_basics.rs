//! The first walk through a host: log in, send, be told, and nothing before it is durable.

mod shard_world;
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
