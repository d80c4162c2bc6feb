//! What every backend of the log's files must do, whoever it is: the list that the gateway's ring
//! and the separate router's files both pass.
//!
//! The lane's torture runs on it, too: the kernel carries the writes out in real files, a model of
//! the medium follows what was begun and what was reported, and says what a power cut at any moment
//! may leave.

#![allow(dead_code, clippy::unwrap_used, async_fn_in_trait)] // shared by test programs

#[path = "../log_disk/mod.rs"]
mod log_disk;

use hawser_codec::time::Now;
use hawser_router::{
    hosting::{FileEvent, FileMode, LogFile, LogFiles},
    store::{
        Disk, StdDisk,
        log::{LaneAction, LanePolicy, LaneWriter, batch::BLOCK_BYTES, recover, segment},
    },
};
use log_disk::{MemoryDisk, Random, SALT, run_of, settings};
use std::{io::ErrorKind, ops::Range, path::Path};

/// A backend whose events can be waited for.
pub trait Backend: LogFiles {
    async fn event(&mut self) -> FileEvent;
}

/// Both ways to make a write durable.
pub const POLICIES: [LanePolicy; 2] = [LanePolicy::DirectDurable, LanePolicy::WriteThenSync];

fn mode_of(policy: LanePolicy) -> FileMode {
    match policy {
        LanePolicy::DirectDurable => FileMode::DirectDurable,
        LanePolicy::WriteThenSync => FileMode::Buffered,
    }
}

/// Bytes with an aligned block in them, and where it is.
fn aligned_block(fill: u8) -> (Vec<u8>, Range<usize>) {
    let bytes = vec![fill; 2 * BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    (bytes, start..start + BLOCK_BYTES)
}

async fn written(backend: &mut impl Backend) -> Result<usize, i32> {
    match backend.event().await {
        FileEvent::Written(result, _) => result,
        other => panic!("{other:?} instead of a write's end"),
    }
}

async fn read(backend: &mut impl Backend, file: LogFile, offset: u64, length: u32) -> Vec<u8> {
    backend.read(file, offset, length, 9);
    match backend.event().await {
        FileEvent::Read(9, result) => result.unwrap(),
        other => panic!("{other:?} instead of a read's end"),
    }
}

/// Writes, syncs and reads of both modes, and what is refused.
pub async fn single_operations(backend: &mut impl Backend, directory: &Path) {
    for (name, mode) in [("direct", FileMode::DirectDurable), ("buffered", FileMode::Buffered)] {
        let path = directory.join(name);
        assert_eq!(backend.open(&path, mode).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(&path, vec![0; 4 * BLOCK_BYTES]).unwrap();
        let file = backend.open(&path, mode).unwrap();
        let (bytes, range) = aligned_block(7);
        let (address, expected) = (bytes.as_ptr(), bytes.clone());
        backend.write(file, BLOCK_BYTES as u64, bytes, range);
        match backend.event().await {
            FileEvent::Written(Ok(count), back) => {
                assert_eq!(count, BLOCK_BYTES);
                assert_eq!((back.as_ptr(), &back), (address, &expected), "the buffer comes back");
            }
            other => panic!("{other:?}"),
        }
        if mode == FileMode::Buffered {
            backend.sync(file);
            assert!(matches!(backend.event().await, FileEvent::Synced(Ok(()))));
        }
        backend.close(file);
        let file = backend.open(&path, FileMode::ReadOnly).unwrap();
        assert_eq!(read(backend, file, BLOCK_BYTES as u64 - 1, 3).await, [0, 7, 7]);
        let end = 4 * BLOCK_BYTES as u64;
        assert_eq!(read(backend, file, end - 2, 100).await, [0, 0], "fewer at the end");
        assert!(read(backend, file, end + 100, 100).await.is_empty());
        let (bytes, range) = aligned_block(1);
        backend.write(file, 0, bytes, range);
        assert_eq!(written(backend).await, Err(libc::EBADF), "opened to be read");
        backend.close(file);
    }
    let file = backend.open(&directory.join("direct"), FileMode::DirectDurable).unwrap();
    let (bytes, range) = aligned_block(1);
    backend.write(file, 100, bytes, range);
    assert_eq!(written(backend).await, Err(libc::EINVAL), "direct writes go to whole blocks");
    backend.close(file);
}

/// Reads in flight together come back under their own tokens.
pub async fn many_reads(backend: &mut impl Backend, directory: &Path) {
    let path = directory.join("many");
    let bytes: Vec<u8> = (0..256 * 64_u32).map(|at| (at / 64) as u8).collect();
    std::fs::write(&path, bytes).unwrap();
    let file = backend.open(&path, FileMode::ReadOnly).unwrap();
    for token in 0..256 {
        backend.read(file, u64::from(token) * 64, 64, token);
    }
    let mut seen = vec![false; 256];
    for _ in 0..256 {
        match backend.event().await {
            FileEvent::Read(token, Ok(bytes)) => {
                assert_eq!(bytes, [token as u8; 64]);
                assert!(!std::mem::replace(&mut seen[token as usize], true));
            }
            other => panic!("{other:?}"),
        }
    }
    backend.close(file);
}

/// The files that writes go to are open as the lane believes, and locked for a successor.
pub async fn open_as_promised(backend: &mut impl Backend, directory: &Path) {
    let path = directory.join("flags");
    std::fs::write(&path, [0; BLOCK_BYTES]).unwrap();
    for (mode, wanted) in
        [(FileMode::DirectDurable, libc::O_DIRECT | libc::O_DSYNC), (FileMode::Buffered, 0)]
    {
        let file = backend.open(&path, mode).unwrap();
        let flags = open_flags(&path);
        assert!(flags.iter().any(|flags| flags & (libc::O_DIRECT | libc::O_DSYNC) == wanted));
        let successor = std::fs::File::open(&path).unwrap();
        assert!(successor.try_lock().is_err(), "a successor has to wait");
        drop(successor);
        backend.close(file);
    }
}

/// Flags of this process's descriptors of a file.
fn open_flags(path: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
            let info = std::fs::read_to_string(info).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            found.push(i32::from_str_radix(flags.trim(), 8).unwrap());
        }
    }
    found
}

