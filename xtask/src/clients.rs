//! Other people's programs that the whole-system tests talk to the gateway with: those from Debian
//! by name, those from npm and PyPI in `target/clients`, pinned by the files in `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{is_on_path, root, succeed};

/// Programs that the build and the tests call, and the Debian package each comes in.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("unshare", "util-linux"),
    ("strace", "strace"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("nft", "nftables"),
    ("chromium", "chromium"),
];

/// What the installed clients were made from.
const PINNED: &[&str] = &["package.json", "package-lock.json", "requirements.txt"];

/// Installs what is missing; does nothing on a machine that has everything.
///
/// # Errors
/// A package manager does not succeed.
pub fn install() -> Result<(), String> {
    install_programs()?;
    install_pinned()
}

fn install_programs() -> Result<(), String> {
    let mut missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !is_on_path(program)).map(|(_, p)| *p).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    println!("== Debian packages");
    let hint = format!("apt-get cannot install {} (needed by the tests)", missing.join(" "));
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]);
    succeed(update, &hint)?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing);
    succeed(install, &hint)
}

fn install_pinned() -> Result<(), String> {
    let made_from = fingerprint()?;
    let stamp = directory().join("made-from");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_from) {
        return Ok(());
    }
    println!("== clients from npm and PyPI");
    let failed = |error| format!("{}: {error}", directory().display());
    std::fs::create_dir_all(directory()).map_err(failed)?;
    for name in PINNED {
        std::fs::copy(source().join(name), directory().join(name)).map_err(failed)?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(directory());
    succeed(npm, "npm cannot install the clients that the tests use")?;
    let environment = directory().join("python");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    succeed(venv, "python3 -m venv (Debian: python3-venv)")?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(directory().join("requirements.txt"));
    succeed(pip, "pip cannot install the clients that the tests use")?;
    std::fs::write(&stamp, made_from).map_err(failed)
}

fn fingerprint() -> Result<String, String> {
    let mut hasher = blake3::Hasher::new();
    for name in PINNED {
        let path = source().join(name);
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        hasher.update(&text);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn source() -> PathBuf {
    root().join("tests/clients")
}

/// The tests look here too (`tests/src/clients.rs`), so it does not follow `CARGO_TARGET_DIR`.
fn directory() -> &'static Path {
    static DIRECTORY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    DIRECTORY.get_or_init(|| root().join("target/clients"))
}
