//! Row `memory`: what one more idle connection costs the gateway's process.
//!
//! A slope between two sizes, so that the fixed pools, the binary and the first touch of tables
//! do not count. Names are 36 bytes, as the load generator makes them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Setup;
use super::server::{ADDRESS, Server, Side};
use super::statistics::Runs;

/// Connections of the two points. Both are above the first steps in which tables grow.
const SMALL: u32 = 4_000;
const LARGE: u32 = 18_000;
/// Time all connections are held: heartbeats have begun, the last growth has settled.
const HOLD: Duration = Duration::from_secs(20);
const SAMPLE: Duration = Duration::from_millis(250);
/// Bytes per connection the project is held to.
const GOAL_BYTES: u32 = 256;

/// Measures the slope.
///
/// # Errors
/// A server does not start or a run fails.
pub fn measure(setup: &Setup) -> Result<(), String> {
    let mut slopes = Runs::default();
    for _ in 0..setup.runs {
        let small = held(SMALL, setup)?;
        let large = held(LARGE, setup)?;
        slopes.push((large - small) / f64::from(LARGE - SMALL));
    }
    println!(
        "\nmemory: RssAnon between {SMALL} and {LARGE} idle connections, {} runs\n  \
         bytes per connection  {slopes} (goal {GOAL_BYTES})",
        setup.runs
    );
    Ok(())
}

/// Anonymous memory, bytes, with so many connections open: the median of what was seen in the
/// second half of the run.
fn held(connections: u32, setup: &Setup) -> Result<f64, String> {
    let server = Server::start(Side::Gateway { workers: 1 }, setup)?;
    let mut load = Command::new(setup.binaries.join("hawser-loadgen"));
    load.args(["run", "hold", "--target", &ADDRESS.to_string()]);
    load.args(["--connections", &connections.to_string()]);
    load.args(["--duration", &format!("{}s", HOLD.as_secs())]);
    load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut load = Load(load.spawn().map_err(|error| format!("hawser-loadgen: {error}"))?);

    let mut samples = Vec::new();
    let status = loop {
        samples.push(server.anonymous_bytes()?);
        std::thread::sleep(SAMPLE);
        if let Some(status) = load.0.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
    };
    if !status.success() {
        return Err(format!("hawser-loadgen run hold --connections {connections}: {status}"));
    }
    let mut late = Runs::default();
    samples[samples.len() / 2..].iter().for_each(|bytes| late.push(*bytes as f64));
    Ok(late.median())
}

/// Ends with the measurement, also when it fails.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
