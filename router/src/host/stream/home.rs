//! The home's half: says how far it is, takes entries in order, says what has arrived.

use super::super::counters::Mark;
use super::super::entry::MessageAt;
use super::super::{Host, own};
use super::REOPEN_WAIT_US;
use crate::key::shard_of;
use crate::record::{self, ENTRY_BODY_BYTES_MAX};
use crate::store::log::Location;
use hawser_codec::link::{Arrived, Damaged, Open, Opened, Stream};
use hawser_codec::message::NAME_BYTES_MAX;
use hawser_codec::time::Now;

/// What comes from one remote host.
pub(super) struct Incoming {
    /// Name of the last opening.
    opening: u64,
    /// The source has answered it.
    begun: bool,
    /// Stored entries since then, and source and place of the last.
    count: u64,
    last: (u8, u64),
    /// As many are said to have arrived.
    said: u64,
    /// When the last opening was said, and when the next is to be.
    opened_us: u64,
    due_us: Option<u64>,
}

impl Incoming {
    /// Openings of different lives should have different names, and a count from the wall time on
    /// is as good as a random one for that: all names but the last are void anyway.
    pub fn new(now: Now) -> Incoming {
        let opening = now.wall_ms << 8;
        let (count, last, said) = (0, (0, 0), 0);
        Incoming { opening, begun: false, count, last, said, opened_us: 0, due_us: None }
    }

    /// Wants another opening, soon.
    fn ask_again(&mut self, now: Now) {
        self.begun = false;
        self.due_us = Some(now.monotonic_us.max(self.opened_us + REOPEN_WAIT_US));
    }

    pub fn deadline(&self) -> Option<u64> {
        self.due_us
    }

    pub fn is_ready(&self) -> bool {
        self.begun && self.count > self.said
    }
}

impl Host {
    /// Says to `host` how far its streams have come. What it rests on leaves with it or before:
    /// like all output it waits for the last run.
    pub(super) fn open(&mut self, now: Now, host: u16) {
        let settings = self.settings;
        let Some(remote) = self.remotes[usize::from(host)].as_mut() else { return };
        let incoming = &mut remote.incoming;
        incoming.opening += 1;
        (incoming.begun, incoming.count, incoming.said) = (false, 0, 0);
        (incoming.opened_us, incoming.due_us) = (now.monotonic_us, None);
        let opening = incoming.opening;
        let ask = !remote.outgoing.is_open();
        let batch = self.commit.peer(host);
        for shard in self.shards.iter().flatten() {
            let sources = shard.applied.iter().enumerate();
            let sources = sources.map(|(source, applied)| (source as u8, *applied));
            for (source, applied) in sources
                .filter(|(source, applied)| *applied > 0 && settings.host_of(*source) == host)
            {
                Open { source, home: shard.number, applied }.put(batch);
            }
        }
        Opened { opening, ask }.put(batch);
        self.counters.stream_openings += 1;
    }

    pub(super) fn open_if_due(&mut self, now: Now, host: u16) {
        let Some(remote) = self.remote(host) else { return };
        if remote.up && remote.incoming.due_us.is_some_and(|due| due <= now.monotonic_us) {
            self.open(now, host);
        }
    }

    /// The source wants to be opened: it has lost the opening it had.
    pub(super) fn open_when_asked(&mut self, now: Now, host: u16) {
        if let Some(remote) = self.remote(host) {
            remote.incoming.ask_again(now);
        }
        self.open_if_due(now, host);
    }

    /// The source answers an opening.
    pub(in crate::host) fn on_begin(&mut self, from: u16, opening: u64) -> Result<(), Damaged> {
        let incoming = &mut self.sender(from)?.incoming;
        if opening == incoming.opening {
            // What it asked before it had this opening is answered.
            (incoming.begun, incoming.due_us) = (true, None);
        }
        Ok(())
    }

    /// An entry from another process.
    pub(in crate::host) fn on_remote_stream(
        &mut self,
        now: Now,
        from: u16,
        entry: &Stream,
    ) -> Result<(), Damaged> {
        let body_bytes_max = self.settings.body_bytes_max;
        let names = [entry.peer_name, entry.sender_name, entry.device_name];
        if self.settings.host_of(entry.source) != from
            || names.iter().any(|name| name.len() > NAME_BYTES_MAX)
            || entry.body.len() > body_bytes_max
            || entry.location != 0
        {
            return Err(Damaged);
        }
        if entry.position == 0 {
            self.push_ephemeral(entry);
            return Ok(());
        }
        let applied = own(&mut self.shards, &entry.user).applied[usize::from(entry.source)];
        let place = (entry.source, entry.position, entry.previous);
        if !self.is_next_from(now, from, shard_of(&entry.user), place)? {
            return Ok(());
        }
        let mut at = MessageAt::Log { location: Location::NONE, bytes: 0 };
        if entry.position > applied && entry.body.len() > ENTRY_BODY_BYTES_MAX {
            at = self.keep_body(entry);
        }
        self.apply(now, entry, at);
        Ok(())
    }

    /// Whether an entry for an own shard, with its source, its place and the one before, is the
    /// next of its stream or was applied before; it is counted then. Else the stream is opened
    /// again.
    pub(in crate::host) fn is_next_from(
        &mut self,
        now: Now,
        from: u16,
        home: u8,
        (source, position, previous): (u8, u64, u64),
    ) -> Result<bool, Damaged> {
        if !self.sender(from)?.incoming.begun {
            self.counters.hit(Mark::StreamStale);
            return Ok(false);
        }
        let shard = self.shards[usize::from(home)].as_ref().ok_or(Damaged)?;
        let applied = shard.applied[usize::from(source)];
        if position > applied && previous != applied {
            self.counters.hit(Mark::StreamReopened);
            self.counters.streams_reopened += 1;
            self.sender(from)?.incoming.ask_again(now);
            self.open_if_due(now, from);
            return Ok(false);
        }
        let incoming = &mut self.sender(from)?.incoming;
        incoming.count += 1;
        incoming.last = (source, position);
        Ok(true)
    }

    /// Appends a long body, because the message that has it stands in the log of another process.
    fn keep_body(&mut self, entry: &Stream) -> MessageAt {
        let number = shard_of(&entry.user);
        let position = own(&mut self.shards, &entry.user).step();
        let offset = self.commit.run.len() as u64;
        let (conversation, sequence, body) = (entry.conversation, entry.sequence, entry.body);
        let record = record::Body { conversation, sequence, body };
        let bytes = record.put(number, position, &mut self.commit.run) as u32;
        MessageAt::Run { offset, bytes }
    }

    /// Says what has arrived, with the run in which it did.
    pub(in crate::host) fn say_arrived(&mut self) {
        for (host, remote) in self.remotes.iter_mut().enumerate() {
            let Some(remote) = remote else { continue };
            let incoming = &mut remote.incoming;
            if remote.up && incoming.is_ready() {
                incoming.said = incoming.count;
                let (opening, count) = (incoming.opening, incoming.count);
                let (source, position) = incoming.last;
                Arrived { opening, count, source, position }.put(self.commit.peer(host as u16));
            }
        }
    }

    /// Something has arrived that is not said yet.
    pub(in crate::host) fn has_arrived(&self) -> bool {
        self.remotes.iter().flatten().any(|remote| remote.up && remote.incoming.is_ready())
    }
}
