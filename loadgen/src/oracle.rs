//! The judge: did everybody who was to see a message see it once, in order, unchanged?
//!
//! A *stream* is what one connection sends to one target, a user or a group; its messages are
//! numbered. Who is to see them follows from the run ([`Audience`]). Kept per stream: how many were
//! sent, and for acknowledgements, and for each who is to see it, a low mark with a window of 64
//! above it; the first of those stands in the stream itself, so that a direct chat of single
//! devices takes one entry per direction. What falls out of a window unseen is remembered one by
//! one. Bounds: [`Bounds`]; when one is reached the run is invalid, not clean, because then a
//! defect could pass unseen. What a protocol does not promise ([`Promise`]) is counted apart from
//! defects. What is not seen at all: a message changed in a way that keeps its CRC-32C (1 in 4
//! thousand million), and a duplicate that arrives after the run.
//!
//! Invariant: a message counts as sent before its first byte leaves, so no delivery precedes it.

mod audience;
mod findings;
mod seen;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    identity::mix,
    payload::{GROUP, Payload},
};
pub use audience::{Audience, Promise};
pub use findings::Findings;
use seen::{Build, Holes, Left, Mark, Seen};

/// Parts with a lock each: several times the worker threads, so that they seldom meet.
const PARTS: usize = 64;

/// What the oracle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Streams, and viewers of a stream beyond its first; about 120 bytes each.
    pub directions: usize,
    /// Messages that are late, missing or repeated, and viewers that came again, about 32 bytes
    /// each.
    pub exceptions: usize,
}

impl Bounds {
    /// 8 million directions and 1 million exceptions: a gigabyte when full.
    pub const USUAL: Self = Self { directions: 8 << 20, exceptions: 1 << 20 };
}

/// A stream as one connection sees it.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    delivered: Seen,
    /// Last conversation sequence the viewer saw, 0 for none.
    sequence: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    sent: u32,
    acknowledged: Seen,
    /// View of rank 0.
    first: View,
}

/// Eight million of them are held.
const _: () = assert!(size_of::<(u64, Stream)>() <= 56);

#[derive(Debug, Default)]
struct Part {
    streams: HashMap<u64, Stream, Build>,
    /// Views of ranks above 0.
    views: HashMap<seen::Place, View, Build>,
    undelivered: Holes,
    unacknowledged: Holes,
    /// Messages sent again that may be shown again.
    repeated: HashSet<seen::Place, Build>,
    /// Latest life of viewers that came again without what had come meanwhile.
    lives: HashMap<u32, u32, Build>,
    /// Deliveries that all messages sent and not refused are to have.
    expected: u64,
    found: Findings,
}

/// Where a message was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In a conversation. `None`: no user of this run.
    Conversation {
        /// User named as the sender.
        sender: Option<u32>,
        /// The other user of the conversation, as the viewer sees it.
        peer: Option<u32>,
        /// Sequence in the conversation.
        sequence: u64,
    },
    /// Under the name of this target; `None`: of none of this run.
    Topic(Option<u32>),
    /// In a mailbox that says no more.
    Mailbox,
}

/// A message as a receiver saw it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Index of the connection that saw it.
    pub viewer: u32,
    /// Where.
    pub shown: Shown,
    /// The server calls it a repeat, and had a reason to: the viewer was reconnected.
    pub repeat: bool,
    /// How often the viewer came again without what had come meanwhile ([`Oracle::rejoin`]).
    pub life: u32,
    /// The body.
    pub body: &'a [u8],
}

/// See the module. Shared by all workers of a run.
#[derive(Debug)]
pub struct Oracle {
    run: u64,
    audience: Audience,
    promise: Promise,
    directions_left: Left,
    exceptions_left: Left,
    parts: Box<[Mutex<Part>]>,
}

