//! Rebuilds the hosts from checkpoint sections and the records behind them.
//!
//! Sections first, then every record of every lane that is still to be replayed, each lane in
//! its order. A shard's records are applied in order of their positions even when they stand in
//! several lanes (each process start may choose another lane for a shard). Replaying what a
//! section holds already changes nothing, except that places and deliveries which were under way
//! when the section was taken are found.
//!
//! What comes out is split for any number of hosts of one process; or it is what one router of a
//! list begins with, which knows only its own shards.

use crate::attached;
use crate::conversation::{Answer, Sender, Spilled, body_check, fingerprint};
use crate::directory::Device;
use crate::host::{SectionDamaged, Unconfirmed, restore};
use crate::key::shard_of;
use crate::mailbox::Place;
use crate::recent::{Recent, Spot};
use crate::record::{self, BLOCK_ENTRIES, Framed, Site, Unreadable};
use crate::shard::{SHARDS, Shard};
use crate::store::RouterPlace;
use crate::store::log::Location;
use crate::topic::marks::MARKS_PER_SHARD_MAX;
use crate::uuids::Accepted;
use hawser_codec::link::Key;
use std::collections::BTreeMap;

/// Entries kept in memory while records are replayed, bytes: those that stand in no block are
/// what a host begins with. As much as a host keeps by default.
const RECENT_BYTES_MAX: usize = 32 << 20;

/// What one host starts with.
pub struct Recovered {
    pub(crate) shards: Vec<Shard>,
    /// In stream order per source.
    pub(crate) undelivered: Vec<Undelivered>,
    /// What hosts of other processes have not confirmed, by host; in stream order per source.
    pub(crate) unconfirmed: Vec<Vec<Unconfirmed>>,
    /// Lowest segments there are, by lane.
    pub(crate) lanes: Vec<(u8, u32)>,
    /// Entries of the tails of its mailboxes.
    pub(crate) recent: Recent,
}

/// A durable message whose entry for one mailbox never became durable.
pub(crate) struct Undelivered {
    pub source: u8,
    /// Place in the stream: see [`record::Entry::streamed`].
    pub streamed: u64,
    pub location: u64,
    pub bytes: u32,
    /// Which record it is.
    pub kind: u8,
    /// Home shard that lacks it.
    pub home: u8,
    /// Payload of the message.
    pub payload: Vec<u8>,
}

/// Why the log cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// A checkpoint section does not parse, or is of another version.
    Section {
        /// Its shard.
        shard: u8,
    },
    /// A record with a good checksum does not parse.
    Record {
        /// Where it stands.
        location: Location,
    },
    /// Records of a shard are missing.
    Gap {
        /// The shard.
        shard: u8,
        /// Position of its next record.
        expected: u64,
        /// Lowest position that was found beyond.
        found: u64,
    },
    /// The directory holds a shard of another router.
    Foreign {
        /// The shard.
        shard: u8,
        /// Whose directory it was taken for.
        place: RouterPlace,
    },
}

