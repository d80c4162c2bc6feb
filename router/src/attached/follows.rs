//! Which kept sessions of one home shard want what is published under a topic.
//!
//! Ordinary filters stand in a tree, shared ones in a table by their whole text: which of them has
//! a message for this home is said by the topic's host, here it is only given to one member.

use crate::topic::{FilterTree, Full, TreeLimits, Written};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Filters of kept sessions in one shard: a million take some 100 MB.
const LIMITS: TreeLimits = TreeLimits { subscriptions: 1 << 20, bytes: 256 << 20 };
/// Members of one shared filter in one shard: they are searched one after another.
const GROUP_MEMBERS_MAX: usize = 4096;

/// A session with the options of its filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Slot of the session.
    pub session: u32,
    pub options: u8,
}

// A session stands once under a filter, whatever it is subscribed with.
impl PartialEq for Member {
    fn eq(&self, other: &Member) -> bool {
        self.session == other.session
    }
}

impl Eq for Member {}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Member) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Member {
    fn cmp(&self, other: &Member) -> Ordering {
        self.session.cmp(&other.session)
    }
}

/// Members of a shared filter.
#[derive(Default)]
pub(crate) struct Group {
    members: Vec<Member>,
    /// Who is next.
    turn: usize,
}

#[derive(Default)]
pub(crate) struct Follows {
    /// Not there before the first filter.
    tree: Option<Box<FilterTree<Member>>>,
    groups: BTreeMap<(u32, Box<[u8]>), Group>,
}

impl Follows {
    /// Adds a filter of a session, or changes its options. Whether hosts have to be told: it is
    /// the first under this filter, or one member more of a shared one. `seed` as in [`FilterTree::new`].
    pub fn put(
        &mut self,
        realm: u32,
        filter: &[u8],
        member: Member,
        seed: u64,
    ) -> Result<bool, Full> {
        if Written::read(filter).ok_or(Full)?.share.is_none() {
            let tree = self.tree.get_or_insert_with(|| Box::new(FilterTree::new(LIMITS, seed)));
            return tree.insert(realm, filter, member).map(|inserted| inserted.first);
        }
        let group = self.groups.entry((realm, filter.into())).or_default();
        if let Some(there) = group.members.iter_mut().find(|there| **there == member) {
            *there = member;
            return Ok(false);
        }
        if group.members.len() >= GROUP_MEMBERS_MAX {
            return Err(Full);
        }
        group.members.push(member);
        Ok(true)
    }

    /// Takes a filter of a session out. Whether hosts have to be told.
    pub fn remove(&mut self, realm: u32, filter: &[u8], session: u32) -> bool {
        let member = Member { session, options: 0 };
        if Written::read(filter).is_some_and(|written| written.share.is_none()) {
            let tree = self.tree.as_mut();
            let removed = tree.and_then(|tree| tree.remove(realm, filter, &member));
            return removed.is_some_and(|removed| removed.last);
        }
        let key = (realm, filter.into());
        let Some(group) = self.groups.get_mut(&key) else { return false };
        let Some(at) = group.members.iter().position(|there| *there == member) else {
            return false;
        };
        group.members.remove(at);
        if group.members.is_empty() {
            self.groups.remove(&key);
        }
        true
    }

    /// Members of ordinary filters that match, one for each filter.
    pub fn matches(&self, realm: u32, topic: &[u8], mut each: impl FnMut(&Member)) {
        if let Some(tree) = &self.tree {
            tree.matches(realm, topic, |_, member| each(member));
        }
    }

    /// The next member of a shared filter; of those that are `here`, if there are any.
    pub fn pick(
        &mut self,
        realm: u32,
        filter: &[u8],
        here: impl Fn(u32) -> bool,
    ) -> Option<Member> {
        let group = self.groups.get_mut(&(realm, filter.into()))?;
        let count = group.members.len();
        let from = group.turn;
        let at = (from..from + count).find(|at| here(group.members[at % count].session));
        let at = at.unwrap_or(from) % count;
        group.turn = at + 1;
        Some(group.members[at])
    }

    /// The ordinary filter at or behind a place of a walk, in `text`, with its realm, and the next
    /// place; as [`FilterTree::walk`].
    pub fn walk(
        &self,
        place: u64,
        looked: usize,
        text: &mut Vec<u8>,
    ) -> Option<(Option<u32>, u64)> {
        let tree = self.tree.as_ref()?;
        let (id, next) = tree.walk(place, looked)?;
        text.clear();
        Some((id.map(|id| tree.text(id, text)), next))
    }

    /// Shared filters: realm, text, members.
    pub fn shared(&self) -> impl Iterator<Item = (u32, &[u8], usize)> {
        self.groups.iter().map(|((realm, text), group)| (*realm, &**text, group.members.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(session: u32) -> Member {
        Member { session, options: 0 }
    }

    #[test]
    fn hosts_are_told_of_the_first_and_last_session_and_of_each_shared_member() {
        let mut follows = Follows::default();
        assert_eq!(follows.put(0, b"a/#", member(1), 5), Ok(true));
        assert_eq!(follows.put(0, b"a/#", member(2), 5), Ok(false));
        assert!(!follows.remove(0, b"a/#", 1) && follows.remove(0, b"a/#", 2));
        assert!(!follows.remove(0, b"a/#", 2));
        let shared = b"$share/g/a";
        assert_eq!(follows.put(0, shared, member(1), 5), Ok(true));
        assert_eq!(follows.put(0, shared, member(2), 5), Ok(true));
        assert_eq!(follows.put(0, shared, member(2), 5), Ok(false));
        let picked = |follows: &mut Follows, here: &dyn Fn(u32) -> bool| {
            follows.pick(0, shared, here).map(|member| member.session)
        };
        assert_eq!(picked(&mut follows, &|_| true), Some(1));
        assert_eq!(picked(&mut follows, &|_| true), Some(2));
        assert_eq!(picked(&mut follows, &|session| session == 2), Some(2));
        assert_eq!(picked(&mut follows, &|_| false), Some(1));
        assert!(follows.remove(0, shared, 1) && follows.remove(0, shared, 2));
        assert_eq!(picked(&mut follows, &|_| true), None);
        assert_eq!(follows.put(0, b"a/#/b", member(1), 5), Err(Full));
    }
}
