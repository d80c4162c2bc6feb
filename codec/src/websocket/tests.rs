//! What a reader takes and refuses, and what is written.

use super::*;

const LIMITS: Limits = Limits { frame_bytes_max: 100_000, message_bytes_max: 150_000 };
const SERVER: Rules = Rules { role: Role::Server, deflate: false, limits: LIMITS };
const CLIENT: Rules = Rules { role: Role::Client, ..SERVER };
const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

/// What a stream says, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Reads the parts of a stream one after the other, as a connection gets them.
fn read(rules: &Rules, parts: &[&[u8]]) -> Result<Vec<Said>, Violation> {
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    let (mut said, mut kept) = (Vec::new(), Vec::new());
    for part in parts {
        kept.extend_from_slice(part);
        loop {
            let step = reader.step(rules, &kept, &mut payload)?;
            kept.drain(..step.consumed);
            said.push(match step.event {
                None => break,
                Some(Event::Message { text: true, compressed: false }) => {
                    Said::Text(String::from_utf8(payload.clone()).unwrap())
                }
                Some(Event::Message { .. }) => Said::Binary(payload.clone()),
                Some(Event::Ping(control)) => Said::Ping(control.as_bytes().to_vec()),
                Some(Event::Pong(control)) => Said::Pong(control.as_bytes().to_vec()),
                Some(Event::Close(close)) => Said::Close(close.code, close.reason().to_owned()),
            });
        }
        assert!(kept.len() < header::HEADER_BYTES_MAX + CONTROL_BYTES_MAX);
    }
    Ok(said)
}

/// A frame as a client sends it.
fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write::frame(&mut out, opcode, fin, false, payload, KEY);
    out
}

// norm: RFC6455-5.3-5
// norm: RFC6455-6.2-1
#[test]
fn the_examples_of_the_norm_are_read() {
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(read(&CLIENT, &[&hello]), Ok(vec![Said::Text("Hello".into())]));
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&SERVER, &[&hello]), Ok(vec![Said::Text("Hello".into())]));
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(read(&CLIENT, &[&fragments]), Ok(vec![Said::Text("Hello".into())]));
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(read(&CLIENT, &[&ping]), Ok(vec![Said::Ping(b"Hello".to_vec())]));
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&SERVER, &[&pong]), Ok(vec![Said::Pong(b"Hello".to_vec())]));
    for length in [256usize, 65_536] {
        let mut bytes = vec![0x82];
        match length {
            256 => bytes.extend([0x7e, 1, 0]),
            _ => bytes.extend([0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
        }
        bytes.resize(bytes.len() + length, 7);
        assert_eq!(read(&CLIENT, &[&bytes]), Ok(vec![Said::Binary(vec![7; length])]));
    }
}

// norm: RFC6455-5.4-4
// norm: RFC6455-6.2-1
// norm: RFC6455-6.2-2
// norm: RFC6455-6.2-5
// norm: RFC6455-5.6-1
#[test]
fn every_cut_of_a_stream_gives_the_same_messages() {
    let mut stream = masked(Opcode::Text, false, "Grüße, 世".as_bytes());
    stream.extend(masked(Opcode::Ping, true, b"between"));
    stream.extend(masked(Opcode::Continuation, false, &"界 🦀".as_bytes()[..5]));
    stream.extend(masked(Opcode::Continuation, false, b""));
    stream.extend(masked(Opcode::Continuation, true, &"界 🦀".as_bytes()[5..]));
    stream.extend(masked(Opcode::Binary, true, &[0xff; 200]));
    stream.extend(masked(Opcode::Pong, true, &[1; 125]));
    stream.extend(masked(Opcode::Close, true, b"\x03\xe8done"));
    let expected = vec![
        Said::Ping(b"between".to_vec()),
        Said::Text("Grüße, 世界 🦀".into()),
        Said::Binary(vec![0xff; 200]),
        Said::Pong(vec![1; 125]),
        Said::Close(Some(1000), "done".into()),
    ];
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(read(&SERVER, &[first, second]).as_ref(), Ok(&expected), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&SERVER, &bytes), Ok(expected));
}

