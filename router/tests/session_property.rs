//! Kept sessions against what may never happen: `shard_world/session_game.rs` says what.

mod shard_world;

use hawser_router::host::Mark;
use hawser_router::record;
use shard_world::session_game::SessionGame;

const SEEDS: u64 = 200;
const STEPS: usize = 400;

// norm: MQTT5-4.1.0-1
#[test]
fn what_is_kept_of_a_session_survives_as_it_was_acknowledged() {
    let one: Option<u64> = std::env::var("HAWSER_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut marks = vec![0; Mark::ALL.len()];
    for seed in one.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let mut game = SessionGame::new(seed, None);
        game.play(STEPS);
        for (sum, hits) in marks.iter_mut().zip(&game.marks) {
            *sum += hits;
        }
    }
    for mark in [Mark::QueueRead, Mark::SessionTaken, Mark::TopicStreamedAgain] {
        assert!(one.is_some() || marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}

/// Each record is needed: a log in which those of one kind mean nothing must be noticed.
#[test]
fn a_record_that_is_forgotten_is_noticed() {
    for kind in [
        record::Session::KIND,
        record::Filter::KIND,
        record::FilterGone::KIND,
        record::Queued::KIND,
        record::Received::KIND,
    ] {
        let found = (0..SEEDS).find(|seed| {
            let game = move || SessionGame::new(*seed, Some(kind)).play(STEPS);
            std::panic::catch_unwind(game).is_err()
        });
        println!("kind {kind}: found by seed {found:?}");
        assert!(found.is_some(), "kind {kind} is not needed?");
    }
}
