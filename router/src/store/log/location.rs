//! Where a record stands: lane, segment and byte offset in one word.

use std::fmt;

/// Bits of the offset: a segment file is at most 256 MiB.
const OFFSET_BITS: u32 = 28;
const SEGMENT_BITS: u32 = 30;

/// Lanes a directory can have.
pub const LANE_COUNT_MAX: u8 = 64;
/// Highest segment number. At 256 MiB each a lane ends after 2^58 bytes.
pub const SEGMENT_MAX: u32 = (1 << SEGMENT_BITS) - 1;
/// Longest segment file, bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << OFFSET_BITS;

/// Place of a record's header in a segment file, or none. Never leaves the store.
///
/// ```text
/// | lane 6 | segment 30 | byte offset 28 |
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(pub u64);

impl Location {
    /// No place. A file begins with a batch header, so no record has this place.
    pub const NONE: Self = Self(0);

    /// Packs a place.
    ///
    /// # Panics
    /// When a part is beyond its limit.
    #[must_use]
    pub fn new(lane: u8, segment: u32, offset: u64) -> Self {
        assert!(lane < LANE_COUNT_MAX && segment <= SEGMENT_MAX && offset < SEGMENT_BYTES_MAX);
        Self(
            u64::from(lane) << (SEGMENT_BITS + OFFSET_BITS)
                | u64::from(segment) << OFFSET_BITS
                | offset,
        )
    }

    /// Place of the record at `offset_in_run` of the run that begins at `base`.
    #[must_use]
    pub fn of(base: Self, offset_in_run: usize) -> Self {
        Self::new(base.lane(), base.segment(), base.offset() + offset_in_run as u64)
    }

    /// The place `bytes` further on in the same segment file.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        debug_assert!(self.offset() + bytes < SEGMENT_BYTES_MAX);
        Self(self.0 + bytes)
    }

    /// Whether this is [`Location::NONE`].
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Lane number.
    #[must_use]
    pub fn lane(self) -> u8 {
        (self.0 >> (SEGMENT_BITS + OFFSET_BITS)) as u8
    }

    /// Segment number.
    #[must_use]
    pub fn segment(self) -> u32 {
        ((self.0 >> OFFSET_BITS) & u64::from(SEGMENT_MAX)) as u32
    }

    /// Byte offset in the segment file.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.0 & (SEGMENT_BYTES_MAX - 1)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.lane(), self.segment(), self.offset())
    }
}
