//! Link frames of one turn, collected per shard host.

use hawser_codec::link::Key;

/// Batches towards the shard hosts, one each, and whether they take more.
pub struct Uplinks {
    batches: Vec<Vec<u8>>,
    has_room: bool,
}

impl Uplinks {
    /// Batches towards `hosts` shard hosts.
    pub fn new(hosts: u16) -> Self {
        Self { batches: vec![Vec::new(); usize::from(hosts)], has_room: true }
    }

    /// The batch towards the host that serves `key`.
    pub fn to(&mut self, key: &Key) -> &mut Vec<u8> {
        let host = usize::from(key[0]) % self.batches.len();
        &mut self.batches[host]
    }

    /// New work is taken; false while a host is behind by more than the mesh's bound.
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// Opens or shuts the door for new work.
    pub fn set_room(&mut self, has_room: bool) {
        self.has_room = has_room;
    }

    /// Takes what was collected for `host` and leaves `empty` in its place.
    pub fn take(&mut self, host: usize, empty: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.batches[host], empty)
    }

    /// Nothing is collected for `host`.
    pub fn is_empty(&self, host: usize) -> bool {
        self.batches[host].is_empty()
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.batches.len()
    }
}
