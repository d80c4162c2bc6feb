//! How much may wait for one client, given how much waits for all: the marks of back-pressure.
//!
//! ```text
//! waiting for one connection    pushed to    read from
//! above high + answer room      no           no, until no more than low waits
//! above high                    no           yes
//! up to high                    yes          yes
//! ```
//!
//! As all connections of a worker together come near the worker's bound, the marks fall, so that
//! those with most waiting are the first to be held back: from half the bound on both stand at low,
//! at the bound at nothing. From half the bound on new requests and logins are refused as well.
//! What is still owed then (answers to requests taken, a page asked for) is small and finite; a
//! client that reads its answers is never held back.
//!
//! Pure. What it is not: a bound on what a client may send; it only says when to stop reading.

use crate::limits;

/// Marks that hold for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// With more bytes than this waiting a connection is not pushed to.
    pub push: usize,
    /// With more than this its bytes are not taken.
    pub read: usize,
    /// With no more than this they are taken again.
    pub resume: usize,
    /// New requests and logins are refused.
    pub crowded: bool,
    /// Not even the beginning of a longer frame is kept.
    pub full: bool,
}

/// Bounds of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    high: usize,
    low: usize,
    bound: usize,
}

impl Pressure {
    /// With the high mark of one connection and the bound of all, bytes.
    pub const fn new(high: usize, bound: usize) -> Self {
        Self { high, low: high / 100 * limits::OUTBOUND_LOW_PERCENT as usize, bound }
    }

    /// The marks while `held` bytes wait for all connections.
    pub const fn marks(&self, held: usize) -> Marks {
        if held >= self.bound {
            return Marks { push: 0, read: 0, resume: 0, crowded: true, full: true };
        }
        if held >= self.bound / 2 {
            let (push, read) = (self.low, self.low);
            return Marks { push, read, resume: 0, crowded: true, full: false };
        }
        let read = self.high + limits::OUTBOUND_ANSWER_BYTES as usize;
        Marks { push: self.high, read, resume: self.low, crowded: false, full: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A paused connection has something under way that resumes it, and more held bytes never
        /// let more in.
        #[test]
        fn marks_only_fall_and_a_pause_always_ends(
            high in 32 * 1024usize..4 << 20,
            bound in 1usize << 20..1 << 30,
            one in 0usize..1 << 31,
            two in 0usize..1 << 31,
        ) {
            let pressure = Pressure::new(high, bound);
            let (less, more) = (pressure.marks(one.min(two)), pressure.marks(one.max(two)));
            for marks in [less, more] {
                prop_assert!(marks.resume <= marks.read && marks.push <= marks.read);
                prop_assert!(!marks.full || marks.crowded);
            }
            prop_assert!(more.push <= less.push && more.read <= less.read);
            prop_assert!(more.resume <= less.resume && more.crowded >= less.crowded);
        }
    }

    #[test]
    fn those_with_most_waiting_are_held_back_first() {
        let pressure = Pressure::new(100_000, 10_000_000);
        assert_eq!(pressure.marks(0).push, 100_000);
        assert_eq!(pressure.marks(5_000_000).push, 25_000);
        assert!(pressure.marks(5_000_000).crowded && !pressure.marks(4_999_999).crowded);
        assert_eq!(pressure.marks(10_000_000).read, 0);
    }
}
