//! Filters and who subscribed to them, for any kind of subscriber.
//!
//! ```text
//! without wildcard   text --hash--> filter --> values          one look-up for a topic
//! with wildcard      node --level--> node --> filter --> values
//! ```
//!
//! A shard host keeps workers and home shards in one ([`crate::host`]), a gateway's worker its
//! connections. The texts stand here once, however many subscribe, and can be read back
//! ([`FilterTree::text`]): who subscribes needs to keep four bytes, the [`FilterId`].
//!
//! Not a cache and not a parser: shares (`$share/…`) are taken apart before
//! ([`super::Written`]), their groups are part of the value.
//!
//! Invariants: a node lives as long as a filter stands at it or below it; a match visits a node at
//! most once and at most [`LEVELS_MAX`] levels deep, without recursion; nothing grows beyond
//! [`TreeLimits`]; the order in which a match names values depends only on what was inserted and
//! removed, and on the seed.

use super::filter::{LEVELS_MAX, has_wildcard, is_filter, is_reserved, levels};
use super::parts::Parts;
use super::values::{MORE_BYTES, Values};
use crate::slab::Slab;
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;

/// No index.
const NONE: u32 = u32::MAX;
/// Level of a node that stands for `+`; no text has this number.
const PLUS: u32 = u32::MAX - 1;
/// Set in the [`FilterId`] of a filter with a wildcard.
const WILD: u32 = 1 << 31;
/// Indices of one table stay below this, so that the marks above are free.
const INDEX_MAX: usize = (1 << 31) - 16;
/// What a table entry and an allocation's rounding cost beside what they hold, bytes.
const ENTRY_BYTES: usize = 16;

/// How far a tree grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Values of all filters.
    pub subscriptions: usize,
    /// Memory of everything, bytes, as [`FilterTree::bytes`] counts it.
    pub bytes: usize,
}

