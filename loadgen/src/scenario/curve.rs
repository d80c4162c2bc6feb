//! Messages per second over time: constant, steps, ramps, or a day from a CSV file.
//!
//! A curve is a chain of segments along which the rate changes evenly; after the last one it stays
//! as it ended. Its integral (messages intended until a time, [`Integral::until`]) and the inverse
//! of that ([`Integral::time_of`]) are exact, so that the schedule needs no step of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Curve {
    /// Always this rate.
    Constant(f64),
    /// One segment after the other.
    Segments(Vec<Segment>),
}

/// The rate goes evenly from one value to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// So long.
    #[serde(rename = "for", with = "time")]
    pub lasts: Duration,
    /// Messages per second at its start.
    pub from: f64,
    /// Messages per second at its end.
    pub to: f64,
}

impl Curve {
    /// Messages per second at a time after the start.
    pub fn rate_at(&self, time: Duration) -> f64 {
        let segments = match self {
            Self::Constant(rate) => return *rate,
            Self::Segments(segments) => segments,
        };
        let mut rest = time.as_secs_f64();
        for segment in segments {
            let lasts = segment.lasts.as_secs_f64();
            if rest < lasts {
                return segment.from + (segment.to - segment.from) * rest / lasts;
            }
            rest -= lasts;
        }
        segments.last().map_or(0.0, |last| last.to)
    }

    /// Highest rate.
    pub fn peak(&self) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Segments(segments) => {
                segments.iter().fold(0.0, |peak, one| one.from.max(one.to).max(peak))
            }
        }
    }

    /// The same shape with every rate multiplied.
    pub fn scaled(&self, factor: f64) -> Self {
        match self {
            Self::Constant(rate) => Self::Constant(rate * factor),
            Self::Segments(segments) => Self::Segments(
                segments
                    .iter()
                    .map(|one| Segment { from: one.from * factor, to: one.to * factor, ..*one })
                    .collect(),
            ),
        }
    }

    /// Length of all segments; none for a constant rate.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Self::Constant(_) => None,
            Self::Segments(segments) => Some(segments.iter().map(|one| one.lasts).sum()),
        }
    }
}

/// Messages intended until a time, and the other way round.
#[derive(Clone, Debug)]
pub struct Integral {
    pieces: Vec<Piece>,
}

/// A segment with what came before it. The last one has no end.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Seconds after the start.
    begins_s: f64,
    /// Messages before it.
    before: f64,
    /// Messages per second at its start.
    from: f64,
    /// Messages per second, more each second.
    slope: f64,
}

impl Piece {
    fn until(&self, seconds: f64) -> f64 {
        let within = seconds - self.begins_s;
        self.before + within * (self.from + self.slope * within / 2.0)
    }

    /// Seconds after the start at which `messages` have been intended, which is not before it.
    fn time_of(&self, messages: f64) -> f64 {
        let within = messages - self.before;
        // Of the two forms of the solution the one without a difference of near numbers.
        let root = (self.from * self.from + 2.0 * self.slope * within).max(0.0).sqrt();
        let divisor = self.from + root;
        // No messages wanted, and none sent: the time is the beginning.
        if divisor == 0.0 { self.begins_s } else { self.begins_s + 2.0 * within / divisor }
    }
}

impl From<&Curve> for Integral {
    fn from(curve: &Curve) -> Self {
        let segments = match curve {
            Curve::Constant(rate) => {
                let only = Piece { begins_s: 0.0, before: 0.0, from: *rate, slope: 0.0 };
                return Self { pieces: vec![only] };
            }
            Curve::Segments(segments) => segments,
        };
        let mut pieces = Vec::with_capacity(segments.len() + 1);
        let (mut begins_s, mut before, mut rate) = (0.0, 0.0, 0.0);
        for segment in segments {
            let lasts_s = segment.lasts.as_secs_f64();
            rate = segment.to;
            if lasts_s == 0.0 {
                continue;
            }
            let slope = (segment.to - segment.from) / lasts_s;
            pieces.push(Piece { begins_s, before, from: segment.from, slope });
            begins_s += lasts_s;
            before += lasts_s * (segment.from + segment.to) / 2.0;
        }
        pieces.push(Piece { begins_s, before, from: rate, slope: 0.0 });
        Self { pieces }
    }
}

