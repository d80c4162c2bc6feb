//! Reads the runs of each side, and refuses what cannot be compared.
//!
//! A side is given as `[NAME=]PATH[,PATH...]`; a path is a report of a run or a directory of them.
//! Comparable are runs of one scenario that measured what they were meant to: the scenario in the
//! evidence decides, not the file's name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Side,
    sample::{Distribution, RunData, Second},
};
use crate::{
    report::{Phase, Report, Row, SCHEMA, Verdict},
    tally::Latency,
};

/// Runs of a side at most: each is held in memory with its seconds.
pub const RUNS_MAX: usize = 200;

/// Sides of a comparison at most: more cannot be told apart in a figure.
pub const SIDES_MAX: usize = 8;

/// What of a scenario may differ between comparable runs: it moves no message.
const IDLE_FIELDS: [&str; 2] = ["name", "thresholds"];

/// What of a scenario may be missing in a field's name: nothing is nested deeper.
const SCENARIO_DEPTH: usize = 4;

/// Why there is nothing to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The runs are not comparable, or wrongly named.
    Input(String),
    /// A file cannot be read.
    File(String),
}

/// What may differ although it usually must not.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    /// Fields of the scenario that may differ between the sides.
    pub vary: Vec<String>,
    /// Everything may; what does is told.
    pub anyway: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    /// Scenario, and what differs on purpose.
    pub subject: String,
    /// The sides.
    pub sides: Vec<Side>,
    /// What a reader of the result has to know.
    pub warnings: Vec<String>,
}

/// A report with the name of its file.
#[derive(Debug)]
pub struct Named {
    /// As it is called in messages.
    pub name: String,
    /// The run.
    pub report: Report,
}

/// Reads all sides from `[NAME=]PATH[,PATH...]` each.
///
/// # Errors
/// [`Refusal`].
pub fn read(texts: &[String], leave: &Leave) -> Result<Sides, Refusal> {
    let mut sides = Vec::new();
    for text in texts {
        let (name, paths) = split(text);
        let mut runs = Vec::new();
        for path in paths.split(',') {
            runs.extend(read_path(Path::new(path))?);
        }
        sides.push((name.to_owned(), runs));
    }
    join(sides, leave)
}

/// `NAME=` in front, unless what stands before the sign is part of a path.
fn split(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((name, paths)) if !name.is_empty() && !name.contains('/') => (name, paths),
        _ => (text.trim_end_matches('/'), text),
    }
}

fn read_path(path: &Path) -> Result<Vec<Named>, Refusal> {
    if !path.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let failed = |error| Refusal::File(format!("{}: {error}", path.display()));
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|ending| ending == "json") && is_report(&file) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Refusal::File(format!(
            "{}: no report of a run in it; `run --json {}` writes one",
            path.display(),
            path.join("1.json").display()
        )));
    }
    files.iter().map(|file| read_file(file)).collect()
}

/// Other JSON may lie beside the reports, such as a comparison's.
fn is_report(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str::<Head>(&text).is_ok_and(|head| head.schema == SCHEMA)
}

