//! The native protocol's session: frames in, link frames out, and back.
//!
//! Pure: bytes, link frames and time come in; bytes for the client and link frames for the shard
//! hosts go out. It never touches the ring; what shall happen to the connection is returned.

mod downlink;
mod login;
mod stateless;

pub use stateless::NOBODY;

use crate::{
    auth::{Authenticator, Denied, Identity},
    connection::{Connection, Flag, State},
    face::Faces,
    limits,
    metrics::{FrameKind, WorkerMetrics},
    mqtt::MqttSettings,
    names::Names,
    outbound::Pool,
    peers::Peers,
    pressure::Marks,
    resume::{ResumeClaims, ResumeKeys},
    shared_keys::SharedKeys,
    slab::Handle,
    timers::{TICK_US, Tick},
    uplinks::Uplinks,
    websocket::WebSocketSettings,
};
use hawser_codec::{
    code::{self, text as code_text},
    frame::{self, FLAG_OPTIONAL, FLAG_PAGE, Frame, FrameLimits, Step},
    link::{self, Downlink},
    malformed::Malformed,
    message::{
        Acknowledge, Beat, Class, Encoder, Error, Head, Hello, Level, Message, NAME_BYTES_MAX,
        Page, Receipt, Request, Sync, Welcome,
    },
    time::Now,
};
use std::sync::Arc;

/// Why a connection ends: told to the client, counted, then closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Code of [`hawser_codec::code`].
    pub code: u16,
    /// Text for people; empty: the code's own.
    pub text: String,
    /// Milliseconds after which coming back makes sense, 0: it does not.
    pub retry_after_ms: u32,
    /// What is said instead where the protocol has words of its own for it.
    pub ending: Ending,
}

/// How a farewell is said in protocols that number their reasons differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// By what the protocol's face makes of the code.
    #[default]
    ByCode,
    /// Not at all: the other side has said good-bye, or has its last answer.
    Silent,
    /// With this close code (RFC 6455 section 7.4).
    WebSocket(u16),
    /// With this reason code, of CONNACK before the login and of DISCONNECT after it (MQTT 5
    /// section 2.4).
    Mqtt(u8),
    /// With this status (RFC 9110 section 15).
    Http(u16),
}

impl Farewell {
    /// With the code's own text, for good.
    pub fn of(code: u16) -> Self {
        Self { code, text: String::new(), retry_after_ms: 0, ending: Ending::ByCode }
    }

    /// With a text for people, for good.
    pub fn saying(code: u16, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::of(code) }
    }

    /// The other side is done: nothing is left to be said.
    pub fn silent() -> Self {
        Self::of(0).ending(Ending::Silent)
    }

    /// Coming back makes sense after so many milliseconds.
    #[must_use]
    pub fn retry_after(self, retry_after_ms: u32) -> Self {
        Self { retry_after_ms, ..self }
    }

    /// Said in the protocol's own words.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// Its text, or the code's own.
    pub fn text(&self) -> &str {
        match self.text.as_str() {
            "" => code::text(self.code),
            text => text,
        }
    }
}

impl From<Malformed> for Farewell {
    fn from(malformed: Malformed) -> Self {
        Self::saying(malformed.code(), malformed.to_string())
    }
}

impl From<Denied> for Farewell {
    fn from(denied: Denied) -> Self {
        Self::saying(denied.code, denied.text)
    }
}

/// Settings of sessions, the same for all workers.
pub struct SessionSettings {
    /// Who may log in.
    pub authenticator: Authenticator,
    /// Seals and opens resume tokens.
    pub resume: ResumeKeys,
    /// A resume token is good for so long, seconds, and never outlives the login.
    pub resume_lifetime_s: u32,
    /// Turns names into keys.
    pub keys: SharedKeys,
    /// Longest frame body taken.
    pub frames: FrameLimits,
    /// Heartbeat by class ([`hawser_codec::message::Class`]), seconds.
    pub heartbeat_s: [u16; 4],
    /// Shortest and longest heartbeat a client may announce, milliseconds.
    pub heartbeat_range_ms: (u32, u32),
    /// Silence beyond the heartbeat after which a connection is gone, milliseconds.
    pub grace_ms: u32,
    /// Outbound bytes of one connection above which pushing stops.
    pub outbound_bytes_high: usize,
    /// Requests a client may have unanswered.
    pub requests_max: u16,
    /// What holds for MQTT clients alone.
    pub mqtt: MqttSettings,
    /// Settings of WebSocket connections.
    pub websocket: WebSocketSettings,
}

