//! What has to be done at an exact time and is not in the schedule: replies, returns, waking up.
//!
//! The wheel is too coarse for these: a tick of it would count as lateness of the generator.
//! Invariant: entries come up in order of time, and of two at one time the one noted first.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Entries at most, 40 bytes each. A reply per connection of the largest run, all at one time.
const ENTRIES_MAX: usize = 4 << 20;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// A reply to a user.
    Reply {
        /// Index of the user.
        to: u32,
        /// Messages of the conversation before it.
        hop: u8,
        /// Its intended time, which may be before it can be sent.
        intended_us: u64,
    },
    /// The connection comes back from a planned absence.
    Back,
    /// The connection reads again.
    Wake,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// When, microseconds.
    pub(super) at_us: u64,
    number: u64,
    /// Whose.
    pub(super) slot: u32,
    /// What.
    pub(super) task: Task,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    noted: u64,
}

impl Agenda {
    /// Notes something; false if there is no room.
    pub(super) fn note(&mut self, at_us: u64, slot: u32, task: Task) -> bool {
        if self.entries.len() >= ENTRIES_MAX {
            return false;
        }
        self.noted += 1;
        self.entries.push(Reverse(Entry { at_us, number: self.noted, slot, task }));
        true
    }

    /// The next entry that is due.
    pub(super) fn due(&mut self, now_us: u64) -> Option<Entry> {
        if self.next_us() > now_us {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| entry)
    }

    /// When the next entry is due; `u64::MAX`: there is none.
    pub(super) fn next_us(&self) -> u64 {
        self.entries.peek().map_or(u64::MAX, |Reverse(entry)| entry.at_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_in_order_and_not_before_their_time() {
        let mut agenda = Agenda::default();
        for (at_us, slot) in [(30, 1), (10, 2), (30, 3), (20, 4)] {
            assert!(agenda.note(at_us, slot, Task::Wake));
        }
        assert_eq!(agenda.next_us(), 10);
        assert_eq!(agenda.due(9), None);
        let slots: Vec<u32> = std::iter::from_fn(|| agenda.due(30)).map(|one| one.slot).collect();
        assert_eq!(slots, [2, 4, 1, 3]);
        assert_eq!(agenda.next_us(), u64::MAX);
    }
}
