//! Composes a process from a configuration: opens the data directory, recovers, listens, and runs
//! the tier on a thread of its own until it is told to end.
//!
//! What it is not: signals and exit codes, which are the program's.

use super::{
    board::Board,
    clock::{self, Timer},
    config::{Config, WritePolicy},
    files::UringFiles,
    metrics::RouterMetrics,
    net::{self, Identity, Shell},
    tier::Tier,
};
use crate::{
    HostSettings, KeySpace, RouterPlace,
    admin::{Admin, Pages, plain_readiness},
    hosting::{
        ANSWERS_MAX, CHECKPOINT_BYTES, Hosting,
        disk_thread::{DiskJobs, DiskThread, Replies},
        disk_work::DiskWorkSettings,
        storage::{self, Rebuilt, StorageSettings},
    },
    settings::ConfigError,
    store::{
        DataHeader, HeaderError, StdDisk,
        log::{LanePolicy, LaneSettings, retention::RetentionSettings},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    cell::RefCell,
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};

/// Links waiting to be accepted: all that there can be.
const BACKLOG: i32 = super::board::LINKS_MAX as i32;
/// How long a start waits for its address to come free, and how often it looks: the kernel takes
/// the sockets of a killed process down after the process is gone.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const PORT_RETRY: Duration = Duration::from_millis(20);
/// Links' timers are looked at this often: a tenth of the shortest of them.
const TIMERS: Duration = Duration::from_millis(100);
/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// A draining process takes no more when no batch has come for this long, microseconds: what
/// gateways had on the way when they heard that it ends is then here.
const DRAIN_QUIET_US: u64 = 250_000;
/// And after this in any case: who goes on sending is not waited for, and asks again elsewhere or
/// later.
const DRAIN_TALK: Duration = Duration::from_secs(1);
/// Time last words get on their way to the other sides.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time records that wait get to become durable once the process has to end: they are not
/// acknowledged, and a full disk would keep the process for ever.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Ring entries: a write, reads in flight, and room.
const RING_ENTRIES: u32 = 512;

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

fn environment(error: impl fmt::Display) -> StartError {
    StartError::Environment(error.to_string())
}

/// What is wanted of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serve.
    Serving,
    /// Say goodbye, answer what is under way, end.
    Draining,
    /// End as soon as what was taken is durable.
    Stopping,
}

/// A serving process.
#[derive(Debug)]
pub struct Running {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
    disk_thread: JoinHandle<()>,
    metrics: Arc<RouterMetrics>,
    address: SocketAddr,
    admin: Option<Admin>,
}

impl Running {
    /// Changes what is wanted.
    pub fn set_phase(&self, phase: Phase) {
        self.metrics.set_ready(phase == Phase::Serving);
        self.phase.send_replace(phase);
    }

    /// The tier has ended.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Where links are taken (port 0 asked for any).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are, if they are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<RouterMetrics> {
        &self.metrics
    }

    /// Waits for the tier; the data directory is free then.
    ///
    /// # Errors
    /// What broke it.
    pub fn join(self) -> Result<(), String> {
        let ended = self.thread.join().map_err(|_| "the tier's thread panicked".to_owned());
        let ended =
            ended.and(self.disk_thread.join().map_err(|_| "the disk's thread panicked".to_owned()));
        drop(self.admin);
        ended
    }
}

impl Pages for RouterMetrics {
    fn metrics(self: Arc<Self>) -> Result<String, fmt::Error> {
        self.encode()
    }

    fn readiness(&self) -> (bool, String) {
        plain_readiness(self.is_ready())
    }
}

/// Opens the data directory, recovers, starts all threads.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(config: &Config) -> Result<Running, StartError> {
    judge_secret_file(config)?;
    let place = RouterPlace::new(config.index, config.routers.len() as u16)
        .expect("a configuration's index is within its list");
    let disk = StdDisk::open(&config.data_dir, true).map_err(environment)?;
    let header = header(config, &disk, place)?;
    let policy = lane_policy(config, &disk)?;
    // Fewer than a client may have unanswered, and the repeat of an old request would be refused.
    let answers_max = ANSWERS_MAX.max(usize::from(config.requests_max));
    let started = Instant::now();
    let recovery =
        storage::recover(&disk, header.salt(), place, 1, answers_max).map_err(environment)?;
    tracing::info!(
        records = recovery.records,
        bytes = recovery.bytes,
        milliseconds = started.elapsed().as_millis() as u64,
        "log recovered"
    );
    for torn in &recovery.torn {
        tracing::warn!(file = %torn.file, offset = torn.offset, bytes = torn.bytes, "torn tail cut; nothing in it was acknowledged");
    }
    let listener = listen(config.listen).map_err(environment)?;
    let address = listener.local_addr().map_err(environment)?;
    let metrics: Arc<RouterMetrics> = Arc::default();
    let admin = match config.admin_address {
        Some(address) => Some(
            Admin::start(address, config.admin_key, metrics.clone(), axum::Router::new())
                .map_err(environment)?,
        ),
        None => None,
    };

    let mut lane = LaneSettings::new(policy, header.salt());
    lane.segment_bytes = config.segment_bytes;
    lane.gather_bytes = config.commit_bytes as usize;
    lane.gather_us = u64::from(config.commit_wait_us);
    let directory = config.data_dir.clone();
    let storage = Arc::new(StorageSettings::new(directory, lane, 1, CHECKPOINT_BYTES, &recovery));
    let mut settings = host_settings(config, place, answers_max);
    settings.text_seed = KeySpace::new(*header.hash_key()).text_seed();
    let work = DiskWorkSettings {
        disk,
        salt: header.salt(),
        answers_max,
        hosts: place.into(),
        lanes: 1,
        segment_bytes: config.segment_bytes,
        retention: RetentionSettings { age_ms: settings.retention_ms, bytes_max: None },
        segments: storage.segments.clone(),
    };
    let thread = DiskThread { settings: work, wall_ms: || clock::now().wall_ms };
    let one = "one host has one end and one part of what was recovered";
    let (mut ends, disk_thread) = thread.start().map_err(environment)?;
    let (jobs, replies) = ends.pop().expect(one);
    let rebuilt = recovery.hosts.into_iter().next().expect(one);
    let part = Part { settings, storage, jobs, replies, rebuilt, metrics: metrics.clone() };
    let identity = identity(config, &header, address)?;
    let (phase, wanted) = watch::channel(Phase::Serving);
    let thread = spawn(config, part, identity, listener, wanted)?;
    metrics.set_ready(true);
    Ok(Running { phase, thread, disk_thread, metrics, address, admin })
}

