//! The home shard's part in topics: entries for sessions that are kept.
//!
//! ```text
//! TopicEntry -> match filters -> number per session, one record for all -> push what the window takes
//!                                                                              |
//! confirmed: window moves, marks ride a later run <----------------------------+
//! ```
//!
//! The record holds topic and content once, however many sessions get it; what a session has of an
//! entry is where that stands. So an entry and its content are dropped with one segment.
//!
//! Invariants: an entry is pushed in the run that numbered it or later, so its number is durable
//! when it is heard; what is pushed and not done never passes the window; a mark "received" is
//! durable before it is answered.

use super::counters::Mark;
use super::entry::{Pending, Wanted};
use super::reading::ReadFor;
use super::settings::{
    CURSOR_LATE_US, CURSORS_PER_TURN_MAX, QUEUE_READS_MAX, QUEUE_UNDER_WAY_BYTES_MAX,
};
use super::{Host, own};
use crate::attached::kept::{Done, Kept, SPAN_MAX, Waiting};
use crate::attached::targets::{self, Target};
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record::{self, HEADER_BYTES};
use crate::store::log::Location;
use crate::topic::{Written, filter};
use hawser_codec::link::{CONFIRMS_QUEUE, Confirm, Marked, QueueEntry, QueueMark, TopicEntry};
use hawser_codec::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// Subscription options (MQTT 5.0, 3.8.3.1).
const QOS: u8 = 3;
const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;

/// A session by slot and name: the slot may belong to another one later.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub shard: u8,
    pub slot: u32,
    pub name: u64,
}

/// An entry being read.
pub(super) struct QueueRead {
    of: Named,
    number: u64,
    location: Location,
}

#[derive(Default)]
pub(super) struct Queues {
    /// Sessions whose marks have changed; each once.
    dirty: VecDeque<Named>,
    dirty_us: u64,
    reads: usize,
    /// Sessions that wait until fewer are read for; each once.
    waiting: VecDeque<Named>,
}

impl Queues {
    pub fn next_deadline(&self, storage: bool) -> Option<u64> {
        (storage && !self.dirty.is_empty()).then_some(self.dirty_us + CURSOR_LATE_US)
    }
}

impl Host {
    /// An entry for the kept sessions of an own shard, in stream order of its source; repeats are
    /// possible. Appends a record that names source and place also if nobody wants it any more:
    /// the source forgets the entry once it is durable.
    pub(super) fn on_topic_entry(&mut self, now: Now, entry: &TopicEntry<'_>) {
        let number = usize::from(entry.home);
        let shard = self.shards[number].as_mut().expect("entries for other hosts are refused");
        let applied = &mut shard.applied[usize::from(entry.source)];
        if entry.position <= *applied {
            self.counters.hit(Mark::StreamRepeated);
            return;
        }
        if entry.previous != *applied {
            // As for entries of mailboxes: rebuilding from the log brings all of them in order.
            self.counters.hit(Mark::StreamGap);
            self.counters.stream_gaps += 1;
            return;
        }
        *applied = entry.position;
        let wanted = self.wanted_by(entry);
        let targets = self.enqueue(now, entry, &wanted);
        for target in &targets {
            self.pump(now, entry.home, target.slot);
        }
    }

    /// Sessions that get an entry, by slot, with its quality and flags for each.
    fn wanted_by(&mut self, entry: &TopicEntry) -> BTreeMap<u32, u8> {
        let shard = self.shards[usize::from(entry.home)].as_mut().expect("the home is ours");
        let mut wanted: BTreeMap<u32, u8> = BTreeMap::new();
        let all = &shard.attached.all;
        let mut add = |slot: u32, options: u8| {
            let session = &all[slot];
            let is_own = session.user == entry.user && session.device == entry.device;
            let qos = entry.qos.min(options & QOS);
            if qos == 0 || is_own && options & NO_LOCAL != 0 {
                return;
            }
            let retain = entry.retain && options & RETAIN_AS_PUBLISHED != 0;
            let flags = wanted.entry(slot).or_default();
            *flags |= if qos == 2 { Waiting::TWICE } else { 0 };
            *flags |= if retain { Waiting::RETAIN } else { 0 };
        };
        shard.follows.matches(entry.realm, entry.topic, |member| {
            add(member.session, member.options);
        });
        for share in targets::shares(entry.shares) {
            let here = |slot: u32| all[slot].is_attached();
            if let Some(member) = shard.follows.pick(entry.realm, share, here) {
                // A shared one of quality 0 goes to a session only while it is attached, by its worker.
                add(member.session, member.options);
            }
        }
        wanted
    }

