//! How connections come up: the first connect of every slot at a rate, and all others when they
//! are due, never more at a time than a bound.

use std::collections::VecDeque;

use hawser_ring::{Operation, Ring, SocketOptions, Token};

use super::{
    Phase, Worker,
    slots::{Awaits, Mood, Net},
};
use crate::{
    scenario::{Arrivals, Connect, Kind},
    schedule::Random,
    tally::Stage,
};

/// Connects of one worker on their way: enough for any rate on loopback, and below the usual
/// listen backlog together with the other workers'.
const CONNECTS_IN_FLIGHT: u32 = 128;

/// The same of a storm, whose clients do not wait for each other: what a quarter of a full
/// completion queue can tell of in one turn.
const STORM_CONNECTS_IN_FLIGHT: u32 = 4096;

/// Receive buffer of a connection that will not read for a time, bytes: some messages fill it, and
/// what follows has to wait at the server.
const DOZER_RECEIVE_BYTES: u32 = 4096;

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Ramp {
    /// Microseconds between two connects.
    interval_us: f64,
    arrivals: Arrivals,
    random: Random,
    /// Intended time of the next first connect, microseconds.
    next_us: f64,
    next_slot: u32,
    in_flight_max: u32,
    pub(super) in_flight: u32,
    /// Others that are due and found as many in flight.
    waiting: VecDeque<u32>,
}

impl Ramp {
    /// Of a worker that connects so often a second from `now_us` on.
    pub(super) fn new(connect: &Connect, rate: f64, seed: u64, now_us: u64) -> Self {
        Self {
            interval_us: 1e6 / rate,
            arrivals: connect.arrivals,
            random: Random(seed),
            next_us: now_us as f64,
            next_slot: 0,
            in_flight_max: if connect.unbounded {
                STORM_CONNECTS_IN_FLIGHT
            } else {
                CONNECTS_IN_FLIGHT
            },
            in_flight: 0,
            waiting: VecDeque::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max
    }

    fn step(&mut self) {
        self.next_us += match self.arrivals {
            Arrivals::Constant => self.interval_us,
            // 1 - fraction is above 0, so the logarithm is finite.
            Arrivals::Poisson => -self.interval_us * (1.0 - self.random.fraction()).ln(),
        };
    }
}

impl<R: Ring> Worker<R> {
    /// Starts the connects that are due; gives when the next first one is.
    pub(super) fn ramp_up(&mut self) -> u64 {
        while self.ramp.has_room()
            && let Some(slot) = self.ramp.waiting.pop_front()
        {
            let entry = &self.slots[slot as usize];
            if entry.net == Net::Down && entry.mood != Mood::Away {
                self.connect(slot);
            }
        }
        let unbounded = self.assignment.scenario.connect.unbounded;
        let count = self.slots.len() as u32;
        // A ramp that runs ahead of the server only fills its backlog until clients time out and
        // come back: that is the storm scenario, not the way to a held million.
        let logged_in = self.world.tally.counters.logged_in.min(u64::from(count)) as u32;
        let allowed = logged_in.saturating_add(self.assignment.logins_unfinished_max);
        let allowed = if unbounded { count } else { allowed.min(count) };
        let now_us = self.now.monotonic_us;
        while self.ramp.next_slot < allowed
            && self.ramp.has_room()
            && self.ramp.next_us <= now_us as f64
        {
            let slot = self.ramp.next_slot;
            let intended_us = self.ramp.next_us as u64;
            self.ramp.next_slot += 1;
            self.ramp.step();
            let entry = &mut self.slots[slot as usize];
            entry.awaits = Awaits::FirstLogin;
            // Where the ramp waits for the server, nothing was intended before now.
            entry.since_us = if unbounded { intended_us } else { now_us };
            if unbounded {
                self.world.tally.record(Stage::Lag, now_us.saturating_sub(intended_us));
            }
            self.connect(slot);
        }
        if self.ramp.next_slot >= allowed || !self.ramp.has_room() {
            return u64::MAX;
        }
        self.ramp.next_us as u64 + 1
    }

    /// Connects, or as soon as there is room.
    pub(super) fn begin_connect(&mut self, slot: u32) {
        if self.phase() == Phase::Stop {
            return;
        }
        if self.ramp.has_room() {
            self.connect(slot);
        } else {
            self.ramp.waiting.push_back(slot);
        }
    }

    fn connect(&mut self, slot: u32) {
        let scenario = &self.assignment.scenario;
        let index = self.assignment.connections.start + slot;
        let dozes = scenario.kind == Kind::SlowReader && scenario.is_disturbed(index);
        let receive_buffer_bytes = dozes.then_some(DOZER_RECEIVE_BYTES);
        let entry = &mut self.slots[slot as usize];
        entry.net = Net::Connecting;
        entry.close = scenario.connect.close;
        entry.armed_tick = 0;
        let source = self.assignment.sources.of(index, entry.life);
        let token = Token::new(Operation::Connect, slot, entry.life);
        self.ramp.in_flight += 1;
        self.open += 1;
        let options = SocketOptions { receive_buffer_bytes, ..OPTIONS };
        self.ring.connect(source, self.assignment.target, options, token);
    }
}
