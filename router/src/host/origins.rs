//! Who there is to be told something, and what this turn has for each.
//!
//! Invariants: nothing is said to an origin that has gone, whatever still names it; a turn costs
//! nothing for an origin it says nothing to.

use super::settings::ORIGINS_MAX;
use crate::directory::User;
use crate::origin::Origin;

struct Slot {
    /// Lives this number has begun.
    life: u32,
    here: bool,
    touched: bool,
    /// Devices on-line through it.
    sessions: u64,
    /// What this turn says to it.
    batch: Vec<u8>,
}

impl Slot {
    const fn vacant() -> Slot {
        Slot { life: 0, here: false, touched: false, sessions: 0, batch: Vec::new() }
    }
}

pub(super) struct Origins {
    slots: Vec<Slot>,
    /// Those with something in their batch, perhaps.
    touched: Vec<u16>,
    /// Takes what is said to those who have gone.
    nobody: Vec<u8>,
}

impl Origins {
    /// Origins 0 to `count`.
    pub fn new(count: u16) -> Origins {
        let mut origins = Origins { slots: Vec::new(), touched: Vec::new(), nobody: Vec::new() };
        for number in 0..count {
            origins.come(number);
        }
        origins
    }

    /// Begins a life of `number`; `false` if one is under way or there is no such number.
    pub fn come(&mut self, number: u16) -> bool {
        if number >= ORIGINS_MAX {
            return false;
        }
        if self.slots.len() <= usize::from(number) {
            self.slots.resize_with(usize::from(number) + 1, Slot::vacant);
        }
        let slot = &mut self.slots[usize::from(number)];
        if slot.here {
            return false;
        }
        slot.here = true;
        slot.life = slot.life.wrapping_add(1);
        true
    }

    /// Ends the life of `number` and says how many sessions end with it.
    pub fn go(&mut self, number: u16) -> u64 {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return 0 };
        slot.here = false;
        slot.batch.clear();
        std::mem::take(&mut slot.sessions)
    }

    /// The origin that has this number now.
    pub fn current(&self, number: u16) -> Option<Origin> {
        let slot = self.slots.get(usize::from(number)).filter(|slot| slot.here)?;
        Some(Origin::new(number, slot.life))
    }

    /// It has not gone.
    pub fn is_here(&self, origin: Origin) -> bool {
        self.current(origin.number()) == Some(origin)
    }

    /// Batch of this turn.
    pub fn down(&mut self, origin: Origin) -> &mut Vec<u8> {
        if !self.is_here(origin) {
            self.nobody.clear();
            return &mut self.nobody;
        }
        let slot = &mut self.slots[usize::from(origin.number())];
        if !slot.touched {
            slot.touched = true;
            self.touched.push(origin.number());
        }
        &mut slot.batch
    }

    /// A session began through it.
    pub fn add_session(&mut self, origin: Origin) {
        if self.is_here(origin) {
            self.slots[usize::from(origin.number())].sessions += 1;
        }
    }

    /// A session through it ended.
    pub fn end_session(&mut self, origin: Origin) {
        if self.is_here(origin) {
            self.slots[usize::from(origin.number())].sessions -= 1;
        }
    }

    /// Takes devices off-line whose origin has gone, at this position of their shard. Until then
    /// they only seem to be on-line.
    pub fn end_gone(&self, user: &mut User, position: u64) {
        for slot in 0..user.device_count() {
            let device = user.device(slot);
            if device.is_online() && !self.is_here(device.worker) {
                device.leave(position);
            }
        }
    }

    /// Something was said this turn.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Gives the next batch of this turn and puts `spare` in its place.
    pub fn next_batch(&mut self, mut spare: impl FnMut() -> Vec<u8>) -> Option<(Origin, Vec<u8>)> {
        while let Some(number) = self.touched.pop() {
            let slot = &mut self.slots[usize::from(number)];
            slot.touched = false;
            if !slot.batch.is_empty() {
                let bytes = std::mem::replace(&mut slot.batch, spare());
                return Some((Origin::new(number, slot.life), bytes));
            }
        }
        None
    }
}
