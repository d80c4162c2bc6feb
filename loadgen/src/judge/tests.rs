use super::*;
use crate::{
    report::{Phase, Row, StageFigures, ThreadShare, tests::clean},
    tally::{Latency, Stage},
};

fn judged_with(
    thresholds: &[&str],
    rows: &[Closed],
    change: impl FnOnce(&mut Report, &mut Grounds<'_>),
) -> Report {
    let thresholds: Vec<Threshold> =
        thresholds.iter().map(|text| Threshold::parse(text).unwrap()).collect();
    let mut report = clean();
    let mut grounds = Grounds {
        schedule_lag_us: LAG_MAX_USUAL_US,
        all_logged_in: true,
        cut_off: false,
        may_be_gone: 0,
        thresholds: &thresholds,
        rows,
    };
    change(&mut report, &mut grounds);
    judge(&mut report, &grounds);
    report
}

fn judged(change: impl FnOnce(&mut Report)) -> Report {
    judged_with(&["p99 <= 1ms"], &[], |report, _| change(report))
}

fn latency(values: &[u64]) -> Latency {
    let mut latency = Latency::default();
    values.iter().for_each(|us| latency.record(*us));
    latency
}

fn lag(report: &mut Report, us: u64) {
    report.stages.insert(Stage::Lag, StageFigures::from(&latency(&[us])));
}

fn deliver(report: &mut Report, us: u64) {
    let figures = StageFigures::from(&latency(&[us]));
    report.latency_us = figures.quantiles;
    report.stages.insert(Stage::Deliver, figures);
}

fn thread(cpu: f64, wait: f64) -> ThreadShare {
    ThreadShare { name: "load-0".to_owned(), cpu, wait: Some(wait) }
}

#[test]
fn each_fault_has_its_verdict_and_a_reason() {
    type Change = fn(&mut Report);
    let rows: [(Change, Verdict); 11] = [
        (|_| (), Verdict::Clean),
        (|report| report.oracle.duplicated = 1, Verdict::CorrectnessFailed),
        (|report| report.oracle.sequence_gaps = 1, Verdict::CorrectnessFailed),
        (|report| report.oracle.overflowed = true, Verdict::Invalid),
        (|report| lag(report, 1100), Verdict::Invalid),
        (|report| report.shed = 1, Verdict::Invalid),
        (|report| report.oracle.unanswered = 1, Verdict::ThresholdFailed),
        (|report| report.refused = 1, Verdict::ThresholdFailed),
        (|report| report.heartbeats_answered = 3, Verdict::ThresholdFailed),
        (|report| report.connections_held = 1, Verdict::ThresholdFailed),
        (|report| deliver(report, 1100), Verdict::ThresholdFailed),
    ];
    for (change, verdict) in rows {
        let report = judged(change);
        assert_eq!(report.verdict, verdict, "{:?}", report.reasons);
        assert_eq!(report.reasons.is_empty(), verdict == Verdict::Clean);
    }
}

#[test]
fn loss_outweighs_lag_and_an_overflow_outweighs_loss() {
    let lagging = judged(|report| {
        report.oracle.lost = 1;
        lag(report, 5000);
    });
    assert_eq!(lagging.verdict, Verdict::CorrectnessFailed);
    assert_eq!(lagging.reasons.len(), 2);
    let overflowed = judged(|report| {
        report.oracle.duplicated = 1;
        report.oracle.overflowed = true;
    });
    assert_eq!(overflowed.verdict, Verdict::Invalid);
}

#[test]
fn loss_is_not_proven_while_messages_still_arrive() {
    let run = |cut_off: bool, duplicated: u64| {
        judged_with(&[], &[], |report, grounds| {
            grounds.cut_off = cut_off;
            report.oracle.lost = 2;
            report.oracle.acknowledged_then_lost = 2;
            report.oracle.duplicated = duplicated;
        })
    };
    let late = run(true, 0);
    assert_eq!(late.verdict, Verdict::Invalid);
    assert!(late.reasons[0].contains("2 may be late and not lost"), "{:?}", late.reasons);
    assert!(late.reasons[1].contains("acknowledged and then lost"), "{:?}", late.reasons);
    assert_eq!(run(false, 0).verdict, Verdict::CorrectnessFailed);
    assert_eq!(run(true, 1).verdict, Verdict::CorrectnessFailed);
}

#[test]
fn what_a_protocol_does_not_promise_is_a_note_and_no_reason() {
    let report = judged(|report| {
        report.oracle.missed_unpromised = 3;
        report.oracle.doubled_unpromised = 1;
    });
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(report.notes.len(), 2);
    assert!(report.notes[0].contains("3 messages not delivered"), "{:?}", report.notes);
}

#[test]
fn connections_that_the_scenario_ends_are_not_missed() {
    let report = judged_with(&[], &[], |report, grounds| {
        report.connections_held = 1;
        grounds.may_be_gone = 1;
    });
    assert_eq!(report.verdict, Verdict::Clean);
}

#[test]
fn lateness_allowed_follows_the_headline_within_its_bounds() {
    assert_eq!(lag_allowed_us(LAG_MAX_USUAL_US, 500), 1000);
    assert_eq!(lag_allowed_us(LAG_MAX_USUAL_US, 50_000), 5000);
    assert_eq!(lag_allowed_us(LAG_MAX_USUAL_US, 5_000_000), LAG_MAX_USUAL_US);
    assert_eq!(lag_allowed_us(300, 50_000), 300);
    assert_eq!(lag_allowed_us(5_000_000, 500), 5_000_000);
}

#[test]
fn lateness_of_the_generator_is_named_with_what_to_do() {
    let report = judged_with(&[], &[], |report, _| {
        deliver(report, 30_000);
        lag(report, 4000);
    });
    assert_eq!(report.verdict, Verdict::Invalid);
    let reason = &report.reasons[0];
    assert!(reason.contains("4.0 ms late at p99, allowed 3.0 ms"), "{reason}");
    assert!(reason.contains("--threads"), "{reason}");
    let within = judged_with(&[], &[], |report, _| {
        deliver(report, 50_000);
        lag(report, 4000);
    });
    assert_eq!(within.verdict, Verdict::Clean, "{:?}", within.reasons);
}

#[test]
fn thread_without_reserve_or_processor_is_named_if_it_was_late() {
    let run = |lag_us: u64, thread: ThreadShare, bound_us: u64| {
        judged_with(&[], &[], |report, grounds| {
            grounds.schedule_lag_us = bound_us;
            deliver(report, 100_000);
            lag(report, lag_us);
            report.evidence.generator.threads.push(thread);
        })
    };
    let busy = run(1500, thread(0.95, 0.0), LAG_MAX_USUAL_US);
    assert_eq!(busy.verdict, Verdict::Invalid);
    assert!(busy.reasons[0].contains("load-0 was on a processor 95 %"), "{:?}", busy.reasons);
    let starved = run(1500, thread(0.3, 0.6), LAG_MAX_USUAL_US);
    assert_eq!(starved.verdict, Verdict::Invalid);
    assert!(starved.reasons[0].contains("waited for a processor 60 %"), "{:?}", starved.reasons);
    for (lag_us, thread, bound_us) in [
        (900, thread(0.95, 0.6), LAG_MAX_USUAL_US),
        (1500, thread(0.8, 0.05), LAG_MAX_USUAL_US),
        (1500, thread(0.95, 0.6), 5_000_000),
    ] {
        let report = run(lag_us, thread, bound_us);
        assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    }
}

/// Rows of a second: one of connecting, one of warm-up, then one for each value, and a last one
/// of the drain; each with so many messages of this latency.
fn rows(values: &[u64], drained: u64) -> Vec<Closed> {
    let phases = [Phase::Connect, Phase::WarmUp].into_iter();
    let phases = phases.chain(values.iter().map(|_| Phase::Measure)).chain([Phase::Drain]);
    let values = [0, 9_000_000].into_iter().chain(values.iter().copied()).chain([drained]);
    let row = |(at, (phase, us)): (usize, (Phase, u64))| {
        let t_s = at as f64 - 1.0;
        let row = Row { t_s, phase, offered: 10, achieved: 10, ..clean().series[0].clone() };
        let stages = if us == 0 { vec![] } else { vec![(Stage::Deliver, latency(&[us; 10]))] };
        let texts = stages.iter().map(|(stage, latency)| (*stage, latency.to_text()));
        Closed { row, stages: texts.collect() }
    };
    phases.zip(values).enumerate().map(row).collect()
}

#[test]
fn each_form_of_a_threshold_is_evaluated_over_the_whole_run() {
    for (text, held) in [
        ("p99 < 1ms", true),
        ("p50 > 1ms", false),
        ("max <= 500us", true),
        ("deliver.p99.9 < 400us", false),
        ("connect.p99 < 1s", false),
        ("lost == 0", true),
        ("offered != 500", false),
        ("errors <= 2", true),
        ("errors < 2", false),
        ("reconnects >= 0", true),
        ("achieved/offered >= 0.99", true),
        ("achieved/offered >= 0.999", false),
        ("server.bytes_per_connection <= 6000", true),
        ("server.cpu_us_per_message < 10", false),
    ] {
        let report = judged_with(&[text], &[], |report, _| {
            report.server.bytes_per_connection = Some(5000.0);
        });
        assert_eq!(report.thresholds[0].held, held, "{text}: {:?}", report.thresholds);
        let verdict = if held { Verdict::Clean } else { Verdict::ThresholdFailed };
        assert_eq!(report.verdict, verdict, "{text}");
        assert!(held || report.reasons[0].contains(text), "{:?}", report.reasons);
    }
}

#[test]
fn what_was_not_measured_did_not_hold() {
    let report = judged_with(&["sync.p99 < 1s"], &[], |_, _| ());
    let result = &report.thresholds[0];
    assert_eq!((result.held, result.worst), (false, None));
    assert!(report.reasons[0].contains("nothing was measured"), "{:?}", report.reasons);
}

#[test]
fn worst_window_is_named_with_its_time() {
    let rows = rows(&[100, 100, 100, 7_000, 100, 100, 100, 100], 0);
    let report = judged_with(&["p50 < 5ms over 2s windows"], &rows, |_, _| ());
    assert!(report.thresholds[0].held, "{:?}", report.thresholds);
    let report = judged_with(&["p99 < 5ms over 2s windows"], &rows, |_, _| ());
    let result = &report.thresholds[0];
    // The windows from 3 s and from 4 s on have it; t 0 is the warm-up.
    assert_eq!((result.held, result.at_s), (false, Some(3.0)));
    let reason = &report.reasons[0];
    assert!(reason.contains("was 7.0") && reason.contains("window from 3 s on"), "{reason}");
}

#[test]
fn warm_up_is_in_no_window_and_the_drain_in_the_last() {
    let values = [100, 100, 100, 100];
    let report = judged_with(&["max < 5ms over 4s windows"], &rows(&values, 0), |_, _| ());
    assert!(report.thresholds[0].held, "{:?}", report.thresholds);
    let late = rows(&values, 7_000);
    let report = judged_with(&["max < 5ms over 2s windows"], &late, |_, _| ());
    let result = &report.thresholds[0];
    assert_eq!((result.held, result.at_s), (false, Some(3.0)));
}

#[test]
fn counts_and_rates_are_judged_in_windows() {
    let mut rows = rows(&[100; 6], 0);
    rows[4].row.achieved = 4;
    rows[5].row.achieved = 16;
    rows[6].row.errors = 3;
    let texts = ["achieved/offered >= 0.5", "achieved/offered >= 0.6 over 1s windows"];
    let report = judged_with(&texts, &rows, |_, _| ());
    assert!(report.thresholds[0].held);
    let result = &report.thresholds[1];
    assert_eq!((result.held, result.worst, result.at_s), (false, Some(0.4), Some(3.0)));
    let two = judged_with(&["achieved/offered >= 0.6 over 2s windows"], &rows, |_, _| ());
    assert!(two.thresholds[0].held, "{:?}", two.thresholds);
    let errors = judged_with(&["errors <= 2 over 2s windows"], &rows, |_, _| ());
    let result = &errors.thresholds[0];
    assert_eq!((result.held, result.worst, result.at_s), (false, Some(3.0), Some(4.0)));
}

#[test]
fn window_longer_than_the_measured_time_says_so() {
    let rows = rows(&[100; 4], 0);
    let report = judged_with(&["p99 < 5ms over 10s windows"], &rows, |report, _| {
        report.measured_s = 4.0;
    });
    assert!(!report.thresholds[0].held);
    assert!(report.reasons[0].contains("4 s, has no full window"), "{:?}", report.reasons);
}
