//! Links and who is behind them: which origin is a worker of which gateway, which link leads to
//! which router, and what waits for each.
//!
//! What it is not: sockets ([`super::net`]) or the host ([`super::tier`]). It takes what the host
//! says, queues it within a bound per link, and a link that does not keep up is ended: the other
//! links never wait for it. Its gateway comes again and announces its sessions, its router has the
//! streams opened again; nothing that is durable is lost.

use super::metrics::LinkMetrics;
use crate::{
    host::ORIGINS_MAX,
    hosting::{Parcel, Parcels},
    link::{
        BatchQueue, Family, LinkEnd, LinkEvent, LinkSession, PeerIdentity, Refusal, Role, Taken,
        refusal_code,
    },
};
use hawser_codec::time::Now;
use std::{collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc};
use tokio::sync::Notify;

/// Links at one time: gateways, routers, and those that have not yet proved who they are.
pub const LINKS_MAX: usize = 512;
/// Of these, links that have not yet proved who they are: a handshake takes a round trip or two,
/// and those who never finish it are gone after five seconds.
pub const GREETINGS_MAX: usize = 64;
/// Bytes that may wait for one link beyond what its socket takes: a second of 50 MB/s. A gateway
/// that is paused is noticed as silent before a busy router comes near it.
pub const LINK_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Empty buffers kept for the next batches.
const SPARE_BUFFERS_MAX: usize = 64;

/// Names one link for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId {
    slot: usize,
    generation: u64,
}

/// What a link's bytes mean to the tier. Batches are borrowed from them.
pub enum Heard<'a> {
    /// Frames from a worker of a gateway.
    Uplinks(u16, &'a [u8]),
    /// Frames from another router's host.
    Peers(u16, &'a [u8]),
    /// Links have come or gone: [`Board::changes`] has what to tell the host.
    Changed,
}

/// What the host is to be told about who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A worker of a gateway.
    OriginCame(u16),
    /// It is gone.
    OriginGone(u16),
    /// The link to a router is up.
    PeerUp(u16),
    /// And no longer.
    PeerDown(u16),
}

struct Link {
    generation: u64,
    session: LinkSession,
    queue: BatchQueue,
    /// Wakes the task that writes to the socket.
    writer: Rc<Notify>,
    address: SocketAddr,
    peer: Option<PeerIdentity>,
    /// Origin of each worker of the gateway.
    origins: Vec<u16>,
    /// Cost of batches that are done with at the end of the turn.
    owed: u32,
    /// Something waits for the socket, perhaps.
    dirty: bool,
}

/// What a writer has to do next.
pub enum ToWrite {
    /// Nothing now.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// These, and then the link is over.
    Last(Vec<u8>),
}

/// See the module.
pub struct Board {
    links: Vec<Option<Link>>,
    generation: u64,
    origins: Vec<Option<(LinkId, u16)>>,
    /// Numbers to give, those used longest ago first.
    free_origins: VecDeque<u16>,
    peers: Vec<Option<LinkId>>,
    dirty: Vec<LinkId>,
    slow: Vec<LinkId>,
    changes: Vec<Change>,
    spare: Vec<Vec<u8>>,
    metrics: Arc<LinkMetrics>,
}

impl Board {
    /// A board without links, of one of `routers` routers.
    pub fn new(routers: u16, metrics: Arc<LinkMetrics>) -> Self {
        Self {
            links: Vec::new(),
            generation: 0,
            origins: vec![None; usize::from(ORIGINS_MAX)],
            free_origins: (0..ORIGINS_MAX).collect(),
            peers: vec![None; usize::from(routers)],
            dirty: Vec::new(),
            slow: Vec::new(),
            changes: Vec::new(),
            spare: Vec::new(),
            metrics,
        }
    }

    fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.links.get_mut(id.slot)?.as_mut()?;
        (link.generation == id.generation).then_some(link)
    }

    /// There is a place for another link. Those that were dialled always find one: there are few.
    pub fn has_room(&self) -> bool {
        let links = self.links.iter().flatten();
        let greeting = links.clone().filter(|link| link.peer.is_none()).count();
        greeting < GREETINGS_MAX && links.count() < LINKS_MAX
    }

    /// A connection begins; `writer` is notified when there is something to write.
    pub fn add(&mut self, session: LinkSession, address: SocketAddr, writer: Rc<Notify>) -> LinkId {
        self.generation += 1;
        let slot = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        if slot == self.links.len() {
            self.links.push(None);
        }
        let id = LinkId { slot, generation: self.generation };
        self.links[slot] = Some(Link {
            generation: self.generation,
            session,
            queue: BatchQueue::new(LINK_QUEUE_BYTES_MAX),
            writer,
            address,
            peer: None,
            origins: Vec::new(),
            owed: 0,
            dirty: false,
        });
        self.mark(id);
        id
    }

    /// Takes the first frame of received bytes: how many of them, or `None` if there is none
    /// whole, and what it means.
    pub fn step<'a>(
        &mut self,
        now: Now,
        id: LinkId,
        bytes: &'a [u8],
    ) -> (Option<usize>, Option<Heard<'a>>) {
        let Some(link) = self.get(id) else { return (Some(bytes.len()), None) };
        let (count, event) = match link.session.step(now, bytes) {
            Taken::NeedMore(_) => return (None, None),
            Taken::Frame(count, event) => (Some(count), event),
        };
        let heard = event.and_then(|event| self.on_event(id, event));
        self.mark(id);
        (count, heard)
    }

    fn on_event<'a>(&mut self, id: LinkId, event: LinkEvent<'a>) -> Option<Heard<'a>> {
        match event {
            LinkEvent::Up(peer) => {
                self.on_up(id, peer);
                Some(Heard::Changed)
            }
            LinkEvent::Batch { family, worker, bytes, cost } => {
                self.metrics.received_batches.add(1);
                self.metrics.received_bytes.add(bytes.len() as u64);
                let link = self.get(id)?;
                link.owed += cost;
                match family {
                    Family::Uplink => {
                        let origin = *link.origins.get(usize::from(worker))?;
                        Some(Heard::Uplinks(origin, bytes))
                    }
                    Family::Peer => Some(Heard::Peers(link.peer.as_ref()?.index?, bytes)),
                    Family::Downlink => None,
                }
            }
            LinkEvent::GoAway(reason) => {
                let link = self.get(id)?;
                tracing::info!(peer = %called(link), %reason, "the other side is about to end");
                None
            }
            LinkEvent::Down(end) => {
                self.on_down(id, &end);
                Some(Heard::Changed)
            }
        }
    }

    fn on_up(&mut self, id: LinkId, peer: PeerIdentity) {
        // The same process again: its former connection is dead, only nobody has noticed.
        let former = self.links.iter().enumerate().find_map(|(slot, link)| {
            let link = link.as_ref()?;
            let same = link.peer.as_ref().is_some_and(|other| {
                other.epoch == peer.epoch || (other.index.is_some() && other.index == peer.index)
            });
            (same && slot != id.slot).then_some(LinkId { slot, generation: link.generation })
        });
        if let Some(former) = former {
            let text = "another link of the same process is up".to_owned();
            self.end(former, Refusal::of(refusal_code::REPLACED, text));
        }
        let workers = usize::from(peer.workers);
        let fits = peer.role == Role::Router || workers <= self.free_origins.len();
        let Some(link) = self.get(id) else { return };
        link.peer = Some(peer.clone());
        tracing::info!(peer = %called(link), version = peer.version, "link up");
        match (peer.role, peer.index) {
            (Role::Gateway, _) if fits => self.let_in(id, workers),
            (Role::Router, Some(index)) if usize::from(index) < self.peers.len() => {
                self.peers[usize::from(index)] = Some(id);
                self.changes.push(Change::PeerUp(index));
            }
            _ => {
                let text = format!("no room for {workers} more workers of gateways");
                self.end(
                    id,
                    Refusal { retry_after_ms: 1000, ..Refusal::of(refusal_code::FULL, text) },
                );
            }
        }
        self.count();
    }

    fn let_in(&mut self, id: LinkId, workers: usize) {
        let origins: Vec<u16> = self.free_origins.drain(..workers).collect();
        for (worker, origin) in origins.iter().enumerate() {
            self.origins[usize::from(*origin)] = Some((id, worker as u16));
            self.changes.push(Change::OriginCame(*origin));
        }
        if let Some(link) = self.get(id) {
            link.origins = origins;
        }
    }

    fn on_down(&mut self, id: LinkId, end: &LinkEnd) {
        let Some(link) = self.get(id) else { return };
        tracing::warn!(peer = %called(link), "link ended: {end}");
        match end {
            LinkEnd::RefusedPeer(_) | LinkEnd::RefusedByPeer(_) => self.metrics.refused.add(1),
            LinkEnd::Silent => self.metrics.silent.add(1),
            LinkEnd::NotALink(_) | LinkEnd::Malformed(_) | LinkEnd::HandshakeTimeout => {
                self.metrics.broken.add(1);
            }
        }
        self.forget_peer(id);
    }

    /// Ends a link and tells the other side why.
    pub fn end(&mut self, id: LinkId, reason: Refusal) {
        let Some(link) = self.get(id) else { return };
        tracing::warn!(peer = %called(link), %reason, "ending the link");
        link.session.refuse(reason);
        self.forget_peer(id);
        self.mark(id);
    }

    /// The connection is gone, whoever ended it. True: the link has been up.
    pub fn remove(&mut self, id: LinkId, why: Option<&std::io::Error>) -> bool {
        let Some(link) = self.get(id) else { return false };
        let was_up = link.peer.is_some();
        if !link.session.is_over() {
            let peer = called(link);
            match why {
                Some(error) => tracing::warn!(%peer, %error, "link lost"),
                None => tracing::warn!(%peer, "link closed by the other side"),
            }
            self.metrics.lost.add(1);
        }
        self.forget_peer(id);
        self.links[id.slot] = None;
        self.count();
        was_up
    }

    /// Who was behind a link no longer is.
    fn forget_peer(&mut self, id: LinkId) {
        let Some(link) = self.get(id) else { return };
        let index = link.peer.as_ref().and_then(|peer| peer.index);
        for origin in std::mem::take(&mut link.origins) {
            self.origins[usize::from(origin)] = None;
            self.free_origins.push_back(origin);
            self.changes.push(Change::OriginGone(origin));
        }
        if let Some(index) = index
            && let Some(place) = self.peers.get_mut(usize::from(index))
            && *place == Some(id)
        {
            *place = None;
            self.changes.push(Change::PeerDown(index));
        }
    }

    /// What has changed since it was asked last, in order.
    pub fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// All who are there, for a host that has begun anew.
    pub fn everybody(&self) -> Vec<Change> {
        let origins = self.origins.iter().enumerate().filter(|(_, origin)| origin.is_some());
        origins.map(|(number, _)| Change::OriginCame(number as u16)).collect()
    }

    /// Ends the links to other routers: what was said on them rests on a life of the host that is
    /// over.
    pub fn end_peers(&mut self) {
        for id in self.peers.clone().into_iter().flatten() {
            let text = "the log failed and was read back".to_owned();
            self.end(id, Refusal::of(refusal_code::REPLACED, text));
        }
    }

    /// Timers of all links.
    pub fn on_time(&mut self, now: Now) {
        let mut round_trip_us = 0;
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            let id = LinkId { slot, generation: link.generation };
            if link.session.next_deadline().is_some_and(|at| at <= now.monotonic_us) {
                if let Some(LinkEvent::Down(end)) = link.session.on_deadline(now) {
                    self.on_down(id, &end);
                }
                self.mark(id);
            }
            let link = self.links[slot].as_ref();
            round_trip_us = round_trip_us
                .max(link.and_then(|link| link.session.round_trip_us()).unwrap_or_default());
        }
        self.metrics.round_trip_us.set(round_trip_us);
    }

    /// All links hear that this process ends soon.
    pub fn go_away(&mut self) {
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            link.session.go_away(shutting_down());
            let id = LinkId { slot, generation: link.generation };
            self.mark(id);
        }
    }

    /// All links are over.
    pub fn end_all(&mut self) {
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            link.session.refuse(shutting_down());
            let id = LinkId { slot, generation: link.generation };
            self.forget_peer(id);
            self.mark(id);
        }
    }

    fn mark(&mut self, id: LinkId) {
        let Some(link) = self.get(id) else { return };
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(id);
        }
    }

    /// End of a turn: grants what was taken, encodes what credit allows, wakes writers.
    pub fn flush(&mut self) {
        for id in std::mem::take(&mut self.slow) {
            self.metrics.slow.add(1);
            let text = "too much waits for this link".to_owned();
            self.end(id, Refusal::of(refusal_code::TOO_SLOW, text));
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.encode(id);
            let Some(link) = self.get(id) else { continue };
            link.dirty = false;
            let owed = std::mem::take(&mut link.owed);
            if owed > 0 {
                link.session.grant(owed);
            }
            if link.session.out_bytes() > 0 || link.session.is_over() {
                link.writer.notify_one();
            }
        }
        // Those that were ended meanwhile stay for the next flush.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn encode(&mut self, id: LinkId) {
        let mut spare = std::mem::take(&mut self.spare);
        let damaged = self.get(id).is_some_and(|link| {
            let keep = |mut buffer: Vec<u8>| {
                if spare.len() < SPARE_BUFFERS_MAX {
                    buffer.clear();
                    spare.push(buffer);
                }
            };
            link.queue.flush(&mut link.session, keep).is_err()
        });
        self.spare = spare;
        if damaged {
            // A fault of ours; the other side would never get out of it.
            self.metrics.broken.add(1);
            let text = "a batch cannot be cut into frames".to_owned();
            self.end(id, Refusal::of(refusal_code::MALFORMED, text));
        }
    }

    /// What the writer of a link has to write now; `empty` is the buffer it wrote before.
    pub fn to_write(&mut self, id: LinkId, empty: Vec<u8>) -> ToWrite {
        self.encode(id);
        let Some(link) = self.get(id) else { return ToWrite::Last(Vec::new()) };
        let is_over = link.session.is_over();
        let bytes = link.session.take_out(empty);
        self.metrics.sent_bytes.add(bytes.len() as u64);
        match (is_over, bytes.is_empty()) {
            (true, _) => ToWrite::Last(bytes),
            (false, true) => ToWrite::Nothing,
            (false, false) => ToWrite::Bytes(bytes),
        }
    }

    /// Empty buffers for the host.
    pub fn pop_spare(&mut self) -> Option<Vec<u8>> {
        self.spare.pop()
    }

    /// No link at all.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(Option::is_none)
    }

    /// Something waits to be sent to somebody who is there.
    pub fn has_output(&self) -> bool {
        let mut links = self.links.iter().flatten();
        links.any(|link| {
            !link.session.is_over() && (link.session.out_bytes() > 0 || !link.queue.is_empty())
        })
    }

    fn count(&self) {
        let peers = self.links.iter().flatten().filter_map(|link| link.peer.as_ref());
        let routers = peers.clone().filter(|peer| peer.role == Role::Router).count();
        self.metrics.gateways.set((peers.count() - routers) as u64);
        self.metrics.routers.set(routers as u64);
    }

    fn push(&mut self, id: LinkId, family: Family, worker: u16, batch: Vec<u8>) {
        let bytes = batch.len() as u64;
        let Some(link) = self.get(id) else { return };
        let back = match link.queue.push(family, worker, batch) {
            Ok(back) => back,
            Err(_) => {
                self.slow.push(id);
                return;
            }
        };
        if let Some(mut buffer) = back.filter(|_| self.spare.len() < SPARE_BUFFERS_MAX) {
            buffer.clear();
            self.spare.push(buffer);
        }
        self.metrics.sent_batches.add(1);
        self.metrics.batch_bytes.record(bytes);
        self.mark(id);
    }
}

impl Parcels for Board {
    fn send(&mut self, to: usize, parcel: Parcel) {
        match parcel {
            Parcel::Downlink(batch) => match self.origins.get(to).copied().flatten() {
                Some((id, worker)) => self.push(id, Family::Downlink, worker, batch),
                None => self.metrics.undeliverable.add(1),
            },
            Parcel::Peer { batch, .. } => match self.peers.get(to).copied().flatten() {
                Some(id) => self.push(id, Family::Peer, 0, batch),
                None => self.metrics.undeliverable.add(1),
            },
            // The process has one host, with a lane of its own, and no workers.
            _ => {}
        }
    }
}

fn shutting_down() -> Refusal {
    let reason = Refusal::of(refusal_code::SHUTTING_DOWN, "the router is shutting down".to_owned());
    Refusal { retry_after_ms: 1000, ..reason }
}

/// What a link is called in the log.
fn called(link: &Link) -> String {
    let address = link.address;
    match &link.peer {
        None => address.to_string(),
        Some(PeerIdentity { role: Role::Router, index: Some(index), .. }) => {
            format!("router {index} at {address}")
        }
        Some(peer) => format!("gateway {} at {address}", peer.name),
    }
}
