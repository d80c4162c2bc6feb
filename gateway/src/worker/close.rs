//! How connections end: last bytes under a bound, cancel, await, close, free.

use super::*;
use crate::session::Ending;
use hawser_router::hosting::Reach;

impl<R: Ring> Worker<R> {
    /// Says why, then closes once that has gone out or the bound has passed.
    pub(super) fn dismiss(&mut self, handle: Handle, farewell: &Farewell, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if matches!(connection.state, State::Leaving | State::Closing) {
            return;
        }
        if reason == CloseReason::Denied || connection.flags.has(Flag::Proxy) {
            self.note_refusal(handle, farewell);
        }
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let mut outlet = lend!(self);
        self.cores.say_farewell(connection, handle, farewell, &mut outlet);
        self.leave(handle, reason, farewell.ending != Ending::Silent);
    }

    /// `was_told`: the client has been told why, and if its protocol has an answer to that, it is
    /// waited for.
    fn leave(&mut self, handle: Handle, reason: CloseReason, was_told: bool) {
        self.metrics.closed.at(reason).add(1);
        self.logout(handle);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.flags.has(Flag::Tls) {
            let end = hawser_tls::Alert::CLOSE_NOTIFY;
            self.cores.tls().end(connection, handle, end, &mut self.pool);
        }
        connection.state = State::Leaving;
        // Closed with bytes unread, the socket would be reset, and the last words with it.
        let is_answered = connection.protocol.is_websocket() && !connection.flags.has(Flag::Tls);
        connection.flags.set(Flag::Asked, was_told && is_answered);
        self.levels.closing += 1;
        let bound = self.tick + ticks(self.settings.close_ms);
        self.wheel.file(handle.slot, bound);
        self.mark_dirty(handle);
        // There may be nothing to be said.
        self.advance_close(handle);
    }

    /// The peer is gone or must go: nothing more is sent.
    pub(super) fn begin_close(&mut self, handle: Handle, abort: bool, reason: CloseReason) {
        self.logout(handle);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if !matches!(connection.state, State::Leaving | State::Closing) {
            self.metrics.closed.at(reason).add(1);
        }
        connection.flags.set(Flag::Abort, abort || connection.flags.has(Flag::Abort));
        if connection.state != State::Leaving && connection.state != State::Closing {
            self.levels.closing += 1;
        }
        connection.state = State::Closing;
        self.wheel.cancel(handle.slot);
        self.advance_close(handle);
    }

    fn logout(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if matches!(connection.state, State::Leaving | State::Closing) {
            return;
        }
        if connection.state != State::Open {
            self.levels.greeting -= 1;
        }
        if matches!(connection.receiving, Receiving::Hot | Receiving::Starved) {
            self.levels.hot -= 1;
        }
        connection.receiving = Receiving::Ended;
        if connection.flow == Flow::Paused {
            self.levels.paused -= 1;
        }
        connection.flow = Flow::Open;
        if matches!(connection.state, State::LoggingIn | State::Open) {
            self.cores.logout(connection, handle, &mut self.uplinks);
            if connection.state == State::Open && connection.protocol.has_session() {
                self.levels.sessions -= 1;
            }
        }
    }

    /// Takes the next step of an ending connection; called after each of its completions.
    pub(super) fn advance_close(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        match connection.state {
            State::Leaving
                if !connection.in_flight.has(Operation::Send)
                    && connection.queued == Queue::NONE
                    && !connection.flags.has(Flag::Asked) =>
            {
                connection.state = State::Closing;
                self.wheel.cancel(handle.slot);
            }
            State::Closing => {}
            _ => return,
        }
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.in_flight.has(Operation::Cancel) || connection.in_flight.has(Operation::Close)
        {
            return;
        }
        // A slot is never closed with anything in flight: the kernel would keep the file, send no
        // FIN, and a late completion would meet the slot's next owner.
        for operation in [Operation::Watch, Operation::Receive, Operation::Send] {
            if connection.in_flight.has(operation) && !connection.cancelled.has(operation) {
                connection.cancelled.set(operation);
                connection.in_flight.set(Operation::Cancel);
                self.levels.armed += 1;
                let target = Token::new(operation, handle.slot, handle.generation);
                let token = Token::new(Operation::Cancel, handle.slot, handle.generation);
                self.ring.cancel(Some(Socket(handle.slot)), target, token);
                return;
            }
        }
        if connection.in_flight.is_empty() {
            connection.in_flight.set(Operation::Close);
            self.levels.armed += 1;
            let token = Token::new(Operation::Close, handle.slot, handle.generation);
            self.ring.close(Socket(handle.slot), connection.flags.has(Flag::Abort), token);
        }
    }

    /// The slot is closed: nothing of this life is left.
    pub(super) fn forget(&mut self, handle: Handle) {
        let Some(mut connection) = self.connections.remove(handle) else { return };
        debug_assert!(connection.in_flight.is_empty());
        for queue in [&mut connection.queued, &mut connection.partial] {
            let bytes = self.pool.take(queue);
            self.pool.recycle(bytes);
        }
        self.levels.closing -= 1;
        self.count_spoken(connection.protocol, false);
        self.faces.forget(&connection, handle, &mut self.pool);
        self.cores.forget(&mut connection);
        self.cores.forget_client(handle);
        if connection.flags.has(Flag::Tls) {
            self.cores.tls().forget(handle, &mut self.pool);
        }
        self.wheel.cancel(handle.slot);
        self.fleet.loads[self.settings.index].fetch_sub(1, Ordering::Relaxed);
    }

    /// Announces sessions, and what topics are wanted here, to hosts that lost their directory, a
    /// bounded number a turn.
    pub(super) fn announce_some(&mut self) {
        for host in 0..self.announcing.len() {
            if !self.uplinks.has_room() || self.uplinks.reach(host) != Reach::Up {
                continue;
            }
            if self.routing[host] {
                self.routing[host] =
                    self.cores.mqtt().announce_routes(host as u16, &mut self.uplinks);
            }
            let Some(from) = self.announcing[host] else { continue };
            let to = (from + limits::ANNOUNCE_PER_TURN).min(self.connections.end());
            for slot in from..to {
                let Some(handle) = self.connections.handle(slot) else { continue };
                let Some(connection) = self.connections.get_mut(handle) else { continue };
                let is_home = usize::from(connection.user[0]) % self.announcing.len() == host;
                let mut outlet = lend!(self);
                let told = self.cores.announce(connection, handle, is_home, &mut outlet);
                if let Err(farewell) = told {
                    self.dismiss(handle, &farewell, CloseReason::Full);
                }
            }
            self.announcing[host] = (to < self.connections.end()).then_some(to);
        }
    }

    /// Drain: asks connections to leave, a bounded number a turn, and closes them.
    pub(super) fn leave_some(&mut self) {
        let from = self.leaving.unwrap_or(0);
        let to = (from + limits::LEAVE_PER_TURN).min(self.connections.end());
        for slot in from..to {
            let Some(handle) = self.connections.handle(slot) else { continue };
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            if matches!(connection.state, State::Leaving | State::Closing) {
                continue;
            }
            let retry_after_ms = limits::DRAIN_RETRY_MS;
            let mut outlet = lend!(self);
            self.cores.say_go_away(connection, handle, retry_after_ms, &mut outlet);
            self.leave(handle, CloseReason::Shutdown, true);
        }
        // Those accepted meanwhile are met on the next round.
        self.leaving = Some(if to < self.connections.end() { to } else { 0 });
    }
}
