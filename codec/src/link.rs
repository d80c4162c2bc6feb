//! Frames between a worker, which holds connections, and a shard host, which owns sessions,
//! sequences and mailboxes; and between shard hosts.
//!
//! The same bytes travel inside one process (through the mesh) and, later, over a link between
//! processes. A *batch* is a run of frames without padding:
//!
//! ```text
//! | length u32 | kind u8 | fields as in [`crate::field`] |
//! ```
//!
//! Fields that recur: `connection` (who asked or shall hear), `user`, `device`, `peer`,
//! `conversation` (keys), `…_name` (the texts behind keys), `number` (of a mailbox entry),
//! `sequence` (of a conversation), `incarnation`, `client_seq`, `uuid` (identity of a request),
//! `time_ms` (wall time the conversation shard gave), `content`, `receipts` (passed through),
//! `code` (of the native protocol), `retry_after_ms`, `channel` (native channel of the question).
//!
//! `length` counts what follows it. The peer is our own code, yet a damaged batch gives [`Damaged`], never a panic.

#[cfg(test)]
mod tests;

use crate::field::{Cut, Field, texts_stand_last};

pub use crate::field::Key;

/// A batch that does not parse: a fault of our own tier, not of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl From<Cut> for Damaged {
    fn from(_: Cut) -> Self {
        Self
    }
}

/// A connection as its worker names it: slot in the low 32 bits, generation above.
pub type Connection = u64;

/// Set in `connection` of a [`Confirm`]: it is of a session's queue, not of the mailbox. (The
/// generation of a connection has 24 bits.)
pub const CONFIRMS_QUEUE: Connection = 1 << 63;

/// Bytes before the fields: length and kind.
const HEAD_BYTES: usize = 5;

