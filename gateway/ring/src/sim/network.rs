//! Virtual TCP: connections as two bounded byte streams, with FIN, RST and latency.
//!
//! Each direction keeps its order. What a sender wrote waits on the wire until it arrives and
//! fits into the receiver's buffer; until then it fills the sender's.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use super::world::{Happening, State};

/// A lost connection request is repeated after this, as Linux does first (RFC 6298: 1 s).
const SYN_AGAIN_US: u64 = 1_000_000;
/// First port given to a client that names none.
const FIRST_FREE_PORT: u16 = 20_000;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub connection: u32,
    pub side: u8,
}

impl End {
    pub const fn other(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }
}

/// Who reads and writes an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A slot of a ring.
    Slot { ring: u32, slot: u32 },
    /// A peer of the test's.
    Peer,
    /// Not accepted yet.
    Backlog { listener: u32 },
}

#[derive(Debug)]
enum Item {
    Bytes(VecDeque<u8>),
    Fin,
    Reset,
}

/// One end's state: what it has received, and what is on the wire towards it.
#[derive(Debug)]
pub(super) struct Half {
    pub address: SocketAddr,
    pub owner: Owner,
    pub inbound: VecDeque<u8>,
    wire: VecDeque<(u64, Item)>,
    wire_bytes: usize,
    /// The peer has finished.
    pub fin: bool,
    /// The connection is dead for this end, with this errno.
    pub error: Option<i32>,
    /// This end has closed.
    pub closed: bool,
    pub established: bool,
    /// Something arrived since the last look of a watch.
    pub edge: bool,
    pub send_bytes_max: usize,
    user_timeout_us: u64,
    /// Bytes a [`super::SimPeer`] wants to send; unbounded, it is the test's own.
    pub outbox: VecDeque<u8>,
}

#[derive(Debug)]
pub(super) struct Connection {
    halves: [Half; 2],
    /// Nothing arrives any more, in either direction.
    cut: bool,
}

#[derive(Debug)]
pub(super) struct Listening {
    pub address: SocketAddr,
    /// Ring that listens; `None`: the test.
    pub ring: Option<u32>,
    pub backlog: VecDeque<End>,
    backlog_max: usize,
    send_bytes_max: usize,
    user_timeout_us: u64,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<u32, Connection>,
    next_connection: u32,
    pub listeners: BTreeMap<u32, Listening>,
    next_listener: u32,
    next_port: u16,
}

/// What a new socket is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketSizes {
    pub send_bytes: usize,
    pub user_timeout_us: u64,
}

impl Network {
    pub fn half(&self, end: End) -> Option<&Half> {
        Some(&self.connections.get(&end.connection)?.halves[usize::from(end.side)])
    }

    pub fn half_mut(&mut self, end: End) -> Option<&mut Half> {
        Some(&mut self.connections.get_mut(&end.connection)?.halves[usize::from(end.side)])
    }

    /// Both ends of every connection.
    pub fn ends(&self) -> impl Iterator<Item = End> + '_ {
        let both = |connection| [0, 1].map(|side| End { connection, side });
        self.connections.keys().copied().flat_map(both)
    }

    /// Bytes the send buffer of `end` has room for.
    pub fn send_room(&self, end: End) -> usize {
        let Some(connection) = self.connections.get(&end.connection) else { return 0 };
        let [mine, theirs] = [end.side, end.other().side].map(usize::from);
        let unread = connection.halves[theirs].wire_bytes;
        connection.halves[mine].send_bytes_max.saturating_sub(unread)
    }

    /// Connections neither end of which is forgotten.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    fn forget_if_over(&mut self, connection: u32) {
        let over = self.connections.get(&connection).is_some_and(|connection| {
            connection.halves.iter().all(|half| half.closed)
                && (connection.cut || connection.halves.iter().all(|half| half.wire.is_empty()))
        });
        if over {
            self.connections.remove(&connection);
        }
    }
}

