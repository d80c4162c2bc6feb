//! The home shard's part: an entry gets its mailbox number, is appended, and pushed.

use super::counters::Mark;
use super::{Host, own};
use crate::attached::targets::Target;
use crate::directory::{Device, Mode, Note, User};
use crate::key::shard_of;
use crate::mailbox::Place;
use crate::recent::Spot;
use crate::record::{self, ENTRY_BODY_BYTES_MAX, HEADER_BYTES, Site};
use crate::shard::Shard;
use crate::store::log::Location;
use hawser_codec::link::{Damaged, Deliver, Forward, Head, PeerReceipt, Receipt, Send, Stream};
use hawser_codec::message::NAME_BYTES_MAX;
use hawser_codec::time::Now;

/// Where the field `location` stands in a framed [`Stream`].
pub(super) const STREAM_LOCATION_AT: usize = 4 + 1 + 1 + 2 * 8 + 3 * 16 + 3 * 8 + 16 + 8 + 3;

/// Where the message behind an entry stands.
#[derive(Clone, Copy)]
pub(super) enum MessageAt {
    /// In the run being built, at this offset.
    Run { offset: u64, bytes: u32 },
    /// In the log.
    Log { location: Location, bytes: u32 },
}

/// A record whose place is wanted.
pub(super) struct Pending {
    pub run: u64,
    pub offset: u64,
    pub shard: u8,
    pub what: Wanted,
}

pub(super) enum Wanted {
    Entry { user: u32, bytes: u16, recent: Spot },
    Block { user: u32, bytes: u32 },
    Index { user: u32, level: u8, bytes: u32 },
    Window { fingerprint: u64, bytes: u32 },
    Queued { targets: Box<[Target]> },
}