macro_rules! frames {
    (
        $(#[$enum_doc:meta])* pub enum $family:ident;
        $($(#[$doc:meta])* $kind:literal => $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        })*
    ) => {
        $(
            $(#[$doc])*
            // Fields without a doc of their own are the shared ones of the module's table.
            #[allow(missing_docs)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name $(<$life>)? {
                $($(#[$field_doc])* pub $field: $type,)*
            }
            impl $(<$life>)? $name $(<$life>)? {
                const FIXED_BYTES: usize = 0 $(+ <$type as Field>::FIXED_BYTES)*;
                const IN_ORDER: () =
                    assert!(texts_stand_last(&[$(<$type as Field>::FIXED_BYTES),*]));

                /// Appends this frame to `batch`.
                #[inline]
                pub fn put(&self, batch: &mut Vec<u8>) {
                    let () = Self::IN_ORDER;
                    let at = batch.len();
                    let bytes = HEAD_BYTES + Self::FIXED_BYTES $(+ self.$field.text_bytes())*;
                    batch.resize(at + bytes, 0);
                    let (head, texts) = batch[at..].split_at_mut(HEAD_BYTES + Self::FIXED_BYTES);
                    let (head, block) = head.split_at_mut(HEAD_BYTES);
                    head[..4].copy_from_slice(&((bytes - 4) as u32).to_le_bytes());
                    head[4] = $kind;
                    $(
                        let (field, block) = block.split_at_mut(<$type as Field>::FIXED_BYTES);
                        self.$field.put_fixed(field);
                    )*
                    $(let texts = self.$field.put_text(texts);)*
                    debug_assert!(block.is_empty() && texts.is_empty());
                }
                #[inline]
                fn take(frame: &$($life)? [u8]) -> Result<Self, Cut> {
                    let (block, mut texts) = frame.split_at_checked(Self::FIXED_BYTES).ok_or(Cut)?;
                    $(
                        let (field, block) = block.split_at(<$type as Field>::FIXED_BYTES);
                        let $field = Field::read(field, &mut texts)?;
                    )*
                    let _: &[u8] = block;
                    Ok(Self { $($field,)* })
                }
                #[cfg(test)]
                fn drawn(draw: &mut tests::Draw<$($life)?>) -> Self {
                    Self { $($field: tests::Drawn::drawn(draw),)* }
                }
            }
        )*

        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $family<'a> {
            $($(#[$doc])* $name($name $(<$life>)?),)*
        }

        impl<'a> $family<'a> {
            /// Takes the first frame off `batch`; `None` at its end.
            #[inline]
            pub fn take(batch: &mut &'a [u8]) -> Result<Option<Self>, Damaged> {
                if batch.is_empty() {
                    return Ok(None);
                }
                let (length, rest) = batch.split_first_chunk().ok_or(Damaged)?;
                let length = u32::from_le_bytes(*length) as usize;
                let (frame, rest) = rest.split_at_checked(length).ok_or(Damaged)?;
                let (kind, frame) = frame.split_first().ok_or(Damaged)?;
                *batch = rest;
                match kind {
                    $($kind => Ok(Some(Self::$name($name::take(frame)?))),)*
                    _ => Err(Damaged),
                }
            }

            #[cfg(test)]
            fn one_of_each(draw: &mut tests::Draw<'a>) -> Vec<Self> {
                vec![$(Self::$name($name::drawn(draw)),)*]
            }

            #[cfg(test)]
            fn put(&self, batch: &mut Vec<u8>) {
                match self {
                    $(Self::$name(frame) => frame.put(batch),)*
                }
            }
        }
    };
}

frames! {
    /// What a worker asks of a shard host. Ordered per connection.
    pub enum Uplink;

    /// A connection has proved who it is; or, with `announce`, is still there after the host
    /// lost its directory (no answer is given but the head number).
    1 => Login<'a> {
        /// Connection at the worker.
        connection: Connection,
        /// Key of the user; its first byte is the home shard.
        user: Key,
        /// Key of the device.
        device: Key,
        /// Second half of the user's keyed hash; a stored user must have the same.
        check: u64,
        /// Realm (tenant).
        realm: u32,
        /// Session epoch of a resume token, 0 without one. Lower than the stored one: refused.
        epoch: u32,
        /// Incarnation of the client's outbox: a login of the same one takes over, it is not
        /// another client under the device's name.
        incarnation: u64,
        /// The client's own cursor plus one; 0 if it named none.
        cursor_plus_one: u64,
        /// A lower cursor than the stored one is meant.
        rewind: bool,
        /// Re-announcement after the host restarted.
        announce: bool,
        /// User's name, kept in the user's record.
        user_name: &'a [u8],
        /// Device's name, kept in the device's record.
        device_name: &'a [u8],
    }
    /// The connection is gone.
    2 => Logout { connection: Connection, user: Key, device: Key, }
    /// A message to be numbered and kept.
    3 => Send<'a> {
        connection: Connection,
        /// Key of the sending user.
        user: Key,
        /// Key of the sending device.
        device: Key,
        /// Key of the receiving user.
        peer: Key,
        /// Key of the conversation; its first byte is the conversation shard.
        conversation: Key,
        /// Native channel the request came on; comes back in the answer.
        channel: u16,
        /// Incarnation of the sender's outbox.
        incarnation: u64,
        /// Number of the request within the incarnation. 0: it has none, `incarnation` means
        /// nothing, and its `uuid` is known for ten minutes.
        client_seq: u64,
        /// Latest unanswered earlier request of the sender in this conversation, 0 if none.
        after: u64,
        /// Client message id (UUID).
        uuid: Key,
        /// Wall time of the first attempt, milliseconds, corrected by the server time; 0 = now.
        first_attempt_ms: u64,
        /// 0 ephemeral, 1 normal, 2 important.
        level: u8,
        /// Content kind, passed through.
        content: u8,
        /// Sender asks for: bit 0 delivery receipt, bit 1 read receipt.
        receipts: u8,
        sender_name: &'a [u8],
        device_name: &'a [u8],
        peer_name: &'a [u8],
        body: &'a [u8],
    }
    /// Cumulative acknowledgement of mailbox entries; of entries of the queue of the session
    /// (user, device), if bit 63 of `connection` is set ([`CONFIRMS_QUEUE`]).
    4 => Confirm { connection: Connection, user: Key, device: Key, number: u64, }
    /// A page of the mailbox is wanted.
    5 => Read {
        connection: Connection,
        user: Key,
        device: Key,
        channel: u16,
        /// Client's number of this question; comes back.
        request: u64,
        /// Entries above this number (forward) or, backward, below it (`u64::MAX`: from the head).
        after: u64,
        /// Entries wanted, at most.
        limit: u16,
        /// Newest first; moves no cursor.
        backward: bool,
        /// Only entries not older than this wall time, milliseconds; 0 = all retained.
        since_ms: u64,
        /// Forward, and the cursor stays where it is: what was read is not yet the client's.
        preview: bool,
    }
    /// Delivery or read receipt towards the peer of a conversation; never stored.
    6 => Receipt<'a> {
        user: Key,
        /// Home shard's key: who shall hear of it.
        peer: Key,
        conversation: Key,
        /// 1 delivered, 2 read.
        what: u8,
        /// All of the conversation up to this sequence.
        sequence: u64,
        user_name: &'a [u8],
    }
    /// The connection's outbound queue passed its limit: stop pushing, keep a head number.
    7 => Stall { connection: Connection, user: Key, device: Key, }
    /// A client of publish/subscribe has connected; its session belongs to (user, device), the
    /// device being its client id. Home shard of `user`. Answered by `Restored` frames, `Marked`
    /// frames and `Attached`, in this order; then what waits in its queue is pushed.
    8 => Attach<'a> {
        connection: Connection,
        user: Key,
        device: Key,
        /// As in `Login`.
        check: u64,
        realm: u32,
        /// Forget what is kept of this session first.
        clean: bool,
        /// Kept so long after the connection's end, seconds; 0: not at all, `u32::MAX`: for ever.
        expiry_s: u32,
        /// Entries of the queue that may be pushed without being confirmed.
        receive_max: u16,
        /// The session is still connected after the host or the link to it was lost; `clean` is
        /// false then, and no `Restored` frames are answered. What is not confirmed is pushed
        /// again: of what the connection has had already the worker makes nothing new, and says
        /// again that it is done where it is. A `will` of 0 leaves the will that is known.
        announce: bool,
        /// 0: no will; else 1 + quality of service.
        will: u8,
        will_retain: bool,
        /// Seconds from the connection's end to the will.
        will_delay_s: u32,
        /// The will's message expires so long after it was published, seconds; 0: never.
        will_expiry_s: u32,
        /// Key of the will's topic, as `topic_key` of `Publish`.
        will_key: Key,
        user_name: &'a [u8],
        device_name: &'a [u8],
        will_topic: &'a [u8],
        /// As `content` of `Publish`.
        will_content: &'a [u8],
    }
    /// The connection of an attached session is gone.
    9 => Detach {
        connection: Connection,
        user: Key,
        device: Key,
        /// As in `Attach`; the client may have changed it.
        expiry_s: u32,
        /// The will is to be published.
        will: bool,
    }
    /// A filter of an attached session. Home shard of `user`; answered by `Subscribed` once every
    /// publish that begins after the answer will find it.
    10 => Subscribe<'a> {
        connection: Connection,
        user: Key,
        device: Key,
        /// Worker's number of this question; comes back.
        request: u32,
        /// Subscription identifier, 0 for none.
        identifier: u32,
        /// MQTT 5 subscription options (quality of service, no local, retain as published).
        options: u8,
        /// Filter as subscribed, `$share/…` included.
        filter: &'a [u8],
    }
    /// A filter less. Answered by `Unsubscribed`.
    11 => Unsubscribe<'a> {
        connection: Connection,
        user: Key,
        device: Key,
        request: u32,
        filter: &'a [u8],
    }
    /// From a worker to every host: connections of this worker want what matches `filter` (live
    /// delivery), or do no longer. For an ordinary filter with the first and the last of them; for
    /// a shared one with each member. Answered by `Routed` if `request` is not 0.
    12 => Route<'a> {
        add: bool,
        request: u32,
        realm: u32,
        filter: &'a [u8],
    }
    /// A message for a topic. Shard of `topic_key`; answered by `Published` if `qos` is not 0.
    13 => Publish<'a> {
        connection: Connection,
        user: Key,
        device: Key,
        topic_key: Key,
        realm: u32,
        /// Packet id; with (user, device) the identity of a publish of quality 2.
        request: u16,
        qos: u8,
        retain: bool,
        /// Seconds after which it is not delivered any more; 0: never.
        expiry_s: u32,
        topic: &'a [u8],
        /// Length of the properties that are passed on (u32), they in MQTT 5 form, the payload.
        content: &'a [u8],
    }
    /// The sender of a publish of quality 2 will not repeat it: its packet id is free again. Shard
    /// of `topic_key`, or with a key of zeros every host, when the worker no longer knows the
    /// topic. A `request` of 0 stands for all packet ids of the device: a session that begins new
    /// says it to every host before it publishes. Answered by `Released` if `request` is not 0.
    14 => Release {
        connection: Connection,
        user: Key,
        device: Key,
        topic_key: Key,
        request: u16,
    }
    /// Retained messages that match `filter` are wanted by one connection. To every host; answered
    /// by `Topic` frames for the connection, then `RetainedEnd`.
    15 => Retained<'a> {
        connection: Connection,
        request: u32,
        realm: u32,
        filter: &'a [u8],
    }
    /// The client has received (quality 2) this entry of the session's queue, or, with `done`, is
    /// done with it. In any order; the home keeps the marks above the lowest unconfirmed entry.
    /// That it was received is answered by `Marked` once it is durable: only then the client may be
    /// told to release it, else a crash could bring it the entry twice.
    16 => QueueMark {
        connection: Connection,
        user: Key,
        device: Key,
        number: u64,
        done: bool,
    }
}

