//! Which figures a page has: of one run, or of several laid over each other.

mod over_time;

use over_time::{
    CPU, ERRORS, GENERATOR, LAG, MEMORY, ONLINE, P50, P99, RECONNECTS, TIME, WAITING, extent,
    faults, over_time, quantiles_over_time, throughput,
};

use super::{
    axis::{Axis, Unit},
    curve::{self, Heat},
    figure::{Figure, Ink, Line, Marks, SERIES},
};
use crate::{
    report::{Report, Row},
    tally::{Latency, Stage},
};

/// Thickness of lines where many runs lie over each other, pixels.
const THIN_PIXELS: f64 = 1.4;

/// Runs from which on lines are thin.
const MANY_RUNS: usize = 5;

/// Thickness of the main line of a figure, below one that may hide it, pixels.
const BROAD_PIXELS: f64 = 4.5;

/// Words for a stage.
pub const fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "intended connect to logged in",
        Stage::Acknowledge => "intended to acknowledged",
        Stage::AcknowledgeSent => "sent to acknowledged",
        Stage::Deliver => "intended to delivered",
        Stage::DeliverSent => "sent to delivered",
        Stage::Held => "intended to delivered, to those away or not reading",
        Stage::Lag => "schedule lag of the generator",
        Stage::Heartbeat => "heartbeat to its answer",
        Stage::Reconnect => "lost to logged in again",
        Stage::Sync => "return to mailbox level",
        Stage::Detect => "silence to closed by the server",
    }
}

/// The same way, counted from the sending instead of the intended time.
pub const fn from_sent(headline: Stage) -> Option<Stage> {
    match headline {
        Stage::Deliver => Some(Stage::DeliverSent),
        Stage::Acknowledge => Some(Stage::AcknowledgeSent),
        _ => None,
    }
}

/// One run as the figures see it.
pub struct Course<'a> {
    /// Its name on the page.
    pub label: &'a str,
    /// Its colour: runs of the same name share one.
    pub ink: Ink,
    /// What was measured.
    pub report: &'a Report,
    /// An earlier run has the same name.
    pub repeats: bool,
    stages: Vec<(Stage, Latency)>,
}

impl<'a> Course<'a> {
    /// Unpacks a report's histograms. One that cannot be read is as if it was not measured: its
    /// quantiles stand in the tables.
    pub fn new(label: &'a str, ink: Ink, report: &'a Report) -> Self {
        let stages = report.stages.keys().filter_map(|stage| {
            let latency = report.latency(*stage).ok().flatten()?;
            (latency.count() > 0).then_some((*stage, latency))
        });
        Self { label, ink, report, repeats: false, stages: stages.collect() }
    }

    /// Latencies of a stage, if any was measured.
    pub fn stage(&self, name: Stage) -> Option<&Latency> {
        self.stages.iter().find(|(stage, _)| *stage == name).map(|(_, latency)| latency)
    }

    fn rows(&self) -> &'a [Row] {
        &self.report.series
    }

    fn has_several(&self, value: fn(&Row) -> Option<f64>) -> bool {
        self.rows().iter().filter(|row| value(row).is_some()).count() > 1
    }
}

