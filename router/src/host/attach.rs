//! Sessions of publish/subscribe: who is attached, what ends, and when.
//!
//! ```text
//!           attach                     detach: kept                expiry
//! (nothing) ------> Here, Announced -----------------> Away -----------------> (ended)
//!                     |        ^                        ^
//!        worker gone, |        | announced again        | nobody announced it
//!        restart      +-----> Lost ---------------------+
//! ```
//!
//! A session that is not kept has no record; when its connection ends it is gone, with its will
//! published if there was no good-bye.
//!
//! Invariant: a session with a deadline stands in the table of deadlines, under that time.

mod filters;
mod recovered;
mod will;

pub(super) use filters::Tellings;

use super::counters::Mark;
use super::settings::{
    LOST_GRACE_US, RETRY_STORAGE_MS, SESSIONS_DUE_PER_TURN_MAX, SWEPT_PER_TURN_MAX,
};
use super::{Host, own};
use crate::attached::kept::Done;
use crate::attached::{Extra, Presence, Session, Will};
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record;
use crate::shard::Shard;
use hawser_codec::code;
use hawser_codec::link::{Attach, Attached, Detach, Key, Kick, Marked, Restored};
use hawser_codec::message::NAME_BYTES_MAX;
use hawser_codec::time::Now;
use std::collections::{BTreeSet, VecDeque};

/// Kept for ever.
const FOR_EVER_S: u32 = u32::MAX;

/// A search for the sessions of an origin that has gone, and how far it is.
struct Sweep {
    origin: Origin,
    shard: usize,
    slot: u32,
}

/// What a host has to do for its sessions later.
pub(super) struct Attachments {
    /// Monotonic microseconds, shard, slot.
    deadlines: BTreeSet<(u64, u8, u32)>,
    sweeps: VecDeque<Sweep>,
}

impl Attachments {
    pub fn new() -> Attachments {
        Attachments { deadlines: BTreeSet::new(), sweeps: VecDeque::new() }
    }

    /// Sessions of an origin that goes are looked for in the turns that follow.
    pub fn lose(&mut self, origin: Origin) {
        self.sweeps.push_back(Sweep { origin, shard: 0, slot: 0 });
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(due, ..)| *due)
    }

    pub fn is_ready(&self) -> bool {
        !self.sweeps.is_empty()
    }
}

/// Why a session is refused, and when to come back (0: never).
type Refusal = (u16, u32);

impl Host {
    pub(super) fn on_attach(&mut self, now: Now, worker: Origin, attach: &Attach) {
        let connection = attach.connection;
        match self.admit_session(worker, attach) {
            Err((code, retry_after_ms)) => {
                self.counters.refuse(code);
                Attached { connection, present: false, code, retry_after_ms }
                    .put(self.commit.down(worker));
            }
            Ok(false) => {
                // It has attached again since, through another gateway: that one is the newer.
                self.counters.hit(Mark::AnnouncedTooLate);
                Kick { connection, code: code::REPLACED }.put(self.commit.down(worker));
            }
            Ok(true) => {
                let number = shard_of(&attach.user);
                self.end_predecessor(now, worker, number, attach);
                let (index, present) = self.bring_here(worker, number, attach);
                self.tell_session(number, index, attach);
                Attached { connection, present, code: 0, retry_after_ms: 0 }
                    .put(self.commit.down(worker));
                self.pump(now, number, index);
            }
        }
    }

