//! What workers and shard hosts count, in atomics that the admin thread reads.
//!
//! Each struct has one writer, its thread; a count is a relaxed load and store, never a locked
//! instruction, and no two writers share a cache line. A reader may see one number newer than
//! another: nothing is derived from a pair of them.
//!
//! What it is not: a decision's input. Nothing in the gateway reads a metric back.

mod encode;
mod routers;

pub use encode::encode;
pub use routers::RouterMetrics;

pub use hawser_router::metrics::{
    Cell, FLUSH_BUCKETS, HostMetrics, Log2Histogram, REFUSAL_CODES, Refusals, WRITE_BUCKETS,
};

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::connection::Protocol;
use hawser_codec::message::Message;
use hawser_tls::Reason;

/// A count per label out of a fixed set.
#[derive(Debug)]
pub struct Labelled<const N: usize>([Cell; N]);

impl<const N: usize> Labelled<N> {
    /// The cell of the label counted at `index`, below N.
    #[must_use]
    pub fn cell(&self, index: usize) -> &Cell {
        &self.0[index]
    }
}

impl<const N: usize> Default for Labelled<N> {
    fn default() -> Self {
        Self([(); N].map(|()| Cell::default()))
    }
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All, in the order in which they are counted.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Value of the label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl Labelled<{ $name::ALL.len() }> {
            /// The cell of one label.
            #[must_use]
            pub const fn at(&self, label: $name) -> &Cell {
                &self.0[label as usize]
            }
        }
    };
}

labels! {
    /// Why a connection ended.
    CloseReason {
        /// The client finished.
        Peer = "peer",
        /// The network or the peer's kernel reset it.
        Reset = "reset",
        /// No complete hello in time.
        Handshake = "handshake_timeout",
        /// Not a byte came, and others waited for the place.
        Silent = "silent",
        /// Nothing came within heartbeat and grace.
        Heartbeat = "heartbeat",
        /// A send did not move.
        Stalled = "send_stalled",
        /// Bytes that are no frame, or a frame that may not come.
        Protocol = "protocol",
        /// Login refused.
        Denied = "denied",
        /// The device logged in elsewhere.
        Replaced = "replaced",
        /// A kick.
        Kicked = "kicked",
        /// No slot, or another limit.
        Full = "full",
        /// The server goes.
        Shutdown = "shutdown",
        /// A fault of ours; counted so that it is seen.
        Fault = "fault",
    }
}

labels! {
    /// Kind of a native frame.
    FrameKind {
        /// First frame of a client.
        Hello = "hello",
        /// Its answer.
        Welcome = "welcome",
        /// A message to be sent.
        Request = "request",
        /// It is durable.
        Acknowledge = "acknowledge",
        /// A mailbox entry.
        Notify = "notify",
        /// Entries are safe with the device.
        NotifyAcknowledge = "notify_acknowledge",
        /// There are entries up to here.
        Head = "head",
        /// Asks for a page.
        Sync = "sync",
        /// End of a page.
        Page = "page",
        /// Delivered or read.
        Receipt = "receipt",
        /// Heartbeat.
        Ping = "ping",
        /// Its answer.
        Pong = "pong",
        /// Asked to leave.
        GoAway = "go_away",
        /// Refused.
        Error = "error",
        /// An optional kind that is not known here.
        Unknown = "unknown",
    }
}

impl FrameKind {
    /// Kind of a decoded message.
    #[must_use]
    pub const fn of(message: &Message<'_>) -> Self {
        match message {
            Message::Hello(_) => Self::Hello,
            Message::Welcome(_) => Self::Welcome,
            Message::Request(_) => Self::Request,
            Message::Acknowledge(_) => Self::Acknowledge,
            Message::Notify(_) => Self::Notify,
            Message::NotifyAcknowledge(_) => Self::NotifyAcknowledge,
            Message::Head(_) => Self::Head,
            Message::Sync(_) => Self::Sync,
            Message::Page(_) => Self::Page,
            Message::Receipt(_) => Self::Receipt,
            Message::Ping(_) => Self::Ping,
            Message::Pong(_) => Self::Pong,
            Message::GoAway(_) => Self::GoAway,
            Message::Error(_) => Self::Error,
        }
    }
}

labels! {
    /// What is spoken on an open connection.
    Spoken {
        /// Hawser's own protocol.
        Native = "native",
        /// WebSocket, whatever it carries but MQTT.
        WebSocket = "websocket",
        /// MQTT, over WebSocket too.
        Mqtt = "mqtt",
        /// HTTP: requests, long-poll, events.
        Http = "http",
        /// Not told yet by the first bytes.
        Undetermined = "undetermined",
    }
}

impl Spoken {
    /// Where connections of a protocol are counted.
    #[must_use]
    pub const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Native => Self::Native,
            Protocol::WebSocketNative | Protocol::WebSocketJson | Protocol::WebSocketEcho => {
                Self::WebSocket
            }
            Protocol::Mqtt | Protocol::WebSocketMqtt => Self::Mqtt,
            Protocol::Http | Protocol::Poll | Protocol::Events => Self::Http,
            Protocol::Undetermined => Self::Undetermined,
        }
    }
}

