//! Copies a directory while its process goes on writing.
//!
//! The copy is one instant of all lanes together. Lanes depend on each other: a mailbox entry in
//! one stands for a message in another, which was durable before the entry was written. So the
//! lanes are cut at one wall-clock time before the copying began: whatever an included batch
//! depends on was closed earlier, is durable, and is included too.

use std::io;

use crate::store::{
    AtomicFile, DataHeader, Disk, DiskFile, HEADER_NAME,
    log::{
        batch::HEADER_BYTES,
        checkpoint,
        scan::{Batch, Behind, Expect, scan},
        segment::{self, SegmentFile},
    },
    read_full,
};

/// Bytes moved by one read or write.
const COPY_BYTES: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Segment files made.
    pub segments: u64,
    /// Batches in them.
    pub batches: u64,
    /// Checkpoint files copied.
    pub checkpoints: u64,
    /// Lanes with the position of their last batch in the copy.
    pub lanes: Vec<(u8, u64)>,
}

/// Copies header, checkpoints and log to `target`, which must be empty. `wall_ms` is the present
/// time; batches closed at or after it are left out.
///
/// # Errors
/// Those of both disks; `AlreadyExists` when the target holds a log; `InvalidData` when the log is
/// damaged; `NotFound`, or `InvalidData` for a lane that does not go on, when retention dropped
/// what was being copied: try again.
pub fn backup(
    disk: &dyn Disk,
    header: &DataHeader,
    target: &dyn Disk,
    wall_ms: u64,
) -> io::Result<BackupReport> {
    if target
        .list()?
        .iter()
        .any(|file| file.name == HEADER_NAME || segment::parse_name(&file.name).is_some())
    {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the target holds a log already"));
    }
    let mut report = BackupReport::default();
    // What a checkpoint committed before the cut knows was durable before the cut. First, because
    // what it still needs of the log may be dropped once a newer one stands.
    for file in disk.list()? {
        if checkpoint::parse_name(&file.name).is_some() && is_before(disk, &file, wall_ms)? {
            copy(disk, &file.name, file.bytes, target)?;
            report.checkpoints += 1;
        }
    }
    for (lane, files) in &segment::list(disk)? {
        copy_lane(disk, *lane, files, header.salt(), target, wall_ms, &mut report)?;
    }
    // Last, so that an interrupted copy is not taken for a data directory.
    header.save(target)?;
    Ok(report)
}

fn is_before(disk: &dyn Disk, file: &DiskFile, wall_ms: u64) -> io::Result<bool> {
    let committed_ms = checkpoint::committed_ms(disk, &file.name, file.bytes)?;
    Ok(committed_ms.is_some_and(|committed_ms| committed_ms < wall_ms))
}

fn copy(disk: &dyn Disk, name: &str, bytes: u64, target: &dyn Disk) -> io::Result<()> {
    let mut out = target.create(name)?;
    let mut part = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(COPY_BYTES as u64) as usize;
        read_full(disk, name, offset, &mut part[..length])?;
        out.write(&part[..length])?;
        offset += length as u64;
    }
    out.commit()
}

/// Why a lane's copy ended.
enum End {
    Io(io::Error),
    /// A batch closed too late.
    Late,
    Moved,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn copy_lane(
    disk: &dyn Disk,
    lane: u8,
    files: &[SegmentFile],
    salt: u64,
    target: &dyn Disk,
    wall_ms: u64,
    report: &mut BackupReport,
) -> io::Result<()> {
    let mut last: Option<u64> = None;
    for file in files {
        let mut out = target.create(&file.name())?;
        let (mut written, mut batches) = (0, 0);
        let expect = Expect { salt, position: None, epoch: 0, settle: false };
        let outcome = scan(disk, file, expect, &mut |batch| {
            if batch.header.wall_ms >= wall_ms {
                return Err(End::Late);
            }
            if last.is_some_and(|last| batch.header.position != last + 1) {
                return Err(End::Moved);
            }
            write_batch(out.as_mut(), &batch)?;
            last = Some(batch.header.position);
            written += batch.header.padded_bytes() as u64;
            batches += 1;
            Ok(())
        });
        let is_late = match outcome {
            Ok(scanned) => {
                if !matches!(scanned.behind, Behind::Nothing | Behind::Torn { .. }) {
                    refuse_damage(disk, file, expect)?;
                }
                false
            }
            Err(End::Late) => true,
            Err(End::Io(error)) => return Err(error),
            Err(End::Moved) => {
                let what = format!("{}: the lane does not go on from the one before", file.name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        };
        if batches > 0 {
            fill(out.as_mut(), file.bytes - written)?;
            out.commit()?;
            report.segments += 1;
            report.batches += batches;
        }
        if is_late {
            break;
        }
    }
    report.lanes.extend(last.map(|position| (lane, position)));
    Ok(())
}

/// A copy that silently ended at damage would pass for a good one.
fn refuse_damage(disk: &dyn Disk, file: &SegmentFile, expect: Expect) -> io::Result<()> {
    let (report, _) = super::verify_segment(disk, file, expect)?;
    if report.is_damaged() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, report.to_string()));
    }
    Ok(())
}

fn write_batch(out: &mut dyn AtomicFile, batch: &Batch<'_>) -> io::Result<()> {
    out.write(&batch.header.encode(batch.body))?;
    out.write(batch.body)?;
    let padding = batch.header.padded_bytes() - HEADER_BYTES - batch.body.len();
    fill(out, padding as u64)
}

fn fill(out: &mut dyn AtomicFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; COPY_BYTES.min(bytes as usize)];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(COPY_BYTES as u64);
        out.write(&zeros[..part as usize])?;
        left -= part;
    }
    Ok(())
}
