//! Keys of the peers that are written to, so that a chat that goes on is not hashed again with each
//! message: two hashes were a tenth of what a message cost.
//!
//! A two-way set-associative cache in memory of fixed size. Whoever writes to many keeps missing,
//! and pays what it would cost without it; a stranger's entry is never found, because the sender's
//! own key is compared.

use crate::limits::NAME_BYTES_MAX;
use hawser_codec::link::Key;
use hawser_router::KeySpace;

/// A peer of a user.
#[derive(Clone, Copy)]
struct Entry {
    user: Key,
    peer: Key,
    conversation: Key,
    /// Length of the name, 0: vacant.
    name_bytes: u8,
    name: [u8; NAME_BYTES_MAX],
}

impl Entry {
    const VACANT: Self = Self {
        user: [0; 16],
        peer: [0; 16],
        conversation: [0; 16],
        name_bytes: 0,
        name: [0; NAME_BYTES_MAX],
    };

    fn is(&self, user: &Key, name: &[u8]) -> bool {
        usize::from(self.name_bytes) == name.len()
            && self.user == *user
            && self.name.starts_with(name)
    }
}

/// Two entries, the latest in use first.
type Set = [Entry; 2];

/// Keys behind a peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's own key.
    pub key: Key,
    /// Key of the direct chat with it.
    pub conversation: Key,
    /// No hash was needed.
    pub was_kept: bool,
}

/// See the module.
pub struct Peers {
    /// Made when the first message comes: a worker whose connections are quiet needs none.
    sets: Vec<Set>,
    sets_max: usize,
}

impl Peers {
    /// Keeps as many as fit `bytes_max`, and at least two.
    pub fn new(bytes_max: u64) -> Self {
        let fitting = (bytes_max as usize / size_of::<Set>()).max(1);
        Self { sets: Vec::new(), sets_max: 1 << fitting.ilog2() }
    }

    /// Keys of the peer that `user` calls `name`, which is at most [`NAME_BYTES_MAX`] bytes.
    pub fn find(&mut self, keys: &KeySpace, realm: u32, user: &Key, name: &[u8]) -> Peer {
        if self.sets.is_empty() {
            self.sets.resize(self.sets_max, [Entry::VACANT; 2]);
        }
        let index = spread(user, name) as usize & (self.sets_max - 1);
        let set = &mut self.sets[index];
        if !set[0].is(user, name) {
            set.swap(0, 1);
        }
        let was_kept = set[0].is(user, name);
        if !was_kept {
            let (peer, _) = keys.user(realm, name);
            let entry = &mut set[0];
            *entry = Entry {
                user: *user,
                peer,
                conversation: keys.direct(user, &peer),
                name_bytes: name.len() as u8,
                name: Entry::VACANT.name,
            };
            entry.name[..name.len()].copy_from_slice(name);
        }
        Peer { key: set[0].peer, conversation: set[0].conversation, was_kept }
    }
}

/// Which set. Names made to collide only make chats miss.
fn spread(user: &Key, name: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let user = u64::from_le_bytes(*user.last_chunk().expect("a key has 16 bytes"));
    let mix = |hash: u64, word: &[u8; 8]| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(32)
    };
    mix(words.iter().fold(user, mix), &last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(keys: &KeySpace, user: &Key, name: &[u8]) -> (Key, Key) {
        let (peer, _) = keys.user(5, name);
        (peer, keys.direct(user, &peer))
    }

    #[test]
    fn what_is_found_is_what_would_be_hashed_whether_it_was_kept_or_not() {
        let keys = KeySpace::new([7; 32]);
        // Room for eight, and far more in use.
        let mut peers = Peers::new(4 * size_of::<Set>() as u64);
        let users: Vec<Key> = (0..5u8).map(|user| keys.user(5, &[user]).0).collect();
        let names: Vec<Vec<u8>> =
            (0..NAME_BYTES_MAX).map(|length| vec![b'n'; length + 1]).collect();
        let mut kept = 0;
        for round in 0..2000 {
            let (user, name) = (&users[round * 7 % 5], &names[round / 3 % names.len()]);
            let peer = peers.find(&keys, 5, user, name);
            assert_eq!((peer.key, peer.conversation), keys_of(&keys, user, name));
            kept += usize::from(peer.was_kept);
        }
        assert!(kept < 2000);
    }

    #[test]
    fn a_chat_that_goes_on_is_hashed_once_even_beside_another_of_its_set() {
        let keys = KeySpace::new([7; 32]);
        let mut peers = Peers::new(0);
        let user = keys.user(5, b"ann").0;
        let mut was_kept = |name: &[u8]| peers.find(&keys, 5, &user, name).was_kept;
        assert_eq!([was_kept(b"bob"), was_kept(b"eve")], [false, false]);
        assert_eq!([was_kept(b"bob"), was_kept(b"eve"), was_kept(b"bob")], [true; 3]);
        assert!(!was_kept(b"kim"), "a third takes the place of the one used longest ago");
        assert_eq!([was_kept(b"bob"), was_kept(b"eve")], [true, false]);
    }
}
