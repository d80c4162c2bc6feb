//! Wills: kept with their session, published when its connection ends without a word.

use super::super::Host;
use super::super::counters::Mark;
use super::super::settings::WILL_RETRY_US;
use crate::attached::Will;
use hawser_codec::link::Publish;
use hawser_codec::time::Now;

impl Host {
    pub(super) fn put_will(&mut self, number: u8, index: u32, will: Box<Will>) {
        self.take_will(number, index);
        let bytes = will.bytes() as u64;
        if let Some(extra) = self.extra(number, index) {
            extra.will = Some(will);
            self.counters.will_bytes += bytes;
        }
    }

    pub(super) fn take_will(&mut self, number: u8, index: u32) -> Option<Box<Will>> {
        let will = self.extra(number, index)?.will.take()?;
        self.counters.will_bytes -= will.bytes() as u64;
        self.set_deadlines(number, index, |extra| extra.will_us = None);
        Some(will)
    }

    /// Hands a will to the shard of its topic. If that cannot be now, the session keeps it for
    /// another attempt.
    pub(super) fn publish_will(&mut self, now: Now, number: u8, index: u32, will: &Will) -> bool {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &shard.attached.all[index];
        let realm = session.extra.as_ref().map_or(0, |extra| extra.realm);
        let publish = Publish {
            connection: 0,
            user: session.user,
            device: session.device,
            topic_key: will.key,
            realm,
            request: 0,
            qos: will.qos,
            retain: will.retain,
            expiry_s: will.expiry_s,
            topic: &will.topic,
            content: &will.content,
        };
        if self.publish_from_home(now, &publish) {
            self.counters.hit(Mark::WillPublished);
            self.counters.wills += 1;
            return true;
        }
        self.counters.hit(Mark::WillWaits);
        self.put_will(number, index, Box::new(will.clone()));
        self.set_deadlines(number, index, |extra| {
            extra.will_us = Some(now.monotonic_us + WILL_RETRY_US);
        });
        false
    }
}
