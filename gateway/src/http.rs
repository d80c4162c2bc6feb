//! HTTP on a connection: requests in, answers out; long-poll and event streams on the session core.
//!
//! ```text
//!  bytes ─▶ head, body ─▶ what it wants ─▶ Sessions ─▶ link frames ─▶ hosts
//!                              │ answered at once          │
//!  answer ◀────────────────────┴──────── face ◀── native frames
//! ```
//!
//! Pure, like the session core. One request is under way on a connection at a time: the bytes of
//! the next wait, and the client is held back by TCP, until the answer has gone. A connection is
//! logged in by its first poll and stays so: it serves one device for as long as it lives, since
//! what hosts have on their way to it names the connection and not the device. Who shows another
//! one's session on it is sent to a connection of his own (421).
//!
//! It is not WebSocket: an upgrade leaves this module. It is not the codec either
//! ([`hawser_codec::http`]).

mod exchange;
mod face;
mod steps;

pub use exchange::Exchanges;
pub use steps::{on_downlink, on_due, say_farewell};

use crate::{
    connection::{Connection, Flag, Protocol, State},
    cores::Cores,
    limits,
    session::{Ending, Farewell, Outlet, Sessions, Stop, Taken},
    slab::Handle,
    timers::{TICK_US, Tick},
    websocket,
};
use exchange::{Events, Exchange, Poll, Stage, What};
use hawser_codec::{
    code,
    http::{
        self, Answer, Head, Refused, Step, Verdict,
        answer::{self, Asked},
        origin,
        poll::{self, PollAsked, SendAsked, SessionAsked},
    },
    json::{self, Wrong},
    message::Error,
};

/// Longest body of `POST /poll/session`, bytes: a token of the longest kind with every byte escaped
/// as JSON may do.
const SESSION_BODY_BYTES_MAX: usize = limits::TOKEN_BYTES_MAX * 2;
/// A stream of events on which nothing happens carries a comment this often: proxies give up after
/// thirty seconds or more.
const BEAT_TICKS: Tick = ticks_of(15);
/// An answer that has not come after this time was lost with its host: 10 s.
const ANSWER_TICKS: Tick = limits::PAGE_LOST_TICKS;
/// Entries of a page that a stream of events reads.
const EVENTS_PAGE: u16 = limits::PAGE_ENTRIES_MAX;
/// Fields that a page of the web may send with its requests.
const FIELDS: &str = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID";

const fn ticks_of(seconds: u64) -> Tick {
    (seconds * 1_000_000 / TICK_US) as Tick
}

impl Cores {
    /// Takes whole requests off `bytes`, one after the other.
    ///
    /// # Errors
    /// The farewell to say before closing; a refusal has been written already.
    pub(crate) fn on_http(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        (outlet.faces.http.now, outlet.faces.http.tick) = (outlet.now, outlet.tick);
        let mut done = 0;
        loop {
            // An empty line behind a body is an old client's habit (RFC 9112 section 2.2).
            while matches!(bytes.get(done), Some(b'\r' | b'\n')) {
                done += 1;
            }
            let rest = &bytes[done..];
            if rest.is_empty() || matches!(connection.state, State::Leaving | State::Closing) {
                return Ok(Taken { bytes: bytes.len(), stop: Stop::NeedMore });
            }
            if is_under_way(handle, outlet) || outlet.waiting(connection) > outlet.marks.read {
                return Ok(Taken { bytes: done, stop: Stop::Pressure });
            }
            if done >= budget {
                return Ok(Taken { bytes: done, stop: Stop::Budget });
            }
            let (head, head_bytes) = match http::request::step(rest) {
                Ok(Step::Head { head, consumed }) => (head, consumed),
                Ok(Step::NeedMore) => return Ok(Taken { bytes: done, stop: Stop::NeedMore }),
                Err(refused) => {
                    let (asked, verdict) = (Asked::MALFORMED, Verdict::Allowed);
                    return Err(refuse(connection, outlet, asked, verdict, &Refusal::of(refused)));
                }
            };
            if websocket::PATHS.contains(&head.path) && connection.protocol == Protocol::Http {
                done += head_bytes;
                connection.since = outlet.tick;
                if !self.upgrade(connection, handle, &head, outlet) {
                    return Err(Farewell::silent());
                }
                let (rest, budget) = (&bytes[done..], budget.saturating_sub(done));
                let taken = self.on_websocket(connection, handle, rest, budget, outlet)?;
                return Ok(Taken { bytes: done + taken.bytes, stop: taken.stop });
            }
            let sessions = self.sessions_mut();
            let mut request = Request { sessions, connection, handle, outlet, head: &head };
            match request.take(&rest[head_bytes..])? {
                Some(body_bytes) => done += head_bytes + body_bytes,
                None => return Ok(Taken { bytes: done, stop: Stop::NeedMore }),
            }
        }
    }
}

