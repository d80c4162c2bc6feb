//! Connections by descriptor slot, with generations.
//!
//! The slot *is* the socket's index in the ring's descriptor table, so no second table maps one
//! to the other. Address space for the whole table is reserved at start and memory is touched only
//! where connections come: a table of 20,000 costs nothing until then, and no growth copies what
//! is held.

/// A slot in one of its lives. Late completions name an earlier life and find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// Index of the slot.
    pub slot: u32,
    /// Life of the slot, counted modulo [`hawser_ring::GENERATIONS`].
    pub generation: u32,
}

impl Handle {
    /// As the router tier names a connection: slot low, generation high.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// Back from the router tier's name.
    pub const fn from_u64(raw: u64) -> Self {
        Self { slot: raw as u32, generation: (raw >> 32) as u32 }
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// See the module.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    occupied: u32,
}

impl<T> Slab<T> {
    /// Room for `slots` slots, none touched yet.
    pub fn new(slots: u32) -> Self {
        Self { slots: Vec::with_capacity(slots as usize), occupied: 0 }
    }

    /// Slots in use.
    pub fn occupied(&self) -> u32 {
        self.occupied
    }

    /// Puts `value` into `slot`, which must be free (the kernel hands a slot out once).
    pub fn insert(&mut self, slot: u32, value: T) -> Handle {
        let index = slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || Slot { generation: 0, value: None });
        }
        let entry = &mut self.slots[index];
        assert!(entry.value.is_none(), "the descriptor table gave out slot {slot} twice");
        entry.value = Some(value);
        self.occupied += 1;
        Handle { slot, generation: entry.generation }
    }

    /// The value, if this life of the slot is still the present one.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.slots.get_mut(handle.slot as usize)?;
        if entry.generation == handle.generation { entry.value.as_mut() } else { None }
    }

    /// Ends this life of the slot: the next one has another generation.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let entry = self.slots.get_mut(handle.slot as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) % hawser_ring::GENERATIONS;
        self.occupied -= 1;
        Some(value)
    }

    /// Present handle of an occupied slot.
    pub fn handle(&self, slot: u32) -> Option<Handle> {
        let entry = self.slots.get(slot as usize)?;
        entry.value.as_ref()?;
        Some(Handle { slot, generation: entry.generation })
    }

    /// Slots up to the highest ever used.
    pub fn end(&self) -> u32 {
        self.slots.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_of_an_earlier_life_finds_nothing() {
        let mut slab = Slab::new(1000);
        let first = slab.insert(700, 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(700, 'b');
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.occupied(), 1);
    }

    #[test]
    fn a_slot_beyond_the_table_is_nobody() {
        let mut slab: Slab<u8> = Slab::new(10);
        assert_eq!(slab.get_mut(Handle { slot: 1 << 20, generation: 0 }), None);
        assert_eq!(slab.handle(3), None);
    }
}
