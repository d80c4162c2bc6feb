//! What an attached session that is not kept costs the host in memory, counted at the allocator.

#![allow(unsafe_code)] // a counting allocator has to implement an unsafe trait

mod shard_world;

use hawser_codec::link::Attach;
use hawser_codec::time::Now;
use hawser_router::{Host, Location, Outputs, Recovery};
use shard_world::settings;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Half of what is left of 256 B when a worker has taken its 96 for a connection.
const BYTES_PER_SESSION_MAX: f64 = 80.0;
const USERS: u64 = 200_000;

#[test]
fn a_session_that_is_not_kept_costs_at_most_its_budget() {
    let settings = settings();
    let now = Now { monotonic_us: 1, wall_ms: 1_800_000_000_000 };
    let state = Recovery::new(settings.answers_max).finish(1).unwrap().remove(0);
    let mut host = Host::new(settings, now, state);
    let mut out = Outputs::default();
    let mut batch = Vec::new();
    let mut offset = 64;
    let before = LIVE.load(Ordering::Relaxed);
    for number in 0..USERS {
        let mut user = [0; 16];
        // As spread as a keyed hash.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        user[..8].copy_from_slice(&mixed.to_be_bytes());
        user[8..].copy_from_slice(&mixed.rotate_left(32).wrapping_mul(31).to_le_bytes());
        batch.clear();
        Attach {
            connection: number,
            user,
            device: [1; 16],
            check: 1,
            realm: 0,
            clean: true,
            expiry_s: 0,
            receive_max: 20,
            announce: false,
            will: 0,
            will_retain: false,
            will_delay_s: 0,
            will_expiry_s: 0,
            will_key: [0; 16],
            user_name: b"a name of thirty-six bytes, as usual",
            device_name: b"phone",
            will_topic: b"",
            will_content: b"",
        }
        .put(&mut batch);
        host.on_uplink(now, 0, &batch).unwrap();
        if number % 64 == 63 {
            host.seal(now, &mut out);
            for run in out.runs.drain(..) {
                host.on_durable(now, run.number, Location(1 << 28 | offset));
                offset += 1;
                host.recycle(run.records);
            }
            for (_, bytes) in out.downlinks.drain(..) {
                host.recycle(bytes);
            }
        }
    }
    let live = LIVE.load(Ordering::Relaxed) - before;
    let each = live as f64 / USERS as f64;
    println!("{each:.1} bytes per session");
    assert_eq!(host.counters().attached, USERS);
    assert!(each <= BYTES_PER_SESSION_MAX, "{each:.1} bytes");
}
