//! Every bound of the gateway, with its reason, and the memory they add up to.
//!
//! Bounds an operator may change are settings (see [`crate::config`]); their defaults and ranges
//! stand here too, so that one page answers "how much can this ever take". What is not here is
//! not bounded by this crate: the router tier and the ring name their own limits.
//!
//! Invariant: for every permitted number of workers and tables the fixed pools stay within
//! [`POOL_BYTES_PER_TABLE_MAX`] a table, its worker's share included, and
//! [`POOL_BYTES_PER_PROCESS_MAX`] in all.

mod mqtt;
mod turn;

pub use hawser_router::hosting::{ANSWERS_MAX, CHECKPOINT_BYTES};
pub use mqtt::*;
pub use turn::*;

use std::fmt;

/// 1024 bytes.
pub const KIB: u64 = 1024;
/// 1024 KiB.
pub const MIB: u64 = 1024 * KIB;

/// Slots of one worker's descriptor table. 20,000 is the hard descriptor limit of common hosts
/// and containers, and the kernel checks the size of each table against that limit alone.
pub const TABLE_SLOTS: u32 = 20_000;
/// Slots kept free for accepts in flight and for connections passed between workers: a multishot
/// accept on a full table closes what it has accepted.
pub const TABLE_SLOTS_RESERVED: u32 = 100;
/// Connections one full-sized table holds.
pub const TABLE_SLOTS_USABLE: u32 = TABLE_SLOTS - TABLE_SLOTS_RESERVED;
/// Accepts in flight per listener: one turn's worth of new connections at 30,000/s.
pub const ACCEPTS_IN_FLIGHT: u32 = 16;
/// Free slots under which accepting stops, and above which it starts again.
pub const ACCEPT_SLOTS_LOW: u32 = 2 * ACCEPTS_IN_FLIGHT;
/// Waiting connections a listener asks the kernel to hold (cut by `net.core.somaxconn`): 0.1 s of
/// a storm of 40,000 connects a second on one listener.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Descriptor tables of one process, a ring each: 256 hold five million connections, more than
/// 64 GiB of kernel memory allows; above it the fixed pools would not fit their bound.
pub const TABLES_MAX: u32 = 256;
/// Workers of one process: each has a table at least.
pub const WORKERS_MAX: u32 = TABLES_MAX;
/// Connections all tables of one process can hold.
pub const CONNECTIONS_MAX: u32 = TABLES_MAX * TABLE_SLOTS_USABLE;
/// Shard hosts: more than one per core only adds threads that wait for each other.
pub const HOSTS_MAX: u32 = 64;
/// Lanes being written: each has a file, a buffer and a place in the flush order.
pub const LANES_MAX: u32 = 16;

