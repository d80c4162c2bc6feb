//! Cuts a damaged lane at its first bad batch, after setting everything behind it aside.

use std::{fmt, io};

use super::{SegmentState, verify_segment};
use crate::store::{
    Disk,
    log::{
        batch::BLOCK_BYTES,
        record::records,
        scan::{Expect, survey},
        segment::{self, SegmentFile},
    },
    read_full,
};

/// Bytes moved by one read or write.
const COPY_BYTES: usize = 1 << 20;
/// Names tried for a segment that is set aside before giving up.
const ASIDE_MAX: u32 = 100;

/// One lane that was, or would be, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Segment file in which the lane now ends.
    pub file: String,
    /// Where it ends in it.
    pub offset: u64,
    /// Whole batches behind the cut, which are lost to the log.
    pub batches_lost: u64,
    /// Records in them. What stood in the bad batches themselves cannot be counted.
    pub records_lost: u64,
    /// Copies of what was changed; empty in a dry run.
    pub set_aside: Vec<String>,
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: cut at offset {}; lost: the bad batch and {} whole batches with {} records behind",
            self.file, self.offset, self.batches_lost, self.records_lost
        )?;
        for file in &self.set_aside {
            write!(out, "; kept as {file}")?;
        }
        Ok(())
    }
}

/// Cuts each damaged lane at its first damage, so that the directory can be opened again. With
/// `dry_run` it only says what would be lost. The directory must not be in use.
///
/// The damaged segment is copied to `NAME.damaged` before it is changed, later segments of the
/// lane are renamed to theirs. A repair that is interrupted can be started again.
///
/// # Errors
/// Those of the disk, a full one while copying first of all; nothing is changed then.
pub fn repair(disk: &dyn Disk, salt: u64, dry_run: bool) -> io::Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    for files in segment::list(disk)?.values() {
        let Some((index, offset)) = first_damage(disk, salt, files)? else { continue };
        let (file, later) = (&files[index], &files[index + 1..]);
        let mut cut = Cut {
            file: file.name(),
            offset,
            batches_lost: 0,
            records_lost: 0,
            set_aside: Vec::new(),
        };
        count_lost(disk, salt, file, offset, &mut cut)?;
        let mut written = Vec::new();
        for file in later {
            if count_lost(disk, salt, file, 0, &mut cut)? > 0 {
                written.push(*file);
            }
        }
        if !dry_run {
            apply(disk, file, offset, &written, &mut cut)?;
        }
        cuts.push(cut);
    }
    Ok(cuts)
}

/// The segment and offset at which the lane's good prefix ends, if it is damaged.
fn first_damage(
    disk: &dyn Disk,
    salt: u64,
    files: &[SegmentFile],
) -> io::Result<Option<(usize, u64)>> {
    let (mut position, mut epoch) = (None, 0);
    // Where the last good batch ends.
    let mut end = (0, 0);
    for (index, file) in files.iter().enumerate() {
        let expect = Expect { salt, position, epoch, settle: false };
        let (report, scanned) = verify_segment(disk, file, expect)?;
        match report.state {
            SegmentState::Whole | SegmentState::Spare | SegmentState::Torn { .. } => {}
            SegmentState::Damaged { offset, .. } => return Ok(Some((index, offset))),
            SegmentState::Gap { .. } => return Ok(Some(end)),
            // Its batch is whole, so the cut is at the batch, which ends the walk before it.
            SegmentState::BadRecord { .. } => {
                let offset = survey(disk, file, salt, 0, &mut |batch| {
                    Ok::<bool, io::Error>(records(batch.body).all(|record| record.is_ok()))
                })?;
                return Ok(Some((index, offset.unwrap_or(0))));
            }
        }
        if let Some(scanned) = scanned.filter(|scanned| scanned.batches > 0) {
            position = scanned.position.map(|last| last + 1);
            epoch = scanned.epoch;
            end = (index, scanned.end);
        }
    }
    Ok(None)
}

fn count_lost(
    disk: &dyn Disk,
    salt: u64,
    file: &SegmentFile,
    from: u64,
    cut: &mut Cut,
) -> io::Result<u64> {
    let mut batches = 0;
    survey(disk, file, salt, from, &mut |batch| {
        batches += 1;
        cut.records_lost += records(batch.body).filter(|record| record.is_ok()).count() as u64;
        Ok::<bool, io::Error>(true)
    })?;
    cut.batches_lost += batches;
    Ok(batches)
}

fn apply(
    disk: &dyn Disk,
    file: &SegmentFile,
    offset: u64,
    later: &[SegmentFile],
    cut: &mut Cut,
) -> io::Result<()> {
    let aside = aside_name(disk, &file.name())?;
    copy(disk, file, &aside)?;
    cut.set_aside.push(aside);
    // From the end, so that an interrupted repair leaves a lane that still shows its damage.
    for file in later.iter().rev() {
        let aside = aside_name(disk, &file.name())?;
        disk.recycle(&file.name(), &aside)?;
        cut.set_aside.push(aside);
    }
    let zeros = vec![0; COPY_BYTES];
    let mut at = file.bytes;
    // Whatever part of this a power cut leaves: either a whole batch is left, then the damage
    // still shows, or none is, then the cut is done.
    while at > offset {
        let part = (at - offset).min(COPY_BYTES as u64);
        at -= part;
        disk.write_at(&file.name(), at, &zeros[..part as usize])?;
    }
    debug_assert!(offset.is_multiple_of(BLOCK_BYTES as u64));
    disk.sync(&file.name())
}

fn aside_name(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let taken = disk.list()?;
    (1..=ASIDE_MAX)
        .map(|number| match number {
            1 => format!("{name}.damaged"),
            _ => format!("{name}.damaged-{number}"),
        })
        .find(|name| taken.iter().all(|file| file.name != *name))
        .ok_or_else(|| io::Error::other(format!("{name}: too many copies set aside already")))
}

fn copy(disk: &dyn Disk, file: &SegmentFile, to: &str) -> io::Result<()> {
    let mut copy = disk.create(to)?;
    let mut part = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < file.bytes {
        let length = (file.bytes - offset).min(COPY_BYTES as u64) as usize;
        read_full(disk, &file.name(), offset, &mut part[..length])?;
        copy.write(&part[..length])?;
        offset += length as u64;
    }
    copy.commit()
}
