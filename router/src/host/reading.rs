//! Reads under way: what was asked, what was read so far, and what of it may be shown.

use super::ReadRequest;
use super::queue::QueueRead;
use super::settings::PAGE_BYTES_MAX;
use super::stream::StreamRead;
use super::window::LookUp;
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
    /// Blocks of the range, both included.
    pub blocks: (u64, u64),
    pub collected: Collected,
    /// What is left to do is to wait for bodies.
    pub asked_bodies: bool,
    pub restarts: u8,
}

/// Entries being brought together.
#[derive(Default)]
pub(super) struct Collected {
    pub wanted: Vec<Wanted>,
    /// Entries as a block keeps them, and framed messages as read.
    pub arena: Vec<u8>,
    pub outstanding: usize,
    pub failed: bool,
    /// Something was dropped from the log meanwhile: nothing is kept up to here (0: not known).
    pub gone: Option<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub number: u64,
    /// Where its own record stands; not used once the entry is there.
    pub location: u64,
    pub bytes: u32,
    pub asked: bool,
    /// Where it stands in the arena; empty until it is there.
    pub entry: (usize, usize),
    /// Where the message stands that holds its body.
    pub message: (usize, usize),
}

/// Whom entries are for.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    Page(usize),
    Gather(usize),
}

/// A block whose entries are being read.
pub(super) struct Gather {
    pub shard: u8,
    pub user: u32,
    pub key: Key,
    /// Number of the block.
    pub number: u64,
    pub collected: Collected,
}

/// What a read is for.
pub(super) enum ReadFor {
    Index {
        page: usize,
        level: u8,
        number: u64,
        location: u64,
    },
    Block {
        page: usize,
        number: u64,
        location: u64,
    },
    /// Entries of the list, joined from `location` on.
    Entries {
        reader: Reader,
        which: Vec<usize>,
        location: u64,
    },
    Message {
        page: usize,
        entry: usize,
        location: u64,
    },
    Window(LookUp),
    Queue(QueueRead),
    Stream(StreamRead),
}

pub(super) struct Reading {
    pub pages: Vec<Option<Box<Page>>>,
    pub open: usize,
    /// At most [`super::settings::GATHERS_MAX`].
    pub gathers: Vec<Option<Gather>>,
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
            gathers: Vec::new(),
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
        put_free(&mut self.pages, page)
    }

    pub fn put_gather(&mut self, gather: Gather) -> usize {
        put_free(&mut self.gathers, gather)
    }

    pub fn collected(&mut self, reader: Reader) -> &mut Collected {
        match reader {
            Reader::Page(index) => &mut self.page(index).collected,
            Reader::Gather(index) => {
                let gather = self.gathers[index].as_mut();
                &mut gather.expect("a gather stays until its reads have ended").collected
            }
        }
    }

    /// Whose mailbox a reader reads.
    pub fn reader_user(&mut self, reader: Reader) -> Key {
        match reader {
            Reader::Page(index) => self.page(index).user,
            Reader::Gather(index) => {
                self.gathers[index].as_ref().expect("a gather stays until its reads have ended").key
            }
        }
    }

    pub fn page(&mut self, index: usize) -> &mut Page {
        self.pages[index].as_mut().expect("a page stays until its reads have ended")
    }
}

fn put_free<T>(slots: &mut Vec<Option<T>>, value: T) -> usize {
    match slots.iter().position(Option::is_none) {
        Some(index) => {
            slots[index] = Some(value);
            index
        }
        None => {
            slots.push(Some(value));
            slots.len() - 1
        }
    }
}

impl Collected {
    pub fn want(&mut self, number: u64, location: u64, bytes: u32) {
        let (entry, message) = ((0, 0), (0, 0));
        self.wanted.push(Wanted { number, location, bytes, asked: false, entry, message });
    }

    /// Takes the payload of a wanted entry, as it stands in its own record.
    pub fn fill(&mut self, at: usize, payload: &[u8]) {
        let from = self.arena.len();
        let wanted = &mut self.wanted[at];
        record::entry_tail(payload, wanted.location, &mut self.arena);
        wanted.asked = true;
        wanted.entry = (from, self.arena.len());
    }

    /// What a block keeps of an entry, if it could be read.
    pub fn tail_of(&self, number: u64) -> Option<&[u8]> {
        let wanted = self.wanted.iter().find(|wanted| wanted.number == number)?;
        let tail = &self.arena[wanted.entry.0..wanted.entry.1];
        (!tail.is_empty()).then_some(tail)
    }

    /// Takes an entry out of a block.
    pub fn have(&mut self, number: u64, tail: &[u8]) {
        let from = self.arena.len();
        self.arena.extend_from_slice(tail);
        let entry = (from, self.arena.len());
        self.wanted.push(Wanted {
            number,
            location: 0,
            bytes: 0,
            asked: true,
            entry,
            message: (0, 0),
        });
    }

    pub fn lost(&mut self, floor: u64) {
        self.gone = Some(self.gone.unwrap_or(0).max(floor));
    }
}

impl Page {
    /// The entry as read, if it is what was asked for.
    pub fn entry(&self, wanted: &Wanted) -> Option<record::Entry<'_>> {
        let tail = &self.collected.arena[wanted.entry.0..wanted.entry.1];
        record::Entry::take_tail(self.user, wanted.number, tail).ok()
    }

    /// Puts entries in order and leaves those out that pass the bound in bytes. Whether it did.
    pub fn cut(&mut self) -> bool {
        let mut wanted = std::mem::take(&mut self.collected.wanted);
        wanted.sort_unstable_by_key(|wanted| wanted.number);
        if self.backward {
            wanted.reverse();
        }
        let mut bytes = 0;
        let fits = |wanted: &Wanted| {
            let entry = self.entry(wanted);
            let body = entry.filter(|entry| entry.held != 0 && entry.device != self.device);
            bytes += wanted.entry.1 - wanted.entry.0;
            bytes += body.map_or(0, |entry| entry.reference_bytes as usize);
            bytes <= PAGE_BYTES_MAX
        };
        let kept = wanted.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let cut = kept < wanted.len();
        wanted.truncate(kept);
        if cut {
            let last = wanted[kept - 1].number;
            *(if self.backward { &mut self.low } else { &mut self.high }) = last;
        }
        self.collected.wanted = wanted;
        cut
    }

    pub fn body<'a>(&'a self, wanted: &Wanted, entry: &record::Entry<'a>) -> Option<&'a [u8]> {
        if entry.device == self.device {
            return Some(&[]);
        }
        if entry.held == 0 {
            return Some(entry.body);
        }
        let bytes = &self.collected.arena[wanted.message.0..wanted.message.1];
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
