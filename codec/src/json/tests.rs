use super::*;
use crate::{
    code,
    message::{Class, Level, Message},
};

const INCARNATION: u64 = 0x1122_3344_5566_7788;

fn wrong(text: &str) -> (u16, String) {
    match Parsed::read(text).and_then(|parsed| parsed.message(INCARNATION).map(|_| ())) {
        Err(wrong) => (wrong.code, wrong.text),
        Ok(()) => panic!("{text} was read"),
    }
}

#[test]
fn a_hello_by_hand_needs_only_who_it_is() {
    let parsed = Parsed::read(r#"{"type":"hello","user":"alice","device":"web"}"#).unwrap();
    let Ok(Message::Hello(hello)) = parsed.message(INCARNATION) else { panic!("no hello") };
    assert_eq!((hello.user, hello.device, hello.version_min), ("alice", "web", 1));
    assert_eq!((hello.version_max, hello.class, hello.cursor), (1, Class::Web, None));
    assert_eq!(hello.incarnation, INCARNATION);
    assert!(hello.token.is_empty() && hello.resume_token.is_empty());
}

#[test]
fn a_request_by_hand_is_a_text_whose_repeat_has_the_same_id() {
    let text = r#"{"type":"request","client_seq":7,"to":"bob","text":"hi \"you\""}"#;
    let parsed = Parsed::read(text).unwrap();
    let Ok(Message::Request(request)) = parsed.message(INCARNATION) else { panic!("no request") };
    assert_eq!((request.client_seq, request.to, request.content), (7, "bob", 1));
    assert_eq!((request.level, request.body), (Level::Normal, &b"hi \"you\""[..]));
    let again = Parsed::read(text).unwrap();
    let Ok(Message::Request(again)) = again.message(INCARNATION) else { panic!("no request") };
    assert_eq!(request, again);
    let uuid = request.uuid;
    assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2), "version and variant of RFC 9562");
    assert_eq!(u128::from_be_bytes(uuid), 0x1122_3344_5566_8778_a000_0000_0000_0007);
    let next = Parsed::read(r#"{"type":"request","client_seq":8,"to":"bob"}"#).unwrap();
    let Ok(Message::Request(next)) = next.message(INCARNATION) else { panic!("no request") };
    assert_ne!(next.uuid, uuid);
    assert_eq!((next.content, next.body), (0, &b""[..]));
}

