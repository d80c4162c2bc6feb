//! A table by slot that takes memory only where it is used.
//!
//! Slots come in pages, made when the first of them is taken and dropped with the last. So nothing
//! is ever copied to grow, and a table of 20,000 slots costs 3 KB until then.

/// Slots of a page: 8 KiB of record states, what the allocator gives without a detour, and little
/// beside one of them if only one is used.
const SLOTS: usize = 64;

struct Page<T> {
    slots: [Option<T>; SLOTS],
    taken: u8,
}

/// See the module.
pub(super) struct Pages<T>(Vec<Option<Box<Page<T>>>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / SLOTS, slot as usize % SLOTS)
}

impl<T> Pages<T> {
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (page, at) = place(slot);
        self.0.get_mut(page)?.as_mut()?.slots[at].as_mut()
    }

    /// Puts `value` into `slot`; what stood there is dropped.
    pub(super) fn insert(&mut self, slot: u32, value: T) -> &mut T {
        let (page, at) = place(slot);
        if self.0.len() <= page {
            self.0.resize_with(page + 1, || None);
        }
        let empty = || Box::new(Page { slots: [const { None }; SLOTS], taken: 0 });
        let page = self.0[page].get_or_insert_with(empty);
        page.taken += u8::from(page.slots[at].is_none());
        page.slots[at].insert(value)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let (index, at) = place(slot);
        let page = self.0.get_mut(index)?.as_mut()?;
        let value = page.slots[at].take()?;
        page.taken -= 1;
        if page.taken == 0 {
            self.0[index] = None;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lives_as_long_as_one_of_its_slots_is_taken() {
        let mut pages = Pages::default();
        assert_eq!(pages.get_mut(100), None);
        pages.insert(100, 'a');
        pages.insert(101, 'b');
        pages.insert(101, 'c');
        assert_eq!(pages.get_mut(100).copied(), Some('a'));
        assert_eq!(pages.get_mut(99), None);
        assert_eq!(pages.remove(100), Some('a'));
        assert_eq!(pages.remove(100), None);
        assert_eq!(pages.get_mut(101), Some(&mut 'c'));
        assert!(pages.0[1].is_some());
        assert_eq!(pages.remove(101), Some('c'));
        assert!(pages.0.iter().all(Option::is_none));
    }
}
