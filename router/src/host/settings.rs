//! Settings and limits of a shard host. Every bound of the core stands here or at its table.

use crate::record::{BLOCK_ENTRIES, INDEX_OVERLAP};
use crate::store::RouterPlace;

/// How a [`super::Host`] is set up. No default as a whole: the shell says what it means.
#[derive(Clone, Copy, Debug)]
pub struct HostSettings {
    /// Number of this host.
    pub host: u16,
    /// Shard hosts in all; the host of shard s is s mod hosts.
    pub hosts: u16,
    /// Origins there are from the start, numbered from 0: the workers of the own process. More
    /// come with [`super::Host::origin_came`].
    pub workers: u16,
    /// The other hosts are in other processes: entries travel to them over links that can be lost,
    /// and are kept until they have confirmed them.
    pub remote: bool,
    /// All hosts write one lane, and the shell hands a run to it before the peer batch that was
    /// sealed with it: then entries may leave before their message is durable.
    pub same_lane: bool,
    /// Messages older than this are no longer read, milliseconds.
    pub retention_ms: u64,
    /// Memory of the dedup windows of one shard, bytes.
    pub dedup_bytes_max: usize,
    /// Answers one dedup window remembers. At least the requests a client may have unanswered,
    /// else the repeat of an old one would be refused as superseded.
    pub answers_max: usize,
    /// T: without an acknowledgement for this long a device is told the head once more; after
    /// twice this nothing is pushed any longer. Microseconds.
    pub notify_timeout_us: u64,
    /// Entries pushed to a device and not acknowledged; beyond it has to read pages.
    pub unacknowledged_max: u64,
    /// Entries of one page.
    pub page_entries_max: u16,
    /// Users of this host. A login of an unknown user beyond it is refused; a mailbox made by a
    /// message is not, because accepted messages must arrive, and is bounded by conversations.
    pub users_max: usize,
    /// Conversations of this host; a message that would open another is refused.
    pub conversations_max: usize,
    /// Memory of this host for the entries written last, bytes. They are read and put into
    /// blocks without the disk; what has left it is read from the log.
    pub recent_bytes_max: usize,
    /// Longest body, bytes.
    pub body_bytes_max: usize,
    /// Output held back until records are durable, bytes; beyond it messages are refused.
    pub held_bytes_max: usize,
    /// Filters that workers and home shards have told this host; one more is refused.
    pub routes_max: usize,
    /// Memory of these filters, bytes.
    pub route_bytes_max: usize,
    /// Retained messages of this host; one more is refused.
    pub retained_max: usize,
    /// Memory of the retained messages of this host, bytes; what would pass it is refused.
    pub retained_bytes_max: usize,
    /// Longest content of a publish (properties and payload), bytes.
    pub content_bytes_max: usize,
    /// Secret that keeps strangers from choosing topics that fall into one place of a table.
    pub text_seed: u64,
    /// Entries that one remote host has not confirmed; beyond it messages for users homed there
    /// are refused.
    pub unconfirmed_max: usize,
    /// Bytes of the messages behind them, for the same: they keep segments from being dropped.
    pub unconfirmed_bytes_max: u64,
    /// Bytes of the messages of those that are said and not confirmed; beyond it nothing more is
    /// said, and what comes is read from the log later.
    pub stream_window_bytes: u64,
    /// Sessions of publish/subscribe of this host, attached or kept; one more is refused.
    pub attached_max: usize,
    /// Of these, sessions that are kept when their connection ends; one more is refused.
    pub kept_max: usize,
    /// Wills of this host, bytes of topic and content; a session with one beyond it is refused.
    pub will_bytes_max: usize,
    /// Filters of one kept session; one more is refused.
    pub session_filters_max: usize,
    /// Bytes of the filters of one kept session; what would pass it is refused.
    pub session_filter_bytes_max: usize,
    /// Entries that wait in the queue of one kept session; one more drops the oldest.
    pub queue_entries_max: usize,
    /// Bytes of topic and content of the entries that wait in one queue; beyond it the oldest are
    /// dropped.
    pub queue_bytes_max: u64,
    /// Entries of a queue pushed and not confirmed, whatever the client allows.
    pub queue_window_max: u16,
    /// Memory of the identities of requests without a number, one shard, bytes; beyond it such
    /// requests are refused until the oldest are ten minutes old.
    pub uuid_bytes_max: usize,
}

