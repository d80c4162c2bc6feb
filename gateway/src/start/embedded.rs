//! The tier inside this process: the data directory is locked and recovered, then a host with its part
//! of it goes to each of the first workers.

use super::{StartError, environment, random, wall_ms};
use crate::{
    config::{Config, WritePolicy},
    disk_thread::{DiskJobs, DiskThread, Replies},
    disk_work::DiskWorkSettings,
    hosting::{Hosting, rests_on_one_lane},
    limits,
    metrics::ProcessMetrics,
    shared_keys::SharedKeys,
    storage::{self, StorageSettings, WholeRecovery},
};
use hawser_codec::time::Now;
use hawser_ring::Waker;
use hawser_router::{
    HostSettings, KeySpace,
    store::{
        DataHeader, StdDisk,
        log::{LanePolicy, LaneSettings, retention::RetentionSettings},
    },
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// A data directory that was read back.
pub(super) struct Recovered {
    disk: StdDisk,
    header: DataHeader,
    policy: LanePolicy,
    lanes: u16,
    answers_max: usize,
    recovery: WholeRecovery,
}

/// What a worker needs to be a host.
pub(super) struct HostPart {
    settings: HostSettings,
    storage: Arc<StorageSettings>,
    jobs: DiskJobs,
    replies: Arc<Replies>,
    rebuilt: Mutex<storage::Rebuilt>,
    metrics: Arc<ProcessMetrics>,
}

impl Recovered {
    /// Locks the data directory and reads it back.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let disk = StdDisk::open(&config.store.data_dir, true).map_err(environment)?;
        let header = DataHeader::open_or_create(&disk, random()?).map_err(environment)?;
        let policy = lane_policy(config, &disk)?;
        let hosts = config.router.hosts as u16;
        let lanes = (config.store.lanes as u16).min(hosts);
        // Fewer than a client may have unanswered, and the repeat of an old request would be
        // refused.
        let answers_max = limits::ANSWERS_MAX.max(usize::from(config.limits.requests_max));
        let started = Instant::now();
        let recovery = storage::recover(&disk, header.salt(), hosts, lanes, answers_max)
            .map_err(environment)?;
        tracing::info!(
            records = recovery.records,
            bytes = recovery.bytes,
            milliseconds = started.elapsed().as_millis() as u64,
            "log recovered"
        );
        for torn in &recovery.torn {
            tracing::warn!(file = %torn.file, offset = torn.offset, bytes = torn.bytes, "torn tail cut; nothing in it was acknowledged");
        }
        Ok(Self { disk, header, policy, lanes, answers_max, recovery })
    }

    /// The hash key of the directory.
    pub fn keys(&self) -> SharedKeys {
        SharedKeys::known(*self.header.hash_key())
    }

    /// Starts the disk thread; a part for each host.
    pub fn serve(
        self,
        config: &Config,
        metrics: &Arc<ProcessMetrics>,
    ) -> Result<Vec<HostPart>, StartError> {
        let (workers, hosts) = (config.limits.workers as u16, config.router.hosts as u16);
        let mut lane = LaneSettings::new(self.policy, self.header.salt());
        lane.segment_bytes = config.store.segment_bytes;
        lane.gather_bytes = config.store.commit_bytes as usize;
        lane.gather_us = u64::from(config.store.commit_wait_us);
        let storage = Arc::new(StorageSettings::new(
            config.store.data_dir.clone(),
            lane,
            self.lanes,
            limits::CHECKPOINT_BYTES,
            &self.recovery,
        ));
        let retention_ms = u64::from(config.store.retention_hours) * 3_600_000;
        let settings = DiskWorkSettings {
            disk: self.disk,
            salt: self.header.salt(),
            answers_max: self.answers_max,
            hosts: hosts.into(),
            lanes: self.lanes,
            segment_bytes: config.store.segment_bytes,
            retention: RetentionSettings { age_ms: retention_ms, bytes_max: None },
            segments: storage.segments.clone(),
        };
        let (ends, _) = DiskThread { settings, wall_ms }.start().map_err(environment)?;
        let rebuilt = self.recovery.hosts.into_iter().zip(ends).enumerate();
        let parts = rebuilt.map(|(index, (rebuilt, (jobs, replies)))| {
            let mut settings = HostSettings::new(index as u16, hosts, workers);
            settings.same_lane = rests_on_one_lane(hosts, self.lanes);
            settings.retention_ms = retention_ms;
            settings.answers_max = self.answers_max;
            settings.body_bytes_max = config.limits.frame_body_bytes_max as usize;
            settings.notify_timeout_us = u64::from(config.router.notify_timeout_ms) * 1000;
            settings.bound_topics(&config.router.topics, hosts);
            settings.session_filters_max = config.mqtt.subscriptions_max as usize;
            settings.dedup_bytes_max = config.router.dedup_bytes_per_shard as usize;
            settings.text_seed = KeySpace::new(*self.header.hash_key()).text_seed();
            settings.recent_bytes_max = limits::RECENT_BYTES_PER_PROCESS / usize::from(hosts);
            let rebuilt = Mutex::new(rebuilt);
            let (storage, metrics) = (storage.clone(), metrics.clone());
            HostPart { settings, storage, jobs, replies, rebuilt, metrics }
        });
        Ok(parts.collect())
    }
}

impl HostPart {
    /// The host, made on the thread of its worker, which `waker` wakes.
    pub fn build(self, index: usize, now: Now, waker: Arc<dyn Waker>) -> Hosting {
        self.replies.set_wake(move || waker.wake());
        let counters = self.metrics.hosts[index].clone();
        let rebuilt = self.rebuilt.into_inner().unwrap_or_else(PoisonError::into_inner);
        Hosting::new(self.settings, now, self.storage, Box::new(self.jobs), counters, rebuilt)
    }
}

fn lane_policy(config: &Config, disk: &StdDisk) -> Result<LanePolicy, StartError> {
    let direct = disk.direct_supported();
    match config.store.write {
        WritePolicy::Direct if !direct => Err(StartError::Environment(format!(
            "store.write = \"direct\": the file system of {} takes no direct writes; allowed there: auto, sync",
            config.store.data_dir.display()
        ))),
        WritePolicy::Direct | WritePolicy::Auto if direct => Ok(LanePolicy::DirectDurable),
        _ => Ok(LanePolicy::WriteThenSync),
    }
}