impl State {
    pub(super) fn listen(
        &mut self,
        ring: Option<u32>,
        mut address: SocketAddr,
        backlog: u32,
        sizes: SocketSizes,
    ) -> Option<u32> {
        if address.port() == 0 {
            address.set_port(self.free_port());
        }
        // As with SO_REUSEPORT, rings share an address; a test's listener has its own.
        let taken = self
            .network
            .listeners
            .values()
            .any(|other| other.address == address && (other.ring.is_none() || ring.is_none()));
        if taken {
            return None;
        }
        let listener = self.network.next_listener;
        self.network.next_listener += 1;
        self.network.listeners.insert(
            listener,
            Listening {
                address,
                ring,
                backlog: VecDeque::new(),
                backlog_max: backlog.max(1) as usize,
                send_bytes_max: sizes.send_bytes,
                user_timeout_us: sizes.user_timeout_us,
            },
        );
        Some(listener)
    }

    /// Closes a listener and resets what it had not accepted.
    pub(super) fn unlisten(&mut self, listener: u32) {
        let Some(listening) = self.network.listeners.remove(&listener) else { return };
        for end in listening.backlog {
            self.close_end(end, true);
        }
    }

    /// Sends a connection request.
    pub(super) fn connect(
        &mut self,
        mut source: SocketAddr,
        target: SocketAddr,
        owner: Owner,
        sizes: SocketSizes,
    ) -> End {
        if source.port() == 0 {
            source.set_port(self.free_port());
        }
        let half = |address, owner, send_bytes_max, user_timeout_us| Half {
            address,
            owner,
            inbound: VecDeque::new(),
            wire: VecDeque::new(),
            wire_bytes: 0,
            fin: false,
            error: None,
            closed: false,
            established: false,
            edge: false,
            send_bytes_max,
            user_timeout_us,
            outbox: VecDeque::new(),
        };
        let connection = self.network.next_connection;
        self.network.next_connection += 1;
        let halves = [
            half(source, owner, sizes.send_bytes, sizes.user_timeout_us),
            // Becomes real when the request arrives.
            half(target, Owner::Peer, 0, 0),
        ];
        self.network.connections.insert(connection, Connection { halves, cut: false });
        let end = End { connection, side: 0 };
        let at = self.now_us + self.travel(end);
        self.schedule(at, Happening::Request { connection });
        end
    }

    /// A connection request arrives.
    pub(super) fn on_request(&mut self, connection: u32) {
        let asking = End { connection, side: 0 };
        if self.network.connections.get(&connection).is_none_or(|connection| connection.cut) {
            return;
        }
        if self.is_lost(asking) {
            if self.network.half(asking).is_some_and(|half| !half.closed) {
                self.schedule(self.now_us + SYN_AGAIN_US, Happening::Request { connection });
            }
            return;
        }
        let Some(half) = self.network.half(asking.other()) else { return };
        let target = half.address;
        let candidates: Vec<u32> = self
            .network
            .listeners
            .iter()
            .filter(|(_, listening)| serves(listening.address, target))
            .map(|(listener, _)| *listener)
            .collect();
        let answer_at = self.now_us + self.travel(asking.other());
        if candidates.is_empty() {
            self.schedule(answer_at, Happening::Refused { connection });
            return;
        }
        let listener = candidates[self.random.below(candidates.len() as u64) as usize];
        let listening = self.network.listeners.get_mut(&listener).expect("a candidate");
        if listening.backlog.len() >= listening.backlog_max {
            self.schedule(self.now_us + SYN_AGAIN_US, Happening::Request { connection });
            return;
        }
        let end = End { connection, side: 1 };
        listening.backlog.push_back(end);
        let (send_bytes, user_timeout_us, ring) =
            (listening.send_bytes_max, listening.user_timeout_us, listening.ring);
        if let Some(ring) = ring {
            self.rings[ring as usize].accepts_dirty = true;
        }
        let half = self.network.half_mut(end).expect("looked up above");
        half.owner = Owner::Backlog { listener };
        half.established = true;
        half.send_bytes_max = send_bytes;
        half.user_timeout_us = user_timeout_us;
        self.schedule(answer_at, Happening::Established { connection });
    }

