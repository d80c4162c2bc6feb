//! Bounds of the shell around a shard host.

/// Bytes of link frames after which a host ends a run: a record is at most a few times its frame,
/// and a run at most a megabyte.
pub const UPLINK_SLICE_BYTES: usize = 128 * 1024;
/// Runs that wait for a lane before senders are refused.
pub const LANE_RUNS_WAITING_MAX: usize = 256;
/// Reads of records a host has in flight; more wait their turn.
pub const READS_IN_FLIGHT_MAX: usize = 256;
/// Segment files a host keeps open for reading.
pub const SEGMENTS_OPEN_MAX: usize = 64;
/// Batches a host keeps for reuse.
pub const SPARE_BATCHES_MAX: usize = 64;
/// A batch that grew beyond this is not kept.
pub const SPARE_BATCH_BYTES_MAX: usize = 256 * 1024;
/// When a sender refused for want of storage should send again, milliseconds.
pub const STORAGE_RETRY_MS: u32 = 1_000;
/// Bytes of records after which a host makes a checkpoint: some seconds of the busiest host, and
/// less than a second of replay.
pub const CHECKPOINT_BYTES: u64 = 512 * 1024 * 1024;
/// Answers a dedup window remembers: at least the requests a client may have unanswered.
pub const ANSWERS_MAX: usize = 128;
/// Least time from the start of one lane write to the start of the next, unless bytes enough wait,
/// microseconds. A write costs about as much CPU as ten messages.
pub const LANE_PACE_US: u64 = 150;
