//! The bytes on the wire stay what they are: one sample of each message against its golden file,
//! through every split point, and the worked examples of the specification.
//!
//! `HAWSER_WRITE_GOLDEN=1 cargo test -p hawser-codec --test golden` writes the files anew, for a
//! message added; a file that changes is a broken protocol.

mod samples;

use std::fs;
use std::path::{Path, PathBuf};

use hawser_codec::frame::{self, Frame, FrameLimits, HEADER_BYTES, Step};
use hawser_codec::message::{self, Encoder};
use samples::{SAMPLES, Sample};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1024 };
const HEX_COLUMNS: usize = 16;

fn encoded(sample: &Sample) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().message(&mut out, sample.channel, sample.flags, &sample.message);
    out
}

fn hex(bytes: &[u8]) -> String {
    let line = |row: &[u8]| row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(HEX_COLUMNS).map(|row| line(row) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("golden files hold hex"))
        .collect()
}

fn golden(sample: &Sample) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    directory.join(sample.name).with_extension("hex")
}

#[test]
fn every_message_is_encoded_to_its_golden_bytes() {
    for sample in &SAMPLES {
        let file = golden(sample);
        let found = hex(&encoded(sample));
        if std::env::var_os("HAWSER_WRITE_GOLDEN").is_some() {
            fs::write(&file, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&file).unwrap(), "{}", sample.name);
    }
}

#[test]
fn every_golden_file_is_decoded_to_its_message() {
    for sample in &SAMPLES {
        let bytes = unhex(&fs::read_to_string(golden(sample)).unwrap());
        let Step::Frame { frame, consumed } = frame::step(&LIMITS, &bytes).unwrap() else {
            panic!("{} is not whole", sample.name);
        };
        assert_eq!(consumed, bytes.len());
        assert_eq!((frame.channel, frame.flags), (sample.channel, sample.flags));
        assert_eq!(message::decode(frame), Ok(sample.message));
    }
}

#[test]
fn every_split_of_every_sample_asks_for_more_and_then_gives_the_same_frame() {
    for sample in &SAMPLES {
        let bytes = encoded(sample);
        let whole = frame::step(&LIMITS, &bytes).unwrap();
        for cut in 0..bytes.len() {
            let Step::NeedMore { at_least } = frame::step(&LIMITS, &bytes[..cut]).unwrap() else {
                panic!("{} is whole at {cut} of {}", sample.name, bytes.len());
            };
            let expected = if cut < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
            assert_eq!(at_least, expected, "{} cut at {cut}", sample.name);
            // A caller that gathers exactly what is asked for arrives at the frame.
            let again = frame::step(&LIMITS, &bytes[..at_least]).unwrap();
            assert_eq!(again == whole, at_least == bytes.len());
        }
    }
}

#[test]
fn a_stream_of_all_samples_is_cut_where_they_meet() {
    let mut encoder = Encoder::new();
    let mut stream = Vec::new();
    for sample in &SAMPLES {
        encoder.message(&mut stream, sample.channel, sample.flags, &sample.message);
    }
    let mut rest = stream.as_slice();
    for sample in &SAMPLES {
        let Step::Frame { frame, consumed } = frame::step(&LIMITS, rest).unwrap() else {
            panic!("{} is not whole", sample.name);
        };
        assert_eq!(message::decode(frame), Ok(sample.message));
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_body_cut_or_with_a_bit_flipped_never_panics() {
    for sample in &SAMPLES {
        let bytes = encoded(sample);
        let Step::Frame { frame, .. } = frame::step(&LIMITS, &bytes).unwrap() else {
            panic!("{} is not whole", sample.name);
        };
        for cut in 0..frame.body.len() {
            let _ = message::decode(Frame { body: &frame.body[..cut], ..frame });
        }
        for bit in 0..frame.body.len() * 8 {
            let mut body = frame.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let _ = message::decode(Frame { body: &body, ..frame });
        }
    }
}
