//! Hosts of one process against what may never happen: `shard_world/game.rs` says what.
//!
//! Every seed draws hosts and lanes, and every crash draws them anew.

mod shard_world;

use hawser_router::host::Mark;
use shard_world::game::{Game, play};

const SEEDS: u64 = 200;
const STEPS: usize = 400;

#[test]
fn nothing_is_lost_doubled_or_reordered_whatever_happens() {
    let Some(marks) = play(SEEDS, STEPS, Game::new) else { return };
    for mark in [
        Mark::RepeatBeforeDurable,
        Mark::RepeatAnswered,
        Mark::OutOfOrder,
        Mark::WindowSpilled,
        Mark::WindowLookedUp,
        Mark::CursorModeByLimit,
        Mark::CursorModeByTimeout,
        Mark::CursorModeByStall,
        Mark::HeadRepeated,
        Mark::PageWaited,
        Mark::PageFromBlock,
        Mark::PageFromMemory,
        Mark::PageReadEntries,
        Mark::BlockGathered,
        Mark::PageReadBody,
        Mark::Replaced,
        Mark::Announced,
        Mark::StreamedAgain,
        Mark::PeerBatchHeld,
    ] {
        assert!(marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}
