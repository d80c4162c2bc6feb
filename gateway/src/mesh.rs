//! Queues between workers and shard hosts.
//!
//! One bounded single-direction queue per ordered pair in which at least one side is a shard host;
//! workers that only hold connections do not talk to one another. What travels is a batch of a
//! whole turn, so the cost of a queue is per turn, not per message, and buffers change owner
//! without being copied.
//!
//! A receiver that is about to sleep says so (`parked`), looks once more, and sleeps; a sender
//! pushes, then looks whether the receiver is parked and only then rings its doorbell. Both sides
//! put a full fence between their write and their read, so one of them sees the other.
//!
//! At the limit: what does not fit stays with the sender, in order, batches of a kind joined into
//! one; above a bound of bytes the sender takes no new work ([`MeshPort::is_behind`]) until it
//! fits again.

use crossbeam::{queue::ArrayQueue, utils::CachePadded};
use hawser_ring::{Ring, RingAddress};
use hawser_router::Location;
use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
};

/// Batches one queue holds. A host that is a full turn of 2 ms behind meets fewer than 64.
pub const QUEUE_PARCELS: usize = 64;

/// Bytes that may wait on the sender's side before it takes no new work: a host that the kernel
/// does not schedule for 10 ms, at 50 MB/s. New work is refused with "overloaded" from there on.
const WAITING_BYTES_MAX: usize = 512 * 1024;

/// Batches are joined up to this length.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// What travels.
pub enum Parcel {
    /// Link frames from a worker to a host.
    Uplink(Vec<u8>),
    /// Link frames from a host to a worker.
    Downlink(Vec<u8>),
    /// Link frames from host to host.
    Peer {
        /// Life of the sending host.
        life: u32,
        /// The frames.
        batch: Vec<u8>,
    },
    /// A sealed run of records for the owner of the lane.
    Run {
        /// Life of the sending host.
        life: u32,
        /// Number of the run at its host.
        run: u64,
        /// To be flushed without waiting.
        urgent: bool,
        /// Records.
        records: Vec<u8>,
    },
    /// The lane's owner has made a run durable.
    Durable {
        /// Life of the sending host.
        life: u32,
        /// Number of the run.
        run: u64,
        /// Where its first byte stands.
        base: Location,
    },
    /// The lane takes records, or does not.
    Storage {
        /// Life of the sending host.
        life: u32,
        /// It does.
        available: bool,
    },
    /// A lane has failed: the life is over for all hosts.
    Failed {
        /// The life.
        life: u32,
    },
}

impl Parcel {
    /// Bytes of frames or records in it.
    fn bytes(&self) -> usize {
        match self {
            Self::Uplink(batch) | Self::Downlink(batch) | Self::Peer { batch, .. } => batch.len(),
            Self::Run { records, .. } => records.len(),
            Self::Durable { .. } | Self::Storage { .. } | Self::Failed { .. } => 0,
        }
    }

    /// Takes `later` into this one if both are batches of one kind and life; else gives it back.
    fn join(&mut self, later: Self) -> Result<(), Self> {
        if self.bytes() + later.bytes() > JOINED_BYTES_MAX {
            return Err(later);
        }
        match (self, later) {
            (Self::Uplink(batch), Self::Uplink(more))
            | (Self::Downlink(batch), Self::Downlink(more)) => batch.extend_from_slice(&more),
            (Self::Peer { life, batch }, Self::Peer { life: same, batch: more })
                if *life == same =>
            {
                batch.extend_from_slice(&more);
            }
            (_, later) => return Err(later),
        }
        Ok(())
    }

    /// The hosts' life it belongs to, if it must not survive one.
    pub fn life(&self) -> Option<u32> {
        match self {
            Self::Uplink(_) | Self::Downlink(_) => None,
            Self::Peer { life, .. }
            | Self::Run { life, .. }
            | Self::Durable { life, .. }
            | Self::Storage { life, .. }
            | Self::Failed { life } => Some(*life),
        }
    }
}

struct Outgoing {
    queue: Arc<ArrayQueue<Parcel>>,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
    rang: bool,
}

/// What all ports share.
struct Board {
    parked: Box<[CachePadded<AtomicBool>]>,
    addresses: Box<[OnceLock<RingAddress>]>,
}

/// One worker's end of the mesh.
pub struct MeshPort {
    own: usize,
    board: Arc<Board>,
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<(u16, Arc<ArrayQueue<Parcel>>)>,
}

/// The ends of a mesh between `workers` workers, of which the first `hosts` are shard hosts.
pub fn mesh(workers: usize, hosts: usize) -> Vec<MeshPort> {
    let board = Arc::new(Board {
        parked: (0..workers).map(|_| CachePadded::new(AtomicBool::new(false))).collect(),
        addresses: (0..workers).map(|_| OnceLock::new()).collect(),
    });
    let mut ports: Vec<MeshPort> = (0..workers)
        .map(|own| MeshPort {
            own,
            board: board.clone(),
            outgoing: (0..workers).map(|_| None).collect(),
            incoming: Vec::new(),
        })
        .collect();
    for from in 0..workers {
        for to in (0..workers).filter(|to| *to != from && (from < hosts || *to < hosts)) {
            let queue = Arc::new(ArrayQueue::new(QUEUE_PARCELS));
            ports[to].incoming.push((from as u16, queue.clone()));
            ports[from].outgoing[to] =
                Some(Outgoing { queue, waiting: VecDeque::new(), waiting_bytes: 0, rang: false });
        }
    }
    ports
}