impl Integral {
    /// Messages intended until so many seconds after the start.
    pub fn until(&self, seconds: f64) -> f64 {
        let next = self.pieces.partition_point(|piece| piece.begins_s <= seconds);
        self.pieces[next.max(1) - 1].until(seconds)
    }

    /// Seconds after the start until so many messages have been intended; infinite if there will
    /// never be so many.
    pub fn time_of(&self, messages: f64) -> f64 {
        let next = self.pieces.partition_point(|piece| piece.before <= messages);
        let index = next.max(1) - 1;
        let piece = &self.pieces[index];
        if index + 1 == self.pieces.len() && piece.from == 0.0 {
            return f64::INFINITY;
        }
        let seconds = piece.time_of(messages);
        // Rounding must not carry it past where the next segment begins.
        self.pieces.get(index + 1).map_or(seconds, |next| seconds.min(next.begins_s))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(seconds: f64, from: f64, to: f64) -> Segment {
        Segment { lasts: Duration::from_secs_f64(seconds), from, to }
    }

    #[test]
    fn rate_follows_steps_and_ramps_and_stays_at_the_end() {
        let curve = Curve::Segments(vec![segment(10.0, 5.0, 5.0), segment(10.0, 5.0, 105.0)]);
        for (at, rate) in [(0, 5.0), (9, 5.0), (15, 55.0), (20, 105.0), (99, 105.0)] {
            assert_eq!(curve.rate_at(Duration::from_secs(at)), rate, "at {at} s");
        }
        assert_eq!((curve.peak(), curve.length()), (105.0, Some(Duration::from_secs(20))));
        assert_eq!(curve.scaled(2.0).rate_at(Duration::from_secs(15)), 110.0);
        let integral = Integral::from(&curve);
        assert_eq!(integral.until(10.0), 50.0);
        assert_eq!(integral.until(20.0), 600.0);
        assert_eq!(integral.until(21.0), 705.0);
    }

    #[test]
    fn nothing_is_due_where_the_rate_is_nought() {
        let pause = Curve::Segments(vec![
            segment(1.0, 10.0, 10.0),
            segment(5.0, 0.0, 0.0),
            segment(1.0, 10.0, 10.0),
            segment(0.0, 0.0, 0.0),
        ]);
        let integral = Integral::from(&pause);
        assert!((integral.time_of(9.5) - 0.95).abs() < 1e-9);
        assert!((integral.time_of(10.5) - 6.05).abs() < 1e-9);
        assert_eq!(integral.time_of(20.5), f64::INFINITY);
        assert_eq!(Integral::from(&Curve::Constant(0.0)).time_of(0.5), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn inverse_gives_the_time_back(
            parts in prop::collection::vec((0.1f64..100.0, 0.0f64..1e4, 0.0f64..1e4), 1..20),
            place in 0.0f64..1.0,
        ) {
            let parts: Vec<_> =
                parts.into_iter().map(|(lasts, from, to)| segment(lasts, from, to)).collect();
            let curve = Curve::Segments(parts);
            let integral = Integral::from(&curve);
            let length = curve.length().unwrap().as_secs_f64();
            let messages = integral.until(length) * place;
            let seconds = integral.time_of(messages);
            prop_assert!((0.0..=length + 1e-6).contains(&seconds), "{seconds} of {length}");
            let again = integral.until(seconds);
            prop_assert!((again - messages).abs() <= 1e-6 * messages.max(1.0), "{again} {messages}");
        }
    }
}
