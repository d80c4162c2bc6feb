//! What the log holds: one record per change that must survive, framed as
//!
//! ```text
//! | payload length u32 | kind u8 | shard u8 | reserved u16 | position u64 | payload |
//! ```
//!
//! `position` is the shard's own dense counter, from 1. The payload opens with its version byte
//! and holds the fields as in [`hawser_codec::field`]. Fields added later stand at the end, in a text,
//! and are skipped by those who do not know them.
//! Pure encoding: who may show what a record says, and when, is [`crate::host`]'s business.

mod block;
mod publish;
mod session;

pub(crate) use block::{BlockWriter, entry_tail, is_entry};
pub use block::{Item, Site};
pub(crate) use publish::{payload_of, put_home};
pub(crate) use session::Content;

use hawser_codec::field::{Cut, Field, Key, texts_stand_last};
use std::fmt::Write as _;

/// Bytes of the frame before the payload.
pub const HEADER_BYTES: usize = 16;
/// Entries of a mailbox that one block holds: a page of 50 then touches at most three blocks, and
/// what is not in a block yet stays short. A block is 30 KiB at most, about 8 KiB usually.
pub const BLOCK_ENTRIES: usize = 32;
/// Places that one index record adds to those before it. Two levels of it lead to half a million
/// entries behind one read.
pub const INDEX_FANOUT: u64 = 128;
/// Places of the index record before that an index record repeats. The blocks of one page, five
/// at most, so always stand in one record.
pub const INDEX_OVERLAP: u64 = 4;
/// Longest body kept inside an entry; a longer one is read from its message.
pub const ENTRY_BODY_BYTES_MAX: usize = 512;
/// Bytes of one answer inside a [`Window`] record.
pub const ANSWER_BYTES: usize = 48;
/// Version of every payload written.
const VERSION: u8 = 1;

/// Bytes that are no record of a known version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl From<Cut> for Unreadable {
    fn from(_: Cut) -> Self {
        Self
    }
}

/// A record as framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// Which record ([`Message::KIND`] and so on).
    pub kind: u8,
    /// Logical shard.
    pub shard: u8,
    /// The shard's own counter.
    pub position: u64,
    /// Versioned payload.
    pub payload: &'a [u8],
}

impl<'a> Framed<'a> {
    /// The record at the front of `bytes` and how many bytes it takes.
    pub fn take(bytes: &'a [u8]) -> Result<(Framed<'a>, usize), Unreadable> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Unreadable)?;
        let [l0, l1, l2, l3, kind, shard, _, _, position @ ..] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let position = u64::from_le_bytes(position);
        let payload = rest.get(..length).ok_or(Unreadable)?;
        Ok((Framed { kind, shard, position, payload }, HEADER_BYTES + length))
    }
}

