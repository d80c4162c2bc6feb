//! From a configuration to a running process.
//!
//! Order matters: the data directory is locked and recovered before any port is opened, and all
//! workers listen before `/readyz` says yes.

use crate::{
    admin::{Admin, AdminKey},
    auth::Authenticator,
    config::{Config, ConfigError, WritePolicy},
    disk_thread::{DiskThread, Replies},
    disk_work::DiskWorkSettings,
    hosting::{Hosting, rests_on_one_lane},
    limits,
    mesh::mesh,
    metrics::ProcessMetrics,
    resume::ResumeKeys,
    session::SessionSettings,
    storage::{self, StorageSettings},
    worker::{Fleet, Phase, Worker, WorkerSettings},
};
use hawser_codec::frame::FrameLimits;
use hawser_ring::{
    Ring, SocketOptions, Waker,
    uring::{RingGroup, RingSettings, UringRing},
};
use hawser_router::{
    HostSettings, KeySpace,
    store::{
        DataHeader, StdDisk,
        log::{LanePolicy, LaneSettings, retention::RetentionSettings},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Why the process does not serve. The text says what to do.
#[derive(Debug)]
pub enum StartError {
    /// Exit code 1.
    Config(ConfigError),
    /// Exit code 2: kernel, limits, ports, disk.
    Environment(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(out),
            Self::Environment(text) => out.write_str(text),
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn environment(error: impl fmt::Display) -> StartError {
    StartError::Environment(error.to_string())
}

/// A serving process.
pub struct Running {
    fleet: Arc<Fleet>,
    wakers: Vec<Arc<dyn Waker>>,
    threads: Vec<JoinHandle<Result<(), String>>>,
    metrics: Arc<ProcessMetrics>,
    admin: Option<Admin>,
    keys: KeySpace,
}

impl Running {
    /// Changes what is wanted of the workers.
    pub fn set_phase(&self, phase: Phase) {
        self.metrics.set_ready(phase == Phase::Serving);
        self.fleet.set_phase(phase);
        self.wakers.iter().for_each(|waker| waker.wake());
    }

    /// New logins are checked against the keys, tokens and resume keys as they are now. `config` is
    /// the one in force, but for its `[auth]`.
    ///
    /// # Errors
    /// A key file that cannot be read; everything stays as it was.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        let read = |path: &std::path::Path| std::fs::read_to_string(path);
        let authenticator = Authenticator::new(&config.auth, &random()?, &read)?;
        let resume = ResumeKeys::open_or_create(&config.store.data_dir).map_err(environment)?;
        let sessions = session_settings(config, authenticator, resume, self.keys.clone());
        self.fleet.offer(Arc::new(sessions));
        self.wakers.iter().for_each(|waker| waker.wake());
        Ok(())
    }

    /// A worker has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// All workers have ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the workers.
    ///
    /// # Errors
    /// What broke a worker.
    pub fn join(self) -> Result<(), String> {
        let mut outcome = Ok(());
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err("a worker panicked".into()));
            outcome = outcome.and(ended);
        }
        drop(self.admin);
        outcome
    }
}

/// Wall clock, milliseconds since 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(environment)?;
    Ok(bytes)
}

