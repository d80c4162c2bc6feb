//! Rows `mqtt-…`: publish and subscribe, bare relay against gateway, and mosquitto beside them.
//!
//! At quality 1 the relay and the gateway have each message on disk before they acknowledge it;
//! mosquitto keeps it in memory.

use std::process::Command;

use serde_json::Value;

use super::Setup;
use super::server::{ADDRESS, Server, Side};
use super::statistics::Runs;
use crate::process::{is_on_path, output};

/// One row's load.
pub struct Publish {
    name: &'static str,
    publishers: u32,
    subscribers: u32,
    in_flight: u32,
    quality: u32,
    /// Highest ratio of CPU per delivered message, gateway to relay, the project is held to.
    goal: f64,
}

/// A thousand pairs that wait for each message to arrive.
pub const ONE_TO_ONE: Publish = Publish {
    name: "mqtt-qos0",
    publishers: 1000,
    subscribers: 1,
    in_flight: 1,
    quality: 0,
    goal: 1.35,
};
/// The same, durable.
pub const DURABLE: Publish = Publish { name: "mqtt-qos1", quality: 1, goal: 1.45, ..ONE_TO_ONE };
/// Two hundred pairs that keep 16 durable messages under way.
pub const DURABLE_SIXTEEN: Publish =
    Publish { name: "mqtt-qos1-16", publishers: 200, in_flight: 16, ..DURABLE };
/// One publisher, two thousand subscribers. Three messages under way, as a busy topic has them.
pub const FAN_OUT: Publish =
    Publish { name: "mqtt-fan-0", publishers: 1, subscribers: 2000, in_flight: 3, ..ONE_TO_ONE };
/// The same, durable and acknowledged by each subscriber.
pub const FAN_OUT_DURABLE: Publish = Publish {
    name: "mqtt-fan-1",
    publishers: 1,
    subscribers: 2000,
    in_flight: 3,
    goal: 1.35,
    ..DURABLE
};

/// Figures of a run, where they stand in the load's JSON, and how they are printed.
const FIGURES: [(&str, &str); 4] = [
    ("/server/cpu_us_per_message", "server CPU per delivery, us"),
    ("/latency_us/p50", "latency p50, us"),
    ("/latency_us/p99", "latency p99, us"),
    ("/delivered", "delivered in a run"),
];

/// Measures all sides in turn.
///
/// # Errors
/// A server does not start, or a run gives no figures or breaks the order of messages.
pub fn measure(row: &Publish, setup: &Setup) -> Result<(), String> {
    let mut sides = vec![
        (Side::MqttRelay { durable: row.quality > 0 }, "relay"),
        (Side::MqttGateway, "gateway"),
    ];
    if is_on_path("mosquitto") {
        sides.push((Side::Mosquitto, "mosquitto"));
    }
    let mut measured: Vec<[Runs; FIGURES.len()]> = Vec::new();
    measured.resize_with(sides.len(), Default::default);
    for run in 0..setup.runs {
        // Whoever goes first finds a cooler machine: take turns in that, too.
        for turn in 0..sides.len() {
            let at = (run + turn) % sides.len();
            let (side, _) = sides[at];
            let result = once(row, side, setup)?;
            for (runs, (pointer, _)) in measured[at].iter_mut().zip(FIGURES) {
                let figure = result.pointer(pointer).and_then(Value::as_f64);
                runs.push(figure.ok_or(format!("{side:?}: no {pointer} in {result}"))?);
            }
        }
    }
    let Publish { name, publishers, subscribers, in_flight, quality, goal } = row;
    println!(
        "\n{name}: {publishers} publishers, {subscribers} subscriber(s) each, {in_flight} in \
         flight, quality {quality}, one worker, {} runs a side of {} s, interleaved",
        setup.runs,
        setup.duration.as_secs()
    );
    print!("  {:<30}", "");
    sides.iter().for_each(|(_, label)| print!("{label:<34}"));
    println!("gateway to relay");
    for (index, (_, label)) in FIGURES.iter().enumerate() {
        print!("  {label:<30}");
        measured.iter().for_each(|figures| print!("{:<34}", figures[index]));
        let ratio = measured[1][index].median() / measured[0][index].median();
        let goal = if index == 0 { format!(" (goal {goal})") } else { String::new() };
        println!("{ratio:.2}{goal}");
    }
    Ok(())
}

/// One run against a fresh server.
fn once(row: &Publish, side: Side, setup: &Setup) -> Result<Value, String> {
    let server = Server::start(side, setup)?;
    let mut load = Command::new(setup.binaries.join("hawser-benchmark"));
    load.args(["publish", "--target", &ADDRESS.to_string()]);
    load.args(["--server-pid", &server.pid().to_string()]);
    load.args(["--publishers", &row.publishers.to_string()]);
    load.args(["--subscribers", &row.subscribers.to_string()]);
    load.args(["--in-flight", &row.in_flight.to_string()]);
    load.args(["--quality", &row.quality.to_string()]);
    // The first second warms up.
    load.args(["--seconds", &(setup.duration.as_secs() + 1).to_string()]);
    let said = output(load, &format!("{side:?}: hawser-benchmark publish"))?;
    let figures: Value = serde_json::from_str(&said).map_err(|e| format!("{e} in: {said}"))?;
    match figures["reordered"].as_u64() {
        Some(0) => Ok(figures),
        _ => Err(format!("{side:?}: messages lost, doubled or out of order: {figures}")),
    }
}
