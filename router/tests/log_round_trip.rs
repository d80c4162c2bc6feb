//! What is appended is found again, at the place that was reported, on any disk.

mod log_disk;

use hawser_router::store::log::{LanePolicy, LaneWriter, Location, record};
use log_disk::{MemoryDisk, Shell, recovered_runs, run_of, settings};
use proptest::prelude::*;

#[test]
fn runs_come_back_in_order_at_their_places() {
    for policy in [LanePolicy::DirectDurable, LanePolicy::WriteThenSync] {
        let disk = MemoryDisk::default();
        let mut shell = Shell::new(
            disk.clone(),
            LaneWriter::open(0, None, 1, settings(policy)),
            settings(policy),
        );
        for run in 0..500 {
            shell.append(run, &run_of(run, 1 + run % 7, 300 + 2 * run as usize));
            if run % 11 == 0 {
                shell.finish();
            }
        }
        shell.finish();
        assert!(shell.writer.is_idle());
        let (recovered, runs) = recovered_runs(&disk);
        let reported: Vec<(u64, Location)> =
            shell.durable.iter().map(|durable| (durable.run, durable.base)).collect();
        assert_eq!(reported.len(), 500);
        assert_eq!(runs, reported);
        assert!(recovered.torn.is_empty(), "{:?}", recovered.torn);
        assert_eq!(recovered.records, (0..500).map(|run| 1 + run % 7).sum::<u64>());
        assert!(recovered.lanes[0].segment > 1, "the lane rolled over");
    }
}

#[test]
fn a_reopened_lane_goes_on_behind_its_tail() {
    let disk = MemoryDisk::default();
    let with = settings(LanePolicy::DirectDurable);
    for life in 0..40_u64 {
        let (recovered, runs) = recovered_runs(&disk);
        assert_eq!(runs.len() as u64, life * 2);
        let epoch = recovered.tail(0).map_or(1, |tail| tail.epoch + 1);
        let writer = LaneWriter::open(0, recovered.tail(0).cloned(), epoch, with);
        let mut shell = Shell::new(disk.clone(), writer, with);
        for run in [life * 2, life * 2 + 1] {
            shell.append(run, &run_of(run, 3, 20_000));
            shell.finish();
        }
        assert_eq!(shell.durable.len(), 2);
    }
    let (recovered, runs) = recovered_runs(&disk);
    assert!(runs.iter().map(|(run, _)| *run).eq(0..80));
    assert!(recovered.torn.is_empty());
    assert_eq!(recovered.tail(0).unwrap().epoch, 40);
}

proptest! {
    #[test]
    fn records_of_any_kind_and_length_come_back(
        all in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u64>(), 0_usize..300), 0..40)
    ) {
        let mut run = Vec::new();
        let mut offsets = Vec::new();
        for (kind, shard, position, length) in &all {
            offsets.push(run.len());
            record::put(&mut run, *kind, *shard, *position, |out| {
                out.resize(out.len() + length, *kind);
            });
        }
        let mut count = 0;
        for (found, (put, offset)) in record::records(&run).zip(all.iter().zip(offsets)) {
            let view = found.unwrap();
            prop_assert_eq!((view.kind, view.shard, view.position, view.payload.len()), *put);
            prop_assert_eq!(view.offset, offset);
            count += 1;
        }
        prop_assert_eq!(count, all.len());
    }

    #[test]
    fn any_bytes_end_as_records(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(record::records(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_location_keeps_its_parts(
        lane in 0_u8..64, segment in 0_u32..1 << 30, at in 0_u64..1 << 28
    ) {
        let place = Location::new(lane, segment, at);
        prop_assert_eq!((place.lane(), place.segment(), place.offset()), (lane, segment, at));
    }
}
