//! Values of a scenario file with the range that is allowed, so that a wrong one is refused where
//! it stands.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::time;
use crate::arguments::RATE_ALLOWED;

/// A length of time: text with a unit, or a number of seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Time;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(time::ALLOWED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                time::parse(text).map(Time).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Time, E> {
                self.visit_str(&seconds.to_string())
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Time, E> {
                self.visit_str(&seconds.to_string())
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Share(pub(super) f64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err("allowed: a share from 0 to 1".to_owned())
        }
    }
}

/// Something per second, above 0.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Rate(pub(super) f64);

impl TryFrom<f64> for Rate {
    type Error = String;

    fn try_from(rate: f64) -> Result<Self, String> {
        match RATE_ALLOWED.contains(&rate) {
            true => Ok(Self(rate)),
            false => Err("allowed: a number per second from 0.001 to 100000000".to_owned()),
        }
    }
}

/// Something per second, or nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct RateOrNone(pub(super) f64);

impl TryFrom<f64> for RateOrNone {
    type Error = String;

    fn try_from(rate: f64) -> Result<Self, String> {
        match rate == 0.0 || RATE_ALLOWED.contains(&rate) {
            true => Ok(Self(rate)),
            false => Err("allowed: 0, or a number per second from 0.001 to 100000000".to_owned()),
        }
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Whole<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> TryFrom<i64> for Whole<LEAST, MOST> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let within = u32::try_from(number).ok().filter(|number| (LEAST..=MOST).contains(number));
        within.map(Self).ok_or_else(|| format!("allowed: a whole number from {LEAST} to {MOST}"))
    }
}
