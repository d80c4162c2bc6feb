//! One thread, one ring, everything it owns: the turn.
//!
//! ```text
//!  wait for completions ─▶ bytes to sessions ─▶ link frames to hosts ─▶ shards, lane
//!        ▲                                                                 │
//!        └── sends, arms, wake-ups ◀── frames to connections ◀─────────────┘
//! ```
//!
//! A turn ends with everything it produced handed on: nothing waits for the next one but what a
//! bound cut off. The worker runs unchanged on the real and on the simulated ring.

/// What a core writes to, out of the worker's parts that it does not borrow otherwise.
macro_rules! lend {
    ($worker:ident) => {
        Outlet {
            now: $worker.now,
            tick: $worker.tick,
            marks: $worker.pressure.marks($worker.pool.held_bytes()),
            pool: &mut $worker.pool,
            uplinks: &mut $worker.uplinks,
            metrics: &$worker.metrics,
            faces: &mut $worker.faces,
        }
    };
}

mod accept;
mod close;
mod fleet;
mod flow;
mod links;
mod receive;
mod refusals;
mod send;
mod timeout;

pub use fleet::{Fleet, Phase};
pub use links::{RouterSetup, RouterTier};

use crate::{
    connection::{Connection, Flag, Flow, Protocol, Receiving, State},
    cores::Cores,
    face::Faces,
    hosting::{Hosting, RingFiles, file_event},
    limits,
    listener::{ListenerSettings, Network},
    mesh::{MeshPort, Parcel},
    metrics::{CloseReason, Spoken, WorkerMetrics},
    outbound::{Pool, Queue},
    pressure::Pressure,
    session::{Farewell, Outlet, SessionSettings},
    slab::{Handle, Slab},
    timers::{TICK_US, Tick, Wheel},
    tls,
    uplinks::Uplinks,
};
use hawser_codec::{code, link::Downlink, time::Now};
use hawser_ring::{
    Completion, Errno, Event, Listener, Operation, Pace, Ring, Socket, SocketOptions, Token, Wait,
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

/// `ENOBUFS`, `EAGAIN`, `ECANCELED` and `EINTR` as every Linux has them.
const ENOBUFS: Errno = Errno(105);
const EAGAIN: Errno = Errno(11);
const ECANCELED: Errno = Errno(125);
const EINTR: Errno = Errno(4);

/// Settings of one worker.
#[derive(Clone)]
pub struct WorkerSettings {
    /// Index among the workers.
    pub index: usize,
    /// Shard hosts there are; they live on the first workers.
    pub hosts: u16,
    /// Where to listen, and for what; the same list at every worker.
    pub listeners: Vec<ListenerSettings>,
    /// Who may send PROXY headers.
    pub proxies: Arc<[Network]>,
    /// Slots of the descriptor table.
    pub slots: u32,
    /// Connections this worker should hold at most; above it passes new ones on.
    pub share: u32,
    /// Accept to complete hello, ms.
    pub handshake_ms: u32,
    /// Time last bytes get on close, ms.
    pub close_ms: u32,
    /// Random and kept to itself: identifiers that nobody may guess come from it.
    pub secret: u64,
    /// Options of accepted sockets.
    pub options: SocketOptions,
    /// Bytes of one receive buffer: a receive that fills it may have left more behind.
    pub buffer_bytes: u32,
}

/// Levels this worker keeps for the metrics.
#[derive(Default)]
struct Levels {
    /// Connections under a multishot receive.
    hot: u32,
    /// Requests armed or in flight on connections.
    armed: u32,
    /// Sessions open.
    sessions: u32,
    /// Connections leaving or closing.
    closing: u32,
    /// Connections accepted and not yet logged in.
    greeting: u32,
    /// Connections whose bytes are not taken until they read.
    paused: u32,
}

struct Door {
    listener: Listener,
    /// Accepts in flight.
    accepts: u32,
    /// Accepts asked for so far: tells those in flight apart.
    asked: u32,
}

/// See the module.
pub struct Worker<R: Ring> {
    settings: WorkerSettings,
    fleet: Arc<Fleet>,
    ring: R,
    now: Now,
    tick: Tick,
    connections: Slab<Connection>,
    wheel: Wheel,
    pool: Pool,
    cores: Cores,
    faces: Faces,
    uplinks: Uplinks,
    mesh: MeshPort,
    hosting: Option<Hosting>,
    tier: Option<links::Tier>,
    doors: Vec<Door>,
    /// Those that have not spoken yet, oldest first, and some that have.
    newcomers: VecDeque<Handle>,
    refusals: refusals::Refusals,
    dirty: Vec<Handle>,
    /// Those whose frames may wait for others to ride with, and until when, monotonic
    /// microseconds; one for each entry of an own message in that time.
    lazy: VecDeque<(u64, Handle)>,
    starved: VecDeque<Handle>,
    /// Those with bytes left over from a turn whose budget was used up, oldest first.
    yielding: VecDeque<Handle>,
    /// Those whose bytes were taken in this turn.
    spenders: Vec<Handle>,
    /// Bytes that may still be taken in this turn, of all connections.
    budget: usize,
    pressure: Pressure,
    /// Edition of the settings in force.
    edition: u32,
    /// Slot up to which sessions were announced again, per host that asked.
    announcing: Vec<Option<u32>>,
    /// Hosts that are being told which topics are wanted here.
    routing: Vec<bool>,
    /// Messages of topics wait for the next turn, for connections that have not had theirs.
    spreading: bool,
    /// Those that have had some.
    told: Vec<Handle>,
    leaving: Option<u32>,
    /// When the end was first asked for, monotonic microseconds.
    stopping_us: Option<u64>,
    metrics: Arc<WorkerMetrics>,
    completions: Vec<Completion>,
    parcels: Vec<(u16, Parcel)>,
    fired: Vec<u32>,
    pace: Pace,
    levels: Levels,
}

impl<R: Ring> Worker<R> {
    /// A worker that listens at once.
    ///
    /// # Errors
    /// What the listeners say: `EADDRINUSE`, `EACCES`.
    pub fn new(
        settings: WorkerSettings,
        fleet: Arc<Fleet>,
        mut ring: R,
        mesh: MeshPort,
        hosting: Option<Hosting>,
        sessions: Arc<SessionSettings>,
        metrics: Arc<WorkerMetrics>,
    ) -> io::Result<Self> {
        mesh.announce(ring.address());
        fleet.addresses[settings.index].get_or_init(|| ring.address());
        let mut doors = Vec::new();
        for ListenerSettings { address, .. } in &settings.listeners {
            let listener = ring
                .listen(*address, limits::LISTEN_BACKLOG, settings.options)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            doors.push(Door { listener, accepts: 0, asked: 0 });
        }
        let workers = fleet.loads.len() as u32;
        let mut faces = Faces::default();
        faces.websockets.take_over(&sessions.websocket);
        Ok(Self {
            connections: Slab::new(settings.slots),
            wheel: Wheel::new(settings.slots),
            pool: Pool::new(limits::spare_bytes_per_worker(workers) as usize),
            pressure: Pressure::new(
                sessions.outbound_bytes_high,
                limits::held_bytes_per_worker(workers) as usize,
            ),
            edition: 0,
            cores: Cores::new(
                sessions,
                limits::peer_keys_bytes_per_worker(workers),
                settings.secret,
                tls::Layer::new(&settings.listeners, limits::tls_keys_per_worker(workers)),
            ),
            faces,
            uplinks: Uplinks::new(settings.hosts),
            announcing: vec![None; usize::from(settings.hosts)],
            routing: vec![false; usize::from(settings.hosts)],
            spreading: false,
            told: Vec::new(),
            settings,
            fleet,
            ring,
            now: Now::default(),
            tick: 0,
            mesh,
            hosting,
            tier: None,
            doors,
            newcomers: VecDeque::new(),
            refusals: refusals::Refusals::default(),
            dirty: Vec::new(),
            lazy: VecDeque::new(),
            starved: VecDeque::new(),
            yielding: VecDeque::new(),
            spenders: Vec::new(),
            budget: 0,
            leaving: None,
            stopping_us: None,
            metrics,
            completions: Vec::new(),
            parcels: Vec::new(),
            fired: Vec::new(),
            pace: Pace::default(),
            levels: Levels::default(),
        })
    }

    /// Something for other threads to wake this worker with.
    pub fn waker(&self) -> Arc<dyn hawser_ring::Waker> {
        self.ring.waker()
    }

    /// Connections held.
    pub fn connections(&self) -> u32 {
        self.connections.occupied()
    }

    /// Address of the first listener.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.doors.first().map(|door| self.ring.local_address(door.listener))
    }

    /// The shard host on this worker, if there is one.
    pub fn hosting(&self) -> Option<&Hosting> {
        self.hosting.as_ref()
    }

    /// The ring below.
    pub fn ring(&self) -> &R {
        &self.ring
    }

    /// One pass. True as long as the worker wants another.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn turn(&mut self) -> io::Result<bool> {
        self.accept_more();
        let wait = self.wait();
        let mut completions = std::mem::take(&mut self.completions);
        let turn = self.ring.turn(wait, &mut completions)?;
        self.mesh.unpark();
        self.now = turn.now;
        let tick = (turn.now.monotonic_us / TICK_US) as Tick;
        if tick / limits::REST_TICKS != self.tick / limits::REST_TICKS {
            self.faces.websockets.rest();
        }
        self.tick = tick;
        self.take_over_settings();
        self.begin_budget();
        self.shake_some();
        self.pace.note(turn.now, completions.len() as u32);
        self.metrics.batch.record(completions.len() as u64);
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;
        self.receive_parcels();
        self.spread_links();
        self.fire_timers();
        self.lose_some();
        self.announce_some();
        self.hand_on();
        self.drive_links();
        self.spread_links();
        self.spread_topics();
        self.rearm_starved();
        self.send_lazy();
        self.flush();
        self.mesh.flush(&mut self.ring);
        self.export(turn.now);
        self.go_on()
    }

    fn take_over_settings(&mut self) {
        let Some((sessions, tls)) = self.fleet.newer_than(&mut self.edition) else { return };
        if let Some(sessions) = sessions {
            self.cores.take_over(sessions);
        }
        if let Some(offers) = tls {
            self.cores.tls().take_over(offers);
        }
    }

    /// Counts a connection of this protocol, or one less.
    fn count_spoken(&self, protocol: Protocol, is_more: bool) {
        let cell = self.metrics.connections.at(Spoken::of(protocol));
        if is_more { cell.add(1) } else { cell.sub(1) }
    }

    /// Levels and the ring's own counters. The turn's length counts from the end of its wait.
    fn export(&mut self, started: Now) {
        let metrics = &self.metrics;
        let (levels, held) = (&self.levels, self.connections.occupied());
        metrics.connections_hot.set(u64::from(levels.hot));
        metrics.connections_closing.set(u64::from(levels.closing));
        let cold = held.saturating_sub(levels.hot + levels.closing);
        metrics.connections_cold.set(u64::from(cold));
        metrics.sessions.set(u64::from(levels.sessions));
        metrics.connections_slow.set(u64::from(levels.paused));
        metrics.outbound_bytes.set(self.pool.held_bytes() as u64);
        metrics.armed.set(u64::from(levels.armed));
        let websockets = &self.faces.websockets;
        metrics.websocket_unfinished.set(websockets.unfinished() as u64);
        metrics.websocket_deflate_bytes.set(websockets.compressor_bytes());
        self.cores.tls().export(metrics);
        metrics.turns.add(1);
        metrics.turn_us.record(self.ring.clock_us().saturating_sub(started.monotonic_us));
        let ring = self.ring.counters();
        metrics.enters.set(ring.enters);
        metrics.completions.set(ring.completions);
        metrics.overflows.set(ring.overflows);
        if self.mesh.is_behind() {
            metrics.mesh_stalls.add(1);
        }
    }

    fn go_on(&mut self) -> io::Result<bool> {
        let busy = match self.fleet.phase() {
            Phase::Serving => return Ok(true),
            Phase::Draining => {
                self.leave_some();
                self.connections.occupied() > 0 || self.has_unfinished_work()
            }
            Phase::Stopping => {
                let since_us = *self.stopping_us.get_or_insert(self.now.monotonic_us);
                let is_late = self.now.monotonic_us >= since_us + limits::STOP_US;
                self.has_unfinished_work() && !is_late
            }
        };
        // Nobody leaves before all can: one worker may own the lane that another one's records,
        // still on their way, have to reach.
        Ok(self.fleet.report(self.settings.index, busy))
    }

    fn has_unfinished_work(&self) -> bool {
        self.mesh.has_waiting()
            || self.hosting.as_ref().is_some_and(Hosting::is_busy)
            || self.tier.as_ref().is_some_and(links::Tier::is_busy)
    }

    /// How long the next turn may sleep.
    fn wait(&mut self) -> Wait {
        let mut until_us = self.wheel.next_us();
        let mut sooner = |at: u64| until_us = Some(until_us.map_or(at, |until| until.min(at)));
        if let Some(at) = self.hosting.as_ref().and_then(|hosting| hosting.next_deadline()) {
            sooner(at);
        }
        if let Some(at) = self.tier.as_ref().and_then(links::Tier::next_deadline) {
            sooner(at);
        }
        if let Some((due_us, _)) = self.lazy.front() {
            sooner(*due_us);
        }
        if self.mesh.has_waiting() {
            sooner(self.now.monotonic_us + limits::MESH_RETRY_US);
        }
        if self.fleet.phase() != Phase::Serving {
            sooner(self.now.monotonic_us + limits::LEAVE_POLL_US);
        }
        let unfinished = self.announcing.iter().any(Option::is_some)
            || self.routing.contains(&true)
            || self.spreading
            // Said in answer to what hosts said at the end of this turn.
            || (0..self.uplinks.hosts()).any(|host| !self.uplinks.is_empty(host))
            || self.tier.as_ref().is_some_and(links::Tier::is_unfinished)
            || !self.dirty.is_empty()
            || !self.yielding.is_empty()
            || self.cores.tls().has_waiting()
            || (self.fleet.phase() == Phase::Draining && self.leaving != Some(0));
        if unfinished || !self.mesh.park() {
            return Wait { until_us: Some(0), batch: 1, gather_us: 0 };
        }
        let (batch, gather_us) = self.pace.gather();
        Wait { until_us, batch, gather_us }
    }

    fn on_completion(&mut self, completion: Completion) {
        let Completion { token, more, event } = completion;
        if Self::is_of_link(token) {
            return self.on_link_event(token, more, event);
        }
        match event {
            Event::Accepted(result) => self.on_accepted(token, result),
            Event::Arrived(result) => self.on_arrived(token, result),
            Event::Woken => {}
            event @ (Event::Written(..) | Event::Synced(_) | Event::Read(_)) => {
                if let Some(hosting) = &mut self.hosting
                    && let Some(event) = file_event(token, event)
                {
                    hosting.on_file(self.now, event, &mut RingFiles(&mut self.ring));
                }
            }
            Event::Passed(result) => self.on_passed(token, result),
            event => self.on_connection_event(token, more, event),
        }
    }

    fn on_connection_event(&mut self, token: Token, more: bool, event: Event) {
        let handle = Handle { slot: token.slot, generation: token.generation };
        let Some(connection) = self.connections.get_mut(handle) else {
            self.metrics.stale_completions.add(1);
            if let Event::Received(Ok(Some(lease))) = event {
                self.ring.give_back(lease);
            }
            return;
        };
        // `more` is the only truth about being armed: a full completion queue ends a multishot
        // with a valid, positive result.
        if !more {
            connection.in_flight.clear(token.operation);
            self.levels.armed -= 1;
        }
        match event {
            Event::Received(result) => self.on_received(handle, result, more),
            Event::Readable(result) => self.on_readable(handle, result),
            Event::Sent(result, bytes) => self.on_sent(handle, result, bytes),
            Event::Cancelled(_) => self.quieten(handle),
            Event::Closed(_) => return self.forget(handle),
            _ => {}
        }
        self.advance_close(handle);
    }

    fn handshake_ticks(&self) -> Tick {
        ticks(self.settings.handshake_ms)
    }

    fn receive_parcels(&mut self) {
        let mut parcels = std::mem::take(&mut self.parcels);
        self.mesh.receive(limits::MESH_PARCELS_PER_TURN, &mut parcels);
        for (from, parcel) in parcels.drain(..) {
            match parcel {
                Parcel::Downlink(batch) => {
                    self.on_downlinks(&batch, from);
                    self.pool.recycle(batch);
                }
                Parcel::FromRouter { router, batch } => {
                    self.on_downlinks(&batch, router);
                    self.pool.recycle(batch);
                }
                Parcel::ToRouter { router, batch } => {
                    let Some(tier) = &mut self.tier else { continue };
                    if let Some(batch) = tier.on_uplinks(self.now, from, router, batch) {
                        self.pool.recycle(batch);
                    }
                }
                Parcel::Reach { router, reach } => self.on_reach(router, reach),
                parcel => {
                    let Some(hosting) = &mut self.hosting else { continue };
                    hosting.on_parcel(self.now, from, parcel);
                }
            }
        }
        self.parcels = parcels;
    }

    fn on_downlinks(&mut self, batch: &[u8], host: u16) {
        let mut rest = batch;
        loop {
            match Downlink::take(&mut rest) {
                Ok(Some(downlink)) => self.on_downlink(&downlink, host),
                Ok(None) => return,
                Err(_) => {
                    // Our own tier wrote it: a fault to be seen, not a reason to drop clients.
                    self.metrics.closed.at(CloseReason::Fault).add(1);
                    return;
                }
            }
        }
    }

    fn on_downlink(&mut self, downlink: &Downlink<'_>, host: u16) {
        let Some(connection) = downlink.connection() else {
            return self.on_broadcast(downlink, host);
        };
        let handle = Handle::from_u64(connection);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let before = (connection.state, connection.protocol);
        let may_wait = connection.lazy || self.pool.queued_bytes(connection.queued) == 0;
        let mut outlet = lend!(self);
        match self.cores.on_downlink(connection, handle, downlink, &mut outlet) {
            Ok(()) => {
                self.settle(handle, before);
                // The sender knows its own message from the acknowledgement; the entry only keeps
                // its cursor without a hole.
                if may_wait && matches!(downlink, Downlink::Deliver(deliver) if deliver.own) {
                    self.mark_lazy(handle);
                } else {
                    self.mark_dirty(handle);
                }
                self.resume_if_answered(handle);
            }
            Err(farewell) => {
                self.settle(handle, before);
                self.dismiss(handle, &farewell, CloseReason::Denied);
            }
        }
    }

    /// What a host says to the worker itself.
    fn on_broadcast(&mut self, downlink: &Downlink<'_>, host: u16) {
        if !matches!(downlink, Downlink::Announce(_)) {
            return self.cores.mqtt().on_broadcast(downlink, host);
        }
        let host = usize::from(host);
        if let (Some(from), Some(routing)) =
            (self.announcing.get_mut(host), self.routing.get_mut(host))
        {
            (*from, *routing) = (Some(0), true);
        }
    }

    /// Gives messages of topics to the connections that want them, a bounded number a turn, so that
    /// what is for one connection only does not wait behind what is for very many.
    fn spread_topics(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        let mut outlet = lend!(self);
        let work_max = limits::TOPIC_WORK_PER_TURN;
        let connections = &mut self.connections;
        self.spreading = self.cores.mqtt().spread(connections, work_max, &mut told, &mut outlet);
        for handle in told.drain(..) {
            self.mark_dirty(handle);
            self.resume_if_answered(handle);
        }
        self.told = told;
    }

    /// Takes note of what a core has made of a connection that was like this before.
    fn settle(&mut self, handle: Handle, (state, protocol): (State, Protocol)) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let (now, spoken) = (connection.state, connection.protocol);
        if matches!(now, State::Leaving | State::Closing) {
            return;
        }
        // A client of HTTP may log in anew on a connection that is open.
        let was_open = state == State::Open;
        let is_open = now == State::Open;
        self.levels.sessions += u32::from(is_open && spoken.has_session());
        self.levels.sessions -= u32::from(was_open && protocol.has_session());
        let is_changed = was_open != is_open;
        if is_changed {
            self.levels.greeting += u32::from(was_open);
            self.levels.greeting -= u32::from(is_open);
        }
        if is_changed && is_open {
            self.cores.forget_client(handle);
        }
        // The heartbeat or the token may end before the handshake would have, and a request under
        // way before both.
        let is_http = matches!(spoken, Protocol::Http | Protocol::Poll | Protocol::Events);
        if is_changed || (is_http && self.faces.due(handle).is_some()) {
            let next = self.next_timer(handle);
            self.wheel.file(handle.slot, next);
        }
        if spoken != protocol {
            self.count_spoken(protocol, false);
            self.count_spoken(spoken, true);
        }
    }

    /// Link frames to the hosts, and what the own host says to that.
    fn hand_on(&mut self) {
        let own = self.settings.index;
        for host in 0..self.uplinks.hosts() {
            if self.uplinks.is_empty(host) {
                continue;
            }
            if host == own
                && let Some(hosting) = &mut self.hosting
            {
                let batch = self.uplinks.take(host, hosting.spare());
                hosting.on_parcel(self.now, own as u16, Parcel::Uplink(batch));
            } else if let Some(tier) = &mut self.tier {
                let (holder, router) = (tier.holder(host), host as u16);
                if holder == own {
                    let batch = self.uplinks.take(host, tier.spare(router));
                    if let Some(batch) = tier.on_uplinks(self.now, own as u16, router, batch) {
                        self.pool.recycle(batch);
                    }
                } else {
                    let batch = self.uplinks.take(host, self.pool.spare());
                    self.mesh.send(holder, Parcel::ToRouter { router, batch });
                }
            } else {
                let batch = self.uplinks.take(host, self.pool.spare());
                self.mesh.send(host, Parcel::Uplink(batch));
            }
        }
        self.uplinks.set_room(!self.mesh.is_behind());
        let Some(hosting) = &mut self.hosting else { return };
        hosting.turn(self.now, &mut RingFiles(&mut self.ring), &mut self.mesh);
        while let Some(batch) = self.hosting.as_mut().and_then(Hosting::pop_local_downlink) {
            self.on_downlinks(&batch, own as u16);
            if let Some(hosting) = &mut self.hosting {
                hosting.recycle(batch);
            }
        }
    }
}

impl<R: Ring> Drop for Worker<R> {
    fn drop(&mut self) {
        // A worker that broke must not keep the others.
        self.fleet.report(self.settings.index, false);
    }
}

/// Whole ticks of a time in milliseconds, at least one.
fn ticks(milliseconds: u32) -> Tick {
    (u64::from(milliseconds) * 1000).div_ceil(TICK_US).max(1) as Tick
}
