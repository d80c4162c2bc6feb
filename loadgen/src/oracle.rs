//! The judge: was every message delivered once, in order, unchanged, to the right user?
//!
//! Kept per direction (sender, recipient): how many messages were sent, and for acknowledgements
//! and deliveries a low mark with a window of 64 above it. What falls out of a window unseen is
//! remembered one by one. Bounds: [`Bounds`]; when one is reached the run is invalid, not clean,
//! because then a defect could pass unseen. What is not seen at all: a message changed in a way
//! that keeps its CRC-32C (1 in 4 thousand million), and a duplicate that arrives after the run.
//!
//! Invariant: a message counts as sent before its first byte leaves, so no delivery precedes it.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{identity::mix, payload::Payload};

/// Parts with a lock each: several times the worker threads, so that they seldom meet.
const PARTS: usize = 64;

/// Messages a window looks ahead.
const WINDOW: u32 = 64;

/// What the oracle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Directions, about 120 bytes each.
    pub directions: usize,
    /// Messages that are late or missing, about 32 bytes each.
    pub exceptions: usize,
}

impl Bounds {
    /// 8 million directions and 1 million exceptions: a gigabyte when full.
    pub const USUAL: Self = Self { directions: 8 << 20, exceptions: 1 << 20 };
}

/// Hashes keys that are mixed already.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

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

type Build = BuildHasherDefault<Mixed>;

/// How a number fits into what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Next,
    /// New, but later ones came before it.
    Late,
    Again,
}

/// Numbers seen: all below `low` (but for exceptions), and those in the window above.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    low: u32,
    window: u64,
}

