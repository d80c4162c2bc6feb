//! What a lane and its shell say to each other.

use std::ops::Range;

use crate::store::log::{Location, batch::BLOCK_BYTES, segment::SEGMENT_BYTES};

const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES as u64));

/// Beyond 64 KiB a write gains little per byte.
pub const GATHER_BYTES: usize = 64 << 10;
/// A sender alone waits at most this long before its write starts; it is of the order of the
/// write itself.
pub const GATHER_US: u64 = 500;
/// Some 10 ms of a fast disk, 100 ms of a slow one: beyond, it is the senders who must wait.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanePolicy {
    /// When it completes: the file is open with `O_DIRECT|O_DSYNC`.
    DirectDurable,
    /// When a sync asked for after it completes.
    WriteThenSync,
}

/// How a lane gathers and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// What makes a write durable.
    pub policy: LanePolicy,
    /// Length of the segments asked for, bytes, a multiple of [`BLOCK_BYTES`].
    pub segment_bytes: u64,
    /// A write starts when so many bytes wait.
    pub gather_bytes: usize,
    /// A write starts when the oldest run waits so long, microseconds.
    pub gather_us: u64,
    /// Bound on the bytes that wait or are in flight; above it
    /// [`append`](super::LaneWriter::append) refuses.
    pub waiting_bytes_max: usize,
    /// The directory's, see [`crate::store::log::batch`].
    pub salt: u64,
}

impl LaneSettings {
    /// What a process uses unless told otherwise.
    #[must_use]
    pub fn new(policy: LanePolicy, salt: u64) -> Self {
        Self {
            policy,
            segment_bytes: SEGMENT_BYTES,
            gather_bytes: GATHER_BYTES,
            gather_us: GATHER_US,
            waiting_bytes_max: WAITING_BYTES_MAX,
            salt,
        }
    }
}

/// What the shell must do.
#[derive(Debug, PartialEq, Eq)]
pub enum LaneAction {
    /// Write `bytes[range]` at `offset` of the segment, then call
    /// [`on_written`](super::LaneWriter::on_written). Offset and length are multiples of
    /// [`BLOCK_BYTES`], and so is the address of the range.
    Write {
        /// Segment number.
        segment: u32,
        /// Offset in its file.
        offset: u64,
        /// The buffer, to be given back whatever happens.
        bytes: Vec<u8>,
        /// The part to write.
        range: Range<usize>,
    },
    /// Sync the segment's file, then call [`super::LaneWriter::on_synced`].
    Sync {
        /// Segment number.
        segment: u32,
    },
    /// Make the segment's file, recycled or filled, of [`LaneSettings::segment_bytes`], durable
    /// with its directory, replacing one that stands there; then call
    /// [`super::LaneWriter::on_segment_ready`].
    PrepareSegment {
        /// Segment number.
        segment: u32,
    },
}

/// What a lane has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Batches that became durable.
    pub batches: u64,
    /// Runs in them.
    pub runs: u64,
    /// Bytes in them, header and padding included.
    pub bytes: u64,
    /// Time from the start of each of those batches' writes until it was durable, summed, µs.
    pub durable_us: u64,
    /// The longest of those times, µs.
    pub durable_us_max: u64,
}

/// A run that survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Who appended it.
    pub host: u16,
    /// The number that host gave it.
    pub run: u64,
    /// Place of its first record.
    pub base: Location,
}

/// Why a run was not taken. Nothing of it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many bytes wait; try again after the next durable run.
    Full,
    /// The next segment cannot be made (errno, often `ENOSPC`); asked for again every second.
    NoSegment(i32),
    /// The lane has failed (errno) and must be reopened by recovery.
    Failed(i32),
}
