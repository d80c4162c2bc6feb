//! What is done to connections besides sending: leaving, dozing, falling silent, coming back.
//!
//! Two shapes: a *wave* touches each marked connection once, at one instant or within a spread;
//! a *trickle* touches one after the other at a rate, in an order in which each comes up again only
//! after all others did.

use std::{collections::VecDeque, ops::Range, time::Duration};

use super::{Act, Intent, Random, moments::Moments};
use crate::{
    identity::mix,
    scenario::{Curve, Disturb, Kind, Scenario, is_marked},
};

/// A wave with a spread is put in order of time in so many slices, so that no look at the
/// connections takes long and no list holds all of them.
const SLICES: u64 = 64;

/// Waves of a run at most: one a second for a day.
pub const WAVES_MAX: u64 = 86_400;

/// All waves of one act over a worker's connections.
#[derive(Clone, Debug)]
pub(super) struct Waves {
    seed: u64,
    act: WaveAct,
    /// Indices of the worker's connections.
    connections: Range<u32>,
    /// Connections of one marked thing: the devices of a user, or 1.
    each: u32,
    share: f64,
    first_us: u64,
    every_us: u64,
    spread_us: u64,
    until_us: u64,
    /// Number of the wave that is under way.
    wave: u64,
    slice: u64,
    /// Next connection to be looked at; waves without a spread go straight through them.
    cursor: u32,
    ready: VecDeque<Intent>,
}

/// What a wave does.
#[derive(Clone, Copy, Debug)]
pub(super) enum WaveAct {
    /// The same for all.
    Same(Act),
    /// Leave, and come back after the first time and up to the second more.
    LeaveAndReturn { act: Act, after_us: u64, within_us: u64 },
}

impl WaveAct {
    /// Longest time from the act to the return that it brings with it.
    fn away_us(self) -> u64 {
        match self {
            Self::Same(_) => 0,
            Self::LeaveAndReturn { after_us, within_us, .. } => after_us + within_us,
        }
    }
}

impl Waves {
    fn new(
        scenario: &Scenario,
        seed: u64,
        connections: Range<u32>,
        act: WaveAct,
        (first, every, spread): (Duration, Duration, Duration),
    ) -> Self {
        let each = if scenario.kind == Kind::Offline { scenario.devices } else { 1 };
        let us = |time: Duration| time.as_micros() as u64;
        Self {
            seed,
            act,
            cursor: connections.start,
            connections,
            each,
            share: scenario.disturb.share,
            first_us: us(first),
            every_us: us(every),
            spread_us: us(spread),
            until_us: us(scenario.duration),
            wave: 0,
            slice: 0,
            ready: VecDeque::new(),
        }
    }

    pub(super) fn next(&mut self) -> Option<Intent> {
        loop {
            if let Some(intent) = self.ready.pop_front() {
                return Some(intent);
            }
            let begins_us = self.first_us + self.wave * self.every_us;
            // A wave whose last ones would come back after the end would end the run with
            // connections that are missing on purpose.
            let whole = begins_us + self.spread_us + self.act.away_us() <= self.until_us;
            if begins_us >= self.until_us || (self.wave > 0 && !whole) || self.wave >= WAVES_MAX {
                return None;
            }
            let straight = if self.spread_us == 0 {
                self.walk(begins_us)
            } else {
                self.sort_slice(begins_us);
                None
            };
            if straight.is_some() {
                return straight;
            }
        }
    }

    /// The next of a wave that happens at one instant; none: the wave is over.
    fn walk(&mut self, at_us: u64) -> Option<Intent> {
        while self.cursor < self.connections.end {
            let connection = self.cursor;
            self.cursor += 1;
            if is_marked(connection / self.each, self.share) {
                return Some(Intent { at_us, connection, act: self.act_of(connection) });
            }
        }
        self.end_wave();
        None
    }

    fn sort_slice(&mut self, begins_us: u64) {
        let bound = |slice: u64| u128::from(self.spread_us) * u128::from(slice);
        let of_slice = (bound(self.slice) / u128::from(SLICES)) as u64
            ..(bound(self.slice + 1) / u128::from(SLICES)) as u64;
        let mut found: Vec<Intent> = self
            .connections
            .clone()
            .filter(|connection| is_marked(connection / self.each, self.share))
            .filter_map(|connection| {
                let after_us = self.random_of(connection).below_u64(self.spread_us);
                of_slice.contains(&after_us).then(|| {
                    let act = self.act_of(connection);
                    Intent { at_us: begins_us + after_us, connection, act }
                })
            })
            .filter(|intent| intent.at_us < self.until_us)
            .collect();
        found.sort_by_key(|intent| (intent.at_us, intent.connection));
        self.ready.extend(found);
        self.slice += 1;
        if self.slice == SLICES {
            self.end_wave();
        }
    }

    fn end_wave(&mut self) {
        self.slice = 0;
        self.cursor = self.connections.start;
        self.wave = if self.every_us == 0 { WAVES_MAX } else { self.wave + 1 };
    }

    fn random_of(&self, connection: u32) -> Random {
        Random(mix(self.seed ^ mix(self.wave << 32 ^ u64::from(connection))))
    }

