//! Faces: how what a core says to a client looks in the connection's protocol.
//!
//! The native session core speaks native frames, the MQTT core MQTT packets. Where a connection
//! carries something else, a face rewrites what has just been appended to the connection's queue,
//! and nothing before it. It adds, changes or takes away; it never speaks on its own, and it knows
//! nothing of users, mailboxes or topics.

use crate::{
    connection::{Connection, Protocol},
    http::Exchanges,
    outbound::Pool,
    slab::Handle,
    timers::Tick,
    websocket::WebSockets,
};

/// The faces of one worker, with what they keep of connections that are not idle.
#[derive(Default)]
pub struct Faces {
    /// WebSocket connections.
    pub websockets: WebSockets,
    /// HTTP requests under way.
    pub http: Exchanges,
}

impl Faces {
    /// Rewrites what stands from `at` on in the connection's queue.
    pub fn wrap(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        pool: &mut Pool,
        at: usize,
    ) {
        match connection.protocol {
            Protocol::Native | Protocol::Mqtt => {}
            Protocol::WebSocketNative | Protocol::WebSocketJson | Protocol::WebSocketMqtt => {
                self.websockets.wrap(connection, handle, pool, at);
            }
            Protocol::Http | Protocol::Poll | Protocol::Events => {
                self.http.wrap(handle, pool.open(&mut connection.queued), at);
            }
            // No core speaks to these.
            Protocol::WebSocketEcho | Protocol::Undetermined => {
                pool.open(&mut connection.queued).truncate(at)
            }
        }
        pool.release_if_empty(&mut connection.queued);
    }

    /// When something of this connection has to be looked at whatever comes.
    pub fn due(&self, handle: Handle) -> Option<Tick> {
        self.http.due(handle)
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, connection: &Connection, handle: Handle, pool: &mut Pool) {
        self.http.forget(handle);
        if connection.protocol.is_websocket() {
            for mut queue in self.websockets.forget(connection, handle) {
                let bytes = pool.take(&mut queue);
                pool.recycle(bytes);
            }
        }
    }
}
