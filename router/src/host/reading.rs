//! Pages under way: what was asked, what was read so far, and what of it may be shown.

use super::ReadRequest;
use super::stream::StreamRead;
use super::window::LookUp;
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record::{self, Framed};
use crate::store::log::Location;
use hawser_codec::link::{Connection, Deliver, Key};
use std::collections::{BTreeMap, VecDeque};

/// A page being read.
pub(super) struct Page {
    pub worker: Origin,
    pub connection: Connection,
    pub user: Key,
    pub device: Key,
    pub channel: u16,
    pub request: u64,
    pub limit: u64,
    pub backward: bool,
    pub since_ms: u64,
    /// Next entries asked for: above this, or backward below it.
    pub after: u64,
    /// Range being read, both included.
    pub low: u64,
    pub high: u64,
    /// Index page wanted next, and the one to be read on the way.
    pub target: u64,
    pub walking: u64,
    pub wanted: Vec<Wanted>,
    /// Framed records as read.
    pub arena: Vec<u8>,
    pub outstanding: usize,
    pub failed: bool,
    pub gone: bool,
    pub restarts: u8,
}

#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub number: u64,
    pub location: u64,
    pub bytes: u32,
    /// Where the record stands in the arena; empty until read, or for ever if it is gone.
    pub entry: (usize, usize),
    /// Where the message stands that holds its body.
    pub message: (usize, usize),
}

/// What a read is for.
pub(super) enum ReadFor {
    Index {
        page: usize,
        location: Location,
    },
    /// `count` entries from `first` of the page's list, joined from `location` on.
    Entries {
        page: usize,
        first: usize,
        count: usize,
        location: u64,
    },
    Message {
        page: usize,
        entry: usize,
        location: u64,
    },
    Window(LookUp),
    Stream(StreamRead),
}

pub(super) struct Reading {
    pub pages: Vec<Option<Box<Page>>>,
    pub open: usize,
    pub reads: BTreeMap<u64, ReadFor>,
    pub next_id: u64,
    pub lookups: usize,
    pub requests: Vec<ReadRequest>,
    /// Pages that wait for a run.
    pub waiting: VecDeque<(u64, usize)>,
}

impl Reading {
    pub fn new() -> Reading {
        Reading {
            pages: Vec::new(),
            open: 0,
            reads: BTreeMap::new(),
            next_id: 1,
            lookups: 0,
            requests: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub fn ask(&mut self, location: Location, length: u32, what: ReadFor) {
        let id = self.next_id;
        self.next_id += 1;
        self.reads.insert(id, what);
        self.requests.push(ReadRequest { id, location, length });
    }

    pub fn put(&mut self, page: Box<Page>) -> usize {
        match self.pages.iter().position(Option::is_none) {
            Some(index) => {
                self.pages[index] = Some(page);
                index
            }
            None => {
                self.pages.push(Some(page));
                self.pages.len() - 1
            }
        }
    }
}

impl Page {
    pub fn want(&mut self, number: u64, location: u64, bytes: u32) {
        let (entry, message) = ((0, 0), (0, 0));
        self.wanted.push(Wanted { number, location, bytes, entry, message });
    }

    /// The entry as read, if it is what was asked for.
    pub fn entry(&self, wanted: &Wanted) -> Option<record::Entry<'_>> {
        let bytes = &self.arena[wanted.entry.0..wanted.entry.1];
        let (framed, length) = Framed::take(bytes).ok()?;
        let right = framed.kind == record::Entry::KIND
            && framed.shard == shard_of(&self.user)
            && length == wanted.bytes as usize;
        let entry = record::Entry::take(framed.payload).ok().filter(|_| right)?;
        (entry.user == self.user && entry.number == wanted.number).then_some(entry)
    }

    pub fn body<'a>(&'a self, wanted: &Wanted, entry: &record::Entry<'a>) -> Option<&'a [u8]> {
        if entry.device == self.device {
            return Some(&[]);
        }
        if entry.held == 0 {
            return Some(entry.body);
        }
        let bytes = &self.arena[wanted.message.0..wanted.message.1];
        let (framed, _) = Framed::take(bytes).ok()?;
        let (conversation, sequence, body) = match framed.kind {
            record::Body::KIND => {
                let record = record::Body::take(framed.payload).ok()?;
                (record.conversation, record.sequence, record.body)
            }
            _ => {
                let record = record::Message::take(framed.payload).ok()?;
                (record.conversation, record.sequence, record.body)
            }
        };
        (conversation == entry.conversation && sequence == entry.sequence).then_some(body)
    }

    /// The entry is young enough and its body is still there.
    pub fn shows(&self, wanted: &Wanted, oldest_ms: u64) -> bool {
        self.entry(wanted)
            .is_some_and(|entry| entry.time_ms >= oldest_ms && self.body(wanted, &entry).is_some())
    }

    pub fn put_entry(&self, wanted: &Wanted, batch: &mut Vec<u8>) {
        let Some(entry) = self.entry(wanted) else {
            return;
        };
        let Some(body) = self.body(wanted, &entry) else {
            return;
        };
        Deliver {
            connection: self.connection,
            page: true,
            number: wanted.number,
            sequence: entry.sequence,
            incarnation: entry.incarnation,
            client_seq: entry.client_seq,
            uuid: entry.uuid,
            time_ms: entry.time_ms,
            content: entry.content,
            receipts: entry.receipts,
            own: entry.device == self.device,
            peer_name: entry.peer_name,
            sender_name: entry.sender_name,
            device_name: entry.device_name,
            body,
        }
        .put(batch);
    }
}
