//! Batches on their way out: where a long one may be cut, and a bounded queue for those that have
//! no credit yet.

use super::{session::LinkSession, wire::Family};
use hawser_codec::link::Damaged;
use std::collections::VecDeque;

/// Length of the piece to be cut off the front of a batch: all of it if it is short, else as many
/// whole frames as fit in `piece_bytes`, at least one.
pub(super) fn piece_bytes(
    batch: &[u8],
    piece_bytes: usize,
    frame_bytes_max: usize,
) -> Result<usize, Damaged> {
    if batch.len() <= piece_bytes {
        return Ok(batch.len());
    }
    let mut at = 0;
    while let Some(length) = batch[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
        let end = at + 4 + length as usize;
        if end > batch.len() {
            return Err(Damaged);
        }
        if end > piece_bytes {
            let piece = if at == 0 { end } else { at };
            return if piece <= frame_bytes_max { Ok(piece) } else { Err(Damaged) };
        }
        at = end;
    }
    Err(Damaged)
}

/// Batches that wait are joined up to this length, bytes: a queue full of a turn's few frames each
/// would cost more in buffers than in frames.
const JOINED_BYTES_MAX: usize = 64 << 10;

struct Waiting {
    family: Family,
    worker: u16,
    bytes: Vec<u8>,
    /// Bytes of it that have left.
    sent: usize,
}

/// Batches that wait for credit or for the link, in order, within a bound of bytes.
pub struct BatchQueue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    bytes_max: usize,
}

/// The queue is at its bound; the batch comes back.
#[derive(Debug)]
pub struct QueueFull(pub Vec<u8>);

impl BatchQueue {
    /// An empty queue that holds up to `bytes_max` bytes of batches. One batch is always taken.
    pub fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Appends a batch; its buffer comes back if the bytes were joined to the batch before.
    ///
    /// # Errors
    /// The bound is reached.
    pub fn push(
        &mut self,
        family: Family,
        worker: u16,
        bytes: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, QueueFull> {
        if !self.waiting.is_empty() && self.bytes + bytes.len() > self.bytes_max {
            return Err(QueueFull(bytes));
        }
        self.bytes += bytes.len();
        match self.waiting.back_mut() {
            Some(last)
                if (last.family, last.worker) == (family, worker)
                    && last.bytes.len() + bytes.len() <= JOINED_BYTES_MAX =>
            {
                last.bytes.extend_from_slice(&bytes);
                Ok(Some(bytes))
            }
            _ => {
                self.waiting.push_back(Waiting { family, worker, bytes, sent: 0 });
                Ok(None)
            }
        }
    }

    /// Sends what `session` takes; buffers that are empty now go to `spare`.
    ///
    /// # Errors
    /// A batch does not parse ([`LinkSession::send`]).
    pub fn flush(
        &mut self,
        session: &mut LinkSession,
        mut spare: impl FnMut(Vec<u8>),
    ) -> Result<(), Damaged> {
        while session.can_send()
            && let Some(first) = self.waiting.front_mut()
        {
            let mut rest = &first.bytes[first.sent..];
            session.send(first.family, first.worker, &mut rest)?;
            let left = rest.len();
            self.bytes -= first.bytes.len() - first.sent - left;
            first.sent = first.bytes.len() - left;
            if left == 0
                && let Some(done) = self.waiting.pop_front()
            {
                spare(done.bytes);
            }
        }
        Ok(())
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes everything out, in order: what has left in part with the rest of it.
    pub fn drain(&mut self) -> impl Iterator<Item = (Family, u16, Vec<u8>)> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|mut one| {
            one.bytes.drain(..one.sent);
            (one.family, one.worker, one.bytes)
        })
    }
}
