//! Shard hosts on workers: the router tier's shell over this process's ring and mesh.
//!
//! What a host does and asks is the router crate's ([`hawser_router::hosting`]); here operations
//! on files become operations of the ring, and parcels go into the mesh.

pub use hawser_router::hosting::{Hosting, rests_on_one_lane};

use crate::mesh::MeshPort;
use hawser_ring::{Errno, Event, File, Operation, Ring, Token};
use hawser_router::hosting::{FileEvent, FileMode, LogFile, LogFiles, Parcel, Parcels};
use std::{io, ops::Range, path::Path};

/// Files of the log through a ring. A ring carries the files of one host at most, so that slots of
/// tokens need tell apart only its reads.
pub struct RingFiles<'a, R>(pub &'a mut R);

impl<R: Ring> LogFiles for RingFiles<'_, R> {
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<LogFile> {
        let mode = match mode {
            FileMode::DirectDurable => hawser_ring::FileMode::DirectDurable,
            FileMode::Buffered => hawser_ring::FileMode::Buffered,
            FileMode::ReadOnly => hawser_ring::FileMode::ReadOnly,
        };
        self.0.open(path, mode).map(|file| LogFile(file.0))
    }

    fn close(&mut self, file: LogFile) {
        self.0.close_file(File(file.0));
    }

    fn write(&mut self, file: LogFile, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        self.0.write(File(file.0), offset, bytes, range, Token::new(Operation::Write, 0, 0));
    }

    fn sync(&mut self, file: LogFile) {
        self.0.sync(File(file.0), Token::new(Operation::Sync, 0, 0));
    }

    fn read(&mut self, file: LogFile, offset: u64, length: u32, token: u32) {
        self.0.read(File(file.0), offset, length, Token::new(Operation::Read, token, 0));
    }
}

/// What a completion means to the host; `None` for one that is not of a file.
pub fn file_event(token: Token, event: Event) -> Option<FileEvent> {
    let errno = |error: Errno| error.0;
    match event {
        Event::Written(result, bytes) => Some(FileEvent::Written(result.map_err(errno), bytes)),
        Event::Synced(result) => Some(FileEvent::Synced(result.map_err(errno))),
        Event::Read(result) => Some(FileEvent::Read(token.slot, result.map_err(errno))),
        _ => None,
    }
}

impl Parcels for MeshPort {
    fn send(&mut self, to: usize, parcel: Parcel) {
        MeshPort::send(self, to, parcel);
    }
}
