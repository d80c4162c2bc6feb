//! A simulated router process: the product's tier, board and links, host, lane and recovery, on a
//! simulated ring of its own.
//!
//! What it is not: the product's sockets and tasks (`process/net.rs`, `process/start.rs`), which are
//! tokio's. Here stands what they do, on the ring: accept, dial with back-off, read, write, last
//! words, timers ten times a second.

use super::{
    disk::{Directory, DiskQueue},
    plan::Plan,
    plant::{LinkPlant, lose_frames},
    process::{self, DIRECTORY, Machine, RETENTION_MS, directory_has_checkpoint, entropy},
    seam::Seam,
};
use hawser_codec::time::Now;
use hawser_gateway::{
    disk_work::DiskWorkSettings,
    hosting::{RingFiles, file_event},
    limits,
    storage::{self, StorageSettings},
};
use hawser_ring::{
    Completion, Errno, Event, Listener, Operation, Ring, RingSettings, Socket, SocketOptions,
    Token, Wait,
    sim::{Random, SimRing, World},
};
use hawser_router::{
    HostSettings, RouterPlace,
    host::HostCounters,
    hosting::Hosting,
    link::{Inbox, LinkSecret, LinkSession, LinkSettings, Role, WINDOW_BYTES},
    process::{
        board::{Board, LinkId, ToWrite},
        metrics::RouterMetrics,
        tier::Tier,
    },
    store::{
        DataHeader,
        log::{LaneSettings, retention::RetentionSettings, segment},
    },
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    rc::Rc,
    sync::Arc,
};
use tokio::sync::Notify;

/// Where routers listen.
pub const ROUTER_PORT: u16 = 7400;
/// Bytes of one receive, as the product's shell reads.
const READ_BYTES: u32 = 128 << 10;
/// Accepts in flight: as many as gateways and routers come at one time.
const ACCEPTS: u32 = 4;
/// Links' timers are looked at this often, microseconds; as the product's shell does.
const TIMERS_US: u64 = 100_000;
/// Time a connection to another router may take, microseconds.
const DIAL_US: u64 = 3_000_000;
/// Wait before the first and before each later dial, microseconds, doubled up to the second.
const DIAL_WAIT_US: (u64, u64) = (50_000, 1_000_000);
/// Time one piece of output may take to leave, microseconds.
const WRITE_US: u64 = 6_000_000;
/// Time last words get, microseconds.
const FAREWELL_US: u64 = 1_000_000;

const ECANCELED: Errno = Errno(libc::ECANCELED);
const TRY_AGAIN: [Errno; 3] = [Errno(libc::ENOBUFS), Errno(libc::EINTR), Errno(libc::EAGAIN)];

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

/// Times of an orderly end, microseconds, as the product's shell has them: no batch has come for so
/// long; at most so long until then; records get so long to become durable; last words so long.
const LEAVE_QUIET_US: u64 = 250_000;
const LEAVE_TALK_US: u64 = 1_000_000;
const LEAVE_WRITE_US: u64 = 5_000_000;
const LEAVE_FAREWELL_US: u64 = 1_000_000;

/// How far an orderly end has come, and until when at the latest.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Talking { until_us: u64 },
    Writing { until_us: u64 },
    Farewell { until_us: u64 },
    Over,
}

/// What a router begins with.
pub struct RouterSetup {
    /// Its place.
    pub place: RouterPlace,
    /// Where all routers listen, itself included.
    pub routers: Vec<SocketAddr>,
    /// Of the links.
    pub secret: LinkSecret,
}

impl RouterSetup {
    /// The machine it is on.
    pub fn machine(&self) -> IpAddr {
        self.routers[usize::from(self.place.index())].ip()
    }
}

/// One connection.
struct Line {
    socket: Socket,
    id: LinkId,
    inbox: Inbox,
    /// Of a connection to another router: which.
    dialled: Option<u16>,
    receiving: bool,
    sending: bool,
    /// Until when what is being sent must have left, monotonic microseconds.
    write_until_us: u64,
    cancelling: bool,
    cancelled: (bool, bool),
    closing: bool,
    /// Until when last words may go, monotonic microseconds.
    farewell_us: Option<u64>,
    /// The tier knows of it no longer.
    over: bool,
    deaf: bool,
}

/// The way to another router.
struct Dial {
    router: u16,
    wait_us: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting { until_us: u64 },
    Dialling { line: u32, until_us: u64, cancelled: bool },
    Linked,
}

