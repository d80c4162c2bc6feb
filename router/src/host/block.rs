//! Blocks of a mailbox: when the tail is long enough, copies of its first entries are appended as
//! one record, and of every [`INDEX_FANOUT`] blocks an index record says where they stand.
//!
//! Entries are copied out of memory. Those that have left it are read first, a few mailboxes at
//! one time; a tail that grows meanwhile gets a block that only names them. So a block never
//! waits for ever and a tail never grows without bound. The work is cut by turns.

use super::Host;
use super::counters::Mark;
use super::entry::{Pending, Wanted};
use super::reading::{Collected, Gather, Reader};
use super::settings::{BLOCKS_PER_TURN_MAX, GATHERS_MAX, TAIL_ENTRIES_HIGH};
use crate::directory::User;
use crate::mailbox::{Building, Place};
use crate::recent::Recent;
use crate::record::{self, BLOCK_ENTRIES, BlockWriter, HEADER_BYTES, INDEX_FANOUT};
use hawser_codec::link::Key;

/// Payload of an entry, if memory still has it.
pub(super) fn recall<'a>(
    recent: &'a Recent,
    user: &Key,
    number: u64,
    place: &Place,
) -> Option<&'a [u8]> {
    let length = usize::from(place.bytes).checked_sub(HEADER_BYTES)?;
    recent.get(place.recent, length).filter(|payload| record::is_entry(payload, user, number))
}

impl Host {
    fn user(&mut self, shard: u8, user: u32) -> &mut User {
        let shard = self.shards[usize::from(shard)].as_mut().expect("mailboxes are of own shards");
        &mut shard.users.all[user]
    }

    /// Takes note that a tail may be long enough for a block.
    pub(super) fn plan_block(&mut self, shard: u8, index: u32) {
        let mailbox = self.user(shard, index).mailbox();
        let long_enough = match mailbox.building {
            Building::Nothing => BLOCK_ENTRIES,
            Building::Gathering => TAIL_ENTRIES_HIGH,
            Building::Due | Building::Written => return,
        };
        if mailbox.tail.len() >= long_enough {
            mailbox.building = Building::Due;
            self.due.push_back((shard, index));
        }
    }

    /// Writes blocks that are due, a turn's worth of them.
    pub(super) fn build_blocks(&mut self) {
        for _ in 0..BLOCKS_PER_TURN_MAX {
            let Some((shard, index)) = self.due.pop_front() else {
                return;
            };
            self.build(shard, index);
            self.commit.cut_long_run();
        }
    }

    fn build(&mut self, shard: u8, index: u32) {
        let waited = self.user(shard, index).mailbox().tail.len() >= TAIL_ENTRIES_HIGH;
        if self.append_block(shard, index, None, waited) {
            return;
        }
        let user = self.user(shard, index);
        let key = user.key;
        if self.reading.gathers.iter().flatten().count() >= GATHERS_MAX {
            // Tried again with the mailbox's next entry.
            self.user(shard, index).mailbox().building = Building::Nothing;
            return;
        }
        let home = self.shards[usize::from(shard)].as_mut().expect("due mailboxes are our own");
        let mailbox = home.users.all[index].mailbox();
        mailbox.building = Building::Gathering;
        let mut collected = Collected::default();
        for (number, place) in
            (mailbox.in_blocks() + 1..).zip(mailbox.tail.iter().take(BLOCK_ENTRIES))
        {
            let missed = recall(&self.recent, &key, number, place).is_none();
            self.counters.recent_missed += u64::from(missed);
            if missed && !is_dropped(&self.dropped, place.location) {
                collected.want(number, place.location, u32::from(place.bytes));
            }
        }
        self.counters.hit(Mark::BlockGathered);
        let number = mailbox.blocks();
        let gather = Gather { shard, user: index, key, number, collected };
        let gather = self.reading.put_gather(gather);
        self.ask_entries(Reader::Gather(gather));
        self.finish_gather(gather);
    }

    /// Goes on with a block once all its entries have been read or could not be.
    pub(super) fn finish_gather(&mut self, index: usize) {
        let gather =
            self.reading.gathers[index].take_if(|gather| gather.collected.outstanding == 0);
        let Some(Gather { shard, user, number, collected, .. }) = gather else {
            return;
        };
        let mailbox = self.user(shard, user).mailbox();
        if mailbox.building != Building::Gathering || mailbox.blocks() != number {
            // The tail could wait no longer, and its block was written without.
            return;
        }
        if self.storage {
            self.append_block(shard, user, Some(&collected), true);
            self.commit.cut_long_run();
        } else {
            self.user(shard, user).mailbox().building = Building::Nothing;
        }
    }

    /// Appends the mailbox's next block; entries that are neither in memory nor `gathered` are
    /// only named, or, unless it `may_refer`, prevent it. Whether the block was written.
    fn append_block(
        &mut self,
        shard: u8,
        index: u32,
        gathered: Option<&Collected>,
        may_refer: bool,
    ) -> bool {
        let home = self.shards[usize::from(shard)].as_mut().expect("mailboxes are of own shards");
        let user = &mut home.users.all[index];
        let key = user.key;
        let mailbox = user.mailbox();
        let (block, first) = (mailbox.blocks(), mailbox.in_blocks() + 1);
        let offset = self.commit.run.len() as u64;
        let mut writer = BlockWriter::begin(key, block, &mut self.commit.run);
        let mut referred = false;
        for (number, place) in (first..).zip(mailbox.tail.iter().take(BLOCK_ENTRIES)) {
            if let Some(payload) = recall(&self.recent, &key, number, place) {
                writer.copy(payload, place.location);
            } else if let Some(tail) = gathered.and_then(|gathered| gathered.tail_of(number)) {
                writer.copy_tail(tail);
            } else if may_refer {
                writer.refer(place.location, place.bytes);
                referred = true;
            } else {
                writer.abandon();
                return false;
            }
        }
        mailbox.building = Building::Written;
        if referred {
            self.counters.hit(Mark::BlockOfReferences);
        }
        self.counters.blocks += 1;
        let bytes = writer.end(home.step());
        let what = Wanted::Block { user: index, bytes };
        self.pending.push_back(Pending { run: self.commit.number, offset, shard, what });
        true
    }

    /// Appends an index record of a level once there is enough for one.
    pub(super) fn write_index(&mut self, shard: u8, index: u32, level: u8) {
        let home = self.shards[usize::from(shard)].as_mut().expect("mailboxes are of own shards");
        let user = &mut home.users.all[index];
        let key = user.key;
        let mailbox = user.mailbox();
        let Some(number) = mailbox.next_index(usize::from(level)) else {
            return;
        };
        let mut sites = Vec::with_capacity(2 * INDEX_FANOUT as usize * record::Site::BYTES);
        for site in mailbox.to_index(usize::from(level), number) {
            site.put(&mut sites);
        }
        self.counters.hit(Mark::IndexWritten);
        let position = home.step();
        let offset = self.commit.run.len() as u64;
        let record = record::Index { user: key, level, number, sites: &sites };
        let bytes = record.put(shard, position, &mut self.commit.run) as u32;
        let what = Wanted::Index { user: index, level, bytes };
        self.pending.push_back(Pending { run: self.commit.number, offset, shard, what });
    }
}

/// A place in a segment that is no longer kept.
pub(super) fn is_dropped(dropped: &[u32; 64], location: u64) -> bool {
    let location = crate::store::log::Location(location);
    location.is_none() || location.segment() < dropped[usize::from(location.lane())]
}
