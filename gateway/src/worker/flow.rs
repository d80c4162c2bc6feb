//! When a connection's bytes are not taken: its share of the turn is used up, or it does not read
//! its answers.
//!
//! A connection that yields keeps what is left over in its own buffer and goes on in the next turn.
//! A paused one is not received from at all, so that its socket fills and its sender is held back
//! by TCP; buffers already received for it are kept behind what is left over. It has a send under
//! way, whose completion takes its bytes up again. One whose next bytes hang on a host's answer is
//! treated alike, until it hears from a host.

use super::*;

impl<R: Ring> Worker<R> {
    /// A new turn, a new budget: first for those who had to wait.
    pub(super) fn begin_budget(&mut self) {
        self.budget = limits::RECEIVE_BYTES_PER_TURN_IN_ALL as usize;
        for handle in self.spenders.drain(..) {
            if let Some(connection) = self.connections.get_mut(handle) {
                connection.spent = 0;
            }
        }
        for _ in 0..self.yielding.len() {
            if self.budget == 0 {
                return;
            }
            let Some(handle) = self.yielding.pop_front() else { return };
            let waited = self.connections.get_mut(handle).map(|connection| connection.flow);
            if waited == Some(Flow::Yielding) {
                self.go_on_taking(handle);
            }
        }
    }

    /// Handshakes that wait for their turn go on, oldest first, as far as this turn's share of time
    /// for them goes.
    pub(super) fn shake_some(&mut self) {
        self.cores.tls().begin_turn();
        for _ in 0..limits::HANDSHAKES_CALLED_PER_TURN {
            let Some(handle) = self.cores.tls().next_waiting() else { return };
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            if matches!(connection.state, State::Leaving | State::Closing) {
                continue;
            }
            if let Err(farewell) = self.take_bytes(handle, None) {
                let reason = receive::reason_of(&farewell);
                self.dismiss(handle, &farewell, reason);
                continue;
            }
            self.mark_dirty(handle);
        }
    }

    /// The client does not read: nothing more is taken from it.
    pub(super) fn pause(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        connection.flow = Flow::Paused;
        self.levels.paused += 1;
        self.metrics.pauses.add(1);
    }

    /// Ends the multishot receive of a connection whose bytes are not taken: at once when it is
    /// paused, and when more than a turn's share waits for one that yields.
    pub(super) fn quieten(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let is_ahead = match connection.flow {
            Flow::Open => false,
            Flow::Yielding => {
                let waiting = self.pool.queued_bytes(connection.partial);
                waiting > limits::RECEIVE_BYTES_PER_TURN as usize
            }
            Flow::Paused | Flow::Asking => true,
        };
        if is_ahead && matches!(connection.receiving, Receiving::Hot | Receiving::Starved) {
            self.cool(handle);
        }
    }

    /// Bytes were received that wait to be taken.
    pub(super) fn has_left_over(&mut self, handle: Handle) -> bool {
        self.connections.get_mut(handle).is_some_and(|connection| connection.flow != Flow::Open)
    }

    /// A send has moved: a paused connection whose answers have gone is read from again.
    pub(super) fn resume_if_read(&mut self, handle: Handle) {
        let marks = self.pressure.marks(self.pool.held_bytes());
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let waiting = self.pool.waiting_bytes(connection.queued);
        if connection.flow == Flow::Paused && waiting <= marks.resume {
            self.levels.paused -= 1;
            self.go_on_taking(handle);
        }
    }

    /// A link frame was heard that a connection's next bytes may have waited for.
    pub(super) fn resume_if_answered(&mut self, handle: Handle) {
        if self.connections.get_mut(handle).is_some_and(|held| held.flow == Flow::Asking) {
            self.go_on_taking(handle);
        }
    }

    /// Takes up what is left over, then looks for more.
    fn go_on_taking(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        connection.flow = Flow::Open;
        connection.heard = self.tick;
        connection.since = self.tick;
        if let Err(farewell) = self.take_bytes(handle, None) {
            let reason = receive::reason_of(&farewell);
            return self.dismiss(handle, &farewell, reason);
        }
        self.mark_dirty(handle);
        let Some(connection) = self.connections.get_mut(handle) else { return };
        match connection.receiving {
            _ if connection.flow != Flow::Open => {}
            Receiving::Cold => self.receive_once(handle),
            // Its turn to be armed again may have come while it was paused.
            Receiving::Starved => {
                connection.receiving = Receiving::Hot;
                self.arm(handle);
            }
            // Its receive may have ended while its bytes were not taken.
            Receiving::Hot => self.arm(handle),
            Receiving::Ended => {}
        }
    }

    /// The receive that hid what came meanwhile has ended: fetch it.
    pub(super) fn look_again(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let is_cold = connection.receiving == Receiving::Cold;
        if connection.missed && is_cold && connection.flow == Flow::Open {
            self.receive_once(handle);
        }
    }
}
