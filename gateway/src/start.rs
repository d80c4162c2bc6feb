//! From a configuration to a running process.
//!
//! Order matters: the data directory is locked and recovered before any port is opened, and all
//! workers listen before `/readyz` says yes. With routers in other processes there is no log here,
//! and their links are dialled from the first turn on.

mod embedded;
mod remote;

use crate::{
    admin::{self, Admin, AdminKey, Asks, api},
    auth::Authenticator,
    certificates::{self, Missing},
    config::{Config, ConfigError},
    limits,
    mesh::mesh,
    metrics::ProcessMetrics,
    mqtt::MqttSettings,
    resume::ResumeKeys,
    session::SessionSettings,
    shared_keys::SharedKeys,
    tls::Offers,
    websocket::WebSocketSettings,
    worker::{Fleet, Phase, Worker, WorkerSettings},
};
use hawser_codec::frame::FrameLimits;
use hawser_ring::{
    Ring, SocketOptions, Waker,
    uring::{RingGroup, RingSettings, UringRing},
};
use hawser_router::link::LinkSecret;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, mpsc},
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
    asks: Option<Asks>,
    keys: SharedKeys,
}

impl Running {
    /// Changes what is wanted of the workers.
    pub fn set_phase(&self, phase: Phase) {
        self.metrics.set_ready(phase == Phase::Serving);
        self.fleet.set_phase(phase);
        self.wakers.iter().for_each(|waker| waker.wake());
    }

