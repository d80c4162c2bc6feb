//! A simulated process: recovery, workers, hosts, the disk's queue, composed as a real one is.

use super::{
    disk::{Directory, DiskQueue},
    plan::{Counts, Plan},
    plant::Plants,
    seam::{Seam, Trace},
};
use hawser_codec::frame::FrameLimits;
use hawser_gateway::{
    auth::Authenticator,
    config::{AuthConfig, AuthKind, WebSocketConfig},
    disk_work::DiskWorkSettings,
    hosting::{Hosting, rests_on_one_lane},
    limits,
    listener::ListenerSettings,
    mesh::mesh,
    metrics::{ProcessMetrics, Spoken},
    resume::ResumeKeys,
    session::SessionSettings,
    shared_keys::SharedKeys,
    storage::{self, StorageSettings},
    websocket::WebSocketSettings,
    worker::{Fleet, Phase, RouterSetup, RouterTier, Worker, WorkerSettings},
};
use hawser_ring::{
    Ring, RingSettings, SocketOptions,
    sim::{Random, SimDisk, SimRing, World},
};
use hawser_router::{
    HostSettings,
    host::HostCounters,
    link::{LinkSecret, LinkSettings, Role, WINDOW_BYTES},
    store::{
        DataHeader,
        log::{LaneSettings, retention::RetentionSettings, segment},
    },
};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    rc::Rc,
    sync::Arc,
};

/// Where the process listens.
pub const PORT: u16 = 7900;
/// Where the data is on every disk.
pub const DIRECTORY: &str = "/data";
/// Slots of a table: what the accepts in flight and their reserve take, and some connections.
const SLOTS: u32 = 96;
/// Everything is kept: what retention drops is a matter of its own tests.
pub const RETENTION_MS: u64 = 365 * 24 * 3_600_000;

/// Where clients connect to.
pub fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

/// A process that serves.
pub struct Process {
    /// A worker that has ended is gone, and its ring with it.
    workers: Vec<Option<Worker<Seam>>>,
    fleet: Arc<Fleet>,
    /// Of a process with hosts.
    queue: Option<DiskQueue>,
    /// Links to routers it holds.
    links: usize,
    /// Its metrics.
    pub metrics: Arc<ProcessMetrics>,
    /// Tails that recovery cut.
    pub torn: usize,
    /// Sections of checkpoints that recovery used.
    pub from_checkpoint: bool,
}

/// What a gateway without hosts begins with.
pub struct GatewaySetup {
    /// The machine it is on.
    pub machine: IpAddr,
    /// Workers.
    pub workers: u16,
    /// Where the routers listen.
    pub routers: Vec<SocketAddr>,
    /// What it takes for the secret of the links.
    pub secret: LinkSecret,
}

/// What all processes of a machine share.
pub struct Machine {
    /// The world.
    pub world: World,
    /// Its disk.
    pub disk: SimDisk,
    /// Hash of the run.
    pub trace: Trace,
    /// Faults planted.
    pub plants: Plants,
}