// norm: RFC6455-6.2-4
#[test]
fn a_reader_between_messages_is_nothing() {
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    assert!(reader.is_idle());
    let frame = masked(Opcode::Text, true, b"hello");
    let step = reader.step(&SERVER, &frame[..8], &mut payload).unwrap();
    assert_eq!(step, Step { consumed: 8, event: None });
    assert!(!reader.is_idle());
    assert_eq!(reader.lacking_bytes(), 3);
    let step = reader.step(&SERVER, &frame[8..], &mut payload).unwrap();
    assert_eq!(step.event, Some(Event::Message { text: true, compressed: false }));
    assert_eq!(reader, Reader::default());
}

fn refused(rules: &Rules, bytes: &[u8]) -> Violation {
    let whole = read(rules, &[bytes]).unwrap_err();
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(rules, &pieces), Err(whole), "in pieces");
    whole
}

// norm: RFC6455-5.1-2
// norm: RFC6455-5.1-4
#[test]
fn a_client_must_mask_and_a_server_must_not() {
    assert_eq!(refused(&SERVER, &[0x81, 0x00]), Violation::Unmasked);
    assert_eq!(refused(&SERVER, &[0x89, 0x00]), Violation::Unmasked);
    assert_eq!(refused(&CLIENT, &[0x81, 0x80]), Violation::Masked);
    assert_eq!(Violation::Unmasked.close_code(), 1002);
    assert_eq!(Violation::Masked.close_code(), 1002);
}

// norm: RFC6455-5.1-3
// norm: RFC6455-5.2-1
// norm: RFC6455-6.1-2
// norm: RFC6455-6.1-3
// norm: RFC6455-6.1-4
#[test]
fn a_servers_frames_are_not_masked_and_have_no_reserved_bits() {
    let mut out = Vec::new();
    for opcode in [Opcode::Text, Opcode::Binary, Opcode::Continuation] {
        for fin in [true, false] {
            out.clear();
            write::frame(&mut out, opcode, fin, false, b"payload", None);
            let first = opcode as u8 | if fin { 0x80 } else { 0 };
            assert_eq!(out, [&[first, 7], &b"payload"[..]].concat());
        }
    }
    out.clear();
    write::ping(&mut out, b"a", None);
    write::pong(&mut out, b"b", None);
    write::close(&mut out, Some(1001), "c", None);
    write::close(&mut out, None, "", None);
    assert_eq!(out, b"\x89\x01a\x8a\x01b\x88\x03\x03\xe9c\x88\x00");
}

#[test]
fn a_message_appended_to_a_queue_becomes_a_frame_behind_what_was_there() {
    for length in [0usize, 1, 125, 126, 65_535, 65_536] {
        let mut out = b"before".to_vec();
        out.resize(6 + length, 9);
        write::frame_appended(&mut out, 6, Opcode::Binary);
        let mut expected = b"before".to_vec();
        write::frame(&mut expected, Opcode::Binary, true, false, &vec![9; length], None);
        assert_eq!(out, expected);
        assert_eq!(read(&CLIENT, &[&out[6..]]), Ok(vec![Said::Binary(vec![9; length])]));
    }
}

// norm: RFC6455-5.2-2
// norm: RFC7692-5-5
#[test]
fn reserved_bits_without_a_meaning_are_refused() {
    for (bits, first) in [(4, 0xc0), (2, 0xa0), (1, 0x90), (7, 0xf0)] {
        for opcode in [1, 2, 8, 9, 10] {
            let bytes = [first | opcode, 0x80, 0, 0, 0, 0];
            assert_eq!(refused(&SERVER, &bytes), Violation::ReservedBits { bits });
        }
        let continued =
            [&masked(Opcode::Text, false, b"a")[..], &[first, 0x80, 0, 0, 0, 0]].concat();
        assert_eq!(refused(&SERVER, &continued), Violation::ReservedBits { bits });
    }
    assert_eq!(Violation::ReservedBits { bits: 4 }.close_code(), 1002);
}