impl HostSettings {
    /// Settings of one host among `hosts`, with the product's defaults.
    pub fn new(host: u16, hosts: u16, workers: u16) -> HostSettings {
        HostSettings {
            host,
            hosts,
            workers,
            remote: false,
            same_lane: true,
            // 72 h: a phone that was off over a long week-end misses nothing.
            retention_ms: 72 * 3_600_000,
            dedup_bytes_max: 64 << 20,
            answers_max: 128,
            notify_timeout_us: 10_000_000,
            unacknowledged_max: 256,
            page_entries_max: 100,
            // Slots of 88 bytes: 16 M users are 1.5 GB.
            users_max: 16 << 20,
            conversations_max: 64 << 20,
            // 100,000 entries of 300 bytes: half a block for each of 6,000 mailboxes in use.
            recent_bytes_max: 32 << 20,
            body_bytes_max: 64 << 10,
            // 0.1 s of 50,000 messages/s with 1 KiB of output each, ten times over.
            held_bytes_max: 64 << 20,
            // 100 to 200 bytes each. A filter that several workers have counts for each.
            routes_max: 4 << 20,
            route_bytes_max: 1 << 30,
            retained_max: 1 << 20,
            retained_bytes_max: 256 << 20,
            // With what is in a run already and the topic it stays below what a lane writes.
            content_bytes_max: 256 << 10,
            text_seed: 0,
            // 10 s of 50,000 entries/s, 16 MiB: a router that restarts is back by then. A queue of
            // twice the length could not be looked through within 2 ms when it is.
            unconfirmed_max: 1 << 19,
            // Four segments.
            unconfirmed_bytes_max: 1 << 30,
            // A confirmation takes a flush and a round trip: 80 MB/s pass at 100 ms.
            stream_window_bytes: 8 << 20,
            // Slots of 56 bytes: 16 M sessions are 1.1 GB.
            attached_max: 16 << 20,
            // About 400 bytes each with one filter: 400 MB.
            kept_max: 1 << 20,
            will_bytes_max: 64 << 20,
            session_filters_max: 1024,
            session_filter_bytes_max: 64 << 10,
            // 32 bytes in memory for each. What a device misses in a day of one message a minute
            // fits nearly; brokers commonly keep 100 to 1000.
            queue_entries_max: 1024,
            // In the log; one session may keep so much of it from being of use.
            queue_bytes_max: 16 << 20,
            queue_window_max: 1024,
            // 40,000 requests in 10 minutes: 70/s for each of 256 shards.
            uuid_bytes_max: 4 << 20,
        }
    }

    /// Settings of router `place` of a list: the only host of its process, told of its origins
    /// as they come.
    pub fn of_router(place: RouterPlace) -> HostSettings {
        let mut settings = HostSettings::new(place.index(), place.routers(), 0);
        settings.remote = true;
        settings.same_lane = false;
        settings
    }

    /// Entries for this host leave the process.
    pub fn is_remote(&self, host: u16) -> bool {
        self.remote && host != self.host
    }

    /// Host that serves a shard.
    pub fn host_of(&self, shard: u8) -> u16 {
        u16::from(shard) % self.hosts
    }

    /// This host serves the shard.
    pub fn owns(&self, shard: u8) -> bool {
        self.host_of(shard) == self.host
    }
}

/// Bounds of publish/subscribe of one process, whatever the number of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicBounds {
    /// Sessions kept without a connection.
    pub kept_sessions_max: u32,
    /// Messages that wait for one of them; beyond it the oldest go.
    pub queue_entries_max: u32,
    /// Their bytes, for the same.
    pub queue_bytes_max: u64,
    /// Topics with a retained message.
    pub retained_max: u32,
    /// Bytes of these messages, topics included.
    pub retained_bytes_max: u64,
}

impl HostSettings {
    /// Gives this host its share of what the process may keep.
    pub fn bound_topics(&mut self, bounds: &TopicBounds, hosts_of_process: u16) {
        let hosts = u64::from(hosts_of_process.max(1));
        let share = |all: u64| usize::try_from(all.div_ceil(hosts)).unwrap_or(usize::MAX);
        self.kept_max = share(bounds.kept_sessions_max.into());
        self.queue_entries_max = bounds.queue_entries_max as usize;
        self.queue_bytes_max = bounds.queue_bytes_max;
        self.retained_max = share(bounds.retained_max.into());
        self.retained_bytes_max = share(bounds.retained_bytes_max);
    }
}

