//! Framing of one record inside a run. Kinds and payloads are the shards' business.
//!
//! ```text
//! | payload length u32 | kind u8 | shard u8 | reserved u16 = 0 | position u64 | payload |
//! ```
//! Little-endian, no padding. A record carries no checksum of its own: its batch has one, and
//! position and shard let a reader of a single record see that it stands at the right place.

use std::fmt;

/// Bytes before the payload.
pub const RECORD_HEADER_BYTES: usize = 16;

/// One record of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// What the payload is.
    pub kind: u8,
    /// Logical shard that wrote it.
    pub shard: u8,
    /// That shard's dense counter.
    pub position: u64,
    /// The shard's bytes.
    pub payload: &'a [u8],
    /// Offset of the record's header from the start of the bytes that were iterated.
    pub offset: usize,
}

/// Bytes that are not a sequence of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Offset from the start of the bytes that were iterated.
    pub offset: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "record at {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for BadRecord {}

/// Appends one record to `out`; `payload` appends the payload's bytes.
///
/// # Panics
/// When the payload passes 4 GiB, which the run limit forbids long before.
pub fn put(
    out: &mut Vec<u8>,
    kind: u8,
    shard: u8,
    position: u64,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let mut header = [0; RECORD_HEADER_BYTES];
    header[4] = kind;
    header[5] = shard;
    header[8..].copy_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&header);
    payload(out);
    let length = u32::try_from(out.len() - start - RECORD_HEADER_BYTES)
        .expect("a run is at most 1 MiB, so a payload is below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The record at the start of `bytes`, for a reader that was given a location.
///
/// # Errors
/// When the bytes end before the record does, or its reserved field is not 0.
pub fn first(bytes: &[u8]) -> Result<RecordView<'_>, BadRecord> {
    at(bytes, 0)
}

/// Records of a run or of a batch body, in order. Ends after the first error.
#[must_use]
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { bytes, offset: 0 }
}

/// Iterator made by [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        let record = at(self.bytes, self.offset);
        self.offset = match record {
            Ok(view) => self.offset + RECORD_HEADER_BYTES + view.payload.len(),
            Err(_) => self.bytes.len(),
        };
        Some(record)
    }
}

fn at(bytes: &[u8], offset: usize) -> Result<RecordView<'_>, BadRecord> {
    let rest = &bytes[offset..];
    let Some((header, rest)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
        return Err(BadRecord { offset, what: "header is cut off" });
    };
    let [l0, l1, l2, l3, kind, shard, r0, r1, position @ ..] = *header;
    if (r0, r1) != (0, 0) {
        return Err(BadRecord { offset, what: "reserved field is not 0" });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let Some(payload) = rest.get(..length) else {
        return Err(BadRecord { offset, what: "payload is cut off" });
    };
    Ok(RecordView { kind, shard, position: u64::from_le_bytes(position), payload, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_put() {
        let mut run = Vec::new();
        put(&mut run, 3, 250, 7, |out| out.extend_from_slice(b"first"));
        put(&mut run, 4, 0, u64::MAX, |_| ());
        let read: Vec<_> = records(&run).map(Result::unwrap).collect();
        assert_eq!(
            read,
            [
                RecordView { kind: 3, shard: 250, position: 7, payload: b"first", offset: 0 },
                RecordView { kind: 4, shard: 0, position: u64::MAX, payload: b"", offset: 21 },
            ]
        );
        assert_eq!(first(&run[21..]).unwrap().kind, 4);
    }

    #[test]
    fn every_cut_of_a_run_is_an_error_and_not_a_panic() {
        let mut run = Vec::new();
        put(&mut run, 1, 2, 3, |out| out.extend_from_slice(b"payload"));
        for cut in 1..run.len() {
            assert!(records(&run[..cut]).next().unwrap().is_err(), "cut at {cut}");
        }
        run[6] = 1;
        assert!(first(&run).is_err());
    }
}
