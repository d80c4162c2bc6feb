//! The source's half: keeps what is not confirmed, brings a home up to date from the log, then
//! says entries as they come.
//!
//! ```text
//! Closed --Opened--> CatchingUp --few left--> Joining --those have left--> Live
//!    ^                   ^                       |                          |
//!    |                   +------ too much said and not confirmed -----------+
//!    +-- link lost, or anything unexpected
//! ```
//!
//! Invariant: entries are said in the order of the queue, whether they are read from the log or
//! made as their message comes; so a count is enough to confirm them.

use super::super::Host;
use super::super::counters::Mark;
use super::super::publish::topic_entry_of;
use super::super::reading::ReadFor;
use super::super::send::entry_of;
use super::super::settings::{
    COALESCE_BYTES_MAX, COALESCE_GAP_BYTES, STREAM_JOIN_ENTRIES_MAX, STREAM_READS_MAX,
    STREAM_RETRY_US,
};
use super::StreamFigures;
use super::queue::{Queue, Unconfirmed};
use crate::record::{self, Framed};
use crate::shard::SHARDS;
use crate::store::log::Location;
use hawser_codec::link::{Arrived, Begin, Damaged, Open};
use hawser_codec::time::Now;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is said.
    Closed,
    /// What is durable is read from the log and said.
    CatchingUp,
    /// Entries below `from` are; those from there on are made as their messages come, and held.
    Joining { from: u64 },
    /// Entries are said as their messages come.
    Live,
}

/// What goes to one remote host.
pub(super) struct Outgoing {
    queue: Queue,
    phase: Phase,
    /// The home's name for what is said now.
    opening: u64,
    /// Number of the first entry said since.
    base: u64,
    /// Number of the next to be said.
    next: u64,
    /// Entries below are said or being read.
    asked: u64,
    /// Bytes of messages whose entries are said, held or being read, and not confirmed.
    under_way: u64,
    /// As much may be under way.
    window_bytes: u64,
    /// Frames held while older ones are still being read.
    held: Vec<u8>,
    /// Reads that have not ended, those for an earlier opening included.
    reads: usize,
    /// Tells reads for this opening from those for earlier ones.
    attempt: u32,
    /// Answers to reads by number of the first entry, as far as others have to be said before.
    answers: BTreeMap<u64, (usize, Vec<u8>)>,
    /// When to read again after a read that failed.
    retry_us: Option<u64>,
    /// What `Open` frames have said so far, by source and home; empty before the first.
    offered: Vec<u64>,
}

/// What a read is for: `count` entries from `first`, joined.
pub(in crate::host) struct StreamRead {
    host: u16,
    attempt: u32,
    first: u64,
    count: usize,
}

fn pair(source: u8, home: u8) -> usize {
    usize::from(source) << 8 | usize::from(home)
}

