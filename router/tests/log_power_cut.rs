//! Whatever a power cut leaves, no run reported durable is missing and each lane is a prefix of
//! what was appended. And builds that cheat are found by the same test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_disk;

use hawser_router::store::Disk;
use hawser_router::store::log::{
    LanePolicy, LaneSettings, LaneTail, LaneWriter, Location, Recovered, record, recover,
    recover_lane, segment,
};
use log_disk::{Fault, MemoryDisk, Random, SALT, Shell, run_of, settings};

const POLICIES: [LanePolicy; 2] = [LanePolicy::DirectDurable, LanePolicy::WriteThenSync];
/// Crashes that one seed lives through, one behind the other.
const LIVES: usize = 5;
const SEEDS: u64 = 20;
/// Lanes a directory gets in the end; each life writes to some of them.
const LANES: usize = 3;

/// One lane and what is known of it.
struct Lane {
    shell: Shell,
    /// Runs that stood on the disk when it was opened, then those appended since, in order.
    appended: Vec<u64>,
    /// How many of `appended` were there at the open.
    opened_with: usize,
}

/// Runs by lane, with the place of each.
type Found = Vec<Vec<(u64, Location)>>;

fn read(disk: &MemoryDisk, lanes: usize) -> Result<(Recovered, Found), String> {
    let mut found: Found = vec![Vec::new(); lanes];
    let mut counts: Vec<u64> = vec![0; lanes];
    let recovered = recover(disk, SALT, &[], &mut |view, location| {
        let (lane, run) = (usize::from(location.lane()), view.position / 1000);
        if view.position % 1000 == 0 {
            found[lane].push((run, location));
            counts[lane] = 0;
        }
        assert_eq!(found[lane].last().map(|(run, _)| *run), Some(run), "a run came in parts");
        assert_eq!(view.position % 1000, counts[lane], "a record of a run is missing");
        counts[lane] += 1;
    })
    .map_err(|damage| damage.to_string())?;
    Ok((recovered, found))
}

fn open(disk: &MemoryDisk, lanes: usize, with: LaneSettings) -> Result<Vec<Lane>, String> {
    let (recovered, found) = read(disk, lanes)?;
    let epoch = 1 + recovered.epoch_max();
    Ok(found
        .into_iter()
        .enumerate()
        .map(|(lane, runs)| {
            let tail = recovered.tail(lane as u8).cloned();
            let writer = LaneWriter::open(lane as u8, tail, epoch, with);
            let appended: Vec<u64> = runs.iter().map(|(run, _)| *run).collect();
            let opened_with = appended.len();
            Lane { shell: Shell::new(disk.clone(), writer, with), appended, opened_with }
        })
        .collect())
}

/// What the disk holds against what was promised.
fn check(disk: &MemoryDisk, lanes: &[Lane]) -> Result<(), String> {
    let (_, found) = read(disk, lanes.len())?;
    for (number, (lane, runs)) in lanes.iter().zip(&found).enumerate() {
        let promised = lane.opened_with + lane.shell.durable.len();
        if runs.len() < promised {
            return Err(format!("lane {number}: {} of {promised} durable runs", runs.len()));
        }
        if !runs
            .iter()
            .map(|(run, _)| run)
            .eq(&lane.appended[..runs.len().min(lane.appended.len())])
        {
            return Err(format!("lane {number}: not a prefix of what was appended"));
        }
        let reported = lane.shell.durable.iter().map(|durable| (durable.run, durable.base));
        if !reported.eq(runs[lane.opened_with..promised].iter().copied()) {
            return Err(format!("lane {number}: runs are not where they were reported"));
        }
    }
    Ok(())
}

