//! A thread, a ring and its connections: the shell that moves their bytes.
//!
//! ```text
//!  Down --connect--> Connecting --> Up --fault, end, plan--> Closing --> Down
//! ```
//!
//! Not a judge and not a protocol: it connects, receives, sends, carries out what the schedule
//! intends, and tells the connections the time. Invariant: a socket is closed only when nothing is in flight on it, and its slot's
//! generation moves on with each close, so a late completion is known as such.

mod act;
mod agenda;
mod complete;
mod median;
mod ramp;
mod slots;

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use hawser_codec::time::Now;
use hawser_ring::{Completion, Operation, Pace, Ring, Socket, Token, Wait};

use crate::{
    connection::{Connection, Ground, Offer, To, World},
    identity::mix,
    scenario::{Kind, Scenario},
    schedule::{Intent, Random},
    source::Sources,
    tally::Shared,
    wheel::Wheel,
};
use agenda::Agenda;
use median::Median;
use ramp::Ramp;
pub use slots::SLOT_BYTES;
use slots::{Mood, Net, Slot};

/// Intents taken up in one turn; more wait for the next, so that answers are heard in between.
const INTENTS_PER_TURN: u32 = 1024;

/// Ticks of the wheel a worker sleeps at most when nothing is due: 49 ms.
const SLEEP_TICKS: u64 = 6;

/// Heartbeats of a million holders arrive at 33,000 a second over 51 rings: to wake for each
/// alone would cost more than to answer it. Completions, and the longest wait for them in
/// microseconds.
const HOLD_GATHER: (u32, u32) = (8, 500);

/// Bytes of a receive buffer: several frames of chat.
pub const RECEIVE_BYTES: u32 = 4096;

/// Send buffers kept for use again.
const SPARE_BUFFERS: usize = 1024;

/// A buffer that grew beyond this is not kept, bytes.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// Where a run stands; workers follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
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
    phase: AtomicU8,
    start_us: AtomicU64,
}

impl Control {
    /// The schedule begins at this monotonic time, microseconds.
    pub fn start(&self, start_us: u64) {
        self.start_us.store(start_us, Relaxed);
        self.phase.store(Phase::Run as u8, Relaxed);
    }

    /// Begin nothing new.
    pub fn drain(&self) {
        self.phase.store(Phase::Drain as u8, Relaxed);
    }

    /// Close everything and end.
    pub fn stop(&self) {
        self.phase.store(Phase::Stop as u8, Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Connect,
            1 => Phase::Run,
            2 => Phase::Drain,
            _ => Phase::Stop,
        }
    }
}

/// What a worker's users do once they are logged in.
pub enum Work {
    /// What is intended, in order of time.
    Scheduled(Box<dyn Iterator<Item = Intent> + Send>),
    /// Each even user keeps so many messages to its odd neighbour in flight for so long.
    InFlight {
        /// Messages per pair.
        messages: u32,
        /// Microseconds after the start.
        duration_us: u64,
    },
}

impl fmt::Debug for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled(_) => formatter.write_str("Scheduled"),
            Self::InFlight { messages, .. } => write!(formatter, "InFlight({messages})"),
        }
    }
}

/// One worker's part of a run.
#[derive(Debug)]
pub struct Assignment {
    /// Number of the worker.
    pub worker: u32,
    /// What the run does.
    pub scenario: Arc<Scenario>,
    /// Where its connections come from.
    pub sources: Arc<Sources>,
    /// Indices of its connections: all devices of some users.
    pub connections: Range<u32>,
    /// Server.
    pub target: SocketAddr,
    /// Connects per second.
    pub connect_rate: f64,
    /// First logins this worker may have unfinished; the ramp waits for the server beyond it,
    /// unless it is unbounded.
    pub logins_unfinished_max: u32,
    /// Old sockets it may keep open: so many slots its tables have beyond its connections.
    pub kept_max: u32,
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
    agenda: Agenda,
    /// Of intended to delivered.
    expected: Median,
    random: Random,
    spare: Vec<Vec<u8>>,
    touched: Vec<u32>,
    ramp: Ramp,
    pace: Pace,
    next_intent: Option<Intent>,
    start_us: u64,
    /// Time of this turn.
    now: Now,
    /// Sockets not yet closed, counted at the end.
    open: u32,
    /// Old sockets that the server does not know to be left.
    kept: VecDeque<Socket>,
    /// Of those closed, to tell them apart.
    kept_closed: u32,
}