impl Process {
    /// Recovers and starts.
    ///
    /// # Errors
    /// What stands in the way, for people.
    pub fn start(machine: &Machine, plan: &Plan, counts: Counts) -> Result<Self, String> {
        let Counts { workers, hosts, lanes } = counts;
        let directory = Directory::new(machine.disk.clone(), Path::new(DIRECTORY));
        let header =
            DataHeader::open_or_create(&directory, [42; 32]).map_err(|error| error.to_string())?;
        let recovery =
            storage::recover(&directory, header.salt(), hosts, lanes, limits::ANSWERS_MAX)
                .map_err(|error| error.to_string())?;
        let from_checkpoint = directory_has_checkpoint(machine);

        let mut lane = LaneSettings::new(plan.policy, header.salt());
        lane.segment_bytes = segment::SEGMENT_BYTES_MIN;
        let path = Path::new(DIRECTORY).to_owned();
        let storage = StorageSettings::new(path, lane, lanes, plan.checkpoint_bytes, &recovery);
        let storage = Arc::new(storage);
        let work = DiskWorkSettings {
            disk: directory,
            salt: header.salt(),
            answers_max: limits::ANSWERS_MAX,
            hosts: hosts.into(),
            lanes,
            segment_bytes: segment::SEGMENT_BYTES_MIN,
            retention: RetentionSettings { age_ms: RETENTION_MS, bytes_max: None },
            segments: storage.segments.clone(),
        };
        let random = Random::new(machine.world.draw(u64::MAX));
        let queue = DiskQueue::new(work, random, plan.job_us, machine.plants.job);

        let metrics = ProcessMetrics::new(u32::from(workers), u32::from(hosts));
        let sessions = Arc::new(session_settings(plan, SharedKeys::known(*header.hash_key())));
        let fleet = Arc::new(Fleet::new(usize::from(workers)));
        let torn = recovery.torn.len();
        let mut rebuilt = recovery.hosts.into_iter();
        let mut built = Vec::new();
        let ports = mesh(usize::from(workers), usize::from(hosts));
        for (index, port) in ports.into_iter().enumerate() {
            let ring = SimRing::new(&machine.world, &machine.disk, ring_settings(plan));
            let ring = Seam::new(ring, machine.trace.clone(), machine.plants.ring);
            let hosting = rebuilt.next().map(|rebuilt| {
                let world = machine.world.clone();
                let now_us = Rc::new(move || world.now().monotonic_us);
                let end = queue.end(index as u16, ring.waker(), now_us);
                let settings = host_settings(plan, index as u16, counts, machine.plants);
                let counters = metrics.hosts[index].clone();
                let now = machine.world.now();
                Hosting::new(settings, now, storage.clone(), Box::new(end), counters, rebuilt)
            });
            let settings = worker_settings(plan, address(), index, workers, hosts);
            let counters = metrics.workers[index].clone();
            let worker = Worker::new(
                settings,
                fleet.clone(),
                ring,
                port,
                hosting,
                sessions.clone(),
                counters,
            );
            built.push(Some(worker.map_err(|error| error.to_string())?));
        }
        let queue = Some(queue);
        Ok(Self { workers: built, fleet, queue, links: 0, metrics, torn, from_checkpoint })
    }

    /// Starts a gateway that reaches its tier over links.
    ///
    /// # Errors
    /// What stands in the way, for people.
    pub fn start_gateway(
        machine: &Machine,
        plan: &Plan,
        setup: &GatewaySetup,
    ) -> Result<Self, String> {
        let (workers, routers) = (setup.workers, setup.routers.len() as u16);
        let metrics = ProcessMetrics::with_routers(
            u32::from(workers),
            setup.routers.iter().map(SocketAddr::to_string),
        );
        let keys = SharedKeys::unknown();
        let sessions = Arc::new(session_settings(plan, keys.clone()));
        let fleet = Arc::new(Fleet::new(usize::from(workers)));
        let link = LinkSettings {
            role: Role::Gateway,
            name: format!("gateway at {}", setup.machine),
            epoch: machine.world.draw(u64::MAX).max(1),
            nonce: [0; 32],
            workers,
            routers,
            index: None,
            peer_index: None,
            secret: setup.secret.clone(),
            hash_key: None,
            window_bytes: WINDOW_BYTES,
        };
        let listener = SocketAddr::new(setup.machine, PORT);
        let mut built = Vec::new();
        let ports = mesh(usize::from(workers), usize::from(workers.min(routers)));
        for (index, port) in ports.into_iter().enumerate() {
            let ring = SimRing::new(&machine.world, &machine.disk, ring_settings(plan));
            let ring = ring.on_machine(setup.machine);
            let ring = Seam::new(ring, machine.trace.clone(), machine.plants.ring);
            let settings = worker_settings(plan, listener, index, workers, routers);
            let counters = metrics.workers[index].clone();
            let (fleet, sessions) = (fleet.clone(), sessions.clone());
            let mut worker = Worker::new(settings, fleet, ring, port, None, sessions, counters)
                .map_err(|error| error.to_string())?;
            let held = (0..routers).filter(|router| router % workers == index as u16);
            let links = held.map(|router| RouterSetup {
                router,
                address: setup.routers[usize::from(router)],
                settings: LinkSettings { peer_index: Some(router), ..link.clone() },
            });
            let tier = RouterTier {
                workers,
                links: links.collect(),
                keys: keys.clone(),
                entropy: Box::new(entropy(&machine.world)),
                metrics: metrics.routers.clone(),
            };
            worker.reach_through(tier, machine.world.now());
            built.push(Some(worker));
        }
        let links = usize::from(routers);
        Ok(Self {
            workers: built,
            fleet,
            queue: None,
            links,
            metrics,
            torn: 0,
            from_checkpoint: false,
        })
    }

