//! What the schedule intends, carried out; and what follows from what arrives.

use hawser_ring::Ring;

use super::{
    Work, Worker,
    agenda::Task,
    slots::{Awaits, Mood, Net},
};
use crate::{
    connection::{Arrived, To},
    schedule::{Act, Intent},
    tally::Stage,
};

/// After it reads again, a connection is told the time only so long after, microseconds: what has
/// waited for it comes first, and may answer what it waits for itself.
const WAKING_US: u64 = 1_000_000;

impl<R: Ring> Worker<R> {
    /// Carries out what was intended for `at_us`.
    pub(super) fn carry_out(&mut self, intent: Intent, at_us: u64) {
        let slot = intent.connection - self.assignment.connections.start;
        // Nothing is measured from when somebody was to leave; coming back has a time of its own.
        if !matches!(intent.act, Act::Leave { .. }) {
            self.world.record(at_us, self.now.monotonic_us - at_us, Stage::Lag);
        }
        match intent.act {
            Act::Send { to } => self.offer(slot, To::User(to), at_us, 0),
            Act::Publish { group } => self.offer(slot, To::Group(group), at_us, 0),
            Act::Leave { close, back_after_us, elsewhere, silently } => {
                let entry = &mut self.slots[slot as usize];
                entry.mood = Mood::Away;
                entry.awaits = Awaits::Nothing;
                entry.prompt = false;
                entry.close = close;
                entry.elsewhere |= elsewhere;
                entry.kept |= silently;
                entry.until_us = back_after_us.map_or(u64::MAX, |after_us| at_us + after_us);
                let until_us = entry.until_us;
                if until_us != u64::MAX && !self.agenda.note(until_us, slot, Task::Back) {
                    self.world.tally.counters.shed += 1;
                }
                self.go(slot);
            }
            Act::Return => self.come_back(slot, at_us, Awaits::LoginAndMail),
            Act::Doze { for_us } => self.doze(slot, at_us + for_us),
            Act::Hush => {
                let entry = &mut self.slots[slot as usize];
                // Who is not logged in has nothing that the server could miss.
                if entry.mood == Mood::Usual && entry.connection.is_online() {
                    entry.mood = Mood::Hushed;
                    entry.awaits = Awaits::Nothing;
                    entry.since_us = at_us;
                    self.touch(slot);
                }
            }
        }
    }

    /// Carries out what has been noted for now; gives when the next of it is due.
    pub(super) fn take_up_agenda(&mut self) -> u64 {
        let now_us = self.now.monotonic_us;
        while let Some(entry) = self.agenda.due(now_us) {
            let (slot, at_us) = (entry.slot, entry.at_us);
            match entry.task {
                Task::Reply { to, hop, intended_us } => {
                    if !self.world.draining {
                        self.world.record(intended_us, now_us - at_us, Stage::Lag);
                        self.offer(slot, To::User(to), intended_us, hop);
                    }
                }
                Task::Back => {
                    if self.slots[slot as usize].until_us == at_us {
                        self.world.record(at_us, now_us - at_us, Stage::Lag);
                        self.come_back(slot, at_us, Awaits::Login);
                    }
                }
                Task::Wake => {
                    let entry = &mut self.slots[slot as usize];
                    if entry.mood == Mood::Dozing && entry.until_us == at_us {
                        entry.mood = Mood::Waking;
                        entry.until_us = now_us + WAKING_US;
                        self.touch(slot);
                    }
                }
            }
        }
        self.agenda.next_us()
    }

    /// One that is away logs in again, as intended for `at_us`.
    fn come_back(&mut self, slot: u32, at_us: u64, awaits: Awaits) {
        let entry = &mut self.slots[slot as usize];
        if entry.mood != Mood::Away {
            return;
        }
        entry.mood = Mood::Usual;
        entry.awaits = awaits;
        entry.since_us = at_us;
        entry.failures = 0;
        if entry.net == Net::Down {
            self.begin_connect(slot);
        } else {
            // Still closing.
            entry.prompt = true;
        }
    }

