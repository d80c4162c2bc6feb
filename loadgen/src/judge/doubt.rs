//! Was the generator itself the limit? Then its figures are its own and not the server's.
//!
//! Each reason says what was the limit and what to do about it.

use super::Grounds;
use crate::{report::Report, tally::Stage};

/// Lateness that is accepted in any case, microseconds: what waking up costs on a busy machine.
const LAG_MIN_US: u64 = 1000;

/// The lateness may be this part of the headline's 99th percentile.
const LAG_PART: u64 = 10;

/// Bound of the lateness unless another is asked for, microseconds.
pub const LAG_MAX_USUAL_US: u64 = 20_000;

/// A thread above this share of its window on a processor has no reserve.
const CPU_SHARE_MAX: f64 = 0.9;

/// A thread that waited more than this share of its window had to share its processor.
const WAIT_SHARE_MAX: f64 = 0.1;

/// Lateness allowed at the 99th percentile, microseconds: a tenth of the headline's, at least
/// 1 ms and at most the bound asked for. Who asks for a bound above the usual 20 ms accepts that
/// lateness as it is, whatever the headline's.
pub fn lag_allowed_us(bound_us: u64, headline_p99_us: u64) -> u64 {
    if bound_us > LAG_MAX_USUAL_US {
        return bound_us;
    }
    (headline_p99_us / LAG_PART).max(LAG_MIN_US).min(bound_us)
}

pub(super) fn reasons(report: &Report, grounds: &Grounds<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    if report.oracle.overflowed {
        reasons.push("the oracle reached a bound: a defect could have passed unseen".into());
    }
    if !grounds.all_logged_in {
        reasons.push(format!(
            "not all of {} connections were logged in at the start",
            report.connections_asked
        ));
    }
    let waited_for = report.oracle.acknowledged_then_lost;
    if grounds.cut_off && waited_for > 0 {
        reasons.push(format!(
            "messages were still arriving when the drain ended, so that {waited_for} may be late \
             and not lost; give a longer --drain, or a lower rate"
        ));
    }
    if report.shed > 0 {
        reasons.push(format!(
            "the generator was the limit: {} messages were more than it could hold for a server \
             that did not answer; lower the rate or shorten the run",
            report.shed
        ));
    }
    reasons.extend(lateness(report, grounds.schedule_lag_us));
    reasons.extend(starvation(report, grounds.schedule_lag_us));
    reasons
}

fn lateness(report: &Report, bound_us: u64) -> Option<String> {
    let lag_us = report.quantiles(Stage::Lag).p99;
    let allowed_us = lag_allowed_us(bound_us, report.latency_us.p99);
    (lag_us > allowed_us).then(|| {
        format!(
            "the generator was the limit: it took messages up {} ms late at p99, allowed {} ms; \
             lower the rate, give it free cores or more --threads, or run it on another machine",
            milliseconds(lag_us),
            milliseconds(allowed_us)
        )
    })
}

/// Busy threads are no fault as long as they were in time.
fn starvation(report: &Report, bound_us: u64) -> Vec<String> {
    let lag_us = report.quantiles(Stage::Lag).p99;
    let accepted_us = if bound_us > LAG_MAX_USUAL_US { bound_us } else { LAG_MIN_US };
    if lag_us <= accepted_us {
        return Vec::new();
    }
    let percent = |share: f64| (share * 100.0).round();
    let mut reasons = Vec::new();
    for thread in &report.evidence.generator.threads {
        if thread.cpu > CPU_SHARE_MAX {
            reasons.push(format!(
                "the generator was the limit: its thread {} was on a processor {} % of the time \
                 and had no reserve; more --threads, a lower rate or fewer connections",
                thread.name,
                percent(thread.cpu)
            ));
        }
        if let Some(wait) = thread.wait.filter(|wait| *wait > WAIT_SHARE_MAX) {
            reasons.push(format!(
                "the generator was the limit: its thread {} waited for a processor {} % of the \
                 time, because others had it; leave cores free for it (taskset), or run it on \
                 another machine",
                thread.name,
                percent(wait)
            ));
        }
    }
    reasons
}

fn milliseconds(us: u64) -> String {
    format!("{:.1}", us as f64 / 1000.0)
}
