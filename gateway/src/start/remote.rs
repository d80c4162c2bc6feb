//! The tier in other processes: a link to each router goes to one of the workers.

use super::{StartError, random};
use crate::{
    config::{Config, ConfigError},
    metrics::ProcessMetrics,
    shared_keys::SharedKeys,
    worker::{RouterSetup, RouterTier},
};
use hawser_router::{
    link::{LinkSecret, LinkSettings, Role, WINDOW_BYTES},
    store::HEADER_NAME,
};
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

/// What a worker needs to hold its links.
pub(super) struct LinkPart {
    settings: LinkSettings,
    /// Place and address of the routers whose links it holds; may be none.
    routers: Vec<(u16, SocketAddr)>,
    workers: u16,
    keys: SharedKeys,
    metrics: Arc<ProcessMetrics>,
}

/// Whether the files that need it are in order; nothing is opened for good.
pub(super) fn secret(config: &Config) -> Result<LinkSecret, StartError> {
    let Some(file) = &config.router.secret_file else { return Ok(LinkSecret::new(b"")) };
    let refused = |reason: String| {
        StartError::Config(ConfigError {
            key: "router.secret_file".to_owned(),
            value: Some(file.display().to_string()),
            from: None,
            reason,
        })
    };
    let mode = fs::metadata(file).map_err(|error| refused(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(refused(format!("mode {mode:04o} lets others read it; allowed: 0600")));
    }
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    LinkSecret::from_text(&text).map_err(refused)
}

/// A part for each worker.
pub(super) fn parts(
    config: &Config,
    secret: LinkSecret,
    keys: &SharedKeys,
    metrics: &Arc<ProcessMetrics>,
) -> Result<Vec<LinkPart>, StartError> {
    let endpoints = &config.router.endpoints;
    let workers = config.limits.workers as u16;
    warn_of_unused_log(&config.store.data_dir);
    let random = random()?;
    let epoch = u64::from_le_bytes(*random.first_chunk().expect("32 bytes"));
    let settings = LinkSettings {
        role: Role::Gateway,
        name: name(config),
        // 0 would be nobody's.
        epoch: epoch.max(1),
        nonce: [0; 32],
        workers,
        routers: endpoints.len() as u16,
        index: None,
        peer_index: None,
        secret,
        hash_key: None,
        window_bytes: WINDOW_BYTES,
    };
    let part = |worker: u16| {
        let routers = (0..).zip(endpoints.iter().copied());
        LinkPart {
            settings: settings.clone(),
            routers: routers.filter(|(router, _)| router % workers == worker).collect(),
            workers,
            keys: keys.clone(),
            metrics: metrics.clone(),
        }
    };
    Ok((0..workers).map(part).collect())
}

/// The configured name, or the machine's with the process id.
fn name(config: &Config) -> String {
    if !config.router.name.is_empty() {
        return config.router.name.clone();
    }
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", machine.trim(), std::process::id())
}

/// Says that a log lies unused in the data directory: its messages would seem lost.
fn warn_of_unused_log(data_dir: &Path) {
    if data_dir.join(HEADER_NAME).exists() {
        tracing::warn!(
            data_dir = %data_dir.display(),
            "the log in this directory is not used, since `router.endpoints` names routers; \
             hawser-router opens it"
        );
    }
}

impl LinkPart {
    /// The tier as its worker holds it, made on its thread.
    pub fn build(self) -> RouterTier {
        let links = self.routers.into_iter().map(|(router, address)| {
            let settings = LinkSettings { peer_index: Some(router), ..self.settings.clone() };
            RouterSetup { router, address, settings }
        });
        RouterTier {
            workers: self.workers,
            links: links.collect(),
            keys: self.keys,
            entropy: Box::new(|| {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes).expect("the kernel gave random bytes at the start");
                bytes
            }),
            metrics: self.metrics.routers.clone(),
        }
    }
}
