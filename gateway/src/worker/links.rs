//! Links to routers of other processes, on the worker's ring: what [`crate::router_link`] decides is
//! carried out here. The worker that holds a link is to the others what one with a shard host is.

use super::*;
use crate::{
    connection::InFlight,
    metrics::RouterMetrics,
    router_link::{LinkNote, LinkOutputs, RouterLink},
    session::later,
    shared_keys::SharedKeys,
};
use hawser_router::{hosting::Reach, link::LinkSettings};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Slots of tokens from here on name a link, not a connection: beyond every descriptor table.
const LINK_SLOTS: u32 = 1 << 31;

/// What the links of a worker need besides their settings.
pub struct RouterTier {
    /// Workers of the process; worker w holds the links to the routers r with r mod workers = w.
    pub workers: u16,
    /// This worker's links, by ascending router.
    pub links: Vec<RouterSetup>,
    /// Where a hash key that a router gives is kept.
    pub keys: SharedKeys,
    /// Random bytes, for nonces and for the time between attempts.
    pub entropy: Box<dyn FnMut() -> [u8; 32]>,
    /// Counters of all routers there are.
    pub metrics: Vec<Arc<RouterMetrics>>,
}

/// One link.
pub struct RouterSetup {
    /// Place of the router in the list.
    pub router: u16,
    /// Where it listens.
    pub address: SocketAddr,
    /// What this side brings.
    pub settings: LinkSettings,
}

/// Batches of uplinks that are empty again, kept for the next.
const SPARE_BATCHES_MAX: usize = 16;

/// One link with its socket.
struct HeldLink {
    /// Its place among the worker's links, which its tokens carry.
    at: u32,
    router: u16,
    address: SocketAddr,
    link: RouterLink,
    outputs: LinkOutputs,
    socket: Option<Socket>,
    dial: Dial,
    in_flight: InFlight,
    cancelled: InFlight,
    /// Attempts so far: tells their completions apart.
    attempt: u32,
    /// The receive has ended and is to be armed again.
    deaf: bool,
    spare: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dial {
    None,
    UnderWay,
    Cancelled,
}

/// The tier as the worker keeps it.
pub(super) struct Tier {
    workers: u16,
    keys: SharedKeys,
    entropy: Box<dyn FnMut() -> [u8; 32]>,
    metrics: Vec<Arc<RouterMetrics>>,
    links: Vec<HeldLink>,
    /// Slot up to which connections were looked at for what a broken link has lost, by router.
    losing: Vec<Option<u32>>,
}

impl Tier {
    /// The worker that holds the link to `router`.
    pub fn holder(&self, router: usize) -> usize {
        router % usize::from(self.workers)
    }

    fn held(&mut self, router: u16) -> Option<&mut HeldLink> {
        self.links.iter_mut().find(|held| held.router == router)
    }

    /// A batch for a router whose link this worker holds.
    pub fn on_uplinks(
        &mut self,
        now: Now,
        from: u16,
        router: u16,
        batch: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let held = self.held(router)?;
        held.link.on_uplinks(now, from, batch, &mut held.outputs)
    }

    /// An empty batch.
    pub fn spare(&mut self, router: u16) -> Vec<u8> {
        self.held(router).and_then(|held| held.spare.pop()).unwrap_or_default()
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.links.iter().filter_map(|held| held.link.next_deadline()).min()
    }

    /// Something is to be done before the worker may sleep.
    pub fn is_unfinished(&self) -> bool {
        self.losing.iter().any(Option::is_some)
    }

    pub fn is_busy(&self) -> bool {
        self.links.iter().any(|held| held.link.is_busy())
    }

    fn on_event<R: Ring>(
        &mut self,
        now: Now,
        token: Token,
        more: bool,
        event: Event,
        ring: &mut R,
    ) -> bool {
        let held = self.links.get_mut((token.slot - LINK_SLOTS) as usize);
        let Some(held) = held.filter(|held| held.attempt == token.generation) else {
            if let Event::Received(Ok(Some(lease))) = event {
                ring.give_back(lease);
            }
            return false;
        };
        if !more {
            held.in_flight.clear(token.operation);
        }
        let random = (self.entropy)();
        held.on_event(now, event, more, random, self.keys.hash_key(), ring);
        true
    }

