//! A running median: what a dependent step is *expected* to take.
//!
//! Of a reply the intended time follows from the message before it, and had to count from when that
//! message was expected, not from when it came: else a server that stalls would shift the replies,
//! and with them its own stall out of the figures. The median stands still while a few values run
//! away. Pure, without allocation per value; off by at most 1/64.

/// Sub-divisions of each power of two, as a power of two.
const FINE_BITS: u32 = 5;

/// Powers of two told apart: up to 2^40 us, twelve days.
const BITS_MAX: u32 = 40;

const BUCKETS: usize = ((BITS_MAX - FINE_BITS + 1) << FINE_BITS) as usize;

/// Values after which the older ones count half: the median follows a change of the server within
/// some thousand messages.
const VALUES_MAX: u32 = 8192;

/// The median is looked for after each of the first so many values, and then after as many.
const LOOK_AFTER: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Median {
    counts: Box<[u32; BUCKETS]>,
    total: u32,
    since_look: u32,
    median_us: u64,
}

impl Default for Median {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, since_look: 0, median_us: 0 }
    }
}

fn bucket(us: u64) -> usize {
    let us = us.min((1 << BITS_MAX) - 1);
    let power = (us | 1).ilog2().max(FINE_BITS) - FINE_BITS;
    ((power << FINE_BITS) + (us >> power) as u32) as usize
}

/// The middle of a bucket.
fn value(bucket: usize) -> u64 {
    let power = (bucket as u32 >> FINE_BITS).saturating_sub(1);
    let first = (bucket as u64 - (u64::from(power) << FINE_BITS)) << power;
    first + (1 << power) / 2
}

impl Median {
    /// Takes one value, microseconds.
    pub(super) fn note(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.since_look += 1;
        if self.total >= VALUES_MAX {
            self.total = 0;
            for count in self.counts.iter_mut() {
                *count /= 2;
                self.total += *count;
            }
        }
        if self.total < LOOK_AFTER || self.since_look >= LOOK_AFTER {
            self.since_look = 0;
            self.look();
        }
    }

    fn look(&mut self) {
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            if below * 2 > self.total {
                self.median_us = value(at);
                return;
            }
        }
    }

    /// The median, microseconds; 0 before the first value.
    pub(super) fn get(&self) -> u64 {
        self.median_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: u64, wanted: u64) -> bool {
        got.abs_diff(wanted) * 64 <= wanted
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        for us in (0..100_000).chain([1 << 30, (1 << 40) - 1]) {
            let middle = value(bucket(us));
            assert!(middle.abs_diff(us) * 64 <= us.max(64), "{us}: {middle}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn median_is_that_of_the_values_and_outliers_do_not_move_it() {
        let mut median = Median::default();
        assert_eq!(median.get(), 0);
        median.note(500);
        assert!(near(median.get(), 500), "{}", median.get());
        for step in 0..4000 {
            median.note(1000 + step % 200);
            median.note(if step % 10 == 0 { 1_000_000_000 } else { 900 + step % 200 });
        }
        // Half of all values are below 1058.
        assert!(near(median.get(), 1058), "{}", median.get());
    }

    #[test]
    fn median_follows_a_lasting_change() {
        let mut median = Median::default();
        for _ in 0..20_000 {
            median.note(300);
        }
        for _ in 0..20_000 {
            median.note(7000);
        }
        assert!(near(median.get(), 7000), "{}", median.get());
    }
}
