//! Reading a mailbox: a page brings its entries together (`find.rs`), then long bodies.
//!
//! ```text
//! Read -> (waits for a run) -> entries: memory, blocks, single records -> bodies, at once
//!      -> PageStart, Deliver ..., PageEnd
//! ```
//!
//! Numbers whose record is not durable are not read; a page that has nothing else waits for the
//! run. Only forward pages acknowledge and bring a session back to being pushed to.
//!
//! Invariant: a mailbox is kept from its floor on, without a hole. What is found gone raises the
//! floor past it: an entry, or the message that holds its body.

use super::block::is_dropped;
use super::counters::Mark;
use super::entry::raise_floor;
use super::reading::{Collected, Page, ReadFor};
use super::session::session_slot;
use super::settings::{PAGE_ENTRIES_MAX, PAGES_MAX, RETRY_SOON_MS, RETRY_STORAGE_MS};
use super::{Host, own};
use crate::directory::Mode;
use crate::origin::Origin;
use crate::store::log::Location;
use hawser_codec::code;
use hawser_codec::link::{PageEnd, PageStart, Read};
use hawser_codec::time::Now;

/// A page begins anew when the log below it was dropped meanwhile; more often than this without
/// the floor rising is a fault of the store.
const RESTARTS_MAX: u8 = 4;

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
            limit: u64::from(read.limit.clamp(1, self.settings.page_entries_max))
                .min(PAGE_ENTRIES_MAX),
            backward: read.backward,
            since_ms: read.since_ms,
            after: read.after,
            low: 1,
            high: 0,
            blocks: (0, 0),
            collected: Collected::default(),
            asked_bodies: false,
            restarts: 0,
        });
        if beyond {
            return self.refuse_page(&page, code::BAD_NUMBER, 0);
        }
        if !read.backward && !read.preview {
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
    pub(super) fn begin_page(&mut self, now: Now, index: usize) {
        let page = self.reading.page(index);
        page.collected.wanted.clear();
        page.collected.arena.clear();
        page.collected.gone = None;
        page.asked_bodies = false;
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
        self.find_entries(index);
        self.go_on(now, index);
    }

    /// Next step of a page that waits for nothing.
    pub(super) fn go_on(&mut self, now: Now, index: usize) {
        let page = self.reading.page(index);
        if page.collected.outstanding > 0 {
            return;
        }
        if !page.collected.failed && page.collected.gone.is_none() && !page.asked_bodies {
            page.asked_bodies = true;
            self.ask_bodies(index);
        }
        let page = self.reading.page(index);
        if page.collected.outstanding > 0 {
            return;
        }
        match page.collected.gone {
            Some(floor) if !page.collected.failed => self.raise_and_begin(now, index, floor),
            _ => self.finish_page(now, index),
        }
    }

    fn raise_and_begin(&mut self, now: Now, index: usize, floor: u64) {
        let page = self.reading.page(index);
        let shard = own(&mut self.shards, &page.user);
        let found = shard.users.find(&page.user).expect("users are never removed");
        if raise_floor(&mut shard.users.all[found], floor) {
            self.counters.hit(Mark::FloorRaised);
        } else {
            page.restarts += 1;
        }
        page.collected.failed |= page.restarts > RESTARTS_MAX;
        if page.collected.failed {
            self.finish_page(now, index)
        } else {
            self.begin_page(now, index)
        }
    }

    /// Asks for the messages whose bodies are too long to stand in an entry.
    fn ask_bodies(&mut self, index: usize) {
        let page = self.reading.page(index);
        let found = page.collected.wanted.len() as u64 == page.high + 1 - page.low;
        if !found || page.collected.wanted.iter().any(|wanted| page.entry(wanted).is_none()) {
            page.collected.failed = true;
            self.counters.unreadable += 1;
            return;
        }
        if page.cut() {
            self.counters.hit(Mark::PageCutByBytes);
        }
        let mut asked = Vec::new();
        let mut gone = 0;
        for (at, wanted) in page.collected.wanted.iter().enumerate() {
            let entry = page.entry(wanted).expect("each was just looked at");
            if entry.held == 0 {
                continue;
            }
            if is_dropped(&self.dropped, entry.reference) {
                // The entry is no longer one: what stands before it is older still.
                gone = gone.max(wanted.number);
            } else if entry.device != page.device {
                asked.push((at, entry.reference, entry.reference_bytes));
            }
        }
        if gone > 0 {
            return page.collected.lost(gone);
        }
        page.collected.outstanding += asked.len();
        for (entry, location, bytes) in asked {
            self.counters.hit(Mark::PageReadBody);
            let what = ReadFor::Message { page: index, entry, location };
            self.reading.ask(Location(location), bytes, what);
        }
    }

    pub(super) fn take_body(
        &mut self,
        index: usize,
        entry: usize,
        location: u64,
        bytes: Result<&[u8], i32>,
    ) {
        let collected = &mut self.reading.page(index).collected;
        match bytes {
            Ok(bytes) => {
                let at = collected.arena.len();
                collected.arena.extend_from_slice(bytes);
                collected.wanted[entry].message = (at, collected.arena.len());
            }
            Err(_) if is_dropped(&self.dropped, location) => {
                let number = collected.wanted[entry].number;
                collected.lost(number);
            }
            Err(_) => {
                self.counters.hit(Mark::ReadFailed);
                collected.failed = true;
            }
        }
    }

    /// Says what was read, or reads on if nothing of it may be shown.
    fn finish_page(&mut self, now: Now, index: usize) {
        let mut page = self.reading.pages[index].take().expect("the page is open");
        if page.collected.failed {
            self.reading.open -= 1;
            return self.refuse_page(&page, code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS);
        }
        let oldest_ms = now.wall_ms.saturating_sub(self.settings.retention_ms).max(page.since_ms);
        let shown = page.collected.wanted.iter().any(|wanted| page.shows(wanted, oldest_ms));
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
        for wanted in page.collected.wanted.iter().filter(|wanted| page.shows(wanted, oldest_ms)) {
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
