//! How bytes go out: one send per connection and turn, and frames that wait for company.

use super::*;

impl<R: Ring> Worker<R> {
    /// Encoded frames wait: remember to send them this turn.
    pub(super) fn mark_dirty(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        self.pool.count(connection.queued);
        connection.lazy = false;
        if !connection.dirty && self.pool.queued_bytes(connection.queued) > 0 {
            connection.dirty = true;
            self.dirty.push(handle);
        }
    }

    /// An encoded frame waits that is worth no send of its own: it rides with the next one.
    pub(super) fn mark_lazy(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        self.pool.count(connection.queued);
        if !connection.lazy {
            connection.lazy = true;
            self.lazy.push_back((self.now.monotonic_us + limits::LAZY_US, handle));
        }
    }

    /// Nothing came along in time.
    pub(super) fn send_lazy(&mut self) {
        while self.lazy.front().is_some_and(|(due_us, _)| *due_us <= self.now.monotonic_us) {
            let Some((_, handle)) = self.lazy.pop_front() else { return };
            if self.connections.get_mut(handle).is_some_and(|connection| connection.lazy) {
                self.mark_dirty(handle);
            }
        }
    }

    /// One send per connection that has something to say and none under way.
    pub(super) fn flush(&mut self) {
        let mut used_up = None;
        let mut dirty = std::mem::take(&mut self.dirty);
        for handle in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            connection.dirty = false;
            connection.lazy = false;
            if connection.in_flight.has(Operation::Send) || connection.state == State::Closing {
                continue;
            }
            let mut bytes = self.pool.take_to_send(connection.queued);
            if connection.flags.has(Flag::Tls) && !bytes.is_empty() {
                let is_good;
                (bytes, is_good) = self.cores.tls().seal(handle, bytes, &mut self.pool);
                if !is_good {
                    used_up = Some(handle);
                }
                // Sealed it is longer, or nothing is left of what must not be said.
                self.pool.sent(&mut connection.queued, bytes.len());
            }
            if bytes.is_empty() {
                continue;
            }
            connection.in_flight.set(Operation::Send);
            self.levels.armed += 1;
            let token = Token::new(Operation::Send, handle.slot, handle.generation);
            self.ring.send(Socket(handle.slot), bytes, token);
        }
        self.dirty = dirty;
        // Once in 2^24 records of a connection; if there is another one, its next send says so again.
        if let Some(handle) = used_up {
            self.dismiss(handle, &Farewell::silent(), CloseReason::Protocol);
        }
    }

    pub(super) fn on_sent(
        &mut self,
        handle: Handle,
        result: Result<usize, Errno>,
        mut bytes: Vec<u8>,
    ) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let unsent = match result {
            Ok(sent) if connection.state != State::Closing => bytes.len().saturating_sub(sent),
            _ => 0,
        };
        self.pool.sent(&mut connection.queued, unsent);
        match result {
            Ok(sent) if sent < bytes.len() && connection.state != State::Closing => {
                self.metrics.bytes_out.add(sent as u64);
                bytes.drain(..sent);
                connection.in_flight.set(Operation::Send);
                self.levels.armed += 1;
                let token = Token::new(Operation::Send, handle.slot, handle.generation);
                self.ring.send(Socket(handle.slot), bytes, token);
            }
            Ok(sent) => {
                self.metrics.bytes_out.add(sent as u64);
                self.pool.recycle(bytes);
                if !connection.lazy {
                    self.mark_dirty(handle);
                }
            }
            Err(_) => {
                self.pool.recycle(bytes);
                return self.begin_close(handle, true, CloseReason::Reset);
            }
        }
        self.resume_if_read(handle);
    }
}
