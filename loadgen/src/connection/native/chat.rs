//! The sending half: unanswered requests in order, window, repeats.

use std::collections::VecDeque;

use hawser_codec::{
    code,
    message::{Acknowledge, Error, Level, Message, Request},
    time::Now,
};

use super::{Fault, World};
use crate::{
    connection::{Offer, To},
    payload::Payload,
    tally::Stage,
};

/// Messages of one user that wait for an answer; at the usual rates that is many minutes of a
/// server that does not answer.
const PENDING_MAX: usize = 4096;

/// A request unanswered for so long is repeated once, and after as much again the connection is
/// given up, microseconds.
const ANSWER_WAIT_US: u64 = 5_000_000;

/// Shortest wait before a request refused for now leaves again, microseconds.
const RETRY_MIN_US: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unsent,
    Sent { at_us: u64, repeated: bool },
    Later { at_us: u64 },
}

#[derive(Debug)]
struct Pending {
    client_seq: u64,
    intended_us: u64,
    /// Wall time of the first attempt, 0 before it.
    first_ms: u64,
    recipient: u32,
    counter: u32,
    lag_us: u32,
    hop: u8,
    standing: Standing,
}

#[derive(Debug, Default)]
pub(super) struct Chat {
    pending: VecDeque<Pending>,
    last_seq: u64,
    /// Server's wall clock less ours, milliseconds.
    clock_offset_ms: i64,
    /// Requests that have not left on this connection, or are to leave again.
    waiting: usize,
    deadline_us: u64,
}

impl Chat {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn set_clock(&mut self, offset_ms: i64) {
        self.clock_offset_ms = offset_ms;
    }

    pub(super) fn on_disconnected(&mut self) {
        for pending in &mut self.pending {
            pending.standing = Standing::Unsent;
        }
        self.waiting = self.pending.len();
    }

    pub(super) fn offer(&mut self, world: &mut World, index: u32, offer: &Offer, now: Now) {
        let Offer { to, intended_us, hop } = *offer;
        // Scenarios with groups do not start with this protocol.
        let recipient = match to {
            To::User(user) if self.pending.len() < PENDING_MAX => Some(user),
            To::User(_) | To::Group(_) => None,
        };
        let sent = recipient.and_then(|to| Some((to, world.ground.oracle.send(index, to)?)));
        let Some((recipient, counter)) = sent else {
            world.shed();
            return;
        };
        self.last_seq += 1;
        self.waiting += 1;
        self.pending.push_back(Pending {
            client_seq: self.last_seq,
            intended_us,
            first_ms: 0,
            recipient,
            counter,
            lag_us: now.monotonic_us.saturating_sub(intended_us).min(u64::from(u32::MAX)) as u32,
            hop,
            standing: Standing::Unsent,
        });
    }

    /// Sends what window and order allow. Only the first `window` requests can be concerned: the
    /// window counts unanswered ones, and answered ones are gone.
    pub(super) fn pump(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        window: u16,
        outbound: &mut Vec<u8>,
    ) {
        if self.waiting == 0 {
            return;
        }
        for at in 0..self.pending.len().min(usize::from(window)) {
            let recipient = self.pending[at].recipient;
            let open = self.pending[at].standing == Standing::Unsent;
            if open {
                let earlier = self.pending.iter().take(at).rev();
                let mut earlier = earlier.filter(|pending| pending.recipient == recipient);
                let last = earlier.next();
                let is_sent = |pending: &Pending| matches!(pending.standing, Standing::Sent { .. });
                if last.is_none_or(|last| is_sent(last) && earlier.all(is_sent)) {
                    self.put(world, index, now, at, false, outbound);
                }
            }
        }
    }

