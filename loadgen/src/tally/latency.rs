//! A histogram of microseconds with the bounds all of them share, and its form in files.

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};

/// Longest latency told apart, microseconds: ten minutes; beyond counts as that.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// A histogram of microseconds: 1 to 600,000,000, three significant digits, 164 KiB.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS);
        Self(histogram.expect("bounds are constants within the library's range"))
    }
}

impl Latency {
    /// Records one latency.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Takes away what was added before.
    pub fn subtract(&mut self, other: &Self) {
        self.0.subtract(&other.0).expect("only what was added is taken away");
    }

    /// Forgets everything; the memory stays.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Value below which this share of the latencies is, microseconds; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// Highest, microseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// Mean, microseconds; 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The histogram itself.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// As HdrHistogram V2 with DEFLATE, in base64, which other HdrHistogram tools read too.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        written.expect("memory takes any number of bytes");
        STANDARD.encode(bytes)
    }

    /// Reads what [`Latency::to_text`] wrote.
    ///
    /// # Errors
    /// One line that says what is wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("no base64: {error}"))?;
        let read = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice());
        let read = read.map_err(|error| format!("no HdrHistogram: {error}"))?;
        // Another tool's may have other bounds, and could not be added.
        let mut latency = Self::default();
        for step in read.iter_recorded() {
            latency
                .0
                .saturating_record_n(step.value_iterated_to(), step.count_since_last_iteration());
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_brings_back_every_count() {
        let mut latency = Latency::default();
        for us in [1, 7, 7, 1_234, 98_765, 600_000_000, 900_000_000] {
            latency.record(us);
        }
        let text = latency.to_text();
        assert!(text.starts_with("HISTFAAA"), "{text}");
        let back = Latency::from_text(&text).unwrap();
        assert_eq!(back.count(), 7);
        for share in [0.1, 0.5, 0.9, 1.0] {
            assert_eq!(back.quantile(share), latency.quantile(share));
        }
        assert!(Latency::from_text("HISTFAAA").is_err());
        assert!(Latency::from_text("?").is_err());
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let (mut sum, mut one) = (Latency::default(), Latency::default());
        sum.record(10);
        one.record(5_000);
        sum.add(&one);
        assert_eq!((sum.count(), sum.max() / 100), (2, 50));
        sum.subtract(&one);
        assert_eq!((sum.count(), sum.max()), (1, 10));
    }
}