frames! {
    /// What a shard host tells a worker. Ordered per user.
    pub enum Downlink;

    /// Login accepted.
    1 => LoggedIn {
        connection: Connection,
        /// Session epoch to be written into the resume token.
        epoch: u32,
        /// Highest number of the mailbox.
        head: u64,
        /// This device's cursor.
        cursor: u64,
        /// Lowest number still kept, less one.
        floor: u64,
        /// Answer to a re-announcement: the client has its welcome already.
        announced: bool,
    }
    /// Login refused.
    2 => LoginRefused { connection: Connection, code: u16, retry_after_ms: u32, }
    /// The message is durable and has this number.
    3 => Accepted {
        connection: Connection,
        channel: u16,
        client_seq: u64,
        sequence: u64,
        /// Wall time the conversation shard gave it.
        time_ms: u64,
    }
    /// The message is not accepted.
    4 => Refused {
        connection: Connection,
        channel: u16,
        client_seq: u64,
        code: u16,
        retry_after_ms: u32,
    }
    /// A mailbox entry, pushed or as part of the page begun by the last `PageStart`.
    5 => Deliver<'a> {
        connection: Connection,
        /// Part of a page, not pushed.
        page: bool,
        /// Mailbox number.
        number: u64,
        /// Conversation sequence.
        sequence: u64,
        incarnation: u64,
        client_seq: u64,
        uuid: Key,
        time_ms: u64,
        content: u8,
        receipts: u8,
        /// The receiving device sent it itself: body is empty.
        own: bool,
        /// The other user of the direct chat, as the receiving user sees it.
        peer_name: &'a [u8],
        sender_name: &'a [u8],
        device_name: &'a [u8],
        body: &'a [u8],
    }
    /// The mailbox has entries up to here and nothing will be pushed until they are read.
    6 => Head { connection: Connection, head: u64, }
    /// Start of a page; its entries follow as `Deliver`, then `PageEnd`.
    7 => PageStart { connection: Connection, channel: u16, request: u64, }
    /// End of a page.
    9 => PageEnd {
        connection: Connection,
        head: u64,
        cursor: u64,
        floor: u64,
        /// There is more beyond this page.
        more: bool,
        /// 0, or why the page could not be read.
        code: u16,
        retry_after_ms: u32,
    }
    /// Ends a session: another login of the same device, a kick.
    10 => Kick { connection: Connection, code: u16, }
    /// A receipt from the peer of a conversation.
    11 => PeerReceipt<'a> {
        connection: Connection,
        what: u8,
        sequence: u64,
        peer_name: &'a [u8],
    }
    /// The host lost its directory: announce every session again.
    12 => Announce { epoch: u32, }
    /// A filter that an attaching session had.
    13 => Restored<'a> {
        connection: Connection,
        identifier: u32,
        options: u8,
        filter: &'a [u8],
    }
    /// An entry of the queue which the client has received (quality 2) and not finished: at an
    /// attach, and as the answer to `QueueMark` without `done`.
    14 => Marked { connection: Connection, number: u64, }
    /// Answer to `Attach`.
    15 => Attached {
        connection: Connection,
        /// The session was there.
        present: bool,
        /// 0, or why not ([`crate::code`]).
        code: u16,
        retry_after_ms: u32,
    }
    /// Answer to `Subscribe`.
    16 => Subscribed {
        connection: Connection,
        request: u32,
        /// The session had the filter already.
        existed: bool,
        code: u16,
    }
    /// Answer to `Unsubscribe`.
    17 => Unsubscribed { connection: Connection, request: u32, existed: bool, }
    /// Answer of one host to `Route`.
    18 => Routed { request: u32, code: u16, }
    /// Answer to `Publish`: durable, by the time this is heard.
    19 => Published {
        connection: Connection,
        request: u16,
        /// 0, or why not.
        code: u16,
        retry_after_ms: u32,
        /// Somebody's filter matched.
        matched: bool,
    }
    /// Answer to `Release`.
    20 => Released {
        connection: Connection,
        request: u16,
        /// The packet id was known.
        found: bool,
    }
    /// A published message; one copy for a worker, which finds its connections by their filters.
    21 => Topic<'a> {
        /// With `request`: who asked. (0 is a connection like any other.)
        connection: Connection,
        /// 0: for all that match. Else the question for retained messages that it answers.
        request: u32,
        realm: u32,
        /// Who published it: not for these where "no local" was asked.
        user: Key,
        device: Key,
        qos: u8,
        /// As published.
        retain: bool,
        /// Seconds until it expires, 0: never.
        expiry_s: u32,
        topic: &'a [u8],
        /// Empty: for ordinary filters. Else the shared filter, of which one member shall have it.
        share: &'a [u8],
        content: &'a [u8],
    }
    /// All retained messages this host had were given.
    22 => RetainedEnd { connection: Connection, request: u32, }
    /// An entry of the session's queue (quality 1 or 2, sessions that are kept).
    23 => QueueEntry<'a> {
        connection: Connection,
        /// Dense per session, from 1.
        number: u64,
        qos: u8,
        /// To be said to the client.
        retain: bool,
        /// It may have been sent before.
        repeated: bool,
        expiry_s: u32,
        topic: &'a [u8],
        /// Subscription identifiers, u32 each.
        identifiers: &'a [u8],
        content: &'a [u8],
    }
}

