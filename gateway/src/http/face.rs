//! What the session core says, as an answer to the request under way: native frames in, HTTP out.

use super::{
    BEAT_TICKS,
    exchange::{Events, Exchange, Exchanges, Poll, Stage, What},
};
use crate::{slab::Handle, timers::Tick};
use hawser_codec::{
    code,
    frame::{self, FLAG_PAGE, FrameLimits, Step},
    http::{Answer, Version, answer, poll},
    message::{self, Error, Message, Notify},
};

/// The encoder's own frames, of whatever length.
const ANY: FrameLimits = FrameLimits { body_bytes_max: u32::MAX };

impl Exchanges {
    /// Rewrites the native frames that stand from `at` on in the connection's queue.
    pub fn wrap(&mut self, handle: Handle, queue: &mut Vec<u8>, at: usize) {
        let mut frames = std::mem::take(&mut self.scratch);
        frames.clear();
        frames.extend_from_slice(&queue[at..]);
        queue.truncate(at);
        let mut rest = &frames[..];
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&ANY, rest) {
            rest = &rest[consumed..];
            if let Ok(message) = message::decode(frame) {
                self.tell(handle, queue, frame.flags, &message);
            }
        }
        self.scratch = frames;
    }

    /// Says one message to the request under way. To nobody it is said in vain.
    pub(super) fn tell(
        &mut self,
        handle: Handle,
        out: &mut Vec<u8>,
        flags: u8,
        message: &Message<'_>,
    ) {
        let (wall_ms, tick) = (self.now.wall_ms, self.tick);
        let Some(exchange) = self.find(handle).filter(|exchange| !exchange.is_done) else { return };
        match (&mut exchange.what, message) {
            (What::Events(_), _) => tell_events(exchange, out, flags, message, (wall_ms, tick)),
            (_, Message::Error(error)) => fail(exchange, out, error, wall_ms),
            (_, Message::GoAway(go_away)) => {
                let (code, retry_after_ms) = (go_away.code, go_away.retry_after_ms);
                let text = code::text(code);
                let error = Error { code, text, retry_after_ms, client_seq: 0, fatal: true };
                fail(exchange, out, &error, wall_ms);
            }
            (What::Session, Message::Welcome(welcome)) => {
                let mut body = Vec::new();
                poll::put_session(&mut body, welcome);
                whole(exchange, out, 200, &body, wall_ms);
            }
            (What::Send, Message::Acknowledge(acknowledge)) => {
                let mut body = Vec::new();
                poll::put_sent(&mut body, acknowledge);
                whole(exchange, out, 200, &body, wall_ms);
            }
            (What::Poll(_), _) => tell_poll(exchange, out, flags, message, (wall_ms, tick)),
            (What::Body | What::Session | What::Send, _) => {}
        }
    }
}

fn tell_poll(
    exchange: &mut Exchange,
    out: &mut Vec<u8>,
    flags: u8,
    message: &Message<'_>,
    (wall_ms, tick): (u64, Tick),
) {
    let What::Poll(poll) = &mut exchange.what else { return };
    match message {
        Message::Welcome(welcome) if poll.stage == Stage::LoggingIn => {
            poll.head = welcome.head;
            poll.stage = Stage::ToRead;
        }
        Message::Notify(notify) => match (poll.stage, flags & FLAG_PAGE != 0) {
            (Stage::Reading, true) => put_entry(exchange, out, notify, wall_ms),
            (Stage::Live, false) => {
                if notify.number == 0 || notify.number == poll.cursor + 1 {
                    put_entry(exchange, out, notify, wall_ms);
                    end_poll(exchange, out, wall_ms);
                } else if notify.number > poll.cursor {
                    end_poll(exchange, out, wall_ms);
                }
            }
            _ => poll.missed = true,
        },
        Message::Page(page) if poll.stage == Stage::Reading => {
            poll.head = page.head;
            if poll.count == 0 && !page.more {
                // What there was up to the head is no longer kept.
                poll.cursor = poll.cursor.max(page.head);
            }
            if poll.count > 0 || poll.missed || page.more || poll.asked.wait_s == 0 {
                end_poll(exchange, out, wall_ms);
            } else {
                poll.stage = Stage::Live;
                exchange.due = tick + super::ticks_of(poll.asked.wait_s);
            }
        }
        Message::Head(head) if poll.stage == Stage::Live && head.head > poll.cursor => {
            poll.head = head.head;
            end_poll(exchange, out, wall_ms);
        }
        _ => {}
    }
}

fn put_entry(exchange: &mut Exchange, out: &mut Vec<u8>, notify: &Notify<'_>, wall_ms: u64) {
    let version = exchange.asked.version;
    if !exchange.is_begun {
        exchange.answer(out, 200, wall_ms).chunked("application/json");
        if version == Version::Http10 {
            exchange.asked.keep_alive = false;
        }
    }
    let What::Poll(poll) = &mut exchange.what else { return };
    let chunk = answer::open_chunk(out, version);
    if poll.count == 0 {
        poll::open_entries(out);
    }
    poll::put_entry(out, poll.count == 0, notify);
    answer::close_chunk(out, chunk);
    poll.count += 1;
    poll.cursor = poll.cursor.max(notify.number);
}

