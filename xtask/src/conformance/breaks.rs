//! Breaking the code behind a statement on purpose: its test must fail.
//!
//! `tests/norms/breaks.toml` lists breaks made by hand: a text that stands in a file exactly once,
//! what stands there instead, and the statements that are broken then. Each chosen one is applied
//! to a copy of the tree below `target/conformance`, and the tests that carry the statements'
//! annotations are run there; for every statement one of them must fail. Before that all of them
//! must pass unbroken. The tree itself is never touched.

mod copy;
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::annotations::Annotation;
use crate::process::root;
use copy::Copy;
use tests::{Outcome, Suite};

/// The list.
const LIST: &str = "tests/norms/breaks.toml";

/// One way to break the code.
struct Break {
    name: String,
    file: String,
    find: String,
    replace: String,
    norms: Vec<String>,
}

/// Faults of the list: a text that is not there exactly once, a statement that no test covers.
///
/// # Errors
/// The list cannot be read.
pub fn faults(annotations: &[Annotation]) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for one in &read()? {
        let text = fs::read_to_string(root().join(&one.file)).unwrap_or_default();
        let times = text.matches(&one.find).count();
        if times != 1 {
            faults.push(format!("{LIST}: {}: stands {times} times in {}", one.name, one.file));
        }
        if one.find == one.replace {
            faults.push(format!("{LIST}: {}: changes nothing", one.name));
        }
        for id in &one.norms {
            if !annotations.iter().any(|annotation| annotation.id == *id) {
                faults.push(format!("{LIST}: {}: no test covers {id}", one.name));
            }
        }
    }
    Ok(faults)
}

/// Breaks `count` of them, chosen by `seed`, one after the other.
///
/// # Errors
/// One that no test has noticed, or a test that fails unbroken.
pub fn run(
    count: usize,
    seed: u64,
    only: Option<&str>,
    annotations: &[Annotation],
) -> Result<(), String> {
    let faults = faults(annotations)?;
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let mut breaks = read()?;
    if let Some(only) = only {
        breaks
            .retain(|one| one.name.contains(only) || one.norms.iter().any(|id| id.contains(only)));
    }
    let chosen = choose(breaks, count, seed);
    println!("{} breaks, seed {seed}", chosen.len());
    let copy = Copy::of_tree()?;
    let suites: Vec<Vec<Suite>> = chosen
        .iter()
        .map(|one| tests::suites(one.file.as_str(), &one.norms, annotations))
        .collect::<Result<_, _>>()?;
    let every: BTreeSet<&Suite> = suites.iter().flatten().collect();
    for suite in every {
        match suite.run(&copy)? {
            Outcome::Passed => {}
            Outcome::Failed(failed) => {
                return Err(format!("{suite} fails unbroken: {}", failed.join(", ")));
            }
            other => return Err(format!("{suite} {other} unbroken")),
        }
    }
    let mut survivors = 0;
    for (one, suites) in chosen.iter().zip(&suites) {
        let path = copy.path().join(&one.file);
        let whole = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", one.file))?;
        write(&path, &whole.replacen(&one.find, &one.replace, 1))?;
        let verdict = noticed(one, suites, annotations, &copy);
        write(&path, &whole)?;
        match verdict? {
            Ok(by) => println!("noticed   {:<44} {}  by {by}", one.name, one.norms.join(" ")),
            Err(why) => {
                survivors += 1;
                println!("SURVIVED  {:<44} {}  {why}", one.name, one.norms.join(" "));
            }
        }
    }
    match survivors {
        0 => Ok(()),
        _ => Err(format!("{survivors} of {} breaks were not noticed", chosen.len())),
    }
}

/// Runs suites until each statement has a test that fails; says which, or why not.
fn noticed(
    one: &Break,
    suites: &[Suite],
    annotations: &[Annotation],
    copy: &Copy,
) -> Result<Result<String, String>, String> {
    let mut open: Vec<&String> = one.norms.iter().collect();
    let mut by = Vec::new();
    for suite in suites {
        let failed = match suite.run(copy)? {
            Outcome::Passed => continue,
            Outcome::Failed(failed) => failed,
            // Whoever waits for ever has noticed, too.
            Outcome::TimedOut => suite.tests().to_vec(),
            Outcome::NotBuilt => return Ok(Err(format!("does not compile in {suite}"))),
        };
        let covers = |id: &str, test: &String| {
            annotations.iter().any(|annotation| annotation.id == id && annotation.test == *test)
        };
        open.retain(|id| !failed.iter().any(|test| covers(id, test)));
        by.extend(failed);
        if open.is_empty() {
            return Ok(Ok(by.join(", ")));
        }
    }
    let open: Vec<&str> = open.iter().map(|id| id.as_str()).collect();
    Ok(Err(format!("no test of {} failed", open.join(" "))))
}

fn read() -> Result<Vec<Break>, String> {
    let text = fs::read_to_string(root().join(LIST)).map_err(|error| format!("{LIST}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{LIST}: {error}"))?;
    let entries = table.get("break").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let text_of = |entry: &toml::Value, key: &str| {
        let value = entry.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        value.ok_or(format!("{LIST}: an entry without {key}: {entry}"))
    };
    let mut breaks = Vec::new();
    for entry in &entries {
        let norms = entry.get("norms").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let norms: Vec<String> =
            norms.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect();
        let name = text_of(entry, "name")?;
        if norms.is_empty() {
            return Err(format!("{LIST}: {name}: no norms"));
        }
        let (file, find) = (text_of(entry, "file")?, text_of(entry, "find")?);
        breaks.push(Break { name, file, find, replace: text_of(entry, "replace")?, norms });
    }
    Ok(breaks)
}

/// As many as asked for, or all there are, in an order that only the seed decides.
fn choose(mut breaks: Vec<Break>, count: usize, seed: u64) -> Vec<Break> {
    let mut state = seed;
    let mut chosen = Vec::new();
    while chosen.len() < count && !breaks.is_empty() {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chosen.push(breaks.swap_remove((mixed % breaks.len() as u64) as usize));
    }
    chosen
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
