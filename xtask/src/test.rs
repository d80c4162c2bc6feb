//! `cargo xtask test`: everything a change must pass, the tests last.
//!
//! Cheap checks come first, so that a forgotten format does not cost a build. The last step
//! becomes the test runner: its summary is the last line printed.

use std::process::Command;

use crate::process::{become_program, cargo, is_on_path, succeed};
use crate::{documents, licences};

/// Programs that the build and the tests call, and the Debian package each comes in.
const PROGRAMS: &[(&str, &str)] = &[("cc", "gcc"), ("unshare", "util-linux")];

/// What `test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// For the test runner: a filter, `--no-capture`, ...
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Runs all steps.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    install_programs()?;

    step("format");
    let mut format = cargo();
    format.args(["fmt", "--all", "--check"]);
    succeed(format, "cargo fmt (run `cargo fmt --all`)")?;

    step("licences");
    println!("{}", licences::check()?);

    step("files named in the documentation");
    println!("{}", documents::check()?);

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

/// Installs what is missing; does nothing on a machine that has everything.
fn install_programs() -> Result<(), String> {
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !is_on_path(program)).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    step("Debian packages");
    let hint = format!("apt-get cannot install {} (needed by the tests)", missing.join(" "));
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]);
    succeed(update, &hint)?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    succeed(install, &hint)
}