/// A request waits for its answer, and not for its own body.
fn is_under_way(handle: Handle, outlet: &mut Outlet<'_>) -> bool {
    let exchange = outlet.faces.http.find(handle);
    exchange.is_some_and(|exchange| !matches!(exchange.what, What::Body))
}

/// A request refused at once.
struct Refusal {
    status: u16,
    code: u16,
    text: String,
    retry_after_ms: u32,
    /// Of a method that the path has not: those it has.
    allow: &'static str,
    /// The connection goes on.
    is_mild: bool,
}

impl Refusal {
    fn of(refused: Refused) -> Self {
        Self::saying(refused.status, code::MALFORMED, refused.text)
    }

    fn saying(status: u16, code: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, code, text, retry_after_ms: 0, allow: "", is_mild: false }
    }

    /// The request was understood to its end.
    fn mildly(self) -> Self {
        Self { is_mild: true, ..self }
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::saying(poll::status_of(wrong.code), wrong.code, wrong.text).mildly()
    }
}

impl From<Farewell> for Refusal {
    fn from(farewell: Farewell) -> Self {
        let (code, retry_after_ms) = (farewell.code, farewell.retry_after_ms);
        let status = match farewell.ending {
            Ending::Http(status) => status,
            _ => poll::status_of(code),
        };
        Self { retry_after_ms, ..Self::saying(status, code, farewell.text()).mildly() }
    }
}

/// Writes a refusal. The farewell is for those after which the connection ends.
fn refuse(
    connection: &mut Connection,
    outlet: &mut Outlet<'_>,
    asked: Asked,
    verdict: Verdict<'_>,
    refusal: &Refusal,
) -> Farewell {
    let asked = if refusal.is_mild { asked } else { asked.closing() };
    let (code, retry_after_ms) = (refusal.code, refusal.retry_after_ms);
    let text = &refusal.text;
    let mut body = Vec::new();
    poll::put_error(&mut body, &Error { code, text, retry_after_ms, client_seq: 0, fatal: false });
    let queue = outlet.pool.open(&mut connection.queued);
    let mut answer = Answer::begin(queue, asked, refusal.status, outlet.now.wall_ms);
    verdict.put(&mut answer);
    if refusal.status == 401 {
        answer.field("WWW-Authenticate", "Bearer");
    }
    if retry_after_ms > 0 {
        answer.field("Retry-After", retry_after_ms.div_ceil(1000));
    }
    if !refusal.allow.is_empty() {
        answer.field("Allow", refusal.allow);
    }
    answer.body("application/json", &body);
    Farewell::of(code).ending(Ending::Silent)
}

/// A request whose head is whole.
struct Request<'r, 'o> {
    sessions: &'r mut Sessions,
    connection: &'r mut Connection,
    handle: Handle,
    outlet: &'r mut Outlet<'o>,
    head: &'r Head<'r>,
}

impl Request<'_, '_> {
    /// Takes the request and its body off the front of `rest`: its bytes, or `None` while they are
    /// not all there.
    fn take(&mut self, rest: &[u8]) -> Result<Option<usize>, Farewell> {
        let tls = self.connection.flags.has(Flag::Tls);
        let verdict = self.sessions.settings().websocket.origins.judge(self.head, tls);
        let asked = Asked::of(self.head);
        let outcome = self.body(rest, verdict).and_then(|body| match body {
            Some(body) => self.act(body, verdict).map(|()| Some(body.len())),
            None => Ok(None),
        });
        match outcome {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => {
                self.connection.since = self.outlet.tick;
                steps::go_on(self.sessions, self.connection, self.handle, self.outlet)?;
                let is_over = self.outlet.faces.http.find(self.handle).is_none();
                if is_over && !asked.keep_alive {
                    return Err(Farewell::silent());
                }
                Ok(Some(bytes))
            }
            Err(refusal) => {
                self.outlet.faces.http.forget(self.handle);
                let is_mild = refusal.is_mild && asked.keep_alive;
                let farewell = refuse(self.connection, self.outlet, asked, verdict, &refusal);
                match (is_mild, self.head.body_within(rest.len())) {
                    (true, Ok(body_bytes)) => Ok(Some(body_bytes)),
                    _ => Err(farewell),
                }
            }
        }
    }