/// A page under way to one connection: its entries come between start and end, and nothing else
/// from the same host.
struct PageUnderWay {
    handle: Handle,
    channel: u16,
    request: u64,
    count: u16,
}

/// Session logic of one worker; what belongs to one connection is in [`Connection`].
pub struct Sessions {
    settings: Arc<SessionSettings>,
    encoder: Encoder,
    /// One per host or router at most, but for those that a lost link has cut off.
    pages: Vec<PageUnderWay>,
    names: Names,
    peers: Peers,
    /// Token for a hello that brings none.
    lent_token: Option<Box<str>>,
}

/// How far the bytes given were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes done with.
    pub bytes: usize,
    /// Why the rest was not.
    pub stop: Stop,
}

/// Why [`Sessions::on_bytes`] took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The rest is no whole frame.
    NeedMore,
    /// The budget of this turn is used up.
    Budget,
    /// The client does not read what it is answered.
    Pressure,
    /// What follows hangs on a host's answer: it is given again with the next link frame that the
    /// connection hears.
    Answer,
}

/// What the session logic writes to, lent by the worker for one call.
pub struct Outlet<'a> {
    /// Time of this turn.
    pub now: Now,
    /// The same in ticks.
    pub tick: Tick,
    /// Outbound buffers.
    pub pool: &'a mut Pool,
    /// Link frames to the shard hosts.
    pub uplinks: &'a mut Uplinks,
    /// Counters.
    pub metrics: &'a WorkerMetrics,
    /// How much may wait for the connection.
    pub marks: Marks,
    /// What turns frames into other protocols' bytes.
    pub faces: &'a mut Faces,
}

impl Outlet<'_> {
    /// Bytes on their way to the connection.
    pub fn waiting(&self, connection: &Connection) -> usize {
        self.pool.waiting_bytes(connection.queued)
    }

    /// Appends what `write` appends to the connection's queue, in the words of its protocol: whole
    /// frames of the native protocol or whole MQTT packets. The one way a core speaks to a client.
    #[inline]
    pub fn say(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let queue = self.pool.open(&mut connection.queued);
        if connection.protocol.is_bare() {
            return write(queue);
        }
        let at = queue.len();
        write(queue);
        self.faces.wrap(connection, handle, self.pool, at);
    }
}

impl Sessions {
    /// Session logic with these settings; it keeps keys of peers in `peer_keys_bytes` at most.
    pub fn new(settings: Arc<SessionSettings>, peer_keys_bytes: u64) -> Self {
        let (encoder, names) = (Encoder::new(), Names::default());
        let peers = Peers::new(peer_keys_bytes);
        Self { settings, encoder, pages: Vec::new(), names, peers, lent_token: None }
    }

    /// New settings, for logins from now on.
    pub fn take_over(&mut self, settings: Arc<SessionSettings>) {
        self.settings = settings;
    }

    /// Lends a token that came before the hello, for the messages until it is returned.
    pub fn lend_token(&mut self, token: Option<Box<str>>) {
        self.lent_token = token;
    }

    /// Gives it back.
    pub fn return_token(&mut self) -> Option<Box<str>> {
        self.lent_token.take()
    }

