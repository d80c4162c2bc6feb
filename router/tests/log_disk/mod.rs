//! What the log's tests share: a disk in memory that knows what a power cut may leave, and a shell
//! that carries out a lane's actions on it, one step at a time.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of it, in tests only"
)]

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use hawser_codec::time::Now;
use hawser_router::store::{
    AtomicFile, Disk, DiskFile,
    log::{
        Durable, LaneAction, LanePolicy, LaneSettings, LaneWriter, Location, Recovered, record,
        recover, segment,
    },
};

pub const SALT: u64 = 0x5a17_5a17_0102_0304;
pub const SEGMENT_BYTES: u64 = 1 << 20;
const SECTOR_BYTES: usize = 512;

/// Numbers that look random, the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Default)]
struct MemoryFile {
    /// What a reader sees.
    cache: Vec<u8>,
    /// What is on the medium for certain.
    medium: Vec<u8>,
    /// Writes that may or may not be on the medium.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<String, MemoryFile>>>,
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if into.len() < offset + bytes.len() {
        into.resize(offset + bytes.len(), 0);
    }
    into[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl MemoryDisk {
    fn file<T>(&self, name: &str, with: impl FnOnce(&mut MemoryFile) -> T) -> io::Result<T> {
        self.files.borrow_mut().get_mut(name).map(with).ok_or_else(|| not_found(name))
    }

    /// A write that has begun: no reader must see it, the medium may hold any part of it.
    pub fn begin_write(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.file(name, |file| file.pending.push((offset as usize, bytes.to_vec()))).unwrap();
    }

    /// The write begun last has ended; `durable` as by `O_DIRECT|O_DSYNC`.
    pub fn end_write(&self, name: &str, durable: bool) {
        self.file(name, |file| {
            let (offset, bytes) = file.pending.pop().unwrap();
            put(&mut file.cache, offset, &bytes);
            if durable {
                put(&mut file.medium, offset, &bytes);
            } else {
                file.pending.push((offset, bytes));
            }
        })
        .unwrap();
    }

    /// A flush failed: readers still see the bytes, no later flush writes them.
    pub fn lose_pending(&self, name: &str) {
        self.file(name, |file| file.pending.clear()).unwrap();
    }

    /// The write begun last has ended after its first `length` bytes.
    pub fn end_short(&self, name: &str, length: usize, durable: bool) {
        self.file(name, |file| {
            if let Some((_, bytes)) = file.pending.last_mut() {
                bytes.truncate(length);
            }
        })
        .unwrap();
        self.end_write(name, durable);
    }

    /// The write begun last has failed and left some of its sectors.
    pub fn fail_write(&self, name: &str, random: &mut Random) {
        self.file(name, |file| {
            let (offset, bytes) = file.pending.pop().unwrap();
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if random.chance(50) {
                    put(&mut file.cache, offset + index * SECTOR_BYTES, sector);
                    put(&mut file.medium, offset + index * SECTOR_BYTES, sector);
                }
            }
        })
        .unwrap();
    }

    /// The disk as a power cut now could leave it.
    pub fn power_cut(&self, random: &mut Random) -> Self {
        let mut files = self.files.borrow().clone();
        for file in files.values_mut() {
            for (offset, bytes) in std::mem::take(&mut file.pending) {
                match random.below(3) {
                    0 => {}
                    1 => put(&mut file.medium, offset, &bytes),
                    _ => {
                        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                            if random.chance(50) {
                                put(&mut file.medium, offset + index * SECTOR_BYTES, sector);
                            }
                        }
                    }
                }
            }
            file.cache = file.medium.clone();
        }
        Self { files: Rc::new(RefCell::new(files)) }
    }

    /// An independent copy.
    pub fn copy(&self) -> Self {
        Self { files: Rc::new(RefCell::new(self.files.borrow().clone())) }
    }

