//! Single behaviours, frame by frame.

use hawser_codec::{
    code,
    frame::{self, FrameLimits, Step},
    message::{self as wire, Encoder, Level, Message as Wire},
};

use super::{model::welcome, *};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

fn at(ms: u64) -> Now {
    Now { monotonic_us: 1 + ms * 1000, wall_ms: 1_000_000 + ms }
}

fn online(now: Now) -> ClientSession {
    let mut session = ClientSession::new(Settings::new("alice", "d"), Outbox::new(7));
    session.on_time(now);
    assert_eq!(session.next_action(), Some(Action::Connect { endpoint: None }));
    session.on_connected(now);
    session.take_bytes(Vec::new());
    hear(&mut session, now, &Wire::Welcome(welcome(0, 0)));
    while session.next_event().is_some() {}
    session
}

fn hear(session: &mut ClientSession, now: Now, message: &Wire<'_>) {
    let mut bytes = Vec::new();
    Encoder::new().message(&mut bytes, 0, 0, message);
    session.on_bytes(now, &bytes);
}

fn said(session: &mut ClientSession) -> Vec<String> {
    let bytes = session.take_bytes(Vec::new());
    let mut rest = bytes.as_slice();
    if rest.starts_with(&PREFACE) {
        rest = &rest[4..];
    }
    let mut all = Vec::new();
    while let Step::Frame { frame, consumed } = frame::step(&LIMITS, rest).unwrap() {
        all.push(format!("{:?}", wire::decode(frame).unwrap()));
        rest = &rest[consumed..];
    }
    all
}

fn to_bob() -> Outgoing {
    Outgoing {
        to: "bob".to_owned(),
        uuid: [9; 16],
        level: Level::Normal,
        content: 0,
        receipts: 0,
        body: b"ahoy".to_vec(),
    }
}

fn error(code: u16, client_seq: u64, fatal: bool) -> Wire<'static> {
    Wire::Error(wire::Error { code, text: "", retry_after_ms: 700, client_seq, fatal })
}

fn entry(number: u64) -> Wire<'static> {
    Wire::Notify(wire::Notify {
        number,
        conversation: "bob",
        sequence: number,
        sender: "bob",
        device: "d",
        incarnation: 1,
        client_seq: number,
        uuid: [0; 16],
        time_ms: 0,
        content: 0,
        receipts: 0,
        own: false,
        body: b"x",
    })
}

#[test]
fn silent_server_gets_a_ping_and_then_loses_the_connection() {
    let mut session = online(at(0));
    assert_eq!(session.next_deadline(), Some(at(30_000).monotonic_us));
    session.on_time(at(30_000));
    assert_eq!(said(&mut session), ["Ping(Beat { next_ms: 30000 })"]);
    session.on_time(at(39_999));
    assert_eq!(session.next_action(), None);
    session.on_time(at(40_000));
    assert_eq!(session.next_action(), Some(Action::Close));
}

#[test]
fn ping_is_answered() {
    let mut session = online(at(0));
    hear(&mut session, at(1), &Wire::Ping(Beat { next_ms: 5 }));
    assert_eq!(said(&mut session), ["Pong(Beat { next_ms: 30000 })"]);
}

#[test]
fn unanswered_request_is_repeated_once_with_its_first_time_and_then_costs_the_connection() {
    let mut session = online(at(0));
    session.send(at(10), to_bob()).unwrap();
    assert!(said(&mut session)[0].contains("first_attempt_ms: 0"));
    session.on_time(at(5_010));
    let repeat = said(&mut session);
    // The model's server clock is 4,000,000 ms ahead of ours.
    assert!(repeat[0].contains("client_seq: 1,"), "{repeat:?}");
    assert!(repeat[0].contains("first_attempt_ms: 5000010"), "{repeat:?}");
    session.on_time(at(10_010));
    assert_eq!(session.next_action(), Some(Action::Close));
}

#[test]
fn request_names_the_latest_unanswered_one_of_its_conversation() {
    let mut session = online(at(0));
    session.send(at(0), to_bob()).unwrap();
    session.send(at(0), Outgoing { to: "carol".to_owned(), ..to_bob() }).unwrap();
    session.send(at(0), to_bob()).unwrap();
    let said = said(&mut session);
    let after: Vec<bool> = said.iter().map(|request| request.contains("after: 0")).collect();
    assert_eq!(after, [true, true, false]);
    assert!(said[2].contains("after: 1"));
}

#[test]
fn request_refused_for_now_comes_again_after_the_stated_time_and_holds_back_its_successor() {
    let mut session = online(at(0));
    session.send(at(0), to_bob()).unwrap();
    said(&mut session);
    hear(&mut session, at(1), &error(code::OVERLOADED, 1, false));
    session.send(at(2), to_bob()).unwrap();
    assert!(said(&mut session).is_empty());
    assert_eq!(session.next_deadline(), Some(at(701).monotonic_us));
    session.on_time(at(701));
    let said = said(&mut session);
    assert!(said[0].contains("client_seq: 1,") && said[1].contains("after: 1"), "{said:?}");
}

#[test]
fn request_refused_for_good_is_reported_and_gone() {
    let mut session = online(at(0));
    session.send(at(0), to_bob()).unwrap();
    hear(&mut session, at(1), &error(code::NUMBER_REUSED, 1, false));
    let refused = Event::Refused { client_seq: 1, code: code::NUMBER_REUSED, text: String::new() };
    assert_eq!(session.next_event(), Some(refused));
    assert_eq!(session.outbox().requests().len(), 0);
}