    /// A turn of worker `index`. True if there may be more to do at once.
    ///
    /// # Errors
    /// The ring is broken, or a buffer was kept.
    pub fn turn(&mut self, index: usize, now_us: u64) -> Result<bool, String> {
        let index = index % self.workers.len();
        let Some(worker) = &mut self.workers[index] else { return Ok(false) };
        let goes_on = worker.turn().map_err(|error| error.to_string())?;
        let lent = worker.ring().lent();
        if lent != 0 {
            return Err(format!("worker {index} kept {lent} buffers beyond its turn"));
        }
        let is_due = worker.ring().until_us().is_some_and(|until| until <= now_us);
        let busy = is_due || worker.ring().completions() > 0;
        if !goes_on {
            self.workers[index] = None;
        }
        Ok(busy)
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Worker<Seam>)> {
        let all = self.workers.iter().enumerate();
        all.filter_map(|(index, worker)| Some((index, worker.as_ref()?)))
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Does what the disk's queue has to do now. True if something was done.
    pub fn run_jobs(&self, now_us: u64, wall_ms: u64) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.run(now_us, wall_ms))
    }

    /// When something is due without anything happening first, microseconds.
    pub fn next_us(&self) -> Option<u64> {
        let workers = self.running().filter_map(|(_, worker)| worker.ring().until_us());
        workers.chain(self.queue.as_ref().and_then(DiskQueue::next_us)).min()
    }

    /// What each worker waits for, for people.
    pub fn describe(&self) -> String {
        let texts = self.running().map(|(index, worker)| {
            let host = worker.hosting().map(|hosting| (hosting.next_deadline(), hosting.is_busy()));
            format!(
                "worker {index}: {} connections, until {:?}, host {host:?}",
                worker.connections(),
                worker.ring().until_us()
            )
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    /// Some write of some lane is in flight.
    pub fn is_writing(&self) -> bool {
        self.running().any(|(_, worker)| worker.ring().is_writing())
    }

    /// Connections held, and those of them that are hot.
    pub fn connections(&self) -> (u64, u64) {
        let held = self
            .metrics
            .workers
            .iter()
            .flat_map(|worker| (0..Spoken::ALL.len()).map(|at| worker.connections.cell(at).get()))
            .sum();
        let hot = self.metrics.workers.iter().map(|worker| worker.connections_hot.get()).sum();
        (held, hot)
    }

    /// Asks all workers for something.
    pub fn set_phase(&self, phase: Phase) {
        self.fleet.set_phase(phase);
        self.running().for_each(|(_, worker)| worker.waker().wake());
    }

    /// What was last asked of the workers.
    pub fn phase(&self) -> Phase {
        self.fleet.phase()
    }

    /// All workers have ended.
    pub fn is_over(&self) -> bool {
        self.running().next().is_none()
    }

    /// Counters of the hosts that live, by index.
    pub fn host_counters(&self) -> impl Iterator<Item = (usize, HostCounters)> + '_ {
        self.running().filter_map(|(index, worker)| {
            let counters = worker.hosting()?.host()?.counters();
            Some((index, counters))
        })
    }

    /// What should have been given back and was not, once every client has left.
    pub fn leftovers(&self) -> Option<String> {
        for (index, worker) in self.running() {
            let (connections, in_flight) = (worker.connections(), worker.ring().in_flight());
            // A link that is up has a receive in flight, and maybe a heartbeat.
            let expected = limits::ACCEPTS_IN_FLIGHT as usize + 2 * self.links;
            if connections > 0 || in_flight > expected {
                return Some(format!(
                    "worker {index}: {connections} connections, {in_flight} operations in flight"
                ));
            }
        }
        None
    }
}

/// Random bytes from the world's seed.
pub fn entropy(world: &World) -> impl FnMut() -> [u8; 32] + 'static {
    let world = world.clone();
    move || {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&world.draw(u64::MAX).to_le_bytes());
        }
        bytes
    }
}

