//! The command line. An error names the flag, what was given and what is allowed.

mod resolve;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    capacity::command::CapacityArguments,
    compare::command::CompareArguments,
    page::files::PageArguments,
    payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN},
    plan::Load,
    scenario::{Action, Addressing, Arrivals, Close, Protocol, Recipients, Threshold, time},
    source::Given,
};

/// Users of one run at most: 102 rings' worth and a little.
pub const CONNECTIONS_MAX: u32 = 4_000_000;

/// Devices of one user at most.
pub const DEVICES_MAX: u32 = 64;

/// Highest rate that can be asked for, per second: beyond any machine.
pub const RATE_MAX: f64 = 100e6;

/// Rates that can be asked for, per second.
pub const RATE_ALLOWED: RangeInclusive<f64> = 0.001..=RATE_MAX;

/// The second line answers what those who measure latencies ask first.
const ABOUT: &str = "Load generator with a message oracle for instant-messaging servers.
Latency counts from the intended time of a message, which the seed fixes before the run: a server \
that stalls cannot hide it by slowing its clients down (no coordinated omission).";

/// The same for `run`, in its short and its long help.
const RUN_TEMPLATE: &str = "{about}.
Latency counts from the intended time of a message, which the seed fixes before the run: a server \
that stalls cannot hide it by slowing its clients down (no coordinated omission).

{usage-heading} {usage}

{all-args}{after-help}";

const AFTER: &str = "\
First steps:
  hawser-loadgen scenarios                          what there is
  hawser-loadgen run chat --pairs 100 --rate 1000   against a gateway on this machine
  hawser-loadgen scenarios chat > mine.toml         to change it; then: run ./mine.toml

Exit codes:
  0 clean, 1 wrong arguments, 2 environment or target, 3 threshold failed,
  4 a message was lost, doubled, reordered or damaged, 5 run invalid, 130 interrupted";

const RUN_AFTER: &str = "\
A flag wins over the scenario's file. Flags that the kind has no use for are refused.
Exit codes: 0 clean, 1 wrong arguments, 2 environment or target, 3 threshold failed,
4 a message was lost, doubled, reordered or damaged, 5 run invalid, 130 interrupted";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "hawser-loadgen", version, about = ABOUT, after_help = AFTER)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario against a server and judge it.
    #[command(help_template = RUN_TEMPLATE, after_help = RUN_AFTER)]
    Run(Box<RunArguments>),
    /// List the built-in scenarios, or print one, to be copied and changed.
    Scenarios {
        /// Of the scenario.
        name: Option<String>,
    },
    /// Lay results of runs over each other on one page.
    Page(PageArguments),
    /// Say what a run needs on this machine and what is missing.
    Plan(PlanArguments),
    /// Say whether two or more sets of runs differ: 8 is the exit code of a regression, 5 of runs
    /// that allow no verdict.
    Compare(CompareArguments),
    /// Search for the highest rate that holds the thresholds, and say what broke first above it:
    /// 3 is the exit code of a server that holds none, 5 of a generator that was the limit.
    Capacity(Box<CapacityArguments>),
}

