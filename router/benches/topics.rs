//! What filters cost: bytes of one subscription and time of one match in a tree of 1,000,000
//! filters, by kind of filter.

#![allow(unsafe_code)] // a counting allocator has to implement an unsafe trait
#![allow(missing_docs)]

use hawser_router::topic::{FilterTree, TreeLimits};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().next_multiple_of(16), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().next_multiple_of(16), Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FILTERS: u64 = 1_000_000;
const MATCHES: u64 = 1_000_000;
const LIMITS: TreeLimits = TreeLimits { subscriptions: 2_000_000, bytes: 1 << 30 };

/// A topic of `device`, 30 bytes.
fn topic(device: u64) -> String {
    format!("site/{:04}/device/{device:07}/state", device % 1000)
}

type Naming = fn(u64) -> String;

const KINDS: [(&str, Naming); 4] = [
    ("exact      site/S/device/D/state", topic),
    ("one level  site/S/device/D/+", |device| {
        format!("site/{:04}/device/{device:07}/+", device % 1000)
    }),
    ("rest       site/S/device/D/#", |device| {
        format!("site/{:04}/device/{device:07}/#", device % 1000)
    }),
    ("any site   site/+/device/D/state", |device| format!("site/+/device/{device:07}/state")),
];

/// Spreads consecutive numbers.
fn drawn(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn main() {
    println!("{FILTERS} filters, one subscription each; topics of 30 bytes, one match each");
    for (name, naming) in KINDS {
        let before = HELD.load(Ordering::Relaxed);
        let mut tree: FilterTree<u64> = FilterTree::new(LIMITS, 7);
        let began = Instant::now();
        for device in 0..FILTERS {
            tree.insert(0, naming(device).as_bytes(), device).expect("the limits are wide");
        }
        let insert_ns = began.elapsed().as_nanos() as u64 / FILTERS;
        let bytes = (HELD.load(Ordering::Relaxed) - before) as u64 / FILTERS;
        let counted = (tree.bytes() as u64) / FILTERS;
        let topics: Vec<String> = (0..65_536).map(|n| topic(drawn(n) % FILTERS)).collect();
        let began = Instant::now();
        let mut found = 0;
        for at in 0..MATCHES {
            let topic = &topics[at as usize % topics.len()];
            tree.matches(0, topic.as_bytes(), |_, value| found += black_box(*value) & 1 | 1);
        }
        let match_ns = began.elapsed().as_nanos() as u64 / MATCHES;
        assert!(found >= MATCHES, "every topic has its filter");
        println!(
            "{name:34} {bytes:4} B a subscription ({counted} B as limited), \
             {match_ns:5} ns a match, {insert_ns:5} ns an insert"
        );
    }
}
