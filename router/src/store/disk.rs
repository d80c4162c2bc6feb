//! The blocking view of a data directory.
//!
//! Small and object-safe, so that a simulated disk that loses, tears or refuses writes can stand
//! in for the real one in every test of recovery. Not for the data path: appends go through a
//! ring. Names are plain file names; there are no sub-directories.
//!
//! Invariant: a method that says "durable" has synced the file and, where a name changed, the
//! directory, before it returns.

use std::io;

/// One file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// Name inside the directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A data directory. All methods block; errors are those of the system call underneath.
pub trait Disk {
    /// Complete files, in no particular order.
    ///
    /// # Errors
    /// As `readdir(3)`.
    fn list(&self) -> io::Result<Vec<DiskFile>>;

    /// Reads at `offset`; fewer bytes than asked only at the end of the file.
    ///
    /// # Errors
    /// As `pread(2)`; `NotFound`.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes everything written to the file durable, then reads from the medium and not from a
    /// cache, where the platform can. What this returned survives a power cut. A cache may show
    /// bytes whose flush has failed and that no later flush will write again (Linux marks such
    /// pages clean), so a log that goes on behind its tail must read that tail this way first.
    ///
    /// # Errors
    /// As `fdatasync(2)` and `pread(2)`.
    fn read_settled(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes a file of `bytes` zeros with its blocks really written, durable. Replaces a file of
    /// that name.
    ///
    /// # Errors
    /// `ENOSPC` and as `pwrite(2)`; then no such file is left behind.
    fn create_filled(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Gives a file another name, contents untouched, durable.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn recycle(&self, from: &str, to: &str) -> io::Result<()>;

    /// Overwrites bytes in place, for repair; durable only after [`Disk::sync`].
    ///
    /// # Errors
    /// As `pwrite(2)`.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's writes durable.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Removes a file, durable. A missing one is no error.
    ///
    /// # Errors
    /// As `unlink(2)`.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Begins a file that appears under its name only when committed.
    ///
    /// # Errors
    /// As `open(2)`.
    fn create(&self, name: &str) -> io::Result<Box<dyn AtomicFile>>;
}

/// A file being written aside. Dropped without [`AtomicFile::commit`], it leaves nothing.
pub trait AtomicFile {
    /// Appends.
    ///
    /// # Errors
    /// As `write(2)`; the file should then be dropped.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Syncs the file, gives it its name (replacing an older one) and syncs the directory.
    ///
    /// # Errors
    /// As `fsync(2)` and `rename(2)`; whether the old or the new file stands is then unknown
    /// until the directory is read again.
    fn commit(self: Box<Self>) -> io::Result<()>;
}

/// Reads exactly `into.len()` bytes.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub fn read_full(disk: &dyn Disk, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let read = disk.read_at(name, offset, into)?;
    if read < into.len() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{name}: {read} of {} bytes at offset {offset}", into.len()),
        ));
    }
    Ok(())
}
