//! Queues between workers and shard hosts.
//!
//! One bounded single-direction queue per ordered pair in which at least one side is a shard host;
//! workers that only hold connections do not talk to one another. What travels is a batch of a
//! whole turn, so the cost of a queue is per turn, not per message, and buffers change owner
//! without being copied.
//!
//! A receiver that sleeps is woken through its ring; who wakes it and who need not stands in
//! `doorbell`. A receiver finds out who has pushed from a set of flags, one bit per sender, and a sender flushes
//! only where something waits: with fifty workers, looking at every queue in every turn cost a host
//! more than the work in them.
//!
//! At the limit: what does not fit stays with the sender, in order, batches of a kind joined into
//! one; above a bound of bytes the sender takes no new work ([`MeshPort::is_behind`]) until it
//! fits again.

mod doorbell;

use crossbeam::{queue::ArrayQueue, utils::CachePadded};
use hawser_ring::{Ring, RingAddress};
pub use hawser_router::hosting::Parcel;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, atomic},
};

use doorbell::Doorbell;

/// Batches one queue holds. A host that is a full turn of 2 ms behind meets fewer than 64.
pub const QUEUE_PARCELS: usize = 64;

/// Bytes that may wait on the sender's side before it takes no new work: a host that the kernel
/// does not schedule for 10 ms, at 50 MB/s. New work is refused with "overloaded" from there on.
const WAITING_BYTES_MAX: usize = 512 * 1024;

struct Outgoing {
    queue: Arc<ArrayQueue<Parcel>>,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
}

impl Outgoing {
    fn is_behind(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX
    }
}

/// What all ports share.
struct Board {
    /// Per receiver, written by many.
    doorbells: Box<[CachePadded<Doorbell<SENDER_WORDS>>]>,
    addresses: Box<[OnceLock<RingAddress>]>,
}

/// Words of a set of workers, of which a mesh can have [`crate::limits::WORKERS_MAX`].
const SENDER_WORDS: usize = crate::limits::WORKERS_MAX as usize / 64;

/// One worker's end of the mesh.
pub struct MeshPort {
    own: usize,
    board: Arc<Board>,
    outgoing: Vec<Option<Outgoing>>,
    /// Receivers for whom something waits here.
    unflushed: Vec<usize>,
    /// Outgoing queues above the bound.
    behind: usize,
    incoming: Vec<Option<Arc<ArrayQueue<Parcel>>>>,
    /// Senders whose queue was not emptied for the limit of a turn.
    unread: [u64; SENDER_WORDS],
}