/// Default longest frame body, bytes: a chat text is below 1 KiB, a signalling blob below 64.
pub const FRAME_BODY_BYTES: u32 = 64 * 1024;
/// Highest setting: one frame must stay far below a worker's turn and the outbound mark.
pub const FRAME_BODY_BYTES_MAX: u32 = 1024 * 1024;
/// Longest name of a user, device or conversation, bytes.
pub const NAME_BYTES_MAX: usize = hawser_codec::message::NAME_BYTES_MAX;
/// Longest login token, bytes: an RS512 token with a dozen claims is below 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Default requests a client may have unanswered: 64 at 1 ms of commit are 64,000/s each.
pub const REQUESTS_IN_FLIGHT: u16 = 64;
/// Highest setting for it: the table of them is per connection while they are open.
pub const REQUESTS_IN_FLIGHT_MAX: u16 = 1024;
/// Default outbound bytes per connection above which nothing more is pushed to it: 2 s of a busy
/// reader at 256 messages/s of 128 B. Above it the reader becomes a cursor.
pub const OUTBOUND_BYTES_HIGH: u32 = 64 * 1024;
/// Share of the high mark, in percent, under which pushing starts again.
pub const OUTBOUND_LOW_PERCENT: u32 = 25;
/// Room above the high mark for answers, which may not be dropped. A client with more than both
/// waiting does not read: nothing more is taken from it until no more than the low mark is left.
/// 16 KiB are the acknowledges of 256 requests; a page asked for before may still come on top.
pub const OUTBOUND_ANSWER_BYTES: u32 = 16 * 1024;
/// Bytes waiting to go out, and received bytes waiting to be taken, of all connections of the
/// process, at most: the cost of a million clients of which one in fifteen does not read. Shared
/// evenly by the workers; what a worker does near its share stands in [`crate::pressure`].
pub const HELD_BYTES_PER_PROCESS: u64 = 1024 * MIB;
/// Memory for the mailbox entries written last, bytes, shared evenly by the shard hosts: 110,000
/// of 300 bytes, which is a block of 32 for each of 3,400 mailboxes in use. It fills with traffic,
/// not with connections; what has left it is read from the log.
pub const RECENT_BYTES_PER_PROCESS: usize = 32 * MIB as usize;
/// Lowest setting of the longest frame or message of a WebSocket, bytes: control frames have so many
/// (RFC 6455, section 5.5).
pub const WEBSOCKET_BYTES_MIN: u64 = 125;
/// And the highest: what the largest tests of conformance send.
pub const WEBSOCKET_BYTES_MAX: u64 = 16 * MIB;
/// Certificates of one configuration: the names of some hundred customers.
pub const CERTIFICATES_MAX: usize = 256;
/// Highest setting of the longest MQTT packet, bytes: a log lane writes 1 MiB at once, and the run
/// that the message ends may be a quarter of that already.
pub const MQTT_PACKET_BYTES_MAX: u64 = 256 * KIB;
/// Highest setting of topic aliases a connection keeps: each costs the topic's bytes.
pub const MQTT_ALIASES_MAX: u16 = 1024;
/// Highest setting of filters of one session: its record and its announcement hold all of them.
pub const MQTT_SUBSCRIPTIONS_MAX: u32 = 1024;
/// Longest server reference, bytes: half a dozen host names.
pub const SERVER_REFERENCE_BYTES_MAX: usize = 512;
/// Default time from accept to a complete hello, ms: three retransmissions on a bad mobile link.
pub const HANDSHAKE_TIMEOUT_MS: u32 = 10_000;
/// Default time a send may not move before the connection is closed, ms; also `TCP_USER_TIMEOUT`.
pub const SEND_STALL_TIMEOUT_MS: u32 = 30_000;
/// Default time last bytes get on close, ms.
pub const CLOSE_TIMEOUT_MS: u32 = 2_000;
/// Default time from SIGTERM to exit, s: under the 30 s that orchestrators give.
pub const DRAIN_TIMEOUT_S: u32 = 25;
/// Bytes taken from one connection in one turn; the rest waits for the next, so that one flood
/// does not delay its neighbours: eight receive buffers, some 150 chat messages.
pub const RECEIVE_BYTES_PER_TURN: u32 = 32 * 1024;
/// Bytes taken from all connections in one turn; what is left waits for the next, in order. Of the
/// smallest frames these are some 16,000, which is 2 ms; of chat messages it is more than the
/// completions of a turn bring.
pub const RECEIVE_BYTES_PER_TURN_IN_ALL: u32 = 384 * 1024;

/// How hard messages are compressed, 1 to 9: chat is short, and the fastest level wins most of what
/// can be won at a quarter of the price.
pub const DEFLATE_LEVEL: u8 = 1;

/// Completion queue entries: a whole table turning readable at once fits with its sends cut off
/// by the turn; an overflow is counted as a sizing fault.
pub const COMPLETION_QUEUE_ENTRIES: u32 = 16_384;
/// Submission queue entries: one turn's output, submitted early when full.
pub const SUBMISSION_QUEUE_ENTRIES: u32 = 1024;

/// One receive buffer, at most: the median chat frame is a twentieth of it, and a page of memory.
pub const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// And at least, with very many tables: a heartbeat and most requests fit one, a longer frame
/// takes several.
pub const RECEIVE_BUFFER_BYTES_MIN: u32 = 512;
/// Receive buffers of one table, at most: as many as the completions of one turn, so that quiet
/// connections that speak at once do not starve each other.
pub const RECEIVE_BUFFERS_MAX: u16 = 512;
/// Receive buffers of one table, bytes, at most.
pub const RECEIVE_POOL_BYTES_MAX: u64 = RECEIVE_BUFFERS_MAX as u64 * RECEIVE_BUFFER_BYTES as u64;
/// And at least, with [`TABLES_MAX`] tables: 128 connections in one turn, the rest starves and is
/// armed again when buffers return.
pub const RECEIVE_POOL_BYTES_MIN: u64 = 64 * KIB;
/// Empty buffers kept for the next sends of one worker, bytes, at most: 2,000 sends of 512 B in
/// flight at once allocate nothing.
pub const SPARE_BUFFERS_BYTES_MAX: u64 = MIB;
/// A buffer that grew beyond this is not kept for reuse.
pub const SPARE_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Keys of peers kept by one worker, bytes, at most: some 4,000 chats that go on at the same time.
pub const PEER_KEYS_BYTES_MAX: u64 = 512 * KIB;
/// Expanded TLS keys kept by one worker, at most: both directions of 256 connections that speak in
/// turn. More would not stay in the processor's caches.
pub const TLS_KEYS_MAX: usize = 512;
/// And at least.
pub const TLS_KEYS_MIN: usize = 16;
/// Bytes of these keys of all workers, at most, out of [`POOL_BYTES_SHARED`].
pub const TLS_KEYS_BYTES: usize = 4 * MIB as usize;
/// Heads of the timing wheel of one worker; its links are part of each connection's budget.
pub const TIMER_WHEEL_BYTES: u64 = 4 * KIB;
/// Completions and parcels of one turn, in vectors that stay: 512 of 64 B, and as much again.
pub const TURN_SCRATCH_BYTES: u64 = 64 * KIB;