    fn put(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        at: usize,
        repeated: bool,
        outbound: &mut Vec<u8>,
    ) {
        let recipient = self.pending[at].recipient;
        let mut earlier = self.pending.iter().take(at).rev();
        let after = earlier.find(|pending| pending.recipient == recipient);
        let after = after.map_or(0, |pending| pending.client_seq);
        let pending = &mut self.pending[at];
        let mut first_attempt_ms = 0;
        if pending.first_ms == 0 {
            pending.first_ms = now.wall_ms.max(1);
            let lag_us = now.monotonic_us.saturating_sub(pending.intended_us);
            pending.lag_us = lag_us.min(u64::from(u32::MAX)) as u32;
        } else {
            first_attempt_ms = pending.first_ms.saturating_add_signed(self.clock_offset_ms).max(1);
            world.tally.counters.repeats += 1;
        }
        if !repeated {
            self.waiting -= 1;
        }
        let at_us = now.monotonic_us;
        pending.standing = Standing::Sent { at_us, repeated };
        if self.deadline_us == 0 {
            self.deadline_us = at_us + ANSWER_WAIT_US;
        }
        let names = world.ground.names;
        let payload = Payload {
            run: names.run(),
            sender: index,
            recipient,
            counter: pending.counter,
            lag_us: pending.lag_us,
            intended_us: pending.intended_us,
            hop: pending.hop,
        };
        payload.write(world.ground.payload_bytes, &mut world.body);
        let to = names.name(recipient);
        let request = Request {
            client_seq: pending.client_seq,
            after,
            uuid: names.uuid(index, pending.client_seq),
            to: to.as_str(),
            level: Level::Normal,
            content: 0,
            receipts: 0,
            first_attempt_ms,
            body: &world.body,
        };
        world.speaker.say(outbound, &Message::Request(request));
    }

    fn take(&mut self, client_seq: u64) -> Option<Pending> {
        let at = self.pending.binary_search_by_key(&client_seq, |p| p.client_seq).ok()?;
        let pending = self.pending.remove(at)?;
        if !matches!(pending.standing, Standing::Sent { .. }) {
            self.waiting -= 1;
        }
        Some(pending)
    }

    pub(super) fn on_acknowledge(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        answer: &Acknowledge,
    ) {
        // Unknown: the second answer to a request that was repeated.
        let Some(pending) = self.take(answer.client_seq) else { return };
        if world.ground.oracle.acknowledge(index, pending.recipient, pending.counter) {
            world.tally.counters.acknowledged += 1;
        }
        let us = now.monotonic_us.saturating_sub(pending.intended_us);
        if world.record(pending.intended_us, us, Stage::Acknowledge) {
            let from_sent_us = us.saturating_sub(u64::from(pending.lag_us));
            world.tally.record(Stage::AcknowledgeSent, from_sent_us);
        }
    }

    pub(super) fn on_refused(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        error: &Error<'_>,
    ) {
        let temporary = error.code == code::OUT_OF_ORDER || error.code >= 400;
        if !temporary {
            if let Some(pending) = self.take(error.client_seq) {
                world.refuse(index, pending.recipient, pending.counter, error.code);
            }
            return;
        }
        let client_seq = error.client_seq;
        let found = self.pending.binary_search_by_key(&client_seq, |p| p.client_seq);
        let Some(pending) = found.ok().and_then(|at| self.pending.get_mut(at)) else { return };
        if matches!(pending.standing, Standing::Sent { .. }) {
            self.waiting += 1;
        }
        let wait_us = (u64::from(error.retry_after_ms) * 1000).max(RETRY_MIN_US);
        let at_us = now.monotonic_us + wait_us;
        pending.standing = Standing::Later { at_us };
        self.deadline_us = if self.deadline_us == 0 { at_us } else { self.deadline_us.min(at_us) };
    }

    pub(super) fn on_time(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if self.deadline_us == 0 || now.monotonic_us < self.deadline_us {
            return Ok(());
        }
        for at in 0..self.pending.len() {
            match self.pending[at].standing {
                Standing::Later { at_us } if now.monotonic_us >= at_us => {
                    self.pending[at].standing = Standing::Unsent;
                }
                Standing::Sent { at_us, repeated }
                    if now.monotonic_us >= at_us + ANSWER_WAIT_US =>
                {
                    if repeated {
                        return Err(Fault::new(code::TIMEOUT));
                    }
                    self.put(world, index, now, at, true, outbound);
                }
                Standing::Unsent | Standing::Later { .. } | Standing::Sent { .. } => {}
            }
        }
        let due = |pending: &Pending| match pending.standing {
            Standing::Unsent => None,
            Standing::Sent { at_us, .. } => Some(at_us + ANSWER_WAIT_US),
            Standing::Later { at_us } => Some(at_us),
        };
        self.deadline_us = self.pending.iter().filter_map(due).min().unwrap_or(0);
        Ok(())
    }

    /// Nothing is due before it; something may be.
    pub(super) fn deadline(&self) -> u64 {
        if self.deadline_us == 0 { u64::MAX } else { self.deadline_us }
    }
}
