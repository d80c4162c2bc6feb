//! What a shard host does for kept sessions of publish/subscribe.

use super::Cell;
use crate::host::HostCounters;

/// Part of [`super::HostMetrics`]; written by its worker alone.
#[derive(Debug, Default)]
pub struct SessionMetrics {
    /// Level: sessions attached.
    pub attached: Cell,
    /// Level: sessions that outlive their connection.
    pub kept: Cell,
    /// Level: filters of these.
    pub filters: Cell,
    /// Level: entries in their queues.
    pub queued: Cell,
    /// Entries put into queues.
    pub entries: Cell,
    /// Entries pushed out of queues, repeats included.
    pub pushed: Cell,
    /// Entries dropped because a queue was full, or their segment gone.
    pub dropped: Cell,
    /// Entries that expired in a queue.
    pub expired: Cell,
    /// Wills published.
    pub wills: Cell,
    /// Level: bytes of wills.
    pub will_bytes: Cell,
    /// Level: requests without a number that are remembered.
    pub unnumbered: Cell,
}

impl SessionMetrics {
    pub(super) fn publish(&self, counters: &HostCounters) {
        self.attached.set(counters.attached);
        self.kept.set(counters.kept);
        self.filters.set(counters.kept_filters);
        self.queued.set(counters.queued);
        self.entries.set(counters.queue_entries);
        self.pushed.set(counters.queue_pushed);
        self.dropped.set(counters.queue_dropped);
        self.expired.set(counters.queue_expired);
        self.wills.set(counters.wills);
        self.will_bytes.set(counters.will_bytes);
        self.unnumbered.set(counters.unnumbered);
    }
}
