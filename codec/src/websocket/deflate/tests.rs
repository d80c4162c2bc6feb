//! Compressed messages: both ways, both ends, and what a peer must not do.

use super::*;
use crate::websocket::extension;

fn accept(offers: &str, take_over: bool) -> Option<(Agreement, String)> {
    let mut list = Vec::new();
    extension::parse(offers.as_bytes(), &mut list).unwrap();
    let agreement = Agreement::accept(&list, &Settings { take_over })?;
    let mut answer = Vec::new();
    agreement.put_answer(&mut answer);
    Some((agreement, String::from_utf8(answer).unwrap()))
}

fn answer(offers: &str, take_over: bool) -> String {
    accept(offers, take_over).map_or_else(String::new, |(_, answer)| answer)
}

/// Both ends of a connection.
struct Ends {
    agreement: Agreement,
    kept: [Option<Kept>; 2],
    shared: [Shared; 2],
}

impl Ends {
    fn new(offers: &str, take_over: bool) -> Self {
        let (agreement, _) = accept(offers, take_over).unwrap();
        let kept = [Kept::new(agreement), Kept::new(agreement)];
        Self { agreement, kept, shared: [Shared::new(6), Shared::new(6)] }
    }

    fn codec(&mut self, role: Role) -> Codec<'_> {
        let at = role as usize;
        let (kept, shared) = (self.kept[at].as_mut(), &mut self.shared[at]);
        Codec { agreement: self.agreement, role, kept, shared }
    }

    /// Sends a message; returns it as it arrived and the bytes of its payload on the way.
    fn send(&mut self, from: Role, payload: &[u8]) -> (Vec<u8>, usize) {
        let (mut wire, mut arrived) = (Vec::new(), Vec::new());
        let key = (from == Role::Client).then_some([1, 2, 3, 4]);
        self.codec(from).frame(&mut wire, Opcode::Binary, payload, key);
        let to = if from == Role::Client { Role::Server } else { Role::Client };
        let limits = super::super::Limits { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20 };
        let rules = super::super::Rules { role: to, deflate: true, limits };
        let mut reader = super::super::Reader::default();
        let step = reader.step(&rules, &wire, &mut arrived).unwrap();
        assert_eq!(step.consumed, wire.len());
        let sent = arrived.len();
        match step.event {
            Some(super::super::Event::Message { compressed: true, .. }) => {
                let compressed = std::mem::take(&mut arrived);
                self.codec(to).inflate(&compressed, false, 1 << 20, &mut arrived).unwrap();
            }
            Some(super::super::Event::Message { compressed: false, .. }) => {}
            other => panic!("no message: {other:?}"),
        }
        (arrived, sent)
    }
}

fn words(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| format!("word {} ", i * 7919 % 613).into_bytes()).collect()
}

/// A payload that DEFLATE cannot make smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// What inflating gives for a connection that keeps nothing.
fn inflate(compressed: &[u8], text: bool, bytes_max: u32) -> Result<Vec<u8>, Violation> {
    let (agreement, _) = accept("permessage-deflate", false).unwrap();
    let shared = &mut Shared::new(6);
    let mut codec = Codec { agreement, role: Role::Server, kept: None, shared };
    let mut out = Vec::new();
    codec.inflate(compressed, text, bytes_max, &mut out).map(|()| out)
}

