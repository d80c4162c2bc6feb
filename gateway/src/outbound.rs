//! Bytes on their way to connections.
//!
//! A connection with nothing to say owns nothing here. One that has, borrows a buffer from the
//! worker's pool: frames are encoded straight into it, it is handed to the ring as the one send in
//! flight, and while that is under way a second one collects. Buffers come back empty, so the
//! steady state allocates nothing.

/// Buffers kept for reuse per worker. More than connections with a send in flight at once are of
/// no use; fewer would allocate in bursts.
const SPARE_BUFFERS_MAX: usize = 1024;

/// A buffer that grew beyond this is not kept: one large page would stay resident for ever.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// Names a collecting buffer; `Queue::NONE` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue(u32);

impl Queue {
    /// No buffer.
    pub const NONE: Self = Self(u32::MAX);
}

/// Buffers of one worker.
#[derive(Default)]
pub struct Pool {
    collecting: Vec<Vec<u8>>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
}

impl Pool {
    /// The buffer behind `queue`, taken from the pool first if there is none.
    pub fn open(&mut self, queue: &mut Queue) -> &mut Vec<u8> {
        if *queue == Queue::NONE {
            let index = self.free.pop().unwrap_or_else(|| {
                self.collecting.push(Vec::new());
                self.collecting.len() as u32 - 1
            });
            self.collecting[index as usize] = self.spare.pop().unwrap_or_default();
            *queue = Queue(index);
        }
        &mut self.collecting[queue.0 as usize]
    }

    /// Bytes waiting in `queue`.
    pub fn queued_bytes(&self, queue: Queue) -> usize {
        self.collecting.get(queue.0 as usize).map_or(0, Vec::len)
    }

    /// Bytes waiting in all queues.
    pub fn collecting_bytes(&self) -> usize {
        self.collecting.iter().map(Vec::len).sum()
    }

    /// Takes what was collected; the queue is empty afterwards.
    pub fn take(&mut self, queue: &mut Queue) -> Vec<u8> {
        if *queue == Queue::NONE {
            return Vec::new();
        }
        let bytes = std::mem::take(&mut self.collecting[queue.0 as usize]);
        self.free.push(queue.0);
        *queue = Queue::NONE;
        bytes
    }

    /// Puts bytes taken before back as the whole of `queue`, which is empty.
    pub fn put(&mut self, queue: &mut Queue, bytes: Vec<u8>) {
        let empty = std::mem::replace(self.open(queue), bytes);
        self.recycle(empty);
    }

    /// An empty buffer.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives a buffer back for reuse.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX
            && bytes.capacity() > 0
            && bytes.capacity() <= SPARE_BYTES_MAX
        {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_collects_until_it_is_taken_and_then_costs_nothing() {
        let mut pool = Pool::default();
        let (mut one, mut two) = (Queue::NONE, Queue::NONE);
        pool.open(&mut one).extend_from_slice(b"a");
        pool.open(&mut two).extend_from_slice(b"b");
        pool.open(&mut one).extend_from_slice(b"c");
        assert_eq!(pool.take(&mut one), b"ac");
        assert_eq!(one, Queue::NONE);
        assert_eq!(pool.queued_bytes(two), 1);
        assert_eq!(pool.take(&mut one), b"");
    }

    #[test]
    fn a_recycled_buffer_comes_back_empty() {
        let mut pool = Pool::default();
        pool.recycle(b"secret".to_vec());
        let mut queue = Queue::NONE;
        assert!(pool.open(&mut queue).is_empty());
    }
}
