//! Topics that have something, level by level, so that a filter finds them.
//!
//! ```text
//! root -> first child -> next -> next ...      children of a node are a list
//!           `-> first child -> ...
//! ```
//!
//! The other way round than [`super::tree`]: there a topic finds filters, here a filter finds
//! topics. A search may touch all of them, so it is done in portions; nodes that fall empty while
//! one is under way are freed when it has ended.

use super::filter::{LEVELS_MAX, is_reserved, levels};
use super::parts::Parts;
use crate::slab::Slab;
use foldhash::quality::FixedState;
use hawser_codec::link::Key;
use std::hash::BuildHasher;

/// No index.
const NONE: u32 = u32::MAX;

struct Node {
    parent: u32,
    first_child: u32,
    /// Neighbours among the children of the parent.
    next: u32,
    previous: u32,
    level: Box<[u8]>,
    /// Key of the topic that ends here.
    key: Option<Key>,
}

/// See the module's head.
pub(crate) struct Names {
    hash: FixedState,
    nodes: Slab<Node>,
    /// Nodes by parent and level.
    edges: Parts,
    /// Child of nothing, by realm; realms are as many as the deployment has.
    roots: Vec<(u32, u32)>,
    /// A search is under way.
    searching: bool,
    /// Nodes that fell empty meanwhile.
    empty: Vec<u32>,
}

/// A search under way.
pub(crate) struct Search {
    /// Filter's levels.
    levels: Vec<Box<[u8]>>,
    /// What is left to be visited.
    waiting: Vec<Visit>,
}

struct Visit {
    node: u32,
    /// Levels of the filter that lead to the node; beyond the filter's `#` they no longer count.
    depth: usize,
    /// The node's neighbours behind it are visited as well.
    siblings: bool,
}

impl Names {
    pub fn new(seed: u64) -> Names {
        Names {
            hash: FixedState::with_seed(seed),
            nodes: Slab::new(),
            edges: Parts::new(),
            roots: Vec::new(),
            searching: false,
            empty: Vec::new(),
        }
    }

