//! `cargo xtask test`: everything a change must pass, the tests last.
//!
//! Cheap checks come first, so that a forgotten format does not cost a build. The last step
//! becomes the test runner: its summary is the last line printed.

use crate::process::{become_program, cargo, is_on_path, succeed};
use crate::{clients, conformance, documents, licences};

/// What `test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// For the test runner: a filter, `--no-capture`, ...
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Runs all steps.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    clients::install()?;

    step("format");
    let mut format = cargo();
    format.args(["fmt", "--all", "--check"]);
    succeed(format, "cargo fmt (run `cargo fmt --all`)")?;

    step("licences");
    println!("{}", licences::check()?);

    step("files named in the documentation");
    println!("{}", documents::check()?);

    step("statements of the norms");
    conformance::check()?;

    step("lints");
    let mut lints = cargo();
    lints.args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
    lints.args(["--", "-D", "warnings"]);
    succeed(lints, "cargo clippy")?;

    step("documentation");
    let mut documentation = cargo();
    documentation.env("RUSTDOCFLAGS", "-Dwarnings");
    documentation.args(["doc", "--quiet", "--locked", "--no-deps", "--workspace"]);
    succeed(documentation, "cargo doc")?;
    let mut examples = cargo();
    examples.args(["test", "--quiet", "--locked", "--workspace", "--doc"]);
    succeed(examples, "cargo test --doc")?;

    step("tests");
    let mut tests = cargo();
    if is_on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--locked", "--workspace"]).args(&arguments.runner);
    } else {
        // Without nextest's groups, so one test at a time: whole-system tests share ports.
        tests.args(["test", "--locked", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
        tests.args(["--tests", "--", "--test-threads=1"]).args(&arguments.runner);
    }
    become_program(tests, "the test runner")
}

fn step(name: &str) {
    println!("== {name}");
}
