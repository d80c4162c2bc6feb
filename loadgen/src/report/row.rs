//! One interval of a run, as the series has it.

use serde::{Deserialize, Serialize};

use super::Phase;

/// What happened in one interval: counts are those of the interval, not since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Start of the interval, seconds after the start of the schedule; negative while connecting.
    pub t_s: f64,
    /// Its length, seconds: 1, or more in runs of many hours.
    pub seconds: f64,
    /// Where the run stood at its start.
    pub phase: Phase,
    /// Messages the schedule intended.
    pub offered: u64,
    /// Messages done: acknowledged, or delivered where nothing is acknowledged.
    pub achieved: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Connections logged in at its end.
    pub online: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Connections lost, refused or given up.
    pub errors: u64,
    /// Messages waiting for an answer at its end.
    pub waiting: u64,
    /// Median of the headline stage, microseconds; absent if nothing was measured.
    pub p50_us: Option<u64>,
    /// Its 99th percentile.
    pub p99_us: Option<u64>,
    /// Its 99.9th percentile.
    pub p999_us: Option<u64>,
    /// 99th percentile of the generator's own lateness, microseconds.
    pub lag_p99_us: Option<u64>,
    /// CPU of the server's process, in cores.
    pub server_cpu: Option<f64>,
    /// Memory of its own, bytes.
    pub server_memory_bytes: Option<u64>,
    /// CPU of this process, in cores.
    pub generator_cpu: f64,
    /// Latencies of the headline stage recorded in the interval, as HdrHistogram V2 with DEFLATE
    /// in base64; absent if there are none.
    pub histogram: Option<String>,
}
