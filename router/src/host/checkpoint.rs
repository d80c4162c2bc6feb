//! A shard's state as a checkpoint section: all that its records up to a position amount to.
//!
//! A section is taken of memory, so it may speak of records that are not durable yet. The shell
//! therefore relies on a checkpoint only once [`Host::last_run`] as of its last section is
//! durable, and replays from where the lanes stood when the checkpoint *before* began: places of
//! records that were under way, and entries under way between shards, are found again there.

use super::Host;
use crate::attached;
use crate::conversation::{Sender, Spilled, Window, decode_answers};
use crate::directory::{Device, User};
use crate::mailbox::{Level, Place};
use crate::recent::Spot;
use crate::record::Site;
use crate::shard::Shard;
use crate::store::log::Location;
use crate::topic::followed::Followed;
use crate::topic::kept::Kept;
use crate::topic::marks::MARKS_PER_SHARD_MAX;
use crate::uuids::{Accepted, Uuids};
use hawser_codec::field::{Cut, Field, Key};

/// Version of sections written, and the only one read. (1 knew of no blocks.)
const VERSION: u8 = 2;

/// Name of the part with kept sessions of publish/subscribe.
const PART_SESSIONS: u8 = 1;
/// Name of the part with requests without a number.
const PART_UUIDS: u8 = 2;
/// Name of the part with what home shards of other processes follow.
const PART_FOLLOWED: u8 = 3;

/// A section that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionDamaged;

impl From<Cut> for SectionDamaged {
    fn from(_: Cut) -> SectionDamaged {
        SectionDamaged
    }
}

impl Host {
    /// Appends the section of an own shard and gives the position it stands at; `None` for a
    /// shard of another host.
    /// A router gives an empty one for it, so that the checkpoint is whole: its directory holds
    /// nothing else of that shard.
    pub fn checkpoint_section(&self, shard: u8, out: &mut Vec<u8>) -> Option<u64> {
        match &self.shards[usize::from(shard)] {
            Some(shard) => {
                encode(shard, out);
                if self.keeps_followed(shard.number) {
                    let mut part = Vec::new();
                    self.put_followed(&mut part);
                    PART_FOLLOWED.put(out);
                    part.as_slice().put(out);
                }
                Some(shard.position)
            }
            None if self.settings.remote => {
                encode(&Shard::new(shard), out);
                Some(0)
            }
            None => None,
        }
    }
}

fn encode(shard: &Shard, out: &mut Vec<u8>) {
    VERSION.put(out);
    shard.position.put(out);
    (shard.users.all.count() as u32).put(out);
    for index in shard.users.all.indices() {
        encode_user(&shard.users.all[index], out);
    }
    let conversations = &shard.conversations;
    (conversations.all.count() as u32).put(out);
    for index in conversations.all.indices() {
        conversations.all[index].key.put(out);
        conversations.all[index].sequence.put(out);
    }
    (conversations.windows.count() as u32).put(out);
    let mut answers = Vec::new();
    for window in conversations.by_age() {
        conversations.all[window.conversation].key.put(out);
        encode_window(window, &mut answers, out);
    }
    (conversations.spilled_all().count() as u32).put(out);
    for spilled in conversations.spilled_all() {
        spilled.fingerprint.put(out);
        spilled.location.0.put(out);
        spilled.bytes.put(out);
    }
    let applied = || shard.applied.iter().enumerate().filter(|(_, streamed)| **streamed > 0);
    (applied().count() as u16).put(out);
    for (source, streamed) in applied() {
        (source as u8).put(out);
        streamed.put(out);
    }
    let confirmed = || shard.confirmed.iter().enumerate().filter(|(_, streamed)| **streamed > 0);
    (confirmed().count() as u16).put(out);
    for (home, streamed) in confirmed() {
        (home as u8).put(out);
        streamed.put(out);
    }
    encode_topics(shard, out);
    let mut part = Vec::new();
    attached::section::encode(&shard.attached, &mut part);
    PART_SESSIONS.put(out);
    part.as_slice().put(out);
    part.clear();
    encode_uuids(&shard.uuids, &mut part);
    PART_UUIDS.put(out);
    part.as_slice().put(out);
}