// norm: RFC7692-6-3
// norm: RFC7692-6.2-1
// norm: RFC6455-5.2-2
#[test]
fn with_compression_agreed_only_the_first_frame_of_a_message_may_say_so() {
    let rules = Rules { deflate: true, ..SERVER };
    let frame = |opcode, fin, compressed| {
        let mut out = Vec::new();
        write::frame(&mut out, opcode, fin, compressed, b"x", KEY);
        out
    };
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    for (compressed, opcode) in [(true, Opcode::Text), (false, Opcode::Binary)] {
        let stream =
            [frame(opcode, false, compressed), frame(Opcode::Continuation, true, false)].concat();
        let step = reader.step(&rules, &stream, &mut payload).unwrap();
        let text = opcode == Opcode::Text;
        assert_eq!(step.event, Some(Event::Message { text, compressed }));
        assert_eq!(payload, b"xx");
    }
    let bits = Violation::ReservedBits { bits: 4 };
    for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
        assert_eq!(refused(&rules, &frame(opcode, true, true)), bits);
    }
    let stream =
        [frame(Opcode::Text, false, true), frame(Opcode::Continuation, true, true)].concat();
    assert_eq!(refused(&rules, &stream), bits);
    for first in [0xa1, 0x91, 0xe1] {
        let violation = refused(&rules, &[first, 0x80, 0, 0, 0, 0]);
        assert!(matches!(violation, Violation::ReservedBits { .. }), "{first:x}");
    }
}

// norm: RFC7692-6.1-3
#[test]
fn a_compressed_text_is_not_checked_before_it_is_inflated() {
    let rules = Rules { deflate: true, ..SERVER };
    let mut out = Vec::new();
    write::frame(&mut out, Opcode::Text, true, true, b"\xff\xfe", KEY);
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    let step = reader.step(&rules, &out, &mut payload).unwrap();
    assert_eq!(step.event, Some(Event::Message { text: true, compressed: true }));
}

// norm: RFC6455-5.2-3
#[test]
fn unknown_opcodes_are_refused() {
    for opcode in (3..=7).chain(11..=15) {
        for fin in [0, 0x80] {
            let violation = refused(&SERVER, &[fin | opcode, 0x80, 0, 0, 0, 0]);
            assert_eq!(violation, Violation::ReservedOpcode { opcode });
            assert_eq!(violation.close_code(), 1002);
        }
    }
}

