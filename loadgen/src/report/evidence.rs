//! What another person needs to know, and to repeat, to believe a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Version of the generator.
    pub version: String,
    /// Revision of its source, if the build knew it.
    pub git: Option<String>,
    /// The command line.
    pub command: String,
    /// Everything the scenario says, as read back by `run --scenario`.
    pub scenario: serde_json::Value,
    /// Seed of the schedule.
    pub seed: u64,
    /// Number of the run, 16 hexadecimal digits, part of every user's name.
    pub run: String,
    /// Server's address.
    pub target: String,
    /// When the run began, UTC, as in RFC 3339.
    pub started_at: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Cores this process may use.
    pub cores: u32,
    /// Frequency governor of the first core, if the kernel tells.
    pub governor: Option<String>,
    /// Memory of the machine, bytes.
    pub memory_bytes: u64,
    /// Kernel settings that matter, by sysctl name; those that cannot be read are absent.
    pub settings: BTreeMap<String, String>,
    /// The server's process, if it was named.
    pub server: Option<ServerProcess>,
    /// The generator's own process.
    pub generator: Generator,
}

/// The server's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerProcess {
    /// Its number.
    pub pid: u32,
    /// Its command line; empty if it is not ours to read.
    pub command: String,
    /// When it was first seen gone, seconds after the start of the measured schedule (negative:
    /// before); absent if it lived to the end.
    pub gone_at_s: Option<f64>,
}

/// The generator's own process in the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Its worker threads.
    pub threads: Vec<ThreadShare>,
    /// CPU used by all its threads, in cores.
    pub cpu: f64,
    /// Its own memory at the end of the window: anonymous pages resident and swapped, bytes.
    pub memory_bytes: u64,
}

/// How one worker thread spent the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadShare {
    /// Its name.
    pub name: String,
    /// Share of the window on a processor, 0 to 1.
    pub cpu: f64,
    /// Share of the window spent ready to run and waiting for a processor, 0 to 1; absent where
    /// the kernel does not tell.
    pub wait: Option<f64>,
}
