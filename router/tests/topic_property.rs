//! Topics against what may never happen: `shard_world/topic_game.rs` says what.

mod shard_world;

use hawser_router::host::Mark;
use shard_world::Planted;
use shard_world::topic_game::TopicGame;

const SEEDS: u64 = 200;
const STEPS: usize = 400;

/// Plays all seeds, or `HAWSER_SEED` alone, and says how often each rare branch was taken.
fn play(game: impl Fn(u64) -> TopicGame) -> Option<Vec<u64>> {
    let one: Option<u64> = std::env::var("HAWSER_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut marks = vec![0; Mark::ALL.len()];
    for seed in one.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let mut game = game(seed);
        game.play(STEPS);
        for (sum, hits) in marks.iter_mut().zip(&game.marks) {
            *sum += hits;
        }
    }
    one.is_none().then_some(marks)
}

// norm: MQTT5-4.3.3-1
#[test]
fn no_acknowledged_publish_is_lost_and_none_of_quality_2_doubled() {
    let Some(marks) = play(TopicGame::new) else { return };
    for mark in [Mark::PublishRepeated, Mark::TopicStreamedAgain] {
        assert!(marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}

#[test]
fn nor_between_routers() {
    let Some(marks) = play(|seed| TopicGame::of_routers(seed, None)) else { return };
    for mark in [
        Mark::PublishRepeated,
        Mark::StreamedFromLog,
        Mark::StreamFellBack,
        Mark::StreamBackedUp,
        Mark::StreamLive,
    ] {
        assert!(marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}

#[test]
fn planted_faults_are_found() {
    for planted in [
        Planted::SaidBeforeDurable,
        Planted::ConfirmedBeforeDurable,
        Planted::NothingApplied,
        Planted::CheckpointForgets,
    ] {
        let found = (0..SEEDS).find(|seed| {
            let game = move || TopicGame::of_routers(*seed, Some(planted)).play(STEPS);
            std::panic::catch_unwind(game).is_err()
        });
        println!("{planted:?}: found by seed {found:?}");
        assert!(found.is_some(), "{planted:?} is not found");
    }
}
