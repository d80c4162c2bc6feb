//! What is subscribed to one filter: nearly always one value, sometimes very many.

use std::collections::BTreeSet;
use std::collections::btree_set;

/// Memory that one more value beyond the first takes, bytes: a tree of sets is two thirds full.
pub(super) const MORE_BYTES: usize = 16;

pub(super) enum Values<T> {
    None,
    One(T),
    /// Ordered, so that one of a hundred thousand is found and taken out quickly.
    #[allow(clippy::box_collection)]
    // a pointer more, so that all the others take 8 bytes less
    Many(Box<BTreeSet<T>>),
}

impl<T: Ord + Copy> Values<T> {
    pub fn len(&self) -> usize {
        match self {
            Values::None => 0,
            Values::One(_) => 1,
            Values::Many(all) => all.len(),
        }
    }

    pub fn get(&self, value: &T) -> Option<&T> {
        match self {
            Values::None => None,
            Values::One(one) => (one == value).then_some(one),
            Values::Many(all) => all.get(value),
        }
    }

    /// Puts a value in and gives the equal one that was there.
    pub fn put(&mut self, value: T) -> Option<T> {
        match self {
            Values::None => {
                *self = Values::One(value);
                None
            }
            Values::One(one) if *one == value => Some(std::mem::replace(one, value)),
            Values::One(one) => {
                *self = Values::Many(Box::new(BTreeSet::from([*one, value])));
                None
            }
            Values::Many(all) => all.replace(value),
        }
    }

    /// Takes the equal value out.
    pub fn take(&mut self, value: &T) -> Option<T> {
        match self {
            Values::None => None,
            Values::One(one) => {
                let one = (*one == *value).then_some(*one)?;
                *self = Values::None;
                Some(one)
            }
            Values::Many(all) => {
                let taken = all.take(value)?;
                if let (1, Some(last)) = (all.len(), all.first().copied()) {
                    *self = Values::One(last);
                }
                Some(taken)
            }
        }
    }

    pub fn iter(&self) -> Iter<'_, T> {
        match self {
            Values::None => Iter::One(None),
            Values::One(one) => Iter::One(Some(one)),
            Values::Many(all) => Iter::Many(all.iter()),
        }
    }
}

pub(super) enum Iter<'a, T> {
    One(Option<&'a T>),
    Many(btree_set::Iter<'a, T>),
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        match self {
            Iter::One(one) => one.take(),
            Iter::Many(all) => all.next(),
        }
    }
}
