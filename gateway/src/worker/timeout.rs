//! What the wheel sets off: handshakes that do not end, silence, half frames, cooling, farewells
//! that do not get through.

use super::*;
use hawser_codec::code;

impl<R: Ring> Worker<R> {
    pub(super) fn fire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(self.tick, limits::TIMERS_PER_TURN, &mut fired);
        for slot in fired.drain(..) {
            if let Some(handle) = self.connections.handle(slot) {
                self.on_timer(handle);
            }
        }
        self.fired = fired;
    }

    fn on_timer(&mut self, handle: Handle) {
        let now = self.tick;
        let handshake = self.handshake_ticks();
        let Some(connection) = self.connections.get_mut(handle) else { return };
        match connection.state {
            State::Leaving => {
                let is_stuck = connection.queued != Queue::NONE;
                return self.begin_close(handle, is_stuck, CloseReason::Stalled);
            }
            State::Closing => return,
            State::Opening | State::Greeting | State::LoggingIn
                if now - connection.since >= handshake =>
            {
                let text = "no complete hello within the handshake time";
                return self.expire(handle, text, CloseReason::Handshake);
            }
            // Silent because nothing is taken from it. What bounds it then is its send: one that
            // does not move ends with the socket's own time-out.
            State::Open if matches!(connection.flow, Flow::Paused | Flow::Asking) => {
                connection.heard = now;
            }
            State::Open if now - connection.heard >= Cores::silence(connection) => {
                self.metrics.heartbeats_expired.add(1);
                let text = "nothing heard within the announced heartbeat";
                return self.expire(handle, text, CloseReason::Heartbeat);
            }
            _ => {}
        }
        if self.cores.due(connection, handle, &self.faces).is_some_and(|due| due <= now) {
            let mut outlet = lend!(self);
            if let Err(farewell) = self.cores.on_due(connection, handle, &mut outlet) {
                let reason = receive::reason_of(&farewell);
                return self.dismiss(handle, &farewell, reason);
            }
            self.mark_dirty(handle);
        }
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let unfinished = connection.has_unfinished() && connection.flow == Flow::Open;
        if unfinished && now - connection.since >= handshake {
            let text = "a frame was begun and not finished";
            return self.expire(handle, text, CloseReason::Protocol);
        }
        if u64::from(connection.expires_s) * 1000 <= self.now.wall_ms {
            let farewell = Farewell::of(code::TOKEN_EXPIRED);
            return self.dismiss(handle, &farewell, CloseReason::Denied);
        }
        let quiet = connection.busy < limits::HOT_RECEIVES;
        connection.busy = 0;
        let next = self.next_timer(handle);
        self.wheel.file(handle.slot, next);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if quiet && connection.receiving == Receiving::Hot {
            self.cool(handle);
        }
    }

    pub(super) fn next_timer(&mut self, handle: Handle) -> Tick {
        let handshake = self.handshake_ticks();
        let Some(connection) = self.connections.get_mut(handle) else { return self.tick + 1 };
        let mut next = match connection.state {
            State::Open => connection.heard.saturating_add(Cores::silence(connection)),
            _ => connection.since + handshake,
        };
        if let Some(due) = self.cores.due(connection, handle, &self.faces) {
            next = next.min(due);
        }
        if connection.receiving == Receiving::Hot {
            next = next.min(self.tick + limits::COOL_TICKS);
        }
        if connection.has_unfinished() && connection.flow == Flow::Open {
            next = next.min(connection.since + handshake);
        }
        if connection.expires_s != u32::MAX {
            let left_ms = (u64::from(connection.expires_s) * 1000).saturating_sub(self.now.wall_ms);
            let left = (left_ms * 1000).div_ceil(TICK_US).min(u64::from(limits::COOL_TICKS) * 64);
            next = next.min(self.tick + left as Tick);
        }
        next
    }

    fn expire(&mut self, handle: Handle, text: &str, reason: CloseReason) {
        self.dismiss(handle, &Farewell::saying(code::TIMEOUT, text), reason);
    }
}
