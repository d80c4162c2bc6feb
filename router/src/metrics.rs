//! What a shard host counts, in atomics that a thread of its own reads, and the page they make.
//!
//! Each struct has one writer, its thread; a count is a relaxed load and store, never a locked
//! instruction. A reader may see one number newer than another: nothing is derived from a pair.
//!
//! What it is not: a decision's input. Nothing reads a metric back.

pub mod page;
mod sessions;
mod topics;

pub use sessions::SessionMetrics;
pub use topics::TopicMetrics;

use crate::host::HostCounters;
use hawser_codec::code;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A count or a level with one writer.
#[derive(Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// A level falls by `n`.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// A level, or a count that is kept elsewhere.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Histogram with buckets up to 1, 2, 4, … 2^(N-1), and one above.
#[derive(Debug)]
pub struct Log2Histogram<const N: usize> {
    buckets: [Cell; N],
    above: Cell,
    sum: Cell,
}

impl<const N: usize> Default for Log2Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [(); N].map(|()| Cell::default()),
            above: Cell::default(),
            sum: Cell::default(),
        }
    }
}

impl<const N: usize> Log2Histogram<N> {
    /// Counts one value.
    pub fn record(&self, value: u64) {
        // Smallest k with value <= 2^k.
        let k = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets.get(k).unwrap_or(&self.above).add(1);
        self.sum.add(value);
    }

    /// Counts of the buckets, the one above last.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().chain([&self.above]).map(Cell::get)
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// Codes a request is refused with, and a place for all others at the end.
pub const REFUSAL_CODES: [u16; 11] = [
    code::NUMBER_REUSED,
    code::SUPERSEDED,
    code::TOO_OLD,
    code::BAD_REQUEST,
    code::OUT_OF_ORDER,
    code::BAD_NUMBER,
    code::STORAGE_UNAVAILABLE,
    code::OVERLOADED,
    code::TRY_AGAIN,
    code::RECOVERING,
    code::RATE_LIMITED,
];

/// Refusals by code.
#[derive(Debug, Default)]
pub struct Refusals([Cell; REFUSAL_CODES.len() + 1]);

impl Refusals {
    /// The cell of one code.
    #[must_use]
    pub fn at(&self, code: u16) -> &Cell {
        let other = REFUSAL_CODES.len();
        &self.0[REFUSAL_CODES.iter().position(|known| *known == code).unwrap_or(other)]
    }

    /// The cells in the order of [`REFUSAL_CODES`], the one of all other codes last.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.0.iter()
    }
}

/// Flushes up to 1 s, µs.
pub const FLUSH_BUCKETS: usize = 21;
/// Written batches up to 4 MiB, bytes.
pub const WRITE_BUCKETS: usize = 23;

/// What one shard host counts. Written by its worker alone.
#[derive(Debug, Default)]
pub struct HostMetrics {
    /// Messages made durable and acknowledged.
    pub accepted: Cell,
    /// Repeats answered from the dedup window.
    pub repeats: Cell,
    /// Requests refused, by code.
    pub refused: Refusals,
    /// Mailbox entries pushed to devices.
    pub delivered: Cell,
    /// Entries read by pages.
    pub read: Cell,
    /// Reads of the log.
    pub log_reads: Cell,
    /// Blocks of mailbox entries written.
    pub blocks: Cell,
    /// Entries that had left memory when they were wanted.
    pub recent_missed: Cell,
    /// Level: bytes of the entries written last in memory.
    pub recent_bytes: Cell,
    /// What it does for topics.
    pub topics: TopicMetrics,
    /// What it does for kept sessions.
    pub kept: SessionMetrics,
    /// Level: users with a record in memory.
    pub users: Cell,
    /// Level: devices on-line.
    pub sessions: Cell,
    /// Level: of these in cursor mode.
    pub sessions_cursor_mode: Cell,
    /// Level: bytes of messages and windows in memory.
    pub held_bytes: Cell,
    /// Level: bytes waiting to be written.
    pub lane_waiting_bytes: Cell,
    /// Level: bytes of log segments on disk.
    pub log_bytes: Cell,
    /// Writes or flushes that failed and stopped a lane.
    pub lane_failures: Cell,
    /// Checkpoints that count.
    pub checkpoints: Cell,
    /// Checkpoints that could not be written.
    pub checkpoint_failures: Cell,
    /// Batches between workers and hosts that did not parse: a fault of ours.
    pub link_damaged: Cell,
    /// Write and flush of a batch, µs.
    pub flush_us: Log2Histogram<FLUSH_BUCKETS>,
    /// Bytes of a batch.
    pub batch_bytes: Log2Histogram<WRITE_BUCKETS>,
}

impl HostMetrics {
    /// Copies the core's counters, once a turn.
    pub fn publish(&self, counters: &HostCounters) {
        self.accepted.set(counters.accepted);
        self.repeats.set(counters.repeats);
        self.delivered.set(counters.delivered);
        self.read.set(counters.pages);
        self.log_reads.set(counters.reads);
        self.blocks.set(counters.blocks);
        self.recent_missed.set(counters.recent_missed);
        self.recent_bytes.set(counters.recent_bytes);
        self.topics.publish(counters);
        self.kept.publish(counters);
        self.users.set(counters.users);
        self.sessions.set(counters.sessions);
        self.held_bytes.set(counters.window_bytes + counters.held_bytes);
        for code in REFUSAL_CODES {
            self.refused.at(code).set(counters.refused(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_that_names_its_upper_bound() {
        let histogram = Log2Histogram::<4>::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts().collect::<Vec<_>>(), [2, 1, 2, 2, 2]);
    }

    #[test]
    fn a_code_without_a_place_counts_as_other() {
        let refusals = Refusals::default();
        refusals.at(code::TOO_OLD).add(1);
        refusals.at(9999).add(2);
        assert_eq!((refusals.at(code::TOO_OLD).get(), refusals.at(1).get()), (1, 2));
    }
}