    /// The answer to a request arrives.
    pub(super) fn on_answer(&mut self, connection: u32, refused: bool) {
        let end = End { connection, side: 0 };
        let Some(half) = self.network.half_mut(end) else { return };
        if half.closed {
            return;
        }
        if self.is_lost(end.other()) {
            let again = match refused {
                true => Happening::Refused { connection },
                false => Happening::Established { connection },
            };
            return self.schedule(self.now_us + SYN_AGAIN_US, again);
        }
        let Some(half) = self.network.half_mut(end) else { return };
        if refused {
            half.error = Some(libc::ECONNREFUSED);
            let other = self.network.half_mut(end.other()).expect("the same connection");
            other.closed = true;
        } else {
            half.established = true;
        }
        self.touched(end);
        self.pump(end);
    }

    /// Takes bytes into the send buffer; returns how many fitted.
    pub(super) fn transmit(&mut self, end: End, bytes: &[u8]) -> usize {
        let taken = self.network.send_room(end).min(bytes.len());
        if taken > 0 {
            let at = self.put_on_wire(end, Item::Bytes(bytes[..taken].iter().copied().collect()));
            let timeout = self.network.half(end).map_or(0, |half| half.user_timeout_us);
            if timeout > 0 {
                self.schedule(at + timeout, Happening::UserTimeout { end });
            }
        }
        taken
    }

    fn put_on_wire(&mut self, from: End, item: Item) -> u64 {
        let to = from.other();
        let mut at = self.now_us + self.travel(from);
        if let Some(half) = self.network.half_mut(to) {
            if let Some((last, _)) = half.wire.back() {
                at = at.max(*last);
            }
            if let Item::Bytes(bytes) = &item {
                half.wire_bytes += bytes.len();
            }
            half.wire.push_back((at, item));
            self.schedule(at, Happening::Deliver { end: to });
        }
        at
    }

    /// Moves what has arrived and fits into the receive buffer.
    pub(super) fn deliver(&mut self, end: End) {
        let (now_us, room_max) = (self.now_us, self.faults.conditions.receive_bytes);
        if self.is_lost(end.other()) {
            return;
        }
        let Some(connection) = self.network.connections.get_mut(&end.connection) else { return };
        if connection.cut {
            return;
        }
        let half = &mut connection.halves[usize::from(end.side)];
        let before = half.wire_bytes;
        let mut arrived = false;
        let mut refused = false;
        while half.wire.front().is_some_and(|(at, _)| *at <= now_us) {
            let room = room_max.saturating_sub(half.inbound.len());
            let (at, item) = half.wire.pop_front().expect("looked at above");
            match item {
                Item::Bytes(bytes) if half.closed || half.error.is_some() => {
                    half.wire_bytes -= bytes.len();
                    refused |= half.closed;
                }
                Item::Bytes(mut bytes) => {
                    let taken = room.min(bytes.len());
                    half.wire_bytes -= taken;
                    half.inbound.extend(bytes.drain(..taken));
                    arrived |= taken > 0;
                    if !bytes.is_empty() {
                        half.wire.push_front((at, Item::Bytes(bytes)));
                        break;
                    }
                }
                Item::Fin => {
                    arrived |= !half.fin;
                    half.fin = true;
                }
                Item::Reset => {
                    // Linux tells EPIPE to a socket whose peer had finished before.
                    let errno = if half.fin { libc::EPIPE } else { libc::ECONNRESET };
                    arrived |= half.error.is_none();
                    half.error.get_or_insert(errno);
                }
            }
        }
        let freed = half.wire_bytes < before;
        if arrived {
            self.touched(end);
        }
        if refused {
            self.put_on_wire(end, Item::Reset);
        }
        if freed {
            self.wake_owner(end.other());
            self.pump(end.other());
        }
        self.network.forget_if_over(end.connection);
    }