impl std::fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Section { shard } => write!(
                f,
                "checkpoint section of shard {shard} is damaged, or of a version not read here"
            ),
            Self::Record { location } => write!(
                f,
                "record at lane {} segment {} offset {} does not parse",
                location.lane(),
                location.segment(),
                location.0 & 0xfff_ffff
            ),
            Self::Gap { shard, expected, found } => {
                write!(f, "shard {shard}: record {expected} is missing, {found} is there")
            }
            Self::Foreign { shard, place } => {
                write!(f, "the directory holds shard {shard}, which is not of {place}")
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

struct Recovering {
    shard: Shard,
    /// Position of the section it began with.
    section: u64,
    /// Records that came before their predecessor.
    early: BTreeMap<u64, Early>,
}

struct Early {
    location: Location,
    kind: u8,
    payload: Vec<u8>,
}

/// A message with an entry still missing: one for a user's mailbox, or one for a topic.
struct Open {
    location: Location,
    bytes: u32,
    kind: u8,
    payload: Vec<u8>,
    /// Lowest bits of the places in the streams, and home shards, whose entries are missing.
    missing: Vec<(u8, u8)>,
}

/// See the module's head.
pub struct Recovery {
    shards: Vec<Recovering>,
    answers_max: usize,
    /// Homes of other routers are in their directories.
    place: RouterPlace,
    /// Entries for those that no section knows to be confirmed.
    unconfirmed: Vec<Unconfirmed>,
    /// Messages with an entry still missing, by source and position.
    open: BTreeMap<(u8, u64), Open>,
    /// Buffers of messages that have arrived: nearly every message is open only for a moment.
    spare: Vec<Open>,
    /// Places of entries, by mailbox and number, that came before those of lower numbers: what
    /// was under way when a section was taken may stand in a lane that is replayed later.
    late_entries: BTreeMap<(Key, u64), Place>,
    /// Likewise blocks.
    late_blocks: BTreeMap<(Key, u64), Site>,
    /// Likewise index records, by level first.
    late_indexes: BTreeMap<(u8, Key, u64), Site>,
    /// Positions of the window records found so far for windows whose place a section did not
    /// know yet, by shard and fingerprint.
    found_windows: BTreeMap<(u8, u64), u64>,
    recent: Recent,
    lanes: Vec<(u8, u32)>,
}

impl Recovery {
    /// An empty log. `answers_max` as in [`crate::HostSettings`].
    pub fn new(answers_max: usize) -> Recovery {
        Recovery::of_router(answers_max, RouterPlace::ALONE)
    }

    /// An empty log of the router at `place`.
    pub fn of_router(answers_max: usize, place: RouterPlace) -> Recovery {
        let shards = (0..SHARDS).map(|number| Recovering {
            shard: Shard::new(number as u8),
            section: 0,
            early: BTreeMap::new(),
        });
        Recovery {
            shards: shards.collect(),
            answers_max,
            place,
            unconfirmed: Vec::new(),
            open: BTreeMap::new(),
            spare: Vec::new(),
            late_entries: BTreeMap::new(),
            late_blocks: BTreeMap::new(),
            late_indexes: BTreeMap::new(),
            found_windows: BTreeMap::new(),
            recent: Recent::new(RECENT_BYTES_MAX),
            lanes: Vec::new(),
        }
    }

    /// Begins a shard with its checkpoint section. Before any record.
    pub fn section(&mut self, shard: u8, bytes: &[u8]) -> Result<(), RecoveryError> {
        let restored = restore(shard, bytes, self.answers_max);
        let restored = restored.map_err(|SectionDamaged| RecoveryError::Section { shard })?;
        let recovering = &mut self.shards[usize::from(shard)];
        recovering.section = restored.position;
        recovering.shard = restored;
        Ok(())
    }

    /// Says that the lowest segment of `lane` is `segment`. Places below are no longer read; a
    /// checkpoint may still name some, because retention went on after it.
    pub fn lane_begins(&mut self, lane: u8, segment: u32) {
        self.lanes.push((lane, segment));
    }

    /// Replays one record that stands at `location`.
    pub fn apply(&mut self, framed: &Framed, location: Location) -> Result<(), RecoveryError> {
        let damaged = |Unreadable| RecoveryError::Record { location };
        let number = usize::from(framed.shard);
        let recovering = &mut self.shards[number];
        let next = recovering.shard.position + 1;
        if framed.position <= recovering.section {
            return self.find_again(framed, location).map_err(damaged);
        }
        if framed.position > next {
            let early = Early { location, kind: framed.kind, payload: framed.payload.to_vec() };
            recovering.early.insert(framed.position, early);
            return Ok(());
        }
        if framed.position < next {
            return Ok(());
        }
        self.replay(framed, location).map_err(damaged)?;
        loop {
            let recovering = &mut self.shards[number];
            let position = recovering.shard.position + 1;
            let Some(Early { location, kind, payload }) = recovering.early.remove(&position) else {
                return Ok(());
            };
            let next = Framed { kind, position, payload: &payload, ..*framed };
            let damaged = |Unreadable| RecoveryError::Record { location };
            self.replay(&next, location).map_err(damaged)?;
        }
    }

    /// What a router starts with; the other half of [`Recovery::of_router`].
    pub fn finish_router(self) -> Result<Recovered, RecoveryError> {
        let place = self.place;
        let foreign = self.shards.iter().find(|recovering| {
            let Recovering { shard, early, .. } = recovering;
            !place.owns(shard.number) && (shard.position > 0 || !early.is_empty())
        });
        if let Some(Recovering { shard: Shard { number: shard, .. }, .. }) = foreign {
            return Err(RecoveryError::Foreign { shard: *shard, place });
        }
        let mut all = self.finish(place.routers())?;
        Ok(all.swap_remove(usize::from(place.index())))
    }

    /// What `hosts` hosts of one process start with, by host number.
    pub fn finish(mut self, hosts: u16) -> Result<Vec<Recovered>, RecoveryError> {
        for recovering in &self.shards {
            if let Some(found) = recovering.early.keys().next() {
                let (shard, expected) = (recovering.shard.number, recovering.shard.position + 1);
                return Err(RecoveryError::Gap { shard, expected, found: *found });
            }
        }
        for ((user, number), place) in &self.late_entries {
            add_place(&mut self.shards[usize::from(shard_of(user))].shard, user, *number, *place);
        }
        for ((user, number), site) in &self.late_blocks {
            add_block(&mut self.shards[usize::from(shard_of(user))].shard, user, *number, *site);
        }
        for ((level, user, number), site) in &self.late_indexes {
            let shard = &mut self.shards[usize::from(shard_of(user))].shard;
            add_index(shard, user, *level, *number, *site);
        }
        for recovering in &mut self.shards {
            recovering.shard.conversations.end_search();
        }
        for source in 0..SHARDS {
            for home in 0..SHARDS {
                let applied = self.shards[home].shard.applied[source];
                self.shards[source].shard.streamed[home] = applied;
            }
        }
        let unconfirmed = self.take_unconfirmed();
        let mut all: Vec<Recovered> = (0..hosts)
            .map(|_| Recovered {
                shards: Vec::new(),
                undelivered: Vec::new(),
                unconfirmed: Vec::new(),
                lanes: self.lanes.clone(),
                recent: Recent::new(RECENT_BYTES_MAX),
            })
            .collect();
        for ((source, position), open) in std::mem::take(&mut self.open) {
            let Open { location, bytes, kind, payload, missing } = open;
            for (half, home) in missing {
                let streamed = position << 1 | u64::from(half);
                let applied = self.shards[usize::from(home)].shard.applied[usize::from(source)];
                if streamed > applied {
                    let (location, payload) = (location.0, payload.clone());
                    let found =
                        Undelivered { source, streamed, location, bytes, kind, home, payload };
                    all[usize::from(u16::from(source) % hosts)].undelivered.push(found);
                }
            }
        }
        for recovering in self.shards {
            let mut shard = recovering.shard;
            let host = &mut all[usize::from(u16::from(shard.number) % hosts)];
            hand_over(&mut shard, &self.recent, &mut host.recent);
            host.shards.push(shard);
        }
        all[usize::from(self.place.index())].unconfirmed = unconfirmed;
        Ok(all)
    }

    /// What other routers may lack, by router, each entry behind its predecessor.
    fn take_unconfirmed(&mut self) -> Vec<Vec<Unconfirmed>> {
        let mut found = std::mem::take(&mut self.unconfirmed);
        // In order of the log, so that neighbours are read together; unless a source wrote another
        // lane in another life, and the lower one later.
        found.sort_unstable_by_key(|entry| (entry.location, entry.streamed));
        let mut last = [0; SHARDS];
        let in_order = found.iter().all(|entry| {
            let last = &mut last[usize::from(entry.source)];
            std::mem::replace(last, entry.streamed) < entry.streamed
        });
        if !in_order {
            found.sort_unstable_by_key(|entry| (entry.source, entry.streamed));
        }
        let routers = usize::from(self.place.routers());
        let mut unconfirmed: Vec<Vec<Unconfirmed>> = vec![Vec::new(); routers];
        for recovering in self.shards.iter_mut().filter(|r| self.place.owns(r.shard.number)) {
            let Shard { streamed, confirmed, .. } = &mut recovering.shard;
            for home in (0..SHARDS).filter(|home| !self.place.owns(*home as u8)) {
                streamed[home] = confirmed[home];
            }
        }
        for mut entry in found {
            let source = &mut self.shards[usize::from(entry.source)].shard;
            let last = &mut source.streamed[usize::from(entry.home)];
            entry.previous = std::mem::replace(last, entry.streamed);
            unconfirmed[usize::from(entry.home) % routers].push(entry);
        }
        unconfirmed
    }

    /// Applies the shard's next record.
    fn replay(&mut self, framed: &Framed, location: Location) -> Result<(), Unreadable> {
        let shard = &mut self.shards[usize::from(framed.shard)].shard;
        shard.position = framed.position;
        match framed.kind {
            record::Message::KIND => {
                let message = record::Message::take(framed.payload)?;
                replay_message(shard, &message, self.answers_max);
                self.note_undelivered(framed, &message, location);
            }
            record::Publish::KIND => {
                let message = record::Publish::take(framed.payload)?;
                shard.retained.replay(&message);
                if message.request != 0 {
                    let (device, request) = (&message.device, message.request);
                    shard.marks.add(device, request, message.time_ms, MARKS_PER_SHARD_MAX);
                }
                self.note_topic(framed, &message, location);
            }
            record::Followed::KIND => {
                shard.followed.replay(&record::Followed::take(framed.payload)?);
            }
            record::FollowedAll::KIND => {
                let record::FollowedAll { host } = record::FollowedAll::take(framed.payload)?;
                shard.followed.hosts.insert(host);
            }
            record::Released::KIND => {
                let record::Released { device, request } = record::Released::take(framed.payload)?;
                shard.marks.release(&device, request);
            }
            record::Entry::KIND => {
                let entry = record::Entry::take(framed.payload)?;
                let index = shard.users.find_or_insert(&entry.user);
                let user = &mut shard.users.all[index];
                user.head = entry.number;
                shard.applied[usize::from(entry.source)] = entry.streamed;
                self.find_again(framed, location)?;
            }
            record::Cursor::KIND => {
                let record::Cursor { user, device, cursor } = record::Cursor::take(framed.payload)?;
                set_cursor(shard, &user, &device, cursor, framed.position);
            }
            record::Device::KIND => {
                let record::Device { user, device, cursor, .. } =
                    record::Device::take(framed.payload)?;
                set_cursor(shard, &user, &device, cursor, framed.position);
            }
            record::Retired::KIND => {
                let record::Retired { user, device } = record::Retired::take(framed.payload)?;
                let index = shard.users.find_or_insert(&user);
                shard.users.all[index].remove_device(&device);
            }
            record::User::KIND => {
                let user = record::User::take(framed.payload)?;
                let index = shard.users.find_or_insert(&user.user);
                shard.users.all[index].check = user.check;
                shard.users.all[index].epoch = user.epoch;
            }
            record::Window::KIND => {
                let window = record::Window::take(framed.payload)?;
                let sender = Sender { device: window.device, incarnation: window.incarnation };
                shard.conversations.take_sender(&window.conversation, &sender);
                shard.conversations.set_spilled(Spilled {
                    fingerprint: fingerprint(&window.conversation, &sender),
                    location,
                    bytes: (framed.payload.len() + record::HEADER_BYTES) as u32,
                    looking: false,
                });
            }
            record::Block::KIND | record::Index::KIND => self.find_again(framed, location)?,
            record::Session::KIND..=record::Marks::KIND => {
                attached::replay::replay(&mut shard.attached, framed, location)?;
                self.note_queued(framed)?;
            }
            // A later version's optional record.
            _ => {}
        }
        Ok(())
    }

    /// An entry for queues has arrived, if this is one.
    fn note_queued(&mut self, framed: &Framed) -> Result<(), Unreadable> {
        if framed.kind == record::Queued::KIND {
            let record::Queued { source, streamed, .. } = record::Queued::take(framed.payload)?;
            let applied = &mut self.shards[usize::from(framed.shard)].shard.applied;
            applied[usize::from(source)] = streamed.max(applied[usize::from(source)]);
            self.note_arrived(framed.shard, source, streamed);
        }
        Ok(())
    }

    /// Takes from a record only what a section may not know yet: its place, and that its entry
    /// is still to be delivered or was.
    fn find_again(&mut self, framed: &Framed, location: Location) -> Result<(), Unreadable> {
        let shard = &mut self.shards[usize::from(framed.shard)].shard;
        let length = framed.payload.len() + record::HEADER_BYTES;
        match framed.kind {
            record::Message::KIND => {
                let message = record::Message::take(framed.payload)?;
                self.note_undelivered(framed, &message, location);
            }
            record::Publish::KIND => {
                let message = record::Publish::take(framed.payload)?;
                self.note_topic(framed, &message, location);
            }
            record::Entry::KIND => {
                let entry = record::Entry::take(framed.payload)?;
                self.note_arrived(framed.shard, entry.source, entry.streamed);
                let shard = &mut self.shards[usize::from(framed.shard)].shard;
                let bytes = u16::try_from(length).map_err(|_| Unreadable)?;
                let recent = self.recent.put(framed.payload);
                let place = Place { location: location.0, recent, bytes };
                if !add_place(shard, &entry.user, entry.number, place) {
                    self.late_entries.insert((entry.user, entry.number), place);
                }
            }
            record::Block::KIND => {
                let record::Block { user, number, .. } = record::Block::take(framed.payload)?;
                let site = Site { location: location.0, bytes: length as u32 };
                if !add_block(shard, &user, number, site) {
                    self.late_blocks.insert((user, number), site);
                }
            }
            record::Index::KIND => {
                let index = record::Index::take(framed.payload)?;
                let site = Site { location: location.0, bytes: length as u32 };
                if !add_index(shard, &index.user, index.level, index.number, site) {
                    self.late_indexes.insert((index.level, index.user, index.number), site);
                }
            }
            record::Queued::KIND => {
                attached::replay::find_again(&mut shard.attached, framed, location)?;
                self.note_queued(framed)?;
            }
            record::Window::KIND => {
                let window = record::Window::take(framed.payload)?;
                let sender = Sender { device: window.device, incarnation: window.incarnation };
                let fingerprint = fingerprint(&window.conversation, &sender);
                let found = self.found_windows.entry((framed.shard, fingerprint)).or_default();
                if let Some(spilled) = shard.conversations.spilled(fingerprint)
                    && spilled.looking
                    && framed.position > *found
                {
                    // The latest record of the window counts, and an older one may be replayed
                    // after it: the shard may have written another lane in an earlier life.
                    *found = framed.position;
                    (spilled.location, spilled.bytes) = (location, length as u32);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The entry of a stream stands in the log, at its home shard.
    fn note_arrived(&mut self, home: u8, source: u8, streamed: u64) {
        let identity = (source, streamed >> 1);
        if let Some(open) = self.open.get_mut(&identity) {
            let half = (streamed & 1) as u8;
            open.missing.retain(|missing| *missing != (half, home));
            if open.missing.is_empty() {
                self.spare.extend(self.open.remove(&identity));
            }
        }
    }

    fn note_undelivered(&mut self, framed: &Framed, message: &record::Message, location: Location) {
        let users = [message.peer, message.sender];
        let count = if message.peer == message.sender { 1 } else { 2 };
        let homes = users.iter().take(count).map(shard_of).enumerate();
        self.note_open(framed, location, homes.map(|(half, home)| (half as u8, home)));
    }

    /// Notes the entries of a record that are not known to be in the log of their home shards.
    fn note_open(
        &mut self,
        framed: &Framed,
        location: Location,
        entries: impl Iterator<Item = (u8, u8)>,
    ) {
        let source = framed.shard;
        let bytes = (framed.payload.len() + record::HEADER_BYTES) as u32;
        let (mut payload, mut missing) =
            self.spare.pop().map_or_else(Default::default, |open| (open.payload, open.missing));
        missing.clear();
        for (half, home) in entries {
            let streamed = framed.position << 1 | u64::from(half);
            if !self.place.owns(home) {
                let confirmed = self.shards[usize::from(source)].shard.confirmed[usize::from(home)];
                if streamed > confirmed {
                    let previous = 0;
                    let found = Unconfirmed { streamed, previous, location, bytes, source, home };
                    self.unconfirmed.push(found);
                }
                continue;
            }
            let home_shard = &self.shards[usize::from(home)].shard;
            if streamed > home_shard.applied[usize::from(source)] {
                missing.push((half, home));
            }
        }
        let kind = framed.kind;
        if missing.is_empty() {
            self.spare.push(Open { location, bytes, kind, payload, missing });
            return;
        }
        payload.clear();
        payload.extend_from_slice(framed.payload);
        let open = Open { location, bytes, kind, payload, missing };
        self.open.insert((source, framed.position), open);
    }

    /// What a message of a topic says beside what its shard keeps.
    fn note_topic(&mut self, framed: &Framed, message: &record::Publish, location: Location) {
        self.note_open(framed, location, message.homes().map(|(home, _)| (0, home)));
    }
}

fn replay_unnumbered(shard: &mut Shard, message: &record::Message) {
    shard.uuids.forget_old(message.time_ms);
    if shard.uuids.find(&message.device, &message.uuid).is_none() {
        shard.uuids.remember(Accepted {
            device: message.device,
            uuid: message.uuid,
            conversation: message.conversation,
            sequence: message.sequence,
            time_ms: message.time_ms,
            check: body_check(message.body),
        });
    }
}

fn replay_message(shard: &mut Shard, message: &record::Message, answers_max: usize) {
    let conversation = shard.conversations.find_or_insert(&message.conversation);
    let last = &mut shard.conversations.all[conversation].sequence;
    *last = message.sequence.max(*last);
    if message.client_seq == 0 {
        replay_unnumbered(shard, message);
        return;
    }
    let sender = Sender { device: message.device, incarnation: message.incarnation };
    if message.client_seq > shard.conversations.highest(conversation, &sender) {
        let answer = Answer {
            client_seq: message.client_seq,
            sequence: message.sequence,
            time_ms: message.time_ms,
            uuid: message.uuid,
            check: body_check(message.body),
        };
        shard.conversations.remember(conversation, &sender, None, answer, answers_max);
    }
}

/// Notes where an entry stands; `false` if a lower one has to come first.
fn add_place(shard: &mut Shard, user: &Key, number: u64, place: Place) -> bool {
    let index = shard.users.find_or_insert(user);
    let mailbox = shard.users.all[index].mailbox();
    let (in_blocks, located) = (mailbox.in_blocks(), mailbox.located());
    if number == located + 1 {
        mailbox.tail.push_back(place);
    } else if number > in_blocks && number <= located {
        // A section knew of it, but not its bytes.
        mailbox.tail[(number - in_blocks - 1) as usize].recent = place.recent;
    }
    number <= located + 1
}

/// Brings the entries of a shard's tails to its host.
fn hand_over(shard: &mut Shard, from: &Recent, to: &mut Recent) {
    for index in shard.users.all.indices() {
        let Some(more) = &mut shard.users.all[index].more else {
            continue;
        };
        for place in &mut more.mailbox.tail {
            let length = usize::from(place.bytes).saturating_sub(record::HEADER_BYTES);
            place.recent = from.get(place.recent, length).map_or(Spot::NONE, |entry| to.put(entry));
        }
    }
}

/// Notes where a block stands; `false` if something has to come first.
fn add_block(shard: &mut Shard, user: &Key, number: u64, site: Site) -> bool {
    let index = shard.users.find_or_insert(user);
    let mailbox = shard.users.all[index].mailbox();
    let next = number == mailbox.blocks() && mailbox.tail.len() >= BLOCK_ENTRIES;
    if next {
        mailbox.add_block(site);
    }
    next || number < mailbox.blocks()
}

/// Notes where an index record stands; `false` if something has to come first.
fn add_index(shard: &mut Shard, user: &Key, level: u8, number: u64, site: Site) -> bool {
    let index = shard.users.find_or_insert(user);
    let mailbox = shard.users.all[index].mailbox();
    let level = usize::from(level);
    let next = mailbox.next_index(level) == Some(number);
    if next {
        mailbox.add_index(level, site);
    }
    next || mailbox.levels.get(level + 1).is_some_and(|above| number < above.count)
}

fn set_cursor(shard: &mut Shard, user: &Key, device: &Key, cursor: u64, position: u64) {
    let index = shard.users.find_or_insert(user);
    let user = &mut shard.users.all[index];
    match user.find_device(device) {
        Some(slot) => {
            let device = user.device(slot);
            device.cursor = cursor;
            device.leave(position);
        }
        None => {
            user.add_device(Device::new(*device, cursor, position));
        }
    }
}
