//! Quantiles of a latency as a report shows them.

use serde::{Deserialize, Serialize};

use crate::tally::Latency;

/// Quantiles of a latency, microseconds; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p999: u64,
    /// 9999 of 10,000 are below.
    pub p9999: u64,
    /// Highest.
    pub max: u64,
    /// Mean.
    pub mean: f64,
}

impl From<&Latency> for Quantiles {
    fn from(latency: &Latency) -> Self {
        Self {
            count: latency.count(),
            p50: latency.quantile(0.5),
            p90: latency.quantile(0.9),
            p99: latency.quantile(0.99),
            p999: latency.quantile(0.999),
            p9999: latency.quantile(0.9999),
            max: latency.max(),
            // Thousandths: more digits than the histogram has would only be noise in a file.
            mean: (latency.mean() * 1000.0).round() / 1000.0,
        }
    }
}
