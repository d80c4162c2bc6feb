//! No wake-up is lost between the workers of a mesh: the very file that does the handshake, run by
//! loom through the interleavings and the reorderings that the memory model allows. A receiver that
//! sleeps for ever ends a run as a deadlock.

use loom::{
    model::Builder,
    sync::{Arc, Condvar, Mutex, atomic},
    thread,
};

#[path = "../src/mesh/doorbell.rs"]
mod doorbell;

use atomic::{AtomicUsize, Ordering};
use doorbell::Doorbell;

/// Switches away from a thread that could go on, per run: loom's authors find nearly all faults with
/// two or three, and without a bound three threads take hours.
const PREEMPTIONS: usize = 3;

/// What sender and receiver share: the doorbell, the receiver's ring, and in place of each queue the number of parcels
/// pushed. The count is relaxed, so that only the doorbell's own ordering makes it visible.
struct Shared<const WORDS: usize> {
    doorbell: Doorbell<WORDS>,
    ring: Ring,
    pushed: Vec<(usize, AtomicUsize)>,
}

/// In place of the kernel's: a wake-up stays until it is taken.
struct Ring {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Ring {
    fn wake(&self) {
        *self.woken.lock().expect("nobody panics") = true;
        self.changed.notify_one();
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock().expect("nobody panics");
        while !*woken {
            woken = self.changed.wait(woken).expect("nobody panics");
        }
        *woken = false;
    }
}

/// Each sender pushes and announces `parcels` times; the receiver sleeps whenever it is allowed to,
/// and is done once it has found all.
fn every_parcel_is_found<const WORDS: usize>(senders: &'static [usize], parcels: usize) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let shared = Arc::new(Shared::<WORDS> {
            doorbell: Doorbell::new(),
            ring: Ring { woken: Mutex::new(false), changed: Condvar::new() },
            pushed: senders.iter().map(|sender| (*sender, AtomicUsize::new(0))).collect(),
        });
        let sending: Vec<_> = (0..senders.len())
            .map(|place| (place, shared.clone()))
            .map(|(place, shared)| {
                thread::spawn(move || {
                    let (sender, pushed) = &shared.pushed[place];
                    for count in 1..=parcels {
                        pushed.store(count, Ordering::Relaxed);
                        if shared.doorbell.announce(*sender) {
                            shared.ring.wake();
                        }
                    }
                })
            })
            .collect();
        receive(&shared, parcels);
        sending.into_iter().for_each(|sender| sender.join().expect("senders do not panic"));
    });
}

/// As a worker does: look, and if there was nothing, sleep until it is woken.
fn receive<const WORDS: usize>(shared: &Shared<WORDS>, parcels: usize) {
    let mut found = vec![0; shared.pushed.len()];
    while found.iter().any(|count| *count < parcels) {
        for word in 0..WORDS {
            let flags = shared.doorbell.take(word);
            for (count, (sender, pushed)) in found.iter_mut().zip(&shared.pushed) {
                if sender / 64 == word && flags >> (sender % 64) & 1 == 1 {
                    *count = pushed.load(Ordering::Relaxed);
                }
            }
        }
        if found.iter().any(|count| *count < parcels) && shared.doorbell.park() {
            shared.ring.sleep();
            shared.doorbell.unpark();
        }
    }
}

#[test]
fn a_receiver_that_sleeps_between_two_parcels_finds_both() {
    every_parcel_is_found::<1>(&[5], 2);
}

#[test]
fn a_receiver_is_woken_by_either_of_two_senders() {
    every_parcel_is_found::<1>(&[0, 63], 1);
}

#[test]
fn a_flag_in_another_word_wakes_as_well() {
    every_parcel_is_found::<2>(&[0, 64], 1);
}