macro_rules! records {
    ($(
        $(#[$doc:meta])*
        $kind:literal => $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            // Fields without a doc of their own mean what they mean in `hawser_codec::link`.
            #[allow(missing_docs)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name $(<$life>)? {
                $($(#[$field_doc])* pub $field: $type,)*
            }
            impl $(<$life>)? $name $(<$life>)? {
                /// Kind byte of the frame.
                pub const KIND: u8 = $kind;

                const FIXED_BYTES: usize = 0 $(+ <$type as Field>::FIXED_BYTES)*;
                const IN_ORDER: () =
                    assert!(texts_stand_last(&[$(<$type as Field>::FIXED_BYTES),*]));

                /// Appends the framed record and says how many bytes it takes.
                #[inline]
                pub fn put(&self, shard: u8, position: u64, out: &mut Vec<u8>) -> usize {
                    let () = Self::IN_ORDER;
                    let at = out.len();
                    let block_end = HEADER_BYTES + 1 + Self::FIXED_BYTES;
                    let bytes = block_end $(+ self.$field.text_bytes())*;
                    out.resize(at + bytes, 0);
                    let (head, texts) = out[at..].split_at_mut(block_end);
                    let (head, block) = head.split_at_mut(HEADER_BYTES + 1);
                    head[..4].copy_from_slice(&((bytes - HEADER_BYTES) as u32).to_le_bytes());
                    head[4] = $kind;
                    head[5] = shard;
                    head[8..HEADER_BYTES].copy_from_slice(&position.to_le_bytes());
                    head[HEADER_BYTES] = VERSION;
                    $(
                        let (field, block) = block.split_at_mut(<$type as Field>::FIXED_BYTES);
                        self.$field.put_fixed(field);
                    )*
                    $(let texts = self.$field.put_text(texts);)*
                    debug_assert!(block.is_empty() && texts.is_empty());
                    bytes
                }

                /// Reads a payload.
                pub fn take(payload: &$($life)? [u8]) -> Result<Self, Unreadable> {
                    let rest = payload.strip_prefix(&[VERSION]).ok_or(Unreadable)?;
                    let (block, mut texts) =
                        rest.split_at_checked(Self::FIXED_BYTES).ok_or(Unreadable)?;
                    $(
                        let (field, block) = block.split_at(<$type as Field>::FIXED_BYTES);
                        let $field = Field::read(field, &mut texts)?;
                    )*
                    let _: &[u8] = block;
                    Ok(Self { $($field,)* })
                }
            }
        )*
    };
}

records! {
    /// A user's first login.
    1 => User<'a> { user: Key, check: u64, realm: u32, epoch: u32, name: &'a [u8], }
    /// A device's first login.
    2 => Device<'a> { user: Key, device: Key, cursor: u64, name: &'a [u8], }
    /// A device has acknowledged up to `cursor` (or was set back to it).
    3 => Cursor { user: Key, device: Key, cursor: u64, }
    /// A message with its sequence.
    4 => Message<'a> {
        conversation: Key,
        /// User who sent it.
        sender: Key,
        /// Device that sent it.
        device: Key,
        /// User who gets it.
        peer: Key,
        incarnation: u64,
        client_seq: u64,
        uuid: Key,
        sequence: u64,
        time_ms: u64,
        content: u8,
        receipts: u8,
        sender_name: &'a [u8],
        device_name: &'a [u8],
        peer_name: &'a [u8],
        body: &'a [u8],
    }
    /// An entry of a mailbox.
    5 => Entry<'a> {
        user: Key,
        number: u64,
        /// Shard the message came from.
        source: u8,
        /// Place in the stream from there to this shard: the message's position, doubled, plus
        /// one for the sender's own entry. Tells recovery what has arrived.
        streamed: u64,
        device: Key,
        conversation: Key,
        sequence: u64,
        incarnation: u64,
        client_seq: u64,
        uuid: Key,
        time_ms: u64,
        content: u8,
        receipts: u8,
        /// 1: the mailbox is the sender's own.
        own: u8,
        /// Where the body is: 0 here, 1 in the message at `reference`, 2 in the message
        /// `reference` bytes before this record (same run; its place was not known yet).
        held: u8,
        reference: u64,
        reference_bytes: u32,
        peer_name: &'a [u8],
        sender_name: &'a [u8],
        device_name: &'a [u8],
        body: &'a [u8],
    }
    /// A dedup window that left memory.
    7 => Window<'a> {
        conversation: Key,
        device: Key,
        incarnation: u64,
        highest: u64,
        used_ms: u64,
        /// Earlier window with the same fingerprint, 0 none.
        previous: u64,
        previous_bytes: u32,
        /// [`ANSWER_BYTES`] each.
        answers: &'a [u8],
    }
    /// A device gave its place to a new one of the same user: it is not known any more.
    8 => Retired { user: Key, device: Key, }
    /// Copies of [`BLOCK_ENTRIES`] entries of one mailbox, so that they are read with one request:
    /// entries `32 * number + 1` to `32 * number + 32`. (6 was an index without copies.)
    9 => Block<'a> {
        user: Key,
        number: u64,
        /// See [`Item`].
        entries: &'a [u8],
    }
    /// Where blocks of a mailbox stand (level 0), or index records of the level below.
    10 => Index<'a> {
        user: Key,
        level: u8,
        number: u64,
        /// [`Site`]s of what has the numbers `128 * number` to `128 * number + 127` on the level,
        /// and before them of the [`INDEX_OVERLAP`] before those, as far as there are any.
        sites: &'a [u8],
    }
    /// A body too long for an entry, whose message stands in the log of another process. The
    /// entry stands behind it in the same run.
    11 => Body<'a> { conversation: Key, sequence: u64, body: &'a [u8], }
    /// A message for a topic: of quality 1 or 2, or a new retained one.
    12 => Publish<'a> {
        /// Key of the topic.
        topic_key: Key,
        realm: u32,
        /// Who published it.
        user: Key,
        device: Key,
        time_ms: u64,
        /// Packet id that is marked as received; 0: none.
        request: u16,
        qos: u8,
        retain: u8,
        expiry_s: u32,
        topic: &'a [u8],
        /// As in `hawser_codec::link::Publish`.
        content: &'a [u8],
        /// Home shards that it goes to: each one byte, then the shared filters that it serves
        /// there as in `hawser_codec::link::TopicEntry`, behind their length (u16).
        homes: &'a [u8],
    }
    /// A publisher will not repeat a message of quality 2: its packet id (0: each of the device)
    /// is free.
    13 => Released { device: Key, request: u16, }
    /// A home shard of another process follows a filter from here on, or no longer.
    14 => Followed<'a> {
        home: u8,
        /// 1, or 0 for no longer.
        add: u8,
        realm: u32,
        /// Share included.
        filter: &'a [u8],
    }
    /// A host of another process has said once all that its home shards follow.
    15 => FollowedAll { host: u16, }
    /// A session of publish/subscribe that is kept: a client has attached. All that is said of it
    /// here replaces what was known.
    20 => Session<'a> {
        user: Key,
        device: Key,
        /// Names the session among all of its shard: position of the record that made it.
        session: u64,
        check: u64,
        realm: u32,
        expiry_s: u32,
        /// 0: no will; else 1 + quality of service.
        will: u8,
        will_retain: u8,
        will_delay_s: u32,
        will_expiry_s: u32,
        will_key: Key,
        user_name: &'a [u8],
        device_name: &'a [u8],
        will_topic: &'a [u8],
        will_content: &'a [u8],
    }
    /// The connection of a kept session is gone since `at_ms`.
    21 => SessionLeft {
        session: u64,
        at_ms: u64,
        expiry_s: u32,
        /// 1: its will is still to be published.
        will: u8,
    }
    /// A kept session has ended; nothing of it is known any more.
    22 => SessionEnded { session: u64, }
    /// A filter of a kept session, new or with other options.
    23 => Filter<'a> { session: u64, identifier: u32, options: u8, filter: &'a [u8], }
    /// A filter less.
    24 => FilterGone<'a> { session: u64, filter: &'a [u8], }
    /// A message of a topic in the queues of kept sessions; also written if it is in none, for
    /// what it says of the stream.
    25 => Queued<'a> {
        /// Shard of the topic.
        source: u8,
        /// As in [`Entry`].
        streamed: u64,
        /// Who published it.
        user: Key,
        device: Key,
        /// Wall time from which on it is not delivered, seconds; 0: never.
        expires_s: u32,
        topic: &'a [u8],
        content: &'a [u8],
        /// Sessions, with the number of the entry in their queue.
        targets: &'a [u8],
    }
    /// A client has received an entry of quality 2 and not finished it.
    26 => Received { session: u64, number: u64, }
    /// A session is done with all entries below `first`, and with those above whose bit is set.
    27 => Marks<'a> { session: u64, first: u64, done: &'a [u8], }
}

