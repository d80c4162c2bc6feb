//! Runs of the load generator inside the test's own process, over real rings.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use hawser_loadgen::{
    arguments::Options,
    report::{Report, Verdict},
    run::{self, MakeRing, Observer, RunError, Silent, Snapshot, Wish},
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

/// Does something once, in the middle of a run: when so many messages have been delivered.
struct Amid<F> {
    delivered: u64,
    act: Option<F>,
}

impl<F: FnOnce()> Observer for Amid<F> {
    fn show(&mut self, snapshot: &Snapshot) -> Wish {
        if snapshot.counters.delivered >= self.delivered
            && let Some(act) = self.act.take()
        {
            act();
        }
        Wish::GoOn
    }
}

/// One run against this server, watched.
///
/// # Errors
/// It could not be made.
pub fn load(
    scenario: &Scenario,
    target: SocketAddr,
    observer: &mut dyn Observer,
) -> Result<Report, RunError> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut options = Options::to(target);
    // Other tests share the machine: their load must not make a run invalid.
    options.schedule_lag_max = Duration::from_secs(30);
    let run = u64::from(std::process::id()) << 32 | RUNS.fetch_add(1, Relaxed);
    run::run(scenario, &options, "a test", run, Urings, observer)
}

/// A run in which nothing is wrong with any message.
///
/// # Panics
/// If something is.
#[track_caller]
pub fn clean(scenario: &Scenario, target: SocketAddr) -> Report {
    judged(load(scenario, target, &mut Silent))
}

/// The same, while something happens to the server once so many messages were delivered.
///
/// # Panics
/// If a message is wrong, or it never came to that.
#[track_caller]
pub fn clean_amid(
    scenario: &Scenario,
    target: SocketAddr,
    delivered: u64,
    act: impl FnOnce(),
) -> Report {
    let mut amid = Amid { delivered, act: Some(act) };
    let report = judged(load(scenario, target, &mut amid));
    assert!(amid.act.is_none(), "{delivered} messages were never delivered");
    report
}

#[track_caller]
fn judged(report: Result<Report, RunError>) -> Report {
    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    let wrong = report.verdict == Verdict::CorrectnessFailed || !report.oracle.is_correct();
    assert!(!wrong && report.oracle.unanswered == 0, "{:?} {:?}", report.reasons, report.oracle);
    report
}
