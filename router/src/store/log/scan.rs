//! Reads one segment file batch by batch and judges what stands behind the last good one.
//!
//! Knows nothing of lanes as a whole: whether the end found here is the lane's tail is decided by
//! its callers. Memory is bounded by [`WINDOW_BYTES`], whatever the file's length.

use std::io;

use super::{
    batch::{BATCH_BYTES_MAX, BLOCK_BYTES, HEADER_BYTES, Header},
    segment::SegmentFile,
};
use crate::store::Disk;

/// Bytes of a segment held at once: two longest batches (a batch is judged while the one before
/// it is still held) and enough read-ahead that a system call moves megabytes.
const WINDOW_BYTES: usize = 4 << 20;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
const _: () = assert!(WINDOW_BYTES >= 2 * BATCH_BYTES_MAX);

/// What the reader knows before it opens the segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    pub salt: u64,
    /// Position of the first batch; `None` where reading begins.
    pub position: Option<u64>,
    /// Highest epoch seen in the lane so far.
    pub epoch: u64,
    /// Read the last batch from the medium before it is believed, see
    /// [`Disk::read_settled`]. Off for a look at a directory that is being written.
    pub settle: bool,
}

/// A segment as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanned {
    /// Where the next batch may be written.
    pub end: u64,
    pub batches: u64,
    /// Position of the last batch; as expected before if there was none.
    pub position: Option<u64>,
    pub epoch: u64,
    /// Wall clock of the last batch, 0 if there was none.
    pub wall_ms: u64,
    pub behind: Behind,
}

/// What follows the last good batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing of this life of the file.
    Nothing,
    /// A batch that was not finished, over so many bytes.
    Torn { bytes: u64 },
    /// Something bad, and behind it a whole batch at this offset that was written later.
    Damage { whole_at: u64 },
    /// The segment begins with a whole batch of this position instead of the expected one.
    Gap { found: u64 },
}

/// A batch as the caller of [`scan`] sees it.
pub(super) struct Batch<'a> {
    pub offset: u64,
    pub header: Header,
    pub body: &'a [u8],
}

impl Batch<'_> {
    /// Where the first record stands.
    pub fn body_offset(&self) -> u64 {
        self.offset + HEADER_BYTES as u64
    }
}

