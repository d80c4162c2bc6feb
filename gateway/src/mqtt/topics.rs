//! Keys of topics published to, kept from earlier publishes: a hash under the key space costs more
//! than all else that is done with a short message.

use crate::limits;
use hashbrown::HashMap;
use hawser_codec::link::Key;
use hawser_router::key::KeySpace;

/// See the module. Keys follow from names and never change, so nothing here is ever wrong; a full
/// table is dropped and fills again.
#[derive(Default)]
pub(super) struct TopicKeys {
    realms: HashMap<u32, HashMap<Box<[u8]>, Key>>,
    count: usize,
}

impl TopicKeys {
    /// Key of a topic of this realm.
    pub fn find(&mut self, keys: &KeySpace, realm: u32, topic: &[u8]) -> Key {
        if topic.len() > limits::MQTT_TOPIC_KEY_BYTES_MAX {
            return keys.topic(realm, topic);
        }
        if let Some(key) = self.realms.get(&realm).and_then(|kept| kept.get(topic)) {
            return *key;
        }
        let key = keys.topic(realm, topic);
        if self.count >= limits::MQTT_TOPIC_KEYS {
            self.realms.clear();
            self.count = 0;
        }
        self.count += 1;
        self.realms.entry(realm).or_default().insert(topic.into(), key);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_space_however_many_are_asked_for() {
        let keys = KeySpace::new([7; 32]);
        let mut kept = TopicKeys::default();
        for number in 0..2 * limits::MQTT_TOPIC_KEYS as u32 {
            let topic = format!("t/{}", number / 2);
            assert_eq!(kept.find(&keys, 3, topic.as_bytes()), keys.topic(3, topic.as_bytes()));
            assert!(kept.count <= limits::MQTT_TOPIC_KEYS);
        }
        assert_ne!(kept.find(&keys, 3, b"x"), kept.find(&keys, 4, b"x"));
    }
}
