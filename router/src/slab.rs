//! Storage of many equal things under 32-bit indices.
//!
//! Grows by one chunk at a time: a doubling vector would copy a million entries within one turn
//! and keep half of its memory unused. Indices are stable.

/// Bytes of a chunk: small enough that 256 shards with a few entries each cost little, and a size
/// that allocators hand out without rounding up.
const CHUNK_BYTES: usize = 8192;

pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    length: usize,
}

impl<T> Slab<T> {
    const CHUNK: usize =
        if CHUNK_BYTES / size_of::<T>() > 0 { CHUNK_BYTES / size_of::<T>() } else { 1 };

    pub fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), free: Vec::new(), length: 0 }
    }

    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self[index] = value;
            return index;
        }
        if self.length.is_multiple_of(Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let index = self.length as u32;
        self.chunks.last_mut().expect("a chunk with room was just made sure of").push(value);
        self.length += 1;
        index
    }

    /// Gives an index back. The value stays until the index is used again.
    pub fn release(&mut self, index: u32) {
        self.free.push(index);
    }

    /// Entries in use.
    pub fn count(&self) -> usize {
        self.length - self.free.len()
    }

    /// Indices ever given out stand below this.
    pub fn ends(&self) -> u32 {
        self.length as u32
    }

    /// Every index ever given out; only for slabs that never release.
    pub fn indices(&self) -> std::ops::Range<u32> {
        0..self.length as u32
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / Self::CHUNK][index as usize % Self::CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / Self::CHUNK][index as usize % Self::CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_stay_and_released_ones_are_used_again() {
        let mut slab = Slab::new();
        let indices: Vec<u32> = (0..200).map(|n| slab.insert(n)).collect();
        assert!(indices.iter().enumerate().all(|(n, index)| slab[*index] == n));
        slab.release(77);
        assert_eq!(slab.count(), 199);
        assert_eq!(slab.insert(1000), 77);
        assert_eq!(slab[77], 1000);
    }
}