/// See the module.
pub struct Router {
    ring: Seam,
    tier: Tier,
    queue: DiskQueue,
    /// Its metrics.
    pub metrics: Arc<RouterMetrics>,
    setup: RouterSetup,
    plant: Option<LinkPlant>,
    world: World,
    leaving: Option<Leaving>,
    settings: LinkSettings,
    entropy: Box<dyn FnMut() -> [u8; 32]>,
    listener: Listener,
    accepts: u32,
    accepts_asked: u32,
    lines: BTreeMap<u32, Line>,
    next_line: u32,
    dials: Vec<Dial>,
    timers_us: u64,
    completions: Vec<Completion>,
    /// Tails that recovery cut.
    pub torn: usize,
    /// Sections of checkpoints that recovery used.
    pub from_checkpoint: bool,
}

impl Router {
    /// Recovers and starts.
    ///
    /// # Errors
    /// What stands in the way, for people.
    pub fn start(machine: &Machine, plan: &Plan, setup: RouterSetup) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let place = setup.place;
        let directory = Directory::new(machine.disk.clone(), Path::new(DIRECTORY));
        let header = DataHeader::open_or_create_for(&directory, [42; 32], place);
        let header = header.map_err(|error| text(&error))?;
        let recovery = storage::recover(&directory, header.salt(), place, 1, limits::ANSWERS_MAX);
        let recovery = recovery.map_err(|error| text(&error))?;
        let from_checkpoint = directory_has_checkpoint(machine);
        let mut lane = LaneSettings::new(plan.policy, header.salt());
        lane.segment_bytes = segment::SEGMENT_BYTES_MIN;
        let path = Path::new(DIRECTORY).to_owned();
        let storage = StorageSettings::new(path, lane, 1, plan.checkpoint_bytes, &recovery);
        let storage = Arc::new(storage);
        let work = DiskWorkSettings {
            disk: directory,
            salt: header.salt(),
            answers_max: limits::ANSWERS_MAX,
            hosts: place.into(),
            lanes: 1,
            segment_bytes: segment::SEGMENT_BYTES_MIN,
            retention: RetentionSettings { age_ms: RETENTION_MS, bytes_max: None },
            segments: storage.segments.clone(),
        };
        let random = Random::new(machine.world.draw(u64::MAX));
        let queue = DiskQueue::new(work, random, plan.job_us, machine.plants.job);
        let sizes = RingSettings { buffer_bytes: READ_BYTES, ..process::ring_settings(plan) };
        let ring = SimRing::new(&machine.world, &machine.disk, sizes);
        let ring = ring.on_machine(setup.machine());
        let mut ring = Seam::new(ring, machine.trace.clone(), machine.plants.ring);
        let listener = SocketAddr::new(setup.machine(), ROUTER_PORT);
        let listener = ring.listen(listener, 16, OPTIONS).map_err(|error| text(&error))?;