fn one_life(
    disk: &MemoryDisk,
    lanes: &mut [Lane],
    active: u64,
    former_life: &[u8],
    random: &mut Random,
    next_run: &mut u64,
    cuts: &mut u64,
) -> Result<(), String> {
    for _ in 0..20 + random.below(150) {
        let lane = &mut lanes[random.below(active) as usize];
        if lane.shell.former_life.is_empty() && random.chance(50) {
            lane.shell.former_life = former_life.to_vec();
        }
        if random.chance(30) {
            let bytes = if random.chance(5) { 100_000 } else { 40 + random.below(4000) };
            let records = run_of(*next_run, 1 + random.below(4), bytes as usize);
            if lane.shell.writer.append(lane.shell.now, 0, *next_run, &records, false).is_ok() {
                lane.appended.push(*next_run);
                *next_run += 1;
            }
        } else if random.chance(2) {
            let has_failed = lane.shell.fail(random) && lane.shell.fault == Fault::None;
            assert!(!has_failed || lane.shell.writer.is_failed());
        } else if !random.chance(10) || !lane.shell.end_short(random) {
            lane.shell.step();
        }
        if random.chance(15) {
            check(&disk.power_cut(random), lanes)?;
            *cuts += 1;
        }
        if lanes.iter().any(|lane| lane.shell.writer.is_failed()) && random.chance(30) {
            return Ok(());
        }
    }
    Ok(())
}

/// A segment full of batches of another number, as a recycled file holds them.
fn former_life(with: LaneSettings) -> Vec<u8> {
    let disk = MemoryDisk::default();
    disk.create_filled(&segment::name(0, 1000), with.segment_bytes).unwrap();
    let tail = LaneTail {
        lane: 0,
        segment: 1000,
        offset: 0,
        segment_bytes: with.segment_bytes,
        position: 1,
        epoch: 1,
        spare: Vec::new(),
    };
    let with = LaneSettings { policy: LanePolicy::DirectDurable, ..with };
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, Some(tail), 50, with), with);
    for run in 0..60 {
        shell.append(run, &run_of(run, 1, 15_000));
        shell.finish();
    }
    disk.bytes(&segment::name(0, 1000))
}

/// Crashes through some lives; returns how many images of a power cut were checked.
fn torture(seed: u64, policy: LanePolicy, fault: Fault) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let with = settings(policy);
    let former_life = former_life(with);
    let mut disk = MemoryDisk::default();
    let (mut next_run, mut cuts) = (1, 0);
    for _ in 0..LIVES {
        let mut lanes = open(&disk, LANES, with)?;
        for lane in &mut lanes {
            lane.shell.fault = fault;
        }
        let active = 1 + random.below(LANES as u64);
        one_life(&disk, &mut lanes, active, &former_life, &mut random, &mut next_run, &mut cuts)?;
        let has_failed = lanes.iter().any(|lane| lane.shell.writer.is_failed());
        if !has_failed || random.chance(50) {
            disk = disk.power_cut(&mut random);
        } else {
            for lane in &mut lanes {
                lane.shell.kill(&mut random);
            }
        }
        check(&disk, &lanes)?;
    }
    Ok(cuts)
}

#[test]
fn nothing_reported_durable_is_lost_by_a_power_cut() {
    for policy in POLICIES {
        let mut cuts = 0;
        for seed in 0..SEEDS {
            cuts += torture(seed, policy, Fault::None)
                .unwrap_or_else(|what| panic!("{policy:?}, seed {seed}: {what}"));
        }
        assert!(cuts >= 1000, "only {cuts} power cuts");
    }
}

#[test]
fn a_build_that_cheats_is_found_within_fifty_seeds() {
    for (policy, fault) in [
        (LanePolicy::DirectDurable, Fault::DirectIsBuffered),
        (LanePolicy::WriteThenSync, Fault::SyncDoesNothing),
        (LanePolicy::DirectDurable, Fault::DurableAtSubmission),
        (LanePolicy::WriteThenSync, Fault::DurableAtSubmission),
    ] {
        let found = (0..50).find(|seed| torture(*seed, policy, fault).is_err());
        assert!(found.is_some(), "{policy:?} with {fault:?} passed 50 seeds");
    }
}

