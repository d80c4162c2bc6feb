//! What only the real ring can show: waits, teardown, bounds of its queues.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use hawser_ring::{
    Completion, Event, Operation, Ring, RingSettings, SocketOptions, Token, Wait,
    uring::{RingGroup, UringRing},
};

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

const SETTINGS: RingSettings = RingSettings {
    descriptors: 16,
    completion_entries: 64,
    submission_entries: 4,
    buffers: 4,
    buffer_bytes: 64,
};

const FOREVER: Wait = Wait { until_us: None, batch: 1, gather_us: 0 };
const NO_WAIT: Wait = Wait { until_us: Some(0), batch: 1, gather_us: 0 };

fn ring() -> UringRing {
    UringRing::new(SETTINGS).expect("io_uring is required")
}

/// Turns until `count` completions have come.
fn turns(ring: &mut UringRing, wait: Wait, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        ring.turn(wait, &mut completions).expect("a ring that works");
    }
    completions
}

fn token(operation: Operation, slot: u32) -> Token {
    Token::new(operation, slot, 1)
}

fn accepted(ring: &mut UringRing, address: &str) -> (hawser_ring::Socket, TcpStream) {
    let address: SocketAddr = address.parse().expect("a literal address");
    let listener = ring.listen(address, 8, OPTIONS).expect("the address is this test's own");
    ring.accept(listener, token(Operation::Accept, 0));
    let stream = TcpStream::connect(address).expect("the backlog has room");
    let completion = turns(ring, FOREVER, 1).remove(0);
    let Event::Accepted(Ok((socket, peer))) = completion.event else {
        panic!("{completion:?} is no accepted socket")
    };
    assert_eq!(peer, stream.local_addr().expect("connected"));
    (socket, stream)
}

#[test]
fn a_thread_wakes_a_ring_that_waits_for_ever() {
    let mut ring = ring();
    let waker = ring.waker();
    let thread = std::thread::spawn(move || waker.wake());
    let completion = turns(&mut ring, FOREVER, 1).remove(0);
    assert!(matches!(completion.event, Event::Woken));
    thread.join().expect("waking does not panic");
}

#[test]
fn every_wake_after_a_turn_wakes_again() {
    let mut ring = ring();
    let waker = ring.waker();
    for _ in 0..100 {
        waker.wake();
        let completion = turns(&mut ring, FOREVER, 1).remove(0);
        assert!(matches!(completion.event, Event::Woken));
    }
}

/// Waiting for a batch must not hold one completion back for ever.
#[test]
fn a_gathering_wait_returns_with_less_than_its_batch() {
    let mut ring = ring();
    ring.waker().wake();
    turns(&mut ring, Wait { until_us: None, batch: 64, gather_us: 50 }, 1);
    ring.waker().wake();
    turns(&mut ring, Wait { until_us: None, batch: 64, gather_us: 0 }, 1);
}

#[test]
fn a_turn_ends_at_its_time() {
    let mut ring = ring();
    let until_us = UringRing::now().monotonic_us + 1000;
    let mut completions = Vec::new();
    let wait = Wait { until_us: Some(until_us), batch: 1, gather_us: 0 };
    let turn = ring.turn(wait, &mut completions).expect("a ring that works");
    assert!(completions.is_empty());
    assert!(turn.now.monotonic_us >= until_us);
}

#[test]
fn more_operations_than_the_submission_queue_holds_are_all_done() {
    let mut ring = ring();
    let path = std::env::temp_dir().join("hawser-ring-submission");
    std::fs::write(&path, b"0123456789").expect("room for a file");
    let file = ring.open(&path, hawser_ring::FileMode::ReadOnly).expect("it exists");
    for slot in 0..40 {
        ring.read(file, u64::from(slot % 10), 1, token(Operation::Read, slot));
    }
    let mut seen = [false; 40];
    for completion in turns(&mut ring, FOREVER, 40) {
        let Event::Read(Ok(bytes)) = completion.event else { panic!("{completion:?}") };
        assert_eq!(bytes, [b'0' + (completion.token.slot % 10) as u8]);
        assert!(!std::mem::replace(&mut seen[completion.token.slot as usize], true));
    }
    assert_eq!(ring.counters().overflows, 0);
}

/// More completions than the queue holds are kept by the kernel and come later.
#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let mut ring = ring();
    for slot in 0..200 {
        let nothing = token(Operation::Receive, 77);
        ring.cancel(None, nothing, token(Operation::Cancel, slot));
    }
    let mut slots: Vec<u32> =
        turns(&mut ring, NO_WAIT, 200).iter().map(|completion| completion.token.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..200).collect::<Vec<_>>());
    assert!(ring.counters().overflows > 0);
}

