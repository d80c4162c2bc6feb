//! Entries for one remote host that it has not confirmed, in the order of the own log.
//!
//! Entries are numbered as they come, for as long as the stream is not opened anew. Those at the
//! end have no place yet, because their run is not durable.

use crate::store::log::Location;
use std::collections::VecDeque;

/// One entry, and where the message stands that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    /// Place in the stream, as `position` of `Stream`.
    pub streamed: u64,
    /// Place before it in the stream of this source and home.
    pub previous: u64,
    /// Of the message; until its run is durable, its offset in the run.
    pub location: Location,
    /// Length of the message's record.
    pub bytes: u32,
    pub source: u8,
    pub home: u8,
}

impl Unconfirmed {
    fn segment(&self) -> (u8, u32) {
        (self.location.lane(), self.location.segment())
    }
}

pub(super) struct Queue {
    entries: VecDeque<Unconfirmed>,
    /// Number of the first.
    first: u64,
    /// Runs of those without a place, and how many stand in each.
    runs: VecDeque<(u64, usize)>,
    /// Segments of those with one, and how many stand in each, in order of the queue.
    segments: VecDeque<((u8, u32), usize)>,
    without_place: usize,
    bytes: u64,
}

impl Queue {
    /// A queue of durable entries.
    pub fn new(entries: Vec<Unconfirmed>) -> Queue {
        let mut queue = Queue {
            entries: entries.into(),
            first: 0,
            runs: VecDeque::new(),
            segments: VecDeque::new(),
            without_place: 0,
            bytes: 0,
        };
        queue.retain(|_| true);
        queue
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the messages behind the entries; of one with two entries here, twice.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number the next entry will have.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Entries below this number have a place.
    pub fn located(&self) -> u64 {
        self.end() - self.without_place as u64
    }

    pub fn get(&self, number: u64) -> Option<&Unconfirmed> {
        self.entries.get(number.checked_sub(self.first)? as usize)
    }

    /// Appends an entry whose message stands in `run`, not durable yet.
    pub fn push(&mut self, run: u64, entry: Unconfirmed) {
        match self.runs.back_mut() {
            Some((last, count)) if *last == run => *count += 1,
            _ => self.runs.push_back((run, 1)),
        }
        self.without_place += 1;
        self.bytes += u64::from(entry.bytes);
        self.entries.push_back(entry);
    }

    /// `run` is durable and stands at `base`.
    pub fn locate(&mut self, run: u64, base: Location) {
        while let Some((_, count)) = self.runs.pop_front_if(|(first, _)| *first <= run) {
            let from = self.entries.len() - self.without_place;
            for at in from..from + count {
                let entry = &mut self.entries[at];
                entry.location = base.plus(entry.location.0);
                note_segment(&mut self.segments, entry.segment());
            }
            self.without_place -= count;
        }
    }

    /// Takes the first entry off if it has a place.
    pub fn pop(&mut self) -> Option<Unconfirmed> {
        if self.entries.len() == self.without_place {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.bytes -= u64::from(entry.bytes);
        let (_, count) = self.segments.front_mut().expect("every entry with a place is counted");
        *count -= 1;
        if *count == 0 {
            self.segments.pop_front();
        }
        Some(entry)
    }

    /// Keeps the entries that `keep` says, which may change them; those kept are numbered anew.
    /// The ones without a place are kept whatever it says.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut Unconfirmed) -> bool) {
        let end = self.end();
        let (mut at, located) = (0, self.entries.len() - self.without_place);
        let (segments, bytes) = (&mut self.segments, &mut self.bytes);
        segments.clear();
        *bytes = 0;
        // One pass for everything: a full queue is looked through in one turn.
        self.entries.retain_mut(|entry| {
            at += 1;
            let has_place = at <= located;
            let kept = keep(entry) || !has_place;
            if kept {
                *bytes += u64::from(entry.bytes);
            }
            if kept && has_place {
                note_segment(segments, entry.segment());
            }
            kept
        });
        self.first = end - self.entries.len() as u64;
    }

    /// Lowest segment of `lane` with a message of an entry here.
    pub fn oldest(&self, lane: u8) -> Option<u32> {
        let own = self.segments.iter().filter(|((at, _), _)| *at == lane);
        own.map(|((_, segment), _)| *segment).min()
    }
}

fn note_segment(segments: &mut VecDeque<((u8, u32), usize)>, segment: (u8, u32)) {
    match segments.back_mut() {
        Some((last, count)) if *last == segment => *count += 1,
        _ => segments.push_back((segment, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(streamed: u64, location: Location) -> Unconfirmed {
        Unconfirmed { streamed, previous: 0, location, bytes: 10, source: 0, home: 1 }
    }

    #[test]
    fn entries_get_their_places_run_by_run() {
        let mut queue = Queue::new(vec![entry(2, Location::new(0, 3, 64))]);
        for (run, streamed, offset) in [(7, 4, 0), (7, 6, 100), (9, 8, 5)] {
            queue.push(run, entry(streamed, Location(offset)));
        }
        assert_eq!((queue.located(), queue.end()), (1, 4));
        queue.locate(8, Location::new(0, 4, 4096));
        assert_eq!(queue.located(), 3);
        assert_eq!(queue.get(2).map(|entry| entry.location), Some(Location::new(0, 4, 4196)));
        queue.locate(9, Location::new(1, 2, 64));
        assert_eq!(queue.get(3).map(|entry| entry.location), Some(Location::new(1, 2, 69)));
        assert_eq!((queue.oldest(0), queue.oldest(1)), (Some(3), Some(2)));
        assert_eq!(queue.pop().map(|entry| entry.streamed), Some(2));
        assert_eq!((queue.oldest(0), queue.first(), queue.bytes()), (Some(4), 1, 30));
    }

    #[test]
    fn what_is_not_durable_cannot_be_confirmed_away() {
        let mut queue = Queue::new(Vec::new());
        queue.push(1, entry(2, Location(0)));
        assert_eq!(queue.pop(), None);
        queue.retain(|_| false);
        assert_eq!((queue.len(), queue.first(), queue.end()), (1, 0, 1));
        queue.locate(1, Location::new(0, 1, 64));
        assert_eq!(queue.get(0).map(|entry| entry.location), Some(Location::new(0, 1, 64)));
    }

    #[test]
    fn what_is_kept_is_numbered_anew_and_holds_its_segments() {
        let places = (1..=4).map(|at| entry(at * 2, Location::new(0, at as u32, 64)));
        let mut queue = Queue::new(places.collect());
        queue.retain(|entry| entry.streamed >= 6);
        assert_eq!((queue.first(), queue.end(), queue.oldest(0)), (2, 4, Some(3)));
        assert_eq!(queue.bytes(), 20);
    }
}
