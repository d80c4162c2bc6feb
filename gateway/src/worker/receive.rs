//! How bytes come in: cold and hot connections, leases, unfinished frames.

use super::*;

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
            return;
        }
        match (result, connection.receiving) {
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
            return;
        }
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
                let flow = self.on_lease(handle, &lease);
                self.ring.give_back(lease);
                if let Err(farewell) = flow {
                    let reason = reason_of(&farewell);
                    return self.dismiss(handle, &farewell, reason);
                }
                self.mark_dirty(handle);
                self.after_bytes(handle, filled, more);
            }
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
            Err(EAGAIN) => {}
            Err(ECANCELED) => self.arm(handle),
            Err(_) => self.begin_close(handle, true, CloseReason::Reset),
        }
    }

    /// Decides what is armed next after bytes came.
    fn after_bytes(&mut self, handle: Handle, filled: bool, more: bool) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        match connection.receiving {
            Receiving::Cold if connection.busy >= limits::HOT_RECEIVES => self.heat(handle),
            // The watch is edge-like: a buffer that came back full may have left bytes behind.
            Receiving::Cold if filled => self.receive_once(handle),
            Receiving::Hot if !more => self.arm(handle),
            _ => {}
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
            self.ring.cancel(target, token);
        }
        self.wheel.file(handle.slot, self.tick + limits::COOL_TICKS);
        self.arm(handle);
    }

    /// From a multishot receive back to a watch: the client has been quiet.
    pub(super) fn cool(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.in_flight.has(Operation::Cancel) {
            return;
        }
        connection.receiving = Receiving::Cold;
        self.levels.hot -= 1;
        if connection.in_flight.has(Operation::Receive) {
            connection.in_flight.set(Operation::Cancel);
            self.levels.armed += 1;
            let target = Token::new(Operation::Receive, handle.slot, handle.generation);
            let token = Token::new(Operation::Cancel, handle.slot, handle.generation);
            self.ring.cancel(target, token);
        }
        self.arm(handle);
    }

    /// Whole frames go to the session; what is left over waits in a buffer of its own, so the
    /// ring's buffer can be given back in this turn whatever the sender's pace.
    fn on_lease(&mut self, handle: Handle, lease: &hawser_ring::Lease) -> Result<(), Farewell> {
        let Some(connection) = self.connections.get_mut(handle) else { return Ok(()) };
        let bytes = self.ring.bytes(lease);
        self.metrics.bytes_in.add(bytes.len() as u64);
        connection.heard = self.tick;
        connection.busy = connection.busy.saturating_add(1);
        let mut outlet = Outlet {
            now: self.now,
            tick: self.tick,
            pool: &mut self.pool,
            uplinks: &mut self.uplinks,
            metrics: &self.metrics,
        };
        if connection.partial == Queue::NONE {
            let done = self.sessions.on_bytes(connection, handle, bytes, &mut outlet)?;
            if done < bytes.len() {
                connection.since = self.tick;
                self.pool.open(&mut connection.partial).extend_from_slice(&bytes[done..]);
            }
            return Ok(());
        }
        let mut collected = outlet.pool.take(&mut connection.partial);
        collected.extend_from_slice(bytes);
        let done = self.sessions.on_bytes(connection, handle, &collected, &mut outlet)?;
        if done < collected.len() {
            if done > 0 {
                connection.since = self.tick;
                collected.drain(..done);
            }
            self.pool.put(&mut connection.partial, collected);
        } else {
            self.pool.recycle(collected);
        }
        Ok(())
    }

    /// Buffers have come back since: arm those who found none, a bounded number a turn.
    pub(super) fn rearm_starved(&mut self) {
        for _ in 0..limits::REARM_PER_TURN {
            let Some(handle) = self.starved.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            match connection.receiving {
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
fn reason_of(farewell: &Farewell) -> CloseReason {
    match farewell.code {
        200..=299 => CloseReason::Denied,
        400..=499 => CloseReason::Full,
        _ => CloseReason::Protocol,
    }
}
