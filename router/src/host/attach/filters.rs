//! Filters of kept sessions: written, told to every host, and only then confirmed.
//!
//! Every host numbers some of the topics, so each has to know which home shards have a session
//! under which filter. They are told of the first and the last one (of each one, if the filter is
//! shared), and of all again when they, or the way to them, begin anew.
//!
//! Invariant: `Subscribed` is said when the filter's record is durable and every host has taken
//! the filter, so that every publish which begins after it finds the session.

use super::super::counters::Mark;
use super::super::settings::{FOLLOWS_PER_TURN_MAX, PENDING_FOLLOWS_MAX, RETRY_STORAGE_MS};
use super::super::{Host, own};
use crate::attached::follows::Member;
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record;
use crate::topic::Written;
use hawser_codec::code;
use hawser_codec::link::{
    Connection, Follow, Followed, Following, Key, Subscribe, Subscribed, Unsubscribe, Unsubscribed,
};
use std::collections::{BTreeMap, VecDeque};

/// Somebody to be told once all hosts follow.
struct Waiter {
    worker: Origin,
    connection: Connection,
    user: Key,
    device: Key,
    request: u32,
    existed: bool,
}

/// A filter that some hosts have not confirmed.
struct Pending {
    home: u8,
    realm: u32,
    filter: Box<[u8]>,
    hosts: Vec<u16>,
    waiters: Vec<Waiter>,
}

/// A host that is being told all filters, and how far that is.
struct Telling {
    host: u16,
    begun: bool,
    shard: usize,
    place: u64,
}

/// Home shard, realm and text of a filter.
type FilterName = (u8, u32, Box<[u8]>);

#[derive(Default)]
pub(in crate::host) struct Tellings {
    /// By number of the request.
    pending: BTreeMap<u32, Pending>,
    /// Requests of a filter: one, or several if it is shared.
    by_filter: BTreeMap<FilterName, Vec<u32>>,
    last_request: u32,
    tellings: VecDeque<Telling>,
}

impl Tellings {
    /// A host, or the way to it, has begun anew: it has to be told everything.
    pub fn begin(&mut self, host: u16) {
        self.end(host);
        self.tellings.push_back(Telling { host, begun: false, shard: 0, place: 0 });
    }

    /// The way to a host is lost.
    pub fn end(&mut self, host: u16) {
        self.tellings.retain(|telling| telling.host != host);
    }

    pub fn is_ready(&self) -> bool {
        !self.tellings.is_empty()
    }

    fn wait(&mut self, request: u32, pending: Pending) {
        let name = (pending.home, pending.realm, pending.filter.clone());
        self.by_filter.entry(name).or_default().push(request);
        self.pending.insert(request, pending);
    }

    fn end_wait(&mut self, request: u32) -> Option<Pending> {
        let pending = self.pending.remove(&request)?;
        let name = (pending.home, pending.realm, pending.filter.clone());
        if let Some(requests) = self.by_filter.get_mut(&name) {
            requests.retain(|other| *other != request);
            if requests.is_empty() {
                self.by_filter.remove(&name);
            }
        }
        Some(pending)
    }

    /// Requests of a filter that some host has not answered.
    fn waiting(&self, home: u8, realm: u32, filter: &[u8]) -> &[u32] {
        if self.by_filter.is_empty() {
            return &[];
        }
        self.by_filter.get(&(home, realm, filter.into())).map_or(&[], Vec::as_slice)
    }

    /// A filter of this shard will still be told to the host with the rest. An ordinary one of the
    /// shard that is being walked through may be met or not: it is told twice rather than never.
    fn comes_later(&self, host: u16, shard: u8, filter: &[u8]) -> bool {
        let shard = usize::from(shard);
        let is_shared = || Written::read(filter).is_some_and(|written| written.share.is_some());
        self.tellings.iter().any(|telling| {
            telling.host == host
                && (!telling.begun
                    || telling.shard < shard
                    || telling.shard == shard && is_shared())
        })
    }
}

