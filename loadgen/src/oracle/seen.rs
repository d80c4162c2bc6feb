//! Which numbers of a stream were seen, in a few bytes: a low mark, a window, and what fell out of
//! it unseen one by one.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::identity::mix;

/// Messages a window looks ahead.
pub(super) const WINDOW: u32 = 64;

/// Hashes keys that are mixed already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = mix(self.0 ^ u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }
}

pub(super) type Build = BuildHasherDefault<Mixed>;

/// What is left of a bound that all parts share.
#[derive(Debug)]
pub(super) struct Left(AtomicUsize);

impl Left {
    pub(super) const fn new(max: usize) -> Self {
        Self(AtomicUsize::new(max))
    }

    /// Takes one; false if none is left.
    pub(super) fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// How a number fits into what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Next,
    /// New, but later ones came before it.
    Late,
    Again,
}

/// Whose numbers: a stream's key, and the rank of the viewer in it.
pub(super) type Place = (u64, u32);

/// Numbers seen: all below `low` (but for holes), and those in the window above.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) low: u32,
    /// Life of the viewer's subscription that the last mark belongs to. It stands here because
    /// there it takes no room.
    pub(super) life: u32,
    window: u64,
}

impl Seen {
    /// Marks a number; those that fall out of the window unseen go to `holes`.
    pub(super) fn mark(
        &mut self,
        place: Place,
        number: u32,
        holes: &mut Holes,
        left: &Left,
    ) -> Mark {
        if number < self.low {
            return if holes.close(place, number, left) { Mark::Late } else { Mark::Again };
        }
        while number - self.low >= WINDOW {
            if self.window & 1 == 0 {
                holes.open(place, self.low, left);
            }
            self.window >>= 1;
            self.low += 1;
        }
        let at = number - self.low;
        if self.window >> at & 1 == 1 {
            return Mark::Again;
        }
        let late = self.window >> at != 0;
        self.window |= 1 << at;
        let whole = self.window.trailing_ones();
        self.window = self.window.checked_shr(whole).unwrap_or(0);
        self.low += whole;
        if late { Mark::Late } else { Mark::Next }
    }

    /// A number that is not a hole was seen.
    pub(super) fn has(&self, number: u32) -> bool {
        number < self.low
            || number - self.low < WINDOW && self.window >> (number - self.low) & 1 == 1
    }

    /// Waits for nothing below `number` any more; gives how many of those were not seen.
    pub(super) fn skip_to(&mut self, number: u32) -> u32 {
        let Some(distance) = number.checked_sub(self.low) else { return 0 };
        let below = self.window & 1u64.checked_shl(distance).map_or(u64::MAX, |bit| bit - 1);
        self.window = self.window.checked_shr(distance).unwrap_or(0);
        self.low = number;
        distance - below.count_ones()
    }

    /// One above the highest number seen.
    pub(super) fn end(&self) -> u32 {
        self.low + WINDOW - self.window.leading_zeros()
    }
}

/// Numbers below a low mark that were not seen.
#[derive(Debug, Default)]
pub(super) struct Holes {
    pub(super) set: HashSet<(u64, u32, u32), Build>,
    /// Those for which there was no room.
    pub(super) forgotten: u64,
}

impl Holes {
    fn open(&mut self, (key, rank): Place, number: u32, left: &Left) {
        if left.take() {
            self.set.insert((key, rank, number));
        } else {
            self.forgotten += 1;
        }
    }

    fn close(&mut self, (key, rank): Place, number: u32, left: &Left) -> bool {
        let was_open = self.set.remove(&(key, rank, number));
        if was_open {
            left.give_back();
        }
        was_open
    }

    pub(super) fn has(&self, (key, rank): Place, number: u32) -> bool {
        self.set.contains(&(key, rank, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_is_what_was_not_seen() {
        let left = Left::new(10);
        let mut holes = Holes::default();
        for (numbers, to, missing) in [
            (&[][..], 5, 5),
            (&[0, 1, 3, 5], 4, 1),
            (&[0, 1, 3, 5], 200, 196),
            (&[2], 64, 63),
            (&[2], 2, 2),
            (&[0, 1, 2], 1, 0),
        ] {
            let mut seen = Seen::default();
            for number in numbers {
                seen.mark((0, 0), *number, &mut holes, &left);
            }
            let end = seen.end();
            assert_eq!(seen.skip_to(to), missing, "{numbers:?} to {to}");
            assert_eq!(seen.end(), end.max(to));
        }
    }
}