// norm: RFC6455-5.2-4
// norm: RFC6455-5.2-5
#[test]
fn a_length_is_read_only_in_its_shortest_form() {
    let short = [0x82, 0xfe, 0, 125, 0, 0, 0, 0];
    assert_eq!(refused(&SERVER, &short), Violation::LengthNotMinimal { payload_bytes: 125 });
    let long = [0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(refused(&SERVER, &long), Violation::LengthNotMinimal { payload_bytes: 65_535 });
    let high = [0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(refused(&SERVER, &high), Violation::LengthTooHigh);
    for violation in [Violation::LengthTooHigh, Violation::LengthNotMinimal { payload_bytes: 1 }] {
        assert_eq!(violation.close_code(), 1002);
    }
}

// norm: RFC6455-5.2-5
// norm: RFC6455-6.1-2
#[test]
fn lengths_are_written_in_their_shortest_form() {
    for (length, header) in [
        (0usize, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        assert_eq!(header::of(Opcode::Binary, true, false, length, None).as_bytes(), header);
    }
}

// norm: RFC6455-5.4-1
// norm: RFC6455-5.5-1
#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        let violation = refused(&SERVER, &[opcode, 0x80, 0, 0, 0, 0]);
        assert_eq!(violation, Violation::ControlFragmented);
        let violation = refused(&SERVER, &[0x80 | opcode, 0xfe, 0, 126, 0, 0, 0, 0]);
        assert_eq!(violation, Violation::ControlTooLong);
    }
    assert_eq!(Violation::ControlFragmented.close_code(), 1002);
    assert_eq!(Violation::ControlTooLong.close_code(), 1002);
    let longest = masked(Opcode::Ping, true, &[5; 125]);
    assert_eq!(read(&SERVER, &[&longest]), Ok(vec![Said::Ping(vec![5; 125])]));
}

// norm: RFC6455-5.4-3
// norm: RFC6455-6.2-4
#[test]
fn fragments_of_two_messages_are_not_mixed() {
    let lonely = masked(Opcode::Continuation, true, b"x");
    assert_eq!(refused(&SERVER, &lonely), Violation::NothingToContinue);
    let first = masked(Opcode::Text, false, b"x");
    for second in [masked(Opcode::Text, true, b"y"), masked(Opcode::Binary, false, b"y")] {
        let stream = [&first[..], &second].concat();
        assert_eq!(refused(&SERVER, &stream), Violation::MessageUnfinished);
    }
    let after_end =
        [masked(Opcode::Text, true, b"x"), masked(Opcode::Continuation, true, b"y")].concat();
    assert_eq!(refused(&SERVER, &after_end), Violation::NothingToContinue);
    assert_eq!(Violation::MessageUnfinished.close_code(), 1002);
    assert_eq!(Violation::NothingToContinue.close_code(), 1002);
}

// norm: RFC6455-5.4-2
// norm: RFC6455-5.4-5
// norm: RFC6455-5.4-9
// norm: RFC6455-6.2-3
#[test]
fn fragments_are_joined_in_order_and_have_the_type_of_the_first() {
    let fragments = |first| {
        let parts = [(first, false), (Opcode::Continuation, false), (Opcode::Continuation, true)];
        parts.iter().zip([b"a", b"b", b"c"]).fold(Vec::new(), |mut out, ((opcode, fin), part)| {
            write::frame(&mut out, *opcode, *fin, false, part, KEY);
            out
        })
    };
    let stream = [fragments(Opcode::Text), fragments(Opcode::Binary)].concat();
    let said = vec![Said::Text("abc".into()), Said::Binary(b"abc".to_vec())];
    assert_eq!(read(&SERVER, &[&stream]), Ok(said));
}

// norm: RFC6455-5.6-1
// norm: RFC6455-8.1-1
#[test]
fn a_text_is_utf_8_as_a_whole_and_refused_at_its_first_wrong_byte() {
    let text = "κόσμε \u{10ffff} \u{ffff}".as_bytes();
    for cut in 0..=text.len() {
        let mut stream = masked(Opcode::Text, false, &text[..cut]);
        stream.extend(masked(Opcode::Continuation, true, &text[cut..]));
        let expected = Said::Text(String::from_utf8(text.to_vec()).unwrap());
        assert_eq!(read(&SERVER, &[&stream]), Ok(vec![expected]), "cut at {cut}");
    }
    // A surrogate, an overlong form, beyond U+10FFFF, a lone second byte, an unfinished end.
    for wrong in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80", b"\xe4\xb8"] {
        let stream = masked(Opcode::Text, true, &[b"ok", wrong].concat());
        let violation = refused(&SERVER, &stream);
        assert_eq!(violation, Violation::NotUtf8 { at: 2 });
        assert_eq!(violation.close_code(), 1007);
    }
    // Not only at the end of the message: the second byte says it all.
    let unfinished = masked(Opcode::Text, false, b"ok\xf4\x90");
    assert_eq!(refused(&SERVER, &unfinished), Violation::NotUtf8 { at: 2 });
    let bytes = masked(Opcode::Binary, true, b"\xff");
    assert_eq!(read(&SERVER, &[&bytes]), Ok(vec![Said::Binary(vec![0xff])]));
}

