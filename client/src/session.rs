//! One device's session as a pure state machine.
//!
//! ```text
//!            on_time              on_connected            welcome
//!  Waiting ----------> Connecting ------------> Greeting ----------> Online
//!     ^                    |                       |                    |
//!     |                    |    time-out, refusal, go-away, damage      |
//!     |  on_disconnected   v                       v                    v
//!     +------------------- +------------------- Closing <---------------+     Ended: for good
//! ```
//!
//! Bytes, times, random numbers and the application's calls go in; bytes ([`ClientSession::
//! take_bytes`]), [`Action`]s for the transport, [`Event`]s for the application and the next
//! deadline come out. It is not a transport: nothing here reads a clock or a socket. Invariant: a
//! mailbox number is reported to the application once and in order, whatever the connection does.

mod mailbox;
mod receive;
mod requests;
mod types;

use std::collections::VecDeque;

use hawser_codec::{
    frame::PREFACE,
    message::{Beat, Encoder, Hello, Message as Wire, Receipt},
    time::Now,
};

use crate::outbox::Outbox;
use mailbox::Mailbox;
pub use types::{
    Acknowledging, Action, ConnectionState, Event, Message, Outgoing, SendError, Settings,
};

/// Longest frame body taken from a server, bytes; above any limit a server states by default.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;

/// Body limit for the application until a welcome names the server's, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Unread events held before the transport should stop reading ([`ClientSession::is_full`]).
const EVENTS_HIGH: usize = 1024;

/// Doublings of the back-off beyond which the ceiling is reached anyway.
const BACKOFF_DOUBLINGS_MAX: u32 = 16;

/// Heartbeat used if a server names none, seconds.
const HEARTBEAT_DEFAULT_S: u16 = 30;

const US_PER_MS: u64 = 1000;

#[derive(Debug)]
enum Link {
    Waiting { connect_at_us: u64 },
    Connecting,
    Greeting { since_us: u64, resumed: bool },
    Online(Online),
    Closing { not_before_ms: u32 },
    Ended,
}

/// What lasts as long as one logged-in connection.
#[derive(Debug)]
struct Online {
    requests_max: usize,
    /// Server's wall clock less ours, milliseconds.
    clock_offset_ms: i64,
    heartbeat_us: u64,
    sent_us: u64,
    received_us: u64,
    pinged_us: u64,
}

/// The client side of the native protocol for one device. See the module for the picture.
#[derive(Debug)]
pub struct ClientSession {
    settings: Settings,
    outbox: Outbox,
    mailbox: Mailbox,
    link: Link,
    resume_token: Vec<u8>,
    endpoint: Option<String>,
    failures: u32,
    body_bytes_max: usize,
    encoder: Encoder,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

impl ClientSession {
    /// A session that wants to connect at once. `outbox` is a new one or the stored one.
    pub fn new(settings: Settings, outbox: Outbox) -> Self {
        let mailbox = Mailbox::new(outbox.cursor());
        Self {
            settings,
            outbox,
            mailbox,
            link: Link::Waiting { connect_at_us: 0 },
            resume_token: Vec::new(),
            endpoint: None,
            failures: 0,
            body_bytes_max: BODY_BYTES_MAX,
            encoder: Encoder::new(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What must survive the program; see [`Outbox::to_bytes`].
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        match self.link {
            Link::Online(_) => ConnectionState::Online,
            Link::Connecting | Link::Greeting { .. } => ConnectionState::Connecting,
            Link::Waiting { .. } | Link::Closing { .. } => ConnectionState::Offline,
            Link::Ended => ConnectionState::Ended,
        }
    }

    /// Next event for the application.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// So many events wait that the transport should not read on.
    pub fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_HIGH
    }

    /// Next thing the transport shall do. Bytes of [`ClientSession::take_bytes`] go first.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Bytes to be written, in order; empty if there are none. `buffer` is used again.
    pub fn take_bytes(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        std::mem::swap(&mut buffer, &mut self.outbound);
        buffer
    }

    /// The transport has connected.
    pub fn on_connected(&mut self, now: Now) {
        if !matches!(self.link, Link::Connecting) {
            return;
        }
        let resumed = !self.resume_token.is_empty();
        self.link = Link::Greeting { since_us: now.monotonic_us, resumed };
        self.inbound.clear();
        self.outbound.clear();
        self.outbound.extend_from_slice(&PREFACE);
        let settings = &self.settings;
        let pick = |text| if resumed { "" } else { text };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            realm: settings.realm,
            user: pick(&settings.user),
            device: pick(&settings.device),
            token: pick(&settings.token),
            resume_token: &self.resume_token,
            incarnation: self.outbox.incarnation(),
            class: settings.class,
            heartbeat_s: settings.heartbeat_s,
            cursor: self.outbox.cursor(),
            rewind: settings.rewind,
            compression: 0,
            agent: &settings.agent,
        };
        self.encoder.message(&mut self.outbound, 0, 0, &Wire::Hello(hello));
    }

