//! Reading a mailbox: a page walks the index, reads its entries together, then long bodies.
//!
//! ```text
//! Read -> (waits for a run) -> index pages, one after another -> entries, at once
//!      -> bodies of messages, at once -> PageStart, Deliver ..., PageEnd
//! ```
//!
//! Numbers whose record is not durable are not read; a page that has nothing else waits for the
//! run. Only forward pages acknowledge and bring a session back to being pushed to.

use super::counters::Mark;
use super::entry::raise_floor;
use super::reading::{Page, ReadFor};
use super::session::session_slot;
use super::settings::{
    COALESCE_BYTES_MAX, COALESCE_GAP_BYTES, PAGES_MAX, RETRY_SOON_MS, RETRY_STORAGE_MS,
};
use super::{Host, own};
use crate::directory::{Mode, User};
use crate::origin::Origin;
use crate::record::{self, Framed, INDEX_BYTES, INDEX_ENTRIES, INDEX_LEVELS};
use crate::store::log::Location;
use hawser_codec::code;
use hawser_codec::link::{PageEnd, PageStart, Read};
use hawser_codec::time::Now;

/// A page begins anew when the log below it was dropped meanwhile; more often than this without
/// the floor rising is a fault of the store.
const RESTARTS_MAX: u8 = 4;

/// The index page to read on the way from page `from` down to `target`, and its level: the
/// farthest step that does not pass the target.
fn step_down(from: u64, target: u64) -> (u64, usize) {
    let level = (0..INDEX_LEVELS)
        .rev()
        .find(|level| ((from - 1) >> level) << level >= target)
        .expect("level 0 leads to the page before, which is not below the target");
    (((from - 1) >> level) << level, level)
}

impl Host {
    pub(super) fn on_page(&mut self, now: Now, worker: Origin, read: &Read) {
        let shard = own(&mut self.shards, &read.user);
        let number = shard.number;
        let Some(index) = shard.users.find(&read.user) else {
            return;
        };
        let user = &mut shard.users.all[index];
        let Some(slot) = session_slot(user, &read.device, worker, read.connection) else {
            return;
        };
        let beyond = !read.backward && read.after > user.head;
        let page = Box::new(Page {
            worker,
            connection: read.connection,
            user: read.user,
            device: read.device,
            channel: read.channel,
            request: read.request,
            limit: u64::from(read.limit.clamp(1, self.settings.page_entries_max)),
            backward: read.backward,
            since_ms: read.since_ms,
            after: read.after,
            low: 1,
            high: 0,
            target: 0,
            walking: 0,
            wanted: Vec::new(),
            arena: Vec::new(),
            outstanding: 0,
            failed: false,
            gone: false,
            restarts: 0,
        });
        if beyond {
            return self.refuse_page(&page, code::BAD_NUMBER, 0);
        }
        if !read.backward {
            self.move_cursor(now, number, index, slot, read.after);
        }
        if self.reading.open >= PAGES_MAX {
            return self.refuse_page(&page, code::TRY_AGAIN, RETRY_SOON_MS);
        }
        self.reading.open += 1;
        let page = self.reading.put(page);
        self.begin_page(now, page);
    }

    /// Fixes the range to be read and asks for what it takes.
    fn begin_page(&mut self, now: Now, index: usize) {
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        page.wanted.clear();
        page.arena.clear();
        page.gone = false;
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        let user = &mut shard.users.all[found];
        let (floor, located) = (user.floor(), user.located());
        if page.backward {
            page.high = located.min(page.after.saturating_sub(1));
            page.low = (floor + 1).max((page.high + 1).saturating_sub(page.limit));
        } else {
            page.low = page.after.max(floor) + 1;
            if page.low > located && page.low <= user.head {
                self.counters.hit(Mark::PageWaited);
                self.reading.waiting.push_back((self.commit.last(), index));
                return;
            }
            page.high = located.min(page.low + page.limit - 1);
        }
        if page.low > page.high {
            return self.finish_page(now, index);
        }
        let gone = gather_tail(page, user, &self.dropped);
        if gone > 0 && raise_floor(user, gone) {
            self.counters.hit(Mark::FloorRaised);
            return self.begin_page(now, index);
        }
        let indexed = user.more().indexed();
        if page.low > indexed {
            return self.ask_entries(now, index);
        }
        self.counters.hit(Mark::PageThroughIndex);
        page.target = (page.high.min(indexed) - 1) / INDEX_ENTRIES as u64;
        let (pages, levels) = (user.more().pages, user.more().levels());
        self.walk(now, index, pages, &levels);
    }

