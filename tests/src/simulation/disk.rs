//! The store's blocking view of a virtual disk, and the thread beside the workers as a queue of
//! jobs that are done later.

use hawser_gateway::{
    disk_work::{DiskWork, DiskWorkSettings, Replies},
    storage::{Background, Done, Job},
};
use hawser_ring::{
    Waker,
    sim::{Random, SimDisk},
};
use hawser_router::store::{AtomicFile, Disk, DiskFile};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

/// A failed recovery is tried again after this, microseconds.
const RECOVER_RETRY_US: u64 = 1_000_000;

/// A directory of a virtual disk.
#[derive(Clone, Debug)]
pub struct Directory {
    disk: SimDisk,
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`.
    pub fn new(disk: SimDisk, path: &Path) -> Self {
        Self { disk, path: path.to_owned() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn copy_out(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.disk.read_at(&self.at(name), offset, into.len())?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<DiskFile>> {
        let names = self.disk.list(&self.path).into_iter();
        names.map(|name| Ok(DiskFile { bytes: self.disk.length(&self.at(&name))?, name })).collect()
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.copy_out(name, offset, into)
    }

    fn read_settled(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.settle(&self.at(name))?;
        self.copy_out(name, offset, into)
    }

    fn create_filled(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.disk.write_whole(&self.at(name), &vec![0; bytes as usize])
    }

    fn recycle(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.at(from), &self.at(to))
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut whole = self.disk.read_whole(&self.at(name))?;
        let end = offset as usize + bytes.len();
        whole.resize(whole.len().max(end), 0);
        whole[offset as usize..end].copy_from_slice(bytes);
        self.disk.write_whole(&self.at(name), &whole)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.settle(&self.at(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(&self.at(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AtomicFile>> {
        Ok(Box::new(Aside { disk: self.disk.clone(), path: self.at(name), bytes: Vec::new() }))
    }
}

/// A file that appears as a whole or not at all.
struct Aside {
    disk: SimDisk,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl AtomicFile for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        self.disk.write_whole(&self.path, &self.bytes)
    }
}

/// Changes a job on its way, for planted faults.
pub type Spoil = fn(&mut Job);

struct State {
    work: DiskWork<Directory>,
    random: Random,
    delay_us: (u64, u64),
    jobs: VecDeque<(u64, u16, Job)>,
    again_us: Option<u64>,
    done: Vec<VecDeque<Done>>,
    wakers: Vec<Option<Arc<dyn Waker>>>,
    spoil: Option<Spoil>,
}

/// The disk thread of a simulated process: jobs of all hosts, in the order in which they came,
/// each done some time after it was asked for.
#[derive(Clone)]
pub struct DiskQueue(Rc<RefCell<State>>);

/// One host's end of a [`DiskQueue`].
pub struct DiskEnd {
    queue: DiskQueue,
    host: u16,
    now_us: Rc<dyn Fn() -> u64>,
}

impl DiskQueue {
    /// A queue whose jobs take between both ends of `delay_us`.
    pub fn new(
        settings: DiskWorkSettings<Directory>,
        random: Random,
        delay_us: (u64, u64),
        spoil: Option<Spoil>,
    ) -> Self {
        let hosts = usize::from(settings.hosts.numbers().end);
        Self(Rc::new(RefCell::new(State {
            work: DiskWork::new(settings),
            random,
            delay_us,
            jobs: VecDeque::new(),
            again_us: None,
            done: (0..hosts).map(|_| VecDeque::new()).collect(),
            wakers: vec![None; hosts],
            spoil,
        })))
    }

    /// The end of `host`, whose worker is woken by `waker`.
    pub fn end(&self, host: u16, waker: Arc<dyn Waker>, now_us: Rc<dyn Fn() -> u64>) -> DiskEnd {
        self.0.borrow_mut().wakers[usize::from(host)] = Some(waker);
        DiskEnd { queue: self.clone(), host, now_us }
    }

    /// When [`DiskQueue::run`] has something to do, microseconds.
    pub fn next_us(&self) -> Option<u64> {
        let state = self.0.borrow();
        let job = state.jobs.front().map(|(due_us, ..)| *due_us);
        job.into_iter().chain(state.again_us).min()
    }

    /// Does what is due. True if something was done.
    pub fn run(&self, now_us: u64, wall_ms: u64) -> bool {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let mut replies = Replies::new();
        while let Some((_, host, job)) = state.jobs.pop_front_if(|(due_us, ..)| *due_us <= now_us) {
            state.work.work(wall_ms, host, job, &mut replies);
        }
        if state.again_us.is_some_and(|at| at <= now_us) {
            state.work.recover(&mut replies);
        }
        let is_due = state.work.is_recovery_due();
        state.again_us = match state.again_us {
            Some(at) if is_due && at > now_us => Some(at),
            _ if is_due => Some(now_us + RECOVER_RETRY_US),
            _ => None,
        };
        let did = !replies.is_empty();
        for (host, done) in replies {
            state.done[usize::from(host)].push_back(done);
            if let Some(waker) = &state.wakers[usize::from(host)] {
                waker.wake();
            }
        }
        did
    }
}

impl Background for DiskEnd {
    fn submit(&mut self, mut job: Job) {
        let mut state = self.queue.0.borrow_mut();
        if let Some(spoil) = state.spoil {
            spoil(&mut job);
        }
        let (low, high) = state.delay_us;
        let earliest = state.jobs.back().map_or(0, |(due_us, ..)| *due_us);
        let due_us = ((self.now_us)() + state.random.between(low, high)).max(earliest);
        state.jobs.push_back((due_us, self.host, job));
    }

    fn poll(&mut self) -> Option<Done> {
        self.queue.0.borrow_mut().done[usize::from(self.host)].pop_front()
    }
}
