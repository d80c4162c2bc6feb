//! The verdict: was everything delivered as it must be, was the generator able to tell, and did
//! the thresholds hold?
//!
//! Order of weight: an oracle that ran over, a defect, a generator that was the limit itself, a
//! threshold. Every reason is named, also those that weigh less. What a protocol does not promise
//! is a note and no reason.

mod doubt;
mod threshold;

use crate::{
    oracle::Findings,
    record::Closed,
    report::{Report, Verdict},
    scenario::Threshold,
};
pub use doubt::{LAG_MAX_USUAL_US, lag_allowed_us};

/// What the verdict depends on beside the report itself.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// Bound of the generator's own lateness, microseconds: see [`lag_allowed_us`].
    pub schedule_lag_us: u64,
    /// All connections asked for were logged in before the start.
    pub all_logged_in: bool,
    /// Messages were still arriving when the drain reached its bound.
    pub cut_off: bool,
    /// Connections that the scenario itself ends and that need not be there at the end.
    pub may_be_gone: u64,
    /// What the scenario fails by.
    pub thresholds: &'a [Threshold],
    /// The run, row by row.
    pub rows: &'a [Closed],
}

/// Fills in verdict, reasons, notes and how each threshold came out.
pub fn judge(report: &mut Report, grounds: &Grounds<'_>) {
    let thresholds = grounds.thresholds.iter();
    report.thresholds =
        thresholds.map(|one| threshold::evaluate(one, report, grounds.rows)).collect();
    let invalid = doubt::reasons(report, grounds);
    let wrong = wrong_reasons(report);
    let missed = missed_reasons(report, grounds);
    // An overflowed oracle may have taken a late message for a double one, and what was still
    // arriving may be late and not lost: neither proves anything.
    let order = if report.oracle.overflowed || grounds.cut_off && !is_proven(report) {
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
    report.notes.extend(unpromised(report));
}

/// There is a defect that more patience would not have cured.
fn is_proven(report: &Report) -> bool {
    let found = &report.oracle;
    let curable = found.acknowledged_then_lost;
    let without = Findings { lost: found.lost - curable, acknowledged_then_lost: 0, ..*found };
    !without.is_correct()
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

fn unpromised(report: &Report) -> Vec<String> {
    let found = &report.oracle;
    let named = [
        (found.missed_unpromised, "not delivered, which this protocol does not promise"),
        (found.missed_away, "not delivered to users who were away without a kept session"),
        (found.doubled_unpromised, "delivered again after a reconnect, which this protocol allows"),
    ];
    let named = named.into_iter().filter(|(count, _)| *count > 0);
    named.map(|(count, what)| format!("{count} messages {what}")).collect()
}

fn missed_reasons(report: &Report, grounds: &Grounds<'_>) -> Vec<String> {
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
    if report.connections_held + grounds.may_be_gone < report.connections_asked {
        reasons.push(format!(
            "{} of {} connections were not there at the end",
            report.connections_asked - report.connections_held,
            report.connections_asked
        ));
    }
    let missed = grounds.thresholds.iter().zip(&report.thresholds).filter(|(_, one)| !one.held);
    reasons.extend(missed.map(|(threshold, one)| threshold::missed(threshold, one, report)));
    reasons
}

#[cfg(test)]
mod tests;