frames! {
    /// What shard hosts tell one another.
    ///
    /// Hosts of one process need only `Stream` and `Forward`: what one says the other hears. Between
    /// processes a link can be lost at any moment, so the home opens the streams towards it again:
    ///
    /// ```text
    /// home -> source   Open* Opened(k)
    /// source -> home   Begin(k) Stream Stream ...
    /// home -> source   Arrived(k, count) ...      once the entries are durable
    /// ```
    ///
    /// Batches from one host must be taken in the order in which it gave them, and none that was
    /// on its way over a link which has ended after one of the link that followed.
    pub enum Peer;

    /// An entry for a mailbox, streamed from a conversation shard in log order.
    1 => Stream<'a> {
        /// Source shard.
        source: u8,
        /// Place in the stream: twice the position of the message's record in the source shard,
        /// plus one for the sender's own entry. 0: ephemeral, no part of the stream.
        position: u64,
        /// Place before it in this stream, 0 for the first.
        previous: u64,
        /// Mailbox's user; first byte is the home shard.
        user: Key,
        /// Device that sent it.
        device: Key,
        conversation: Key,
        sequence: u64,
        incarnation: u64,
        client_seq: u64,
        uuid: Key,
        time_ms: u64,
        content: u8,
        receipts: u8,
        /// The mailbox is the sender's own.
        own: bool,
        /// Where the message stands in the log if its body is too long to be copied into the
        /// entry, else 0. Then `body` ends with the length of the message's record (u32).
        location: u64,
        peer_name: &'a [u8],
        sender_name: &'a [u8],
        device_name: &'a [u8],
        body: &'a [u8],
    }
    /// A receipt on its way to the home shard.
    2 => Forward<'a> {
        peer: Key,
        what: u8,
        sequence: u64,
        user_name: &'a [u8],
    }
    /// A home shard says how far it has applied a stream; one for each stream that is not at its
    /// beginning, all before the `Opened` they belong to. Between hosts of different processes.
    3 => Open {
        /// Source shard.
        source: u8,
        /// Home shard.
        home: u8,
        /// Place of the last entry applied and durable; as `position` of `Stream`.
        applied: u64,
    }
    /// The home's host is ready for the streams of the receiving host, from where the `Open`
    /// frames since the last `Opened` say, and from the beginning for all others.
    4 => Opened {
        /// Names this opening; another one voids what was streamed for the one before.
        opening: u64,
        /// The streams from here to the receiver are not open: it is asked for an opening.
        ask: bool,
    }
    /// The `Stream` frames that follow belong to this opening and are counted from 0.
    5 => Begin {
        /// The `opening` of the `Opened` that this answers.
        opening: u64,
    }
    /// The first `count` stored entries (`position` above 0) since `Begin` are durable with the
    /// home, or were already. Cumulative.
    6 => Arrived {
        /// The opening that is counted.
        opening: u64,
        /// Entries.
        count: u64,
        /// Source and place of the last of them: a source that said another one as its
        /// `count`th is not where the home thinks, and asks for an opening.
        source: u8,
        position: u64,
    }
    /// A message of a topic for the kept sessions of one home shard: like `Stream` a stored entry
    /// of the stream from `source` to `home`, in log order.
    7 => TopicEntry<'a> {
        /// Source shard.
        source: u8,
        /// Home shard.
        home: u8,
        /// Place in the stream: twice the position of the message's record in the source shard.
        position: u64,
        /// As in `Stream`.
        previous: u64,
        realm: u32,
        /// Who published it.
        user: Key,
        device: Key,
        qos: u8,
        retain: bool,
        /// Wall time of the publish, milliseconds.
        time_ms: u64,
        /// Seconds after `time_ms` at which it expires, 0: never.
        expiry_s: u32,
        topic: &'a [u8],
        /// Shared filters (`$share/…`, each behind its length as u16) of which one kept session of
        /// this home shard shall have it. Ordinary filters always count.
        shares: &'a [u8],
        content: &'a [u8],
    }
    /// From a home shard to every host: kept sessions of it have this filter, or have it no longer.
    /// For an ordinary filter with the first and the last of them; for a shared one with each.
    /// Answered by `Followed` if `request` is not 0.
    8 => Follow<'a> {
        /// Home shard.
        home: u8,
        add: bool,
        request: u32,
        realm: u32,
        filter: &'a [u8],
    }
    /// Answer to `Follow`: what is published from now on finds the filter.
    9 => Followed {
        request: u32,
        /// 0, or why the filter was not taken.
        code: u16,
    }
    /// With `done` false: all filters of the sender's home shards follow, once more. With `done`
    /// true: these were all, and of those said before only the ones said again are left. Until a
    /// host has heard the latter from every host, it takes no publish of quality 1 or 2.
    10 => Following { done: bool, }
    /// A message for a topic that no client publishes now, a will, on its way to the topic's shard.
    /// Fields as in `Publish`.
    11 => Handed<'a> {
        topic_key: Key,
        user: Key,
        device: Key,
        realm: u32,
        qos: u8,
        retain: bool,
        expiry_s: u32,
        topic: &'a [u8],
        content: &'a [u8],
    }
}

