//! The admin port: the router tier's server with this process's pages and key.

use std::{fmt, path::Path, sync::Arc};

use crate::{
    config::{AdminConfig, ConfigError, ReadFile},
    metrics::{self, ProcessMetrics},
};
use hawser_router::admin::{KEY_BYTES_MIN, Pages};

pub use hawser_router::admin::{Admin, AdminKey};

impl Pages for ProcessMetrics {
    fn metrics(self: Arc<Self>) -> Result<String, fmt::Error> {
        metrics::encode(&self)
    }

    fn readiness(&self) -> (bool, String) {
        ProcessMetrics::readiness(self)
    }
}

/// Reads the key file, if one is configured.
///
/// # Errors
/// The file cannot be read or its first line is too short.
pub fn read_key(config: &AdminConfig, read: ReadFile<'_>) -> Result<Option<AdminKey>, ConfigError> {
    let Some(file) = &config.key_file else { return Ok(None) };
    let refused = |reason: String| ConfigError {
        key: "admin.key_file".to_owned(),
        value: Some(file.display().to_string()),
        from: None,
        reason,
    };
    let text = read(Path::new(file)).map_err(|error| refused(error.to_string()))?;
    let short = || refused(format!("allowed: a first line of {KEY_BYTES_MIN} bytes or more"));
    AdminKey::of(&text).ok_or_else(short).map(Some)
}
