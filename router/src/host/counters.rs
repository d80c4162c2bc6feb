//! What a host counts: figures for the metrics, marks for the simulator.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A rare branch; tests and the simulator check that each is reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            /// All marks.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)*];
        }
    };
}

marks! {
    /// A repeat came while the first was not durable yet.
    RepeatBeforeDurable,
    /// A repeat got the first answer.
    RepeatAnswered,
    /// A number came again with another message.
    NumberReused,
    /// A lower number that was never accepted.
    Superseded,
    /// `after` was not in the log yet.
    OutOfOrder,
    /// A first attempt too long ago.
    TooOld,
    /// A dedup window left memory.
    WindowSpilled,
    /// A dedup window too old to matter was dropped.
    WindowExpired,
    /// A spilled window was read back.
    WindowLookedUp,
    /// Pushing stopped: too many unacknowledged entries.
    CursorModeByLimit,
    /// Pushing stopped: no acknowledgement in time.
    CursorModeByTimeout,
    /// Pushing stopped: the connection's queue was full.
    CursorModeByStall,
    /// The head was told again after T.
    HeadRepeated,
    /// A page waited for a run to become durable.
    PageWaited,
    /// A page found its blocks by an index record.
    PageThroughIndex,
    /// A page read a block.
    PageFromBlock,
    /// A page found entries in memory.
    PageFromMemory,
    /// A page read entries one by one, because they had left memory before their block was due.
    PageReadEntries,
    /// A page ended before its entries because of its bytes.
    PageCutByBytes,
    /// Entries of a block had to be read before it could be written.
    BlockGathered,
    /// A block was written with places of entries instead of copies.
    BlockOfReferences,
    /// An index record was written.
    IndexWritten,
    /// A page needed a body from its message.
    PageReadBody,
    /// A read failed.
    ReadFailed,
    /// The floor rose.
    FloorRaised,
    /// An entry that was applied already was skipped.
    StreamRepeated,
    /// An entry's predecessor was missing.
    StreamGap,
    /// A device logged in again and its older connection was ended.
    Replaced,
    /// A session came back by announcement.
    Announced,
    /// A session was announced whose device had logged in elsewhere since.
    AnnouncedTooLate,
    /// An entry was streamed again after recovery.
    StreamedAgain,
    /// A peer batch waited for its run, because it refers to a message in it.
    PeerBatchHeld,
    /// An acknowledgement beyond the head was ignored.
    ConfirmBeyondHead,
    /// An entry came for an opening that is void.
    StreamStale,
    /// An entry from another process had no predecessor: the stream was opened again.
    StreamReopened,
    /// A home counted otherwise than the source: the stream was opened again.
    StreamMiscounted,
    /// An entry for another process was read from the log.
    StreamedFromLog,
    /// A stream to another process had too much under way, and goes on from the log.
    StreamFellBack,
    /// A stream to another process had caught up.
    StreamLive,
    /// A message was refused because its home has too much unconfirmed.
    StreamBackedUp,
    /// An origin went with sessions.
    OriginGone,
    /// A session was attached again while its older connection was there.
    SessionTaken,
    /// A session was announced after its host or the link to it was lost.
    SessionAnnounced,
    /// Nobody announced a session whose worker was lost.
    SessionLost,
    /// A kept session ended because its time had come.
    SessionExpired,
    /// A will was published.
    WillPublished,
    /// A will could not be handed on and is tried again.
    WillWaits,
    /// A host had no room for a filter.
    FollowRefused,
    /// A queue was full and lost its oldest entry.
    QueueFull,
    /// An entry of a queue was read from the log.
    QueueRead,
    /// A request without a number was refused, because too many others are remembered.
    UnnumberedFull,
    /// A publish of quality 2 came again and was answered.
    PublishRepeated,
    /// A publish came before every host had said what its home shards follow.
    PublishBeforeFollowing,
    /// A message went to one member of a shared filter at a worker.
    ShareToWorker,
    /// A message went to one member of a shared filter at a home shard.
    ShareToHome,
    /// A retained message had expired.
    RetainedExpired,
    /// A search for retained messages was cut into portions.
    RetainedSearchCut,
    /// Filters of a worker that has gone, or that a home shard no longer has, were swept out.
    RoutesSwept,
    /// A message of a topic was streamed again after recovery.
    TopicStreamedAgain,
}