/// Fixed pools of a worker with one table, and for each table more, at most.
pub const POOL_BYTES_PER_TABLE_MAX: u64 = 4 * MIB;
/// Fixed pools of the process, workers included, at most.
pub const POOL_BYTES_PER_PROCESS_MAX: u64 = 64 * MIB;
/// Of these: log buffers, the admin thread, key tables, lists of newcomers (64 KiB), expanded TLS keys,
/// allocator's own.
pub const POOL_BYTES_SHARED: u64 = 16 * MIB;

/// User memory of an idle connection, session and directory entry included: the bound a test
/// measures as a slope.
pub const USER_BYTES_PER_CONNECTION: u64 = 256;
/// Kernel memory of one idle TCP socket, measured on Linux 6.18: 3.9 KB.
pub const KERNEL_SOCKET_BYTES: u64 = 3_994;
/// Kernel memory of the one armed poll of a quiet connection, measured there: 0.26 KB.
pub const KERNEL_POLL_BYTES: u64 = 266;
/// Entries of a worker's descriptor table: 8 B for the file, 8 B for its tag.
pub const KERNEL_TABLE_SLOT_BYTES: u64 = 16;

const WORKER_FIXED_BYTES: u64 = TIMER_WHEEL_BYTES + TURN_SCRATCH_BYTES;

const _: () = assert!(ACCEPT_SLOTS_LOW < TABLE_SLOTS_RESERVED);
const _: () = assert!(OUTBOUND_ANSWER_BYTES < OUTBOUND_BYTES_HIGH);
const _: () = assert!(FRAME_BODY_BYTES <= FRAME_BODY_BYTES_MAX);
const _: () = assert!(RECEIVE_BYTES_PER_TURN <= u16::MAX as u32);
const _: () = assert!(COMPLETION_QUEUE_ENTRIES.is_power_of_two());
const _: () = assert!(SUBMISSION_QUEUE_ENTRIES.is_power_of_two());
const _: () = assert!(HOSTS_MAX <= WORKERS_MAX && LANES_MAX <= HOSTS_MAX);
const _: () = assert!(
    RECEIVE_POOL_BYTES_MAX
        + SPARE_BUFFERS_BYTES_MAX
        + PEER_KEYS_BYTES_MAX
        + (TLS_KEYS_MAX * hawser_tls::CACHED_KEY_BYTES) as u64
        + WORKER_FIXED_BYTES
        <= POOL_BYTES_PER_TABLE_MAX
);
const _: () = assert!(
    TLS_KEYS_MIN * hawser_tls::CACHED_KEY_BYTES * WORKERS_MAX as usize <= TLS_KEYS_BYTES
        && TLS_KEYS_BYTES as u64 <= POOL_BYTES_SHARED / 4
);
const _: () = assert!(RECEIVE_BUFFERS_MAX.is_power_of_two() && RECEIVE_BUFFERS_MAX <= 1 << 15);

