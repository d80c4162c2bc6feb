//! A thread, a ring and its connections: the shell that moves their bytes.
//!
//! ```text
//!  Down --connect--> Connecting --> Up --fault, end--> Closing --> Down (or Gone, at the end)
//! ```
//!
//! Not a judge and not a protocol: it connects, receives, sends, and tells the connections the
//! time. Invariant: a socket is closed only when nothing is in flight on it, and its slot's
//! generation moves on with each close, so a late completion is known as such.

mod complete;
mod slots;

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use hawser_codec::time::Now;
use hawser_ring::{Completion, Operation, Pace, Ring, SocketOptions, Token, Wait};

use crate::{
    connection::{Connection, Ground, Offer, To, World},
    identity::mix,
    schedule::{Act, Intent, Random, Schedule},
    source::Sources,
    tally::Shared,
    wheel::Wheel,
};
pub use slots::SLOT_BYTES;
use slots::{Net, Slot};

/// Connects of one worker on their way: enough for any rate on loopback, and below the usual
/// listen backlog together with the other workers'.
const CONNECTS_IN_FLIGHT: u32 = 128;

/// Intents taken up in one turn; more wait for the next, so that answers are heard in between.
const INTENTS_PER_TURN: u32 = 1024;

/// Ticks of the wheel a worker sleeps at most when nothing is due: 49 ms.
const SLEEP_TICKS: u64 = 6;

/// Heartbeats of a million holders arrive at 33,000 a second over 51 rings: to wake for each
/// alone would cost more than to answer it. Completions, and the longest wait for them in
/// microseconds.
const HOLD_GATHER: (u32, u32) = (8, 500);

/// First and last ceiling of the back-off, microseconds.
const BACKOFF_US: (u64, u64) = (200_000, 10_000_000);

/// A connect that found as many in flight is tried again within this time, microseconds.
const CONNECT_AGAIN_US: u64 = 100_000;

/// Bytes of a receive buffer: several frames of chat.
pub const RECEIVE_BYTES: u32 = 4096;

/// Send buffers kept for use again.
const SPARE_BUFFERS: usize = 1024;

/// A buffer that grew beyond this is not kept, bytes.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// Turns for closing at the end, each at most a sleep long; beyond, the process ends anyway.
const CLOSING_TURNS_MAX: u32 = 2000;

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

/// Where a run stands; workers follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Connections come up.
    Connect = 0,
    /// The schedule runs from the start time on.
    Run = 1,
    /// What is on its way arrives; nothing new is begun.
    Drain = 2,
    /// Everything is closed.
    Stop = 3,
}

/// What the coordinator tells the workers.
#[derive(Debug, Default)]
pub struct Control {
    stage: AtomicU8,
    start_us: AtomicU64,
}

impl Control {
    /// The schedule begins at this monotonic time, microseconds.
    pub fn start(&self, start_us: u64) {
        self.start_us.store(start_us, Relaxed);
        self.stage.store(Stage::Run as u8, Relaxed);
    }

    /// Begin nothing new.
    pub fn drain(&self) {
        self.stage.store(Stage::Drain as u8, Relaxed);
    }

    /// Close everything and end.
    pub fn stop(&self) {
        self.stage.store(Stage::Stop as u8, Relaxed);
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Connect,
            1 => Stage::Run,
            2 => Stage::Drain,
            _ => Stage::Stop,
        }
    }
}

/// What a worker's users do once they are logged in.
#[derive(Clone, Debug)]
pub enum Work {
    /// Heartbeats only.
    Hold,
    /// Send by the schedule.
    Scheduled(Schedule),
    /// Each even user keeps so many messages to its odd neighbour in flight for so long.
    InFlight {
        /// Messages per pair.
        messages: u32,
        /// Microseconds after the start.
        duration_us: u64,
    },
}

