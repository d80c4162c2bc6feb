//! What a run came to: the table for people, the JSON for programs, the verdict for both.

use std::fmt::Write;

use serde::Serialize;

use crate::{oracle::Findings, tally::Latency};

/// Quantiles of a latency, microseconds; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p999: u64,
    /// Highest.
    pub max: u64,
}

impl From<&Latency> for Quantiles {
    fn from(latency: &Latency) -> Self {
        Self {
            count: latency.count(),
            p50: latency.quantile(0.5),
            p99: latency.quantile(0.99),
            p999: latency.quantile(0.999),
            max: latency.max(),
        }
    }
}

/// What the kernel said about the server's process; empty without `--server-pid`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Server {
    /// User and system time per delivered message, over the measured window.
    pub cpu_us_per_message: Option<f64>,
    /// Growth of its own memory per connection, from before the first to after the last login.
    pub bytes_per_connection: Option<f64>,
    /// User and system time per connect and login.
    pub cpu_us_per_connect: Option<f64>,
}

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong.
    Clean,
    /// A message was lost, doubled, reordered, damaged or delivered to the wrong user.
    CorrectnessFailed,
    /// Correct, but a threshold was missed.
    ThresholdFailed,
    /// The generator or the oracle reached a limit: the run proves nothing.
    Invalid,
}

impl Verdict {
    /// Exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::ThresholdFailed => 3,
            Self::CorrectnessFailed => 4,
            Self::Invalid => 5,
        }
    }
}

/// The result of a run. The first fields are fixed for programs; more may follow.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages the schedule intended.
    pub offered: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages delivered, each once.
    pub delivered: u64,
    /// Never delivered though acknowledged or overtaken.
    pub lost: u64,
    /// Delivered more than once.
    pub duplicated: u64,
    /// Delivered out of order, holes and steps back of sequences and mailbox numbers included.
    pub reordered: u64,
    /// Damaged or never sent.
    pub corrupted: u64,
    /// Delivered to the wrong user or under a wrong name.
    pub misdelivered: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Heartbeats sent.
    pub heartbeats_expected: u64,
    /// Heartbeats answered.
    pub heartbeats_answered: u64,
    /// Connections logged in at the end.
    pub connections_held: u64,
    /// Chat: intended to delivered. Hold: heartbeat to its answer.
    pub latency_us: Quantiles,
    /// The server's process.
    pub server: Server,
    /// The judgement.
    pub verdict: Verdict,

    /// Why the verdict is not clean.
    pub reasons: Vec<String>,
    /// Intended to acknowledged.
    pub acknowledge_latency_us: Quantiles,
    /// Sent to delivered: without the wait for window or connection.
    pub sent_latency_us: Quantiles,
    /// Intended to taken up by the generator.
    pub schedule_lag_us: Quantiles,
    /// Everything the oracle counted.
    pub oracle: Findings,
    /// Connections asked for.
    pub connections_asked: u64,
    /// Fewest connections at any second of the run.
    pub connections_min: u64,
    /// Logins per second while connecting.
    pub connect_rate: f64,
    /// Messages delivered per second of the measured window.
    pub delivered_rate: f64,
    /// Requests sent again.
    pub repeats: u64,
    /// Messages refused for good.
    pub refused: u64,
    /// Messages the generator could not take up.
    pub shed: u64,
    /// Measured window, seconds.
    pub measured_s: f64,
    /// Number of the run, part of every name.
    pub run: String,
    /// Seed of the schedule.
    pub seed: u64,
    /// Threads of the generator.
    pub threads: u32,
    /// The command line.
    pub command: String,
    /// Release of the kernel.
    pub kernel: String,
}

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

impl Report {
    /// Fills in verdict and reasons.
    pub fn judge(&mut self, thresholds: &Thresholds) {
        let invalid = self.invalid_reasons(thresholds);
        let wrong = self.wrong_reasons();
        let missed = self.missed_reasons(thresholds);
        // An overflowed oracle may have taken a late message for a double one: it proves nothing.
        let order = if self.oracle.overflowed {
            [(Verdict::Invalid, invalid), (Verdict::CorrectnessFailed, wrong)]
        } else {
            [(Verdict::CorrectnessFailed, wrong), (Verdict::Invalid, invalid)]
        };
        self.verdict = Verdict::Clean;
        self.reasons.clear();
        for (verdict, reasons) in order.into_iter().chain([(Verdict::ThresholdFailed, missed)]) {
            if self.verdict == Verdict::Clean && !reasons.is_empty() {
                self.verdict = verdict;
            }
            self.reasons.extend(reasons);
        }
    }

    fn wrong_reasons(&self) -> Vec<String> {
        let found = &self.oracle;
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

    fn invalid_reasons(&self, thresholds: &Thresholds) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.oracle.overflowed {
            reasons.push("the oracle reached a bound: a defect could have passed unseen".into());
        }
        if !thresholds.all_logged_in {
            reasons.push(format!(
                "not all of {} connections were logged in at the start",
                self.connections_asked
            ));
        }
        if self.schedule_lag_us.p99 > thresholds.schedule_lag_us {
            reasons.push(format!(
                "the generator was the limit: {} us late at p99, allowed {}",
                self.schedule_lag_us.p99, thresholds.schedule_lag_us
            ));
        }
        if self.shed > 0 {
            reasons.push(format!("{} messages were more than the generator could hold", self.shed));
        }
        reasons
    }

