//! Devices of a user: how many, and which one goes when another comes.

mod shard_world;

use hawser_codec::code;
use shard_world::{Client, Heard, World};

/// Devices a user may have.
const DEVICES: usize = 64;

/// Logs in on a new connection; gives the cursor the device is known with, or `None` if refused for
/// want of a place.
fn come(world: &mut World, device: &mut Client) -> Option<u64> {
    world.relogin(device);
    world.settle();
    world.hear(device).into_iter().find_map(|heard| match heard {
        Heard::LoggedIn { cursor, .. } => Some(Some(cursor)),
        Heard::LoginRefused { code: code::OVERLOADED, .. } => Some(None),
        _ => None,
    })?
}

/// Ann with all the devices she may have, on-line; each has acknowledged one message.
fn crowd(world: &mut World) -> Vec<Client> {
    let devices: Vec<_> =
        (0..DEVICES).map(|device| world.login("ann", &format!("d{device}"))).collect();
    world.send(&devices[0], "bob", 1, b"one");
    world.settle();
    for device in &devices {
        world.confirm(device, 1);
    }
    world.after_ms(1_500);
    world.settle();
    devices
}

#[test]
fn a_device_too_many_takes_the_place_of_the_one_unused_for_longest() {
    let mut world = World::new();
    let mut devices = crowd(&mut world);
    let mut new = world.client("ann", "new");
    let mut newer = world.client("ann", "newer");
    assert_eq!(come(&mut world, &mut new), None, "all are on-line");

    world.logout(&devices[9]);
    world.send(&devices[0], "bob", 2, b"two");
    world.settle();
    world.logout(&devices[3]);
    assert_eq!(come(&mut world, &mut new), Some(0));
    world.logout(&new);
    assert_eq!(come(&mut world, &mut devices[3]), Some(1), "9 had gone before it");

    // One goes at a time; whoever comes back without a place begins anew.
    assert_eq!(come(&mut world, &mut newer), Some(0));
    assert_eq!(come(&mut world, &mut new), None);
    world.logout(&newer);
    assert_eq!(come(&mut world, &mut devices[9]), Some(0), "its cursor is lost");
    world.read(&devices[9], 0, 10, false);
    world.settle();
    assert_eq!(shard_world::numbers(&world.hear(&devices[9])), [1, 2]);
    for device in [0, 3, 63] {
        assert_eq!(come(&mut world, &mut devices[device]), Some(1), "d{device}");
    }
}

#[test]
fn a_device_that_took_another_ones_place_is_pushed_to_and_reminded() {
    let mut world = World::new();
    let mut devices = crowd(&mut world);
    // A timer runs for the place when its device goes.
    world.send(&devices[0], "bob", 2, b"two");
    world.settle();
    world.logout(&devices[9]);
    let mut new = world.client("ann", "new");
    assert_eq!(come(&mut world, &mut new), Some(0));
    world.read(&new, 0, 10, false);
    world.settle();
    world.confirm(&new, 2);
    world.send(&devices[0], "bob", 3, b"three");
    world.settle();
    assert_eq!(shard_world::numbers(&world.hear(&new)), [1, 2, 3]);
    world.heard.clear();
    // The timer of the place was another device's: it starts anew, and then runs as always.
    for _ in 0..2 {
        world.after_ms(60_000);
        world.settle();
    }
    let reminded = |heard: &Heard| matches!(heard, Heard::Head { head: 3, .. });
    assert!(world.hear(&new).iter().any(reminded), "{:?}", world.hear(&new));
    assert_eq!(come(&mut world, &mut devices[9]), None);
}

#[test]
fn what_gave_its_place_is_unknown_after_a_restart_from_the_log_and_from_a_checkpoint() {
    for checkpoint in [false, true] {
        let mut world = World::new();
        let mut devices = crowd(&mut world);
        world.logout(&devices[9]);
        let mut new = world.client("ann", "new");
        assert_eq!(come(&mut world, &mut new), Some(0));
        world.confirm(&new, 1);
        world.after_ms(1_500);
        world.settle();
        if checkpoint {
            world.checkpoint();
            world.checkpoint();
            world.drop_records();
        }
        world.crash(2, |_| 0);
        assert_eq!(come(&mut world, &mut new), Some(1), "checkpoint {checkpoint}");
        assert_eq!(come(&mut world, &mut devices[63]), Some(1), "checkpoint {checkpoint}");
        assert_eq!(come(&mut world, &mut devices[9]), Some(0), "checkpoint {checkpoint}");
        // The bound holds: somebody had to go for it, the one that was heard of first.
        assert_eq!(come(&mut world, &mut devices[0]), Some(0), "checkpoint {checkpoint}");
    }
}
