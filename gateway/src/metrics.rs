//! What workers and shard hosts count, in atomics that the admin thread reads.
//!
//! Each struct has one writer, its thread; a count is a relaxed load and store, never a locked
//! instruction, and no two writers share a cache line. A reader may see one number newer than
//! another: nothing is derived from a pair of them.
//!
//! What it is not: a decision's input. Nothing in the gateway reads a metric back.

mod encode;

pub use encode::encode;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use hawser_codec::{code, message::Message};
use hawser_router::host::HostCounters;

/// A count or a level with one writer.
#[derive(Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// A level falls by `n`.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// A level, or a count that is kept elsewhere.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Histogram with buckets up to 1, 2, 4, … 2^(N-1), and one above.
#[derive(Debug)]
pub struct Log2Histogram<const N: usize> {
    buckets: [Cell; N],
    above: Cell,
    sum: Cell,
}

impl<const N: usize> Default for Log2Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [(); N].map(|()| Cell::default()),
            above: Cell::default(),
            sum: Cell::default(),
        }
    }
}

impl<const N: usize> Log2Histogram<N> {
    /// Counts one value.
    pub fn record(&self, value: u64) {
        // Smallest k with value <= 2^k.
        let k = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets.get(k).unwrap_or(&self.above).add(1);
        self.sum.add(value);
    }

    /// Counts of the buckets, the one above last.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().chain([&self.above]).map(Cell::get)
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// A count per label out of a fixed set.
#[derive(Debug)]
pub struct Labelled<const N: usize>([Cell; N]);

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

/// Codes a request is refused with, and a place for all others at the end.
pub const REFUSAL_CODES: [u16; 11] = [
    code::NUMBER_REUSED,
    code::SUPERSEDED,
    code::TOO_OLD,
    code::BAD_REQUEST,
    code::OUT_OF_ORDER,
    code::BAD_NUMBER,
    code::STORAGE_UNAVAILABLE,
    code::OVERLOADED,
    code::TRY_AGAIN,
    code::RECOVERING,
    code::RATE_LIMITED,
];

/// Refusals by code.
#[derive(Debug, Default)]
pub struct Refusals([Cell; REFUSAL_CODES.len() + 1]);

impl Refusals {
    /// The cell of one code.
    #[must_use]
    pub fn at(&self, code: u16) -> &Cell {
        let other = REFUSAL_CODES.len();
        &self.0[REFUSAL_CODES.iter().position(|known| *known == code).unwrap_or(other)]
    }
}

/// Turns up to 16 ms, µs.
pub const TURN_BUCKETS: usize = 15;
/// Completions of a turn, up to 16,384.
pub const BATCH_BUCKETS: usize = 15;
/// Flushes up to 1 s, µs.
pub const FLUSH_BUCKETS: usize = 21;
/// Written batches up to 4 MiB, bytes.
pub const WRITE_BUCKETS: usize = 23;

/// What one worker counts. Written by that worker alone.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Level: connections open, closing ones included.
    pub connections: Cell,
    /// Level: of these with a multishot receive armed.
    pub connections_hot: Cell,
    /// Level: of these with only a watch armed.
    pub connections_cold: Cell,
    /// Level: of these waiting for their last completions.
    pub connections_closing: Cell,
    /// Level: of these logged in.
    pub sessions: Cell,
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
    /// Calls of `io_uring_enter`.
    pub enters: Cell,
    /// Completions.
    pub completions: Cell,
    /// Completion queue overflows.
    pub overflows: Cell,
    /// Turns; each counts in both histograms.
    pub turns: Cell,
    /// Work of a turn, waiting not included, µs.
    pub turn_us: Log2Histogram<TURN_BUCKETS>,
    /// Completions of a turn.
    pub batch: Log2Histogram<BATCH_BUCKETS>,
}

/// What one shard host counts. Written by its worker alone.
#[derive(Debug, Default)]
pub struct HostMetrics {
    /// Messages made durable and acknowledged.
    pub accepted: Cell,
    /// Repeats answered from the dedup window.
    pub repeats: Cell,
    /// Requests refused, by code.
    pub refused: Refusals,
    /// Mailbox entries pushed to devices.
    pub delivered: Cell,
    /// Entries read by pages.
    pub read: Cell,
    /// Reads of the log.
    pub log_reads: Cell,
    /// Blocks of mailbox entries written.
    pub blocks: Cell,
    /// Entries that had left memory when they were wanted.
    pub recent_missed: Cell,
    /// Level: bytes of the entries written last in memory.
    pub recent_bytes: Cell,
    /// Level: users with a record in memory.
    pub users: Cell,
    /// Level: devices on-line.
    pub sessions: Cell,
    /// Level: of these in cursor mode.
    pub sessions_cursor_mode: Cell,
    /// Level: bytes of messages and windows in memory.
    pub held_bytes: Cell,
    /// Level: bytes waiting to be written.
    pub lane_waiting_bytes: Cell,
    /// Level: bytes of log segments on disk.
    pub log_bytes: Cell,
    /// Writes or flushes that failed and stopped a lane.
    pub lane_failures: Cell,
    /// Checkpoints that count.
    pub checkpoints: Cell,
    /// Checkpoints that could not be written.
    pub checkpoint_failures: Cell,
    /// Batches between workers and hosts that did not parse: a fault of ours.
    pub link_damaged: Cell,
    /// Write and flush of a batch, µs.
    pub flush_us: Log2Histogram<FLUSH_BUCKETS>,
    /// Bytes of a batch.
    pub batch_bytes: Log2Histogram<WRITE_BUCKETS>,
}

impl HostMetrics {
    /// Copies the core's counters, once a turn.
    pub fn publish(&self, counters: &HostCounters) {
        self.accepted.set(counters.accepted);
        self.repeats.set(counters.repeats);
        self.delivered.set(counters.delivered);
        self.read.set(counters.pages);
        self.log_reads.set(counters.reads);
        self.blocks.set(counters.blocks);
        self.recent_missed.set(counters.recent_missed);
        self.recent_bytes.set(counters.recent_bytes);
        self.users.set(counters.users);
        self.sessions.set(counters.sessions);
        self.held_bytes.set(counters.window_bytes + counters.held_bytes);
        for code in REFUSAL_CODES {
            self.refused.at(code).set(counters.refused(code));
        }
    }
}

/// All of a process; shared with the admin thread.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// One per worker.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// One per shard host.
    pub hosts: Vec<Arc<HostMetrics>>,
    ready: AtomicBool,
}

impl ProcessMetrics {
    /// All zero, not ready.
    #[must_use]
    pub fn new(workers: u32, hosts: u32) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            hosts: (0..hosts).map(|_| Arc::default()).collect(),
            ready: AtomicBool::new(false),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_that_names_its_upper_bound() {
        let histogram = Log2Histogram::<4>::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts().collect::<Vec<_>>(), [2, 1, 2, 2, 2]);
    }

    #[test]
    fn a_code_without_a_place_counts_as_other() {
        let refusals = Refusals::default();
        refusals.at(code::TOO_OLD).add(1);
        refusals.at(9999).add(2);
        assert_eq!((refusals.at(code::TOO_OLD).get(), refusals.at(1).get()), (1, 2));
    }
}
