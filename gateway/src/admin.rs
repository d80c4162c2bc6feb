//! The admin port: the router tier's server with this process's pages, keys and server API.

mod api;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    config::{AdminConfig, ConfigError, ReadFile},
    metrics::{self, ProcessMetrics},
    secret_file,
};
use hawser_router::admin::{KEY_BYTES_MIN, Pages};

pub use api::{Ask, Asks, Outcome, Reloaded, api};
pub use hawser_router::admin::{Admin, AdminKey};

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "admin.key";

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

/// The key of a data directory; makes it, and the directory, at first start.
///
/// # Errors
/// With the path in the text: cannot be read or made, is readable by others, holds no key.
pub fn open_or_create_key(data_dir: &Path) -> io::Result<AdminKey> {
    let path: PathBuf = data_dir.join(KEY_FILE);
    let make = || {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(secret)))
    };
    let (text, is_new) = secret_file::open_or_create(&path, make)?;
    if is_new {
        tracing::info!(file = %path.display(), "new key for the admin port made");
    }
    AdminKey::of(&text).ok_or_else(|| {
        let text = format!("{}: no first line of {KEY_BYTES_MIN} bytes or more", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}
