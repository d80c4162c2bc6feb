//! Blocks of a mailbox: what a page costs in reads, and that nothing is lost between the tail,
//! blocks and index records, whatever happens.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_router::HostSettings;
use hawser_router::host::Mark;
use shard_world::{Client, Delivered, Heard, World, deliveries, numbers, settings};

/// Reads of a page of 50: three blocks, and one index record in a mailbox of half a million.
const READS_MAX: usize = 4;

fn end(heard: &[Heard]) -> (bool, u64, u16) {
    match heard.last() {
        Some(Heard::PageEnd { more, floor, code, .. }) => (*more, *floor, *code),
        other => panic!("a page ends with its end, not {other:?}"),
    }
}

/// What a page brought, and the reads it took, by round: those of one are asked for at once.
struct Told {
    heard: Vec<Heard>,
    rounds: Vec<usize>,
}

impl Told {
    fn reads(&self) -> usize {
        self.rounds.iter().sum()
    }
}

fn page(world: &mut World, client: &Client, after: u64, limit: u16, backward: bool) -> Told {
    world.reads_by_hand = true;
    world.read(client, after, limit, backward);
    let mut rounds = Vec::new();
    for _ in 0..100 {
        world.settle();
        if world.reads.is_empty() {
            break;
        }
        rounds.push(world.reads.len());
        world.answer_reads();
    }
    world.reads_by_hand = false;
    Told { heard: world.hear(client), rounds }
}

fn body(seq: u64, long_every: u64) -> Vec<u8> {
    let mut body = format!("body {seq}").into_bytes();
    if seq.is_multiple_of(long_every) {
        body.resize(700, b'.');
    }
    body
}

/// Bob's mailbox with `count` entries between those of others, and every so many with a body that
/// stands in its message alone. The latest are far apart, so that no two are read with one request.
fn busy_mailbox(world: &mut World, count: u64, long_every: u64) -> Client {
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.stall(&bob);
    let others = ["cid", "dee", "eve", "fay"];
    let mut other_seq = 1 << 32;
    for seq in 1..=count {
        world.send(&ann, "bob", seq, &body(seq, long_every));
        if seq.is_multiple_of(4) || seq + 100 > count {
            other_seq += 1;
            let between = vec![b'-'; if seq + 100 > count { 8_000 } else { 8 }];
            world.send(&ann, others[(seq % 4) as usize], other_seq, &between);
        }
        if seq.is_multiple_of(64) {
            world.settle();
            world.heard.clear();
        }
        if seq.is_multiple_of(50_000) {
            world.next_segment();
            world.checkpoint();
            world.drop_records();
        }
    }
    world.settle();
    world.heard.clear();
    bob
}

#[test]
fn a_page_of_fifty_costs_at_most_four_reads_and_one_for_each_long_body() {
    const COUNT: u64 = 100_000;
    for long_every in [u64::MAX, 10] {
        let mut world = World::new();
        let bob = busy_mailbox(&mut world, COUNT, long_every);
        let mut most = 0;
        let starts = [0, 1, 31, 32, 33, 63, 4_063, 4_095, 4_097, 8_190, 49_999, 50_017, 95_800];
        let newest = [COUNT - 4_100, COUNT - 100, COUNT - 60, COUNT - 50, COUNT - 31, COUNT - 1];
        for after in starts.into_iter().chain(newest) {
            for backward in [false, true] {
                let top = COUNT.min(after + 50);
                let (from, wanted): (u64, Vec<u64>) = if backward {
                    (top + 1, (top - 49..=top).rev().collect())
                } else {
                    (after, (after + 1..=top).collect())
                };
                let told = page(&mut world, &bob, from, 50, backward);
                assert_eq!(numbers(&told.heard), wanted);
                let entries = deliveries(&told.heard);
                assert!(entries.iter().all(|d| d.body == body(d.number, long_every)));
                let long = entries.iter().filter(|d| d.body.len() > 512).count();
                assert!(told.reads() <= READS_MAX + long, "{after}: {:?}", told.rounds);
                // Index record, blocks, bodies.
                assert!(told.rounds.len() <= 3, "{after}: {:?}", told.rounds);
                if after + 128 >= COUNT {
                    assert!(told.rounds.len() <= 2, "{after}: {:?}", told.rounds);
                }
                most = most.max(told.reads() - long);
            }
        }
        assert_eq!(most, READS_MAX, "the bound is the one that is reached");
        assert!(world.hosts[0].counters().mark(Mark::PageThroughIndex) > 0);
    }
}

