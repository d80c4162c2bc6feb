//! `cargo xtask codegen`: Rust code from the FlatBuffers schema.
//!
//! The result is committed, so that an ordinary build needs neither flatc nor cmake. Its first
//! lines hold the schema's hash; a test of the codec compares it with the schema on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler whose output fits the `flatbuffers` crate of the workspace.
const FLATC: &str = "flatc-fork 0.6.0+25.12.19-2026-02-06-03fffb2";
const SCHEMA: &str = "codec/schema/native.fbs";
const GENERATED: &str = "codec/src/generated/native.rs";

/// What `codegen` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing; fail if the committed code is not what the schema gives.
    #[arg(long)]
    check: bool,
}

/// Generates, or with `--check` compares.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let target = target_directory(root)?;
    let scratch = target.join("codegen");
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;

    flatc(root, &target, &scratch)?;
    let code = finish(root, &scratch)?;

    let committed = root.join(GENERATED);
    if !arguments.check {
        return fs::write(&committed, code).map_err(|error| format!("{GENERATED}: {error}"));
    }
    let found = fs::read_to_string(&committed).map_err(|error| format!("{GENERATED}: {error}"))?;
    if found == code {
        return Ok(());
    }
    Err(format!("{GENERATED} is stale: run `cargo xtask codegen` and commit the result"))
}

/// Absolute, since the commands below run in the workspace's root and not where we were called.
fn target_directory(root: &Path) -> Result<PathBuf, String> {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let directory = named.unwrap_or_else(|| root.join("target"));
    std::path::absolute(&directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// Runs flatc through its own little cargo project; the build of it is kept in the target
/// directory, so that only the first run pays.
fn flatc(root: &Path, target: &Path, scratch: &Path) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .current_dir(root)
        .args(["run", "--quiet", "--locked", "--manifest-path", "xtask/flatc/Cargo.toml"])
        .arg("--target-dir")
        .arg(target.join("flatc"))
        .args(["--", "--rust", "-o"])
        .arg(scratch)
        .arg(SCHEMA);
    succeed(command, "flatc (it needs cmake and a C++ compiler to be built)")
}

/// Puts the head before flatc's output and brings it into the project's format.
fn finish(root: &Path, scratch: &Path) -> Result<String, String> {
    let schema = fs::read(root.join(SCHEMA)).map_err(|error| format!("{SCHEMA}: {error}"))?;
    let raw = scratch.join("native_generated.rs");
    let body = fs::read_to_string(&raw).map_err(|error| format!("{}: {error}", raw.display()))?;
    let code = format!(
        "// Made by `cargo xtask codegen` with {FLATC}. Do not edit.\n\n\
         /// BLAKE3 of {SCHEMA} when this was made.\n\
         #[cfg(test)]\n\
         pub const SCHEMA_HASH: &str = \"{}\";\n\n{body}",
        blake3::hash(&schema).to_hex(),
    );
    let formatted = scratch.join("native.rs");
    fs::write(&formatted, code).map_err(|error| format!("{}: {error}", formatted.display()))?;
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024", "--config-path"]).arg(root).arg(&formatted);
    succeed(command, "rustfmt")?;
    fs::read_to_string(&formatted).map_err(|error| format!("{}: {error}", formatted.display()))
}

fn succeed(mut command: Command, name: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