#[test]
fn a_failed_lane_is_read_back_and_goes_on_beside_the_others() {
    let disk = MemoryDisk::default();
    let mut lanes = open(&disk, 2, settings(LanePolicy::DirectDurable)).unwrap();
    for run in 1..4 {
        for lane in &mut lanes {
            lane.shell.append(run, &run_of(run, 2, 3000));
            lane.shell.finish();
        }
    }
    let failing = &mut lanes[1].shell;
    failing.append(4, &run_of(4, 2, 3000));
    failing.step();
    assert!(failing.fail(&mut Random::new(3)));
    lanes[0].shell.append(5, &run_of(5, 2, 3000));

    let start = lanes[1].shell.writer.segment();
    let mut records = 0;
    let recovered = recover_lane(&disk, SALT, 1, Some(start), &mut |_, _| records += 1).unwrap();
    assert_eq!((records, recovered.torn.len()), (6, 1));
    let with = settings(LanePolicy::DirectDurable);
    let writer = LaneWriter::open(1, recovered.tail(1).cloned(), 2, with);
    lanes[1].shell = Shell::new(disk.clone(), writer, with);
    lanes[1].shell.append(6, &run_of(6, 2, 3000));
    for lane in &mut lanes {
        lane.shell.finish();
    }
    let (_, found) = read(&disk, 2).unwrap();
    let runs: Vec<Vec<u64>> =
        found.iter().map(|lane| lane.iter().map(|(run, _)| *run).collect()).collect();
    assert_eq!(runs, [vec![1, 2, 3, 5], vec![1, 2, 3, 6]]);
}

#[test]
fn a_batch_that_only_the_cache_holds_is_not_believed() {
    let disk = MemoryDisk::default();
    let with = settings(LanePolicy::WriteThenSync);
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, None, 1, with), with);
    shell.append(1, &run_of(1, 1, 100));
    shell.finish();
    shell.append(2, &run_of(2, 1, 100));
    // The write of the second run ends, its flush fails: readers still see it, the disk does not
    // have it and will not get it.
    while shell.writer.counters().batches == 1 {
        shell.step();
        if matches!(read(&disk.copy(), 1), Ok((_, found)) if found[0].len() == 2) {
            break;
        }
    }
    let cached = segment_bytes(&disk);
    shell.step();
    assert!(shell.fail(&mut Random::new(1)), "the flush is in flight");
    assert_eq!(segment_bytes(&disk), cached, "the cache still shows the batch");
    let (recovered, found) = read(&disk, 1).unwrap();
    assert_eq!(found[0].len(), 1);
    assert_eq!(recovered.torn.len(), 1);
    assert_eq!(recovered.torn[0].file, segment::name(0, 1));
}

fn segment_bytes(disk: &MemoryDisk) -> Vec<u8> {
    disk.bytes(&segment::name(0, 1))
}

#[test]
fn bytes_of_a_user_behind_a_torn_batch_are_not_taken_for_a_later_batch() {
    // A body that carries a whole batch of the same lane, segment and epoch at a block boundary,
    // made by somebody who knows all but the salt.
    let with = settings(LanePolicy::DirectDurable);
    let forger = MemoryDisk::default();
    let forged_with = LaneSettings { salt: 0x1234, ..with };
    let mut shell =
        Shell::new(forger.clone(), LaneWriter::open(0, None, 1, forged_with), forged_with);
    for run in 1..8 {
        shell.append(run, &run_of(run, 1, 100));
        shell.finish();
    }
    let forged = segment_bytes(&forger)[6 * 4096..7 * 4096].to_vec();

    let disk = MemoryDisk::default();
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, None, 1, with), with);
    shell.append(1, &run_of(1, 1, 100));
    shell.finish();
    let mut run = Vec::new();
    record::put(&mut run, 1, 0, 2000, |out| {
        // The first payload byte stands behind two headers of 64 and 16 bytes.
        out.resize(out.len() + 4096 - 80, 0);
        out.extend_from_slice(&forged);
    });
    shell.append(2, &run);
    shell.finish();
    disk.flip(&segment::name(0, 1), 4096 + 200);
    let (recovered, found) = read(&disk, 1).unwrap();
    assert_eq!(found[0].len(), 1);
    assert_eq!(recovered.torn[0].offset, 4096);
    assert_eq!(recovered.torn[0].bytes, 2 * 4096);
}
