//! Keys: names become 128-bit keyed hashes, so that a chosen name cannot collide with another
//! user's mailbox, and every table holds 16 bytes instead of a text.

use hawser_codec::{link::Key, message::NAME_BYTES_MAX};

/// Makes keys under one hash key. Two data directories with different hash keys disagree on every
/// key, so a check value of it ([`KeySpace::check`]) stands in the directory and the link's hello.
#[derive(Clone)]
pub struct KeySpace {
    hash_key: [u8; 32],
}

/// What a name names; separates the name spaces.
#[derive(Clone, Copy)]
enum Kind {
    User = 1,
    Device = 2,
    Direct = 3,
    Topic = 4,
}

/// Longest input of a hash: kind, a key and a name.
const HASHED_BYTES_MAX: usize = 1 + size_of::<Key>() + NAME_BYTES_MAX;

impl KeySpace {
    /// A key space under `hash_key`, a secret made with the data directory.
    pub fn new(hash_key: [u8; 32]) -> KeySpace {
        KeySpace { hash_key }
    }

    /// Key and check value of a user; `name` is at most [`NAME_BYTES_MAX`] bytes. The check is the second half of the same hash: two users
    /// who ever met on one key would still be told apart at login.
    pub fn user(&self, realm: u32, name: &[u8]) -> (Key, u64) {
        let hash = self.hash(Kind::User, &[&realm.to_le_bytes(), name]);
        let (key, rest) = hash.split_first_chunk().expect("a hash has 32 bytes");
        let check = rest.first_chunk().expect("16 bytes are left");
        (*key, u64::from_le_bytes(*check))
    }

    /// Key of a user's device; `name` is at most [`NAME_BYTES_MAX`] bytes.
    pub fn device(&self, user: &Key, name: &[u8]) -> Key {
        self.key(Kind::Device, &[user, name])
    }

    /// Key of the direct chat of two users, the same from both sides.
    pub fn direct(&self, one: &Key, other: &Key) -> Key {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        self.key(Kind::Direct, &[low, high])
    }

    /// Key of a topic, of any length; its first byte is the shard that numbers what is published
    /// to it.
    pub fn topic(&self, realm: u32, topic: &[u8]) -> Key {
        let realm = realm.to_le_bytes();
        if topic.len() <= NAME_BYTES_MAX {
            return self.key(Kind::Topic, &[&realm, topic]);
        }
        let mut hash = blake3::Hasher::new_keyed(&self.hash_key);
        hash.update(&[Kind::Topic as u8]).update(&realm).update(topic);
        *hash.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// Value that tells two hash keys apart without giving either away.
    pub fn check(&self) -> u64 {
        let hash = blake3::keyed_hash(&self.hash_key, b"hawser key space");
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// Secret for tables of texts that strangers choose (`text_seed` of `HostSettings`).
    pub fn text_seed(&self) -> u64 {
        let hash = blake3::keyed_hash(&self.hash_key, b"hawser tables of texts");
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    fn key(&self, kind: Kind, parts: &[&[u8]]) -> Key {
        *self.hash(kind, parts).first_chunk().expect("a hash has 32 bytes")
    }

    fn hash(&self, kind: Kind, parts: &[&[u8]]) -> [u8; 32] {
        // All parts but the last have a fixed length, so the concatenation is unambiguous. Hashing
        // it in one call spares the 2 KB state of an incremental hash, which cost more than the
        // hash itself.
        let mut whole = [0; HASHED_BYTES_MAX];
        whole[0] = kind as u8;
        let mut length = 1;
        for part in parts {
            whole[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        *blake3::keyed_hash(&self.hash_key, &whole[..length]).as_bytes()
    }
}

/// Logical shard of a user or conversation.
pub fn shard_of(key: &Key) -> u8 {
    key[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_chat_has_one_key_from_both_sides() {
        let keys = KeySpace::new([7; 32]);
        let (ann, _) = keys.user(0, b"ann");
        let (bob, _) = keys.user(0, b"bob");
        assert_eq!(keys.direct(&ann, &bob), keys.direct(&bob, &ann));
        assert_ne!(keys.direct(&ann, &bob), keys.direct(&ann, &ann));
    }

    #[test]
    fn a_topic_has_one_key_however_long_it_is() {
        let keys = KeySpace::new([7; 32]);
        let long = [b'a'; 65_535];
        for length in [1, NAME_BYTES_MAX, NAME_BYTES_MAX + 1, long.len()] {
            let key = keys.topic(1, &long[..length]);
            assert_eq!(key, keys.topic(1, &long[..length]));
            assert_ne!(key, keys.topic(2, &long[..length]));
            assert_ne!(key, keys.topic(1, &long[..length - 1]));
            let mut whole = vec![Kind::Topic as u8];
            whole.extend_from_slice(&1u32.to_le_bytes());
            whole.extend_from_slice(&long[..length]);
            let hash = blake3::keyed_hash(&[7; 32], &whole);
            assert_eq!(key, hash.as_bytes()[..16], "both ways give the same");
        }
    }

    #[test]
    fn realms_kinds_and_hash_keys_are_kept_apart() {
        let keys = KeySpace::new([7; 32]);
        let other = KeySpace::new([8; 32]);
        let (ann, check) = keys.user(0, b"ann");
        assert_ne!(ann, keys.user(1, b"ann").0);
        assert_ne!(ann, other.user(0, b"ann").0);
        assert_ne!(check, keys.user(1, b"ann").1);
        assert_ne!(keys.device(&ann, b"phone"), keys.device(&ann, b"desk"));
        assert_ne!(keys.check(), other.check());
        assert_ne!(keys.text_seed(), other.text_seed());
        assert_ne!(keys.text_seed(), keys.check());
    }
}