    /// New logins are checked against the keys, tokens and resume keys as they are now, new
    /// handshakes offer the certificates as they are now. `config` is the one in force, but for the
    /// sections that may change.
    ///
    /// # Errors
    /// A file of keys or certificates that cannot be read; everything stays as it was.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        let read = |path: &std::path::Path| std::fs::read_to_string(path);
        let authenticator = Authenticator::new(&config.auth, &random()?, &read)?;
        let resume = resume_keys(config)?;
        let offers = offers(config, Missing::Make)?;
        let sessions = session_settings(config, authenticator, resume, self.keys.clone());
        self.fleet.offer(Arc::new(sessions));
        if let Some(offers) = offers {
            self.fleet.offer_tls(offers);
        }
        self.wakers.iter().for_each(|waker| waker.wake());
        Ok(())
    }

    /// Questions from the admin port; there are none if it is off, or after they were taken.
    pub fn take_asks(&mut self) -> Option<Asks> {
        self.asks.take()
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

/// Looks at what a configuration names as far as that leaves no trace: `--check-config`.
///
/// # Errors
/// As [`start`] would give.
pub fn check(config: &Config) -> Result<(), StartError> {
    offers(config, Missing::Forget).map(drop)
}

fn offers(config: &Config, missing: Missing) -> Result<Option<Arc<Offers>>, StartError> {
    Ok(certificates::offers(config, missing, wall_ms() / 1000)?)
}

/// Opens the data directory, recovers, starts all threads.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let read = |path: &std::path::Path| std::fs::read_to_string(path);
    let authenticator = Authenticator::new(&config.auth, &random()?, &read)?;
    let admin_key = admin::read_key(&config.admin, &read)?;
    // Seen before anything is made or opened.
    check(config)?;

    let routers = &config.router.endpoints;
    let tier = match routers.is_empty() {
        true => Tier::Embedded(Box::new(embedded::Recovered::open(config)?)),
        false => Tier::Remote(remote::secret(config)?),
    };
    let keys = match &tier {
        Tier::Embedded(recovered) => recovered.keys(),
        Tier::Remote(_) => SharedKeys::unknown(),
    };
    let resume = resume_keys(config)?;
    let offers = offers(config, Missing::Make)?;

    for listener in &config.listeners {
        claim(listener.address)?;
    }
    let workers = config.limits.workers;
    let metrics = match tier {
        Tier::Embedded(_) => ProcessMetrics::new(workers, config.router.hosts),
        Tier::Remote(_) => {
            ProcessMetrics::with_routers(workers, routers.iter().map(SocketAddr::to_string))
        }
    };
    let (admin, asks) = match config.admin.address {
        Some(address) => {
            let (api, asks) = api(api_key(config, admin_key)?, config.admin.hosts.clone());
            let admin = Admin::start(address, admin_key, metrics.clone(), api);
            (Some(admin.map_err(environment)?), Some(asks))
        }
        None => (None, None),
    };

    // Hosts live on the first workers, and so do links: router r on worker r mod workers.
    let (hosts, holders, parts): (u16, u32, Vec<Part>) = match tier {
        Tier::Embedded(recovered) => {
            let parts = recovered.serve(config, &metrics)?;
            let hosts = config.router.hosts;
            (
                hosts as u16,
                hosts,
                parts.into_iter().map(|part| Part::Host(Box::new(part))).collect(),
            )
        }
        Tier::Remote(secret) => {
            let parts = remote::parts(config, secret, &keys, &metrics)?;
            let holders = (routers.len() as u32).min(workers);
            (
                routers.len() as u16,
                holders,
                parts.into_iter().map(|part| Part::Links(Box::new(part))).collect(),
            )
        }
    };
    let sessions = Arc::new(session_settings(config, authenticator, resume, keys.clone()));
    let fleet = Arc::new(Fleet::new(workers as usize));
    if let Some(offers) = offers {
        fleet.offer_tls(offers);
    }
    let mut parts = parts.into_iter();
    let (ready, readiness) = mpsc::channel();
    let mut threads = Vec::new();
    for (index, port) in mesh(workers as usize, holders as usize).into_iter().enumerate() {
        let part = parts.next();
        let settings = worker_settings(config, index, hosts, random()?);
        let (fleet, sessions, metrics) = (fleet.clone(), sessions.clone(), metrics.clone());
        let (ready, config) = (ready.clone(), config.clone());
        let body = move || -> Result<(), String> {
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
        Running { fleet, wakers: Vec::new(), threads, metrics: metrics.clone(), admin, asks, keys };
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

/// The key that the server API wants: there always is one.
fn api_key(config: &Config, configured: Option<AdminKey>) -> Result<AdminKey, StartError> {
    match configured {
        Some(key) => Ok(key),
        None => admin::open_or_create_key(&config.store.data_dir).map_err(environment),
    }
}

/// Where the router tier is.
enum Tier {
    Embedded(Box<embedded::Recovered>),
    Remote(LinkSecret),
}

/// What a worker carries of it.
enum Part {
    Host(Box<embedded::HostPart>),
    Links(Box<remote::LinkPart>),
}

/// Keys of resume tokens: of the data directory, unless a file is named.
fn resume_keys(config: &Config) -> Result<ResumeKeys, StartError> {
    match &config.resume_key_file {
        Some(file) => ResumeKeys::open_or_create_at(file),
        None => ResumeKeys::open_or_create(&config.store.data_dir),
    }
    .map_err(environment)
}

/// A worker with its ring, made on its own thread: the ring stays there.
fn build(
    config: &Config,
    settings: WorkerSettings,
    fleet: Arc<Fleet>,
    port: crate::mesh::MeshPort,
    part: Option<Part>,
    sessions: Arc<SessionSettings>,
    metrics: Arc<ProcessMetrics>,
) -> Result<Worker<RingGroup>, String> {
    let ring = RingGroup::new(ring_settings(config), config.limits.tables)
        .map_err(|refusal| refusal.to_string())?;
    let index = settings.index;
    let (hosting, tier) = match part {
        Some(Part::Host(part)) => (Some(part.build(index, UringRing::now(), ring.waker())), None),
        Some(Part::Links(part)) => (None, Some(part.build())),
        None => (None, None),
    };
    let counters = metrics.workers[index].clone();
    let mut worker = Worker::new(settings, fleet, ring, port, hosting, sessions, counters)
        .map_err(|error| format!("cannot listen: {error}"))?;
    if let Some(tier) = tier {
        worker.reach_through(tier, UringRing::now());
    }
    Ok(worker)
}

/// How many each table has, and bytes of each.
fn receive_buffers(config: &Config) -> (u16, u32) {
    limits::receive_buffers_per_table(config.limits.workers, config.limits.tables)
}

fn ring_settings(config: &Config) -> RingSettings {
    let (buffers, buffer_bytes) = receive_buffers(config);
    RingSettings {
        descriptors: config.limits.table_slots,
        completion_entries: limits::COMPLETION_QUEUE_ENTRIES,
        submission_entries: limits::SUBMISSION_QUEUE_ENTRIES,
        buffers,
        buffer_bytes,
    }
}

fn worker_settings(config: &Config, index: usize, hosts: u16, random: [u8; 32]) -> WorkerSettings {
    let configured = &config.limits;
    WorkerSettings {
        index,
        hosts,
        listeners: config.listeners.clone(),
        proxies: config.proxies.as_slice().into(),
        slots: configured.tables * configured.table_slots,
        share: configured
            .max_connections
            .div_ceil(configured.workers)
            .min(configured.connections_per_worker()),
        options: SocketOptions {
            no_delay: true,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            not_sent_low_bytes: None,
            user_timeout_ms: configured.send_stall_timeout_ms,
            keepalive_s: limits::KEEPALIVE_S,
        },
        buffer_bytes: receive_buffers(config).1,
        handshake_ms: configured.handshake_timeout_ms,
        close_ms: configured.close_timeout_ms,
        secret: u64::from_le_bytes(*random.first_chunk().expect("it has 32 bytes")),
    }
}

fn session_settings(
    config: &Config,
    authenticator: Authenticator,
    resume: ResumeKeys,
    keys: SharedKeys,
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
        websocket: WebSocketSettings::of(&config.websocket, config.limits.workers),
        mqtt: MqttSettings::of(&config.mqtt),
    }
}
