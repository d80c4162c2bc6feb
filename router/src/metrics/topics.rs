//! What a shard host does for publish/subscribe.

use super::Cell;
use crate::host::HostCounters;

/// Part of [`super::HostMetrics`]; written by its worker alone.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Messages published.
    pub published: Cell,
    /// Of these, messages that some filter matched.
    pub matched: Cell,
    /// Copies said to workers.
    pub copies: Cell,
    /// Entries for kept sessions, one for each home shard.
    pub entries: Cell,
    /// Messages of quality 0 dropped because too much was held.
    pub dropped: Cell,
    /// Refusals for a limit of the host.
    pub limits: Cell,
    /// Level: filters of workers and home shards.
    pub routes: Cell,
    /// Level: memory of these, bytes.
    pub route_bytes: Cell,
    /// Level: retained messages.
    pub retained: Cell,
    /// Level: memory of these, bytes.
    pub retained_bytes: Cell,
    /// Level: packet ids of quality 2 that are not released.
    pub packet_ids: Cell,
}

impl TopicMetrics {
    pub(super) fn publish(&self, counters: &HostCounters) {
        self.published.set(counters.published);
        self.matched.set(counters.matched);
        self.copies.set(counters.topic_copies);
        self.entries.set(counters.topic_entries);
        self.dropped.set(counters.topic_dropped);
        self.limits.set(counters.topic_limits);
        self.routes.set(counters.routes);
        self.route_bytes.set(counters.route_bytes);
        self.retained.set(counters.retained);
        self.retained_bytes.set(counters.retained_bytes);
        self.packet_ids.set(counters.packet_ids);
    }
}
