//! How bytes come in: cold and hot connections, leases, unfinished frames.

use super::*;
use crate::session::Stop;
use hawser_codec::code;

impl<R: Ring> Worker<R> {
    /// Arms what the connection's mode asks for, if it is not armed.
    pub(super) fn arm(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if matches!(connection.state, State::Leaving | State::Closing) {
            return;
        }
        let socket = Socket(handle.slot);
        if connection.receiving == Receiving::Ended {
            connection.receiving = Receiving::Cold;
        }
        match connection.receiving {
            Receiving::Cold if !connection.in_flight.has(Operation::Watch) => {
                connection.in_flight.set(Operation::Watch);
                self.levels.armed += 1;
                let token = Token::new(Operation::Watch, handle.slot, handle.generation);
                self.ring.watch(socket, token);
            }
            Receiving::Hot if !connection.in_flight.has(Operation::Receive) => {
                connection.in_flight.set(Operation::Receive);
                self.levels.armed += 1;
                let token = Token::new(Operation::Receive, handle.slot, handle.generation);
                self.ring.receive(socket, token);
            }
            _ => {}
        }
    }

    pub(super) fn on_readable(&mut self, handle: Handle, result: Result<(), Errno>) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if matches!(connection.state, State::Leaving | State::Closing) {
            if connection.awaits_answer() && result.is_ok() {
                self.receive_once(handle);
            }
            return;
        }
        match (result, connection.receiving) {
            // Answered when its bytes are taken again.
            (Ok(()), Receiving::Cold) if connection.flow != Flow::Open => {
                connection.missed = true;
            }
            (Ok(()), Receiving::Cold) => self.receive_once(handle),
            // Cancelled because the connection has become hot, or a late edge: the armed receive
            // has it all.
            (_, Receiving::Hot | Receiving::Starved | Receiving::Ended) => {}
            (Err(ECANCELED), Receiving::Cold) => {}
            (Err(_), Receiving::Cold) => return self.begin_close(handle, true, CloseReason::Reset),
        }
        self.arm(handle);
    }

    pub(super) fn receive_once(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.in_flight.has(Operation::Receive) {
            connection.missed = true;
            return;
        }
        connection.missed = false;
        connection.in_flight.set(Operation::Receive);
        self.levels.armed += 1;
        let token = Token::new(Operation::Receive, handle.slot, handle.generation);
        self.ring.receive_once(Socket(handle.slot), token);
    }

    pub(super) fn on_received(
        &mut self,
        handle: Handle,
        result: Result<Option<hawser_ring::Lease>, Errno>,
        more: bool,
    ) {
        match result {
            Ok(Some(lease)) => {
                let filled = lease.length >= self.settings.buffer_bytes;
                let silence = self.connections.get_mut(handle).map_or(0, |held| held.silence);
                let flow = self.on_lease(handle, &lease);
                self.ring.give_back(lease);
                if let Err(farewell) = flow {
                    let reason = reason_of(&farewell);
                    return self.dismiss(handle, &farewell, reason);
                }
                self.mark_dirty(handle);
                self.after_bytes(handle, filled, more, silence);
            }
            // What it said before is still to be taken: the end is met again after that.
            Ok(None) if self.has_left_over(handle) => self.cool(handle),
            Ok(None) => self.begin_close(handle, false, CloseReason::Peer),
            Err(ENOBUFS) => {
                self.metrics.starved.add(1);
                if let Some(connection) = self.connections.get_mut(handle) {
                    if connection.receiving == Receiving::Hot {
                        connection.receiving = Receiving::Starved;
                    }
                    self.starved.push_back(handle);
                }
            }
            Err(EAGAIN) => self.look_again(handle),
            Err(ECANCELED) => {
                self.arm(handle);
                self.look_again(handle);
            }
            // It has looked at nothing.
            Err(EINTR) => {
                if let Some(connection) = self.connections.get_mut(handle) {
                    connection.missed = true;
                }
                self.arm(handle);
                self.look_again(handle);
            }
            Err(_) => self.begin_close(handle, true, CloseReason::Reset),
        }
    }

    /// Decides what is armed next after bytes came, and whether a deadline has moved forward;
    /// `silence` is what was allowed before them.
    fn after_bytes(&mut self, handle: Handle, filled: bool, more: bool, silence: u16) {
        self.quieten(handle);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.state == State::Leaving {
            if connection.awaits_answer() && filled && !more {
                self.receive_once(handle);
            }
            return;
        }
        if connection.flow != Flow::Open {
            connection.missed |= filled;
            return;
        }
        let frame_begun = connection.has_unfinished() && connection.since == self.tick;
        let is_sooner = frame_begun || connection.silence < silence;
        match connection.receiving {
            Receiving::Cold if connection.busy >= limits::HOT_RECEIVES => self.heat(handle),
            // The watch is edge-like: a buffer that came back full may have left bytes behind.
            Receiving::Cold if filled || (connection.missed && !more) => self.receive_once(handle),
            Receiving::Hot if !more => self.arm(handle),
            _ => {}
        }
        if is_sooner {
            // The end of a frame, or a shorter heartbeat just announced, is due before what the
            // timer was filed for.
            let next = self.next_timer(handle);
            self.wheel.file(handle.slot, next);
        }
    }

    /// From a watch to a multishot receive: the client is talking.
    fn heat(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        connection.receiving = Receiving::Hot;
        self.levels.hot += 1;
        if connection.in_flight.has(Operation::Watch)
            && !connection.in_flight.has(Operation::Cancel)
        {
            connection.in_flight.set(Operation::Cancel);
            self.levels.armed += 1;
            let target = Token::new(Operation::Watch, handle.slot, handle.generation);
            let token = Token::new(Operation::Cancel, handle.slot, handle.generation);
            self.ring.cancel(Some(Socket(handle.slot)), target, token);
        }
        if !matches!(connection.state, State::Leaving | State::Closing) {
            // Cooling is one more deadline: a handshake or heartbeat that ends sooner still does.
            let next = self.next_timer(handle);
            self.wheel.file(handle.slot, next);
        }
        self.arm(handle);
    }

    /// From a multishot receive back to a watch: the client has been quiet.
    pub(super) fn cool(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let is_hot = matches!(connection.receiving, Receiving::Hot | Receiving::Starved);
        if !is_hot || connection.in_flight.has(Operation::Cancel) {
            return;
        }
        connection.receiving = Receiving::Cold;
        self.levels.hot -= 1;
        if connection.in_flight.has(Operation::Receive) {
            connection.in_flight.set(Operation::Cancel);
            self.levels.armed += 1;
            let target = Token::new(Operation::Receive, handle.slot, handle.generation);
            let token = Token::new(Operation::Cancel, handle.slot, handle.generation);
            self.ring.cancel(Some(Socket(handle.slot)), target, token);
        }
        self.arm(handle);
    }

    fn on_lease(&mut self, handle: Handle, lease: &hawser_ring::Lease) -> Result<(), Farewell> {
        let Some(connection) = self.connections.get_mut(handle) else { return Ok(()) };
        self.metrics.bytes_in.add(u64::from(lease.length));
        connection.heard = self.tick;
        if connection.state == State::Open {
            connection.flags.set(Flag::Asked, false);
        }
        connection.busy = connection.busy.saturating_add(1);
        if connection.flow == Flow::Open {
            return self.take_bytes(handle, Some(lease));
        }
        self.pool.open(&mut connection.partial).extend_from_slice(self.ring.bytes(lease));
        self.pool.count(connection.partial);
        Ok(())
    }

    /// Whole frames go to the protocol's core, of what was left over and of what has come; the rest
    /// waits in a buffer of its own, so the ring's buffer can be given back in this turn whatever
    /// the sender's pace.
    pub(super) fn take_bytes(
        &mut self,
        handle: Handle,
        lease: Option<&hawser_ring::Lease>,
    ) -> Result<(), Farewell> {
        let Some(connection) = self.connections.get_mut(handle) else { return Ok(()) };
        let bytes = lease.map_or(&[][..], |lease| self.ring.bytes(lease));
        let before = (connection.state, connection.protocol);
        let marks = self.pressure.marks(self.pool.held_bytes());
        let collected = (connection.partial != Queue::NONE).then(|| {
            let mut collected = self.pool.take(&mut connection.partial);
            collected.extend_from_slice(bytes);
            collected
        });
        let bytes = collected.as_deref().unwrap_or(bytes);
        let is_waiting = connection.flags.has(Flag::Waiting);
        // A handshake that is called to its turn may have been given all its bytes before.
        let is_called = lease.is_none() && connection.flags.has(Flag::Tls);
        if bytes.is_empty() && !is_waiting && !is_called {
            return Ok(());
        }
        let spent = usize::from(connection.spent);
        let share = (limits::RECEIVE_BYTES_PER_TURN as usize).saturating_sub(spent);
        let budget = share.min(self.budget);
        let mut outlet = Outlet { marks, ..lend!(self) };
        let taken = match self.cores.on_bytes(connection, handle, bytes, budget, &mut outlet) {
            Ok(taken) => taken,
            Err(farewell) => {
                self.settle(handle, before);
                return Err(farewell);
            }
        };
        // What waited was counted when it came, yet its work is done only now.
        let charged = if is_waiting { budget } else { taken.bytes };
        if connection.spent == 0 && charged > 0 {
            self.spenders.push(handle);
        }
        connection.spent = connection.spent.saturating_add(charged.min(0xffff) as u16);
        self.budget = self.budget.saturating_sub(charged);
        let rest = bytes.len() - taken.bytes;
        if rest > 0 {
            // A record that is not whole is part of a handshake or frame that began before.
            let began_before = connection.flags.has(Flag::Unfinished);
            if (collected.is_none() || taken.bytes > 0) && !began_before {
                connection.since = self.tick;
            }
            // The beginning of a frame that fits one buffer is let be even then: it costs no more
            // than the connection itself.
            if marks.full
                && taken.stop == Stop::NeedMore
                && rest > limits::RECEIVE_BUFFER_BYTES as usize
            {
                return Err(Farewell::saying(code::OVERLOADED, "no room for an unfinished frame")
                    .retry_after(limits::OVERLOADED_RETRY_MS));
            }
        }
        match collected {
            Some(mut collected) if rest > 0 => {
                collected.drain(..taken.bytes);
                self.pool.put(&mut connection.partial, collected);
            }
            Some(collected) => self.pool.recycle(collected),
            None if rest > 0 => {
                self.pool.open(&mut connection.partial).extend_from_slice(&bytes[taken.bytes..]);
            }
            None => {}
        }
        self.pool.count(connection.partial);
        match taken.stop {
            Stop::NeedMore => {}
            Stop::Budget => {
                connection.flow = Flow::Yielding;
                self.yielding.push_back(handle);
            }
            Stop::Pressure => self.pause(handle),
            Stop::Answer => connection.flow = Flow::Asking,
        }
        self.settle(handle, before);
        Ok(())
    }

    /// Buffers have come back since: arm those who found none, a bounded number a turn.
    pub(super) fn rearm_starved(&mut self) {
        for _ in 0..limits::REARM_PER_TURN {
            let Some(handle) = self.starved.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            match connection.receiving {
                // Looks for its bytes when they are taken again.
                _ if matches!(connection.flow, Flow::Paused | Flow::Asking) => {
                    connection.missed = true;
                }
                Receiving::Starved => {
                    connection.receiving = Receiving::Hot;
                    self.arm(handle);
                }
                // Its watch is edge-like and has fired: what waits must be fetched.
                Receiving::Cold => self.receive_once(handle),
                Receiving::Hot | Receiving::Ended => {}
            }
        }
    }
}

/// Under which reason a connection that said something wrong is counted.
pub(super) fn reason_of(farewell: &Farewell) -> CloseReason {
    match farewell.code {
        0 => CloseReason::Peer,
        200..=299 => CloseReason::Denied,
        400..=499 => CloseReason::Full,
        _ => CloseReason::Protocol,
    }
}
