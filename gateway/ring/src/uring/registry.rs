//! Which ring of this process has which descriptor, so that rings can reach each other.

use std::{
    os::fd::RawFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{RingAddress, setup::Refusal};

/// Rings a process may make in its life; addresses are never used again, so that a message to a
/// ring that has gone cannot reach another.
const RINGS_MAX: usize = 65_536;

/// How others reach a ring.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// For wakes.
    ring: RawFd,
    /// For sockets: another ring of its group while its own table is full.
    receiver: RawFd,
}

static RINGS: Mutex<Vec<Option<Reach>>> = Mutex::new(Vec::new());

/// Gives a new ring its address.
pub(super) fn enter(ring: RawFd) -> Result<RingAddress, Refusal> {
    let mut rings = lock();
    if rings.len() >= RINGS_MAX {
        return Err(Refusal(format!("this process has made {RINGS_MAX} rings already")));
    }
    rings.push(Some(Reach { ring, receiver: ring }));
    Ok(RingAddress(rings.len() as u32 - 1))
}

/// The ring is about to go.
pub(super) fn leave(address: RingAddress) {
    if let Some(entry) = lock().get_mut(address.0 as usize) {
        *entry = None;
    }
}

/// Descriptor of a ring that still lives.
pub(super) fn descriptor(address: RingAddress) -> Option<RawFd> {
    reach(address).map(|reach| reach.ring)
}

/// Descriptor of the ring that takes sockets for the one with this address.
pub(super) fn receiver(address: RingAddress) -> Option<RawFd> {
    reach(address).map(|reach| reach.receiver)
}

/// Sockets passed to `address` go to `receiver` from now on.
pub(super) fn redirect(address: RingAddress, receiver: RawFd) {
    if let Some(Some(reach)) = lock().get_mut(address.0 as usize) {
        reach.receiver = receiver;
    }
}

fn reach(address: RingAddress) -> Option<Reach> {
    lock().get(address.0 as usize).copied().flatten()
}

fn lock() -> MutexGuard<'static, Vec<Option<Reach>>> {
    // A panic between lock and unlock leaves the list whole: each change is one store.
    RINGS.lock().unwrap_or_else(PoisonError::into_inner)
}
