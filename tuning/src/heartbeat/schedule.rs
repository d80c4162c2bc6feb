//! When a client beats next.

use super::{mars::Mars, probe::Probe};

/// Shortest and longest silence the adaptive schedules try, seconds.
pub const RANGE_S: (f64, f64) = (25.0, 3600.0);
/// Share of the longest silence known to be borne that is used.
pub const MARGIN: f64 = 0.8;

/// A schedule, as it is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Every so many seconds.
    Fixed(f64),
    /// WeChat's ([`Mars`]).
    Mars,
    /// Halving ([`Probe`]) on the live connection, then a margin below what was found.
    Bisection,
    /// What the fleet has learnt of this path: a margin below its time-out, as far as it was seen by
    /// others, within a quarter of the truth.
    Fleet,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Fixed(seconds) => format!("fixed {seconds:.0} s"),
            Self::Mars => "Mars".to_owned(),
            Self::Bisection => "bisection".to_owned(),
            Self::Fleet => "fleet".to_owned(),
        }
    }
}

/// A schedule at work on one network.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// See [`Kind::Fixed`] and [`Kind::Fleet`].
    Fixed(f64),
    /// See [`Kind::Mars`].
    Mars(Mars),
    /// See [`Kind::Bisection`].
    Bisection(Probe),
}

impl Schedule {
    /// A schedule of `kind`, new to a path that cuts after `cut_s`; `skew` is how far the fleet's
    /// knowledge is off, as a factor.
    #[must_use]
    pub fn new(kind: Kind, cut_s: f64, skew: f64) -> Self {
        match kind {
            Kind::Fixed(seconds) => Self::Fixed(seconds),
            Kind::Mars => Self::Mars(Mars::default()),
            Kind::Bisection => Self::Bisection(Probe::between(RANGE_S.0, RANGE_S.1)),
            Kind::Fleet => {
                Self::Fixed((MARGIN * cut_s * skew).clamp(RANGE_S.0, RANGE_S.1 * MARGIN))
            }
        }
    }

    /// Seconds of silence until the next beat.
    #[must_use]
    pub fn next_s(&self) -> f64 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Mars(mars) => f64::from(mars.next_s()),
            Self::Bisection(probe) => probe.next_s().unwrap_or(probe.borne_s() * MARGIN),
        }
    }

    /// The beat after such a silence was answered.
    pub fn on_success(&mut self, silence_s: f64, now_s: f64) {
        match self {
            Self::Fixed(_) => {}
            Self::Mars(mars) => mars.on_success(silence_s.round() as u32, now_s),
            Self::Bisection(probe) => probe.on_borne(silence_s),
        }
    }

    /// It was not.
    pub fn on_failure(&mut self, silence_s: f64, now_s: f64) {
        match self {
            Self::Fixed(_) => {}
            Self::Mars(mars) => mars.on_failure(silence_s.round() as u32, now_s),
            Self::Bisection(probe) => probe.on_cut(silence_s),
        }
    }

    /// The connection ended for another reason.
    pub fn on_disconnect(&mut self) {
        if let Self::Mars(mars) = self {
            mars.on_disconnect();
        }
    }
}
