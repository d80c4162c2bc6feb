//! What goes in and out of a session, apart from bytes and time.

use hawser_codec::message::{Class, Level};

/// Who acknowledges mailbox entries to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledging {
    /// The session, as soon as an entry was reported as an event.
    #[default]
    Automatic,
    /// The application, by `acknowledge`, when it has stored the entry. Pages wait for it.
    Manual,
}

/// How a session behaves. Times are in milliseconds unless the name says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Realm (tenant).
    pub realm: u32,
    /// User's name, at most 64 bytes.
    pub user: String,
    /// Device's name, at most 64 bytes; one connection per device.
    pub device: String,
    /// Static token or JWT; empty if the server wants none.
    pub token: String,
    /// Class of the client.
    pub class: Class,
    /// Heartbeat to ask for, seconds; 0: the one of the class.
    pub heartbeat_s: u16,
    /// The outbox's cursor counts even if the server knows a higher one.
    pub rewind: bool,
    /// Program and version, for the server's log.
    pub agent: String,
    /// Who acknowledges mailbox entries.
    pub acknowledging: Acknowledging,
    /// Entries after which an acknowledgement is sent without waiting.
    pub acknowledge_count: u32,
    /// Longest wait of an acknowledgement for company.
    pub acknowledge_delay_ms: u32,
    /// Time without an answer after which a request is repeated once, and after as much again the
    /// connection is given up.
    pub request_timeout_ms: u32,
    /// Time from connect to welcome.
    pub handshake_timeout_ms: u32,
    /// Silence beyond the heartbeat after which the connection is given up.
    pub grace_ms: u32,
    /// First ceiling of the back-off.
    pub backoff_min_ms: u32,
    /// Last ceiling of the back-off.
    pub backoff_max_ms: u32,
    /// Mailbox entries asked for at a time, 1 to 100.
    pub page_entries: u16,
}

impl Settings {
    /// The usual behaviour for one device of one user.
    pub fn new(user: &str, device: &str) -> Self {
        Self {
            realm: 0,
            user: user.to_owned(),
            device: device.to_owned(),
            token: String::new(),
            class: Class::Mobile,
            heartbeat_s: 0,
            rewind: false,
            agent: concat!("hawser-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            acknowledging: Acknowledging::Automatic,
            acknowledge_count: 32,
            acknowledge_delay_ms: 20,
            request_timeout_ms: 5_000,
            handshake_timeout_ms: 10_000,
            grace_ms: 10_000,
            backoff_min_ms: 500,
            backoff_max_ms: 60_000,
            page_entries: 50,
        }
    }
}

/// A message the application wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Receiving user.
    pub to: String,
    /// Client message id, unique: a random UUID.
    pub uuid: [u8; 16],
    /// Level.
    pub level: Level,
    /// Content kind: 0 custom, 1 text, and so on as in the protocol.
    pub content: u8,
    /// Receipts asked for: bit 0 delivery, bit 1 read.
    pub receipts: u8,
    /// The message.
    pub body: Vec<u8>,
}

/// Why a message was not taken into the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The outbox holds as many unanswered requests as it can.
    OutboxFull,
    /// The receiver's name is empty or longer than 64 bytes.
    BadName,
    /// The body is longer than the server takes.
    BodyTooLong,
    /// The session has ended for good.
    Ended,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::OutboxFull => "too many requests are unanswered",
            Self::BadName => "receiver's name is empty or longer than 64 bytes",
            Self::BodyTooLong => "body is longer than the server takes",
            Self::Ended => "session has ended",
        })
    }
}

impl std::error::Error for SendError {}

/// What the transport shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, to `endpoint` if the server named another one, and report how it went.
    Connect {
        /// Address the server asked for; `None`: the usual one.
        endpoint: Option<String>,
    },
    /// Write what is left to write, close, and report `on_disconnected`.
    Close,
}

/// Where a session's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Connecting or logging in.
    Connecting,
    /// Logged in.
    Online,
    /// Not connected, will try again.
    Offline,
    /// Over for good.
    Ended,
}

/// A mailbox entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Mailbox number, to be acknowledged.
    pub number: u64,
    /// Other user of the direct chat.
    pub conversation: String,
    /// Sequence in the conversation.
    pub sequence: u64,
    /// User who sent it.
    pub sender: String,
    /// Device that sent it.
    pub device: String,
    /// Sender's message id.
    pub uuid: [u8; 16],
    /// Wall time the server gave it, milliseconds.
    pub time_ms: u64,
    /// Content kind.
    pub content: u8,
    /// Receipts the sender asks for.
    pub receipts: u8,
    /// The message.
    pub body: Vec<u8>,
}

/// What happened, for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection's state changed.
    State(ConnectionState),
    /// A message for this device; each once, in order.
    Message(Message),
    /// This device's own message took its place in the mailbox.
    Own {
        /// Mailbox number.
        number: u64,
        /// Other user.
        conversation: String,
        /// Sequence in the conversation.
        sequence: u64,
        /// The request it was, if it came from this outbox.
        client_seq: Option<u64>,
    },
    /// A request is durable.
    Acknowledged {
        /// Which.
        client_seq: u64,
        /// Its sequence in the conversation.
        sequence: u64,
        /// Wall time the server gave it, milliseconds.
        time_ms: u64,
    },
    /// A request is refused for good.
    Refused {
        /// Which.
        client_seq: u64,
        /// Protocol error code.
        code: u16,
        /// For people.
        text: String,
    },
    /// The peer of a conversation has received (1) or read (2) all up to `sequence`.
    Receipt {
        /// Other user.
        conversation: String,
        /// 1 delivered, 2 read.
        what: u8,
        /// All up to this one.
        sequence: u64,
    },
    /// Mailbox entries that the server no longer keeps were never seen by this device.
    Expired {
        /// First.
        from: u64,
        /// Last.
        to: u64,
    },
    /// The server asked the client to leave; it will come back by itself.
    GoingAway {
        /// Protocol error code.
        code: u16,
    },
    /// The session is over: refused, replaced, or ended by the application (code 0).
    Ended {
        /// Protocol error code.
        code: u16,
        /// For people.
        text: String,
    },
}