#[test]
fn a_whole_mailbox_is_read_forward_with_about_three_reads_a_page() {
    const COUNT: u64 = 20_000;
    let mut world = World::new();
    let bob = busy_mailbox(&mut world, COUNT, u64::MAX);
    let (mut after, mut pages, mut reads) = (0, 0, 0);
    loop {
        let told = page(&mut world, &bob, after, 50, false);
        let found = numbers(&told.heard);
        assert_eq!(found, (after + 1..=(after + 50).min(COUNT)).collect::<Vec<_>>());
        (after, pages, reads) = (after + 50, pages + 1, reads + told.reads());
        if !end(&told.heard).0 {
            break;
        }
    }
    assert_eq!(pages, COUNT / 50);
    assert!(reads as f64 / pages as f64 <= 3.6, "{reads} reads for {pages} pages");
}

#[test]
fn the_newest_page_costs_no_more_after_a_restart() {
    let mut world = World::new();
    busy_mailbox(&mut world, 1_055, u64::MAX);
    for checkpoint in [false, true] {
        if checkpoint {
            world.checkpoint();
        }
        world.crash(2, |waiting| waiting);
        let bob = world.login("bob", "desk");
        world.hear(&bob);
        let told = page(&mut world, &bob, 1_005, 50, false);
        assert_eq!(numbers(&told.heard), (1_006..=1_055).collect::<Vec<_>>());
        assert!(told.reads() <= READS_MAX && told.rounds.len() == 1, "{:?}", told.rounds);
    }
}

#[test]
fn blocks_are_found_in_order_whatever_lane_is_replayed_first() {
    let mut settings = settings();
    (settings.same_lane, settings.recent_bytes_max) = (false, 0);
    let mut world = World::with(settings, 2);
    let ann = world.login("ann", "phone");
    // A mailbox that writes lane 1 in this life and lane 0 in the next.
    let on_lane_1 = |name: &String| world.keys.user(0, name.as_bytes()).0[0] % 2 == 1;
    let name = (0..100).map(|n| format!("bob {n}")).find(on_lane_1).unwrap();
    let send = |world: &mut World, ann: &Client, seqs: std::ops::RangeInclusive<u64>| {
        for seq in seqs {
            world.send(ann, &name, seq, &vec![b'b'; 500]);
            world.send(ann, "cid", seq + 1_000, &vec![b'-'; 8_000]);
        }
    };
    send(&mut world, &ann, 1..=31);
    world.settle();
    // The first block is under way while the checkpoint is made.
    send(&mut world, &ann, 32..=32);
    let before = world.hosts[1].counters().blocks;
    for _ in 0..10 {
        if world.hosts[1].counters().blocks > before {
            break;
        }
        world.turn();
        world.flush_one(0);
        world.flush_one(1);
        world.turn();
    }
    world.checkpoint();
    world.settle();
    world.settings.same_lane = true;
    world.crash(1, |_| 0);
    let mut ann = ann;
    world.relogin(&mut ann);
    send(&mut world, &ann, 33..=64);
    world.settle();
    world.crash(1, |_| 0);
    let bob = world.login(&name, "desk");
    world.hear(&bob);
    let told = page(&mut world, &bob, 0, 64, false);
    assert_eq!(numbers(&told.heard), (1..=64).collect::<Vec<_>>());
    assert_eq!(told.rounds, [2], "two blocks and nothing else");
}

fn forgetful() -> World {
    World::with(HostSettings { recent_bytes_max: 0, ..settings() }, 1)
}

#[test]
fn entries_that_left_memory_are_read_one_by_one_until_their_block_is_written() {
    let mut world = forgetful();
    let bob = busy_mailbox(&mut world, 1_055, 10);
    let told = page(&mut world, &bob, 1_005, 50, false);
    assert_eq!(numbers(&told.heard), (1_006..=1_055).collect::<Vec<_>>());
    assert!(deliveries(&told.heard).iter().all(|d| d.body == body(d.number, 10)));
    assert!(told.rounds[0] <= 31 + 2, "{:?}", told.rounds);
    // Older ones were brought together from the log.
    let told = page(&mut world, &bob, 500, 50, false);
    assert!(told.rounds[0] <= 3, "{:?}", told.rounds);
    assert!(deliveries(&told.heard).iter().all(|d| d.body == body(d.number, 10)));
    let counters = world.hosts[0].counters();
    assert!(counters.mark(Mark::BlockGathered) > 30);
    assert_eq!(counters.mark(Mark::BlockOfReferences), 0);
    assert!(counters.recent_missed > 0);
}