/// Opens the data directory, recovers, starts all threads.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let read = |path: &std::path::Path| std::fs::read_to_string(path);
    let authenticator = Authenticator::new(&config.auth, &random()?, &read)?;
    let admin_key = AdminKey::read(&config.admin, &read)?;

    let data_dir = &config.store.data_dir;
    let disk = StdDisk::open(data_dir, true).map_err(environment)?;
    let header = DataHeader::open_or_create(&disk, random()?).map_err(environment)?;
    let keys = KeySpace::new(*header.hash_key());
    let resume = ResumeKeys::open_or_create(data_dir).map_err(environment)?;
    let policy = lane_policy(config, &disk)?;

    let (workers, hosts) = (config.limits.workers as u16, config.router.hosts as u16);
    let lanes = (config.store.lanes as u16).min(hosts);
    // Fewer than a client may have unanswered, and the repeat of an old request would be refused.
    let answers_max = limits::ANSWERS_MAX.max(usize::from(config.limits.requests_max));
    let started = Instant::now();
    let recovery =
        storage::recover(&disk, header.salt(), hosts, lanes, answers_max).map_err(environment)?;
    tracing::info!(
        records = recovery.records,
        bytes = recovery.bytes,
        milliseconds = started.elapsed().as_millis() as u64,
        "log recovered"
    );
    for torn in &recovery.torn {
        tracing::warn!(file = %torn.file, offset = torn.offset, bytes = torn.bytes, "torn tail cut; nothing in it was acknowledged");
    }

    for listener in &config.listeners {
        claim(listener.address)?;
    }
    let metrics = ProcessMetrics::new(config.limits.workers, config.router.hosts);
    let admin = match config.admin.address {
        Some(address) => {
            Some(Admin::start(address, admin_key, metrics.clone()).map_err(environment)?)
        }
        None => None,
    };

    let mut lane = LaneSettings::new(policy, header.salt());
    lane.segment_bytes = config.store.segment_bytes;
    lane.gather_bytes = config.store.commit_bytes as usize;
    lane.gather_us = u64::from(config.store.commit_wait_us);
    let storage = Arc::new(StorageSettings::new(
        data_dir.clone(),
        lane,
        lanes,
        limits::CHECKPOINT_BYTES,
        &recovery,
    ));
    let retention_ms = u64::from(config.store.retention_hours) * 3_600_000;
    let settings = DiskWorkSettings {
        disk,
        salt: header.salt(),
        answers_max,
        hosts,
        lanes,
        segment_bytes: config.store.segment_bytes,
        retention: RetentionSettings { age_ms: retention_ms, bytes_max: None },
        segments: storage.segments.clone(),
    };
    let disk_thread = DiskThread { settings, wall_ms };
    let ends = disk_thread.start().map_err(environment)?;

    let sessions = Arc::new(session_settings(config, authenticator, resume, keys.clone()));
    let fleet = Arc::new(Fleet::new(usize::from(workers)));
    let mut host_parts = recovery.hosts.into_iter().zip(ends);
    let (ready, readiness) = mpsc::channel();
    let mut threads = Vec::new();
    for (index, port) in mesh(usize::from(workers), usize::from(hosts)).into_iter().enumerate() {
        let part = host_parts.next().map(|(rebuilt, (jobs, replies))| {
            let mut settings = HostSettings::new(index as u16, hosts, workers);
            settings.same_lane = rests_on_one_lane(hosts, lanes);
            settings.retention_ms = retention_ms;
            settings.answers_max = answers_max;
            settings.body_bytes_max = config.limits.frame_body_bytes_max as usize;
            settings.notify_timeout_us = u64::from(config.router.notify_timeout_ms) * 1000;
            settings.dedup_bytes_max = config.router.dedup_bytes_per_shard as usize;
            settings.recent_bytes_max = limits::RECENT_BYTES_PER_PROCESS / usize::from(hosts);
            HostPart {
                settings,
                storage: storage.clone(),
                jobs,
                replies,
                rebuilt,
                metrics: metrics.clone(),
            }
        });
        let part = Mutex::new(part);
        let settings = worker_settings(config, index);
        let (fleet, sessions, metrics) = (fleet.clone(), sessions.clone(), metrics.clone());
        let (ready, config) = (ready.clone(), config.clone());
        let body = move || -> Result<(), String> {
            let part = part.into_inner().unwrap_or_else(PoisonError::into_inner);
            let built = build(&config, settings, fleet, port, part, sessions, metrics);
            match built {
                Ok(mut worker) => {
                    let _ = ready.send(Ok(worker.waker()));
                    drop(ready);
                    while worker.turn().map_err(|error| error.to_string())? {}
                    Ok(())
                }
                Err(error) => {
                    let _ = ready.send(Err(error.clone()));
                    Err(error)
                }
            }
        };
        let name = format!("hawser-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(body).map_err(environment)?);
    }
    drop(ready);
    let mut running =
        Running { fleet, wakers: Vec::new(), threads, metrics: metrics.clone(), admin, keys };
    let mut failure = None;
    for outcome in readiness {
        match outcome {
            Ok(waker) => running.wakers.push(waker),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        running.set_phase(Phase::Stopping);
        let _ = running.join();
        return Err(StartError::Environment(error));
    }
    metrics.set_ready(true);
    Ok(running)
}

/// Makes sure that nobody else listens at `address`.
///
/// Workers share it with `SO_REUSEPORT`, and the kernel would let another gateway of the same user
/// share it, too: clients would be split between two islands without a word.
fn claim(address: SocketAddr) -> Result<(), StartError> {
    let bind = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    };
    let refused = |error| environment(format!("cannot listen: {address}: {error}"));
    let deadline = Instant::now() + limits::PORT_PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if Instant::now() >= deadline {
                    return Err(refused(error));
                }
                std::thread::sleep(limits::PORT_RETRY);
            }
            outcome => return outcome.map_err(refused),
        }
    }
}