/// A limit of the tree is reached, or the text is no filter ([`is_filter`]); nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A filter that somebody is subscribed to; names another one once nobody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(u32);

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted<T> {
    /// Where it stands.
    pub id: FilterId,
    /// It is the filter's first value.
    pub first: bool,
    /// The equal value that it took the place of.
    pub replaced: Option<T>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed<T> {
    /// The value as it was stored.
    pub value: T,
    /// It was the filter's last value; its id is void.
    pub last: bool,
}

struct Text {
    bytes: Box<[u8]>,
    uses: u32,
}

struct Node {
    parent: u32,
    /// A text, or [`PLUS`].
    level: u32,
    /// Child for any level.
    plus: u32,
    /// Filter that ends here with `#`.
    rest: u32,
    /// Filter that ends here.
    own: u32,
    /// Children, that for any level included.
    children: u32,
}

struct Exact<T> {
    text: Box<[u8]>,
    realm: u32,
    values: Values<T>,
}

struct Wild<T> {
    /// Where it ends, and whether with `#`.
    node: u32,
    rest: bool,
    realm: u32,
    values: Values<T>,
}

/// See the module's head. `T`'s order is its identity: what it holds beyond that (a count, options)
/// is replaced by inserting an equal value.
pub struct FilterTree<T> {
    limits: TreeLimits,
    hash: FixedState,
    exact: Slab<Exact<T>>,
    by_text: Parts,
    wild: Slab<Wild<T>>,
    nodes: Slab<Node>,
    /// Nodes by parent and level, those for any level not among them.
    edges: Parts,
    texts: Slab<Text>,
    by_level: Parts,
    /// First nodes, by realm. Realms are as many as the deployment has, not as clients wish.
    roots: HashMap<u32, u32, FixedState>,
    subscriptions: usize,
    /// Memory beside the tables, bytes.
    held: usize,
}

impl<T: Ord + Copy> FilterTree<T> {
    /// An empty tree. `seed` should be a secret: without one, strangers could choose texts that
    /// fall into one place of a table and make look-ups slow (never wrong).
    #[must_use]
    pub fn new(limits: TreeLimits, seed: u64) -> FilterTree<T> {
        let hash = FixedState::with_seed(seed);
        FilterTree {
            limits,
            hash,
            exact: Slab::new(),
            by_text: Parts::new(),
            wild: Slab::new(),
            nodes: Slab::new(),
            edges: Parts::new(),
            texts: Slab::new(),
            by_level: Parts::new(),
            roots: HashMap::with_hasher(FixedState::with_seed(seed)),
            subscriptions: 0,
            held: 0,
        }
    }

    /// Values of all filters.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Filters with a value.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.exact.count() + self.wild.count()
    }

    /// Memory in use, bytes; estimated from above, tables that have shrunk not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held
    }

    /// Memory of the tables of indices, bytes; for measurements.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.by_text.bytes() + self.edges.bytes() + self.by_level.bytes()
    }

    /// Puts a value to a filter.
    ///
    /// # Errors
    /// [`Full`], see there. Replacing an equal value is never refused.
    pub fn insert(&mut self, realm: u32, filter: &[u8], value: T) -> Result<Inserted<T>, Full> {
        if let Some(id) = self.find(realm, filter) {
            let values = self.values_mut(id);
            if values.get(&value).is_some() {
                return Ok(Inserted { id, first: false, replaced: values.put(value) });
            }
            self.has_room(MORE_BYTES)?;
            self.values_mut(id).put(value);
            self.subscriptions += 1;
            self.held += MORE_BYTES;
            return Ok(Inserted { id, first: false, replaced: None });
        }
        if !is_filter(filter) {
            return Err(Full);
        }
        let levels = levels(filter).count();
        let wild = has_wildcard(filter);
        let nodes = if wild { levels } else { 0 };
        self.has_room(
            filter.len() + nodes * (size_of::<Node>() + size_of::<Text>() + 3 * ENTRY_BYTES),
        )?;
        let id = match wild {
            true => self.add_wild(realm, filter, value),
            false => self.add_exact(realm, filter, value),
        };
        self.subscriptions += 1;
        Ok(Inserted { id, first: true, replaced: None })
    }

    /// Takes the equal value from a filter.
    pub fn remove(&mut self, realm: u32, filter: &[u8], value: &T) -> Option<Removed<T>> {
        let id = self.find(realm, filter)?;
        self.remove_from(id, value)
    }

    /// Takes the equal value from a filter that is named by its id.
    pub fn remove_from(&mut self, id: FilterId, value: &T) -> Option<Removed<T>> {
        let values = self.values_mut(id);
        let value = values.take(value)?;
        let last = values.len() == 0;
        self.subscriptions -= 1;
        match (last, id.0 & WILD != 0) {
            (false, _) => self.held -= MORE_BYTES,
            (true, true) => self.free_wild(id.0 & !WILD),
            (true, false) => self.free_exact(id.0),
        }
        Some(Removed { value, last })
    }

    /// The stored value that is equal to this one.
    #[must_use]
    pub fn get(&self, realm: u32, filter: &[u8], value: &T) -> Option<&T> {
        self.values(self.find(realm, filter)?).get(value)
    }

    /// The filter, if anybody is subscribed to it.
    #[must_use]
    pub fn find(&self, realm: u32, filter: &[u8]) -> Option<FilterId> {
        if !has_wildcard(filter) {
            return self.find_exact(realm, filter).map(FilterId);
        }
        let mut node = *self.roots.get(&realm)?;
        for level in levels(filter) {
            node = match level {
                b"#" => return wild_id(self.nodes[node].rest),
                b"+" => self.nodes[node].plus,
                text => self.child(node, self.find_text(text)?)?,
            };
            if node == NONE {
                return None;
            }
        }
        wild_id(self.nodes[node].own)
    }

    /// All values of a filter.
    pub fn subscribers(&self, id: FilterId) -> impl Iterator<Item = &T> {
        self.values(id).iter()
    }

    /// Appends the text of a filter to `out` and gives its realm.
    pub fn text(&self, id: FilterId, out: &mut Vec<u8>) -> u32 {
        if id.0 & WILD == 0 {
            let exact = &self.exact[id.0];
            out.extend_from_slice(&exact.text);
            return exact.realm;
        }
        let wild = &self.wild[id.0 & !WILD];
        // A filter has at most as many levels; its nodes name them from the last to the first.
        let mut path = [NONE; LEVELS_MAX];
        let (mut depth, mut at) = (0, wild.node);
        while self.nodes[at].parent != NONE {
            path[depth] = self.nodes[at].level;
            depth += 1;
            at = self.nodes[at].parent;
        }
        for (number, level) in path[..depth].iter().rev().enumerate() {
            if number > 0 {
                out.push(b'/');
            }
            match *level {
                PLUS => out.push(b'+'),
                text => out.extend_from_slice(&self.texts[text].bytes),
            }
        }
        if wild.rest {
            out.extend_from_slice(if depth > 0 { b"/#" } else { b"#" });
        }
        wild.realm
    }

    /// The next filter at or behind a place of a walk through all of them, and the place behind
    /// it; `None` at the end. A walk may be spread over many turns: what is inserted or removed
    /// meanwhile may be met or not, everything else is met once. Looks at `looked` places at most
    /// and then gives no filter but where to go on.
    #[must_use]
    pub fn walk(&self, place: u64, looked: usize) -> Option<(Option<FilterId>, u64)> {
        let (exact, wild) = (u64::from(self.exact.ends()), u64::from(self.wild.ends()));
        for at in place..place.saturating_add(looked as u64) {
            let id = match at.checked_sub(exact) {
                None => FilterId(at as u32),
                Some(at) if at < wild => FilterId(at as u32 | WILD),
                Some(_) => return None,
            };
            if self.values(id).len() > 0 {
                return Some((Some(id), at + 1));
            }
        }
        Some((None, place.saturating_add(looked as u64)))
    }

    /// Calls `each` for every value whose filter matches `topic`; for one that is subscribed
    /// to several of them as often.
    pub fn matches(&self, realm: u32, topic: &[u8], mut each: impl FnMut(FilterId, &T)) {
        if let Some(exact) = self.find_exact(realm, topic) {
            let id = FilterId(exact);
            self.exact[exact].values.iter().for_each(|value| each(id, value));
        }
        let Some(root) = self.roots.get(&realm) else { return };
        self.match_wild(*root, topic, &mut each);
    }

    fn match_wild(&self, root: u32, topic: &[u8], each: &mut impl FnMut(FilterId, &T)) {
        let reserved = is_reserved(topic);
        // Numbers of the topic's levels, as far as anybody has asked for them.
        let mut numbers = [NONE; LEVELS_MAX];
        let (mut known, mut rest) = (0, Some(topic));
        // At most one node of each depth waits while another is followed.
        let mut waiting = [(NONE, 0usize); LEVELS_MAX + 2];
        waiting[0] = (root, 0);
        let mut count = 1;
        while count > 0 {
            count -= 1;
            let (node, depth) = waiting[count];
            let node_at = &self.nodes[node];
            let wildcards = depth > 0 || !reserved;
            if node_at.rest != NONE && wildcards {
                self.emit(node_at.rest, each);
            }
            while known <= depth.min(LEVELS_MAX - 1)
                && let Some(text) = rest
            {
                let end = text.iter().position(|byte| *byte == b'/');
                let level = &text[..end.unwrap_or(text.len())];
                numbers[known] = self.find_text(level).unwrap_or(NONE);
                rest = end.map(|end| &text[end + 1..]);
                known += 1;
            }
            if depth >= known {
                if node_at.own != NONE && rest.is_none() {
                    self.emit(node_at.own, each);
                }
                continue;
            }
            if node_at.plus != NONE && wildcards {
                waiting[count] = (node_at.plus, depth + 1);
                count += 1;
            }
            if numbers[depth] != NONE
                && let Some(child) = self.child(node, numbers[depth])
            {
                waiting[count] = (child, depth + 1);
                count += 1;
            }
        }
    }

    fn emit(&self, wild: u32, each: &mut impl FnMut(FilterId, &T)) {
        let id = FilterId(wild | WILD);
        self.wild[wild].values.iter().for_each(|value| each(id, value));
    }

    fn has_room(&self, more: usize) -> Result<(), Full> {
        let room = self.subscriptions < self.limits.subscriptions
            && self.held + more + size_of::<Exact<T>>() + ENTRY_BYTES <= self.limits.bytes
            && self.subscriptions < INDEX_MAX
            && self.nodes.count() + LEVELS_MAX < INDEX_MAX;
        room.then_some(()).ok_or(Full)
    }

    fn values(&self, id: FilterId) -> &Values<T> {
        match id.0 & WILD {
            0 => &self.exact[id.0].values,
            _ => &self.wild[id.0 & !WILD].values,
        }
    }

    fn values_mut(&mut self, id: FilterId) -> &mut Values<T> {
        match id.0 & WILD {
            0 => &mut self.exact[id.0].values,
            _ => &mut self.wild[id.0 & !WILD].values,
        }
    }

    fn find_exact(&self, realm: u32, text: &[u8]) -> Option<u32> {
        let hash = self.hash.hash_one((realm, text));
        self.by_text.find(hash, |index| {
            let exact = &self.exact[index];
            exact.realm == realm && *exact.text == *text
        })
    }

    fn add_exact(&mut self, realm: u32, filter: &[u8], value: T) -> FilterId {
        let values = Values::One(value);
        let index = self.exact.insert(Exact { text: filter.into(), realm, values });
        let (hash, exact) = (&self.hash, &self.exact);
        let hash_of = |index| hash.hash_one((exact[index].realm, &*exact[index].text));
        self.by_text.insert(hash.hash_one((realm, filter)), index, hash_of);
        self.held += exact_bytes::<T>(filter);
        FilterId(index)
    }

    fn free_exact(&mut self, index: u32) {
        let Exact { text, realm, .. } = &mut self.exact[index];
        let text = std::mem::take(text);
        self.by_text.remove(self.hash.hash_one((*realm, &*text)), index);
        self.held -= exact_bytes::<T>(&text);
        self.exact.release(index);
    }

    fn add_wild(&mut self, realm: u32, filter: &[u8], value: T) -> FilterId {
        let mut node = match self.roots.get(&realm) {
            Some(root) => *root,
            None => {
                let root = self.add_node(NONE, NONE);
                self.roots.insert(realm, root);
                root
            }
        };
        let mut rest = false;
        for level in levels(filter) {
            node = match level {
                b"#" => {
                    rest = true;
                    node
                }
                b"+" if self.nodes[node].plus != NONE => self.nodes[node].plus,
                b"+" => {
                    let child = self.add_node(node, PLUS);
                    self.nodes[node].plus = child;
                    child
                }
                text => {
                    let level = self.find_text(text);
                    match level.and_then(|level| self.child(node, level)) {
                        Some(child) => child,
                        None => self.add_child(node, text),
                    }
                }
            };
        }
        let index = self.wild.insert(Wild { node, rest, realm, values: Values::One(value) });
        let at = &mut self.nodes[node];
        *(if rest { &mut at.rest } else { &mut at.own }) = index;
        self.held += size_of::<Wild<T>>();
        FilterId(index | WILD)
    }

    fn free_wild(&mut self, index: u32) {
        let Wild { node, rest, realm, .. } = self.wild[index];
        let at = &mut self.nodes[node];
        *(if rest { &mut at.rest } else { &mut at.own }) = NONE;
        self.wild.release(index);
        self.held -= size_of::<Wild<T>>();
        self.free_nodes(node, realm);
    }

    /// Frees a node nothing needs, and those above that were needed only for it.
    fn free_nodes(&mut self, mut node: u32, realm: u32) {
        loop {
            let Node { parent, level, own, rest, children, .. } = self.nodes[node];
            if own != NONE || rest != NONE || children > 0 {
                return;
            }
            self.nodes.release(node);
            self.held -= node_bytes();
            if parent == NONE {
                self.roots.remove(&realm);
                return;
            }
            self.nodes[parent].children -= 1;
            if level == PLUS {
                self.nodes[parent].plus = NONE;
            } else {
                self.edges.remove(self.hash.hash_one((parent, level)), node);
                self.drop_text(level);
            }
            node = parent;
        }
    }

    fn add_node(&mut self, parent: u32, level: u32) -> u32 {
        let (plus, rest, own) = (NONE, NONE, NONE);
        if parent != NONE {
            self.nodes[parent].children += 1;
        }
        self.held += node_bytes();
        self.nodes.insert(Node { parent, level, plus, rest, own, children: 0 })
    }

    fn add_child(&mut self, parent: u32, text: &[u8]) -> u32 {
        let level = self.use_text(text);
        let child = self.add_node(parent, level);
        let (hash, nodes) = (&self.hash, &self.nodes);
        let hash_of = |index| hash.hash_one((nodes[index].parent, nodes[index].level));
        self.edges.insert(hash.hash_one((parent, level)), child, hash_of);
        child
    }

    fn child(&self, node: u32, level: u32) -> Option<u32> {
        let hash = self.hash.hash_one((node, level));
        self.edges.find(hash, |index| {
            let child = &self.nodes[index];
            child.parent == node && child.level == level
        })
    }

    fn find_text(&self, text: &[u8]) -> Option<u32> {
        self.by_level.find(self.hash.hash_one(text), |index| *self.texts[index].bytes == *text)
    }

    fn use_text(&mut self, text: &[u8]) -> u32 {
        if let Some(index) = self.find_text(text) {
            self.texts[index].uses += 1;
            return index;
        }
        self.held += text_bytes(text);
        let index = self.texts.insert(Text { bytes: text.into(), uses: 1 });
        let (hash, texts) = (&self.hash, &self.texts);
        let hash_of = |index| hash.hash_one(&*texts[index].bytes);
        self.by_level.insert(hash.hash_one(text), index, hash_of);
        index
    }

    fn drop_text(&mut self, index: u32) {
        let text = &mut self.texts[index];
        text.uses -= 1;
        if text.uses == 0 {
            let bytes = std::mem::take(&mut text.bytes);
            self.by_level.remove(self.hash.hash_one(&*bytes), index);
            self.held -= text_bytes(&bytes);
            self.texts.release(index);
        }
    }
}

fn wild_id(index: u32) -> Option<FilterId> {
    (index != NONE).then_some(FilterId(index | WILD))
}

fn exact_bytes<T>(text: &[u8]) -> usize {
    size_of::<Exact<T>>() + text.len() + ENTRY_BYTES
}

fn node_bytes() -> usize {
    size_of::<Node>() + ENTRY_BYTES
}

fn text_bytes(text: &[u8]) -> usize {
    size_of::<Text>() + text.len() + 2 * ENTRY_BYTES
}
