//! All that one logical shard owns.

use crate::attached::Attached;
use crate::attached::follows::Follows;
use crate::conversation::Conversations;
use crate::directory::Directory;
use crate::topic::followed::Followed;
use crate::topic::kept::Retained;
use crate::topic::marks::Marks;
use crate::uuids::Uuids;

/// Logical shards. Constant on disk: it is the first byte of every key.
pub(crate) const SHARDS: usize = 256;

pub(crate) struct Shard {
    pub number: u8,
    /// Position of the last record.
    pub position: u64,
    pub users: Directory,
    pub conversations: Conversations,
    /// Requests without a number.
    pub uuids: Uuids,
    /// Sessions of publish/subscribe.
    pub attached: Attached,
    /// Filters of those that are kept.
    pub follows: Follows,
    /// Retained messages of topics.
    pub retained: Retained,
    /// What home shards of other processes follow, as recovery finds it. In one shard of a host;
    /// taken over by the host when it begins.
    pub followed: Followed,
    /// Packet ids of quality 2 that are not released.
    pub marks: Marks,
    /// Last streamed entry applied here, by source shard.
    pub applied: Box<[u64; SHARDS]>,
    /// Last entry streamed from here, by home shard.
    pub streamed: Box<[u64; SHARDS]>,
    /// Last entry confirmed by a home of another process, by home shard.
    pub confirmed: Box<[u64; SHARDS]>,
}

impl Shard {
    pub fn new(number: u8) -> Shard {
        Shard {
            number,
            position: 0,
            users: Directory::new(),
            conversations: Conversations::new(),
            uuids: Uuids::default(),
            attached: Attached::new(),
            follows: Follows::default(),
            retained: Retained::default(),
            followed: Followed::default(),
            marks: Marks::default(),
            applied: Box::new([0; SHARDS]),
            streamed: Box::new([0; SHARDS]),
            confirmed: Box::new([0; SHARDS]),
        }
    }

    /// Gives the next record its position.
    pub fn step(&mut self) -> u64 {
        self.position += 1;
        self.position
    }
}
