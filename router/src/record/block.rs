//! What stands inside a block and an index record.
//!
//! A block keeps of each entry what neither the block itself says nor recovery alone needs.

use super::{Block, Entry, HEADER_BYTES, INDEX_FANOUT, INDEX_OVERLAP, Index, Unreadable, VERSION};
use crate::key::shard_of;
use hawser_codec::field::{Cut, Field, Key};

/// Bytes of an entry's payload that a block leaves out: version, user, number and stream are
/// those of the block, or of use to recovery alone.
const ENTRY_HEAD_BYTES: usize = 1 + 16 + 8 + 1 + 8;
/// Where the field `held` stands behind them; `reference` is the next.
const ENTRY_HELD_AT: usize = 2 * 16 + 3 * 8 + 16 + 8 + 3;

/// Makes the entry whose record stands at `location` independent of that place; `tail` is its
/// payload without the head. Bytes that are no entry stay as they are.
fn detach_entry(tail: &mut [u8], location: u64) {
    if let Some([held @ 2, reference @ ..]) = tail.get_mut(ENTRY_HELD_AT..)
        && let Some(reference) = reference.first_chunk_mut()
    {
        *held = 1;
        *reference = location.wrapping_sub(u64::from_le_bytes(*reference)).to_le_bytes();
    }
}

/// Appends what a block keeps of the payload of an entry whose record stands at `location`. Also
/// good for bytes that are no entry, which then are none in the block either.
pub(crate) fn entry_tail(payload: &[u8], location: u64, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(payload.get(ENTRY_HEAD_BYTES..).unwrap_or_default());
    detach_entry(&mut out[from..], location);
}

impl<'a> Entry<'a> {
    /// Reads an entry from what a block keeps of it. `source` and `streamed` are 0.
    pub fn take_tail(user: Key, number: u64, mut tail: &'a [u8]) -> Result<Entry<'a>, Unreadable> {
        let rest = &mut tail;
        Ok(Entry {
            user,
            number,
            source: 0,
            streamed: 0,
            device: Field::take(rest)?,
            conversation: Field::take(rest)?,
            sequence: Field::take(rest)?,
            incarnation: Field::take(rest)?,
            client_seq: Field::take(rest)?,
            uuid: Field::take(rest)?,
            time_ms: Field::take(rest)?,
            content: Field::take(rest)?,
            receipts: Field::take(rest)?,
            own: Field::take(rest)?,
            held: Field::take(rest)?,
            reference: Field::take(rest)?,
            reference_bytes: Field::take(rest)?,
            peer_name: Field::take(rest)?,
            sender_name: Field::take(rest)?,
            device_name: Field::take(rest)?,
            body: Field::take(rest)?,
        })
    }
}

/// Whether a payload is that of a mailbox's entry, by its first fields.
pub(crate) fn is_entry(payload: &[u8], user: &Key, number: u64) -> bool {
    let mut rest = payload;
    matches!(u8::take(&mut rest), Ok(VERSION))
        && Key::take(&mut rest).is_ok_and(|found| found == *user)
        && u64::take(&mut rest).is_ok_and(|found| found == number)
}

/// One entry of a block.
///
/// ```text
/// | length u16 | device .. body of the entry |   or   | 0 u16 | location u64 | length u16 |
/// ```
/// The first form is the entry's payload from `device` on. The second form only names the entry, with the length of its record: its bytes could not be
/// had without a read when the block was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// What [`Entry::take_tail`] reads; a body held elsewhere has an absolute reference.
    Copy(&'a [u8]),
    /// Where the entry stands.
    Reference {
        /// Location of its record.
        location: u64,
        /// Length of its record, frame included.
        bytes: u16,
    },
}

/// Writes a block into a run, entry by entry.
pub(crate) struct BlockWriter<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> BlockWriter<'a> {
    pub fn begin(user: Key, number: u64, out: &'a mut Vec<u8>) -> BlockWriter<'a> {
        let at = out.len();
        // The shard's position is known once it is sure that the block is written.
        Block { user, number, entries: &[] }.put(shard_of(&user), 0, out);
        BlockWriter { out, at }
    }

    /// Appends the entry with this payload, whose record stands at `location`.
    pub fn copy(&mut self, payload: &[u8], location: u64) {
        let at = self.out.len();
        0u16.put(self.out);
        entry_tail(payload, location, self.out);
        let length = self.out.len() - at - 2;
        self.out[at..at + 2].copy_from_slice(&(length as u16).to_le_bytes());
    }

    /// Appends an entry as another block would keep it.
    pub fn copy_tail(&mut self, tail: &[u8]) {
        (tail.len() as u16).put(self.out);
        self.out.extend_from_slice(tail);
    }

    /// Names the entry whose record stands at `location`.
    pub fn refer(&mut self, location: u64, bytes: u16) {
        0u16.put(self.out);
        location.put(self.out);
        bytes.put(self.out);
    }

    /// Gives the record its position. How many bytes it takes.
    pub fn end(self, position: u64) -> u32 {
        let record = &mut self.out[self.at..];
        let bytes = record.len();
        let entries_at = HEADER_BYTES + 1 + 16 + 8 + 4;
        let put = |record: &mut [u8], at: usize, length: usize| {
            record[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        };
        put(record, 0, bytes - HEADER_BYTES);
        put(record, entries_at - 4, bytes - entries_at);
        record[8..16].copy_from_slice(&position.to_le_bytes());
        bytes as u32
    }

    /// Leaves the run as it was.
    pub fn abandon(self) {
        self.out.truncate(self.at);
    }
}

impl<'a> Item<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Item<'a>, Unreadable> {
        let length = usize::from(u16::take(rest)?);
        if length == 0 {
            let (location, bytes) = (u64::take(rest)?, u16::take(rest)?);
            return Ok(Item::Reference { location, bytes });
        }
        let (payload, tail) = rest.split_at_checked(length).ok_or(Unreadable)?;
        *rest = tail;
        Ok(Item::Copy(payload))
    }
}

impl<'a> Block<'a> {
    /// The entries in order; ends early where the bytes are damaged.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let mut rest = self.entries;
        std::iter::from_fn(move || Item::take(&mut rest).ok())
    }
}

