//! Evaluates one threshold, over the whole run or over every full window of the measured time.
//!
//! Windows slide by one row. What was recorded after the measured time (the drain brings what was
//! intended in it) belongs to the last window, so that no latency escapes.

use crate::{
    record::Closed,
    report::{Phase, Report, ThresholdResult},
    scenario::{Metric, Operator, Quantile, Threshold},
    tally::{Latency, Stage},
};

pub(super) fn evaluate(threshold: &Threshold, report: &Report, rows: &[Closed]) -> ThresholdResult {
    let values = match threshold.window {
        None => whole(&threshold.metric, report).map(|value| (value, None)).into_iter().collect(),
        Some(window) => windows(threshold, window.as_secs_f64(), report, rows),
    };
    let holds = |value: f64| threshold.operator.holds(value, threshold.value);
    let worst = values.iter().copied().reduce(|worst, one| {
        // Of two that fail or hold alike the earlier one stays.
        let order = (holds(worst.0), -badness(threshold, worst.0));
        if (holds(one.0), -badness(threshold, one.0)) < order { one } else { worst }
    });
    ThresholdResult {
        text: threshold.text.clone(),
        held: worst.is_some_and(|(value, _)| holds(value)),
        worst: worst.map(|(value, _)| value),
        at_s: worst.and_then(|(_, at_s)| at_s),
    }
}

/// How far a value is on the wrong side.
fn badness(threshold: &Threshold, value: f64) -> f64 {
    match threshold.operator {
        Operator::Below | Operator::AtMost => value,
        Operator::Above | Operator::AtLeast => -value,
        Operator::Equal => (value - threshold.value).abs(),
        Operator::Unequal => -(value - threshold.value).abs(),
    }
}

/// Why it did not hold, for people.
pub(super) fn missed(threshold: &Threshold, result: &ThresholdResult, report: &Report) -> String {
    let text = &result.text;
    let Some(worst) = result.worst else {
        return match threshold.window {
            Some(window) if window.as_secs_f64() > report.measured_s => format!(
                "threshold {text}: the measured time, {:.0} s, has no full window",
                report.measured_s
            ),
            Some(_) | None => format!("threshold {text}: nothing was measured"),
        };
    };
    let worst = match threshold.metric {
        Metric::Latency { .. } => format!("{:.3} ms", worst / 1000.0),
        _ if worst.fract() == 0.0 => format!("{worst:.0}"),
        _ => format!("{worst:.4}"),
    };
    match result.at_s {
        Some(at_s) => format!("threshold {text}: was {worst} in the window from {at_s:.0} s on"),
        None => format!("threshold {text}: was {worst}"),
    }
}

fn whole(metric: &Metric, report: &Report) -> Option<f64> {
    match metric {
        Metric::Count(name) => count(report, name).map(|count| count as f64),
        Metric::AchievedOfOffered => ratio(report.achieved, report.offered),
        Metric::Latency { stage, quantile } => {
            let latency = report.latency(stage_of(stage.as_deref(), report)?).ok()??;
            of_latency(&latency, *quantile)
        }
        Metric::Server(field) => match field.as_str() {
            "cpu_us_per_message" => report.server.cpu_us_per_message,
            "bytes_per_connection" => report.server.bytes_per_connection,
            "cpu_us_per_connect" => report.server.cpu_us_per_connect,
            _ => None,
        },
    }
}

fn stage_of(name: Option<&str>, report: &Report) -> Option<Stage> {
    name.map_or(Some(report.headline), Stage::from_name)
}

fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn of_latency(latency: &Latency, quantile: Quantile) -> Option<f64> {
    let value = match quantile {
        Quantile::At(share) => latency.quantile(share),
        Quantile::Max => latency.max(),
    };
    (latency.count() > 0).then_some(value as f64)
}