    /// Settings in force.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Takes whole frames off `bytes`, until no whole one is left, `budget` bytes are used or too
    /// much waits for the client. What remains the caller keeps.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_bytes(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let mut done = 0;
        if connection.state == State::Opening {
            match frame::preface(bytes)? {
                Some(length) => {
                    done = length;
                    connection.state = State::Greeting;
                }
                None => return Ok(Taken { bytes: 0, stop: Stop::NeedMore }),
            }
        }
        loop {
            if matches!(connection.state, State::Leaving | State::Closing) {
                return Ok(Taken { bytes: bytes.len(), stop: Stop::NeedMore });
            }
            if done < bytes.len() {
                if outlet.waiting(connection) > outlet.marks.read {
                    return Ok(Taken { bytes: done, stop: Stop::Pressure });
                }
                if done >= budget {
                    return Ok(Taken { bytes: done, stop: Stop::Budget });
                }
            }
            match frame::step(&self.settings.frames, &bytes[done..])? {
                Step::Frame { frame, consumed } => {
                    self.on_frame(connection, handle, frame, outlet)?;
                    done += consumed;
                }
                Step::NeedMore { .. } => {
                    return Ok(Taken { bytes: done, stop: Stop::NeedMore });
                }
            }
        }
    }

    fn on_frame(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        frame: Frame<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        // Passed on by reference: a message is wide, and moved it would be copied each time.
        match &hawser_codec::message::decode(frame) {
            Ok(message) => self.on_message(connection, handle, frame.channel, message, outlet),
            Err(Malformed::UnknownKind { .. }) if frame.flags & FLAG_OPTIONAL != 0 => Ok(()),
            Err(malformed) => Err((*malformed).into()),
        }
    }

    /// Takes one message, however it was written.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_message(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        channel: u16,
        message: &Message<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        outlet.metrics.frames_in.at(FrameKind::of(message)).add(1);
        match (connection.state, message) {
            (State::Greeting, Message::Hello(hello)) => {
                self.on_hello(connection, handle, hello, outlet)
            }
            (State::Open, Message::Request(request)) => {
                self.on_request(connection, handle, channel, request, outlet);
                Ok(())
            }
            (State::Open, Message::NotifyAcknowledge(acknowledge)) => {
                let confirm = link::Confirm {
                    connection: handle.to_u64(),
                    user: connection.user,
                    device: connection.device,
                    number: acknowledge.number,
                };
                confirm.put(outlet.uplinks.to(&connection.user));
                Ok(())
            }
            (State::Open, Message::Sync(sync)) => {
                self.on_sync(connection, handle, channel, sync, outlet);
                Ok(())
            }
            (State::Open, Message::Receipt(receipt)) => {
                self.on_receipt(connection, receipt, outlet);
                Ok(())
            }
            (State::Open, Message::Ping(beat)) => {
                self.expect_within(connection, beat.next_ms);
                let next_ms = u32::from(self.heartbeat_s(connection.class)) * 1000;
                let pong = Beat { next_ms };
                outlet.say(connection, handle, |queue| self.encoder.pong(queue, channel, 0, &pong));
                Ok(())
            }
            (State::Open, Message::Pong(beat)) => {
                self.expect_within(connection, beat.next_ms);
                Ok(())
            }
            (State::Opening | State::Greeting | State::LoggingIn | State::Open, other) => {
                let when = match connection.state {
                    State::Opening | State::Greeting => "before hello",
                    State::LoggingIn => "before the welcome",
                    _ => "from a client that is logged in",
                };
                let text = format!("{} is not allowed {when}", FrameKind::of(other).label());
                Err(Farewell::saying(code::UNEXPECTED_FRAME, text))
            }
            (State::Leaving | State::Closing, _) => Ok(()),
        }
    }

    fn on_request(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        channel: u16,
        request: &Request<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let refusal = if request.client_seq == 0 || request.to.is_empty() {
            Some((code::BAD_REQUEST, 0))
        } else if connection.requests >= self.settings.requests_max {
            Some((code::RATE_LIMITED, limits::RATE_LIMITED_RETRY_MS))
        } else if outlet.marks.crowded || !outlet.uplinks.has_room() {
            Some((code::OVERLOADED, limits::OVERLOADED_RETRY_MS))
        } else {
            None
        };
        if let Some((code, retry_after_ms)) = refusal {
            self.refuse(
                connection,
                handle,
                channel,
                request.client_seq,
                code,
                retry_after_ms,
                outlet,
            );
            return;
        }
        // Who is logged in has keys.
        let Some(keys) = self.settings.keys.space() else { return };
        let peer = self.peers.find(keys, connection.realm, &connection.user, request.to.as_bytes());
        outlet.metrics.peer_keys_kept.add(peer.was_kept.into());
        if let Some((code, retry_after_ms)) = outlet.uplinks.refuse_request(&peer.conversation) {
            self.refuse(
                connection,
                handle,
                channel,
                request.client_seq,
                code,
                retry_after_ms,
                outlet,
            );
            return;
        }
        connection.requests += 1;
        link::Send {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            peer: peer.key,
            conversation: peer.conversation,
            channel,
            incarnation: connection.incarnation(),
            client_seq: request.client_seq,
            after: request.after,
            uuid: request.uuid,
            first_attempt_ms: request.first_attempt_ms,
            level: match request.level {
                Level::Ephemeral => 0,
                Level::Normal => 1,
                Level::Important => 2,
            },
            content: request.content,
            receipts: request.receipts,
            sender_name: self.names.user(connection),
            device_name: self.names.device(connection),
            peer_name: request.to.as_bytes(),
            body: request.body,
        }
        .put(outlet.uplinks.to(&peer.conversation));
    }

    #[allow(clippy::too_many_arguments)] // one refusal has so many facts
    fn refuse(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        channel: u16,
        client_seq: u64,
        code: u16,
        retry_after_ms: u32,
        outlet: &mut Outlet<'_>,
    ) {
        outlet.metrics.refused.at(code).add(1);
        let text = code_text(code);
        let error = Error { code, text, retry_after_ms, client_seq, fatal: false };
        outlet.say(connection, handle, |queue| self.encoder.error(queue, channel, 0, &error));
    }

    fn on_sync(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        channel: u16,
        sync: &Sync,
        outlet: &mut Outlet<'_>,
    ) {
        if !(1..=limits::PAGE_ENTRIES_MAX).contains(&sync.limit) {
            self.refuse(connection, handle, channel, 0, code::BAD_REQUEST, 0, outlet);
            return;
        }
        if connection.page_since != 0
            && page_mark(outlet.tick).wrapping_sub(connection.page_since)
                < limits::PAGE_LOST_TICKS as u16
        {
            let retry_ms = limits::RATE_LIMITED_RETRY_MS;
            self.refuse(connection, handle, channel, 0, code::RATE_LIMITED, retry_ms, outlet);
            return;
        }
        if outlet.marks.crowded || !outlet.uplinks.has_room() {
            let retry_ms = limits::OVERLOADED_RETRY_MS;
            self.refuse(connection, handle, channel, 0, code::OVERLOADED, retry_ms, outlet);
            return;
        }
        if let Some((code, retry_after_ms)) = outlet.uplinks.refuse_page(&connection.user) {
            self.refuse(connection, handle, channel, 0, code, retry_after_ms, outlet);
            return;
        }
        connection.page_since = page_mark(outlet.tick);
        link::Read {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            channel,
            request: sync.request,
            after: sync.after,
            limit: sync.limit,
            backward: sync.backward,
            since_ms: sync.since_ms,
            preview: false,
        }
        .put(outlet.uplinks.to(&connection.user));
    }

    fn on_receipt(
        &mut self,
        connection: &mut Connection,
        receipt: &Receipt<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        // Receipts are not repeated; a lost one is made good by the next.
        if !outlet.uplinks.has_room() {
            return;
        }
        let Some(keys) = self.settings.keys.space() else { return };
        let (peer, _) = keys.user(connection.realm, receipt.conversation.as_bytes());
        link::Receipt {
            user: connection.user,
            peer,
            conversation: keys.direct(&connection.user, &peer),
            what: receipt.what,
            sequence: receipt.sequence,
            user_name: self.names.user(connection),
        }
        .put(outlet.uplinks.to(&peer));
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, connection: &mut Connection) {
        self.names.forget(&mut connection.names);
    }

    /// Says why the connection ends, as a native frame.
    pub fn say_farewell(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        farewell: &Farewell,
        outlet: &mut Outlet<'_>,
    ) {
        let error = Error {
            code: farewell.code,
            text: farewell.text(),
            retry_after_ms: farewell.retry_after_ms,
            client_seq: 0,
            fatal: true,
        };
        outlet.say(connection, handle, |queue| self.encoder.error(queue, 0, 0, &error));
    }

    /// Tells a client that the server is leaving.
    pub fn say_go_away(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        retry_after_ms: u32,
        outlet: &mut Outlet<'_>,
    ) {
        let go_away = hawser_codec::message::GoAway {
            code: code::SHUTTING_DOWN,
            retry_after_ms,
            endpoint: "",
        };
        outlet.say(connection, handle, |queue| self.encoder.go_away(queue, 0, 0, &go_away));
    }
}

/// A login that may succeed later.
pub fn later((code, retry_after_ms): crate::uplinks::Refusal) -> Farewell {
    Farewell::of(code).retry_after(retry_after_ms)
}

/// When a page was asked for, in 16 bits of which 0 means never.
fn page_mark(tick: Tick) -> u16 {
    (tick as u16).max(1)
}

/// Names travel the link as bytes; they entered as `&str`.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or("\u{fffd}")
}