impl Host {
    pub(in crate::host) fn on_subscribe(&mut self, worker: Origin, asked: &Subscribe) {
        let Subscribe { connection, request, .. } = *asked;
        let index = self.attached_on(&asked.user, &asked.device, worker, connection);
        let Some(index) = index else { return };
        match self.subscribe(worker, index, asked) {
            Ok(None) => {}
            Ok(Some(existed)) => {
                Subscribed { connection, request, existed, code: 0 }.put(self.commit.down(worker));
            }
            Err((code, _)) => {
                self.counters.refuse(code);
                Subscribed { connection, request, existed: false, code }
                    .put(self.commit.down(worker));
            }
        }
    }

    /// Whether the filter was there; `None`: it will be said later.
    fn subscribe(
        &mut self,
        worker: Origin,
        index: u32,
        asked: &Subscribe,
    ) -> Result<Option<bool>, (u16, u32)> {
        let Subscribe { connection, request, identifier, options, filter, .. } = *asked;
        let number = shard_of(&asked.user);
        let settings = self.settings;
        let shard = own(&mut self.shards, &asked.user);
        let session = &mut shard.attached.all[index];
        let realm = session.extra.as_ref().map_or(0, |extra| extra.realm);
        let Some(kept) = session.kept_mut() else {
            // Nothing is kept of it: its worker knows its filters.
            return Ok(Some(false));
        };
        Written::read(filter).ok_or((code::BAD_REQUEST, 0))?;
        let existed = kept.find_filter(filter).is_some();
        if !self.storage {
            return Err((code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
        }
        let full = kept.filters.len() >= settings.session_filters_max
            || kept.filter_bytes + filter.len() > settings.session_filter_bytes_max
            || self.tellings.pending.len() >= PENDING_FOLLOWS_MAX;
        if full && !existed {
            return Err((code::OVERLOADED, 0));
        }
        let name = kept.name;
        let tell = self.follow(number, index, realm, filter, options);
        let tell = tell.ok_or((code::OVERLOADED, 0))?;
        let shard = own(&mut self.shards, &asked.user);
        let position = shard.step();
        record::Filter { session: name, identifier, options, filter }.put(
            number,
            position,
            &mut self.commit.run,
        );
        let kept = shard.attached.all[index].kept_mut().expect("looked at a moment ago");
        if !kept.put_filter(filter, identifier, options) {
            self.counters.kept_filters += 1;
        }
        let (user, device) = (asked.user, asked.device);
        let waiter = Waiter { worker, connection, user, device, request, existed };
        Ok(self.tell_follow(number, realm, filter, tell, waiter))
    }

    /// Enters a filter into the shard's table. Whether hosts have to be told; `None`: it is full.
    pub(super) fn follow(
        &mut self,
        number: u8,
        index: u32,
        realm: u32,
        filter: &[u8],
        options: u8,
    ) -> Option<bool> {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let member = Member { session: index, options };
        // Part of a keyed hash: nobody outside can choose texts to suit it.
        let user = &shard.attached.all[index].user;
        let seed = u64::from_le_bytes(*user.last_chunk().expect("a key has 16 bytes"));
        shard.follows.put(realm, filter, member, seed).ok()
    }

    /// Tells all hosts of a filter that they have to be told of. `existed` of the waiter, if
    /// nobody has to be waited for.
    fn tell_follow(
        &mut self,
        home: u8,
        realm: u32,
        filter: &[u8],
        tell: bool,
        waiter: Waiter,
    ) -> Option<bool> {
        let existed = waiter.existed;
        if !tell {
            // Somebody else may still wait for the same.
            let same = self.tellings.waiting(home, realm, filter).first().copied();
            let same = same.and_then(|request| self.tellings.pending.get_mut(&request));
            let Some(pending) = same else { return Some(existed) };
            pending.waiters.push(waiter);
            return None;
        }
        let request = self.tellings.last_request.wrapping_add(1).max(1);
        self.tellings.last_request = request;
        let mut hosts = Vec::new();
        for host in 0..self.settings.hosts {
            if self.tellings.comes_later(host, home, filter) || !self.reaches(host) {
                hosts.push(host);
                continue;
            }
            let follow = Follow { home, add: true, request, realm, filter };
            match self.say_follow(host, &follow) {
                Some(0) => {}
                Some(_) => {
                    let pending = Pending {
                        home,
                        realm,
                        filter: filter.into(),
                        hosts,
                        waiters: vec![waiter],
                    };
                    self.undo_follow(pending);
                    return None;
                }
                None => hosts.push(host),
            }
        }
        if hosts.is_empty() {
            return Some(existed);
        }
        let pending = Pending { home, realm, filter: filter.into(), hosts, waiters: vec![waiter] };
        self.tellings.wait(request, pending);
        None
    }

    /// Says one filter to one host; what it answers, if it is this one.
    fn say_follow(&mut self, host: u16, follow: &Follow) -> Option<u16> {
        if host == self.settings.host {
            return Some(self.on_follow(host, follow).unwrap_or(code::BAD_REQUEST));
        }
        follow.put(self.commit.peer(host));
        None
    }

    pub(in crate::host) fn on_unsubscribe(&mut self, worker: Origin, asked: &Unsubscribe) {
        let Unsubscribe { connection, request, filter, .. } = *asked;
        let number = shard_of(&asked.user);
        let index = self.attached_on(&asked.user, &asked.device, worker, connection);
        let Some(index) = index else { return };
        let existed = self.drop_filter(number, index, filter);
        Unsubscribed { connection, request, existed }.put(self.commit.down(worker));
    }

    /// Takes a filter from a kept session. Whether it had it.
    fn drop_filter(&mut self, number: u8, index: u32, filter: &[u8]) -> bool {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[index];
        let realm = session.extra.as_ref().map_or(0, |extra| extra.realm);
        let Some(kept) = session.kept_mut() else { return false };
        if !kept.remove_filter(filter) {
            return false;
        }
        let session = kept.name;
        self.counters.kept_filters -= 1;
        if self.storage {
            let position = shard.step();
            record::FilterGone { session, filter }.put(number, position, &mut self.commit.run);
        }
        self.unfollow(number, index, realm, filter);
        true
    }

    fn unfollow(&mut self, home: u8, index: u32, realm: u32, filter: &[u8]) {
        let shard = self.shards[usize::from(home)].as_mut().expect("the home is ours");
        if !shard.follows.remove(realm, filter, index) {
            return;
        }
        let follow = Follow { home, add: false, request: 0, realm, filter };
        for host in 0..self.settings.hosts {
            if !self.tellings.comes_later(host, home, filter) && self.reaches(host) {
                self.say_follow(host, &follow);
            }
        }
    }

    /// Takes all filters of a session out of the shard's table.
    pub(super) fn unfollow_all(&mut self, number: u8, index: u32) {
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        let session = &mut shard.attached.all[index];
        let realm = session.extra.as_ref().map_or(0, |extra| extra.realm);
        let Some(kept) = session.kept_mut() else { return };
        let filters = std::mem::take(&mut kept.filters);
        for filter in &filters {
            self.unfollow(number, index, realm, &filter.text);
        }
        let shard = self.shards[usize::from(number)].as_mut().expect("the home is ours");
        if let Some(kept) = shard.attached.all[index].kept_mut() {
            kept.filters = filters;
        }
    }

    /// A host answers a filter.
    pub(in crate::host) fn on_followed(&mut self, from: u16, followed: &Followed) {
        let Some(pending) = self.tellings.pending.get_mut(&followed.request) else { return };
        pending.hosts.retain(|host| *host != from);
        if followed.code != 0 {
            let pending = self.tellings.end_wait(followed.request);
            self.undo_follow(pending.expect("looked at a moment ago"));
        } else if pending.hosts.is_empty() {
            self.end_pending(followed.request);
        }
    }

    /// All hosts follow.
    fn end_pending(&mut self, request: u32) {
        let Some(pending) = self.tellings.end_wait(request) else { return };
        for waiter in pending.waiters {
            let Waiter { worker, connection, request, existed, .. } = waiter;
            Subscribed { connection, request, existed, code: 0 }.put(self.commit.down(worker));
        }
    }

    /// A host has no room for a filter: those who asked for it do not have it.
    fn undo_follow(&mut self, pending: Pending) {
        self.counters.hit(Mark::FollowRefused);
        for waiter in pending.waiters {
            let shard = own(&mut self.shards, &waiter.user);
            if let Some(index) = shard.attached.find(&waiter.user, &waiter.device) {
                self.drop_filter(pending.home, index, &pending.filter);
            }
            let Waiter { worker, connection, request, .. } = waiter;
            let code = code::OVERLOADED;
            self.counters.refuse(code);
            Subscribed { connection, request, existed: false, code }.put(self.commit.down(worker));
        }
    }

    /// Goes on telling hosts all filters, for so many as fit a turn.
    pub(in crate::host) fn tell_follows(&mut self) {
        let mut left = FOLLOWS_PER_TURN_MAX;
        while left > 0 {
            let Some(mut telling) = self.tellings.tellings.pop_front() else { return };
            let host = telling.host;
            if !telling.begun {
                telling.begun = true;
                self.say_following(host, false);
            }
            left = self.tell_some(&mut telling, left);
            if telling.shard < self.shards.len() {
                self.tellings.tellings.push_front(telling);
            } else {
                self.say_following(host, true);
            }
        }
    }

    fn say_following(&mut self, host: u16, done: bool) {
        if host == self.settings.host {
            self.on_following(host, done);
        } else {
            Following { done }.put(self.commit.peer(host));
        }
    }

    /// Tells filters from where a telling stands; how many more fit the turn.
    fn tell_some(&mut self, telling: &mut Telling, mut left: usize) -> usize {
        let mut text = std::mem::take(&mut self.scratch);
        while telling.shard < self.shards.len() && left > 0 {
            let home = telling.shard as u8;
            let Some(shard) = &self.shards[telling.shard] else {
                telling.shard += 1;
                continue;
            };
            match shard.follows.walk(telling.place, left, &mut text) {
                Some((found, next)) => {
                    left = left.saturating_sub((next - telling.place) as usize);
                    telling.place = next;
                    if let Some(realm) = found {
                        self.tell_again(telling.host, home, realm, &text, 1);
                    }
                }
                None => {
                    let shared = shard.follows.shared();
                    let shared: Vec<(u32, Vec<u8>, usize)> =
                        shared.map(|(realm, text, count)| (realm, text.to_vec(), count)).collect();
                    for (realm, text, count) in shared {
                        self.tell_again(telling.host, home, realm, &text, count);
                        left = left.saturating_sub(count);
                    }
                    (telling.shard, telling.place) = (telling.shard + 1, 0);
                }
            }
        }
        self.scratch = text;
        left
    }

    /// Tells a filter `count` times, for those first whose request the host has not answered.
    fn tell_again(&mut self, host: u16, home: u8, realm: u32, filter: &[u8], count: usize) {
        let waiting = self.tellings.waiting(home, realm, filter).iter().copied();
        let is_asked = |request: &u32| {
            self.tellings.pending.get(request).is_some_and(|pending| pending.hosts.contains(&host))
        };
        let requests: Vec<u32> = waiting.filter(is_asked).collect();
        let requests = requests.into_iter().chain(std::iter::repeat(0)).take(count);
        for request in requests.collect::<Vec<u32>>() {
            let answer = self.say_follow(host, &Follow { home, add: true, request, realm, filter });
            if let Some(code) = answer.filter(|_| request != 0) {
                self.on_followed(host, &Followed { request, code });
            }
        }
    }
}
