//! The topic shard's part in publish/subscribe.

use super::Host;
use crate::origin::Origin;
use hawser_codec::link::{Damaged, Follow, Handed, Publish, TopicEntry, Uplink};
use hawser_codec::time::Now;

impl Host {
    pub(super) fn on_topic_uplink(
        &mut self,
        _now: Now,
        _worker: Origin,
        _frame: &Uplink<'_>,
    ) -> Result<(), Damaged> {
        Err(Damaged)
    }

    /// An entry of a stream from another host.
    pub(super) fn on_topic_stream(
        &mut self,
        now: Now,
        _from: u16,
        entry: &TopicEntry<'_>,
    ) -> Result<(), Damaged> {
        if !self.settings.owns(entry.home) {
            return Err(Damaged);
        }
        self.on_topic_entry(now, entry);
        Ok(())
    }

    /// What a home shard of `from` (or of this host) follows, or does no longer: 0, or a code.
    pub(super) fn on_follow(&mut self, _from: u16, _follow: &Follow<'_>) -> Result<u16, Damaged> {
        Ok(0)
    }

    /// `from` (or this host) begins or ends the list of all that its home shards follow.
    pub(super) fn on_following(&mut self, _from: u16, _done: bool) {}

    /// A message of a home shard of this host, for any shard; `false` if it cannot be handed on
    /// now. Not answered, and lost with a link that is lost.
    pub(super) fn publish_from_home(&mut self, _now: Now, _publish: &Publish<'_>) -> bool {
        false
    }

    pub(super) fn on_handed(&mut self, _now: Now, _handed: &Handed<'_>) -> Result<(), Damaged> {
        Err(Damaged)
    }
}
