//! How a receiver learns that somebody has pushed, and is woken if it sleeps.
//!
//! A receiver that is about to sleep says so (`parked`), looks once more, and sleeps; a sender
//! pushes, sets its flag, then looks whether the receiver is parked and only then rings. Both sides
//! put a full fence between their write and their read, so one of them sees the other.
//!
//! Knows neither queues nor rings. The atomics are those of the parent module: the threads' own in the
//! mesh, loom's in `tests/mesh_doorbell.rs`, which runs this very file through every interleaving.

use super::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Of one receiver; one flag for each of `64 * WORDS` senders.
pub struct Doorbell<const WORDS: usize> {
    parked: AtomicBool,
    /// Senders that have pushed since the receiver last looked.
    pushed: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Doorbell<WORDS> {
    /// Of a receiver that is awake.
    pub fn new() -> Self {
        Self { parked: AtomicBool::new(false), pushed: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The sender has pushed. True: the receiver sleeps, and nobody else has been told to wake it.
    #[must_use]
    pub fn announce(&self, sender: usize) -> bool {
        // The flag after the push: whoever sees it finds what was pushed.
        self.pushed[sender / 64].fetch_or(1 << (sender % 64), Ordering::Release);
        fence(Ordering::SeqCst);
        // A plain look first, as in `take`: a busy receiver is awake. An exchange and not a swap: who
        // finds the receiver awake must write nothing, or loom, which does not know that nothing can
        // stand between what a swap reads and what it writes, sees that write hide a later parking.
        self.parked.load(Ordering::Relaxed)
            && self
                .parked
                .compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// The receiver takes the flags of senders `64 * word` and above, lowest bit first.
    pub fn take(&self, word: usize) -> u64 {
        // A plain look first: most turns bring nothing, and a swap would take the cache line from
        // its writers.
        if self.pushed[word].load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.pushed[word].swap(0, Ordering::Acquire)
    }

    /// The receiver is about to sleep; false: a flag is set, it must not.
    #[must_use]
    pub fn park(&self) -> bool {
        self.parked.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let quiet = self.pushed.iter().all(|word| word.load(Ordering::Acquire) == 0);
        if !quiet {
            self.unpark();
        }
        quiet
    }

    /// The receiver is awake: nobody needs to ring.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Release);
    }
}
