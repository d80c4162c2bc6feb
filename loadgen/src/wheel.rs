//! Deadlines of many slots, coarse and cheap: a ring of buckets of 8 ms.
//!
//! A slot has at most one entry that counts; the owner keeps its tick ([`Wheel::add`] gives it)
//! and ignores entries that come up with another one.

/// Length of a tick, microseconds; an acknowledgement may wait 20 ms, which this still resolves.
pub const TICK_US: u64 = 8192;

/// Buckets: 67 s, above the usual heartbeat. A later deadline comes up early and is added again.
const BUCKETS: u64 = 8192;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    buckets: Vec<Vec<u32>>,
    /// Next tick to come up.
    next: u64,
}

impl Wheel {
    /// An empty wheel at `now_us`.
    pub fn new(now_us: u64) -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS as usize], next: now_us / TICK_US }
    }

    /// Adds a slot, unless it has an earlier entry at `current` (0: none); gives the tick of the
    /// entry that counts from now on.
    pub fn add(&mut self, slot: u32, at_us: u64, current: u64) -> u64 {
        let tick = at_us.div_ceil(TICK_US).clamp(self.next, self.next + BUCKETS - 1);
        if current != 0 && current <= tick {
            return current;
        }
        self.buckets[(tick % BUCKETS) as usize].push(slot);
        tick
    }

    /// Next bucket that has come up by `now_us`, with its tick; to be given back to
    /// [`Wheel::recycle`].
    pub fn due(&mut self, now_us: u64) -> Option<(u64, Vec<u32>)> {
        while self.next <= now_us / TICK_US {
            let tick = self.next;
            self.next += 1;
            let bucket = &mut self.buckets[(tick % BUCKETS) as usize];
            if !bucket.is_empty() {
                return Some((tick, std::mem::take(bucket)));
            }
        }
        None
    }

    /// Takes an emptied bucket's memory back.
    pub fn recycle(&mut self, tick: u64, mut bucket: Vec<u32>) {
        let place = &mut self.buckets[(tick % BUCKETS) as usize];
        if place.is_empty() {
            bucket.clear();
            *place = bucket;
        }
    }

    /// When the owner should look again, at most `ticks` ahead, microseconds.
    pub fn next_us(&self, ticks: u64) -> u64 {
        let ahead = self.next..self.next + ticks;
        let tick =
            ahead.into_iter().find(|tick| !self.buckets[(tick % BUCKETS) as usize].is_empty());
        tick.unwrap_or(self.next + ticks) * TICK_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_comes_up_after_its_deadline_and_not_before() {
        let mut wheel = Wheel::new(1_000_000);
        let tick = wheel.add(5, 1_100_000, 0);
        assert_eq!(wheel.due(1_099_999), None);
        assert_eq!(wheel.next_us(100), tick * TICK_US);
        let (at, bucket) = wheel.due(1_100_000 + TICK_US).unwrap();
        assert_eq!((at, bucket), (tick, vec![5]));
    }

    #[test]
    fn earlier_entry_counts_and_a_later_one_is_not_added() {
        let mut wheel = Wheel::new(0);
        let late = wheel.add(1, 500_000, 0);
        let early = wheel.add(1, 100_000, late);
        assert!(early < late);
        assert_eq!(wheel.add(1, 400_000, early), early);
    }

    #[test]
    fn deadline_beyond_the_wheel_comes_up_early() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.add(1, u64::MAX / 2, 0), BUCKETS - 1);
    }
}