// norm: RFC7692-5-2
// norm: RFC7692-7.1.1.1-1
// norm: RFC7692-7.1.1.2-1
// norm: RFC7692-7.1.2.1-2
// norm: RFC7692-7.1.2.2-2
// norm: RFC6455-9-1
// norm: RFC6455-9-2
#[test]
fn offers_are_answered_with_what_was_asked_and_no_more() {
    let none = "server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer("permessage-deflate", true), "permessage-deflate");
    assert_eq!(answer("permessage-deflate", false), format!("permessage-deflate; {none}"));
    assert_eq!(answer("permessage-deflate; client_max_window_bits", true), "permessage-deflate");
    assert_eq!(
        answer("permessage-deflate; server_max_window_bits=10", true),
        "permessage-deflate; server_max_window_bits=10"
    );
    assert_eq!(
        answer("permessage-deflate; server_no_context_takeover; client_max_window_bits=9", true),
        "permessage-deflate; server_no_context_takeover"
    );
    assert_eq!(
        answer("permessage-deflate; client_no_context_takeover", true),
        "permessage-deflate; client_no_context_takeover"
    );
}

// norm: RFC7692-5-3
// norm: RFC7692-7.1-1
// norm: RFC7692-7.1-2
// norm: RFC7692-7.1-3
// norm: RFC7692-7.1-4
// norm: RFC7692-7.1.2.1-1
// norm: RFC7692-7.1.2.2-1
// norm: RFC6455-9-2
#[test]
fn offers_that_are_wrong_are_declined_and_the_next_is_looked_at() {
    for parameters in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=1",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=8",
        "client_max_window_bits=x",
        "client_max_window_bits=16",
        "server_no_context_takeover; server_no_context_takeover",
    ] {
        let wrong = format!("permessage-deflate; {parameters}");
        assert_eq!(answer(&wrong, true), "", "{parameters}");
        let next = format!("{wrong}, x-webkit-deflate-frame, permessage-deflate");
        assert_eq!(answer(&next, true), "permessage-deflate", "{parameters}");
    }
    assert_eq!(answer("x-webkit-deflate-frame, permessage-bzip2", true), "");
}

// norm: RFC7692-7.2.2-1
// norm: RFC7692-7.2.2-2
// norm: RFC7692-7.2.2-3
#[test]
fn the_examples_of_the_norm_are_inflated() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&hello, true, 5).unwrap(), b"Hello");
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(inflate(&stored, true, 5).unwrap(), b"Hello");
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflate(&last_block, true, 5).unwrap(), b"Hello");
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&two_blocks, true, 5).unwrap(), b"Hello");
    assert_eq!(inflate(&[0x00], true, 0).unwrap(), b"");
    // The second "Hello" refers to the first.
    let mut ends = Ends::new("permessage-deflate", true);
    let mut out = Vec::new();
    for message in [&hello[..], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
        ends.codec(Role::Server).inflate(message, true, 5, &mut out).unwrap();
        assert_eq!(out, b"Hello");
    }
}

// norm: RFC7692-6.1-1
// norm: RFC7692-6.2-1
// norm: RFC7692-7.2.2-3
#[test]
fn messages_arrive_as_they_were_sent_whatever_was_agreed() {
    for offers in [
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
    ] {
        for take_over in [true, false] {
            let mut ends = Ends::new(offers, take_over);
            for payload in
                [&b""[..], b"short", &words(20), &words(20_000), &noise(70_000), &words(20)]
            {
                for from in [Role::Client, Role::Server] {
                    let (arrived, _) = ends.send(from, payload);
                    assert!(arrived == payload, "{offers} {take_over} {}", payload.len());
                }
            }
        }
    }
}

// norm: RFC7692-7.1.1.1-2
// norm: RFC7692-7.1.1.2-2
#[test]
fn a_message_refers_to_the_one_before_only_with_context_take_over() {
    for (take_over, smaller) in [(true, true), (false, false)] {
        let mut ends = Ends::new("permessage-deflate", take_over);
        for from in [Role::Client, Role::Server] {
            let (_, first) = ends.send(from, &words(50));
            let (_, second) = ends.send(from, &words(50));
            assert_eq!(second < first / 4, smaller, "{first} then {second}");
        }
    }
}