/// Where a record stands that is read with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Location of its first byte.
    pub location: u64,
    /// Its length, frame included.
    pub bytes: u32,
}

impl Site {
    /// Bytes of one in an index record.
    pub const BYTES: usize = 12;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.location.put(out);
        self.bytes.put(out);
    }

    pub(crate) fn take(rest: &mut &[u8]) -> Result<Site, Cut> {
        Ok(Site { location: u64::take(rest)?, bytes: u32::take(rest)? })
    }
}

impl<'a> Index<'a> {
    /// The places in order.
    pub fn sites(&self) -> impl DoubleEndedIterator<Item = Site> + ExactSizeIterator + use<'a> {
        self.sites
            .chunks_exact(Site::BYTES)
            .map(|mut chunk| Site::take(&mut chunk).expect("the chunk is as long as a place"))
    }

    /// Number of the first place on the level below.
    pub fn first(&self) -> u64 {
        (self.number * INDEX_FANOUT).saturating_sub(INDEX_OVERLAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_entries_as_they_were_and_makes_references_absolute() {
        let entry = Entry {
            user: [1; 16],
            number: 65,
            source: 3,
            streamed: 4,
            device: [5; 16],
            conversation: [6; 16],
            sequence: 7,
            incarnation: 8,
            client_seq: 9,
            uuid: [10; 16],
            time_ms: 11,
            content: 12,
            receipts: 13,
            own: 1,
            held: 2,
            reference: 14,
            reference_bytes: 15,
            peer_name: b"bob",
            sender_name: b"ann",
            device_name: b"phone",
            body: b"",
        };
        let other = Entry { number: 66, held: 0, reference: 0, body: b"hello", ..entry };
        let mut record = Vec::new();
        let mut run = b"what stands before".to_vec();
        let at = run.len();
        let mut writer = BlockWriter::begin([1; 16], 2, &mut run);
        for entry in [entry, other] {
            record.clear();
            entry.put(1, 9, &mut record);
            let payload = &record[HEADER_BYTES..];
            assert!(is_entry(payload, &[1; 16], entry.number));
            assert!(!is_entry(payload, &[2; 16], entry.number));
            assert!(!is_entry(payload, &[1; 16], entry.number + 1));
            writer.copy(payload, 1_000);
        }
        writer.refer(2_000, 300);
        let bytes = writer.end(77);
        assert_eq!(bytes as usize, run.len() - at);
        let (framed, length) = super::super::Framed::take(&run[at..]).unwrap();
        assert_eq!((framed.kind, framed.shard, framed.position), (Block::KIND, 1, 77));
        assert_eq!(length, bytes as usize);
        let block = Block::take(framed.payload).unwrap();
        assert_eq!((block.user, block.number), ([1; 16], 2));
        let items: Vec<Item> = block.items().collect();
        let [Item::Copy(first), Item::Copy(second), Item::Reference { location, bytes }] =
            items[..]
        else {
            panic!("{items:?}");
        };
        let stripped = Entry { source: 0, streamed: 0, ..entry };
        let absolute = Entry { held: 1, reference: 1_000 - 14, ..stripped };
        assert_eq!(Entry::take_tail([1; 16], 65, first), Ok(absolute));
        let unchanged = Entry { source: 0, streamed: 0, ..other };
        assert_eq!(Entry::take_tail([1; 16], 66, second), Ok(unchanged));
        assert_eq!((location, bytes), (2_000, 300));
    }

    #[test]
    fn an_abandoned_block_leaves_the_run_as_it_was() {
        let mut run = b"what stands before".to_vec();
        let mut writer = BlockWriter::begin([1; 16], 2, &mut run);
        writer.refer(2_000, 300);
        writer.abandon();
        assert_eq!(run, b"what stands before");
    }
}