/// The ends of a mesh between `workers` workers, of which the first `hosts` are shard hosts.
pub fn mesh(workers: usize, hosts: usize) -> Vec<MeshPort> {
    let board = Arc::new(Board {
        doorbells: (0..workers).map(|_| CachePadded::new(Doorbell::new())).collect(),
        addresses: (0..workers).map(|_| OnceLock::new()).collect(),
    });
    let mut ports: Vec<MeshPort> = (0..workers)
        .map(|own| MeshPort {
            own,
            board: board.clone(),
            outgoing: (0..workers).map(|_| None).collect(),
            unflushed: Vec::new(),
            behind: 0,
            incoming: (0..workers).map(|_| None).collect(),
            unread: [0; SENDER_WORDS],
        })
        .collect();
    for from in 0..workers {
        for to in (0..workers).filter(|to| *to != from && (from < hosts || *to < hosts)) {
            let queue = Arc::new(ArrayQueue::new(QUEUE_PARCELS));
            ports[to].incoming[from] = Some(queue.clone());
            ports[from].outgoing[to] =
                Some(Outgoing { queue, waiting: VecDeque::new(), waiting_bytes: 0 });
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
        if outgoing.waiting.is_empty() {
            self.unflushed.push(to);
        }
        let was_behind = outgoing.is_behind();
        outgoing.waiting_bytes += parcel.bytes();
        self.behind += usize::from(outgoing.is_behind() && !was_behind);
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
        let (own, board) = (self.own, &self.board);
        let (outgoing, behind) = (&mut self.outgoing, &mut self.behind);
        self.unflushed.retain(|&to| {
            let Some(outgoing) = &mut outgoing[to] else { return false };
            let was_behind = outgoing.is_behind();
            while let Some(parcel) = outgoing.waiting.pop_front() {
                let bytes = parcel.bytes();
                if let Err(parcel) = outgoing.queue.push(parcel) {
                    outgoing.waiting.push_front(parcel);
                    break;
                }
                outgoing.waiting_bytes -= bytes;
            }
            *behind -= usize::from(was_behind && !outgoing.is_behind());
            if board.doorbells[to].announce(own)
                && let Some(address) = board.addresses[to].get()
            {
                ring.wake(*address);
            }
            !outgoing.waiting.is_empty()
        });
    }

    /// Takes parcels of those who have pushed, sender by sender, until none is left or `limit`
    /// are taken.
    pub fn receive(&mut self, limit: usize, into: &mut Vec<(u16, Parcel)>) {
        let doorbell = &self.board.doorbells[self.own];
        for (word, unread) in self.unread.iter_mut().enumerate() {
            *unread |= doorbell.take(word);
            while *unread != 0 {
                let from = word * 64 + unread.trailing_zeros() as usize;
                if let Some(queue) = &self.incoming[from] {
                    while into.len() < limit
                        && let Some(parcel) = queue.pop()
                    {
                        into.push((from as u16, parcel));
                    }
                }
                if into.len() >= limit {
                    return;
                }
                *unread &= *unread - 1;
            }
        }
    }

    /// About to sleep; false: something has come, do not.
    pub fn park(&self) -> bool {
        self.unread.iter().all(|word| *word == 0) && self.board.doorbells[self.own].park()
    }

    /// Awake: nobody needs to ring.
    pub fn unpark(&self) {
        self.board.doorbells[self.own].unpark();
    }

    /// Some receiver is behind by more than its bound.
    pub fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// Parcels wait on this side for a full queue.
    pub fn has_waiting(&self) -> bool {
        !self.unflushed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hawser_ring::{
        RingSettings,
        sim::{Faults, SimDisk, SimRing, World},
    };

    fn sim_ring(world: &World) -> SimRing {
        let settings = RingSettings {
            descriptors: 8,
            completion_entries: 64,
            submission_entries: 64,
            buffers: 4,
            buffer_bytes: 64,
        };
        SimRing::new(world, &SimDisk::new(world), settings)
    }

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
    fn a_receiver_takes_what_was_pushed_and_then_sleeps() {
        let mut ports = mesh(3, 1);
        assert!(ports[0].park());
        let world = World::new(1, Faults::none());
        let mut ring = sim_ring(&world);
        ports[2].send(0, uplink(7));
        ports[2].flush(&mut ring);
        assert!(!ports[2].has_waiting());
        assert!(!ports[0].park(), "something has come");
        let mut taken = Vec::new();
        ports[0].receive(10, &mut taken);
        assert!(matches!(&taken[..], [(2, Parcel::Uplink(batch))] if batch[0] == 7));
        assert!(ports[0].park());
        // Workers that only hold connections have no queue between them.
        assert!(ports[1].outgoing[2].is_none());
    }

    #[test]
    fn what_the_limit_of_a_turn_leaves_is_taken_in_the_next() {
        let mut ports = mesh(2, 1);
        let world = World::new(1, Faults::none());
        let mut ring = sim_ring(&world);
        for run in 0..5 {
            let parcel = Parcel::Run { life: 1, run, urgent: false, records: vec![0] };
            ports[1].send(0, parcel);
        }
        ports[1].flush(&mut ring);
        let mut taken = Vec::new();
        ports[0].receive(3, &mut taken);
        assert_eq!(taken.len(), 3);
        assert!(!ports[0].park());
        ports[0].receive(10, &mut taken);
        assert_eq!(taken.len(), 5);
        assert!(ports[0].park());
    }
}