    /// Notes a topic; `false` if it has more than [`LEVELS_MAX`] levels.
    pub fn insert(&mut self, realm: u32, topic: &[u8], key: Key) -> bool {
        if levels(topic).count() > LEVELS_MAX {
            return false;
        }
        let mut node = match self.root(realm) {
            Some(root) => root,
            None => {
                let root = self.add_node(NONE, b"");
                self.roots.push((realm, root));
                root
            }
        };
        for level in levels(topic) {
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        self.nodes[node].key = Some(key);
        true
    }

    /// Forgets a topic.
    pub fn remove(&mut self, realm: u32, topic: &[u8]) {
        let Some(node) = self.find_node(realm, topic) else { return };
        self.nodes[node].key = None;
        if self.searching {
            self.empty.push(node);
        } else {
            self.free(node);
        }
    }

    /// Key of a topic.
    pub fn find(&self, realm: u32, topic: &[u8]) -> Option<Key> {
        self.nodes[self.find_node(realm, topic)?].key
    }

    /// Begins a search for the topics that match `filter`. One at a time; it has to be gone on
    /// with until its end.
    pub fn begin(&mut self, realm: u32, filter: &[u8]) -> Search {
        self.searching = true;
        let levels: Vec<Box<[u8]>> = levels(filter).take(LEVELS_MAX).map(Box::from).collect();
        let mut search = Search { levels, waiting: Vec::new() };
        if let Some(root) = self.root(realm) {
            search.waiting.push(Visit { node: root, depth: 0, siblings: false });
        }
        search
    }

    /// Visits at most `visits` nodes and calls `each` with the key of every topic that matches;
    /// `false` from it ends the portion. Gives how many were visited, or `None` at the end.
    pub fn go_on(
        &mut self,
        search: &mut Search,
        visits: usize,
        mut each: impl FnMut(&Key) -> bool,
    ) -> Option<usize> {
        for visited in 0..visits {
            let Some(Visit { node, depth, siblings }) = search.waiting.pop() else {
                self.end_search();
                return None;
            };
            let there = &self.nodes[node];
            if siblings && there.next != NONE {
                search.waiting.push(Visit { node: there.next, depth, siblings });
            }
            let (matches, children) = self.judge(search, node, depth);
            search.waiting.extend(children);
            if matches && self.nodes[node].key.is_some_and(|key| !each(&key)) {
                return Some(visited + 1);
            }
        }
        Some(visits)
    }

    /// Whether what ends at a node matches, and where to go on below.
    fn judge(&self, search: &Search, node: u32, depth: usize) -> (bool, Option<Visit>) {
        let there = &self.nodes[node];
        let levels = &search.levels;
        let rest = |at: usize| levels.get(at).is_some_and(|level| **level == *b"#");
        let is_root = there.parent == NONE;
        // Topics of a reserved name are found by their name only.
        let in_first = !is_root && self.nodes[there.parent].parent == NONE;
        let by_wildcard =
            depth.checked_sub(1).is_some_and(|at| *levels[at] == *b"+") || rest(depth);
        let named = depth > 0 && !is_root && !matches!(&*levels[0], b"+" | b"#");
        if in_first && is_reserved(&there.level) && by_wildcard && !named {
            return (false, None);
        }
        let below =
            |node: u32, depth, siblings| (node != NONE).then_some(Visit { node, depth, siblings });
        if rest(depth) {
            return (!is_root, below(there.first_child, depth, true));
        }
        let Some(level) = levels.get(depth) else { return (true, None) };
        let children = match &**level {
            b"+" => below(there.first_child, depth + 1, true),
            level => self.child(node, level).and_then(|child| below(child, depth + 1, false)),
        };
        (false, children)
    }

    fn end_search(&mut self) {
        self.searching = false;
        for node in std::mem::take(&mut self.empty) {
            self.free(node);
        }
    }

    fn root(&self, realm: u32) -> Option<u32> {
        self.roots.iter().find(|(of, _)| *of == realm).map(|(_, root)| *root)
    }

    fn find_node(&self, realm: u32, topic: &[u8]) -> Option<u32> {
        let mut node = self.root(realm)?;
        for level in levels(topic) {
            node = self.child(node, level)?;
        }
        Some(node)
    }

    fn child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        self.edges.find(self.hash.hash_one((parent, level)), |index| {
            let child = &self.nodes[index];
            child.parent == parent && *child.level == *level
        })
    }

    fn add_node(&mut self, parent: u32, level: &[u8]) -> u32 {
        let (first_child, next, previous) = (NONE, NONE, NONE);
        let level = level.into();
        self.nodes.insert(Node { parent, first_child, next, previous, level, key: None })
    }

    fn add_child(&mut self, parent: u32, level: &[u8]) -> u32 {
        let child = self.add_node(parent, level);
        let next = std::mem::replace(&mut self.nodes[parent].first_child, child);
        self.nodes[child].next = next;
        if next != NONE {
            self.nodes[next].previous = child;
        }
        let (hash, nodes) = (&self.hash, &self.nodes);
        let hash_of = |index| hash.hash_one((nodes[index].parent, &*nodes[index].level));
        self.edges.insert(hash.hash_one((parent, level)), child, hash_of);
        child
    }