fn encode_uuids(uuids: &Uuids, out: &mut Vec<u8>) {
    (uuids.len() as u32).put(out);
    for accepted in uuids.iter() {
        accepted.device.put(out);
        accepted.uuid.put(out);
        accepted.conversation.put(out);
        accepted.sequence.put(out);
        accepted.time_ms.put(out);
        accepted.check.put(out);
    }
}

fn restore_uuids(rest: &mut &[u8]) -> Result<Uuids, SectionDamaged> {
    let mut uuids = Uuids::default();
    for _ in 0..u32::take(rest)? {
        uuids.remember(Accepted {
            device: Key::take(rest)?,
            uuid: Key::take(rest)?,
            conversation: Key::take(rest)?,
            sequence: u64::take(rest)?,
            time_ms: u64::take(rest)?,
            check: u64::take(rest)?,
        });
    }
    Ok(uuids)
}

fn encode_topics(shard: &Shard, out: &mut Vec<u8>) {
    (shard.retained.len() as u32).put(out);
    for kept in shard.retained.iter() {
        kept.key.put(out);
        kept.realm.put(out);
        kept.user.put(out);
        kept.device.put(out);
        kept.qos.put(out);
        kept.time_ms.put(out);
        kept.expiry_s.put(out);
        (&*kept.topic).put(out);
        (&*kept.content).put(out);
    }
    (shard.marks.by_age().count() as u32).put(out);
    for (device, request, time_ms) in shard.marks.by_age() {
        device.put(out);
        request.put(out);
        time_ms.put(out);
    }
}

fn restore_topics(shard: &mut Shard, rest: &mut &[u8]) -> Result<(), SectionDamaged> {
    for _ in 0..u32::take(rest)? {
        shard.retained.put(Kept {
            key: Key::take(rest)?,
            realm: u32::take(rest)?,
            user: Key::take(rest)?,
            device: Key::take(rest)?,
            qos: u8::take(rest)?,
            time_ms: u64::take(rest)?,
            expiry_s: u32::take(rest)?,
            topic: <&[u8]>::take(rest)?.into(),
            content: <&[u8]>::take(rest)?.into(),
        });
    }
    for _ in 0..u32::take(rest)? {
        let (device, request) = (Key::take(rest)?, u16::take(rest)?);
        shard.marks.add(&device, request, u64::take(rest)?, MARKS_PER_SHARD_MAX);
    }
    Ok(())
}

fn encode_user(user: &User, out: &mut Vec<u8>) {
    user.key.put(out);
    user.check.put(out);
    user.epoch.put(out);
    user.head.put(out);
    (user.device_count() as u16).put(out);
    // In this order: a restored device has no other sign of how long it has not been used.
    for device in user.devices_by_use() {
        device.key.put(out);
        device.cursor.put(out);
    }
    let Some(more) = &user.more else {
        return 0u8.put(out);
    };
    1u8.put(out);
    let mailbox = &more.mailbox;
    mailbox.floor.put(out);
    (mailbox.levels.len() as u8).put(out);
    for level in &mailbox.levels {
        level.count.put(out);
        (level.sites.len() as u16).put(out);
        for site in &level.sites {
            site.put(out);
        }
    }
    (mailbox.tail.len() as u32).put(out);
    for place in &mailbox.tail {
        place.location.put(out);
        place.bytes.put(out);
    }
}

fn encode_window(window: &Window, answers: &mut Vec<u8>, out: &mut Vec<u8>) {
    window.sender.device.put(out);
    window.sender.incarnation.put(out);
    window.highest.put(out);
    window.used_ms.put(out);
    u8::from(window.complete).put(out);
    answers.clear();
    window.encode_answers(answers);
    answers.as_slice().put(out);
}

