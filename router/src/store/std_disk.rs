//! The data directory on a real file system, by `std` alone.
//!
//! One process at a time may change a directory: [`StdDisk::open`] holds an exclusive lock on the
//! file `LOCK` as long as the value lives (the kernel drops it with the process, whatever end that
//! takes). Tools that only read attach beside a running process without the lock.
//!
//! Files under construction are named `tmp-…`; they are never listed and are removed at open.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    AtomicFile, Disk, DiskFile,
    log::{batch::BLOCK_BYTES, segment},
};

const LOCK_NAME: &str = "LOCK";
const TEMPORARY_PREFIX: &str = "tmp-";
/// Zeros written by one call when a segment is filled.
const FILL_BYTES: usize = 1 << 20;
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such directory and it was not to be made.
    Missing(PathBuf),
    /// There is no such directory, and it could not be made.
    NotMade {
        /// The directory.
        path: PathBuf,
        /// The nearest directory above it that there is.
        above: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The path, or its parent, is not a directory.
    NotADirectory(PathBuf),
    /// The directory may not be written.
    NotWritable(PathBuf, io::Error),
    /// Another process has it open.
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that wrote its number into the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// Anything else.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(out, "data directory {} is missing", path.display()),
            Self::NotMade { path, above, error } => {
                let (path, above) = (path.display(), above.display());
                write!(out, "data directory {path} cannot be made in {above}: {error}")
            }
            Self::NotADirectory(path) => {
                write!(out, "data directory {} is not a directory", path.display())
            }
            Self::NotWritable(path, error) => {
                write!(out, "data directory {} cannot be written: {error}", path.display())
            }
            Self::Locked { path, pid: Some(pid) } => {
                write!(out, "data directory {} is in use by process {pid}", path.display())
            }
            Self::Locked { path, pid: None } => {
                write!(out, "data directory {} is in use by another process", path.display())
            }
            Self::Io(path, error) => write!(out, "data directory {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    fn of(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Self::NotADirectory(path)
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable(path, error)
            }
            _ => Self::Io(path, error),
        }
    }

    /// The directory was not there and could not be made. "Not found" is no answer then: it is what
    /// a file system says in which nobody can make one, and a working directory that is gone.
    fn of_making(path: &Path, error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists) {
            return Self::of(path, error);
        }
        let above = path.ancestors().skip(1).find(|above| above.is_dir());
        // Nothing is left above a relative path: it would begin in the working directory.
        let above = above.unwrap_or(Path::new(".")).to_owned();
        Self::NotMade { path: path.to_owned(), above, error }
    }
}

/// A data directory of the file system.
#[derive(Debug)]
pub struct StdDisk {
    directory: PathBuf,
    /// Synced after each change of a name.
    directory_file: File,
    /// Held, not read: its lock ends with it. `None` for a reader beside a running process.
    _lock: Option<File>,
}

