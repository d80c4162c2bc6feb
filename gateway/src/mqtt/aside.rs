//! What is kept beside a connection while something is under way.

use super::{
    alias, inbox,
    window::{Flight, Window},
};
use crate::{connection::Connection, limits, slab::Handle};
use hashbrown::HashMap;
use hawser_codec::link::Key;

/// A publish of QoS 2 of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub packet_id: u16,
    pub topic_key: Key,
    pub stage: IncomingStage,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncomingStage {
    /// The host has not answered.
    Publishing,
    /// PUBREC was sent.
    Received,
    /// So many hosts have yet to say that they have forgotten it; one of them had known it.
    Releasing { hosts: u16, found: bool },
}

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub window: Window,
    pub incoming: Vec<Incoming>,
    /// SUBSCRIBE and UNSUBSCRIBE packets not yet answered.
    pub questions: u16,
    pub aliases_in: Option<Box<alias::In>>,
    pub aliases_out: Option<Box<alias::Out>>,
    pub inbox: Option<Box<inbox::Inbox>>,
    pub sender: Option<Box<inbox::Sender>>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.window.is_empty()
            && self.incoming.is_empty()
            && self.questions == 0
            && self.aliases_in.is_none()
            && self.aliases_out.is_none()
            && self.inbox.is_none()
            && self.sender.is_none()
    }
}

/// Of all of them.
#[derive(Default)]
pub(super) struct Asides {
    by_slot: HashMap<u32, Aside>,
    spare: Vec<Vec<Flight>>,
    /// Bytes that wait in all windows.
    pub waiting_bytes: usize,
    /// Bytes of topics behind aliases.
    pub alias_bytes: usize,
}

impl Asides {
    pub fn get(&mut self, connection: &Connection, handle: Handle) -> Option<&mut Aside> {
        // Most connections have nothing here; their own cache line says so.
        if !super::terms::is_aside(connection) {
            return None;
        }
        self.by_slot.get_mut(&handle.slot)
    }

    /// The connection's, made if there is none.
    pub fn open(&mut self, connection: &mut Connection, handle: Handle) -> &mut Aside {
        super::terms::set_aside(connection);
        let spare = &mut self.spare;
        self.by_slot.entry(handle.slot).or_insert_with(|| Aside {
            window: Window::with(spare.pop().unwrap_or_default()),
            ..Aside::default()
        })
    }

    /// Drops the connection's if nothing is left in it.
    pub fn tidy(&mut self, connection: &mut Connection, handle: Handle) {
        if self.by_slot.get(&handle.slot).is_some_and(Aside::is_empty) {
            self.remove(handle.slot);
            super::terms::clear_aside(connection);
        }
    }

    /// Takes the connection's away.
    pub fn remove(&mut self, slot: u32) -> Option<Aside> {
        let mut aside = self.by_slot.remove(&slot)?;
        self.waiting_bytes -= aside.window.waiting_bytes();
        let alias_bytes = aside.aliases_in.as_ref().map_or(0, |aliases| aliases.bytes())
            + aside.aliases_out.as_ref().map_or(0, |aliases| aliases.bytes());
        self.alias_bytes -= alias_bytes;
        let flights = std::mem::take(&mut aside.window).into_flights();
        if self.spare.len() < limits::MQTT_SPARE_WINDOWS && flights.capacity() > 0 {
            self.spare.push(flights);
        }
        Some(aside)
    }

    /// Connections that have something here.
    pub fn count(&self) -> usize {
        self.by_slot.len()
    }
}
