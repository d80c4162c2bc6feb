//! Requests without a number that one conversation shard has accepted, for as long as they may be
//! repeated: HTTP requests, whose only identity is the id that their client gave them.
//!
//! Nothing here leaves for the log: what is older than [`KEPT_MS`] is forgotten, and when there is no
//! room such requests are refused until something is. So a repeat within that time always finds
//! its answer.

use hashbrown::HashTable;
use hawser_codec::link::Key;
use std::collections::VecDeque;

/// How long a repeat gets the first answer, milliseconds: a client that has heard nothing for ten
/// minutes has asked again long before.
pub(crate) const KEPT_MS: u64 = 600_000;
/// What one request takes: its entry, and a place in a table that is at worst 7/16 full.
const ENTRY_BYTES: usize = size_of::<Accepted>() + 24;

/// An accepted request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub device: Key,
    pub uuid: Key,
    pub conversation: Key,
    pub sequence: u64,
    pub time_ms: u64,
    /// Of the body, as in a dedup window.
    pub check: u64,
}

#[derive(Default)]
pub(crate) struct Uuids {
    /// Numbers of entries, counted from the first one ever.
    table: HashTable<u64>,
    /// In order of time.
    entries: VecDeque<Accepted>,
    /// Number of the first entry.
    first: u64,
}

fn spread(device: &Key, uuid: &Key) -> u64 {
    // The device is a keyed hash, the uuid the client's choice: one that chooses badly meets only
    // its own requests.
    let half = |key: &Key| u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"));
    let front = u64::from_le_bytes(*uuid.first_chunk().expect("a key has 16 bytes"));
    (half(device) ^ half(uuid).rotate_left(29) ^ front).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Uuids {
    pub fn find(&self, device: &Key, uuid: &Key) -> Option<&Accepted> {
        let entry = |number: &u64| &self.entries[(number - self.first) as usize];
        let number = self.table.find(spread(device, uuid), |number| {
            entry(number).device == *device && entry(number).uuid == *uuid
        });
        number.map(entry)
    }

    /// One more fits into so many bytes.
    pub fn has_room(&self, bytes_max: usize) -> bool {
        (self.entries.len() + 1) * ENTRY_BYTES <= bytes_max
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what nobody may repeat any more.
    pub fn forget_old(&mut self, now_ms: u64) {
        while let Some(entry) = self.entries.front()
            && entry.time_ms.saturating_add(KEPT_MS) <= now_ms
        {
            let hash = spread(&entry.device, &entry.uuid);
            let first = self.first;
            if let Ok(found) = self.table.find_entry(hash, |number| *number == first) {
                found.remove();
            }
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Remembers a request that was not known.
    pub fn remember(&mut self, accepted: Accepted) {
        let number = self.first + self.entries.len() as u64;
        let hash = spread(&accepted.device, &accepted.uuid);
        self.entries.push_back(accepted);
        let (entries, first) = (&self.entries, self.first);
        self.table.insert_unique(hash, number, |number| {
            let entry = &entries[(number - first) as usize];
            spread(&entry.device, &entry.uuid)
        });
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Accepted> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(number: u8, time_ms: u64) -> Accepted {
        let (device, conversation) = ([1; 16], [2; 16]);
        let sequence = u64::from(number);
        Accepted { device, uuid: [number; 16], conversation, sequence, time_ms, check: 0 }
    }

    #[test]
    fn a_request_is_known_for_its_time_and_counted_against_the_limit() {
        let mut uuids = Uuids::default();
        for number in 0..100 {
            uuids.remember(accepted(number, 1000 + u64::from(number)));
        }
        assert_eq!(uuids.find(&[1; 16], &[7; 16]).map(|found| found.sequence), Some(7));
        assert_eq!(uuids.find(&[3; 16], &[7; 16]), None);
        assert!(uuids.has_room(101 * ENTRY_BYTES) && !uuids.has_room(100 * ENTRY_BYTES));
        uuids.forget_old(1050 + KEPT_MS);
        assert_eq!((uuids.len(), uuids.find(&[1; 16], &[50; 16])), (49, None));
        assert_eq!(uuids.find(&[1; 16], &[51; 16]).map(|found| found.sequence), Some(51));
        uuids.remember(accepted(50, 2000));
        assert_eq!(uuids.find(&[1; 16], &[50; 16]).map(|found| found.time_ms), Some(2000));
    }
}