#[test]
fn a_disk_too_slow_for_gathering_leaves_blocks_that_only_name_their_entries() {
    let mut world = forgetful();
    let ann = world.login("ann", "phone");
    let peers: Vec<String> = (0..8).map(|peer| format!("peer {peer}")).collect();
    world.reads_by_hand = true;
    for seq in 1..=80u64 {
        for (at, peer) in peers.iter().enumerate() {
            world.send(&ann, peer, seq * 8 + at as u64, &body(seq, 10));
        }
        world.settle();
    }
    world.heard.clear();
    assert!(world.hosts[0].counters().mark(Mark::BlockOfReferences) > 0);
    world.answer_reads();
    world.settle();
    for peer in &peers {
        let client = world.login(peer, "desk");
        world.stall(&client);
        world.hear(&client);
        let told = page(&mut world, &client, 10, 50, false);
        assert_eq!(numbers(&told.heard), (11..=60).collect::<Vec<_>>());
        assert!(deliveries(&told.heard).iter().all(|d| d.body == body(d.number, 10)), "{peer}");
    }
}

#[test]
fn blocks_of_many_mailboxes_are_written_over_several_turns() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let peers: Vec<String> = (0..300).map(|peer| format!("peer {peer}")).collect();
    for seq in 0..32u64 {
        for (at, peer) in peers.iter().enumerate() {
            world.send(&ann, peer, seq * 300 + at as u64 + 1, b"all at once");
        }
    }
    world.heard.clear();
    let mut most = 0;
    for _ in 0..2_000 {
        let before = world.hosts[0].counters().blocks;
        world.seal(0);
        most = most.max(world.hosts[0].counters().blocks - before);
        if !world.flush_one(0) && !world.hosts[0].is_ready() {
            break;
        }
    }
    assert!(world.hosts[0].counters().blocks >= 600, "all get theirs, and the sender his");
    assert_eq!(most, 64);
}

#[test]
fn a_page_is_bounded_in_bytes_and_goes_on_behind() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.stall(&bob);
    let long = |seq: u64| vec![seq as u8; 60_000];
    for seq in 1..=20 {
        world.send(&ann, "bob", seq, &long(seq));
        world.settle();
    }
    world.heard.clear();
    let (mut after, mut found) = (0, Vec::new());
    for _ in 0..20 {
        let told = page(&mut world, &bob, after, 50, false);
        let entries = deliveries(&told.heard);
        let bytes: usize = entries.iter().map(|d| d.body.len()).sum();
        assert!(!entries.is_empty() && bytes <= 256 << 10);
        assert!(told.reads() <= entries.len(), "bodies that are left out are not read");
        after = entries.last().unwrap().number;
        found.extend(entries);
        if !end(&told.heard).0 {
            break;
        }
    }
    assert!(found.iter().all(|d| d.body == long(d.number)));
    assert_eq!(found.iter().map(|d| d.number).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    let told = page(&mut world, &bob, u64::MAX, 50, true);
    assert_eq!(numbers(&told.heard), [20, 19, 18, 17]);
    assert!(end(&told.heard).0);
    assert!(world.hosts[0].counters().mark(Mark::PageCutByBytes) > 0);
}

