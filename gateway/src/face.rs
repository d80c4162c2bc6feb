//! Faces: how what a core says to a client looks in the connection's protocol.
//!
//! The native session core speaks native frames, the MQTT core MQTT packets. Where a connection
//! carries something else, a face rewrites what has just been appended to the connection's queue,
//! and nothing before it. It adds, changes or takes away; it never speaks on its own, and it knows
//! nothing of users, mailboxes or topics.

use crate::{
    connection::{Connection, Protocol},
    outbound::Pool,
    slab::Handle,
};

/// The faces of one worker, with what they keep of connections that are not idle.
#[derive(Default)]
pub struct Faces {}

impl Faces {
    /// Rewrites what stands from `at` on in the connection's queue.
    pub fn wrap(
        &mut self,
        connection: &mut Connection,
        _handle: Handle,
        pool: &mut Pool,
        at: usize,
    ) {
        let queue = pool.open(&mut connection.queued);
        match connection.protocol {
            Protocol::Native | Protocol::Mqtt => {}
            // To somebody whose protocol is not known nothing can be said.
            _ => queue.truncate(at),
        }
        pool.release_if_empty(&mut connection.queued);
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, _connection: &mut Connection, _handle: Handle) {}
}
