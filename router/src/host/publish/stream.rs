//! Messages of topics in the streams from their shard to home shards.

use super::super::Host;
use super::super::counters::Mark;
use crate::record;
use crate::recovery::Undelivered;
use hawser_codec::link::{Damaged, TopicEntry};
use hawser_codec::time::Now;

impl Host {
    /// Sends a message, appended at `offset` of the run being built, on its way to the home shards
    /// its record names.
    pub(super) fn stream_topic(
        &mut self,
        now: Now,
        source: u8,
        position: u64,
        message: &record::Publish<'_>,
        offset: u64,
        bytes: u32,
    ) {
        let settings = self.settings;
        // Those of this host last: what they append may end the run that `offset` counts in.
        for (home, shares) in message.homes().filter(|(home, _)| !settings.owns(*home)) {
            let entry = self.next_entry(source, position, message, home, shares);
            self.counters.topic_entries += 1;
            if settings.remote {
                let (streamed, previous) = (entry.position, entry.previous);
                self.keep_for(source, home, (streamed, previous), offset, bytes, |batch| {
                    entry.put(batch);
                });
            } else {
                entry.put(self.commit.peer(settings.host_of(home)));
            }
        }
        for (home, shares) in message.homes().filter(|(home, _)| settings.owns(*home)) {
            let entry = self.next_entry(source, position, message, home, shares);
            self.counters.topic_entries += 1;
            self.commit.cut_long_run();
            self.on_topic_entry(now, &entry);
        }
    }

    /// Takes the next place in the stream to a home shard.
    fn next_entry<'a>(
        &mut self,
        source: u8,
        position: u64,
        message: &record::Publish<'a>,
        home: u8,
        shares: &'a [u8],
    ) -> TopicEntry<'a> {
        let streamed = position << 1;
        let shard = self.shards[usize::from(source)].as_mut().expect("the source is ours");
        let previous = std::mem::replace(&mut shard.streamed[usize::from(home)], streamed);
        topic_entry_of(message, source, (streamed, previous), home, shares)
    }

    /// Streams a message found in the log that one home shard lacks.
    pub(in crate::host) fn stream_topic_again(&mut self, now: Now, found: &Undelivered) {
        let Ok(message) = record::Publish::take(&found.payload) else {
            self.counters.unreadable += 1;
            return;
        };
        let named = message.homes().find(|(home, _)| *home == found.home);
        let Some((home, shares)) = named else { return };
        self.counters.hit(Mark::TopicStreamedAgain);
        let entry = self.next_entry(found.source, found.streamed >> 1, &message, home, shares);
        if self.settings.owns(home) {
            self.on_topic_entry(now, &entry);
        } else if !self.settings.remote {
            entry.put(self.commit.peer(self.settings.host_of(home)));
        }
    }

    /// An entry of a stream from another host.
    pub(in crate::host) fn on_topic_stream(
        &mut self,
        now: Now,
        from: u16,
        entry: &TopicEntry<'_>,
    ) -> Result<(), Damaged> {
        let settings = &self.settings;
        if !settings.owns(entry.home)
            || settings.host_of(entry.source) != from
            || entry.position == 0
            || entry.content.len() > settings.content_bytes_max
        {
            return Err(Damaged);
        }
        let place = (entry.source, entry.position, entry.previous);
        if settings.remote && !self.is_next_from(now, from, entry.home, place)? {
            return Ok(());
        }
        self.on_topic_entry(now, entry);
        Ok(())
    }
}

/// The entry of a message for one home shard; `place` is its own in the stream and the one before.
pub(in crate::host) fn topic_entry_of<'a>(
    message: &record::Publish<'a>,
    source: u8,
    place: (u64, u64),
    home: u8,
    shares: &'a [u8],
) -> TopicEntry<'a> {
    TopicEntry {
        source,
        home,
        position: place.0,
        previous: place.1,
        realm: message.realm,
        user: message.user,
        device: message.device,
        qos: message.qos,
        retain: message.retain == 1,
        time_ms: message.time_ms,
        expiry_s: message.expiry_s,
        topic: message.topic,
        shares,
        content: message.content,
    }
}
