//! A disk that fills up under a gateway, and has room again.

use std::{fs, path::PathBuf};

use hawser_codec::code;
use hawser_tests::{
    company::{random_name, until},
    process::{Gateway, Setup},
    raw::{RawClient, Refusal, request},
};

/// Room for a few segments of 4 MiB beside a file that only takes room.
const MOUNT: &str = "mkdir -p \"$DIR\"
mount -t tmpfs -o size=24m,mode=0700 tmpfs \"$DIR\"
head -c 10485760 /dev/zero > \"$DIR/filler\"";

/// More than the disk holds.
const MESSAGES_MAX: u64 = 1000;

/// The filler as the gateway's mount namespace shows it.
fn filler(gateway: &Gateway) -> PathBuf {
    let directory = gateway.home().data_dir();
    let inside = directory.strip_prefix("/").expect("it is an absolute path");
    PathBuf::from(format!("/proc/{}/root", gateway.pid())).join(inside).join("filler")
}

fn assert_storage_unavailable(refusal: &Refusal) {
    assert_eq!(refusal.code, code::STORAGE_UNAVAILABLE, "{refusal:?}");
    assert!(refusal.retry_after_ms > 0 && !refusal.fatal, "{refusal:?}");
}

#[test]
fn full_disk_refuses_senders_for_now_keeps_connections_and_serves_again_once_there_is_room() {
    let gateway = Setup::new().after_mounting(MOUNT).start();
    let (alice, bob, carol) = (random_name(), random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut other, _) = RawClient::login(gateway.native(), &carol, "phone");
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    let body = vec![0xDD; 60_000];
    let mut accepted = 0;
    let refusal = loop {
        assert!(accepted < MESSAGES_MAX, "the disk cannot hold so many");
        match sender.insist(&request(accepted + 1, &bob, &body)) {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_storage_unavailable(&refusal);
    assert!(accepted > 0);
    let refusal = other.insist(&request(1, &bob, b"anybody else"));
    assert_storage_unavailable(&refusal.expect_err("the disk is full for all"));

    // What is there can be read, and nobody loses a connection.
    let mut cursor = 0;
    while cursor < accepted {
        let (entries, _) = reader.page(cursor, 100);
        for entry in entries {
            cursor += 1;
            assert_eq!((entry.number, entry.body.len()), (cursor, body.len()));
        }
    }
    sender.settle();
    other.settle();

    fs::remove_file(filler(&gateway)).expect("it was there");
    until("room", || {
        let answer = other.insist(&request(1, &bob, b"anybody else"));
        answer.map_err(|refusal| assert_storage_unavailable(&refusal)).ok()
    });
    let answer = sender.insist(&request(accepted + 1, &bob, &body)).expect("there is room");
    let (_, page) = reader.page(cursor, 1);
    assert_eq!(page.head, accepted + 2, "each message took one place: {answer:?}");
    assert!(gateway.said().contains("No space left"), "the operator is told:\n{}", gateway.said());
}
