//! What a shard host asks of the disk besides appends and reads of records: segments to be made,
//! checkpoints, retention, recovery. All of it blocks, so it runs beside the workers.

use crate::{
    Recovered, Recovery, RouterPlace,
    record::Framed,
    store::{
        Disk,
        log::{Checkpoints, LaneSettings, LaneTail, RecordView, Torn, segment},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

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
pub trait Background {
    /// Takes a job.
    fn submit(&mut self, job: Job);
    /// What has been done since, if anything. The worker is woken when there is.
    fn poll(&mut self) -> Option<Done>;
}

/// Which of a tier's hosts live in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostsHere {
    /// So many, and there are no others.
    All(u16),
    /// The one of this router.
    Router(RouterPlace),
}

impl HostsHere {
    /// Numbers of the hosts that are here.
    pub fn numbers(self) -> std::ops::Range<u16> {
        match self {
            Self::All(hosts) => 0..hosts,
            Self::Router(place) => place.index()..place.index() + 1,
        }
    }
}

impl From<u16> for HostsHere {
    fn from(hosts: u16) -> Self {
        Self::All(hosts)
    }
}

impl From<RouterPlace> for HostsHere {
    fn from(place: RouterPlace) -> Self {
        Self::Router(place)
    }
}

/// Where the segment files are and how they are written, the same for all hosts.
pub struct StorageSettings {
    /// The data directory.
    pub directory: std::path::PathBuf,
    /// When a write is durable, sizes, waits.
    pub lane: LaneSettings,
    /// Lanes written.
    pub lanes: u16,
    /// Bytes of records after which a host makes a checkpoint.
    pub checkpoint_bytes: u64,
    /// Segment each lane is writing, for the start of a replay.
    pub segments: Arc<[AtomicU32]>,
}

impl StorageSettings {
    /// Settings of a process that begins with `recovery`.
    pub fn new(
        directory: std::path::PathBuf,
        lane: LaneSettings,
        lanes: u16,
        checkpoint_bytes: u64,
        recovery: &WholeRecovery,
    ) -> Self {
        let highest_lane = recovery.lanes_found.max(u32::from(lanes)) as usize;
        let segments: Arc<[AtomicU32]> = (0..highest_lane).map(|_| AtomicU32::new(0)).collect();
        for (lane, segment) in &recovery.segments {
            segments[usize::from(*lane)].store(*segment, Ordering::Relaxed);
        }
        Self { directory, lane, lanes, checkpoint_bytes, segments }
    }
}

/// Why the log cannot be read back.
#[derive(Debug)]
pub struct RecoveryFailed(String);

impl std::fmt::Display for RecoveryFailed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// Everything a process begins with.
pub struct WholeRecovery {
    /// One per host of this process.
    pub hosts: Vec<Rebuilt>,
    /// Segment each lane goes on with.
    pub segments: Vec<(u8, u32)>,
    /// Lanes found in the directory, or one more than the highest number.
    pub lanes_found: u32,
    /// Records replayed.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Tails cut.
    pub torn: Vec<Torn>,
}

/// Reads checkpoints and log, and splits the outcome for the hosts of this process, which write
/// `lanes` lanes, no matter how many wrote it.
///
/// # Errors
/// Damage, with file and offset; a disk that cannot be read.
pub fn recover(
    disk: &dyn Disk,
    salt: u64,
    hosts: impl Into<HostsHere>,
    lanes: u16,
    answers_max: usize,
) -> Result<WholeRecovery, RecoveryFailed> {
    let failed = |error: &dyn std::fmt::Display| RecoveryFailed(error.to_string());
    let here = hosts.into();
    let mut recovery = match here {
        HostsHere::All(_) => Recovery::new(answers_max),
        HostsHere::Router(place) => Recovery::of_router(answers_max, place),
    };
    let mut refused = None;
    let checkpoints = Checkpoints::load(disk).map_err(|error| failed(&error))?;
    for section in &checkpoints.sections {
        let bytes = section.read(disk).map_err(|error| failed(&error))?;
        recovery.section(section.shard, &bytes).map_err(|error| failed(&error))?;
    }
    let starts = &checkpoints.starts;
    for (lane, files) in segment::list(disk).map_err(|error| failed(&error))? {
        if let Some(lowest) = files.first() {
            recovery.lane_begins(lane, lowest.segment);
        }
    }
    let read = crate::store::log::recover(disk, salt, starts, &mut |record, location| {
        if refused.is_none() {
            let RecordView { kind, shard, position, payload, .. } = record;
            let framed = Framed { kind, shard, position, payload };
            refused = recovery.apply(&framed, location).err();
        }
    })
    .map_err(|damage| failed(&damage))?;
    if let Some(error) = refused {
        return Err(failed(&error));
    }
    let mut lanes_open = (0..lanes).map(|lane| {
        let tail = read.tail(lane as u8).cloned();
        let epoch = read.lanes.iter().map(|tail| tail.epoch).max().unwrap_or(0) + 1;
        OpenedLane { lane: lane as u8, tail, epoch }
    });
    let states = match here {
        HostsHere::All(hosts) => recovery.finish(hosts),
        HostsHere::Router(_) => recovery.finish_router().map(|state| vec![state]),
    };
    let states = states.map_err(|error| failed(&error))?.into_iter();
    let hosts = states.map(|state| Rebuilt { state, lane: lanes_open.next() });
    Ok(WholeRecovery {
        hosts: hosts.collect(),
        segments: read.lanes.iter().map(|tail| (tail.lane, tail.segment)).collect(),
        lanes_found: read.lanes.iter().map(|tail| u32::from(tail.lane) + 1).max().unwrap_or(0),
        records: read.records,
        bytes: read.bytes,
        torn: read.torn,
    })
}