    /// Asks for the next index page on the way down to the one wanted.
    fn walk(&mut self, now: Now, index: usize, from: u64, levels: &[u64; INDEX_LEVELS]) {
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        let (number, level) = step_down(from, page.target);
        page.walking = number;
        let location = Location(levels[level]);
        if location == Location::NONE
            || location.segment() < self.dropped[usize::from(location.lane())]
        {
            // The index page stands behind its entries, so they are gone with it.
            let floor = (number + 1) * INDEX_ENTRIES as u64;
            return self.raise_and_begin(now, index, floor);
        }
        page.outstanding += 1;
        self.reading.ask(location, INDEX_BYTES, ReadFor::Index { page: index, location });
    }

    fn raise_and_begin(&mut self, now: Now, index: usize, floor: u64) {
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        if raise_floor(&mut shard.users.all[found], floor) {
            self.counters.hit(Mark::FloorRaised);
        } else {
            page.restarts += 1;
        }
        page.failed |= page.restarts > RESTARTS_MAX;
        if page.failed { self.finish_page(now, index) } else { self.begin_page(now, index) }
    }

    pub(super) fn take_read(&mut self, now: Now, id: u64, bytes: Result<&[u8], i32>) {
        let Some(what) = self.reading.reads.remove(&id) else {
            return;
        };
        let index = match what {
            ReadFor::Window(look) => return self.take_window(look, bytes),
            ReadFor::Stream(read) => return self.take_stream(now, read, bytes),
            ReadFor::Index { page, location } => {
                return self.take_index(now, page, location, bytes);
            }
            ReadFor::Entries { page, first, count, location } => {
                self.take_entries(page, first, count, location, bytes);
                page
            }
            ReadFor::Message { page: index, entry, location } => {
                let gone = self.is_gone(Location(location));
                let page = self.reading.pages[index].as_mut().expect("the page is open");
                match bytes {
                    Ok(bytes) => {
                        let at = page.arena.len();
                        page.arena.extend_from_slice(bytes);
                        page.wanted[entry].message = (at, page.arena.len());
                    }
                    Err(_) => page.failed |= !gone,
                }
                index
            }
        };
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        page.outstanding -= 1;
        if page.outstanding == 0 {
            if matches!(what, ReadFor::Entries { .. }) && !page.failed && !page.gone {
                self.ask_bodies(now, index);
            } else if page.gone {
                self.raise_and_begin(now, index, 0);
            } else {
                self.finish_page(now, index);
            }
        }
    }

    fn take_index(
        &mut self,
        now: Now,
        index: usize,
        location: Location,
        bytes: Result<&[u8], i32>,
    ) {
        let gone = self.is_gone(location);
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        page.outstanding -= 1;
        let read = bytes.ok().and_then(|bytes| Framed::take(bytes).ok());
        let record = read
            .filter(|(framed, _)| framed.kind == record::Index::KIND)
            .and_then(|(framed, _)| record::Index::take(framed.payload).ok())
            .filter(|record| record.user == page.user && record.page == page.walking);
        let Some(record) = record else {
            if gone {
                return self.raise_and_begin(now, index, 0);
            }
            page.failed = true;
            self.counters.unreadable += u64::from(bytes.is_ok());
            self.counters.hit(Mark::ReadFailed);
            return self.finish_page(now, index);
        };
        if record.page > page.target {
            return self.walk(now, index, record.page, &record.levels);
        }
        let first = record.page * INDEX_ENTRIES as u64 + 1;
        let mut gone = 0;
        for at in 0..INDEX_ENTRIES {
            let number = first + at as u64;
            if number < page.low || number > page.high {
                continue;
            }
            let location = Location(record.locations[at]);
            if location.segment() < self.dropped[usize::from(location.lane())] {
                gone = number;
            }
            page.want(number, location.0, u32::from(record.lengths[at]));
        }
        if gone > 0 {
            return self.raise_and_begin(now, index, gone);
        }
        if first > page.low {
            page.target = record.page - 1;
            return self.walk(now, index, record.page, &record.levels);
        }
        self.ask_entries(now, index);
    }

