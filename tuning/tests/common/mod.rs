//! Network namespaces of a test's own.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs a shell script in a fresh network namespace; `$TUNE` is the program, `$STATE` a directory.
/// `None`, with the reason printed, where namespaces are forbidden.
pub fn in_namespace(script: &str, state: &Path) -> Option<Output> {
    run(&["--net", "--map-root-user", "--user"], script, state)
}

/// The same with mounts of its own, so that `/sys` can show the namespace's devices; needs root.
#[allow(dead_code)] // not every test needs it
pub fn in_mounted_namespace(script: &str, state: &Path) -> Option<Output> {
    let script = format!("mount -t sysfs sysfs /sys\n{script}");
    run(&["--net", "--mount"], &script, state)
}

fn run(kinds: &[&str], script: &str, state: &Path) -> Option<Output> {
    let forbidden = Command::new("unshare").args(kinds).arg("true").output();
    let forbidden = forbidden.expect("unshare comes with util-linux");
    if !forbidden.status.success() {
        let reason = String::from_utf8_lossy(&forbidden.stderr);
        eprintln!("skipped, namespaces are forbidden here: {}", reason.trim());
        return None;
    }
    let output = Command::new("unshare")
        .args(kinds)
        .args(["sh", "-euc", script])
        .env("TUNE", env!("CARGO_BIN_EXE_hawser-tune"))
        .env("STATE", state)
        .output()
        .expect("it has just worked");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

/// A program that a test needs is there, else the reason for skipping is printed.
#[allow(dead_code)] // not every test needs it
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped, {program} is not installed");
    }
    found
}
