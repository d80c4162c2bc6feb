//! Compares the licence of every dependency with the list in `deny.toml`, without a network.
//!
//! What it is not: a reader of licence texts. It believes what each package declares.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::process::{cargo, output, root};

const LIST: &str = "deny.toml";

/// Checks all packages of the workspace's lock file that this machine's builds use.
///
/// # Errors
/// Names every package whose licence is not on the list.
pub fn check() -> Result<String, String> {
    let allowed = allowed()?;
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    metadata.args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]);
    let metadata = output(metadata, "cargo metadata")?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;

    let mut refused = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("");
        if !is_allowed(licence, &allowed) {
            let declared = if licence.is_empty() { "none declared" } else { licence };
            refused.push(format!("{} {}: {declared}", package["name"], package["version"]));
        }
    }
    if refused.is_empty() {
        return Ok(format!("{} packages, all under licences of {LIST}", packages.len()));
    }
    Err(format!("licences not on the list in {LIST}:\n  {}", refused.join("\n  ")))
}

fn allowed() -> Result<BTreeSet<String>, String> {
    let text = fs::read_to_string(root().join(LIST)).map_err(|e| format!("{LIST}: {e}"))?;
    let list: toml::Table = text.parse().map_err(|error| format!("{LIST}: {error}"))?;
    let names = list.get("licenses").and_then(|licences| licences.get("allow"));
    let names = names.and_then(toml::Value::as_array).ok_or(format!("{LIST}: licenses.allow"))?;
    Ok(names.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect())
}

/// An SPDX expression: `OR` asks for one side, `AND` for both. The slash is an older `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let verdict = either(&words, &mut at, allowed);
    verdict && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut verdict = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= both(words, at, allowed);
    }
    verdict
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut verdict = single(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= single(words, at, allowed);
    }
    verdict
}

fn single(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let verdict = either(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return verdict && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or("");
        *at += 2;
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(*word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_as_spdx_says() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        let allowed = allowed.map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT WITH LLVM-exception",
            "(MIT",
            "MIT MIT",
            "(MIT OR GPL-3.0) AND GPL-3.0",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }
}
