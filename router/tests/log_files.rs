//! The data directory on a real file system: lock, errors, header, checkpoints, backup, and the
//! lane's bytes through `O_DIRECT|O_DSYNC`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_disk;

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use hawser_codec::time::Now;
use hawser_router::store::{
    DataHeader, Disk, HEADER_NAME, HeaderError, OpenError, RouterPlace, StdDisk,
    log::{
        CheckpointWriter, Checkpoints, LaneAction, LanePolicy, LaneSettings, LaneWriter,
        checkpoint,
        command::{LogCommand, LogOutcome, run},
        recover, retention, segment, tool,
    },
};
use log_disk::{MemoryDisk, SALT, Shell, run_of, settings};

#[test]
fn opening_waits_for_the_writes_that_a_killed_process_left_in_the_kernel() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    StdDisk::open(&path, true).unwrap().create_filled(&segment::name(0, 1), 4096).unwrap();
    let written = std::fs::File::open(path.join(segment::name(0, 1))).unwrap();
    written.lock_shared().unwrap();
    let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&written.metadata().unwrap()));
    let opener = std::thread::spawn(move || StdDisk::open(&path, false).map(drop));
    // The kernel lists a waiter with an arrow.
    let is_waiting = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    };
    while !is_waiting() {
        assert!(!opener.is_finished(), "opened while a write was under way");
        std::thread::yield_now();
    }
    drop(written);
    opener.join().unwrap().expect("the write is over");
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let disk = StdDisk::open(&path, true).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let error = StdDisk::open(&path, true).unwrap_err();
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains("in use by process"), "{error}");
    StdDisk::attach(&path).expect("a reader beside it");
    drop(disk);
    StdDisk::open(&path, false).expect("the lock ends with its holder");
}