#[test]
fn bytes_come_as_base64_of_either_alphabet_padded_or_not() {
    for (text, bytes) in
        [("-_8=", &[0xFB, 0xFF][..]), ("+/8=", &[0xFB, 0xFF]), ("+/8", &[0xFB, 0xFF]), ("", &[])]
    {
        let text = format!(r#"{{"type":"request","client_seq":1,"to":"bob","body":"{text}"}}"#);
        let parsed = Parsed::read(&text).unwrap();
        let Ok(Message::Request(request)) = parsed.message(1) else { panic!("{text}") };
        assert_eq!((request.content, request.body), (0, bytes));
    }
}

#[test]
fn large_numbers_are_texts_both_ways() {
    let head = |text: &str| {
        let parsed = Parsed::read(text).unwrap();
        let message = parsed.message(1).unwrap();
        let mut out = Vec::new();
        put(&mut out, 0, 0, &message);
        String::from_utf8(out).unwrap()
    };
    let small = r#"{"type":"head","head":9007199254740991}"#;
    let large = r#"{"type":"head","head":"18446744073709551615"}"#;
    assert_eq!(head(small), small);
    assert_eq!(head(r#"{"type":"head","head":"9007199254740991"}"#), small);
    assert_eq!(head(large), large);
    let first = r#"{"type":"head","head":"9007199254740992"}"#;
    assert_eq!(head(r#"{"type":"head","head":9007199254740992}"#), first);
    assert_eq!(head(r#"{"type":"head","head":18446744073709551615}"#), large);
}

#[test]
fn a_body_is_written_as_text_only_if_it_is_one() {
    let body = |body: &[u8]| {
        let mut out = Vec::new();
        let mut members = write::Members::open(&mut out);
        members.body(body);
        members.close();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(body("gr\u{fc}n\n".as_bytes()), "{\"text\":\"gr\u{fc}n\\n\"}");
    assert_eq!(body(&[0xFF, 0xFE]), r#"{"body":"//4="}"#);
    assert_eq!(body(b"a\0b"), r#"{"body":"YQBi"}"#);
    assert_eq!(body(b""), "{}");
}

#[test]
fn unknown_members_are_skipped_even_if_they_nest_deeply() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let text = format!(r#"{{"x":{deep},"type":"ping","y":{{"z":[null]}},"next_ms":5,"type2":-1}}"#);
    let parsed = Parsed::read(&text).unwrap();
    assert_eq!(parsed.message(1), Ok(Message::Ping(crate::message::Beat { next_ms: 5 })));
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    for (text, code, expected) in [
        ("", code::MALFORMED, "EOF while parsing"),
        ("[1]", code::MALFORMED, "expected one JSON object"),
        ("{} {}", code::MALFORMED, "trailing characters"),
        (r#"{"type":"ping","type":"ping"}"#, code::MALFORMED, "\"type\" comes twice"),
        ("{}", code::BAD_REQUEST, "type: must be one of hello, welcome"),
        (r#"{"type":1}"#, code::BAD_REQUEST, "type: must be one of"),
        (r#"{"type":"helo"}"#, code::UNKNOWN_KIND, "type: \"helo\", must be one of hello"),
        (
            r#"{"type":"request","to":"bob"}"#,
            code::BAD_REQUEST,
            "request.client_seq: missing, must be a whole number, 1 to 18446744073709551615",
        ),
        (
            r#"{"type":"request","client_seq":0}"#,
            code::BAD_REQUEST,
            "request.client_seq: 0, allowed 1 to",
        ),
        (
            r#"{"type":"request","client_seq":1.5}"#,
            code::BAD_REQUEST,
            "request.client_seq: a number that is negative, too large or not whole, must be",
        ),
        (
            r#"{"type":"request","client_seq":"+1"}"#,
            code::BAD_REQUEST,
            "request.client_seq: \"+1\", must be",
        ),
        (
            r#"{"type":"request","client_seq":1,"level":"urgent"}"#,
            code::BAD_REQUEST,
            "request.level: \"urgent\", must be a number up to 2 or one of \
             [\"ephemeral\", \"normal\", \"important\"]",
        ),
        (
            r#"{"type":"request","client_seq":1,"text":"a","body":"YQ=="}"#,
            code::BAD_REQUEST,
            "request.body: not beside text",
        ),
        (
            r#"{"type":"request","client_seq":1,"body":"?"}"#,
            code::BAD_REQUEST,
            "request.body: \"?\", must be base64",
        ),
        (
            r#"{"type":"request","client_seq":1,"uuid":"1"}"#,
            code::BAD_REQUEST,
            "request.uuid: \"1\", must be an id like",
        ),
        (r#"{"type":"hello","user":{}}"#, code::BAD_REQUEST, "hello.user: an object or array"),
        (r#"{"type":"hello","rewind":1}"#, code::BAD_REQUEST, "hello.rewind: 1, must be true or"),
        (r#"{"type":"hello","incarnation":0}"#, code::BAD_REQUEST, "hello.incarnation: 0, allowed"),
        (r#"{"type":"sync","limit":101}"#, code::BAD_REQUEST, "sync.limit: 101, allowed 1 to 100"),
        (r#"{"type":"receipt"}"#, code::BAD_REQUEST, "receipt.what: null, must be 1, 2"),
        (r#"{"type":"ping","channel":65536}"#, code::BAD_REQUEST, "ping.channel: 65536, allowed"),
    ] {
        let (found, shown) = wrong(text);
        assert!(found == code && shown.contains(expected), "{text}: {found} {shown}");
    }
    let long = format!(r#"{{"type":"hello","user":"{}"}}"#, "u".repeat(65));
    assert_eq!(wrong(&long), (code::BAD_NAME, "hello.user: 65 bytes, allowed 0 to 64".into()));
    let many: Vec<_> = (0..65).map(|at| format!("\"m{at}\":1")).collect();
    assert!(wrong(&format!("{{{}}}", many.join(","))).1.contains("more than 64 members"));
}

#[test]
fn what_a_client_wrote_is_shown_in_errors_only_in_part() {
    let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(5000));
    assert!(wrong(&long).1.len() < 300);
    let long = format!("\"{}\"", "x".repeat(5000));
    assert!(wrong(&long).1.len() < 300);
}
