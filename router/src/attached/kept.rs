//! What is kept of a session: its filters and the queue of what was published meanwhile.
//!
//! ```text
//!  number:   first ........ next ........... head
//!            pushed, some    waits
//!            of them done
//! ```
//!
//! Invariants: numbers are dense and given once; the first entry is not done; an entry that is
//! pushed and not done counts in `under_way`.

use crate::recent::Spot;
use hawser_codec::time::Now;
use std::collections::VecDeque;

/// Entries between the first that is not done and the last pushed, at most: packet identifiers are
/// made of numbers and there are 32,767 of them for queues.
pub(crate) const SPAN_MAX: u64 = 32_000;

/// A filter as subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Subscription identifier, 0 for none.
    pub identifier: u32,
    pub options: u8,
    pub text: Box<[u8]>,
}

/// What has become of an entry.
#[derive(Clone, Copy)]
pub(crate) enum Done {
    /// Nothing is left to do.
    Done = 1,
    /// The client has it (quality 2) and has not finished.
    Received = 2,
}

/// An entry that waits, or is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Where its record stands; 0 until its run is durable.
    pub location: u64,
    /// Length of the record up to the end of the content, frame included.
    pub bytes: u32,
    /// Topic and content, bytes.
    pub weight: u32,
    /// Wall time after which it is not delivered, seconds; 0: never.
    pub expires_s: u32,
    pub recent: Spot,
    /// [`Done`] and flags.
    marks: u8,
}

impl Waiting {
    /// Of quality 2; else of quality 1.
    pub const TWICE: u8 = 4;
    /// To be said to the client as retained.
    pub const RETAIN: u8 = 8;
    /// Bits below [`Waiting::TWICE`] and [`Waiting::RETAIN`].
    pub const FLAGS_SHIFT: u32 = 2;

    pub fn new(bytes: u32, weight: u32, expires_s: u32, flags: u8) -> Waiting {
        let marks = flags & (Waiting::TWICE | Waiting::RETAIN);
        Waiting { bytes, weight, expires_s, marks, ..Waiting::default() }
    }

    /// It is not to be delivered any more.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires_s != 0 && now.wall_ms / 1000 >= u64::from(self.expires_s)
    }

    /// Seconds until it expires, 0: never.
    pub fn left_s(&self, now: Now) -> u32 {
        match self.expires_s {
            0 => 0,
            at_s => at_s.saturating_sub((now.wall_ms / 1000) as u32).max(1),
        }
    }

    pub fn is(&self, what: Done) -> bool {
        self.marks & what as u8 != 0
    }

    pub fn marks(&self) -> u8 {
        self.marks
    }

    pub fn set_marks(&mut self, marks: u8) {
        self.marks = marks & 15;
    }
}

/// See the module's head.
pub(crate) struct Queue {
    /// Number of the first entry that is not done; `head + 1` if there is none.
    pub first: u64,
    entries: VecDeque<Waiting>,
    /// Topics and contents of the entries.
    pub bytes: u64,
    /// Number of the next entry to be pushed on this connection.
    pub next: u64,
    /// Entries up to here may have been pushed, on this connection or one before.
    pub sent: u64,
    /// `sent` when the connection began: entries up to here are repeated.
    pub repeated: u64,
    /// Entries below `next` that are not done, and their topics and contents, bytes.
    pub under_way: u16,
    pub under_way_bytes: u64,
}

impl Queue {
    fn new() -> Queue {
        let entries = VecDeque::new();
        Queue {
            first: 1,
            entries,
            bytes: 0,
            next: 1,
            sent: 0,
            repeated: 0,
            under_way: 0,
            under_way_bytes: 0,
        }
    }

    /// Highest number given.
    pub fn head(&self) -> u64 {
        self.first - 1 + self.entries.len() as u64
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, number: u64) -> Option<&Waiting> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Waiting> {
        self.entries.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Entries from the first on.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.entries.iter()
    }

    /// Appends the entry with the next number.
    pub fn push(&mut self, entry: Waiting) {
        self.bytes += u64::from(entry.weight);
        self.entries.push_back(entry);
    }

    /// Appends an entry as a section holds it.
    pub fn push_restored(&mut self, entry: Waiting) {
        self.bytes += if entry.is(Done::Done) { 0 } else { u64::from(entry.weight) };
        self.entries.push_back(entry);
    }

    /// The client is done with an entry. `false` if it was already, or there is none.
    pub fn finish(&mut self, number: u64) -> bool {
        let next = self.next;
        let Some(entry) = self.get_mut(number).filter(|entry| !entry.is(Done::Done)) else {
            return false;
        };
        entry.marks |= Done::Done as u8;
        let weight = u64::from(entry.weight);
        self.bytes -= weight;
        if number < next {
            self.under_way -= 1;
            self.under_way_bytes -= weight;
        }
        self.pass_done();
        true
    }

