//! Machines and directories on which a gateway cannot serve: it says what is missing and leaves
//! with the right code, and it touches nothing.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

use hawser_tests::{
    company::random_name,
    confine::forbid_io_uring,
    process::{Home, Setup, program},
    raw::{RawClient, request},
};

const CONFIGURATION: i32 = 1;
const ENVIRONMENT: i32 = 2;
const INCORRECT: i32 = 4;

#[test]
fn port_in_use_is_named() {
    let home = Home::new();
    let native = TcpListener::bind(home.native).expect("nobody else has it");
    let refused = Setup::new().refused_in(&home);
    refused.assert(ENVIRONMENT, &[&home.native.to_string(), "in use"]);
    drop(native);
    let admin = TcpListener::bind(home.admin).expect("nobody else has it");
    let refused = Setup::new().refused_in(&home);
    refused.assert(ENVIRONMENT, &[&home.admin.to_string(), "admin.address", "in use"]);
    drop(admin);
    Setup::new().start_in(home);
}

#[test]
fn port_of_another_gateway_is_in_use_though_listeners_share_ports() {
    let first = Setup::new().start();
    let mut home = Home::new();
    home.native = first.native();
    let refused = Setup::new().refused_in(&home);
    refused.assert(ENVIRONMENT, &[&home.native.to_string(), "in use"]);
    RawClient::login(first.native(), "alice", "phone");
}

#[test]
fn data_directory_that_is_none_is_named() {
    let home = Home::new();
    let file = home.write("data", "not a directory");
    let path = file.display().to_string();
    Setup::new().refused_in(&home).assert(ENVIRONMENT, &[&path, "not a directory"]);
    fs::remove_file(&file).expect("it is ours");
    // A missing one is made, its parents too; below a file there is no making one.
    let below = home.write("file", "").join("data");
    let setup = Setup::new().argument("--data-dir").argument(below.display().to_string());
    let refused = setup.without_data_dir().refused_in(&home);
    refused.assert(ENVIRONMENT, &[&below.display().to_string(), "not a directory"]);
}

#[test]
fn data_directory_that_cannot_be_written_is_named() {
    let home = Home::new();
    let path = home.data_dir().display().to_string();
    fs::create_dir(home.data_dir()).expect("it is not there yet");
    // A read-only mount stops root, too; permissions alone would not.
    let setup = Setup::new()
        .after_mounting("mount --bind -o ro \"$DIR\" \"$DIR\"\nmount -o remount,ro,bind \"$DIR\"");
    setup.refused_in(&home).assert(ENVIRONMENT, &[&path, "cannot be written"]);
}

#[test]
fn data_directory_that_cannot_be_made_is_named_with_the_reason() {
    let home = Home::new();
    let above = home.data_dir();
    fs::create_dir(&above).expect("it is not there yet");
    let path = above.join("of/hawser").display().to_string();
    let setup =
        Setup::new().without_data_dir().argument("--data-dir").argument(&path).after_mounting(
            "mount --bind -o ro \"$DIR\" \"$DIR\"\nmount -o remount,ro,bind \"$DIR\"",
        );
    let place = format!("cannot be made in {}", above.display());
    setup.refused_in(&home).assert(ENVIRONMENT, &[&path, &place, "Read-only file system"]);
}

#[test]
fn data_directory_of_a_running_gateway_is_in_use() {
    let first = Setup::new().start();
    let other = Home::new();
    let setup = Setup::new()
        .argument("--data-dir")
        .argument(first.home().data_dir().display().to_string())
        .without_data_dir();
    let refused = setup.refused_in(&other);
    let holder = format!("process {}", first.pid());
    refused.assert(ENVIRONMENT, &[&first.home().data_dir().display().to_string(), &holder]);
    RawClient::login(first.native(), "alice", "phone");
}

