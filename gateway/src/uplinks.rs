//! Link frames of one turn, collected per shard host or router, and whether those take more.

use crate::limits;
use hawser_codec::{code, link::Key};
use hawser_router::hosting::Reach;

/// Why a question is not passed on: a code, and when to come back in milliseconds.
pub type Refusal = (u16, u32);

/// Batches towards the shard hosts, one each, and whether they take more.
pub struct Uplinks {
    batches: Vec<Vec<u8>>,
    has_room: bool,
    /// How far the way to each goes; a host of this process is always there.
    reach: Vec<Reach>,
    /// Questions refused for that, by host.
    refused: Vec<u64>,
}

impl Uplinks {
    /// Batches towards `hosts` shard hosts.
    pub fn new(hosts: u16) -> Self {
        let hosts = usize::from(hosts);
        Self {
            batches: vec![Vec::new(); hosts],
            has_room: true,
            reach: vec![Reach::Up; hosts],
            refused: vec![0; hosts],
        }
    }

    fn host_of(&self, key: &Key) -> usize {
        usize::from(key[0]) % self.batches.len()
    }

    /// The batch towards the host that serves `key`.
    pub fn to(&mut self, key: &Key) -> &mut Vec<u8> {
        let host = self.host_of(key);
        &mut self.batches[host]
    }

    /// The batch towards each host: for what concerns all of them.
    pub fn to_each(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        self.batches.iter_mut()
    }

    /// The batch towards one host: for what answers it, not a key.
    pub fn to_host(&mut self, host: u16) -> &mut Vec<u8> {
        &mut self.batches[usize::from(host)]
    }

    /// New work is taken; false while a host is behind by more than the mesh's bound.
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// Opens or shuts the door for new work.
    pub fn set_room(&mut self, has_room: bool) {
        self.has_room = has_room;
    }

    /// How far the way to `host` goes.
    pub fn reach(&self, host: usize) -> Reach {
        self.reach[host]
    }

    /// It goes so far now.
    pub fn set_reach(&mut self, host: usize, reach: Reach) {
        self.reach[host] = reach;
    }

    /// Why a message for the conversation or user of `key` is not taken now.
    pub fn refuse_request(&mut self, key: &Key) -> Option<Refusal> {
        let unreachable = (code::STORAGE_UNAVAILABLE, limits::ROUTER_RETRY_MS);
        self.refuse(key, None, unreachable)
    }

    /// Why a login of the user of `key` is not taken now.
    pub fn refuse_login(&mut self, key: &Key) -> Option<Refusal> {
        self.refuse(key, None, (code::RECOVERING, limits::ROUTER_RETRY_MS))
    }

    /// Why a page of the mailbox of `key` is not asked for now. It would be forgotten by a router
    /// that has not yet heard of the session, so it does not wait for one that is away.
    pub fn refuse_page(&mut self, key: &Key) -> Option<Refusal> {
        let recovering = (code::RECOVERING, limits::ROUTER_RETRY_MS);
        self.refuse(key, Some(recovering), recovering)
    }

    fn refuse(&mut self, key: &Key, away: Option<Refusal>, beyond: Refusal) -> Option<Refusal> {
        let host = self.host_of(key);
        let refusal = match self.reach[host] {
            Reach::Up => None,
            Reach::Crowded => Some((code::OVERLOADED, limits::OVERLOADED_RETRY_MS)),
            Reach::Away => away,
            Reach::Refusing => Some(beyond),
        };
        self.refused[host] += u64::from(refusal.is_some());
        refusal
    }

    /// Questions refused because of `host`, cumulative.
    pub fn refused(&self, host: usize) -> u64 {
        self.refused[host]
    }

    /// Takes what was collected for `host` and leaves `empty` in its place.
    pub fn take(&mut self, host: usize, empty: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.batches[host], empty)
    }

    /// Nothing is collected for `host`.
    pub fn is_empty(&self, host: usize) -> bool {
        self.batches[host].is_empty()
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.batches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_depends_on_how_far_the_way_goes() {
        let mut uplinks = Uplinks::new(2);
        let (mine, other) = ([1; 16], [2; 16]);
        uplinks.set_reach(1, Reach::Away);
        assert_eq!(uplinks.refuse_request(&mine), None);
        assert_eq!(uplinks.refuse_login(&mine), None);
        assert_eq!(uplinks.refuse_page(&mine), Some((code::RECOVERING, limits::ROUTER_RETRY_MS)));
        uplinks.set_reach(1, Reach::Refusing);
        assert_eq!(
            uplinks.refuse_request(&mine),
            Some((code::STORAGE_UNAVAILABLE, limits::ROUTER_RETRY_MS))
        );
        assert_eq!(uplinks.refuse_login(&mine), Some((code::RECOVERING, limits::ROUTER_RETRY_MS)));
        uplinks.set_reach(1, Reach::Crowded);
        let (code, _) = uplinks.refuse_request(&mine).unwrap();
        assert_eq!(code, code::OVERLOADED);
        assert_eq!(uplinks.refuse_request(&other), None);
        assert_eq!((uplinks.refused(1), uplinks.refused(0)), (4, 0));
    }
}
