//! What the ring reports, and how a connection ends.
//!
//! Closing takes turns: cancel what is in flight, one after the other, wait for each, close, wait,
//! and only then is the slot free for its next life.

use hawser_ring::{Completion, Errno, Event, Lease, Operation, Ring, Socket, Token};

use crate::{
    connection::Fault,
    scenario::Close,
    tally::{ErrorKind, Stage},
};

use super::{
    Phase, RECEIVE_BYTES, Worker,
    slots::{Awaits, Mood, Net},
};

/// First and last ceiling of the back-off, microseconds.
const BACKOFF_US: (u64, u64) = (200_000, 10_000_000);

/// Places tried one after the other without a pause when they are taken; then it backs off.
const CONFLICTS_MAX: u8 = 16;

/// Turns for closing at the end, each at most a sleep long; beyond, the process ends anyway.
const CLOSING_TURNS_MAX: u32 = 2000;

impl<R: Ring> Worker<R> {
    pub(super) fn complete_all(&mut self, completions: &mut Vec<Completion>) {
        for completion in completions.drain(..) {
            self.complete(completion);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let Token { slot, generation, .. } = completion.token;
        let known = self.slots.get(slot as usize);
        if known.is_none() && matches!(completion.event, Event::Closed(_)) {
            // One that was kept beyond its life.
            self.open -= 1;
            return;
        }
        if known.is_none_or(|entry| entry.life != generation) {
            // A wake, or of a life that ended; a lease among them still has to go back.
            if let Event::Received(Ok(Some(lease))) = completion.event {
                self.ring.give_back(lease);
            }
            return;
        }
        match completion.event {
            Event::Connected(result) => self.connected(slot, result),
            Event::Received(result) => self.received(slot, completion.more, result),
            Event::Readable(result) => self.readable(slot, completion.more, result),
            Event::Sent(result, bytes) => self.sent(slot, result, bytes),
            Event::Cancelled(_) => {
                self.slots[slot as usize].cancelling = false;
                self.touch(slot);
            }
            Event::Closed(_) => {
                self.open -= 1;
                self.end_life(slot);
            }
            Event::Accepted(_)
            | Event::Passed(_)
            | Event::Arrived(_)
            | Event::Written(..)
            | Event::Synced(_)
            | Event::Read(_)
            | Event::Woken => {}
        }
        self.close_if_idle(slot);
    }

    fn connected(&mut self, slot: u32, result: Result<Socket, Errno>) {
        self.ramp.in_flight -= 1;
        let now = self.now;
        match result {
            Ok(socket) => {
                let entry = &mut self.slots[slot as usize];
                entry.net = Net::Up(socket);
                entry.conflicts = 0;
                if entry.mood == Mood::Away {
                    return self.go(slot);
                }
                self.with(slot, |connection, world, index| connection.greet(world, index, now));
            }
            Err(errno) => {
                self.open -= 1;
                let errno = errno.0.abs();
                let why = ErrorKind::of_connect(errno);
                let taken = why == ErrorKind::AddressConflict;
                let entry = &mut self.slots[slot as usize];
                entry.conflicts = if taken { entry.conflicts.saturating_add(1) } else { 0 };
                self.world.tally.counters.address_conflicts += u64::from(taken);
                if taken && entry.conflicts < CONFLICTS_MAX {
                    // The next life has another place.
                    entry.prompt = true;
                } else {
                    self.world.tally.error(why);
                    self.world.tally.counters.last_errno = errno as u64;
                }
                self.lie_down(slot, 0);
            }
        }
    }

    fn received(&mut self, slot: u32, more: bool, result: Result<Option<Lease>, Errno>) {
        let now = self.now;
        let entry = &mut self.slots[slot as usize];
        entry.armed = more;
        entry.receiving = more;
        match result {
            Ok(Some(lease)) => {
                // A watch tells once; what did not fit has to be fetched without another sign.
                if entry.watching
                    && !more
                    && lease.length >= RECEIVE_BYTES
                    && entry.mood != Mood::Dozing
                    && let Net::Up(socket) = entry.net
                {
                    entry.receiving = true;
                    let token = Token::new(Operation::Receive, slot, entry.life);
                    self.ring.receive_once(socket, token);
                }
                if let Net::Up(_) = entry.net {
                    if entry.connection.outbound.capacity() == 0 {
                        entry.connection.outbound = self.spare.pop().unwrap_or_default();
                    }
                    let index = self.assignment.connections.start + slot;
                    let bytes = self.ring.bytes(&lease);
                    let heard = entry.connection.on_bytes(&mut self.world, index, now, bytes);
                    let awaits = entry.awaits;
                    if let Err(fault) = heard {
                        self.leave_at(slot, fault);
                    } else if awaits != Awaits::Nothing {
                        self.note_progress(slot);
                    }
                }
                self.ring.give_back(lease);
            }
            Ok(None) => self.leave(slot, ErrorKind::Closed, 0),
            // Its watch has told already, and the buffers are back by the next turn.
            Err(Errno(libc::ENOBUFS)) if entry.watching && !more && entry.mood != Mood::Dozing => {
                if let Net::Up(socket) = entry.net {
                    entry.receiving = true;
                    let token = Token::new(Operation::Receive, slot, entry.life);
                    self.ring.receive_once(socket, token);
                }
            }
            // Armed again (or watched) when flushed.
            Err(Errno(libc::ECANCELED | libc::ENOBUFS | libc::EAGAIN | libc::EINTR)) => {}
            Err(errno) => {
                let errno = errno.0.abs();
                self.world.tally.counters.last_errno = errno as u64;
                self.leave(slot, ErrorKind::of_break(errno), 0);
            }
        }
        self.touch(slot);
    }

    fn readable(&mut self, slot: u32, more: bool, result: Result<(), Errno>) {
        let entry = &mut self.slots[slot as usize];
        entry.watching = more;
        if let (Net::Up(socket), Ok(())) = (entry.net, result)
            && !entry.receiving
            && entry.mood != Mood::Dozing
        {
            entry.receiving = true;
            let token = Token::new(Operation::Receive, slot, entry.life);
            self.ring.receive_once(socket, token);
        }
        self.touch(slot);
    }

    fn sent(&mut self, slot: u32, result: Result<usize, Errno>, mut bytes: Vec<u8>) {
        let entry = &mut self.slots[slot as usize];
        entry.sending = false;
        match result {
            Ok(count) if count < bytes.len() => {
                bytes.drain(..count);
                bytes.append(&mut entry.connection.outbound);
                entry.connection.outbound = bytes;
            }
            Ok(_) => self.keep(bytes),
            Err(errno) => {
                let errno = errno.0.abs();
                self.world.tally.counters.last_errno = errno as u64;
                self.leave(slot, ErrorKind::of_break(errno), 0);
            }
        }
        self.touch(slot);
    }

    /// Begins to close a connection that its protocol gave up.
    pub(super) fn leave_at(&mut self, slot: u32, fault: Fault) {
        self.world.tally.counters.last_code = u64::from(fault.code);
        self.leave(slot, ErrorKind::of_code(fault.code), fault.retry_after_ms);
    }

    /// Begins to close a connection that was lost or is given up.
    pub(super) fn leave(&mut self, slot: u32, why: ErrorKind, retry_after_ms: u32) {
        let now_us = self.now.monotonic_us;
        let entry = &mut self.slots[slot as usize];
        let Net::Up(socket) = entry.net else { return };
        let hushed = entry.mood == Mood::Hushed;
        let since_us = entry.since_us;
        entry.net = Net::Closing { socket, retry_after_ms };
        entry.mood = Mood::Usual;
        if entry.awaits == Awaits::Nothing {
            entry.awaits = Awaits::Login;
            entry.since_us = now_us;
        }
        entry.connection.on_disconnected(&mut self.world);
        if hushed {
            // What it waited for: the server has noticed.
            self.world.record(since_us, now_us.saturating_sub(since_us), Stage::Detect);
        } else {
            self.world.tally.error(why);
        }
        self.close_if_idle(slot);
    }

    /// Begins to close a connection that leaves by plan.
    pub(super) fn go(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let Net::Up(socket) = entry.net else { return };
        entry.net = Net::Closing { socket, retry_after_ms: 0 };
        entry.connection.on_disconnected(&mut self.world);
        self.close_if_idle(slot);
    }

    /// One step of closing: cancel what is in flight, one after the other, then close.
    fn close_if_idle(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let Net::Closing { socket, .. } = entry.net else { return };
        if entry.cancelling || entry.closing {
            return;
        }
        let mut cancel = |operation, asked: &mut bool| {
            *asked = true;
            let target = Token::new(operation, slot, entry.life);
            self.ring.cancel(Some(socket), target, Token::new(Operation::Cancel, slot, entry.life));
        };
        if entry.receiving {
            if !entry.receive_cancelled {
                entry.cancelling = true;
                cancel(Operation::Receive, &mut entry.receive_cancelled);
            }
        } else if entry.watching {
            if !entry.watch_cancelled {
                entry.cancelling = true;
                cancel(Operation::Watch, &mut entry.watch_cancelled);
            }
        } else if entry.sending {
            if !entry.send_cancelled {
                entry.cancelling = true;
                cancel(Operation::Send, &mut entry.send_cancelled);
            }
        } else {
            self.end(slot, socket);
        }
    }

    /// Nothing is in flight any more.
    fn end(&mut self, slot: u32, socket: Socket) {
        let may_keep = self.assignment.kept_max > 0 && self.phase() != Phase::Stop;
        let entry = &mut self.slots[slot as usize];
        if entry.kept && may_keep {
            self.kept.push_back(socket);
            if self.kept.len() > self.assignment.kept_max as usize {
                self.close_kept();
            }
            return self.end_life(slot);
        }
        entry.closing = true;
        // A reset leaves no TIME_WAIT, which by the hundred thousand would spoil the next run.
        let reset = entry.close == Close::Rst;
        self.ring.close(socket, reset, Token::new(Operation::Close, slot, entry.life));
    }

    /// Closes the socket that has been kept longest.
    fn close_kept(&mut self) {
        let Some(socket) = self.kept.pop_front() else { return };
        let slot = self.slots.len() as u32 + self.kept_closed;
        self.kept_closed += 1;
        self.ring.close(socket, true, Token::new(Operation::Close, slot, 0));
    }

    fn end_life(&mut self, slot: u32) {
        let Net::Closing { retry_after_ms, .. } = self.slots[slot as usize].net else { return };
        self.lie_down(slot, retry_after_ms);
    }

    /// The next life begins when the plan says so, at once, or after a back-off with full jitter.
    fn lie_down(&mut self, slot: u32, retry_after_ms: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.begin_life();
        if entry.connection.take_came_online() {
            entry.failures = 0;
        }
        if entry.mood == Mood::Away {
            return;
        }
        if std::mem::take(&mut entry.prompt) {
            return self.begin_connect(slot);
        }
        let ceiling = (BACKOFF_US.0 << entry.failures.min(16)).min(BACKOFF_US.1);
        entry.failures = entry.failures.saturating_add(1);
        let wait_us = u64::from(retry_after_ms) * 1000 + self.random.bits() % ceiling;
        if self.phase() != Phase::Stop {
            let at_us = self.now.monotonic_us + wait_us;
            let entry = &mut self.slots[slot as usize];
            entry.armed_tick = self.wheel.add(slot, at_us, 0);
        }
    }

    /// Closes every socket, within a bound.
    pub(super) fn close_all(&mut self, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        for _ in 0..CLOSING_TURNS_MAX {
            for slot in 0..self.slots.len() as u32 {
                self.go(slot);
            }
            while !self.kept.is_empty() {
                self.close_kept();
            }
            if self.open == 0 {
                return Ok(());
            }
            self.turn(self.now.monotonic_us + 5_000, completions)?;
            self.complete_all(completions);
            self.touched.clear();
        }
        Ok(())
    }
}
