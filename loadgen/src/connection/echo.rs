//! Messages to a WebSocket echo and back: any server that sends each message to its sender again.
//!
//! A connection is logged in when its WebSocket is open. The answer to a message is its
//! acknowledgement and its delivery in one; the message's own checksum and number show that it is
//! the same and came in its turn. An echo promises nothing beyond one connection, so what is
//! unanswered leaves again on the next one. Without messages a WebSocket ping is sent for each
//! heartbeat. Invariant: unanswered messages are kept in the order they were sent.

use std::collections::VecDeque;

use hawser_codec::{
    code,
    time::Now,
    websocket::{Opcode, write},
};

use super::{Fault, Offer, World, client::Speak};
use crate::{
    oracle::{Arrival, Shown},
    payload::Payload,
    tally::Stage,
};

/// Messages of one connection that wait for their answer: minutes of a server that gives none.
const PENDING_MAX: usize = 4096;

/// Wait for an answer, and for a pong, before the connection is given up, microseconds.
const ANSWER_WAIT_US: u64 = 10_000_000;

/// Heartbeat if the scenario asks for none: what carriers' NATs let live.
const HEARTBEAT_DEFAULT_S: u16 = 30;

#[derive(Debug)]
struct Pending {
    intended_us: u64,
    sent_us: u64,
    counter: u32,
    lag_us: u32,
    hop: u8,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pending: VecDeque<Pending>,
    /// When the ping that is not answered yet was sent, 0 for none.
    pinged_us: u64,
    /// Of the last byte in either direction.
    moved_us: u64,
    heartbeat_us: u64,
    online: bool,
    was_online: bool,
    came_online: bool,
}

impl Speak for Echo {
    fn is_online(&self) -> bool {
        self.online
    }

    fn is_quiet(&self) -> bool {
        self.online && self.pinged_us == 0 && self.pending.is_empty()
    }

    fn take_came_online(&mut self) -> bool {
        std::mem::take(&mut self.came_online)
    }

    fn greet(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        self.online = true;
        world.note_login(self.was_online);
        (self.was_online, self.came_online) = (true, true);
        self.moved_us = now.monotonic_us;
        let heartbeat_s = match world.ground.scenario.heartbeat_s(index) {
            0 => HEARTBEAT_DEFAULT_S,
            seconds => seconds,
        };
        self.heartbeat_us = u64::from(heartbeat_s) * 1_000_000;
        for pending in &mut self.pending {
            if pending.sent_us != 0 {
                world.tally.counters.repeats += 1;
            }
            put(world, index, now, pending, outbound);
        }
    }

    fn take(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        _outbound: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        self.moved_us = now.monotonic_us;
        let shown = Shown::Topic(Some(index));
        let arrival = Arrival { viewer: index, shown, repeat: false, life: 0, body: bytes };
        let Some(payload) = world.deliver(now, &arrival) else { return Ok(bytes.len()) };
        let intended_us = payload.intended_us;
        let late_us = now.monotonic_us.saturating_sub(intended_us);
        let mut all = self.pending.iter();
        if let Some(at) = all.position(|pending| pending.counter == payload.counter) {
            self.pending.remove(at);
            world.ground.oracle.acknowledge(index, index, payload.counter);
            world.tally.counters.acknowledged += 1;
            world.record(intended_us, late_us, Stage::Acknowledge);
        }
        Ok(bytes.len())
    }

    fn offer(
        &mut self,
        world: &mut World,
        index: u32,
        offer: Offer,
        now: Now,
        outbound: &mut Vec<u8>,
    ) {
        let room = self.pending.len() < PENDING_MAX;
        let counter = room.then(|| world.ground.oracle.send(index, index)).flatten();
        let Some(counter) = counter else {
            world.shed();
            return;
        };
        let intended_us = offer.intended_us;
        let mut pending = Pending { intended_us, sent_us: 0, counter, lag_us: 0, hop: offer.hop };
        if self.online {
            put(world, index, now, &mut pending, outbound);
            self.moved_us = now.monotonic_us;
        }
        self.pending.push_back(pending);
    }

    fn on_time(
        &mut self,
        world: &mut World,
        _index: u32,
        now: Now,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if !self.online {
            return Ok(());
        }
        let now_us = now.monotonic_us;
        let unanswered =
            self.pending.front().is_some_and(|first| now_us >= first.sent_us + ANSWER_WAIT_US);
        let silent = self.pinged_us != 0 && now_us >= self.pinged_us + ANSWER_WAIT_US;
        if unanswered || silent {
            // A ping expected and not answered stays counted so.
            self.pinged_us = 0;
            return Err(Fault::new(code::TIMEOUT));
        }
        if self.pinged_us == 0 && !world.draining && now_us >= self.moved_us + self.heartbeat_us {
            write::ping(outbound, &[], Some(world.speaker.mask()));
            world.tally.counters.heartbeats_expected += 1;
            self.pinged_us = now_us;
            self.moved_us = now_us;
        }
        Ok(())
    }

    fn deadline(&self) -> u64 {
        if !self.online {
            return u64::MAX;
        }
        let heart_us = match self.pinged_us {
            0 => self.moved_us + self.heartbeat_us,
            pinged_us => pinged_us + ANSWER_WAIT_US,
        };
        self.pending.front().map_or(heart_us, |first| heart_us.min(first.sent_us + ANSWER_WAIT_US))
    }

    fn on_disconnected(&mut self, world: &mut World) {
        if std::mem::take(&mut self.online) {
            world.tally.counters.online -= 1;
        }
        if std::mem::take(&mut self.pinged_us) != 0 {
            // The break is counted as such, so the beat it swallowed is not asked for again.
            world.tally.counters.heartbeats_expected -= 1;
        }
    }
}

impl Echo {
    /// A pong came.
    pub(super) fn on_pong(&mut self, world: &mut World, now: Now) {
        self.moved_us = now.monotonic_us;
        let pinged_us = std::mem::take(&mut self.pinged_us);
        if pinged_us != 0 {
            world.tally.counters.heartbeats_answered += 1;
            world.record(pinged_us, now.monotonic_us - pinged_us, Stage::Heartbeat);
        }
    }
}

/// Sends a message, again if it left before.
fn put(world: &mut World, index: u32, now: Now, pending: &mut Pending, outbound: &mut Vec<u8>) {
    if pending.sent_us == 0 {
        let lag_us = now.monotonic_us.saturating_sub(pending.intended_us);
        pending.lag_us = lag_us.min(u64::from(u32::MAX)) as u32;
    }
    pending.sent_us = now.monotonic_us;
    let payload = Payload {
        run: world.ground.names.run(),
        sender: index,
        recipient: index,
        counter: pending.counter,
        lag_us: pending.lag_us,
        hop: pending.hop,
        intended_us: pending.intended_us,
    };
    payload.write(world.ground.payload_bytes, &mut world.body);
    write::frame(outbound, Opcode::Binary, true, false, &world.body, Some(world.speaker.mask()));
}
