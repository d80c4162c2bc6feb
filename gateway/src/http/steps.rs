//! What follows from what has come: pages asked for, entries confirmed, waits that end.

use super::{
    ANSWER_TICKS, BEAT_TICKS, EVENTS_PAGE,
    exchange::{Events, Stage, What},
    face,
};
use crate::{
    connection::{Connection, Flag, State},
    limits,
    outbound::Queue,
    session::{Ending, Farewell, Outlet, Sessions},
    slab::Handle,
};
use hawser_codec::{
    code,
    http::{
        Answer,
        answer::{self, Asked},
        poll,
    },
    link::{self, Downlink},
    message::{Error, Message, Sync},
};

/// Entries shown as events that may be unconfirmed before a tick has passed.
const UNCONFIRMED_MAX: u64 = 32;

/// A link frame for a connection that speaks HTTP.
///
/// # Errors
/// The farewell to say before closing.
pub fn on_downlink(
    sessions: &mut Sessions,
    connection: &mut Connection,
    handle: Handle,
    downlink: &Downlink<'_>,
    outlet: &mut Outlet<'_>,
) -> Result<(), Farewell> {
    (outlet.faces.http.now, outlet.faces.http.tick) = (outlet.now, outlet.tick);
    sessions.on_downlink(connection, handle, downlink, outlet)?;
    go_on(sessions, connection, handle, outlet)
}

/// Says why the connection ends: to the request under way, or to somebody who has begun one, or
/// came in vain.
pub fn say_farewell(
    connection: &mut Connection,
    handle: Handle,
    farewell: &Farewell,
    outlet: &mut Outlet<'_>,
) {
    let now = outlet.now;
    (outlet.faces.http.now, outlet.faces.http.tick) = (now, outlet.tick);
    let error = Error {
        code: farewell.code,
        text: farewell.text(),
        retry_after_ms: farewell.retry_after_ms,
        client_seq: 0,
        fatal: true,
    };
    let has_asked =
        outlet.faces.http.find(handle).is_some_and(|exchange| !matches!(exchange.what, What::Body));
    let has_begun = connection.partial != Queue::NONE || connection.flags.has(Flag::Waiting);
    let in_vain = matches!(farewell.code, code::OVERLOADED | code::CONNECTIONS_FULL);
    if has_asked {
        let queue = outlet.pool.open(&mut connection.queued);
        outlet.faces.http.tell(handle, queue, 0, &Message::Error(error));
    } else if has_begun || in_vain {
        let status = match farewell.ending {
            Ending::Http(status) => status,
            _ => poll::status_of(farewell.code),
        };
        let mut body = Vec::new();
        poll::put_error(&mut body, &error);
        let queue = outlet.pool.open(&mut connection.queued);
        let mut answer = Answer::begin(queue, Asked::MALFORMED, status, now.wall_ms);
        face::put_retry(&mut answer, farewell.retry_after_ms);
        answer.body("application/json", &body);
    }
    outlet.pool.release_if_empty(&mut connection.queued);
}