fn count(report: &Report, name: &str) -> Option<u64> {
    Some(match name {
        "offered" => report.offered,
        "acknowledged" => report.acknowledged,
        "delivered" => report.delivered,
        "lost" => report.lost,
        "duplicated" => report.duplicated,
        "reordered" => report.reordered,
        "corrupted" => report.corrupted,
        "misdelivered" => report.misdelivered,
        "reconnects" => report.reconnects,
        "repeats" => report.repeats,
        "refused" => report.refused,
        "shed" => report.shed,
        "errors" => report.errors.values().sum(),
        "connections_held" => report.connections_held,
        "address_conflicts" => report.address_conflicts,
        _ => return None,
    })
}

/// The value of each full window in which there is one, with the window's start.
fn windows(
    threshold: &Threshold,
    window_s: f64,
    report: &Report,
    rows: &[Closed],
) -> Vec<(f64, Option<f64>)> {
    // Connecting is measured while it goes on, everything else in the measured time.
    let connecting = matches!(&threshold.metric, Metric::Latency { stage: Some(stage), .. }
        if stage == Stage::Connect.name());
    let measured = |closed: &&Closed| connecting || closed.row.phase == Phase::Measure;
    let first = rows.iter().position(|closed| measured(&closed)).unwrap_or(rows.len());
    let count = rows[first..].iter().filter(measured).count();
    let row_s = rows.get(first).map_or(1.0, |closed| closed.row.seconds);
    let length = (window_s / row_s).ceil().max(1.0) as usize;
    if length > count {
        return Vec::new();
    }
    let (measured, after) = rows[first..].split_at(count);
    let frame = Frame { rows: measured, after, length };
    match &threshold.metric {
        Metric::Latency { stage, quantile } => stage_of(stage.as_deref(), report)
            .map_or_else(Vec::new, |stage| frame.latencies(stage, *quantile)),
        Metric::AchievedOfOffered => {
            let achieved = frame.sums(|closed| closed.row.achieved);
            let offered = frame.sums(|closed| closed.row.offered);
            let pairs = achieved.into_iter().zip(offered);
            let values = pairs.map(|((part, at_s), (of, _))| Some((ratio(part, of)?, at_s)));
            values.flatten().collect()
        }
        Metric::Count(name) => {
            let of: fn(&Closed) -> u64 = match name.as_str() {
                "offered" => |closed| closed.row.offered,
                "acknowledged" => |closed| closed.row.acknowledged,
                "delivered" => |closed| closed.row.delivered,
                "reconnects" => |closed| closed.row.reconnects,
                "errors" => |closed| closed.row.errors,
                _ => return Vec::new(),
            };
            frame.sums(of).into_iter().map(|(sum, at_s)| (sum as f64, at_s)).collect()
        }
        Metric::Server(_) => Vec::new(),
    }
}

/// The rows of the measured time, those after it, and the length of a window in rows, which is
/// not more than there are.
struct Frame<'a> {
    rows: &'a [Closed],
    after: &'a [Closed],
    length: usize,
}

impl Frame<'_> {
    fn sums(&self, of: fn(&Closed) -> u64) -> Vec<(u64, Option<f64>)> {
        let windows = self.rows.windows(self.length);
        windows.map(|rows| (rows.iter().map(of).sum(), Some(rows[0].row.t_s))).collect()
    }

    fn latencies(&self, stage: Stage, quantile: Quantile) -> Vec<(f64, Option<f64>)> {
        let read = |closed: &Closed| {
            let (_, text) = closed.stages.iter().find(|(one, _)| *one == stage)?;
            Latency::from_text(text).ok()
        };
        let mut sum = Latency::default();
        let mut values = Vec::new();
        for (at, closed) in self.rows.iter().enumerate() {
            sum.add(&read(closed).unwrap_or_default());
            let Some(first) = (at + 1).checked_sub(self.length) else { continue };
            if let Some(gone) = first.checked_sub(1) {
                sum.subtract(&read(&self.rows[gone]).unwrap_or_default());
            }
            if at + 1 == self.rows.len() {
                for late in self.after.iter().filter_map(read) {
                    sum.add(&late);
                }
            }
            let value = of_latency(&sum, quantile);
            values.extend(value.map(|value| (value, Some(self.rows[first].row.t_s))));
        }
        values
    }
}