impl<R: Ring> Worker<R> {
    /// A worker on its own ring, at the ring's time `now_us`.
    pub fn new(ring: R, assignment: Assignment, now_us: u64) -> Self {
        let count = assignment.connections.len();
        let seed = mix(u64::from(assignment.worker) ^ assignment.ground.names.run());
        let mut slots = Vec::with_capacity(count);
        let scenario = &assignment.scenario;
        slots.resize_with(count, || Slot::new(Connection::new(scenario)));
        let connect = &assignment.scenario.connect;
        let ramp = Ramp::new(connect, assignment.connect_rate, seed, now_us);
        Self {
            ring,
            world: World::new(Arc::clone(&assignment.ground)),
            assignment,
            slots,
            wheel: Wheel::new(now_us),
            agenda: Agenda::default(),
            expected: Median::default(),
            random: Random(seed),
            spare: Vec::new(),
            touched: Vec::new(),
            ramp,
            pace: Pace::default(),
            next_intent: None,
            start_us: 0,
            now: Now { monotonic_us: now_us, wall_ms: 0 },
            open: 0,
            kept: VecDeque::new(),
            kept_closed: 0,
        }
    }

    /// Runs until the coordinator says stop, then closes all.
    ///
    /// # Errors
    /// The ring broke.
    pub fn run(mut self) -> std::io::Result<()> {
        let mut completions = Vec::new();
        self.turn(0, &mut completions)?;
        while self.phase() != Phase::Stop {
            self.world.draining = self.phase() == Phase::Drain;
            let ramp_us = self.ramp_up();
            let intent_us = self.take_up_intents();
            let agenda_us = self.take_up_agenda();
            self.expire();
            self.flush();
            self.publish();
            let until_us = ramp_us.min(intent_us).min(agenda_us);
            let until_us = until_us.min(self.wheel.next_us(SLEEP_TICKS));
            self.turn(until_us, &mut completions)?;
            let now_us = self.now.monotonic_us;
            self.assignment.shared.hand_over_if_due(&mut self.world.tally, now_us);
            self.complete_all(&mut completions);
            self.follow_up();
        }
        self.publish();
        // What closing counts is no part of the run.
        self.assignment.shared.hand_over(&mut self.world.tally);
        self.close_all(&mut completions)
    }

    fn phase(&self) -> Phase {
        self.assignment.control.phase()
    }

    /// Most connections are quiet most of the time.
    fn is_quiet(&self) -> bool {
        !self.assignment.scenario.kind.sends()
    }

    fn turn(&mut self, until_us: u64, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        let kind = self.assignment.scenario.kind;
        let hold = matches!(kind, Kind::Hold | Kind::Heartbeats | Kind::HalfOpen);
        let (batch, gather_us) = match self.phase() {
            Phase::Run if hold => HOLD_GATHER,
            // As the server does: what a wake for each completion would cost is the other side's
            // CPU, too. The wait is part of every latency measured.
            Phase::Run => self.pace.gather(),
            Phase::Connect | Phase::Drain | Phase::Stop => (1, 0),
        };
        let wait = Wait { until_us: Some(until_us), batch, gather_us };
        self.now = self.ring.turn(wait, completions)?.now;
        self.pace.note(self.now, completions.len() as u32);
        Ok(())
    }

    fn publish(&mut self) {
        let counters = &mut self.world.tally.counters;
        let answered = counters.acknowledged + counters.refused;
        let settled = answered + counters.forgotten + counters.shed;
        counters.unanswered = counters.offered.saturating_sub(settled);
        self.assignment.shared.publish(counters);
    }