    /// The links' part of a turn: dials, heartbeats, bytes out, ends.
    fn drive<R: Ring>(&mut self, now: Now, behind: bool, ring: &mut R) {
        for held in &mut self.links {
            held.drive(now, behind, ring);
            let (metrics, figures) = (&self.metrics[usize::from(held.router)], held.link.figures());
            let reach = held.link.reach();
            metrics.up.set(u64::from(matches!(reach, Reach::Up | Reach::Crowded)));
            metrics.crowded.set(u64::from(reach == Reach::Crowded));
            metrics.refusing.set(u64::from(reach == Reach::Refusing));
            metrics.links.set(figures.links);
            metrics.batches_out.set(figures.batches_out);
            metrics.batches_in.set(figures.batches_in);
            metrics.queued_bytes.set(figures.queued_bytes);
            metrics.round_trip_us.set(figures.round_trip_us);
            metrics.refused_at_link.set(figures.refused);
        }
    }
}

impl HeldLink {
    fn on_event<R: Ring>(
        &mut self,
        now: Now,
        event: Event,
        more: bool,
        random: [u8; 32],
        hash_key: Option<[u8; 32]>,
        ring: &mut R,
    ) {
        let jitter = u32::from_le_bytes([random[0], random[1], random[2], random[3]]);
        match event {
            Event::Connected(result) => {
                self.dial = Dial::None;
                match result {
                    Ok(socket) => {
                        self.socket = Some(socket);
                        self.deaf = true;
                        self.link.on_connected(now, random, hash_key);
                    }
                    Err(ECANCELED) => {
                        let seconds = limits::ROUTER_DIAL_US as f64 * 1e-6;
                        let trouble = format!("cannot connect within {seconds} s");
                        self.link.on_closed(now, &trouble, jitter, &mut self.outputs);
                    }
                    Err(errno) => {
                        let trouble = format!("cannot connect: {}", text_of(errno));
                        self.link.on_closed(now, &trouble, jitter, &mut self.outputs);
                    }
                }
            }
            Event::Received(Ok(Some(lease))) => {
                self.link.on_bytes(now, ring.bytes(&lease), &mut self.outputs);
                ring.give_back(lease);
                self.deaf |= !more;
            }
            Event::Received(Ok(None)) => {
                let trouble = "the other side closed the connection";
                self.link.on_broken(now, trouble, &mut self.outputs);
            }
            Event::Received(Err(ENOBUFS | EINTR | EAGAIN)) => self.deaf = true,
            Event::Received(Err(ECANCELED)) => {}
            Event::Received(Err(errno)) => {
                let trouble = format!("the connection broke: {}", text_of(errno));
                self.link.on_broken(now, &trouble, &mut self.outputs);
            }
            Event::Sent(result, bytes) => self.on_sent(now, result, bytes, ring),
            Event::Closed(_) => {
                self.socket = None;
                self.cancelled = InFlight::default();
                self.deaf = false;
                self.link.on_closed(now, "", jitter, &mut self.outputs);
            }
            _ => {}
        }
    }

