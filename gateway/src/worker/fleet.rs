//! What all workers of a process share, besides the mesh.

use super::SessionSettings;
use crate::tls::Offers;
use hawser_ring::RingAddress;
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
};

/// What the process wants of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Serve.
    Serving = 0,
    /// Take nobody new, ask all to leave.
    Draining = 1,
    /// End now.
    Stopping = 2,
}

/// Settings that may change while workers serve.
type Offered = (Option<Arc<SessionSettings>>, Option<Arc<Offers>>);

/// What all workers of a process share, besides the mesh.
pub struct Fleet {
    phase: AtomicU8,
    /// Connections each worker holds or is about to get.
    pub loads: Box<[AtomicU32]>,
    /// Ring of each worker, 0 until known.
    pub addresses: Box<[OnceLock<RingAddress>]>,
    /// Workers with something left to do before the process may end.
    busy: Box<[AtomicBool]>,
    /// Settings to be taken over, and how often there were new ones.
    offered: Mutex<Offered>,
    edition: AtomicU32,
}

impl Fleet {
    /// A fleet of `workers` workers, serving.
    pub fn new(workers: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Serving as u8),
            loads: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            addresses: (0..workers).map(|_| OnceLock::new()).collect(),
            busy: (0..workers).map(|_| AtomicBool::new(true)).collect(),
            offered: Mutex::default(),
            edition: AtomicU32::new(0),
        }
    }

    /// Gives all workers new settings for sessions; they take them over at their next turn (wake
    /// them). Who is logged in stays so.
    pub fn offer(&self, settings: Arc<SessionSettings>) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(settings);
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Gives all workers what TLS handshakes are offered from now on; they take it over at their
    /// next turn (wake them). Those under way and connections past theirs do not notice.
    pub fn offer_tls(&self, offers: Arc<Offers>) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(offers);
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Settings offered since the edition a worker has, which is brought up to date. One load a
    /// turn; the lock is taken only when there is something new.
    pub(super) fn newer_than(&self, edition: &mut u32) -> Option<Offered> {
        let offered = self.edition.load(Ordering::Acquire);
        if offered == *edition {
            return None;
        }
        *edition = offered;
        Some(self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// What the process wants.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Changes it; workers see it at their next turn (wake them).
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Notes whether `worker` has something left to do. True if any worker has.
    pub(super) fn report(&self, worker: usize, busy: bool) -> bool {
        self.busy[worker].store(busy, Ordering::Release);
        self.busy.iter().any(|busy| busy.load(Ordering::Acquire))
    }

    /// The worker with the fewest connections.
    pub fn emptiest(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).enumerate();
        loads.min_by_key(|(_, load)| *load).map_or(0, |(index, _)| index)
    }
}
