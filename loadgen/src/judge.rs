//! The verdict: was everything delivered as it must be, was the generator able to tell, and did
//! the thresholds hold?
//!
//! Order of weight: an oracle that ran over, a defect, a generator that was the limit itself, a
//! threshold. Every reason is named, also those that weigh less.

use crate::{
    report::{Report, Verdict},
    tally::Stage,
};

/// What the verdict depends on beside the report itself.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Bound of the generator's own lateness, microseconds.
    pub schedule_lag_us: u64,
    /// Bound of the latency's 99th percentile, microseconds.
    pub p99_us: Option<u64>,
    /// All connections asked for were logged in before the start.
    pub all_logged_in: bool,
}

/// Fills in verdict and reasons.
pub fn judge(report: &mut Report, thresholds: &Thresholds) {
    let invalid = invalid_reasons(report, thresholds);
    let wrong = wrong_reasons(report);
    let missed = missed_reasons(report, thresholds);
    // An overflowed oracle may have taken a late message for a double one: it proves nothing.
    let order = if report.oracle.overflowed {
        [(Verdict::Invalid, invalid), (Verdict::CorrectnessFailed, wrong)]
    } else {
        [(Verdict::CorrectnessFailed, wrong), (Verdict::Invalid, invalid)]
    };
    report.verdict = Verdict::Clean;
    report.reasons.clear();
    for (verdict, reasons) in order.into_iter().chain([(Verdict::ThresholdFailed, missed)]) {
        if report.verdict == Verdict::Clean && !reasons.is_empty() {
            report.verdict = verdict;
        }
        report.reasons.extend(reasons);
    }
}

fn wrong_reasons(report: &Report) -> Vec<String> {
    let found = &report.oracle;
    let defects = [
        (found.acknowledged_then_lost, "acknowledged and then lost"),
        (found.lost - found.acknowledged_then_lost, "lost, overtaken by later ones"),
        (found.duplicated, "delivered twice"),
        (found.reordered, "delivered after a later one"),
        (found.corrupted, "damaged or never sent"),
        (found.misdelivered, "delivered to a wrong user or under a wrong name"),
        (found.sequence_gaps, "missing in a conversation's sequence"),
        (found.sequence_repeats, "repeated in a conversation's sequence"),
        (found.mailbox_gaps, "missing in a mailbox's numbers"),
    ];
    let named = defects.into_iter().filter(|(count, _)| *count > 0);
    named.map(|(count, what)| format!("{count} messages {what}")).collect()
}

fn invalid_reasons(report: &Report, thresholds: &Thresholds) -> Vec<String> {
    let mut reasons = Vec::new();
    if report.oracle.overflowed {
        reasons.push("the oracle reached a bound: a defect could have passed unseen".into());
    }
    if !thresholds.all_logged_in {
        reasons.push(format!(
            "not all of {} connections were logged in at the start",
            report.connections_asked
        ));
    }
    let lag_us = report.quantiles(Stage::Lag).p99;
    if lag_us > thresholds.schedule_lag_us {
        let allowed = thresholds.schedule_lag_us;
        reasons.push(format!(
            "the generator was the limit: {lag_us} us late at p99, allowed {allowed}"
        ));
    }
    if report.shed > 0 {
        reasons.push(format!("{} messages were more than the generator could hold", report.shed));
    }
    reasons
}

fn missed_reasons(report: &Report, thresholds: &Thresholds) -> Vec<String> {
    let mut reasons = Vec::new();
    if report.oracle.unanswered > 0 {
        let count = report.oracle.unanswered;
        reasons.push(format!("{count} messages had no answer at the end of the drain"));
    }
    if report.refused > 0 {
        reasons.push(format!("{} messages were refused for good", report.refused));
    }
    if report.heartbeats_answered < report.heartbeats_expected {
        reasons.push(format!(
            "{} heartbeats had no answer",
            report.heartbeats_expected - report.heartbeats_answered
        ));
    }
    if report.connections_held < report.connections_asked {
        reasons.push(format!(
            "{} of {} connections were not there at the end",
            report.connections_asked - report.connections_held,
            report.connections_asked
        ));
    }
    if let Some(bound) = thresholds.p99_us.filter(|bound| report.latency_us.p99 > *bound) {
        reasons.push(format!("p99 is {} us, allowed {bound}", report.latency_us.p99));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{StageFigures, tests::clean};

    fn judged(change: impl FnOnce(&mut Report)) -> Report {
        let mut report = clean();
        change(&mut report);
        let thresholds =
            Thresholds { schedule_lag_us: 1000, p99_us: Some(1000), all_logged_in: true };
        judge(&mut report, &thresholds);
        report
    }

    fn lag(report: &mut Report, p99: u64) {
        let mut figures = StageFigures::default();
        figures.quantiles.p99 = p99;
        report.stages.insert(Stage::Lag, figures);
    }

    #[test]
    fn each_fault_has_its_verdict_and_a_reason() {
        type Change = fn(&mut Report);
        let rows: [(Change, Verdict); 9] = [
            (|_| (), Verdict::Clean),
            (|report| report.oracle.duplicated = 1, Verdict::CorrectnessFailed),
            (|report| report.oracle.sequence_gaps = 1, Verdict::CorrectnessFailed),
            (|report| report.oracle.overflowed = true, Verdict::Invalid),
            (|report| lag(report, 1001), Verdict::Invalid),
            (|report| report.shed = 1, Verdict::Invalid),
            (|report| report.oracle.unanswered = 1, Verdict::ThresholdFailed),
            (|report| report.heartbeats_answered = 3, Verdict::ThresholdFailed),
            (|report| report.latency_us.p99 = 1001, Verdict::ThresholdFailed),
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
        let overflowed = judged(|report| {
            report.oracle.duplicated = 1;
            report.oracle.overflowed = true;
        });
        assert_eq!(overflowed.verdict, Verdict::Invalid);
    }
}
