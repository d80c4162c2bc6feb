//! The table for people, printed at the end of a run.

use std::fmt::Write;

use super::{Quantiles, Report};
use crate::{
    scenario::{Metric, Threshold},
    tally::Stage,
};

/// Figures of the headline from intended, of the same from sent, and the generator's own
/// lateness stand under each other: a closed loop has the second only.
const STAGES: [(Stage, &str); 11] = [
    (Stage::Connect, "intended to logged in"),
    (Stage::Deliver, "intended to delivered"),
    (Stage::DeliverSent, "sent to delivered"),
    (Stage::Held, "to the absent, delivered"),
    (Stage::Acknowledge, "intended to acknowledged"),
    (Stage::AcknowledgeSent, "sent to acknowledged"),
    (Stage::Lag, "schedule lag"),
    (Stage::Heartbeat, "heartbeat round trip"),
    (Stage::Reconnect, "lost to logged in again"),
    (Stage::Sync, "return to mailbox level"),
    (Stage::Detect, "silence to closed"),
];

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<25}{value}").expect("writing to a string cannot fail");
        };
        let evidence = &self.evidence;
        line(
            "run",
            format!(
                "{} over {} at {}, {} seed {}",
                self.name, self.protocol, evidence.target, evidence.run, evidence.seed
            ),
        );
        line(
            "machine",
            format!("{}, {} cores, Linux {}", evidence.cpu_model, evidence.cores, evidence.kernel),
        );
        line("connections", self.connections());
        if self.heartbeats_expected > 0 {
            let (answered, expected) = (self.heartbeats_answered, self.heartbeats_expected);
            line("heartbeats", format!("{answered} answered of {expected}"));
        }
        if self.offered > 0 {
            self.messages(&mut line);
        }
        let measured = STAGES.iter().filter(|(stage, _)| self.stages.contains_key(stage));
        for (stage, name) in measured {
            line(name, latency(&self.quantiles(*stage)));
        }
        self.processes(&mut line);
        for (kind, count) in &self.errors {
            line("connections failed", format!("{count} {kind}"));
        }
        for action in &self.actions {
            line("action", format!("{:.1}s {}: {}", action.at_s, action.command, action.ended));
        }
        for threshold in &self.thresholds {
            line("threshold", threshold_line(threshold));
        }
        for note in &self.notes {
            line("note", note.clone());
        }
        for reason in &self.reasons {
            line("reason", reason.clone());
        }
        line("verdict", self.verdict.text().to_owned());
        text
    }

    fn connections(&self) -> String {
        let mut text = format!(
            "{} held of {} asked, fewest {}, {} reconnects, {:.0} logins/s",
            self.connections_held,
            self.connections_asked,
            self.connections_min,
            self.reconnects,
            self.connect_rate
        );
        if self.address_conflicts > 0 {
            write!(text, ", {} addresses were taken", self.address_conflicts)
                .expect("writing to a string cannot fail");
        }
        text
    }

    fn messages(&self, line: &mut impl FnMut(&str, String)) {
        line(
            "messages",
            format!(
                "offered {}  achieved {}  acknowledged {}  delivered {}",
                self.offered, self.achieved, self.acknowledged, self.delivered
            ),
        );
        let share = 100.0 * self.achieved_rate / self.offered_rate.max(f64::MIN_POSITIVE);
        line(
            "rates, measured",
            format!(
                "offered {:.0}/s  achieved {:.0}/s ({share:.1} %)  delivered {:.0}/s",
                self.offered_rate, self.achieved_rate, self.delivered_rate
            ),
        );
        line(
            "defects",
            format!(
                "lost {}  duplicated {}  reordered {}  corrupted {}  misdelivered {}",
                self.lost, self.duplicated, self.reordered, self.corrupted, self.misdelivered
            ),
        );
    }

    fn processes(&self, line: &mut impl FnMut(&str, String)) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        if let (Some(cpu), Some(bytes)) = (self.server.cpu, self.server.memory_bytes) {
            line("server", format!("{cpu:.2} cores, {:.1} MiB", mib(bytes)));
        }
        if let Some(us) = self.server.cpu_us_per_message {
            line("server CPU per message", format!("{us:.2} us"));
        }
        if let Some(us) = self.server.cpu_us_per_connect {
            line("server CPU per login", format!("{us:.1} us"));
        }
        if let Some(bytes) = self.server.bytes_per_connection {
            line("server memory", format!("{bytes:.0} bytes per connection"));
        }
        let generator = &self.evidence.generator;
        line(
            "generator",
            format!(
                "{} threads, {:.2} cores, {:.1} MiB",
                generator.threads.len(),
                generator.cpu,
                mib(generator.memory_bytes)
            ),
        );
    }
}

fn threshold_line(threshold: &super::ThresholdResult) -> String {
    let word = if threshold.held { "held" } else { "MISSED" };
    let mut text = format!("{word}  {}", threshold.text);
    match threshold.worst {
        Some(worst) => write!(text, "  (worst {}", value(&threshold.text, worst)),
        None => write!(text, "  (not measured"),
    }
    .expect("writing to a string cannot fail");
    if let Some(at_s) = threshold.at_s {
        write!(text, " at {at_s:.0}s").expect("writing to a string cannot fail");
    }
    text + ")"
}

/// What a threshold compares, with its unit.
fn value(threshold: &str, value: f64) -> String {
    let metric = Threshold::parse(threshold).map(|threshold| threshold.metric);
    if let Ok(Metric::Latency { .. }) = metric {
        return format!("{:.3} ms", value / 1000.0);
    }
    let digits = if value.fract() == 0.0 { 0 } else { 4 };
    format!("{value:.digits$}")
}

fn latency(quantiles: &Quantiles) -> String {
    format!(
        "p50 {}  p99 {}  p99.9 {}  max {}  ({} measured)",
        milliseconds(quantiles.p50),
        milliseconds(quantiles.p99),
        milliseconds(quantiles.p999),
        milliseconds(quantiles.max),
        quantiles.count
    )
}

fn milliseconds(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1000.0)
}
