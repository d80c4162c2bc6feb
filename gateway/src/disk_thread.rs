//! The thread that does what blocks: makes segments, writes checkpoints, drops what is too old,
//! recovers. One for the process; jobs of all hosts are done in the order in which they come.

use crate::storage::{Background, Done, Job, Rebuilt, recover};
use crossbeam::queue::SegQueue;
use hawser_ring::Waker;
use hawser_router::store::{
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
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

/// A failed recovery is tried again after this: the disk may come back.
const RECOVER_RETRY: Duration = Duration::from_secs(1);

/// Retention is looked at this often.
const RETENTION_PERIOD: Duration = Duration::from_secs(30);

/// Replies to one host. At most a few jobs per host are under way, so it needs no bound of its own.
#[derive(Default)]
pub struct Replies {
    done: SegQueue<Done>,
    waker: OnceLock<Arc<dyn Waker>>,
}

impl Replies {
    /// Whom to wake when something is done.
    pub fn set_waker(&self, waker: Arc<dyn Waker>) {
        self.waker.get_or_init(|| waker);
    }

    fn push(&self, done: Done) {
        self.done.push(done);
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// One host's end of the disk thread.
pub struct DiskJobs {
    host: u16,
    jobs: mpsc::Sender<(u16, Job)>,
    replies: Arc<Replies>,
}

impl Background for DiskJobs {
    fn submit(&mut self, job: Job) {
        // The thread ends only when all senders are gone.
        let _ = self.jobs.send((self.host, job));
    }

    fn poll(&mut self) -> Option<Done> {
        self.replies.done.pop()
    }
}

/// What the thread needs to know.
pub struct DiskThread {
    /// The data directory.
    pub disk: Box<dyn Disk + Send>,
    /// Salt of the directory.
    pub salt: u64,
    /// Answers a dedup window remembers.
    pub answers_max: usize,
    /// Shard hosts.
    pub hosts: u16,
    /// Lanes.
    pub lanes: u16,
    /// Length of a segment, bytes.
    pub segment_bytes: u64,
    /// How long messages are kept.
    pub retention: RetentionSettings,
    /// Segment each lane is writing.
    pub segments: Arc<[AtomicU32]>,
    /// Wall clock, milliseconds.
    pub wall_ms: fn() -> u64,
}

impl DiskThread {
    /// Starts the thread; gives each host its end.
    ///
    /// # Errors
    /// As `pthread_create`.
    pub fn start(self) -> io::Result<Vec<(DiskJobs, Arc<Replies>)>> {
        let (jobs, queue) = mpsc::channel();
        let replies: Vec<Arc<Replies>> = (0..self.hosts).map(|_| Arc::default()).collect();
        let ends = replies.iter().enumerate().map(|(host, replies)| {
            let jobs = DiskJobs { host: host as u16, jobs: jobs.clone(), replies: replies.clone() };
            (jobs, replies.clone())
        });
        let ends = ends.collect();
        // Files under construction never leave the thread, so they need not be sendable.
        let body = move || {
            Work { thread: self, replies, writers: BTreeMap::new(), recovering: 0 }.run(&queue);
        };
        std::thread::Builder::new().name("hawser-disk".into()).spawn(body)?;
        Ok(ends)
    }
}

struct Work {
    thread: DiskThread,
    replies: Vec<Arc<Replies>>,
    writers: BTreeMap<u16, Result<CheckpointWriter, String>>,
    recovering: u16,
}

impl Work {
    fn run(mut self, queue: &mpsc::Receiver<(u16, Job)>) {
        loop {
            match queue.recv_timeout(RETENTION_PERIOD) {
                Ok((host, job)) => self.work(host, job),
                Err(mpsc::RecvTimeoutError::Timeout) => self.retain(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reply(&self, host: u16, done: Done) {
        self.replies[usize::from(host)].push(done);
    }

    fn work(&mut self, from: u16, job: Job) {
        match job {
            Job::PrepareSegment { lane, segment } => {
                let result = self.prepare(lane, segment);
                let result = result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
                self.reply(from, Done::Segment { lane, segment, result });
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
                    self.commit_checkpoint(writer).map_err(|error| error.to_string())
                });
                self.reply(from, Done::Checkpoint(result));
                self.retain();
            }
            Job::Recover => {
                self.recovering += 1;
                // All hosts stop before anything is read: the log is then at rest.
                if self.recovering == self.thread.hosts {
                    self.recovering = 0;
                    self.writers.clear();
                    self.recover();
                }
            }
        }
    }

    fn recover(&self) {
        let rebuilt: Vec<Rebuilt> = loop {
            let thread = &self.thread;
            match recover(
                thread.disk.as_ref(),
                thread.salt,
                thread.hosts,
                thread.lanes,
                thread.answers_max,
            ) {
                Ok(recovery) => break recovery.hosts,
                Err(error) => {
                    tracing::error!(%error, "recovery failed; trying again");
                    std::thread::sleep(RECOVER_RETRY);
                }
            }
        };
        for (host, rebuilt) in rebuilt.into_iter().enumerate() {
            self.reply(host as u16, Done::Rebuilt(Box::new(rebuilt)));
        }
    }

    fn begin_checkpoint(&self, host: u16, starts: &[(u8, u32)]) -> io::Result<CheckpointWriter> {
        let disk = self.thread.disk.as_ref();
        let number = Checkpoints::load(disk)?.next_number(host as u8);
        CheckpointWriter::begin(disk, host as u8, number, starts)
    }

    fn commit_checkpoint(&self, writer: CheckpointWriter) -> io::Result<()> {
        let disk = self.thread.disk.as_ref();
        writer.commit(disk, (self.thread.wall_ms)())?;
        Checkpoints::load(disk)?.prune(disk)?;
        Ok(())
    }

    /// A segment for `lane`: one past its retention under another name, or a new one.
    fn prepare(&self, lane: u8, number: u32) -> io::Result<()> {
        let spare = self.expired()?.first().copied();
        if let Some(spare) = &spare {
            self.announce_dropped(spare);
        }
        let disk = self.thread.disk.as_ref();
        prepare(disk, lane, number, self.thread.segment_bytes, spare.as_ref())
    }

    fn expired(&self) -> io::Result<Vec<SegmentAge>> {
        let thread = &self.thread;
        let disk = thread.disk.as_ref();
        let starts = Checkpoints::load(disk)?.oldest_starts;
        let segments = thread.segments.iter().enumerate();
        let current: Vec<(u8, u32)> = segments
            .map(|(lane, segment)| (lane as u8, segment.load(Ordering::Acquire)))
            .filter(|(lane, _)| u16::from(*lane) < thread.lanes)
            .collect();
        let ages = ages(disk, thread.salt)?;
        Ok(droppable(&ages, &starts, &current, thread.retention, (thread.wall_ms)()))
    }

    /// Readers stop before the file goes.
    fn announce_dropped(&self, segment: &SegmentAge) {
        let (lane, below) = (segment.lane, segment.segment + 1);
        (0..self.thread.hosts).for_each(|host| self.reply(host, Done::Dropped { lane, below }));
    }

    /// Drops what is past its retention, but for one segment that waits to be recycled.
    fn retain(&self) {
        let dropped = self.expired().and_then(|expired| {
            for segment in expired.iter().skip(1) {
                self.announce_dropped(segment);
                self.thread.disk.remove(&segment::name(segment.lane, segment.segment))?;
            }
            Ok(expired.len())
        });
        if let Err(error) = dropped {
            tracing::warn!(%error, "retention could not be applied");
        }
    }
}
