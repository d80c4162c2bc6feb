//! The log of a relay: bodies go through the gateway's own [`LaneWriter`], one run a turn.

use hawser_codec::time::Now;
use hawser_ring::{Errno, File, FileMode, Operation, Ring, Token, uring::UringRing};
use hawser_router::store::{
    DataHeader, Disk, StdDisk,
    log::{LaneAction, LanePolicy, LaneSettings, LaneWriter, record, segment},
};
use std::path::PathBuf;

/// See the module.
pub struct Log {
    writer: LaneWriter,
    disk: StdDisk,
    directory: PathBuf,
    file: Option<(u32, File)>,
    in_flight: bool,
    records: Vec<u8>,
    run: u64,
    position: u64,
}

impl Log {
    /// A log in a fresh directory.
    pub fn open(directory: PathBuf) -> Result<Self, String> {
        let disk = StdDisk::open(&directory, true).map_err(|error| error.to_string())?;
        let header = DataHeader::open_or_create(&disk, [7; 32]).map_err(|e| e.to_string())?;
        let settings = LaneSettings::new(LanePolicy::DirectDurable, header.salt());
        let writer = LaneWriter::open(0, None, 1, settings);
        let (file, records) = (None, Vec::new());
        Ok(Self { writer, disk, directory, file, in_flight: false, records, run: 0, position: 0 })
    }

    /// Adds a body to the turn's run, whose number it gives.
    pub fn append(&mut self, body: &[u8]) -> u64 {
        self.position += 1;
        record::put(&mut self.records, 1, 0, self.position, |out| out.extend_from_slice(body));
        self.run + 1
    }

    /// Seals the turn's run and starts what the lane asks for.
    pub fn drive(&mut self, now: Now, ring: &mut UringRing) -> Result<(), String> {
        if !self.records.is_empty() {
            self.run += 1;
            self.writer
                .append(now, 0, self.run, &self.records, false)
                .map_err(|refused| format!("{refused:?}"))?;
            self.records.clear();
        }
        while !self.in_flight
            && let Some(action) = self.writer.poll(now, true)
        {
            match action {
                LaneAction::PrepareSegment { segment } => {
                    let name = segment::name(0, segment);
                    let made = self.disk.create_filled(&name, segment::SEGMENT_BYTES);
                    let made = made.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
                    self.writer.on_segment_ready(now, segment, made);
                }
                LaneAction::Write { segment, offset, bytes, range } => {
                    if self.file.is_none_or(|(open, _)| open != segment) {
                        let path = self.directory.join(segment::name(0, segment));
                        let file = ring.open(&path, FileMode::DirectDurable);
                        self.file = Some((segment, file.map_err(|error| error.to_string())?));
                    }
                    let Some((_, file)) = self.file else { continue };
                    self.in_flight = true;
                    ring.write(file, offset, bytes, range, Token::new(Operation::Write, 0, 0));
                }
                LaneAction::Sync { .. } => {}
            }
        }
        Ok(())
    }

    /// A write has ended.
    pub fn on_written(&mut self, now: Now, result: Result<usize, Errno>, bytes: Vec<u8>) {
        self.in_flight = false;
        self.writer.on_written(now, result.map_err(|errno| errno.0), bytes);
    }

    /// The last run that is durable, if there is a new one.
    pub fn take_durable(&mut self) -> u64 {
        let mut durable = 0;
        while let Some(done) = self.writer.pop_durable() {
            durable = done.run;
        }
        durable
    }
}
