//! Row `echo`: one core, 64 bytes there and back on a bare ring, no protocol.

use std::process::Command;

use super::Setup;
use super::statistics::Runs;
use crate::process::output;

const FIGURE: &str = "server_cpu_us_per_round=";
/// Connections and messages in flight on each.
const SHAPES: [(u32, u32); 2] = [(1000, 1), (1000, 16)];

/// Measures all shapes.
///
/// # Errors
/// A run fails or prints no figure.
pub fn measure(setup: &Setup) -> Result<(), String> {
    for (connections, in_flight) in SHAPES {
        let mut runs = Runs::default();
        for _ in 0..setup.runs {
            runs.push(once(connections, in_flight, setup)?);
        }
        println!(
            "\necho: {connections} connections, {in_flight} in flight, {} runs\n  \
             server CPU per receive and send, us  {runs}",
            setup.runs
        );
    }
    Ok(())
}

/// CPU of one run's server per message.
///
/// # Errors
/// As [`measure`].
pub fn once(connections: u32, in_flight: u32, setup: &Setup) -> Result<f64, String> {
    let mut echo = Command::new(setup.binaries.join("hawser-benchmark"));
    echo.args(["echo", "--connections", &connections.to_string()]);
    echo.args(["--in-flight", &in_flight.to_string()]);
    echo.args(["--seconds", &setup.duration.as_secs().to_string()]);
    let said = output(echo, "hawser-benchmark echo")?;
    let figure = said.split_whitespace().find_map(|word| word.strip_prefix(FIGURE));
    figure.and_then(|figure| figure.parse().ok()).ok_or(format!("no {FIGURE} in: {said}"))
}
