//! What a shard host needs of the files of its log, as operations that complete later.
//!
//! Two shells implement it: the gateway's over its ring, and the one of the separate router process
//! (`crate::process::files`). What it is not: the blocking view of a directory
//! ([`crate::store::Disk`]).
//!
//! Rules every backend keeps, and the store conformance tests check:
//!
//! 1. Every [`LogFiles::write`], [`LogFiles::sync`] and [`LogFiles::read`] ends in exactly one
//!    [`FileEvent`], never inside the call that asked for it.
//! 2. A write owns its bytes until its event gives them back. At most one write or sync is in flight.
//! 3. A segment being written is held by a shared lock as long as the kernel may carry out a write,
//!    so that a successor of a killed process can wait for it.

use std::{io, ops::Range, path::Path};

/// An open file, as its backend names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogFile(pub u32);

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Writes bypass the page cache and are durable when they complete (`O_DIRECT|O_DSYNC`);
    /// offset, length and memory are multiples of [`crate::store::log::batch::BLOCK_BYTES`].
    DirectDurable,
    /// Writes are durable only after a completed [`LogFiles::sync`].
    Buffered,
    /// Reads only.
    ReadOnly,
}

/// How an operation ended. An error is the errno.
#[derive(Debug)]
pub enum FileEvent {
    /// [`LogFiles::write`]: bytes written, maybe fewer than asked; the buffer is back.
    Written(Result<usize, i32>, Vec<u8>),
    /// [`LogFiles::sync`].
    Synced(Result<(), i32>),
    /// [`LogFiles::read`] with this token: the bytes, fewer at the end of the file.
    Read(u32, Result<Vec<u8>, i32>),
}

/// See the module.
pub trait LogFiles {
    /// Opens an existing file.
    ///
    /// # Errors
    /// As `open(2)`; `EINVAL` where the file system has no direct writes.
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<LogFile>;

    /// Closes a file with nothing in flight.
    fn close(&mut self, file: LogFile);

    /// Writes `bytes[range]` at `offset`.
    fn write(&mut self, file: LogFile, offset: u64, bytes: Vec<u8>, range: Range<usize>);

    /// Makes completed writes of a [`FileMode::Buffered`] file durable.
    fn sync(&mut self, file: LogFile);

    /// Reads up to `length` bytes at `offset`. Tokens of reads in flight differ.
    fn read(&mut self, file: LogFile, offset: u64, length: u32, token: u32);
}