fn read_file(path: &Path) -> Result<Named, Refusal> {
    let named = |error: String| Refusal::File(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let report = Report::from_json(&text).map_err(named)?;
    Ok(Named { name: PathBuf::from(path).display().to_string(), report })
}

/// Checks that sides of reports can be compared, and takes from them what a comparison needs.
///
/// # Errors
/// [`Refusal`]: what differs, by name.
pub fn join(sides: Vec<(String, Vec<Named>)>, leave: &Leave) -> Result<Sides, Refusal> {
    check_counts(&sides)?;
    let mut against = Vec::new();
    let all = || sides.iter().flat_map(|(_, runs)| runs);
    against.extend(all().filter_map(unfit));
    against.extend(given_twice(all()));
    let (differing, varied) = differences(&sides, &leave.vary);
    against.extend(differing);
    if !leave.anyway && !against.is_empty() {
        let what = against.join("\n");
        return Err(Refusal::Input(format!(
            "not comparable:\n{what}\n(--vary FIELD for what differs on purpose, --anyway to \
             compare all the same)"
        )));
    }
    let mut warnings = against;
    warnings.extend(machines(&sides));
    warnings.extend(wrong(all()));
    let first = &sides[0].1[0].report;
    let mut subject = format!("{} over {}", first.name, first.protocol);
    if !varied.is_empty() {
        subject = format!("{}, differing in {}", first.name, varied.join(", "));
    }
    let sides = sides.into_iter().map(|(name, runs)| {
        let runs = runs.iter().map(|run| data(run).map_err(Refusal::File));
        Ok(Side { name, runs: runs.collect::<Result<_, _>>()? })
    });
    Ok(Sides { subject, sides: sides.collect::<Result<_, _>>()?, warnings })
}

fn check_counts(sides: &[(String, Vec<Named>)]) -> Result<(), Refusal> {
    if !(2..=SIDES_MAX).contains(&sides.len()) {
        let count = sides.len();
        return Err(Refusal::Input(format!("{count} sides; allowed: 2 to {SIDES_MAX}")));
    }
    let mut names = BTreeSet::new();
    for (name, runs) in sides {
        if !names.insert(name) {
            return Err(Refusal::Input(format!(
                "two sides are called {name}; NAME=PATH gives a side another name"
            )));
        }
        if !(1..=RUNS_MAX).contains(&runs.len()) {
            let count = runs.len();
            return Err(Refusal::Input(format!("{name}: {count} runs; allowed: 1 to {RUNS_MAX}")));
        }
    }
    Ok(())
}

/// A run that did not measure what it was meant to.
fn unfit(run: &Named) -> Option<String> {
    let report = &run.report;
    if report.interrupted {
        return Some(format!("{}: the run was interrupted", run.name));
    }
    let reason = report.reasons.first().map_or("", String::as_str);
    (report.verdict == Verdict::Invalid).then(|| format!("{}: invalid run: {reason}", run.name))
}

/// One run counted as two would look like agreement between runs.
fn given_twice<'a>(runs: impl Iterator<Item = &'a Named>) -> Vec<String> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    let mut twice = Vec::new();
    for run in runs {
        let number = run.report.evidence.run.as_str();
        if let Some(other) = seen.insert(number, &run.name).filter(|_| !number.is_empty()) {
            twice.push(format!("{} and {other} are the same run, {number}", run.name));
        }
    }
    twice
}

/// Differences that forbid a comparison, and fields that differ as allowed.
fn differences(sides: &[(String, Vec<Named>)], vary: &[String]) -> (Vec<String>, Vec<String>) {
    let first = &sides[0].1[0];
    let (mut forbidden, mut varied) = (Vec::new(), BTreeSet::new());
    for (name, runs) in sides {
        let own = &runs[0];
        for run in &runs[1..] {
            for (field, here, there) in unlike(own, run) {
                forbidden.push(format!(
                    "{} and {} are not runs of one side: {field} is {here} and {there}",
                    own.name, run.name
                ));
            }
        }
        for (field, here, there) in unlike(first, own) {
            let is_in = |allowed: &String| {
                field
                    .strip_prefix(allowed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if vary.iter().any(is_in) {
                varied.insert(field);
            } else {
                forbidden.push(format!(
                    "{} and {name} differ in {field}: {here} and {there}",
                    sides[0].0
                ));
            }
        }
    }
    (forbidden, varied.into_iter().collect())
}

/// Fields of two runs' scenarios that differ, with both values.
fn unlike(one: &Named, other: &Named) -> Vec<(String, String, String)> {
    let fields = |run: &Named| {
        let mut fields = BTreeMap::new();
        flatten("", &run.report.evidence.scenario, SCENARIO_DEPTH, &mut fields);
        fields.insert("kind".to_owned(), run.report.kind.clone());
        fields.insert("protocol".to_owned(), run.report.protocol.clone());
        fields
    };
    let (one, other) = (fields(one), fields(other));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let unlike = names.into_iter().filter_map(|name| {
        let value = |side: &BTreeMap<String, String>| {
            side.get(name).cloned().unwrap_or_else(|| "absent".to_owned())
        };
        let (here, there) = (value(&one), value(&other));
        let matters = !IDLE_FIELDS.contains(&name.split('.').next().unwrap_or_default());
        (here != there && matters).then(|| (name.clone(), here, there))
    });
    unlike.collect()
}

/// Fields by their names joined by dots.
fn flatten(prefix: &str, value: &Value, depth: usize, fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if depth > 0 => {
            for (name, value) in map {
                let name =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, depth - 1, fields);
            }
        }
        Value::Null if prefix.is_empty() => {}
        Value::String(text) => drop(fields.insert(prefix.to_owned(), text.clone())),
        other => drop(fields.insert(prefix.to_owned(), other.to_string())),
    }
}

