//! Hosts of different processes against what may never happen: `shard_world/game.rs` says what.
//!
//! Two or three routers with a disk each. Links between them come, end with all that is on their
//! way, deliver late, or die in one direction without notice; routers crash one by one; links of
//! gateways go and others take their numbers.

mod shard_world;

use hawser_router::host::Mark;
use shard_world::Planted;
use shard_world::game::{Game, play};

const SEEDS: u64 = 200;
const STEPS: usize = 800;

#[test]
fn nothing_is_lost_doubled_or_reordered_between_routers() {
    let Some(marks) = play(SEEDS, STEPS, |seed| Game::of_routers(seed, None)) else { return };
    for mark in [
        Mark::StreamStale,
        Mark::StreamedFromLog,
        Mark::StreamFellBack,
        Mark::StreamLive,
        Mark::StreamBackedUp,
        Mark::OriginGone,
        Mark::PageReadBody,
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
            let game = move || Game::of_routers(*seed, Some(planted)).play(STEPS);
            std::panic::catch_unwind(game).is_err()
        });
        println!("{planted:?}: found by seed {found:?}");
        assert!(found.is_some(), "{planted:?} is not found");
    }
}

#[test]
fn a_batch_lost_by_a_link_that_goes_on_is_noticed_and_said_again() {
    let Some(marks) = play(SEEDS, STEPS, Game::with_losses) else { return };
    for mark in [Mark::StreamReopened, Mark::StreamMiscounted] {
        assert!(marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}