/// Of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// What the users do: a built-in scenario, see `hawser-loadgen scenarios`, or the path of a
    /// TOML file.
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// Server, as address and port [default: Hawser's port of the protocol on 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    pub target: Option<SocketAddr>,
    /// Allow a target that is not on this machine.
    #[arg(long)]
    pub allow_remote: bool,
    /// Protocol spoken.
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// Token shown at login.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub token: String,
    /// Seed of the schedule.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads that hold the connections [default: as many as there are cores, or one for 19,900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Local addresses to connect from, as 10.0.0.5,10.1.0.0/24 [default: many of 127.0.0.0/8 for
    /// a server there, else the kernel's choice].
    #[arg(long, value_name = "LIST")]
    pub source: Option<Given>,
    /// Process of the server, to measure its CPU and memory.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Path of the WebSocket [default: /ws, of websocket-echo /echo]. With mqtt and mqtt3: speak
    /// them in a WebSocket there, as /mqtt.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,

    /// Speak TLS.
    #[arg(long, help_heading = "TLS")]
    pub tls: bool,
    /// Certificates in PEM that the server's must be signed by [default: those of the system].
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub tls_ca: Option<PathBuf>,
    /// Take any certificate.
    #[arg(long = "tls-insecure", help_heading = "TLS")]
    pub insecure: bool,
    /// Name that the server's certificate must have [default: localhost].
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    pub server_name: Option<String>,

    /// Connections in all [default: 1000].
    #[arg(long, value_name = "N", conflicts_with = "pairs", help_heading = "Who",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: Option<u32>,
    /// Pairs of users who write to each other.
    #[arg(long, value_name = "N", help_heading = "Who",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64 / 2))]
    pub pairs: Option<u32>,
    /// Connections of each user.
    #[arg(long, value_name = "N", help_heading = "Who",
          value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX as i64))]
    pub devices: Option<u32>,
    /// To whom users write [default: pair with --pairs, else random].
    #[arg(long, value_enum, help_heading = "Who")]
    pub recipients: Option<Recipients>,
    /// Groups that are published to (fanout).
    #[arg(long, value_name = "N", help_heading = "Who",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub groups: Option<u32>,
    /// Users of each group; 0: all (fanout).
    #[arg(long, value_name = "N", help_heading = "Who",
          value_parser = clap::value_parser!(u32).range(0..=CONNECTIONS_MAX as i64))]
    pub members: Option<u32>,

    /// How long messages are sent, or connections held [default: 10s, hold: 3m].
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "When")]
    pub duration: Option<Duration>,
    /// Left out of the latencies at the start of the duration.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "When")]
    pub warm_up: Option<Duration>,
    /// Longest wait for outstanding messages at the end.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "When")]
    pub drain: Option<Duration>,
    /// Messages per second in all, at times fixed beforehand [default: 1000].
    #[arg(long, value_name = "R", conflicts_with_all = ["in_flight", "curve"], value_parser = rate,
          help_heading = "When")]
    pub rate: Option<f64>,
    /// Messages per second over time: a CSV file of times (seconds or HH:MM) and rates.
    #[arg(long, value_name = "FILE", conflicts_with = "in_flight", help_heading = "When")]
    pub curve: Option<PathBuf>,
    /// Play the whole curve within this time.
    #[arg(long, value_name = "TIME", value_parser = time::parse, requires = "curve",
          help_heading = "When")]
    pub day: Option<Duration>,
    /// How the intended times are spread.
    #[arg(long, value_enum, help_heading = "When")]
    pub arrivals: Option<Arrivals>,
    /// Closed loop instead: messages each pair keeps on their way. For comparing costs, not for
    /// latencies.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024),
          help_heading = "When")]
    pub in_flight: Option<u32>,
    /// New connections per second in all.
    #[arg(long, value_name = "R", value_parser = rate, help_heading = "When")]
    pub connect_rate: Option<f64>,
    /// All connections within this time instead; 0s: all at once.
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with = "connect_rate",
          help_heading = "When")]
    pub connect_within: Option<Duration>,
    /// How connects are spread.
    #[arg(long, value_enum, help_heading = "When")]
    pub connect_arrivals: Option<Arrivals>,

    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", help_heading = "What",
          value_parser = clap::value_parser!(u32)
              .range(PAYLOAD_BYTES_MIN as i64..=PAYLOAD_BYTES_MAX as i64))]
    pub payload: Option<u32>,
    /// Heartbeat to ask for, seconds; 0: the server's.
    #[arg(long, value_name = "SECONDS", help_heading = "What")]
    pub heartbeat: Option<u16>,
    /// Replies that follow a first message (replies).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..),
          help_heading = "What")]
    pub hops: Option<u8>,
    /// From a message's expected arrival to the reply (replies).
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "What")]
    pub think: Option<Duration>,
    /// How connections are closed by this side.
    #[arg(long, value_enum, help_heading = "What")]
    pub close: Option<Close>,
    /// Quality of service (mqtt, mqtt3).
    #[arg(long, value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2),
          help_heading = "What")]
    pub qos: Option<u8>,
    /// Whether sessions survive a reconnect (mqtt, mqtt3).
    #[arg(long, value_enum, help_heading = "What")]
    pub session: Option<Session>,
    /// How users are addressed (mqtt, mqtt3).
    #[arg(long, value_enum, help_heading = "What")]
    pub addressing: Option<Addressing>,

    /// Share that is disturbed: leaves, is away, does not read; 0 to 1. What these flags mean for
    /// a kind stands in `hawser-loadgen scenarios KIND`.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Disturbances")]
    pub share: Option<f64>,
    /// First time, after the start of the load.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Disturbances")]
    pub at: Option<Duration>,
    /// Again after each such time; 0s: once.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Disturbances")]
    pub every: Option<Duration>,
    /// How long it lasts.
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse,
          help_heading = "Disturbances")]
    pub lasts: Option<Duration>,
    /// Not all at one instant, but within this time.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Disturbances")]
    pub spread: Option<Duration>,
    /// Connections that leave per second (resume, network-change).
    #[arg(long, value_name = "R", value_parser = rate, help_heading = "Disturbances")]
    pub leave_rate: Option<f64>,
    /// A command to run at a time, as '5s systemctl restart server'; may be given several times.
    #[arg(long, value_name = "TIME COMMAND", value_parser = action, help_heading = "Disturbances")]
    pub action: Vec<Action>,

    /// Fail (exit code 3) if this does not hold, as 'p99 < 20ms over 10s windows'; may be given
    /// several times.
    #[arg(long, value_name = "TEXT", value_parser = Threshold::parse, help_heading = "Verdict")]
    pub threshold: Vec<Threshold>,
    /// Fail (exit code 3) if the 99th percentile of the latency is above.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Verdict")]
    pub p99_max: Option<Duration>,
    /// Call the run invalid (exit code 5) if the generator itself was later than this at the 99th
    /// percentile.
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = time::parse,
          help_heading = "Verdict")]
    pub schedule_lag_max: Duration,

    /// Write the result as JSON there.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the result as one HTML page there.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,
    /// Write one line for each second as CSV there.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// Write an HdrHistogram interval log there.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hlog: Option<PathBuf>,
    /// The JSON of an earlier run, laid over in the page.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub baseline: Option<PathBuf>,
    /// Plain lines instead of the live view.
    #[arg(long, help_heading = "Output")]
    pub plain: bool,
}

