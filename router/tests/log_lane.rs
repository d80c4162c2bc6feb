//! When a lane writes, what it does about short and failed writes, and where it stops.

mod log_disk;

use hawser_codec::time::Now;
use hawser_router::store::log::{
    Durable, LaneAction, LanePolicy, LaneSettings, LaneWriter, Location, Refused, batch,
};
use log_disk::{run_of, settings};

const POLICY: LanePolicy = LanePolicy::DirectDurable;

fn at(monotonic_us: u64) -> Now {
    Now { monotonic_us, wall_ms: 5 }
}

/// A lane whose first segment is ready.
fn ready(with: LaneSettings) -> LaneWriter {
    let mut writer = LaneWriter::open(2, None, 1, with);
    assert_eq!(writer.poll(at(0), false), Some(LaneAction::PrepareSegment { segment: 1 }));
    writer.on_segment_ready(at(0), 1, Ok(()));
    writer
}

struct Written {
    segment: u32,
    offset: u64,
    length: usize,
    bytes: Vec<u8>,
}

fn write(writer: &mut LaneWriter, now: Now, idle: bool) -> Option<Written> {
    match writer.poll(now, idle)? {
        LaneAction::Write { segment, offset, bytes, range } => {
            Some(Written { segment, offset, length: range.len(), bytes })
        }
        other => panic!("{other:?} instead of a write"),
    }
}

fn durable(writer: &mut LaneWriter) -> Vec<u64> {
    std::iter::from_fn(|| writer.pop_durable()).map(|durable| durable.run).collect()
}

#[test]
fn a_write_starts_when_idle_or_urgent_or_enough_waits_or_the_oldest_waited_long_enough() {
    let small = run_of(1, 1, 100);
    let mut writer = ready(settings(POLICY));
    writer.append(at(1000), 0, 1, &small, false).unwrap();
    assert!(write(&mut writer, at(1499), false).is_none());
    assert_eq!(writer.next_deadline(), Some(1500));
    let written = write(&mut writer, at(1500), false).expect("the oldest waited 0.5 ms");

    writer.append(at(1501), 0, 2, &small, true).unwrap();
    assert!(write(&mut writer, at(9000), true).is_none(), "one write at a time");
    assert_eq!(writer.next_deadline(), None);
    writer.on_written(at(1600), Ok(written.length), written.bytes);
    let written = write(&mut writer, at(1600), false).expect("urgent");
    writer.on_written(at(1700), Ok(written.length), written.bytes);

    writer.append(at(1800), 0, 3, &small, false).unwrap();
    let written = write(&mut writer, at(1800), true).expect("nothing else to do");
    writer.on_written(at(1900), Ok(written.length), written.bytes);

    writer.append(at(2000), 0, 4, &run_of(4, 1, 64 << 10), false).unwrap();
    assert!(writer.next_deadline().is_some_and(|deadline| deadline <= 2000));
    let written = write(&mut writer, at(2000), false).expect("64 KiB wait");
    writer.on_written(at(2100), Ok(written.length), written.bytes);
    assert_eq!(durable(&mut writer), [1, 2, 3, 4]);
    assert_eq!(writer.counters().durable_us_max, 100);
    assert_eq!(writer.waiting_bytes(), 0);
}

#[test]
fn a_short_write_goes_on_at_the_block_it_left_unfinished() {
    let mut writer = ready(settings(POLICY));
    writer.append(at(1), 0, 1, &run_of(1, 1, 20_000), false).unwrap();
    let first = write(&mut writer, at(1), true).unwrap();
    assert_eq!((first.offset, first.length), (0, 20_480));
    writer.on_written(at(2), Ok(8192 + 100), first.bytes);
    let rest = write(&mut writer, at(2), false).unwrap();
    assert_eq!((rest.offset, rest.length), (8192, 12_288));
    assert!(durable(&mut writer).is_empty());
    writer.on_written(at(3), Ok(rest.length), rest.bytes);
    assert_eq!(durable(&mut writer), [1]);
}

#[test]
fn a_write_that_never_moves_fails_the_lane() {
    let mut writer = ready(settings(POLICY));
    writer.append(at(1), 0, 1, &run_of(1, 1, 100), false).unwrap();
    let mut writes = 0;
    while let Some(written) = write(&mut writer, at(1), true) {
        writer.on_written(at(1), Ok(511), written.bytes);
        writes += 1;
        assert!(writes < 100);
    }
    assert_eq!(writer.failure(), Some(libc::EIO));
}

#[test]
fn a_failed_write_or_sync_reports_nothing_and_stops_the_lane() {
    for policy in [LanePolicy::DirectDurable, LanePolicy::WriteThenSync] {
        let mut writer = ready(settings(policy));
        writer.append(at(1), 0, 1, &run_of(1, 1, 100), false).unwrap();
        let written = write(&mut writer, at(1), true).unwrap();
        writer.append(at(1), 0, 2, &run_of(2, 1, 100), false).unwrap();
        if policy == LanePolicy::WriteThenSync {
            writer.on_written(at(2), Ok(written.length), written.bytes);
            assert!(durable(&mut writer).is_empty());
            assert_eq!(writer.poll(at(2), true), Some(LaneAction::Sync { segment: 1 }));
            writer.on_synced(at(3), Err(libc::ENOSPC));
        } else {
            writer.on_written(at(2), Err(libc::ENOSPC), written.bytes);
        }
        assert!(writer.is_failed());
        assert_eq!(writer.failure(), Some(libc::ENOSPC));
        assert!(writer.poll(at(1_000_000), true).is_none());
        assert!(durable(&mut writer).is_empty());
        assert_eq!(writer.next_deadline(), None);
        let refused = writer.append(at(3), 0, 3, &run_of(3, 1, 100), false);
        assert_eq!(refused, Err(Refused::Failed(libc::ENOSPC)));
    }
}

