//! The home shard's part in topics: entries for sessions that are kept.

use super::Host;
use hawser_codec::link::{Followed, Following, TopicEntry};
use hawser_codec::time::Now;

impl Host {
    /// An entry for the kept sessions of an own shard, in stream order of its source; repeats are
    /// possible. Appends a record that names source and place also if nobody wants it any more:
    /// the source forgets the entry once it is durable.
    pub(super) fn on_topic_entry(&mut self, _now: Now, _entry: &TopicEntry<'_>) {}

    /// Says once that nothing is followed.
    pub(super) fn tell_follows(&mut self) {
        if !std::mem::replace(&mut self.told_follows, true) {
            self.on_following(self.settings.host, false);
            self.on_following(self.settings.host, true);
            for host in (0..self.settings.hosts).filter(|host| *host != self.settings.host) {
                if !self.settings.remote {
                    Following { done: false }.put(self.commit.peer(host));
                    Following { done: true }.put(self.commit.peer(host));
                }
            }
        }
    }

    /// A host has taken a filter that an own home shard told it, or has not.
    pub(super) fn on_followed(&mut self, _now: Now, _from: u16, _followed: &Followed) {}
}