        let metrics: Arc<RouterMetrics> = Arc::default();
        let world = machine.world.clone();
        let now_us = Rc::new(move || world.now().monotonic_us);
        let end = queue.end(place.index(), ring.waker(), now_us);
        let host = process::tune(plan, HostSettings::of_router(place));
        let torn = recovery.torn.len();
        let rebuilt = recovery.hosts.into_iter().next().ok_or("no host was recovered")?;
        let now = machine.world.now();
        let counters = metrics.host.clone();
        let hosting = Hosting::new(host, now, storage, Box::new(end), counters, rebuilt);
        let board = Board::new(place.routers(), metrics.links.clone());
        let wake = Arc::new(Notify::new());
        let tier = Tier::new(hosting.without_worker(), board, wake, metrics.links.clone());
        let dial = |router| Dial {
            router,
            wait_us: DIAL_WAIT_US.0,
            stage: Stage::Waiting { until_us: 0 },
        };
        let settings = LinkSettings {
            role: Role::Router,
            name: format!("router {}", place.index()),
            epoch: machine.world.draw(u64::MAX).max(1),
            nonce: [0; 32],
            workers: 1,
            routers: place.routers(),
            index: Some(place.index()),
            peer_index: None,
            secret: setup.secret.clone(),
            hash_key: Some(*header.hash_key()),
            window_bytes: WINDOW_BYTES,
        };
        Ok(Self {
            ring,
            tier,
            queue,
            metrics,
            settings,
            entropy: Box::new(entropy(&machine.world)),
            listener,
            accepts: 0,
            accepts_asked: 0,
            lines: BTreeMap::new(),
            next_line: 0,
            // One link for two routers: the later one in the list dials the earlier.
            dials: (0..place.index()).map(dial).collect(),
            timers_us: now.monotonic_us,
            completions: Vec::new(),
            torn,
            from_checkpoint,
            plant: machine.plants.link,
            world: machine.world.clone(),
            leaving: None,
            setup,
        })
    }

    /// A turn. True if there may be more to do at once.
    ///
    /// # Errors
    /// The ring is broken, or a buffer was kept.
    pub fn turn(&mut self) -> Result<bool, String> {
        while self.accepts < ACCEPTS && self.leaving.is_none() {
            self.accepts += 1;
            self.accepts_asked += 1;
            let token = Token::new(Operation::Accept, self.accepts_asked, 0);
            self.ring.accept(self.listener, token);
        }
        let wait = Wait { until_us: self.due_us(), batch: 1, gather_us: 0 };
        let mut completions = std::mem::take(&mut self.completions);
        let now = self.ring.turn(wait, &mut completions).map_err(|error| error.to_string())?.now;
        let mut busy = !completions.is_empty();
        for completion in completions.drain(..) {
            self.on_completion(now, completion);
        }
        self.completions = completions;
        if now.monotonic_us >= self.timers_us {
            self.timers_us = now.monotonic_us + TIMERS_US;
            self.tier.on_time(now);
        }
        self.dial(now);
        self.tier.turn(now, &mut RingFiles(&mut self.ring));
        busy |= self.write(now);
        self.close_some(now);
        self.go_on_leaving(now);
        match self.ring.lent() {
            0 => Ok(busy),
            lent => Err(format!("a router kept {lent} buffers beyond its turn")),
        }
    }

    /// The router is asked to leave.
    pub fn leave(&mut self) {
        let until_us = self.world.now().monotonic_us + LEAVE_TALK_US;
        self.leaving = Some(Leaving::Talking { until_us });
        self.tier.go_away();
    }

    /// It has left.
    pub fn has_left(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Over))
    }

    fn go_on_leaving(&mut self, now: Now) {
        let now_us = now.monotonic_us;
        match self.leaving {
            Some(Leaving::Talking { until_us })
                if until_us <= now_us || self.tier.is_quiet(now, LEAVE_QUIET_US) =>
            {
                self.tier.take_no_more();
                self.leaving = Some(Leaving::Writing { until_us: now_us + LEAVE_WRITE_US });
            }
            Some(Leaving::Writing { until_us }) if until_us <= now_us || !self.tier.is_busy() => {
                self.tier.end_links();
                self.leaving = Some(Leaving::Farewell { until_us: now_us + LEAVE_FAREWELL_US });
            }
            Some(Leaving::Farewell { until_us })
                if until_us <= now_us || self.tier.has_no_links() =>
            {
                self.leaving = Some(Leaving::Over);
            }
            _ => {}
        }
    }

    /// Does what the disk's queue has to do now. True if something was done.
    pub fn run_jobs(&self, now: Now) -> bool {
        self.queue.run(now.monotonic_us, now.wall_ms)
    }

    fn due_us(&self) -> Option<u64> {
        let dials = self.dials.iter().filter_map(|dial| match dial.stage {
            Stage::Waiting { until_us } => Some(until_us),
            Stage::Dialling { until_us, cancelled: false, .. } => Some(until_us),
            Stage::Dialling { .. } | Stage::Linked => None,
        });
        let host = self.tier.next_deadline();
        dials.chain(host).chain([self.timers_us]).min()
    }

    /// When something is due without anything happening first, microseconds.
    pub fn next_us(&self) -> Option<u64> {
        self.due_us().into_iter().chain(self.queue.next_us()).min()
    }

    /// Some write of its lane is in flight.
    pub fn is_writing(&self) -> bool {
        self.ring.is_writing()
    }

    /// Counters of the host, while it lives.
    pub fn host_counters(&self) -> Option<HostCounters> {
        Some(self.tier.hosting().host()?.counters())
    }

    /// How it stands, for people.
    pub fn describe(&self) -> String {
        let links = &self.metrics.links;
        let lines = self.lines.values().filter(|line| line.over || line.farewell_us.is_some());
        let ending: Vec<_> = lines
            .map(|line| (line.dialled, line.over, line.receiving, line.sending, line.closing))
            .collect();
        format!(
            "router {}: {} gateways, {} routers, {} connections, ending {ending:?}, busy {}, {:?}",
            self.setup.place.index(),
            links.gateways.get(),
            links.routers.get(),
            self.lines.len(),
            self.tier.is_busy(),
            self.host_counters().map(|host| (host.sessions, host.users, host.stream_faults)),
        )
    }

    fn link_settings(&mut self, peer_index: Option<u16>) -> LinkSettings {
        LinkSettings { nonce: (self.entropy)(), peer_index, ..self.settings.clone() }
    }

    fn on_completion(&mut self, now: Now, completion: Completion) {
        let Completion { token, more, event } = completion;
        match event {
            Event::Accepted(result) => {
                self.accepts -= 1;
                let Ok((socket, address)) = result else { return };
                if self.leaving.is_some() {
                    self.next_line += 1;
                    let token = Token::new(Operation::Close, self.next_line, 0);
                    return self.ring.close(socket, false, token);
                }
                let settings = self.link_settings(None);
                let session = LinkSession::acceptor(settings, now);
                self.next_line += 1;
                self.begin(self.next_line, socket, session, address, None);
            }
            Event::Connected(result) => self.on_connected(now, token.slot, result),
            event @ (Event::Written(..) | Event::Synced(_) | Event::Read(_)) => {
                if let Some(event) = file_event(token, event) {
                    self.tier.on_file(now, event, &mut RingFiles(&mut self.ring));
                }
            }
            Event::Received(result) => self.on_received(now, token.slot, more, result),
            Event::Sent(result, bytes) => self.on_sent(now, token.slot, result, bytes),
            Event::Cancelled(_) => {
                if let Some(line) = self.lines.get_mut(&token.slot) {
                    line.cancelling = false;
                }
            }
            Event::Closed(_) => self.on_closed(now, token.slot),
            _ => {}
        }
    }

    fn begin(
        &mut self,
        key: u32,
        socket: Socket,
        session: LinkSession,
        address: SocketAddr,
        dialled: Option<u16>,
    ) {
        let id = self.tier.add(session, address, Rc::new(Notify::new()));
        let line = Line {
            socket,
            id,
            inbox: Inbox::default(),
            dialled,
            receiving: true,
            sending: false,
            write_until_us: 0,
            cancelling: false,
            cancelled: (false, false),
            closing: false,
            farewell_us: None,
            over: false,
            deaf: false,
        };
        self.lines.insert(key, line);
        self.ring.receive(socket, Token::new(Operation::Receive, key, 0));
    }

    fn dial(&mut self, now: Now) {
        for at in 0..self.dials.len() {
            let Dial { router, stage, .. } = self.dials[at];
            match stage {
                Stage::Waiting { until_us } if until_us <= now.monotonic_us => {
                    self.next_line += 1;
                    let line = self.next_line;
                    let until_us = now.monotonic_us + DIAL_US;
                    self.dials[at].stage = Stage::Dialling { line, until_us, cancelled: false };
                    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                    let target = self.setup.routers[usize::from(router)];
                    let token = Token::new(Operation::Connect, line, 0);
                    self.ring.connect(any, target, OPTIONS, token);
                }
                Stage::Dialling { line, until_us, cancelled: false }
                    if until_us <= now.monotonic_us =>
                {
                    self.dials[at].stage = Stage::Dialling { line, until_us, cancelled: true };
                    let target = Token::new(Operation::Connect, line, 0);
                    self.ring.cancel(None, target, Token::new(Operation::Cancel, line, 0));
                }
                _ => {}
            }
        }
    }

    fn on_connected(&mut self, now: Now, key: u32, result: Result<Socket, Errno>) {
        let found = self
            .dials
            .iter()
            .position(|dial| matches!(dial.stage, Stage::Dialling { line, .. } if line == key));
        let Some(at) = found else { return };
        let router = self.dials[at].router;
        match result {
            Ok(socket) => {
                self.dials[at].stage = Stage::Linked;
                let settings = self.link_settings(Some(router));
                let session = LinkSession::initiator(settings, now);
                let address = self.setup.routers[usize::from(router)];
                self.begin(key, socket, session, address, Some(router));
            }
            Err(_) => self.dial_later(now, router),
        }
    }

    fn dial_later(&mut self, now: Now, router: u16) {
        for dial in self.dials.iter_mut().filter(|dial| dial.router == router) {
            dial.stage = Stage::Waiting { until_us: now.monotonic_us + dial.wait_us };
            dial.wait_us = (dial.wait_us * 2).min(DIAL_WAIT_US.1);
        }
    }

    fn on_received(
        &mut self,
        now: Now,
        key: u32,
        more: bool,
        result: Result<Option<hawser_ring::Lease>, Errno>,
    ) {
        let Some(line) = self.lines.get_mut(&key) else {
            if let Ok(Some(lease)) = result {
                self.ring.give_back(lease);
            }
            return;
        };
        line.receiving = more;
        match result {
            Ok(Some(lease)) => {
                if !line.over && !line.deaf {
                    line.inbox.extend(self.ring.bytes(&lease));
                    line.deaf = !self.tier.receive(now, line.id, &mut line.inbox);
                }
                self.ring.give_back(lease);
                self.receive_on(key);
            }
            Ok(None) => self.end(now, key, None),
            Err(errno) if TRY_AGAIN.contains(&errno) => self.receive_on(key),
            Err(ECANCELED) => {}
            Err(errno) => self.end(now, key, Some(errno)),
        }
    }

    fn receive_on(&mut self, key: u32) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if !line.receiving && !line.over {
            line.receiving = true;
            self.ring.receive(line.socket, Token::new(Operation::Receive, key, 0));
        }
    }

    fn on_sent(&mut self, now: Now, key: u32, result: Result<usize, Errno>, mut bytes: Vec<u8>) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        line.sending = false;
        match result {
            Ok(sent) if sent < bytes.len() && !line.over => {
                bytes.drain(..sent);
                line.sending = true;
                self.ring.send(line.socket, bytes, Token::new(Operation::Send, key, 0));
            }
            Ok(_) if line.farewell_us.is_some() => self.end(now, key, None),
            Ok(_) => {}
            Err(errno) => self.end(now, key, Some(errno)),
        }
    }

    /// The connection is no link any more; it is closed as soon as nothing is in flight on it.
    fn end(&mut self, now: Now, key: u32, errno: Option<Errno>) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if std::mem::replace(&mut line.over, true) {
            return;
        }
        if self.plant == Some(LinkPlant::EndUnnoticed) {
            return;
        }
        let error = errno.map(|errno| std::io::Error::from_raw_os_error(errno.0));
        let was_up = self.tier.remove(now, line.id, error.as_ref());
        let router = line.dialled;
        for dial in self.dials.iter_mut().filter(|dial| was_up && Some(dial.router) == router) {
            dial.wait_us = DIAL_WAIT_US.0;
        }
    }

    /// Gives sockets what is to be written. True if there was anything.
    fn write(&mut self, now: Now) -> bool {
        let mut wrote = false;
        let keys: Vec<u32> = self.lines.keys().copied().collect();
        for key in keys {
            let Some(line) = self.lines.get_mut(&key) else { continue };
            if line.sending || line.over {
                continue;
            }
            let bytes = match self.tier.to_write(line.id, Vec::new()) {
                ToWrite::Nothing => continue,
                ToWrite::Bytes(bytes) => bytes,
                ToWrite::Last(bytes) => {
                    line.farewell_us = Some(now.monotonic_us + FAREWELL_US);
                    bytes
                }
            };
            let bytes = match self.plant {
                Some(plant) => lose_frames(plant, &self.world, bytes),
                None => bytes,
            };
            wrote = true;
            if bytes.is_empty() {
                self.end(now, key, None);
                continue;
            }
            line.sending = true;
            line.write_until_us = now.monotonic_us + WRITE_US;
            self.ring.send(line.socket, bytes, Token::new(Operation::Send, key, 0));
        }
        wrote
    }

    fn close_some(&mut self, now: Now) {
        let late = self.lines.iter().filter(|(_, line)| {
            let is_stuck = line.sending && line.write_until_us <= now.monotonic_us;
            is_stuck || line.farewell_us.is_some_and(|until_us| until_us <= now.monotonic_us)
        });
        let late: Vec<u32> = late.map(|(key, _)| *key).collect();
        for key in late {
            self.end(now, key, None);
        }
        for (key, line) in self.lines.iter_mut().filter(|(_, line)| line.over && !line.closing) {
            if line.cancelling {
                continue;
            }
            let token = |operation| Token::new(operation, *key, 0);
            if line.receiving && !line.cancelled.0 {
                (line.cancelled.0, line.cancelling) = (true, true);
                let (socket, target) = (Some(line.socket), token(Operation::Receive));
                self.ring.cancel(socket, target, token(Operation::Cancel));
            } else if line.sending && !line.cancelled.1 {
                (line.cancelled.1, line.cancelling) = (true, true);
                let (socket, target) = (Some(line.socket), token(Operation::Send));
                self.ring.cancel(socket, target, token(Operation::Cancel));
            } else if !line.receiving && !line.sending {
                line.closing = true;
                self.ring.close(line.socket, false, token(Operation::Close));
            }
        }
    }

    fn on_closed(&mut self, now: Now, key: u32) {
        let line = self.lines.remove(&key);
        if let Some(router) = line.and_then(|line| line.dialled) {
            self.dial_later(now, router);
        }
    }
}
