//! A comparison as one HTML page: the judgement, the table, the figures, and the comparison itself
//! for programs. Needs no network and no other file; the JSON in it is what `--json` writes.

use std::fmt::{self, Write};

use super::{
    Comparison, Finding, Instant, RunFigures, Shift, SideResult, Verdict,
    sample::{Metric, percentile},
    share,
    text::{finding, value, verdict},
};
use crate::page::{
    axis::{Axis, Unit},
    figure::{Figure, Ink, Interval, Line, Marks, ink_style},
    number::escape,
};

const STYLE: &str = include_str!("../page/style.css");
const HOVER: &str = include_str!("../page/hover.js");

/// Percentiles that are marked with a bar on the curves.
const MARKED: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What the intervals are, in one paragraph.
const METHOD: &str = "Latency counts from the intended time of a message. Each interval comes from \
    the differences between runs (Student's t, the machine's drift over the interleaved runs \
    removed) and is never narrower than what the seconds of a run say of it, drawn again in blocks \
    because neighbouring seconds are alike. A change is called significant after all figures are \
    taken into account (Holm); visible is the smallest change that would have been found in four \
    of five such comparisons.";

/// The page.
pub fn page(comparison: &Comparison) -> String {
    let mut html = String::new();
    let title = format!("Comparison: {}", comparison.subject);
    put(
        &mut html,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{} – hawser-loadgen</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n\
             <main>\n<h1>{}</h1>\n",
            escape(&title),
            ink_style(),
            escape(&title),
        ),
    );
    judgement(&mut html, comparison);
    for (at, side) in comparison.sides.iter().enumerate().skip(1) {
        table(&mut html, comparison, at, side);
    }
    put(&mut html, format_args!("<p class=\"quiet small\">{}</p>\n", escape(METHOD)));
    html.push_str("<h2>Figures</h2>\n<div class=\"figures\">\n");
    for figure in figures(comparison) {
        html.push_str(&figure.html());
    }
    html.push_str("</div>\n");
    runs(&mut html, comparison);
    html.push_str("</main>\n");
    // No text may end the element or begin a comment in it. In JSON the sign stands inside texts
    // only, where its escape means the same.
    let json = super::command::json(comparison).replace('<', "\\u003c");
    put(
        &mut html,
        format_args!(
            "<script type=\"application/json\" id=\"comparison\">{json}</script>\n\
             <script>\n{HOVER}</script>\n</body>\n</html>\n"
        ),
    );
    html
}