impl Downlink<'_> {
    /// The connection it is for; `None` for what concerns the whole worker.
    pub fn connection(&self) -> Option<Connection> {
        match self {
            Self::LoggedIn(frame) => Some(frame.connection),
            Self::LoginRefused(frame) => Some(frame.connection),
            Self::Accepted(frame) => Some(frame.connection),
            Self::Refused(frame) => Some(frame.connection),
            Self::Deliver(frame) => Some(frame.connection),
            Self::Head(frame) => Some(frame.connection),
            Self::PageStart(frame) => Some(frame.connection),
            Self::PageEnd(frame) => Some(frame.connection),
            Self::Kick(frame) => Some(frame.connection),
            Self::PeerReceipt(frame) => Some(frame.connection),
            Self::Restored(frame) => Some(frame.connection),
            Self::Marked(frame) => Some(frame.connection),
            Self::Attached(frame) => Some(frame.connection),
            Self::Subscribed(frame) => Some(frame.connection),
            Self::Unsubscribed(frame) => Some(frame.connection),
            Self::Published(frame) => Some(frame.connection),
            Self::Released(frame) => Some(frame.connection),
            Self::Topic(frame) => (frame.request != 0).then_some(frame.connection),
            Self::RetainedEnd(frame) => Some(frame.connection),
            Self::QueueEntry(frame) => Some(frame.connection),
            Self::Announce(_) | Self::Routed(_) => None,
        }
    }
}
