//! Runs the generator in this process against a server in this process.

// Every user of this module takes a part of it.
#![allow(dead_code)]

pub mod interleaved;

use std::net::SocketAddr;

use clap::Parser;
use hawser_loadgen::{
    arguments::{Arguments, Command},
    report::Report,
    run::{self, RunError, Silent, Urings},
};

/// Runs what the line says, as after `hawser-loadgen run`, against `target`. No two runs against
/// a server may have the same number: it is part of every user's name.
pub fn run_line(target: SocketAddr, line: &str, number: u64) -> Result<Report, RunError> {
    let words = ["hawser-loadgen", "run"].into_iter().chain(line.split_whitespace());
    let Command::Run(arguments) = Arguments::parse_from(words).command else {
        unreachable!("the line says run")
    };
    let (scenario, mut options) = arguments.resolve().expect("the line fits together");
    options.target = target;
    run::run(&scenario, &options, line, number, Urings::SMALL, &mut Silent)
}
