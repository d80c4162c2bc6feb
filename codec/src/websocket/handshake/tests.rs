//! Upgrades that are taken and refused, and their answers.

use super::client::{AnswerFault, Opened, Request};
use super::*;
use crate::{http::request::HEAD_BYTES_MAX, websocket::deflate::Settings};

type Field<'a> = (&'a str, &'a [u8]);

const REQUEST: [Field<'static>; 5] = [
    ("Host", b"server.example.com"),
    ("Upgrade", b"websocket"),
    ("Connection", b"Upgrade"),
    ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", b"13"),
];

/// The request of the norm with one field changed, or left out if `value` is `None`, or added.
fn with<'a>(name: &'a str, value: Option<&'a str>) -> Result<Upgrade<'a>, Refusal> {
    let mut fields: Vec<Field<'a>> = REQUEST.into_iter().filter(|field| field.0 != name).collect();
    fields.extend(value.map(|value| (name, value.as_bytes())));
    Upgrade::read("GET", 1, fields)
}

fn answer(upgrade: &Upgrade<'_>, protocol: Option<&str>, agreement: Option<Agreement>) -> String {
    let mut out = Vec::new();
    upgrade.put_answer(&mut out, protocol, agreement);
    String::from_utf8(out).unwrap()
}

// norm: RFC6455-4.2.2-3
// norm: RFC6455-5.8-1
#[test]
fn the_request_of_the_norm_gets_the_answer_of_the_norm() {
    let upgrade = with("Sec-WebSocket-Protocol", Some("chat, superchat")).unwrap();
    assert_eq!(upgrade.host, b"server.example.com");
    assert_eq!(
        answer(&upgrade, upgrade.choose(&["superchat", "chat"]), None),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

// norm: RFC6455-4.2.1-1
#[test]
fn a_request_that_lacks_something_is_refused_with_what() {
    assert_eq!(Upgrade::read("POST", 1, REQUEST).unwrap_err(), Refusal::Method);
    assert_eq!(Upgrade::read("GET", 0, REQUEST).unwrap_err(), Refusal::HttpVersion);
    let missing = |name| with(name, None).unwrap_err();
    assert_eq!(missing("Host"), Refusal::Missing("Host"));
    assert_eq!(missing("Upgrade"), Refusal::NoUpgrade);
    assert_eq!(missing("Connection"), Refusal::Missing("Connection: Upgrade"));
    assert_eq!(missing("Sec-WebSocket-Key"), Refusal::Missing("Sec-WebSocket-Key"));
    assert_eq!(missing("Sec-WebSocket-Version"), Refusal::Version);
    let changed = |name, value| with(name, Some(value)).unwrap_err();
    assert_eq!(changed("Upgrade", "h2c"), Refusal::NoUpgrade);
    assert_eq!(changed("Connection", "keep-alive"), Refusal::Missing("Connection: Upgrade"));
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ==x",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "????????????????????????",
    ] {
        assert_eq!(changed("Sec-WebSocket-Key", key), Refusal::Key, "{key}");
    }
    for version in ["", "12", "8", "13, 8", "013"] {
        assert_eq!(changed("Sec-WebSocket-Version", version), Refusal::Version, "{version}");
    }
    for again in REQUEST.into_iter().filter(|field| !matches!(field.0, "Upgrade" | "Connection")) {
        let refusal = Upgrade::read("GET", 1, REQUEST.into_iter().chain([again])).unwrap_err();
        assert_eq!(refusal, Refusal::Repeated(again.0));
    }
}

#[test]
fn names_and_words_are_taken_in_any_case_and_among_others() {
    let fields = [
        ("HOST", &b"h"[..]),
        ("upgrade", b"h2c, WebSocket"),
        ("connection", b"keep-alive, UPGRADE"),
        ("sec-websocket-key", b" dGhlIHNhbXBsZSBub25jZQ== "),
        ("SEC-WEBSOCKET-VERSION", b"13"),
        ("origin", b"https://example.com"),
        ("cookie", b"\xff"),
    ];
    let upgrade = Upgrade::read("GET", 1, fields).unwrap();
    assert_eq!(upgrade.origin, Some(&b"https://example.com"[..]));
}

// norm: RFC6455-4.2.2-1
// norm: RFC6455-4.2.1-1
#[test]
fn refusals_answer_with_status_and_the_fields_it_needs() {
    let text = |refusal: Refusal| {
        let mut out = Vec::new();
        refusal.put_answer(&mut out);
        String::from_utf8(out).unwrap()
    };
    let version = text(Refusal::Version);
    assert!(version.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{version}");
    assert!(version.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{version}");
    assert!(version.contains("\r\nUpgrade: websocket\r\n"), "{version}");
    assert!(text(Refusal::Method).starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n"));
    let key = text(Refusal::Key);
    let (head, body) = key.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
}

// norm: RFC6455-4.2.2-2
#[test]
fn the_first_known_sub_protocol_is_chosen_and_the_token_is_none() {
    let name = "Sec-WebSocket-Protocol";
    let upgrade =
        with(name, Some("hawser.token.YWJjLWTDpA, x,hawser.json.v1 , hawser.v1")).unwrap();
    let known = [PROTOCOL_NATIVE, PROTOCOL_JSON, PROTOCOL_MQTT];
    assert_eq!(upgrade.choose(&known), Some(PROTOCOL_JSON));
    assert_eq!(upgrade.token(), Ok(Some("abc-dä".to_owned())));
    assert_eq!(with(name, None).unwrap().choose(&known), None);
    assert_eq!(with(name, None).unwrap().token(), Ok(None));
    assert_eq!(with(name, Some("hawser.token.a")).unwrap().token(), Err(Refusal::Token));
    assert_eq!(with(name, Some("hawser.token._w")).unwrap().token(), Err(Refusal::Token));
    let many = vec!["a"; 17].iter().enumerate().map(|(i, a)| format!("{a}{i}")).collect::<Vec<_>>();
    for refused in ["", "a,,b", "a, a", "a b", "a/b", &many.join(",")] {
        assert_eq!(with(name, Some(refused)).unwrap_err(), Refusal::Protocols, "{refused}");
    }
}

// norm: RFC6455-5.8-1
// norm: RFC6455-9-1
// norm: RFC7692-5-2
#[test]
fn our_client_and_our_server_open_a_connection() {
    for deflate in [None, Some(false), Some(true)] {
        let protocols = ["hawser.token.YQ", "mqtt"];
        let fields = [("Origin", "https://a.example")];
        let key = [7; 16];
        let request = Request {
            host: "h:1",
            path: "/ws?a=b",
            key,
            protocols: &protocols,
            deflate,
            fields: &fields,
        };
        let mut head = Vec::new();
        request.put(&mut head);
        let mut parsed = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Request::new(&mut parsed);
        assert!(read.parse(&head).unwrap().is_complete());
        assert_eq!(read.path, Some("/ws?a=b"));
        let fields = read.headers.iter().map(|field| (field.name, field.value));
        let upgrade = Upgrade::read(read.method.unwrap(), read.version.unwrap(), fields).unwrap();
        assert_eq!(upgrade.origin, Some(&b"https://a.example"[..]));
        let agreement = Agreement::accept(&upgrade.extensions, &Settings { take_over: true });
        let answer = answer(&upgrade, upgrade.choose(&[PROTOCOL_MQTT]), agreement);
        let mut parsed = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Response::new(&mut parsed);
        assert!(read.parse(answer.as_bytes()).unwrap().is_complete());
        let fields = read.headers.iter().map(|field| (field.name, field.value));
        let opened = request.read_answer(read.code.unwrap(), fields).unwrap();
        assert_eq!(opened, Opened { protocol: Some("mqtt"), deflate: agreement });
        assert_eq!(agreement.is_some(), deflate.is_some());
        assert_eq!(agreement.is_some_and(|both| both.server().take_over), deflate == Some(true));
    }
}

// norm: RFC7692-5-4
// norm: RFC7692-7.1-5
#[test]
fn a_client_refuses_an_answer_that_is_not_to_its_request() {
    let request = Request {
        host: "h",
        path: "/",
        key: *b"the sample nonce",
        protocols: &["chat"],
        deflate: Some(false),
        fields: &[],
    };
    let good: [Field<'_>; 3] = [
        ("Upgrade", b"websocket"),
        ("Connection", b"Upgrade"),
        ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    assert_eq!(request.read_answer(101, good), Ok(Opened { protocol: None, deflate: None }));
    assert_eq!(request.read_answer(403, good), Err(AnswerFault::Status(403)));
    let faults = [AnswerFault::Upgrade, AnswerFault::Connection, AnswerFault::Accept];
    for (at, fault) in faults.into_iter().enumerate() {
        let fields = good.into_iter().enumerate().filter(|(i, _)| *i != at).map(|(_, field)| field);
        assert_eq!(request.read_answer(101, fields), Err(fault));
    }
    let further = |field: Field<'static>| request.read_answer(101, good.into_iter().chain([field]));
    assert_eq!(further(("Sec-WebSocket-Accept", b"x")), Err(AnswerFault::Accept));
    assert_eq!(further(("Sec-WebSocket-Protocol", b"other")), Err(AnswerFault::Protocol));
    for answer in [
        "permessage-bzip2",
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; x",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
    ] {
        let fault = further(("Sec-WebSocket-Extensions", answer.as_bytes()));
        assert_eq!(fault, Err(AnswerFault::Extensions), "{answer}");
    }
    let answer = b"permessage-deflate; server_no_context_takeover; client_max_window_bits=8";
    let opened = further(("Sec-WebSocket-Extensions", answer)).unwrap().deflate.unwrap();
    assert_eq!((opened.client().window_bits, opened.client().take_over), (8, false));
}

#[test]
fn an_answer_is_taken_whole_and_what_is_no_http_at_its_first_bytes() {
    let request = Request {
        host: "h",
        path: "/",
        key: *b"the sample nonce",
        protocols: &[],
        deflate: None,
        fields: &[],
    };
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let bytes = [head.as_bytes(), b"\x81\x01a"].concat();
    for end in 0..head.len() {
        assert_eq!(request.take_answer(&bytes[..end]), Ok(None), "cut at {end}");
    }
    let opened = Opened { protocol: None, deflate: None };
    assert_eq!(request.take_answer(&bytes), Ok(Some((opened, head.len()))));
    let refused = request.take_answer(b"HTTP/1.1 404 Not Found\r\n\r\n");
    assert_eq!(refused, Err(AnswerFault::Status(404)));
    assert_eq!(request.take_answer(b"\x15\x03\x01"), Err(AnswerFault::NotHttp));
    let endless = [head.trim_end().as_bytes(), b"\r\nX: ", &[b'x'; HEAD_BYTES_MAX]].concat();
    assert_eq!(request.take_answer(&endless), Err(AnswerFault::NotHttp));
}