    fn on_sent<R: Ring>(
        &mut self,
        now: Now,
        result: Result<usize, Errno>,
        mut bytes: Vec<u8>,
        ring: &mut R,
    ) {
        match (result, self.socket) {
            (Ok(sent), Some(socket)) if sent < bytes.len() && !self.is_closing() => {
                bytes.drain(..sent);
                self.send(socket, bytes, ring);
            }
            (Ok(_), _) => {
                bytes.clear();
                self.recycle(bytes);
            }
            (Err(errno), _) => {
                let trouble = format!("the connection broke: {}", text_of(errno));
                self.link.on_broken(now, &trouble, &mut self.outputs);
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.cancelled != InFlight::default()
    }

    fn recycle(&mut self, batch: Vec<u8>) {
        if self.spare.len() < SPARE_BATCHES_MAX
            && batch.capacity() <= limits::SPARE_BUFFER_BYTES_MAX
        {
            self.spare.push(batch);
        }
    }

    fn token(&self, operation: Operation) -> Token {
        Token::new(operation, LINK_SLOTS + self.at, self.attempt)
    }

    fn send<R: Ring>(&mut self, socket: Socket, bytes: Vec<u8>, ring: &mut R) {
        self.in_flight.set(Operation::Send);
        ring.send(socket, bytes, self.token(Operation::Send));
    }

    fn drive<R: Ring>(&mut self, now: Now, behind: bool, ring: &mut R) {
        self.link.on_time(now, &mut self.outputs);
        // The cancel of the attempt before may end after the attempt itself.
        if self.in_flight.is_empty() && self.link.begin_dial(now) {
            self.attempt = (self.attempt + 1) % hawser_ring::GENERATIONS;
            self.dial = Dial::UnderWay;
            let any = match self.address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            ring.connect(any, self.address, LINK_OPTIONS, self.token(Operation::Connect));
        }
        if self.dial == Dial::UnderWay && self.link.is_overdue(now) {
            self.dial = Dial::Cancelled;
            self.cancel(Operation::Connect, None, ring);
        }
        let Self { link, spare, outputs, .. } = self;
        link.flush(
            now,
            behind,
            |mut batch| {
                if spare.len() < SPARE_BATCHES_MAX
                    && batch.capacity() <= limits::SPARE_BUFFER_BYTES_MAX
                {
                    batch.clear();
                    spare.push(batch);
                }
            },
            outputs,
        );
        let Some(socket) = self.socket else { return };
        let may_send =
            !self.in_flight.has(Operation::Send) && !self.in_flight.has(Operation::Close);
        if may_send && !self.is_closing() {
            let empty = self.spare.pop().unwrap_or_default();
            match self.link.take_out(empty) {
                Ok(bytes) => self.send(socket, bytes, ring),
                Err(empty) => self.recycle(empty),
            }
        }
        if self.link.is_ending() {
            return self.advance_close(now, socket, ring);
        }
        if self.deaf && !self.in_flight.has(Operation::Receive) {
            self.deaf = false;
            self.in_flight.set(Operation::Receive);
            ring.receive(socket, self.token(Operation::Receive));
        }
    }

    /// Lets last bytes go, cancels what is in flight, then closes: a socket is never closed with
    /// anything in flight on it.
    fn advance_close<R: Ring>(&mut self, now: Now, socket: Socket, ring: &mut R) {
        let is_overdue = self.link.is_overdue(now);
        if self.in_flight.has(Operation::Send) && !is_overdue && !self.is_closing() {
            return;
        }
        if self.in_flight.has(Operation::Cancel) || self.in_flight.has(Operation::Close) {
            return;
        }
        for operation in [Operation::Receive, Operation::Send] {
            if self.in_flight.has(operation) && !self.cancelled.has(operation) {
                self.cancelled.set(operation);
                return self.cancel(operation, Some(socket), ring);
            }
        }
        if self.in_flight.is_empty() {
            self.in_flight.set(Operation::Close);
            ring.close(socket, is_overdue, self.token(Operation::Close));
        }
    }

    fn cancel<R: Ring>(&mut self, operation: Operation, socket: Option<Socket>, ring: &mut R) {
        self.in_flight.set(Operation::Cancel);
        let (target, token) = (self.token(operation), self.token(Operation::Cancel));
        ring.cancel(socket, target, token);
    }
}

/// A link is one busy connection within a data centre: no delay, and an end when nothing moves.
const LINK_OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: limits::ROUTER_USER_TIMEOUT_MS,
    keepalive_s: 0,
};

fn text_of(errno: Errno) -> String {
    io::Error::from_raw_os_error(errno.0).to_string()
}

impl<R: Ring> Worker<R> {
    /// Reaches the router tier through links instead of hosts in this process. Called once, before
    /// the first turn; the worker's settings name as many hosts as there are routers.
    pub fn reach_through(&mut self, tier: RouterTier, now: Now) {
        for router in 0..tier.metrics.len() {
            self.uplinks.set_reach(router, Reach::Away);
        }
        let links = tier.links.into_iter().enumerate().map(|(at, setup)| HeldLink {
            at: at as u32,
            router: setup.router,
            address: setup.address,
            link: RouterLink::new(setup.settings, now),
            outputs: LinkOutputs::default(),
            socket: None,
            dial: Dial::None,
            in_flight: InFlight::default(),
            cancelled: InFlight::default(),
            attempt: 0,
            deaf: false,
            spare: Vec::new(),
        });
        self.tier = Some(Tier {
            workers: tier.workers,
            keys: tier.keys,
            entropy: tier.entropy,
            losing: vec![None; tier.metrics.len()],
            metrics: tier.metrics,
            links: links.collect(),
        });
    }

    /// Whether a completion is one of a link's.
    pub(super) fn is_of_link(token: Token) -> bool {
        let operation = token.operation;
        let on_socket =
            matches!(operation, Operation::Receive | Operation::Send | Operation::Cancel);
        (on_socket || matches!(operation, Operation::Connect | Operation::Close))
            && token.slot >= LINK_SLOTS
    }

    pub(super) fn on_link_event(&mut self, token: Token, more: bool, event: Event) {
        let Some(tier) = &mut self.tier else { return };
        if !tier.on_event(self.now, token, more, event, &mut self.ring) {
            self.metrics.stale_completions.add(1);
        }
    }

