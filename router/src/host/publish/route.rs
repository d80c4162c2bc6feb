//! Filters of workers and of home shards: who is told what is published.

use super::super::Host;
use super::super::counters::Mark;
use super::super::settings::{HostSettings, SWEEP_PER_TURN_MAX};
use crate::origin::Origin;
use crate::topic::Written;
use hashbrown::HashMap;
use hawser_codec::code;
use hawser_codec::link::{Damaged, Follow, Route, Routed};
use std::cmp::Ordering;

/// Names of shares at one time: each takes its text and some 60 bytes. As many as there may be
/// filters of one large deployment; a name lives as long as a filter has it.
const SHARES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Worker(Origin),
    Home(u8),
}

/// One who wants a filter. Equal to another if share and receiver are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    /// 0, or the name of the share.
    pub share: u32,
    pub who: Who,
    /// Members behind it.
    pub count: u32,
    /// The list it was said in, for home shards.
    pub list: u32,
}

impl PartialEq for Destination {
    fn eq(&self, other: &Destination) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Destination {}

impl PartialOrd for Destination {
    fn partial_cmp(&self, other: &Destination) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Destination {
    fn cmp(&self, other: &Destination) -> Ordering {
        (self.share, self.who).cmp(&(other.share, other.who))
    }
}

/// Names of shares, numbered from 1.
#[derive(Default)]
pub(super) struct Shares {
    by_name: HashMap<Box<[u8]>, u32, foldhash::quality::FixedState>,
    /// Name and how many destinations have it.
    all: Vec<(Box<[u8]>, u32)>,
    free: Vec<u32>,
}

impl Shares {
    pub fn name(&self, share: u32) -> &[u8] {
        let at = (share as usize).checked_sub(1);
        at.and_then(|at| self.all.get(at)).map_or(b"", |(name, _)| name)
    }

    /// Number of a share; 0 if there is none of this name.
    fn find(&self, name: &[u8]) -> u32 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Takes a name into use; 0 if there are too many.
    fn add(&mut self, name: &[u8]) -> u32 {
        if let Some(share) = self.by_name.get(name) {
            self.all[*share as usize - 1].1 += 1;
            return *share;
        }
        if self.by_name.len() >= SHARES_MAX {
            return 0;
        }
        let share = self.free.pop().unwrap_or(self.all.len() as u32 + 1);
        if share as usize > self.all.len() {
            self.all.push((name.into(), 1));
        } else {
            self.all[share as usize - 1] = (name.into(), 1);
        }
        self.by_name.insert(name.into(), share);
        share
    }

    fn drop(&mut self, share: u32) {
        let Some(at) = (share as usize).checked_sub(1) else { return };
        let (name, uses) = &mut self.all[at];
        *uses -= 1;
        if *uses == 0 {
            let name = std::mem::take(name);
            self.by_name.remove(&name);
            self.free.push(share);
        }
    }
}

/// What is known of the home shards of each host.
pub(super) struct Followers(Vec<Follower>);

struct Follower {
    /// Number of the list that counts now; those said in an earlier one are void once the list
    /// has ended.
    list: u32,
    /// A whole list was heard.
    known: bool,
    /// A list is being heard.
    begun: bool,
}

impl Followers {
    pub fn new(settings: &HostSettings) -> Followers {
        let follower = |_| Follower { list: 1, known: false, begun: false };
        Followers((0..settings.hosts).map(follower).collect())
    }

    /// Every host has said what its home shards follow.
    pub fn are_known(&self) -> bool {
        self.0.iter().all(|follower| follower.known)
    }

    /// Hosts that have said all theirs.
    pub fn known(&self) -> impl Iterator<Item = u16> {
        let all = self.0.iter().enumerate();
        all.filter(|(_, follower)| follower.known).map(|(host, _)| host as u16)
    }

    /// What these have said was read back from the log.
    pub fn take_over(&mut self, hosts: impl Iterator<Item = u16>) {
        for host in hosts {
            if let Some(follower) = self.0.get_mut(usize::from(host)) {
                follower.known = true;
            }
        }
    }

    pub fn list(&self, host: u16) -> u32 {
        self.0[usize::from(host)].list
    }

    fn is_void(&self, host: u16, list: u32) -> bool {
        let follower = &self.0[usize::from(host)];
        !follower.begun && list != follower.list
    }
}

impl Host {
    pub(super) fn on_route(&mut self, worker: Origin, route: &Route<'_>) {
        let Route { add, request, realm, filter } = *route;
        let code = self.route(add, realm, filter, Who::Worker(worker), 0).err().unwrap_or(0);
        if request != 0 {
            Routed { request, code }.put(self.commit.down(worker));
        }
    }

