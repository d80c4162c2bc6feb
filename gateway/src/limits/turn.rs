//! Bounds of one turn and of what waits between turns.

use crate::timers::Tick;
use std::time::Duration;

/// Version of the native protocol spoken.
pub const PROTOCOL_VERSION: u16 = 1;

/// Time that the entry of a sender's own message may wait for another frame to ride with,
/// microseconds: long against the pauses of a conversation, short against anything a person or a
/// repeat timer would notice. It saves the sender's side of each message a send and a receive.
pub const LAZY_US: u64 = 100_000;

/// Receives since the last timer that make a connection hot. A heartbeat and its like are one or
/// two; a conversation is more.
pub const HOT_RECEIVES: u8 = 4;
/// Quiet ticks after which a hot connection is looked at for cooling: 10 s.
pub const COOL_TICKS: Tick = 40;
/// Starved connections armed again in a turn: as many as it has completions.
pub const REARM_PER_TURN: usize = 512;
/// Timers that fire in a turn; a burst of more is cut and goes on in the next.
pub const TIMERS_PER_TURN: usize = 512;
/// Sessions announced again in a turn, so that a rebuilt host is not flooded.
pub const ANNOUNCE_PER_TURN: u32 = 512;
/// Connections asked to leave in a turn of a drain.
pub const LEAVE_PER_TURN: u32 = 512;

/// Parcels of the mesh taken in a turn.
pub const MESH_PARCELS_PER_TURN: usize = 256;
/// A parcel that found its queue full is tried again after this, microseconds.
pub const MESH_RETRY_US: u64 = 200;

/// Entries of a page, at most.
pub const PAGE_ENTRIES_MAX: u16 = 100;
/// A client has one page under way; one that has not come after so many ticks (10 s) was lost with
/// its host, and the client may ask again.
pub const PAGE_LOST_TICKS: Tick = 40;

/// When a client refused for overload should come back, milliseconds.
pub const OVERLOADED_RETRY_MS: u32 = 1_000;
/// When a client with too many requests unanswered should send again, milliseconds.
pub const RATE_LIMITED_RETRY_MS: u32 = 100;
/// When a client asked to leave by a drain should come back, milliseconds.
pub const DRAIN_RETRY_MS: u32 = 1_000;
/// Time records that wait get to become durable once the process has to end, microseconds. They
/// are not acknowledged, and a full disk would keep the process for ever.
pub const STOP_US: u64 = 5_000_000;
/// A worker that is done looks this often whether all others are, microseconds.
pub const LEAVE_POLL_US: u64 = 20_000;

/// Idle seconds after which the kernel probes the peer: a backstop behind the heartbeat, which is
/// always shorter.
pub const KEEPALIVE_S: u32 = 300;

/// Connections of one worker accepted and not yet logged in; above it no more are accepted and the
/// kernel's backlog waits. Then those silent for [`SILENT_TICKS`] give up their places, the oldest
/// first; slow ones leave by the handshake time-out. Shared out among the workers, but for a least
/// number each. With TLS each of them may have a handshake under way, of some 12 KiB.
pub const GREETINGS_MAX: u32 = 4096;
/// Least number of unfinished logins a worker takes.
pub const GREETINGS_MIN: u32 = 64;

/// Ticks a connection may send nothing while others wait for its place: 1 s. A client speaks as soon
/// as it is connected; in a second even a lost first packet has been sent again.
pub const SILENT_TICKS: Tick = 4;
/// Silent connections looked at in a turn; more than the accepts that complete in one.
pub const SHED_PER_TURN: usize = 64;
const _: () = assert!(GREETINGS_MIN > super::ACCEPTS_IN_FLIGHT);

