//! What operations armed on a slot see when its socket's state has changed.

use std::collections::BTreeSet;

use super::{Fault, SimRing, network::End, ring::Receive, world::State};
use crate::{Errno, Event, Lease, Socket};

/// Buffers one socket fills in one turn before others get theirs, as the real backend.
const RECEIVES_PER_TURN: u32 = 4;

impl SimRing {
    pub(super) fn look_at_slots(&mut self, state: &mut State) {
        let dirty: BTreeSet<u32> = std::mem::take(&mut state.rings[self.index as usize].dirty);
        let mut dirty: Vec<u32> = dirty.into_iter().collect();
        // Task work of different sockets comes in any order.
        for at in (1..dirty.len()).rev() {
            dirty.swap(at, state.random.below(at as u64 + 1) as usize);
        }
        for slot in dirty {
            self.look_at(state, slot);
        }
    }

    /// Lets the operations armed on a slot see its socket's state.
    pub(super) fn look_at(&mut self, state: &mut State, slot: u32) {
        let Some(end) = state.rings[self.index as usize].slots[slot as usize] else { return };
        if state.network.half(end).is_none() || !self.slots.contains_key(&slot) {
            return;
        }
        if self.slots[&slot].connect.is_some() {
            return self.look_at_connect(state, slot, end);
        }
        if state.strikes(Fault::Reset) {
            state.reset_both(end);
        }
        self.look_at_watch(state, slot, end);
        self.look_at_receive(state, slot, end);
        self.look_at_send(state, slot, end);
    }

    fn look_at_connect(&mut self, state: &mut State, slot: u32, end: End) {
        let Some(token) = self.slots[&slot].connect else { return };
        let Some(half) = state.network.half(end) else { return };
        if let Some(errno) = half.error {
            self.abandon_connect(state, slot, end);
            self.complete(state, None, token, false, Event::Connected(Err(Errno(errno))));
        } else if half.established {
            self.slots.remove(&slot);
            self.complete(state, Some(slot), token, false, Event::Connected(Ok(Socket(slot))));
        }
    }

    /// A failed or cancelled connect closes its socket.
    pub(super) fn abandon_connect(&mut self, state: &mut State, slot: u32, end: End) {
        self.slots.remove(&slot);
        state.rings[self.index as usize].vacate(slot);
        state.close_end(end, false);
    }

    fn look_at_watch(&mut self, state: &mut State, slot: u32, end: End) {
        let Some(token) = self.slots[&slot].watch else { return };
        let Some(half) = state.network.half_mut(end) else { return };
        let news = std::mem::take(&mut half.edge);
        let more = if news {
            !state.strikes(Fault::MoreLostWithData)
        } else if state.strikes(Fault::MoreLostWithoutData) {
            // Readiness reported in vain, and the watch is gone.
            false
        } else {
            return;
        };
        if !more {
            self.slots.get_mut(&slot).expect("looked at").watch = None;
        }
        self.complete(state, Some(slot), token, more, Event::Readable(Ok(())));
    }

    fn look_at_receive(&mut self, state: &mut State, slot: u32, end: End) {
        for _ in 0..RECEIVES_PER_TURN {
            let Some(Receive { token, once }) = self.slots[&slot].receive else { return };
            let Some((more, event)) = self.receive_step(state, end, once) else { return };
            if !more {
                self.slots.get_mut(&slot).expect("looked at").receive = None;
            }
            self.complete(state, Some(slot), token, more, event);
        }
        // Others first; the rest in the next turn.
        state.rings[self.index as usize].dirty.insert(slot);
    }

    /// One step of a receive; `None` waits on.
    pub(super) fn receive_step(
        &mut self,
        state: &mut State,
        end: End,
        once: bool,
    ) -> Option<(bool, Event)> {
        let half = state.network.half(end)?;
        let (waiting, error, fin) = (half.inbound.len(), half.error, half.fin);
        let failed = |errno| Some((false, Event::Received(Err(Errno(errno)))));
        if waiting == 0 {
            return match (error, fin, once) {
                (Some(errno), ..) => failed(errno),
                (None, true, _) => Some((false, Event::Received(Ok(None)))),
                (None, false, true) => failed(libc::EAGAIN),
                (None, false, false) => None,
            };
        }
        if state.strikes(Fault::FailedReceive) {
            state.fail_end(end, libc::ETIMEDOUT);
            return failed(libc::ETIMEDOUT);
        }
        if state.strikes(Fault::MoreLostWithoutData) {
            return failed(libc::EINTR);
        }
        let buffer = if state.strikes(Fault::NoBuffers) { None } else { self.free.pop_front() };
        let Some(buffer) = buffer else {
            self.counters.starved += 1;
            return failed(libc::ENOBUFS);
        };
        let mut length = waiting.min(self.settings.buffer_bytes as usize);
        if length > 1 && state.strikes(Fault::ShortReceive) {
            length = state.random.between(1, length as u64 - 1) as usize;
        }
        let bytes = state.take_inbound(end, length);
        let start = usize::from(buffer) * self.settings.buffer_bytes as usize;
        self.memory[start..start + length].copy_from_slice(&bytes);
        assert!(self.loans.lend(buffer), "a free buffer is not on loan");
        let lease = Lease { buffer: u32::from(buffer), length: length as u32 };
        let more = !once && !state.strikes(Fault::MoreLostWithData);
        Some((more, Event::Received(Ok(Some(lease)))))
    }

    fn look_at_send(&mut self, state: &mut State, slot: u32, end: End) {
        let operations = self.slots.get_mut(&slot).expect("looked at");
        let Some((token, bytes)) = operations.send.take() else { return };
        let Some(half) = state.network.half(end) else { return };
        if let Some(errno) = half.error {
            let event = Event::Sent(Err(Errno(errno)), bytes);
            return self.complete(state, Some(slot), token, false, event);
        }
        let room = state.network.send_room(end).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            self.slots.get_mut(&slot).expect("looked at").send = Some((token, bytes));
            return;
        }
        if state.strikes(Fault::FailedSend) {
            state.fail_end(end, libc::ETIMEDOUT);
            let event = Event::Sent(Err(Errno(libc::ETIMEDOUT)), bytes);
            return self.complete(state, Some(slot), token, false, event);
        }
        let length = if room > 1 && state.strikes(Fault::ShortSend) {
            state.random.between(1, room as u64 - 1) as usize
        } else {
            room
        };
        let sent = state.transmit(end, &bytes[..length]);
        self.complete(state, Some(slot), token, false, Event::Sent(Ok(sent), bytes));
    }
}