#[test]
fn nothing_is_kept_without_context_take_over_and_what_is_kept_is_counted() {
    let ends = Ends::new("permessage-deflate", false);
    assert!(ends.kept[0].is_none());
    assert_eq!(Kept::bytes_max(ends.agreement, Role::Server), 0);
    let mut ends = Ends::new("permessage-deflate", true);
    assert_eq!(ends.kept[0].as_ref().unwrap().bytes(), 0);
    ends.send(Role::Client, &words(50));
    assert_eq!(ends.kept[0].as_ref().unwrap().bytes(), INFLATER_BYTES);
    ends.send(Role::Server, &words(50));
    assert_eq!(ends.kept[0].as_ref().unwrap().bytes(), KEPT_BYTES_MAX);
    assert_eq!(Kept::bytes_max(ends.agreement, Role::Server), KEPT_BYTES_MAX);
    let mut one_way = Ends::new("permessage-deflate; server_no_context_takeover", true);
    one_way.send(Role::Server, &words(50));
    assert_eq!(Kept::bytes_max(one_way.agreement, Role::Server), INFLATER_BYTES);
    assert_eq!(one_way.shared[0].bytes(), DEFLATER_BYTES);
}

// norm: RFC6455-10.4-1
#[test]
fn inflating_ends_at_the_limit_however_little_was_sent() {
    let (agreement, _) = accept("permessage-deflate", false).unwrap();
    let mut shared = Shared::new(9);
    let mut bomb = Vec::new();
    shared.deflater(15).message(&vec![0; 16 << 20], &mut bomb);
    assert!(bomb.len() < 20_000);
    let mut codec = Codec { agreement, role: Role::Server, kept: None, shared: &mut shared };
    let mut out = Vec::new();
    let result = codec.inflate(&bomb, false, 65_536, &mut out);
    assert_eq!(result, Err(Violation::MessageTooLong { message_bytes_max: 65_536 }));
    assert_eq!(out.len(), 65_537);
    assert!(out.capacity() < 3 * 65_536, "{}", out.capacity());
    assert_eq!(codec.inflate(&bomb, false, 16 << 20, &mut out), Ok(()));
    assert_eq!(out.len(), 16 << 20);
}

#[test]
fn a_payload_of_exactly_the_limit_is_taken() {
    for bytes in [0, 1, ROOM_BYTES_MIN - 1, ROOM_BYTES_MIN, ROOM_BYTES_MIN + 1, 5000] {
        let mut compressed = Vec::new();
        Shared::new(6).deflater(15).message(&noise(bytes), &mut compressed);
        assert_eq!(inflate(&compressed, false, bytes as u32).unwrap(), noise(bytes));
        if bytes > 0 {
            let message_bytes_max = bytes as u32 - 1;
            let too_long = Violation::MessageTooLong { message_bytes_max };
            assert_eq!(inflate(&compressed, false, message_bytes_max), Err(too_long));
        }
    }
}

#[test]
fn what_is_no_deflate_data_is_refused() {
    // Reserved block type; lengths that do not match; a reference beyond the beginning.
    for wrong in [&[0x06][..], &[0x00, 0x05, 0x00, 0x00, 0x00], &[0x02, 0x40, 0x00]] {
        assert_eq!(inflate(wrong, false, 1000), Err(Violation::NotDeflate), "{wrong:x?}");
    }
    let many = [0x03, 0x00].repeat(FINAL_BLOCKS_MAX + 1);
    assert_eq!(inflate(&many, false, 1000), Err(Violation::NotDeflate));
    assert_eq!(inflate(&many[2..], false, 1000), Ok(Vec::new()));
}

// norm: RFC7692-6.1-3
// norm: RFC6455-8.1-1
#[test]
fn a_text_is_checked_after_it_is_inflated() {
    let mut compressed = Vec::new();
    Shared::new(6).deflater(15).message(b"ab\xc3", &mut compressed);
    assert_eq!(inflate(&compressed, true, 1000), Err(Violation::NotUtf8 { at: 2 }));
    assert_eq!(inflate(&compressed, false, 1000).unwrap(), b"ab\xc3");
}

