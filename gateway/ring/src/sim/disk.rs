//! A virtual disk: what programs see, what survives a power cut, and what is in doubt.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Crash, Random, World};

/// Unit a power cut tears writes at, bytes.
const SECTOR_BYTES: usize = 512;

/// A write that a power cut may undo in part.
#[derive(Clone, Debug)]
struct Doubt {
    serial: u64,
    offset: usize,
    bytes: Vec<u8>,
    /// Its sync failed: the kernel has forgotten that it is unwritten, so no later sync helps.
    abandoned: bool,
}

/// A file's contents, living as long as a name or an open handle.
#[derive(Debug, Default)]
struct Inode {
    /// What reads see.
    cached: Vec<u8>,
    /// What a power cut leaves at least.
    durable: Vec<u8>,
    doubts: Vec<Doubt>,
}

/// A write of a ring that died before it completed.
#[derive(Debug)]
struct Orphan {
    inode: u64,
    offset: usize,
    bytes: Vec<u8>,
    durable: bool,
}

#[derive(Debug, Default)]
struct DiskState {
    names: BTreeMap<PathBuf, u64>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    next_serial: u64,
    orphans: Vec<Orphan>,
    full: bool,
}

/// A disk that outlives rings; clones are the same disk. Paths are plain names without links;
/// directories need not be made.
///
/// The functions that take a path block in the real world; they are for recovery and segment
/// changes, meet no faults but a full disk, and what they change is durable when they return.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: World,
    state: Rc<RefCell<DiskState>>,
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Applies each sector of a write or not, by chance: all of it, nothing, or some of it.
fn tear(random: &mut Random, content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let fate = random.below(3);
    let mut at = 0;
    while at < bytes.len() {
        // The first cut falls on the next sector boundary of the file.
        let length = (SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(bytes.len() - at);
        if fate == 1 || fate == 2 && random.below(2) == 1 {
            put(content, offset + at, &bytes[at..at + length]);
        }
        at += length;
    }
}

impl SimDisk {
    /// An empty disk whose chances come from the world's seed.
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), state: Rc::default() }
    }

    /// From now on writes that need new room, and new files, fail with `ENOSPC` (or no longer).
    pub fn set_full(&self, full: bool) {
        self.state.borrow_mut().full = full;
    }

    /// The rings that wrote here have been killed (their values dropped), and this is how. After
    /// [`Crash::Power`] nothing is in doubt any more: the disk is what was left.
    pub fn crash(&self, crash: Crash) {
        let mut world = self.world.state();
        let mut state = self.state.borrow_mut();
        for orphan in std::mem::take(&mut state.orphans) {
            let serial = state.next_serial;
            state.next_serial += 1;
            let Some(inode) = state.inodes.get_mut(&orphan.inode) else { continue };
            if crash == Crash::Process {
                if world.random.below(2) == 1 {
                    inode.write(serial, orphan.offset, &orphan.bytes, orphan.durable);
                }
            } else {
                let Orphan { offset, bytes, .. } = orphan;
                inode.doubts.push(Doubt { serial, offset, bytes, abandoned: false });
            }
        }
        if crash == Crash::Power {
            for inode in state.inodes.values_mut() {
                for doubt in std::mem::take(&mut inode.doubts) {
                    tear(&mut world.random, &mut inode.durable, doubt.offset, &doubt.bytes);
                }
                inode.cached = inode.durable.clone();
            }
        }
    }

    /// Names in a directory, sorted.
    pub fn list(&self, directory: &Path) -> Vec<String> {
        let state = self.state.borrow();
        state
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn length(&self, path: &Path) -> io::Result<u64> {
        self.with(path, |inode| inode.cached.len() as u64)
    }

    /// Up to `length` bytes at `offset`, fewer at the end.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.with(path, |inode| inode.read(offset, length))
    }

    /// The whole of a file.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn read_whole(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(path, |inode| inode.cached.clone())
    }

    /// Makes a file of `bytes` zeros, every block written.
    ///
    /// # Errors
    /// `AlreadyExists`; `ENOSPC` while the disk is full.
    pub fn create_filled(&self, path: &Path, bytes: u64) -> io::Result<()> {
        if self.state.borrow().names.contains_key(path) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        self.write_whole(path, &vec![0; bytes as usize])
    }

    /// Replaces or makes a file as a whole: after a crash it is the old or the new one.
    ///
    /// # Errors
    /// `ENOSPC` while the disk is full.
    pub fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.full {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        let (cached, durable) = (bytes.to_vec(), bytes.to_vec());
        state.inodes.insert(inode, Inode { cached, durable, doubts: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        Ok(())
    }

    /// Makes a file's completed writes durable and shows what the medium holds: bytes whose sync
    /// had failed before are gone from the cache.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn settle(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let inode = state.names.get(path).copied().ok_or_else(not_found)?;
        let inode = state.inodes.get_mut(&inode).expect("names point to inodes");
        for doubt in std::mem::take(&mut inode.doubts) {
            if !doubt.abandoned {
                put(&mut inode.durable, doubt.offset, &doubt.bytes);
            }
        }
        inode.cached = inode.durable.clone();
        Ok(())
    }

    /// Removes a file's name; an open handle still reads and writes what it had.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.state.borrow_mut().names.remove(path);
        removed.map(|_| ()).ok_or_else(not_found)
    }

    /// Renames, over an existing file if there is one.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn with<T>(&self, path: &Path, look: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let state = self.state.borrow();
        let inode = state.names.get(path).ok_or_else(not_found)?;
        Ok(look(&state.inodes[inode]))
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<u64> {
        self.state.borrow().names.get(path).copied().ok_or_else(not_found)
    }

    pub(super) fn read_inode(&self, inode: u64, offset: u64, length: usize) -> Vec<u8> {
        self.state.borrow().inodes[&inode].read(offset, length)
    }

    /// A write up to `end` needs room that the full disk does not have.
    pub(super) fn refuses(&self, inode: u64, end: u64) -> bool {
        let state = self.state.borrow();
        state.full && (state.inodes[&inode].cached.len() as u64) < end
    }

    /// A write completed; `durable` at once, or in doubt until a sync.
    pub(super) fn finish_write(&self, inode: u64, offset: u64, bytes: &[u8], durable: bool) {
        let mut state = self.state.borrow_mut();
        let serial = state.next_serial;
        state.next_serial += 1;
        let inode = state.inodes.get_mut(&inode).expect("open files keep their inode");
        inode.write(serial, offset as usize, bytes, durable);
    }

    /// A write failed: any sector of it may be on disk.
    pub(super) fn fail_write(&self, random: &mut Random, inode: u64, offset: u64, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let inode = state.inodes.get_mut(&inode).expect("open files keep their inode");
        tear(random, &mut inode.durable, offset as usize, bytes);
        let end = (offset as usize + bytes.len()).min(inode.durable.len());
        if end > offset as usize {
            let left = inode.durable[offset as usize..end].to_vec();
            put(&mut inode.cached, offset as usize, &left);
        }
    }

    /// What a sync starting now covers: all writes before this serial.
    pub(super) fn sync_mark(&self) -> u64 {
        self.state.borrow().next_serial
    }

    /// A sync ended, well or not.
    pub(super) fn finish_sync(&self, inode: u64, mark: u64, well: bool) {
        let mut state = self.state.borrow_mut();
        let inode = state.inodes.get_mut(&inode).expect("open files keep their inode");
        for doubt in inode.doubts.iter_mut().filter(|doubt| doubt.serial < mark) {
            if doubt.abandoned {
                continue;
            }
            if well {
                put(&mut inode.durable, doubt.offset, &doubt.bytes);
            } else {
                doubt.abandoned = true;
            }
        }
        if well {
            inode.doubts.retain(|doubt| doubt.serial >= mark || doubt.abandoned);
        }
    }

    /// The ring of a write in flight has died.
    pub(super) fn orphan(&self, inode: u64, offset: u64, bytes: Vec<u8>, durable: bool) {
        let orphan = Orphan { inode, offset: offset as usize, bytes, durable };
        self.state.borrow_mut().orphans.push(orphan);
    }
}

impl Inode {
    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.cached.len());
        let end = start.saturating_add(length).min(self.cached.len());
        self.cached[start..end].to_vec()
    }

    fn write(&mut self, serial: u64, offset: usize, bytes: &[u8], durable: bool) {
        put(&mut self.cached, offset, bytes);
        if durable {
            put(&mut self.durable, offset, bytes);
        } else {
            self.doubts.push(Doubt { serial, offset, bytes: bytes.to_vec(), abandoned: false });
        }
    }
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}
