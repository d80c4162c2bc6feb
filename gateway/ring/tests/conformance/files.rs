//! Files: direct and buffered writes, reads, what is not there.

use std::ops::Range;

use hawser_ring::{BLOCK_BYTES, FileMode, Operation};

use crate::stage::{SERVER, Scenario, Seen};

/// Bytes with an aligned block in them, and where it is.
fn aligned_block(fill: u8) -> (Vec<u8>, Range<usize>) {
    let bytes = vec![fill; 2 * BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    (bytes, start..start + BLOCK_BYTES)
}

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "a direct write is read back",
        buffers: 8,
        run: |stage| {
            let path = stage.make_file("direct", 4 * BLOCK_BYTES);
            let file = stage.ring(SERVER).open(&path, FileMode::DirectDurable).expect("it exists");
            let token = stage.token(Operation::Write, "server write");
            let (bytes, range) = aligned_block(7);
            stage.ring(SERVER).write(file, BLOCK_BYTES as u64, bytes, range, token);
            stage.wait(SERVER, "server write");
            stage.ring(SERVER).close_file(file);
            let file = stage.ring(SERVER).open(&path, FileMode::ReadOnly).expect("it exists");
            let token = stage.token(Operation::Read, "server read");
            stage.ring(SERVER).read(file, BLOCK_BYTES as u64 - 1, 3, token);
            assert_eq!(stage.wait(SERVER, "server read"), Seen::Bytes(vec![0, 7, 7]));
        },
        expected: "server read: 3 read 3.
            server write: written 4096.",
    },
    Scenario {
        name: "a direct write off the blocks is refused",
        buffers: 8,
        run: |stage| {
            let path = stage.make_file("unaligned", 4 * BLOCK_BYTES);
            let file = stage.ring(SERVER).open(&path, FileMode::DirectDurable).expect("it exists");
            let token = stage.token(Operation::Write, "server write");
            let (bytes, range) = aligned_block(7);
            stage.ring(SERVER).write(file, 100, bytes, range, token);
            stage.wait(SERVER, "server write");
        },
        expected: "server write: errno 22.",
    },
    Scenario {
        name: "a buffered write, a sync, a read",
        buffers: 8,
        run: |stage| {
            let path = stage.make_file("buffered", 10);
            let file = stage.ring(SERVER).open(&path, FileMode::Buffered).expect("it exists");
            let token = stage.token(Operation::Write, "server write");
            stage.ring(SERVER).write(file, 8, b"abcdef".to_vec(), 1..5, token);
            stage.wait(SERVER, "server write");
            let token = stage.token(Operation::Sync, "server sync");
            stage.ring(SERVER).sync(file, token);
            stage.wait(SERVER, "server sync");
            let token = stage.token(Operation::Read, "server read");
            stage.ring(SERVER).read(file, 7, 100, token);
            assert_eq!(stage.wait(SERVER, "server read"), Seen::Bytes(b"\0bcde".to_vec()));
        },
        expected: "server read: 5 read 5.
            server sync: done.
            server write: written 4.",
    },
    Scenario {
        name: "a read beyond the end",
        buffers: 8,
        run: |stage| {
            let path = stage.make_file("short", 10);
            let file = stage.ring(SERVER).open(&path, FileMode::ReadOnly).expect("it exists");
            let token = stage.token(Operation::Read, "server read 1");
            stage.ring(SERVER).read(file, 6, 100, token);
            stage.wait(SERVER, "server read 1");
            let token = stage.token(Operation::Read, "server read 2");
            stage.ring(SERVER).read(file, 1000, 100, token);
            stage.wait(SERVER, "server read 2");
        },
        expected: "server read 1: 4 read 4.
            server read 2: read 0.",
    },
    Scenario {
        name: "opening what is not there",
        buffers: 8,
        run: |stage| {
            let path = stage.directory().join("missing");
            for mode in [FileMode::DirectDurable, FileMode::Buffered, FileMode::ReadOnly] {
                let error = stage.ring(SERVER).open(&path, mode).expect_err("there is no file");
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        },
        expected: "",
    },
];
