//! What a worker counts, and how the coordinator reads it while the run goes on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;

/// Longest latency told apart, microseconds: ten minutes; beyond counts as that.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// A histogram of microseconds.
#[derive(Clone, Debug)]
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

    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Value below which this share of the latencies is, microseconds; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// Highest, microseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one worker, cumulative.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, readable from another thread.
        #[derive(Debug, Default)]
        pub struct Shared {
            $($name: AtomicU64,)*
        }

        impl Shared {
            /// Makes the counters visible.
            pub fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Relaxed);)*
            }

            /// Adds what was last made visible to `sum`.
            pub fn add_to(&self, sum: &mut Counters) {
                $(sum.$name += self.$name.load(Relaxed);)*
            }
        }
    };
}

counters! {
    /// Connections logged in now.
    online,
    /// Connections that were logged in at least once.
    logged_in,
    /// Messages the schedule intended so far.
    offered,
    /// Messages acknowledged.
    acknowledged,
    /// Messages delivered.
    delivered,
    /// Messages delivered whose intended time is in the measured window.
    delivered_measured,
    /// Messages intended and neither acknowledged nor refused.
    unanswered,
    /// Messages refused for good.
    refused,
    /// Messages sent that nobody acknowledges (QoS 0 of MQTT).
    forgotten,
    /// Messages not sent because a bound of the generator was reached.
    shed,
    /// Requests sent again.
    repeats,
    /// Mailbox entries that came again and were dropped by their number.
    entries_again,
    /// Pages of the mailbox read.
    pages,
    /// Heartbeats sent whose answer was or is due.
    heartbeats_expected,
    /// Heartbeats answered.
    heartbeats_answered,
    /// Connections made again after the first time.
    reconnects,
    /// Connections lost, refused or given up.
    failures,
    /// Last errno of a failed connect, 0 for none.
    last_errno,
    /// Last error code of the protocol that ended a connection, 0 for none.
    last_code,
    /// The schedule has come to its end.
    schedule_ended,
}

/// Everything one worker measured.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Counters.
    pub counters: Counters,
    /// Intended to delivered.
    pub delivery: Latency,
    /// Sent to delivered.
    pub delivery_from_sent: Latency,
    /// Intended to acknowledged.
    pub acknowledge: Latency,
    /// Intended to taken up by the generator.
    pub schedule_lag: Latency,
    /// Heartbeat to its answer.
    pub heartbeat: Latency,
}
