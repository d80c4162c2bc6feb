//! What a run came to: the JSON for programs, the table for people.
//!
//! Not a judge: verdict and reasons are filled in by [`crate::judge`]. The JSON's `schema` names
//! its version; fields may be added within a version, none is renamed or removed.

mod evidence;
mod quantiles;
mod row;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    oracle::Findings,
    tally::{Latency, Stage},
};
pub use evidence::{Evidence, Generator, ServerProcess, ThreadShare};
pub use quantiles::Quantiles;
pub use row::Row;

/// Name and version of the JSON's form.
pub const SCHEMA: &str = "hawser-loadgen/1";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connections come up.
    #[default]
    Connect,
    /// The schedule runs; nothing is measured yet.
    WarmUp,
    /// The measured window.
    Measure,
    /// What is on its way arrives.
    Drain,
}

impl Phase {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::WarmUp => "warming up",
            Self::Measure => "measuring",
            Self::Drain => "draining",
        }
    }
}

/// What the kernel said about the server's process; empty without `--server-pid`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// User and system time per delivered message, over the measured window.
    pub cpu_us_per_message: Option<f64>,
    /// Growth of its own memory per connection, from before the first to after the last login.
    pub bytes_per_connection: Option<f64>,
    /// User and system time per connect and login.
    pub cpu_us_per_connect: Option<f64>,
    /// CPU over the measured window, in cores.
    pub cpu: Option<f64>,
    /// Its own memory at the end of the measured window, bytes.
    pub memory_bytes: Option<u64>,
}

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::CorrectnessFailed => "correctness failed",
            Self::ThresholdFailed => "threshold failed",
            Self::Invalid => "invalid: the run proves nothing about the server",
        }
    }
}

/// A stage over the whole measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageFigures {
    /// Its quantiles, microseconds.
    #[serde(flatten)]
    pub quantiles: Quantiles,
    /// All of it, as HdrHistogram V2 with DEFLATE in base64.
    pub histogram: String,
}

impl From<&Latency> for StageFigures {
    fn from(latency: &Latency) -> Self {
        Self { quantiles: Quantiles::from(latency), histogram: latency.to_text() }
    }
}

/// How a threshold came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The threshold as it was written.
    pub text: String,
    /// It held. One that could not be measured did not.
    pub held: bool,
    /// The value, or the worst of all windows: microseconds for latencies. Absent: not measured.
    pub worst: Option<f64>,
    /// Start of the worst window, seconds after the start of the schedule.
    pub at_s: Option<f64>,
}

/// A command of the scenario that ran beside the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionResult {
    /// When it was started, seconds after the start of the schedule.
    pub at_s: f64,
    /// The command, its words joined by spaces.
    pub command: String,
    /// How it ended: `exit status: 0`, a signal, or why it could not be started.
    pub ended: String,
    /// It ended by itself with status 0.
    pub succeeded: bool,
}

/// The result of a run. The first fields are fixed for programs; more may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
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
    /// Quantiles of the headline stage.
    pub latency_us: Quantiles,
    /// The server's process.
    pub server: Server,
    /// The judgement.
    pub verdict: Verdict,

    /// Name of the scenario.
    pub name: String,
    /// What kind of run it was, as on the command line.
    pub kind: String,
    /// Protocol spoken, as on the command line.
    pub protocol: String,
    /// The stage that counts most in this kind of run.
    pub headline: Stage,
    /// Messages done when the schedule ended: acknowledged, or delivered where nothing is
    /// acknowledged. What came only in the drain is not among them.
    pub achieved: u64,
    /// Why the verdict is not clean.
    pub reasons: Vec<String>,
    /// What is worth knowing and changes no verdict.
    pub notes: Vec<String>,
    /// How each threshold came out.
    pub thresholds: Vec<ThresholdResult>,
    /// Each stage that was measured, over the measured window.
    pub stages: BTreeMap<Stage, StageFigures>,
    /// The run, interval by interval, from the first connect to the end of the drain.
    pub series: Vec<Row>,
    /// Commands of the scenario.
    pub actions: Vec<ActionResult>,
    /// Connections lost, refused or given up, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Everything the oracle counted.
    pub oracle: Findings,
    /// Deliveries that the messages offered were to lead to.
    pub expected: u64,
    /// Connections asked for.
    pub connections_asked: u64,
    /// Fewest connections while the schedule ran.
    pub connections_min: u64,
    /// Logins per second while connecting.
    pub connect_rate: f64,
    /// Messages intended per second of the measured window.
    pub offered_rate: f64,
    /// Messages done per second of the measured window.
    pub achieved_rate: f64,
    /// Messages delivered per second of the measured window.
    pub delivered_rate: f64,
    /// Requests sent again.
    pub repeats: u64,
    /// Messages refused for good.
    pub refused: u64,
    /// Messages the generator could not take up.
    pub shed: u64,
    /// Source addresses and ports that were taken, and moved on from.
    pub address_conflicts: u64,
    /// Measured window, seconds.
    pub measured_s: f64,
    /// Start of the measured window, seconds after the start of the schedule: the warm-up.
    pub measured_from_s: f64,
    /// The run was ended early, by a signal or from the live view.
    pub interrupted: bool,
    /// What it takes to believe and to repeat the run.
    pub evidence: Evidence,
}

impl Report {
    /// Quantiles of a stage, zeros if it was not measured.
    pub fn quantiles(&self, stage: Stage) -> Quantiles {
        self.stages.get(&stage).map_or_else(Quantiles::default, |figures| figures.quantiles)
    }

    /// All latencies of a stage, if any was measured.
    ///
    /// # Errors
    /// The text in the report is no histogram.
    pub fn latency(&self, stage: Stage) -> Result<Option<Latency>, String> {
        let figures = self.stages.get(&stage);
        figures.map(|figures| Latency::from_text(&figures.histogram)).transpose()
    }

    /// As JSON, for `--json`.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a report has text keys only");
        json + "\n"
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    /// One line: no report, or one of another schema.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: String,
        }
        let head: Versioned =
            serde_json::from_str(text).map_err(|error| format!("no report of a run: {error}"))?;
        if head.schema != SCHEMA {
            return Err(format!("schema {}, this version reads {SCHEMA}", head.schema));
        }
        serde_json::from_str(text).map_err(|error| format!("no report of a run: {error}"))
    }

    /// Exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        if self.interrupted { EXIT_INTERRUPTED } else { self.verdict.exit_code() }
    }
}

/// The run was ended by a signal.
const EXIT_INTERRUPTED: u8 = 130;

#[cfg(test)]
pub(crate) mod tests;