impl Outgoing {
    pub fn new(found: Vec<Unconfirmed>, window_bytes: u64) -> Outgoing {
        Outgoing {
            queue: Queue::new(found),
            phase: Phase::Closed,
            opening: 0,
            base: 0,
            next: 0,
            asked: 0,
            under_way: 0,
            window_bytes,
            held: Vec::new(),
            reads: 0,
            attempt: 0,
            answers: BTreeMap::new(),
            retry_us: None,
            offered: Vec::new(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    pub fn oldest(&self, lane: u8) -> Option<u32> {
        self.queue.oldest(lane)
    }

    pub fn deadline(&self) -> Option<u64> {
        self.retry_us
    }

    pub fn figures(&self) -> StreamFigures {
        StreamFigures {
            up: false,
            open: self.is_open(),
            catching_up: matches!(self.phase, Phase::CatchingUp | Phase::Joining { .. }),
            unconfirmed: self.queue.len() as u64,
            unconfirmed_bytes: self.queue.bytes(),
            said_bytes: self.under_way,
        }
    }

    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.attempt = self.attempt.wrapping_add(1);
        self.answers.clear();
        self.held = Vec::new();
        self.offered = Vec::new();
        self.under_way = 0;
        self.retry_us = None;
    }

    fn begin(&mut self, opening: u64) {
        self.close();
        self.phase = Phase::CatchingUp;
        self.opening = opening;
        self.base = self.queue.first();
        self.next = self.base;
        self.asked = self.base;
    }

    /// Entries up to here can be read from the log and are to be.
    fn readable(&self) -> u64 {
        match self.phase {
            Phase::Closed | Phase::Live => self.asked,
            Phase::CatchingUp => self.queue.located(),
            Phase::Joining { from } => from.min(self.queue.located()),
        }
    }

    /// The next entries to be read together, as place, length and count.
    fn next_read(&self) -> Option<(Location, u32, usize)> {
        let first = *self.queue.get(self.asked).filter(|_| self.asked < self.readable())?;
        let begin = first.location.0;
        let mut end = begin + u64::from(first.bytes);
        let mut count = 1;
        while self.asked + (count as u64) < self.readable()
            && let Some(next) = self.queue.get(self.asked + count as u64)
        {
            let near = next.location.0 >= begin && next.location.0 <= end + COALESCE_GAP_BYTES;
            let next_end = end.max(next.location.0 + u64::from(next.bytes));
            let same_segment = next.location.0 >> 28 == begin >> 28;
            if !near || !same_segment || next_end - begin > COALESCE_BYTES_MAX {
                break;
            }
            end = next_end;
            count += 1;
        }
        Some((first.location, (end - begin) as u32, count))
    }

    /// Turns to entries as they come, or back to the log if too many are under way; `true` for
    /// the latter.
    fn turn(&mut self) -> bool {
        let too_much = self.under_way > self.window_bytes;
        match self.phase {
            // Half, so that a home which is as slow as messages come does not alternate.
            Phase::CatchingUp if self.under_way <= self.window_bytes / 2 => {
                let left = self.queue.end() - self.asked;
                if left <= STREAM_JOIN_ENTRIES_MAX {
                    self.phase = Phase::Joining { from: self.queue.end() };
                }
            }
            Phase::Joining { from } if too_much => {
                let held = (from..self.queue.end()).filter_map(|number| self.queue.get(number));
                self.under_way -= held.map(|entry| u64::from(entry.bytes)).sum::<u64>();
                self.held = Vec::new();
                self.phase = Phase::CatchingUp;
                return true;
            }
            Phase::Live if too_much => {
                self.phase = Phase::CatchingUp;
                return true;
            }
            _ => {}
        }
        false
    }
}

impl Host {
    /// Messages towards users of this shard are not taken now: its host has too much unconfirmed.
    pub(in crate::host) fn is_backed_up(&self, home: u8) -> bool {
        let host = usize::from(self.settings.host_of(home));
        let Some(Some(remote)) = self.remotes.get(host) else { return false };
        let queue = &remote.outgoing.queue;
        queue.len() >= self.settings.unconfirmed_max
            || queue.bytes() >= self.settings.unconfirmed_bytes_max
    }

    /// What is said to `host` and not kept would be heard: its stream is open. Counted if not.
    pub(in crate::host) fn is_heard_by(&mut self, host: u16) -> bool {
        let heard = self.remote(host).is_none_or(|remote| remote.outgoing.is_open());
        self.counters.unheard += u64::from(!heard);
        heard
    }

    /// Takes an entry for a home shard of a remote host: its message stands at `offset` of the run
    /// being built. `place` is its own in the stream and the one before; `put` appends its frame.
    pub(in crate::host) fn keep_for(
        &mut self,
        source: u8,
        home: u8,
        place: (u64, u64),
        offset: u64,
        bytes: u32,
        put: impl Fn(&mut Vec<u8>),
    ) {
        let host = self.settings.host_of(home);
        let run = self.commit.number;
        let Some(remote) = self.remotes[usize::from(host)].as_mut() else { return };
        let outgoing = &mut remote.outgoing;
        let (streamed, previous) = place;
        let location = Location(offset);
        outgoing.queue.push(run, Unconfirmed { streamed, previous, location, bytes, source, home });
        match outgoing.phase {
            Phase::Closed | Phase::CatchingUp => return,
            Phase::Joining { .. } => put(&mut outgoing.held),
            Phase::Live => {
                put(self.commit.peer(host));
                outgoing.next += 1;
                outgoing.asked += 1;
                self.counters.streamed += 1;
            }
        }
        outgoing.under_way += u64::from(bytes);
        if outgoing.turn() {
            self.counters.hit(Mark::StreamFellBack);
        }
    }

    /// A home says how far one stream is.
    pub(in crate::host) fn on_open(&mut self, from: u16, open: &Open) -> Result<(), Damaged> {
        let settings = self.settings;
        if !settings.owns(open.source) || settings.host_of(open.home) != from {
            return Err(Damaged);
        }
        let offered = &mut self.sender(from)?.outgoing.offered;
        if offered.is_empty() {
            offered.resize(SHARDS * SHARDS, 0);
        }
        offered[pair(open.source, open.home)] = open.applied;
        Ok(())
    }

    /// All that was open is void; streams begin anew where the home has said.
    pub(in crate::host) fn on_opened(
        &mut self,
        now: Now,
        from: u16,
        opening: u64,
        ask: bool,
    ) -> Result<(), Damaged> {
        let remote = self.sender(from)?;
        let up = remote.up;
        let mut offered = std::mem::take(&mut remote.outgoing.offered);
        remote.outgoing.close();
        offered.resize(SHARDS * SHARDS, 0);
        if self.knows_more(from, &offered) {
            // Its applied entries come from messages that this log no longer has: what would be
            // streamed now would be skipped as known. Nobody gains by that.
            self.counters.stream_faults += 1;
        } else if up {
            self.settle(from, offered);
            let remote = self.sender(from)?;
            remote.outgoing.begin(opening);
            Begin { opening }.put(self.commit.peer(from));
            self.catch_up(now, from);
        }
        if ask {
            self.open_when_asked(now, from);
        }
        Ok(())
    }

    /// The home has entries of messages that this host never wrote.
    fn knows_more(&self, from: u16, offered: &[u64]) -> bool {
        let homes = (0..SHARDS).filter(|home| self.settings.host_of(*home as u8) == from);
        let mut homes = homes.flat_map(|home| self.shards.iter().flatten().map(move |s| (s, home)));
        homes.any(|(shard, home)| offered[pair(shard.number, home as u8)] >> 1 > shard.position)
    }

    /// Forgets what the home has, and makes the streams go on behind it.
    fn settle(&mut self, from: u16, offered: Vec<u64>) {
        let settings = self.settings;
        let theirs = || (0..SHARDS).filter(|home| settings.host_of(*home as u8) == from);
        for shard in self.shards.iter_mut().flatten() {
            for home in theirs() {
                shard.confirmed[home] = offered[pair(shard.number, home as u8)];
            }
        }
        let remote = self.remotes[usize::from(from)].as_mut().expect("frames come from a remote");
        let mut last = offered;
        let mut lost = 0;
        remote.outgoing.queue.retain(|entry| {
            let last = &mut last[pair(entry.source, entry.home)];
            if entry.streamed <= *last {
                return false;
            }
            // A home that has gone back behind what it confirmed has lost it for good.
            lost += u64::from(entry.previous != *last);
            entry.previous = *last;
            *last = entry.streamed;
            true
        });
        for shard in self.shards.iter_mut().flatten() {
            for home in theirs() {
                let last = last[pair(shard.number, home as u8)];
                lost += u64::from(shard.streamed[home] > last);
                shard.streamed[home] = last;
            }
        }
        self.counters.stream_faults += lost;
    }

    /// The home has the first `count` of what was said.
    pub(in crate::host) fn on_arrived(
        &mut self,
        now: Now,
        from: u16,
        arrived: &Arrived,
    ) -> Result<(), Damaged> {
        let Arrived { opening, count, source, position } = *arrived;
        let remote = self.remotes.get_mut(usize::from(from)).and_then(Option::as_mut);
        let outgoing = &mut remote.ok_or(Damaged)?.outgoing;
        if !outgoing.is_open() || outgoing.opening != opening {
            return Ok(());
        }
        if count > outgoing.next - outgoing.base {
            return Err(Damaged);
        }
        let to = outgoing.base + count;
        let last = outgoing.queue.get(to.wrapping_sub(1));
        if last.is_some_and(|last| (last.source, last.streamed) != (source, position)) {
            // Something was lost on the way although the link goes on. It is not forgotten here.
            outgoing.close();
            self.counters.hit(Mark::StreamMiscounted);
            self.counters.streams_reopened += 1;
            self.open_when_asked(now, from);
            return Ok(());
        }
        while outgoing.queue.first() < to
            && let Some(entry) = outgoing.queue.pop()
        {
            outgoing.under_way -= u64::from(entry.bytes);
            let shard = self.shards[usize::from(entry.source)].as_mut();
            let shard = shard.expect("entries are kept of own shards");
            shard.confirmed[usize::from(entry.home)] = entry.streamed;
        }
        self.catch_up(now, from);
        Ok(())
    }

    /// Reads what the home still lacks, as far as it may be under way.
    pub(super) fn catch_up(&mut self, now: Now, host: u16) {
        let Some(remote) = self.remotes[usize::from(host)].as_mut() else { return };
        let outgoing = &mut remote.outgoing;
        if outgoing.retry_us.is_some_and(|retry_us| retry_us > now.monotonic_us) {
            return;
        }
        outgoing.retry_us = None;
        while outgoing.reads < STREAM_READS_MAX
            && outgoing.under_way <= outgoing.window_bytes
            && let Some((location, length, count)) = outgoing.next_read()
        {
            let (first, attempt) = (outgoing.asked, outgoing.attempt);
            outgoing.asked += count as u64;
            outgoing.reads += 1;
            let numbers = first..outgoing.asked;
            let entries = numbers.filter_map(|number| outgoing.queue.get(number));
            outgoing.under_way += entries.map(|entry| u64::from(entry.bytes)).sum::<u64>();
            let what = ReadFor::Stream(StreamRead { host, attempt, first, count });
            self.reading.ask(location, length, what);
        }
        outgoing.turn();
        if outgoing.phase == (Phase::Joining { from: outgoing.next }) {
            // All older entries have left: those that were held follow, and hold back no more.
            let held = std::mem::take(&mut outgoing.held);
            self.commit.peer(host).extend_from_slice(&held);
            self.counters.streamed += outgoing.queue.end() - outgoing.next;
            self.counters.hit(Mark::StreamLive);
            outgoing.phase = Phase::Live;
            outgoing.next = outgoing.queue.end();
            outgoing.asked = outgoing.next;
        }
    }

    /// A run is durable: entries of its messages can be read.
    pub(in crate::host) fn locate_unconfirmed(&mut self, now: Now, run: u64, base: Location) {
        for host in 0..self.remotes.len() {
            let Some(remote) = self.remotes[host].as_mut() else { continue };
            remote.outgoing.queue.locate(run, base);
            if matches!(remote.outgoing.phase, Phase::CatchingUp | Phase::Joining { .. }) {
                self.catch_up(now, host as u16);
            }
        }
    }

    /// The log has answered.
    pub(in crate::host) fn take_stream(
        &mut self,
        now: Now,
        read: StreamRead,
        bytes: Result<&[u8], i32>,
    ) {
        let StreamRead { host, attempt, first, count } = read;
        let Some(remote) = self.remote(host) else { return };
        let outgoing = &mut remote.outgoing;
        outgoing.reads -= 1;
        if attempt == outgoing.attempt {
            match bytes {
                Ok(bytes) => {
                    outgoing.answers.insert(first, (count, bytes.to_vec()));
                    self.say_answers(now, host);
                }
                Err(_) => self.read_again(now, host),
            }
        }
        self.catch_up(now, host);
    }

    /// Says what was read, in order.
    fn say_answers(&mut self, now: Now, host: u16) {
        loop {
            let Some(remote) = self.remotes[usize::from(host)].as_mut() else { return };
            let outgoing = &mut remote.outgoing;
            let Some((count, bytes)) = outgoing.answers.remove(&outgoing.next) else { return };
            let begin = outgoing.queue.get(outgoing.next).map_or(0, |entry| entry.location.0);
            for _ in 0..count {
                let Some(entry) = outgoing.queue.get(outgoing.next) else { return };
                let at = (entry.location.0 - begin) as usize;
                if put_from_log(entry, &bytes[at.min(bytes.len())..], self.commit.peer(host)) {
                    outgoing.next += 1;
                    self.counters.streamed += 1;
                    self.counters.hit(Mark::StreamedFromLog);
                } else {
                    self.counters.unreadable += 1;
                    return self.read_again(now, host);
                }
            }
        }
    }

    /// An entry could not be read. It is never passed over: the stream waits for it.
    fn read_again(&mut self, now: Now, host: u16) {
        self.counters.hit(Mark::ReadFailed);
        let Some(remote) = self.remote(host) else { return };
        let outgoing = &mut remote.outgoing;
        let (opening, base, next) = (outgoing.opening, outgoing.base, outgoing.next);
        outgoing.begin(opening);
        (outgoing.base, outgoing.next, outgoing.asked) = (base, next, next);
        let said = (outgoing.queue.first()..next).filter_map(|number| outgoing.queue.get(number));
        outgoing.under_way = said.map(|entry| u64::from(entry.bytes)).sum();
        outgoing.retry_us = Some(now.monotonic_us + STREAM_RETRY_US);
    }
}

/// Appends the entry made of the message at the front of `bytes`; `false` if it is not there.
fn put_from_log(entry: &Unconfirmed, bytes: &[u8], batch: &mut Vec<u8>) -> bool {
    let Ok((framed, _)) = Framed::take(bytes) else { return false };
    let Unconfirmed { streamed, previous, source, home, .. } = *entry;
    if framed.shard != source || framed.position != streamed >> 1 {
        return false;
    }
    if framed.kind == record::Publish::KIND {
        let Ok(message) = record::Publish::take(framed.payload) else { return false };
        let named = message.homes().find(|(named, _)| *named == home);
        let Some((home, shares)) = named else { return false };
        topic_entry_of(&message, source, (streamed, previous), home, shares).put(batch);
        return true;
    }
    let right = framed.kind == record::Message::KIND;
    let message = record::Message::take(framed.payload).ok().filter(|_| right);
    let Some(message) = message else { return false };
    let own = streamed & 1 == 1;
    let user = if own { message.sender } else { message.peer };
    entry_of(&message, source, streamed, previous, &user).put(batch);
    true
}