/// One worker's part of a run.
#[derive(Debug)]
pub struct Assignment {
    /// Number of the worker.
    pub worker: u32,
    /// Where its connections come from.
    pub sources: Arc<Sources>,
    /// Indices of its users.
    pub users: Range<u32>,
    /// Server.
    pub target: SocketAddr,
    /// Connects per second.
    pub connect_rate: f64,
    /// First logins this worker may have unfinished; the ramp waits for the server beyond it.
    pub logins_unfinished_max: u32,
    /// What its users do.
    pub work: Work,
    /// What all share.
    pub ground: Arc<Ground>,
    /// Told by the coordinator.
    pub control: Arc<Control>,
    /// Told to the coordinator.
    pub shared: Arc<Shared>,
}

/// See the module.
pub struct Worker<R> {
    ring: R,
    assignment: Assignment,
    world: World,
    slots: Vec<Slot>,
    wheel: Wheel,
    random: Random,
    spare: Vec<Vec<u8>>,
    touched: Vec<u32>,
    ramp: Ramp,
    pace: Pace,
    next_intent: Option<Intent>,
    start_us: u64,
    /// Sockets not yet closed, counted at the end.
    open: u32,
}

/// The first connect of every slot, at a rate.
#[derive(Debug, Default)]
struct Ramp {
    began_us: u64,
    next_slot: u32,
    in_flight: u32,
}

impl<R: Ring> Worker<R> {
    /// A worker on its own ring, at the ring's time `now_us`.
    pub fn new(ring: R, assignment: Assignment, now_us: u64) -> Self {
        let count = assignment.users.len();
        let seed = mix(u64::from(assignment.worker) ^ assignment.ground.names.run());
        let mut slots = Vec::with_capacity(count);
        let protocol = assignment.ground.wire.protocol;
        slots.resize_with(count, || Slot::new(protocol));
        Self {
            ring,
            world: World::new(Arc::clone(&assignment.ground)),
            assignment,
            slots,
            wheel: Wheel::new(now_us),
            random: Random(seed),
            spare: Vec::new(),
            touched: Vec::new(),
            ramp: Ramp { began_us: now_us, ..Ramp::default() },
            pace: Pace::default(),
            next_intent: None,
            start_us: 0,
            open: 0,
        }
    }

    /// Runs until the coordinator says stop, then closes all.
    ///
    /// # Errors
    /// The ring broke.
    pub fn run(mut self) -> std::io::Result<()> {
        let mut completions = Vec::new();
        let mut now = self.turn(0, &mut completions)?;
        while self.assignment.control.stage() != Stage::Stop {
            self.world.draining = self.assignment.control.stage() == Stage::Drain;
            let ramp_us = self.ramp_up(now);
            let intent_us = self.take_up_intents(now);
            self.expire(now);
            self.flush();
            self.publish();
            let until_us = ramp_us.min(intent_us).min(self.wheel.next_us(SLEEP_TICKS));
            now = self.turn(until_us, &mut completions)?;
            self.assignment.shared.hand_over_if_due(&mut self.world.tally, now.monotonic_us);
            self.complete_all(now, &mut completions);
            self.follow_up(now);
        }
        self.publish();
        // What closing counts is no part of the run.
        self.assignment.shared.hand_over(&mut self.world.tally);
        self.close_all(now, &mut completions)
    }

    fn turn(&mut self, until_us: u64, completions: &mut Vec<Completion>) -> std::io::Result<Now> {
        let hold = matches!(self.assignment.work, Work::Hold);
        let (batch, gather_us) = match self.assignment.control.stage() {
            Stage::Run if hold => HOLD_GATHER,
            // As the server does: what a wake for each completion would cost is the other side's
            // CPU, too. The wait is part of every latency measured.
            Stage::Run => self.pace.gather(),
            Stage::Connect | Stage::Drain | Stage::Stop => (1, 0),
        };
        let wait = Wait { until_us: Some(until_us), batch, gather_us };
        let now = self.ring.turn(wait, completions)?.now;
        self.pace.note(now, completions.len() as u32);
        Ok(now)
    }

    fn publish(&mut self) {
        let counters = &mut self.world.tally.counters;
        let answered = counters.acknowledged + counters.refused;
        let settled = answered + counters.forgotten + counters.shed;
        counters.unanswered = counters.offered.saturating_sub(settled);
        self.assignment.shared.publish(counters);
    }