    /// The transport could not connect, or the connection is gone. `random` is any random
    /// number; it spreads the return of many clients over the back-off.
    pub fn on_disconnected(&mut self, now: Now, random: u64) {
        let not_before_ms = match self.link {
            Link::Closing { not_before_ms } => not_before_ms,
            Link::Connecting | Link::Greeting { .. } | Link::Online(_) => 0,
            Link::Waiting { .. } | Link::Ended => return,
        };
        let was_online = !matches!(self.link, Link::Connecting);
        let delay_ms = u64::from(not_before_ms) + self.backoff_ms(random);
        self.failures = (self.failures + 1).min(BACKOFF_DOUBLINGS_MAX);
        self.link = Link::Waiting { connect_at_us: now.monotonic_us + delay_ms * US_PER_MS };
        self.inbound.clear();
        self.outbound.clear();
        self.actions.clear();
        self.mailbox.on_disconnected();
        if was_online {
            self.events.push_back(Event::State(ConnectionState::Offline));
        }
    }

    /// Full jitter: anywhere between nothing and a ceiling that doubles with each failure.
    fn backoff_ms(&self, random: u64) -> u64 {
        let first = u64::from(self.settings.backoff_min_ms);
        let ceiling = (first << self.failures).min(u64::from(self.settings.backoff_max_ms));
        random % (ceiling + 1)
    }

    /// Ends the session for good, at the application's wish.
    pub fn end(&mut self) {
        self.end_with(0, "ended by the application");
    }

    fn end_with(&mut self, code: u16, text: &str) {
        if matches!(self.link, Link::Ended) {
            return;
        }
        self.link = Link::Ended;
        self.actions.push_back(Action::Close);
        self.events.push_back(Event::Ended { code, text: text.to_owned() });
    }

    /// Leaves this connection; the transport answers with [`ClientSession::on_disconnected`].
    fn reconnect(&mut self, not_before_ms: u32) {
        if matches!(self.link, Link::Greeting { .. } | Link::Online(_)) {
            self.link = Link::Closing { not_before_ms };
            self.actions.push_back(Action::Close);
        }
    }

    /// Tells the peer of a conversation that all up to `sequence` was delivered (1) or read (2).
    /// Receipts are not stored: without a connection this does nothing.
    pub fn send_receipt(&mut self, now: Now, conversation: &str, what: u8, sequence: u64) {
        if matches!(self.link, Link::Online(_)) {
            self.put(now, &Wire::Receipt(Receipt { conversation, what, sequence }));
        }
    }

    /// Whatever is due now; to be called at [`ClientSession::next_deadline`], harmless earlier.
    pub fn on_time(&mut self, now: Now) {
        match &self.link {
            Link::Waiting { connect_at_us } if now.monotonic_us >= *connect_at_us => {
                self.link = Link::Connecting;
                self.events.push_back(Event::State(ConnectionState::Connecting));
                self.actions.push_back(Action::Connect { endpoint: self.endpoint.take() });
            }
            Link::Greeting { since_us, .. }
                if now.monotonic_us >= since_us + self.handshake_us() =>
            {
                self.reconnect(0);
            }
            Link::Online(_) => self.on_time_online(now),
            Link::Waiting { .. }
            | Link::Greeting { .. }
            | Link::Connecting
            | Link::Closing { .. }
            | Link::Ended => {}
        }
    }

    fn on_time_online(&mut self, now: Now) {
        self.time_requests(now);
        self.time_mailbox(now);
        let Link::Online(online) = &self.link else { return };
        if now.monotonic_us >= online.received_us + online.heartbeat_us + self.grace_us() {
            self.reconnect(0);
        } else if now.monotonic_us >= online.ping_at_us() {
            let next_ms = (online.heartbeat_us / US_PER_MS) as u32;
            self.put(now, &Wire::Ping(Beat { next_ms }));
            if let Link::Online(online) = &mut self.link {
                online.pinged_us = now.monotonic_us;
            }
        }
    }

    /// Monotonic time at which [`ClientSession::on_time`] is next needed, microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.link {
            Link::Waiting { connect_at_us } => Some(*connect_at_us),
            Link::Greeting { since_us, .. } => Some(since_us + self.handshake_us()),
            Link::Online(online) => {
                let silence = online.received_us + online.heartbeat_us + self.grace_us();
                let heart = online.ping_at_us().min(silence);
                let others = [self.requests_deadline(), self.mailbox.deadline(self.timeout_us())];
                others.into_iter().flatten().chain([heart]).min()
            }
            Link::Connecting | Link::Closing { .. } | Link::Ended => None,
        }
    }

    fn handshake_us(&self) -> u64 {
        u64::from(self.settings.handshake_timeout_ms) * US_PER_MS
    }

    fn timeout_us(&self) -> u64 {
        u64::from(self.settings.request_timeout_ms) * US_PER_MS
    }

    fn grace_us(&self) -> u64 {
        u64::from(self.settings.grace_ms) * US_PER_MS
    }

    fn put(&mut self, now: Now, message: &Wire<'_>) {
        self.encoder.message(&mut self.outbound, 0, 0, message);
        if let Link::Online(online) = &mut self.link {
            online.sent_us = now.monotonic_us;
        }
    }
}

impl Online {
    /// A beat is due when either direction has been quiet: the server must hear us, and we must
    /// give it a reason to be heard.
    fn ping_at_us(&self) -> u64 {
        self.sent_us.min(self.received_us.max(self.pinged_us)) + self.heartbeat_us
    }
}

#[cfg(test)]
mod tests;
