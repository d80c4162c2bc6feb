//! The times of a stream of events: constant or Poisson, through any rate curve.
//!
//! Time is taken as the number of events the curve intends until then: in that measure the rate
//! is always 1, and the curve's inverse integral gives the real time. The measure is cut into
//! blocks of [`BLOCK`]. A constant stream has an event at each whole number plus a phase. A
//! Poisson stream has in each block a Poisson-distributed number of events at independent
//! uniform places, which is what a Poisson process is.
//!
//! Everything about block `b` follows from the seed and `b`. So each worker goes through all
//! events, keeps its own, and all workers together have exactly the events one worker would have,
//! however many they are. What is not kept costs two nanoseconds.

use std::collections::VecDeque;

use super::{Act, Intent, Random};
use crate::{
    identity::mix,
    scenario::{Arrivals, Curve, curve::Integral},
};

/// Events of a block on average. A Poisson block draws its number by a product of that many
/// random fractions, which must stay far above the smallest float (e^-64 is 1e-28).
const BLOCK: u64 = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    seed: u64,
    arrivals: Arrivals,
    integral: Integral,
    /// Seconds added to each time.
    offset_s: f64,
    /// Events before the end.
    total: f64,
    phase: f64,
    block: u64,
    /// Events in the blocks before.
    count: u64,
    ready: VecDeque<Intent>,
    places: Vec<(f64, Intent)>,
}

impl Moments {
    /// Events from `offset_s` to `until_s`, at the rates of the curve, which begins at `offset_s`.
    pub(super) fn new(
        seed: u64,
        arrivals: Arrivals,
        curve: &Curve,
        (offset_s, until_s): (f64, f64),
    ) -> Self {
        let integral = Integral::from(curve);
        Self {
            seed,
            arrivals,
            total: if until_s > offset_s { integral.until(until_s - offset_s) } else { 0.0 },
            integral,
            offset_s,
            phase: Random(mix(seed ^ 0x0070_6861_7365)).fraction(),
            block: 0,
            count: 0,
            ready: VecDeque::new(),
            places: Vec::new(),
        }
    }

    /// The next event that `keep` wants; it is asked about each, with its number and randomness of
    /// its own, and says which connection does what.
    pub(super) fn next(
        &mut self,
        mut keep: impl FnMut(u64, &mut Random) -> Option<(u32, Act)>,
    ) -> Option<Intent> {
        while self.ready.is_empty() && ((self.block * BLOCK) as f64) < self.total {
            self.fill(&mut keep);
        }
        self.ready.pop_front()
    }

    /// Goes through one block.
    fn fill(&mut self, keep: &mut impl FnMut(u64, &mut Random) -> Option<(u32, Act)>) {
        let block_seed = mix(self.seed ^ mix(self.block));
        let begin = (self.block * BLOCK) as f64;
        let events = match self.arrivals {
            Arrivals::Constant => BLOCK,
            Arrivals::Poisson => Random(block_seed).poisson(BLOCK as f64),
        };
        for event in 0..events {
            let mut random = Random(mix(block_seed.wrapping_add(event + 1)));
            let kept = keep(self.count + event, &mut random);
            let Some((connection, act)) = kept else { continue };
            let place = match self.arrivals {
                Arrivals::Constant => begin + event as f64 + self.phase,
                Arrivals::Poisson => begin + random.fraction() * BLOCK as f64,
            };
            if place < self.total {
                self.places.push((place, Intent { at_us: 0, connection, act }));
            }
        }
        self.places.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (place, intent) in self.places.drain(..) {
            let at_s = self.offset_s + self.integral.time_of(place);
            self.ready.push_back(Intent { at_us: (at_s * 1e6) as u64, ..intent });
        }
        self.block += 1;
        self.count += events;
    }
}