    pub fn flip(&self, name: &str, offset: u64) {
        self.file(name, |file| {
            file.cache[offset as usize] ^= 0x55;
            file.medium[offset as usize] ^= 0x55;
        })
        .unwrap();
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.file(name, |file| file.cache.clone()).unwrap()
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<DiskFile>> {
        let files = self.files.borrow();
        Ok(files
            .iter()
            .map(|(name, file)| DiskFile { name: name.clone(), bytes: file.cache.len() as u64 })
            .collect())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file(name, |file| {
            let rest = file.cache.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            count
        })
    }

    fn read_settled(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.sync(name)?;
        self.file(name, |file| file.cache = file.medium.clone())?;
        self.read_at(name, offset, into)
    }

    fn create_filled(&self, name: &str, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; bytes as usize];
        let file = MemoryFile { cache: zeros.clone(), medium: zeros, pending: Vec::new() };
        self.files.borrow_mut().insert(name.to_owned(), file);
        Ok(())
    }

    fn recycle(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.borrow_mut();
        let file = files.remove(from).ok_or_else(|| not_found(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.begin_write(name, offset, bytes);
        self.end_write(name, false);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.file(name, |file| {
            for (offset, bytes) in std::mem::take(&mut file.pending) {
                put(&mut file.medium, offset, &bytes);
            }
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.borrow_mut().remove(name);
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AtomicFile>> {
        Ok(Box::new(MemoryAtomicFile { disk: self.clone(), name: name.to_owned(), bytes: vec![] }))
    }
}

struct MemoryAtomicFile {
    disk: MemoryDisk,
    name: String,
    bytes: Vec<u8>,
}

impl AtomicFile for MemoryAtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        let Self { disk, name, bytes } = *self;
        let file = MemoryFile { cache: bytes.clone(), medium: bytes, pending: Vec::new() };
        disk.files.borrow_mut().insert(name, file);
        Ok(())
    }
}

/// A lane with its shell, moved on step by step.
pub struct Shell {
    pub disk: MemoryDisk,
    pub writer: LaneWriter,
    pub settings: LaneSettings,
    pub fault: Fault,
    /// What new segments hold of a former life; zeros if empty.
    pub former_life: Vec<u8>,
    /// Runs reported durable, in order.
    pub durable: Vec<Durable>,
    pub now: Now,
    doing: Option<Doing>,
}

/// Planted faults: builds with one of them must not pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// The file is opened without `O_DSYNC`, the lane believes it is durable.
    DirectIsBuffered,
    /// The fallback does not sync.
    SyncDoesNothing,
    /// Completed as soon as submitted.
    DurableAtSubmission,
}

enum Doing {
    Write { name: String, bytes: Vec<u8>, length: usize },
    Sync { name: String },
}

pub fn settings(policy: LanePolicy) -> LaneSettings {
    LaneSettings { segment_bytes: SEGMENT_BYTES, ..LaneSettings::new(policy, SALT) }
}

impl Shell {
    pub fn new(disk: MemoryDisk, writer: LaneWriter, settings: LaneSettings) -> Self {
        let now = Now { monotonic_us: 1, wall_ms: 1_000 };
        let (fault, durable) = (Fault::None, Vec::new());
        let former_life = Vec::new();
        Self { disk, writer, settings, fault, former_life, durable, now, doing: None }
    }

    pub fn append(&mut self, run: u64, records: &[u8]) {
        self.writer.append(self.now, 0, run, records, false).unwrap();
    }

    fn name(&self, number: u32) -> String {
        segment::name(self.writer.lane(), number)
    }

    /// Ends what is being done, or begins the next thing. `false`: nothing to do.
    pub fn step(&mut self) -> bool {
        self.now.monotonic_us += 10;
        match self.doing.take() {
            Some(Doing::Write { name, bytes, length }) => {
                let durable = self.settings.policy == LanePolicy::DirectDurable
                    && self.fault != Fault::DirectIsBuffered;
                self.disk.end_write(&name, durable);
                if self.fault != Fault::DurableAtSubmission {
                    self.writer.on_written(self.now, Ok(length), bytes);
                }
            }
            Some(Doing::Sync { name }) => {
                if self.fault != Fault::SyncDoesNothing {
                    self.disk.sync(&name).unwrap();
                }
                if self.fault != Fault::DurableAtSubmission {
                    self.writer.on_synced(self.now, Ok(()));
                }
            }
            None => {
                let Some(action) = self.writer.poll(self.now, true) else { return false };
                self.begin(action);
            }
        }
        self.durable.extend(std::iter::from_fn(|| self.writer.pop_durable()));
        true
    }

    fn begin(&mut self, action: LaneAction) {
        match action {
            LaneAction::PrepareSegment { segment } => {
                let name = self.name(segment);
                self.disk.create_filled(&name, self.settings.segment_bytes).unwrap();
                self.disk.write_at(&name, 0, &self.former_life).unwrap();
                self.disk.sync(&name).unwrap();
                self.writer.on_segment_ready(self.now, segment, Ok(()));
            }
            LaneAction::Sync { segment } => {
                self.doing = Some(Doing::Sync { name: self.name(segment) });
                if self.fault == Fault::DurableAtSubmission {
                    self.writer.on_synced(self.now, Ok(()));
                }
            }
            LaneAction::Write { segment, offset, bytes, range } => {
                assert_eq!(offset % 4096, 0);
                assert_eq!(range.len() % 4096, 0);
                assert_eq!(bytes[range.clone()].as_ptr().align_offset(4096), 0);
                let (name, length) = (self.name(segment), range.len());
                self.disk.begin_write(&name, offset, &bytes[range]);
                if self.fault == Fault::DurableAtSubmission {
                    self.writer.on_written(self.now, Ok(length), bytes);
                    self.doing = Some(Doing::Write { name, bytes: vec![], length });
                } else {
                    self.doing = Some(Doing::Write { name, bytes, length });
                }
            }
        }
    }

    /// Ends the write in flight after a part of it. `false`: none is.
    pub fn end_short(&mut self, random: &mut Random) -> bool {
        if !matches!(self.doing, Some(Doing::Write { .. })) || self.fault != Fault::None {
            return false;
        }
        if let Some(Doing::Write { name, bytes, length }) = self.doing.take() {
            let part = random.below(length as u64) as usize;
            let durable = self.settings.policy == LanePolicy::DirectDurable;
            self.disk.end_short(&name, part, durable);
            self.writer.on_written(self.now, Ok(part), bytes);
        }
        true
    }

    /// Ends the process: the kernel ends the write in flight, wholly or in part, before the lock
    /// is free for another process; what was written and not synced stays in the cache.
    pub fn kill(&mut self, random: &mut Random) {
        if let Some(Doing::Write { name, .. }) = self.doing.take() {
            match random.chance(50) {
                true => self.disk.end_write(&name, false),
                false => self.disk.fail_write(&name, random),
            }
        }
    }

    /// Ends what is being done with an error. `false`: nothing is.
    pub fn fail(&mut self, random: &mut Random) -> bool {
        match self.doing.take() {
            Some(Doing::Write { name, bytes, .. }) => {
                self.disk.fail_write(&name, random);
                if self.fault != Fault::DurableAtSubmission {
                    self.writer.on_written(self.now, Err(5), bytes);
                }
            }
            Some(Doing::Sync { name }) => {
                self.disk.lose_pending(&name);
                if self.fault != Fault::DurableAtSubmission {
                    self.writer.on_synced(self.now, Err(5));
                }
            }
            None => return false,
        }
        true
    }

    /// Steps until nothing is left to do.
    pub fn finish(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the lane does not come to rest");
    }
}

/// A run of `count` records that name the run.
pub fn run_of(run: u64, count: u64, payload_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for index in 0..count {
        record::put(&mut out, 1, (run % 256) as u8, run * 1000 + index, |out| {
            out.resize(out.len() + payload_bytes, run as u8);
        });
    }
    out
}

/// Runs found by recovery, in order, with the place of the first record of each.
pub fn recovered_runs(disk: &dyn Disk) -> (Recovered, Vec<(u64, Location)>) {
    let mut runs: Vec<(u64, Location)> = Vec::new();
    let recovered = recover(disk, SALT, &[], &mut |view, location| {
        let run = view.position / 1000;
        if runs.last().is_none_or(|(last, _)| *last != run) {
            runs.push((run, location));
        }
        assert!(view.payload.iter().all(|byte| *byte == run as u8));
    })
    .unwrap();
    (recovered, runs)
}
