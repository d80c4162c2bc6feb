//! Received bytes that are no whole frame yet.

/// Capacity kept when empty, bytes: most pieces fit; a long one's memory goes back.
const KEPT_BYTES: usize = 512 << 10;

/// A receive buffer: filled at the end, emptied at the front, contiguous, so that a frame can be
/// borrowed from it whole. Holds at most one unfinished frame and what was received with it.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// Bytes not yet consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Nothing is unfinished: received bytes may be looked at where they lie.
    pub fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Appends received bytes.
    pub fn extend(&mut self, received: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(received);
    }

    /// The vector to be appended to, for a shell that reads right into it.
    pub fn spare(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.bytes
    }

    /// The first `count` bytes are done with.
    pub fn consume(&mut self, count: usize) {
        self.taken += count;
        debug_assert!(self.taken <= self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Room for an unfinished frame of `bytes` in all, so that it grows once.
    pub fn expect(&mut self, bytes: usize) {
        self.compact();
        self.bytes.reserve(bytes.saturating_sub(self.bytes.len()));
    }

    /// Forgets everything; for the next connection.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Moves what is left to the front. Called once per receive, after whole frames were taken, so
    /// it moves less than a frame.
    fn compact(&mut self) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}