#[test]
fn data_directory_and_files_are_for_their_owner_alone() {
    let gateway = Setup::new().start();
    let directory = gateway.home().data_dir();
    let mode = |path: &PathBuf| fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode(&directory) & 0o777, 0o700);
    for entry in fs::read_dir(&directory).expect("it is there") {
        let path = entry.expect("it is there").path();
        assert_eq!(mode(&path) & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn forbidden_io_uring_is_named_with_calls_and_profile() {
    let home = Home::new();
    let refused = Setup::new().refused_when(&home, forbid_io_uring);
    let calls = ["io_uring_setup", "io_uring_enter", "io_uring_register"];
    refused.assert(ENVIRONMENT, &calls);
    refused.assert(ENVIRONMENT, &["seccomp profile", "forbidden"]);
}

#[test]
fn descriptor_limit_too_low_for_the_connections_asked_is_named_with_its_value() {
    let home = Home::new();
    let low = Setup::new().under(&["prlimit", "--nofile=150:150"]);
    let low = low.setting("limits.max_connections", 100);
    low.refused_in(&home).assert(ENVIRONMENT, &["RLIMIT_NOFILE", "150"]);
    let few = Setup::new().under(&["prlimit", "--nofile=1000:1000"]);
    let many = few.setting("limits.max_connections", 1_000_000);
    let named = ["limits.tables", "`limits.max_connections`", "1000000", "RLIMIT_NOFILE is 1000"];
    many.refused_in(&home).assert(CONFIGURATION, &named);
}

#[test]
fn memory_too_low_for_the_connections_asked_is_named_with_its_value() {
    let home = Home::new();
    let setup = Setup::new()
        .under(&["prlimit", "--data=104857600"])
        .workers(200)
        .setting("limits.max_connections", 3_000_000);
    setup.refused_in(&home).assert(ENVIRONMENT, &["RLIMIT_DATA is 100 MiB", "3000000"]);
}

#[test]
fn wrong_setting_is_named_with_its_value_and_the_allowed_range() {
    let home = Home::new();
    let setup = Setup::new().setting("heartbeat.grace_s", 100_000);
    setup.refused_in(&home).assert(CONFIGURATION, &["heartbeat.grace_s", "100000", "1 to 600"]);
}

#[test]
fn damaged_segment_is_named_with_file_and_offset_and_can_be_repaired() {
    let mut gateway = Setup::new().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    for number in 1..=20 {
        sender.deliver(&request(number, &bob, &[0xEE; 200]));
    }
    gateway.kill();
    let home = gateway.into_home();
    let (segment, offset) = flip_a_byte(&home);

    let refused = Setup::new().refused_in(&home);
    refused.assert(ENVIRONMENT, &[&segment, &format!("offset {offset}")]);
    let verified = log(&home, "verify");
    assert_eq!(verified.0, INCORRECT, "{}", verified.1);
    assert!(verified.1.contains(&segment) && verified.1.contains(&offset.to_string()));
    let repaired = log(&home, "repair");
    assert_eq!(repaired.0, 0, "{}", repaired.1);
    assert_eq!(log(&home, "verify").0, 0);

    // What stood before the damage is there, and numbers go on.
    let gateway = Setup::new().start_in(home);
    let (mut reader, welcome) = RawClient::login(gateway.native(), &bob, "phone");
    assert!((1..20).contains(&welcome.head), "{welcome:?}");
    let (entries, _) = reader.page(0, 100);
    assert!(entries.len() as u64 >= welcome.head);
    assert!(entries.iter().zip(1..).all(|(entry, number)| entry.number == number));
    let mut greeting = hawser_tests::raw::hello(&alice, "phone");
    greeting.incarnation = 2;
    let mut sender = RawClient::greet(gateway.native(), &greeting);
    sender.welcome();
    sender.deliver(&request(1, &bob, b"after the repair"));
}

/// Flips a byte of an acknowledged message in the middle of the log; gives the segment's file name
/// and the offset of the batch it is in.
fn flip_a_byte(home: &Home) -> (String, u64) {
    const BLOCK: u64 = 4096;
    let name = "lane-00-00000001.seg";
    let path = home.data_dir().join(name);
    let bytes = fs::read(&path).expect("the first segment");
    let bodies: Vec<usize> = (0..bytes.len() - 200)
        .step_by(4)
        .filter(|at| bytes[*at..*at + 200] == [0xEE; 200])
        .collect();
    let at = bodies[bodies.len() / 2] as u64;
    let file = fs::OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.write_all_at(&[0xEF], at).expect("it can be written");
    (name.to_owned(), at / BLOCK * BLOCK)
}

/// Runs `log COMMAND` on the data directory; gives exit code and all it printed.
fn log(home: &Home, command: &str) -> (i32, String) {
    let output = Command::new(program())
        .args(["log", command])
        .arg(home.data_dir())
        .env_clear()
        .output()
        .expect("the program runs");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&printed).into_owned())
}
