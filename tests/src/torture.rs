//! Kill torture: users chat on several devices while the gateway is killed with SIGKILL and
//! started again, at random instants, also while it recovers. [`routers`] does it to two gateways
//! and two routers.
//!
//! In the end everything acknowledged must have reached every device of both users once and in
//! order, and a fresh device of each user must find the same in the mailbox.

mod chat;
pub mod routers;

use crate::{
    ledger::Verdict,
    process::{Gateway, Setup},
};
use chat::{Load, Shared};
use std::{fmt, time::Duration};

/// What a torture does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the gateway is killed.
    pub kills: u32,
    /// Decides when, and what is sent to whom.
    pub seed: u64,
    /// Longest time between serving and the next kill.
    pub pause_max: Duration,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Counts and violations.
    pub verdict: Verdict,
    /// Kills.
    pub kills: u32,
    /// Of these: before the gateway served again.
    pub kills_in_recovery: u32,
    /// Of these: since the last one something was acknowledged.
    pub kills_under_load: u32,
    /// Entries that a fresh device of each user read in the end.
    pub audited: u64,
    /// Where the data was left, if something is wrong with it.
    pub kept: Option<std::path::PathBuf>,
}

impl Outcome {
    /// Nothing is wrong and there was something to be wrong.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.verdict.refused == 0 && self.verdict.acknowledged > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "kills {} ({} under load, {} during recovery)",
            self.kills, self.kills_under_load, self.kills_in_recovery
        )?;
        writeln!(f, "audited {} entries on fresh devices", self.audited)?;
        write!(f, "{}", self.verdict)?;
        if let Some(path) = &self.kept {
            write!(f, "\ndata kept in {}", path.display())?;
        }
        write!(f, "\nverdict: {}", if self.is_clean() { "clean" } else { "FAILED" })
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pause(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(longest.as_micros() as u64 + 1))
    }
}

/// Kills and restarts as planned, then judges. Blocks.
///
/// # Panics
/// If the gateway does not start, or the devices do not settle in the end.
pub fn run(plan: Plan, setup: Setup) -> Outcome {
    let mut random = Random(plan.seed);
    let mut gateway = setup.start();
    let shared = Shared::new(&[gateway.native()], &mut random);
    let load = Load::start(&shared);
    let mut outcome = Outcome {
        verdict: Verdict::default(),
        kills: 0,
        kills_in_recovery: 0,
        kills_under_load: 0,
        audited: 0,
        kept: None,
    };
    let mut acknowledged = 0;
    for _ in 0..plan.kills {
        if !load.goes_on_for(random.pause(plan.pause_max)) {
            break;
        }
        kill(&mut gateway, &mut random, &mut outcome, &load);
        let now = shared.ledger().acknowledged_count();
        outcome.kills_under_load += u32::from(now > acknowledged);
        acknowledged = now;
        if !shared.ledger().is_clean() {
            break;
        }
    }
    shared.stop();
    outcome.audited = load.join();
    outcome.verdict = shared.ledger().verdict();
    if !outcome.is_clean() {
        outcome.kept = Some(gateway.into_home().keep());
    }
    outcome
}

/// Kills the gateway and starts it again; one time in four it is killed once more on its way.
fn kill(gateway: &mut Gateway, random: &mut Random, outcome: &mut Outcome, load: &Load) {
    gateway.kill();
    outcome.kills += 1;
    if random.below(4) == 0 {
        gateway.begin_restart();
        // Only a bounded wait: what it brings does not matter here.
        let _ = load.goes_on_for(random.pause(Duration::from_millis(40)));
        gateway.kill();
        outcome.kills_in_recovery += 1;
    }
    gateway.restart();
}
