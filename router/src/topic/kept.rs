//! Retained messages of one shard, by the key of their topic.

use crate::record;
use crate::slab::Slab;
use hashbrown::HashTable;
use hawser_codec::link::Key;

/// What one retained message takes beside its topic and content, bytes.
const KEPT_BYTES: usize = size_of::<Kept>() + 48;

pub(crate) struct Kept {
    pub key: Key,
    pub realm: u32,
    /// Who published it.
    pub user: Key,
    pub device: Key,
    pub qos: u8,
    pub time_ms: u64,
    pub expiry_s: u32,
    pub topic: Box<[u8]>,
    pub content: Box<[u8]>,
}

impl Kept {
    pub fn bytes(&self) -> usize {
        kept_bytes(self.topic.len(), self.content.len())
    }

    /// Seconds until it expires (0: never), or `None` if it has.
    pub fn left_s(&self, now_ms: u64) -> Option<u32> {
        left_s(self.time_ms, self.expiry_s, now_ms)
    }
}

/// Memory that a retained message takes, bytes.
pub(crate) fn kept_bytes(topic: usize, content: usize) -> usize {
    KEPT_BYTES + topic + content
}

/// Seconds until a message expires (0: never), or `None` if it has. A clock that was set back
/// does not make it live longer than it was given.
pub(crate) fn left_s(time_ms: u64, expiry_s: u32, now_ms: u64) -> Option<u32> {
    if expiry_s == 0 {
        return Some(0);
    }
    let gone_s = now_ms.saturating_sub(time_ms) / 1000;
    u32::try_from(gone_s)
        .ok()
        .and_then(|gone_s| expiry_s.checked_sub(gone_s))
        .filter(|left| *left > 0)
}

#[derive(Default)]
pub(crate) struct Retained {
    table: HashTable<u32>,
    all: Option<Slab<Kept>>,
    /// Memory of all, bytes.
    pub bytes: usize,
    /// Where the next look for something expired begins.
    hand: u32,
}

fn spread(key: &Key) -> u64 {
    // Keys are keyed hashes already; the first byte is the shard and equal for all.
    u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"))
}

impl Retained {
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Places that [`Retained::next_expired`] looks at one after another.
    pub fn places(&self) -> usize {
        self.all.as_ref().map_or(0, |all| all.ends() as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.table.iter().filter_map(|index| self.all.as_ref().map(|all| &all[*index]))
    }

    pub fn get(&self, key: &Key) -> Option<&Kept> {
        let all = self.all.as_ref()?;
        let index = self.table.find(spread(key), |index| all[*index].key == *key)?;
        Some(&all[*index])
    }

    /// Puts a message in the place of the one there was, if any; whether there was none.
    pub fn put(&mut self, kept: Kept) -> bool {
        self.bytes += kept.bytes();
        let all = self.all.get_or_insert_with(Slab::new);
        let hash = spread(&kept.key);
        if let Some(index) = self.table.find(hash, |index| all[*index].key == kept.key) {
            let before = std::mem::replace(&mut all[*index], kept);
            self.bytes -= before.bytes();
            return false;
        }
        let index = all.insert(kept);
        self.table.insert_unique(hash, index, |index| spread(&all[*index].key));
        true
    }

    /// Takes a message out.
    pub fn take(&mut self, key: &Key) -> Option<Kept> {
        let all = self.all.as_mut()?;
        let entry = self.table.find_entry(spread(key), |index| all[*index].key == *key).ok()?;
        let (index, _) = entry.remove();
        let nothing = Kept { topic: Box::default(), content: Box::default(), ..all[index] };
        let kept = std::mem::replace(&mut all[index], nothing);
        all.release(index);
        self.bytes -= kept.bytes();
        Some(kept)
    }

    /// Key of an expired message, if one stands among the next `looks` places.
    pub fn next_expired(&mut self, now_ms: u64, looks: usize) -> Option<Key> {
        let all = self.all.as_ref()?;
        for _ in 0..looks {
            self.hand = if self.hand + 1 < all.ends() { self.hand + 1 } else { 0 };
            let kept = &all[self.hand];
            // A place that was given back has an empty topic.
            if !kept.topic.is_empty() && kept.left_s(now_ms).is_none() {
                return Some(kept.key);
            }
        }
        None
    }

    /// What a record of the shard makes of it.
    pub fn replay(&mut self, publish: &record::Publish) {
        if publish.retain == 0 {
            return;
        }
        if publish.clears() {
            self.take(&publish.topic_key);
        } else {
            self.put(kept_of(publish));
        }
    }
}

pub(crate) fn kept_of(publish: &record::Publish) -> Kept {
    Kept {
        key: publish.topic_key,
        realm: publish.realm,
        user: publish.user,
        device: publish.device,
        qos: publish.qos,
        time_ms: publish.time_ms,
        expiry_s: publish.expiry_s,
        topic: publish.topic.into(),
        content: publish.content.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(key: u8, content: &[u8]) -> Kept {
        let (user, device) = ([0; 16], [0; 16]);
        let (topic, content) = (b"t".as_slice().into(), content.into());
        Kept {
            key: [key; 16],
            realm: 0,
            user,
            device,
            qos: 1,
            time_ms: 5_000,
            expiry_s: 10,
            topic,
            content,
        }
    }

    #[test]
    fn a_topic_keeps_its_latest_message_and_bytes_are_counted() {
        let mut retained = Retained::default();
        assert!(retained.put(kept(1, b"a")) && retained.put(kept(2, b"b")));
        assert!(!retained.put(kept(1, b"longer")));
        assert_eq!(retained.get(&[1; 16]).map(|kept| &*kept.content), Some(&b"longer"[..]));
        assert_eq!((retained.len(), retained.iter().count()), (2, 2));
        assert_eq!(retained.bytes, kept_bytes(1, 6) + kept_bytes(1, 1));
        assert!(retained.take(&[1; 16]).is_some() && retained.take(&[1; 16]).is_none());
        assert!(retained.take(&[2; 16]).is_some());
        assert_eq!((retained.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn what_has_expired_is_found_by_looking_on() {
        let mut retained = Retained::default();
        assert_eq!(retained.next_expired(u64::MAX, 3), None);
        for number in 0..10 {
            retained.put(Kept { expiry_s: u32::from(number == 7), ..kept(number, b"x") });
        }
        let found: Vec<_> = (0..10).filter_map(|_| retained.next_expired(90_000, 2)).collect();
        assert_eq!(found, [[7; 16]; 2]);
        retained.take(&[7; 16]);
        assert!((0..10).all(|_| retained.next_expired(90_000, 2).is_none()));
    }

    #[test]
    fn what_expires_says_how_long_it_has_left() {
        let kept = kept(1, b"");
        assert_eq!(kept.left_s(4_000), Some(10));
        assert_eq!(kept.left_s(5_999), Some(10));
        assert_eq!(kept.left_s(14_999), Some(1));
        assert_eq!(kept.left_s(15_000), None);
        assert_eq!(Kept { expiry_s: 0, ..kept }.left_s(u64::MAX), Some(0));
    }
}
