//! Handshakes per second and core, full and resumed, server side only.
//!
//! `cargo bench -p hawser-tls --bench handshake` prints a line per key exchange: how many the
//! server's side of a handshake alone would allow, with an ECDSA P-256 certificate, TLS 1.3. The
//! client runs between the measured parts, on the same core. Before that: what a handshake under way
//! takes of memory.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/peer/mod.rs"]
mod peer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hawser_tls::{Handshake, Kind, Listening, Material, Progress, TicketKeys};
use peer::{Authority, NOW_S, Wishes, client, give, material, pem, sent_by};
use rustls::{ClientConfig, crypto::aws_lc_rs::kx_group, version::TLS13};

const ROUNDS: u32 = 2_000;

/// One handshake; the time the server spent on it.
fn visit(config: &Arc<ClientConfig>, listening: &Listening) -> (Duration, Kind) {
    let mut client = client(config, "chat.example");
    let mut spent = Duration::ZERO;
    let mut handshake = None;
    loop {
        let bytes = sent_by(&mut client);
        let mut out = Vec::new();
        let started = Instant::now();
        let mut ours = match handshake.take() {
            Some(ours) => ours,
            None => Handshake::start(listening).unwrap(),
        };
        ours.hold(&bytes).unwrap();
        let progress = ours.run(NOW_S, &mut out).unwrap();
        let finished = match progress {
            Progress::Done => Some(ours.finish().unwrap()),
            Progress::Waiting => {
                handshake = Some(ours);
                None
            }
        };
        spent += started.elapsed();
        give(&mut client, &out).unwrap();
        if let Some(finished) = finished {
            return (spent, finished.agreed.kind);
        }
    }
}

/// Memory of handshakes that wait for the client's last flight, bytes each.
fn memory_under_way(config: &Arc<ClientConfig>, listening: &Listening) -> u64 {
    const HANDSHAKES: u64 = 1_000;
    let flight = sent_by(&mut client(config, "chat.example"));
    let before = anonymous_bytes();
    let under_way: Vec<_> = (0..HANDSHAKES)
        .map(|_| {
            let mut handshake = Handshake::start(listening).unwrap();
            handshake.hold(&flight).unwrap();
            handshake.run(NOW_S, &mut Vec::new()).unwrap();
            handshake
        })
        .collect();
    let bytes = anonymous_bytes() - before;
    drop(under_way);
    bytes / HANDSHAKES
}

/// `RssAnon` of this process (proc_pid_status(5)), bytes.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

fn main() {
    let authority = Authority::new("bench");
    let issued = authority.issue(&["chat.example"]);
    let certificates = [issued.pem()];
    let file = TicketKeys::new_file();
    let ticket_keys = Some(pem("ticket.keys", &file));
    let listening =
        Listening::new(&Material { ticket_keys, ..material(&certificates) }, &[], NOW_S).unwrap();
    let config = Wishes::of(&TLS13).config(&authority);
    println!("under way: {} B each", memory_under_way(&config, &listening));
    for group in [kx_group::X25519, kx_group::X25519MLKEM768] {
        let wishes = || Wishes { groups: vec![group], ..Wishes::of(&TLS13) };
        let one = wishes().config(&authority);
        for (kind, name) in [(Kind::Full, "full"), (Kind::Resumed, "resumed")] {
            let mut spent = Duration::ZERO;
            if kind == Kind::Resumed {
                visit(&one, &listening);
            }
            for _ in 0..ROUNDS {
                // Tickets are used once, so a client that keeps its configuration always has some.
                let fresh = (kind == Kind::Full).then(|| wishes().config(&authority));
                let (time, was) = visit(fresh.as_ref().unwrap_or(&one), &listening);
                assert_eq!(was, kind);
                spent += time;
            }
            let each = spent / ROUNDS;
            let rate = 1.0 / each.as_secs_f64();
            println!("{:?} {name}: {:.1} us, {rate:.0}/s", group.name(), each.as_secs_f64() * 1e6);
        }
    }
}
