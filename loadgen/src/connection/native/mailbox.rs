//! The receiving half: numbers, pages, acknowledgements; every entry goes to the oracle.
//!
//! Entries at or below the cursor are repeats, which the protocol allows; a doubled message has a
//! number of its own and gets to the oracle.

use hawser_codec::{
    code,
    message::{Message, Notify, NotifyAcknowledge, Page, Sync, Welcome},
    time::Now,
};

use super::{Fault, World};
use crate::oracle::{Arrival, Shown};

/// Entries asked for at a time.
const PAGE_ENTRIES: u16 = 50;

/// Entries after which an acknowledgement leaves without waiting.
const ACKNOWLEDGE_COUNT: u32 = 32;

/// Longest wait of an acknowledgement for company, microseconds.
const ACKNOWLEDGE_DELAY_US: u64 = 20_000;

/// Without a page for so long, the connection is given up, microseconds.
const PAGE_WAIT_US: u64 = 10_000_000;

/// Wait before a refused or empty page is asked for again, microseconds.
const PAGE_RETRY_US: u64 = 500_000;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// All up to here are with us, and acknowledged or about to be.
    cursor: u64,
    /// Highest number heard of.
    seen: u64,
    flush_at_us: u64,
    /// When the page on its way was asked for, 0 for none.
    asked_us: u64,
    /// No page is asked for before this time.
    retry_us: u64,
    /// Cursor when the page was asked for.
    asked_at: u64,
    unacknowledged: u32,
    request: u32,
}

impl Mailbox {
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Nothing unread.
    pub(super) fn is_read(&self) -> bool {
        self.cursor >= self.seen
    }

    /// Nothing unread, nothing unacknowledged.
    pub(super) fn is_level(&self) -> bool {
        self.cursor >= self.seen && self.unacknowledged == 0
    }

    pub(super) fn on_disconnected(&mut self) {
        self.asked_us = 0;
        self.retry_us = 0;
        self.unacknowledged = 0;
    }

    pub(super) fn on_welcome(&mut self, world: &World, index: u32, welcome: &Welcome<'_>) {
        self.seen = welcome.head.max(self.cursor);
        self.skip_to(world, index, welcome.floor);
    }

    /// Entries that are gone although this device has not had them.
    fn skip_to(&mut self, world: &World, index: u32, number: u64) {
        if number > self.cursor {
            world.ground.oracle.mailbox_gap(index, number - self.cursor);
            self.cursor = number;
            self.seen = self.seen.max(number);
        }
    }

    pub(super) fn on_head(&mut self, now: Now, head: u64) {
        self.seen = self.seen.max(head);
        if head <= self.cursor && self.unacknowledged == 0 {
            // The server has lost the latest cursor and pushes nothing until it hears of it again.
            self.unacknowledged = 1;
            self.flush_at_us = now.monotonic_us;
        }
    }

    pub(super) fn on_notify(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        page: bool,
        notify: &Notify<'_>,
    ) {
        self.seen = self.seen.max(notify.number);
        if notify.number <= self.cursor {
            world.tally.counters.entries_again += 1;
            return;
        }
        if notify.number > self.cursor + 1 {
            if !page {
                // A page brings what is missing, and this one again.
                return;
            }
            // Pages are dense: nothing will bring it.
            self.skip_to(world, index, notify.number - 1);
        }
        self.cursor = notify.number;
        if self.unacknowledged == 0 {
            self.flush_at_us = now.monotonic_us + ACKNOWLEDGE_DELAY_US;
        }
        self.unacknowledged += 1;
        deliver(world, index, now, notify);
    }

    pub(super) fn on_page(&mut self, world: &mut World, index: u32, now: Now, page: &Page) {
        if self.asked_us == 0 || page.request != u64::from(self.request) {
            return;
        }
        world.tally.counters.pages += 1;
        self.asked_us = 0;
        self.seen = self.seen.max(page.head);
        self.skip_to(world, index, page.floor);
        if self.cursor == self.asked_at {
            self.retry_us = now.monotonic_us + PAGE_RETRY_US;
        }
    }

    pub(super) fn on_page_refused(&mut self, now: Now, retry_after_ms: u32) {
        if self.asked_us != 0 {
            self.asked_us = 0;
            let wait_us = (u64::from(retry_after_ms) * 1000).max(PAGE_RETRY_US);
            self.retry_us = now.monotonic_us + wait_us;
        }
    }

    pub(super) fn on_time(&self, now: Now) -> Result<(), Fault> {
        if self.asked_us != 0 && now.monotonic_us >= self.asked_us + PAGE_WAIT_US {
            return Err(Fault::new(code::TIMEOUT));
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> u64 {
        let mut at_us = u64::MAX;
        if self.unacknowledged > 0 {
            at_us = self.flush_at_us;
        }
        if self.asked_us != 0 {
            at_us = at_us.min(self.asked_us + PAGE_WAIT_US);
        } else if self.cursor < self.seen {
            at_us = at_us.min(self.retry_us);
        }
        at_us
    }

    pub(super) fn settle(&mut self, world: &mut World, now: Now, outbound: &mut Vec<u8>) {
        let behind = self.cursor < self.seen;
        if behind && self.asked_us == 0 && now.monotonic_us >= self.retry_us {
            self.request += 1;
            self.asked_us = now.monotonic_us;
            self.asked_at = self.cursor;
            self.unacknowledged = 0;
            let question = Sync {
                request: u64::from(self.request),
                after: self.cursor,
                limit: PAGE_ENTRIES,
                backward: false,
                since_ms: 0,
            };
            world.speaker.say(outbound, &Message::Sync(question));
        }
        // Whatever else leaves takes it along: as a packet of its own it costs both sides more than
        // the message did.
        let due = !outbound.is_empty()
            || now.monotonic_us >= self.flush_at_us
            || self.unacknowledged >= ACKNOWLEDGE_COUNT;
        if self.unacknowledged > 0 && due {
            let up_to = NotifyAcknowledge { number: self.cursor };
            world.speaker.say(outbound, &Message::NotifyAcknowledge(up_to));
            self.unacknowledged = 0;
        }
    }
}

fn deliver(world: &mut World, index: u32, now: Now, notify: &Notify<'_>) {
    let names = world.ground.names;
    let conversation = names.index(notify.conversation);
    if notify.own {
        if let Some(peer) = conversation {
            world.ground.oracle.sequence(index, peer, notify.sequence);
        }
        return;
    }
    let shown = Shown::Conversation {
        sender: names.index(notify.sender),
        peer: conversation,
        sequence: notify.sequence,
    };
    let arrival = Arrival { viewer: index, shown, repeat: false, life: 0, body: notify.body };
    world.deliver(now, &arrival);
}
