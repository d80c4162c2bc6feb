//! Names and sizes of segment files.

use std::{collections::BTreeMap, io};

use super::location::{LANE_COUNT_MAX, SEGMENT_BYTES_MAX, SEGMENT_MAX};
use crate::store::Disk;

/// Length of a new segment file unless the settings say otherwise.
pub const SEGMENT_BYTES: u64 = SEGMENT_BYTES_MAX;
/// Shortest segment a setting may ask for; below it a lane would do little but roll over.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// A segment file as the directory shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Lane it belongs to.
    pub lane: u8,
    /// Its number in the lane.
    pub segment: u32,
    /// Length of the file.
    pub bytes: u64,
}

impl SegmentFile {
    /// Its file name.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.lane, self.segment)
    }
}

/// `lane-LL-SSSSSSSS.seg`, decimal; numbers above 99,999,999 take more digits.
#[must_use]
pub fn name(lane: u8, segment: u32) -> String {
    format!("lane-{lane:02}-{segment:08}.seg")
}

/// The lane and segment a file name stands for, if it is one.
#[must_use]
pub fn parse_name(file: &str) -> Option<(u8, u32)> {
    let (lane, segment) = file.strip_prefix("lane-")?.strip_suffix(".seg")?.split_once('-')?;
    let (lane, segment) = (lane.parse().ok()?, segment.parse().ok()?);
    let known = lane < LANE_COUNT_MAX && segment <= SEGMENT_MAX;
    (known && name(lane, segment) == file).then_some((lane, segment))
}

/// Segment files by lane, each lane's in ascending order.
///
/// # Errors
/// Those of [`Disk::list`].
pub fn list(disk: &dyn Disk) -> io::Result<BTreeMap<u8, Vec<SegmentFile>>> {
    let mut lanes: BTreeMap<u8, Vec<SegmentFile>> = BTreeMap::new();
    for file in disk.list()? {
        if let Some((lane, segment)) = parse_name(&file.name) {
            let files = lanes.entry(lane).or_default();
            files.push(SegmentFile { lane, segment, bytes: file.bytes });
        }
    }
    for files in lanes.values_mut() {
        files.sort_unstable_by_key(|file| file.segment);
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_a_name_is_a_segment() {
        assert_eq!(name(3, 17), "lane-03-00000017.seg");
        assert_eq!(parse_name("lane-03-00000017.seg"), Some((3, 17)));
        assert_eq!(parse_name(&name(63, SEGMENT_MAX)), Some((63, SEGMENT_MAX)));
        for other in
            ["lane-3-00000017.seg", "lane-03-17.seg", "lane-64-00000001.seg", "lane-03-.seg", "x"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