impl MeshPort {
    /// Makes this worker's ring known to those who will wake it.
    pub fn announce(&self, address: RingAddress) {
        self.board.addresses[self.own].get_or_init(|| address);
    }

    /// Queues a parcel; it leaves at the next [`MeshPort::flush`].
    pub fn send(&mut self, to: usize, parcel: Parcel) {
        let outgoing = self.outgoing[to].as_mut().expect("one of every pair is a host");
        outgoing.waiting_bytes += parcel.bytes();
        let parcel = match outgoing.waiting.back_mut() {
            Some(last) => last.join(parcel),
            None => Err(parcel),
        };
        if let Err(parcel) = parcel {
            outgoing.waiting.push_back(parcel);
        }
    }

    /// Moves what waits into the queues and wakes who sleeps.
    pub fn flush<R: Ring>(&mut self, ring: &mut R) {
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            let Some(outgoing) = outgoing else { continue };
            let mut pushed = false;
            while let Some(parcel) = outgoing.waiting.pop_front() {
                let bytes = parcel.bytes();
                if let Err(parcel) = outgoing.queue.push(parcel) {
                    outgoing.waiting.push_front(parcel);
                    break;
                }
                outgoing.waiting_bytes -= bytes;
                pushed = true;
            }
            if !pushed && !outgoing.rang {
                continue;
            }
            fence(Ordering::SeqCst);
            if self.board.parked[to].swap(false, Ordering::AcqRel)
                && let Some(address) = self.board.addresses[to].get()
            {
                ring.wake(*address);
            }
            // A queue that was full is looked at again when the receiver has slept since.
            outgoing.rang = !outgoing.waiting.is_empty();
        }
    }

    /// Takes one parcel from each pair in turn until all are empty or `limit` are taken.
    pub fn receive(&mut self, limit: usize, into: &mut Vec<(u16, Parcel)>) {
        for (from, queue) in &self.incoming {
            while into.len() < limit
                && let Some(parcel) = queue.pop()
            {
                into.push((*from, parcel));
            }
        }
    }

    /// About to sleep; false: something has come, do not.
    pub fn park(&self) -> bool {
        self.board.parked[self.own].store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let quiet = self.incoming.iter().all(|(_, queue)| queue.is_empty());
        if !quiet {
            self.unpark();
        }
        quiet
    }

    /// Awake: nobody needs to ring.
    pub fn unpark(&self) {
        self.board.parked[self.own].store(false, Ordering::Release);
    }

    /// Some receiver is behind by more than its bound.
    pub fn is_behind(&self) -> bool {
        self.outgoing.iter().flatten().any(|o| o.waiting_bytes >= WAITING_BYTES_MAX)
    }

    /// Parcels wait on this side for a full queue.
    pub fn has_waiting(&self) -> bool {
        self.outgoing.iter().flatten().any(|o| !o.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(byte: u8) -> Parcel {
        Parcel::Uplink(vec![byte; 100])
    }

    #[test]
    fn batches_that_wait_are_joined_in_order_and_only_with_their_kind() {
        let mut ports = mesh(2, 1);
        let port = &mut ports[1];
        port.send(0, uplink(1));
        port.send(0, uplink(2));
        let waiting = &port.outgoing[0].as_ref().unwrap().waiting;
        assert_eq!(waiting.len(), 1);
        let Parcel::Uplink(batch) = &waiting[0] else { panic!() };
        assert_eq!((batch.len(), batch[0], batch[199]), (200, 1, 2));
        let run = |run| Parcel::Run { life: 1, run, urgent: false, records: vec![0; 10] };
        let port = &mut ports[0];
        port.send(1, run(1));
        port.send(1, run(2));
        assert_eq!(port.outgoing[1].as_ref().unwrap().waiting.len(), 2);
    }

    #[test]
    fn a_sender_is_behind_above_its_bound_of_bytes() {
        let mut ports = mesh(2, 1);
        for _ in 0..WAITING_BYTES_MAX / 100 {
            ports[1].send(0, uplink(0));
        }
        assert!(!ports[1].is_behind());
        ports[1].send(0, uplink(0));
        assert!(ports[1].is_behind() && !ports[0].is_behind());
    }

    #[test]
    fn a_receiver_with_something_in_its_queue_does_not_sleep() {
        let ports = mesh(3, 1);
        assert!(ports[0].park());
        let queue = &ports[2].outgoing[0].as_ref().unwrap().queue;
        assert!(queue.push(uplink(1)).is_ok());
        assert!(!ports[0].park());
        // Workers that only hold connections have no queue between them.
        assert!(ports[1].outgoing[2].is_none());
    }
}
