//! Reads the lanes back after a stop of any kind.
//!
//! Each lane is kept as a prefix: the batches up to the first that is not whole. If anything
//! whole of the same life stands behind that place, in the segment or in a later one, the log is
//! damaged: acknowledged records are gone and nothing may be served until somebody decides
//! (`log repair`). Otherwise the place is where the crash tore the last write: cut and reported.
//!
//! It is not known here how many lanes the process will write; all that stand in the directory
//! are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
};

use super::{
    location::Location,
    record::{RecordView, records},
    scan::{Batch, Behind, Expect, Scanned, scan},
    segment::{self, SegmentFile},
};
use crate::store::Disk;

/// Why nothing may be served.
#[derive(Debug)]
pub enum Damage {
    /// The disk refused.
    Io {
        /// File that was read, or the directory.
        file: String,
        /// Its error.
        error: io::Error,
    },
    /// A batch is bad and later ones of the same life are whole.
    Batch {
        /// Segment file.
        file: String,
        /// Offset of the bad batch.
        offset: u64,
        /// Offset of the next whole one.
        whole_at: u64,
    },
    /// Batches are missing between the end of one segment and the start of the next.
    Gap {
        /// Segment file in which, or behind which, they should stand.
        file: String,
        /// Where they should begin.
        offset: u64,
        /// Position of the first missing batch.
        expected: u64,
        /// Position with which the lane goes on.
        found: u64,
    },
    /// A batch whose checksum is right holds no sequence of records.
    Record {
        /// Segment file.
        file: String,
        /// Offset of the bad record.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment from which the log must be read is not there.
    Missing {
        /// Its name.
        file: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { file, error } => write!(out, "{file}: {error}"),
            Self::Batch { file, offset, whole_at } => write!(
                out,
                "{file}: damaged batch at offset {offset}, the log goes on at {whole_at}; \
                 `log repair` shows what a cut there would lose"
            ),
            Self::Gap { file, offset, expected, found } => write!(
                out,
                "{file}: batch {expected} is missing at offset {offset}, the lane goes on with \
                 batch {found}; `log repair` shows what a cut there would lose"
            ),
            Self::Record { file, offset, what } => {
                write!(out, "{file}: bad record at offset {offset}: {what}")
            }
            Self::Missing { file } => write!(out, "{file} is missing and the log begins with it"),
        }
    }
}

impl std::error::Error for Damage {}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Io { file: "data directory".into(), error }
    }
}

/// A write that a crash left unfinished. Nobody was told that it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Segment file.
    pub file: String,
    /// Where the lane ends.
    pub offset: u64,
    /// Bytes that were cut, as far as they can be told from older ones.
    pub bytes: u64,
}

/// Where a lane ends and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTail {
    /// The lane.
    pub lane: u8,
    /// Segment that holds the last batch, or the first spare one if there is no batch.
    pub segment: u32,
    /// Offset in it of the next batch.
    pub offset: u64,
    /// Length of that segment's file.
    pub segment_bytes: u64,
    /// Position of the next batch.
    pub position: u64,
    /// Highest epoch seen; the next writer's must be above it.
    pub epoch: u64,
    /// Segments behind it that are made but hold nothing, with their lengths.
    pub spare: Vec<(u32, u64)>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// One per lane found, ascending.
    pub lanes: Vec<LaneTail>,
    /// Cuts that were made.
    pub torn: Vec<Torn>,
    /// Batches visited.
    pub batches: u64,
    /// Records visited.
    pub records: u64,
    /// Bytes of segment files visited, padding included.
    pub bytes: u64,
}

impl Recovered {
    fn add(&mut self, other: Self) {
        self.lanes.extend(other.lanes);
        self.torn.extend(other.torn);
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
    }

    /// Highest epoch of any lane; the next opening's must be above it.
    #[must_use]
    pub fn epoch_max(&self) -> u64 {
        self.lanes.iter().map(|tail| tail.epoch).max().unwrap_or(0)
    }

    /// The tail of a lane, if the directory has it.
    #[must_use]
    pub fn tail(&self, lane: u8) -> Option<&LaneTail> {
        self.lanes.iter().find(|tail| tail.lane == lane)
    }
}