    fn act_of(&self, connection: u32) -> Act {
        match self.act {
            WaveAct::Same(act) => act,
            WaveAct::LeaveAndReturn { act, after_us, within_us } => {
                let later_us = match within_us {
                    0 => 0,
                    within_us => self.random_of(connection).below_u64(within_us),
                };
                coming_back(act, after_us + later_us)
            }
        }
    }
}

/// Leaves at a rate.
#[derive(Clone, Debug)]
pub(super) struct Trickle {
    moments: Moments,
    act: Act,
    after_us: u64,
    within_us: u64,
    connections: Range<u32>,
    order: Order,
}

impl Trickle {
    pub(super) fn next(&mut self) -> Option<Intent> {
        let Self { moments, act, after_us, within_us, connections, order } = self;
        moments.next(|number, random| {
            let connection = order.place(number)?;
            if !connections.contains(&connection) {
                return None;
            }
            let later_us = match *within_us {
                0 => 0,
                within_us => random.below_u64(within_us),
            };
            Some((connection, coming_back(*act, *after_us + later_us)))
        })
    }
}

/// In which order marked connections come up: with a stride that leaves none out.
#[derive(Clone, Copy, Debug)]
struct Order {
    marked: u32,
    stride: u32,
    share: f64,
}

impl Order {
    fn new(connections: u32, share: f64) -> Self {
        let marked = (f64::from(connections) * share + 1e-9).floor() as u32;
        // About the golden section: neighbours in time are far apart in the table.
        let begin = (f64::from(marked) * 0.618) as u32 + 1;
        let stride = (begin..).find(|stride| common_divisor(*stride, marked.max(1)) == 1);
        Self { marked, stride: stride.expect("a prime is found soon"), share }
    }

    /// The connection that comes up as this number.
    fn place(&self, number: u64) -> Option<u32> {
        let marked = u64::from(self.marked);
        let which = (number % marked.max(1)) * u64::from(self.stride) % marked.max(1);
        let guess = ((which as f64 + 1.0) / self.share).ceil() as u32;
        // The division may be off by one either way, for any share.
        let near = guess.saturating_sub(2)..=guess;
        let below = |count: u32| (f64::from(count) * self.share + 1e-9).floor() as u64;
        near.into_iter()
            .find(|index| is_marked(*index, self.share) && below(*index) == which)
            .filter(|_| self.marked > 0)
    }
}

fn common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

fn coming_back(act: Act, after_us: u64) -> Act {
    match act {
        Act::Leave { close, elsewhere, silently, .. } => {
            Act::Leave { close, back_after_us: Some(after_us), elsewhere, silently }
        }
        other => other,
    }
}

/// Everything that is done to a worker's connections besides sending.
#[derive(Clone, Debug)]
pub(super) enum Disturbance {
    None,
    Waves(Waves),
    /// Away from the start, and then the return.
    Away {
        leave: Waves,
        back: Waves,
    },
    Trickle(Trickle),
}

impl Disturbance {
    /// Of these connections; see [`Disturb`] for what each kind does.
    pub(super) fn new(scenario: &Scenario, seed: u64, connections: Range<u32>) -> Self {
        let seed = mix(seed ^ 0x6469_7374_7572_6221);
        let Disturb { share, at, every, lasts, spread, rate } = scenario.disturb;
        let us = |time: Duration| time.as_micros() as u64;
        let leave = Act::Leave {
            close: scenario.connect.close,
            back_after_us: None,
            elsewhere: scenario.kind == Kind::NetworkChange,
            silently: scenario.kind == Kind::NetworkChange,
        };
        let waves = |act, times| Waves::new(scenario, seed, connections.clone(), act, times);
        let (after_us, within_us) = (us(lasts), us(spread));
        match scenario.kind {
            Kind::Storm if at.is_zero() => Self::None,
            Kind::Storm => {
                let act = WaveAct::LeaveAndReturn { act: leave, after_us, within_us };
                Self::Waves(waves(act, (at, every, Duration::ZERO)))
            }
            Kind::Offline => {
                let none = Duration::ZERO;
                Self::Away {
                    leave: waves(WaveAct::Same(leave), (none, none, none)),
                    back: waves(WaveAct::Same(Act::Return), (at, none, spread)),
                }
            }
            Kind::Resume | Kind::NetworkChange => {
                let span = (at.as_secs_f64(), scenario.duration.as_secs_f64());
                let curve = Curve::Constant(rate);
                Self::Trickle(Trickle {
                    moments: Moments::new(seed, scenario.connect.arrivals, &curve, span),
                    act: leave,
                    after_us,
                    within_us,
                    connections,
                    order: Order::new(scenario.connections(), share),
                })
            }
            Kind::SlowReader => {
                let act = WaveAct::Same(Act::Doze { for_us: after_us });
                Self::Waves(waves(act, (at, every, spread)))
            }
            Kind::HalfOpen => {
                Self::Waves(waves(WaveAct::Same(Act::Hush), (at, Duration::ZERO, spread)))
            }
            Kind::Hold
            | Kind::Heartbeats
            | Kind::Chat
            | Kind::Replies
            | Kind::Fanout
            | Kind::Broadcast
            | Kind::Devices
            | Kind::Restart => Self::None,
        }
    }

    pub(super) fn next(&mut self) -> Option<Intent> {
        match self {
            Self::None => None,
            Self::Waves(waves) => waves.next(),
            Self::Away { leave, back } => leave.next().or_else(|| back.next()),
            Self::Trickle(trickle) => trickle.next(),
        }
    }
}
