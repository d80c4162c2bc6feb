//! A comparison for a terminal.

use std::fmt::Write;

use super::{Comparison, Finding, Shift, SideResult, Verdict, share};

/// The table and the judgement.
pub fn text(comparison: &Comparison) -> String {
    let mut text = format!("{}\n", comparison.subject);
    let first = &comparison.sides[0];
    for side in &comparison.sides[1..] {
        text.push_str(&table(first, side, comparison.confidence));
    }
    for reason in &comparison.reasons {
        put(&mut text, format_args!("{reason}\n"));
    }
    let runs: usize = comparison.sides.iter().map(|side| side.runs.len()).sum();
    put(
        &mut text,
        format_args!(
            "verdict: {} ({runs} runs; at most {:.0} % chance of any false alarm, changes below \
             {:.1} % do not matter)\n",
            verdict(comparison.verdict),
            comparison.false_alarms * 100.0,
            comparison.relevant * 100.0
        ),
    );
    text
}

fn table(first: &SideResult, side: &SideResult, confidence: f64) -> String {
    let mut text = String::new();
    put(
        &mut text,
        format_args!(
            "\n{:<30}{:>14}{:>14}{:>10}  {:<20}{:<9}finding\n",
            "",
            shortened(&first.name),
            shortened(&side.name),
            "change",
            format!("{:.0} % interval", confidence * 100.0),
            "visible",
        ),
    );
    for shift in &side.shifts {
        put(
            &mut text,
            format_args!(
                "{:<30}{:>14}{:>14}{:>10}  {:<20}{:<9}{}\n",
                shift.metric,
                value(shift.first, &shift.unit),
                value(shift.value, &shift.unit),
                share(shift.change),
                interval(shift),
                shift.detectable.map_or_else(|| "-".to_owned(), |d| format!("{:.1} %", d * 100.0)),
                finding(shift.finding),
            ),
        );
    }
    text
}

fn interval(shift: &Shift) -> String {
    let ends = shift.interval;
    ends.map_or_else(|| "-".to_owned(), |[low, high]| format!("{} to {}", share(low), share(high)))
}

/// A name that fits its column.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_WIDTH {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(count - NAME_WIDTH + 2).collect();
    format!("..{tail}")
}

/// Width of a side's column less a space.
const NAME_WIDTH: usize = 13;

/// A value with its unit.
pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "us" if value >= 1e6 => format!("{:.3} s", value / 1e6),
        "us" if value >= 1e3 => format!("{:.3} ms", value / 1e3),
        "us" => format!("{value:.1} us"),
        "bytes" => format!("{value:.0} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// For people.
pub const fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Worse => "worse",
        Finding::Better => "better",
        Finding::Negligible => "differs, too little to matter",
        Finding::NoDifference => "no significant difference",
        Finding::NotJudged => "not judged",
    }
}

/// For people.
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "worse",
        Verdict::Better => "better",
        Verdict::NoDifference => "no significant difference",
        Verdict::NotJudged => "not judged",
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("writing to a string cannot fail");
}
