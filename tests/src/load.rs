//! Runs of the load generator inside the test's own process, over real rings.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use hawser_loadgen::{
    arguments::Options,
    report::{Report, Verdict},
    run::{self, MakeRing, RunError, Silent},
    scenario::Scenario,
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingSettings, UringRing};

/// Rings large enough for the few hundred connections of a test.
struct Urings;

impl MakeRing for Urings {
    type Ring = UringRing;

    fn make(&self, slots: u32, _tables: u32) -> Result<(UringRing, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: 4096,
            submission_entries: 1024,
            buffers: 256,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = UringRing::new(settings).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

/// One run against this server.
///
/// # Errors
/// It could not be made.
pub fn load(scenario: &Scenario, target: SocketAddr) -> Result<Report, RunError> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut options = Options::to(target);
    // Other tests share the machine: their load must not make a run invalid.
    options.schedule_lag_max = Duration::from_secs(30);
    let run = u64::from(std::process::id()) << 32 | RUNS.fetch_add(1, Relaxed);
    run::run(scenario, &options, "a test", run, Urings, &mut Silent)
}

/// A run in which nothing is wrong.
///
/// # Panics
/// If something is.
#[track_caller]
pub fn clean(scenario: &Scenario, target: SocketAddr) -> Report {
    let report = load(scenario, target).unwrap_or_else(|error| panic!("{error:?}"));
    let wrong = report.verdict == Verdict::CorrectnessFailed || !report.oracle.is_correct();
    assert!(!wrong && report.oracle.unanswered == 0, "{:?} {:?}", report.reasons, report.oracle);
    report
}
