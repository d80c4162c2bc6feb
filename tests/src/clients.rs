//! Other people's clients as child processes: from Debian, npm and PyPI.
//!
//! `cargo xtask clients` installs them; their scripts stand in `tests/clients`. Each run is bounded
//! in time by `timeout`, so that a client that hangs is a failed test and not a hung one.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Seconds a client may take: far above what a loaded machine needs.
const SECONDS_MAX: &str = "120";

/// A client that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; 124 if it took too long.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Its output, if it ended well.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn well(self) -> String {
        assert!(self.code == Some(0), "client failed: {self:#?}");
        self.out
    }
}

/// A program from Debian.
pub fn program(name: &str) -> Command {
    bounded(Path::new(name))
}

/// A script of `tests/clients` for node.
pub fn node(script: &str) -> Command {
    let mut command = bounded(Path::new("node"));
    // Modules are looked for from the script's own directory upwards.
    let copy = installed().join(script);
    std::fs::copy(scripts().join(script), &copy)
        .unwrap_or_else(|error| panic!("{script}: {error} (run `cargo xtask clients`)"));
    command.arg(copy);
    command
}

/// A script of `tests/clients` for Python.
pub fn python(script: &str) -> Command {
    let mut command = bounded(&installed().join("python/bin/python"));
    command.arg("-u").arg(scripts().join(script));
    command
}

/// Runs it to its end.
///
/// # Panics
/// If it cannot be started.
#[track_caller]
pub fn run(mut command: Command) -> Ended {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (run `cargo xtask clients`)"));
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args([OsStr::new(SECONDS_MAX), program.as_os_str()]);
    command
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients")
}
