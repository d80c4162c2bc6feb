use super::*;
use crate::{
    http::request::{Step, step},
    message::Level,
};

fn with_head<T>(target: &str, fields: &str, read: impl FnOnce(&Head<'_>) -> T) -> T {
    let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    match step(text.as_bytes()) {
        Ok(Step::Head { head, .. }) => read(&head),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_asked_for_with_a_hello_or_with_a_token_in_the_field() {
    let asked = SessionAsked::read(r#"{"user":"alice","device":"web","cursor":5}"#).unwrap();
    let hello = asked.hello(77, Some("s3cret")).unwrap();
    assert_eq!((hello.user, hello.device, hello.cursor), ("alice", "web", Some(5)));
    assert_eq!((hello.token, hello.incarnation), ("s3cret", 77));
    let asked = SessionAsked::read(r#"{"user":"alice","device":"web","token":"own"}"#).unwrap();
    assert_eq!(asked.hello(77, Some("other")).unwrap().token, "own");
    let wrong = SessionAsked::read(r#"{"user":7}"#).unwrap().hello(1, None).unwrap_err();
    assert_eq!(wrong.text, "user: 7, must be a text");
}

#[test]
fn a_send_needs_a_recipient_and_an_idempotency_key() {
    let asked = SendAsked::read(r#"{"to":"bob","text":"hi","level":"important"}"#).unwrap();
    let request = asked.request([7; 16]).unwrap();
    assert_eq!((request.client_seq, request.to, request.body), (0, "bob", &b"hi"[..]));
    assert_eq!((request.level, request.content, request.uuid), (Level::Important, 1, [7; 16]));
    let nobody = SendAsked::read(r#"{"text":"hi"}"#).unwrap();
    assert_eq!(nobody.request([7; 16]).unwrap_err().text, "to: missing, must be a text");

    let key = |fields: &str| with_head("/", fields, |head| idempotency_key(head).ok());
    let uuid = *b"\x01\x96\x3d\x5c\x00\x11\x7a\xbc\x8d\xef\x10\x32\x54\x76\x98\xba";
    assert_eq!(key("Idempotency-Key: 01963D5C-0011-7abc-8def-1032547698ba\r\n"), Some(uuid));
    assert_eq!(key("idempotency-key: \"01963d5c-0011-7abc-8def-1032547698ba\"\r\n"), Some(uuid));
    for none in ["", "Idempotency-Key: 7\r\n", "Idempotency-Key: \"\r\n"] {
        assert_eq!(key(none), None, "{none}");
    }
}

#[test]
fn a_poll_names_its_cursor_and_how_long_it_waits() {
    let read = |target: &str| with_head(target, "", PollAsked::read);
    let asked = PollAsked { cursor: 5, wait_s: 20, limit: 100 };
    assert_eq!(read("/poll?cursor=5&wait=20&limit=100"), Ok(asked));
    assert_eq!(read("/poll?cursor=0"), Ok(PollAsked { cursor: 0, wait_s: 0, limit: 50 }));
    for (target, text) in [
        ("/poll", "cursor: missing, must be a number"),
        ("/poll?cursor=", "cursor: \"\", allowed 0 to 18446744073709551615"),
        ("/poll?cursor=-1", "cursor: \"-1\", allowed 0 to 18446744073709551615"),
        ("/poll?cursor=1&wait=56", "wait: \"56\", allowed 0 to 55"),
        ("/poll?cursor=1&limit=0", "limit: \"0\", allowed 1 to 100"),
        ("/poll?cursor=%zz", "a parameter's percent-encoding is wrong or no UTF-8"),
    ] {
        assert_eq!(read(target).unwrap_err().text, text, "{target}");
    }
}

#[test]
fn events_begin_behind_the_last_one_named() {
    let last = |target: &str, fields: &str| with_head(target, fields, last_event);
    assert_eq!(last("/events", ""), Ok(None));
    assert_eq!(last("/events?cursor=4", ""), Ok(Some(4)));
    assert_eq!(last("/events?cursor=4", "Last-Event-ID: 9\r\n"), Ok(Some(9)));
    assert_eq!(last("/events?cursor=4", "Last-Event-ID:\r\n"), Ok(Some(4)));
    assert!(last("/events", "Last-Event-ID: x\r\n").is_err());
}

#[test]
fn the_session_handle_comes_in_a_field_or_a_parameter() {
    let handle = |target: &str, fields: &str| with_head(target, fields, session_handle);
    assert_eq!(handle("/poll", "Authorization: Bearer AQI\r\n"), Ok(vec![1, 2]));
    assert_eq!(handle("/events?session=AQI", ""), Ok(vec![1, 2]));
    for (target, fields) in
        [("/poll", ""), ("/poll", "Authorization: Basic AQI\r\n"), ("/poll?session=%3f", "")]
    {
        assert_eq!(handle(target, fields).unwrap_err().code, code::UNAUTHENTICATED);
    }
}

#[test]
fn answers_are_json() {
    let notify = Notify {
        number: 6,
        conversation: "bob",
        sequence: 1,
        sender: "bob",
        device: "phone",
        incarnation: 1,
        client_seq: 1,
        uuid: [0; 16],
        time_ms: 2,
        content: 1,
        receipts: 0,
        own: false,
        body: b"hi",
    };
    let mut out = Vec::new();
    open_entries(&mut out);
    put_entry(&mut out, true, &notify);
    put_entry(&mut out, false, &Notify { number: 7, ..notify });
    close_entries(&mut out, 7, 9);
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&read["cursor"], &read["head"]), (&7.into(), &9.into()));
    assert_eq!(read["entries"][1]["number"], 7);
    assert_eq!(read["entries"][0]["text"], "hi");

    out.clear();
    open_entries(&mut out);
    close_entries(&mut out, 7, 9);
    assert_eq!(out, b"{\"entries\":[],\n\"cursor\":7,\"head\":9}\n");

    out.clear();
    put_event(&mut out, Some(6), &Message::Notify(Notify { body: b"a\nb", ..notify }));
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("id: 6\ndata: {\"type\":\"notify\",\"number\":6,"), "{text}");
    assert!(text.ends_with("\"text\":\"a\\nb\"}\n\n") && text.lines().count() == 3, "{text}");
}
