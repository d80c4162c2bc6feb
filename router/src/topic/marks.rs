//! Packet ids of quality 2 that were received and not released, of one shard.
//!
//! Invariant: what is said and dropped here depends only on the records of the shard (and on the
//! limits), so that recovery comes to the same.

use hawser_codec::link::Key;
use std::collections::{BTreeMap, VecDeque};

/// Packet ids of one device in one shard: as many as a client may have unreleased at one time,
/// and a gateway allows fewer.
pub(crate) const MARKS_PER_DEVICE_MAX: usize = 1024;
/// Packet ids of one shard, 64 bytes each: 256 MiB with all shards full of 4 M unfinished
/// publishes. A part of what recovery comes to, so it is no setting.
pub(crate) const MARKS_PER_SHARD_MAX: usize = 16 << 10;
/// A mark older than this gives way when the shard has too many. A client that is away for longer
/// and then repeats may have its message twice; one that was never to come back held the place.
/// Milliseconds.
const MARK_AGE_MS: u64 = 24 * 3_600_000;

/// What a packet id means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It may be marked.
    New,
    /// Its message was taken already.
    Repeat,
    /// There are too many.
    Full,
}

#[derive(Default)]
pub(crate) struct Marks {
    /// Wall time of each, milliseconds.
    all: BTreeMap<(Key, u16), u64>,
    /// As they came; those that were released meanwhile are still there.
    order: VecDeque<(Key, u16, u64)>,
}

impl Marks {
    /// Judges a packet id. Changes nothing.
    pub fn judge(&self, device: &Key, request: u16, now_ms: u64, max: usize) -> Marked {
        if self.all.contains_key(&(*device, request)) {
            return Marked::Repeat;
        }
        let of_device = self.all.range((*device, 0)..=(*device, u16::MAX)).count();
        let stale = || self.oldest().is_none_or(|oldest| is_stale(oldest, now_ms));
        if of_device >= MARKS_PER_DEVICE_MAX || self.all.len() >= max && !stale() {
            return Marked::Full;
        }
        Marked::New
    }

    /// Marks a packet id, which takes the place of the oldest if there are too many.
    pub fn add(&mut self, device: &Key, request: u16, now_ms: u64, max: usize) {
        while self.all.len() >= max.max(1)
            && let Some((device, request, time)) = self.order.pop_front()
        {
            // It may have been released meanwhile, and have come again.
            if self.all.get(&(device, request)) == Some(&time) {
                self.all.remove(&(device, request));
            }
        }
        self.all.insert((*device, request), now_ms);
        self.order.push_back((*device, request, now_ms));
        self.drop_released();
    }

    /// Frees a packet id, or with 0 all of the device; whether there was any.
    pub fn release(&mut self, device: &Key, request: u16) -> bool {
        if self.all.is_empty() {
            return false;
        }
        if request != 0 {
            return self.all.remove(&(*device, request)).is_some();
        }
        let of_device = self.all.range((*device, 0)..=(*device, u16::MAX));
        let found: Vec<(Key, u16)> = of_device.map(|(mark, _)| *mark).collect();
        for mark in &found {
            self.all.remove(mark);
        }
        !found.is_empty()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Marks in the order in which they came, with their times.
    pub fn by_age(&self) -> impl Iterator<Item = (&Key, u16, u64)> {
        let there = |(device, request, time): &&(Key, u16, u64)| {
            self.all.get(&(*device, *request)) == Some(time)
        };
        self.order.iter().filter(there).map(|(device, request, time)| (device, *request, *time))
    }

    fn oldest(&self) -> Option<u64> {
        self.by_age().next().map(|(.., time)| time)
    }

    /// Keeps the order from holding more than twice what there is.
    fn drop_released(&mut self) {
        if self.order.len() > 2 * self.all.len() + 16 {
            let all = &self.all;
            self.order
                .retain(|(device, request, time)| all.get(&(*device, *request)) == Some(time));
        }
    }
}

fn is_stale(time_ms: u64, now_ms: u64) -> bool {
    time_ms.saturating_add(MARK_AGE_MS) < now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4;

    #[test]
    fn a_packet_id_is_new_once_until_it_is_released() {
        let mut marks = Marks::default();
        let device = [1; 16];
        assert_eq!(marks.judge(&device, 7, 10, MAX), Marked::New);
        marks.add(&device, 7, 10, MAX);
        assert_eq!(marks.judge(&device, 7, 11, MAX), Marked::Repeat);
        assert_eq!(marks.judge(&[2; 16], 7, 11, MAX), Marked::New, "another device");
        assert!(marks.release(&device, 7) && !marks.release(&device, 7));
        assert_eq!(marks.judge(&device, 7, 11, MAX), Marked::New);
    }

    #[test]
    fn a_full_table_refuses_until_the_oldest_is_stale() {
        let mut marks = Marks::default();
        for request in 1..=4 {
            marks.add(&[1; 16], request, u64::from(request), MAX);
        }
        assert_eq!(marks.judge(&[2; 16], 1, 10, MAX), Marked::Full);
        assert_eq!(marks.judge(&[1; 16], 1, 10, MAX), Marked::Repeat);
        let later = 2 + MARK_AGE_MS;
        assert_eq!(marks.judge(&[2; 16], 1, later, MAX), Marked::New);
        marks.add(&[2; 16], 1, later, MAX);
        assert_eq!((marks.len(), marks.judge(&[1; 16], 1, later, MAX)), (4, Marked::Full));
        assert_eq!(marks.judge(&[1; 16], 2, later, MAX), Marked::Repeat);
    }

    #[test]
    fn all_of_a_device_are_released_at_once_and_the_order_does_not_grow() {
        let mut marks = Marks::default();
        for round in 0..1000u16 {
            marks.add(&[1; 16], round % 3 + 1, u64::from(round), 64);
            marks.add(&[2; 16], round % 3 + 1, u64::from(round), 64);
            assert!(marks.release(&[1; 16], 0) && !marks.release(&[1; 16], 0));
        }
        assert_eq!((marks.len(), marks.by_age().count()), (3, 3));
        assert!(marks.order.len() <= 24, "{}", marks.order.len());
    }

    #[test]
    fn one_device_cannot_take_all_places() {
        let mut marks = Marks::default();
        for request in 1..=MARKS_PER_DEVICE_MAX as u16 {
            assert_eq!(marks.judge(&[1; 16], request, 0, 1 << 20), Marked::New);
            marks.add(&[1; 16], request, 0, 1 << 20);
        }
        assert_eq!(marks.judge(&[1; 16], 5000, 0, 1 << 20), Marked::Full);
        assert_eq!(marks.judge(&[2; 16], 5000, 0, 1 << 20), Marked::New);
    }
}