    /// Carries out the intents that are due; gives when the next one is.
    fn take_up_intents(&mut self) -> u64 {
        if self.phase() == Phase::Connect {
            return u64::MAX;
        }
        if self.start_us == 0 {
            self.start_us = self.assignment.control.start_us.load(Relaxed);
            self.fill_in_flight();
        }
        for _ in 0..INTENTS_PER_TURN {
            let Work::Scheduled(schedule) = &mut self.assignment.work else { return u64::MAX };
            let Some(intent) = self.next_intent.take().or_else(|| schedule.next()) else {
                self.world.tally.counters.schedule_ended = 1;
                return u64::MAX;
            };
            let at_us = self.start_us + intent.at_us;
            // A run that is ended early intends nothing more.
            if at_us >= self.world.ground.measure_to_us.load(Relaxed) {
                self.world.tally.counters.schedule_ended = 1;
                return u64::MAX;
            }
            if at_us > self.now.monotonic_us {
                self.next_intent = Some(intent);
                return at_us;
            }
            self.carry_out(intent, at_us);
        }
        0
    }

    /// Lets a connection offer a message.
    fn offer(&mut self, slot: u32, to: To, intended_us: u64, hop: u8) {
        let now = self.now;
        self.with(slot, |connection, world, index| {
            connection.offer(world, index, Offer { to, intended_us, hop }, now);
        });
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
        let index = self.assignment.connections.start + slot;
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
        let quiet = self.is_quiet();
        let entry = &mut self.slots[slot as usize];
        let Net::Up(socket) = entry.net else { return };
        if entry.connection.outbound.is_empty() || !entry.is_speaking() {
            let buffer = std::mem::take(&mut entry.connection.outbound);
            self.keep(buffer);
        } else if !entry.sending {
            entry.sending = true;
            let bytes = std::mem::take(&mut entry.connection.outbound);
            self.ring.send(socket, bytes, Token::new(Operation::Send, slot, entry.life));
        }
        let entry = &mut self.slots[slot as usize];
        let asleep = entry.mood == Mood::Dozing;
        if !entry.receiving && !entry.watching && !asleep {
            // Quiet holders are watched, which costs the kernel less than an armed receive.
            if quiet && entry.connection.is_online() {
                entry.watching = true;
                self.ring.watch(socket, Token::new(Operation::Watch, slot, entry.life));
            } else {
                entry.receiving = true;
                self.ring.receive(socket, Token::new(Operation::Receive, slot, entry.life));
            }
        } else if !entry.cancelling {
            let settled = quiet && entry.armed && entry.connection.is_quiet();
            let of = if entry.receiving && (asleep || settled) {
                Some(Operation::Receive)
            } else if entry.watching && asleep {
                Some(Operation::Watch)
            } else {
                None
            };
            if let Some(operation) = of {
                entry.cancelling = true;
                let target = Token::new(operation, slot, entry.life);
                let token = Token::new(Operation::Cancel, slot, entry.life);
                self.ring.cancel(Some(socket), target, token);
            }
        }
        let deadline_us = match entry.mood {
            Mood::Usual => entry.connection.deadline(),
            Mood::Waking => entry.until_us,
            Mood::Dozing | Mood::Hushed | Mood::Away => return,
        };
        entry.armed_tick = self.wheel.add(slot, deadline_us, entry.armed_tick);
    }

    /// Connections whose time has come.
    fn expire(&mut self) {
        let now = self.now;
        while let Some((tick, bucket)) = self.wheel.due(now.monotonic_us) {
            for &slot in &bucket {
                let entry = &mut self.slots[slot as usize];
                if entry.armed_tick != tick {
                    continue;
                }
                entry.armed_tick = 0;
                match (entry.net, entry.mood) {
                    (Net::Down, Mood::Away) => {}
                    (Net::Down, _) => self.begin_connect(slot),
                    (Net::Up(_), Mood::Waking) if now.monotonic_us < entry.until_us => {
                        self.touch(slot);
                    }
                    (Net::Up(_), Mood::Usual | Mood::Waking) => {
                        entry.mood = Mood::Usual;
                        let result = self.with(slot, |connection, world, index| {
                            connection.on_time(world, index, now)
                        });
                        if let Err(fault) = result {
                            self.leave_at(slot, fault);
                        }
                    }
                    (Net::Up(_) | Net::Connecting | Net::Closing { .. }, _) => {}
                }
            }
            self.wheel.recycle(tick, bucket);
        }
    }
}
