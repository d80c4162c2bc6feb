//! Which segments may go. The decision is pure; dropping or recycling is the caller's.
//!
//! Invariants: a lane loses its oldest segments only, never one in its middle; never the one that
//! is written, nor any from which a checkpoint still has to be completed; and never its last with
//! a batch, even when nobody writes the lane any more, because position and epoch stand there.
//! Whoever holds a dropped segment's file open must close it before the file is recycled.

use std::{collections::BTreeMap, io};

use super::{
    batch::{BLOCK_BYTES, Header},
    segment,
};
use crate::store::Disk;

/// How long messages are kept unless the settings say otherwise.
pub const AGE_MS: u64 = 72 * 3600 * 1000;

/// Limits of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// A segment whose newest batch is older may go, milliseconds of wall clock.
    pub age_ms: u64,
    /// Above so many bytes the oldest go before their time; `None`: no such limit.
    pub bytes_max: Option<u64>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { age_ms: AGE_MS, bytes_max: None }
    }
}

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentAge {
    /// Lane.
    pub lane: u8,
    /// Number in the lane.
    pub segment: u32,
    /// Length of its file.
    pub bytes: u64,
    /// Wall clock of its last batch; 0 if it has none.
    pub newest_wall_ms: u64,
}

/// Segments that may be dropped or recycled now, oldest first.
///
/// `starts` are the oldest scan starts of the checkpoints kept
/// ([`super::Checkpoints::oldest_starts`]); a lane without one keeps everything. `current` are
/// the segments being written; a lane that is no longer written has none.
#[must_use]
pub fn droppable(
    segments: &[SegmentAge],
    starts: &[(u8, u32)],
    current: &[(u8, u32)],
    settings: RetentionSettings,
    wall_ms: u64,
) -> Vec<SegmentAge> {
    let starts: BTreeMap<u8, u32> = starts.iter().copied().collect();
    let current: BTreeMap<u8, u32> = current.iter().copied().collect();
    let mut candidates = Vec::new();
    for mut aged in by_lane(segments) {
        // A clock that was ahead for a while must not keep what stands before it for ever: no
        // segment is newer than those behind it.
        let mut newest = u64::MAX;
        for segment in aged.iter_mut().rev().filter(|segment| segment.newest_wall_ms > 0) {
            newest = newest.min(segment.newest_wall_ms);
            segment.newest_wall_ms = newest;
        }
        let last = aged.iter().rfind(|segment| segment.newest_wall_ms > 0).map(|s| s.segment);
        candidates.extend(aged.into_iter().filter(|segment| {
            last.is_some_and(|last| segment.segment < last)
                && starts.get(&segment.lane).is_some_and(|start| segment.segment < *start)
                && current.get(&segment.lane).is_none_or(|current| segment.segment < *current)
                && segment.newest_wall_ms > 0
        }));
    }
    candidates.sort_by_key(|segment| (segment.newest_wall_ms, segment.lane, segment.segment));
    let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    candidates.retain(|segment| {
        let is_old = segment.newest_wall_ms.saturating_add(settings.age_ms) <= wall_ms;
        let is_over = settings.bytes_max.is_some_and(|bytes_max| total > bytes_max);
        if is_old || is_over {
            total -= segment.bytes;
        }
        is_old || is_over
    });
    candidates
}

/// Each lane's segments in ascending order.
fn by_lane(segments: &[SegmentAge]) -> Vec<Vec<SegmentAge>> {
    let mut lanes: BTreeMap<u8, Vec<SegmentAge>> = BTreeMap::new();
    for segment in segments {
        lanes.entry(segment.lane).or_default().push(*segment);
    }
    for lane in lanes.values_mut() {
        lane.sort_unstable_by_key(|segment| segment.segment);
    }
    lanes.into_values().collect()
}

