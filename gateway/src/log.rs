//! Structured log lines, on standard error: standard output belongs to what was asked for.
//!
//! Never one line per message or per ordinary close: those are counters in [`crate::metrics`].

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Changes the level of the lines while the process runs.
pub struct Level(Box<dyn Fn(EnvFilter)>);

impl Level {
    /// From now on lines of this level and above: `error`, `warn`, `info`, `debug`, `trace`.
    pub fn set(&self, level: &str) {
        (self.0)(EnvFilter::new(level));
    }
}

/// Starts logging for the process; the first call counts, later ones change nothing.
pub fn start(config: LogConfig) -> Level {
    let lines = fmt().with_env_filter(EnvFilter::new(config.level)).with_writer(std::io::stderr);
    // An error means that logging is set up already, which is what was asked for; a level that
    // cannot be set, that it has ended with the process.
    match config.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(false).with_filter_reloading();
            let filter = lines.reload_handle();
            drop(lines.try_init());
            Level(Box::new(move |level| drop(filter.reload(level))))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let filter = lines.reload_handle();
            drop(lines.try_init());
            Level(Box::new(move |level| drop(filter.reload(level))))
        }
    }
}