    /// What a home shard of `from` (or of this host) follows, or does no longer: 0, or a code.
    pub(in crate::host) fn on_follow(
        &mut self,
        from: u16,
        follow: &Follow<'_>,
    ) -> Result<u16, Damaged> {
        if self.settings.host_of(follow.home) != from {
            return Err(Damaged);
        }
        let list = self.topics.followers.list(from);
        let Follow { home, add, realm, filter, .. } = *follow;
        let changed = match self.route(add, realm, filter, Who::Home(home), list) {
            Ok(changed) => changed,
            Err(code) => return Ok(code),
        };
        if changed {
            self.note_followed(home, add, realm, filter);
        }
        Ok(0)
    }

    /// `from` (or this host) begins or ends the list of all that its home shards follow.
    pub(in crate::host) fn on_following(&mut self, from: u16, done: bool) {
        let Some(follower) = self.topics.followers.0.get_mut(usize::from(from)) else { return };
        if !done {
            follower.list = follower.list.wrapping_add(1);
            follower.begun = true;
        } else if std::mem::take(&mut follower.begun) {
            let was_known = std::mem::replace(&mut follower.known, true);
            self.topics.sweep();
            if !was_known {
                self.note_followed_all(from);
            }
        }
    }

    /// Adds or takes away one who wants a filter: whether the filter is now, or is no longer,
    /// wanted there; or a code.
    pub(super) fn route(
        &mut self,
        add: bool,
        realm: u32,
        filter: &[u8],
        who: Who,
        list: u32,
    ) -> Result<bool, u16> {
        let Some(written) = Written::read(filter) else { return Err(code::BAD_REQUEST) };
        let topics = &mut self.topics;
        if add {
            let share = written.share.map_or(0, |name| topics.shares.add(name));
            let refused = written.share.is_some() && share == 0;
            let mut destination = Destination { share, who, count: 1, list };
            let before = topics.routes.get(realm, written.filter, &destination);
            // What was said in an earlier list does not count in this one.
            let before = before.filter(|before| before.list == list).copied();
            destination.count += before.map_or(0, |before| before.count);
            let inserted = if refused {
                None
            } else {
                topics.routes.insert(realm, written.filter, destination).ok()
            };
            let Some(inserted) = inserted else {
                topics.shares.drop(share);
                self.counters.topic_limits += 1;
                return Err(code::OVERLOADED);
            };
            if inserted.replaced.is_some() {
                topics.shares.drop(share);
            }
            return Ok(inserted.replaced.is_none());
        }
        let share = written.share.map_or(0, |name| topics.shares.find(name));
        if written.share.is_some() && share == 0 {
            return Ok(false);
        }
        let destination = Destination { share, who, count: 0, list };
        let before = topics.routes.get(realm, written.filter, &destination).copied();
        // What an earlier list has goes with that list.
        let Some(before) = before.filter(|before| before.list == list) else { return Ok(false) };
        if before.count > 1 {
            let fewer = Destination { count: before.count - 1, ..before };
            // Taking the place of an equal one is never refused.
            let _ = topics.routes.insert(realm, written.filter, fewer);
            return Ok(false);
        }
        topics.routes.remove(realm, written.filter, &destination);
        topics.shares.drop(share);
        Ok(true)
    }

    /// Looks through a part of the tree for those who have gone.
    pub(super) fn go_on_sweeping(&mut self) {
        let Some(mut place) = self.topics.swept else { return };
        let end = place + SWEEP_PER_TURN_MAX as u64;
        while place < end {
            let topics = &mut self.topics;
            let left = (end - place) as usize;
            let Some((id, next)) = topics.routes.walk(place, left) else {
                topics.swept = std::mem::take(&mut topics.sweep_again).then_some(0);
                return;
            };
            place = next;
            let Some(id) = id else { continue };
            let gone = |destination: &&Destination| match destination.who {
                Who::Worker(worker) => !self.commit.origins.is_here(worker),
                Who::Home(home) => {
                    topics.followers.is_void(self.settings.host_of(home), destination.list)
                }
            };
            let gone: Vec<Destination> =
                topics.routes.subscribers(id).filter(gone).copied().collect();
            let mut text = Vec::new();
            for destination in gone {
                if let Who::Home(home) = destination.who {
                    let realm = self.written(id, &destination, &mut text);
                    self.note_followed(home, false, realm, &text);
                }
                self.topics.routes.remove_from(id, &destination);
                self.topics.shares.drop(destination.share);
                self.counters.hit(Mark::RoutesSwept);
            }
        }
        self.topics.swept = Some(place);
    }
}

impl super::Topics {
    /// A home shard said it in a list that another one has taken the place of.
    pub(super) fn is_void(&self, host: u16, destination: &Destination) -> bool {
        self.followers.is_void(host, destination.list)
    }

    /// Somebody has gone: what they wanted is looked for and forgotten.
    pub fn sweep(&mut self) {
        // What was passed already may be theirs, too; but a sweep under way comes to its end.
        self.sweep_again |= self.swept.is_some();
        self.swept.get_or_insert(0);
    }
}