/// First and last moment of runs, seconds; from the start of the schedule if `connecting` is not
/// of interest.
fn ends(courses: &[Course<'_>], connecting: bool) -> (f64, f64) {
    let rows = || courses.iter().flat_map(Course::rows);
    let first = rows().map(|row| row.t_s).fold(0.0, f64::min);
    let last = rows().map(|row| row.t_s + row.seconds).fold(1.0, f64::max);
    (if connecting { first } else { 0.0 }, last)
}

/// Outside the measured window, where all runs have the same one.
fn shades(courses: &[Course<'_>], (from_s, to_s): (f64, f64), second: f64) -> Vec<(f64, f64)> {
    let window = |course: &Course<'_>| {
        (course.report.measured_from_s, course.report.measured_from_s + course.report.measured_s)
    };
    let Some((begin, end)) = courses.first().map(window) else { return Vec::new() };
    let same = courses.iter().map(window).all(|(other_begin, other_end)| {
        (other_begin - begin).abs() < 0.5 && (other_end - end).abs() < 0.5
    });
    let outside = [(from_s, begin.min(to_s)), (end.max(from_s), to_s)];
    let shown = outside.into_iter().filter(|(from, to)| same && to - from > 0.05);
    shown.map(|(from, to)| (from * second, to * second)).collect()
}

/// When the scenario's commands ran.
fn actions(courses: &[Course<'_>], second: f64) -> Vec<f64> {
    match courses {
        [course] => course.report.actions.iter().map(|action| action.at_s * second).collect(),
        _ => Vec::new(),
    }
}

/// All figures of the page, in order.
pub fn figures(courses: &[Course<'_>]) -> Vec<Figure> {
    match courses {
        [course] => of_one(courses, course),
        _ => of_several(courses),
    }
}

fn of_one(courses: &[Course<'_>], course: &Course<'_>) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(one_curve(course));
    figures.extend(quantiles_over_time(course));
    figures.extend(heat_maps(courses));
    figures.extend(throughput(courses));
    figures.extend(over_time(courses, &ONLINE));
    figures.extend(faults(course));
    for plan in [&WAITING, &CPU, &MEMORY, &LAG, &GENERATOR] {
        figures.extend(over_time(courses, plan));
    }
    figures.extend(every_stage(course));
    figures
}

fn of_several(courses: &[Course<'_>]) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(headline_curves(courses));
    figures.extend(over_time(courses, &P99));
    figures.extend(over_time(courses, &P50));
    figures.extend(run_by_run(courses));
    figures.extend(throughput(courses));
    figures.extend(over_time(courses, &ONLINE));
    figures.extend(over_time(courses, &RECONNECTS));
    // Errors without a reconnect are rare, and nothing is not worth a figure.
    if courses.iter().any(|course| !course.report.errors.is_empty()) {
        figures.extend(over_time(courses, &ERRORS));
    }
    for plan in [&WAITING, &CPU, &MEMORY, &LAG, &GENERATOR] {
        figures.extend(over_time(courses, plan));
    }
    figures.extend(each_stage(courses));
    figures.extend(heat_maps(courses));
    figures
}

/// The three latencies of one run.
fn one_curve(course: &Course<'_>) -> Option<Figure> {
    let headline = course.report.headline;
    let names = [Some(headline), from_sent(headline), Some(Stage::Lag)];
    let present =
        names.into_iter().flatten().filter_map(|stage| Some((words(stage), course.stage(stage)?)));
    let curves =
        present.enumerate().map(|(index, (name, latency))| (Ink::Series(index), name, latency));
    let caption = "The main figure: how long the slowest share waited. The further right, the \
                   rarer; a curve ends at its single slowest. Where the curve from the intended \
                   time leaves the one from the sending, a tool that waits for the server would \
                   have hidden the difference.";
    let mut figure =
        curve_figure("percentiles", "Latency by percentile", caption, curves.collect())?;
    if let Some(main) = figure.marks.lines.first_mut() {
        main.pixels = BROAD_PIXELS;
    }
    Some(figure)
}

/// The headline stage of every run.
fn headline_curves(courses: &[Course<'_>]) -> Option<Figure> {
    let curves = courses.iter().filter_map(|course| {
        Some((course.ink, course.label, course.stage(course.report.headline)?))
    });
    let caption = "The lower curve is the faster run. Curves that cross trade a better median for \
                   a worse tail. The last nine of each rests on few messages: differences there \
                   need several runs.";
    let headline = words(courses.first()?.report.headline);
    let title = format!("Latency by percentile: {headline}");
    curve_figure("percentiles", &title, caption, curves.collect())
}

fn curve_figure(
    id: &str,
    title: &str,
    caption: &str,
    curves: Vec<(Ink, &str, &Latency)>,
) -> Option<Figure> {
    let histograms = curves.iter().map(|(_, _, latency)| latency.histogram());
    let (low, high) = curve::span(histograms)?;
    let count = curves.iter().map(|(_, _, latency)| latency.count()).max()?;
    let mut marks = Marks::default();
    for (ink, name, latency) in curves {
        let points = curve::percentiles(latency.histogram());
        if let Some((nines, us)) = points.last() {
            marks.dots.push((ink, *nines, *us));
        }
        let points = points.into_iter().map(|(nines, us)| (nines, Some(us)));
        marks.lines.push(Line::new(ink, name, points));
    }
    marks.lines = thinned(marks.lines);
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: Axis::nines(
            "percentile (share of messages, rarer to the right)",
            curve::nines_of(count),
        ),
        y: Axis::log("latency (µs, ms, s)", Unit::Microseconds, low, high),
        marks,
        heats: Vec::new(),
        wide: false,
    })
}

/// Many lines are thin, so that what lies below shows.
fn thinned(lines: Vec<Line>) -> Vec<Line> {
    if lines.len() < MANY_RUNS {
        return lines;
    }
    lines.into_iter().map(|line| line.thick(THIN_PIXELS)).collect()
}

/// One heat map for each name's first run, on the same axes and colours.
fn heat_maps(courses: &[Course<'_>]) -> Vec<Figure> {
    let maps = courses.iter().filter(|course| !course.repeats).map(|course| {
        let rows = course.rows();
        let pieces = rows.iter().map(|row| {
            let latency = row.histogram.as_ref().and_then(|text| Latency::from_text(text).ok());
            (row.t_s, row.t_s + row.seconds, latency)
        });
        (course, Heat::new(pieces, rows.len()))
    });
    let maps: Vec<_> = maps.filter(|(_, heat)| !heat.is_empty()).collect();
    let span = maps.iter().fold(None, |span, (_, heat)| curve::join(span, heat.span));
    let Some((low, high)) = span else { return Vec::new() };
    let most = maps.iter().map(|(_, heat)| heat.most).max().unwrap_or(1);
    let ends = ends(courses, false);
    let (x, second) = Axis::time(TIME, ends);
    let y = Axis::log("latency (µs, ms, s)", Unit::Microseconds, low, high);
    let alone = courses.len() == 1;
    let figures = maps.into_iter().enumerate().map(|(index, (course, heat))| {
        let name = if alone { words(course.report.headline) } else { course.label };
        Figure {
            id: format!("heat-{index}"),
            title: format!("Every message over time: {name}"),
            caption: format!(
                "Each field counts the messages of {} s with about the same latency; the further \
                 along the scale, the more. Two bands are two ways through the server; a slanted \
                 edge falling to the right is a queue that drains after a stall.",
                super::number::digits(heat.column_s())
            ),
            x: x.clone(),
            y: y.clone(),
            marks: Marks {
                fields: heat.fields(most, second),
                verticals: actions(courses, second),
                ..Marks::default()
            },
            heats: curve::step_names(most),
            wide: alone,
        }
    });
    figures.collect()
}

/// p99 of each run in order, where a name has several runs: how far equal runs differ.
fn run_by_run(courses: &[Course<'_>]) -> Option<Figure> {
    if !courses.iter().any(|course| course.repeats) {
        return None;
    }
    let mut marks = Marks::default();
    for (index, course) in courses.iter().enumerate() {
        let latency = course.stage(course.report.headline)?;
        let point = ((index + 1) as f64, latency.quantile(0.99).max(1) as f64);
        marks.dots.push((course.ink, point.0, point.1));
        match marks.lines.iter_mut().find(|line| line.name == course.label) {
            Some(line) => line.pieces[0].push(point),
            None => {
                let point = (point.0, Some(point.1));
                marks.lines.push(Line::new(course.ink, course.label, [point]));
            }
        }
    }
    let (low, high) = extent(&marks.lines)?;
    Some(Figure {
        id: "run-by-run".to_owned(),
        title: "99th percentile, run by run".to_owned(),
        caption: "The runs in the order given. A difference between two sides is worth something \
                  if it is larger than what equal runs differ among themselves."
            .to_owned(),
        x: Axis::runs("run (number, in order)", courses.len()),
        y: Axis::log("latency, p99 (µs, ms, s)", Unit::Microseconds, low, high),
        marks,
        heats: Vec::new(),
        wide: false,
    })
}

/// Percentile curves of all stages of one run.
fn every_stage(course: &Course<'_>) -> Option<Figure> {
    let curves = course
        .stages
        .iter()
        .enumerate()
        .map(|(index, (stage, latency))| (Ink::Series(index), words(*stage), latency));
    let caption = "Which part of the way costs what. Acknowledged is the server's promise, \
                   delivered is what the recipient sees; the gap between them is the way out.";
    let curves = curves.take(SERIES).collect();
    let figure = curve_figure("stages", "Percentiles of every stage", caption, curves)?;
    Some(Figure { wide: true, ..figure })
}

/// A figure for each stage of several runs.
fn each_stage(courses: &[Course<'_>]) -> Vec<Figure> {
    let others = Stage::ALL.iter().filter(|stage| {
        // The headline of all is the main figure already.
        courses.iter().any(|course| course.report.headline != **stage)
    });
    let figures = others.filter_map(|stage| {
        let curves = courses
            .iter()
            .filter_map(|course| Some((course.ink, course.label, course.stage(*stage)?)));
        let title = format!("Stage: {}", words(*stage));
        let caption = "The same stage of every run: where the difference of the main figure comes \
                       from.";
        curve_figure(&format!("stage-{}", stage.name()), &title, caption, curves.collect())
    });
    figures.collect()
}
