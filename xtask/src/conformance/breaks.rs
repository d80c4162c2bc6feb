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
    let mut sound = BTreeSet::new();
    // All at once, so that the unbroken code is built once.
    for one in &chosen {
        for suite in tests::suites(&one.file, &one.norms, annotations)? {
            if !suite.is_elsewhere() && !sound.contains(&suite) {
                must_pass(&suite, &copy)?;
                sound.insert(suite);
            }
        }
    }
    let mut survivors = 0;
    for one in &chosen {
        match one.try_on(&copy, annotations, &mut sound)? {
            Ok(by) => println!("noticed   {:<60} {}  by {by}", one.name, one.norms.join(" ")),
            Err(why) => {
                survivors += 1;
                println!("SURVIVED  {:<60} {}  {why}", one.name, one.norms.join(" "));
            }
        }
    }
    match survivors {
        0 => Ok(()),
        _ => Err(format!("{survivors} of {} breaks were not noticed", chosen.len())),
    }
}

impl Break {
    /// Breaks the copy, runs suites until each statement has a test that fails, and mends it.
    /// Gives the tests that noticed, or why that is not enough. The tests of other packages need
    /// the whole system to be built, so they are asked only about what is still open then.
    ///
    /// `sound` are the suites that are known to pass unbroken.
    fn try_on(
        &self,
        copy: &Copy,
        annotations: &[Annotation],
        sound: &mut BTreeSet<Suite>,
    ) -> Result<Result<String, String>, String> {
        let path = copy.path().join(&self.file);
        let whole = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", self.file))?;
        let broken = whole.replacen(&self.find, &self.replace, 1);
        let mut open: Vec<&String> = self.norms.iter().collect();
        let mut by = Vec::new();
        for suite in tests::suites(&self.file, &self.norms, annotations)? {
            if open.is_empty() {
                break;
            }
            if !sound.contains(&suite) {
                must_pass(&suite, copy)?;
                sound.insert(suite.clone());
            }
            write(&path, &broken)?;
            let outcome = suite.run(copy);
            write(&path, &whole)?;
            let failed = match outcome? {
                Outcome::Passed => continue,
                Outcome::Failed(failed) => failed,
                // Whoever waits for ever has noticed, too.
                Outcome::TimedOut => suite.tests().to_vec(),
                Outcome::NotBuilt => return Ok(Err(format!("does not compile in {suite}"))),
            };
            let covers = |id: &str, test: &String| {
                annotations.iter().any(|one| one.id == id && one.test == *test)
            };
            open.retain(|id| !failed.iter().any(|test| covers(id, test)));
            by.extend(failed);
        }
        if open.is_empty() {
            return Ok(Ok(by.join(", ")));
        }
        let open: Vec<&str> = open.iter().map(|id| id.as_str()).collect();
        Ok(Err(format!("no test of {} failed", open.join(" "))))
    }
}

/// A test that fails anyway would notice every break.
fn must_pass(suite: &Suite, copy: &Copy) -> Result<(), String> {
    match suite.run(copy)? {
        Outcome::Passed => Ok(()),
        Outcome::Failed(failed) => Err(format!("{suite} fails unbroken: {}", failed.join(", "))),
        other => Err(format!("{suite} {other} unbroken")),
    }
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
