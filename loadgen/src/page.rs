//! The report as one page: a single HTML file with figures, tables and the data itself.
//!
//! It needs no network, no font and no other file, so it can be mailed, kept and opened years
//! later. It is not a place of results: what a program reads is `report.json`, which stands in
//! the page word for word.

pub mod axis;
pub mod curve;
mod evidence;
pub mod figure;
pub mod figures;
pub mod files;
pub mod number;
mod summary;

use std::fmt::{self, Write};

use crate::report::Report;
use figure::{Ink, SERIES};
use figures::Course;
use number::escape;

/// Runs on one page at most: five interleaved runs under each of [`SERIES`] names.
pub const RUNS_MAX: usize = 40;

const STYLE: &str = include_str!("page/style.css");
const HOVER: &str = include_str!("page/hover.js");

/// The page of one run, or of several laid over each other. Runs with the same name are one side
/// and share a colour; beyond [`SERIES`] names or [`RUNS_MAX`] runs, the rest is left out and the
/// page says so.
pub fn render(runs: &[(&str, &Report)]) -> String {
    let courses = courses(runs);
    let mut html = String::new();
    head(&mut html, &courses);
    html.push_str("<main>\n");
    opening(&mut html, &courses, runs.len());
    summary::verdicts(&mut html, &courses);
    results(&mut html, &courses);
    figures_section(&mut html, &courses);
    evidence_section(&mut html, &courses);
    html.push_str("</main>\n");
    data(&mut html, &courses);
    put(&mut html, format_args!("<script>\n{HOVER}</script>\n</body>\n</html>\n"));
    html
}

/// The runs that fit, each with the colour of its name.
fn courses<'a>(runs: &[(&'a str, &'a Report)]) -> Vec<Course<'a>> {
    let mut names: Vec<&str> = Vec::new();
    let mut courses = Vec::new();
    for (label, report) in runs.iter().copied().take(RUNS_MAX) {
        let known = names.iter().position(|name| *name == label);
        let colour = known.unwrap_or(names.len());
        if colour >= SERIES {
            continue;
        }
        if known.is_none() {
            names.push(label);
        }
        let mut course = Course::new(label, Ink::Series(colour), report);
        course.repeats = known.is_some();
        courses.push(course);
    }
    courses
}

fn put(html: &mut String, arguments: fmt::Arguments<'_>) {
    html.write_fmt(arguments).expect("writing to a string cannot fail");
}