/// Calls `on_batch` for every whole batch of the segment at or behind `from`, whether or not they
/// follow each other, until it says `false`; returns the offset of the batch it said so for.
pub(super) fn survey<E: From<io::Error>>(
    disk: &dyn Disk,
    file: &SegmentFile,
    salt: u64,
    from: u64,
    on_batch: &mut dyn FnMut(Batch<'_>) -> Result<bool, E>,
) -> Result<Option<u64>, E> {
    let mut window = Window::new(disk, file);
    let mut offset = from;
    while offset < file.bytes {
        let Some(header) = window.whole_batch(offset, offset, salt)? else {
            offset += BLOCK_BYTES as u64;
            continue;
        };
        let whole =
            window.held(offset, offset + HEADER_BYTES as u64 + u64::from(header.body_bytes));
        if !on_batch(Batch { offset, header, body: &whole[HEADER_BYTES..] })? {
            return Ok(Some(offset));
        }
        offset += header.padded_bytes() as u64;
    }
    Ok(None)
}

/// Reads `file` from its start. `on_batch` is called for each good batch in order.
pub(super) fn scan<E: From<io::Error>>(
    disk: &dyn Disk,
    file: &SegmentFile,
    expect: Expect,
    on_batch: &mut dyn FnMut(Batch<'_>) -> Result<(), E>,
) -> Result<Scanned, E> {
    let mut window = Window::new(disk, file);
    let mut found = Scanned {
        end: 0,
        batches: 0,
        position: expect.position.map(|position| position - 1),
        epoch: expect.epoch,
        wall_ms: 0,
        behind: Behind::Nothing,
    };
    let mut unsettled = false;
    let mut current = window.next_batch(0, 0, &found, expect.salt)?;
    while let Some(header) = current {
        let offset = found.end;
        let before = found;
        found.end += header.padded_bytes() as u64;
        found.batches += 1;
        found.position = Some(header.position);
        found.epoch = header.epoch;
        found.wall_ms = header.wall_ms;
        current = window.next_batch(found.end, offset, &found, expect.salt)?;
        if current.is_none() && expect.settle && !is_settled(disk, file, offset, &header)? {
            // Only a cache knew this batch; nobody was told of it, or its flush has failed.
            found = before;
            unsettled = true;
            break;
        }
        let whole =
            window.held(offset, offset + HEADER_BYTES as u64 + u64::from(header.body_bytes));
        on_batch(Batch { offset, header, body: &whole[HEADER_BYTES..] })?;
    }
    found.behind = if unsettled {
        Behind::Torn { bytes: BLOCK_BYTES as u64 }
    } else {
        window.judge(&found, expect)?
    };
    Ok(found)
}

fn is_settled(
    disk: &dyn Disk,
    file: &SegmentFile,
    offset: u64,
    header: &Header,
) -> io::Result<bool> {
    let mut bytes = vec![0; header.padded_bytes()];
    let read = disk.read_settled(&file.name(), offset, &mut bytes)?;
    Ok(Header::parse(&bytes[..read]) == Some(*header) && header.is_whole(&bytes[..read]))
}

/// A stretch of the file in memory that moves forward.
struct Window<'a> {
    disk: &'a dyn Disk,
    file: SegmentFile,
    name: String,
    /// File offset of the first byte held.
    base: u64,
    bytes: Vec<u8>,
    filled: usize,
}

impl<'a> Window<'a> {
    fn new(disk: &'a dyn Disk, file: &SegmentFile) -> Self {
        let length = WINDOW_BYTES.min(usize::try_from(file.bytes).unwrap_or(WINDOW_BYTES));
        let bytes = vec![0; length];
        Self { disk, file: *file, name: file.name(), base: 0, bytes, filled: 0 }
    }

    /// Holds `from..to`, cut at the end of the file.
    fn hold(&mut self, from: u64, to: u64) -> io::Result<()> {
        let to = to.min(self.file.bytes);
        let end = self.base + self.filled as u64;
        if from >= self.base && to <= end {
            return Ok(());
        }
        self.filled = if (self.base..end).contains(&from) {
            let skip = (from - self.base) as usize;
            self.bytes.copy_within(skip..self.filled, 0);
            self.filled - skip
        } else {
            0
        };
        self.base = from;
        let at = from + self.filled as u64;
        let room =
            (self.file.bytes.saturating_sub(at)).min((self.bytes.len() - self.filled) as u64);
        let into = &mut self.bytes[self.filled..self.filled + room as usize];
        self.filled += self.disk.read_at(&self.name, at, into)?;
        Ok(())
    }

    /// What is held of `from..to`.
    fn held(&self, from: u64, to: u64) -> &[u8] {
        let at = |offset: u64| (offset.saturating_sub(self.base) as usize).min(self.filled);
        &self.bytes[at(from)..at(to)]
    }

    /// The batch at `offset` if it is whole and the one that must follow; `keep` is held too.
    fn next_batch(
        &mut self,
        offset: u64,
        keep: u64,
        last: &Scanned,
        salt: u64,
    ) -> io::Result<Option<Header>> {
        let Some(header) = self.whole_batch(offset, keep, salt)? else { return Ok(None) };
        let follows = last.position.is_none_or(|position| header.position == position + 1);
        Ok((follows && header.epoch >= last.epoch).then_some(header))
    }

    /// The batch of this segment at `offset` if its checksum is right.
    fn whole_batch(&mut self, offset: u64, keep: u64, salt: u64) -> io::Result<Option<Header>> {
        self.hold(keep, offset + BLOCK_BYTES as u64)?;
        let Some(header) = Header::parse(self.held(offset, offset + BLOCK_BYTES as u64)) else {
            return Ok(None);
        };
        let end = offset + header.padded_bytes() as u64;
        let ours = header.salt == salt
            && (header.lane, header.segment) == (self.file.lane, self.file.segment);
        if !ours || end > self.file.bytes {
            return Ok(None);
        }
        self.hold(keep, end)?;
        Ok(header.is_whole(self.held(offset, end)).then_some(header))
    }

    /// Looks at every block from the end of the last good batch to the end of the file.
    fn judge(&mut self, last: &Scanned, expect: Expect) -> io::Result<Behind> {
        let (salt, file) = (expect.salt, self.file);
        let next = last.position.map_or(1, |position| position + 1);
        let mut resembles = None;
        let mut written_end = last.end;
        let mut is_recycled = false;
        let mut offset = last.end;
        while offset < file.bytes {
            self.hold(offset, offset + BLOCK_BYTES as u64)?;
            let block = self.held(offset, offset + BLOCK_BYTES as u64);
            let header = Header::parse(block).filter(|header| header.salt == salt);
            if block != &ZEROS[..block.len()] {
                written_end = offset + BLOCK_BYTES as u64;
            }
            if offset == last.end && Header::resembles(block, salt, file.lane, file.segment, next) {
                resembles = Some(header.map_or(BLOCK_BYTES, |header| header.padded_bytes()) as u64);
            }
            is_recycled |= header
                .is_some_and(|header| (header.lane, header.segment) != (file.lane, file.segment));
            let later = header.is_some_and(|header| {
                header.epoch >= last.epoch && last.position.is_none_or(|p| header.position > p)
            });
            if offset == 0 && header.is_some() {
                if let Some(header) = self.whole_batch(0, 0, salt)? {
                    return Ok(Behind::Gap { found: header.position });
                }
            } else if later && self.whole_batch(offset, offset, salt)?.is_some() {
                return Ok(Behind::Damage { whole_at: offset });
            }
            offset += BLOCK_BYTES as u64;
        }
        Ok(match resembles {
            Some(bytes) => Behind::Torn { bytes: bytes.min(file.bytes - last.end) },
            // A file that was filled with zeros for its first life shows every trace.
            None if !is_recycled && written_end > last.end => {
                Behind::Torn { bytes: written_end - last.end }
            }
            None => Behind::Nothing,
        })
    }
}
