//! HTTP requests: answered, or the beginning of a WebSocket connection.
//!
//! One request at a time and in order; nothing is kept between them but the connection itself.
//! What it is not: the codec ([`hawser_codec::http`]).

use crate::{
    connection::{Connection, State},
    cores::Cores,
    session::{Ending, Farewell, Outlet, Stop, Taken},
    slab::Handle,
    websocket,
};
use hawser_codec::{
    code,
    http::{Answer, Head, Refused, Step, answer, answer::Asked, request},
};

impl Cores {
    /// Takes whole requests.
    pub(crate) fn on_http(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let mut done = 0;
        loop {
            if done < bytes.len() {
                if outlet.waiting(connection) > outlet.marks.read {
                    return Ok(Taken { bytes: done, stop: Stop::Pressure });
                }
                if done >= budget {
                    return Ok(Taken { bytes: done, stop: Stop::Budget });
                }
            }
            let (head, consumed) = match request::step(&bytes[done..]) {
                Ok(Step::Head { head, consumed }) => (head, consumed),
                Ok(Step::NeedMore) => return Ok(Taken { bytes: done, stop: Stop::NeedMore }),
                Err(refused) => return Err(refuse(connection, Asked::MALFORMED, &refused, outlet)),
            };
            done += consumed;
            connection.since = outlet.tick;
            if websocket::PATHS.contains(&head.path) {
                if !self.upgrade(connection, handle, &head, outlet) {
                    return Err(Farewell::silent());
                }
                let (rest, budget) = (&bytes[done..], budget.saturating_sub(done));
                let taken = self.on_websocket(connection, handle, rest, budget, outlet)?;
                return Ok(Taken { bytes: done + taken.bytes, stop: taken.stop });
            }
            answer_simple(connection, &head, outlet)?;
        }
    }
}

/// Requests that any listener of HTTP answers.
fn answer_simple(
    connection: &mut Connection,
    head: &Head<'_>,
    outlet: &mut Outlet<'_>,
) -> Result<(), Farewell> {
    let mut asked = Asked::of(head);
    let status = match (head.path, head.method) {
        ("/healthz", "GET" | "HEAD") => 200,
        ("/healthz", _) => 405,
        _ => 404,
    };
    // A body would have to be read for nothing.
    if head.body_bytes > 0 {
        asked = asked.closing();
    }
    if status == 200 {
        let out = outlet.pool.open(&mut connection.queued);
        let mut answer = Answer::begin(out, asked, 200, outlet.now.wall_ms);
        answer.field("Cache-Control", "no-store");
        answer.body("text/plain", b"ok\n");
    } else {
        let text = if status == 405 { "GET is taken here" } else { "nothing is here" };
        let refused = Refused { status, text };
        let out = outlet.pool.open(&mut connection.queued);
        answer::put_refused(out, asked, &refused, outlet.now.wall_ms);
    }
    if asked.keep_alive { Ok(()) } else { Err(Farewell::silent()) }
}

/// Says why a request is not taken; the connection ends behind that.
fn refuse(
    connection: &mut Connection,
    asked: Asked,
    refused: &Refused,
    outlet: &mut Outlet<'_>,
) -> Farewell {
    let out = outlet.pool.open(&mut connection.queued);
    answer::put_refused(out, asked.closing(), refused, outlet.now.wall_ms);
    Farewell::saying(code::MALFORMED, refused.text).ending(Ending::Silent)
}

/// Appends the answer that a farewell is.
pub fn put_farewell(connection: &mut Connection, farewell: &Farewell, outlet: &mut Outlet<'_>) {
    let status = match (farewell.ending, farewell.code) {
        (Ending::Http(status), _) => status,
        // Nobody has asked.
        (_, code::TIMEOUT | code::SHUTTING_DOWN) if connection.is_silent() => return,
        (_, code::TIMEOUT) => 408,
        (_, 200..=299) => 401,
        (_, 400..=599) => 503,
        _ => 400,
    };
    let out = outlet.pool.open(&mut connection.queued);
    let asked = Asked::MALFORMED;
    let mut answer = Answer::begin(out, asked, status, outlet.now.wall_ms);
    if farewell.retry_after_ms > 0 {
        answer.field("Retry-After", farewell.retry_after_ms.div_ceil(1000));
    }
    let body = format!("{{\"error\":\"{}\"}}\n", code::text(farewell.code));
    answer.body("application/json", body.as_bytes());
    debug_assert!(connection.state != State::Closing);
}