    /// Starts the first connects that are due; gives when the next one is.
    fn ramp_up(&mut self, now: Now) -> u64 {
        let count = self.slots.len() as u32;
        let elapsed_us = now.monotonic_us - self.ramp.began_us;
        let due = (elapsed_us as f64 * self.assignment.connect_rate / 1e6) as u32 + 1;
        // A ramp that runs ahead of the server only fills its backlog until clients time out and
        // come back: that is the storm scenario, not the way to a held million.
        let logged_in = self.world.tally.counters.logged_in.min(u64::from(count)) as u32;
        let allowed = logged_in.saturating_add(self.assignment.logins_unfinished_max);
        let due = due.min(allowed);
        while self.ramp.next_slot < due.min(count) && self.ramp.in_flight < CONNECTS_IN_FLIGHT {
            let slot = self.ramp.next_slot;
            self.ramp.next_slot += 1;
            self.connect(slot);
        }
        let waits = self.ramp.next_slot >= allowed;
        if self.ramp.next_slot == count || self.ramp.in_flight >= CONNECTS_IN_FLIGHT || waits {
            return u64::MAX;
        }
        let next = f64::from(self.ramp.next_slot) * 1e6 / self.assignment.connect_rate;
        self.ramp.began_us + next as u64 + 1
    }

    fn connect(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.net = Net::Connecting;
        entry.armed_tick = 0;
        let assignment = &self.assignment;
        let target = assignment.target;
        let source = assignment.sources.of(assignment.users.start + slot, entry.life);
        let token = Token::new(Operation::Connect, slot, entry.life);
        self.ramp.in_flight += 1;
        self.open += 1;
        self.ring.connect(source, target, OPTIONS, token);
    }

    /// Offers the intents that are due; gives when the next one is.
    fn take_up_intents(&mut self, now: Now) -> u64 {
        if self.assignment.control.stage() == Stage::Connect {
            return u64::MAX;
        }
        if self.start_us == 0 {
            self.start_us = self.assignment.control.start_us.load(Relaxed);
            self.fill_in_flight(now);
        }
        let Work::Scheduled(schedule) = &mut self.assignment.work else { return u64::MAX };
        let mut due = Vec::new();
        for _ in 0..INTENTS_PER_TURN {
            let Some(intent) = self.next_intent.take().or_else(|| schedule.next()) else {
                self.world.tally.counters.schedule_ended = 1;
                break;
            };
            if self.start_us + intent.at_us > now.monotonic_us {
                self.next_intent = Some(intent);
                break;
            }
            due.push(intent);
        }
        for intent in due {
            let slot = intent.connection - self.assignment.users.start;
            if let Act::Send { to } = intent.act {
                self.offer(slot, to, self.start_us + intent.at_us, now);
            }
        }
        self.next_intent.map_or(u64::MAX, |intent| self.start_us + intent.at_us)
    }

    fn fill_in_flight(&mut self, now: Now) {
        match self.assignment.work {
            Work::InFlight { messages, .. } => {
                for slot in (0..self.slots.len() as u32).step_by(2) {
                    for _ in 0..messages {
                        self.offer_neighbour(slot, now);
                    }
                }
            }
            Work::Hold => self.world.tally.counters.schedule_ended = 1,
            Work::Scheduled(_) => {}
        }
    }

    fn offer_neighbour(&mut self, slot: u32, now: Now) {
        let recipient = self.assignment.users.start + (slot ^ 1);
        self.offer(slot, recipient, now.monotonic_us, now);
    }

    fn offer(&mut self, slot: u32, recipient: u32, intended_us: u64, now: Now) {
        self.with(slot, |connection, world, index| {
            let offer = Offer { to: To::User(recipient), intended_us, hop: 0 };
            connection.offer(world, index, offer, now);
        });
    }

