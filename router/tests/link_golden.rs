//! The bytes of version 1 stay what they are: kept conversations against both ends of today,
//! through every split point, an other end written by hand from the page, and the page itself.
//!
//! `HAWSER_WRITE_GOLDEN=1 cargo test -p hawser-router --test link_golden` writes the files anew, for
//! a frame added; a file that changes is a broken protocol.

mod link_ends;

use hawser_router::link::{
    FRAME_BODY_BYTES_MAX, Family, HANDSHAKE_BODY_BYTES_MAX, HANDSHAKE_US, LinkEnd, LinkSession,
    NAME_BYTES_MAX, PING_US, Refusal, Role, SILENCE_US, TEXT_BYTES_MAX, WINDOW_BYTES_RANGE,
    refusal_code, refusal_text,
    wire::{self, HEADER_BYTES, PREFACE, Step, kind},
};
use link_ends::{End, HASH_KEY, Seen, at, batch, gateway, router, run};
use std::{fs, path::PathBuf};

const PAGE: &str = include_str!("../../docs/protocol/link.md");

fn hex(bytes: &[u8]) -> String {
    let line = |row: &[u8]| row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(|row| line(row) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("golden files hold hex"))
        .collect()
}

fn golden(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/link");
    directory.join(name).with_extension("hex")
}

fn kept(name: &str) -> Vec<u8> {
    unhex(&fs::read_to_string(golden(name)).expect("the file is kept"))
}

/// One sample of every frame, by the name of its file, as today's ends write it.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut one = End::new(LinkSession::initiator(gateway(), at(0)));
    let mut other = End::new(LinkSession::acceptor(router(), at(0)));
    let mut samples = vec![("hello_gateway", one.out())];
    other.receive(at(0), &samples[0].1);
    samples.push(("hello_router", other.out()));
    one.receive(at(0), &samples[1].1);
    samples.push(("proof", one.out()));
    other.receive(at(0), &samples[2].1);
    samples.push(("welcome", other.out()));
    one.receive(at(0), &samples[3].1);
    assert!(one.session.is_up() && other.session.is_up());

    one.session.send(Family::Uplink, 1, &mut &batch(&[3, 0], 5)[..]).expect("it parses");
    samples.push(("uplink", one.out()));
    other.session.send(Family::Downlink, 1, &mut &batch(&[2], 6)[..]).expect("it parses");
    samples.push(("downlink", other.out()));
    one.session.grant(20_000);
    samples.push(("credit", one.out()));
    assert_eq!(one.session.on_deadline(at(PING_US)), None);
    samples.push(("ping", one.out()));
    other.receive(at(PING_US), &samples[7].1);
    samples.push(("pong", other.out()));
    let reason =
        |code, retry_after_ms| Refusal { code, text: refusal_text(code).into(), retry_after_ms };
    other.session.go_away(reason(refusal_code::SHUTTING_DOWN, 1000));
    samples.push(("go_away", other.out()));
    other.session.refuse(reason(refusal_code::REPLACED, 0));
    samples.push(("refused", other.out()));

    let mut peer = Vec::new();
    wire::put(&mut peer, Family::Peer.kind(), 0, 0, &batch(&[1], 7));
    samples.push(("peer", peer));
    samples
}