    fn missed_reasons(&self, thresholds: &Thresholds) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.oracle.unanswered > 0 {
            let count = self.oracle.unanswered;
            reasons.push(format!("{count} messages had no answer at the end of the drain"));
        }
        if self.refused > 0 {
            reasons.push(format!("{} messages were refused for good", self.refused));
        }
        if self.heartbeats_answered < self.heartbeats_expected {
            reasons.push(format!(
                "{} heartbeats had no answer",
                self.heartbeats_expected - self.heartbeats_answered
            ));
        }
        if self.connections_held < self.connections_asked {
            reasons.push(format!(
                "{} of {} connections were not there at the end",
                self.connections_asked - self.connections_held,
                self.connections_asked
            ));
        }
        if let Some(bound) = thresholds.p99_us.filter(|bound| self.latency_us.p99 > *bound) {
            reasons.push(format!("p99 is {} us, allowed {bound}", self.latency_us.p99));
        }
        reasons
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<24}{value}").expect("writing to a string cannot fail");
        };
        let latency = |quantiles: &Quantiles| {
            format!(
                "p50 {}  p99 {}  p99.9 {}  max {}  ({} measured)",
                milliseconds(quantiles.p50),
                milliseconds(quantiles.p99),
                milliseconds(quantiles.p999),
                milliseconds(quantiles.max),
                quantiles.count
            )
        };
        line("run", format!("{}  seed {}  kernel {}", self.run, self.seed, self.kernel));
        line(
            "connections",
            format!(
                "{} held of {} asked, fewest {}, {} reconnects, {:.0} logins/s",
                self.connections_held,
                self.connections_asked,
                self.connections_min,
                self.reconnects,
                self.connect_rate
            ),
        );
        let beats =
            format!("{} answered of {}", self.heartbeats_answered, self.heartbeats_expected);
        line("heartbeats", beats);
        if self.offered > 0 {
            line(
                "messages",
                format!(
                    "offered {}  acknowledged {}  delivered {}  ({:.0}/s measured)",
                    self.offered, self.acknowledged, self.delivered, self.delivered_rate
                ),
            );
            line(
                "defects",
                format!(
                    "lost {}  duplicated {}  reordered {}  corrupted {}  misdelivered {}",
                    self.lost, self.duplicated, self.reordered, self.corrupted, self.misdelivered
                ),
            );
            line("intended to delivered", latency(&self.latency_us));
            line("intended to acknowl.", latency(&self.acknowledge_latency_us));
            line("sent to delivered", latency(&self.sent_latency_us));
            line("generator's lag", latency(&self.schedule_lag_us));
        } else {
            line("heartbeat round trip", latency(&self.latency_us));
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
        for reason in &self.reasons {
            line("reason", reason.clone());
        }
        line("verdict", format!("{:?}", self.verdict));
        text
    }
}

fn milliseconds(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Report {
        Report {
            offered: 10,
            acknowledged: 10,
            delivered: 10,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            corrupted: 0,
            misdelivered: 0,
            reconnects: 0,
            heartbeats_expected: 4,
            heartbeats_answered: 4,
            connections_held: 2,
            latency_us: Quantiles { count: 10, p50: 1, p99: 500, p999: 2, max: 3 },
            server: Server::default(),
            verdict: Verdict::Invalid,
            reasons: Vec::new(),
            acknowledge_latency_us: Quantiles::default(),
            sent_latency_us: Quantiles::default(),
            schedule_lag_us: Quantiles::default(),
            oracle: Findings::default(),
            connections_asked: 2,
            connections_min: 2,
            connect_rate: 1.0,
            delivered_rate: 1.0,
            repeats: 0,
            refused: 0,
            shed: 0,
            measured_s: 1.0,
            run: String::new(),
            seed: 1,
            threads: 1,
            command: String::new(),
            kernel: String::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut Report)) -> Report {
        let mut report = clean();
        change(&mut report);
        let thresholds =
            Thresholds { schedule_lag_us: 1000, p99_us: Some(1000), all_logged_in: true };
        report.judge(&thresholds);
        report
    }

    #[test]
    fn each_fault_has_its_verdict_and_a_reason() {
        type Change = fn(&mut Report);
        let rows: [(Change, Verdict); 9] = [
            (|_| (), Verdict::Clean),
            (|report| report.oracle.duplicated = 1, Verdict::CorrectnessFailed),
            (|report| report.oracle.sequence_gaps = 1, Verdict::CorrectnessFailed),
            (|report| report.oracle.overflowed = true, Verdict::Invalid),
            (|report| report.schedule_lag_us.p99 = 1001, Verdict::Invalid),
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
            report.schedule_lag_us.p99 = 5000;
        });
        assert_eq!(lagging.verdict, Verdict::CorrectnessFailed);
        let overflowed = judged(|report| {
            report.oracle.duplicated = 1;
            report.oracle.overflowed = true;
        });
        assert_eq!(overflowed.verdict, Verdict::Invalid);
    }

    #[test]
    fn json_has_the_fixed_names() {
        let json = serde_json::to_value(judged(|_| ())).unwrap();
        for name in [
            "offered",
            "acknowledged",
            "delivered",
            "lost",
            "duplicated",
            "reordered",
            "corrupted",
            "misdelivered",
            "reconnects",
            "heartbeats_expected",
            "heartbeats_answered",
            "connections_held",
            "latency_us",
            "server",
            "verdict",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        for name in ["p50", "p99", "p999", "max"] {
            assert!(json["latency_us"][name].is_u64(), "{name}");
        }
        for name in ["cpu_us_per_message", "bytes_per_connection"] {
            assert!(json["server"].get(name).is_some(), "{name}");
        }
        assert_eq!(json["verdict"], "clean");
    }
}
