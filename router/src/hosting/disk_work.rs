//! What blocks, done one job after the other: segments made, checkpoints written, what is too old
//! dropped, the log read back. No thread and no clock of its own, so that the simulator runs the
//! same work on a virtual disk.

use super::storage::{Done, HostsHere, Job, recover};
use crate::store::{
    Disk,
    log::{
        CheckpointWriter, Checkpoints,
        retention::{RetentionSettings, SegmentAge, ages, droppable, prepare},
        segment,
    },
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// What the work needs to know.
pub struct DiskWorkSettings<D> {
    /// The data directory.
    pub disk: D,
    /// Salt of the directory.
    pub salt: u64,
    /// Answers a dedup window remembers.
    pub answers_max: usize,
    /// Shard hosts of this process.
    pub hosts: HostsHere,
    /// Lanes.
    pub lanes: u16,
    /// Length of a segment, bytes.
    pub segment_bytes: u64,
    /// How long messages are kept.
    pub retention: RetentionSettings,
    /// Segment each lane is writing.
    pub segments: Arc<[AtomicU32]>,
}

/// See the module.
pub struct DiskWork<D> {
    settings: DiskWorkSettings<D>,
    writers: BTreeMap<u16, Result<CheckpointWriter, String>>,
    recovering: u16,
}

/// What was done, and for which host.
pub type Replies = Vec<(u16, Done)>;

impl<D: Disk> DiskWork<D> {
    /// Work that has not begun.
    pub fn new(settings: DiskWorkSettings<D>) -> Self {
        Self { settings, writers: BTreeMap::new(), recovering: 0 }
    }

    /// All hosts have stopped and wait for [`DiskWork::recover`]: the last one failed.
    pub fn is_recovery_due(&self) -> bool {
        usize::from(self.recovering) == self.settings.hosts.numbers().len()
    }

    /// Does a job of host `from`.
    pub fn work(&mut self, wall_ms: u64, from: u16, job: Job, replies: &mut Replies) {
        match job {
            Job::PrepareSegment { lane, segment } => {
                let result = self.prepare(wall_ms, lane, segment, replies);
                let result = result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
                replies.push((from, Done::Segment { lane, segment, result }));
            }
            Job::BeginCheckpoint { host, starts } => {
                let writer = self.begin_checkpoint(host, &starts);
                self.writers.insert(host, writer.map_err(|error| error.to_string()));
            }
            Job::CheckpointSection { host, shard, position, bytes } => {
                if let Some(writer) = self.writers.get_mut(&host)
                    && let Ok(open) = writer
                    && let Err(error) = open.section(shard, position, &bytes)
                {
                    *writer = Err(error.to_string());
                }
            }
            Job::CommitCheckpoint { host } => {
                let Some(writer) = self.writers.remove(&host) else { return };
                let result = writer.and_then(|writer| {
                    self.commit_checkpoint(wall_ms, writer).map_err(|error| error.to_string())
                });
                replies.push((from, Done::Checkpoint(result)));
                self.retain(wall_ms, replies);
            }
            Job::Recover => {
                self.recovering += 1;
                // All hosts stop before anything is read: the log is then at rest.
                if self.is_recovery_due() {
                    self.recover(replies);
                }
            }
        }
    }

    /// Reads everything back for all hosts. On failure it stays due: the disk may come back.
    pub fn recover(&mut self, replies: &mut Replies) {
        self.writers.clear();
        let DiskWorkSettings { disk, salt, answers_max, hosts, lanes, .. } = &self.settings;
        match recover(disk, *salt, *hosts, *lanes, *answers_max) {
            Ok(recovery) => {
                self.recovering = 0;
                for (host, rebuilt) in hosts.numbers().zip(recovery.hosts) {
                    replies.push((host, Done::Rebuilt(Box::new(rebuilt))));
                }
            }
            Err(error) => tracing::error!(%error, "recovery failed; trying again"),
        }
    }

    fn begin_checkpoint(&self, host: u16, starts: &[(u8, u32)]) -> io::Result<CheckpointWriter> {
        let disk = &self.settings.disk;
        let number = Checkpoints::load(disk)?.next_number(host as u8);
        CheckpointWriter::begin(disk, host as u8, number, starts)
    }

    fn commit_checkpoint(&self, wall_ms: u64, writer: CheckpointWriter) -> io::Result<()> {
        let disk = &self.settings.disk;
        writer.commit(disk, wall_ms)?;
        Checkpoints::load(disk)?.prune(disk)?;
        Ok(())
    }

    /// A segment for `lane`: one past its retention under another name, or a new one.
    fn prepare(
        &self,
        wall_ms: u64,
        lane: u8,
        number: u32,
        replies: &mut Replies,
    ) -> io::Result<()> {
        let spare = self.expired(wall_ms)?.first().copied();
        if let Some(spare) = &spare {
            self.announce_dropped(spare, replies);
        }
        let DiskWorkSettings { disk, segment_bytes, .. } = &self.settings;
        prepare(disk, lane, number, *segment_bytes, spare.as_ref())
    }

    fn expired(&self, wall_ms: u64) -> io::Result<Vec<SegmentAge>> {
        let settings = &self.settings;
        let starts = Checkpoints::load(&settings.disk)?.oldest_starts;
        let segments = settings.segments.iter().enumerate();
        let current: Vec<(u8, u32)> = segments
            .map(|(lane, segment)| (lane as u8, segment.load(Ordering::Acquire)))
            .filter(|(lane, _)| u16::from(*lane) < settings.lanes)
            .collect();
        let ages = ages(&settings.disk, settings.salt)?;
        Ok(droppable(&ages, &starts, &current, settings.retention, wall_ms))
    }

    /// Readers stop before the file goes.
    fn announce_dropped(&self, segment: &SegmentAge, replies: &mut Replies) {
        let (lane, below) = (segment.lane, segment.segment + 1);
        replies.extend(
            self.settings.hosts.numbers().map(|host| (host, Done::Dropped { lane, below })),
        );
    }

    /// Drops what is past its retention, but for one segment that waits to be recycled.
    pub fn retain(&mut self, wall_ms: u64, replies: &mut Replies) {
        let dropped = self.expired(wall_ms).and_then(|expired| {
            for segment in expired.iter().skip(1) {
                self.announce_dropped(segment, replies);
                self.settings.disk.remove(&segment::name(segment.lane, segment.segment))?;
            }
            Ok(())
        });
        if let Err(error) = dropped {
            tracing::warn!(%error, "retention could not be applied");
        }
    }
}