/// A lane over a backend, with the model of its medium beside it.
struct Bench<'a, B> {
    backend: &'a mut B,
    disk: StdDisk,
    model: MemoryDisk,
    policy: LanePolicy,
    writer: LaneWriter,
    file: Option<(u32, LogFile)>,
    doing: Option<(String, usize)>,
    now: Now,
    /// Runs reported durable.
    durable: Vec<u64>,
}

impl<'a, B: Backend> Bench<'a, B> {
    /// Opens what an earlier life left in `model`, in a new directory.
    fn open(backend: &'a mut B, directory: &Path, model: MemoryDisk, policy: LanePolicy) -> Self {
        let disk = StdDisk::open(directory, true).unwrap();
        let recovered = recover(&model, SALT, &[], &mut |_, _| {}).unwrap();
        for file in model.list().unwrap() {
            std::fs::write(directory.join(&file.name), model.bytes(&file.name)).unwrap();
        }
        let tail = recovered.tail(0).cloned();
        let writer = LaneWriter::open(0, tail, recovered.epoch_max() + 1, settings(policy));
        let now = Now { monotonic_us: 1, wall_ms: 1 };
        let (file, doing, durable) = (None, None, Vec::new());
        Self { backend, disk, model, policy, writer, file, doing, now, durable }
    }

    fn file(&mut self, number: u32, mode: FileMode) -> LogFile {
        if let Some((open, file)) = self.file {
            if open == number {
                return file;
            }
            self.backend.close(file);
        }
        let path = self.disk.path(&segment::name(0, number));
        let file = self.backend.open(&path, mode).unwrap();
        self.file = Some((number, file));
        file
    }

    /// Begins the next thing the lane wants, if nothing is being done.
    fn begin(&mut self, mode: FileMode) {
        while self.doing.is_none()
            && let Some(action) = self.writer.poll(self.now, true)
        {
            match action {
                LaneAction::PrepareSegment { segment: number } => {
                    let bytes = settings(self.policy).segment_bytes;
                    let name = segment::name(0, number);
                    self.disk.create_filled(&name, bytes).unwrap();
                    self.model.create_filled(&name, bytes).unwrap();
                    self.writer.on_segment_ready(self.now, number, Ok(()));
                }
                LaneAction::Write { segment: number, offset, bytes, range } => {
                    let name = segment::name(0, number);
                    self.model.begin_write(&name, offset, &bytes[range.clone()]);
                    self.doing = Some((name, range.len()));
                    let file = self.file(number, mode);
                    self.backend.write(file, offset, bytes, range);
                }
                LaneAction::Sync { segment: number } => {
                    self.doing = Some((segment::name(0, number), 0));
                    let file = self.file(number, mode);
                    self.backend.sync(file);
                }
            }
        }
    }

