//! The table of nftables rules that keeps connection tracking off the server's ports: a shell over the
//! program `nft`, which loads a file of rules as one transaction.

use crate::apply::RULES_MARK;
use std::{
    fs::File,
    io,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Family and name of the table.
pub const TABLE: [&str; 2] = ["inet", "hawser"];

/// The table as `nft` lists it, without counters; `None`: there is none.
///
/// # Errors
/// `nft` is not there, or may not look.
pub fn listed() -> Result<Option<String>, String> {
    let output = nft(&["-s", "list", "table", TABLE[0], TABLE[1]], Stdio::null())?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No such file or directory") {
        return Ok(None);
    }
    Err(format!("nft: {}", said.lines().next().unwrap_or("it failed")))
}

/// A table of this name that this program has not made.
#[must_use]
pub fn is_foreign(listing: &str) -> bool {
    !listing.contains(RULES_MARK)
}

/// File of rules that puts `table` (a listing, or nothing) in the place of what is there.
#[must_use]
pub fn replacing(table: Option<&str>) -> String {
    let [family, name] = TABLE;
    // The first line makes the second one possible where there is no such table yet.
    let gone = format!("add table {family} {name}\ndelete table {family} {name}\n");
    gone + table.unwrap_or("")
}

/// Loads a file of rules. The child holds `lock` until it ends: whoever comes after this process was
/// killed waits until the rules are in force, or are not.
///
/// # Errors
/// `nft` refuses the rules; then none of them is in force.
pub fn load(path: &Path, lock: &File) -> Result<(), String> {
    let held = lock.try_clone().map_err(|error| format!("the lock: {error}"))?;
    let path = path.to_str().ok_or("the path of the rules is not UTF-8")?;
    let output = nft(&["-f", path], Stdio::from(held))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("nft -f {path}: {}", said.lines().next().unwrap_or("it failed")))
}

fn nft(arguments: &[&str], input: Stdio) -> Result<Output, String> {
    let mut command = Command::new("nft");
    command.args(arguments).env("LC_ALL", "C").stdin(input);
    command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "nft is not installed (package nftables)".to_owned(),
        _ => format!("nft: {error}"),
    })
}
