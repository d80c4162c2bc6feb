//! When each message is meant to leave, and from whom to whom: fixed by the seed before the run.
//!
//! Open loop: nothing the server does moves an intended time. A generator that is late sends late
//! and the lateness counts into the latency, so a stalled server cannot hide its stall by slowing
//! its clients down (coordinated omission).

use std::ops::Range;

use crate::identity::mix;

/// How intended times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// As independent events: exponential distances.
    Poisson,
}

/// People write to those they know; and the oracle's memory grows with the conversations, not with
/// the messages.
const CONTACTS: u32 = 8;

/// To whom a user writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Recipients {
    /// Users 0 and 1, 2 and 3, and so on write to each other.
    Pair,
    /// Each message goes to a random one of the sender's eight contacts, who are random users.
    Random,
}

/// A message that is meant to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Microseconds after the start.
    pub at_us: u64,
    /// Index of the sender.
    pub sender: u32,
    /// Index of the recipient.
    pub recipient: u32,
}

/// One worker's share of the schedule, in order of time.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    random: Random,
    arrivals: Arrivals,
    recipients: Recipients,
    interval_ns: f64,
    next_ns: f64,
    duration_us: u64,
    senders: Range<u32>,
    users: u32,
}

impl Schedule {
    /// The share of the users `senders`, who together send `rate` messages a second for
    /// `duration_us`; `users` in all can be recipients.
    pub fn new(
        seed: u64,
        (arrivals, recipients): (Arrivals, Recipients),
        rate: f64,
        duration_us: u64,
        senders: Range<u32>,
        users: u32,
    ) -> Self {
        let mut random = Random(mix(seed ^ mix(u64::from(senders.start))));
        let interval_ns = 1e9 / rate;
        // Workers must not all send at the same instants.
        let next_ns = interval_ns * random.fraction();
        Self {
            seed,
            random,
            arrivals,
            recipients,
            interval_ns,
            next_ns,
            duration_us,
            senders,
            users,
        }
    }
}

impl Schedule {
    /// A random contact of this user; the contacts follow from the seed and the user alone.
    fn contact(&mut self, sender: u32) -> u32 {
        let which = self.random.below(CONTACTS);
        let mut of_sender = Random(mix(self.seed ^ u64::from(sender) << 8 ^ u64::from(which)));
        let distance = 1 + of_sender.below(self.users - 1);
        ((u64::from(sender) + u64::from(distance)) % u64::from(self.users)) as u32
    }
}

impl Iterator for Schedule {
    type Item = Intent;

    fn next(&mut self) -> Option<Intent> {
        let at_us = (self.next_ns / 1e3) as u64;
        if at_us >= self.duration_us || self.senders.is_empty() {
            return None;
        }
        self.next_ns += match self.arrivals {
            Arrivals::Constant => self.interval_ns,
            // 1 - fraction is above 0, so the logarithm is finite.
            Arrivals::Poisson => -self.interval_ns * (1.0 - self.random.fraction()).ln(),
        };
        let sender = self.senders.start + self.random.below(self.senders.len() as u32);
        let recipient = match self.recipients {
            Recipients::Pair => sender ^ 1,
            Recipients::Random => self.contact(sender),
        };
        Some(Intent { at_us, sender, recipient })
    }
}

/// A small seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// From 0 up to, not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64, arrivals: Arrivals, recipients: Recipients) -> Schedule {
        Schedule::new(seed, (arrivals, recipients), 1000.0, 10_000_000, 10..20, 100)
    }

    #[test]
    fn same_seed_gives_the_same_intents_and_another_seed_others() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let of = |seed| schedule(seed, arrivals, Recipients::Random).collect::<Vec<_>>();
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }

    #[test]
    fn rate_and_order_of_time_are_kept() {
        let constant: Vec<_> = schedule(3, Arrivals::Constant, Recipients::Pair).collect();
        assert_eq!(constant.len(), 10_000);
        assert!(constant.windows(2).all(|w| (999..=1001).contains(&(w[1].at_us - w[0].at_us))));
        let poisson: Vec<_> = schedule(3, Arrivals::Poisson, Recipients::Pair).collect();
        assert!((9_500..10_500).contains(&poisson.len()), "{}", poisson.len());
        assert!(poisson.is_sorted_by_key(|intent| intent.at_us));
        let short = poisson.windows(2).filter(|w| w[1].at_us - w[0].at_us < 100).count();
        assert!(short > 500, "exponential distances are often short: {short}");
    }

    #[test]
    fn pairs_write_to_each_other_and_nobody_to_himself() {
        for intent in schedule(4, Arrivals::Constant, Recipients::Pair) {
            assert_eq!(intent.recipient, intent.sender ^ 1);
        }
        let mut contacts = std::collections::HashSet::new();
        for intent in schedule(4, Arrivals::Constant, Recipients::Random) {
            assert!((10..20).contains(&intent.sender) && intent.recipient < 100);
            assert_ne!(intent.recipient, intent.sender);
            contacts.insert((intent.sender, intent.recipient));
        }
        assert!((60..=80).contains(&contacts.len()), "{}", contacts.len());
    }
}
