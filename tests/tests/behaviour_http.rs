//! Long-poll, events and plain requests through the real gateway, asked by the real curl.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use hawser_tests::{
    company::until,
    curl::{Answer, Curl},
    process::{Gateway, Home, PATIENCE, Setup},
    raw::{RawClient, hello, request},
};
use rustix::process::Signal;

/// Ids of messages, as a client would draw them.
fn uuid(number: u32) -> String {
    format!("01963d5c-0011-7abc-8def-{number:012x}")
}

fn get(gateway: &Gateway, path: &str) -> Curl {
    Curl::new(gateway.websocket(), path)
}

/// Opens a session; gives its handle.
#[track_caller]
fn open(gateway: &Gateway, user: &str) -> String {
    let body = format!(r#"{{"user":"{user}","device":"web"}}"#);
    let answer = get(gateway, "/poll/session").body(&body).ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["session"].as_str().expect("a handle").to_owned()
}

#[track_caller]
fn poll(gateway: &Gateway, session: &str, cursor: u64) -> Answer {
    get(gateway, &format!("/poll?cursor={cursor}")).session(session).ask()
}

/// Sends as a native client, which is logged in for that long only.
fn native_sends(gateway: &Gateway, from: &str, to: &str, texts: &[&str]) {
    let (mut client, welcomed) = RawClient::login(gateway.native(), from, "phone");
    for (at, text) in texts.iter().enumerate() {
        let mut message = request(welcomed.head + at as u64 + 1, to, text.as_bytes());
        message.uuid[15] = text.len() as u8;
        client.deliver(&message);
    }
}

/// Writes bytes as they stand and reads until the server has nothing more to say.
fn say(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(gateway.websocket()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out is taken");
    socket.write_all(bytes).expect("it reads");
    let mut answer = String::new();
    // A reset behind the answer is as good an end as any.
    let _ = socket.read_to_string(&mut answer);
    answer
}

#[test]
fn every_listener_of_http_says_whether_it_is_well() {
    let gateway = Setup::new().start();
    let answers = get(&gateway, "/healthz").then("/healthz").ask_all();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.connects)).collect();
    assert_eq!(seen, [(200, 1), (200, 0)], "the connection is kept");
    assert_eq!(answers[0].body, "ok\n");
    let head = get(&gateway, "/healthz").with(&["-I"]).ask();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.field("content-length"), Some("3"));
}

#[test]
fn a_poll_gives_what_there_is_and_acknowledges_what_its_cursor_names() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    assert_eq!(poll(&gateway, &session, 0).json()["head"], 0);
    native_sends(&gateway, "bob", "alice", &["one", "two", "three"]);

    let path = "/poll?cursor=0&limit=2";
    let first = get(&gateway, path).session(&session).ask();
    let bob = |number: u64, text: &str| (number, "bob".to_owned(), text.to_owned());
    assert_eq!(first.entries(), [bob(1, "one"), bob(2, "two")]);
    assert_eq!((&first.json()["cursor"], &first.json()["head"]), (&2.into(), &3.into()));
    // The same question again has the same answer: nothing is acknowledged by being shown.
    assert_eq!(get(&gateway, path).session(&session).ask().entries(), first.entries());
    assert_eq!(poll(&gateway, &session, 2).entries(), [bob(3, "three")]);
    let last = poll(&gateway, &session, 3);
    assert_eq!((last.entries().len(), &last.json()["cursor"]), (0, &3.into()));

    let again = get(&gateway, "/poll/session").body(r#"{"user":"alice","device":"web"}"#).ask();
    assert_eq!(again.json()["cursor"], 3, "the device has acknowledged all: {again:?}");
}

#[test]
fn a_poll_waits_until_something_comes() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let waiting = get(&gateway, "/poll?cursor=0&wait=50").session(&session).begin();
    native_sends(&gateway, "bob", "alice", &["here I am"]);
    let answer = waiting.answer();
    assert_eq!(answer.entries(), [(1, "bob".to_owned(), "here I am".to_owned())]);
    let late = get(&gateway, "/poll?cursor=1&wait=1").session(&session).ask();
    assert_eq!((late.entries().len(), &late.json()["cursor"]), (0, &1.into()));
}