/// Turns up to 16 ms, µs.
pub const TURN_BUCKETS: usize = 15;
/// Completions of a turn, up to 16,384.
pub const BATCH_BUCKETS: usize = 15;
/// What one worker counts. Written by that worker alone.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Level: connections open, closing ones included, by what is spoken.
    pub connections: Labelled<{ Spoken::ALL.len() }>,
    /// Level: of these with a multishot receive armed.
    pub connections_hot: Cell,
    /// Level: of these with only a watch armed.
    pub connections_cold: Cell,
    /// Level: of these waiting for their last completions.
    pub connections_closing: Cell,
    /// Level: of these logged in.
    pub sessions: Cell,
    /// Level: WebSocket connections in the midst of a message, or before their hello.
    pub websocket_unfinished: Cell,
    /// Level: compressors of WebSocket messages, bytes: contexts kept, at most, and shared ones.
    pub websocket_deflate_bytes: Cell,
    /// Level: requests armed or in flight in the ring.
    pub armed: Cell,
    /// Level: bytes queued towards clients, and received ones not yet taken.
    pub outbound_bytes: Cell,
    /// Level: connections that are not read from because they do not read.
    pub connections_slow: Cell,
    /// Connections accepted.
    pub accepted: Cell,
    /// Connections passed to another worker.
    pub passed: Cell,
    /// Connections ended, by reason.
    pub closed: Labelled<{ CloseReason::ALL.len() }>,
    /// Frames from clients.
    pub frames_in: Labelled<{ FrameKind::ALL.len() }>,
    /// Frames to clients.
    pub frames_out: Labelled<{ FrameKind::ALL.len() }>,
    /// Bytes from clients.
    pub bytes_in: Cell,
    /// Bytes to clients.
    pub bytes_out: Cell,
    /// Logins that stand, resumed ones included.
    pub logins: Cell,
    /// Of these by resume token.
    pub resumes: Cell,
    /// Logins refused.
    pub logins_denied: Cell,
    /// Requests refused before a shard saw them.
    pub refused: Refusals,
    /// Connections closed for a missed heartbeat.
    pub heartbeats_expired: Cell,
    /// Requests whose peer's keys were kept from an earlier one; the others were hashed.
    pub peer_keys_kept: Cell,
    /// Receives that found no buffer.
    pub starved: Cell,
    /// Completions of a connection that is gone.
    pub stale_completions: Cell,
    /// Times a connection's queue went over its high mark.
    pub outbound_stalls: Cell,
    /// Times a connection was not read from because it did not read.
    pub pauses: Cell,
    /// Times the mesh was full and reading stopped.
    pub mesh_stalls: Cell,
    /// Messages of MQTT clients taken.
    pub mqtt_published: Cell,
    /// Of these refused.
    pub mqtt_refused: Cell,
    /// Messages sent to MQTT clients.
    pub mqtt_delivered: Cell,
    /// Messages not sent to MQTT clients: too slow, too much waiting, or too long for them.
    pub mqtt_dropped: Cell,
    /// Calls of `io_uring_enter`.
    pub enters: Cell,
    /// Completions.
    pub completions: Cell,
    /// Completion queue overflows.
    pub overflows: Cell,
    /// Level: TLS handshakes under way.
    pub tls_handshakes: Cell,
    /// Level: TLS handshakes that wait for their turn.
    pub tls_waiting: Cell,
    /// TLS handshakes done, with a new key.
    pub tls_full: Cell,
    /// TLS handshakes done, from a ticket.
    pub tls_resumed: Cell,
    /// TLS handshakes that failed, by [`Reason`].
    pub tls_failed: Labelled<{ Reason::ALL.len() }>,
    /// Connections ended by a record that does not open or has no place.
    pub tls_broken: Cell,
    /// Key updates of clients.
    pub tls_key_updates: Cell,
    /// Renegotiations asked for by clients, and refused.
    pub tls_renegotiations: Cell,
    /// Keys expanded from their secrets because they were not at hand.
    pub tls_keys_expanded: Cell,
    /// Turns; each counts in both histograms.
    pub turns: Cell,
    /// Work of a turn, waiting not included, µs.
    pub turn_us: Log2Histogram<TURN_BUCKETS>,
    /// Completions of a turn.
    pub batch: Log2Histogram<BATCH_BUCKETS>,
}

/// All of a process; shared with the admin thread.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// One per worker.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// One per shard host.
    pub hosts: Vec<Arc<HostMetrics>>,
    /// One per router of another process.
    pub routers: Vec<Arc<RouterMetrics>>,
    ready: AtomicBool,
}

impl ProcessMetrics {
    /// All zero, not ready.
    #[must_use]
    pub fn new(workers: u32, hosts: u32) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            hosts: (0..hosts).map(|_| Arc::default()).collect(),
            routers: Vec::new(),
            ready: AtomicBool::new(false),
        })
    }

    /// All zero, not ready, of a process whose router tier is at these addresses.
    #[must_use]
    pub fn with_routers(workers: u32, routers: impl IntoIterator<Item = String>) -> Arc<Self> {
        let router = |address| Arc::new(RouterMetrics::new(address, workers));
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            hosts: Vec::new(),
            routers: routers.into_iter().map(router).collect(),
            ready: AtomicBool::new(false),
        })
    }

    /// What `/readyz` says, and whether it is good. A process that reaches no router at all serves
    /// nobody; one that misses some of them serves the rest, and says which are missing.
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        let reached = self.routers.is_empty() || self.routers.iter().any(|one| one.up.get() == 1);
        let ready = self.is_ready() && reached;
        let mut text = if ready { "ready\n" } else { "not ready\n" }.to_owned();
        for (index, router) in self.routers.iter().enumerate() {
            let (address, status) = (router.address(), router.status());
            text.push_str(&format!("router {index} at {address}: {status}\n"));
        }
        (ready, text)
    }

    /// Serving, or not: what `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// Is it serving?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }
}
