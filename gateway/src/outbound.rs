//! Bytes on their way to connections.
//!
//! A connection with nothing to say owns nothing here. One that has, borrows a buffer from the
//! worker's pool: frames are encoded straight into it, it is handed to the ring as the one send in
//! flight, and while that is under way a second one collects. Buffers come back empty, so the
//! steady state allocates nothing.

use crate::limits::SPARE_BUFFER_BYTES_MAX;

/// Names a collecting buffer; `Queue::NONE` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue(u32);

impl Default for Queue {
    fn default() -> Self {
        Self::NONE
    }
}

impl Queue {
    /// No buffer.
    pub const NONE: Self = Self(u32::MAX);
}

/// Buffers of one worker.
pub struct Pool {
    collecting: Vec<Vec<u8>>,
    /// Bytes of each queue's send in flight that have not gone.
    sending: Vec<u32>,
    /// Bytes of each queue that are part of `held`.
    counted: Vec<u32>,
    held: usize,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
    /// Capacity of the spare buffers, and its bound.
    spare_bytes: usize,
    spare_bytes_max: usize,
}

impl Pool {
    /// A pool that keeps empty buffers of at most `spare_bytes_max` in all for reuse.
    pub fn new(spare_bytes_max: usize) -> Self {
        Self {
            collecting: Vec::new(),
            sending: Vec::new(),
            counted: Vec::new(),
            held: 0,
            free: Vec::new(),
            spare: Vec::new(),
            spare_bytes: 0,
            spare_bytes_max,
        }
    }

    /// The buffer behind `queue`, taken from the pool first if there is none.
    pub fn open(&mut self, queue: &mut Queue) -> &mut Vec<u8> {
        if *queue == Queue::NONE {
            let index = self.free.pop().unwrap_or_else(|| {
                self.collecting.push(Vec::new());
                self.sending.push(0);
                self.counted.push(0);
                self.collecting.len() as u32 - 1
            });
            self.collecting[index as usize] = self.spare();
            *queue = Queue(index);
        }
        &mut self.collecting[queue.0 as usize]
    }

    /// Bytes collected in `queue`.
    pub fn queued_bytes(&self, queue: Queue) -> usize {
        self.collecting.get(queue.0 as usize).map_or(0, Vec::len)
    }

    /// Bytes collected in `queue` and those of its send that have not gone.
    pub fn waiting_bytes(&self, queue: Queue) -> usize {
        let Some(bytes) = self.collecting.get(queue.0 as usize) else { return 0 };
        bytes.len() + self.sending[queue.0 as usize] as usize
    }

    /// Counts what was added to `queue` since it was counted last.
    pub fn count(&mut self, queue: Queue) {
        let bytes = self.waiting_bytes(queue);
        let Some(before) = self.counted.get_mut(queue.0 as usize) else { return };
        self.held = self.held - *before as usize + bytes;
        *before = bytes as u32;
    }

    /// Takes what was collected to be sent; it is held until [`Pool::sent`] says otherwise.
    pub fn take_to_send(&mut self, queue: Queue) -> Vec<u8> {
        let Some(collecting) = self.collecting.get_mut(queue.0 as usize) else { return Vec::new() };
        let bytes = std::mem::take(collecting);
        self.sending[queue.0 as usize] = bytes.len() as u32;
        bytes
    }

    /// Of the send in flight `unsent` bytes are left. A queue with nothing left is given back.
    pub fn sent(&mut self, queue: &mut Queue, unsent: usize) {
        let Some(sending) = self.sending.get_mut(queue.0 as usize) else { return };
        *sending = unsent as u32;
        self.release_if_empty(queue);
        self.count(*queue);
    }

    /// Gives a queue back in which nothing waits after all.
    pub fn release_if_empty(&mut self, queue: &mut Queue) {
        if *queue != Queue::NONE && self.waiting_bytes(*queue) == 0 {
            let empty = self.take(queue);
            self.recycle(empty);
        }
    }

