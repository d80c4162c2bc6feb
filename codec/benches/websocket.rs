//! Nanoseconds per WebSocket message, read and written, plain and compressed, and how fast masks
//! come off: `cargo bench -p hawser-codec --bench websocket`. Each figure is the best of several
//! rounds: noise of the machine only adds. `cargo test --benches` runs one short round.

use std::hint::black_box;
use std::time::Instant;

use hawser_codec::websocket::{
    Limits, MESSAGE_BYTES_MAX, Opcode, Reader, Role, Rules,
    deflate::{Agreement, Codec, Shared},
    mask, write,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const RULES: Rules = Rules {
    role: Role::Server,
    deflate: false,
    limits: Limits { frame_bytes_max: MESSAGE_BYTES_MAX, message_bytes_max: MESSAGE_BYTES_MAX },
};

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let rounds = if full { 15 } else { 1 };
    println!(
        "{:>8}{:>12}{:>14}{:>12}{:>14}{:>14}",
        "bytes", "read ns", "read text ns", "write ns", "unmask GB/s", "deflate ns"
    );
    for bytes in [16usize, 64, 256, 1024, 16_384, 65_536] {
        let count = if full { (20_000_000 / (bytes + 200)) as u32 } else { 10 };
        let payload: Vec<u8> = (0..bytes).map(|at| b'a' + (at * 7 % 26) as u8).collect();
        let read = best(rounds, || read_ns(Opcode::Binary, &payload, count));
        let text = best(rounds, || read_ns(Opcode::Text, &payload, count));
        let written = best(rounds, || write_ns(&payload, count));
        let unmask = bytes as f64 / best(rounds, || unmask_ns(&payload, count));
        let deflated = best(rounds, || deflate_ns(&payload, count / 20 + 1));
        println!("{bytes:>8}{read:>12.1}{text:>14.1}{written:>12.1}{unmask:>14.1}{deflated:>14.0}");
    }
}

fn best(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn per(count: u32, start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

fn read_ns(opcode: Opcode, payload: &[u8], count: u32) -> f64 {
    let (mut frame, mut message) = (Vec::new(), Vec::new());
    write::frame(&mut frame, opcode, true, false, payload, Some(KEY));
    let start = Instant::now();
    for _ in 0..count {
        let mut reader = Reader::default();
        let step = reader.step(&RULES, black_box(&frame), &mut message);
        black_box(step).expect("it is well formed");
    }
    per(count, start)
}

fn write_ns(payload: &[u8], count: u32) -> f64 {
    let mut out = Vec::new();
    let start = Instant::now();
    for _ in 0..count {
        out.clear();
        write::frame(&mut out, Opcode::Binary, true, false, black_box(payload), None);
        black_box(&out);
    }
    per(count, start)
}

fn unmask_ns(payload: &[u8], count: u32) -> f64 {
    let mut bytes = payload.to_vec();
    let start = Instant::now();
    for _ in 0..count {
        mask::apply(black_box(&mut bytes), KEY);
    }
    per(count, start)
}

fn deflate_ns(payload: &[u8], count: u32) -> f64 {
    let agreement = Agreement::without_take_over(15);
    let (mut shared, mut out) = (Shared::new(1), Vec::new());
    let start = Instant::now();
    for _ in 0..count {
        out.clear();
        let mut codec = Codec { agreement, role: Role::Server, kept: None, shared: &mut shared };
        codec.frame(&mut out, Opcode::Binary, black_box(payload), None);
        black_box(&out);
    }
    per(count, start)
}
