//! What a record costs: opened and sealed with its key at hand, and with its key to be expanded.
//!
//! `cargo bench -p hawser-tls --bench record` prints nanoseconds per record of 64 and of 16,384
//! bytes. The latter figure includes the loss of the key that stood there before.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/peer/mod.rs"]
mod peer;

use std::{hint::black_box, time::Instant};

use hawser_tls::{Keys, Record};
use rustls::version::TLS13;

const ROUNDS: u32 = 20_000;

fn main() {
    let (mut side, _client) = peer::connected(&TLS13);
    let ours = &mut side.finished().record;
    // The same state with its two directions exchanged is the peer's.
    let mut theirs = peer::changed(ours, |bytes| {
        let (incoming, outgoing) = bytes[4..].split_at_mut(56);
        incoming.swap_with_slice(outgoing);
    });
    for bytes in [64, 16_384] {
        let plain = vec![7; bytes];
        for (what, is_warm) in [("key at hand", true), ("key expanded", false)] {
            let mut keys = Keys::new(512);
            let mut sealed = Vec::new();
            let seal = spend(|| {
                if !is_warm {
                    keys.forget();
                }
                sealed.clear();
                theirs.seal(&mut keys, &plain, &mut sealed).unwrap();
            });
            let mut all = Vec::with_capacity(ROUNDS as usize);
            resync(ours, &theirs);
            for _ in 0..ROUNDS {
                let mut record = Vec::new();
                theirs.seal(&mut keys, &plain, &mut record).unwrap();
                all.push(record);
            }
            let mut all = all.into_iter();
            let mut out = Vec::new();
            let open = spend(|| {
                if !is_warm {
                    keys.forget();
                }
                out.clear();
                let record = all.next().unwrap();
                black_box(ours.open(&mut keys, &record, &mut out).unwrap());
            });
            println!("{bytes} B, {what}: sealed in {seal} ns, opened in {open} ns");
        }
    }
}

fn spend(mut work: impl FnMut()) -> u128 {
    let started = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    started.elapsed().as_nanos() / u128::from(ROUNDS)
}

/// Sets what `ours` opens next to what `theirs` seals next.
fn resync(ours: &mut Record, theirs: &Record) {
    let mut bytes = Vec::new();
    theirs.write(&mut bytes);
    *ours = peer::changed(ours, |mine| mine[4..60].copy_from_slice(&bytes[60..116]));
}