/// Work on TLS handshakes in a turn, in units of some 40 µs: 1.2 ms, so that the turn stays within
/// its 2 ms. Who comes beyond it waits for the next turn.
pub const HANDSHAKE_UNITS_PER_TURN: u32 = 32;
/// Units of a step that agrees on a key, signs or verifies a certificate: 130 to 160 µs.
pub const HANDSHAKE_UNITS_WHOLE: u32 = 4;
/// Units of a step that checks a Finished and makes tickets.
pub const HANDSHAKE_UNITS_LIGHT: u32 = 1;
/// Waiting handshakes looked at in a turn, those included whose client has left meanwhile.
pub const HANDSHAKES_CALLED_PER_TURN: usize = 256;
/// User memory that TLS adds to an idle connection: 136 B of the layer's table, and what the
/// allocator and unfilled pages add.
pub const TLS_BYTES_PER_CONNECTION: u64 = 512;

/// How long a start waits for an address to come free. The kernel takes the ring of a killed
/// process down after the process is gone, its accepts and with them its listeners last: some
/// 20 ms with few connections.
pub const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
pub const PORT_RETRY: Duration = Duration::from_millis(20);

/// When a client that found the process full should come back, milliseconds: others need time to
/// leave, and a second gateway may have room.
pub const FULL_RETRY_MS: u32 = 10_000;

/// Routers of one system: a link each from every gateway, and 256 shards to share out.
pub const ROUTERS_MAX: usize = 64;
/// Bytes that may wait for one router, away or slow: some 40,000 messages of 200 bytes, a second of
/// a busy gateway. At the limit the breaker opens.
pub const ROUTER_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes waiting for a router that is there, above which no new work is taken for it.
pub const ROUTER_QUEUE_HIGH_BYTES: usize = 2 * 1024 * 1024;
/// Below this it is taken again.
pub const ROUTER_QUEUE_LOW_BYTES: usize = 512 * 1024;
/// How long a router may be away before what is for it is refused, microseconds: a restart with a
/// short log, or a broken connection, passes unnoticed; clients repeat after 10 s.
pub const ROUTER_AWAY_US: u64 = 2_000_000;
/// How long a connect to a router may take, microseconds: within a data centre a lost SYN and its
/// first repeat.
pub const ROUTER_DIAL_US: u64 = 2_500_000;
/// Time the last words on a link get, microseconds.
pub const ROUTER_END_US: u64 = 300_000;
/// First wait before a router is dialled again, microseconds.
pub const ROUTER_BACK_OFF_US: u64 = 50_000;
/// Longest: what an operator mends is found within it.
pub const ROUTER_BACK_OFF_US_MAX: u64 = 3_000_000;
/// When a client refused because its router is away should come back, milliseconds.
pub const ROUTER_RETRY_MS: u32 = 1_000;
/// Slots of a worker's table looked at in a turn for sessions whose login was lost with a link.
pub const LOST_PER_TURN: u32 = 2_048;
/// Unsent bytes a link's socket may sit on before the kernel gives it up, milliseconds.
pub const ROUTER_USER_TIMEOUT_MS: u32 = 5_000;
/// Routers' links live on few workers; their sockets come out of each table's reserve.
const _: () = assert!(ROUTERS_MAX as u32 + super::ACCEPT_SLOTS_LOW <= super::TABLE_SLOTS_RESERVED);
const _: () = assert!(
    ROUTER_QUEUE_LOW_BYTES < ROUTER_QUEUE_HIGH_BYTES
        && ROUTER_QUEUE_HIGH_BYTES < ROUTER_QUEUE_BYTES
);

/// Work of giving messages of topics to connections in one turn, in units of
/// [`TOPIC_SEND_WORK`]: 384 sends of some 4 µs each, or 3072 copies that ride with others.
pub const TOPIC_WORK_PER_TURN: usize = 384 * TOPIC_SEND_WORK;
/// What a copy costs that needs a send of its own, where one that rides with others costs 1.
pub const TOPIC_SEND_WORK: usize = 8;
/// Compressors of WebSocket messages that were not used for so long are given back, ticks: 16 s.
pub const REST_TICKS: u32 = 64;
