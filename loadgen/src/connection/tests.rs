//! Single behaviours of a connection, frame by frame.

use hawser_codec::{
    code,
    frame::{self, FrameLimits, Step},
    message::{self, Encoder, Message as Wire, Welcome},
};

use super::*;
use crate::{oracle::Bounds, scenario::Kind};

const RUN: u64 = 5;
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

fn at(ms: u64) -> Now {
    Now { monotonic_us: 1 + ms * 1000, wall_ms: 1_000_000 + ms }
}

fn world() -> World {
    World::new(Arc::new(Ground {
        wire: crate::wire::Wire::new(Protocol::Native, ([127, 0, 0, 1], 7900).into()),
        names: Names::new(RUN),
        oracle: Oracle::new(RUN, Bounds { directions: 6400, exceptions: 6400 }),
        scenario: Scenario::usual(Kind::Chat),
        payload_bytes: 64,
        token: String::new(),
        measure_from_us: AtomicU64::new(0),
        measure_to_us: AtomicU64::new(u64::MAX),
    }))
}

fn hear(connection: &mut Connection, world: &mut World, now: Now, message: &Wire<'_>) {
    let mut bytes = Vec::new();
    Encoder::new().message(&mut bytes, 0, 0, message);
    for byte in bytes {
        connection.on_bytes(world, 0, now, &[byte]).unwrap();
    }
}

fn intend(connection: &mut Connection, world: &mut World, now: Now) {
    let offer = Offer { to: To::User(1), intended_us: now.monotonic_us, hop: 0 };
    connection.offer(world, 0, offer, now);
}

fn online(world: &mut World) -> Connection {
    let mut connection = Connection::new(&world.ground.scenario);
    log_in(&mut connection, world, at(0));
    connection
}

fn log_in(connection: &mut Connection, world: &mut World, now: Now) {
    connection.greet(world, 0, now);
    let welcome = Welcome {
        version: 1,
        server_time_ms: 7_000_000,
        heartbeat_s: 30,
        resume_token: b"",
        head: 0,
        cursor: 0,
        floor: 0,
        frame_bytes_max: 65536,
        requests_max: 2,
        compression: 0,
    };
    connection.outbound.clear();
    hear(connection, world, now, &Wire::Welcome(welcome));
}

fn said(connection: &mut Connection) -> Vec<String> {
    let bytes = std::mem::take(&mut connection.outbound);
    let mut rest = bytes.as_slice();
    let mut all = Vec::new();
    while let Step::Frame { frame, consumed } = frame::step(&LIMITS, rest).unwrap() {
        all.push(format!("{:?}", message::decode(frame).unwrap()));
        rest = &rest[consumed..];
    }
    all
}

#[test]
fn window_holds_requests_back_until_an_answer_comes() {
    let world = &mut world();
    let mut connection = online(world);
    for _ in 0..3 {
        intend(&mut connection, world, at(1));
    }
    let first = said(&mut connection);
    assert_eq!(first.len(), 2);
    assert!(first[0].contains("after: 0") && first[1].contains("after: 1"), "{first:?}");
    let answer = message::Acknowledge { client_seq: 1, sequence: 1, time_ms: 0 };
    hear(&mut connection, world, at(2), &Wire::Acknowledge(answer));
    assert!(said(&mut connection)[0].contains("client_seq: 3, after: 2"));
    assert_eq!(world.tally.counters.acknowledged, 1);
}

#[test]
fn request_is_repeated_once_in_place_and_again_after_a_reconnect_with_the_same_bytes() {
    let world = &mut world();
    let mut connection = online(world);
    intend(&mut connection, world, at(1));
    let first = said(&mut connection);
    connection.on_time(world, 0, at(5001)).unwrap();
    let second = said(&mut connection);
    // The server's clock is 6,000,000 ms ahead.
    let as_repeat = |text: &str| text.replace("first_attempt_ms: 0", "first_attempt_ms: 7000001");
    assert_eq!(second, [as_repeat(&first[0])]);
    assert_eq!(connection.on_time(world, 0, at(10_001)), Err(Fault::new(code::TIMEOUT)));
    connection.on_disconnected(world);
    log_in(&mut connection, world, at(11_000));
    let third = said(&mut connection);
    assert_eq!(third.len(), 1);
    assert!(third[0].contains("client_seq: 1, after: 0"), "{third:?}");
    let body = |text: &str| text[text.find("body").unwrap()..].to_owned();
    assert_eq!(body(&third[0]), body(&first[0]));
}

#[test]
fn quiet_connection_beats_and_a_missing_answer_ends_it() {
    let world = &mut world();
    let mut connection = online(world);
    assert!(connection.is_quiet());
    assert_eq!(connection.deadline(), at(30_000).monotonic_us);
    connection.on_time(world, 0, at(30_000)).unwrap();
    assert_eq!(said(&mut connection), ["Ping(Beat { next_ms: 30000 })"]);
    assert!(!connection.is_quiet());
    assert_eq!(connection.on_time(world, 0, at(40_000)), Err(Fault::new(code::TIMEOUT)));
    let counters = &world.tally.counters;
    assert_eq!((counters.heartbeats_expected, counters.heartbeats_answered), (1, 0));
}

#[test]
fn head_number_asks_for_a_page_once() {
    let world = &mut world();
    let mut connection = online(world);
    for _ in 0..2 {
        hear(&mut connection, world, at(1), &Wire::Head(message::Head { head: 4 }));
    }
    let said = said(&mut connection);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("Sync(Sync { request: 1, after: 0, limit: 50"), "{said:?}");
}

#[test]
fn request_refused_for_now_holds_its_successors_back_until_it_left_again() {
    let world = &mut world();
    let mut connection = online(world);
    intend(&mut connection, world, at(1));
    said(&mut connection);
    let refusal = message::Error {
        code: code::OVERLOADED,
        text: "",
        retry_after_ms: 500,
        client_seq: 1,
        fatal: false,
    };
    hear(&mut connection, world, at(2), &Wire::Error(refusal));
    intend(&mut connection, world, at(3));
    assert!(said(&mut connection).is_empty());
    assert_eq!(connection.deadline(), at(502).monotonic_us);
    connection.on_time(world, 0, at(502)).unwrap();
    let said = said(&mut connection);
    assert!(said[0].contains("client_seq: 1, after: 0"), "{said:?}");
    assert!(said[1].contains("client_seq: 2, after: 1"), "{said:?}");
}