#[test]
fn every_frame_is_written_as_its_golden_bytes() {
    let samples = samples();
    assert_eq!(samples.len(), kind::ALL.len() + 1, "a hello of each role");
    for (name, bytes) in samples {
        let found = hex(&bytes);
        if std::env::var_os("HAWSER_WRITE_GOLDEN").is_some() {
            fs::write(golden(name), &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(golden(name)).unwrap(), "{name}");
    }
}

#[test]
fn kept_bytes_of_either_end_are_understood_today() {
    let mut other = End::new(LinkSession::acceptor(router(), at(0)));
    for name in ["hello_gateway", "proof", "uplink", "credit", "ping"] {
        other.receive(at(0), &kept(name));
    }
    let [Seen::Up(_), Seen::Batch(Family::Uplink, 1, bytes)] = &other.seen[..] else {
        panic!("{:?}", other.seen)
    };
    assert_eq!(*bytes, batch(&[3, 0], 5));

    let mut one = End::new(LinkSession::initiator(gateway(), at(0)));
    for name in ["hello_router", "welcome", "downlink", "pong", "go_away", "refused"] {
        one.receive(at(0), &kept(name));
    }
    assert!(
        matches!(
            &one.seen[..],
            [
                Seen::Up(_),
                Seen::Batch(Family::Downlink, 1, _),
                Seen::GoAway(_),
                Seen::Down(LinkEnd::RefusedByPeer(_))
            ]
        ),
        "{:?}",
        one.seen
    );
}

#[test]
fn a_stream_split_anywhere_says_the_same() {
    let streams: [(&[&str], LinkSession); 2] = [
        (
            &["hello_gateway", "proof", "uplink", "credit", "ping", "uplink"],
            LinkSession::acceptor(router(), at(0)),
        ),
        (
            &["hello_router", "welcome", "downlink", "pong", "go_away", "refused"],
            LinkSession::initiator(gateway(), at(0)),
        ),
    ];
    for (names, session) in streams {
        let bytes: Vec<u8> = names.iter().flat_map(|name| kept(name)).collect();
        let mut whole = End::new(session);
        whole.receive(at(0), &bytes);
        let (seen, out) = (whole.seen.clone(), whole.out());
        assert!(seen.len() >= 3);
        for cut in 0..=bytes.len() {
            let session = match names[0] {
                "hello_gateway" => LinkSession::acceptor(router(), at(0)),
                _ => LinkSession::initiator(gateway(), at(0)),
            };
            let mut split = End::new(session);
            split.receive(at(0), &bytes[..cut]);
            split.receive(at(0), &bytes[cut..]);
            assert_eq!(split.seen, seen, "cut at {cut}");
            assert_eq!(split.out(), out, "cut at {cut}");
        }
    }
}

#[test]
fn every_truncation_of_the_handshake_waits_and_every_changed_byte_keeps_the_link_down() {
    let [hello, proof] = ["hello_gateway", "proof"].map(kept);
    let stream: Vec<u8> = hello.iter().chain(&proof).copied().collect();
    for at_byte in 0..stream.len() {
        let mut other = End::new(LinkSession::acceptor(router(), at(0)));
        other.receive(at(0), &stream[..at_byte]);
        assert!(other.seen.is_empty(), "{at_byte}: {:?}", other.seen);
        let mut changed = stream.clone();
        changed[at_byte] ^= 0x10;
        let mut other = End::new(LinkSession::acceptor(router(), at(0)));
        other.receive(at(0), &changed);
        // The flags and worker of a proof mean nothing and are under no proof.
        let meaningless = (hello.len() + 5..hello.len() + HEADER_BYTES).contains(&at_byte);
        assert_eq!(other.session.is_up(), meaningless, "byte {at_byte}");
    }
}

// An other end, written from the page alone.

fn number(bytes: &mut Vec<u8>, value: u64, length: usize) {
    bytes.extend_from_slice(&value.to_le_bytes()[..length]);
}

fn by_hand(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    number(&mut frame, body.len() as u64, 4);
    frame.extend_from_slice(&[kind, flags, 0, 0]);
    frame.extend_from_slice(body);
    frame
}

/// Hello of a router that speaks versions `low` to `high`, with fields behind the name.
fn hello_by_hand((low, high): (u64, u64), more: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    number(&mut body, low, 2);
    number(&mut body, high, 2);
    body.extend_from_slice(&[2, 0]);
    number(&mut body, 1, 2);
    number(&mut body, 1, 2);
    number(&mut body, 0, 2);
    number(&mut body, 65_535, 2);
    number(&mut body, 0, 2);
    number(&mut body, 77, 8);
    let check = blake3::keyed_hash(&HASH_KEY, b"hawser key space");
    body.extend_from_slice(&check.as_bytes()[..8]);
    number(&mut body, 65_536, 4);
    body.extend_from_slice(&[9; 32]);
    body.extend_from_slice(b"\x04hand");
    body.extend_from_slice(more);
    by_hand(1, 0, &body)
}

/// Whole frames in `bytes`, with their headers.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Step::Frame(_, length) = wire::step(bytes, FRAME_BODY_BYTES_MAX) {
        let (frame, rest) = bytes.split_at(length);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Meets today's gateway as a router written by hand; the gateway's end afterwards.
fn meet_by_hand(versions: (u64, u64), more: &[u8]) -> End {
    let mut one = End::new(LinkSession::initiator(gateway(), at(0)));
    let greeting = one.out();
    assert_eq!(greeting[..4], [0xA7, 0x48, 0x4C, 0x01]);
    let mut hellos = greeting[4..].to_vec();
    let hello = hello_by_hand(versions, more);
    hellos.extend_from_slice(&hello);
    one.receive(at(0), &[0xA7, 0x48, 0x4C, 0x01]);
    one.receive(at(0), &hello);
    if one.end().is_some() {
        return one;
    }
    let proof_key = blake3::derive_key("hawser 2026 link proof", b"example");
    let seal_key = blake3::derive_key("hawser 2026 link hash key", b"example");
    let signed = |who: u8, more: &[u8]| {
        blake3::keyed_hash(&proof_key, &[&[who], &hellos[..], more].concat())
    };
    let answer = one.out();
    let [proof] = frames(&answer)[..] else { panic!("{answer:?}") };
    assert_eq!((proof[4], &proof[8..]), (2, &signed(1, &[]).as_bytes()[..]));

    let stream = blake3::keyed_hash(&seal_key, &hellos);
    let mut given = vec![1];
    given.extend(HASH_KEY.iter().zip(stream.as_bytes()).map(|(key, pad)| key ^ pad));
    let mut welcome = signed(2, &given).as_bytes().to_vec();
    welcome.extend_from_slice(&given);
    one.receive(at(0), &by_hand(3, 0, &welcome));
    one
}

#[test]
fn an_other_end_written_from_the_page_is_welcome() {
    let one = meet_by_hand((1, 1), &[]);
    let [Seen::Up(peer)] = &one.seen[..] else { panic!("{:?}", one.seen) };
    assert_eq!((peer.role, peer.index, peer.epoch), (Role::Router, Some(0), 77));
    assert_eq!((peer.name.as_str(), peer.hash_key), ("hand", Some(HASH_KEY)));
}

#[test]
fn a_neighbour_of_the_next_version_with_more_fields_is_spoken_to_in_this_one() {
    let mut one = meet_by_hand((1, 2), b"fields of version 2");
    let [Seen::Up(peer)] = &one.seen[..] else { panic!("{:?}", one.seen) };
    assert_eq!(peer.version, 1);
    // A kind of the next version, optional, is skipped; what stands behind it is taken.
    one.receive(at(0), &by_hand(200, 1, b"whatever"));
    one.receive(at(0), &kept("downlink"));
    assert!(matches!(one.seen[1..], [Seen::Batch(..)]), "{:?}", one.seen);
    one.receive(at(0), &by_hand(200, 0, b"whatever"));
    assert!(matches!(one.end(), Some(LinkEnd::Malformed(_))), "{:?}", one.seen);
}

#[test]
fn a_newer_version_only_is_refused_with_both_ranges() {
    let mut one = meet_by_hand((2, 3), b"fields of version 2");
    let Some(LinkEnd::RefusedPeer(refusal)) = one.end() else { panic!("{:?}", one.seen) };
    assert_eq!(refusal.code, refusal_code::VERSION);
    let text = "no common link version: the refused side speaks 2 to 3, which is newer; this one \
                speaks 1 to 1";
    assert_eq!(refusal.text, text);
    // And the other side is told so.
    let told = one.out();
    let [told] = frames(&told)[..] else { panic!("{told:?}") };
    assert_eq!((told[4], told[8], &told[14..]), (4, 2, text.as_bytes()));
}

// The page.

/// Rows of the markdown tables between a heading and the next one, cells trimmed.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the page has no {heading}"));
    let lines = section.lines().take_while(|line| !line.starts_with('#'));
    lines
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn kinds_are_specified_with_their_numbers_and_no_other() {
    let specified: Vec<(String, &str)> = rows("## Frames")
        .iter()
        .filter(|row| row.len() == 4 && row[0] != "kind")
        .map(|row| (row[0].to_owned(), row[1]))
        .collect();
    let known: Vec<_> = kind::ALL.iter().map(|(kind, name)| (kind.to_string(), *name)).collect();
    assert_eq!(specified, known);
}

#[test]
fn codes_are_specified_with_their_texts_and_no_other() {
    let unknown = refusal_text(u16::MAX);
    let known = (0..=u16::MAX).filter(|code| refusal_text(*code) != unknown);
    let known: Vec<_> = known.map(|code| (code.to_string(), refusal_text(code))).collect();
    let specified = rows("## The end");
    let specified: Vec<_> = specified
        .iter()
        .filter(|row| row.len() == 2 && row[0] != "code")
        .map(|row| (row[0].to_owned(), row[1]))
        .collect();
    assert_eq!(specified, known);
}

#[test]
fn fields_of_the_hello_are_specified_where_they_stand() {
    let rows = rows("### Hello");
    let mut next = 0;
    for row in rows.iter().skip(1) {
        assert_eq!(row[0], next.to_string(), "{row:?}");
        next += row[1].parse::<usize>().unwrap_or(0);
    }
    assert_eq!(next, 69);
}

#[test]
fn limits_are_specified_with_their_numbers() {
    let with_commas = |number: usize| {
        let digits = number.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    };
    let (low, high) = WINDOW_BYTES_RANGE;
    for expected in [
        format!("at most {} bytes before the link is up", with_commas(HANDSHAKE_BODY_BYTES_MAX)),
        format!("at most {} after", with_commas(FRAME_BODY_BYTES_MAX)),
        format!("{} to {}", with_commas(low as usize), with_commas(high as usize)),
        format!("| name length | 0 to {NAME_BYTES_MAX} |"),
        format!("at most {TEXT_BYTES_MAX} bytes"),
        format!("within {} seconds", HANDSHAKE_US / 1_000_000),
        format!("nothing at all for {} seconds", SILENCE_US / 1_000_000),
    ] {
        assert!(PAGE.contains(&expected), "{expected}");
    }
    assert_eq!(PING_US, 1_000_000, "the page says every second");
    assert_eq!(PREFACE, [0xA7, 0x48, 0x4C, 0x01]);
}

#[test]
fn worked_examples_are_what_the_ends_write() {
    for name in ["hello_gateway", "hello_router", "proof", "welcome"] {
        let block = format!("```hex {name}\n{}```\n", hex(&kept(name)));
        assert!(PAGE.contains(&block), "the example should be\n{block}");
    }
}

#[test]
fn the_worked_example_is_a_link() {
    let mut one = End::new(LinkSession::initiator(gateway(), at(0)));
    let mut other = End::new(LinkSession::acceptor(router(), at(0)));
    run(&mut one, &mut other, at(0));
    assert!(one.session.is_up() && other.session.is_up());
}
