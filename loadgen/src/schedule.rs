//! When each message is meant to leave, and from whom to whom; when connections are meant to leave,
//! to come back, to stop reading: all fixed by the scenario and the seed before the run.
//!
//! Open loop: nothing the server does moves an intended time. A generator that is late sends late
//! and the lateness counts into the latency, so a stalled server cannot hide its stall by slowing
//! its clients down (coordinated omission).
//!
//! Invariant: the intents of all workers together are the same however many workers there are.

mod disturbance;
mod moments;

use std::ops::Range;

pub use disturbance::WAVES_MAX;

use crate::{
    identity::mix,
    scenario::{Close, Groups, Kind, Protocol, Recipients, Scenario, is_marked},
};
use disturbance::Disturbance;
use moments::Moments;

/// People write to those they know; and the oracle's memory grows with the conversations, not with
/// the messages.
const CONTACTS: u32 = 8;

/// Draws for a sender who is not away or asleep, before the next one after the last drawn is taken.
const DRAWS_MAX: u32 = 64;

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

/// One worker's share of all intents, in order of time.
#[derive(Clone, Debug)]
pub struct Schedule {
    messages: Option<Box<Messages>>,
    disturbance: Box<Disturbance>,
    next_message: Option<Intent>,
    next_disturbance: Option<Intent>,
}

impl Schedule {
    /// The share of the users `users`.
    pub fn new(scenario: &Scenario, seed: u64, users: Range<u32>) -> Self {
        let devices = scenario.devices;
        let connections = users.start * devices..users.end * devices;
        let mut schedule = Self {
            messages: Messages::new(scenario, seed, connections.clone()).map(Box::new),
            disturbance: Box::new(Disturbance::new(scenario, seed, connections)),
            next_message: None,
            next_disturbance: None,
        };
        schedule.next_message = schedule.messages.as_mut().and_then(|messages| messages.next());
        schedule.next_disturbance = schedule.disturbance.next();
        schedule
    }
}

impl Iterator for Schedule {
    type Item = Intent;

    fn next(&mut self) -> Option<Intent> {
        let message_first = match (&self.next_message, &self.next_disturbance) {
            (Some(message), Some(other)) => message.at_us <= other.at_us,
            (message, _) => message.is_some(),
        };
        if message_first {
            let following = self.messages.as_mut().and_then(|messages| messages.next());
            std::mem::replace(&mut self.next_message, following)
        } else {
            let following = self.disturbance.next();
            std::mem::replace(&mut self.next_disturbance, following)
        }
    }
}

/// The messages of one worker's connections.
#[derive(Clone, Debug)]
struct Messages {
    moments: Moments,
    choice: Choice,
    /// The worker's.
    connections: Range<u32>,
}

impl Messages {
    /// None if the users send nothing by a schedule.
    fn new(scenario: &Scenario, seed: u64, connections: Range<u32>) -> Option<Self> {
        if !scenario.kind.sends() || scenario.load.in_flight.is_some() || connections.is_empty() {
            return None;
        }
        let span = (0.0, scenario.duration.as_secs_f64());
        Some(Self {
            moments: Moments::new(seed, scenario.load.arrivals, &scenario.load.curve, span),
            choice: Choice::new(scenario, seed),
            connections,
        })
    }

    fn next(&mut self) -> Option<Intent> {
        let Self { moments, choice, connections } = self;
        moments.next(|_, random| choice.draw(random, connections))
    }
}

/// Who writes to whom.
#[derive(Clone, Debug)]
struct Choice {
    seed: u64,
    users: u32,
    devices: u32,
    to: To,
    /// Share of those who never send: they are away or asleep. Of users, or of connections.
    silent: f64,
    silent_users: bool,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Neighbour,
    Contact,
    Self_,
    Group(Groups),
}

impl Choice {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let to = match scenario.recipients {
            // What a server sends back comes to its sender.
            _ if scenario.protocol == Protocol::Echo => To::Self_,
            _ if scenario.kind.publishes() => To::Group(scenario.groups),
            Recipients::Pair => To::Neighbour,
            Recipients::Random => To::Contact,
        };
        let silent = matches!(scenario.kind, Kind::Offline | Kind::SlowReader);
        Self {
            seed,
            users: scenario.users,
            devices: scenario.devices,
            to,
            silent: if silent { scenario.disturb.share } else { 0.0 },
            silent_users: scenario.kind == Kind::Offline,
        }
    }

    /// One message, if its sender is one of `own`.
    fn draw(&self, random: &mut Random, own: &Range<u32>) -> Option<(u32, Act)> {
        if let To::Group(groups) = self.to {
            let group = random.below(groups.count.max(1));
            let place = random.below(groups.size(self.users));
            let user = groups.member(group, place, self.users);
            let connection = user * self.devices + random.below(self.devices);
            return own.contains(&connection).then_some((connection, Act::Publish { group }));
        }
        let connection = self.sender(random);
        if !own.contains(&connection) {
            return None;
        }
        let user = connection / self.devices;
        let to = match self.to {
            To::Neighbour => user ^ 1,
            To::Contact => self.contact(user, random),
            To::Self_ | To::Group(_) => user,
        };
        Some((connection, Act::Send { to }))
    }

    fn sender(&self, random: &mut Random) -> u32 {
        let connections = self.users * self.devices;
        let mut connection = random.below(connections);
        if self.silent == 0.0 {
            return connection;
        }
        for _ in 0..DRAWS_MAX {
            if !self.is_silent(connection) {
                return connection;
            }
            connection = random.below(connections);
        }
        let onward = (0..connections).map(|step| {
            ((u64::from(connection) + u64::from(step)) % u64::from(connections)) as u32
        });
        onward.into_iter().find(|connection| !self.is_silent(*connection)).unwrap_or(connection)
    }

    fn is_silent(&self, connection: u32) -> bool {
        let each = if self.silent_users { self.devices } else { 1 };
        is_marked(connection / each, self.silent)
    }

    /// A random contact of this user; the contacts follow from the seed and the user alone.
    fn contact(&self, user: u32, random: &mut Random) -> u32 {
        let which = random.below(CONTACTS);
        let mut of_user = Random(mix(self.seed ^ u64::from(user) << 8 ^ u64::from(which)));
        let distance = 1 + of_user.below(self.users - 1);
        ((u64::from(user) + u64::from(distance)) % u64::from(self.users)) as u32
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

    /// Below `bound`, which is not 0.
    pub fn below_u64(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Poisson-distributed with this mean, which is at most 500.
    fn poisson(&mut self, mean: f64) -> u64 {
        let bound = (-mean).exp();
        let mut product = 1.0 - self.fraction();
        let mut count = 0;
        // Ends: each factor is below 1 but for one in 2^53; the bound on the count is beyond any
        // that could be drawn.
        while product > bound && count < 10_000 {
            product *= 1.0 - self.fraction();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests;
