//! Bodies an honest encoder of this crate does not make: refused with a reason, or read as the
//! versioning rules say.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::*;
use crate::code;
use crate::frame::{FLAG_COMPRESSED, FLAG_OPTIONAL, Frame, kind};
use crate::generated as table;
use crate::malformed::{BodyFault, Malformed};

type Builder = FlatBufferBuilder<'static>;

fn body<T>(build: impl FnOnce(&mut Builder) -> WIPOffset<T>) -> Vec<u8> {
    let mut builder = Builder::new();
    let root = build(&mut builder);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

fn read(kind: u8, body: &[u8]) -> Result<Message<'_>, Malformed> {
    decode(Frame { kind, flags: 0, channel: 0, body })
}

fn request(change: impl FnOnce(&mut Builder, &mut table::RequestArgs<'static>)) -> Vec<u8> {
    body(|builder| {
        let mut arguments = table::RequestArgs { client_seq: 1, ..Default::default() };
        change(builder, &mut arguments);
        table::Request::create(builder, &arguments)
    })
}

#[test]
fn a_name_of_64_bytes_is_read_and_of_65_refused() {
    let named = |length: usize| {
        request(|builder, arguments| {
            arguments.to = Some(builder.create_string(&"x".repeat(length)));
        })
    };
    assert!(read(kind::REQUEST, &named(64)).is_ok());
    let refused =
        Malformed::NameTooLong { field: "request.to", name_bytes: 65, name_bytes_max: 64 };
    assert_eq!(read(kind::REQUEST, &named(65)), Err(refused));
    assert_eq!(refused.code(), code::BAD_NAME);
    assert_eq!(refused.to_string(), "request.to: 65 bytes, allowed 0 to 64");
}

#[test]
fn numbers_out_of_their_range_are_refused_by_name() {
    let refused = |kind: u8, body: &[u8], text: &str| {
        let malformed = read(kind, body).unwrap_err();
        assert_eq!(malformed.to_string(), text);
        assert_eq!(malformed.code(), code::BAD_REQUEST);
    };
    let level = request(|_, arguments| arguments.level = table::Level(3));
    refused(kind::REQUEST, &level, "request.level: 3, allowed 0 to 2");
    let unnumbered = request(|_, arguments| arguments.client_seq = 0);
    refused(kind::REQUEST, &unnumbered, "request.client_seq: 0, allowed 1 to 18446744073709551615");
    let class = body(|builder| {
        let class = table::Class(4);
        let arguments = table::HelloArgs { incarnation: 1, class, ..Default::default() };
        table::Hello::create(builder, &arguments)
    });
    refused(kind::HELLO, &class, "hello.class: 4, allowed 0 to 3");
    let unborn = body(|builder| table::Hello::create(builder, &Default::default()));
    refused(kind::HELLO, &unborn, "hello.incarnation: 0, allowed 1 to 18446744073709551615");
    for limit in [0, 101] {
        let sync = body(|builder| {
            table::Sync::create(builder, &table::SyncArgs { limit, ..Default::default() })
        });
        refused(kind::SYNC, &sync, &format!("sync.limit: {limit}, allowed 1 to 100"));
    }
    for what in [0, 3] {
        let receipt = body(|builder| {
            table::Receipt::create(builder, &table::ReceiptArgs { what, ..Default::default() })
        });
        refused(kind::RECEIPT, &receipt, &format!("receipt.what: {what}, allowed 1 to 2"));
    }
}

#[test]
fn an_unknown_kind_is_skipped_with_the_optional_flag_and_fatal_without() {
    for kind in [0, 15, 255] {
        for (flags, optional) in [(0, false), (FLAG_OPTIONAL, true)] {
            let refused = decode(Frame { kind, flags, channel: 0, body: b"whatever" });
            let malformed = Malformed::UnknownKind { kind, optional };
            assert_eq!(refused, Err(malformed));
            assert_eq!(malformed.is_fatal(), !optional);
            assert_eq!(malformed.code(), code::UNKNOWN_KIND);
        }
    }
}

#[test]
fn a_compressed_body_is_refused_since_none_is_negotiated() {
    let body = request(|_, _| ());
    let frame = Frame { kind: kind::REQUEST, flags: FLAG_COMPRESSED, channel: 0, body: &body };
    assert_eq!(decode(frame), Err(Malformed::Compressed { kind: kind::REQUEST }));
}

#[test]
fn an_unknown_optional_kind_is_skipped_even_if_compressed() {
    for kind in [0, 15, 255] {
        let flags = FLAG_COMPRESSED | FLAG_OPTIONAL;
        let skipped = decode(Frame { kind, flags, channel: 0, body: b"" });
        assert_eq!(skipped, Err(Malformed::UnknownKind { kind, optional: true }));
    }
}

#[test]
fn an_empty_body_and_one_that_points_outside_are_refused_with_the_offset() {
    let fault = |body: &[u8]| match read(kind::PING, body) {
        Err(Malformed::Body { fault, at, .. }) => (fault, at),
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(b""), (BodyFault::OutOfBounds, 0));
    assert_eq!(fault(&[0xFF, 0, 0, 0]), (BodyFault::Unaligned, 0xFF));
    assert_eq!(fault(&[0xFC, 0, 0, 0]), (BodyFault::OutOfBounds, 0xFC));
}

#[test]
fn a_text_that_is_not_utf8_or_not_ended_by_zero_is_refused() {
    let good = request(|builder, arguments| arguments.to = Some(builder.create_string("anna")));
    let at = good.windows(4).position(|window| window == b"anna").unwrap();

    let mut not_utf8 = good.clone();
    not_utf8[at + 2] = 0xFF;
    let fault = BodyFault::NotUtf8;
    let refused = Malformed::Body { kind: kind::REQUEST, fault, at: at + 2 };
    assert_eq!(read(kind::REQUEST, &not_utf8), Err(refused));

    let mut unended = good;
    unended[at + 4] = b'!';
    let fault = BodyFault::Unterminated;
    let refused = Malformed::Body { kind: kind::REQUEST, fault, at: at + 4 };
    assert_eq!(read(kind::REQUEST, &unended), Err(refused));
}

#[test]
fn texts_may_be_shared_between_fields_but_not_to_waste_time() {
    let shared = |length: usize| {
        body(|builder| {
            let text = Some(builder.create_string(&"x".repeat(length)));
            let arguments = table::HelloArgs {
                user: text,
                device: text,
                token: text,
                agent: text,
                incarnation: 1,
                ..Default::default()
            };
            table::Hello::create(builder, &arguments)
        })
    };
    assert!(read(kind::HELLO, &shared(64)).is_ok());

    // The fifth use of the same long bytes is one too many.
    let wasteful = body(|builder| {
        let text = builder.create_string(&"x".repeat(60_000));
        let arguments = table::HelloArgs {
            user: Some(text),
            device: Some(text),
            token: Some(text),
            resume_token: Some(WIPOffset::new(text.value())),
            agent: Some(text),
            ..Default::default()
        };
        table::Hello::create(builder, &arguments)
    });
    let fault = BodyFault::TooComplex;
    let refused = Malformed::Body { kind: kind::HELLO, fault, at: 0 };
    assert_eq!(read(kind::HELLO, &wasteful), Err(refused));
}

#[test]
fn absent_fields_mean_empty_or_the_default() {
    let read_request = read(kind::REQUEST, &request(|_, _| ())).map(|message| match message {
        Message::Request(request) => (request.level, request.uuid, request.to.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(read_request, Ok((Level::Normal, [0; 16], 0)));
    let hello = body(|builder| {
        table::Hello::create(builder, &table::HelloArgs { incarnation: 1, ..Default::default() })
    });
    let Ok(Message::Hello(hello)) = read(kind::HELLO, &hello) else { panic!("not a hello") };
    assert_eq!((hello.cursor, hello.user, hello.token), (None, "", ""));
}

#[test]
fn fields_of_a_newer_version_are_ignored() {
    // An acknowledge with one field more than version 1 knows, a text whose offset is nonsense.
    let newer = body(|builder| {
        let start = builder.start_table();
        builder.push_slot_always::<u64>(table::Acknowledge::VT_CLIENT_SEQ, 5);
        builder.push_slot_always::<u64>(table::Acknowledge::VT_SEQUENCE, 6);
        builder.push_slot_always::<u32>(table::Acknowledge::VT_TIME_MS + 2, u32::MAX);
        builder.end_table(start)
    });
    let expected = Acknowledge { client_seq: 5, sequence: 6, time_ms: 0 };
    assert_eq!(read(kind::ACKNOWLEDGE, &newer), Ok(Message::Acknowledge(expected)));
}

#[test]
fn a_body_of_the_longest_notify_allowed_is_read() {
    let name = "n".repeat(NAME_BYTES_MAX);
    let content = vec![7; 1 << 20];
    let notify = Notify {
        number: u64::MAX,
        conversation: &name,
        sequence: u64::MAX,
        sender: &name,
        device: &name,
        incarnation: u64::MAX,
        client_seq: u64::MAX,
        uuid: [0xFF; 16],
        time_ms: u64::MAX,
        content: u8::MAX,
        receipts: u8::MAX,
        own: true,
        body: &content,
    };
    let mut out = Vec::new();
    Encoder::new().notify(&mut out, 0, 0, &notify);
    assert_eq!(read(kind::NOTIFY, &out[8..]), Ok(Message::Notify(notify)));
    assert!(out.len() - content.len() <= NOTIFY_OVERHEAD_BYTES_MAX);
}

#[test]
fn a_request_made_by_another_flatbuffers_implementation_is_read() {
    // Python's flatbuffers 25.12.19, fields pushed in another order than flatc's Rust does.
    #[rustfmt::skip]
    let body = [
        0x1c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x16, 0x00, 0x28, 0x00, 0x1c, 0x00, 0x00, 0x00,
        0x04, 0x00, 0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00,
        0x16, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
        0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x14, 0x00, 0x00, 0x00, 0x18, 0x00, 0x00, 0x00,
        0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00,
        0x00, 0x00, 0x68, 0x69, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x61, 0x6e, 0x6e, 0x61,
        0x00, 0x00, 0x00, 0x00,
    ];
    let expected = Request {
        client_seq: 42,
        after: 0,
        uuid: std::array::from_fn(|at| at as u8),
        to: "anna",
        level: Level::Normal,
        content: 0,
        receipts: 0,
        first_attempt_ms: 0,
        body: b"hi",
    };
    assert_eq!(read(kind::REQUEST, &body), Ok(Message::Request(expected)));
}
