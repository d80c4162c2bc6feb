//! What a crash may and may not take.

use std::path::Path;

use hawser_ring::{
    BLOCK_BYTES, Errno, Event, File, FileMode, Operation, Ring, Token,
    sim::{Crash, Fault, Faults, SimDisk, SimRing, World},
};

use crate::{SETTINGS, WAIT};

const FILE: &str = "/data/lane";

fn world(seed: u64, faults: Faults) -> (World, SimDisk, SimRing) {
    let world = World::new(seed, faults);
    let disk = SimDisk::new(&world);
    disk.create_filled(Path::new(FILE), 2 * BLOCK_BYTES as u64).expect("the disk is empty");
    let ring = SimRing::new(&world, &disk, SETTINGS);
    (world, disk, ring)
}

fn open(ring: &mut SimRing, mode: FileMode) -> File {
    ring.open(Path::new(FILE), mode).expect("made above")
}

fn write(ring: &mut SimRing, file: File, block: u64, fill: u8) {
    let bytes = vec![fill; 2 * BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    let token = Token::new(Operation::Write, u32::from(fill), 0);
    ring.write(file, block * BLOCK_BYTES as u64, bytes, start..start + BLOCK_BYTES, token);
}

fn sync(ring: &mut SimRing, file: File) {
    ring.sync(file, Token::new(Operation::Sync, 0, 0));
}

/// Runs until one completion comes.
fn next(world: &World, ring: &mut SimRing) -> Event {
    for _ in 0..1000 {
        let mut completions = Vec::new();
        ring.turn(WAIT, &mut completions).expect("simulated turns do not fail");
        if let Some(completion) = completions.pop() {
            return completion.event;
        }
        if let Some(next_us) = world.next_event_us() {
            world.advance_to(next_us);
        }
    }
    panic!("nothing completes")
}

/// The kernel takes what was asked, and time stands still.
fn submit(ring: &mut SimRing) {
    let mut completions = Vec::new();
    ring.turn(WAIT, &mut completions).expect("simulated turns do not fail");
    assert!(completions.is_empty());
}

fn block(disk: &SimDisk, block: u64) -> Vec<u8> {
    disk.read_at(Path::new(FILE), block * BLOCK_BYTES as u64, BLOCK_BYTES).expect("it exists")
}

/// How a block looks that was zeros and then written with `fill`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Fate {
    Absent,
    Present,
    Torn,
}

fn fate(disk: &SimDisk, fill: u8) -> Fate {
    let block = block(disk, 0);
    for sector in block.chunks(512) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are written whole");
        assert!(sector[0] == 0 || sector[0] == fill, "nothing else was ever written");
    }
    match block.iter().filter(|byte| **byte == fill).count() {
        0 => Fate::Absent,
        BLOCK_BYTES => Fate::Present,
        _ => Fate::Torn,
    }
}

/// The fates seen over many seeds, sorted.
fn fates(run: impl Fn(u64) -> Fate) -> Vec<Fate> {
    let mut fates: Vec<Fate> = (0..100).map(run).collect();
    fates.sort_unstable();
    fates.dedup();
    fates
}

#[test]
fn a_completed_direct_write_survives_a_power_cut() {
    let seen = fates(|seed| {
        let (world, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::DirectDurable);
        write(&mut ring, file, 0, 9);
        assert!(matches!(next(&world, &mut ring), Event::Written(Ok(BLOCK_BYTES), _)));
        ring.kill();
        disk.crash(Crash::Power);
        fate(&disk, 9)
    });
    assert_eq!(seen, [Fate::Present]);
}

#[test]
fn a_direct_write_in_flight_is_absent_present_or_torn_after_a_power_cut() {
    let seen = fates(|seed| {
        let (_, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::DirectDurable);
        write(&mut ring, file, 0, 9);
        submit(&mut ring);
        ring.kill();
        disk.crash(Crash::Power);
        fate(&disk, 9)
    });
    assert_eq!(seen, [Fate::Absent, Fate::Present, Fate::Torn]);
}

#[test]
fn a_write_in_flight_is_whole_or_absent_after_a_kill() {
    let seen = fates(|seed| {
        let (_, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::DirectDurable);
        write(&mut ring, file, 0, 9);
        submit(&mut ring);
        ring.kill();
        disk.crash(Crash::Process);
        fate(&disk, 9)
    });
    assert_eq!(seen, [Fate::Absent, Fate::Present]);
}

#[test]
fn a_buffered_write_survives_a_kill_but_a_power_cut_only_after_a_sync() {
    let run = |seed, synced, crash| {
        let (world, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::Buffered);
        write(&mut ring, file, 0, 9);
        next(&world, &mut ring);
        if synced {
            sync(&mut ring, file);
            assert!(matches!(next(&world, &mut ring), Event::Synced(Ok(()))));
        }
        ring.kill();
        disk.crash(crash);
        fate(&disk, 9)
    };
    assert_eq!(fates(|seed| run(seed, false, Crash::Process)), [Fate::Present]);
    assert_eq!(fates(|seed| run(seed, true, Crash::Power)), [Fate::Present]);
    let seen = fates(|seed| run(seed, false, Crash::Power));
    assert_eq!(seen, [Fate::Absent, Fate::Present, Fate::Torn]);
}

