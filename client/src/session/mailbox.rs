//! The receiving half: numbers, cursor, pages and acknowledgements.
//!
//! `acknowledged <= delivered <= seen`: what the server may forget for this device, what the
//! application was given, and what is known to exist. Whenever `delivered < seen` and nothing
//! arrives by itself, a page is asked for; a page's question acknowledges the page before it.

use hawser_codec::{
    message::{Message as Wire, Notify, NotifyAcknowledge, Page, Sync},
    time::Now,
};

use super::{
    ClientSession, Link, US_PER_MS,
    types::{Acknowledging, Event, Message},
};

/// Wait before asking again for a page that brought nothing although there should be more, or
/// that was refused without saying when to try again, microseconds.
const PAGE_RETRY_US: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paging {
    Idle,
    /// A page is on its way.
    Asked {
        request: u64,
        at_us: u64,
        delivered_before: u64,
        /// Asked before without an answer.
        repeated: bool,
    },
    /// The application has not acknowledged the last page yet.
    Application,
    /// Asked again at this time.
    Later {
        at_us: u64,
    },
}

#[derive(Debug)]
pub(super) struct Mailbox {
    /// Told to the server, or about to be.
    acknowledged: u64,
    /// Reported to the application.
    delivered: u64,
    /// Highest number heard of.
    seen: u64,
    /// The start is known; before the first welcome of an empty outbox it is not.
    known: bool,
    paging: Paging,
    /// Last number of the question for a page.
    request: u64,
    /// Entries acknowledged here and not yet to the server.
    unsent: u32,
    /// The acknowledgement leaves at the latest then; counts while `unsent > 0`.
    flush_at_us: u64,
    flushed_us: u64,
}

impl Mailbox {
    pub(super) fn new(cursor: Option<u64>) -> Self {
        let start = cursor.unwrap_or(0);
        Self {
            acknowledged: start,
            delivered: start,
            seen: start,
            known: cursor.is_some(),
            paging: Paging::Idle,
            request: 0,
            unsent: 0,
            flush_at_us: 0,
            flushed_us: 0,
        }
    }

    pub(super) fn on_disconnected(&mut self) {
        self.paging = Paging::Idle;
        self.unsent = 0;
    }

    pub(super) fn deadline(&self, timeout_us: u64) -> Option<u64> {
        let page = match self.paging {
            Paging::Asked { at_us, .. } => Some(at_us + timeout_us),
            Paging::Later { at_us } => Some(at_us),
            Paging::Idle | Paging::Application => None,
        };
        let flush = (self.unsent > 0).then_some(self.flush_at_us);
        [page, flush].into_iter().flatten().min()
    }
}

impl ClientSession {
    /// The application has stored all entries up to `number` (only with
    /// [`Acknowledging::Manual`]; a number it was never given is ignored).
    pub fn acknowledge(&mut self, now: Now, number: u64) {
        if number > self.mailbox.delivered || number <= self.mailbox.acknowledged {
            return;
        }
        self.count_acknowledged(now, number);
        if self.mailbox.paging == Paging::Application
            && self.mailbox.acknowledged == self.mailbox.delivered
        {
            self.mailbox.paging = Paging::Idle;
        }
        self.settle_mailbox(now);
    }

    /// Asks the server for what this device has not seen, also without a sign that there is any.
    pub fn sync(&mut self, now: Now) {
        if matches!(self.link, Link::Online(_)) && self.mailbox.paging == Paging::Idle {
            self.ask_page(now, false);
        }
    }

    pub(super) fn welcome_mailbox(&mut self, now: Now, head: u64, cursor: u64, floor: u64) {
        let mailbox = &mut self.mailbox;
        if !mailbox.known {
            mailbox.known = true;
            mailbox.acknowledged = cursor;
            mailbox.delivered = cursor;
        } else if cursor > mailbox.delivered && !self.settings.rewind {
            // This device acknowledged more than its outbox remembers; the server's word wins.
            mailbox.acknowledged = cursor;
            mailbox.delivered = cursor;
        }
        mailbox.seen = mailbox.delivered.max(head);
        self.outbox.cursor = Some(self.mailbox.acknowledged);
        self.skip_expired(floor);
        self.settle_mailbox(now);
    }

    pub(super) fn on_notify(&mut self, now: Now, notify: &Notify<'_>) {
        let mailbox = &mut self.mailbox;
        mailbox.seen = mailbox.seen.max(notify.number);
        if notify.number <= mailbox.delivered {
            return;
        }
        if notify.number > mailbox.delivered + 1 {
            // A hole: the pages fetch it, and this one again.
            return;
        }
        mailbox.delivered = notify.number;
        let event = if notify.own {
            let ours = notify.incarnation == self.outbox.incarnation();
            Event::Own {
                number: notify.number,
                conversation: notify.conversation.to_owned(),
                sequence: notify.sequence,
                client_seq: ours.then_some(notify.client_seq),
            }
        } else {
            Event::Message(Message {
                number: notify.number,
                conversation: notify.conversation.to_owned(),
                sequence: notify.sequence,
                sender: notify.sender.to_owned(),
                device: notify.device.to_owned(),
                uuid: notify.uuid,
                time_ms: notify.time_ms,
                content: notify.content,
                receipts: notify.receipts,
                body: notify.body.to_vec(),
            })
        };
        self.events.push_back(event);
        if self.settings.acknowledging == Acknowledging::Automatic {
            self.count_acknowledged(now, notify.number);
        }
    }

