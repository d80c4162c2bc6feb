//! Whole runs over real rings against a small server in this process.
//!
//! Where the kernel forbids io_uring the runs end with the reason, and the tests fail with it: a
//! generator that cannot run must not look tested.

// The lint knows tests by their attribute; what they share has none.
#![allow(clippy::unwrap_used)]

mod mock;

use clap::Parser;
use hawser_loadgen::{
    arguments::{Arguments, Command, RunArguments},
    report::{Report, Verdict},
    run::{self, MakeRing, RunError, Silent},
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingSettings, UringRing};
use mock::Fault;

struct Urings;

impl MakeRing for Urings {
    type Ring = UringRing;

    fn make(&self, slots: u32, _tables: u32) -> Result<(UringRing, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: 1024,
            submission_entries: 256,
            buffers: 64,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = UringRing::new(settings).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

fn arguments(line: &str) -> RunArguments {
    let words = ["hawser-loadgen", "run"].into_iter().chain(line.split_whitespace());
    match Arguments::parse_from(words).command {
        Command::Run(run) => *run,
        _ => unreachable!("the line says run"),
    }
}

fn run_at(fault: Fault, line: &str) -> Result<Report, RunError> {
    let target = mock::start(fault);
    let (scenario, mut options) = arguments(line).resolve().unwrap();
    options.target = target;
    // Other tests share the machine: their load must not make a run invalid.
    options.schedule_lag_max = std::time::Duration::from_secs(5);
    run::run(&scenario, &options, line, u64::from(target.port()), Urings, &mut Silent)
}

const CHAT: &str =
    "chat --pairs 4 --rate 400 --duration 600ms --warm-up 100ms --drain 3s --connect-rate 500";

#[test]
fn chat_with_an_honest_server_is_clean() {
    let report = run_at(Fault::None, CHAT).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.offered, report.delivered), (240, 240));
    assert_eq!((report.acknowledged, report.connections_held), (240, 8));
    assert!((150..=240).contains(&report.latency_us.count), "{:?}", report.latency_us);
}

#[test]
fn random_recipients_on_several_rings_are_clean() {
    let line = "chat --connections 9 --threads 3 --rate 300 --duration 500ms --warm-up 0s";
    let report = run_at(Fault::None, line).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert!(report.delivered > 100);
}

#[test]
fn closed_loop_keeps_every_pair_busy() {
    let line = "chat --pairs 2 --in-flight 4 --duration 300ms --warm-up 50ms";
    let report = run_at(Fault::None, line).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert!(report.delivered > 16, "{}", report.delivered);
}

#[test]
fn each_fault_of_the_server_is_named() {
    type Count = fn(&Report) -> u64;
    let rows: [(Fault, Count); 4] = [
        (Fault::Lose(50), |report| report.lost),
        (Fault::Double(50), |report| report.duplicated),
        (Fault::Swap(50), |report| report.oracle.reordered),
        (Fault::Damage(50), |report| report.corrupted),
    ];
    let line = CHAT.replace("--drain 3s", "--drain 1s");
    for (fault, count) in rows {
        let report = run_at(fault, &line).unwrap();
        assert_eq!(report.verdict, Verdict::CorrectnessFailed, "{fault:?}");
        assert_eq!(count(&report), 1, "{fault:?}: {:?}", report.reasons);
    }
}

#[test]
fn run_survives_a_break_of_all_connections_in_the_middle() {
    let report = run_at(Fault::Break(100), CHAT).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.delivered, report.reconnects), (240, 8));
}

#[test]
fn held_connections_have_their_heartbeats_answered() {
    let line = "hold --connections 50 --duration 2500ms --connect-rate 1000";
    let report = run_at(Fault::None, line).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!(report.connections_min, 50);
    assert!(report.heartbeats_answered >= 100, "{}", report.heartbeats_answered);
    assert!(report.latency_us.count >= 100);
}

#[test]
fn deaf_server_misses_the_threshold() {
    let line = "hold --connections 4 --duration 1500ms --drain 100ms";
    let report = run_at(Fault::Deaf, line).unwrap();
    assert_eq!(report.verdict, Verdict::ThresholdFailed, "{:?}", report.reasons);
    assert_eq!((report.heartbeats_expected, report.heartbeats_answered), (4, 0));
}

#[test]
fn denied_login_is_told_with_the_servers_code() {
    let Err(RunError::Environment(reason)) = run_at(Fault::Refuse, CHAT) else {
        panic!("nobody may log in")
    };
    assert!(reason.contains("the server answered 200, not authenticated"), "{reason}");
}

#[test]
fn target_without_a_server_is_named() {
    let (scenario, mut options) = arguments(CHAT).resolve().unwrap();
    options.target = "127.0.0.1:1".parse().unwrap();
    let nobody = run::run(&scenario, &options, "", 1, Urings, &mut Silent);
    let Err(RunError::Environment(reason)) = nobody else { panic!("nobody listens on port 1") };
    assert!(reason.contains("127.0.0.1:1 cannot be reached"), "{reason}");
}