    /// The body, once it is all there.
    fn body<'b>(
        &mut self,
        rest: &'b [u8],
        verdict: Verdict<'_>,
    ) -> Result<Option<&'b [u8]>, Refusal> {
        let bytes_max = match (self.head.method, self.head.path) {
            ("POST", "/poll/session") => SESSION_BODY_BYTES_MAX,
            ("POST", "/poll/send") => {
                json::text_bytes_max(self.sessions.settings().frames.body_bytes_max as usize)
            }
            _ => 0,
        };
        let body_bytes = self.head.body_within(bytes_max).map_err(Refusal::of)?;
        let expects = self.head.expects_continue().map_err(Refusal::of)?;
        if let Some(body) = rest.get(..body_bytes) {
            self.outlet.faces.http.forget(self.handle);
            return Ok(Some(body));
        }
        if expects && self.outlet.faces.http.find(self.handle).is_none() {
            answer::put_continue(self.outlet.pool.open(&mut self.connection.queued));
            let due = self.outlet.tick + ANSWER_TICKS;
            let exchange = Exchange::of(self.head, verdict, What::Body, due);
            self.outlet.faces.http.begin(self.handle, exchange);
        }
        Ok(None)
    }

    fn act(&mut self, body: &[u8], verdict: Verdict<'_>) -> Result<(), Refusal> {
        if verdict == Verdict::Foreign {
            let text = "this page of the web may not use this server";
            return Err(Refusal::saying(403, code::UNAUTHENTICATED, text).mildly());
        }
        let methods = match self.head.path {
            "/healthz" => "GET, HEAD",
            "/poll" | "/events" => "GET",
            "/poll/session" | "/poll/send" | "/poll/close" => "POST",
            _ => {
                return Err(Refusal::saying(404, code::BAD_REQUEST, "no such path").mildly());
            }
        };
        let text = || std::str::from_utf8(body).map_err(|_| no_text());
        match (self.head.method, self.head.path) {
            ("GET" | "HEAD", "/healthz") => {
                self.answer(200, verdict).body("text/plain", b"ok\n");
                Ok(())
            }
            ("POST", "/poll/session") => self.open_session(text()?, verdict),
            ("POST", "/poll/send") => self.send(text()?, verdict),
            ("GET", "/poll") => self.poll(verdict),
            ("POST", "/poll/close") => self.close(verdict),
            ("GET", "/events") => self.events(verdict),
            ("OPTIONS", _) => {
                let mut answer = self.answer(204, verdict);
                answer.field("Allow", methods);
                answer.empty();
                Ok(())
            }
            _ => {
                let refusal = Refusal::saying(405, code::BAD_REQUEST, "the path has other methods");
                Err(Refusal { allow: methods, ..refusal }.mildly())
            }
        }
    }

    /// Begins an answer that is written at once.
    fn answer(&mut self, status: u16, verdict: Verdict<'_>) -> Answer<'_> {
        let queue = self.outlet.pool.open(&mut self.connection.queued);
        let asked = Asked::of(self.head);
        let mut answer = Answer::begin(queue, asked, status, self.outlet.now.wall_ms);
        match origin::is_preflight(self.head) {
            true => verdict.put_preflight(&mut answer, "GET, POST", FIELDS),
            false => verdict.put(&mut answer),
        }
        answer
    }

    fn begin(&mut self, verdict: Verdict<'_>, what: What) {
        let due = self.outlet.tick + ANSWER_TICKS;
        let exchange = Exchange::of(self.head, verdict, what, due);
        self.outlet.faces.http.begin(self.handle, exchange);
    }

    fn open_session(&mut self, text: &str, verdict: Verdict<'_>) -> Result<(), Refusal> {
        let asked = SessionAsked::read(text)?;
        let bearer = self.head.bearer();
        let hello = asked.hello(self.incarnation(), bearer)?;
        if self.connection.state == State::Open {
            let (identity, _) = self.sessions.identify(&hello, self.outlet.now)?;
            self.check_device(&identity)?;
        }
        self.begin(verdict, What::Session);
        self.log_in(&hello, Protocol::Poll)
    }

    fn send(&mut self, text: &str, verdict: Verdict<'_>) -> Result<(), Refusal> {
        let token = poll::session_handle(self.head)?;
        let (identity, _) = self.sessions.open_token(&token, self.outlet.now)?;
        let uuid = poll::idempotency_key(self.head)?;
        let asked = SendAsked::read(text)?;
        let request = asked.request(uuid)?;
        self.begin(verdict, What::Send);
        self.sessions
            .send_as(self.connection, self.handle, &identity, &request, self.outlet)
            .map_err(|(code, retry_after_ms)| Farewell::of(code).retry_after(retry_after_ms).into())
    }

    fn poll(&mut self, verdict: Verdict<'_>) -> Result<(), Refusal> {
        let is_open = self.is_open()?;
        let asked = PollAsked::read(self.head)?;
        let poll = Poll {
            asked,
            stage: if is_open { Stage::ToRead } else { Stage::LoggingIn },
            cursor: asked.cursor,
            head: 0,
            count: 0,
            missed: false,
        };
        self.begin(verdict, What::Poll(poll));
        if !is_open {
            self.resume(Some(asked.cursor), false, Protocol::Poll)?;
        }
        // Silent while it waits, and for a while after it.
        self.sessions.expect_within(self.connection, 0);
        let waiting = ticks_of(asked.wait_s) + ANSWER_TICKS;
        self.connection.silence = self.connection.silence.max(waiting as u16);
        Ok(())
    }

    fn events(&mut self, verdict: Verdict<'_>) -> Result<(), Refusal> {
        self.is_open()?;
        let last = poll::last_event(self.head)?;
        let events = Events {
            stage: Stage::LoggingIn,
            last: 0,
            confirmed: 0,
            head: 0,
            beat: self.outlet.tick + BEAT_TICKS,
        };
        self.begin(verdict, What::Events(events));
        self.resume(last, last.is_some(), Protocol::Events)?;
        // It says nothing more: whether it is still there, the comments tell, which have to go.
        self.connection.silence = u16::MAX;
        Ok(())
    }

    /// The login ends with the connection. The handle stays good until it expires.
    fn close(&mut self, verdict: Verdict<'_>) -> Result<(), Refusal> {
        self.is_open()?;
        let mut exchange = Exchange::of(self.head, verdict, What::Session, self.outlet.tick);
        exchange.asked = exchange.asked.closing();
        let queue = self.outlet.pool.open(&mut self.connection.queued);
        exchange.answer(queue, 204, self.outlet.now.wall_ms).empty();
        exchange.is_done = true;
        self.outlet.faces.http.begin(self.handle, exchange);
        Ok(())
    }

    /// Whether the connection is logged in as the device whose session this request shows.
    fn is_open(&mut self) -> Result<bool, Refusal> {
        let token = poll::session_handle(self.head)?;
        let (identity, epoch) = self.sessions.open_token(&token, self.outlet.now)?;
        self.check_device(&identity)?;
        Ok(self.connection.state == State::Open && epoch >= self.connection.epoch)
    }

    /// A connection serves one device.
    fn check_device(&self, identity: &crate::auth::Identity) -> Result<(), Refusal> {
        let is_other = self.connection.state == State::Open
            && !self.sessions.is_login_of(self.connection, identity);
        if is_other {
            let text = "this connection is another device's, use one of your own";
            return Err(Refusal::saying(421, code::BAD_REQUEST, text));
        }
        Ok(())
    }

    /// Logs in with the session handle.
    fn resume(
        &mut self,
        cursor: Option<u64>,
        rewind: bool,
        protocol: Protocol,
    ) -> Result<(), Refusal> {
        let token = poll::session_handle(self.head)?;
        // The same for all requests of one session, so that they overtake each other and do not
        // think that another client has taken the device's name.
        let tail = token.last_chunk().copied().unwrap_or_default();
        let incarnation = u64::from_le_bytes(tail).max(1);
        let nobody = crate::session::NOBODY;
        let hello = hawser_codec::message::Hello {
            resume_token: &token,
            incarnation,
            cursor,
            rewind,
            ..nobody
        };
        self.log_in(&hello, protocol)
    }

    fn log_in(
        &mut self,
        hello: &hawser_codec::message::Hello<'_>,
        protocol: Protocol,
    ) -> Result<(), Refusal> {
        self.sessions.log_in(self.connection, self.handle, hello, self.outlet)?;
        self.connection.protocol = protocol;
        Ok(())
    }

    /// Of a session that is being made: other than those of the device's earlier ones.
    fn incarnation(&self) -> u64 {
        (self.outlet.now.wall_ms << 20 ^ self.handle.to_u64()).max(1)
    }
}

fn no_text() -> Refusal {
    Refusal::saying(400, code::MALFORMED, "the body is not UTF-8").mildly()
}

#[cfg(test)]
mod tests;