struct HostPart {
    settings: HostSettings,
    storage: Arc<StorageSettings>,
    jobs: crate::disk_thread::DiskJobs,
    replies: Arc<Replies>,
    rebuilt: storage::Rebuilt,
    metrics: Arc<ProcessMetrics>,
}

/// A worker with its ring, made on its own thread: the ring stays there.
fn build(
    config: &Config,
    settings: WorkerSettings,
    fleet: Arc<Fleet>,
    port: crate::mesh::MeshPort,
    part: Option<HostPart>,
    sessions: Arc<SessionSettings>,
    metrics: Arc<ProcessMetrics>,
) -> Result<Worker<RingGroup>, String> {
    let ring = RingGroup::new(ring_settings(config), config.limits.tables)
        .map_err(|refusal| refusal.to_string())?;
    let index = settings.index;
    let hosting = part.map(|part| {
        part.replies.set_waker(ring.waker());
        let counters = part.metrics.hosts[index].clone();
        Hosting::new(
            part.settings,
            UringRing::now(),
            part.storage,
            Box::new(part.jobs),
            counters,
            part.rebuilt,
        )
    });
    let counters = metrics.workers[index].clone();
    Worker::new(settings, fleet, ring, port, hosting, sessions, counters)
        .map_err(|error| format!("cannot listen: {error}"))
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

fn ring_settings(config: &Config) -> RingSettings {
    RingSettings {
        descriptors: config.limits.table_slots,
        completion_entries: limits::COMPLETION_QUEUE_ENTRIES,
        submission_entries: limits::SUBMISSION_QUEUE_ENTRIES,
        buffers: limits::receive_buffers_per_table(config.limits.workers, config.limits.tables),
        buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
    }
}

fn worker_settings(config: &Config, index: usize) -> WorkerSettings {
    let configured = &config.limits;
    WorkerSettings {
        index,
        hosts: config.router.hosts as u16,
        listeners: config.listeners.iter().map(|listener| listener.address).collect(),
        slots: configured.tables * configured.table_slots,
        share: configured
            .max_connections
            .div_ceil(configured.workers)
            .min(configured.connections_per_worker()),
        options: SocketOptions {
            no_delay: true,
            send_buffer_bytes: None,
            not_sent_low_bytes: None,
            user_timeout_ms: configured.send_stall_timeout_ms,
            keepalive_s: limits::KEEPALIVE_S,
        },
        buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
        handshake_ms: configured.handshake_timeout_ms,
        close_ms: configured.close_timeout_ms,
    }
}

fn session_settings(
    config: &Config,
    authenticator: Authenticator,
    resume: ResumeKeys,
    keys: KeySpace,
) -> SessionSettings {
    let heartbeat = &config.heartbeat;
    SessionSettings {
        authenticator,
        resume,
        resume_lifetime_s: config.auth.resume_lifetime_s,
        keys,
        frames: FrameLimits { body_bytes_max: config.limits.frame_body_bytes_max },
        heartbeat_s: [heartbeat.mobile_s, heartbeat.web_s, heartbeat.desktop_s, heartbeat.bot_s],
        heartbeat_range_ms: (
            u32::from(heartbeat.client_min_s) * 1000,
            u32::from(heartbeat.client_max_s) * 1000,
        ),
        grace_ms: u32::from(heartbeat.grace_s) * 1000,
        outbound_bytes_high: config.limits.outbound_bytes_high as usize,
        requests_max: config.limits.requests_max,
    }
}
