//! Cost of one message in the shard core: Send -> M, two E, Accepted, two Deliver, and the two
//! acknowledgements that follow. Prints nanoseconds and allocations per message.

#![allow(unsafe_code)] // a counting allocator has to implement an unsafe trait
#![allow(missing_docs)]

use hawser_codec::link::{Confirm, Key, Login, Send};
use hawser_codec::time::Now;
use hawser_router::record::Framed;
use hawser_router::{Host, HostSettings, KeySpace, Location, Outputs, Recovery};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages of one turn, as a busy worker hands them over.
const BATCH: usize = 64;
const ROUNDS: usize = 4000;

struct Person {
    key: Key,
    device: Key,
    name: String,
    number: u64,
}

fn people(keys: &KeySpace, count: usize) -> Vec<Person> {
    (0..count)
        .map(|index| {
            let name = format!("user-{index:031}");
            let (key, _) = keys.user(0, name.as_bytes());
            let device = keys.device(&key, b"phone");
            Person { key, device, name, number: 0 }
        })
        .collect()
}

struct Bench {
    host: Host,
    out: Outputs,
    now: Now,
    base: u64,
    /// Records of the runs so far, while they are kept for replay.
    kept: Option<Vec<u8>>,
}

impl Bench {
    /// Ends the turn and makes it durable, as a lane would.
    fn turn(&mut self) {
        self.host.seal(self.now, &mut self.out);
        for (_, buffer) in self.out.downlinks.drain(..) {
            self.host.recycle(buffer);
        }
        for run in self.out.runs.drain(..) {
            let base = Location(1 << 28 | self.base);
            // Begins anew before the end of what a location can name.
            self.base =
                if self.base < 0xe00_0000 { self.base + run.records.len() as u64 } else { 64 };
            self.host.on_durable(self.now, run.number, base);
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&run.records);
            }
            self.host.recycle(run.records);
        }
        self.now.monotonic_us += 100;
    }
}

fn run(pairs: usize) {
    let keys = KeySpace::new([1; 32]);
    let settings = HostSettings::new(0, 1, 1);
    let recovered = Recovery::new(settings.answers_max).finish(1).expect("empty").remove(0);
    let now = Now { monotonic_us: 1, wall_ms: 1_800_000_000_000 };
    let host = Host::new(settings, now, recovered);
    let mut bench = Bench { host, out: Outputs::default(), now, base: 64, kept: None };
    let mut people = people(&keys, pairs * 2);
    let mut batch = Vec::new();
    for (index, person) in people.iter().enumerate() {
        batch.clear();
        Login {
            connection: index as u64,
            user: person.key,
            device: person.device,
            check: 1,
            realm: 0,
            epoch: 0,
            cursor_plus_one: 0,
            rewind: false,
            incarnation: 1,
            announce: false,
            user_name: person.name.as_bytes(),
            device_name: b"phone",
        }
        .put(&mut batch);
        bench.host.on_uplink(bench.now, 0, &batch).expect("a good frame");
        bench.turn();
    }
    let direct: Vec<Key> = (0..pairs)
        .map(|pair| keys.direct(&people[pair * 2].key, &people[pair * 2 + 1].key))
        .collect();
    let mut sequence = vec![0u64; pairs];
    let mut pair = 0;
    let mut spent = std::time::Duration::ZERO;
    let mut allocations = 0;
    let replayed = 2000;
    bench.kept = Some(Vec::new());
    let mut log = Vec::new();
    // Both halves do the same; the second is measured, when windows and buffers have grown.
    for round in 0..ROUNDS * 2 {
        if round == replayed {
            log = bench.kept.take().unwrap_or_default();
        }
        batch.clear();
        for _ in 0..BATCH {
            pair = (pair + 1) % pairs;
            sequence[pair] += 1;
            let (from, to) = (pair * 2, pair * 2 + 1);
            let mut uuid = [0; 16];
            uuid[..8].copy_from_slice(&sequence[pair].to_le_bytes());
            Send {
                connection: from as u64,
                user: people[from].key,
                device: people[from].device,
                peer: people[to].key,
                conversation: direct[pair],
                channel: 0,
                incarnation: 9,
                client_seq: sequence[pair],
                after: 0,
                uuid,
                first_attempt_ms: 0,
                level: 1,
                content: 1,
                receipts: 0,
                sender_name: people[from].name.as_bytes(),
                device_name: b"phone",
                peer_name: people[to].name.as_bytes(),
                body: &[b'x'; 64],
            }
            .put(&mut batch);
            for side in [from, to] {
                people[side].number += 1;
                let (user, device) = (people[side].key, people[side].device);
                let number = people[side].number - 1;
                Confirm { connection: side as u64, user, device, number }.put(&mut batch);
            }
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let began = Instant::now();
        bench.host.on_uplink(bench.now, 0, &batch).expect("good frames");
        bench.turn();
        if round >= ROUNDS {
            spent += began.elapsed();
            allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    let messages = (ROUNDS * BATCH) as f64;
    let counters = bench.host.counters();
    assert_eq!(counters.delivered, counters.accepted * 2);
    println!(
        "{pairs:>7} pairs: {:>6.0} ns per message (send, 2 confirms, 2 delivers), {:.3} allocations",
        spent.as_nanos() as f64 / messages,
        allocations as f64 / messages
    );
    replay(&log);
}

/// Replays a log of which only logins are missing.
fn replay(log: &[u8]) {
    let mut recovery = Recovery::new(128);
    // The shards' first records were logins: positions begin behind them, as after a section.
    let mut rest = log;
    let mut first = std::collections::BTreeMap::new();
    while let Ok((framed, length)) = Framed::take(rest) {
        first.entry(framed.shard).or_insert(framed.position);
        rest = &rest[length..];
    }
    let began = Instant::now();
    let mut rest = log;
    let mut records = 0;
    while let Ok((framed, length)) = Framed::take(rest) {
        let position = framed.position + 1 - first[&framed.shard];
        let at = Location(1 << 28 | (log.len() - rest.len()) as u64 & 0xfff_ffff);
        recovery.apply(&Framed { position, ..framed }, at).expect("a good record");
        rest = &rest[length..];
        records += 1;
    }
    let spent = began.elapsed();
    println!(
        "replay of {records} records, {} MB: {:.0} ns each, {:.2} s per GB",
        log.len() >> 20,
        spent.as_nanos() as f64 / f64::from(records),
        spent.as_secs_f64() * 1e9 / log.len() as f64
    );
}

fn main() {
    for pairs in [100, 1000, 10_000] {
        run(pairs);
    }
}
