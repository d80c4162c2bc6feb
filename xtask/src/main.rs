//! The commands of the project itself: `cargo xtask COMMAND`.

mod bench;
mod clients;
mod codegen;
mod conformance;
mod documents;
mod licences;
mod process;
mod simulation;
mod test;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of the Hawser project itself")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything a change must pass: format, lints, documentation, licences, all tests.
    Test(test::Arguments),
    /// Whole-system simulation over many seeds, or one seed again.
    Sim(simulation::Arguments),
    /// Kills a gateway at random instants under load and asks the oracle.
    Torture(torture::Arguments),
    /// Measures the gateway against a bare relay, interleaved.
    Bench(bench::Arguments),
    /// Installs the clients of other people that the tests use (`test` does it, too).
    Clients,
    /// Which test covers which statement of which norm; breaks the code to see them fail.
    Conformance(conformance::Arguments),
    /// Makes codec/src/generated from codec/schema (builds flatc at first: cmake, C++, minutes).
    Codegen(codegen::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Sim(arguments) => simulation::run(&arguments),
        Command::Torture(arguments) => torture::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Clients => clients::install(),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Codegen(arguments) => codegen::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("cargo xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
