//! `hawser-loadgen compare`.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{
    Comparison, RELEVANT, Settings, page,
    sides::{self, Leave, Refusal},
    text,
};

/// Exit code for runs that cannot be compared.
const EXIT_INPUT: u8 = 1;

/// Exit code for files that cannot be read or written.
const EXIT_FILE: u8 = 2;

/// Of `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArguments {
    /// Sides: each `[NAME=]PATH[,PATH...]`, a path being the JSON of a run or a directory of
    /// them. Every side is compared with the first. A verdict needs at least five runs of each
    /// side, made in turn.
    #[arg(required = true, num_args = 2.., value_name = "SIDE")]
    pub sides: Vec<String>,
    /// Write the comparison as one HTML page there.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write it as JSON there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fields of the scenario that differ on purpose, as protocol,tls,mqtt.qos.
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub vary: Vec<String>,
    /// Changes below so many percent do not matter.
    #[arg(long, value_name = "PERCENT", default_value_t = RELEVANT * 100.0, value_parser = percent)]
    pub relevant: f64,
    /// Compare what is not comparable all the same: different scenarios, invalid runs.
    #[arg(long)]
    pub anyway: bool,
}

/// Compares, prints and writes; gives the exit code.
///
/// # Errors
/// Exit code and one line.
pub fn run(arguments: &CompareArguments) -> Result<u8, (u8, String)> {
    let leave = Leave { vary: arguments.vary.clone(), anyway: arguments.anyway };
    let read = sides::read(&arguments.sides, &leave).map_err(|refusal| match refusal {
        Refusal::Input(reason) => (EXIT_INPUT, reason),
        Refusal::File(reason) => (EXIT_FILE, reason),
    })?;
    let settings = Settings { relevant: arguments.relevant / 100.0, ..Settings::default() };
    let mut comparison = super::compare(&read.subject, &read.sides, &settings);
    comparison.reasons.extend(read.warnings);
    print!("{}", text::text(&comparison));
    write(arguments.json.as_ref(), "--json", || json(&comparison))?;
    write(arguments.report.as_ref(), "--report", || page::page(&comparison))?;
    Ok(comparison.verdict.exit_code())
}

/// As `--json` writes it.
pub fn json(comparison: &Comparison) -> String {
    let json = serde_json::to_string_pretty(comparison);
    json.expect("a comparison has text keys only") + "\n"
}

fn write(
    path: Option<&PathBuf>,
    flag: &str,
    content: impl FnOnce() -> String,
) -> Result<(), (u8, String)> {
    let Some(path) = path else { return Ok(()) };
    let failed = |error| (EXIT_FILE, format!("{flag} {}: {error}", path.display()));
    fs::write(path, content()).map_err(failed)
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("allowed: 0 to 100 percent".to_owned()),
    }
}
