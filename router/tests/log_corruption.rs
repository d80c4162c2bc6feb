//! A changed byte is never served: in the middle it stops the start with file and offset, at the
//! end it is cut and reported.

mod log_disk;

use hawser_router::store::{
    Disk,
    log::{
        Damage, LanePolicy, LaneWriter,
        batch::Header,
        record, recover, segment,
        tool::{self, SegmentState},
    },
};
use log_disk::{MemoryDisk, Random, SALT, Shell, recovered_runs, run_of, settings};
use proptest::prelude::*;

/// A batch of the segment: where it begins and how many of its bytes mean something.
type Extent = (u64, u64);

/// One lane with a batch per run, over more than one segment and two epochs.
fn written(runs: u64, payload_bytes: usize) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let with = settings(LanePolicy::DirectDurable);
    for epoch in 1..=2 {
        let tail = recovered_runs(&disk).0.tail(0).cloned();
        let writer = LaneWriter::open(0, tail, epoch, with);
        let mut shell = Shell::new(disk.clone(), writer, with);
        for run in 0..runs {
            shell.append(epoch * 1000 + run, &run_of(epoch * 1000 + run, 2, payload_bytes));
            shell.finish();
        }
    }
    disk
}

fn extents(disk: &MemoryDisk, name: &str) -> Vec<Extent> {
    let bytes = disk.bytes(name);
    let mut extents = Vec::new();
    let mut offset = 0;
    while let Some(header) = bytes.get(offset..).and_then(Header::parse) {
        extents.push((offset as u64, 64 + u64::from(header.body_bytes)));
        offset += header.padded_bytes();
    }
    extents
}