/// A secret that others of the machine can read is none.
fn judge_secret_file(config: &Config) -> Result<(), StartError> {
    let Some(file) = &config.secret_file else { return Ok(()) };
    let refused = |reason| {
        let file = file.display().to_string();
        StartError::Config(ConfigError::refused("link.secret_file", file, reason))
    };
    let metadata = fs::metadata(file).map_err(|error| refused(error.to_string()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refused(format!("mode {mode:04o} lets others read it; allowed: 0600")));
    }
    Ok(())
}

/// What the tier's thread begins with.
struct Part {
    settings: HostSettings,
    storage: Arc<StorageSettings>,
    jobs: DiskJobs,
    replies: Arc<Replies>,
    rebuilt: Rebuilt,
    metrics: Arc<RouterMetrics>,
}

fn header(config: &Config, disk: &StdDisk, place: RouterPlace) -> Result<DataHeader, StartError> {
    let hash_key = if place == RouterPlace::ALONE {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(environment)?;
        random
    } else {
        config.shared_hash_key()
    };
    DataHeader::open_or_create_for(disk, hash_key, place).map_err(|error| match error {
        HeaderError::List { .. } => {
            let routers = config.routers.join(",");
            let reason = format!("{}: {error}", config.data_dir.display());
            StartError::Config(ConfigError::refused("link.routers", routers, reason))
        }
        error => environment(error),
    })
}

fn lane_policy(config: &Config, disk: &StdDisk) -> Result<LanePolicy, StartError> {
    let direct = disk.direct_supported();
    match config.write {
        WritePolicy::Direct if !direct => Err(StartError::Environment(format!(
            "store.write = \"direct\": the file system of {} takes no direct writes; allowed there: auto, sync",
            config.data_dir.display()
        ))),
        WritePolicy::Direct | WritePolicy::Auto if direct => Ok(LanePolicy::DirectDurable),
        _ => Ok(LanePolicy::WriteThenSync),
    }
}

fn host_settings(config: &Config, place: RouterPlace, answers_max: usize) -> HostSettings {
    let mut settings = HostSettings::of_router(place);
    settings.retention_ms = u64::from(config.retention_hours) * 3_600_000;
    settings.answers_max = answers_max;
    settings.body_bytes_max = config.body_bytes_max as usize;
    settings.notify_timeout_us = u64::from(config.notify_timeout_ms) * 1000;
    settings.dedup_bytes_max = config.dedup_bytes_per_shard as usize;
    settings.bound_topics(&config.topics, 1);
    settings
}

fn identity(
    config: &Config,
    header: &DataHeader,
    address: SocketAddr,
) -> Result<Identity, StartError> {
    let mut epoch = [0; 8];
    getrandom::fill(&mut epoch).map_err(environment)?;
    Ok(Identity {
        index: config.index,
        routers: config.routers.len() as u16,
        name: address.to_string(),
        // Zero stands for none.
        epoch: u64::from_le_bytes(epoch).max(1),
        secret: config.link_secret(),
        hash_key: *header.hash_key(),
    })
}

/// Listens, waiting for the address to come free for a while.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of a former life that have not quite ended are no reason to wait.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let deadline = Instant::now() + PORT_PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(PORT_RETRY);
            }
            outcome => {
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot listen: {address}: {error}"))
                };
                return outcome.map_err(named);
            }
        }
    }
}