    /// Asks for all entries, neighbours with one read.
    fn ask_entries(&mut self, now: Now, index: usize) {
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        page.wanted.sort_unstable_by_key(|wanted| wanted.location);
        let wanted = std::mem::take(&mut page.wanted);
        let mut first = 0;
        while first < wanted.len() {
            let location = wanted[first].location;
            let mut end = location + u64::from(wanted[first].bytes);
            let mut count = 1;
            while let Some(next) = wanted.get(first + count) {
                let near = next.location <= end + COALESCE_GAP_BYTES;
                let next_end = next.location + u64::from(next.bytes);
                let same_segment = next.location >> 28 == location >> 28;
                if !near || !same_segment || next_end - location > COALESCE_BYTES_MAX {
                    break;
                }
                end = next_end;
                count += 1;
            }
            let length = (end - location) as u32;
            let what = ReadFor::Entries { page: index, first, count, location };
            self.reading.ask(Location(location), length, what);
            let page = self.reading.pages[index].as_mut().expect("the page is open");
            page.outstanding += 1;
            first += count;
        }
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        page.wanted = wanted;
        if page.outstanding == 0 {
            self.finish_page(now, index);
        }
    }

    fn take_entries(
        &mut self,
        index: usize,
        first: usize,
        count: usize,
        location: u64,
        bytes: Result<&[u8], i32>,
    ) {
        let gone = self.is_gone(Location(location));
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        let Ok(bytes) = bytes else {
            self.counters.hit(Mark::ReadFailed);
            page.gone |= gone;
            page.failed |= !gone;
            return;
        };
        for wanted in &mut page.wanted[first..first + count] {
            let from = (wanted.location - location) as usize;
            let Some(record) = bytes.get(from..from + wanted.bytes as usize) else {
                page.failed = true;
                return;
            };
            let at = page.arena.len();
            page.arena.extend_from_slice(record);
            wanted.entry = (at, page.arena.len());
        }
    }

    /// Asks for the messages whose bodies are too long to stand in an entry.
    fn ask_bodies(&mut self, now: Now, index: usize) {
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        let mut asked = Vec::new();
        for (at, wanted) in page.wanted.iter().enumerate() {
            let Some(entry) = page.entry(wanted) else {
                continue;
            };
            let own = entry.device == page.device;
            let location = match entry.held {
                _ if own => continue,
                1 => entry.reference,
                2 => wanted.location - entry.reference,
                _ => continue,
            };
            asked.push((at, location, entry.reference_bytes));
        }
        for (entry, location, bytes) in asked {
            let dropped = self.dropped[usize::from(Location(location).lane())];
            if location == 0 || Location(location).segment() < dropped {
                continue;
            }
            self.counters.hit(Mark::PageReadBody);
            let what = ReadFor::Message { page: index, entry, location };
            self.reading.ask(Location(location), bytes, what);
            let page = self.reading.pages[index].as_mut().expect("the page is open");
            page.outstanding += 1;
        }
        let page = self.reading.pages[index].as_mut().expect("the page is open");
        if page.outstanding == 0 {
            self.finish_page(now, index);
        }
    }

