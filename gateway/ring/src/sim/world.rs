//! The clock, the queue of things to come, and what all rings of a world share.

use std::{
    cell::{RefCell, RefMut},
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use hawser_codec::time::Now;

use super::{
    Fault, FaultCounts, Faults, Random, Road, SimListener, SimPeer,
    network::{End, Network, Owner, SocketSizes},
};
use crate::{Completion, RingAddress};

/// Virtual time a world starts at, so that a deadline before its start can be named.
const START_US: u64 = 1_000_000_000;
/// Wall clock a world starts at: 2027-01-01 UTC, milliseconds.
const START_WALL_MS: u64 = 1_798_761_600_000;

/// How a process ends when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: the kernel lives on and finishes the writes it was given, or never saw them.
    Process,
    /// The power fails: writes not yet durable are there, gone or torn.
    Power,
}

/// What will happen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Request {
        connection: u32,
    },
    Established {
        connection: u32,
    },
    Refused {
        connection: u32,
    },
    Deliver {
        end: End,
    },
    UserTimeout {
        end: End,
    },
    /// A ring has something to look at.
    Due {
        ring: u32,
    },
}

/// What others see of a ring.
#[derive(Debug, Default)]
pub(super) struct RingCore {
    pub alive: bool,
    /// Slots of the table and what is in them.
    pub slots: Vec<Option<End>>,
    pub used: u32,
    /// Slots to look at in the next turn.
    pub dirty: BTreeSet<u32>,
    pub accepts_dirty: bool,
    /// Completions from other rings, with the slot each is about.
    pub inbox: VecDeque<(Option<u32>, Completion)>,
    /// Something waits that a turn would report or take now.
    pub pending: bool,
}

impl RingCore {
    /// Puts an end into the lowest free slot, which reuses slots as early as can be.
    pub fn place(&mut self, end: End) -> Option<u32> {
        let slot = self.slots.iter().position(Option::is_none)?;
        self.slots[slot] = Some(end);
        self.used += 1;
        Some(slot as u32)
    }

    pub fn vacate(&mut self, slot: u32) -> Option<End> {
        let end = self.slots.get_mut(slot as usize)?.take()?;
        self.used -= 1;
        self.dirty.remove(&slot);
        Some(end)
    }
}

/// Everything of a world.
#[derive(Debug)]
pub(super) struct State {
    pub now_us: u64,
    wall_offset_ms: i64,
    pub random: Random,
    pub faults: Faults,
    pub counts: FaultCounts,
    events: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    sequence: u64,
    pub network: Network,
    pub rings: Vec<RingCore>,
    /// Ways between machines that are not like all others.
    pub roads: BTreeMap<(IpAddr, IpAddr), Road>,
}

impl State {
    pub fn now(&self) -> Now {
        let passed_ms = (self.now_us - START_US) / 1000;
        Now {
            monotonic_us: self.now_us,
            wall_ms: (START_WALL_MS + passed_ms).saturating_add_signed(self.wall_offset_ms),
        }
    }

    /// Chance decides whether `fault` strikes; counted.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults.strikes(fault, &mut self.random);
        if strikes {
            self.counts.hit(fault);
        }
        strikes
    }

    pub fn schedule(&mut self, at_us: u64, happening: Happening) {
        self.sequence += 1;
        self.events.push(Reverse((at_us.max(self.now_us), self.sequence, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Request { connection } => self.on_request(connection),
            Happening::Established { connection } => self.on_answer(connection, false),
            Happening::Refused { connection } => self.on_answer(connection, true),
            Happening::Deliver { end } => self.deliver(end),
            Happening::UserTimeout { end } => self.on_user_timeout(end),
            Happening::Due { ring } => self.rings[ring as usize].pending = true,
        }
    }

    fn advance_to(&mut self, us: u64) {
        while let Some(Reverse((at, _, happening))) = self.events.peek().copied() {
            if at > us {
                break;
            }
            self.events.pop();
            self.now_us = self.now_us.max(at);
            self.happen(happening);
        }
        self.now_us = self.now_us.max(us);
    }

    fn ring_has_work(&self) -> bool {
        self.rings.iter().any(|ring| {
            ring.alive
                && (ring.pending
                    || ring.accepts_dirty
                    || !ring.dirty.is_empty()
                    || !ring.inbox.is_empty())
        })
    }
}

/// A simulated world; clones are the same world.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// A world whose every chance comes from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(State {
            now_us: START_US,
            wall_offset_ms: 0,
            random: Random::new(seed),
            faults,
            counts: FaultCounts::default(),
            events: BinaryHeap::new(),
            sequence: 0,
            network: Network::default(),
            rings: Vec::new(),
            roads: BTreeMap::new(),
        })))
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Time now.
    pub fn now(&self) -> Now {
        self.state().now()
    }

    /// Moves time to `us` (never back) and lets happen what was to happen until then.
    pub fn advance_to(&self, us: u64) {
        self.state().advance_to(us);
    }

    /// When something happens next, microseconds: now if a ring's turn would find something.
    /// `None`: nothing until somebody acts. A waker's wake from outside is not foreseen.
    pub fn next_event_us(&self) -> Option<u64> {
        let state = self.state();
        if state.ring_has_work() {
            return Some(state.now_us);
        }
        state.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// Sets the wall clock back or forward; the monotonic clock goes on.
    pub fn jump_wall_ms(&self, by_ms: i64) {
        self.state().wall_offset_ms += by_ms;
    }

    /// How often each fault was hit so far.
    pub fn counts(&self) -> FaultCounts {
        self.state().counts.clone()
    }

    /// Changes the faults, for a run that ends in fair weather.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// A number below `bound` from the world's seed.
    pub fn draw(&self, bound: u64) -> u64 {
        self.state().random.below(bound)
    }

    /// Connects a peer of the test's to a listener.
    pub fn connect(&self, source: SocketAddr, target: SocketAddr) -> SimPeer {
        let mut state = self.state();
        let sizes =
            SocketSizes { send_bytes: state.faults.conditions.send_bytes, user_timeout_us: 0 };
        let end = state.connect(source, target, Owner::Peer, sizes);
        drop(state);
        SimPeer::new(self.clone(), end)
    }

    /// Listens on the test's side, for rings that connect out. `None`: the address is taken.
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> Option<SimListener> {
        let mut state = self.state();
        let sizes =
            SocketSizes { send_bytes: state.faults.conditions.send_bytes, user_timeout_us: 0 };
        let listener = state.listen(None, address, backlog, sizes)?;
        drop(state);
        Some(SimListener::new(self.clone(), listener))
    }

    /// Connections of which an end is still open.
    pub fn open_connections(&self) -> usize {
        self.state().network.open_connections()
    }

    /// The state of a ring vanishes with its process: listeners close, connections are reset.
    pub(super) fn drop_ring(&self, ring: RingAddress) {
        let mut state = self.state();
        let core = &mut state.rings[ring.0 as usize];
        core.alive = false;
        core.inbox.clear();
        core.dirty.clear();
        let ends: Vec<End> = core.slots.drain(..).flatten().collect();
        let listeners: Vec<u32> = state
            .network
            .listeners
            .iter()
            .filter(|(_, listening)| listening.ring == Some(ring.0))
            .map(|(listener, _)| *listener)
            .collect();
        for end in ends {
            state.close_end(end, true);
        }
        for listener in listeners {
            state.unlisten(listener);
        }
    }
}
