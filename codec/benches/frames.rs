//! Nanoseconds per frame, each kind encoded and decoded: `cargo bench -p hawser-codec`.
//!
//! Names are 36 bytes (the text form of a UUID) and bodies 64. Each figure is the best of several
//! rounds: noise of the machine only adds. `cargo test --benches` runs one short round.

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::hint::black_box;
use std::time::Instant;

use hawser_codec::frame::{self, FrameLimits, Step};
use hawser_codec::message::{self, Encoder, Message};
use samples::SAMPLES;

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 65_536 };
const NAME: &str = "0196bd5c-0011-7abc-8def-1032547698ba";
const BODY: &[u8] = &[b'x'; 64];
/// Output is thrown away at this length, as a connection's buffer is when it has been sent.
const OUT_BYTES: usize = 16_384;

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (rounds, frames) = if full { (15, 100_000) } else { (1, 100) };
    println!("{:<20}{:>8}{:>12}{:>12}", "kind", "bytes", "encode ns", "decode ns");
    for sample in &SAMPLES {
        let message = realistic(sample.message);
        let mut bytes = Vec::new();
        Encoder::new().message(&mut bytes, sample.channel, sample.flags, &message);
        let encode = best(rounds, || encode_ns(&message, frames));
        let decode = best(rounds, || decode_ns(&bytes, frames));
        println!("{:<20}{:>8}{encode:>12.1}{decode:>12.1}", sample.name, bytes.len());
    }
}

fn realistic(message: Message<'static>) -> Message<'static> {
    match message {
        Message::Hello(hello) => {
            Message::Hello(message::Hello { user: NAME, device: NAME, ..hello })
        }
        Message::Request(request) => {
            Message::Request(message::Request { to: NAME, body: BODY, ..request })
        }
        Message::Notify(notify) => Message::Notify(message::Notify {
            conversation: NAME,
            sender: NAME,
            device: NAME,
            body: BODY,
            ..notify
        }),
        Message::Receipt(receipt) => {
            Message::Receipt(message::Receipt { conversation: NAME, ..receipt })
        }
        other => other,
    }
}

fn best(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn encode_ns(message: &Message<'_>, frames: u32) -> f64 {
    let mut encoder = Encoder::new();
    let mut out = Vec::with_capacity(OUT_BYTES);
    let start = Instant::now();
    for channel in 0..frames {
        if out.len() > OUT_BYTES / 2 {
            out.clear();
        }
        encoder.message(&mut out, channel as u16, 0, black_box(message));
    }
    black_box(&out);
    start.elapsed().as_nanos() as f64 / f64::from(frames)
}

fn decode_ns(bytes: &[u8], frames: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..frames {
        match frame::step(&LIMITS, black_box(bytes)) {
            Ok(Step::Frame { frame, .. }) => {
                black_box(message::decode(frame)).expect("samples are well formed");
            }
            other => panic!("a sample is one whole frame: {other:?}"),
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(frames)
}
