//! `docs/protocol/conformance.md`: the table of statements and tests, between two marks; what
//! stands outside of them is written by hand.

use std::fmt::Write;
use std::fs;

use super::annotations::Annotation;
use super::norms::{Norm, Norms, Statement};
use crate::process::root;

/// The page.
pub const PATH: &str = "docs/protocol/conformance.md";
const BEGIN: &str = "<!-- begin: made by `cargo xtask conformance` -->\n";
const END: &str = "<!-- end -->\n";

/// The page is what [`write()`] would make of it.
///
/// # Errors
/// It cannot be read or has no marks.
pub fn is_fresh(norms: &Norms, annotations: &[Annotation]) -> Result<bool, String> {
    let (before, generated, after) = parts()?;
    let _ = (before, after);
    Ok(generated == markdown(norms, annotations))
}

/// Writes the generated part anew.
///
/// # Errors
/// It cannot be read or written, or has no marks.
pub fn write(norms: &Norms, annotations: &[Annotation]) -> Result<(), String> {
    let (before, _, after) = parts()?;
    let page = format!("{before}{}{after}", markdown(norms, annotations));
    fs::write(root().join(PATH), page).map_err(|error| format!("{PATH}: {error}"))
}

/// What stands before, between and behind the marks; the marks belong to the outer parts.
fn parts() -> Result<(String, String, String), String> {
    let page = fs::read_to_string(root().join(PATH)).map_err(|error| format!("{PATH}: {error}"))?;
    let begin = page.find(BEGIN).ok_or(format!("{PATH}: no line {BEGIN}"))? + BEGIN.len();
    let end = page.find(END).filter(|end| *end >= begin).ok_or(format!("{PATH}: no line {END}"))?;
    Ok((page[..begin].to_owned(), page[begin..end].to_owned(), page[end..].to_owned()))
}

/// How a norm's server statements stand.
#[derive(Default)]
struct Count {
    server: usize,
    covered: usize,
    excused: usize,
}

fn count(norm: &Norm, norms: &Norms, annotations: &[Annotation]) -> Count {
    let mut count = Count::default();
    for statement in norm.statements.iter().filter(|statement| statement.binds_server) {
        count.server += 1;
        if covering(statement, annotations).next().is_some() {
            count.covered += 1;
        } else if norms.reason(&statement.id).is_some() {
            count.excused += 1;
        }
    }
    count
}

fn covering<'a>(
    statement: &'a Statement,
    annotations: &'a [Annotation],
) -> impl Iterator<Item = &'a Annotation> {
    annotations.iter().filter(|annotation| annotation.id == statement.id)
}

/// One line with the sums.
pub fn summary(norms: &Norms, annotations: &[Annotation]) -> String {
    let mut parts = Vec::new();
    for norm in &norms.norms {
        let Count { server, covered, excused } = count(norm, norms, annotations);
        let title = &norm.title;
        let rest = server - covered - excused;
        parts.push(format!(
            "{title}: {covered} of {server} covered, {excused} excused, {rest} open"
        ));
    }
    parts.join("; ")
}

/// The table for a terminal.
pub fn table(norms: &Norms, annotations: &[Annotation]) -> String {
    let mut out = String::new();
    for norm in &norms.norms {
        let _ = writeln!(out, "== {}", norm.title);
        for statement in &norm.statements {
            let tests: Vec<_> = covering(statement, annotations).collect();
            let state = match (tests.first(), norms.reason(&statement.id)) {
                (Some(first), _) if tests.len() == 1 => first.test.clone(),
                (Some(first), _) => format!("{} and {} more", first.test, tests.len() - 1),
                (None, Some(reason)) => format!("not covered: {reason}"),
                (None, None) if statement.binds_server => "NOT COVERED".to_owned(),
                (None, None) => "no server's".to_owned(),
            };
            let _ = writeln!(out, "{:<24} {state}", statement.id);
        }
    }
    out
}

fn markdown(norms: &Norms, annotations: &[Annotation]) -> String {
    let mut out =
        String::from("| norm | server statements | covered | not covered, with reason |\n");
    out.push_str("|---|---|---|---|\n");
    for norm in &norms.norms {
        let Count { server, covered, excused } = count(norm, norms, annotations);
        let _ = writeln!(out, "| {} | {server} | {covered} | {excused} |", norm.title);
    }
    for norm in &norms.norms {
        let _ = writeln!(out, "\n## {}\n", norm.title);
        out.push_str("| statement | asks for | covered by |\n|---|---|---|\n");
        for statement in norm.statements.iter().filter(|statement| statement.binds_server) {
            let tests: Vec<_> = covering(statement, annotations)
                .map(|annotation| match annotation.test.as_str() {
                    "" => format!("`{}`", annotation.file),
                    test => format!("`{}` {test}", annotation.file),
                })
                .collect();
            let covered = match norms.reason(&statement.id) {
                _ if !tests.is_empty() => tests.join("<br>"),
                Some(reason) => format!("**not covered**: {reason}"),
                None => "**not covered**".to_owned(),
            };
            let text = statement.text.replace('|', "\\|");
            let _ = writeln!(out, "| {} | {text} | {covered} |", statement.id);
        }
        let others = norm.statements.iter().filter(|statement| !statement.binds_server).count();
        if others > 0 {
            let _ = writeln!(
                out,
                "\n{others} more statements bind a client, an intermediary or another norm."
            );
        }
    }
    out
}
