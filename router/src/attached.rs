//! Sessions of publish/subscribe of one home shard: who is attached, and what is kept of whom.
//!
//! A session that is not kept costs its slot and a place in the table; all else hangs on a box
//! that it has not. Pure tables: [`crate::host`] decides what is durable and who is told.
//!
//! Invariant: a slot is in the table exactly while it is in use; what is kept is found by its name
//! too.

pub(crate) mod follows;
pub(crate) mod kept;
pub(crate) mod replay;
pub(crate) mod section;
pub(crate) mod targets;

use crate::origin::Origin;
use crate::slab::Slab;
use hashbrown::{HashMap, HashTable};
use hawser_codec::link::{Connection, Key};
use kept::Kept;

/// Where a session's client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The slot is free.
    Vacant,
    /// Its connection has ended.
    Away,
    /// Attached.
    Here,
    /// Attached, by an announcement that no client waited for.
    Announced,
    /// It was attached when its worker was lost; it may be announced again.
    Lost,
}

/// A message to be published when its session's connection ends without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub qos: u8,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: u32,
    pub key: Key,
    pub topic: Box<[u8]>,
    pub content: Box<[u8]>,
}

impl Will {
    /// What it counts against the limit.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.content.len()
    }
}

/// What only sessions with a will, or that are kept, need.
#[derive(Default)]
pub(crate) struct Extra {
    pub realm: u32,
    /// So long it is kept after its connection's end, seconds; `u32::MAX`: for ever.
    pub expiry_s: u32,
    /// Monotonic microseconds at which its worker is given up, its will is published, it ends.
    pub lost_us: Option<u64>,
    pub will_us: Option<u64>,
    pub end_us: Option<u64>,
    /// What it is in the host's table of deadlines with.
    pub timer_us: Option<u64>,
    /// Wall time at which its connection ended; 0 while it is attached.
    pub away_since_ms: u64,
    pub will: Option<Box<Will>>,
    pub kept: Option<Box<Kept>>,
}

impl Extra {
    /// When something is to be done about it.
    pub fn due_us(&self) -> Option<u64> {
        [self.lost_us, self.will_us, self.end_us].into_iter().flatten().min()
    }
}

pub(crate) struct Session {
    pub user: Key,
    pub device: Key,
    pub connection: Connection,
    pub worker: Origin,
    pub presence: Presence,
    pub extra: Option<Box<Extra>>,
}

impl Session {
    /// It hears what is said to it.
    pub fn is_attached(&self) -> bool {
        matches!(self.presence, Presence::Here | Presence::Announced)
    }

    /// It is attached through this very connection.
    pub fn is_on(&self, worker: Origin, connection: Connection) -> bool {
        self.is_attached() && self.worker == worker && self.connection == connection
    }

    pub fn kept(&self) -> Option<&Kept> {
        self.extra.as_ref()?.kept.as_deref()
    }

    pub fn kept_mut(&mut self) -> Option<&mut Kept> {
        self.extra.as_mut()?.kept.as_deref_mut()
    }

    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// How long it outlives its connection, seconds.
    pub fn expiry_s(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.expiry_s)
    }
}

pub(crate) struct Attached {
    table: HashTable<u32>,
    pub all: Slab<Session>,
    /// Kept ones by name.
    names: HashMap<u64, u32>,
}

fn spread(user: &Key, device: &Key) -> u64 {
    let half = |key: &Key| u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"));
    half(user) ^ half(device).rotate_left(32)
}

impl Attached {
    pub fn new() -> Attached {
        Attached { table: HashTable::new(), all: Slab::new(), names: HashMap::new() }
    }

    pub fn find(&self, user: &Key, device: &Key) -> Option<u32> {
        let same = |index: &u32| {
            let session = &self.all[*index];
            session.device == *device && session.user == *user
        };
        self.table.find(spread(user, device), same).copied()
    }

    /// A slot for a session that has none.
    pub fn insert(&mut self, user: &Key, device: &Key) -> u32 {
        let index = self.all.insert(Session {
            user: *user,
            device: *device,
            connection: 0,
            worker: Origin::NOBODY,
            presence: Presence::Away,
            extra: None,
        });
        let all = &self.all;
        self.table.insert_unique(spread(user, device), index, |index| {
            let session = &all[*index];
            spread(&session.user, &session.device)
        });
        index
    }

    /// Frees a slot. What was kept must be gone before.
    pub fn remove(&mut self, index: u32) {
        let session = &mut self.all[index];
        session.presence = Presence::Vacant;
        session.extra = None;
        let hash = spread(&session.user, &session.device);
        if let Ok(entry) = self.table.find_entry(hash, |at| *at == index) {
            entry.remove();
            self.all.release(index);
        }
    }

    /// A kept session by its name.
    pub fn named(&self, name: u64) -> Option<u32> {
        self.names.get(&name).copied()
    }

    /// Begins to keep a session.
    pub fn keep(&mut self, index: u32, name: u64, check: u64) -> &mut Kept {
        self.names.insert(name, index);
        let extra = self.all[index].extra_mut();
        extra.kept.insert(Box::new(Kept::new(name, check)))
    }

    /// Stops keeping it and gives what was kept.
    pub fn forget(&mut self, index: u32) -> Option<Box<Kept>> {
        let kept = self.all[index].extra.as_mut()?.kept.take()?;
        self.names.remove(&kept.name);
        Some(kept)
    }

    /// Sessions, attached or kept.
    pub fn count(&self) -> usize {
        self.all.count()
    }

    /// Slots ever used; some are vacant.
    pub fn slots(&self) -> std::ops::Range<u32> {
        self.all.indices()
    }

    /// Kept sessions in the order of their slots.
    pub fn kept(&self) -> impl Iterator<Item = (u32, &Session, &Kept)> {
        self.slots().filter_map(|index| {
            let session = &self.all[index];
            Some((index, session, session.kept()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Budget of a session that is not kept: slot, and 5 bytes in a table at worst 7/16 full.
    #[test]
    fn a_session_that_is_not_kept_fits_its_budget() {
        assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
    }

    #[test]
    fn a_slot_is_used_again_and_found_by_whom_it_belongs_to() {
        let mut attached = Attached::new();
        let (ann, bob, phone) = ([1; 16], [2; 16], [3; 16]);
        let first = attached.insert(&ann, &phone);
        attached.keep(first, 7, 1);
        assert_eq!((attached.find(&ann, &phone), attached.named(7)), (Some(first), Some(first)));
        assert!(attached.forget(first).is_some());
        attached.remove(first);
        assert_eq!((attached.find(&ann, &phone), attached.named(7)), (None, None));
        assert_eq!(attached.insert(&bob, &phone), first);
        assert_eq!((attached.find(&bob, &phone), attached.count()), (Some(first), 1));
    }
}