// norm: RFC7692-6.1-2
#[test]
fn what_grows_by_compression_is_sent_as_it_is_unless_the_peers_window_must_hear_of_it() {
    let mut ends = Ends::new("permessage-deflate", false);
    assert_eq!(ends.send(Role::Server, &noise(1000)).1, 1000);
    let mut ends = Ends::new("permessage-deflate", true);
    assert!(ends.send(Role::Server, &noise(1000)).1 > 1000);
    assert!(ends.send(Role::Server, &noise(1000)).1 < 100);
}

// norm: RFC7692-7.1.2.1-3
#[test]
fn nothing_farther_back_than_the_agreed_window_is_referred_to() {
    // Repeats itself after 2000 bytes only, which a window of 11 bits does not reach.
    let payload = noise(2000).repeat(4);
    for take_over in [true, false] {
        for window_bits in WINDOW_BITS_MIN..=WINDOW_BITS_MAX {
            let offer = format!("permessage-deflate; server_max_window_bits={window_bits}");
            let mut ends = Ends::new(&offer, take_over);
            let (_, sent) = ends.send(Role::Server, &payload);
            let reaches = if take_over { window_bits > 11 } else { window_bits == 15 };
            assert_eq!(sent < 3000, reaches, "{window_bits} {take_over}");
        }
    }
}

// norm: RFC7692-7.2.1-1
// norm: RFC7692-6.1-1
#[test]
fn a_compressed_frame_leaves_out_the_end_of_its_last_block() {
    let mut ends = Ends::new("permessage-deflate", false);
    let mut out = Vec::new();
    let payload = [b'a'; 100];
    ends.codec(Role::Server).frame(&mut out, Opcode::Text, &payload, None);
    assert_eq!(out[0], 0xc1, "FIN, RSV1, text");
    assert_eq!(usize::from(out[1]), out.len() - 2);
    let compressed = &out[2..];
    assert!(!compressed.ends_with(&TAIL));
    // Another decoder, which knows nothing of messages: with the four bytes it is a whole block.
    let mut inflated = vec![0; 200];
    let mut decoder = Decompress::new(false);
    let whole = [compressed, &TAIL].concat();
    decoder.decompress(&whole, &mut inflated, FlushDecompress::Sync).unwrap();
    assert_eq!(decoder.total_in() as usize, whole.len());
    assert_eq!(inflated[..decoder.total_out() as usize], payload);
}

// norm: RFC7692-7.2.3-1
#[test]
fn an_empty_message_is_one_byte_if_it_is_compressed() {
    let mut out = Vec::new();
    let mut deflater = Deflater::new(6, 15);
    for _ in 0..2 {
        out.clear();
        deflater.message(b"", &mut out);
        assert_eq!(out, [0]);
        assert_eq!(inflate(&out, true, 0).unwrap(), b"");
        deflater.message(b"something between", &mut out);
    }
}

// norm: RFC7692-6-1
// norm: RFC7692-6-2
#[test]
fn only_whole_messages_are_written_as_compressed() {
    let mut out = Vec::new();
    write::ping(&mut out, b"p", None);
    write::pong(&mut out, b"p", None);
    write::close(&mut out, Some(1000), "", None);
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        let header = header::Header::parse(Role::Client, &out).unwrap().unwrap();
        assert_eq!((header.opcode, header.reserved), (opcode, 0));
        out.drain(..header.header_bytes + header.payload_bytes as usize);
    }
    let mut ends = Ends::new("permessage-deflate", false);
    ends.codec(Role::Server).frame(&mut out, Opcode::Binary, &words(60_000), None);
    let header = header::Header::parse(Role::Client, &out).unwrap().unwrap();
    assert_eq!((header.reserved, header.fin), (4, true));
    assert_eq!(out.len(), header.header_bytes + header.payload_bytes as usize);
}
