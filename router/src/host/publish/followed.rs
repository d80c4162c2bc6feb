//! What home shards of other processes follow is kept in the log: a host that begins anew while
//! one of them is away goes on with what it knew, and keeps its entries until it is back.
//!
//! Records stand in one shard of the host. They say who follows a filter, not how many members a
//! share has there: that is known again when the home says its list.

use super::super::Host;
use super::route::{Destination, Who};
use crate::record;
use crate::topic::FilterId;
use crate::topic::followed::{put_host, put_line};

/// Places of a walk through all filters that one step looks at.
const STEP: usize = 4096;

impl Host {
    /// The shard whose records say what homes of other processes follow.
    pub(in crate::host) fn keeps_followed(&self, shard: u8) -> bool {
        self.settings.remote && u16::from(shard) == self.settings.host
    }

    pub(super) fn take_over_followed(&mut self) {
        let Some(shard) = self.shards.get_mut(usize::from(self.settings.host)) else { return };
        let Some(shard) = shard else { return };
        let followed = std::mem::take(&mut shard.followed);
        let remote = |host| self.settings.is_remote(host);
        self.topics
            .followers
            .take_over(followed.hosts.iter().copied().filter(|host| remote(*host)));
        for line in &followed.lines {
            let host = self.settings.host_of(line.home);
            if self.settings.is_remote(host) {
                let list = self.topics.followers.list(host);
                // What has no room now had none before.
                let _ = self.route(true, line.realm, &line.filter, Who::Home(line.home), list);
            }
        }
    }

    /// Notes that a home shard follows a filter from now on, or no longer.
    pub(super) fn note_followed(&mut self, home: u8, add: bool, realm: u32, filter: &[u8]) {
        if self.settings.is_remote(self.settings.host_of(home)) {
            let record = record::Followed { home, add: u8::from(add), realm, filter };
            let (number, position) = self.step_followed();
            record.put(number, position, &mut self.commit.run);
            self.commit.cut_long_run();
        }
    }

    /// Notes that a host has said all that its home shards follow.
    pub(super) fn note_followed_all(&mut self, host: u16) {
        if self.settings.is_remote(host) {
            let (number, position) = self.step_followed();
            record::FollowedAll { host }.put(number, position, &mut self.commit.run);
        }
    }

    fn step_followed(&mut self) -> (u8, u64) {
        let shard = self.shards[usize::from(self.settings.host)].as_mut();
        let shard = shard.expect("a host has the shard of its own number");
        (shard.number, shard.step())
    }

    /// All that the records amount to, for the section of their shard.
    pub(in crate::host) fn put_followed(&self, out: &mut Vec<u8>) {
        for host in self.topics.followers.known().filter(|host| self.settings.is_remote(*host)) {
            put_host(host, out);
        }
        let (mut place, mut text) = (0, Vec::new());
        while let Some((id, next)) = self.topics.routes.walk(place, STEP) {
            place = next;
            let Some(id) = id else { continue };
            for destination in self.topics.routes.subscribers(id) {
                let Who::Home(home) = destination.who else { continue };
                if self.settings.is_remote(self.settings.host_of(home)) {
                    let realm = self.written(id, destination, &mut text);
                    put_line(home, realm, &text, out);
                }
            }
        }
    }

    /// A destination's filter as it was told, share included; its realm.
    pub(super) fn written(&self, id: FilterId, of: &Destination, text: &mut Vec<u8>) -> u32 {
        text.clear();
        if of.share != 0 {
            text.extend_from_slice(b"$share/");
            text.extend_from_slice(self.topics.shares.name(of.share));
            text.push(b'/');
        }
        self.topics.routes.text(id, text)
    }
}