/// Starts the tier's thread; returns when it serves.
fn spawn(
    config: &Config,
    part: Part,
    identity: Identity,
    listener: TcpListener,
    wanted: watch::Receiver<Phase>,
) -> Result<JoinHandle<()>, StartError> {
    let others = config.routers.clone();
    let bound = Duration::from_secs(u64::from(config.drain_timeout_s));
    let (ready, readiness) = mpsc::channel();
    let body = move || {
        // What is behind stays behind: completions are looked at by the runtime, not by interrupts.
        let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES));
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let text = format!(
                    "io_uring cannot be used: {error}; a container run-time or a hardened kernel may \
                     forbid io_uring_setup, io_uring_enter and io_uring_register"
                );
                let _ = ready.send(Err(text));
                return;
            }
        };
        runtime.block_on(async {
            let wake = Arc::new(Notify::new());
            let timer = Timer::start(wake.clone());
            let listener = tokio::net::TcpListener::from_std(listener);
            match (timer, listener) {
                (Ok(timer), Ok(listener)) => {
                    let _ = ready.send(Ok(()));
                    drop(ready);
                    let clockwork = (wake, timer);
                    serve(part, identity, &others, listener, clockwork, wanted, bound).await;
                }
                (Err(error), _) | (_, Err(error)) => {
                    let _ = ready.send(Err(error.to_string()));
                }
            }
        });
    };
    let builder = std::thread::Builder::new().name("hawser-router".into());
    let thread = builder.spawn(body).map_err(environment)?;
    match readiness.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(text)) => Err(StartError::Environment(text)),
        Err(_) => Err(StartError::Environment("the tier's thread panicked".into())),
    }
}

async fn serve(
    part: Part,
    identity: Identity,
    others: &[String],
    listener: tokio::net::TcpListener,
    (wake, timer): (Arc<Notify>, Timer),
    mut wanted: watch::Receiver<Phase>,
    bound: Duration,
) {
    let (own, routers) = (identity.index, identity.routers);
    part.replies.set_wake({
        let wake = wake.clone();
        move || wake.notify_one()
    });
    let Part { settings, storage, jobs, rebuilt, metrics, .. } = part;
    let hosting = Hosting::new(
        settings,
        clock::now(),
        storage,
        Box::new(jobs),
        metrics.host.clone(),
        rebuilt,
    )
    .without_worker();
    let board = Board::new(routers, metrics.links.clone());
    let tier = Tier::new(hosting, board, wake.clone(), metrics.links.clone());
    let tier = Rc::new(RefCell::new(tier));
    let shell = Shell { tier: tier.clone(), identity: Rc::new(identity) };
    tokio_uring::spawn(turns(tier.clone(), wake, timer));
    tokio_uring::spawn(timers(tier.clone()));
    let accepting = tokio_uring::spawn(net::accept(shell.clone(), listener));
    // One link for two routers: the later one in the list dials the earlier.
    let earlier = others.iter().enumerate().take(usize::from(own));
    for (index, address) in earlier {
        tokio_uring::spawn(net::dial(shell.clone(), index as u16, address.clone()));
    }
    let until = |phase: &Phase| *phase != Phase::Serving;
    let draining = wanted.wait_for(until).await.is_ok_and(|phase| *phase == Phase::Draining);
    accepting.abort();
    if draining {
        tier.borrow_mut().go_away();
        let stopped = async { drop(wanted.wait_for(|phase| *phase == Phase::Stopping).await) };
        tokio::select! {
            () = until_true(|| tier.borrow().is_quiet(clock::now(), DRAIN_QUIET_US)) => {}
            () = stopped => {}
            () = tokio::time::sleep(DRAIN_TALK.min(bound)) => {}
        }
    }
    // Nothing more is taken, and what was taken is answered.
    tier.borrow_mut().take_no_more();
    let patience = if draining { bound.min(STOP_PATIENCE) } else { STOP_PATIENCE };
    let written = until_true(|| !tier.borrow().is_busy());
    if tokio::time::timeout(patience, written).await.is_err() {
        tracing::warn!(
            "records were left behind that could not be written; they were not acknowledged"
        );
    }
    tier.borrow_mut().end_links();
    let _ = tokio::time::timeout(FAREWELL, until_true(|| tier.borrow().has_no_links())).await;
}

/// Looks again and again.
async fn until_true(is_true: impl Fn() -> bool) {
    while !is_true() {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// Turns the tier whenever something has come, or its time has.
async fn turns(tier: Rc<RefCell<Tier>>, wake: Arc<Notify>, timer: Timer) {
    let mut files = UringFiles::new({
        let wake = wake.clone();
        move || wake.notify_one()
    });
    loop {
        let now = clock::now();
        while let Some(event) = files.pop_event() {
            tier.borrow_mut().on_file(now, event, &mut files);
        }
        tier.borrow_mut().turn(now, &mut files);
        match tier.borrow().next_deadline() {
            Some(at_us) if at_us <= clock::now().monotonic_us => wake.notify_one(),
            Some(at_us) => timer.arm(at_us),
            None => {}
        }
        wake.notified().await;
        // Others first: what they bring shares the turn.
        tokio::task::yield_now().await;
    }
}

async fn timers(tier: Rc<RefCell<Tier>>) {
    let mut tick = tokio::time::interval(TIMERS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tier.borrow_mut().on_time(clock::now());
    }
}
