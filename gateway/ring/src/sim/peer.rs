//! Clients and servers that are no rings: the test's own hands in the world.

use std::net::SocketAddr;

use super::{
    World,
    network::{End, Owner},
};

/// One end of a connection, held by the test. Not reading is a slow consumer; dropping it leaves
/// the connection open, as a test that lost a value should not close it.
#[derive(Debug)]
pub struct SimPeer {
    world: World,
    end: End,
}

impl SimPeer {
    pub(super) const fn new(world: World, end: End) -> Self {
        Self { world, end }
    }

    /// The handshake is over and the connection stands.
    pub fn is_connected(&self) -> bool {
        let state = self.world.state();
        state
            .network
            .half(self.end)
            .is_some_and(|half| half.established && half.error.is_none() && !half.closed)
    }

    /// Own address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.world.state().network.half(self.end).map(|half| half.address)
    }

    /// Sends bytes: what the send buffer does not take now waits here, unbounded, and goes when it
    /// has room.
    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.world.state();
        if let Some(half) = state.network.half_mut(self.end)
            && !half.closed
            && half.error.is_none()
        {
            half.outbox.extend(bytes);
            state.pump(self.end);
        }
    }

    /// Bytes still waiting to go into the send buffer.
    pub fn unsent(&self) -> usize {
        self.world.state().network.half(self.end).map_or(0, |half| half.outbox.len())
    }

    /// All bytes that have arrived.
    pub fn receive(&self) -> Vec<u8> {
        let mut state = self.world.state();
        let mut bytes = Vec::new();
        loop {
            // Reading makes room, into which more may come from the wire at once.
            let more = state.take_inbound(self.end, usize::MAX);
            if more.is_empty() {
                return bytes;
            }
            bytes.extend(more);
        }
    }

    /// The other side has finished and all its bytes are read.
    pub fn is_finished(&self) -> bool {
        let state = self.world.state();
        state
            .network
            .half(self.end)
            .is_none_or(|half| half.fin && half.inbound.is_empty() && half.error.is_none())
    }

    /// Errno the connection died with: `ECONNRESET`, `EPIPE`, `ECONNREFUSED`, `ETIMEDOUT`.
    pub fn error(&self) -> Option<i32> {
        self.world.state().network.half(self.end).and_then(|half| half.error)
    }

    /// Closes: FIN, or RST if bytes were left unread.
    pub fn close(&self) {
        self.world.state().close_end(self.end, false);
    }

    /// Closes with RST.
    pub fn reset(&self) {
        self.world.state().close_end(self.end, true);
    }

    /// Vanishes: nothing arrives any more in either direction, and nobody is told.
    pub fn vanish(&self) {
        self.world.state().cut(self.end);
    }
}

/// A listener of the test's.
#[derive(Debug)]
pub struct SimListener {
    world: World,
    listener: u32,
}

impl SimListener {
    pub(super) const fn new(world: World, listener: u32) -> Self {
        Self { world, listener }
    }

    /// The next connection that waits.
    pub fn accept(&self) -> Option<SimPeer> {
        let mut state = self.world.state();
        let end = state.network.listeners.get_mut(&self.listener)?.backlog.pop_front()?;
        if let Some(half) = state.network.half_mut(end) {
            half.owner = Owner::Peer;
        }
        drop(state);
        Some(SimPeer::new(self.world.clone(), end))
    }

    /// Closes it; what was not accepted is reset.
    pub fn close(self) {
        self.world.state().unlisten(self.listener);
    }
}