/// Why rule 4 of the trait exists.
#[test]
fn closing_a_slot_with_a_receive_armed_tells_the_peer_nothing() {
    let mut ring = ring();
    let (socket, mut stream) = accepted(&mut ring, "127.12.0.1:11101");
    ring.receive(socket, token(Operation::Receive, 0));
    turns_once(&mut ring);
    ring.close(socket, false, token(Operation::Close, 0));
    let completion = turns(&mut ring, FOREVER, 1).remove(0);
    assert!(matches!(completion.event, Event::Closed(Ok(()))));
    stream.set_nonblocking(true).expect("an open socket");
    let error = stream.read(&mut [0; 1]).expect_err("no FIN has come");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

/// The registered ring would otherwise live as long as its thread.
#[test]
fn dropping_a_ring_ends_its_connections() {
    for _ in 0..20 {
        let mut ring = ring();
        let (socket, mut stream) = accepted(&mut ring, "127.12.0.1:11102");
        ring.receive(socket, token(Operation::Receive, 0));
        turns_once(&mut ring);
        drop(ring);
        // Fails instead of waiting for ever.
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        // Reads on over the interruptions that the ring's end means for its thread.
        assert_eq!(stream.read_to_end(&mut Vec::new()).expect("a FIN"), 0);
    }
}

#[test]
fn addresses_may_be_ipv6() {
    let mut ring = ring();
    let (socket, stream) = accepted(&mut ring, "[::1]:11104");
    assert_eq!(ring.peer_address(socket), Ok(stream.local_addr().expect("connected")));
}

#[test]
fn a_turn_with_nothing_to_do_makes_no_system_call() {
    let mut ring = ring();
    turns_once(&mut ring);
    let enters = ring.counters().enters;
    turns_once(&mut ring);
    assert_eq!(ring.counters().enters, enters);
}

#[test]
fn a_connect_cancelled_before_its_first_turn_ends_cancelled() {
    let mut ring = ring();
    let target = "127.12.0.1:11103".parse().expect("a literal address");
    let _listener = ring.listen(target, 8, OPTIONS).expect("the address is this test's own");
    let connect = token(Operation::Connect, 0);
    ring.connect("127.12.0.2:0".parse().expect("a literal address"), target, OPTIONS, connect);
    ring.cancel(None, connect, token(Operation::Cancel, 0));
    let completions = turns(&mut ring, FOREVER, 2);
    let ended = completions.iter().any(|completion| {
        matches!(completion.event, Event::Connected(Err(errno)) if errno.0 == libc::ECANCELED)
    });
    assert!(ended, "{completions:?}");
    assert_eq!(ring.free_slots(), SETTINGS.descriptors);
}

#[test]
fn a_table_larger_than_the_limit_is_refused_in_one_line() {
    let settings = RingSettings { descriptors: 100_000_000, ..SETTINGS };
    let refusal = UringRing::new(settings).expect_err("no limit is that high").to_string();
    assert!(refusal.contains("100000000") && refusal.contains("RLIMIT_NOFILE is "), "{refusal}");
    assert!(!refusal.contains('\n'));
}

fn turns_once(ring: &mut UringRing) {
    ring.turn(NO_WAIT, &mut Vec::new()).expect("a ring that works");
}

/// The group sleeps on its first ring alone; whatever happens on the others has to end that sleep.
#[test]
fn a_sleeping_group_is_woken_by_each_of_its_rings() {
    const TABLES: u32 = 3;
    const ROUNDS: usize = 2_000;
    let settings = RingSettings { descriptors: 2, ..SETTINGS };
    let mut group = RingGroup::new(settings, TABLES).expect("io_uring is required");
    let address = "127.12.0.1:11105".parse().expect("a literal address");
    let listener = group.listen(address, 8, OPTIONS).expect("the address is this test's own");
    let mut streams = Vec::new();
    let mut tables = std::collections::HashSet::new();
    for slot in 0..TABLES {
        group.accept(listener, token(Operation::Accept, slot));
        streams.push(TcpStream::connect(address).expect("the backlog has room"));
        let mut completions = Vec::new();
        while completions.is_empty() {
            group.turn(FOREVER, &mut completions).expect("rings that work");
        }
        let Event::Accepted(Ok((socket, _))) = completions.remove(0).event else { panic!() };
        tables.insert(socket.0 / settings.descriptors);
        group.receive(socket, token(Operation::Receive, slot));
    }
    assert_eq!(tables.len(), TABLES as usize, "each socket stands in another table");
    // The next byte is written only after the last was heard, so that nothing but the ring it comes
    // to can end the sleep; mostly one of the further rings, the first would hide that they do not.
    let (heard, next) = std::sync::mpsc::channel();
    let peers = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let at = if round % 100 == 0 { 0 } else { 1 + round % 2 };
            streams[at].write_all(b"x").expect("an open socket");
            next.recv().expect("the group listens to the end");
        }
        streams
    });
    for _ in 0..ROUNDS {
        let mut bytes = 0;
        while bytes == 0 {
            let mut completions = Vec::new();
            group.turn(FOREVER, &mut completions).expect("rings that work");
            for completion in completions {
                let Event::Received(result) = completion.event else { continue };
                if let Ok(Some(lease)) = result {
                    bytes += group.bytes(&lease).len();
                    group.give_back(lease);
                }
                if !completion.more {
                    let socket = hawser_ring::Socket(completion.token.slot * settings.descriptors);
                    group.receive(socket, completion.token);
                }
            }
        }
        assert_eq!(bytes, 1);
        heard.send(()).expect("the peers write to the end");
    }
    drop(peers.join().expect("the peers have written all"));
}

/// Bytes that a peer can send to a connected socket of ours that does not read.
fn taken_unread(receive_buffer_bytes: Option<u32>) -> usize {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("bound");
    let mut ring = ring();
    let source = "127.0.0.1:0".parse().expect("a literal address");
    let options = SocketOptions { receive_buffer_bytes, ..OPTIONS };
    ring.connect(source, target, options, token(Operation::Connect, 0));
    let completion = turns(&mut ring, FOREVER, 1).remove(0);
    assert!(matches!(completion.event, Event::Connected(Ok(_))), "{completion:?}");
    let (mut peer, _) = listener.accept().expect("it has connected");
    peer.set_nonblocking(true).expect("an open socket");
    let mut sent = 0;
    // Loopback delivers within the write, so that a full pipe stays full.
    while let Ok(count) = peer.write(&[0; 4096]) {
        sent += count;
    }
    sent
}

#[test]
fn a_small_receive_buffer_is_full_soon() {
    let (small, usual) = (taken_unread(Some(4096)), taken_unread(None));
    assert!(small + 50_000 < usual, "{small} B with a small buffer, {usual} B without");
}