/// One line about a record, for the log dump.
pub fn describe(kind: u8, payload: &[u8]) -> String {
    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
    fn hex(key: &Key) -> String {
        key.iter().take(4).fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }
    let line = match kind {
        User::KIND => User::take(payload).map(|r| {
            format!("user {} {} realm {} epoch {}", hex(&r.user), text(r.name), r.realm, r.epoch)
        }),
        Device::KIND => Device::take(payload).map(|r| {
            let name = text(r.name);
            format!("device {} {name} of {} cursor {}", hex(&r.device), hex(&r.user), r.cursor)
        }),
        Cursor::KIND => Cursor::take(payload)
            .map(|r| format!("cursor {} of {}: {}", hex(&r.device), hex(&r.user), r.cursor)),
        Message::KIND => Message::take(payload).map(|r| {
            let (sender, peer) = (text(r.sender_name), text(r.peer_name));
            let (sequence, bytes) = (r.sequence, r.body.len());
            let (incarnation, client_seq) = (r.incarnation, r.client_seq);
            format!(
                "message {} #{sequence} {sender}/{} -> {peer} request {incarnation:x}:{client_seq} \
                 time {} {bytes} bytes",
                hex(&r.conversation),
                text(r.device_name),
                r.time_ms
            )
        }),
        Entry::KIND => Entry::take(payload).map(|r| {
            let (user, number, sequence) = (hex(&r.user), r.number, r.sequence);
            let (source, streamed) = (r.source, r.streamed);
            let own = if r.own == 1 { " own" } else { "" };
            format!(
                "entry {user} {number}: {} #{sequence} from {}{own} stream {source}:{streamed} \
                 {} bytes",
                hex(&r.conversation),
                text(r.sender_name),
                r.body.len()
            )
        }),
        Block::KIND => Block::take(payload).map(|r| {
            let first = r.number * BLOCK_ENTRIES as u64 + 1;
            let (mut copies, mut references) = (0, 0);
            for item in r.items() {
                match item {
                    Item::Copy(_) => copies += 1,
                    Item::Reference { .. } => references += 1,
                }
            }
            let user = hex(&r.user);
            format!(
                "block {user} {}: {copies} entries from {first}, {references} more named",
                r.number
            )
        }),
        Index::KIND => Index::take(payload).map(|r| {
            let (level, number, count) = (r.level, r.number, r.sites().count());
            format!("index {} level {level} {number}: {count} places", hex(&r.user))
        }),
        Window::KIND => Window::take(payload).map(|r| {
            let (device, incarnation, highest) = (hex(&r.device), r.incarnation, r.highest);
            let answers = r.answers.len() / ANSWER_BYTES;
            format!(
                "window {} {device} {incarnation:x} highest {highest} {answers} answers",
                hex(&r.conversation)
            )
        }),
        Body::KIND => Body::take(payload).map(|r| {
            let (sequence, bytes) = (r.sequence, r.body.len());
            format!("body of {} #{sequence} {bytes} bytes", hex(&r.conversation))
        }),
        Session::KIND..=Marks::KIND => session::describe(kind, payload, text),
        Publish::KIND => Publish::take(payload).map(|r| {
            let (topic, bytes) = (text(r.topic), r.content.len());
            let (qos, request, homes) = (r.qos, r.request, r.homes().count());
            let retain = if r.retain == 1 { " retained" } else { "" };
            format!(
                "publish {topic} realm {} by {} qos {qos} packet {request}{retain} time {} \
                 {bytes} bytes for {homes} homes",
                r.realm,
                hex(&r.device),
                r.time_ms
            )
        }),
        Followed::KIND => Followed::take(payload).map(|r| {
            let what = if r.add == 1 { "follows" } else { "no longer follows" };
            format!("home shard {} {what} {} realm {}", r.home, text(r.filter), r.realm)
        }),
        FollowedAll::KIND => {
            FollowedAll::take(payload).map(|r| format!("host {} has said all it follows", r.host))
        }
        Released::KIND => Released::take(payload)
            .map(|r| format!("released packet {} of {}", r.request, hex(&r.device))),
        Retired::KIND => Retired::take(payload)
            .map(|r| format!("retired {} of {}", hex(&r.device), hex(&r.user))),
        _ => return format!("kind {kind}, {} bytes, not known here", payload.len()),
    };
    line.unwrap_or_else(|Unreadable| format!("kind {kind}, {} bytes, unreadable", payload.len()))
}
