//! One deadline per connection: a timing wheel threaded through the slots.
//!
//! A heartbeat moves no timer: the connection only notes when it was heard last, and when its
//! timer fires it is filed again for the rest of the time. Per message the cost is one store.
//! Deadlines beyond the horizon wait in the farthest bucket and are filed again from there.

/// Length of a tick, microseconds. Heartbeats are tens of seconds; a quarter second is exact
/// enough and keeps buckets short.
pub const TICK_US: u64 = 250_000;

/// Buckets, so the horizon is 256 s, above the usual heartbeat with its grace.
const BUCKETS: usize = 1024;

const NONE: u32 = u32::MAX;

/// Coarse time: ticks since the worker started.
pub type Tick = u32;

/// See the module.
pub struct Wheel {
    heads: Box<[u32]>,
    /// Next and previous slot in the bucket, per slot; grown by chunks with the slots used.
    links: Vec<(u32, u32)>,
    /// Bucket of each slot plus one, 0 when not filed.
    filed: Vec<u16>,
    now: Tick,
    count: u32,
}

impl Wheel {
    /// A wheel for slots below `slots`.
    pub fn new(slots: u32) -> Self {
        Self {
            heads: vec![NONE; BUCKETS].into_boxed_slice(),
            links: Vec::with_capacity(slots as usize),
            filed: Vec::with_capacity(slots as usize),
            now: 0,
            count: 0,
        }
    }

    /// Files `slot` to fire at `at` (at the next tick if that is past), instead of before.
    pub fn file(&mut self, slot: u32, at: Tick) {
        self.cancel(slot);
        let index = slot as usize;
        if index >= self.filed.len() {
            self.filed.resize(index + 1, 0);
            self.links.resize(index + 1, (NONE, NONE));
        }
        let ahead = at.saturating_sub(self.now).clamp(1, BUCKETS as u32 - 1);
        let bucket = (self.now + ahead) as usize % BUCKETS;
        let head = self.heads[bucket];
        self.links[index] = (head, NONE);
        if head != NONE {
            self.links[head as usize].1 = slot;
        }
        self.heads[bucket] = slot;
        self.filed[index] = bucket as u16 + 1;
        self.count += 1;
    }

    /// Takes `slot` off the wheel if it is on it.
    pub fn cancel(&mut self, slot: u32) {
        let index = slot as usize;
        let Some(bucket) = self.filed.get(index).copied().and_then(|b| b.checked_sub(1)) else {
            return;
        };
        let (next, previous) = self.links[index];
        match previous {
            NONE => self.heads[usize::from(bucket)] = next,
            _ => self.links[previous as usize].0 = next,
        }
        if next != NONE {
            self.links[next as usize].1 = previous;
        }
        self.filed[index] = 0;
        self.count -= 1;
    }

    /// Goes on towards `now` and takes off slots that fire, at most `limit`; true if more wait.
    pub fn advance(&mut self, now: Tick, limit: usize, fired: &mut Vec<u32>) -> bool {
        loop {
            let bucket = self.now as usize % BUCKETS;
            while self.heads[bucket] != NONE {
                if fired.len() >= limit {
                    return true;
                }
                let slot = self.heads[bucket];
                self.cancel(slot);
                fired.push(slot);
            }
            if self.now >= now {
                return false;
            }
            // An empty wheel needs no walk, so a worker that slept for hours wakes at once.
            self.now = if self.count == 0 { now } else { self.now + 1 };
        }
    }

    /// Monotonic time of the next tick if any slot is filed.
    pub fn next_us(&self) -> Option<u64> {
        (self.count > 0).then(|| (u64::from(self.now) + 1) * TICK_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refiled_slot_fires_once_at_its_new_time() {
        let mut wheel = Wheel::new(8);
        wheel.file(3, 5);
        wheel.file(3, 9);
        let mut fired = Vec::new();
        assert!(!wheel.advance(8, 100, &mut fired));
        assert!(fired.is_empty());
        wheel.advance(9, 100, &mut fired);
        assert_eq!(fired, [3]);
        wheel.advance(5000, 100, &mut fired);
        assert_eq!(fired, [3]);
    }

    #[test]
    fn a_burst_is_cut_and_goes_on_where_it_stopped() {
        let mut wheel = Wheel::new(10);
        (0..10).for_each(|slot| wheel.file(slot, 4));
        let mut fired = Vec::new();
        assert!(wheel.advance(4, 6, &mut fired));
        assert_eq!(fired.len(), 6);
        fired.clear();
        assert!(!wheel.advance(4, 6, &mut fired));
        assert_eq!(fired.len(), 4);
    }

    proptest! {
        /// Against a plain map: what is filed within the horizon fires exactly then.
        #[test]
        fn fires_like_a_map(steps in prop::collection::vec((0u32..40, 1u32..900, any::<bool>()), 1..120)) {
            let mut wheel = Wheel::new(40);
            let mut model = std::collections::BTreeMap::new();
            let mut now = 0;
            for (slot, ahead, cancel) in steps {
                if cancel {
                    wheel.cancel(slot);
                    model.remove(&slot);
                } else {
                    wheel.file(slot, now + ahead);
                    model.insert(slot, now + ahead);
                }
                now += ahead / 7;
                let mut fired = Vec::new();
                wheel.advance(now, 1000, &mut fired);
                fired.sort_unstable();
                let due: Vec<u32> = model.iter().filter(|(_, at)| **at <= now).map(|(s, _)| *s).collect();
                due.iter().for_each(|slot| { model.remove(slot); });
                prop_assert_eq!(fired, due);
            }
        }
    }
}
