//! Topic aliases: numbers that stand for topics on one connection, each way.

use crate::limits;
use hashbrown::HashMap;

/// Those a client has set.
#[derive(Debug, Default)]
pub(super) struct In {
    topics: Vec<Option<Box<str>>>,
    bytes: usize,
}

impl In {
    /// Bytes of the topics.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Topic behind `alias`.
    pub fn get(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias) - 1)?.as_deref()
    }

    /// Lets `alias` (from 1, checked against what was agreed) stand for `topic`; false if the
    /// topics of this client would take too much.
    pub fn set(&mut self, alias: u16, topic: &str) -> bool {
        let at = usize::from(alias) - 1;
        if at >= self.topics.len() {
            self.topics.resize(at + 1, None);
        }
        let before = self.topics[at].as_ref().map_or(0, |topic| topic.len());
        if self.bytes - before + topic.len() > limits::MQTT_ALIAS_BYTES_MAX {
            return false;
        }
        self.bytes = self.bytes - before + topic.len();
        if self.topics[at].as_deref() != Some(topic) {
            self.topics[at] = Some(topic.into());
        }
        true
    }
}

/// Those set towards a client: the first topics it is sent, for good.
#[derive(Debug, Default)]
pub(super) struct Out {
    topics: HashMap<Box<[u8]>, u16>,
    bytes: usize,
}

impl Out {
    /// Bytes of the topics.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The alias of `topic`, and whether the client knows it already. A new one only while fewer
    /// than `max` are set and there is room.
    pub fn find(&mut self, topic: &[u8], max: u16) -> Option<(u16, bool)> {
        if let Some(alias) = self.topics.get(topic) {
            return Some((*alias, true));
        }
        let set = self.topics.len() as u16;
        // An alias and its property are six bytes: a topic as short is sent as it is.
        let worth = topic.len() > 6;
        if set >= max || !worth || self.bytes + topic.len() > limits::MQTT_ALIAS_BYTES_MAX {
            return None;
        }
        self.bytes += topic.len();
        self.topics.insert(topic.into(), set + 1);
        Some((set + 1, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_topic_it_was_last_set_to() {
        let mut aliases = In::default();
        assert_eq!(aliases.get(1), None);
        assert!(aliases.set(3, "a/b") && aliases.set(1, "x") && aliases.set(3, "c"));
        assert_eq!((aliases.get(1), aliases.get(2), aliases.get(3)), (Some("x"), None, Some("c")));
        assert_eq!(aliases.bytes(), 2);
        assert!(!aliases.set(4, &"t".repeat(limits::MQTT_ALIAS_BYTES_MAX)));
    }

    // norm: MQTT5-3.1.2-26
    // norm: MQTT5-3.3.2-11
    #[test]
    fn towards_a_client_only_as_many_are_set_as_it_takes() {
        let mut aliases = Out::default();
        assert_eq!(aliases.find(b"first/topic", 2), Some((1, false)));
        assert_eq!(aliases.find(b"second/topic", 2), Some((2, false)));
        assert_eq!(aliases.find(b"third/topic", 2), None);
        assert_eq!(aliases.find(b"first/topic", 2), Some((1, true)));
        assert_eq!(aliases.find(b"short", 9), None);
    }
}
