//! `cargo xtask sim`: the whole system on simulated kernel, network, disk and time.
//!
//! The simulation itself is the binary `simulate` of crate `hawser-tests`; here only the build
//! that makes long runs short (release) and the words of the command are chosen.

use crate::process::{become_program, cargo};

/// What `sim` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many seeds, each another world of faults.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// Run this seed alone (decimal or 0x...), as a failing run says.
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<String>,
    /// For the simulation binary.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Becomes the simulation.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let mut simulate = cargo();
    simulate.args(["run", "--quiet", "--release", "--package", "hawser-tests"]);
    simulate.args(["--bin", "simulate", "--"]);
    match &arguments.seed {
        Some(seed) => simulate.args(["--seed", seed]),
        None => simulate.args(["--seeds", &arguments.seeds.to_string()]),
    };
    simulate.args(&arguments.rest);
    become_program(simulate, "simulate")
}