impl Host {
    /// An entry from another host.
    pub(super) fn on_stream(&mut self, now: Now, entry: &Stream) -> Result<(), Damaged> {
        if entry.position == 0 {
            self.push_ephemeral(entry);
            return Ok(());
        }
        let names = [entry.peer_name, entry.sender_name, entry.device_name];
        if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Damaged);
        }
        let mut entry = *entry;
        // Not read for short bodies.
        let mut at = MessageAt::Log { location: Location::NONE, bytes: 0 };
        if entry.location != 0 {
            let (body, bytes) = entry.body.split_last_chunk().ok_or(Damaged)?;
            entry.body = body;
            let location = Location(entry.location);
            at = MessageAt::Log { location, bytes: u32::from_le_bytes(*bytes) };
        } else if entry.body.len() > ENTRY_BODY_BYTES_MAX {
            return Err(Damaged);
        }
        self.apply(now, &entry, at);
        Ok(())
    }

    /// Numbers and appends an entry, then pushes it to live sessions.
    pub(super) fn apply(&mut self, now: Now, entry: &Stream, at: MessageAt) {
        let shard = own(&mut self.shards, &entry.user);
        let applied = &mut shard.applied[usize::from(entry.source)];
        if entry.position <= *applied {
            self.counters.hit(Mark::StreamRepeated);
            return;
        }
        if entry.previous != *applied {
            // Streams within a process cannot lose an entry: this is a fault of ours. The entry
            // is not applied, so that rebuilding from the log brings all of them in order.
            self.counters.hit(Mark::StreamGap);
            self.counters.stream_gaps += 1;
            return;
        }
        *applied = entry.position;
        let users = shard.users.all.count();
        let user = shard.users.find_or_insert(&entry.user);
        self.counters.users += (shard.users.all.count() - users) as u64;
        let number = shard.users.all[user].head + 1;
        shard.users.all[user].head = number;
        let offset = self.commit.run.len() as u64;
        let bytes = append_entry(shard, &mut self.commit.run, number, entry, at, offset);
        self.counters.entries += 1;
        let run = self.commit.number;
        let shard_number = shard.number;
        let recent = self.recent.put(&self.commit.run[offset as usize + HEADER_BYTES..]);
        let what = Wanted::Entry { user, bytes, recent };
        self.pending.push_back(Pending { run, offset, shard: shard_number, what });
        self.push(now, shard_number, user, number, entry);
    }

    /// Pushes an entry to the user's live sessions.
    fn push(&mut self, now: Now, shard: u8, index: u32, number: u64, entry: &Stream) {
        let home = self.shards[usize::from(shard)].as_mut().expect("the home is ours");
        let position = home.position;
        let user = &mut home.users.all[index];
        for slot in 0..user.device_count() {
            let device = user.device(slot);
            if device.mode != Mode::Live {
                continue;
            }
            if !self.commit.origins.is_here(device.worker) {
                device.leave(position);
                continue;
            }
            if number - device.cursor > self.settings.unacknowledged_max {
                self.counters.hit(Mark::CursorModeByLimit);
                device.mode = Mode::Syncing;
                let connection = device.connection;
                Head { connection, head: number }.put(self.commit.down(device.worker));
                continue;
            }
            put_deliver(self.commit.down(device.worker), device, number, entry);
            self.counters.delivered += 1;
            if !device.has(Note::Timed) {
                device.set(Note::Timed, true);
                let connection = device.connection;
                let due_us = now.monotonic_us + self.settings.notify_timeout_us;
                self.sessions.arm(due_us, shard, index, slot, number, connection);
            }
        }
    }

    /// A record's place is known.
    pub(super) fn locate(&mut self, now: Now, pending: &Pending, location: Location) {
        let number = usize::from(pending.shard);
        let shard = self.shards[number].as_mut().expect("pending records are of own shards");
        match pending.what {
            Wanted::Queued { ref targets } => {
                self.locate_queued(now, pending.shard, targets, location);
            }
            Wanted::Entry { user, bytes, recent } => {
                let mailbox = shard.users.all[user].mailbox();
                mailbox.tail.push_back(Place { location: location.0, recent, bytes });
                self.plan_block(pending.shard, user);
            }
            Wanted::Block { user, bytes } => {
                let site = Site { location: location.0, bytes };
                shard.users.all[user].mailbox().add_block(site);
                self.write_index(pending.shard, user, 0);
                self.plan_block(pending.shard, user);
            }
            Wanted::Index { user, level, bytes } => {
                let site = Site { location: location.0, bytes };
                shard.users.all[user].mailbox().add_index(usize::from(level), site);
                self.write_index(pending.shard, user, level);
                self.write_index(pending.shard, user, level + 1);
            }
            Wanted::Window { fingerprint, bytes } => {
                if let Some(spilled) = shard.conversations.spilled(fingerprint) {
                    spilled.location = location;
                    spilled.bytes = bytes;
                }
            }
        }
    }

    /// A message that is not stored: told to whoever is on-line.
    pub(super) fn tell_ephemeral(&mut self, now: Now, send: &Send) {
        let mut entry = Stream {
            source: shard_of(&send.conversation),
            position: 0,
            previous: 0,
            user: send.peer,
            device: send.device,
            conversation: send.conversation,
            sequence: 0,
            incarnation: send.incarnation,
            client_seq: send.client_seq,
            uuid: send.uuid,
            time_ms: now.wall_ms,
            content: send.content,
            receipts: send.receipts,
            own: false,
            location: 0,
            peer_name: send.sender_name,
            sender_name: send.sender_name,
            device_name: send.device_name,
            body: send.body,
        };
        self.route_ephemeral(&entry);
        if send.peer != send.user {
            entry.user = send.user;
            entry.own = true;
            entry.peer_name = send.peer_name;
            self.route_ephemeral(&entry);
        }
    }

    fn route_ephemeral(&mut self, entry: &Stream) {
        let home = shard_of(&entry.user);
        if self.settings.owns(home) {
            self.push_ephemeral(entry);
        } else {
            let host = self.settings.host_of(home);
            if self.is_heard_by(host) {
                entry.put(self.commit.peer(host));
            }
        }
    }

    pub(super) fn push_ephemeral(&mut self, entry: &Stream) {
        let shard = own(&mut self.shards, &entry.user);
        let Some(index) = shard.users.find(&entry.user) else {
            return;
        };
        for device in shard.users.all[index].devices().filter(|device| device.is_online()) {
            // There is no number to acknowledge, so the sending device needs no copy.
            if device.key != entry.device {
                put_deliver(self.commit.down(device.worker), device, 0, entry);
                self.counters.delivered += 1;
            }
        }
    }

    pub(super) fn on_receipt(&mut self, receipt: &Receipt) {
        let Receipt { peer, what, sequence, user_name, .. } = *receipt;
        let home = shard_of(&peer);
        if self.settings.owns(home) {
            self.tell_receipt(&peer, what, sequence, user_name);
        } else {
            let host = self.settings.host_of(home);
            if self.is_heard_by(host) {
                Forward { peer, what, sequence, user_name }.put(self.commit.peer(host));
            }
        }
    }

    pub(super) fn tell_receipt(
        &mut self,
        peer: &[u8; 16],
        what: u8,
        sequence: u64,
        peer_name: &[u8],
    ) {
        let shard = own(&mut self.shards, peer);
        let Some(index) = shard.users.find(peer) else {
            return;
        };
        for device in shard.users.all[index].devices().filter(|device| device.is_online()) {
            let connection = device.connection;
            PeerReceipt { connection, what, sequence, peer_name }
                .put(self.commit.down(device.worker));
        }
    }
}

