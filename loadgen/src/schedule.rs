//! When each message is meant to leave, and from whom to whom: fixed by the seed before the run.
//!
//! Open loop: nothing the server does moves an intended time. A generator that is late sends late
//! and the lateness counts into the latency, so a stalled server cannot hide its stall by slowing
//! its clients down (coordinated omission).

use std::ops::Range;

use crate::{
    identity::mix,
    scenario::{Arrivals, Close, Curve, Recipients, Scenario},
};

/// People write to those they know; and the oracle's memory grows with the conversations, not with
/// the messages.
const CONTACTS: u32 = 8;

/// Something that is meant to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Microseconds after the start.
    pub at_us: u64,
    /// Index of the connection.
    pub connection: u32,
    /// What it does.
    pub act: Act,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends a message to a user.
    Send {
        /// Index of the user.
        to: u32,
    },
    /// Sends a message to a group.
    Publish {
        /// Number of the group.
        group: u32,
    },
    /// Its connection ends.
    Leave {
        /// How the socket is closed.
        close: Close,
        /// It connects again so long after it left, microseconds; none: [`Act::Return`] says when.
        back_after_us: Option<u64>,
        /// It comes back from another source address.
        elsewhere: bool,
        /// The old socket stays open and unread, so that the server does not learn of it.
        silently: bool,
    },
    /// One that left without a time to come back logs in.
    Return,
    /// It does not read for a time.
    Doze {
        /// Microseconds.
        for_us: u64,
    },
    /// It sends nothing any more and answers nothing, until the server closes.
    Hush,
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
    /// The share of the users `users`.
    pub fn new(scenario: &Scenario, seed: u64, users: Range<u32>) -> Self {
        let mut random = Random(mix(seed ^ mix(u64::from(users.start))));
        let rate = match scenario.load.curve {
            Curve::Constant(rate) => rate,
            Curve::Segments(_) => scenario.load.curve.peak(),
        };
        let share = users.len() as f64 / f64::from(scenario.users);
        let interval_ns = 1e9 / (rate * share);
        // Workers must not all send at the same instants.
        let next_ns = interval_ns * random.fraction();
        Self {
            seed,
            random,
            arrivals: scenario.load.arrivals,
            recipients: scenario.recipients,
            interval_ns,
            next_ns,
            duration_us: scenario.duration.as_micros() as u64,
            senders: users,
            users: scenario.users,
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
        Some(Intent { at_us, connection: sender, act: Act::Send { to: recipient } })
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
