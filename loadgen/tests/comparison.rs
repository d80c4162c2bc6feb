//! Real runs, interleaved and compared: the short form of the example `ab-proof`.

mod drive;
mod mock;

use std::time::Duration;

use drive::interleaved::{Opponent, compared, interleaved};
use hawser_loadgen::compare::{Finding, RUNS_MIN, Verdict};
use mock::Settings;

fn serving(service: Duration) -> std::net::SocketAddr {
    mock::start_with(Settings { service, ..Settings::default() }).address
}

#[test]
fn server_several_times_as_slow_is_found_by_five_interleaved_runs_a_side() {
    let opponents = [
        Opponent { name: "fast", server: serving(Duration::from_millis(4)) },
        Opponent { name: "slow", server: serving(Duration::from_millis(40)) },
    ];
    // Others share the machine: their load must not make a run invalid.
    let line = "chat --pairs 10 --rate 100 --duration 1s --warm-up 0s --connect-rate 2000 \
                --schedule-lag-max 5s";
    let sides = interleaved(&opponents, line, RUNS_MIN, &mut 0).unwrap();
    let comparison = compared(&sides[0], &sides[1], 1).unwrap();
    assert_eq!(comparison.verdict, Verdict::Worse, "{:?}", comparison.reasons);
    let p50 = &comparison.sides[1].shifts[0];
    assert_eq!((p50.metric.as_str(), p50.finding), ("p50", Finding::Worse), "{p50:?}");
    let back = compared(&sides[1], &sides[0], 1).unwrap();
    assert_eq!(back.sides[1].shifts[0].finding, Finding::Better);
}