/// There is a checkpoint on the machine's disk.
pub fn directory_has_checkpoint(machine: &Machine) -> bool {
    let names = machine.disk.list(Path::new(DIRECTORY));
    names.iter().any(|name| name.starts_with("checkpoint"))
}

/// A ring of the plan's size.
pub fn ring_settings(plan: &Plan) -> RingSettings {
    RingSettings {
        descriptors: SLOTS,
        completion_entries: 1024,
        submission_entries: 256,
        buffers: plan.buffers,
        buffer_bytes: plan.buffer_bytes,
    }
}

fn worker_settings(
    plan: &Plan,
    listener: SocketAddr,
    index: usize,
    workers: u16,
    hosts: u16,
) -> WorkerSettings {
    // Room for every device and the reader of each mailbox at the end, twice: a connection that was
    // left behind takes a place until the server has noticed.
    let (devices, users) = (plan.devices.iter().sum::<usize>(), plan.devices.len());
    let needed = 2 * (devices + users) as u32;
    WorkerSettings {
        index,
        hosts,
        listeners: vec![ListenerSettings::native(listener)],
        proxies: Arc::new([]),
        slots: SLOTS,
        share: plan.share.max(needed.div_ceil(u32::from(workers))),
        handshake_ms: 5_000,
        close_ms: 1_000,
        secret: 7,
        options: SocketOptions {
            no_delay: true,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            not_sent_low_bytes: None,
            user_timeout_ms: 10_000,
            keepalive_s: limits::KEEPALIVE_S,
        },
        buffer_bytes: plan.buffer_bytes,
    }
}

fn host_settings(plan: &Plan, index: u16, counts: Counts, plants: Plants) -> HostSettings {
    let mut settings = HostSettings::new(index, counts.hosts, counts.workers);
    settings.same_lane = rests_on_one_lane(counts.hosts, counts.lanes) || plants.same_lane;
    tune(plan, settings)
}

/// What the plan draws of a host's settings.
pub fn tune(plan: &Plan, mut settings: HostSettings) -> HostSettings {
    settings.retention_ms = RETENTION_MS;
    settings.answers_max = limits::ANSWERS_MAX;
    settings.dedup_bytes_max = plan.dedup_bytes_max;
    // Seeds that have little memory for windows have little for entries.
    settings.recent_bytes_max = plan.dedup_bytes_max * 100;
    settings.unacknowledged_max = plan.unacknowledged_max;
    settings.notify_timeout_us = plan.notify_timeout_us;
    settings.unconfirmed_max = plan.unconfirmed_max;
    settings.stream_window_bytes = plan.stream_window_bytes;
    settings
}

fn session_settings(plan: &Plan, keys: SharedKeys) -> SessionSettings {
    let auth = AuthConfig { kind: AuthKind::None, resume_lifetime_s: 3_600 };
    let unread = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    SessionSettings {
        authenticator: Authenticator::new(&auth, &[7; 32], &unread)
            .expect("no authentication needs no key"),
        resume: ResumeKeys::from_secrets([9; 32], None),
        resume_lifetime_s: auth.resume_lifetime_s,
        keys,
        frames: FrameLimits { body_bytes_max: limits::FRAME_BODY_BYTES },
        heartbeat_s: [plan.heartbeat_s; 4],
        heartbeat_range_ms: (500, 60_000),
        grace_ms: 1_000,
        outbound_bytes_high: plan.outbound_bytes_high,
        requests_max: 16,
        websocket: WebSocketSettings::of(&WebSocketConfig::SHIPPED, 1),
        mqtt: hawser_gateway::mqtt::MqttSettings::shipped(),
    }
}
