//! Row `websocket`: a message to the gateway's WebSocket echo and back, against the bare echo of the
//! same bytes without any protocol.

use std::process::Command;

use serde_json::Value;

use super::Setup;
use super::echo;
use super::server::{ADDRESS, Server, Side};
use super::statistics::Runs;
use crate::process::output;

/// Connections, with one message under way each.
const CONNECTIONS: u32 = 1000;
/// Highest ratio of CPU per message, gateway to bare echo.
const GOAL: f64 = 1.2;
/// More than the other rows: the two are closer together.
const RUNS_MIN: usize = 10;

/// Measures both sides in turn.
///
/// # Errors
/// A server does not start, or a run gives no figures.
pub fn measure(setup: &Setup) -> Result<(), String> {
    let (mut bare, mut gateway) = (Runs::default(), Runs::default());
    let runs = if setup.runs > 1 { setup.runs.max(RUNS_MIN) } else { 1 };
    for run in 0..runs {
        if run % 2 == 0 {
            bare.push(echo::once(CONNECTIONS, 1, setup)?);
            gateway.push(once(setup)?);
        } else {
            gateway.push(once(setup)?);
            bare.push(echo::once(CONNECTIONS, 1, setup)?);
        }
    }
    println!(
        "\nwebsocket: {CONNECTIONS} connections, 1 message of 64 bytes in flight, {runs} runs a \
         side of {} s, interleaved\n  bare echo, CPU us per message  {bare}\n  \
         gateway's /echo, the same      {gateway}\n  ratio {:.2} (goal {GOAL})",
        setup.duration.as_secs(),
        gateway.median() / bare.median()
    );
    Ok(())
}

fn once(setup: &Setup) -> Result<f64, String> {
    let server = Server::start(Side::WebSocketGateway, setup)?;
    let mut load = Command::new(setup.binaries.join("hawser-benchmark"));
    load.args(["websocket", "--target", &ADDRESS.to_string()]);
    load.args(["--server-pid", &server.pid().to_string()]);
    load.args(["--connections", &CONNECTIONS.to_string()]);
    load.args(["--seconds", &(setup.duration.as_secs() + 1).to_string()]);
    let said = output(load, "hawser-benchmark websocket")?;
    let figures: Value = serde_json::from_str(&said).map_err(|e| format!("{e} in: {said}"))?;
    if figures["reordered"].as_u64() != Some(0) {
        return Err(format!("messages lost, doubled or out of order: {figures}"));
    }
    figures["server"]["cpu_us_per_message"].as_f64().ok_or(format!("no figure in: {said}"))
}
