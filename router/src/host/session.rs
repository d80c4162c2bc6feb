//! Sessions: who is on-line where, cursors, and when pushing stops.
//!
//! ```text
//!            login, cursor = head             forward page reaches the head
//! Offline ---------------------------> Live <------------------------------ Syncing
//!    |                                  | stall, too many or too long          ^
//!    |                                  | unacknowledged: one Head             |
//!    |                                  +--------------------------------------+
//!    +------ login, cursor < head ---------------------------------------------+
//! ```

use super::counters::Mark;
use super::settings::{
    CURSOR_LATE_US, CURSORS_PER_TURN_MAX, RETRY_STORAGE_MS, TIMERS_PER_TURN_MAX,
};
use super::{Host, own};
use crate::directory::{self, DEVICES_PER_USER_MAX, Mode, Note, User};
use crate::origin::Origin;
use crate::record;
use hawser_codec::code;
use hawser_codec::link::{
    Confirm, Connection, Head, Kick, LoggedIn, Login, LoginRefused, Logout, Stall,
};
use hawser_codec::message::NAME_BYTES_MAX;
use hawser_codec::time::Now;
use std::collections::VecDeque;

/// An acknowledgement is wanted by `due_us`.
struct Timer {
    due_us: u64,
    number: u64,
    connection: Connection,
    user: u32,
    slot: u16,
    shard: u8,
    /// The head was told again already.
    second: bool,
}

/// A cursor that moved and is not in the log.
struct Dirty {
    user: u32,
    slot: u16,
    shard: u8,
}

pub(super) struct Sessions {
    /// In order of `due_us`, because all run equally long. One per device at most.
    timers: VecDeque<Timer>,
    /// One per device at most.
    dirty: VecDeque<Dirty>,
    /// When the first of `dirty` became so.
    dirty_us: u64,
}

impl Sessions {
    pub fn new() -> Sessions {
        Sessions { timers: VecDeque::new(), dirty: VecDeque::new(), dirty_us: 0 }
    }

    pub fn arm(
        &mut self,
        due_us: u64,
        shard: u8,
        user: u32,
        slot: usize,
        number: u64,
        connection: Connection,
    ) {
        let slot = slot as u16;
        self.timers.push_back(Timer {
            due_us,
            number,
            connection,
            user,
            slot,
            shard,
            second: false,
        });
    }

    pub fn next_deadline(&self, storage: bool) -> Option<u64> {
        let timer = self.timers.front().map(|timer| timer.due_us);
        let cursors = (storage && !self.dirty.is_empty()).then_some(self.dirty_us + CURSOR_LATE_US);
        timer.into_iter().chain(cursors).min()
    }
}

impl Host {
    pub(super) fn on_login(&mut self, now: Now, worker: Origin, login: &Login) {
        if let Err((code, retry_after_ms)) = self.admit(now, worker, login) {
            self.counters.refuse(code);
            LoginRefused { connection: login.connection, code, retry_after_ms }
                .put(self.commit.down(worker));
        }
    }

