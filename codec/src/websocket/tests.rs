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
