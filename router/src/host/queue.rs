//! The home shard's part in topics: entries for sessions that are kept.

use super::Host;
use hawser_codec::link::{Followed, TopicEntry};
use hawser_codec::time::Now;

impl Host {
    /// An entry for the kept sessions of an own shard, in stream order of its source; repeats are
    /// possible. Appends a record that names source and place also if nobody wants it any more:
    /// the source forgets the entry once it is durable.
    pub(super) fn on_topic_entry(&mut self, _now: Now, _entry: &TopicEntry<'_>) {}

    /// A host has taken a filter that an own home shard told it, or has not.
    pub(super) fn on_followed(&mut self, _now: Now, _from: u16, _followed: &Followed) {}
}
