//! A server that stands still for a second: what the figures must say of it, and what a closed
//! loop would have said.
//!
//! The truth follows from the schedule. Messages are intended at equal distances over a window of
//! W seconds; those intended u seconds after the stall began wait S - u. So a share x / W of all
//! messages waits for longer than S - x, and the quantile that leaves a share q above itself is
//! S - q·W, plus the usual latency.

// The lint knows tests by their attribute; what they share has none.
#![allow(clippy::unwrap_used)]

mod drive;
mod mock;

use std::time::Duration;

use hawser_loadgen::{
    report::{Report, Verdict},
    tally::Stage,
};
use mock::{Settings, Stall};

/// Length of the measured window, seconds.
const WINDOW_S: f64 = 5.0;

/// A run on a machine that others keep busy is made again so many times.
const ATTEMPTS: u64 = 6;

/// A median, or a lateness of the generator at p99, above this says that the machine was busy,
/// microseconds.
const BUSY_US: u64 = 2_000;

fn stalling() -> mock::Server {
    let stall = Stall { at: Duration::from_millis(2500), lasts: Duration::from_secs(1) };
    mock::start_with(Settings { stall: Some(stall), ..Settings::default() })
}

/// What the schedule says of a quantile, microseconds.
fn truth(stalled: Duration, share_above: f64) -> f64 {
    (stalled.as_secs_f64() - share_above * WINDOW_S) * 1e6
}

fn open_loop(number: u64) -> (Report, Duration) {
    let server = stalling();
    // Others share the machine: their load must not make a run invalid.
    let line = "chat --pairs 20 --rate 500 --duration 6s --warm-up 1s --connect-rate 2000 \
                --schedule-lag-max 5s";
    let report = drive::run_line(server.address, line, number).unwrap();
    (report, server.stalled().expect("the run was longer than the stall"))
}

#[test]
fn percentiles_from_the_intended_time_tell_the_stall_as_the_schedule_has_it() {
    for attempt in 1..=ATTEMPTS {
        let (report, stalled) = open_loop(attempt);
        assert_ne!(report.verdict, Verdict::CorrectnessFailed, "{:?}", report.reasons);
        let found = report.quantiles(Stage::Deliver);
        for (name, us, share_above) in [("p99", found.p99, 0.01), ("p99.9", found.p999, 0.001)] {
            let ratio = us as f64 / truth(stalled, share_above);
            println!("{name}: {us} us, of the truth {ratio:.4}; median {} us", found.p50);
            // A busy machine can only add to it.
            assert!(ratio > 0.98, "{name} hides a part of the stall: {us} us");
        }
        let near = |us: u64, share_above| us as f64 / truth(stalled, share_above) < 1.02;
        if near(found.p99, 0.01) && near(found.p999, 0.001) {
            return;
        }
        // A machine that was not busy is no excuse.
        let busy = report.quantiles(Stage::Lag).p99 > BUSY_US || found.p50 > BUSY_US;
        assert!(busy && attempt < ATTEMPTS, "{found:?}, stalled for {stalled:?}");
    }
}

#[test]
fn closed_loop_beside_it_hides_the_stall() {
    let server = stalling();
    let line = "chat --pairs 4 --in-flight 1 --duration 6s --warm-up 1s --schedule-lag-max 5s";
    let report = drive::run_line(server.address, line, 1).unwrap();
    let stalled = server.stalled().expect("the run was longer than the stall");
    let told = report.quantiles(Stage::DeliverSent);
    println!("closed loop, sent to done: {told:?}");
    assert!(told.max as f64 > truth(stalled, 0.0) * 0.98, "{told:?}");
    assert!((told.p999 as f64) < truth(stalled, 0.001) / 2.0, "{told:?}");
}