/// The time is there that the request under way had asked for.
///
/// # Errors
/// The connection ends with the answer.
pub fn on_due(
    sessions: &mut Sessions,
    connection: &mut Connection,
    handle: Handle,
    outlet: &mut Outlet<'_>,
) -> Result<(), Farewell> {
    let (now, tick) = (outlet.now, outlet.tick);
    (outlet.faces.http.now, outlet.faces.http.tick) = (now, tick);
    let Some(exchange) = outlet.faces.http.find(handle) else { return Ok(()) };
    let queue = outlet.pool.open(&mut connection.queued);
    // Should the answer come after all, it would be taken for that of the next request.
    let lost = Error {
        code: code::TRY_AGAIN,
        text: "no answer came in time",
        retry_after_ms: limits::ROUTER_RETRY_MS,
        client_seq: 0,
        fatal: true,
    };
    let wall_ms = now.wall_ms;
    match &mut exchange.what {
        // The bytes of a body have their own time-out.
        What::Body => exchange.due = tick + ANSWER_TICKS,
        What::Session | What::Send => face::fail(exchange, queue, &lost, wall_ms),
        What::Poll(poll) if poll.stage == Stage::Live => {
            face::end_poll(exchange, queue, wall_ms);
        }
        What::Poll(_) => face::fail(exchange, queue, &lost, wall_ms),
        What::Events(events) if events.stage == Stage::LoggingIn => {
            face::fail(exchange, queue, &lost, wall_ms);
        }
        What::Events(events) => {
            if events.stage == Stage::Reading {
                events.stage = Stage::ToRead;
            }
            if tick >= events.beat {
                events.beat = tick + BEAT_TICKS;
                let chunk = answer::open_chunk(queue, exchange.asked.version);
                poll::put_comment(queue);
                answer::close_chunk(queue, chunk);
            }
            connection.heard = tick;
            confirm(connection, handle, outlet);
        }
    }
    outlet.pool.release_if_empty(&mut connection.queued);
    go_on(sessions, connection, handle, outlet)
}

/// Does what the request under way wants next.
pub(super) fn go_on(
    sessions: &mut Sessions,
    connection: &mut Connection,
    handle: Handle,
    outlet: &mut Outlet<'_>,
) -> Result<(), Farewell> {
    let waiting = outlet.waiting(connection);
    let resume = outlet.marks.resume;
    let tick = outlet.tick;
    let Some(exchange) = outlet.faces.http.find(handle) else { return Ok(()) };
    if exchange.is_done {
        let keep_alive = exchange.asked.keep_alive;
        outlet.faces.http.forget(handle);
        connection.since = tick;
        return if keep_alive { Ok(()) } else { Err(Farewell::silent()) };
    }
    if connection.state != State::Open {
        return Ok(());
    }
    let sync = match &mut exchange.what {
        What::Poll(poll) if poll.stage == Stage::ToRead => {
            poll.stage = Stage::Reading;
            exchange.due = tick + ANSWER_TICKS;
            Sync { request: 0, after: poll.cursor, limit: poll.asked.limit, ..FORWARD }
        }
        What::Events(events) if events.stage == Stage::ToRead && waiting <= resume => {
            // The question confirms all that was shown.
            (events.stage, events.confirmed) = (Stage::Reading, events.last);
            exchange.due = tick + ANSWER_TICKS;
            Sync { request: 0, after: events.last, limit: EVENTS_PAGE, ..FORWARD }
        }
        What::Events(events) => {
            let unconfirmed = events.last - events.confirmed;
            let is_pressing = unconfirmed > 0 || events.stage == Stage::ToRead;
            if events.stage != Stage::Reading {
                exchange.due = if is_pressing { tick + 1 } else { events.beat };
            }
            if unconfirmed >= UNCONFIRMED_MAX {
                confirm(connection, handle, outlet);
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    sessions.on_message(connection, handle, 0, &Message::Sync(sync), outlet)?;
    // The question may have been refused at once.
    let Some(exchange) = outlet.faces.http.find(handle) else { return Ok(()) };
    if let What::Events(Events { stage: Stage::ToRead, .. }) = exchange.what {
        exchange.due = tick + 1;
    }
    if exchange.is_done {
        return go_on(sessions, connection, handle, outlet);
    }
    Ok(())
}

const FORWARD: Sync = Sync { request: 0, after: 0, limit: 1, backward: false, since_ms: 0 };

/// Tells the home shard what was shown as events.
fn confirm(connection: &Connection, handle: Handle, outlet: &mut Outlet<'_>) {
    let Some(exchange) = outlet.faces.http.find(handle) else { return };
    let What::Events(events) = &mut exchange.what else { return };
    if events.last > events.confirmed && connection.state == State::Open {
        events.confirmed = events.last;
        let number = events.last;
        let confirm = link::Confirm {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            number,
        };
        confirm.put(outlet.uplinks.to(&connection.user));
    }
}