fn judgement(html: &mut String, comparison: &Comparison) {
    let (tone, symbol) = match comparison.verdict {
        Verdict::Better | Verdict::NoDifference => ("good", "✔"),
        Verdict::Worse => ("bad", "✖"),
        Verdict::NotJudged => ("doubt", "?"),
    };
    put(
        html,
        format_args!(
            "<div class=\"verdicts\"><div class=\"verdict {tone}\"><span class=\"symbol\" \
             aria-hidden=\"true\">{symbol}</span><div><b>{}</b><ul>",
            capital(verdict(comparison.verdict))
        ),
    );
    for reason in &comparison.reasons {
        put(html, format_args!("<li>{}</li>", escape(reason)));
    }
    html.push_str("</ul></div></div></div>\n");
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn table(html: &mut String, comparison: &Comparison, at: usize, side: &SideResult) {
    let first = &comparison.sides[0];
    put(
        html,
        format_args!(
            "<h2>{} against {}</h2>\n<div class=\"scroll\"><table><thead><tr><th>figure</th>\
             <th><i class=\"swatch\" style=\"background:var(--{})\"></i>{} ({} runs)</th>\
             <th><i class=\"swatch\" style=\"background:var(--{})\"></i>{} ({} runs)</th>\
             <th>change</th><th>{:.0} % interval</th><th>visible</th>\
             <th class=\"text\">finding</th></tr></thead><tbody>\n",
            escape(&side.name),
            escape(&first.name),
            Ink::Series(0).name(),
            escape(&first.name),
            first.runs.len(),
            Ink::Series(at).name(),
            escape(&side.name),
            side.runs.len(),
            comparison.confidence * 100.0
        ),
    );
    for shift in &side.shifts {
        row(html, shift);
    }
    html.push_str("</tbody></table></div>\n");
}

fn row(html: &mut String, shift: &Shift) {
    let tone = match shift.finding {
        Finding::Worse => "bad",
        Finding::Better => "good",
        Finding::NotJudged => "doubt",
        Finding::Negligible | Finding::NoDifference => "quiet",
    };
    let ends = shift
        .interval
        .map_or_else(|| "–".to_owned(), |[low, high]| format!("{} to {}", share(low), share(high)));
    let visible =
        shift.detectable.map_or_else(|| "–".to_owned(), |d| format!("{:.1} %", d * 100.0));
    put(
        html,
        format_args!(
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{ends}</td><td>{visible}</td>\
             <td class=\"text {tone}\">{}</td></tr>\n",
            escape(&shift.metric),
            escape(&value(shift.first, &shift.unit)),
            escape(&value(shift.value, &shift.unit)),
            share(shift.change),
            finding(shift.finding)
        ),
    );
}

/// Every run with its figures, in the order in which they were made.
fn runs(html: &mut String, comparison: &Comparison) {
    let names: Vec<String> = Metric::ALL.into_iter().map(Metric::name).collect();
    html.push_str("<h2>Runs in order of time</h2>\n<div class=\"scroll\"><table><thead><tr><th>run</th><th class=\"text\">side</th>");
    for name in &names {
        put(html, format_args!("<th>{}</th>", escape(name)));
    }
    html.push_str("</tr></thead><tbody>\n");
    for (at, side, run) in in_order(comparison) {
        put(
            html,
            format_args!(
                "<tr><td>{}: {}</td><td class=\"text\"><i class=\"swatch\" \
                 style=\"background:var(--{})\"></i>{}</td>",
                run.order + 1,
                escape(&run.name),
                Ink::Series(at).name(),
                escape(&side.name)
            ),
        );
        for metric in Metric::ALL {
            let cell = figure_of(run, &metric.name());
            let cell = cell.map_or_else(|| "–".to_owned(), |cell| value(cell, metric.unit()));
            put(html, format_args!("<td>{}</td>", escape(&cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

fn in_order(comparison: &Comparison) -> Vec<(usize, &SideResult, &RunFigures)> {
    let sides = comparison.sides.iter().enumerate();
    let runs = sides.flat_map(|(at, side)| side.runs.iter().map(move |run| (at, side, run)));
    let mut runs: Vec<_> = runs.collect();
    runs.sort_by_key(|(_, _, run)| run.order);
    runs
}

fn figure_of(run: &RunFigures, name: &str) -> Option<f64> {
    run.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn figures(comparison: &Comparison) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(curves(comparison));
    figures.extend(changes(comparison));
    for share in [0.5, 0.99] {
        figures.extend(run_by_run(comparison, &percentile(share)));
    }
    let over_time = |instant: fn(&Instant) -> f64| {
        move |side: &SideResult| {
            let points = side.course.iter().map(|at| (at.t_s as f64, Some(instant(at))));
            points.filter(|(_, value)| value.is_some_and(|value| value > 0.0)).collect()
        }
    };
    figures.extend(courses(
        comparison,
        ("p50", "Median over time", "latency, p50 of each second (µs, ms, s)"),
        Unit::Microseconds,
        over_time(|at| at.p50_us),
        "Mean of the side's runs, second by second of the measured window.",
    ));
    figures.extend(courses(
        comparison,
        ("p99", "99th percentile over time", "latency, p99 of each second (µs, ms, s)"),
        Unit::Microseconds,
        over_time(|at| at.p99_us),
        "A peak that all sides share is the schedule's; one that a side has alone is its own.",
    ));
    figures.extend(courses(
        comparison,
        ("throughput", "Throughput", "messages per second"),
        Unit::Count,
        over_time(|at| at.done),
        "Messages that came to their end, mean of the side's runs.",
    ));
    figures.extend(courses(
        comparison,
        ("cpu", "Server CPU", "CPU of the server's process (cores)"),
        Unit::Cores,
        over_time(|at| at.cpu),
        "User and system time, mean of the side's runs.",
    ));
    figures
}

fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// Percentile curves, with the span of the runs at some of them.
fn curves(comparison: &Comparison) -> Option<Figure> {
    let mut marks = Marks::default();
    for (at, side) in comparison.sides.iter().enumerate() {
        let ink = Ink::Series(at);
        let points = side.curve.iter().map(|point| (nines(point.share), Some(point.us)));
        marks.lines.push(Line::new(ink, &side.name, points));
        for share in MARKED {
            let near = side.curve.iter().find(|point| point.share >= share - 1e-9);
            marks.intervals.extend(near.map(|point| Interval {
                ink,
                // Bars of several sides stand beside each other.
                x: nines(point.share) + (at as f64 - 0.5) * 0.03,
                y: (point.us_min, point.us, point.us_max),
            }));
        }
    }
    let all = || comparison.sides.iter().flat_map(|side| &side.curve);
    let low = all().map(|point| point.us_min).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.us_max).fold(0.0, f64::max);
    let last = all().map(|point| nines(point.share)).fold(0.0, f64::max);
    (high > 0.0).then(|| Figure {
        id: "percentiles".to_owned(),
        title: "Latency by percentile".to_owned(),
        caption: "Geometric mean of each side's runs; the bars at p50, p90, p99 and p99.9 reach \
                  from the lowest to the highest of its runs."
            .to_owned(),
        x: Axis::nines("percentile (share of messages, rarer to the right)", last),
        y: Axis::log("latency (µs, ms, s)", Unit::Microseconds, low, high),
        marks,
        heats: Vec::new(),
        wide: true,
    })
}

/// Change against the first side along the percentiles.
fn changes(comparison: &Comparison) -> Option<Figure> {
    let mut marks = Marks::default();
    let (mut low, mut high, mut last) = (0.0f64, 0.0f64, 0.0f64);
    for (at, side) in comparison.sides.iter().enumerate().skip(1) {
        let ink = Ink::Series(at);
        let percent = |point: &super::CurvePoint| Some(point.change?.map(|change| change * 100.0));
        let points = side.curve.iter();
        let points = points.map(|point| (nines(point.share), percent(point).map(|[c, ..]| c)));
        marks.lines.push(Line::new(ink, &side.name, points));
        for share in MARKED {
            let near = side.curve.iter().find(|point| point.share >= share - 1e-9);
            let Some((point, [change, from, to])) =
                near.and_then(|point| Some((point, percent(point)?)))
            else {
                continue;
            };
            (low, high) = (low.min(from), high.max(to));
            let x = nines(point.share) + (at as f64 - 1.0) * 0.03;
            marks.intervals.push(Interval { ink, x, y: (from, change, to) });
        }
        for point in marks.lines.iter().flat_map(Line::points) {
            (low, high, last) = (low.min(point.1), high.max(point.1), last.max(point.0));
        }
    }
    let zero = [(0.0, Some(0.0)), (last, Some(0.0))];
    let first = format!("{} (no change)", comparison.sides[0].name);
    marks.lines.push(Line::new(Ink::Reference, &first, zero));
    (last > 0.0).then(|| Figure {
        id: "changes".to_owned(),
        title: format!("Change against {} by percentile", comparison.sides[0].name),
        caption: format!(
            "Above the grey line is slower. The bars are {:.0} % intervals; one that crosses the \
             line may be no change at all.",
            comparison.confidence * 100.0
        ),
        x: Axis::nines("percentile (share of messages, rarer to the right)", last),
        y: Axis::spread("change of latency (%)", Unit::Percent, (low, high)),
        marks,
        heats: Vec::new(),
        wide: true,
    })
}

/// A figure of every run in the order in which they were made: drift, outliers, differences.
fn run_by_run(comparison: &Comparison, metric: &str) -> Option<Figure> {
    let runs = in_order(comparison);
    let mut marks = Marks::default();
    for (at, side) in comparison.sides.iter().enumerate() {
        let own = runs.iter().filter(|(of, ..)| *of == at);
        let points = own.map(|(_, _, run)| ((run.order + 1) as f64, figure_of(run, metric)));
        let line = Line::new(Ink::Series(at), &side.name, points);
        marks.dots.extend(line.points().map(|(x, y)| (Ink::Series(at), x, y)));
        marks.lines.push(line);
    }
    let (low, high) = extent(&marks.lines)?;
    Some(Figure {
        id: format!("runs-{}", metric.replace('.', "-")),
        title: format!("{metric} of each run"),
        caption: "Runs in order of time. A common slope is the machine's drift, which the \
                  comparison removes; a lonely point is a disturbed run."
            .to_owned(),
        x: Axis::runs("run, in order of time", runs.len()),
        y: Axis::log(&format!("latency, {metric} (µs, ms, s)"), Unit::Microseconds, low, high),
        marks,
        heats: Vec::new(),
        wide: false,
    })
}

fn extent(lines: &[Line]) -> Option<(f64, f64)> {
    let values = || lines.iter().flat_map(Line::points).map(|(_, y)| y);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    (high > 0.0).then_some((low, high))
}

fn courses(
    comparison: &Comparison,
    (id, title, label): (&str, &str, &str),
    unit: Unit,
    points: impl Fn(&SideResult) -> Vec<(f64, Option<f64>)>,
    caption: &str,
) -> Option<Figure> {
    let sides = comparison.sides.iter().enumerate();
    let lines: Vec<Line> =
        sides.map(|(at, side)| Line::new(Ink::Series(at), &side.name, points(side))).collect();
    let (low, high) = extent(&lines)?;
    let last = lines.iter().flat_map(Line::points).map(|(x, _)| x).fold(1.0, f64::max);
    let (x, second) = Axis::time("time in the measured window", (0.0, last + 1.0));
    let lines = lines.into_iter().map(|line| {
        let points = line.points().map(|(at, y)| (at * second, Some(y)));
        Line::new(line.ink, &line.name, points)
    });
    let latency = unit == Unit::Microseconds;
    let y =
        if latency { Axis::log(label, unit, low, high) } else { Axis::linear(label, unit, high) };
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        x,
        y,
        marks: Marks { lines: lines.collect(), ..Marks::default() },
        heats: Vec::new(),
        wide: false,
    })
}

fn put(html: &mut String, arguments: fmt::Arguments<'_>) {
    html.write_fmt(arguments).expect("writing to a string cannot fail");
}