/// Figures of a host, all since its start unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct HostCounters {
    /// Messages numbered.
    pub accepted: u64,
    /// Repeats answered.
    pub repeats: u64,
    /// By hundreds of the code, then by its last digits.
    refused: [[u64; 16]; 6],
    /// Entries written into mailboxes.
    pub entries: u64,
    /// Entries pushed.
    pub delivered: u64,
    /// Pages answered.
    pub pages: u64,
    /// Reads asked for.
    pub reads: u64,
    /// Blocks of mailboxes written.
    pub blocks: u64,
    /// Entries that were looked for in memory and had left it.
    pub recent_missed: u64,
    /// Memory of the entries written last now, bytes.
    pub recent_bytes: u64,
    /// Dedup windows spilled.
    pub spills: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Users now.
    pub users: u64,
    /// Conversations now.
    pub conversations: u64,
    /// Bytes of dedup windows now.
    pub window_bytes: u64,
    /// Output held for durability now, bytes.
    pub held_bytes: u64,
    /// The most that was ever held.
    pub held_bytes_high: u64,
    /// Streams that lost an entry. Not 0: the host must be rebuilt from the log.
    pub stream_gaps: u64,
    /// Log records that could not be read back.
    pub unreadable: u64,
    /// Entries said to hosts of other processes, repeats included.
    pub streamed: u64,
    /// Openings said to hosts of other processes.
    pub stream_openings: u64,
    /// Openings said because an entry was lost on the way while its link went on.
    pub streams_reopened: u64,
    /// Streams from or to another process that do not fit: one of the two directories is older
    /// than what it served. Not 0: messages are lost or wait.
    pub stream_faults: u64,
    /// Receipts and ephemeral messages for a host of another process that nobody would have heard.
    pub unheard: u64,
    /// Slots of publish/subscribe sessions in use now.
    pub attached_slots: u64,
    /// Publish/subscribe sessions attached now.
    pub attached: u64,
    /// Sessions that outlive their connection, now.
    pub kept: u64,
    /// Filters of kept sessions now.
    pub kept_filters: u64,
    /// Entries in queues of kept sessions now.
    pub queued: u64,
    /// Entries put into queues.
    pub queue_entries: u64,
    /// Entries pushed out of queues, repeats included.
    pub queue_pushed: u64,
    /// Entries that were dropped because their queue was full, or their segment gone.
    pub queue_dropped: u64,
    /// Entries that expired before they were delivered.
    pub queue_expired: u64,
    /// Wills published.
    pub wills: u64,
    /// Bytes of wills now.
    pub will_bytes: u64,
    /// Requests without a number that are remembered now.
    pub unnumbered: u64,
    /// Messages published to topics.
    pub published: u64,
    /// Of these, messages that some filter matched.
    pub matched: u64,
    /// Copies said to workers, one for all their connections.
    pub topic_copies: u64,
    /// Entries for kept sessions, one for each home shard.
    pub topic_entries: u64,
    /// Messages of quality 0 that were dropped because too much was held.
    pub topic_dropped: u64,
    /// Publishes, retained messages, filters and questions refused for one of this host's limits.
    pub topic_limits: u64,
    /// Filters of workers and home shards now.
    pub routes: u64,
    /// Memory of these filters now, bytes.
    pub route_bytes: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Memory of the retained messages now, bytes.
    pub retained_bytes: u64,
    /// Packet ids of quality 2 received and not released now.
    pub packet_ids: u64,
    marks: [u64; Mark::ALL.len()],
}

impl HostCounters {
    pub(crate) fn new() -> HostCounters {
        HostCounters {
            accepted: 0,
            repeats: 0,
            refused: [[0; 16]; 6],
            entries: 0,
            delivered: 0,
            pages: 0,
            reads: 0,
            blocks: 0,
            recent_missed: 0,
            recent_bytes: 0,
            spills: 0,
            sessions: 0,
            users: 0,
            conversations: 0,
            window_bytes: 0,
            held_bytes: 0,
            held_bytes_high: 0,
            stream_gaps: 0,
            unreadable: 0,
            streamed: 0,
            stream_openings: 0,
            streams_reopened: 0,
            stream_faults: 0,
            unheard: 0,
            attached_slots: 0,
            attached: 0,
            kept: 0,
            kept_filters: 0,
            queued: 0,
            queue_entries: 0,
            queue_pushed: 0,
            queue_dropped: 0,
            queue_expired: 0,
            wills: 0,
            will_bytes: 0,
            unnumbered: 0,
            published: 0,
            matched: 0,
            topic_copies: 0,
            topic_entries: 0,
            topic_dropped: 0,
            topic_limits: 0,
            routes: 0,
            route_bytes: 0,
            retained: 0,
            retained_bytes: 0,
            packet_ids: 0,
            marks: [0; Mark::ALL.len()],
        }
    }

    /// How often a rare branch was taken.
    pub fn mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// Refusals with a code of `hawser_codec::code`.
    pub fn refused(&self, code: u16) -> u64 {
        self.refused[usize::from(code / 100).min(5)][usize::from(code % 100).min(15)]
    }

    pub(crate) fn refuse(&mut self, code: u16) {
        self.refused[usize::from(code / 100).min(5)][usize::from(code % 100).min(15)] += 1;
    }

    pub(crate) fn hit(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }
}
