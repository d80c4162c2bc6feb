//! Messages per second over time: constant, steps, ramps, or a day from a CSV file.
//!
//! A curve is a chain of segments along which the rate changes evenly; after the last one it stays
//! as it ended. Its integral (messages intended until a time) and the inverse of that are exact,
//! so that the schedule needs no step of its own.

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