#[test]
fn what_waits_is_bounded_and_the_bound_frees_again() {
    let mut writer = ready(settings(POLICY));
    let run = run_of(1, 1, 500_000);
    let mut taken = 0;
    while writer.append(at(1), 0, taken, &run, false).is_ok() {
        taken += 1;
        assert!(taken < 1000);
    }
    assert_eq!(taken as usize, (16 << 20) / run.len());
    let written = write(&mut writer, at(1), false).unwrap();
    assert!(written.length <= batch::BATCH_BYTES_MAX);
    writer.on_written(at(2), Ok(written.length), written.bytes);
    assert_eq!(writer.append(at(2), 0, taken, &run, false), Ok(()));
}

#[test]
fn the_next_segment_is_asked_for_at_half_and_awaited_when_full() {
    let mut writer = ready(settings(POLICY));
    let run = run_of(1, 1, 300_000);
    let mut asked = Vec::new();
    let mut offsets = Vec::new();
    for number in 0..4 {
        writer.append(at(number), 0, number, &run, false).unwrap();
        for _ in 0..3 {
            match writer.poll(at(number), true) {
                Some(LaneAction::Write { segment, offset, bytes, range }) => {
                    offsets.push((segment, offset));
                    writer.on_written(at(number), Ok(range.len()), bytes);
                }
                Some(LaneAction::PrepareSegment { segment }) => asked.push((number, segment)),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
    }
    assert_eq!(asked, [(1, 2)]);
    assert_eq!(offsets.len(), 3, "the fourth waits for its segment");
    writer.on_segment_ready(at(5), 2, Err(libc::ENOSPC));
    assert_eq!(writer.segment_failure(), Some(libc::ENOSPC));
    assert!(writer.poll(at(6), true).is_none(), "a full disk is not asked in every turn");
    let again = writer.next_deadline().expect("it is asked again");
    assert_eq!(writer.poll(at(again), true), Some(LaneAction::PrepareSegment { segment: 2 }));
    writer.on_segment_ready(at(again), 2, Ok(()));
    let written = write(&mut writer, at(again), true).unwrap();
    assert_eq!((written.segment, written.offset), (2, 0));
    assert!(!writer.is_failed());
}

#[test]
fn a_full_disk_refuses_what_it_has_no_room_for_and_serves_again_when_there_is() {
    let mut writer = LaneWriter::open(0, None, 1, settings(POLICY));
    assert!(matches!(writer.poll(at(0), false), Some(LaneAction::PrepareSegment { segment: 1 })));
    let run = run_of(1, 1, 900);
    writer.append(at(0), 0, 1, &run, false).unwrap();
    writer.on_segment_ready(at(0), 1, Err(libc::ENOSPC));
    let refused = writer.append(at(1), 0, 2, &run, false);
    assert_eq!(refused, Err(Refused::NoSegment(libc::ENOSPC)));
    assert!(writer.poll(at(2_000_000), false).is_some());
    writer.on_segment_ready(at(2_000_000), 1, Ok(()));
    writer.append(at(2_000_000), 0, 3, &run, false).unwrap();
    let written = write(&mut writer, at(2_000_000), true).unwrap();
    writer.on_written(at(2_000_100), Ok(written.length), written.bytes);
    assert_eq!(durable(&mut writer), [1, 3]);
}

#[test]
fn the_longest_run_fits_and_places_count_from_the_segment() {
    let mut writer = ready(settings(POLICY));
    let longest = vec![0; writer.run_bytes_max()];
    writer.append(at(1), 7, 70, &run_of(1, 1, 50), false).unwrap();
    writer.append(at(1), 8, 80, &run_of(2, 1, 50), false).unwrap();
    let written = write(&mut writer, at(1), true).unwrap();
    writer.on_written(at(2), Ok(written.length), written.bytes);
    let places: Vec<Durable> = std::iter::from_fn(|| writer.pop_durable()).collect();
    assert_eq!(
        places,
        [
            Durable { host: 7, run: 70, base: Location::new(2, 1, 64) },
            Durable { host: 8, run: 80, base: Location::new(2, 1, 64 + 66) },
        ]
    );
    writer.append(at(3), 7, 71, &longest, false).unwrap();
    assert_eq!(writer.poll(at(3), true), Some(LaneAction::PrepareSegment { segment: 2 }));
    writer.on_segment_ready(at(3), 2, Ok(()));
    let written = write(&mut writer, at(3), true).unwrap();
    assert_eq!((written.segment, written.offset), (2, 0));
}