/// Reads every lane from its scan start in `from` (lanes not named there: from their lowest
/// segment) and calls `visit` for each record, lane by lane, in lane order.
///
/// # Errors
/// [`Damage`]; what was visited before is then to be thrown away.
pub fn recover(
    disk: &dyn Disk,
    salt: u64,
    from: &[(u8, u32)],
    visit: &mut dyn FnMut(RecordView<'_>, Location),
) -> Result<Recovered, Damage> {
    let lanes = segment::list(disk)?;
    let mut recovered = Recovered::default();
    let starts: BTreeMap<u8, u32> = from.iter().copied().collect();
    for lane in lanes.keys().chain(starts.keys()).collect::<BTreeSet<_>>() {
        let start = starts.get(lane).copied();
        let one = recover_lane(disk, salt, *lane, start, visit)?;
        recovered.add(one);
    }
    Ok(recovered)
}

/// Reads one lane from segment `start` on (its lowest, if `None`), for a lane that has failed and
/// is opened again while others go on: what is visited and was not reported durable before did
/// survive. [`Recovered::lanes`] is empty if the directory does not have the lane.
///
/// # Errors
/// [`Damage`]; the lane must not be written then.
pub fn recover_lane(
    disk: &dyn Disk,
    salt: u64,
    lane: u8,
    start: Option<u32>,
    visit: &mut dyn FnMut(RecordView<'_>, Location),
) -> Result<Recovered, Damage> {
    let mut recovered = Recovered::default();
    match (segment::list(disk)?.get(&lane), start) {
        (Some(files), _) => {
            let mut reading = LaneReading { disk, salt, visit, recovered: &mut recovered };
            let tail = reading.lane(lane, files, start)?;
            recovered.lanes.push(tail);
        }
        (None, None | Some(0 | 1)) => {}
        (None, Some(start)) => {
            return Err(Damage::Missing { file: segment::name(lane, start) });
        }
    }
    Ok(recovered)
}

struct LaneReading<'a> {
    disk: &'a dyn Disk,
    salt: u64,
    visit: &'a mut dyn FnMut(RecordView<'_>, Location),
    recovered: &'a mut Recovered,
}

impl LaneReading<'_> {
    fn lane(
        &mut self,
        lane: u8,
        files: &[SegmentFile],
        start: Option<u32>,
    ) -> Result<LaneTail, Damage> {
        let lowest = files.first().map_or(1, |file| file.segment);
        let highest = files.last().map_or(0, |file| file.segment);
        let start = start.unwrap_or(lowest);
        // A checkpoint may name the segment that was about to be made.
        if start <= highest && !files.iter().any(|file| file.segment == start)
            || start > highest + 1
        {
            return Err(Damage::Missing { file: segment::name(lane, start) });
        }
        let first = files.partition_point(|file| file.segment < start);
        let mut tail: Option<(SegmentFile, Scanned)> = None;
        let mut spare = Vec::new();
        for file in &files[first..] {
            let scanned = self.segment(file, tail.as_ref(), true)?;
            if scanned.batches > 0 {
                tail = Some((*file, scanned));
            } else {
                spare.push((file.segment, file.bytes));
            }
            if let Behind::Torn { bytes } = scanned.behind {
                self.recovered.torn.push(Torn { file: file.name(), offset: scanned.end, bytes });
            }
        }
        // Without a batch behind the start, position and epoch stand in the segment before.
        if let (None, Some(before)) = (&tail, first.checked_sub(1)) {
            let scanned = self.segment(&files[before], None, false)?;
            if scanned.batches > 0 {
                tail = Some((files[before], scanned));
            }
        }
        Ok(match tail {
            Some((file, scanned)) => LaneTail {
                lane,
                segment: file.segment,
                offset: scanned.end,
                segment_bytes: file.bytes,
                position: scanned.position.map_or(1, |position| position + 1),
                epoch: scanned.epoch,
                spare,
            },
            None => {
                let (segment, segment_bytes) = spare.remove(0);
                LaneTail { lane, segment, offset: 0, segment_bytes, position: 1, epoch: 0, spare }
            }
        })
    }

    fn segment(
        &mut self,
        file: &SegmentFile,
        tail: Option<&(SegmentFile, Scanned)>,
        is_visited: bool,
    ) -> Result<Scanned, Damage> {
        let name = file.name();
        let expect = Expect {
            salt: self.salt,
            position: tail.and_then(|(_, scanned)| scanned.position).map(|position| position + 1),
            epoch: tail.map_or(0, |(_, scanned)| scanned.epoch),
            settle: true,
        };
        let (lane, number) = (file.lane, file.segment);
        let scanned = scan(self.disk, file, expect, &mut |batch| {
            if is_visited { self.batch(&name, lane, number, &batch) } else { Ok(()) }
        })
        .map_err(|damage| match damage {
            Damage::Io { error, .. } => Damage::Io { file: name.clone(), error },
            other => other,
        })?;
        match scanned.behind {
            Behind::Nothing | Behind::Torn { .. } => Ok(scanned),
            Behind::Damage { whole_at } => {
                Err(Damage::Batch { file: name, offset: scanned.end, whole_at })
            }
            Behind::Gap { found } => {
                let (file, offset) =
                    tail.map_or((name, 0), |(before, scanned)| (before.name(), scanned.end));
                let expected = expect.position.unwrap_or(1);
                Err(Damage::Gap { file, offset, expected, found })
            }
        }
    }

    fn batch(
        &mut self,
        name: &str,
        lane: u8,
        segment: u32,
        batch: &Batch<'_>,
    ) -> Result<(), Damage> {
        let body_at = batch.offset + super::batch::HEADER_BYTES as u64;
        let base = Location::new(lane, segment, body_at);
        for record in records(batch.body) {
            let record = record.map_err(|bad| Damage::Record {
                file: name.to_owned(),
                offset: body_at + bad.offset as u64,
                what: bad.what,
            })?;
            (self.visit)(record, Location::of(base, record.offset));
            self.recovered.records += 1;
        }
        self.recovered.batches += 1;
        self.recovered.bytes += batch.header.padded_bytes() as u64;
        Ok(())
    }
}
