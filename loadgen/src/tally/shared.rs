//! What a worker makes visible to the coordinator: counters at any time, intervals once a second.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Counters, Latency, Published, Stages, Tally};

/// Intervals of one worker that wait for the coordinator. A minute is far more than it ever
/// sleeps; then the worker goes on with the interval it has.
pub const INTERVALS_WAITING_MAX: usize = 64;

/// Empty histograms kept for the worker: a second's.
const SPARE_MAX: usize = super::Stage::COUNT;

const US_PER_SECOND: u64 = 1_000_000;

/// What one worker recorded within a second.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Second of the monotonic clock.
    pub second: u64,
    /// Counters at its end, cumulative.
    pub counters: Counters,
    /// Latencies recorded in it.
    pub stages: Stages,
}

#[derive(Debug, Default)]
struct Exchange {
    full: Vec<Interval>,
    spare: Vec<Latency>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Shared {
    counters: Published,
    exchange: Mutex<Exchange>,
}

impl Shared {
    /// Makes the counters visible.
    pub fn publish(&self, counters: &Counters) {
        self.counters.store(counters);
    }

    /// Adds what was last made visible to `sum`.
    pub fn add_to(&self, sum: &mut Counters) {
        sum.add(&self.counters.load());
    }

    /// To be called by the worker as soon as it knows the time, before it records anything at
    /// that time: if a second is over, hands over what was recorded in it.
    pub fn hand_over_if_due(&self, tally: &mut Tally, monotonic_us: u64) {
        let second = monotonic_us / US_PER_SECOND;
        if second == tally.second {
            return;
        }
        if tally.second != 0 {
            self.hand_over(tally);
        }
        tally.second = second;
    }

    /// Hands over what was recorded since the last time, if the coordinator has taken the earlier
    /// ones; else it stays, and nothing is lost.
    pub fn hand_over(&self, tally: &mut Tally) {
        let mut exchange = self.exchange();
        if exchange.full.len() >= INTERVALS_WAITING_MAX {
            return;
        }
        exchange.full.push(Interval {
            second: tally.second,
            counters: tally.counters,
            stages: std::mem::take(&mut tally.stages),
        });
        tally.spare.append(&mut exchange.spare);
    }

    /// Takes what the worker has handed over.
    pub fn take(&self) -> Vec<Interval> {
        std::mem::take(&mut self.exchange().full)
    }

    /// Gives a histogram back to be used again.
    pub fn give_back(&self, mut latency: Latency) {
        latency.clear();
        let mut exchange = self.exchange();
        if exchange.spare.len() < SPARE_MAX {
            exchange.spare.push(latency);
        }
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        // Both sides only move whole values in and out.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Stage, *};

    #[test]
    fn second_is_handed_over_when_it_is_over_and_nothing_is_lost() {
        let shared = Shared::default();
        let mut tally = Tally::default();
        shared.hand_over_if_due(&mut tally, 5_000_000);
        tally.record(Stage::Deliver, 70);
        tally.counters.delivered = 1;
        shared.hand_over_if_due(&mut tally, 5_999_999);
        assert!(shared.take().is_empty());
        shared.hand_over_if_due(&mut tally, 8_100_000);
        tally.record(Stage::Deliver, 80);
        let taken = shared.take();
        assert_eq!((taken[0].second, taken[0].counters.delivered), (5, 1));
        assert_eq!(taken[0].stages[Stage::Deliver as usize].as_ref().unwrap().max(), 70);
        shared.hand_over(&mut tally);
        let rest = shared.take();
        assert_eq!(rest[0].second, 8);
        assert_eq!(rest[0].stages[Stage::Deliver as usize].as_ref().unwrap().max(), 80);
    }

    #[test]
    fn coordinator_that_does_not_come_loses_nothing() {
        let shared = Shared::default();
        let mut tally = Tally::default();
        for second in 1..200 {
            shared.hand_over_if_due(&mut tally, second * US_PER_SECOND);
            tally.record(Stage::Lag, second);
        }
        let mut count = 0;
        for _ in 0..2 {
            for interval in shared.take() {
                count += interval.stages[Stage::Lag as usize].as_ref().map_or(0, Latency::count);
            }
            shared.hand_over(&mut tally);
        }
        assert_eq!(count + tally.count(Stage::Lag), 199);
    }

    #[test]
    fn histogram_given_back_is_used_again_and_empty() {
        let shared = Shared::default();
        let mut tally = Tally::default();
        let mut used = Latency::default();
        used.record(1);
        shared.give_back(used);
        shared.hand_over(&mut tally);
        assert_eq!(tally.spare.len(), 1);
        tally.record(Stage::Lag, 3);
        assert!(tally.spare.is_empty());
        assert_eq!(tally.count(Stage::Lag), 1);
    }
}