#[test]
fn an_entry_whose_message_is_gone_is_below_the_floor_with_all_before_it() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.stall(&bob);
    // 1 to 31 stand in the first segment, 10 with a body in its message; their block in the next.
    for seq in 1..=64 {
        let body = if seq == 10 { vec![b'l'; 2_000] } else { b"short".to_vec() };
        world.send(&ann, "bob", seq, &body);
        world.settle();
        if seq == 31 {
            world.next_segment();
        }
    }
    world.heard.clear();
    world.drop_segments();
    for (after, backward, wanted) in [
        (0, false, (11..=30).collect::<Vec<_>>()),
        (15, false, (16..=35).collect()),
        (15, true, (11..=14).rev().collect()),
    ] {
        let told = page(&mut world, &bob, after, 20, backward);
        assert_eq!(numbers(&told.heard), wanted);
        assert_eq!(
            end(&told.heard).1,
            if after == 0 || backward { 10 } else { end(&told.heard).1 }
        );
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

/// A mailbox that grows by bursts between crashes; what it holds is checked against its messages.
struct Growing {
    seed: u64,
    random: Random,
    world: World,
    ann: Client,
    bob: Client,
    marks: Vec<u64>,
    /// Accepted by the sender, in order.
    sent: u64,
}

impl Growing {
    fn new(seed: u64) -> Growing {
        let mut random = Random(seed);
        let mut settings = settings();
        settings.same_lane = random.below(2) == 0;
        settings.recent_bytes_max = [0, 128 << 10, 32 << 20][random.below(3) as usize];
        let hosts = 1 + random.below(2) as u16;
        let mut world = World::with(settings, hosts);
        let ann = world.login("ann", "phone");
        let bob = world.login("bob", "desk");
        world.stall(&bob);
        Growing { seed, random, world, ann, bob, marks: vec![0; Mark::ALL.len()], sent: 0 }
    }

    fn burst(&mut self) {
        for _ in 0..self.random.below(400) {
            self.sent += 1;
            self.world.send(&self.ann, "bob", self.sent, &body(self.sent, 17));
            if self.random.below(20) == 0 {
                self.world.turn();
            }
            if self.random.below(10) == 0 {
                let lane = self.random.below(3) as usize;
                self.world.flush_one(lane);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..8 => self.burst(),
            8..10 => self.world.reads_by_hand = !self.world.reads_by_hand,
            10..12 => {
                self.world.answer_reads();
            }
            12..15 => self.world.checkpoint(),
            15..16 => self.crash(),
            _ => {
                self.world.turn();
                for _ in 0..self.random.below(30) {
                    let lane = self.random.below(3) as usize;
                    self.world.flush_one(lane);
                    self.world.turn();
                }
            }
        }
        self.world.heard.clear();
    }

    fn note_marks(&mut self) {
        for host in &self.world.hosts {
            let counters = host.counters();
            assert_eq!((counters.unreadable, counters.stream_gaps), (0, 0), "seed {}", self.seed);
            for (sum, mark) in self.marks.iter_mut().zip(Mark::ALL) {
                *sum += counters.mark(*mark);
            }
        }
    }

    /// Ends the hosts at any point and sends again what did not survive.
    fn crash(&mut self) {
        self.note_marks();
        let random = &mut self.random;
        let hosts = 1 + random.below(2) as u16;
        self.world.settings.same_lane = random.below(2) == 0;
        self.world.crash(hosts, |waiting| random.below(waiting as u64 + 1) as usize);
        self.world.relogin(&mut self.ann);
        self.world.relogin(&mut self.bob);
        self.world.stall(&self.bob);
        self.world.settle();
        self.world.heard.clear();
        // The window answers repeats of what is there and takes the rest.
        for seq in self.sent.saturating_sub(100).max(1)..=self.sent {
            self.world.send(&self.ann, "bob", seq, &body(seq, 17));
        }
    }

    fn check(&mut self, client: &Client, own: bool) {
        let (mut after, mut found) = (0, Vec::<Delivered>::new());
        loop {
            let limit = 1 + self.random.below(100) as u16;
            let told = page(&mut self.world, client, after, limit, false);
            assert_eq!(end(&told.heard).2, 0, "seed {}", self.seed);
            let entries = deliveries(&told.heard);
            after += entries.len() as u64;
            found.extend(entries);
            if !end(&told.heard).0 {
                break;
            }
        }
        let mut last = 0;
        for (number, entry) in (1..).zip(&found) {
            assert_eq!((entry.number, entry.sequence), (number, number), "seed {}", self.seed);
            assert!(entry.client_seq > last, "seed {}: {entry:?}", self.seed);
            last = entry.client_seq;
            let wanted = if own { Vec::new() } else { body(last, 17) };
            assert_eq!(entry.body, wanted, "seed {}", self.seed);
        }
        let before = 1 + self.random.below(found.len() as u64 + 1);
        let told = page(&mut self.world, client, before, 50, true);
        let wanted: Vec<u64> = (before.saturating_sub(50).max(1)..before).rev().collect();
        assert_eq!(numbers(&told.heard), wanted, "seed {}", self.seed);
    }

    fn end(&mut self) {
        self.world.reads_by_hand = false;
        self.world.answer_reads();
        self.world.settle();
        self.world.heard.clear();
        for (client, own) in [(self.bob.clone(), false), (self.ann.clone(), true)] {
            self.world.stall(&client);
            self.check(&client, own);
        }
        self.note_marks();
    }
}

#[test]
fn a_mailbox_keeps_every_entry_through_crashes_at_any_point() {
    let mut marks = vec![0; Mark::ALL.len()];
    for seed in 0..40 {
        let mut growing = Growing::new(seed);
        for _ in 0..60 {
            growing.step();
        }
        growing.end();
        growing.crash();
        growing.end();
        for (sum, mark) in marks.iter_mut().zip(&growing.marks) {
            *sum += mark;
        }
    }
    for mark in [
        Mark::PageFromBlock,
        Mark::PageFromMemory,
        Mark::PageReadEntries,
        Mark::PageThroughIndex,
        Mark::PageReadBody,
        Mark::BlockGathered,
        Mark::BlockOfReferences,
        Mark::IndexWritten,
    ] {
        println!("{mark:?}: {}", marks[mark as usize]);
        assert!(marks[mark as usize] > 0, "{mark:?} was never reached");
    }
}