impl Seen {
    /// Marks a number; those that fall out of the window unseen go to `holes`.
    fn mark(&mut self, key: u64, number: u32, holes: &mut Holes) -> Mark {
        if number < self.low {
            return if holes.close(key, number) { Mark::Late } else { Mark::Again };
        }
        while number - self.low >= WINDOW {
            if self.window & 1 == 0 {
                holes.open(key, self.low);
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

    fn has(&self, key: u64, number: u32, holes: &Holes) -> bool {
        if number < self.low {
            return !holes.set.contains(&(key, number));
        }
        number - self.low < WINDOW && self.window >> (number - self.low) & 1 == 1
    }

    /// One above the highest number seen.
    fn end(&self) -> u32 {
        self.low + WINDOW - self.window.leading_zeros()
    }
}

/// Numbers below a low mark that were not seen.
#[derive(Debug)]
struct Holes {
    set: HashSet<(u64, u32), Build>,
    max: usize,
    overflow: bool,
}

impl Holes {
    fn new(max: usize) -> Self {
        Self { set: HashSet::default(), max, overflow: false }
    }

    fn open(&mut self, key: u64, number: u32) {
        if self.set.len() < self.max {
            self.set.insert((key, number));
        } else {
            self.overflow = true;
        }
    }

    fn close(&mut self, key: u64, number: u32) -> bool {
        self.set.remove(&(key, number))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    sent: u32,
    acknowledged: Seen,
    delivered: Seen,
    /// Last conversation sequence the recipient saw, 0 for none.
    sequence: u64,
}

/// What the oracle found. All 0 but the first four is a clean run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Findings {
    /// Messages sent, repeats not counted.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused for good, with a reason.
    pub refused: u64,
    /// Delivered, each once.
    pub delivered: u64,
    /// Never delivered though acknowledged, or though a later one of the same direction was.
    pub lost: u64,
    /// Of the lost ones, those that had been acknowledged.
    pub acknowledged_then_lost: u64,
    /// Delivered more than once.
    pub duplicated: u64,
    /// Delivered after a later one of the same direction.
    pub reordered: u64,
    /// Damaged, or never sent.
    pub corrupted: u64,
    /// Delivered to the wrong user, in the wrong conversation or under the wrong sender.
    pub misdelivered: u64,
    /// Holes in a conversation's sequence as a member saw it.
    pub sequence_gaps: u64,
    /// A conversation's sequence went back or stood still.
    pub sequence_repeats: u64,
    /// Holes in a mailbox's numbers that no page filled.
    pub mailbox_gaps: u64,
    /// Sent, neither acknowledged nor delivered by the end; the sender would go on trying.
    pub unanswered: u64,
    /// A bound was reached: a defect could have passed unseen.
    pub overflowed: bool,
}

impl Findings {
    /// Nothing is wrong with any message.
    pub fn is_correct(&self) -> bool {
        let defects = [
            self.lost,
            self.duplicated,
            self.reordered,
            self.corrupted,
            self.misdelivered,
            self.sequence_gaps,
            self.sequence_repeats,
            self.mailbox_gaps,
        ];
        defects.iter().all(|count| *count == 0)
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.acknowledged_then_lost += other.acknowledged_then_lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.misdelivered += other.misdelivered;
        self.sequence_gaps += other.sequence_gaps;
        self.sequence_repeats += other.sequence_repeats;
        self.mailbox_gaps += other.mailbox_gaps;
        self.unanswered += other.unanswered;
        self.overflowed |= other.overflowed;
    }
}

#[derive(Debug)]
struct Part {
    directions: HashMap<u64, Direction, Build>,
    directions_max: usize,
    undelivered: Holes,
    unacknowledged: Holes,
    found: Findings,
}

impl Part {
    fn direction(&mut self, key: u64) -> Option<&mut Direction> {
        if self.directions.len() >= self.directions_max && !self.directions.contains_key(&key) {
            self.found.overflowed = true;
            return None;
        }
        Some(self.directions.entry(key).or_default())
    }
}

/// A notify as a receiver saw it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Index of the user whose mailbox it was in.
    pub viewer: u32,
    /// Index of the user named as the sender; `None`: no user of this run.
    pub sender: Option<u32>,
    /// Index of the user named as the conversation.
    pub conversation: Option<u32>,
    /// Sequence in the conversation.
    pub sequence: u64,
    /// The body.
    pub body: &'a [u8],
}

/// See the module. Shared by all workers of a run.
#[derive(Debug)]
pub struct Oracle {
    run: u64,
    parts: Box<[Mutex<Part>]>,
}

impl Oracle {
    /// An oracle for run `run`.
    pub fn new(run: u64, bounds: Bounds) -> Self {
        let part = || {
            Mutex::new(Part {
                directions: HashMap::default(),
                directions_max: bounds.directions.div_ceil(PARTS),
                undelivered: Holes::new(bounds.exceptions.div_ceil(PARTS)),
                unacknowledged: Holes::new(bounds.exceptions.div_ceil(PARTS)),
                found: Findings::default(),
            })
        };
        Self { run, parts: (0..PARTS).map(|_| part()).collect() }
    }

    fn part(&self, key: u64) -> MutexGuard<'_, Part> {
        let part = &self.parts[(mix(key) >> 58) as usize % PARTS];
        // A panic of another worker ends the run anyway; the counts are still worth telling.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is about to be sent: gives its number in its direction; `None` if the bound on
    /// directions is reached, and it must not be sent.
    pub fn send(&self, sender: u32, recipient: u32) -> Option<u32> {
        let key = key(sender, recipient);
        let mut part = self.part(key);
        let direction = part.direction(key)?;
        let counter = direction.sent;
        direction.sent += 1;
        part.found.sent += 1;
        Some(counter)
    }

    /// The server acknowledged a message; false if it had done so before.
    pub fn acknowledge(&self, sender: u32, recipient: u32, counter: u32) -> bool {
        let key = key(sender, recipient);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let Some(direction) = part.directions.get_mut(&key) else { return false };
        let new =
            direction.acknowledged.mark(key, counter, &mut part.unacknowledged) != Mark::Again;
        part.found.acknowledged += u64::from(new);
        new
    }

    /// The server refused a message for good: nobody waits for it any more.
    pub fn refuse(&self, sender: u32, recipient: u32, counter: u32) {
        let key = key(sender, recipient);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let Some(direction) = part.directions.get_mut(&key) else { return };
        part.found.refused += 1;
        // Its place is taken, so that it counts neither as lost nor its successors as late.
        direction.acknowledged.mark(key, counter, &mut part.unacknowledged);
        direction.delivered.mark(key, counter, &mut part.undelivered);
    }

    /// A message arrived. Gives its fields if it is a good one, seen for the first time.
    pub fn deliver(&self, arrival: &Arrival<'_>) -> Option<Payload> {
        if let Some(peer) = arrival.conversation {
            self.sequence(arrival.viewer, peer, arrival.sequence);
        }
        let Some(payload) = Payload::read(arrival.body) else {
            self.part(u64::from(arrival.viewer)).found.corrupted += 1;
            return None;
        };
        let key = key(payload.sender, payload.recipient);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let sender = Some(payload.sender);
        if payload.run != self.run
            || payload.recipient != arrival.viewer
            || arrival.sender != sender
            || arrival.conversation != sender
        {
            part.found.misdelivered += 1;
            return None;
        }
        let known = part.directions.get_mut(&key);
        let Some(direction) = known.filter(|direction| payload.counter < direction.sent) else {
            part.found.corrupted += 1;
            return None;
        };
        match direction.delivered.mark(key, payload.counter, &mut part.undelivered) {
            Mark::Next => {}
            Mark::Late => part.found.reordered += 1,
            Mark::Again => {
                part.found.duplicated += 1;
                return None;
            }
        }
        part.found.delivered += 1;
        Some(payload)
    }

    /// A member of a conversation saw this sequence, in a message or as its own.
    pub fn sequence(&self, viewer: u32, peer: u32, sequence: u64) {
        let key = key(peer, viewer);
        let mut guard = self.part(key);
        let Some(direction) = guard.direction(key) else { return };
        let last = direction.sequence;
        direction.sequence = last.max(sequence);
        if last == 0 || sequence == last + 1 {
            return;
        }
        if sequence <= last {
            guard.found.sequence_repeats += 1;
        } else {
            guard.found.sequence_gaps += sequence - last - 1;
        }
    }

    /// A mailbox's numbers have a hole that no page filled.
    pub fn mailbox_gap(&self, viewer: u32, missing: u64) {
        self.part(u64::from(viewer)).found.mailbox_gaps += missing;
    }

    /// The judgement, after the last delivery.
    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let mut found = part.found;
            found.overflowed |= part.undelivered.overflow | part.unacknowledged.overflow;
            for &(key, counter) in &part.undelivered.set {
                part.judge_missing(key, counter, &mut found);
            }
            for (&key, direction) in &part.directions {
                for counter in direction.delivered.low..direction.sent {
                    if !direction.delivered.has(key, counter, &part.undelivered) {
                        part.judge_missing(key, counter, &mut found);
                    }
                }
            }
            findings.add(&found);
        }
        findings
    }
}

impl Part {
    fn judge_missing(&self, key: u64, counter: u32, found: &mut Findings) {
        let Some(direction) = self.directions.get(&key) else { return };
        if direction.acknowledged.has(key, counter, &self.unacknowledged) {
            found.lost += 1;
            found.acknowledged_then_lost += 1;
        } else if counter < direction.delivered.end() {
            found.lost += 1;
        } else {
            found.unanswered += 1;
        }
    }
}

fn key(sender: u32, recipient: u32) -> u64 {
    u64::from(sender) << 32 | u64::from(recipient)
}

#[cfg(test)]
mod tests;
