//! Users of one home shard: their mailbox's head, their devices, cursors and sessions.
//!
//! Sized for idle users: names are only in the log, the first device stands in the user's slot,
//! and everything a user without messages does not need is boxed away. One table per shard keeps
//! a growth step short (a 256th of all users).

use crate::mailbox::Mailbox;
use crate::origin::Origin;
use crate::slab::Slab;
use hashbrown::HashTable;
use hawser_codec::link::{Connection, Key};

/// Devices one user may have. A person has a handful; the bound keeps delivery to one user short.
/// One more takes the place of the off-line one that has not been used for longest.
pub(crate) const DEVICES_PER_USER_MAX: usize = 64;

/// How entries reach a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The slot holds no device yet.
    Vacant,
    /// Not connected.
    Offline,
    /// Connected and reading pages: nothing is pushed.
    Syncing,
    /// Connected and told of everything: entries are pushed.
    Live,
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub key: Key,
    pub cursor: u64,
    /// While it is on-line. While it is off-line: see [`Device::unused_since`].
    pub connection: Connection,
    pub worker: Origin,
    /// Of the incarnation logged in: enough to tell a client that came back from another one.
    pub tag: u16,
    pub mode: Mode,
    notes: u8,
}

/// Something that holds for a device, or does not; three of them take one byte.
#[derive(Clone, Copy)]
pub(crate) enum Note {
    /// The cursor moved and is not in the log yet.
    Dirty = 1,
    /// An entry of the acknowledgement timer is under way.
    Timed = 2,
    /// It is on-line by an announcement, not by a login that was waited for.
    Announced = 4,
}

impl Device {
    const VACANT: Device = Device {
        key: [0; 16],
        cursor: 0,
        connection: 0,
        worker: Origin::NOBODY,
        tag: 0,
        mode: Mode::Vacant,
        notes: 0,
    };

    /// A device that is off-line, last heard of at this position of its shard.
    pub fn new(key: Key, cursor: u64, position: u64) -> Device {
        Device { key, cursor, mode: Mode::Offline, connection: position, ..Device::VACANT }
    }

    /// Takes it off-line at this position of its shard.
    pub fn leave(&mut self, position: u64) {
        self.mode = Mode::Offline;
        self.connection = position;
    }

    /// Where its shard stood when an off-line device was last heard of: a clock that needs no room
    /// and goes on over restarts. `None`: it is on-line.
    pub fn unused_since(&self) -> Option<u64> {
        (self.mode == Mode::Offline).then_some(self.connection)
    }

    pub fn has(&self, note: Note) -> bool {
        self.notes & note as u8 != 0
    }

    /// Notes it or takes it back.
    pub fn set(&mut self, note: Note, holds: bool) {
        self.notes = self.notes & !(note as u8) | if holds { note as u8 } else { 0 };
    }

    pub fn is_online(&self) -> bool {
        matches!(self.mode, Mode::Syncing | Mode::Live)
    }
}

/// What only users with messages or with several devices need.
#[derive(Default)]
pub(crate) struct More {
    pub mailbox: Mailbox,
    /// Devices after the first.
    pub devices: Vec<Device>,
}

pub(crate) struct User {
    pub key: Key,
    /// Second half of the name's hash; 0 until the first login.
    pub check: u64,
    /// Highest mailbox number given.
    pub head: u64,
    pub first: Device,
    pub more: Option<Box<More>>,
    /// Session epoch; 0 until the first login.
    pub epoch: u32,
}

impl User {
    pub fn floor(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.mailbox.floor)
    }

    pub fn located(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.mailbox.located())
    }

    pub fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub fn mailbox(&mut self) -> &mut Mailbox {
        &mut self.more().mailbox
    }

    pub fn device_count(&self) -> usize {
        if self.first.mode == Mode::Vacant {
            return 0;
        }
        1 + self.more.as_ref().map_or(0, |more| more.devices.len())
    }

    /// Device by slot.
    pub fn device(&mut self, slot: usize) -> &mut Device {
        match slot {
            0 => &mut self.first,
            slot => &mut self.more().devices[slot - 1],
        }
    }

    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        let rest = self.more.as_ref().map_or(&[][..], |more| &more.devices);
        std::iter::once(&self.first).filter(|first| first.mode != Mode::Vacant).chain(rest)
    }

    pub fn find_device(&self, key: &Key) -> Option<usize> {
        self.devices().position(|device| device.key == *key)
    }

    pub fn add_device(&mut self, device: Device) -> usize {
        if self.first.mode == Mode::Vacant {
            self.first = device;
            return 0;
        }
        let devices = &mut self.more().devices;
        devices.push(device);
        devices.len()
    }

    /// Slot of the off-line device that has not been heard of for longest.
    pub fn longest_unused(&self) -> Option<usize> {
        let unused = self.devices().enumerate();
        unused
            .filter_map(|(slot, device)| Some((device.unused_since()?, slot)))
            .min()
            .map(|(_, s)| s)
    }

    /// Puts a device in the place of another and says which that was. Timers and lists name slots:
    /// what they hold for the one goes on for the other, and means nothing to it.
    pub fn replace_device(&mut self, slot: usize, device: Device) -> Key {
        let place = self.device(slot);
        let retired = place.key;
        let notes = place.notes & (Note::Dirty as u8 | Note::Timed as u8);
        *place = Device { notes, ..device };
        retired
    }

    /// Forgets a device. Slots move: only before anything names them.
    pub fn remove_device(&mut self, key: &Key) {
        match self.find_device(key) {
            None => {}
            Some(0) => {
                let rest = self.more.as_mut().map(|more| &mut more.devices);
                let next = rest.filter(|rest| !rest.is_empty()).map(|rest| rest.remove(0));
                self.first = next.unwrap_or(Device::VACANT);
            }
            Some(slot) => {
                self.more().devices.remove(slot - 1);
            }
        }
    }

    /// All devices, those unused for longest first, those on-line last.
    pub fn devices_by_use(&self) -> Vec<&Device> {
        let mut devices: Vec<&Device> = self.devices().collect();
        devices.sort_by_key(|device| device.unused_since().unwrap_or(u64::MAX));
        devices
    }
}

pub(crate) struct Directory {
    table: HashTable<u32>,
    pub all: Slab<User>,
}

fn spread(key: &Key) -> u64 {
    u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"))
}

impl Directory {
    pub fn new() -> Directory {
        Directory { table: HashTable::new(), all: Slab::new() }
    }

    pub fn find(&self, key: &Key) -> Option<u32> {
        self.table.find(spread(key), |index| self.all[*index].key == *key).copied()
    }

    pub fn find_or_insert(&mut self, key: &Key) -> u32 {
        if let Some(index) = self.find(key) {
            return index;
        }
        let index = self.all.insert(User {
            key: *key,
            check: 0,
            head: 0,
            first: Device::VACANT,
            more: None,
            epoch: 0,
        });
        let all = &self.all;
        self.table.insert_unique(spread(key), index, |index| spread(&all[*index].key));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Budget of an idle user: slot, and 5 bytes in a table that is at worst 7/16 full.
    #[test]
    fn an_idle_user_fits_its_budget() {
        assert!(size_of::<Device>() <= 40, "{}", size_of::<Device>());
        assert!(size_of::<User>() <= 88, "{}", size_of::<User>());
        assert!(size_of::<User>() as f64 + 5.0 * 16.0 / 7.0 <= 110.0);
    }
}