    /// Waits for the end of what is being done.
    async fn end(&mut self) {
        let Some((name, length)) = self.doing.take() else { return };
        self.now.monotonic_us += 10;
        match self.backend.event().await {
            FileEvent::Written(Ok(count), bytes) => {
                let durable = self.policy == LanePolicy::DirectDurable;
                if count < length {
                    self.model.end_short(&name, count, durable);
                } else {
                    self.model.end_write(&name, durable);
                }
                self.writer.on_written(self.now, Ok(count), bytes);
            }
            FileEvent::Written(Err(errno), bytes) => {
                self.writer.on_written(self.now, Err(errno), bytes);
            }
            FileEvent::Synced(result) => {
                self.model.sync(&name).unwrap();
                self.writer.on_synced(self.now, result);
            }
            FileEvent::Read(..) => panic!("nothing is read here"),
        }
        while let Some(durable) = self.writer.pop_durable() {
            self.durable.push(durable.run);
        }
    }

    /// Real files hold what the model says a reader sees.
    fn compare(&self) {
        for file in self.model.list().unwrap() {
            let bytes = std::fs::read(self.disk.path(&file.name)).unwrap();
            assert!(bytes == self.model.bytes(&file.name), "{} differs from its model", file.name);
        }
    }
}

fn runs_in(disk: &MemoryDisk) -> Vec<u64> {
    log_disk::recovered_runs(disk).1.into_iter().map(|(run, _)| run).collect()
}

/// Lives that end in power cuts: whatever a cut leaves holds every run reported durable, and is a
/// prefix of what was appended. Returns how many cuts were looked at.
pub async fn torture(backend: &mut impl Backend, seed: u64, policy: LanePolicy) -> u64 {
    let mut random = Random::new(seed);
    let mut model = MemoryDisk::default();
    let (mut next_run, mut cuts) = (1, 0);
    for _ in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let mut appended = runs_in(&model);
        let found = appended.len();
        let mut bench = Bench::open(backend, directory.path(), model.copy(), policy);
        for _ in 0..60 {
            if random.chance(50) {
                let records =
                    run_of(next_run, 1 + random.below(4), 40 + random.below(9000) as usize);
                if bench.writer.append(bench.now, 0, next_run, &records, false).is_ok() {
                    appended.push(next_run);
                    next_run += 1;
                }
            }
            bench.begin(mode_of(policy));
            if random.chance(30) {
                let left = runs_in(&bench.model.power_cut(&mut random));
                let promised = found + bench.durable.len();
                assert!(left.len() >= promised, "{} of {promised} durable runs", left.len());
                assert_eq!(left, appended[..left.len()], "not a prefix of what was appended");
                cuts += 1;
            }
            if random.chance(70) {
                bench.end().await;
            }
        }
        bench.end().await;
        bench.compare();
        assert_eq!(bench.durable, appended[found..found + bench.durable.len()]);
        assert!(!bench.durable.is_empty(), "a life in which something was written");
        model = bench.model.power_cut(&mut random);
        if let Some((_, file)) = bench.file.take() {
            bench.backend.close(file);
        }
    }
    cuts
}

/// A write that the kernel refuses stops the lane; nothing of it counts.
pub async fn failed_write(backend: &mut impl Backend, policy: LanePolicy) {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(backend, directory.path(), MemoryDisk::default(), policy);
    bench.writer.append(bench.now, 0, 1, &run_of(1, 1, 100), false).unwrap();
    bench.begin(FileMode::ReadOnly);
    bench.end().await;
    assert_eq!(bench.writer.failure(), Some(libc::EBADF));
    assert!(bench.writer.append(bench.now, 0, 2, &run_of(2, 1, 100), false).is_err());
    assert!(bench.durable.is_empty());
}

/// The whole list.
pub async fn all(backend: &mut impl Backend) {
    let directory = tempfile::tempdir().unwrap();
    single_operations(backend, directory.path()).await;
    many_reads(backend, directory.path()).await;
    open_as_promised(backend, directory.path()).await;
    for policy in POLICIES {
        failed_write(backend, policy).await;
        let mut cuts = 0;
        for seed in 0..4 {
            cuts += torture(backend, seed, policy).await;
        }
        assert!(cuts >= 100, "only {cuts} power cuts");
    }
}
