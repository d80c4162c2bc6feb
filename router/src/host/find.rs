//! Finding the entries of a page: what is in memory, blocks, and single records.
//!
//! All reads whose place is known are asked for at once. The places of the latest blocks are in
//! memory; to older ones lead index records, one after another, one to each 128-fold of the
//! distance. A block may only name an entry: that one is read after it.

use super::Host;
use super::block::{is_dropped, recall};
use super::counters::Mark;
use super::own;
use super::reading::{ReadFor, Reader};
use super::settings::{COALESCE_BYTES_MAX, COALESCE_GAP_BYTES};
use crate::mailbox::{Mailbox, Route, entries_through};
use crate::record::{self, BLOCK_ENTRIES, Framed, INDEX_FANOUT, Item, Site};
use crate::store::log::Location;
use hawser_codec::time::Now;

/// Entries that are gone because sites are: all to the end of the last of these that is.
fn gone_through(sites: &[Site], first: u64, level: u8, dropped: &[u32; 64]) -> u64 {
    let last = sites.iter().rposition(|site| is_dropped(dropped, site.location));
    last.map_or(0, |last| entries_through(level, first + last as u64))
}

fn gone_from(mailbox: &Mailbox, dropped: &[u32; 64]) -> u64 {
    let levels = mailbox.levels.iter().enumerate();
    let gone = levels
        .map(|(level, known)| gone_through(&known.sites, known.first(), level as u8, dropped));
    gone.max().unwrap_or(0)
}

impl Host {
    /// Takes the range of a page from memory and asks for the rest.
    pub(super) fn find_entries(&mut self, index: usize) {
        let page = self.reading.page(index);
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        let mailbox = shard.users.all[found].mailbox();
        let in_blocks = mailbox.in_blocks();
        let first = page.low.max(in_blocks + 1);
        let skipped = (first - in_blocks - 1) as usize;
        for (number, place) in (first..=page.high).zip(mailbox.tail.iter().skip(skipped)) {
            if is_dropped(&self.dropped, place.location) {
                page.collected.lost(number);
            } else if let Some(payload) = recall(&self.recent, &page.user, number, place) {
                page.collected.want(number, place.location, u32::from(place.bytes));
                page.collected.fill(page.collected.wanted.len() - 1, payload);
                self.counters.hit(Mark::PageFromMemory);
            } else {
                page.collected.want(number, place.location, u32::from(place.bytes));
                self.counters.recent_missed += 1;
            }
        }
        if page.low > in_blocks || page.collected.gone.is_some() {
            return self.ask_entries(Reader::Page(index));
        }
        let low = Mailbox::block_of(page.low);
        let high = Mailbox::block_of(page.high.min(in_blocks));
        page.blocks = (low, high);
        let route = mailbox.route(low, high);
        let needed = match &route {
            Route::Blocks(sites) => sites.as_slice(),
            Route::Index { site, .. } => std::slice::from_ref(site),
        };
        if needed.iter().any(|site| is_dropped(&self.dropped, site.location)) {
            // A block stands behind its entries, so they are gone with it. Past all that is
            // gone at once: the log may have lost thousands of blocks.
            return page.collected.lost(gone_from(mailbox, &self.dropped));
        }
        self.ask_entries(Reader::Page(index));
        match route {
            Route::Blocks(sites) => self.ask_blocks(index, low, &sites),
            Route::Index { level, number, site } => self.ask_index(index, level, number, site),
        }
    }

    fn ask_index(&mut self, index: usize, level: u8, number: u64, site: Site) {
        self.counters.hit(Mark::PageThroughIndex);
        self.reading.page(index).collected.outstanding += 1;
        let what = ReadFor::Index { page: index, level, number, location: site.location };
        self.reading.ask(Location(site.location), site.bytes, what);
    }

    fn ask_blocks(&mut self, index: usize, first: u64, sites: &[Site]) {
        self.reading.page(index).collected.outstanding += sites.len();
        for (number, Site { location, bytes }) in (first..).zip(sites.iter().copied()) {
            self.counters.hit(Mark::PageFromBlock);
            let what = ReadFor::Block { page: index, number, location };
            self.reading.ask(Location(location), bytes, what);
        }
    }

    /// Asks for entries that are wanted and not there, neighbours with one read.
    pub(super) fn ask_entries(&mut self, reader: Reader) {
        let collected = self.reading.collected(reader);
        let wanted = &mut collected.wanted;
        let mut missing: Vec<usize> = (0..wanted.len()).filter(|at| !wanted[*at].asked).collect();
        missing.sort_unstable_by_key(|at| wanted[*at].location);
        let mut asked: Vec<(u64, u32, Vec<usize>)> = Vec::new();
        for at in missing {
            wanted[at].asked = true;
            let (location, bytes) = (wanted[at].location, wanted[at].bytes);
            if let Some((begin, length, which)) = asked.last_mut() {
                let joined = location + u64::from(bytes) - *begin;
                let near = location <= *begin + u64::from(*length) + COALESCE_GAP_BYTES;
                let same_segment = location >> 28 == *begin >> 28;
                if near && same_segment && joined <= COALESCE_BYTES_MAX {
                    *length = joined as u32;
                    which.push(at);
                    continue;
                }
            }
            asked.push((location, bytes, vec![at]));
        }
        collected.outstanding += asked.len();
        for (location, length, which) in asked {
            self.counters.hit(Mark::PageReadEntries);
            let what = ReadFor::Entries { reader, which, location };
            self.reading.ask(Location(location), length, what);
        }
    }