/// Ends the answer to a poll with what it has.
pub(super) fn end_poll(exchange: &mut Exchange, out: &mut Vec<u8>, wall_ms: u64) {
    let What::Poll(Poll { cursor, head, .. }) = exchange.what else { return };
    let (version, head) = (exchange.asked.version, head.max(cursor));
    if exchange.is_begun {
        let chunk = answer::open_chunk(out, version);
        poll::close_entries(out, cursor, head);
        answer::close_chunk(out, chunk);
        answer::end_chunks(out, version);
        exchange.is_done = true;
        return;
    }
    let mut body = Vec::new();
    poll::open_entries(&mut body);
    poll::close_entries(&mut body, cursor, head);
    whole(exchange, out, 200, &body, wall_ms);
}

fn tell_events(
    exchange: &mut Exchange,
    out: &mut Vec<u8>,
    flags: u8,
    message: &Message<'_>,
    (wall_ms, tick): (u64, Tick),
) {
    let What::Events(events) = &mut exchange.what else { return };
    match message {
        Message::Welcome(welcome) => {
            (events.last, events.confirmed) = (welcome.cursor, welcome.cursor);
            events.head = welcome.head;
            events.stage = Stage::ToRead;
            exchange.answer(out, 200, wall_ms).events();
            put_event(exchange, out, None, message, tick);
        }
        Message::Notify(notify) if notify.number == 0 => {
            put_event(exchange, out, None, message, tick);
        }
        Message::Notify(notify) if notify.number <= events.last => {}
        Message::Notify(notify) => {
            events.head = events.head.max(notify.number);
            let is_page = flags & FLAG_PAGE != 0;
            let fits = match events.stage {
                Stage::Reading => is_page,
                Stage::Live => notify.number == events.last + 1,
                Stage::LoggingIn | Stage::ToRead => false,
            };
            if fits {
                events.last = notify.number;
                put_event(exchange, out, Some(notify.number), message, tick);
            } else if events.stage == Stage::Live {
                events.stage = Stage::ToRead;
            }
        }
        Message::Page(page) if events.stage == Stage::Reading => {
            events.head = events.head.max(page.head);
            if page.count == 0 && !page.more {
                events.last = events.last.max(page.head);
            }
            let is_behind = page.more || events.last < events.head;
            events.stage = if is_behind { Stage::ToRead } else { Stage::Live };
        }
        Message::Head(head) => {
            events.head = events.head.max(head.head);
            if events.stage == Stage::Live && events.last < events.head {
                events.stage = Stage::ToRead;
            }
        }
        Message::Receipt(_) => put_event(exchange, out, None, message, tick),
        Message::Error(error) if !exchange.is_begun => fail(exchange, out, error, wall_ms),
        Message::GoAway(_) | Message::Error(Error { fatal: true, .. }) => {
            put_event(exchange, out, None, message, tick);
            answer::end_chunks(out, exchange.asked.version);
            exchange.asked.keep_alive = false;
            exchange.is_done = true;
        }
        // A page that cannot be read now is asked for again.
        Message::Error(_) if events.stage == Stage::Reading => events.stage = Stage::ToRead,
        _ => {}
    }
}

fn put_event(
    exchange: &mut Exchange,
    out: &mut Vec<u8>,
    id: Option<u64>,
    message: &Message<'_>,
    tick: Tick,
) {
    if !exchange.is_begun {
        return;
    }
    let chunk = answer::open_chunk(out, exchange.asked.version);
    poll::put_event(out, id, message);
    answer::close_chunk(out, chunk);
    if let What::Events(Events { beat, .. }) = &mut exchange.what {
        *beat = tick + BEAT_TICKS;
    }
}

/// Answers with an error; an answer that has begun is cut off, which its length or last chunk that
/// does not come tells.
pub(super) fn fail(exchange: &mut Exchange, out: &mut Vec<u8>, error: &Error<'_>, wall_ms: u64) {
    exchange.asked.keep_alive &= !error.fatal && !exchange.is_begun;
    exchange.is_done = true;
    if exchange.is_begun {
        return;
    }
    let mut body = Vec::new();
    poll::put_error(&mut body, error);
    let mut answer = exchange.answer(out, poll::status_of(error.code), wall_ms);
    put_retry(&mut answer, error.retry_after_ms);
    answer.body("application/json", &body);
}

pub(super) fn put_retry(answer: &mut Answer<'_>, retry_after_ms: u32) {
    if retry_after_ms > 0 {
        answer.field("Retry-After", retry_after_ms.div_ceil(1000));
    }
}

fn whole(exchange: &mut Exchange, out: &mut Vec<u8>, status: u16, body: &[u8], wall_ms: u64) {
    let mut answer = exchange.answer(out, status, wall_ms);
    answer.field("Cache-Control", "no-store");
    answer.body("application/json", body);
    exchange.is_done = true;
}
