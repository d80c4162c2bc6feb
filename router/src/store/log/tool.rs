//! What an operator does with a log: verify, dump, repair, back up. As a library, blocking.
//!
//! [`verify`], [`dump`] and [`backup`] only read and may run beside the process that writes the
//! log; [`repair`] must have the directory for itself. None of them knows what a record means:
//! [`dump`] is given somebody who prints it.

mod backup;
mod repair;

use std::{
    fmt,
    io::{self, Write},
};

pub use backup::{BackupReport, backup};
pub use repair::{Cut, repair};

use super::{
    location::Location,
    record::{RecordView, records},
    scan::{Behind, Expect, Scanned, scan},
    segment::{self, SegmentFile},
};
use crate::store::Disk;

/// Looks at a segment that seems damaged before it is called so. A segment that is being written
/// is read in pieces, and a piece read later may show a batch behind one that was not finished
/// when its own piece was read; real damage is still there at the next look.
const LOOKS_MAX: u32 = 3;

/// What a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Good to its end.
    Whole,
    /// Made, nothing written yet in this life.
    Spare,
    /// Its last write was not finished, or is being written now.
    Torn {
        /// Where the good part ends.
        offset: u64,
        /// Bytes of the unfinished write, as far as they can be told.
        bytes: u64,
    },
    /// A bad batch with a whole one behind it.
    Damaged {
        /// Offset of the bad batch.
        offset: u64,
        /// Offset of the next whole one.
        whole_at: u64,
    },
    /// Batches are missing before its first.
    Gap {
        /// Position expected first.
        expected: u64,
        /// Position found.
        found: u64,
    },
    /// A batch with a right checksum holds no sequence of records.
    BadRecord {
        /// Offset of the record.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// One segment as [`verify`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// File name.
    pub file: String,
    /// Good batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// First and last position of the good batches.
    pub positions: Option<(u64, u64)>,
    /// Lowest and highest epoch of the good batches.
    pub epochs: Option<(u64, u64)>,
    /// Wall clock of the last good batch, milliseconds.
    pub newest_wall_ms: u64,
    /// Verdict.
    pub state: SegmentState,
}

impl SegmentReport {
    /// Whether acknowledged records may be missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        match self.state {
            SegmentState::Whole | SegmentState::Spare | SegmentState::Torn { .. } => false,
            SegmentState::Damaged { .. }
            | SegmentState::Gap { .. }
            | SegmentState::BadRecord { .. } => true,
        }
    }
}

impl fmt::Display for SegmentReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} batches, {} records", self.file, self.batches, self.records)?;
        if let (Some((first, last)), Some((low, high))) = (self.positions, self.epochs) {
            write!(out, ", positions {first}-{last}, epochs {low}-{high}")?;
        }
        match &self.state {
            SegmentState::Whole => write!(out, ", whole"),
            SegmentState::Spare => write!(out, ", spare"),
            SegmentState::Torn { offset, bytes } => {
                write!(out, ", unfinished write of {bytes} bytes at offset {offset}")
            }
            SegmentState::Damaged { offset, whole_at } => {
                write!(out, ", DAMAGED at offset {offset}, goes on at {whole_at}")
            }
            SegmentState::Gap { expected, found } => {
                write!(out, ", GAP: batch {expected} is missing, begins with {found}")
            }
            SegmentState::BadRecord { offset, what } => {
                write!(out, ", BAD RECORD at offset {offset}: {what}")
            }
        }
    }
}

/// Checks every segment of the directory and goes on behind damage.
///
/// # Errors
/// Those of the disk.
pub fn verify(disk: &dyn Disk, salt: u64) -> io::Result<Vec<SegmentReport>> {
    let mut reports = Vec::new();
    for files in segment::list(disk)?.values() {
        let (mut position, mut epoch) = (None, 0);
        for file in files {
            let expect = Expect { salt, position, epoch, settle: false };
            let (report, scanned) = match verify_segment(disk, file, expect) {
                // Retention took it while it was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    position = None;
                    continue;
                }
                looked => looked?,
            };
            // Behind damage nothing is known of what must follow.
            position = match report.is_damaged() {
                true => None,
                false => scanned.and_then(|scanned| scanned.position).map(|last| last + 1),
            };
            epoch = scanned.map_or(epoch, |scanned| scanned.epoch);
            reports.push(report);
        }
    }
    Ok(reports)
}