    /// The client has received an entry. `false` if that was known, or there is none.
    pub fn receive(&mut self, number: u64) -> bool {
        let is_open = |entry: &&mut Waiting| !entry.is(Done::Done) && !entry.is(Done::Received);
        let Some(entry) = self.get_mut(number).filter(is_open) else {
            return false;
        };
        entry.marks |= Done::Received as u8;
        true
    }

    /// The entry `next` is pushed, or the client has it.
    pub fn pass_next(&mut self) {
        if let Some(entry) = self.get(self.next).filter(|entry| !entry.is(Done::Done)) {
            let weight = u64::from(entry.weight);
            self.under_way += 1;
            self.under_way_bytes += weight;
        }
        self.sent = self.sent.max(self.next);
        self.next += 1;
    }

    /// Drops the oldest entry.
    pub fn drop_first(&mut self) {
        let first = self.first;
        self.finish(first);
    }

    fn pass_done(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.is(Done::Done)) {
            self.entries.pop_front();
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    /// A connection begins: everything that is not done is to be pushed on it.
    pub fn rewind(&mut self) {
        (self.next, self.under_way, self.under_way_bytes) = (self.first, 0, 0);
        self.repeated = self.sent;
    }

    /// Begins at `first`, of which nothing is known; for recovery.
    pub fn begin_at(&mut self, first: u64) {
        self.entries.clear();
        (self.first, self.next, self.bytes) = (first, first, 0);
        (self.under_way, self.under_way_bytes) = (0, 0);
    }
}

/// See the module's head.
pub(crate) struct Kept {
    /// Position of the record that made it.
    pub name: u64,
    /// Second half of the user's keyed hash.
    pub check: u64,
    pub filters: Vec<Filter>,
    pub filter_bytes: usize,
    /// Entries that may be pushed and not done.
    pub window: u16,
    pub queue: Queue,
    /// Marks have changed and are not in the log.
    pub is_dirty: bool,
    /// An entry is being read for it, or it waits for that.
    pub is_reading: bool,
}

impl Kept {
    pub fn new(name: u64, check: u64) -> Kept {
        Kept {
            name,
            check,
            filters: Vec::new(),
            filter_bytes: 0,
            window: 0,
            queue: Queue::new(),
            is_dirty: false,
            is_reading: false,
        }
    }

    pub fn find_filter(&self, text: &[u8]) -> Option<usize> {
        self.filters.iter().position(|filter| *filter.text == *text)
    }

    /// Adds a filter, or replaces what it was subscribed with. Whether it was there.
    pub fn put_filter(&mut self, text: &[u8], identifier: u32, options: u8) -> bool {
        if let Some(at) = self.find_filter(text) {
            (self.filters[at].identifier, self.filters[at].options) = (identifier, options);
            return true;
        }
        self.filter_bytes += text.len();
        self.filters.push(Filter { identifier, options, text: text.into() });
        false
    }

    /// Whether it was there.
    pub fn remove_filter(&mut self, text: &[u8]) -> bool {
        let Some(at) = self.find_filter(text) else { return false };
        self.filter_bytes -= text.len();
        self.filters.remove(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(entries: u64) -> Queue {
        let mut queue = Queue::new();
        for _ in 0..entries {
            queue.push(Waiting::new(100, 10, 0, 0));
        }
        queue
    }

    #[test]
    fn a_waiting_entry_stays_small() {
        assert!(size_of::<Waiting>() <= 32);
    }

    #[test]
    fn entries_are_done_in_any_order_and_counted_while_under_way() {
        let mut queue = queue(5);
        for _ in 0..4 {
            queue.pass_next();
        }
        assert_eq!((queue.under_way, queue.next, queue.head()), (4, 5, 5));
        assert!(queue.finish(3) && !queue.finish(3) && !queue.finish(6));
        assert_eq!((queue.first, queue.under_way, queue.bytes), (1, 3, 40));
        assert!(queue.finish(1) && queue.finish(2));
        assert_eq!((queue.first, queue.under_way, queue.len()), (4, 1, 2));
        assert!(queue.receive(4) && !queue.receive(4) && !queue.receive(2));
        queue.rewind();
        assert_eq!((queue.next, queue.under_way, queue.repeated), (4, 0, 4));
        assert!(queue.get(4).is_some_and(|entry| entry.is(Done::Received)));
        queue.drop_first();
        assert_eq!((queue.first, queue.next, queue.under_way), (5, 5, 0));
        queue.drop_first();
        assert_eq!((queue.first, queue.head(), queue.bytes), (6, 5, 0));
    }
}
