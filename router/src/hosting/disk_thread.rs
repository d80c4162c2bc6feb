//! The thread that does what blocks: makes segments, writes checkpoints, drops what is too old,
//! recovers. One for the process; jobs of all hosts are done in the order in which they come.

use super::{
    disk_work::{DiskWork, DiskWorkSettings},
    storage::{Background, Done, Job},
};
use crate::store::Disk;
use crossbeam::queue::SegQueue;
use std::{
    io,
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
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
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Replies {
    /// Whom to wake when something is done.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.get_or_init(|| Box::new(wake));
    }

    fn push(&self, done: Done) {
        self.done.push(done);
        if let Some(wake) = self.wake.get() {
            wake();
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

/// What a host gives jobs to, and where replies come from.
pub type DiskEnd = (DiskJobs, Arc<Replies>);

/// The thread and what it works on.
pub struct DiskThread<D> {
    /// What it works on.
    pub settings: DiskWorkSettings<D>,
    /// Wall clock, milliseconds.
    pub wall_ms: fn() -> u64,
}

impl<D: Disk + Send + 'static> DiskThread<D> {
    /// Starts the thread; gives each host its end. It ends when all of them are gone.
    ///
    /// # Errors
    /// As `pthread_create`.
    pub fn start(self) -> io::Result<(Vec<DiskEnd>, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel();
        let hosts = self.settings.hosts.numbers();
        let replies: Vec<Arc<Replies>> = hosts.clone().map(|_| Arc::default()).collect();
        let ends = hosts.zip(&replies).map(|(host, replies)| {
            let jobs = DiskJobs { host, jobs: jobs.clone(), replies: replies.clone() };
            (jobs, replies.clone())
        });
        let ends = ends.collect();
        // Files under construction never leave the thread, so they need not be sendable.
        let name = "hawser-disk".into();
        let thread = std::thread::Builder::new().name(name);
        let thread = thread.spawn(move || self.run(&queue, &replies))?;
        Ok((ends, thread))
    }

    fn run(self, queue: &mpsc::Receiver<(u16, Job)>, replies: &[Arc<Replies>]) {
        let wall_ms = self.wall_ms;
        let first = self.settings.hosts.numbers().start;
        let mut work = DiskWork::new(self.settings);
        let mut done = Vec::new();
        loop {
            let wait = if work.is_recovery_due() { RECOVER_RETRY } else { RETENTION_PERIOD };
            match queue.recv_timeout(wait) {
                Ok((host, job)) => work.work(wall_ms(), host, job, &mut done),
                Err(mpsc::RecvTimeoutError::Timeout) if work.is_recovery_due() => {
                    work.recover(&mut done);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => work.retain(wall_ms(), &mut done),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            for (host, done) in done.drain(..) {
                replies[usize::from(host - first)].push(done);
            }
        }
    }
}
