//! What a host that begins does with the sessions that recovery found.

use super::super::Host;
use super::super::settings::LOST_GRACE_US;
use super::FOR_EVER_S;
use crate::attached::Presence;
use hawser_codec::time::Now;

impl Host {
    /// Enters filters, sets deadlines, and begins to tell every host that needs no link.
    pub(in crate::host) fn take_over_sessions(&mut self, now: Now) {
        for number in 0..self.shards.len() {
            let Some(shard) = &self.shards[number] else { continue };
            let slots: Vec<u32> = shard.attached.kept().map(|(slot, ..)| slot).collect();
            self.counters.attached_slots += shard.attached.count() as u64;
            for slot in slots {
                self.take_over_session(now, number as u8, slot);
            }
        }
        for host in 0..self.settings.hosts {
            if !self.settings.is_remote(host) {
                self.tellings.begin(host);
            }
        }
    }

    fn take_over_session(&mut self, now: Now, number: u8, slot: u32) {
        let (entries_max, bytes_max) =
            (self.settings.queue_entries_max, self.settings.queue_bytes_max);
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[slot];
        let is_lost = session.presence == Presence::Lost;
        let realm = session.extra.as_ref().map_or(0, |extra| extra.realm);
        let will_bytes = session.extra.as_ref().and_then(|extra| extra.will.as_ref());
        self.counters.will_bytes += will_bytes.map_or(0, |will| will.bytes() as u64);
        let Some(kept) = session.kept_mut() else { return };
        // What was dropped for want of room may not have been written before the end.
        while kept.queue.len() > entries_max || kept.queue.bytes > bytes_max {
            kept.queue.drop_first();
        }
        self.counters.kept += 1;
        self.counters.kept_filters += kept.filters.len() as u64;
        self.counters.queued += kept.queue.len() as u64;
        for filter in kept.filters.clone() {
            // There was room for it before; were there none now, it is told to nobody.
            self.follow(number, slot, realm, &filter.text, filter.options);
        }
        self.set_deadlines(number, slot, |extra| {
            if is_lost {
                extra.lost_us = Some(now.monotonic_us + LOST_GRACE_US);
                return;
            }
            let at = |after_s: u32| {
                let due_ms = extra.away_since_ms.saturating_add(u64::from(after_s) * 1000);
                now.monotonic_us + due_ms.saturating_sub(now.wall_ms) * 1000
            };
            extra.end_us = (extra.expiry_s != FOR_EVER_S).then(|| at(extra.expiry_s));
            let will = extra.will.as_ref();
            extra.will_us = will.map(|will| at(will.delay_s.min(extra.expiry_s)));
        });
    }
}