    fn admit(&mut self, now: Now, worker: Origin, login: &Login) -> Result<(), (u16, u32)> {
        if login.user_name.len() > NAME_BYTES_MAX || login.device_name.len() > NAME_BYTES_MAX {
            return Err((code::BAD_NAME, 0));
        }
        let shard = own(&mut self.shards, &login.user);
        let number = shard.number;
        let found = shard.users.find(&login.user);
        if let Some(index) = found {
            self.commit.origins.end_gone(&mut shard.users.all[index], shard.position);
        }
        let user = found.map(|index| &shard.users.all[index]);
        let head = user.map_or(0, |user| user.head);
        let known = user.filter(|user| user.check != 0);
        if known.is_some_and(|user| user.check != login.check) {
            return Err((code::UNAUTHENTICATED, 0));
        }
        if known.is_some_and(|user| login.epoch != 0 && login.epoch < user.epoch) {
            return Err((code::KICKED, 0));
        }
        let named = login.cursor_plus_one.checked_sub(1);
        if named.is_some_and(|cursor| cursor > head) {
            return Err((code::BAD_NUMBER, 0));
        }
        let slot = known.and_then(|user| user.find_device(&login.device));
        if login.announce && known.is_some_and(|user| is_elsewhere(user, worker, login)) {
            // It has logged in again since, through another gateway: that one is the newer.
            self.counters.hit(Mark::AnnouncedTooLate);
            let newer = known.zip(slot).and_then(|(user, slot)| user.devices().nth(slot));
            let newer = newer.map(|device| device.tag);
            let code = farewell_to(newer, login.incarnation);
            let connection = login.connection;
            Kick { connection, code }.put(self.commit.down(worker));
            return Ok(());
        }
        if slot.is_none() {
            if !self.storage {
                return Err((code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
            }
            let crowded = user.is_some_and(|user| {
                user.device_count() >= DEVICES_PER_USER_MAX && user.longest_unused().is_none()
            });
            let full = found.is_none() && self.counters.users >= self.settings.users_max as u64;
            if crowded || full {
                return Err((code::OVERLOADED, RETRY_STORAGE_MS));
            }
        }
        let index = match found {
            Some(index) => index,
            None => {
                self.counters.users += 1;
                shard.users.find_or_insert(&login.user)
            }
        };
        self.register(number, index, slot, login);
        self.open_session(now, worker, number, index, login);
        Ok(())
    }

    /// Writes the records of a first login.
    fn register(&mut self, number: u8, index: u32, slot: Option<usize>, login: &Login) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        if shard.users.all[index].check == 0 {
            // A check of 0 would read as "never logged in".
            shard.users.all[index].check = login.check;
            shard.users.all[index].epoch = 1;
            let position = shard.step();
            record::User {
                user: login.user,
                check: login.check,
                realm: login.realm,
                epoch: 1,
                name: login.user_name,
            }
            .put(number, position, &mut self.commit.run);
        }
        if slot.is_none() {
            let cursor = login.cursor_plus_one.saturating_sub(1);
            let device = directory::Device::new(login.device, cursor, shard.position);
            let user = &mut shard.users.all[index];
            if user.device_count() < DEVICES_PER_USER_MAX {
                user.add_device(device);
            } else {
                let slot = user.longest_unused().expect("looked for before the login was let in");
                let retired = user.replace_device(slot, device);
                record::Retired { user: login.user, device: retired }.put(
                    number,
                    shard.step(),
                    &mut self.commit.run,
                );
            }
            let position = shard.step();
            record::Device {
                user: login.user,
                device: login.device,
                cursor,
                name: login.device_name,
            }
            .put(number, position, &mut self.commit.run);
        }
    }

    fn open_session(&mut self, now: Now, worker: Origin, number: u8, index: u32, login: &Login) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let user = &mut shard.users.all[index];
        let (head, floor, epoch) = (user.head, user.floor(), user.epoch);
        let slot = user.find_device(&login.device).expect("registered a moment ago");
        let device = user.device(slot);
        let connection = login.connection;
        if device.is_online() {
            self.commit.origins.end_session(device.worker);
            self.counters.sessions -= 1;
            if (device.connection, device.worker) != (connection, worker) {
                self.counters.hit(Mark::Replaced);
                let code = farewell_to(Some(device.tag), login.incarnation);
                Kick { connection: device.connection, code }.put(self.commit.down(device.worker));
            }
        }
        self.commit.origins.add_session(worker);
        self.counters.sessions += 1;
        let mut moved = false;
        if let Some(cursor) = login.cursor_plus_one.checked_sub(1) {
            moved = cursor > device.cursor || (login.rewind && cursor != device.cursor);
            if moved {
                device.cursor = cursor;
            }
        }
        device.connection = connection;
        device.worker = worker;
        device.set(Note::Announced, login.announce);
        device.tag = tag(login.incarnation);
        device.mode = if device.cursor < head { Mode::Syncing } else { Mode::Live };
        let (cursor, mode) = (device.cursor, device.mode);
        LoggedIn { connection, epoch, head, cursor, floor, announced: login.announce }
            .put(self.commit.down(worker));
        if login.announce {
            self.counters.hit(Mark::Announced);
            if mode == Mode::Syncing {
                Head { connection, head }.put(self.commit.down(worker));
            }
        }
        if moved {
            self.mark_dirty(now, number, index, slot);
        }
    }