#[test]
fn a_sync_covers_only_what_completed_before_it() {
    let seen = fates(|seed| {
        let (world, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::Buffered);
        sync(&mut ring, file);
        write(&mut ring, file, 0, 9);
        submit(&mut ring);
        world.advance_to(world.now().monotonic_us + 1_000_000);
        ring.turn(WAIT, &mut Vec::new()).expect("simulated turns do not fail");
        assert_eq!(ring.in_flight(), 0);
        ring.kill();
        disk.crash(Crash::Power);
        fate(&disk, 9)
    });
    assert_eq!(seen, [Fate::Absent, Fate::Present, Fate::Torn]);
}

/// The kernel reports a lost write once and then believes the page is clean.
#[test]
fn a_sync_after_a_failed_one_makes_nothing_durable() {
    let seen = fates(|seed| {
        let (world, disk, mut ring) = world(seed, Faults::none().with(Fault::SyncFailed, 1.0));
        let file = open(&mut ring, FileMode::Buffered);
        write(&mut ring, file, 0, 9);
        next(&world, &mut ring);
        sync(&mut ring, file);
        assert!(matches!(next(&world, &mut ring), Event::Synced(Err(Errno(libc::EIO)))));
        world.set_faults(Faults::none());
        sync(&mut ring, file);
        assert!(matches!(next(&world, &mut ring), Event::Synced(Ok(()))));
        ring.kill();
        disk.crash(Crash::Power);
        fate(&disk, 9)
    });
    assert_eq!(seen, [Fate::Absent, Fate::Present, Fate::Torn]);
}

#[test]
fn later_unsynced_writes_may_survive_earlier_ones() {
    let mut reordered = 0;
    for seed in 0..100 {
        let (world, disk, mut ring) = world(seed, Faults::none());
        let file = open(&mut ring, FileMode::Buffered);
        for (at, fill) in [(0, 1), (1, 2)] {
            write(&mut ring, file, at, fill);
            next(&world, &mut ring);
        }
        ring.kill();
        disk.crash(Crash::Power);
        reordered += u32::from(block(&disk, 0)[0] == 0 && block(&disk, 1)[0] == 2);
    }
    assert!(reordered > 0);
}

#[test]
fn each_disk_fault_is_reported_as_itself() {
    let run = |fault| {
        let (world, _, mut ring) = world(3, Faults::none().with(fault, 1.0));
        let file = open(&mut ring, FileMode::DirectDurable);
        if fault == Fault::ReadFailed {
            ring.read(file, 0, 10, Token::new(Operation::Read, 0, 0));
        } else {
            write(&mut ring, file, 0, 9);
        }
        let event = next(&world, &mut ring);
        assert_eq!(world.counts().of(fault), 1);
        event
    };
    assert!(matches!(run(Fault::WriteFailed), Event::Written(Err(Errno(libc::EIO)), _)));
    assert!(matches!(run(Fault::DiskFull), Event::Written(Err(Errno(libc::ENOSPC)), _)));
    assert!(matches!(run(Fault::ReadFailed), Event::Read(Err(Errno(libc::EIO)))));
    let Event::Written(Ok(short), _) = run(Fault::ShortWrite) else { panic!("it is written") };
    assert!(short > 0 && short < BLOCK_BYTES && short % 512 == 0);
}

#[test]
fn a_full_disk_refuses_growth_and_new_files_only() {
    let (world, disk, mut ring) = world(3, Faults::none());
    disk.set_full(true);
    let file = open(&mut ring, FileMode::DirectDurable);
    write(&mut ring, file, 0, 9);
    assert!(matches!(next(&world, &mut ring), Event::Written(Ok(BLOCK_BYTES), _)));
    write(&mut ring, file, 2, 9);
    assert!(matches!(next(&world, &mut ring), Event::Written(Err(Errno(libc::ENOSPC)), _)));
    assert!(disk.create_filled(Path::new("/data/new"), 1).is_err());
    assert_eq!(disk.list(Path::new("/data")), ["lane"]);
}

#[test]
fn names_are_replaced_as_a_whole() {
    let (_, disk, _) = world(3, Faults::none());
    let (old, new) = (Path::new("/data/head"), Path::new("/data/head.new"));
    disk.write_whole(old, b"old").expect("room");
    disk.write_whole(new, b"new").expect("room");
    disk.rename(new, old).expect("both exist");
    disk.crash(Crash::Power);
    assert_eq!(disk.read_whole(old).expect("it exists"), b"new");
    assert!(disk.length(new).is_err());
    disk.remove(old).expect("it exists");
    assert_eq!(disk.list(Path::new("/data")), ["lane"]);
}