/// The shard a section speaks of.
pub(crate) fn restore(
    number: u8,
    mut rest: &[u8],
    answers_max: usize,
) -> Result<Shard, SectionDamaged> {
    let rest = &mut rest;
    if u8::take(rest)? != VERSION {
        return Err(SectionDamaged);
    }
    let mut shard = Shard::new(number);
    shard.position = u64::take(rest)?;
    for _ in 0..u32::take(rest)? {
        restore_user(&mut shard, rest)?;
    }
    for _ in 0..u32::take(rest)? {
        let index = shard.conversations.find_or_insert(&Key::take(rest)?);
        shard.conversations.all[index].sequence = u64::take(rest)?;
    }
    for _ in 0..u32::take(rest)? {
        let key = Key::take(rest)?;
        let sender = Sender { device: Key::take(rest)?, incarnation: u64::take(rest)? };
        let (highest, used_ms) = (u64::take(rest)?, u64::take(rest)?);
        let complete = u8::take(rest)? != 0;
        let answers = decode_answers(<&[u8]>::take(rest)?);
        shard.conversations.merge(&key, &sender, highest, used_ms, answers, answers_max);
        shard.conversations.set_complete(&key, &sender, complete);
    }
    for _ in 0..u32::take(rest)? {
        let (fingerprint, location) = (u64::take(rest)?, Location(u64::take(rest)?));
        let bytes = u32::take(rest)?;
        // Without a place the record was under way: recovery looks for it.
        let looking = location == Location::NONE;
        shard.conversations.set_spilled(Spilled { fingerprint, location, bytes, looking });
    }
    for _ in 0..u16::take(rest)? {
        let source = u8::take(rest)?;
        shard.applied[usize::from(source)] = u64::take(rest)?;
    }
    if rest.is_empty() {
        // Written before there were homes in other processes.
        return Ok(shard);
    }
    for _ in 0..u16::take(rest)? {
        let home = u8::take(rest)?;
        shard.confirmed[usize::from(home)] = u64::take(rest)?;
    }
    if rest.is_empty() {
        // Written before there were topics.
        return Ok(shard);
    }
    restore_topics(&mut shard, rest)?;
    // Parts that came later, each with its length: one that is not known here is passed over.
    while !rest.is_empty() {
        let (part, mut bytes) = (u8::take(rest)?, <&[u8]>::take(rest)?);
        match part {
            PART_SESSIONS => shard.attached = attached::section::restore(&mut bytes)?,
            PART_UUIDS => shard.uuids = restore_uuids(&mut bytes)?,
            PART_FOLLOWED => shard.followed = Followed::restore(bytes)?,
            _ => {}
        }
    }
    Ok(shard)
}

fn restore_user(shard: &mut Shard, rest: &mut &[u8]) -> Result<(), SectionDamaged> {
    let index = shard.users.find_or_insert(&Key::take(rest)?);
    let user = &mut shard.users.all[index];
    user.check = u64::take(rest)?;
    user.epoch = u32::take(rest)?;
    user.head = u64::take(rest)?;
    for _ in 0..u16::take(rest)? {
        user.add_device(Device::new(Key::take(rest)?, u64::take(rest)?, 0));
    }
    if u8::take(rest)? == 0 {
        return Ok(());
    }
    let mailbox = user.mailbox();
    mailbox.floor = u64::take(rest)?;
    for _ in 0..u8::take(rest)? {
        let mut level = Level { count: u64::take(rest)?, ..Level::default() };
        for _ in 0..u16::take(rest)? {
            level.sites.push(Site::take(rest)?);
        }
        if level.count < level.sites.len() as u64 {
            return Err(SectionDamaged);
        }
        mailbox.levels.push(level);
    }
    for _ in 0..u32::take(rest)? {
        let (location, bytes) = (u64::take(rest)?, u16::take(rest)?);
        mailbox.tail.push_back(Place { location, recent: Spot::NONE, bytes });
    }
    Ok(())
}
