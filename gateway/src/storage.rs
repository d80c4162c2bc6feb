//! What a shard host asks of the disk besides appends and reads of records: segments to be made,
//! checkpoints, retention, recovery. All of it blocks, so it runs beside the workers.

use hawser_router::{Recovered, store::log::LaneTail};
use std::sync::Arc;

/// Work that blocks.
pub enum Job {
    /// Make a segment's file, filled and durable.
    PrepareSegment {
        /// Lane.
        lane: u8,
        /// Number of the segment.
        segment: u32,
    },
    /// Begin a checkpoint of one host.
    BeginCheckpoint {
        /// Host.
        host: u16,
        /// For each lane, the segment in which a replay has to start.
        starts: Vec<(u8, u32)>,
    },
    /// One shard's state.
    CheckpointSection {
        /// Host.
        host: u16,
        /// Shard.
        shard: u8,
        /// Its position: records up to it are reflected.
        position: u64,
        /// The state.
        bytes: Vec<u8>,
    },
    /// All sections were given and everything they reflect is durable.
    CommitCheckpoint {
        /// Host.
        host: u16,
    },
    /// Read everything back: a lane has failed.
    Recover,
}

/// What a job came to.
pub enum Done {
    /// [`Job::PrepareSegment`]; errno on failure.
    Segment {
        /// Lane.
        lane: u8,
        /// Number of the segment.
        segment: u32,
        /// How it went.
        result: Result<(), i32>,
    },
    /// [`Job::CommitCheckpoint`].
    Checkpoint(Result<(), String>),
    /// Segments of this lane below this number are gone.
    Dropped {
        /// Lane.
        lane: u8,
        /// First segment still there.
        below: u32,
    },
    /// [`Job::Recover`]: this host's part.
    Rebuilt(Box<Rebuilt>),
}

/// What recovery gives one host.
pub struct Rebuilt {
    /// State of its shards.
    pub state: Recovered,
    /// The lane it owns, if it owns one, and the epoch to open it under.
    pub lane: Option<OpenedLane>,
}

/// A lane as recovery left it.
pub struct OpenedLane {
    /// Number.
    pub lane: u8,
    /// Where it ends, `None` for a new one.
    pub tail: Option<LaneTail>,
    /// Epoch of this opening.
    pub epoch: u64,
}

/// Does jobs of one host in order, somewhere else.
pub trait Background: Send {
    /// Takes a job.
    fn submit(&mut self, job: Job);
    /// What has been done since, if anything. The worker is woken when there is.
    fn poll(&mut self) -> Option<Done>;
}

/// Where the segment files are and how they are written, the same for all hosts.
pub struct StorageSettings {
    /// The data directory.
    pub directory: std::path::PathBuf,
    /// When a write is durable, sizes, waits.
    pub lane: hawser_router::store::log::LaneSettings,
    /// Lanes written.
    pub lanes: u16,
    /// Bytes of records after which a host makes a checkpoint.
    pub checkpoint_bytes: u64,
    /// Segment each lane is writing, for the start of a replay.
    pub segments: Arc<[std::sync::atomic::AtomicU32]>,
}
