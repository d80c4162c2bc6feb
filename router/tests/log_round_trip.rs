//! What is appended is found again, at the place that was reported, on any disk.

mod log_disk;

use hawser_router::store::log::{LanePolicy, LaneWriter, Location};
use log_disk::{MemoryDisk, Shell, recovered_runs, run_of, settings};

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