#[test]
fn first_entry_is_acknowledged_at_once_and_the_next_ones_in_company() {
    let mut session = online(at(100));
    hear(&mut session, at(200), &entry(1));
    assert_eq!(said(&mut session), ["NotifyAcknowledge(NotifyAcknowledge { number: 1 })"]);
    hear(&mut session, at(201), &entry(2));
    hear(&mut session, at(202), &entry(3));
    assert!(said(&mut session).is_empty());
    session.on_time(at(220));
    assert_eq!(said(&mut session), ["NotifyAcknowledge(NotifyAcknowledge { number: 3 })"]);
    for number in 4..36 {
        hear(&mut session, at(221), &entry(number));
    }
    assert_eq!(said(&mut session), ["NotifyAcknowledge(NotifyAcknowledge { number: 35 })"]);
}

#[test]
fn hole_in_the_numbers_asks_for_a_page() {
    let mut session = online(at(0));
    hear(&mut session, at(1), &entry(2));
    assert!(said(&mut session)[0].starts_with("Sync(Sync { request: 1, after: 0, limit: 50"));
    assert_eq!(session.next_event(), None);
}

#[test]
fn a_page_that_does_not_come_is_asked_for_again_before_the_connection_is_left() {
    let mut session = online(at(0));
    hear(&mut session, at(0), &entry(2));
    let asked = |session: &mut ClientSession, request: u64| {
        let said = said(session);
        let question = format!("Sync(Sync {{ request: {request}, after: 0");
        assert!(said.len() == 1 && said[0].starts_with(&question), "{said:?}");
    };
    asked(&mut session, 1);
    session.on_time(at(5000));
    asked(&mut session, 2);
    // An answer, if only that it cannot be read now: the connection is good.
    hear(&mut session, at(9000), &error(code::RATE_LIMITED, 0, false));
    session.on_time(at(10_000));
    asked(&mut session, 3);
    session.on_time(at(15_000));
    asked(&mut session, 4);
    session.on_time(at(20_000));
    assert_eq!(session.next_action(), Some(Action::Close));
}

#[test]
fn second_connection_resumes_by_token() {
    let mut session = online(at(0));
    session.on_disconnected(at(1), 0);
    session.on_time(at(2));
    session.next_action();
    session.on_connected(at(2));
    let first = said(&mut session);
    assert!(first[0].contains("user: \"\", device: \"\""), "{first:?}");
    assert!(first[0].contains("resume_token: [116, 111, 107, 101, 110]"), "{first:?}");
    hear(&mut session, at(3), &error(code::TOKEN_EXPIRED, 0, true));
    assert_eq!(session.next_action(), Some(Action::Close));
    session.on_disconnected(at(3), 0);
    session.on_time(at(10_000));
    session.next_action();
    session.on_connected(at(10_000));
    assert!(said(&mut session)[0].contains("user: \"alice\""));
}

#[test]
fn back_off_doubles_its_ceiling_and_draws_below_it() {
    let mut session = ClientSession::new(Settings::new("alice", "d"), Outbox::new(7));
    let mut ceilings = Vec::new();
    for _ in 0..9 {
        session.on_time(at(1_000_000_000));
        session.next_action();
        let now = at(0);
        let ceiling = (500u64 << ceilings.len()).min(60_000);
        session.on_disconnected(now, ceiling);
        ceilings.push((session.next_deadline().unwrap() - now.monotonic_us) / 1000);
    }
    assert_eq!(ceilings, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
}

#[test]
fn go_away_is_obeyed_and_replaced_is_the_end() {
    let mut session = online(at(0));
    let code = code::SHUTTING_DOWN;
    let leave = wire::GoAway { code, retry_after_ms: 4000, endpoint: "127.0.0.1:7" };
    hear(&mut session, at(0), &Wire::GoAway(leave));
    assert_eq!(session.next_action(), Some(Action::Close));
    session.on_disconnected(at(0), 0);
    assert_eq!(session.next_deadline(), Some(at(4000).monotonic_us));
    session.on_time(at(4000));
    let endpoint = Some("127.0.0.1:7".to_owned());
    assert_eq!(session.next_action(), Some(Action::Connect { endpoint }));

    let mut session = online(at(0));
    hear(&mut session, at(0), &error(code::REPLACED, 0, true));
    assert_eq!(session.state(), ConnectionState::Ended);
    assert_eq!(session.next_deadline(), None);
}

#[test]
fn garbage_costs_the_connection_and_nothing_else() {
    let mut session = online(at(0));
    session.on_bytes(at(1), &[0xff; 64]);
    assert_eq!(session.next_action(), Some(Action::Close));
    session.on_disconnected(at(1), 0);
    assert_eq!(session.state(), ConnectionState::Offline);
}

#[test]
fn a_head_that_is_acknowledged_already_is_acknowledged_again() {
    let mut session = online(at(0));
    let notify = |number| wire::Notify {
        number,
        conversation: "bob",
        sequence: number,
        sender: "bob",
        device: "d",
        incarnation: 1,
        client_seq: number,
        uuid: [1; 16],
        time_ms: 1,
        content: 0,
        receipts: 0,
        own: false,
        body: b"x",
    };
    hear(&mut session, at(1), &Wire::Notify(notify(1)));
    assert_eq!(said(&mut session), ["NotifyAcknowledge(NotifyAcknowledge { number: 1 })"]);
    // The server recovered and has lost the cursor.
    hear(&mut session, at(1000), &Wire::Head(wire::Head { head: 1 }));
    assert_eq!(said(&mut session), ["NotifyAcknowledge(NotifyAcknowledge { number: 1 })"]);
    // One that is news is read.
    hear(&mut session, at(2000), &Wire::Head(wire::Head { head: 2 }));
    let said = said(&mut session);
    assert!(said.len() == 1 && said[0].starts_with("Sync("), "{said:?}");
}
