//! The receiving half: what comes goes to the oracle; of QoS 2, once.

use hawser_codec::{
    mqtt::{
        Version,
        packet::Publish,
        property::{self, Value},
    },
    time::Now,
};

use super::{super::World, Fault, address, fault, version};
use crate::oracle::{Arrival, Shown};

/// Messages of QoS 2 received and not yet released, at most; the server is told.
pub(super) const UNRELEASED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// Packet identifiers of QoS 2 whose PUBREL has not come.
    unreleased: Vec<u16>,
    /// Times it was connected.
    connects: u32,
    /// Times it was connected again without its session.
    life: u32,
}

impl Receiving {
    /// No exchange is unfinished.
    pub(super) fn is_level(&self) -> bool {
        self.unreleased.is_empty()
    }

    pub(super) fn on_connected(&mut self, world: &World, index: u32, kept: bool) {
        self.connects = self.connects.saturating_add(1);
        if kept {
            return;
        }
        self.unreleased = Vec::new();
        if self.connects > 1 {
            self.life += 1;
            world.ground.oracle.rejoin(index, self.life);
        }
    }

    /// A message of QoS 2 came; tells whether for the first time.
    ///
    /// # Errors
    /// More are unreleased than were allowed.
    pub(super) fn hold(&mut self, packet_id: u16) -> Result<bool, Fault> {
        if self.unreleased.contains(&packet_id) {
            return Ok(false);
        }
        if self.unreleased.len() >= UNRELEASED_MAX {
            return Err(fault::too_many());
        }
        self.unreleased.push(packet_id);
        Ok(true)
    }

    /// A message of QoS 2 will not be repeated; false if it is not known.
    pub(super) fn release(&mut self, packet_id: u16) -> bool {
        let found = self.unreleased.iter().position(|held| *held == packet_id);
        if let Some(at) = found {
            self.unreleased.swap_remove(at);
        }
        found.is_some()
    }

    pub(super) fn deliver(&self, world: &mut World, index: u32, now: Now, publish: &Publish<'_>) {
        let ground = &world.ground;
        let is_mailbox = publish.topic == address::INBOX;
        let shown = match (is_mailbox, version(&ground.scenario)) {
            (false, _) => Shown::Topic(address::read(&ground.names, publish.topic)),
            (true, Version::V311) => Shown::Mailbox,
            (true, Version::V5) => {
                let user = |key| ground.names.index(user_property(publish, key)?);
                // The sender's own entries are not shown, so its sequences have holes.
                Shown::Conversation {
                    sender: user("sender"),
                    peer: user("conversation"),
                    sequence: 0,
                }
            }
        };
        // A mailbox is read again from the cursor, which is no repeat in the sense of the norm.
        let repeat = self.connects > 1 && (publish.dup || is_mailbox);
        let (life, body) = (self.life, publish.payload);
        world.deliver(now, &Arrival { viewer: index, shown, repeat, life, body });
    }
}

fn user_property<'a>(publish: &Publish<'a>, wanted: &str) -> Option<&'a str> {
    publish.properties.iter().find_map(|(id, value)| match value {
        Value::Pair(name, value) if id == property::USER_PROPERTY && name == wanted => Some(value),
        _ => None,
    })
}
