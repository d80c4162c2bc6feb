//! Requests without a number: their id is all that tells a repeat from a new one.

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use shard_world::{Client, Heard, World, settings};

fn send(world: &mut World, from: &Client, id: u8, body: &[u8]) {
    let send = world.send_frame(from, "bob", 0, body);
    let send = link::Send { uuid: [id; 16], incarnation: 0, ..send };
    world.put_send(from, send);
}

/// Sequences and refusals, in order.
fn answers(heard: &[Heard]) -> Vec<Result<u64, u16>> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Accepted { sequence, .. } => Some(Ok(*sequence)),
            Heard::Refused { code, .. } => Some(Err(*code)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_repeat_gets_the_first_answer_and_another_body_none() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    for (id, body) in [(1, &b"one"[..]), (2, b"two"), (1, b"one"), (1, b"other"), (0, b"none")] {
        send(&mut world, &ann, id, body);
    }
    world.settle();
    let expected = [Ok(1), Ok(2), Ok(1), Err(code::NUMBER_REUSED), Err(code::BAD_REQUEST)].to_vec();
    let mut heard = answers(&world.hear(&ann));
    heard.sort_unstable_by_key(|answer| expected.iter().position(|known| known == answer));
    let mut sorted = expected.clone();
    sorted.sort_unstable_by_key(|answer| expected.iter().position(|known| known == answer));
    assert_eq!(heard, sorted);
    assert_eq!(world.hosts[0].counters().accepted, 2);
}

#[test]
fn ids_are_known_after_a_crash_and_out_of_a_checkpoint_until_ten_minutes_have_passed() {
    for checkpoint in [false, true] {
        let mut world = World::new();
        let ann = world.login("ann", "phone");
        send(&mut world, &ann, 1, b"one");
        world.settle();
        if checkpoint {
            world.checkpoint();
            world.checkpoint();
            world.drop_records();
        }
        world.crash(2, |_| 0);
        let mut ann = ann;
        world.relogin(&mut ann);
        world.settle();
        world.hear(&ann);
        world.after_ms(599_000);
        send(&mut world, &ann, 1, b"one");
        world.settle();
        assert_eq!(answers(&world.hear(&ann)), [Ok(1)]);
        world.after_ms(2_000);
        send(&mut world, &ann, 1, b"one");
        world.settle();
        assert_eq!(answers(&world.hear(&ann)), [Ok(2)]);
        let late = world.now.wall_ms - 700_000;
        let again = world.send_frame(&ann, "bob", 0, b"late");
        let again = link::Send { uuid: [9; 16], first_attempt_ms: late, ..again };
        world.put_send(&ann, again);
        world.settle();
        assert_eq!(answers(&world.hear(&ann)), [Err(code::TOO_OLD)]);
    }
}

#[test]
fn what_would_pass_the_limit_is_refused_until_the_oldest_is_forgotten() {
    let mut world = World::with(HostSettings { uuid_bytes_max: 300, ..settings() }, 1);
    let ann = world.login("ann", "phone");
    for id in 1..=5 {
        send(&mut world, &ann, id, b"x");
        world.after_ms(100);
    }
    world.settle();
    let heard = answers(&world.hear(&ann));
    assert_eq!(heard.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(world.hosts[0].counters().mark(Mark::UnnumberedFull), 2);
    world.after_ms(600_000);
    send(&mut world, &ann, 6, b"x");
    world.settle();
    assert_eq!(answers(&world.hear(&ann)), [Ok(4)]);
    assert_eq!(world.hosts[0].counters().unnumbered, 1);
}