    fn doze(&mut self, slot: u32, until_us: u64) {
        let entry = &mut self.slots[slot as usize];
        let awake = matches!(entry.mood, Mood::Usual | Mood::Waking);
        if awake && entry.connection.is_online() && self.agenda.note(until_us, slot, Task::Wake) {
            entry.mood = Mood::Dozing;
            entry.until_us = until_us;
            self.touch(slot);
        }
    }

    /// What a latency ran for may have come.
    pub(super) fn note_progress(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        if !entry.connection.is_online() {
            return;
        }
        let since_us = entry.since_us;
        let us = self.now.monotonic_us.saturating_sub(since_us);
        match entry.awaits {
            Awaits::Nothing => return,
            Awaits::FirstLogin => {
                entry.awaits = Awaits::Nothing;
                // Before the window that others are measured in: it has one of its own.
                self.world.tally.record(Stage::Connect, us);
                return;
            }
            Awaits::Login => {
                entry.awaits = Awaits::Nothing;
                self.world.record(since_us, us, Stage::Reconnect);
                return;
            }
            Awaits::LoginAndMail => {
                entry.awaits = Awaits::Mail;
                self.world.record(since_us, us, Stage::Reconnect);
            }
            Awaits::Mail => {}
        }
        let entry = &mut self.slots[slot as usize];
        if entry.connection.is_level() {
            entry.awaits = Awaits::Nothing;
            self.world.record(since_us, us, Stage::Sync);
        }
    }

    pub(super) fn fill_in_flight(&mut self) {
        let Work::InFlight { messages, .. } = self.assignment.work else { return };
        let devices = self.assignment.scenario.devices;
        let connections = self.assignment.connections.clone();
        for connection in connections.step_by(2 * devices as usize) {
            for _ in 0..messages {
                self.offer_neighbour(connection);
            }
        }
    }

    /// A connection writes to its user's neighbour.
    fn offer_neighbour(&mut self, connection: u32) {
        let user = connection / self.assignment.scenario.devices;
        let slot = connection - self.assignment.connections.start;
        self.offer(slot, To::User(user ^ 1), self.now.monotonic_us, 0);
    }

    /// What was delivered lets the next message of a closed loop go, or is answered.
    pub(super) fn follow_up(&mut self) {
        if let Work::InFlight { duration_us, .. } = self.assignment.work
            && self.start_us != 0
            && (self.world.draining || self.now.monotonic_us >= self.start_us + duration_us)
        {
            self.world.tally.counters.schedule_ended = 1;
            self.world.arrived.clear();
        }
        if self.world.arrived.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.world.arrived);
        let devices = self.assignment.scenario.devices;
        // Each device of the recipient has it; the first one acts.
        let first = arrived.drain(..).filter(|one| one.recipient.is_multiple_of(devices));
        match self.assignment.work {
            Work::InFlight { .. } => {
                for one in first {
                    self.offer_neighbour(one.sender / devices * devices);
                }
            }
            Work::Scheduled(_) if self.assignment.scenario.replies.hops > 0 => {
                for one in first {
                    self.answer(one);
                }
            }
            Work::Scheduled(_) => drop(first),
        }
        self.world.arrived = arrived;
    }

    /// Notes the reply to a message, if there is one. It is intended for when the message was
    /// *expected*, and a while to think: to count from when it came would let a server that stalls
    /// shift the replies, and hide its stall from them.
    fn answer(&mut self, arrived: Arrived) {
        let now_us = self.now.monotonic_us;
        let Arrived { sender, recipient, intended_us, hop } = arrived;
        self.expected.note(now_us.saturating_sub(intended_us));
        let scenario = &self.assignment.scenario;
        let think_us = scenario.replies.think.as_micros() as u64;
        let reply_us = intended_us + self.expected.get() + think_us;
        let end_us = self.start_us + scenario.duration.as_micros() as u64;
        if hop >= scenario.replies.hops || reply_us >= end_us || self.world.draining {
            return;
        }
        let slot = recipient - self.assignment.connections.start;
        let to = sender / scenario.devices;
        let task = Task::Reply { to, hop: hop + 1, intended_us: reply_us };
        // What came later than expected can be answered only now: no lateness of the generator.
        if !self.agenda.note(reply_us.max(now_us), slot, task) {
            self.world.tally.counters.shed += 1;
        }
    }
}