// norm: RFC6455-5.5.1-1
// norm: RFC6455-7.4.2-1
// norm: RFC6455-8.1-1
#[test]
fn a_close_frame_has_no_code_or_one_that_may_be_sent() {
    let close = |code: u16| masked(Opcode::Close, true, &code.to_be_bytes());
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let said = vec![Said::Close(Some(code), String::new())];
        assert_eq!(read(&SERVER, &[&close(code)]), Ok(said));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let violation = refused(&SERVER, &close(code));
        assert_eq!(violation, Violation::CloseCode { code });
        assert_eq!(violation.close_code(), 1002);
    }
    let empty = masked(Opcode::Close, true, b"");
    assert_eq!(read(&SERVER, &[&empty]), Ok(vec![Said::Close(None, String::new())]));
    assert_eq!(refused(&SERVER, &masked(Opcode::Close, true, b"\x03")), Violation::CloseOneByte);
    let reason = masked(Opcode::Close, true, b"\x03\xe8ab\xff");
    assert_eq!(refused(&SERVER, &reason), Violation::NotUtf8 { at: 2 });
    assert_eq!(Violation::CloseOneByte.close_code(), 1002);
}

// norm: RFC6455-7.4.1-1
// norm: RFC6455-7.4.1-2
// norm: RFC6455-7.4.1-4
// norm: RFC6455-7.4.2-1
#[test]
fn no_close_frame_is_written_with_a_code_that_stands_for_none() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2000, 5000] {
        let written = std::panic::catch_unwind(|| {
            write::close(&mut Vec::new(), Some(code), "", None);
        });
        assert!(written.is_err(), "{code}");
    }
    for violation in [
        Violation::Unmasked,
        Violation::NotUtf8 { at: 0 },
        Violation::NotDeflate,
        Violation::MessageTooLong { message_bytes_max: 0 },
    ] {
        assert!(close::may_be_sent(violation.close_code()));
    }
}

// norm: RFC6455-5.5-1
// norm: RFC6455-7.1.2-1
#[test]
fn a_reason_that_is_too_long_is_cut_between_characters() {
    let reason = "ä".repeat(100);
    let mut out = Vec::new();
    write::close(&mut out, Some(1000), &reason, None);
    let said = vec![Said::Close(Some(1000), "ä".repeat(61))];
    assert_eq!(read(&CLIENT, &[&out]), Ok(said));
}

// norm: RFC6455-5.5.3-1
#[test]
fn the_pong_to_a_ping_has_its_payload() {
    let ping = masked(Opcode::Ping, true, b"are you there?");
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    let step = reader.step(&SERVER, &ping, &mut payload).unwrap();
    let Some(Event::Ping(control)) = step.event else { panic!("{step:?}") };
    let mut out = Vec::new();
    write::pong(&mut out, control.as_bytes(), None);
    assert_eq!(read(&CLIENT, &[&out]), Ok(vec![Said::Pong(b"are you there?".to_vec())]));
}

// norm: RFC6455-10.4-1
// norm: RFC6455-10.4-2
#[test]
fn frames_and_messages_beyond_the_limits_are_refused_by_their_header() {
    let header = |opcode, payload_bytes| {
        header::of(opcode, false, false, payload_bytes, KEY).as_bytes().to_vec()
    };
    let violation = refused(&SERVER, &header(Opcode::Binary, 100_001));
    let (payload_bytes, payload_bytes_max) = (100_001, 100_000);
    assert_eq!(violation, Violation::FrameTooLong { payload_bytes, payload_bytes_max });
    assert_eq!(violation.close_code(), 1009);
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(refused(&SERVER, &huge).close_code(), 1009);
    let first = masked(Opcode::Binary, false, &[0; 100_000]);
    let violation = read(&SERVER, &[&first, &header(Opcode::Continuation, 50_001)]).unwrap_err();
    assert_eq!(violation, Violation::MessageTooLong { message_bytes_max: 150_000 });
    assert_eq!(violation.close_code(), 1009);
    let last = masked(Opcode::Continuation, true, &[0; 50_000]);
    assert_eq!(read(&SERVER, &[&first, &last]), Ok(vec![Said::Binary(vec![0; 150_000])]));
}

// norm: RFC6455-10.4-1
#[test]
fn a_header_alone_makes_nothing_be_reserved() {
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    let header = header::of(Opcode::Binary, true, false, 100_000, KEY);
    reader.step(&SERVER, header.as_bytes(), &mut payload).unwrap();
    assert_eq!(payload.capacity(), 0);
}