#[test]
fn polls_in_a_row_miss_nothing_while_others_talk() {
    const MESSAGES: u64 = 60;
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let address = gateway.native();
    let sender = std::thread::spawn(move || {
        let (mut bob, _) = RawClient::login(address, "bob", "phone");
        for client_seq in 1..=MESSAGES {
            bob.deliver(&request(client_seq, "alice", format!("{client_seq}").as_bytes()));
        }
    });
    let (mut cursor, mut texts) = (0, Vec::new());
    while (texts.len() as u64) < MESSAGES {
        let path = format!("/poll?cursor={cursor}&wait=20&limit=7");
        let answer = get(&gateway, &path).session(&session).ask();
        texts.extend(answer.entries().into_iter().map(|(_, _, text)| text));
        cursor = answer.json()["cursor"].as_u64().expect("a number");
    }
    sender.join().expect("the sender has no complaint");
    let expected: Vec<_> = (1..=MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_session_outlives_the_gateway_that_gave_it() {
    let mut gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    native_sends(&gateway, "bob", "alice", &["before"]);
    gateway.kill();
    gateway.restart();
    assert_eq!(poll(&gateway, &session, 0).entries()[0].2, "before");
}

#[test]
fn events_come_as_they_happen_and_go_on_behind_the_last_one_named() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    native_sends(&gateway, "bob", "alice", &["one", "two"]);
    let mut stream = get(&gateway, "/events").session(&session).stream();
    let head = stream.head();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let welcome = stream.event();
    assert_eq!((&welcome.data["type"], welcome.id), (&"welcome".into(), None));
    let mut next = |id: u64, text: &str| {
        let event = stream.event();
        assert_eq!((event.id, event.text()), (Some(id), text));
    };
    next(1, "one");
    next(2, "two");
    native_sends(&gateway, "bob", "alice", &["three", "and four"]);
    next(3, "three");
    next(4, "and four");
    drop(stream);

    // What a client lost with its connection it gets again, by field or by parameter.
    let mut stream =
        get(&gateway, "/events").session(&session).field("Last-Event-ID", "2").stream();
    stream.head();
    stream.event();
    assert_eq!((stream.event().id, stream.event().id), (Some(3), Some(4)));
    drop(stream);
    let mut stream = get(&gateway, &format!("/events?cursor=3&session={session}")).stream();
    stream.head();
    stream.event();
    assert_eq!(stream.event().id, Some(4));
}

#[test]
fn what_was_shown_as_an_event_is_acknowledged() {
    const MESSAGES: usize = 40;
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let mut stream = get(&gateway, "/events").session(&session).stream();
    stream.head();
    stream.event();
    native_sends(&gateway, "bob", "alice", &["again"; MESSAGES]);
    for _ in 0..MESSAGES {
        stream.event();
    }
    // Confirmed in portions: what had not been when the stream was left is shown again.
    until("all to be acknowledged", || {
        let again = get(&gateway, "/poll/session").body(r#"{"user":"alice","device":"web"}"#).ask();
        let cursor = again.json()["cursor"].as_u64().expect("a number");
        let mut stream = get(&gateway, "/events").session(&session).stream();
        stream.head();
        stream.event();
        for _ in cursor..MESSAGES as u64 {
            stream.event();
        }
        (cursor == MESSAGES as u64).then_some(())
    });
}

#[test]
fn a_later_login_of_the_device_ends_the_wait_of_the_earlier() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let mut stream = get(&gateway, "/events").session(&session).stream();
    stream.head();
    stream.event();
    let waiting = get(&gateway, "/poll?cursor=0&wait=50").session(&session).begin();
    // The same session: come back. The stream ends behind that.
    let farewell = stream.event();
    assert_eq!((&farewell.data["type"], &farewell.data["code"]), (&"error".into(), &105.into()));
    assert_eq!(stream.next_event(), None);
    // Another program under the device's name: do not.
    let mut other = hello("alice", "web");
    other.incarnation = 99;
    let _other = RawClient::greet(gateway.native(), &other).welcome();
    let answer = waiting.answer();
    assert_eq!((answer.status, &answer.json()["code"]), (409, &203.into()));
}

#[test]
fn a_message_is_sent_once_however_often_it_is_posted() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let post = |key: &str, body: &str| {
        let post = get(&gateway, "/poll/send").session(&session).body(body);
        post.field("Idempotency-Key", key).ask()
    };
    let first = post(&uuid(1), r#"{"to":"bob","text":"hello"}"#);
    assert_eq!((first.status, &first.json()["sequence"]), (200, &1.into()), "{first:?}");
    assert_eq!(post(&uuid(1), r#"{"to":"bob","text":"hello"}"#).json(), first.json());
    assert_eq!(post(&uuid(2), r#"{"to":"bob","body":"AP8="}"#).json()["sequence"], 2);
    assert_eq!(post(&uuid(1), r#"{"to":"bob","text":"other"}"#).status, 422);

    let (mut bob, welcomed) = RawClient::login_at(gateway.native(), "bob", "phone", 2);
    assert_eq!(welcomed.head, 2);
    let (entries, _) = bob.page(0, 10);
    let bodies: Vec<_> = entries.iter().map(|entry| entry.body.as_slice()).collect();
    assert_eq!(bodies, [&b"hello"[..], &[0, 0xFF]]);
    // The sender's other devices see it as well, its own as an entry without text.
    let own = poll(&gateway, &session, 0);
    assert_eq!(own.json()["entries"][0]["own"], true);
}

#[test]
fn sending_does_not_disturb_a_poll_that_waits() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let waiting = get(&gateway, "/poll?cursor=0&wait=50").session(&session).begin();
    let sent = get(&gateway, "/poll/send")
        .session(&session)
        .field("Idempotency-Key", &uuid(1))
        .body(r#"{"to":"bob","text":"hello"}"#)
        .ask();
    assert_eq!(sent.status, 200, "{sent:?}");
    let answer = waiting.answer();
    assert_eq!((answer.status, answer.entries().len()), (200, 1));
}

#[test]
fn pages_of_the_web_need_to_be_of_this_server_or_listed() {
    let listed = "https://chat.example";
    let gateway = Setup::new().setting("websocket.origins", listed).start();
    let with = |origin: &str| get(&gateway, "/healthz").field("Origin", origin).ask();
    assert_eq!(with("https://evil.example").status, 403);
    assert_eq!(with("null").status, 403);
    let own = with(&format!("http://{}", gateway.websocket()));
    assert_eq!((own.status, own.field("access-control-allow-origin")), (200, None));
    let allowed = with(listed);
    assert_eq!(allowed.field("access-control-allow-origin"), Some(listed));
    assert_eq!(allowed.field("vary"), Some("Origin"));

    let preflight = get(&gateway, "/poll/send")
        .with(&["-X", "OPTIONS"])
        .field("Origin", listed)
        .field("Access-Control-Request-Method", "POST")
        .field("Access-Control-Request-Headers", "idempotency-key")
        .ask();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(preflight.field("access-control-allow-methods"), Some("GET, POST"));
    let fields = preflight.field("access-control-allow-headers").unwrap_or_default();
    assert!(fields.contains("Idempotency-Key") && fields.contains("Authorization"), "{fields}");

    // An error is of no use to a page that may not read it; an answer that comes later neither.
    let session = open(&gateway, "alice");
    for path in ["/poll", "/poll?cursor=0&wait=1"] {
        let answer = get(&gateway, path).session(&session).field("Origin", listed).ask();
        assert_eq!(answer.field("access-control-allow-origin"), Some(listed), "{path}");
    }
}

#[test]
fn wrong_requests_are_told_what_is_wrong_and_cost_nobody_else_anything() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let check = |curl: Curl, status: u16, word: &str| {
        let answer = curl.ask();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(word), "{word}: {answer:?}");
    };
    let at = |path: &str| get(&gateway, path);
    check(at("/"), 404, "no such path");
    check(at("/polls"), 404, "no such path");
    check(at("/poll?cursor=0"), 401, "Bearer");
    check(at("/poll?cursor=0").session("AAAA"), 401, "code\":200");
    check(at("/poll?cursor=0").session("?"), 401, "not one that this server gave");
    check(at("/poll").session(&session), 400, "cursor: missing");
    check(at("/poll?cursor=-1").session(&session), 400, "cursor: \\\"-1\\\", allowed 0 to");
    check(at("/poll?cursor=1").session(&session), 400, "code\":305");
    check(at("/poll?cursor=0&wait=56").session(&session), 400, "allowed 0 to 55");
    check(at("/poll?cursor=0&limit=101").session(&session), 400, "allowed 1 to 100");
    check(at("/events").session(&session).field("Last-Event-ID", "x"), 400, "Last-Event-ID");
    check(at("/poll/session").body("{"), 400, "EOF");
    check(at("/poll/session").body("[]"), 400, "one JSON object");
    check(at("/poll/session").body(r#"{"user":"alice"}"#), 400, "code\":204");
    check(at("/poll/send").session(&session).body("{}"), 400, "Idempotency-Key");
    let send = at("/poll/send").session(&session).field("Idempotency-Key", &uuid(1));
    check(send.clone().body("{}"), 400, "to: missing");
    check(send.clone().body(r#"{"to":"bob","body":"%"}"#), 400, "base64");
    check(send.body(&format!("{{\"to\":\"{}\"}}", "b".repeat(65))), 400, "65 bytes");
    for (path, methods) in [("/poll", "GET"), ("/poll/send", "POST"), ("/healthz", "GET, HEAD")] {
        let answer = at(path).with(&["-X", "DELETE"]).ask();
        assert_eq!((answer.status, answer.field("allow")), (405, Some(methods)), "{path}");
    }
    // Where the next request begins is known: the connection goes on.
    let answers = at("/").then("/poll").then("/healthz").ask_all();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.connects)).collect();
    assert_eq!(seen, [(404, 1), (401, 0), (200, 0)]);
}

#[test]
fn what_is_too_long_or_malformed_ends_its_connection() {
    let gateway = Setup::new().start();
    let long = get(&gateway, "/healthz").field("X", &"x".repeat(9000)).ask();
    assert_eq!((long.status, long.field("connection")), (431, Some("close")));
    let long = get(&gateway, &format!("/{}", "x".repeat(9000))).ask();
    assert_eq!((long.status, long.field("connection")), (414, Some("close")));
    let body = get(&gateway, "/poll/session").body(&"x".repeat(20_000)).ask();
    assert_eq!((body.status, body.field("connection")), (413, Some("close")));
    let chunked = get(&gateway, "/poll/session").field("Transfer-Encoding", "chunked").body("{}");
    assert_eq!(chunked.ask().status, 411);
    for (bytes, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        ("GET /healthz HTTP/2.0\r\nHost: h\r\n\r\n", "505"),
        ("GET /healthz HTTP/1.1\r\nHost: h\r\nX: 1\r\n folded\r\n\r\n", "400"),
        ("\x16\x03\x01\x02\x00\x01", "400"),
    ] {
        let answer = say(&gateway, bytes.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?}: {answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
    }
    assert_eq!(get(&gateway, "/healthz").ask().status, 200);
}

#[test]
fn a_body_that_waits_to_be_asked_for_is_asked_for() {
    let gateway = Setup::new().start();
    let body = r#"{"user":"alice","device":"web"}"#;
    let asked = get(&gateway, "/poll/session").body(body).field("Expect", "100-continue");
    // Without the interim answer curl would give up its time instead.
    let answer = asked.with(&["--expect100-timeout", "60"]).ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = get(&gateway, "/healthz").field("Expect", "tea").ask();
    assert_eq!(refused.status, 417);
}

#[test]
fn a_head_that_comes_too_slowly_is_cut_off() {
    let gateway = Setup::new().setting("limits.handshake_timeout_ms", 300).start();
    let answer = say(&gateway, b"GET /healthz HTTP/1.1\r\nHost: ");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Who says nothing at all hears nothing.
    assert_eq!(say(&gateway, b""), "");
}

#[test]
fn requests_sent_without_waiting_are_answered_in_their_order() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let fields = format!("HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {session}\r\n");
    let both = format!(
        "GET /poll?cursor=0&wait=1 {fields}\r\nGET /nowhere {fields}Connection: close\r\n\r\n"
    );
    let answer = say(&gateway, both.as_bytes());
    let first = answer.find("\"entries\":[]").expect("the poll is answered");
    let second = answer.find("HTTP/1.1 404").expect("the other is answered");
    assert!(first < second, "{answer}");
}

#[test]
fn clients_of_http_1_0_get_their_answers_and_their_end() {
    let gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    native_sends(&gateway, "bob", "alice", &["one"]);
    let old = |path: &str| get(&gateway, path).session(&session).with(&["-0"]);
    let answer = old("/poll?cursor=0").ask();
    assert_eq!((answer.entries().len(), answer.field("connection")), (1, Some("close")));
    assert_eq!(answer.field("transfer-encoding"), None);
    let mut stream = old("/events").stream();
    assert!(!stream.head().contains("chunked"));
    stream.event();
    assert_eq!(stream.event().id, Some(1));
}

#[test]
fn a_connection_is_one_devices() {
    let gateway = Setup::new().start();
    let (alice, bob) = (open(&gateway, "alice"), open(&gateway, "bob"));
    let answers = get(&gateway, "/poll?cursor=0")
        .session(&alice)
        .then("/poll?cursor=0")
        .session(&bob)
        .then("/poll?cursor=0")
        .session(&bob)
        .ask_all();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.connects)).collect();
    assert_eq!(seen, [(200, 1), (421, 0), (200, 1)]);
}

#[test]
fn a_session_is_made_anew_and_closed_on_its_connection() {
    let gateway = Setup::new().start();
    let body = r#"{"user":"alice","device":"web"}"#;
    let answers =
        get(&gateway, "/poll/session").body(body).then("/poll/session").body(body).ask_all();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.connects)).collect();
    assert_eq!(seen, [(200, 1), (200, 0)]);
    let session = open(&gateway, "alice");
    let closed = get(&gateway, "/poll/close").session(&session).with(&["-X", "POST"]).ask();
    assert_eq!((closed.status, closed.body.as_str()), (204, ""));
}

#[test]
fn tokens_are_asked_for_where_the_server_wants_them() {
    let home = Home::new();
    let token = "0123456789abcdef0123456789abcdef";
    let file = home.write("tokens.toml", &format!("\"{token}\" = \"alice\"\n"));
    let setup = Setup::new().argument("--auth").argument("token");
    let gateway = setup.setting("auth.token_file", file.display()).start_in(home);
    let ask = || get(&gateway, "/poll/session").body(r#"{"user":"alice","device":"web"}"#);
    let refused = ask().ask();
    assert_eq!((refused.status, &refused.json()["code"]), (401, &200.into()));
    assert_eq!(refused.field("www-authenticate"), Some("Bearer"));
    assert_eq!(ask().session(token).ask().status, 200);
    let body = format!(r#"{{"user":"alice","device":"web","token":"{token}"}}"#);
    let session = get(&gateway, "/poll/session").body(&body).ask().json();
    let session = session["session"].as_str().expect("a handle");
    assert_eq!(poll(&gateway, session, 0).status, 200);
}

#[test]
fn a_gateway_that_ends_answers_those_who_wait() {
    let mut gateway = Setup::new().start();
    let session = open(&gateway, "alice");
    let bob = open(&gateway, "bob");
    let mut stream = get(&gateway, "/events").session(&session).stream();
    stream.head();
    stream.event();
    let waiting = get(&gateway, "/poll?cursor=0&wait=50").session(&bob).begin();
    // Two sessions were opened, then stream and poll have logged in.
    while gateway.metric("hawser_gateway_logins_total") < 4.0 {
        std::thread::yield_now();
    }
    gateway.signal(Signal::TERM);
    assert_eq!(stream.event().data["code"], 500);
    assert_eq!(stream.next_event(), None);
    let answer = waiting.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.field("retry-after").is_some());
    assert!(gateway.wait().success());
}