fn verify_segment(
    disk: &dyn Disk,
    file: &SegmentFile,
    expect: Expect,
) -> io::Result<(SegmentReport, Option<Scanned>)> {
    let mut looks = 0;
    loop {
        looks += 1;
        let (report, scanned) = look(disk, file, expect)?;
        if !report.is_damaged() || looks == LOOKS_MAX {
            return Ok((report, scanned));
        }
    }
}

fn look(
    disk: &dyn Disk,
    file: &SegmentFile,
    expect: Expect,
) -> io::Result<(SegmentReport, Option<Scanned>)> {
    let mut report = SegmentReport {
        file: file.name(),
        batches: 0,
        records: 0,
        positions: None,
        epochs: None,
        newest_wall_ms: 0,
        state: SegmentState::Spare,
    };
    let outcome = scan(disk, file, expect, &mut |batch| {
        for record in records(batch.body) {
            record.map_err(|bad| Stop::Record {
                offset: batch.body_offset() + bad.offset as u64,
                what: bad.what,
            })?;
            report.records += 1;
        }
        let header = batch.header;
        report.batches += 1;
        report.newest_wall_ms = header.wall_ms;
        let (first, _) = report.positions.unwrap_or((header.position, 0));
        report.positions = Some((first, header.position));
        let (low, high) = report.epochs.unwrap_or((header.epoch, header.epoch));
        report.epochs = Some((low.min(header.epoch), high.max(header.epoch)));
        Ok(())
    });
    let scanned = match outcome {
        Ok(scanned) => scanned,
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Record { offset, what }) => {
            report.state = SegmentState::BadRecord { offset, what };
            return Ok((report, None));
        }
    };
    report.state = match scanned.behind {
        Behind::Nothing if scanned.batches == 0 => SegmentState::Spare,
        Behind::Nothing => SegmentState::Whole,
        Behind::Torn { bytes } => SegmentState::Torn { offset: scanned.end, bytes },
        Behind::Damage { whole_at } => SegmentState::Damaged { offset: scanned.end, whole_at },
        Behind::Gap { found } => {
            SegmentState::Gap { expected: expect.position.unwrap_or(1), found }
        }
    };
    Ok((report, Some(scanned)))
}

/// Why a walk through a segment ended early.
enum Stop {
    Io(io::Error),
    Record { offset: u64, what: &'static str },
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What [`dump`] shows; `None` means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// Only this lane.
    pub lane: Option<u8>,
    /// Only this segment number.
    pub segment: Option<u32>,
    /// Only records of this shard.
    pub shard: Option<u8>,
    /// Only records of this kind.
    pub kind: Option<u8>,
    /// Only records from this position of their shard on.
    pub position_min: Option<u64>,
}

impl DumpFilter {
    fn takes_file(&self, file: &SegmentFile) -> bool {
        self.lane.is_none_or(|lane| lane == file.lane)
            && self.segment.is_none_or(|segment| segment == file.segment)
    }

    fn takes_record(&self, record: &RecordView<'_>) -> bool {
        self.shard.is_none_or(|shard| shard == record.shard)
            && self.kind.is_none_or(|kind| kind == record.kind)
            && self.position_min.is_none_or(|position_min| record.position >= position_min)
    }
}

/// Prints one record; the payload is its caller's language.
pub type RecordPrinter<'a> =
    dyn FnMut(&RecordView<'_>, Location, &mut dyn Write) -> io::Result<()> + 'a;

/// Writes one entry per record to `out`, made by `print`. Segments are read up to their first
/// bad batch; returns the number of records.
///
/// # Errors
/// Those of the disk and of `out`.
pub fn dump(
    disk: &dyn Disk,
    salt: u64,
    filter: &DumpFilter,
    out: &mut dyn Write,
    print: &mut RecordPrinter<'_>,
) -> io::Result<u64> {
    let mut count = 0;
    let lanes = segment::list(disk)?;
    for file in lanes.values().flatten().filter(|file| filter.takes_file(file)) {
        let expect = Expect { salt, position: None, epoch: 0, settle: false };
        scan(disk, file, expect, &mut |batch| {
            let base = Location::new(file.lane, file.segment, batch.body_offset());
            let good = records(batch.body).map_while(Result::ok);
            for record in good.filter(|record| filter.takes_record(record)) {
                print(&record, Location::of(base, record.offset), out)?;
                count += 1;
            }
            Ok::<(), io::Error>(())
        })?;
    }
    Ok(count)
}
