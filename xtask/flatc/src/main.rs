//! Runs the vendored `flatc` with the arguments given; exists only because the crate that builds
//! the compiler exposes its path to a dependent, not as a program to be installed.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let flatc = flatc_fork::flatc();
    match Command::new(flatc).args(std::env::args_os().skip(1)).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{} ended with {status}", flatc.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{} cannot be started: {error}", flatc.display());
            ExitCode::FAILURE
        }
    }
}