fn recover_all(disk: &MemoryDisk) -> Result<(u64, Vec<(String, u64)>), Damage> {
    let mut records = 0;
    let recovered = recover(disk, SALT, &[], &mut |_, _| records += 1)?;
    Ok((records, recovered.torn.into_iter().map(|torn| (torn.file, torn.offset)).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_changed_byte_is_damage_in_the_middle_and_torn_at_the_end(
        batch in 0_usize..40, at in 0_u64..64, in_header: bool, body_at in any::<u64>(),
    ) {
        let disk = written(20, 1500);
        let name = segment::name(0, 1);
        let extents = extents(&disk, &name);
        prop_assert_eq!(extents.len(), 40);
        let (offset, bytes) = extents[batch];
        let at = if in_header { at } else { 64 + body_at % (bytes - 64) };
        disk.flip(&name, offset + at);
        match recover_all(&disk) {
            Err(Damage::Batch { file, offset: bad, whole_at }) => {
                prop_assert!(batch < 39);
                prop_assert_eq!((file, bad, whole_at), (name, offset, extents[batch + 1].0));
            }
            Ok((records, torn)) => {
                prop_assert_eq!(batch, 39, "a bad batch in the middle was cut");
                prop_assert_eq!(records, 78);
                prop_assert_eq!(torn, vec![(name, offset)]);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn recovery_of_any_bytes_ends_without_a_panic(seed in any::<u64>(), flips in 1_usize..30) {
        let mut random = Random::new(seed);
        let disk = written(5, 300);
        let name = segment::name(0, 1);
        for _ in 0..flips {
            disk.flip(&name, random.below(60_000));
        }
        let _ = recover_all(&disk);
        tool::verify(&disk, SALT).unwrap();
    }
}

#[test]
fn a_bad_last_batch_of_a_full_segment_is_a_gap() {
    let disk = written(10, 60_000);
    let (first, second) = (segment::name(0, 1), segment::name(0, 2));
    assert!(!extents(&disk, &second).is_empty());
    let last = *extents(&disk, &first).last().unwrap();
    disk.flip(&first, last.0 + 100);
    let damage = recover_all(&disk).unwrap_err();
    let text = damage.to_string();
    let Damage::Gap { file, offset, expected, found } = damage else { panic!("{text}") };
    assert_eq!((file, offset), (first, last.0));
    assert_eq!(found, expected + 1);
}

#[test]
fn a_missing_segment_is_damage() {
    let disk = written(20, 60_000);
    disk.remove(&segment::name(0, 2)).unwrap();
    assert!(matches!(recover_all(&disk), Err(Damage::Gap { .. })));
    let start = recover(&disk, SALT, &[(0, 2)], &mut |_, _| ());
    assert!(matches!(start, Err(Damage::Missing { file }) if file == segment::name(0, 2)));
}

#[test]
fn a_recycled_segment_shows_nothing_of_its_former_life() {
    let disk = written(20, 60_000);
    let highest = segment::list(&disk).unwrap()[&0].last().unwrap().segment;
    // As retention does: the oldest file becomes the one after the newest.
    disk.recycle(&segment::name(0, 1), &segment::name(0, highest + 1)).unwrap();
    let (recovered, runs) = recovered_runs(&disk);
    let tail = recovered.tail(0).unwrap().clone();
    assert!(recovered.torn.is_empty(), "{:?}", recovered.torn);
    assert!(tail.spare.iter().any(|(number, _)| *number == highest + 1));
    let with = settings(LanePolicy::DirectDurable);
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, Some(tail), 3, with), with);
    for run in 0..20 {
        shell.append(3000 + run, &run_of(3000 + run, 2, 60_000));
        shell.finish();
    }
    let (recovered, more) = recovered_runs(&disk);
    assert_eq!(more.len(), runs.len() + 20);
    assert!(recovered.torn.is_empty(), "{:?}", recovered.torn);
}

#[test]
fn repair_cuts_sets_aside_and_says_what_is_lost() {
    let disk = written(10, 60_000);
    let first = segment::name(0, 1);
    let bad = extents(&disk, &first)[3].0;
    disk.flip(&first, bad + 70);
    let before = disk.bytes(&first);
    let planned = tool::repair(&disk, SALT, true).unwrap();
    assert_eq!(disk.bytes(&first), before, "a dry run changes nothing");
    let cuts = tool::repair(&disk, SALT, false).unwrap();
    assert_eq!((&cuts[0].file, cuts[0].offset), (&first, bad));
    assert_eq!(cuts[0].batches_lost, 20 - 4);
    assert_eq!(cuts[0].records_lost, 2 * cuts[0].batches_lost);
    assert_eq!(planned[0].records_lost, cuts[0].records_lost);
    assert_eq!(disk.bytes(&format!("{first}.damaged")), before);
    let (records, torn) = recover_all(&disk).unwrap();
    assert_eq!((records, torn.len()), (6, 0));
    assert!(tool::repair(&disk, SALT, false).unwrap().is_empty());
}

#[test]
fn verify_reports_each_segment_and_goes_on_behind_damage() {
    let disk = written(20, 60_000);
    let reports = tool::verify(&disk, SALT).unwrap();
    assert!(reports.iter().all(|report| !report.is_damaged()));
    assert_eq!(reports.iter().map(|report| report.records).sum::<u64>(), 80);
    assert_eq!(reports.last().unwrap().state, SegmentState::Spare);
    let bad = extents(&disk, &segment::name(0, 2))[2].0;
    disk.flip(&segment::name(0, 2), bad + 1);
    let reports = tool::verify(&disk, SALT).unwrap();
    assert!(matches!(reports[1].state, SegmentState::Damaged { offset, .. } if offset == bad));
    assert!(reports[1].to_string().contains(&format!("DAMAGED at offset {bad}")));
    assert_eq!(reports[2].state, SegmentState::Whole);
}

#[test]
fn dump_prints_what_the_filter_takes() {
    let disk = written(5, 100);
    let mut out = Vec::new();
    let filter = tool::DumpFilter { position_min: Some(2_003_000), ..tool::DumpFilter::default() };
    let count = tool::dump(&disk, SALT, &filter, &mut out, &mut |record, location, out| {
        writeln!(out, "{location:?} {}", record.position)
    })
    .unwrap();
    assert_eq!(count, 4);
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().next().unwrap().ends_with(" 2003000"), "{text}");
}

#[test]
fn a_record_that_is_no_record_is_named_with_its_offset() {
    let disk = MemoryDisk::default();
    let with = settings(LanePolicy::DirectDurable);
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, None, 1, with), with);
    let mut run = Vec::new();
    record::put(&mut run, 1, 0, 1, |out| out.push(1));
    run.extend_from_slice(&[9; 5]);
    shell.append(1, &run);
    shell.finish();
    let damage = recover_all(&disk).unwrap_err();
    assert!(matches!(damage, Damage::Record { offset: 81, .. }), "{damage}");
    assert_eq!(tool::repair(&disk, SALT, false).unwrap()[0].offset, 0);
    assert_eq!(recover_all(&disk).unwrap().0, 0);
}
