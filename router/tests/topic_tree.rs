//! The tree of filters against a naive matcher, and its bounds.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

use hawser_router::topic::filter::is_match;
use hawser_router::topic::{FilterTree, LEVELS_MAX, TreeLimits};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: TreeLimits = TreeLimits { subscriptions: 10_000, bytes: 1 << 20 };

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "cc", "$x", "$SYS"])
}

fn topic() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    levels.prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let one = prop_oneof![3 => level(), 2 => Just("+")];
    let levels = (prop::collection::vec(one, 0..5), prop::bool::weighted(0.3));
    let joined = levels.prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        levels.join("/")
    });
    joined.prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, String, u32),
    Remove(u32, String, u32),
    Match(u32, String),
}

fn step() -> impl Strategy<Value = Step> {
    let (realm, value) = (0..2u32, 0..3u32);
    prop_oneof![
        3 => (realm.clone(), filter(), value.clone()).prop_map(|(r, f, v)| Step::Insert(r, f, v)),
        2 => (realm.clone(), filter(), value).prop_map(|(r, f, v)| Step::Remove(r, f, v)),
        3 => (realm, topic()).prop_map(|(r, t)| Step::Match(r, t)),
    ]
}

type Naive = BTreeMap<(u32, String, u32), ()>;

fn check_walk(tree: &FilterTree<u32>, naive: &Naive) {
    let mut all = Vec::new();
    let (mut place, mut text) = (0, Vec::new());
    while let Some((id, next)) = tree.walk(place, 3) {
        assert!(next > place);
        place = next;
        let Some(id) = id else { continue };
        text.clear();
        let realm = tree.text(id, &mut text);
        assert_eq!(tree.find(realm, &text), Some(id));
        for value in tree.subscribers(id) {
            all.push((realm, String::from_utf8(text.clone()).unwrap(), *value));
        }
    }
    all.sort();
    assert_eq!(all, naive.keys().cloned().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    // norm: MQTT5-4.7.1-1
    #[test]
    fn a_tree_matches_what_comparing_with_every_filter_matches(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut tree = FilterTree::new(LIMITS, 5);
        let mut naive = Naive::new();
        for step in steps {
            match step {
                Step::Insert(realm, filter, value) => {
                    let there = naive.insert((realm, filter.clone(), value), ()).is_some();
                    let inserted = tree.insert(realm, filter.as_bytes(), value).unwrap();
                    prop_assert_eq!(inserted.replaced.is_some(), there);
                    let of = naive.keys().filter(|(r, f, _)| *r == realm && *f == filter);
                    prop_assert_eq!(inserted.first, !there && of.count() == 1);
                }
                Step::Remove(realm, filter, value) => {
                    let there = naive.remove(&(realm, filter.clone(), value)).is_some();
                    let removed = tree.remove(realm, filter.as_bytes(), &value);
                    prop_assert_eq!(removed.is_some(), there);
                    let left = naive.keys().any(|(r, f, _)| *r == realm && *f == filter);
                    prop_assert_eq!(removed.is_some_and(|removed| removed.last), there && !left);
                }
                Step::Match(realm, topic) => {
                    let mut found = Vec::new();
                    tree.matches(realm, topic.as_bytes(), |id, value| found.push((id, *value)));
                    let mut wanted: Vec<_> = naive
                        .keys()
                        .filter(|(r, f, _)| {
                            *r == realm && is_match(f.as_bytes(), topic.as_bytes())
                        })
                        .map(|(r, f, v)| (tree.find(*r, f.as_bytes()).unwrap(), *v))
                        .collect();
                    found.sort_unstable();
                    wanted.sort_unstable();
                    prop_assert_eq!(found, wanted, "{}", topic);
                }
            }
            prop_assert_eq!(tree.subscriptions(), naive.len());
        }
        check_walk(&tree, &naive);
        for (realm, filter, value) in naive.keys() {
            prop_assert!(tree.remove(*realm, filter.as_bytes(), value).is_some());
        }
        prop_assert_eq!((tree.subscriptions(), tree.filters(), tree.bytes()), (0, 0, 0));
    }
}

#[test]
fn a_full_tree_refuses_and_stays_as_it_is() {
    let limits = TreeLimits { subscriptions: 3, bytes: 4096 };
    let mut tree = FilterTree::new(limits, 0);
    for (filter, value) in [("a", 1), ("a", 2), ("b/+", 1)] {
        tree.insert(0, filter.as_bytes(), value).unwrap();
    }
    assert!(tree.insert(0, b"c", 1).is_err());
    assert!(tree.insert(0, b"a", 3).is_err());
    assert!(tree.insert(0, b"a", 2).is_ok_and(|there| there.replaced == Some(2)));
    tree.remove(0, b"a", &1).unwrap();
    tree.insert(0, b"c", 1).unwrap();
    let limits = TreeLimits { subscriptions: 1 << 20, bytes: 4096 };
    let mut tree = FilterTree::new(limits, 0);
    let mut count = 0u32;
    while tree.insert(0, format!("device/{count}/+").as_bytes(), 1).is_ok() {
        count += 1;
    }
    assert!((5..60).contains(&count) && tree.bytes() <= 4096, "{count}");
    assert!(tree.insert(0, b"bad/#/filter", 1).is_err());
}

#[test]
fn the_deepest_filter_and_topics_beyond_it_are_matched_without_recursion() {
    let mut tree = FilterTree::new(LIMITS, 0);
    let text = |level: &str, count: usize| vec![level; count].join("/").into_bytes();
    tree.insert(0, &text("+", LEVELS_MAX), 1).unwrap();
    tree.insert(0, b"a/#", 2).unwrap();
    let mut mixed = text("a", LEVELS_MAX - 1);
    mixed.extend_from_slice(b"/#");
    tree.insert(0, &mixed, 3).unwrap();
    tree.insert(0, &text("a", 1000), 4).unwrap();
    let found = |tree: &FilterTree<u32>, topic: &[u8]| {
        let mut found = Vec::new();
        tree.matches(0, topic, |_, value| found.push(*value));
        found.sort_unstable();
        found
    };
    assert_eq!(found(&tree, &text("a", LEVELS_MAX - 1)), [2, 3]);
    assert_eq!(found(&tree, &text("a", LEVELS_MAX)), [1, 2, 3]);
    assert_eq!(found(&tree, &text("a", LEVELS_MAX + 1)), [2, 3]);
    assert_eq!(found(&tree, &text("a", 1000)), [2, 3, 4]);
    assert!(tree.insert(0, &text("+", LEVELS_MAX + 1), 5).is_err());
}

#[test]
fn a_hundred_thousand_subscribers_of_one_filter_go_one_by_one() {
    let limits = TreeLimits { subscriptions: 100_000, bytes: 8 << 20 };
    let mut tree = FilterTree::new(limits, 0);
    for value in 0..100_000u32 {
        tree.insert(0, b"all", value).unwrap();
    }
    for value in (0..100_000u32).rev() {
        let removed = tree.remove(0, b"all", &value).unwrap();
        assert_eq!(removed.last, value == 0);
    }
    assert_eq!(tree.bytes(), 0);
}
