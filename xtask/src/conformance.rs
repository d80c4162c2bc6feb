//! `cargo xtask conformance`: which test covers which statement of which norm.
//!
//! Statements stand in `tests/norms/*.txt`, tests name those they cover in comments
//! (`// norm: ID` above the function), and `docs/protocol/conformance.md` shows both together.
//! Uncovered statements of a server need a reason in `tests/norms/reasons.txt`. That a test would
//! notice is shown by breaking the code on purpose: [`breaks`].

mod annotations;
mod breaks;
mod norms;
mod page;

use annotations::Annotation;
use norms::Norms;

/// What `conformance` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing: fail if the page is stale, an annotation names no statement, or a server's
    /// statement is neither covered nor excused.
    #[arg(long)]
    check: bool,
    /// Break the code behind this many statements, chosen at random, and demand that their tests
    /// fail.
    #[arg(long = "break", value_name = "N", conflicts_with = "check")]
    break_count: Option<usize>,
    /// Chooses the breaks; the same number chooses the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Break only what has this in its name or norms.
    #[arg(long, value_name = "TEXT", requires = "break_count")]
    only: Option<String>,
}

/// What `--check` does.
///
/// # Errors
/// What `--check` refuses.
pub fn check() -> Result<(), String> {
    run(&Arguments { check: true, break_count: None, seed: 1, only: None })
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let norms = Norms::read()?;
    let annotations = annotations::collect()?;
    if let Some(count) = arguments.break_count {
        return breaks::run(count, arguments.seed, arguments.only.as_deref(), &annotations);
    }
    let faults = faults(&norms, &annotations)?;
    if arguments.check {
        if !page::is_fresh(&norms, &annotations)? {
            return Err(format!("{} is stale: run `cargo xtask conformance`", page::PATH));
        }
        if faults.is_empty() {
            println!("{}", page::summary(&norms, &annotations));
            return Ok(());
        }
        return Err(format!("conformance:\n  {}", faults.join("\n  ")));
    }
    print!("{}", page::table(&norms, &annotations));
    page::write(&norms, &annotations)?;
    println!("{}", page::summary(&norms, &annotations));
    for fault in &faults {
        println!("fault: {fault}");
    }
    Ok(())
}

/// Everything that `--check` refuses, but for a stale page.
fn faults(norms: &Norms, annotations: &[Annotation]) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for annotation in annotations {
        if norms.find(&annotation.id).is_none() {
            let Annotation { file, line, id, .. } = annotation;
            faults.push(format!("{file}:{line}: no statement {id}"));
        }
    }
    for statement in norms.statements() {
        let is_covered = annotations.iter().any(|annotation| annotation.id == statement.id);
        let is_excused = norms.reason(&statement.id).is_some();
        match (statement.binds_server, is_covered, is_excused) {
            (true, false, false) => faults.push(format!(
                "{}: neither covered by a test nor excused in {}",
                statement.id,
                norms::REASONS
            )),
            (_, true, true) => faults.push(format!(
                "{}: covered by a test and yet excused in {}",
                statement.id,
                norms::REASONS
            )),
            _ => {}
        }
    }
    faults.extend(norms.stray_reasons());
    faults.extend(breaks::faults(annotations)?);
    Ok(faults)
}
