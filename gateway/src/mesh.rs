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
//! At the limit: what does not fit stays with the sender in order and is counted; the sender stops
//! taking new work ([`MeshPort::is_behind`]) until it fits again.

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

/// Batches that may wait on the sender's side before it takes no new work.
const WAITING_PARCELS_MAX: usize = 64;

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
                Some(Outgoing { queue, waiting: VecDeque::new(), rang: false });
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
        self.outgoing[to].as_mut().expect("one of every pair is a host").waiting.push_back(parcel);
    }

    /// Moves what waits into the queues and wakes who sleeps.
    pub fn flush<R: Ring>(&mut self, ring: &mut R) {
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            let Some(outgoing) = outgoing else { continue };
            let mut pushed = false;
            while let Some(parcel) = outgoing.waiting.pop_front() {
                if let Err(parcel) = outgoing.queue.push(parcel) {
                    outgoing.waiting.push_front(parcel);
                    break;
                }
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
        self.outgoing.iter().flatten().any(|o| o.waiting.len() >= WAITING_PARCELS_MAX)
    }

    /// Parcels wait on this side for a full queue.
    pub fn has_waiting(&self) -> bool {
        self.outgoing.iter().flatten().any(|o| !o.waiting.is_empty())
    }
}
