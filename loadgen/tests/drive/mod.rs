//! Runs the generator in this process against a server in this process.

// Every user of this module takes a part of it.
#![allow(dead_code)]

pub mod interleaved;

use std::net::SocketAddr;

use clap::Parser;
use hawser_loadgen::{
    arguments::{Arguments, Command},
    report::Report,
    run::{self, MakeRing, RunError, Silent},
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingSettings, UringRing};

/// Kernel rings, one for each worker.
pub struct Urings;

impl MakeRing for Urings {
    type Ring = UringRing;

    fn make(&self, slots: u32, _tables: u32) -> Result<(UringRing, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: 1024,
            submission_entries: 256,
            buffers: 64,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = UringRing::new(settings).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

/// Runs what the line says, as after `hawser-loadgen run`, against `target`. No two runs against
/// a server may have the same number: it is part of every user's name.
pub fn run_line(target: SocketAddr, line: &str, number: u64) -> Result<Report, RunError> {
    let words = ["hawser-loadgen", "run"].into_iter().chain(line.split_whitespace());
    let Command::Run(arguments) = Arguments::parse_from(words).command else {
        unreachable!("the line says run")
    };
    let (scenario, mut options) = arguments.resolve().expect("the line fits together");
    options.target = target;
    run::run(&scenario, &options, line, number, Urings, &mut Silent)
}
