//! Structured log lines, on standard error: standard output belongs to what was asked for.
//!
//! Never one line per message or per ordinary close: those are counters in [`crate::metrics`].

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the process; the first call counts, later ones change nothing.
pub fn start(config: LogConfig) {
    let lines = fmt().with_env_filter(EnvFilter::new(config.level)).with_writer(std::io::stderr);
    // An error means that logging is set up already, which is what was asked for.
    drop(match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    });
}