    pub(super) fn take_read(&mut self, now: Now, id: u64, bytes: Result<&[u8], i32>) {
        let Some(what) = self.reading.reads.remove(&id) else {
            return;
        };
        let reader = match what {
            ReadFor::Window(look) => return self.take_window(look, bytes),
            ReadFor::Queue(read) => return self.take_queued(now, &read, bytes),
            ReadFor::Stream(read) => return self.take_stream(now, read, bytes),
            ReadFor::Index { page, level, number, location } => {
                self.reading.page(page).collected.outstanding -= 1;
                self.take_index(page, level, number, location, bytes);
                Reader::Page(page)
            }
            ReadFor::Block { page, number, location } => {
                self.reading.page(page).collected.outstanding -= 1;
                self.take_block(page, number, location, bytes);
                Reader::Page(page)
            }
            ReadFor::Entries { reader, which, location } => {
                self.reading.collected(reader).outstanding -= 1;
                self.take_entries(reader, &which, location, bytes);
                reader
            }
            ReadFor::Message { page, entry, location } => {
                self.reading.page(page).collected.outstanding -= 1;
                self.take_body(page, entry, location, bytes);
                Reader::Page(page)
            }
        };
        match reader {
            Reader::Page(index) => self.go_on(now, index),
            Reader::Gather(index) => self.finish_gather(index),
        }
    }

    /// A read that did not bring what should stand there.
    fn unreadable(&mut self, reader: Reader, location: u64, read: bool) {
        let gone = is_dropped(&self.dropped, location);
        let collected = self.reading.collected(reader);
        if gone {
            return collected.lost(0);
        }
        collected.failed = true;
        self.counters.unreadable += u64::from(read);
        self.counters.hit(Mark::ReadFailed);
    }

    fn take_index(
        &mut self,
        index: usize,
        level: u8,
        number: u64,
        location: u64,
        bytes: Result<&[u8], i32>,
    ) {
        let page = self.reading.page(index);
        let read = bytes.ok().and_then(|bytes| Framed::take(bytes).ok());
        let record = read
            .filter(|(framed, _)| framed.kind == record::Index::KIND)
            .and_then(|(framed, _)| record::Index::take(framed.payload).ok())
            .filter(|record| {
                let count = ((number + 1) * INDEX_FANOUT - record.first()) as usize;
                let right =
                    (record.user, record.level, record.number) == (page.user, level, number);
                right && record.sites().len() == count
            });
        let Some(record) = record else {
            return self.unreadable(Reader::Page(index), location, bytes.is_ok());
        };
        let sites: Vec<Site> = record.sites().collect();
        let (low, high) = page.blocks;
        let step = INDEX_FANOUT.pow(u32::from(level));
        let (low, high) = if level == 0 { (low, high) } else { (high / step, high / step) };
        let first = record.first();
        let needed = &sites[(low - first) as usize..=(high - first) as usize];
        if needed.iter().any(|site| is_dropped(&self.dropped, site.location)) {
            return page.collected.lost(gone_through(&sites, first, level, &self.dropped));
        }
        if level == 0 {
            self.ask_blocks(index, low, needed);
        } else {
            self.ask_index(index, level - 1, high, needed[0]);
        }
    }

    fn take_block(&mut self, index: usize, number: u64, location: u64, bytes: Result<&[u8], i32>) {
        let page = self.reading.page(index);
        let read = bytes.ok().and_then(|bytes| Framed::take(bytes).ok());
        let block = read
            .filter(|(framed, _)| framed.kind == record::Block::KIND)
            .and_then(|(framed, _)| record::Block::take(framed.payload).ok())
            .filter(|block| block.user == page.user && block.number == number);
        let Some(block) = block else {
            return self.unreadable(Reader::Page(index), location, bytes.is_ok());
        };
        let first = number * BLOCK_ENTRIES as u64 + 1;
        for (number, item) in (first..).zip(block.items()) {
            if number < page.low || number > page.high {
                continue;
            }
            match item {
                Item::Copy(tail) => page.collected.have(number, tail),
                Item::Reference { location, .. } if is_dropped(&self.dropped, location) => {
                    page.collected.lost(number);
                }
                Item::Reference { location, bytes } => {
                    page.collected.want(number, location, u32::from(bytes));
                }
            }
        }
        if page.collected.outstanding == 0 && page.collected.gone.is_none() {
            self.ask_entries(Reader::Page(index));
        }
    }

    fn take_entries(
        &mut self,
        reader: Reader,
        which: &[usize],
        location: u64,
        bytes: Result<&[u8], i32>,
    ) {
        let Ok(bytes) = bytes else {
            return self.unreadable(reader, location, false);
        };
        let user = self.reading.reader_user(reader);
        let collected = self.reading.collected(reader);
        for at in which.iter().copied() {
            let wanted = collected.wanted[at];
            let from = (wanted.location - location) as usize;
            let record = bytes.get(from..from + wanted.bytes as usize);
            let framed = record.and_then(|record| Framed::take(record).ok());
            let entry = framed.filter(|(framed, length)| {
                framed.kind == record::Entry::KIND
                    && *length == wanted.bytes as usize
                    && record::is_entry(framed.payload, &user, wanted.number)
            });
            // What is no entry stays empty, and is found so when all is read.
            if let Some((framed, _)) = entry {
                collected.fill(at, framed.payload);
            }
        }
    }
}