impl StdDisk {
    /// Opens the directory for this process alone; with `create` it is made (0700) if missing.
    ///
    /// # Errors
    /// [`OpenError`], which names the path.
    pub fn open(directory: &Path, create: bool) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(directory, error);
        if create && !directory.exists() {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(|error| OpenError::of_making(directory, error))?;
        }
        let mut disk = Self::attach(directory)?;
        disk._lock = Some(disk.lock()?);
        disk.await_writes().map_err(failed)?;
        disk.remove_temporary().map_err(failed)?;
        Ok(disk)
    }

    /// Waits until no write of a killed process is under way any more: the kernel may carry one
    /// out after the process is gone, over what its successor has written at the same place.
    /// Whoever writes a segment through a ring holds a shared lock on it.
    fn await_writes(&self) -> io::Result<()> {
        for file in self.list()? {
            if segment::parse_name(&file.name).is_some() {
                // A file system without locks leaves nothing to wait for.
                let _ = File::open(self.path(&file.name))?.lock();
            }
        }
        Ok(())
    }

    /// Opens the directory beside a process that may be using it; only to read.
    ///
    /// # Errors
    /// [`OpenError`], which names the path.
    pub fn attach(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(directory, error);
        if !fs::metadata(directory).map_err(failed)?.is_dir() {
            return Err(OpenError::NotADirectory(directory.to_owned()));
        }
        let directory_file = File::open(directory).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), directory_file, _lock: None })
    }

    /// Path of a file of the directory, for a ring that opens it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether the file system takes writes with `O_DIRECT|O_DSYNC` in blocks of
    /// [`BLOCK_BYTES`]; tried with a real write, since some accept the flags and refuse the write.
    #[must_use]
    pub fn direct_supported(&self) -> bool {
        let path = self.path("tmp-direct");
        let attempt = || -> io::Result<()> {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
                .open(&path)?;
            let (bytes, start) = aligned(BLOCK_BYTES);
            file.write_all_at(&bytes[start..start + BLOCK_BYTES], 0)
        };
        let supported = attempt().is_ok();
        // What remains of a failed attempt is removed at the next open.
        let _ = fs::remove_file(&path);
        supported
    }

    fn lock(&self) -> Result<File, OpenError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::Io(self.directory.clone(), error),
            _ => OpenError::of(&self.directory, error),
        };
        let path = self.path(LOCK_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(OpenError::Locked { path: self.directory.clone(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(file)
    }

    fn remove_temporary(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Past the page cache where that goes: a busy log fills a segment every second, and copying
    /// the zeros into pages that each direct write then has to drop cost a fifth of its CPU.
    fn fill(&self, temporary: &Path, bytes: u64) -> io::Result<()> {
        create_new(temporary)?;
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(temporary);
        match direct.and_then(|file| fill_with_zeros(file, bytes)) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                fill_with_zeros(OpenOptions::new().write(true).open(temporary)?, bytes)
            }
            outcome => outcome,
        }
    }
}

/// Writes `bytes` zeros from the start of `file`, from aligned memory, and syncs.
fn fill_with_zeros(mut file: File, bytes: u64) -> io::Result<()> {
    let buffer = vec![0; FILL_BYTES + BLOCK_BYTES];
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let mut left = bytes;
    while left > 0 {
        let part = left.min(FILL_BYTES as u64) as usize;
        file.write_all(&buffer[start..start + part])?;
        left -= part as u64;
    }
    file.sync_all()
}

impl Disk for StdDisk {
    fn list(&self) -> io::Result<Vec<DiskFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name == LOCK_NAME || name.starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    files.push(DiskFile { name, bytes: metadata.len() });
                }
                Ok(_) => {}
                // Recycled by the running process since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.path(name))?;
        let mut read = 0;
        while read < into.len() {
            match file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn read_settled(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.sync(name)?;
        let direct =
            OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(self.path(name));
        let from_medium = direct.and_then(|file| {
            let (mut bytes, start) = aligned(into.len());
            let read = file.read_at(&mut bytes[start..start + into.len()], offset)?;
            into[..read].copy_from_slice(&bytes[start..start + read]);
            Ok(read)
        });
        match from_medium {
            Ok(read) if read == into.len() => Ok(read),
            // No direct reads here (tmpfs, some network file systems), or a short one.
            Ok(_) => self.read_at(name, offset, into),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.read_at(name, offset, into)
            }
            Err(error) => Err(error),
        }
    }

    fn create_filled(&self, name: &str, bytes: u64) -> io::Result<()> {
        let temporary = self.path(&format!("{TEMPORARY_PREFIX}{name}"));
        let made = self
            .fill(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, self.path(name)))
            .and_then(|()| self.directory_file.sync_all());
        if made.is_err() {
            // Room matters more than the outcome: the disk is probably full.
            let _ = fs::remove_file(&temporary);
        }
        made
    }

    fn recycle(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.directory_file.sync_all()
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(name))?.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.directory_file.sync_all(),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AtomicFile>> {
        let temporary = self.path(&format!("{TEMPORARY_PREFIX}{name}"));
        Ok(Box::new(StdAtomicFile {
            file: create_new(&temporary)?,
            temporary: Some(temporary),
            path: self.path(name),
            directory_file: self.directory_file.try_clone()?,
        }))
    }
}

struct StdAtomicFile {
    file: File,
    /// `None` once the file has its name.
    temporary: Option<PathBuf>,
    path: PathBuf,
    directory_file: File,
}

impl AtomicFile for StdAtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn commit(mut self: Box<Self>) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        self.directory_file.sync_all()
    }
}

impl Drop for StdAtomicFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Otherwise the next open removes it.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)
}

/// A buffer with `length` bytes from an address that direct reads and writes accept.
fn aligned(length: usize) -> (Vec<u8>, usize) {
    let bytes = vec![0; length + BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    (bytes, start)
}