/// The ages of all segments of a directory, read from the headers of their batches alone.
///
/// # Errors
/// Those of the disk.
pub fn ages(disk: &dyn Disk, salt: u64) -> io::Result<Vec<SegmentAge>> {
    let mut ages = Vec::new();
    for file in segment::list(disk)?.into_values().flatten() {
        let name = file.name();
        let mut newest_wall_ms = 0;
        let mut block = vec![0; super::batch::HEADER_BYTES];
        let mut offset = 0;
        while offset + BLOCK_BYTES as u64 <= file.bytes {
            let read = disk.read_at(&name, offset, &mut block)?;
            let header = Header::parse(&block[..read]).filter(|header| {
                header.salt == salt && (header.lane, header.segment) == (file.lane, file.segment)
            });
            let Some(header) = header else { break };
            newest_wall_ms = header.wall_ms;
            offset += header.padded_bytes() as u64;
        }
        let (lane, segment, bytes) = (file.lane, file.segment, file.bytes);
        ages.push(SegmentAge { lane, segment, bytes, newest_wall_ms });
    }
    Ok(ages)
}

/// Carries out a lane's wish for a segment: recycles `spare`, one that may be dropped and has the
/// right length, or fills a new file.
///
/// # Errors
/// Those of the disk, `ENOSPC` first of all.
pub fn prepare(
    disk: &dyn Disk,
    lane: u8,
    number: u32,
    bytes: u64,
    spare: Option<&SegmentAge>,
) -> io::Result<()> {
    let name = segment::name(lane, number);
    match spare.filter(|spare| spare.bytes == bytes) {
        Some(spare) => disk.recycle(&segment::name(spare.lane, spare.segment), &name),
        None => disk.create_filled(&name, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3600 * 1000;

    fn segment(lane: u8, segment: u32, hours: u64) -> SegmentAge {
        SegmentAge { lane, segment, bytes: 100, newest_wall_ms: hours * HOUR_MS }
    }

    fn numbers(dropped: &[SegmentAge]) -> Vec<(u8, u32)> {
        dropped.iter().map(|segment| (segment.lane, segment.segment)).collect()
    }

    #[test]
    fn only_whole_old_segments_below_checkpoint_and_writer_go() {
        let all = [segment(0, 1, 1), segment(0, 2, 2), segment(0, 3, 3), segment(1, 7, 1)];
        let settings = RetentionSettings::default();
        let drop = |starts: &[(u8, u32)], current: &[(u8, u32)], hours| {
            numbers(&droppable(&all, starts, current, settings, hours * HOUR_MS))
        };
        assert_eq!(drop(&[(0, 9), (1, 9)], &[(0, 9), (1, 9)], 72), []);
        assert_eq!(drop(&[(0, 9), (1, 9)], &[(0, 9), (1, 9)], 74), [(0, 1), (0, 2)]);
        assert_eq!(drop(&[(0, 2), (1, 9)], &[(0, 9), (1, 7)], 500), [(0, 1)]);
        assert_eq!(drop(&[(0, 9)], &[(0, 2)], 500), [(0, 1)]);
        assert_eq!(drop(&[], &[(0, 9)], 500), [], "no checkpoint, nothing goes");
        assert_eq!(drop(&[(0, 9), (1, 9)], &[], 500), [(0, 1), (0, 2)], "each lane keeps its last");
    }

    #[test]
    fn above_the_limit_in_bytes_the_oldest_go_before_their_time() {
        let all = [segment(0, 1, 5), segment(0, 2, 6), segment(1, 1, 4), segment(1, 2, 7)];
        let settings = RetentionSettings { bytes_max: Some(250), ..RetentionSettings::default() };
        let dropped = droppable(&all, &[(0, 2), (1, 2)], &[(0, 2), (1, 2)], settings, 8 * HOUR_MS);
        assert_eq!(numbers(&dropped), [(1, 1), (0, 1)]);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
        let all = [segment(0, 1, 90_000), segment(0, 2, 10), segment(0, 3, 100)];
        let limits = RetentionSettings::default();
        let dropped = droppable(&all, &[(0, 3)], &[(0, 3)], limits, 100 * HOUR_MS);
        assert_eq!(numbers(&dropped), [(0, 1), (0, 2)]);
    }
}