    /// Whether a session may attach; `false` if it is announced and has another connection.
    fn admit_session(&mut self, worker: Origin, attach: &Attach) -> Result<bool, Refusal> {
        if attach.user_name.len() > NAME_BYTES_MAX || attach.device_name.len() > NAME_BYTES_MAX {
            return Err((code::BAD_NAME, 0));
        }
        let will_bytes = attach.will_topic.len() + attach.will_content.len();
        if attach.will > 3
            || attach.will_topic.len() > usize::from(u16::MAX)
            || attach.will_content.len() > self.settings.body_bytes_max
        {
            return Err((code::BAD_REQUEST, 0));
        }
        let shard = own(&mut self.shards, &attach.user);
        let user = shard.users.find(&attach.user).map(|index| &shard.users.all[index]);
        let index = shard.attached.find(&attach.user, &attach.device);
        let session = index.map(|index| &shard.attached.all[index]);
        let kept = session.and_then(Session::kept);
        let checks = [user.map(|user| user.check), kept.map(|kept| kept.check)];
        if checks.into_iter().flatten().any(|check| check != 0 && check != attach.check) {
            return Err((code::UNAUTHENTICATED, 0));
        }
        if attach.announce && session.is_some_and(|session| is_elsewhere(session, worker, attach)) {
            return Ok(false);
        }
        let writes = attach.expiry_s > 0 || kept.is_some();
        if writes && !self.storage {
            return Err((code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
        }
        let counters = &self.counters;
        let settings = &self.settings;
        let crowded = session.is_none() && counters.attached_slots >= settings.attached_max as u64
            || attach.expiry_s > 0 && kept.is_none() && counters.kept >= settings.kept_max as u64
            || attach.will > 0
                && counters.will_bytes + will_bytes as u64 > settings.will_bytes_max as u64;
        if crowded { Err((code::OVERLOADED, RETRY_STORAGE_MS)) } else { Ok(true) }
    }

    /// Ends what a new connection of a session ends: the older connection, its will's delay, and
    /// with a clean start all that was kept.
    fn end_predecessor(&mut self, now: Now, worker: Origin, number: u8, attach: &Attach) {
        let shard = own(&mut self.shards, &attach.user);
        let Some(index) = shard.attached.find(&attach.user, &attach.device) else { return };
        let session = &mut shard.attached.all[index];
        let is_same = session.is_on(worker, attach.connection);
        let was_attached = session.is_attached();
        if was_attached && !is_same {
            self.counters.hit(Mark::SessionTaken);
            Kick { connection: session.connection, code: code::REPLACED }
                .put(self.commit.down(session.worker));
        }
        // The will of a connection that is taken over is published unless its session goes on
        // within the delay (MQTT 5.0, 3.1.3.2.2); that of one that comes back is not.
        let extra = session.extra.as_deref();
        let is_kept = |extra: &Extra| extra.expiry_s > 0 && extra.kept.is_some();
        let goes_on = !attach.clean && extra.is_some_and(is_kept);
        let delay_s = extra.and_then(|extra| extra.will.as_ref()).map(|will| will.delay_s);
        let published = delay_s.is_some_and(|delay_s| {
            !is_same && (!goes_on || was_attached && delay_s == 0) && !attach.announce
        });
        // Who announces a session knows of no will: the one there is goes on.
        let ends = !attach.announce || attach.will > 0;
        if ends && let Some(will) = self.take_will(number, index).filter(|_| published) {
            self.publish_will(now, number, index, &will);
        }
        if attach.clean {
            self.forget_session(number, index);
        }
    }

    /// Registers the connection. Slot of the session, and whether it was kept.
    fn bring_here(&mut self, worker: Origin, number: u8, attach: &Attach) -> (u32, bool) {
        let shard = own(&mut self.shards, &attach.user);
        let index = match shard.attached.find(&attach.user, &attach.device) {
            Some(index) => index,
            None => {
                self.counters.attached_slots += 1;
                shard.attached.insert(&attach.user, &attach.device)
            }
        };
        let session = &mut shard.attached.all[index];
        if !session.is_attached() {
            self.counters.attached += 1;
        }
        session.connection = attach.connection;
        session.worker = worker;
        session.presence = if attach.announce { Presence::Announced } else { Presence::Here };
        let present = session.kept().is_some();
        let keeps = present || attach.expiry_s > 0;
        if attach.announce {
            self.counters.hit(Mark::SessionAnnounced);
        }
        let has_will = session.extra.as_ref().is_some_and(|extra| extra.will.is_some());
        if !keeps && attach.will == 0 && !has_will {
            self.set_deadlines(number, index, |extra| {
                (extra.lost_us, extra.will_us, extra.end_us) = (None, None, None);
            });
            let shard = own(&mut self.shards, &attach.user);
            shard.attached.all[index].extra = None;
            return (index, false);
        }
        session.extra_mut();
        self.set_deadlines(number, index, |extra| {
            (extra.lost_us, extra.will_us, extra.end_us) = (None, None, None);
            (extra.realm, extra.expiry_s) = (attach.realm, attach.expiry_s);
            extra.away_since_ms = 0;
        });
        if let Some(qos) = attach.will.checked_sub(1) {
            self.put_will(number, index, will_of(attach, qos));
        }
        if keeps {
            self.keep_session(number, index, attach);
        }
        (index, present)
    }

    /// Writes that the session is kept, and has attached.
    fn keep_session(&mut self, number: u8, index: u32, attach: &Attach) {
        let shard = own(&mut self.shards, &attach.user);
        let position = shard.step();
        if shard.attached.all[index].kept().is_none() {
            shard.attached.keep(index, position, attach.check);
            self.counters.kept += 1;
        }
        let window_max = self.settings.queue_window_max;
        let extra = shard.attached.all[index].extra_mut();
        let will = extra.will.as_deref();
        let kept = extra.kept.as_mut().expect("kept a moment ago");
        kept.window = attach.receive_max.clamp(1, window_max);
        kept.queue.rewind();
        let record = record::Session {
            user: attach.user,
            device: attach.device,
            session: kept.name,
            check: kept.check,
            realm: attach.realm,
            expiry_s: attach.expiry_s,
            will: will.map_or(0, |will| will.qos + 1),
            will_retain: will.map_or(0, |will| will.retain.into()),
            will_delay_s: will.map_or(0, |will| will.delay_s),
            will_expiry_s: will.map_or(0, |will| will.expiry_s),
            will_key: will.map_or([0; 16], |will| will.key),
            user_name: attach.user_name,
            device_name: attach.device_name,
            will_topic: will.map_or(b"", |will| &will.topic),
            will_content: will.map_or(b"", |will| &will.content),
        };
        record.put(number, position, &mut self.commit.run);
    }

    /// Tells the worker what the session has.
    fn tell_session(&mut self, number: u8, index: u32, attach: &Attach) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &shard.attached.all[index];
        let Some(kept) = session.kept() else { return };
        let connection = session.connection;
        let batch = self.commit.down(session.worker);
        for filter in kept.filters.iter().filter(|_| !attach.announce) {
            let (identifier, options) = (filter.identifier, filter.options);
            Restored { connection, identifier, options, filter: &filter.text }.put(batch);
        }
        for (entry, number) in kept.queue.iter().zip(kept.queue.first..) {
            if entry.is(Done::Received) && !entry.is(Done::Done) {
                Marked { connection, number }.put(batch);
            }
        }
    }

    pub(super) fn on_detach(&mut self, now: Now, worker: Origin, detach: &Detach) {
        let number = shard_of(&detach.user);
        let shard = own(&mut self.shards, &detach.user);
        let Some(index) = shard.attached.find(&detach.user, &detach.device) else { return };
        let session = &mut shard.attached.all[index];
        if !session.is_on(worker, detach.connection) {
            return;
        }
        if let Some(extra) = session.extra.as_mut().filter(|extra| extra.expiry_s > 0) {
            extra.expiry_s = detach.expiry_s;
        }
        self.leave(now, number, index, detach.will);
    }

    /// The session's connection has ended.
    fn leave(&mut self, now: Now, number: u8, index: u32, with_will: bool) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[index];
        if session.is_attached() {
            self.counters.attached -= 1;
        }
        session.presence = Presence::Away;
        if !with_will {
            self.take_will(number, index);
        }
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let expiry_s = shard.attached.all[index].expiry_s();
        if expiry_s == 0 || shard.attached.all[index].kept().is_none() {
            self.end_session(now, number, index);
            return;
        }
        self.set_deadlines(number, index, |extra| {
            extra.lost_us = None;
            extra.away_since_ms = now.wall_ms;
            extra.end_us = (expiry_s != FOR_EVER_S).then(|| after_s(now, expiry_s));
            let delay_s = extra.will.as_ref().map(|will| will.delay_s.min(expiry_s));
            extra.will_us = delay_s.map(|delay_s| after_s(now, delay_s));
        });
        self.write_left(number, index);
        self.expire_session(now, number, index);
    }

