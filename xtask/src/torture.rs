//! `cargo xtask torture`: kill -9 at random instants under load, on real processes and a real disk.
//!
//! The torture itself is the binary `torture` of crate `hawser-tests`; it starts the release
//! programs, which are built here.

use crate::process::{become_program, cargo, succeed};

/// What `torture` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Two gateways and two routers, killed and stopped in turn.
    #[arg(long)]
    routers: bool,
    /// How many times the gateway is killed; with --routers, kills and pauses in all.
    #[arg(long, default_value_t = 100, value_name = "N")]
    kills: u32,
    /// For the torture binary.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds the programs, then becomes the torture.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--locked"]);
    build.args(["--package", "hawser-gateway", "--package", "hawser-router"]);
    succeed(build, "cargo build")?;
    let mut torture = cargo();
    torture.args(["run", "--quiet", "--release", "--package", "hawser-tests"]);
    torture.args(["--bin", "torture", "--", "--kills", &arguments.kills.to_string()]);
    if arguments.routers {
        torture.arg("--routers");
    }
    torture.args(&arguments.rest);
    become_program(torture, "torture")
}
