//! Header and checksum of a batch, the unit that is written and that recovery keeps or cuts.
//!
//! ```text
//!  0 magic u32    4 version u16   6 lane u8   7 0 u8
//!  8 crc32c u32  12 body bytes u32  16 segment u32  20 0 u32
//! 24 epoch u64   32 position u64    40 wall ms u64  48 salt u64  56 0 u64
//! 64 body, then padding to the next multiple of 4096
//! ```
//! The checksum covers header (itself left out) and body, not the padding, which means nothing.
//!
//! The salt is a secret number of the data directory. Bodies hold bytes that users choose; behind
//! a torn write such bytes may stand at the start of a block, and without the salt they could be
//! made to look like a batch that follows a bad one, which would stop the next start.

/// Unit of writes, and the alignment of batches.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 64;
/// Longest run a host may hand over. With it a batch of one run is written in about 1 ms by an
/// ordinary disk, which is what others then wait at most.
pub const RUN_BYTES_MAX: usize = 1 << 20;
/// Longest batch with its header and padding: one longest run fits.
pub const BATCH_BYTES_MAX: usize = RUN_BYTES_MAX + BLOCK_BYTES;

const MAGIC: u32 = u32::from_le_bytes(*b"HWSB");
const VERSION: u16 = 1;

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Lane it was written to.
    pub lane: u8,
    /// Segment it was written to.
    pub segment: u32,
    /// The lane's epoch, raised at each open.
    pub epoch: u64,
    /// The lane's dense counter of batches, over all its segments and epochs; the first is 1.
    pub position: u64,
    /// Bytes of records.
    pub body_bytes: u32,
    /// Wall clock when the batch was closed, for retention.
    pub wall_ms: u64,
    /// The directory's secret.
    pub salt: u64,
}

impl Header {
    /// Length with header and padding.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        padded(HEADER_BYTES + self.body_bytes as usize)
    }

    /// Header and checksum for `body`, whose length must be [`Header::body_bytes`].
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> [u8; HEADER_BYTES] {
        assert_eq!(body.len(), self.body_bytes as usize, "a header is made for its body");
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6] = self.lane;
        out[12..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.to_le_bytes());
        out[40..48].copy_from_slice(&self.wall_ms.to_le_bytes());
        out[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let crc = checksum(&out, body);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header without its checksum. `None`: not one of this version and this size.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>()?;
        let header = Self::fields(bytes);
        let named = word(bytes, 0) == MAGIC && half(bytes, 4) == VERSION;
        let sized = header.padded_bytes() <= BATCH_BYTES_MAX && header.body_bytes > 0;
        (named && sized).then_some(header)
    }

    /// Whether `batch`, which begins with this header and may go on behind the body, is whole.
    #[must_use]
    pub fn is_whole(&self, batch: &[u8]) -> bool {
        let Some(head) = batch.first_chunk::<HEADER_BYTES>() else { return false };
        let Some(body) = batch.get(HEADER_BYTES..HEADER_BYTES + self.body_bytes as usize) else {
            return false;
        };
        word(head, 8) == checksum(head, body)
    }

    /// The fields as they stand, whatever they are.
    fn fields(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            lane: bytes[6],
            body_bytes: word(bytes, 12),
            segment: word(bytes, 16),
            epoch: long(bytes, 24),
            position: long(bytes, 32),
            wall_ms: long(bytes, 40),
            salt: long(bytes, 48),
        }
    }

    /// Whether a block that is no whole batch still looks like the one that was expected: at
    /// least two of its four marks are right. One changed byte can spoil only one of them.
    #[must_use]
    pub fn resembles(block: &[u8], salt: u64, lane: u8, segment: u32, position: u64) -> bool {
        let Some(bytes) = block.first_chunk::<HEADER_BYTES>() else { return false };
        let found = Self::fields(bytes);
        let marks = [
            word(bytes, 0) == MAGIC,
            found.salt == salt,
            (found.lane, found.segment) == (lane, segment),
            found.position == position,
        ];
        // A recycled file holds old headers with magic and salt of their own; those have another
        // segment, so the segment or the position must be among the right ones.
        marks.iter().filter(|mark| **mark).count() >= 2 && (marks[2] || marks[3])
    }
}

/// `bytes` up to the next multiple of [`BLOCK_BYTES`].
#[must_use]
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

fn checksum(head: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&head[..8]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &head[12..]), body)
}

fn half(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