    pub(super) fn on_logout(&mut self, worker: Origin, logout: &Logout) {
        let shard = own(&mut self.shards, &logout.user);
        let Some(index) = shard.users.find(&logout.user) else {
            return;
        };
        let user = &mut shard.users.all[index];
        let Some(slot) = session_slot(user, &logout.device, worker, logout.connection) else {
            return;
        };
        user.device(slot).leave(shard.position);
        self.commit.origins.end_session(worker);
        self.counters.sessions -= 1;
    }

    pub(super) fn on_confirm(&mut self, now: Now, worker: Origin, confirm: &Confirm) {
        let shard = own(&mut self.shards, &confirm.user);
        let number = shard.number;
        let Some(index) = shard.users.find(&confirm.user) else {
            return;
        };
        let user = &mut shard.users.all[index];
        if let Some(slot) = session_slot(user, &confirm.device, worker, confirm.connection) {
            self.move_cursor(now, number, index, slot, confirm.number);
            self.settle_mode(worker, number, index, slot);
        }
    }

    /// A device in cursor mode has acknowledged something. It may have been shown all up to the
    /// head before pushing stopped, and then has no reason to read a page: pushing goes on. If
    /// there is more meanwhile, it may not know: it is told.
    fn settle_mode(&mut self, worker: Origin, number: u8, index: u32, slot: usize) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let user = &mut shard.users.all[index];
        let head = user.head;
        let device = user.device(slot);
        if device.mode != Mode::Syncing {
            return;
        }
        if device.cursor == head {
            device.mode = Mode::Live;
        } else {
            Head { connection: device.connection, head }.put(self.commit.down(worker));
        }
    }

    /// Acknowledges up to `to`. A number beyond the head is ignored: it can only come from a
    /// client that is broken, and no answer would mend it.
    pub(super) fn move_cursor(&mut self, now: Now, number: u8, index: u32, slot: usize, to: u64) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let user = &mut shard.users.all[index];
        if to > user.head {
            self.counters.hit(Mark::ConfirmBeyondHead);
            return;
        }
        let device = user.device(slot);
        if to > device.cursor {
            device.cursor = to;
            self.mark_dirty(now, number, index, slot);
        }
    }

    fn mark_dirty(&mut self, now: Now, shard: u8, user: u32, slot: usize) {
        let home = self.shards[usize::from(shard)].as_mut().expect("the home is ours");
        let device = home.users.all[user].device(slot);
        if device.has(Note::Dirty) {
            return;
        }
        device.set(Note::Dirty, true);
        if self.sessions.dirty.is_empty() {
            self.sessions.dirty_us = now.monotonic_us;
        }
        self.sessions.dirty.push_back(Dirty { user, slot: slot as u16, shard });
    }

    /// Appends the cursors that moved, once the first of them is old enough.
    pub(super) fn flush_cursors(&mut self, now: Now) {
        let sessions = &mut self.sessions;
        if sessions.dirty.is_empty() || now.monotonic_us < sessions.dirty_us + CURSOR_LATE_US {
            return;
        }
        let count = sessions.dirty.len().min(CURSORS_PER_TURN_MAX);
        for Dirty { user, slot, shard } in sessions.dirty.drain(..count) {
            let home = self.shards[usize::from(shard)].as_mut().expect("the home is ours");
            let position = home.step();
            let user = &mut home.users.all[user];
            let key = user.key;
            let device = user.device(usize::from(slot));
            device.set(Note::Dirty, false);
            record::Cursor { user: key, device: device.key, cursor: device.cursor }.put(
                shard,
                position,
                &mut self.commit.run,
            );
        }
        // What is left is due at once: `dirty_us` stays. Only an empty list starts a new wait.
    }

    pub(super) fn on_stall(&mut self, worker: Origin, stall: &Stall) {
        let shard = own(&mut self.shards, &stall.user);
        let Some(index) = shard.users.find(&stall.user) else {
            return;
        };
        let user = &mut shard.users.all[index];
        let Some(slot) = session_slot(user, &stall.device, worker, stall.connection) else {
            return;
        };
        let head = user.head;
        let device = user.device(slot);
        if device.mode == Mode::Live {
            self.counters.hit(Mark::CursorModeByStall);
            device.mode = Mode::Syncing;
            Head { connection: device.connection, head }.put(self.commit.down(worker));
        }
    }

    pub(super) fn expire_timers(&mut self, now: Now) {
        for _ in 0..TIMERS_PER_TURN_MAX {
            let due = self.sessions.timers.front().is_some_and(|t| t.due_us <= now.monotonic_us);
            if !due {
                return;
            }
            let timer = self.sessions.timers.pop_front().expect("the front was just looked at");
            self.expire(now, timer);
        }
    }

    fn expire(&mut self, now: Now, timer: Timer) {
        let shard = self.shards[usize::from(timer.shard)].as_mut().expect("the home is ours");
        let user = &mut shard.users.all[timer.user];
        let head = user.head;
        let device = user.device(usize::from(timer.slot));
        let connection = device.connection;
        let goes_on = device.mode == Mode::Live && device.cursor < head;
        device.set(Note::Timed, goes_on);
        if !goes_on {
            return;
        }
        let stuck = timer.connection == connection && device.cursor < timer.number;
        let (mut number, mut second) = (head, false);
        if stuck && timer.second {
            self.counters.hit(Mark::CursorModeByTimeout);
            device.mode = Mode::Syncing;
            device.set(Note::Timed, false);
            Head { connection, head }.put(self.commit.down(device.worker));
            return;
        }
        if stuck {
            self.counters.hit(Mark::HeadRepeated);
            Head { connection, head }.put(self.commit.down(device.worker));
            (number, second) = (timer.number, true);
        }
        let due_us = now.monotonic_us + self.settings.notify_timeout_us;
        self.sessions.timers.push_back(Timer { due_us, number, connection, second, ..timer });
    }
}

/// The device is on-line on another connection by a login, not by an announcement.
fn is_elsewhere(user: &User, worker: Origin, login: &Login) -> bool {
    let device = user.devices().find(|device| device.key == login.device);
    device.is_some_and(|device| {
        device.is_online()
            && !device.has(Note::Announced)
            && (device.connection, device.worker) != (login.connection, worker)
    })
}

/// Slot of a device whose session is on this very connection.
pub(super) fn session_slot(
    user: &mut User,
    device: &[u8; 16],
    worker: Origin,
    connection: Connection,
) -> Option<usize> {
    let slot = user.find_device(device)?;
    let device = user.device(slot);
    (device.is_online() && device.worker == worker && device.connection == connection)
        .then_some(slot)
}

/// What ends a connection whose device has another one, when that has this tag. A hello that was long
/// under way can arrive behind the newer one of the same client: that client must come back, not
/// give up for good.
fn farewell_to(other: Option<u16>, incarnation: u64) -> u16 {
    if other == Some(tag(incarnation)) { code::TIMEOUT } else { code::REPLACED }
}

/// Sixteen bits of an incarnation, which is a random number.
fn tag(incarnation: u64) -> u16 {
    incarnation as u16
}