    /// Bytes counted in all queues that were not taken.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Takes what was collected; the queue is empty afterwards.
    pub fn take(&mut self, queue: &mut Queue) -> Vec<u8> {
        if *queue == Queue::NONE {
            return Vec::new();
        }
        let bytes = std::mem::take(&mut self.collecting[queue.0 as usize]);
        self.held -= std::mem::take(&mut self.counted[queue.0 as usize]) as usize;
        self.sending[queue.0 as usize] = 0;
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
        let Some(bytes) = self.spare.pop() else { return Vec::new() };
        self.spare_bytes -= bytes.capacity();
        bytes
    }

    /// Gives a buffer back for reuse. A large one is not kept: one long page would stay resident
    /// for ever.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if capacity > 0
            && capacity <= SPARE_BUFFER_BYTES_MAX
            && self.spare_bytes + capacity <= self.spare_bytes_max
        {
            bytes.clear();
            self.spare_bytes += capacity;
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_collects_until_it_is_taken_and_then_costs_nothing() {
        let mut pool = Pool::new(1 << 20);
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
    fn held_bytes_are_those_counted_and_not_yet_taken() {
        let mut pool = Pool::new(1 << 20);
        let (mut one, mut two) = (Queue::NONE, Queue::NONE);
        pool.open(&mut one).extend_from_slice(b"abc");
        pool.count(one);
        pool.count(one);
        pool.open(&mut one).extend_from_slice(b"de");
        pool.count(one);
        pool.open(&mut two).extend_from_slice(b"f");
        pool.count(two);
        pool.count(Queue::NONE);
        assert_eq!(pool.held_bytes(), 6);
        let taken = pool.take(&mut one);
        assert_eq!(pool.held_bytes(), 1);
        pool.put(&mut one, taken);
        pool.count(one);
        assert_eq!(pool.held_bytes(), 6);
        pool.take(&mut one);
        pool.take(&mut two);
        assert_eq!(pool.held_bytes(), 0);
    }

    #[test]
    fn bytes_being_sent_are_held_until_they_have_gone() {
        let mut pool = Pool::new(1 << 20);
        let mut queue = Queue::NONE;
        pool.open(&mut queue).extend_from_slice(b"abcd");
        pool.count(queue);
        let bytes = pool.take_to_send(queue);
        pool.open(&mut queue).extend_from_slice(b"ef");
        pool.count(queue);
        assert_eq!((pool.queued_bytes(queue), pool.waiting_bytes(queue)), (2, 6));
        assert_eq!(pool.held_bytes(), 6);
        pool.sent(&mut queue, 1);
        assert_eq!(pool.held_bytes(), 3);
        pool.sent(&mut queue, 0);
        pool.recycle(bytes);
        assert_eq!((pool.held_bytes(), pool.waiting_bytes(queue)), (2, 2));
        assert_eq!(pool.take_to_send(queue), b"ef");
        pool.sent(&mut queue, 0);
        assert_eq!((queue, pool.held_bytes()), (Queue::NONE, 0));
    }

    #[test]
    fn empty_buffers_are_kept_up_to_a_bound_of_bytes() {
        let mut pool = Pool::new(2_500);
        (0..5).for_each(|_| pool.recycle(Vec::with_capacity(1000)));
        pool.recycle(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX + 1));
        let kept: Vec<usize> = (0..3).map(|_| pool.spare().capacity()).collect();
        assert_eq!(kept, [1000, 1000, 0]);
        pool.recycle(Vec::with_capacity(2_500));
        assert_eq!(pool.spare().capacity(), 2_500, "what was taken makes room again");
    }

    #[test]
    fn a_recycled_buffer_comes_back_empty() {
        let mut pool = Pool::new(1 << 20);
        pool.recycle(b"secret".to_vec());
        let mut queue = Queue::NONE;
        assert!(pool.open(&mut queue).is_empty());
    }
}
