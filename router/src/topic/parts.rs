//! A hash table of indices in parts, so that no insert moves more than a small part of it.

use hashbrown::HashTable;

/// Parts: of a million entries each has 4,096, and doubling one takes some 50 µs. A whole table
/// would stop its thread for many milliseconds.
const PARTS: usize = 256;

pub(super) struct Parts(Box<[HashTable<u32>]>);

impl Parts {
    pub fn new() -> Parts {
        Parts((0..PARTS).map(|_| HashTable::new()).collect())
    }

    /// Part of a hash: bits that the table inside does not choose its buckets by first.
    fn part(hash: u64) -> usize {
        (hash >> 40) as usize % PARTS
    }

    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.0[Parts::part(hash)].find(hash, |index| is(*index)).copied()
    }

    pub fn insert(&mut self, hash: u64, index: u32, hash_of: impl Fn(u32) -> u64) {
        self.0[Parts::part(hash)].insert_unique(hash, index, |index| hash_of(*index));
    }

    pub fn remove(&mut self, hash: u64, index: u32) {
        if let Ok(entry) = self.0[Parts::part(hash)].find_entry(hash, |there| *there == index) {
            entry.remove();
        }
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|part| part.allocation_size() + size_of::<HashTable<u32>>()).sum()
    }
}