    pub(super) fn on_head(&mut self, now: Now, head: u64) {
        let mailbox = &mut self.mailbox;
        mailbox.seen = mailbox.seen.max(head);
        if head <= mailbox.acknowledged && mailbox.unsent == 0 {
            // The server has forgotten how far this device is (it recovered from its log, where
            // the last cursors are missing) and waits to hear of it before it pushes again.
            let number = mailbox.acknowledged;
            self.put(now, &Wire::NotifyAcknowledge(NotifyAcknowledge { number }));
        }
    }

    pub(super) fn on_page(&mut self, now: Now, page: &Page) {
        let Paging::Asked { request, delivered_before, .. } = self.mailbox.paging else { return };
        if page.request != request {
            return;
        }
        self.mailbox.seen = self.mailbox.seen.max(page.head);
        self.skip_expired(page.floor);
        let mailbox = &mut self.mailbox;
        let behind = mailbox.delivered < mailbox.seen;
        mailbox.paging = if mailbox.acknowledged < mailbox.delivered {
            Paging::Application
        } else if behind && mailbox.delivered == delivered_before {
            Paging::Later { at_us: now.monotonic_us + PAGE_RETRY_US }
        } else {
            Paging::Idle
        };
    }

    /// A question for a page was refused; true if one was on its way.
    pub(super) fn on_page_refused(&mut self, now: Now, retry_after_ms: u32) -> bool {
        if !matches!(self.mailbox.paging, Paging::Asked { .. }) {
            return false;
        }
        let wait_us = (u64::from(retry_after_ms) * US_PER_MS).max(PAGE_RETRY_US);
        self.mailbox.paging = Paging::Later { at_us: now.monotonic_us + wait_us };
        true
    }

    fn skip_expired(&mut self, floor: u64) {
        let mailbox = &mut self.mailbox;
        if floor > mailbox.delivered {
            self.events.push_back(Event::Expired { from: mailbox.delivered + 1, to: floor });
            mailbox.delivered = floor;
            mailbox.acknowledged = floor;
            mailbox.seen = mailbox.seen.max(floor);
            self.outbox.cursor = Some(floor);
        }
    }

    fn count_acknowledged(&mut self, now: Now, number: u64) {
        let delay_us = u64::from(self.settings.acknowledge_delay_ms) * US_PER_MS;
        let mailbox = &mut self.mailbox;
        if mailbox.unsent == 0 {
            // At once after a quiet time, else in company.
            mailbox.flush_at_us = (mailbox.flushed_us + delay_us).max(now.monotonic_us);
            if mailbox.flushed_us == 0 {
                mailbox.flush_at_us = now.monotonic_us;
            }
        }
        mailbox.unsent += (number - mailbox.acknowledged) as u32;
        mailbox.acknowledged = number;
        self.outbox.cursor = Some(number);
    }

    pub(super) fn time_mailbox(&mut self, now: Now) {
        match self.mailbox.paging {
            Paging::Asked { at_us, repeated, .. }
                if now.monotonic_us >= at_us + self.timeout_us() =>
            {
                // The page may be lost where the connection is good, with a router behind the
                // server: only a second silence in a row is held against the connection.
                if repeated {
                    self.reconnect(0);
                    return;
                }
                self.ask_page(now, true);
            }
            Paging::Later { at_us } if now.monotonic_us >= at_us => {
                self.mailbox.paging = Paging::Idle;
            }
            Paging::Idle | Paging::Application | Paging::Asked { .. } | Paging::Later { .. } => {}
        }
        self.settle_mailbox(now);
    }

    /// Sends what the mailbox owes the server: a question for a page, or an acknowledgement.
    pub(super) fn settle_mailbox(&mut self, now: Now) {
        if !matches!(self.link, Link::Online(_)) {
            return;
        }
        let mailbox = &self.mailbox;
        if mailbox.paging == Paging::Idle && mailbox.delivered < mailbox.seen {
            if mailbox.acknowledged < mailbox.delivered {
                // Asking would acknowledge nothing new and bring the same entries again.
                self.mailbox.paging = Paging::Application;
            } else {
                self.ask_page(now, false);
            }
        }
        let mailbox = &self.mailbox;
        let due = now.monotonic_us >= mailbox.flush_at_us
            || mailbox.unsent >= self.settings.acknowledge_count;
        if mailbox.unsent > 0 && due {
            let number = mailbox.acknowledged;
            self.put(now, &Wire::NotifyAcknowledge(NotifyAcknowledge { number }));
            self.mailbox.unsent = 0;
            self.mailbox.flushed_us = now.monotonic_us;
        }
    }

    fn ask_page(&mut self, now: Now, repeated: bool) {
        let mailbox = &mut self.mailbox;
        mailbox.request += 1;
        mailbox.paging = Paging::Asked {
            request: mailbox.request,
            at_us: now.monotonic_us,
            delivered_before: mailbox.delivered,
            repeated,
        };
        mailbox.unsent = 0;
        let question = Sync {
            request: mailbox.request,
            after: mailbox.acknowledged,
            limit: self.settings.page_entries,
            backward: false,
            since_ms: 0,
        };
        self.put(now, &Wire::Sync(question));
    }
}
