//! Reads of records: segment files kept open, reads in flight bounded.

use super::*;
use crate::{ReadRequest, store::log::segment};
use std::path::PathBuf;

struct Open {
    lane: u8,
    segment: u32,
    file: LogFile,
    in_flight: u32,
    used: u64,
}

struct InFlight {
    life: u32,
    id: u64,
    open: usize,
}

pub(super) struct SegmentReader {
    directory: PathBuf,
    waiting: VecDeque<ReadRequest>,
    open: Vec<Option<Open>>,
    reads: Vec<Option<InFlight>>,
    free: Vec<u32>,
    clock: u64,
}

impl SegmentReader {
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            waiting: VecDeque::new(),
            open: Vec::new(),
            reads: Vec::new(),
            free: Vec::new(),
            clock: 0,
        }
    }

    pub fn queue(&mut self, read: ReadRequest) {
        self.waiting.push_back(read);
    }

    pub fn is_idle(&self) -> bool {
        self.reads.len() == self.free.len()
    }

    /// Forgets what was not started: its life is over.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Starts reads up to the bound; `failed` hears of those whose file cannot be opened.
    pub fn submit<F: LogFiles>(
        &mut self,
        life: u32,
        files: &mut F,
        mut failed: impl FnMut(u64, i32),
    ) {
        while self.reads.len() - self.free.len() < limits::READS_IN_FLIGHT_MAX
            && let Some(read) = self.waiting.pop_front()
        {
            let open = match self.open(read.location.lane(), read.location.segment(), files) {
                Ok(open) => open,
                Err(errno) => {
                    failed(read.id, errno);
                    continue;
                }
            };
            let Some(entry) = &mut self.open[open] else { continue };
            entry.in_flight += 1;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.reads.push(None);
                self.reads.len() as u32 - 1
            });
            self.reads[slot as usize] = Some(InFlight { life, id: read.id, open });
            files.read(entry.file, read.location.offset(), read.length, slot);
        }
    }

    /// A read has ended: whose it was.
    pub fn on_read<F: LogFiles>(&mut self, token: u32, files: &mut F) -> Option<(u32, u64)> {
        let read = self.reads.get_mut(token as usize)?.take()?;
        self.free.push(token);
        if let Some(entry) = &mut self.open[read.open] {
            entry.in_flight -= 1;
        }
        self.trim(files);
        Some((read.life, read.id))
    }

    fn open<F: LogFiles>(&mut self, lane: u8, segment: u32, files: &mut F) -> Result<usize, i32> {
        self.clock += 1;
        let found = self.open.iter().position(|open| {
            open.as_ref().is_some_and(|open| open.lane == lane && open.segment == segment)
        });
        if let Some(index) = found {
            if let Some(open) = &mut self.open[index] {
                open.used = self.clock;
            }
            return Ok(index);
        }
        let path = self.directory.join(segment::name(lane, segment));
        let file = files
            .open(&path, FileMode::ReadOnly)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        let open = Some(Open { lane, segment, file, in_flight: 0, used: self.clock });
        if let Some(index) = self.open.iter().position(Option::is_none) {
            self.open[index] = open;
            return Ok(index);
        }
        self.open.push(open);
        Ok(self.open.len() - 1)
    }

    /// Closes the file unused for longest while more are open than the bound.
    fn trim<F: LogFiles>(&mut self, files: &mut F) {
        if self.open.iter().flatten().count() <= limits::SEGMENTS_OPEN_MAX {
            return;
        }
        let idle = self.open.iter().enumerate();
        let idle = idle.filter_map(|(index, open)| Some((index, open.as_ref()?)));
        let oldest = idle.filter(|(_, open)| open.in_flight == 0).min_by_key(|(_, open)| open.used);
        if let Some(index) = oldest.map(|(index, _)| index)
            && let Some(open) = self.open[index].take()
        {
            files.close(open.file);
        }
    }
}