/// A request may be repeated until this long before its answer leaves retention: clocks of
/// clients, corrected by the server's, are off by less.
pub(crate) const REPEAT_MARGIN_MS: u64 = 3_600_000;
/// Cursors reach the log at most 1 s late; half of it is left for the run to be written.
pub(crate) const CURSOR_LATE_US: u64 = 500_000;
/// Cursor records of one turn: 4096 take about 0.3 ms.
pub(crate) const CURSORS_PER_TURN_MAX: usize = 4096;
/// Acknowledgement timers looked at in one turn, for the same reason.
pub(crate) const TIMERS_PER_TURN_MAX: usize = 4096;
/// Pages being read at one time: each holds five blocks and [`PAGE_BYTES_MAX`] at most.
pub(crate) const PAGES_MAX: usize = 256;
/// Entries of one page whatever is set: the blocks of so many stand in one index record.
pub(crate) const PAGE_ENTRIES_MAX: u64 = INDEX_OVERLAP * BLOCK_ENTRIES as u64 + 1;
/// Entries and bodies of one page, bytes; what would pass it is left for the next. A device on a
/// bad mobile link gets so much within seconds. One entry is always given.
pub(crate) const PAGE_BYTES_MAX: usize = 256 << 10;
/// Blocks written in one turn: 64 take about 0.3 ms.
pub(crate) const BLOCKS_PER_TURN_MAX: usize = 64;
/// Blocks whose entries are being read at one time, because they have left memory.
pub(crate) const GATHERS_MAX: usize = 4;
/// A tail this long gets its block at once; of entries that have left memory the block then only
/// says where they stand. Bounds what a disk that is too slow for gathering costs in memory.
pub(crate) const TAIL_ENTRIES_HIGH: usize = 4 * BLOCK_ENTRIES;
/// Windows being looked up at one time.
pub(crate) const LOOKUPS_MAX: usize = 256;
/// Reads that find one spilled window, at most.
pub(crate) const LOOKUP_DEPTH_MAX: u8 = 4;
/// Two entries this close are read with one request: the gap costs less than a second read.
pub(crate) const COALESCE_GAP_BYTES: u64 = 4096;
/// Longest read that joins entries.
pub(crate) const COALESCE_BYTES_MAX: u64 = 64 << 10;
/// When to come back after a refusal for want of room or of an answer, milliseconds.
pub(crate) const RETRY_SOON_MS: u32 = 20;
/// When to come back after a refusal because the log cannot be written, milliseconds.
pub(crate) const RETRY_STORAGE_MS: u32 = 1000;
/// Origins of one host at one time: workers of all gateways. Two dozen gateways of forty workers.
pub const ORIGINS_MAX: u16 = 1024;
/// Reads for one remote host at one time, each of [`COALESCE_BYTES_MAX`] or one message.
pub(crate) const STREAM_READS_MAX: usize = 4;
/// Entries left to be read when those of new messages begin to be held for a remote host: as many
/// as come while they are read, at 50,000/s within 80 ms.
pub(crate) const STREAM_JOIN_ENTRIES_MAX: u64 = 4096;
/// A read that failed for a stream is tried again after this long, microseconds.
pub(crate) const STREAM_RETRY_US: u64 = 1_000_000;
/// Buffers kept for reuse, and the largest kept: a burst's buffers go back to the allocator.
pub(crate) const SPARE_BUFFERS_MAX: usize = 64;
/// See [`SPARE_BUFFERS_MAX`].
pub(crate) const SPARE_BYTES_MAX: usize = 1 << 20;
/// A run this long is ended before the next message. With one more message of
/// [`HostSettings::body_bytes_max`] it stays far below the 1 MiB that a lane writes at once.
pub(crate) const RUN_CUT_BYTES: usize = 256 << 10;
/// A session whose connection is lost without a word, with its worker or the link to it or in a
/// crash of this process, counts as connected for so long: its worker may announce it again. A
/// gateway that lost its link is back within seconds. Microseconds.
pub(crate) const LOST_GRACE_US: u64 = 10_000_000;
/// Sessions looked at in one turn after a worker went: 4096 take about 0.2 ms.
pub(crate) const SWEPT_PER_TURN_MAX: usize = 4096;
/// Sessions whose time has come, looked at in one turn: each may end with its filters.
pub(crate) const SESSIONS_DUE_PER_TURN_MAX: usize = 256;
/// Filters told to other hosts in one turn when all are told again: 4096 take about 1 ms.
pub(crate) const FOLLOWS_PER_TURN_MAX: usize = 4096;
/// Filters that some host has not confirmed; one more is refused. As many as come in a second of a
/// storm of subscriptions.
pub(crate) const PENDING_FOLLOWS_MAX: usize = 16_384;
/// Topics and contents pushed to one session and not confirmed, bytes, whatever its window; one more
/// entry may pass it. A client that does not read costs its worker so much.
pub(crate) const QUEUE_UNDER_WAY_BYTES_MAX: u64 = 256 << 10;
/// Entries of queues being read at one time.
pub(crate) const QUEUE_READS_MAX: usize = 256;
/// A will that cannot be handed on is tried again after this long, microseconds.
pub(crate) const WILL_RETRY_US: u64 = 1_000_000;
/// A message for nobody yet (recovering, backed up) is tried again after this long, milliseconds.
pub(crate) const RETRY_FOLLOWING_MS: u32 = 200;
/// Places of the tree of filters looked at in one turn for what has gone: 4096 take 0.2 ms.
pub(crate) const SWEEP_PER_TURN_MAX: usize = 4096;
/// Questions for retained messages waiting at one time; beyond it they get none, and are counted.
/// A thousand clients that come back with sixteen filters each.
pub(crate) const RETAINED_QUESTIONS_MAX: usize = 16_384;
/// Topics looked at in one turn to answer them: 4096 take about 0.5 ms.
pub(crate) const RETAINED_VISITS_PER_TURN_MAX: usize = 4096;
/// Bytes of retained messages said in one turn; one more message may pass it.
pub(crate) const RETAINED_BYTES_PER_TURN_MAX: usize = 512 << 10;
/// Retained messages looked at for expiry when a new one comes: what has expired leaves faster than
/// new ones come.
pub(crate) const EXPIRY_LOOKS: usize = 8;
