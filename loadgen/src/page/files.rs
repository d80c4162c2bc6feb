//! The page of runs that are already on disk: `hawser-loadgen page`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::report::Report;

/// Of `page`.
#[derive(Clone, Debug, Args)]
pub struct PageArguments {
    /// Results that `run --json` wrote, each as FILE or NAME=FILE. Files of the same name are one
    /// side: they share a colour.
    #[arg(required = true, value_name = "[NAME=]FILE")]
    pub reports: Vec<String>,
    /// Write the page there.
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn write(arguments: &PageArguments) -> Result<(), String> {
    let runs = arguments.reports.iter().map(|given| named(given));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<_> = runs.iter().map(|(name, report)| (name.as_str(), report)).collect();
    let page = super::render(&runs);
    let path = &arguments.report;
    fs::write(path, page).map_err(|error| format!("--report {}: {error}", path.display()))
}

fn named(given: &str) -> Result<(String, Report), String> {
    let (name, file) = match given.split_once('=') {
        Some((name, file)) => (Some(name), Path::new(file)),
        None => (None, Path::new(given)),
    };
    let stem = || file.file_stem().map_or_else(String::new, |stem| stem.display().to_string());
    Ok((name.map_or_else(stem, str::to_owned), read(file)?))
}

/// Reads what `run --json` wrote.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn read(file: &Path) -> Result<Report, String> {
    let told = |reason: String| format!("{}: {reason}", file.display());
    let text = fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    Report::from_json(&text).map_err(told)
}
