//! `cargo xtask bench`: the gateway against a bare relay of the same traffic.
//!
//! The relay (crate `benchmark`) has the gateway's ring, wait policy and log writer and nothing
//! else, so the ratio is what sessions, windows, mailboxes and cursors cost. The two sides run in
//! turn, never at once, on the same machine within seconds of each other: absolute figures wander
//! by tens of percent here, ratios of interleaved runs hold. Medians with their spread are printed.
//!
//! What it is not: a load generator (that is `hawser-loadgen`) or a judge of one run against a
//! run of last week.

mod chat;
mod echo;
mod machine;
mod memory;
mod publish;
mod server;
mod statistics;
mod websocket;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::process::{cargo, succeed, target_directory};

/// Runs a side with fewer than five is a check of the command, not a measurement.
const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(8);
const QUICK_RUNS: usize = 1;
const QUICK_RUN: Duration = Duration::from_secs(2);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    /// Echo on a bare ring: what the kernel alone asks.
    Echo,
    /// Durable direct chat, 1000 pairs, one request in flight.
    #[value(name = "chat-1")]
    Chat1,
    /// Durable direct chat, 200 pairs, 16 in flight.
    #[value(name = "chat-16")]
    Chat16,
    /// As chat-1 with two workers; pairs meet across workers and shard hosts as it falls.
    #[value(name = "chat-1-w2")]
    Chat1TwoWorkers,
    /// Publish and subscribe, 1000 pairs, quality 0, one in flight.
    #[value(name = "mqtt-qos0")]
    MqttQos0,
    /// The same at quality 1, durable.
    #[value(name = "mqtt-qos1")]
    MqttQos1,
    /// 200 pairs, 16 in flight, quality 1, durable.
    #[value(name = "mqtt-qos1-16")]
    MqttQos1Sixteen,
    /// One publisher, 2000 subscribers, quality 0.
    #[value(name = "mqtt-fan-0")]
    MqttFanOut0,
    /// The same at quality 1, durable.
    #[value(name = "mqtt-fan-1")]
    MqttFanOut1,
    /// A message to the WebSocket echo and back.
    #[value(name = "websocket")]
    WebSocket,
    /// User memory per idle connection.
    Memory,
    /// Nanoseconds per frame of the codec.
    Codec,
    /// Nanoseconds per message of the gateway's own code, without ring and disk.
    Message,
}

/// In this order when none is named.
const ROWS: [Row; 13] = [
    Row::Echo,
    Row::Chat1,
    Row::Chat16,
    Row::Chat1TwoWorkers,
    Row::MqttQos0,
    Row::MqttQos1,
    Row::MqttQos1Sixteen,
    Row::MqttFanOut0,
    Row::MqttFanOut1,
    Row::WebSocket,
    Row::Memory,
    Row::Codec,
    Row::Message,
];

/// What `bench` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// One short run a side: shows that the command works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// Runs a side [default: 5].
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    runs: Option<usize>,
    /// Rows to measure [default: all].
    rows: Vec<Row>,
}

/// What every row is given.
struct Setup {
    /// Runs a side.
    runs: usize,
    /// Load of one run.
    duration: Duration,
    /// Where the release binaries are.
    binaries: PathBuf,
    /// For data directories: on the target directory's disk, since /tmp may be memory.
    scratch: PathBuf,
}

/// Builds, measures, prints.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let (runs, duration) = if arguments.quick { (QUICK_RUNS, QUICK_RUN) } else { (RUNS, RUN) };
    let target = target_directory();
    let setup = Setup {
        runs: arguments.runs.unwrap_or(runs).max(1),
        duration,
        binaries: target.join("release"),
        scratch: target.join("bench"),
    };
    build()?;
    let failed = |error: std::io::Error| format!("{}: {error}", setup.scratch.display());
    fs::create_dir_all(&setup.scratch).map_err(failed)?;

    println!("{}", machine::describe());
    if setup.runs < RUNS {
        println!("fewer than {RUNS} runs a side: these figures are no measurement");
    }
    let rows = if arguments.rows.is_empty() { &ROWS[..] } else { &arguments.rows };
    let mut broken = Vec::new();
    for row in rows {
        if let Err(error) = measure(*row, &setup) {
            println!("{row:?}: {error}");
            broken.push(format!("{row:?}"));
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("rows without a result: {}", broken.join(", ")))
    }
}

fn build() -> Result<(), String> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--locked"]);
    build.args(["--package", "hawser-gateway", "--package", "hawser-benchmark"]);
    build.args(["--package", "hawser-loadgen"]);
    succeed(build, "cargo build")
}

fn measure(row: Row, setup: &Setup) -> Result<(), String> {
    match row {
        Row::Echo => echo::measure(setup),
        Row::Chat1 => chat::measure(&chat::ONE_IN_FLIGHT, setup),
        Row::Chat16 => chat::measure(&chat::SIXTEEN_IN_FLIGHT, setup),
        Row::Chat1TwoWorkers => chat::measure(&chat::TWO_WORKERS, setup),
        Row::MqttQos0 => publish::measure(&publish::ONE_TO_ONE, setup),
        Row::MqttQos1 => publish::measure(&publish::DURABLE, setup),
        Row::MqttQos1Sixteen => publish::measure(&publish::DURABLE_SIXTEEN, setup),
        Row::MqttFanOut0 => publish::measure(&publish::FAN_OUT, setup),
        Row::MqttFanOut1 => publish::measure(&publish::FAN_OUT_DURABLE, setup),
        Row::WebSocket => websocket::measure(setup),
        Row::Memory => memory::measure(setup),
        Row::Codec => bench_of("hawser-codec", "frames"),
        Row::Message => bench_of("hawser-gateway", "message"),
    }
}

/// A benchmark that measures one crate by itself.
fn bench_of(package: &str, name: &str) -> Result<(), String> {
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--locked", "--package", package, "--bench", name]);
    succeed(bench, "cargo bench")
}
