//! How long a thread may sleep for more than one completion.
//!
//! A quiet one answers at once, so that nothing is won by holding back at low load. A busy one
//! gathers: one system call and one switch of threads then serve many completions, and the next
//! turn's records share a write.

use hawser_codec::time::Now;

/// Completions a second from which a thread counts as busy: an eighth of what a core can serve.
const BUSY_PER_SECOND: u64 = 20_000;
/// Time over which they are counted, microseconds: long against a turn, short against a burst.
const WINDOW_US: u64 = 2_000;
/// Completions a busy thread waits for, for at most [`GATHER_US`].
const GATHER_COMPLETIONS: u32 = 128;
/// Bound on that wait, microseconds; measured to save a tenth of the CPU of an echo.
const GATHER_US: u32 = 100;

/// Completions of late, and what they say of the load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    began_us: u64,
    completions: u64,
    is_busy: bool,
}

impl Pace {
    /// A turn has brought so many completions.
    pub fn note(&mut self, now: Now, completions: u32) {
        self.completions += u64::from(completions);
        let passed_us = now.monotonic_us.saturating_sub(self.began_us);
        if passed_us < WINDOW_US {
            return;
        }
        let per_second = self.completions * 1_000_000 / passed_us;
        self.is_busy = per_second >= BUSY_PER_SECOND;
        self.began_us = now.monotonic_us;
        self.completions = 0;
    }

    /// Completions to wait for, and for how long at most, microseconds.
    pub fn gather(&self) -> (u32, u32) {
        if self.is_busy { (GATHER_COMPLETIONS, GATHER_US) } else { (1, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Now {
        Now { monotonic_us: us, wall_ms: 0 }
    }

    #[test]
    fn a_quiet_worker_waits_for_one_and_a_busy_one_gathers() {
        let mut pace = Pace::default();
        pace.note(at(10_000_000), 1);
        assert_eq!(pace.gather(), (1, 0));
        for turn in 1..=100 {
            pace.note(at(10_000_000 + turn * 50), 3);
        }
        assert_eq!(pace.gather(), (GATHER_COMPLETIONS, GATHER_US));
        pace.note(at(20_000_000), 1);
        assert_eq!(pace.gather(), (1, 0), "a lull ends it");
    }
}