/// What an MQTT server keeps of a client that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Session {
    /// Nothing.
    Clean,
    /// Subscriptions, and what waits.
    Kept,
}

/// Where a run goes and with what: no part of what is repeated elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Server.
    pub target: SocketAddr,
    /// Certificates in PEM that the server's must be signed by; none: those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Any certificate is taken.
    pub insecure: bool,
    /// Name that the server's certificate must have.
    pub server_name: String,
    /// Token shown at login.
    pub token: String,
    /// Local addresses to connect from; none: many of loopback for a server there, else the
    /// kernel's choice.
    pub source: Given,
    /// Process of the server.
    pub server_pid: Option<u32>,
    /// Threads that hold the connections; none: as many as there are cores, or one for 19,900.
    pub threads: Option<u32>,
    /// Seed of the schedule.
    pub seed: u64,
    /// A target that is not on this machine is allowed.
    pub allow_remote: bool,
    /// Result as JSON.
    pub json: Option<PathBuf>,
    /// Result as one HTML page.
    pub report: Option<PathBuf>,
    /// One line for each second.
    pub csv: Option<PathBuf>,
    /// HdrHistogram interval log.
    pub hlog: Option<PathBuf>,
    /// JSON of an earlier run, laid over in the page.
    pub baseline: Option<PathBuf>,
    /// Plain lines instead of the live view.
    pub plain: bool,
    /// The run is invalid if the generator's own 99th percentile of lateness is above.
    pub schedule_lag_max: Duration,
}

impl Options {
    /// Everything usual, towards this server.
    pub fn to(target: SocketAddr) -> Self {
        Self {
            target,
            tls_ca: None,
            insecure: false,
            server_name: "localhost".to_owned(),
            token: String::new(),
            source: Given::default(),
            server_pid: None,
            threads: None,
            seed: 1,
            allow_remote: false,
            json: None,
            report: None,
            csv: None,
            hlog: None,
            baseline: None,
            plain: false,
            schedule_lag_max: Duration::from_millis(20),
        }
    }
}

/// Of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArguments {
    /// Connections in all.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Server, as address and port: on this machine both ends are counted.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub target: SocketAddr,
    /// Local addresses to connect from, as 10.0.0.5,10.1.0.0/24.
    #[arg(long, value_name = "LIST")]
    pub source: Option<Given>,
    /// Threads that hold the connections [default: as many as there are cores, or one for 19,900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Over TLS.
    #[arg(long)]
    pub tls: bool,
}

impl PlanArguments {
    /// What is planned.
    pub fn load(&self) -> Load {
        Load {
            connections: self.connections,
            target: self.target,
            given: self.source.clone().unwrap_or_default(),
            threads: self.threads,
            tls: self.tls,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATE_ALLOWED.contains(&rate) => Ok(rate),
        _ => Err("allowed: a number per second from 0.001 to 100000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("allowed: a share from 0 to 1".to_owned()),
    }
}

/// A time and a command, as `5s systemctl restart hawser-gateway`.
fn action(text: &str) -> Result<Action, String> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let at = time::parse(&words.next().unwrap_or_default())?;
    let run: Vec<String> = words.collect();
    if run.is_empty() {
        return Err("allowed: a time and a command, as '5s systemctl restart server'".to_owned());
    }
    Ok(Action { at, run })
}

#[cfg(test)]
mod tests;