/// Receive buffers of each table: how many, a power of two as the kernel's buffer ring wants, and
/// bytes of each. The more tables share the process's bound, the smaller, and then the fewer, they
/// are.
///
/// # Panics
/// When there are no workers or tables, or more than [`TABLES_MAX`]; the configuration refuses
/// that.
#[must_use]
pub fn receive_buffers_per_table(workers: u32, tables: u32) -> (u16, u32) {
    assert!((1..=TABLES_MAX / workers).contains(&tables), "validated by the configuration");
    let rest = pool_share(workers)
        - WORKER_FIXED_BYTES
        - spare_bytes_per_worker(workers)
        - peer_keys_bytes_per_worker(workers);
    let bytes = (rest / u64::from(tables)).min(RECEIVE_POOL_BYTES_MAX);
    // Largest powers of two not above; the const assertions keep them within their types.
    let each = 1 << (bytes / u64::from(RECEIVE_BUFFERS_MAX)).ilog2();
    let each = each.max(RECEIVE_BUFFER_BYTES_MIN);
    (1 << (bytes / u64::from(each)).ilog2(), each)
}

/// What the pools of one worker may take of those of the process.
fn pool_share(workers: u32) -> u64 {
    assert!((1..=WORKERS_MAX).contains(&workers), "validated by the configuration");
    (POOL_BYTES_PER_PROCESS_MAX - POOL_BYTES_SHARED) / u64::from(workers)
}

/// Bytes of empty buffers each worker keeps for reuse.
///
/// # Panics
/// As [`receive_buffers_per_table`].
#[must_use]
pub fn spare_bytes_per_worker(workers: u32) -> u64 {
    (pool_share(workers) / 4).min(SPARE_BUFFERS_BYTES_MAX)
}

/// Bytes of the keys of peers that each worker keeps.
///
/// # Panics
/// When there are no workers, or more than [`TABLES_MAX`].
#[must_use]
pub fn peer_keys_bytes_per_worker(workers: u32) -> u64 {
    (pool_share(workers) / 16).min(PEER_KEYS_BYTES_MAX)
}

/// Expanded TLS keys each worker keeps.
///
/// # Panics
/// As [`receive_buffers_per_table`].
#[must_use]
pub fn tls_keys_per_worker(workers: u32) -> usize {
    assert!((1..=WORKERS_MAX).contains(&workers), "validated by the configuration");
    let share = TLS_KEYS_BYTES / workers as usize / hawser_tls::CACHED_KEY_BYTES;
    share.clamp(TLS_KEYS_MIN, TLS_KEYS_MAX)
}

/// Bytes that may wait on each worker for clients that do not read or have not finished a frame.
///
/// # Panics
/// As [`receive_buffers_per_table`].
#[must_use]
pub fn held_bytes_per_worker(workers: u32) -> u64 {
    assert!((1..=WORKERS_MAX).contains(&workers), "validated by the configuration");
    HELD_BYTES_PER_PROCESS / u64::from(workers)
}

/// Line of the budget for TLS, which grows with connections.
const TLS_ITEM: &str = "TLS of connections";

/// One line of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetItem {
    /// What it is for.
    pub what: &'static str,
    /// How many of it.
    pub count: u64,
    /// Bytes of one.
    pub bytes_each: u64,
    /// Memory of the kernel, not of the process.
    pub kernel: bool,
}

impl BudgetItem {
    /// Bytes in all.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.count * self.bytes_each
    }
}

/// What a configuration needs when every connection is open and quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// The sum's items, in the order they are printed.
    pub items: Vec<BudgetItem>,
}

impl MemoryBudget {
    /// The sum for so many workers, tables of each (in all 1 to [`TABLES_MAX`]) and connections.
    #[must_use]
    pub fn for_config(workers: u32, tables: u32, max_connections: u32) -> Self {
        let connections = u64::from(max_connections);
        let threads = u64::from(workers);
        let rings = threads * u64::from(tables);
        let (buffers, buffer_bytes) = receive_buffers_per_table(workers, tables);
        let buffers = rings * u64::from(buffers);
        let user = |what, count, bytes_each| BudgetItem { what, count, bytes_each, kernel: false };
        let kernel = |what, count, bytes_each| BudgetItem { what, count, bytes_each, kernel: true };
        let queue_bytes =
            u64::from(COMPLETION_QUEUE_ENTRIES) * 16 + u64::from(SUBMISSION_QUEUE_ENTRIES) * 64;
        Self {
            items: vec![
                user("connections and sessions", connections, USER_BYTES_PER_CONNECTION),
                user("receive buffers", buffers, u64::from(buffer_bytes)),
                user("buffers for sends", threads, spare_bytes_per_worker(workers)),
                user("keys of peers", threads, peer_keys_bytes_per_worker(workers)),
                user("worker scratch and timers", threads, WORKER_FIXED_BYTES),
                user("shared pools", 1, POOL_BYTES_SHARED),
                kernel("sockets", connections, KERNEL_SOCKET_BYTES),
                kernel("armed polls", connections, KERNEL_POLL_BYTES),
                kernel(
                    "descriptor tables",
                    rings * u64::from(TABLE_SLOTS),
                    KERNEL_TABLE_SLOT_BYTES,
                ),
                kernel("ring queues", rings, queue_bytes),
            ],
        }
    }

