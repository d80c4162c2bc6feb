//! Rows `chat-…`: durable direct chat, relay against gateway.
//!
//! The load is a closed loop: each pair sends when it has its answer. That is right for comparing
//! costs and wrong for latencies, which are printed only to show that neither side holds back;
//! `hawser-loadgen run chat --rate` measures latency.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Setup;
use super::server::{ADDRESS, Server, Side};
use super::statistics::Runs;

/// One row's load.
pub struct Chat {
    name: &'static str,
    pairs: u32,
    in_flight: u32,
    workers: u32,
    /// Highest ratio of CPU per message, gateway to relay, the project is held to.
    goal: f64,
}

/// 1000 pairs that wait for each answer.
pub const ONE_IN_FLIGHT: Chat =
    Chat { name: "chat-1", pairs: 1000, in_flight: 1, workers: 1, goal: 1.45 };
/// 200 pairs that keep 16 requests under way.
pub const SIXTEEN_IN_FLIGHT: Chat =
    Chat { name: "chat-16", pairs: 200, in_flight: 16, ..ONE_IN_FLIGHT };
/// Two workers and shard hosts. The kernel spreads connections over workers and a keyed hash spreads
/// users over hosts, so half of the pairs meet across workers and half of the hops across hosts.
pub const TWO_WORKERS: Chat = Chat { name: "chat-1-w2", workers: 2, goal: 1.8, ..ONE_IN_FLIGHT };

/// Figures of a run, where they stand in the load generator's JSON, and how they are printed.
const FIGURES: [(&str, &str); 4] = [
    ("/server/cpu_us_per_message", "server CPU per message, us"),
    ("/latency_us/p50", "latency p50, us"),
    ("/latency_us/p99", "latency p99, us"),
    ("/delivered", "delivered in a run"),
];
/// Exit codes of the load generator with which it writes figures, whatever its verdict. The relay
/// numbers nothing per conversation, so the oracle cannot call it clean; it only carries the bytes.
const EXITS_WITH_FIGURES: [i32; 4] = [0, 3, 4, 5];

#[derive(Default)]
struct Measured {
    figures: [Runs; FIGURES.len()],
}

/// Measures both sides in turn.
///
/// # Errors
/// A server does not start, a run gives no figures, or the gateway's run was not clean.
pub fn measure(chat: &Chat, setup: &Setup) -> Result<(), String> {
    let mut relay = Measured::default();
    let mut gateway = Measured::default();
    let workers = chat.workers;
    for run in 0..setup.runs {
        // Whoever goes first finds a cooler machine: take turns in that, too.
        let gateway_side = (Side::Gateway { workers }, &mut gateway);
        let relay_side = (Side::Relay, &mut relay);
        let order =
            if run % 2 == 0 { [relay_side, gateway_side] } else { [gateway_side, relay_side] };
        for (side, measured) in order {
            let result = once(chat, side, setup)?;
            for (runs, (pointer, _)) in measured.figures.iter_mut().zip(FIGURES) {
                let figure = result.pointer(pointer).and_then(Value::as_f64);
                runs.push(figure.ok_or(format!("{side:?}: no {pointer} in {result}"))?);
            }
        }
    }
    print(chat, setup, &relay, &gateway);
    Ok(())
}

fn print(chat: &Chat, setup: &Setup, relay: &Measured, gateway: &Measured) {
    let Chat { name, pairs, in_flight, workers, .. } = chat;
    println!(
        "\n{name}: {pairs} pairs, {in_flight} in flight, gateway with {workers} worker(s), \
         {} runs a side of {} s, interleaved",
        setup.runs,
        setup.duration.as_secs()
    );
    println!("  {:<28}{:<32}{:<32}ratio", "", "relay", "gateway");
    for (index, (_, label)) in FIGURES.iter().enumerate() {
        let (relay, gateway) = (&relay.figures[index], &gateway.figures[index]);
        let ratio = gateway.median() / relay.median();
        let goal = if index == 0 { format!(" (goal {})", chat.goal) } else { String::new() };
        println!("  {label:<28}{relay:<32}{gateway:<32}{ratio:.2}{goal}");
    }
}

/// One run against a fresh server.
fn once(chat: &Chat, side: Side, setup: &Setup) -> Result<Value, String> {
    let server = Server::start(side, setup)?;
    let file = setup.scratch.join(format!("{}.json", chat.name));
    // The last run's figures must not pass for this one's.
    let _ = fs::remove_file(&file);
    let mut load = Command::new(setup.binaries.join("hawser-loadgen"));
    load.args(["run", "chat", "--target", &ADDRESS.to_string()]);
    load.args(["--pairs", &chat.pairs.to_string()]);
    load.args(["--in-flight", &chat.in_flight.to_string()]);
    load.args(["--duration", &format!("{}s", setup.duration.as_secs())]);
    load.args(["--server-pid", &server.pid().to_string()]).arg("--json").arg(&file);
    load.stdin(Stdio::null());
    let output = load.output().map_err(|error| format!("hawser-loadgen: {error}"))?;
    let said = || {
        let (table, errors) = (&output.stdout, &output.stderr);
        format!("{}\n{}", String::from_utf8_lossy(table), String::from_utf8_lossy(errors))
    };

    let must_be_clean = side != Side::Relay;
    let has_figures = output.status.code().is_some_and(|code| EXITS_WITH_FIGURES.contains(&code));
    if !has_figures || (must_be_clean && !output.status.success()) {
        return Err(format!("{side:?}: hawser-loadgen: {}\n{}", output.status, said()));
    }
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}