fn title(courses: &[Course<'_>]) -> String {
    match courses {
        [course] => format!("{} over {}", course.report.name, course.report.protocol),
        _ => {
            let first = courses.iter().filter(|course| !course.repeats);
            let names: Vec<&str> = first.map(|course| course.label).collect();
            format!("Comparison: {}", names.join(" · "))
        }
    }
}

fn head(html: &mut String, courses: &[Course<'_>]) {
    put(
        html,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{} – hawser-loadgen</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n",
            escape(&title(courses)),
            figure::ink_style()
        ),
    );
}

fn opening(html: &mut String, courses: &[Course<'_>], given: usize) {
    put(html, format_args!("<h1>{}</h1>\n", escape(&title(courses))));
    let Some(first) = courses.first() else { return };
    let evidence = &first.report.evidence;
    let text = match courses {
        [course] => format!(
            "{} connections against {}, measured for {}, {}",
            number::exact(course.report.connections_asked),
            evidence.target,
            number::span(course.report.measured_s),
            evidence.started_at
        ),
        _ => format!("{} runs, the first of {}", courses.len(), evidence.started_at),
    };
    put(html, format_args!("<p class=\"quiet\">{}</p>\n", escape(&text)));
    if given > courses.len() {
        let left = given - courses.len();
        put(
            html,
            format_args!(
                "<p class=\"quiet\">{left} further runs are left out: a page shows up to \
                 {RUNS_MAX} runs under up to {SERIES} names.</p>\n"
            ),
        );
    }
    if let [course] = courses {
        put(html, format_args!("<pre>{}</pre>\n", escape(&course.report.evidence.command)));
    }
}

fn results(html: &mut String, courses: &[Course<'_>]) {
    html.push_str("<h2>Results</h2>\n");
    if let [course] = courses {
        summary::tiles(html, course.report);
        summary::latencies(html, course.report);
        put(html, format_args!("<p class=\"quiet small\">{}</p>\n", escape(summary::COUNTED)));
        summary::thresholds(html, &course.report.thresholds);
        notes(html, course.report);
        return;
    }
    summary::table(html, courses);
    put(html, format_args!("<p class=\"quiet small\">{}</p>\n", escape(summary::COUNTED)));
}

/// Notes, errors by kind and the scenario's commands, where there are any.
fn notes(html: &mut String, report: &Report) {
    if !report.errors.is_empty() {
        let errors: Vec<String> = report
            .errors
            .iter()
            .map(|(kind, count)| format!("{} {}", number::exact(*count), kind.replace('_', " ")))
            .collect();
        let text = format!("Connections lost, refused or given up: {}.", errors.join(", "));
        put(html, format_args!("<p>{}</p>\n", escape(&text)));
    }
    for note in &report.notes {
        put(html, format_args!("<p>{}</p>\n", escape(note)));
    }
    for action in &report.actions {
        put(
            html,
            format_args!(
                "<p>At {:.1}\u{a0}s: <code>{}</code> ({})</p>\n",
                action.at_s,
                escape(&action.command),
                escape(&action.ended)
            ),
        );
    }
}

fn figures_section(html: &mut String, courses: &[Course<'_>]) {
    let figures = figures::figures(courses);
    if figures.is_empty() {
        return;
    }
    html.push_str(
        "<h2>Figures</h2>\n<p class=\"quiet small\">Shaded parts are outside the measured \
                   window: connecting, warm-up, drain.",
    );
    if courses.iter().any(|course| !course.report.actions.is_empty()) {
        html.push_str(" Upright lines are the scenario's commands.");
    }
    if courses.iter().all(|course| course.report.evidence.server.is_none()) {
        html.push_str(
            " The server's CPU and memory were not measured: <code>--server-pid</code> was not given.",
        );
    }
    html.push_str("</p>\n<div class=\"figures\">\n");
    for figure in figures {
        html.push_str(&figure.html());
    }
    html.push_str("</div>\n");
}

fn evidence_section(html: &mut String, courses: &[Course<'_>]) {
    if let [course] = courses {
        html.push_str("<h2>Evidence</h2>\n");
        evidence::evidence(html, course.report);
        return;
    }
    html.push_str("<h2>Each run in full, with its evidence</h2>\n");
    for (index, course) in courses.iter().enumerate() {
        put(
            html,
            format_args!(
                "<details><summary>Run {}: {}</summary>\n<pre>{}</pre>\n",
                index + 1,
                escape(course.label),
                escape(&course.report.evidence.command)
            ),
        );
        summary::latencies(html, course.report);
        summary::thresholds(html, &course.report.thresholds);
        notes(html, course.report);
        evidence::evidence(html, course.report);
        html.push_str("</details>\n");
    }
}

/// The reports themselves, for programs: one as it is, several as an array.
fn data(html: &mut String, courses: &[Course<'_>]) {
    let json = match courses {
        [course] => serde_json::to_string(course.report),
        courses => {
            let reports: Vec<&Report> = courses.iter().map(|course| course.report).collect();
            serde_json::to_string(&reports)
        }
    };
    let json = json.expect("a report has text keys only");
    // No text of a report may end the element or begin a comment in it. In JSON the sign stands
    // inside texts only, where its escape means the same.
    let json = json.replace('<', "\\u003c");
    put(html, format_args!("<script type=\"application/json\" id=\"report\">{json}</script>\n"));
}