    /// The links' part of a turn, after all uplinks of it were handed to them.
    pub(super) fn drive_links(&mut self) {
        let Some(tier) = &mut self.tier else { return };
        tier.drive(self.now, self.mesh.is_behind(), &mut self.ring);
        for (router, metrics) in tier.metrics.iter().enumerate() {
            metrics.refused[self.settings.index].set(self.uplinks.refused(router));
        }
    }

    /// Hands on what the links said: to the other workers, and to this one's connections.
    pub(super) fn spread_links(&mut self) {
        let count = self.tier.as_ref().map_or(0, |tier| tier.links.len());
        for at in 0..count {
            let Some(tier) = &mut self.tier else { return };
            let held = &mut tier.links[at];
            let (router, workers) = (held.router, usize::from(tier.workers));
            let mut outputs = std::mem::take(&mut held.outputs);
            if let Some(hash_key) = outputs.hash_key.take() {
                tier.keys.learn(hash_key);
                if tier.keys.hash_key() != Some(hash_key) {
                    // Two routers were asked at once, and they differ.
                    held.link.refuse_hash_key(self.now, &mut outputs);
                }
            }
            for note in outputs.notes.drain(..) {
                tell_operator(router, held.address, &note, &tier.metrics[usize::from(router)]);
            }
            for reach in outputs.reach.drain(..) {
                for worker in (0..workers).filter(|worker| *worker != self.settings.index) {
                    self.mesh.send(worker, Parcel::Reach { router, reach });
                }
                self.on_reach(router, reach);
            }
            for (worker, batch) in outputs.downlinks.drain(..) {
                if usize::from(worker) == self.settings.index {
                    self.on_downlinks(&batch, router);
                    self.pool.recycle(batch);
                } else {
                    self.mesh.send(usize::from(worker), Parcel::FromRouter { router, batch });
                }
            }
            if let Some(tier) = &mut self.tier {
                // The vectors stay; what was added meanwhile stands in the new ones.
                let added = std::mem::replace(&mut tier.links[at].outputs, outputs);
                tier.links[at].outputs.absorb(added);
            }
        }
    }

    /// The way to a router goes so far now.
    pub(super) fn on_reach(&mut self, router: u16, reach: Reach) {
        let router = usize::from(router);
        let was_up = matches!(self.uplinks.reach(router), Reach::Up | Reach::Crowded);
        self.uplinks.set_reach(router, reach);
        if matches!(reach, Reach::Away | Reach::Refusing) {
            (self.announcing[router], self.routing[router]) = (None, false);
            if let Some(tier) = self.tier.as_mut().filter(|_| was_up) {
                tier.losing[router] = Some(0);
            }
        }
    }

    /// What was unanswered when a link broke never will be answered: logins are told to come back,
    /// and questions are no longer counted. A bounded number a turn.
    pub(super) fn lose_some(&mut self) {
        let routers = self.tier.as_ref().map_or(0, |tier| tier.losing.len());
        for router in 0..routers {
            let Some(tier) = &mut self.tier else { return };
            let Some(from) = tier.losing[router] else { continue };
            let to = (from + limits::LOST_PER_TURN).min(self.connections.end());
            tier.losing[router] = (to < self.connections.end()).then_some(to);
            for slot in from..to {
                let Some(handle) = self.connections.handle(slot) else { continue };
                let Some(connection) = self.connections.get_mut(handle) else { continue };
                // Which of them went to this router nobody remembers. Counted on, those that did
                // would shut the client out for good.
                // The MQTT core counts on its own; it hears of the loss when the router is back and
                // asks for its sessions.
                let is_counted = !connection.protocol.is_mqtt();
                connection.requests *= u16::from(!is_counted);
                if usize::from(connection.user[0]) % routers != router {
                    continue;
                }
                connection.page_since *= u16::from(!is_counted);
                if connection.state == State::LoggingIn {
                    let farewell = later((code::RECOVERING, limits::ROUTER_RETRY_MS));
                    self.dismiss(handle, &farewell, CloseReason::Full);
                }
            }
        }
    }
}

/// Says it in the log, and in `/readyz` from now on.
fn tell_operator(router: u16, address: SocketAddr, note: &LinkNote, metrics: &RouterMetrics) {
    match note {
        LinkNote::Up(name) => {
            tracing::info!(router, %address, name, "router reached");
            metrics.set_status(format!("up, {name}"));
        }
        LinkNote::Down(trouble) => {
            tracing::warn!(router, %address, "router not reached: {trouble}");
            metrics.set_status(format!("not reached: {trouble}"));
        }
        LinkNote::GoingAway(reason) => {
            tracing::info!(router, %address, reason, "router is going to end");
            metrics.set_status(format!("up, going to end: {reason}"));
        }
    }
}