/// Appends the record of an entry; its length.
fn append_entry(
    shard: &mut Shard,
    run: &mut Vec<u8>,
    number: u64,
    entry: &Stream,
    at: MessageAt,
    offset: u64,
) -> u16 {
    let (held, reference, reference_bytes, body) = match at {
        _ if entry.body.len() <= ENTRY_BODY_BYTES_MAX => (0, 0, 0, entry.body),
        MessageAt::Log { location, bytes } => (1, location.0, bytes, &[][..]),
        MessageAt::Run { offset: message, bytes } => (2, offset - message, bytes, &[][..]),
    };
    let record = record::Entry {
        user: entry.user,
        number,
        source: entry.source,
        streamed: entry.position,
        device: entry.device,
        conversation: entry.conversation,
        sequence: entry.sequence,
        incarnation: entry.incarnation,
        client_seq: entry.client_seq,
        uuid: entry.uuid,
        time_ms: entry.time_ms,
        content: entry.content,
        receipts: entry.receipts,
        own: u8::from(entry.own),
        held,
        reference,
        reference_bytes,
        peer_name: entry.peer_name,
        sender_name: entry.sender_name,
        device_name: entry.device_name,
        body,
    };
    let position = shard.step();
    let bytes = record.put(shard.number, position, run);
    u16::try_from(bytes).expect("names and body of an entry are bounded to less than 1 KiB")
}

fn put_deliver(batch: &mut Vec<u8>, device: &Device, number: u64, entry: &Stream) {
    // The sending device gets its own entry so that its cursor has no hole; it has the body.
    let own = device.key == entry.device;
    Deliver {
        connection: device.connection,
        page: false,
        number,
        sequence: entry.sequence,
        incarnation: entry.incarnation,
        client_seq: entry.client_seq,
        uuid: entry.uuid,
        time_ms: entry.time_ms,
        content: entry.content,
        receipts: entry.receipts,
        own,
        peer_name: entry.peer_name,
        sender_name: entry.sender_name,
        device_name: entry.device_name,
        body: if own { &[] } else { entry.body },
    }
    .put(batch);
}

/// Raises the floor below which nothing is kept.
pub(super) fn raise_floor(user: &mut User, floor: u64) -> bool {
    let mailbox = user.mailbox();
    let rose = floor > mailbox.floor;
    mailbox.floor = mailbox.floor.max(floor);
    rose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_of_a_stream_frame_stands_where_it_is_patched() {
        let entry = Stream {
            source: 1,
            position: 2,
            previous: 3,
            user: [4; 16],
            device: [5; 16],
            conversation: [6; 16],
            sequence: 7,
            incarnation: 8,
            client_seq: 9,
            uuid: [10; 16],
            time_ms: 11,
            content: 12,
            receipts: 13,
            own: true,
            location: 0x1122_3344_5566_7788,
            peer_name: b"p",
            sender_name: b"s",
            device_name: b"d",
            body: b"b",
        };
        let mut batch = Vec::new();
        entry.put(&mut batch);
        let at = STREAM_LOCATION_AT;
        assert_eq!(batch[at..at + 8], entry.location.to_le_bytes());
    }
}