    /// Numbers an entry for all that get it and appends its record.
    fn enqueue(&mut self, now: Now, entry: &TopicEntry, wanted: &BTreeMap<u32, u8>) -> Vec<Target> {
        let (entries_max, bytes_max) =
            (self.settings.queue_entries_max, self.settings.queue_bytes_max);
        let shard = self.shards[usize::from(entry.home)].as_mut().expect("the home is ours");
        let weight = (entry.topic.len() + entry.content.len()) as u32;
        let bytes = record::Queued::content_end(entry.topic, entry.content) as u32;
        let expires_s = match entry.expiry_s {
            0 => 0,
            after_s => ((entry.time_ms / 1000) as u32).saturating_add(after_s),
        };
        let mut made = Vec::with_capacity(wanted.len());
        let mut dropped = Vec::new();
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        for (slot, flags) in wanted {
            let Some(kept) = shard.attached.all[*slot].kept_mut() else { continue };
            let queue = &mut kept.queue;
            while queue.len() >= entries_max
                || queue.len() > 0 && queue.bytes + u64::from(weight) > bytes_max
            {
                let before = queue.len();
                queue.drop_first();
                self.counters.queue_dropped += 1;
                self.counters.queued -= (before - queue.len()) as u64;
                dropped.push(*slot);
            }
            queue.push(Waiting::new(bytes, weight, expires_s, *flags));
            self.counters.queued += 1;
            let target =
                Target { slot: *slot, name: kept.name, number: queue.head(), flags: *flags };
            targets::put(&target, &mut text);
            made.push(target);
        }
        let record = record::Queued {
            source: entry.source,
            streamed: entry.position,
            user: entry.user,
            device: entry.device,
            expires_s,
            topic: if made.is_empty() { b"" } else { entry.topic },
            content: if made.is_empty() { b"" } else { entry.content },
            targets: &text,
        };
        let offset = self.commit.run.len();
        shard.position += 1;
        record.put(entry.home, shard.position, &mut self.commit.run);
        self.scratch = text;
        if made.is_empty() {
            return made;
        }
        self.counters.queue_entries += made.len() as u64;
        let payload = &self.commit.run[offset + HEADER_BYTES..offset + bytes as usize];
        let recent = self.recent.put(payload);
        for target in &made {
            let queue = &mut shard.attached.all[target.slot].kept_mut().expect("has a queue").queue;
            if let Some(waiting) = queue.get_mut(target.number) {
                waiting.recent = recent;
            }
        }
        let what = Wanted::Queued { targets: made.as_slice().into() };
        let (run, offset) = (self.commit.number, offset as u64);
        self.pending.push_back(Pending { run, offset, shard: entry.home, what });
        for slot in dropped {
            self.counters.hit(Mark::QueueFull);
            self.mark_queue(now, entry.home, slot);
        }
        made
    }

    /// The record of some entries is durable and stands at `location`.
    pub(super) fn locate_queued(
        &mut self,
        now: Now,
        number: u8,
        targets: &[Target],
        location: Location,
    ) {
        for target in targets {
            let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
            let session = &mut shard.attached.all[target.slot];
            let kept = session.kept_mut().filter(|kept| kept.name == target.name);
            let Some(queue) = kept.map(|kept| &mut kept.queue) else { continue };
            let is_next = queue.next == target.number;
            if let Some(waiting) = queue.get_mut(target.number) {
                waiting.location = location.0;
                if is_next {
                    // It had left memory before it could be pushed, and can be read now.
                    self.pump(now, number, target.slot);
                }
            }
        }
    }