    /// Says what was read, or reads on if nothing of it may be shown.
    fn finish_page(&mut self, now: Now, index: usize) {
        let mut page = self.reading.pages[index].take().expect("the page is open");
        page.wanted.sort_unstable_by_key(|wanted| wanted.number);
        if page.backward {
            page.wanted.reverse();
        }
        if page.failed || page.wanted.iter().any(|wanted| page.entry(wanted).is_none()) {
            self.reading.open -= 1;
            self.counters.unreadable += u64::from(!page.failed);
            return self.refuse_page(&page, code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS);
        }
        let oldest_ms = now.wall_ms.saturating_sub(self.settings.retention_ms).max(page.since_ms);
        let shown = page.wanted.iter().any(|wanted| page.shows(wanted, oldest_ms));
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        let user = &mut shard.users.all[found];
        let (head, floor) = (user.head, user.floor());
        let next = page.low.max(page.high + 1);
        let more = if page.backward { page.low > floor + 1 } else { next <= head };
        if !shown && more && page.low <= page.high {
            page.after = if page.backward { page.low } else { page.high };
            self.reading.pages[index] = Some(page);
            return self.begin_page(now, index);
        }
        self.reading.open -= 1;
        self.counters.pages += 1;
        let slot = session_slot(user, &page.device, page.worker, page.connection);
        let Some(slot) = slot else {
            // The session ended while its page was read.
            return;
        };
        let device = user.device(slot);
        if !page.backward && !more && device.mode == Mode::Syncing {
            device.mode = Mode::Live;
        }
        let cursor = device.cursor;
        let batch = self.commit.down(page.worker);
        let (connection, channel, request) = (page.connection, page.channel, page.request);
        PageStart { connection, channel, request }.put(batch);
        for wanted in page.wanted.iter().filter(|wanted| page.shows(wanted, oldest_ms)) {
            page.put_entry(wanted, batch);
        }
        PageEnd { connection, head, cursor, floor, more, code: 0, retry_after_ms: 0 }.put(batch);
    }

    fn refuse_page(&mut self, page: &Page, code: u16, retry_after_ms: u32) {
        self.counters.refuse(code);
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        let user = &mut shard.users.all[found];
        let (head, floor) = (user.head, user.floor());
        let Some(slot) = session_slot(user, &page.device, page.worker, page.connection) else {
            return;
        };
        let cursor = user.device(slot).cursor;
        let batch = self.commit.down(page.worker);
        let (connection, channel, request) = (page.connection, page.channel, page.request);
        PageStart { connection, channel, request }.put(batch);
        PageEnd { connection, head, cursor, floor, more: true, code, retry_after_ms }.put(batch);
    }

    /// Pages that waited for a run go on.
    pub(super) fn resume_pages(&mut self, now: Now, run: u64) {
        for _ in 0..self.reading.waiting.len() {
            let Some((_, index)) = self.reading.waiting.pop_front_if(|(wanted, _)| *wanted <= run)
            else {
                return;
            };
            self.begin_page(now, index);
        }
    }
}

/// Adds what the tail in memory knows of the range; the highest number that is gone, or 0.
fn gather_tail(page: &mut Page, user: &mut User, dropped: &[u32; 64]) -> u64 {
    let more = user.more();
    let indexed = more.indexed();
    let mut gone = 0;
    for number in page.low.max(indexed + 1)..=page.high {
        let place = more.tail[(number - indexed - 1) as usize];
        let location = Location(place.location);
        if location.segment() < dropped[usize::from(location.lane())] {
            gone = number;
        }
        page.want(number, place.location, u32::from(place.bytes));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_page_is_reached_in_few_steps() {
        for pages in [1u64, 2, 3, 17, 100, 1000, 65_536] {
            for target in (0..pages).step_by((pages as usize / 97).max(1)) {
                let mut at = pages;
                let mut steps = 0;
                while at != target {
                    at = step_down(at, target).0;
                    steps += 1;
                }
                assert!(steps <= 2 * u64::BITS - pages.leading_zeros() - target.leading_zeros());
            }
        }
    }
}