    /// Frees a node without topic and children, and those above that were there only for it.
    fn free(&mut self, mut node: u32) {
        loop {
            let there = &mut self.nodes[node];
            // A level is never freed twice: what has been freed is its own parent.
            if there.key.is_some() || there.first_child != NONE || there.parent == node {
                return;
            }
            let Node { parent, next, previous, .. } = *there;
            there.parent = node;
            let level = std::mem::take(&mut there.level);
            self.nodes.release(node);
            if parent == NONE {
                self.roots.retain(|(_, root)| *root != node);
                return;
            }
            self.edges.remove(self.hash.hash_one((parent, &*level)), node);
            match previous {
                NONE => self.nodes[parent].first_child = next,
                previous => self.nodes[previous].next = next,
            }
            if next != NONE {
                self.nodes[next].previous = previous;
            }
            node = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::is_match;
    use super::*;
    use proptest::prelude::*;

    fn key(number: usize) -> Key {
        (number as u128).to_le_bytes()
    }

    fn search(names: &mut Names, filter: &str, portion: usize) -> Vec<Key> {
        let mut found = Vec::new();
        let mut search = names.begin(0, filter.as_bytes());
        while names
            .go_on(&mut search, portion, |key| {
                found.push(*key);
                found.len() % 2 == 0
            })
            .is_some()
        {}
        found.sort_unstable();
        found
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop::sample::select(levels), 1..5);
        let joined = levels.prop_map(|levels| levels.join("/"));
        joined.prop_filter("not empty", |text| !text.is_empty())
    }

    proptest! {
        #[test]
        fn a_search_in_portions_finds_what_matches(
            topics in prop::collection::vec(text(&["", "a", "b", "$x"]), 0..20),
            gone in prop::collection::vec(any::<bool>(), 20),
            filter in text(&["", "a", "b", "$x", "+", "+"]),
            rest in any::<bool>(),
            portion in 1..5usize,
        ) {
            let filter = if rest { format!("{filter}/#") } else { filter };
            let mut names = Names::new(1);
            for (number, topic) in topics.iter().enumerate() {
                prop_assert!(names.insert(0, topic.as_bytes(), key(number)));
                prop_assert!(names.insert(1, topic.as_bytes(), key(1000)));
            }
            for (_, topic) in topics.iter().enumerate().filter(|(at, _)| gone[*at]) {
                names.remove(0, topic.as_bytes());
                names.remove(0, topic.as_bytes());
            }
            let last = |topic: &String| topics.iter().rposition(|other| other == topic);
            let there = |topic: &String| {
                !topics.iter().enumerate().any(|(at, other)| gone[at] && other == topic)
            };
            for filter in [filter.as_str(), "#", "+/#"] {
                let mut wanted: Vec<Key> = (0..topics.len())
                    .filter(|at| last(&topics[*at]) == Some(*at) && there(&topics[*at]))
                    .filter(|at| is_match(filter.as_bytes(), topics[*at].as_bytes()))
                    .map(key)
                    .collect();
                wanted.sort_unstable();
                prop_assert_eq!(search(&mut names, filter, portion), wanted, "{}", filter);
            }
            for topic in &topics {
                names.remove(0, topic.as_bytes());
                names.remove(1, topic.as_bytes());
            }
            prop_assert_eq!((names.nodes.count(), names.roots.len()), (0, 0));
        }
    }

    #[test]
    fn a_topic_that_goes_while_a_search_is_under_way_does_not_disturb_it() {
        let mut names = Names::new(1);
        for number in 0..10 {
            names.insert(0, format!("a/{number}").as_bytes(), key(number));
        }
        let mut search = names.begin(0, b"a/+");
        let mut found = Vec::new();
        let mut number = 0;
        while names
            .go_on(&mut search, 1, |key| {
                found.push(*key);
                true
            })
            .is_some()
        {
            names.remove(0, format!("a/{}", number % 10).as_bytes());
            names.insert(0, format!("a/{}", 9 - number % 10).as_bytes(), key(9 - number % 10));
            number += 1;
        }
        assert!(found.len() >= 5, "{}", found.len());
        for number in 0..10 {
            names.remove(0, format!("a/{number}").as_bytes());
        }
        assert_eq!(names.nodes.count(), 0);
    }

    #[test]
    fn the_deepest_topic_is_the_limit() {
        let mut names = Names::new(1);
        assert!(names.insert(0, &[b'/'; LEVELS_MAX - 1], key(1)));
        assert!(!names.insert(0, &[b'/'; LEVELS_MAX], key(2)));
        assert_eq!(search(&mut names, "#", 7), [key(1)]);
    }
}