#[test]
fn a_missing_or_wrong_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none");
    let error = StdDisk::open(&path, false).unwrap_err();
    assert!(matches!(&error, OpenError::Missing(missing) if *missing == path), "{error}");
    std::fs::write(&path, b"a file").unwrap();
    for create in [false, true] {
        let error = StdDisk::open(&path, create).unwrap_err();
        assert!(matches!(&error, OpenError::NotADirectory(_)), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
    let error = StdDisk::open(&path.join("below"), true).unwrap_err();
    assert!(matches!(&error, OpenError::NotADirectory(_)), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_not_called_missing() {
    // Nobody, root included, makes directories there (proc(5)); the system's own word is ENOENT.
    let path = Path::new("/proc/hawser/data");
    let error = StdDisk::open(path, true).unwrap_err();
    assert!(
        matches!(&error, OpenError::NotMade { above, .. } if above == Path::new("/proc")),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(said.contains("/proc/hawser/data cannot be made in /proc: "), "{said}");
}

#[test]
fn files_are_private_and_what_was_being_made_is_gone_after_an_open() {
    let directory = tempfile::tempdir().unwrap();
    let disk = StdDisk::open(directory.path(), true).unwrap();
    disk.create_filled("a", 10_000).unwrap();
    let mode = std::fs::metadata(disk.path("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    disk.create("b").unwrap().write(b"dropped").unwrap();
    std::fs::write(disk.path("tmp-left"), b"by a crash").unwrap();
    drop(disk);
    let disk = StdDisk::open(directory.path(), false).unwrap();
    let names: Vec<String> = disk.list().unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["a"]);
    assert!(!disk.path("tmp-left").exists());
}

#[test]
fn the_header_is_made_once_and_a_log_without_it_is_refused() {
    let disk = MemoryDisk::default();
    let header = DataHeader::open_or_create(&disk, [1; 32]).unwrap();
    let again = DataHeader::open_or_create(&disk, [2; 32]).unwrap();
    assert_eq!(again.hash_key(), &[1; 32]);
    assert_eq!((again.salt(), again.check_value()), (header.salt(), header.check_value()));
    assert!(!format!("{header:?}").contains('1'), "the key is not printed");
    for offset in 0..84 {
        let damaged = disk.copy();
        damaged.flip(HEADER_NAME, offset);
        DataHeader::open(&damaged).expect_err("any changed byte is seen");
    }
    disk.remove(HEADER_NAME).unwrap();
    disk.create_filled(&segment::name(0, 1), 4096).unwrap();
    let error = DataHeader::open_or_create(&disk, [3; 32]).unwrap_err();
    assert!(matches!(error, HeaderError::Missing), "{error}");
}

/// Carries out a lane's actions on real files.
fn drive(disk: &StdDisk, writer: &mut LaneWriter, policy: LanePolicy) -> u64 {
    let mut now = Now { monotonic_us: 1, wall_ms: 1 };
    let flags = match policy {
        LanePolicy::DirectDurable => libc::O_DIRECT | libc::O_DSYNC,
        LanePolicy::WriteThenSync => 0,
    };
    while let Some(action) = writer.poll(now, true) {
        now.monotonic_us += 1;
        match action {
            LaneAction::PrepareSegment { segment } => {
                let made =
                    retention::prepare(disk, writer.lane(), segment, log_disk::SEGMENT_BYTES, None);
                writer.on_segment_ready(now, segment, made.map_err(|_| libc::EIO));
            }
            LaneAction::Sync { segment } => {
                disk.sync(&segment::name(writer.lane(), segment)).unwrap();
                writer.on_synced(now, Ok(()));
            }
            LaneAction::Write { segment, offset, bytes, range } => {
                let path = disk.path(&segment::name(writer.lane(), segment));
                let file = OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
                let written = file.write_at(&bytes[range], offset).unwrap();
                writer.on_written(now, Ok(written), bytes);
            }
        }
    }
    std::iter::from_fn(|| writer.pop_durable()).count() as u64
}

#[test]
fn a_lane_on_real_files_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let disk = StdDisk::open(directory.path(), true).unwrap();
    let mut policies = vec![LanePolicy::WriteThenSync];
    if disk.direct_supported() {
        policies.push(LanePolicy::DirectDurable);
    }
    for (lane, policy) in policies.iter().enumerate() {
        let mut writer = LaneWriter::open(lane as u8, None, 1, settings(*policy));
        for run in 0..30 {
            writer.append(Now::default(), 0, run, &run_of(run, 3, 30_000), false).unwrap();
        }
        assert_eq!(drive(&disk, &mut writer, *policy), 30);
    }
    let mut records = 0;
    let recovered = recover(&disk, SALT, &[], &mut |_, _| records += 1).unwrap();
    assert_eq!(records, 90 * policies.len());
    assert_eq!(recovered.lanes.len(), policies.len());
    assert!(recovered.torn.is_empty());
    let ages = retention::ages(&disk, SALT).unwrap();
    assert!(ages.iter().filter(|age| age.newest_wall_ms == 1).count() >= 3 * policies.len());
}

fn save(disk: &dyn Disk, host: u8, hosts: usize, number: u32, starts: &[(u8, u32)], position: u64) {
    let mut writer = CheckpointWriter::begin(disk, host, number, starts).unwrap();
    for shard in (usize::from(host)..checkpoint::SHARD_COUNT).step_by(hosts) {
        let bytes = vec![shard as u8; 10 + shard];
        writer.section(shard as u8, position, &bytes).unwrap();
    }
    writer.commit(disk, u64::from(number)).unwrap();
}

#[test]
fn recovery_uses_the_newest_whole_section_of_each_shard() {
    let disk = MemoryDisk::default();
    assert_eq!(Checkpoints::load(&disk).unwrap(), Checkpoints::default());
    save(&disk, 0, 2, 1, &[(0, 3), (1, 5)], 10);
    let half = Checkpoints::load(&disk).unwrap();
    assert!(half.starts.is_empty(), "the other half of the shards is only in the log");
    save(&disk, 1, 2, 1, &[(0, 4), (1, 2)], 11);
    save(&disk, 0, 2, 2, &[(0, 6), (1, 6)], 20);
    let found = Checkpoints::load(&disk).unwrap();
    assert_eq!(found.starts, [(0, 4), (1, 2)]);
    assert_eq!(found.oldest_starts, [(0, 3), (1, 2)]);
    let positions: Vec<u64> = found.sections.iter().map(|section| section.position).collect();
    assert_eq!((positions.len(), positions[0], positions[1]), (256, 20, 11));
    assert_eq!(found.sections[200].read(&disk).unwrap(), vec![200; 210]);
    assert_eq!((found.next_number(0), found.next_number(1), found.next_number(9)), (3, 2, 1));

    // The newest of host 0 goes bad: the one before serves, from further back.
    disk.flip(&checkpoint::name(0, 2), 5000);
    let found = Checkpoints::load(&disk).unwrap();
    assert_eq!(found.ignored.len(), 1);
    assert_eq!(found.starts, [(0, 3), (1, 2)]);
    assert_eq!(found.sections[0].position, 10);
    assert_eq!(found.next_number(0), 3, "a bad file's number is not used again");
    assert_eq!(found.prune(&disk).unwrap(), [checkpoint::name(0, 2)]);
}

#[test]
fn every_changed_byte_and_every_cut_of_a_checkpoint_is_seen() {
    let disk = MemoryDisk::default();
    save(&disk, 0, 64, 1, &[(0, 3)], 10);
    let name = checkpoint::name(0, 1);
    let bytes = disk.bytes(&name);
    for offset in 0..bytes.len() {
        let damaged = disk.copy();
        damaged.flip(&name, offset as u64);
        assert_eq!(Checkpoints::load(&damaged).unwrap().ignored.len(), 1, "byte {offset}");
        let mut file = damaged.create(&name).unwrap();
        file.write(&bytes[..offset]).unwrap();
        file.commit().unwrap();
        assert_eq!(Checkpoints::load(&damaged).unwrap().ignored.len(), 1, "cut at {offset}");
    }
}

#[test]
fn older_checkpoints_and_those_of_vanished_hosts_go() {
    let disk = MemoryDisk::default();
    for number in 1..=4 {
        save(&disk, 0, 2, number, &[(0, number)], u64::from(number));
        save(&disk, 1, 2, number, &[(0, number)], u64::from(number));
    }
    assert_eq!(disk.list().unwrap().len(), 4, "two of each host");
    // From now on one host has all shards.
    save(&disk, 0, 1, 5, &[(0, 5)], 5);
    save(&disk, 0, 1, 6, &[(0, 6)], 6);
    let found = Checkpoints::load(&disk).unwrap();
    assert_eq!((found.starts, found.oldest_starts), (vec![(0, 6)], vec![(0, 3)]));
    Checkpoints::load(&disk).unwrap().prune(&disk).unwrap();
    let found = Checkpoints::load(&disk).unwrap();
    assert_eq!((found.starts, found.oldest_starts), (vec![(0, 6)], vec![(0, 5)]));
}

#[test]
fn a_lane_whose_start_holds_nothing_yet_goes_on_behind_the_segment_before() {
    let disk = MemoryDisk::default();
    let with = settings(LanePolicy::DirectDurable);
    let mut shell = Shell::new(disk.clone(), LaneWriter::open(0, None, 4, with), with);
    for run in 0..8 {
        shell.append(run, &run_of(run, 1, 100_000));
        shell.finish();
    }
    let recovered = recover(&disk, SALT, &[(0, 2)], &mut |_, _| panic!("nothing to visit"));
    let tail = recovered.unwrap().tail(0).cloned().unwrap();
    assert_eq!((tail.segment, tail.position, tail.epoch), (1, 9, 4));
    assert_eq!(tail.spare.len(), 1);
}

#[test]
fn a_backup_is_one_instant_of_all_lanes_and_opens_as_a_directory() {
    let disk = MemoryDisk::default();
    let header = DataHeader::open_or_create(&disk, [7; 32]).unwrap();
    let with = LaneSettings { salt: header.salt(), ..settings(LanePolicy::DirectDurable) };
    let mut shells: Vec<Shell> = (0..2)
        .map(|lane| Shell::new(disk.clone(), LaneWriter::open(lane, None, 1, with), with))
        .collect();
    for wall_ms in 1..=20 {
        for shell in &mut shells {
            shell.now.wall_ms = wall_ms;
            shell.append(wall_ms, &run_of(wall_ms, 1, 100_000));
            shell.finish();
        }
        if wall_ms == 5 || wall_ms == 15 {
            let number = wall_ms as u32;
            let mut writer = CheckpointWriter::begin(&disk, 0, number, &[(0, 1), (1, 1)]).unwrap();
            writer.section(0, 1, b"state").unwrap();
            writer.commit(&disk, wall_ms).unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let target = StdDisk::open(directory.path(), true).unwrap();
    let report = tool::backup(&disk, &header, &target, 13).unwrap();
    assert_eq!(report.lanes, [(0, 12), (1, 12)]);
    assert_eq!(report.checkpoints, 1, "the later one knows more than the copy");
    assert!(tool::backup(&disk, &header, &target, 13).is_err(), "the target holds a log");

    let copied = DataHeader::open(&target).unwrap();
    let mut found = Vec::new();
    let recovered = recover(&target, copied.salt(), &[], &mut |view, location| {
        found.push((location.lane(), view.position / 1000));
    })
    .unwrap();
    assert!(recovered.torn.is_empty());
    assert!(found.iter().copied().eq((0..2).flat_map(|lane| (1..13).map(move |run| (lane, run)))));
}

/// A command's outcome and what it wrote.
fn command(command: &LogCommand, directory: &Path) -> (LogOutcome, String) {
    let mut out = Vec::new();
    let outcome = run(command, directory, 1000, &mut out, &mut |record, _, out| {
        writeln!(out, "position {}", record.position)
    })
    .unwrap();
    (outcome, String::from_utf8(out).unwrap())
}

#[test]
fn the_commands_say_what_is_damaged_and_how_it_was_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let disk = StdDisk::open(&data, true).unwrap();
    let header = DataHeader::open_or_create(&disk, [9; 32]).unwrap();
    let with = LaneSettings { salt: header.salt(), ..settings(LanePolicy::WriteThenSync) };
    let mut writer = LaneWriter::open(0, None, 1, with);
    for run in 0..5 {
        writer.append(Now::default(), 0, run, &run_of(run, 1, 5000), false).unwrap();
        assert_eq!(drive(&disk, &mut writer, LanePolicy::WriteThenSync), 1);
    }
    // Beside the process that holds the lock:
    let (outcome, text) = command(&LogCommand::Verify, &data);
    assert!(outcome == LogOutcome::Good && text.contains("5 batches, 5 records"), "{text}");
    let (_, text) = command(&LogCommand::Dump(tool::DumpFilter::default()), &data);
    assert!(text.ends_with("position 4000\n5 records\n"), "{text}");
    let (_, text) = command(&LogCommand::Backup { target: copy.clone() }, &data);
    assert!(text.contains("1 segments with 5 batches"), "{text}");
    let busy = LogCommand::Repair { dry_run: false };
    let error = run(&busy, &data, 0, &mut Vec::new(), &mut |_, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("in use by process"), "{error}");
    drop(disk);

    let damaged = OpenOptions::new().write(true).open(copy.join(segment::name(0, 1))).unwrap();
    damaged.write_at(b"!", 2 * 8192 + 100).unwrap();
    let (outcome, text) = command(&LogCommand::Verify, &copy);
    assert!(outcome == LogOutcome::Damaged && text.contains("DAMAGED at offset 16384"), "{text}");
    let backup = LogCommand::Backup { target: directory.path().join("second") };
    let error = run(&backup, &copy, 1000, &mut Vec::new(), &mut |_, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("DAMAGED at offset 16384"), "{error}");
    let (outcome, text) = command(&LogCommand::Repair { dry_run: true }, &copy);
    assert!(outcome == LogOutcome::Damaged && text.contains("nothing was changed"), "{text}");
    let (outcome, text) = command(&LogCommand::Repair { dry_run: false }, &copy);
    assert!(outcome == LogOutcome::Good && text.contains("2 whole batches with 2 rec"), "{text}");
    let (outcome, text) = command(&LogCommand::Verify, &copy);
    assert!(outcome == LogOutcome::Good && text.contains("2 batches, 2 records"), "{text}");
}

#[test]
fn a_directory_with_a_log_belongs_to_its_place_in_the_list_of_routers() {
    let disk = MemoryDisk::default();
    let place = |index, routers| RouterPlace::new(index, routers).unwrap();
    let header = DataHeader::open_or_create(&disk, [1; 32]).unwrap();
    assert_eq!(header.place(), RouterPlace::ALONE);
    // Nothing is written yet: the directory may still take another place, and keeps its key.
    let header = DataHeader::open_or_create_for(&disk, [2; 32], place(1, 2)).unwrap();
    assert_eq!((header.place(), header.hash_key()), (place(1, 2), &[1; 32]));
    disk.create_filled(&segment::name(0, 1), 4096).unwrap();
    assert_eq!(DataHeader::open(&disk).unwrap(), header);
    assert_eq!(DataHeader::open_or_create_for(&disk, [2; 32], place(1, 2)).unwrap(), header);
    for other in [place(0, 2), place(1, 3), RouterPlace::ALONE] {
        let error = DataHeader::open_or_create_for(&disk, [2; 32], other).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, HeaderError::List { .. }), "{text}");
        assert!(text.contains("written by router 1 of 2"), "{text}");
        assert!(text.contains(&format!("opened for {other}")), "{text}");
        assert!(text.contains(&format!("reshard --routers {}", other.routers())), "{text}");
    }
    for offset in 0..84 {
        let damaged = disk.copy();
        damaged.flip(HEADER_NAME, offset);
        DataHeader::open(&damaged).expect_err("any changed byte is seen");
    }
    assert_eq!(RouterPlace::new(2, 2), None);
    assert_eq!(RouterPlace::new(0, 257), None);
}

#[test]
fn the_header_of_the_only_router_is_what_it_always_was() {
    let disk = MemoryDisk::default();
    DataHeader::new([5; 32]).save(&disk).unwrap();
    let mut head = [0; 16];
    hawser_router::store::read_full(&disk, HEADER_NAME, 0, &mut head).unwrap();
    assert_eq!(&head, b"HAWSERDB\x01\0\0\0\0\0\0\0");
}