    /// The same where connections may come with TLS: all of them, at worst.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        let count = self.items[0].count;
        let bytes_each = TLS_BYTES_PER_CONNECTION;
        let item = BudgetItem { what: TLS_ITEM, count, bytes_each, kernel: false };
        self.items.insert(1, item);
        self
    }

    /// Bytes of the process.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        self.items.iter().filter(|item| !item.kernel).map(BudgetItem::bytes).sum()
    }

    /// Bytes of the process that do not grow with connections.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        let tls = self.items.iter().filter(|item| item.what == TLS_ITEM).map(BudgetItem::bytes);
        self.user_bytes() - self.items[0].bytes() - tls.sum::<u64>()
    }

    /// Bytes of the kernel on our behalf.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        self.items.iter().filter(|item| item.kernel).map(BudgetItem::bytes).sum()
    }

    /// Both.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.user_bytes() + self.kernel_bytes()
    }
}

/// Bytes for people: `3.8 GiB`, `512.0 KiB`, `256 B`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    #[allow(clippy::cast_precision_loss)] // one decimal is shown
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        let text = match self.0 {
            0..KIB => format!("{} B", self.0),
            KIB..MIB => format!("{:.1} KiB", value / KIB as f64),
            _ if self.0 < 1024 * MIB => format!("{:.1} MiB", value / MIB as f64),
            _ => format!("{:.2} GiB", value / (1024 * MIB) as f64),
        };
        f.pad(&text)
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory budget, every connection open and quiet:")?;
        for item in &self.items {
            writeln!(
                f,
                "  {:<6} {:<26} {:>10} x {:>10} = {:>11}",
                if item.kernel { "kernel" } else { "user" },
                item.what,
                item.count,
                Bytes(item.bytes_each),
                Bytes(item.bytes()),
            )?;
        }
        writeln!(
            f,
            "  user {}, kernel {}, in all {}",
            Bytes(self.user_bytes()),
            Bytes(self.kernel_bytes()),
            Bytes(self.total_bytes()),
        )?;
        write!(f, "  and for clients that do not read, at most {}", Bytes(HELD_BYTES_PER_PROCESS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_stay_within_their_bounds_for_every_count_of_workers_and_tables() {
        for workers in 1..=WORKERS_MAX {
            for tables in 1..=TABLES_MAX / workers {
                let budget = MemoryBudget::for_config(workers, tables, 1000);
                let at = format!("{workers} workers of {tables} tables");
                assert!(budget.pool_bytes() <= POOL_BYTES_PER_PROCESS_MAX, "{at}");
                let rings = u64::from(workers * tables);
                let per_table = (budget.pool_bytes() - POOL_BYTES_SHARED) / rings;
                assert!(per_table <= POOL_BYTES_PER_TABLE_MAX, "{at}");
                let (buffers, each) = receive_buffers_per_table(workers, tables);
                assert!(buffers.is_power_of_two());
                let bytes = u64::from(buffers) * u64::from(each);
                assert!(bytes >= RECEIVE_POOL_BYTES_MIN, "{at}");
            }
        }
    }

    #[test]
    fn a_million_connections_grow_the_process_by_256_bytes_each() {
        let none = MemoryBudget::for_config(2, 26, 0).user_bytes();
        let million = MemoryBudget::for_config(2, 26, 1_000_000).user_bytes();
        assert_eq!(million - none, 256_000_000);
    }

    #[test]
    fn tls_adds_512_bytes_for_each_connection_and_nothing_to_the_pools() {
        let (plain, million) = (MemoryBudget::for_config(2, 26, 1_000_000), 1_000_000);
        let secure = plain.clone().with_tls();
        assert_eq!(secure.user_bytes() - plain.user_bytes(), 512 * million);
        assert_eq!(secure.pool_bytes(), plain.pool_bytes());
    }

    #[test]
    fn budget_prints_every_item_and_the_sum() {
        let text = MemoryBudget::for_config(2, 1, 39_800).to_string();
        assert_eq!(text.lines().count(), 1 + 10 + 2, "{text}");
        assert!(text.contains("sockets") && text.contains("in all"), "{text}");
    }
}
