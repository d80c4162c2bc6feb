//! The entries written last, so that a page at the head of a mailbox, and the next block of it,
//! need no read.
//!
//! One queue of chunks for a whole host: an entry is appended once and leaves with its chunk, the
//! oldest first. What is kept of it elsewhere is a [`Spot`], which goes stale by itself.
//!
//! Invariant: memory stays within the bound. Whoever takes bytes checks that they are what he
//! looks for: after 2^32 chunks a stale spot could point at others.

use std::collections::VecDeque;

/// Bytes of a chunk: many entries, and little memory on a host that has written few.
const CHUNK_BYTES: usize = 64 << 10;

/// Where an entry was put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Number of the chunk in two halves: a place of an entry has 16 bytes, and there are many.
    chunk: [u16; 2],
    at: u16,
}

impl Spot {
    /// Nowhere: the first chunk has number 1.
    pub const NONE: Spot = Spot { chunk: [0; 2], at: 0 };
}

pub(crate) struct Recent {
    chunks: VecDeque<Vec<u8>>,
    /// Number of the first chunk.
    first: u32,
    chunks_max: usize,
}

impl Recent {
    /// Keeps at most `bytes_max`; less than a chunk keeps nothing.
    pub fn new(bytes_max: usize) -> Recent {
        Recent { chunks: VecDeque::new(), first: 1, chunks_max: bytes_max / CHUNK_BYTES }
    }

    /// Changes the bound.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.chunks_max = bytes_max / CHUNK_BYTES;
        while self.chunks.len() > self.chunks_max {
            self.first = self.first.wrapping_add(1);
            self.chunks.pop_front();
        }
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }

    /// Keeps the payload of an entry.
    pub fn put(&mut self, payload: &[u8]) -> Spot {
        if self.chunks_max == 0 || payload.len() > CHUNK_BYTES {
            return Spot::NONE;
        }
        let has_room = |chunk: &Vec<u8>| chunk.len() + payload.len() <= CHUNK_BYTES;
        if !self.chunks.back().is_some_and(has_room) {
            let mut chunk = if self.chunks.len() < self.chunks_max {
                Vec::with_capacity(CHUNK_BYTES)
            } else {
                self.first = self.first.wrapping_add(1);
                self.chunks.pop_front().expect("there are chunks_max of them")
            };
            chunk.clear();
            self.chunks.push_back(chunk);
        }
        let last = self.chunks.len() - 1;
        let at = self.chunks[last].len() as u16;
        self.chunks[last].extend_from_slice(payload);
        let chunk = self.first.wrapping_add(last as u32);
        Spot { chunk: [chunk as u16, (chunk >> 16) as u16], at }
    }

    /// What was put there, if it is still here: `length` bytes that may be anything.
    pub fn get(&self, spot: Spot, length: usize) -> Option<&[u8]> {
        if spot == Spot::NONE {
            return None;
        }
        let number = u32::from(spot.chunk[0]) | u32::from(spot.chunk[1]) << 16;
        let chunk = self.chunks.get(number.wrapping_sub(self.first) as usize)?;
        chunk.get(usize::from(spot.at)..usize::from(spot.at) + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_the_oldest_leave() {
        let mut recent = Recent::new(3 * CHUNK_BYTES);
        let spots: Vec<Spot> =
            (0..1000u32).map(|n| recent.put(&n.to_le_bytes().repeat(100))).collect();
        assert_eq!(recent.bytes(), 3 * CHUNK_BYTES);
        let kept: Vec<bool> = (0..1000u32)
            .map(|n| {
                let bytes = recent.get(spots[n as usize], 400);
                assert!(bytes.is_none_or(|bytes| bytes == n.to_le_bytes().repeat(100)));
                bytes.is_some()
            })
            .collect();
        assert!(kept.is_sorted() && !kept[600] && kept[700]);
        assert_eq!(recent.get(Spot::NONE, 1), None);
    }

    #[test]
    fn a_bound_of_nothing_keeps_nothing() {
        let mut recent = Recent::new(0);
        assert_eq!(recent.put(b"entry"), Spot::NONE);
        assert_eq!(recent.bytes(), 0);
    }
}