    /// Takes up to `bytes_max` received bytes; room made is filled from the wire.
    pub(super) fn take_inbound(&mut self, end: End, bytes_max: usize) -> Vec<u8> {
        let Some(half) = self.network.half_mut(end) else { return Vec::new() };
        let taken = half.inbound.len().min(bytes_max);
        let bytes = half.inbound.drain(..taken).collect();
        if taken > 0 {
            self.deliver(end);
        }
        bytes
    }

    /// Closes one end: FIN, or RST if asked or if bytes were left unread, as Linux does.
    pub(super) fn close_end(&mut self, end: End, abort: bool) {
        let Some(half) = self.network.half_mut(end) else { return };
        if half.closed {
            return;
        }
        half.closed = true;
        let dead = half.error.is_some();
        let unread = !half.inbound.is_empty();
        half.inbound.clear();
        half.outbox.clear();
        if !dead {
            self.put_on_wire(end, if abort || unread { Item::Reset } else { Item::Fin });
        }
        self.network.forget_if_over(end.connection);
    }

    /// Kills a connection for one end without telling the other.
    pub(super) fn fail_end(&mut self, end: End, errno: i32) {
        if let Some(half) = self.network.half_mut(end) {
            half.error.get_or_insert(errno);
            half.inbound.clear();
            self.touched(end);
        }
    }

    /// Resets a connection for both ends, as a network device does.
    pub(super) fn reset_both(&mut self, end: End) {
        self.put_on_wire(end, Item::Reset);
        self.put_on_wire(end.other(), Item::Reset);
    }

    /// From now on nothing arrives, in either direction.
    pub(super) fn cut(&mut self, end: End) {
        if let Some(connection) = self.network.connections.get_mut(&end.connection) {
            connection.cut = true;
        }
        self.network.forget_if_over(end.connection);
    }

    /// Bytes have been unacknowledged for as long as the socket bears.
    pub(super) fn on_user_timeout(&mut self, end: End) {
        // An answer lost is as good as what it answers.
        let is_lost = self.is_lost(end) || self.is_lost(end.other());
        let Some(connection) = self.network.connections.get(&end.connection) else { return };
        if (connection.cut || is_lost)
            && connection.halves[usize::from(end.other().side)].wire_bytes > 0
        {
            self.fail_end(end, libc::ETIMEDOUT);
        }
    }

    /// Moves a peer's outbox into its send buffer as room allows.
    pub(super) fn pump(&mut self, end: End) {
        let Some(half) = self.network.half_mut(end) else { return };
        if half.outbox.is_empty() || !half.established || half.closed {
            return;
        }
        let bytes: Vec<u8> = half.outbox.iter().copied().collect();
        let taken = self.transmit(end, &bytes);
        if let Some(half) = self.network.half_mut(end) {
            half.outbox.drain(..taken);
        }
    }

    /// Something arrived at `end`.
    fn touched(&mut self, end: End) {
        if let Some(half) = self.network.half_mut(end) {
            half.edge = true;
        }
        self.wake_owner(end);
    }

    fn wake_owner(&mut self, end: End) {
        if let Some(Half { owner: Owner::Slot { ring, slot }, closed: false, .. }) =
            self.network.half(end)
        {
            self.rings[*ring as usize].dirty.insert(*slot);
        }
    }

    pub(super) fn latency(&mut self) -> u64 {
        let (low, high) = self.faults.conditions.latency_us;
        self.random.between(low, high)
    }

    fn free_port(&mut self) -> u16 {
        let port = self.network.next_port.max(FIRST_FREE_PORT);
        self.network.next_port = port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        port
    }
}

/// A listener at `address` gets what is sent to `target`.
fn serves(address: SocketAddr, target: SocketAddr) -> bool {
    address.port() == target.port()
        && address.is_ipv4() == target.is_ipv4()
        && (address.ip() == target.ip() || address.ip().is_unspecified())
}