    /// Pushes what a session's window takes.
    pub(super) fn pump(&mut self, now: Now, number: u8, slot: u32) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[slot];
        let (connection, worker, is_attached) =
            (session.connection, session.worker, session.is_attached());
        let Some(kept) = session.kept_mut().filter(|kept| is_attached && !kept.is_reading) else {
            return;
        };
        let mut passed = false;
        while let Some(waiting) = next_in_window(kept).copied() {
            let at = kept.queue.next;
            if waiting.is(Done::Done) || waiting.is(Done::Received) {
                kept.queue.pass_next();
                continue;
            }
            let gone = waiting.location != 0 && {
                let location = Location(waiting.location);
                location.segment() < self.dropped[usize::from(location.lane())]
            };
            if waiting.is_expired(now) || gone {
                let counter = if gone {
                    &mut self.counters.queue_dropped
                } else {
                    &mut self.counters.queue_expired
                };
                *counter += 1;
                let before = kept.queue.len();
                kept.queue.finish(at);
                self.counters.queued -= (before - kept.queue.len()) as u64;
                passed = true;
                if kept.queue.next == at {
                    kept.queue.pass_next();
                }
                continue;
            }
            let length = (waiting.bytes as usize).saturating_sub(HEADER_BYTES);
            let recent = self.recent.get(waiting.recent, length);
            let weight = waiting.weight;
            let entry = recent.and_then(|payload| record::Queued::take_content(payload, weight));
            if let Some(entry) = entry {
                put_entry(self.commit.down(worker), connection, kept, at, &waiting, &entry, now);
                self.counters.queue_pushed += 1;
                kept.queue.pass_next();
                continue;
            }
            if waiting.location != 0 {
                kept.is_reading = true;
                let of = Named { shard: number, slot, name: kept.name };
                self.read_queued(of, at, &waiting);
            }
            break;
        }
        if passed {
            self.mark_queue(now, number, slot);
        }
    }

    /// Asks the log for an entry, or gets in line.
    fn read_queued(&mut self, of: Named, number: u64, waiting: &Waiting) {
        if self.queues.reads >= QUEUE_READS_MAX {
            self.queues.waiting.push_back(of);
            return;
        }
        self.queues.reads += 1;
        self.counters.hit(Mark::QueueRead);
        let location = Location(waiting.location);
        let read = QueueRead { of, number, location };
        self.reading.ask(location, waiting.bytes, ReadFor::Queue(read));
    }

    /// The log answered.
    pub(super) fn take_queued(&mut self, now: Now, read: &QueueRead, bytes: Result<&[u8], i32>) {
        self.queues.reads -= 1;
        let gone = self.is_gone(read.location);
        while self.queues.reads < QUEUE_READS_MAX
            && let Some(of) = self.queues.waiting.pop_front()
        {
            self.go_on_reading(now, of);
        }
        let Named { shard: number, slot, name } = read.of;
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[slot];
        let (connection, worker) = (session.connection, session.worker);
        let is_attached = session.is_attached();
        let Some(kept) = session.kept_mut().filter(|kept| kept.name == name) else { return };
        kept.is_reading = false;
        let at = kept.queue.next;
        let wanted = next_in_window(kept).copied().filter(|waiting| {
            at == read.number && waiting.location == read.location.0 && waiting.marks() & 3 == 0
        });
        if let Some(waiting) = wanted.filter(|_| is_attached) {
            let payload = bytes.ok().and_then(|bytes| bytes.get(HEADER_BYTES..));
            let weight = waiting.weight;
            match payload.and_then(|payload| record::Queued::take_content(payload, weight)) {
                Some(entry) => {
                    put_entry(
                        self.commit.down(worker),
                        connection,
                        kept,
                        at,
                        &waiting,
                        &entry,
                        now,
                    );
                    self.counters.queue_pushed += 1;
                    kept.queue.pass_next();
                }
                None if gone => {}
                None => {
                    // Unreadable now, and perhaps for good: what is behind it must not wait for it.
                    self.counters.hit(Mark::ReadFailed);
                    self.counters.unreadable += 1;
                    kept.queue.pass_next();
                }
            }
        }
        self.pump(now, number, slot);
    }

    fn go_on_reading(&mut self, now: Now, of: Named) {
        let shard = self.shards[usize::from(of.shard)].as_mut().expect("the home is ours");
        let kept = shard.attached.all[of.slot].kept_mut();
        if let Some(kept) = kept.filter(|kept| kept.name == of.name) {
            kept.is_reading = false;
            self.pump(now, of.shard, of.slot);
        }
    }

    /// A session is done with all entries up to a number.
    pub(super) fn on_queue_confirm(&mut self, now: Now, worker: Origin, confirm: &Confirm) {
        let connection = confirm.connection & !CONFIRMS_QUEUE;
        let Some(slot) = self.attached_on(&confirm.user, &confirm.device, worker, connection)
        else {
            return;
        };
        let number = shard_of(&confirm.user);
        let shard = own(&mut self.shards, &confirm.user);
        let Some(kept) = shard.attached.all[slot].kept_mut() else { return };
        let before = kept.queue.len();
        if confirm.number > kept.queue.head() {
            self.counters.hit(Mark::ConfirmBeyondHead);
            return;
        }
        while kept.queue.first <= confirm.number {
            kept.queue.drop_first();
        }
        self.counters.queued -= (before - kept.queue.len()) as u64;
        if before > kept.queue.len() {
            self.mark_queue(now, number, slot);
            self.pump(now, number, slot);
        }
    }

    pub(super) fn on_queue_mark(&mut self, now: Now, worker: Origin, mark: &QueueMark) {
        let QueueMark { connection, number: entry, .. } = *mark;
        let Some(slot) = self.attached_on(&mark.user, &mark.device, worker, connection) else {
            return;
        };
        let number = shard_of(&mark.user);
        let shard = own(&mut self.shards, &mark.user);
        let Some(kept) = shard.attached.all[slot].kept_mut() else { return };
        if entry > kept.queue.head() {
            self.counters.hit(Mark::ConfirmBeyondHead);
            return;
        }
        if mark.done {
            let before = kept.queue.len();
            let is_new = kept.queue.finish(entry);
            self.counters.queued -= (before - kept.queue.len()) as u64;
            if is_new {
                self.mark_queue(now, number, slot);
                self.pump(now, number, slot);
            }
            return;
        }
        if kept.queue.receive(entry) {
            let session = kept.name;
            let position = shard.step();
            record::Received { session, number: entry }.put(number, position, &mut self.commit.run);
        }
        // Also for one that was dropped meanwhile: the client has it, and waits for its release.
        Marked { connection, number: entry }.put(self.commit.down(worker));
    }

    /// The marks of a session have changed.
    fn mark_queue(&mut self, now: Now, number: u8, slot: u32) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let Some(kept) = shard.attached.all[slot].kept_mut() else { return };
        if std::mem::replace(&mut kept.is_dirty, true) {
            return;
        }
        if self.queues.dirty.is_empty() {
            self.queues.dirty_us = now.monotonic_us;
        }
        self.queues.dirty.push_back(Named { shard: number, slot, name: kept.name });
    }

    /// Appends marks that changed, once the first of them are old enough.
    pub(super) fn flush_marks(&mut self, now: Now) {
        let queues = &mut self.queues;
        if queues.dirty.is_empty() || now.monotonic_us < queues.dirty_us + CURSOR_LATE_US {
            return;
        }
        let count = queues.dirty.len().min(CURSORS_PER_TURN_MAX);
        let mut done = Vec::new();
        for Named { shard: number, slot, name } in queues.dirty.drain(..count) {
            let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
            let kept = shard.attached.all[slot].kept_mut();
            let Some(kept) = kept.filter(|kept| kept.name == name) else { continue };
            kept.is_dirty = false;
            kept.queue.encode_done(&mut done);
            let marks = record::Marks { session: name, first: kept.queue.first, done: &done };
            shard.position += 1;
            marks.put(number, shard.position, &mut self.commit.run);
        }
    }
}