    /// In the closed loop, each delivery lets the next message go.
    fn follow_up(&mut self, now: Now) {
        let Work::InFlight { duration_us, .. } = self.assignment.work else {
            self.world.arrived.clear();
            return;
        };
        if self.start_us == 0 {
            return;
        }
        let over = self.world.draining || now.monotonic_us >= self.start_us + duration_us;
        if over {
            self.world.arrived.clear();
            self.world.tally.counters.schedule_ended = 1;
            return;
        }
        let mut arrived = std::mem::take(&mut self.world.arrived);
        for message in arrived.drain(..) {
            self.offer_neighbour(message.sender - self.assignment.users.start, now);
        }
        self.world.arrived = arrived;
    }

    /// Lets a connection work, with a buffer to write to, and notes that it may want to send.
    fn with<T>(
        &mut self,
        slot: u32,
        work: impl FnOnce(&mut Connection, &mut World, u32) -> T,
    ) -> T {
        let entry = &mut self.slots[slot as usize];
        if entry.connection.outbound.capacity() == 0 {
            entry.connection.outbound = self.spare.pop().unwrap_or_default();
        }
        let index = self.assignment.users.start + slot;
        let done = work(&mut entry.connection, &mut self.world, index);
        self.touch(slot);
        done
    }

    fn touch(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        if !entry.touched {
            entry.touched = true;
            self.touched.push(slot);
        }
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        let useful = (1..=SPARE_BYTES_MAX).contains(&buffer.capacity());
        if useful && self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Sends, arms and sets deadlines for all connections that did something.
    fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for &slot in &touched {
            self.slots[slot as usize].touched = false;
            self.flush_slot(slot);
        }
        touched.clear();
        // What was touched meanwhile waits for the next turn, which follows at once.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    fn flush_slot(&mut self, slot: u32) {
        let hold = matches!(self.assignment.work, Work::Hold);
        let entry = &mut self.slots[slot as usize];
        let Net::Up(socket) = entry.net else { return };
        let token = |operation| Token::new(operation, slot, entry.life);
        if entry.connection.outbound.is_empty() {
            let buffer = std::mem::take(&mut entry.connection.outbound);
            self.keep(buffer);
        } else if !entry.sending {
            entry.sending = true;
            let bytes = std::mem::take(&mut entry.connection.outbound);
            self.ring.send(socket, bytes, token(Operation::Send));
        }
        let entry = &mut self.slots[slot as usize];
        if !entry.receiving && !entry.watching {
            // Quiet holders are watched, which costs the kernel less than an armed receive.
            if hold && entry.connection.is_online() {
                entry.watching = true;
                self.ring.watch(socket, Token::new(Operation::Watch, slot, entry.life));
            } else {
                entry.receiving = true;
                self.ring.receive(socket, Token::new(Operation::Receive, slot, entry.life));
            }
        } else if hold && entry.armed && entry.connection.is_quiet() && !entry.cancelling {
            entry.cancelling = true;
            let target = Token::new(Operation::Receive, slot, entry.life);
            self.ring.cancel(Some(socket), target, Token::new(Operation::Cancel, slot, entry.life));
        }
        let deadline_us = entry.connection.deadline();
        entry.armed_tick = self.wheel.add(slot, deadline_us, entry.armed_tick);
    }

    /// Connections whose time has come.
    fn expire(&mut self, now: Now) {
        while let Some((tick, bucket)) = self.wheel.due(now.monotonic_us) {
            for &slot in &bucket {
                let entry = &mut self.slots[slot as usize];
                if entry.armed_tick != tick {
                    continue;
                }
                entry.armed_tick = 0;
                match entry.net {
                    Net::Down if self.ramp.in_flight < CONNECTS_IN_FLIGHT => self.connect(slot),
                    Net::Down => {
                        let at_us = now.monotonic_us + self.random.bits() % CONNECT_AGAIN_US;
                        entry.armed_tick = self.wheel.add(slot, at_us, 0);
                    }
                    Net::Up(_) => {
                        let result = self.with(slot, |connection, world, index| {
                            connection.on_time(world, index, now)
                        });
                        if let Err(fault) = result {
                            self.leave_at(slot, fault);
                        }
                    }
                    Net::Connecting | Net::Closing { .. } => {}
                }
            }
            self.wheel.recycle(tick, bucket);
        }
    }
}
