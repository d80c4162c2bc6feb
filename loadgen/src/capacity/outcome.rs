//! What a run says of the rate it was made at.

use super::search::Outcome;
use crate::report::{Report, ThresholdResult, Verdict};

/// Held, broke with what broke first, or the generator was the limit.
pub fn outcome(report: &Report) -> Outcome {
    let reason = || report.reasons.first().cloned().unwrap_or_default();
    match report.verdict {
        Verdict::Clean => Outcome::Held,
        Verdict::Invalid => Outcome::Invalid(reason()),
        Verdict::CorrectnessFailed => Outcome::Broke(reason()),
        Verdict::ThresholdFailed => Outcome::Broke(broke_first(report).unwrap_or_else(reason)),
    }
}

/// The missed threshold whose worst window began first; those over the whole run come after.
fn broke_first(report: &Report) -> Option<String> {
    let missed = report.thresholds.iter().filter(|threshold| !threshold.held);
    let first = missed.min_by(|a, b| {
        let at = |threshold: &ThresholdResult| threshold.at_s.unwrap_or(f64::INFINITY);
        at(a).total_cmp(&at(b))
    })?;
    let worst = first.worst.map_or_else(|| "not measured".to_owned(), |worst| value(first, worst));
    let at = first.at_s.map_or_else(String::new, |at| format!(" from {at:.0} s on"));
    Some(format!("{} (was {worst}{at})", first.text))
}

/// Latencies are in microseconds; their threshold is written with a unit.
fn value(threshold: &ThresholdResult, worst: f64) -> String {
    let bound = threshold.text.split_whitespace().nth(2);
    if bound.is_some_and(|bound| bound.ends_with(|last: char| last.is_ascii_alphabetic())) {
        format!("{:.3} ms", worst / 1000.0)
    } else {
        format!("{worst:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::clean;

    fn threshold(text: &str, held: bool, worst: f64, at_s: Option<f64>) -> ThresholdResult {
        ThresholdResult { text: text.to_owned(), held, worst: Some(worst), at_s }
    }

    #[test]
    fn what_broke_first_is_the_threshold_missed_earliest() {
        let mut report = clean();
        report.verdict = Verdict::ThresholdFailed;
        report.thresholds = vec![
            threshold("achieved/offered >= 0.99", false, 0.8, None),
            threshold("p50 < 1s over 1s windows", true, 5.0, Some(1.0)),
            threshold("p99 < 20ms over 1s windows", false, 31_234.0, Some(4.0)),
            threshold("p99.9 < 50ms over 1s windows", false, 90_000.0, Some(6.0)),
        ];
        let broke = Outcome::Broke("p99 < 20ms over 1s windows (was 31.234 ms from 4 s on)".into());
        assert_eq!(outcome(&report), broke);
        report.thresholds.truncate(1);
        let broke = Outcome::Broke("achieved/offered >= 0.99 (was 0.8000)".into());
        assert_eq!(outcome(&report), broke);
        report.thresholds.clear();
        report.reasons = vec!["3 messages had no answer".into()];
        assert_eq!(outcome(&report), Outcome::Broke("3 messages had no answer".into()));
    }

    #[test]
    fn invalid_run_is_not_the_servers_and_a_wrong_server_does_not_hold() {
        let mut report = clean();
        assert_eq!(outcome(&report), Outcome::Held);
        report.reasons = vec!["the generator was the limit".into()];
        report.verdict = Verdict::Invalid;
        assert_eq!(outcome(&report), Outcome::Invalid("the generator was the limit".into()));
        report.reasons = vec!["1 messages delivered twice".into()];
        report.verdict = Verdict::CorrectnessFailed;
        assert_eq!(outcome(&report), Outcome::Broke("1 messages delivered twice".into()));
    }
}