impl Oracle {
    /// An oracle for run `run` of any number of users, who have one device each, are in no groups
    /// and are promised everything.
    pub fn new(run: u64, bounds: Bounds) -> Self {
        Self {
            run,
            audience: Audience::single(GROUP),
            promise: Promise::ALL,
            directions_left: Left::new(bounds.directions),
            exceptions_left: Left::new(bounds.exceptions),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The same for other users, and with other promises.
    #[must_use]
    pub fn judging(self, audience: Audience, promise: Promise) -> Self {
        Self { audience, promise, ..self }
    }

    /// Who is to see what.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What is promised.
    pub fn promise(&self) -> &Promise {
        &self.promise
    }

    fn part(&self, key: u64) -> MutexGuard<'_, Part> {
        let part = &self.parts[(mix(key) >> 58) as usize % PARTS];
        // A panic of another worker ends the run anyway; the counts are still worth telling.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is about to be sent by this connection to this target, a user's index or, with
    /// [`GROUP`] set, a group's: gives its number in its stream; `None` if the bound on directions
    /// is reached, and it must not be sent.
    pub fn send(&self, sender: u32, target: u32) -> Option<u32> {
        let key = key(sender, target);
        let mut part = self.part(key);
        let stream = part.stream(key, &self.directions_left)?;
        let number = stream.sent;
        stream.sent += 1;
        part.found.sent += 1;
        part.expected += u64::from(self.audience.viewers(target));
        Some(number)
    }

    /// The server acknowledged a message; false if it had done so before.
    pub fn acknowledge(&self, sender: u32, target: u32, number: u32) -> bool {
        let key = key(sender, target);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let Some(stream) = part.streams.get_mut(&key) else { return false };
        let (holes, left) = (&mut part.unacknowledged, &self.exceptions_left);
        let new = stream.acknowledged.mark((key, 0), number, holes, left) != Mark::Again;
        part.found.acknowledged += u64::from(new);
        new
    }

    /// The server refused a message for good: nobody waits for it any more.
    pub fn refuse(&self, sender: u32, target: u32, number: u32) {
        let key = key(sender, target);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let Some(stream) = part.streams.get_mut(&key) else { return };
        let left = &self.exceptions_left;
        part.found.refused += 1;
        // Its place is taken, so that it counts neither as lost nor its successors as late.
        stream.acknowledged.mark((key, 0), number, &mut part.unacknowledged, left);
        for rank in 0..self.audience.ranks(target) {
            if self.audience.viewer(sender, target, rank).is_none() {
                continue;
            }
            let Some(view) = view(
                &mut part.streams,
                &mut part.views,
                (key, rank),
                &self.directions_left,
                &mut part.found,
            ) else {
                return;
            };
            let mark = view.delivered.mark((key, rank), number, &mut part.undelivered, left);
            part.expected -= u64::from(mark != Mark::Again);
        }
    }

    /// A message is about to be sent again, and the server may not know that it has it already.
    pub fn repeat(&self, sender: u32, target: u32, number: u32) {
        if self.promise.once {
            return;
        }
        let key = key(sender, target);
        let mut part = self.part(key);
        if part.repeated.contains(&(key, number)) {
            return;
        }
        if self.exceptions_left.take() {
            part.repeated.insert((key, number));
        } else {
            part.found.overflowed = true;
        }
    }

    /// A viewer is there again for the `life`th time, without what came while it was away. Without
    /// effect if that was promised to be kept.
    pub fn rejoin(&self, viewer: u32, life: u32) {
        if self.promise.kept {
            return;
        }
        let mut part = self.part(u64::from(viewer));
        if part.lives.contains_key(&viewer) || self.exceptions_left.take() {
            part.lives.insert(viewer, life);
        } else {
            part.found.overflowed = true;
        }
    }

    /// A message arrived. Gives its fields if it is a good one, seen by this viewer for the first
    /// time.
    pub fn deliver(&self, arrival: &Arrival<'_>) -> Option<Payload> {
        if let Shown::Conversation { peer: Some(peer), sequence, .. } = arrival.shown {
            self.sequence(arrival.viewer, peer, sequence);
        }
        let Some(payload) = Payload::read(arrival.body) else {
            self.part(u64::from(arrival.viewer)).found.corrupted += 1;
            return None;
        };
        let (sender, target) = (payload.sender, payload.recipient);
        let key = key(sender, target);
        let mut guard = self.part(key);
        let part = &mut *guard;
        let rank = self.audience.rank(sender, target, arrival.viewer);
        let fits = payload.run == self.run && self.is_right_place(arrival, &payload);
        let Some(rank) = rank.filter(|_| fits) else {
            part.found.misdelivered += 1;
            return None;
        };
        if part.streams.get(&key).is_none_or(|stream| payload.counter >= stream.sent) {
            part.found.corrupted += 1;
            return None;
        }
        let place = (key, rank);
        let (directions_left, found) = (&self.directions_left, &mut part.found);
        let view = view(&mut part.streams, &mut part.views, place, directions_left, found)?;
        if view.delivered.life != arrival.life && !self.promise.kept {
            part.found.missed_away += u64::from(view.delivered.skip_to(payload.counter));
            view.delivered.life = arrival.life;
        }
        let (holes, left) = (&mut part.undelivered, &self.exceptions_left);
        match view.delivered.mark(place, payload.counter, holes, left) {
            Mark::Next => {}
            Mark::Late => part.found.reordered += 1,
            Mark::Again => {
                let repeat = arrival.repeat || part.repeated.contains(&(key, payload.counter));
                if repeat && !self.promise.once {
                    part.found.doubled_unpromised += 1;
                } else {
                    part.found.duplicated += 1;
                }
                return None;
            }
        }
        part.found.delivered += 1;
        Some(payload)
    }

    /// It was shown where a message of this sender to this target belongs.
    fn is_right_place(&self, arrival: &Arrival<'_>, payload: &Payload) -> bool {
        let is_direct = payload.recipient & GROUP == 0;
        match arrival.shown {
            Shown::Topic(target) => target == Some(payload.recipient),
            Shown::Mailbox => is_direct,
            Shown::Conversation { sender, peer, .. } => {
                let user = self.audience.user(payload.sender);
                let is_copy = self.audience.user(arrival.viewer) == user;
                let other = if is_copy { payload.recipient } else { user };
                is_direct && sender == Some(user) && peer == Some(other)
            }
        }
    }

    /// A connection saw this sequence in its user's conversation with user `peer`, in a message or
    /// as its own.
    pub fn sequence(&self, viewer: u32, peer: u32, sequence: u64) {
        let Self { audience, .. } = self;
        // A conversation has no stream of its own; that from the peer's first device stands for it.
        let key = key(peer.wrapping_mul(audience.devices), audience.user(viewer));
        let mut guard = self.part(key);
        let part = &mut *guard;
        let rank = viewer % audience.devices;
        if part.stream(key, &self.directions_left).is_none() {
            return;
        }
        let (directions_left, found) = (&self.directions_left, &mut part.found);
        let view = view(&mut part.streams, &mut part.views, (key, rank), directions_left, found);
        let Some(view) = view else { return };
        let last = view.sequence;
        view.sequence = last.max(sequence);
        if last == 0 || sequence == last + 1 {
            return;
        }
        if sequence <= last {
            part.found.sequence_repeats += 1;
        } else {
            part.found.sequence_gaps += sequence - last - 1;
        }
    }

    /// A mailbox's numbers have a hole that no page filled.
    pub fn mailbox_gap(&self, viewer: u32, missing: u64) {
        self.part(u64::from(viewer)).found.mailbox_gaps += missing;
    }

    /// Deliveries still to come of what was sent and not refused, so far as is known: what is lost
    /// is among them for ever.
    pub fn awaited(&self) -> u64 {
        let parts = self.parts.iter().map(|part| {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.expected.saturating_sub(part.found.delivered)
        });
        parts.sum()
    }

    /// The judgement, after the last delivery.
    pub fn findings(&self) -> Findings {
        let mut lives = HashMap::<u32, u32, Build>::default();
        for part in &self.parts {
            lives.extend(&part.lock().unwrap_or_else(PoisonError::into_inner).lives);
        }
        let mut findings = Findings::default();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            findings.add(&self.judge(&part, &lives));
        }
        findings
    }

    fn judge(&self, part: &Part, lives: &HashMap<u32, u32, Build>) -> Findings {
        let mut found = part.found;
        found.overflowed |= part.unacknowledged.forgotten > 0;
        if self.promise.arrival {
            found.overflowed |= part.undelivered.forgotten > 0;
        } else {
            found.missed_unpromised += part.undelivered.forgotten;
        }
        for &(key, rank, number) in &part.undelivered.set {
            let Some(stream) = part.streams.get(&key) else { continue };
            let view = part.view((key, rank), stream);
            self.judge_missing(part, stream, &view, key, number, false, &mut found);
        }
        for (&key, stream) in &part.streams {
            let (sender, target) = ((key >> 32) as u32, key as u32);
            for rank in 0..self.audience.ranks(target) {
                let view = part.view((key, rank), stream);
                if view.delivered.low >= stream.sent {
                    continue;
                }
                let Some(viewer) = self.audience.viewer(sender, target, rank) else { continue };
                let life = lives.get(&viewer).copied().unwrap_or(0);
                let away = !self.promise.kept && view.delivered.life != life;
                for number in view.delivered.low..stream.sent {
                    if !view.delivered.has(number) {
                        self.judge_missing(part, stream, &view, key, number, away, &mut found);
                    }
                }
            }
        }
        found
    }

    fn judge_missing(
        &self,
        part: &Part,
        stream: &Stream,
        view: &View,
        key: u64,
        number: u32,
        away: bool,
        found: &mut Findings,
    ) {
        let acknowledged =
            stream.acknowledged.has(number) && !part.unacknowledged.has((key, 0), number);
        if !self.promise.arrival {
            found.missed_unpromised += 1;
        } else if away {
            found.missed_away += 1;
        } else if acknowledged {
            found.lost += 1;
            found.acknowledged_then_lost += 1;
        } else if number < view.delivered.end() {
            found.lost += 1;
        } else {
            found.unanswered += 1;
        }
    }
}

impl Part {
    fn stream(&mut self, key: u64, left: &Left) -> Option<&mut Stream> {
        if !self.streams.contains_key(&key) && !left.take() {
            self.found.overflowed = true;
            return None;
        }
        Some(self.streams.entry(key).or_default())
    }

    fn view(&self, place: seen::Place, stream: &Stream) -> View {
        if place.1 == 0 {
            stream.first
        } else {
            self.views.get(&place).copied().unwrap_or_default()
        }
    }
}

/// The view of a stream that exists; `None` if the bound is reached.
fn view<'a>(
    streams: &'a mut HashMap<u64, Stream, Build>,
    views: &'a mut HashMap<seen::Place, View, Build>,
    place: seen::Place,
    left: &Left,
    found: &mut Findings,
) -> Option<&'a mut View> {
    if place.1 == 0 {
        return streams.get_mut(&place.0).map(|stream| &mut stream.first);
    }
    if !views.contains_key(&place) && !left.take() {
        found.overflowed = true;
        return None;
    }
    Some(views.entry(place).or_default())
}

fn key(sender: u32, target: u32) -> u64 {
    u64::from(sender) << 32 | u64::from(target)
}

#[cfg(test)]
mod tests;