/// The entry that is to be pushed next, if the window takes one.
fn next_in_window(kept: &Kept) -> Option<&Waiting> {
    let queue = &kept.queue;
    let has_room = queue.under_way < kept.window
        && queue.under_way_bytes < QUEUE_UNDER_WAY_BYTES_MAX
        && queue.next - queue.first < SPAN_MAX;
    queue.get(queue.next).filter(|_| has_room)
}

fn put_entry(
    batch: &mut Vec<u8>,
    connection: u64,
    kept: &Kept,
    number: u64,
    waiting: &Waiting,
    entry: &record::Content,
    now: Now,
) {
    let mut identifiers = Vec::new();
    for found in kept.filters.iter().filter(|found| found.identifier != 0) {
        let written = Written::read(&found.text);
        if written.is_some_and(|written| filter::is_match(written.filter, entry.topic)) {
            identifiers.extend_from_slice(&found.identifier.to_le_bytes());
        }
    }
    QueueEntry {
        connection,
        number,
        qos: if waiting.marks() & Waiting::TWICE != 0 { 2 } else { 1 },
        retain: waiting.marks() & Waiting::RETAIN != 0,
        repeated: number <= kept.queue.repeated,
        expiry_s: waiting.left_s(now),
        topic: entry.topic,
        identifiers: &identifiers,
        content: entry.content,
    }
    .put(batch);
}