/// What differs between the machines: it may be what is compared, so it is told and not refused.
fn machines(sides: &[(String, Vec<Named>)]) -> Vec<String> {
    let of = |run: &Named| {
        let evidence = &run.report.evidence;
        [
            ("kernel", evidence.kernel.clone()),
            ("processor", evidence.cpu_model.clone()),
            ("cores", evidence.cores.to_string()),
            ("version of the generator", evidence.version.clone()),
        ]
    };
    let first = of(&sides[0].1[0]);
    let mut warnings = Vec::new();
    for (name, runs) in sides {
        for ((what, here), (_, there)) in first.iter().zip(of(&runs[0])) {
            if *here != there {
                let other = &sides[0].0;
                warnings.push(format!("{what}: {other} ran on {here}, {name} on {there}"));
            }
        }
    }
    warnings
}

/// A server that loses messages may well be faster.
fn wrong<'a>(runs: impl Iterator<Item = &'a Named>) -> Vec<String> {
    let wrong = runs.filter(|run| run.report.verdict == Verdict::CorrectnessFailed);
    let told = wrong.map(|run| {
        let reason = run.report.reasons.first().map_or("", String::as_str);
        format!("{}: the server was not correct: {reason}", run.name)
    });
    told.collect()
}

/// What a comparison needs of a run.
fn data(run: &Named) -> Result<RunData, String> {
    let report = &run.report;
    let named = |error: String| format!("{}: {error}", run.name);
    let whole = report.latency(report.headline).map_err(named)?;
    let measured: Vec<&Row> = report.series.iter().filter(|row| is_measured(row)).collect();
    let seconds = measured.iter().map(|row| second(row)).collect::<Result<_, _>>();
    let some = |value: f64| Some(value).filter(|value| *value > 0.0);
    Ok(RunData {
        name: run.name.clone(),
        started: started(&report.evidence.started_at),
        latencies: whole.map(|latency| distribution(&latency)).unwrap_or_default(),
        seconds: seconds.map_err(named)?,
        throughput: some(report.achieved_rate),
        cpu_us: report.server.cpu_us_per_message,
        bytes: report.server.bytes_per_connection,
    })
}

/// Whole intervals only: the last one may have been cut off.
fn is_measured(row: &Row) -> bool {
    row.phase == Phase::Measure && row.seconds >= 0.5
}

fn second(row: &Row) -> Result<Second, String> {
    let latency = row.histogram.as_deref().map(Latency::from_text).transpose()?;
    Ok(Second {
        latencies: latency.map(|latency| distribution(&latency)).unwrap_or_default(),
        offered: row.offered as f64 / row.seconds,
        done: row.achieved as f64 / row.seconds,
        cpu: row.server_cpu,
    })
}

fn distribution(latency: &Latency) -> Distribution {
    let recorded = latency.histogram().iter_recorded();
    let counts = recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
    Distribution::new(counts.collect())
}

/// A time in RFC 3339, UTC, as a number that grows with it: its digits, to the millisecond.
fn started(text: &str) -> u64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).chain("000".chars()).collect();
    digits.get(..17).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