    /// Writes since when a kept session is away, and whether its will is still to be published.
    fn write_left(&mut self, number: u8, index: u32) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let Shard { position, attached, .. } = &mut **shard;
        let Some(extra) = attached.all[index].extra.as_ref() else { return };
        let Some(kept) = extra.kept.as_ref().filter(|_| self.storage) else { return };
        let session = kept.name;
        *position += 1;
        let (at_ms, expiry_s) = (extra.away_since_ms, extra.expiry_s);
        let will = u8::from(extra.will.is_some());
        record::SessionLeft { session, at_ms, expiry_s, will }.put(
            number,
            *position,
            &mut self.commit.run,
        );
    }

    /// Ends a session that has no connection, and publishes its will if that is still to be done.
    fn end_session(&mut self, now: Now, number: u8, index: u32) {
        self.forget_session(number, index);
        // What was due is done, also if the will is not yet.
        self.set_deadlines(number, index, |extra| (extra.lost_us, extra.end_us) = (None, None));
        if let Some(will) = self.take_will(number, index)
            && !self.publish_will(now, number, index, &will)
        {
            return;
        }
        self.free_slot(number, index);
    }

    fn free_slot(&mut self, number: u8, index: u32) {
        if self.extra(number, index).is_some() {
            self.set_deadlines(number, index, |extra| {
                (extra.lost_us, extra.will_us, extra.end_us) = (None, None, None);
            });
        }
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        shard.attached.remove(index);
        self.counters.attached_slots -= 1;
    }

    /// Forgets all that is kept of a session.
    fn forget_session(&mut self, number: u8, index: u32) {
        self.unfollow_all(number, index);
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let Some(kept) = shard.attached.forget(index) else { return };
        self.counters.kept -= 1;
        self.counters.kept_filters -= kept.filters.len() as u64;
        self.counters.queued -= kept.queue.len() as u64;
        if self.storage {
            let position = shard.step();
            record::SessionEnded { session: kept.name }.put(number, position, &mut self.commit.run);
        }
    }

    fn extra(&mut self, number: u8, index: u32) -> Option<&mut Extra> {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        shard.attached.all[index].extra.as_deref_mut()
    }

    /// Changes the deadlines of a session and keeps the table in step.
    fn set_deadlines(&mut self, number: u8, index: u32, change: impl FnOnce(&mut Extra)) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let Some(extra) = shard.attached.all[index].extra.as_mut() else { return };
        change(extra);
        let due = extra.due_us();
        let before = std::mem::replace(&mut extra.timer_us, due);
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.attachments.deadlines.remove(&(before, number, index));
        }
        if let Some(due) = due {
            self.attachments.deadlines.insert((due, number, index));
        }
    }

    /// Does what the time has come for, for so many sessions as fit a turn.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        for _ in 0..SESSIONS_DUE_PER_TURN_MAX {
            let first = self.attachments.deadlines.first().copied();
            let Some((_, number, index)) = first.filter(|(due, ..)| *due <= now.monotonic_us)
            else {
                return;
            };
            self.expire_session(now, number, index);
        }
    }

    fn expire_session(&mut self, now: Now, number: u8, index: u32) {
        let Some(extra) = self.extra(number, index) else { return };
        let is_due = |due: Option<u64>| due.is_some_and(|due| due <= now.monotonic_us);
        if is_due(extra.lost_us) {
            self.counters.hit(Mark::SessionLost);
            self.leave(now, number, index, true);
        } else if is_due(extra.end_us) {
            self.counters.hit(Mark::SessionExpired);
            self.end_session(now, number, index);
        } else if is_due(extra.will_us) {
            self.set_deadlines(number, index, |extra| extra.will_us = None);
            let Some(will) = self.take_will(number, index) else { return };
            if self.publish_will(now, number, index, &will) {
                self.write_left(number, index);
                let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
                if shard.attached.all[index].kept().is_none() {
                    self.free_slot(number, index);
                }
            }
        }
    }

    /// Looks for sessions of origins that have gone, for so many slots as fit a turn.
    pub(super) fn sweep_sessions(&mut self, now: Now) {
        let mut left = SWEPT_PER_TURN_MAX;
        while let Some(sweep) = self.attachments.sweeps.front_mut() {
            let Some(Some(shard)) = self.shards.get(sweep.shard) else {
                if sweep.shard >= self.shards.len() {
                    self.attachments.sweeps.pop_front();
                } else {
                    sweep.shard += 1;
                }
                continue;
            };
            if sweep.slot >= shard.attached.slots().end {
                (sweep.shard, sweep.slot) = (sweep.shard + 1, 0);
                continue;
            }
            if left == 0 {
                return;
            }
            left -= 1;
            let (number, index, origin) = (sweep.shard as u8, sweep.slot, sweep.origin);
            sweep.slot += 1;
            let session = &shard.attached.all[index];
            if session.is_attached() && session.worker == origin {
                self.lose_session(now, number, index);
            }
        }
    }

    /// The worker of a session has gone.
    fn lose_session(&mut self, now: Now, number: u8, index: u32) {
        self.counters.attached -= 1;
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[index];
        session.presence = Presence::Lost;
        if session.extra.is_none() {
            self.free_slot(number, index);
            return;
        }
        self.set_deadlines(number, index, |extra| {
            extra.lost_us = Some(now.monotonic_us + LOST_GRACE_US);
        });
    }

    /// The session on this very connection.
    pub(super) fn attached_on(
        &mut self,
        user: &Key,
        device: &Key,
        worker: Origin,
        connection: u64,
    ) -> Option<u32> {
        let shard = own(&mut self.shards, user);
        let index = shard.attached.find(user, device)?;
        shard.attached.all[index].is_on(worker, connection).then_some(index)
    }
}

/// The session is attached on another connection, by an attach and not by an announcement.
fn is_elsewhere(session: &Session, worker: Origin, attach: &Attach) -> bool {
    session.presence == Presence::Here && !session.is_on(worker, attach.connection)
}

fn will_of(attach: &Attach, qos: u8) -> Box<Will> {
    Box::new(Will {
        qos,
        retain: attach.will_retain,
        delay_s: attach.will_delay_s,
        expiry_s: attach.will_expiry_s,
        key: attach.will_key,
        topic: attach.will_topic.into(),
        content: attach.will_content.into(),
    })
}

/// Monotonic microseconds so many seconds from now.
fn after_s(now: Now, seconds: u32) -> u64 {
    now.monotonic_us + u64::from(seconds) * 1_000_000
}
