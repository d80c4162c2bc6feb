//! Are two sets of runs different, and by how much?
//!
//! A side is several runs of one configuration. For each figure ([`sample::Metric`]) the shift of
//! every other side against the first is estimated with its interval ([`shift`], [`blocks`]); a
//! shift is significant only after all figures looked at are taken into account, and only if it is
//! large enough to matter. "No significant difference" is an answer, and is given together with
//! the smallest shift that could have been seen.
//!
//! Pure: runs in, [`Comparison`] out. [`sides`] reads the files and refuses what cannot be
//! compared, [`text`] and [`page`] tell the result.

pub mod blocks;
pub mod command;
pub mod page;
pub mod sample;
pub mod shift;
pub mod sides;
pub mod student;
pub mod text;

use serde::{Deserialize, Serialize};

use sample::{Metric, RunData};
use shift::{Fit, Point};

/// Version of the JSON.
pub const SCHEMA: &str = "hawser-compare/1";

/// Fewest runs of a side for a verdict.
pub const RUNS_MIN: usize = 5;

/// Chance of one false alarm or more in a comparison of the same with the same, over all its
/// figures. In ten such comparisons two or more alarms then have a chance of 2 %.
pub const FALSE_ALARMS: f64 = 0.02;

/// Confidence of each interval by itself.
pub const CONFIDENCE: f64 = 0.95;

/// Change that is too small to matter, as a share of the figure.
pub const RELEVANT: f64 = 0.01;

/// Standard deviation that a figure's logarithm has from rounding: three digits of the histograms.
const DIGITS_DEVIATION: f64 = 0.0005;

/// Standard deviation of a latency from being told in whole microseconds: 1/√12.
const MICROSECOND_DEVIATION: f64 = 0.289;

/// Points of a percentile curve from one nine to the next.
const CURVE_POINTS_PER_NINE: u32 = 12;

/// Nines a percentile curve ends at.
const CURVE_NINES: u32 = 5;

/// One side's runs.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// As it is called in the result.
    pub name: String,
    /// Its runs.
    pub runs: Vec<RunData>,
}

/// What the judgement depends on beside the runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Change from which on a significant one matters, as a share.
    pub relevant: f64,
    /// Seed of the draws within runs.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { relevant: RELEVANT, seed: 1 }
    }
}

/// What is said of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Significantly worse.
    Worse,
    /// Significantly better.
    Better,
    /// Significant, and too small to matter.
    Negligible,
    /// No significant difference.
    NoDifference,
    /// The runs do not allow a judgement.
    NotJudged,
}

/// What is said of a whole comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A figure of some side is significantly worse than the first side's.
    Worse,
    /// Some are better, none is worse.
    Better,
    /// No significant difference.
    NoDifference,
    /// The runs do not allow a verdict.
    NotJudged,
}

impl Verdict {
    /// Exit code of the process: 8 for a regression, 5 for runs that prove nothing.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Better | Self::NoDifference => 0,
            Self::NotJudged => 5,
            Self::Worse => 8,
        }
    }
}

/// One figure of a side against the same of the first side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The figure.
    pub metric: String,
    /// Unit of both values.
    pub unit: String,
    /// First side: geometric mean of its runs.
    pub first: f64,
    /// This side, likewise.
    pub value: f64,
    /// Change as a share of the first side's value, drift removed.
    pub change: f64,
    /// Ends of the interval that holds the true change with the comparison's confidence.
    pub interval: Option<[f64; 2]>,
    /// Chance of a change this large between equals.
    pub chance: Option<f64>,
    /// The same, adjusted for all the figures looked at.
    pub chance_adjusted: Option<f64>,
    /// Smallest change that would have been found in 4 of 5 comparisons.
    pub detectable: Option<f64>,
    /// The judgement.
    pub finding: Finding,
}

/// A point of the shift along the percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Share of the messages that do not exceed the latency.
    pub share: f64,
    /// Geometric mean of the side's runs, microseconds.
    pub us: f64,
    /// Lowest of the runs.
    pub us_min: f64,
    /// Highest of the runs.
    pub us_max: f64,
    /// Change against the first side with its interval; absent on the first side, and where the
    /// runs tell no error.
    pub change: Option<[f64; 3]>,
}

/// A second of a side, over its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Instant {
    /// Second of the measured window.
    pub t_s: u64,
    /// Messages intended, mean of the runs.
    pub offered: f64,
    /// Messages that came to their end, mean of the runs.
    pub done: f64,
    /// Median latency, mean of the runs, microseconds.
    pub p50_us: f64,
    /// 99th percentile, mean of the runs, microseconds.
    pub p99_us: f64,
    /// CPU of the server's process, cores; 0 if it was not measured.
    pub cpu: f64,
}

/// A run in the list of a side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Where it was read from.
    pub name: String,
    /// Place among all runs in order of time.
    pub order: usize,
    /// The value of each figure that it has, by name.
    pub figures: Vec<(String, f64)>,
}

/// One side in the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideResult {
    /// Its name.
    pub name: String,
    /// Its runs.
    pub runs: Vec<RunFigures>,
    /// Percentile curve.
    pub curve: Vec<CurvePoint>,
    /// Course of the measured window.
    pub course: Vec<Instant>,
    /// Shifts against the first side; empty for itself.
    pub shifts: Vec<Shift>,
    /// Why this side cannot be judged; empty if it can.
    pub obstacles: Vec<String>,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// What is compared: the scenario's name, and what differs between the sides on purpose.
    pub subject: String,
    /// Confidence of each interval by itself.
    pub confidence: f64,
    /// Chance of any false alarm in the comparison.
    pub false_alarms: f64,
    /// Change from which on a significant one matters.
    pub relevant: f64,
    /// The judgement.
    pub verdict: Verdict,
    /// The judgement in words, and what to know of it.
    pub reasons: Vec<String>,
    /// The sides; the first is what the others are compared with.
    pub sides: Vec<SideResult>,
}

/// Compares every side with the first one.
///
/// # Panics
/// If there is no side.
pub fn compare(subject: &str, sides: &[Side], settings: &Settings) -> Comparison {
    let [first, others @ ..] = sides else { panic!("a comparison has a first side") };
    let places = places(sides);
    let mut results = vec![side_result(first, &places[0])];
    let mut fits = Vec::new();
    for (at, other) in others.iter().enumerate() {
        let mut result = side_result(other, &places[at + 1]);
        let pair = Pair { first, other, places: (&places[0], &places[at + 1]) };
        result.obstacles = pair.obstacles();
        for (number, metric) in Metric::ALL.into_iter().enumerate() {
            let seed = settings.seed.wrapping_mul(1009) + number as u64;
            if let Some((shift, fit)) = pair.shift(metric, seed) {
                result.shifts.push(shift);
                fits.push(fit.filter(|_| result.obstacles.is_empty()));
            }
        }
        pair.change_along_the_curve(&mut result.curve);
        results.push(result);
    }
    judge(&mut results, &fits, settings.relevant);
    let verdict = verdict(&results);
    Comparison {
        schema: SCHEMA.to_owned(),
        subject: subject.to_owned(),
        confidence: CONFIDENCE,
        false_alarms: FALSE_ALARMS,
        relevant: settings.relevant,
        verdict,
        reasons: reasons(&results, verdict),
        sides: results,
    }
}

/// Place of each run among all runs in order of time.
fn places(sides: &[Side]) -> Vec<Vec<usize>> {
    let runs = sides.iter().enumerate().flat_map(|(side, Side { runs, .. })| {
        runs.iter().enumerate().map(move |(at, run)| (run.started, at, side))
    });
    let mut order: Vec<(u64, usize, usize)> = runs.collect();
    // Runs without times count as interleaved as given: first of each side, second of each.
    order.sort_unstable();
    let mut places: Vec<Vec<usize>> = sides.iter().map(|side| vec![0; side.runs.len()]).collect();
    for (place, (_, at, side)) in order.into_iter().enumerate() {
        places[side][at] = place;
    }
    places
}

struct Pair<'a> {
    first: &'a Side,
    other: &'a Side,
    places: (&'a [usize], &'a [usize]),
}

impl Pair<'_> {
    fn runs(&self) -> impl Iterator<Item = (bool, usize, &RunData)> {
        let first = self.first.runs.iter().zip(self.places.0);
        let other = self.other.runs.iter().zip(self.places.1);
        let first = first.map(|(run, place)| (false, *place, run));
        first.chain(other.map(|(run, place)| (true, *place, run)))
    }

    /// The runs with a figure and its spread within the run; `None` if a run has not got it.
    fn points(
        &self,
        value: impl Fn(&RunData) -> Option<f64>,
        within: impl Fn(&RunData, usize) -> (f64, f64),
    ) -> Option<Vec<Point>> {
        let mut places: Vec<usize> = self.runs().map(|(_, place, _)| place).collect();
        places.sort_unstable();
        let points = self.runs().map(|(other, place, run)| {
            let (within, pieces) = within(run, place);
            let rank = places.partition_point(|earlier| *earlier < place);
            let logarithm = value(run)?.ln();
            Some(Point { other, order: rank as f64, logarithm, within, pieces })
        });
        points.collect()
    }

    fn shift(&self, metric: Metric, seed: u64) -> Option<(Shift, Option<Fit>)> {
        let points = self.points(
            |run| metric.of(run),
            |run, place| {
                let redraw = blocks::Redraw::new(run, seed + place as u64 * 31);
                redraw.spread(metric).map_or((0.0, 0.0), |spread| (spread.deviation, spread.pieces))
            },
        )?;
        let value = |other: bool| geometric_mean(points.iter().filter(|p| p.other == other));
        let (first, value) = (value(false), value(true));
        let fit = shift::fit(&points, resolution(metric, first.min(value)));
        let change = fit.map_or(value / first, |fit| fit.shift.exp()) - 1.0;
        let shift = Shift {
            metric: metric.name(),
            unit: metric.unit().to_owned(),
            first,
            value,
            change,
            interval: fit.map(|fit| interval(&fit)),
            chance: fit.map(|fit| fit.chance()),
            chance_adjusted: None,
            detectable: None,
            finding: Finding::NotJudged,
        };
        Some((shift, fit))
    }

    fn change_along_the_curve(&self, curve: &mut [CurvePoint]) {
        for point in curve {
            let value = |run: &RunData| Some((run.latencies.quantile(point.share) as f64).max(0.5));
            let points = self.points(value, |_, _| (0.0, 0.0));
            let resolution = resolution(Metric::Mean, point.us);
            let fit = points.and_then(|points| shift::fit(&points, resolution));
            point.change = fit.map(|fit| {
                let [low, high] = interval(&fit);
                [fit.shift.exp() - 1.0, low, high]
            });
        }
    }

    /// What stands against a verdict.
    fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        for side in [self.first, self.other] {
            let runs = side.runs.len();
            if runs < RUNS_MIN {
                obstacles.push(format!(
                    "{} has {runs} run{}, a verdict needs at least {RUNS_MIN} of each side: the \
                     difference between runs of the same thing cannot be told from fewer",
                    side.name,
                    if runs == 1 { "" } else { "s" },
                ));
            }
        }
        let points = self.points(|_| Some(1.0), |_, _| (0.0, 0.0)).unwrap_or_default();
        if obstacles.is_empty() && !shift::is_interleaved(&points) {
            obstacles.push(format!(
                "the runs of {} and {} are not interleaved: what changed on the machine meanwhile \
                 cannot be told from what changed between the sides; run them in turn",
                self.first.name, self.other.name
            ));
        }
        obstacles
    }
}

fn interval(fit: &Fit) -> [f64; 2] {
    let half = fit.half_width(CONFIDENCE);
    [(fit.shift - half).exp() - 1.0, (fit.shift + half).exp() - 1.0]
}

fn resolution(metric: Metric, value: f64) -> f64 {
    match metric {
        Metric::Quantile(_) | Metric::Mean => DIGITS_DEVIATION.max(MICROSECOND_DEVIATION / value),
        Metric::Throughput | Metric::Cpu | Metric::Memory => DIGITS_DEVIATION,
    }
}

fn geometric_mean<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    let (sum, count) = points.fold((0.0, 0.0), |(s, c), point| (s + point.logarithm, c + 1.0));
    (sum / f64::max(count, 1.0)).exp()
}

fn side_result(side: &Side, places: &[usize]) -> SideResult {
    let runs = side.runs.iter().zip(places).map(|(run, place)| {
        let figures = Metric::ALL.into_iter();
        let figures = figures.filter_map(|metric| Some((metric.name(), metric.of(run)?)));
        RunFigures { name: run.name.clone(), order: *place, figures: figures.collect() }
    });
    SideResult {
        name: side.name.clone(),
        runs: runs.collect(),
        curve: curve(side),
        course: course(side),
        shifts: Vec::new(),
        obstacles: Vec::new(),
    }
}

/// Percentile curve up to the last point that every run has a message beyond.
fn curve(side: &Side) -> Vec<CurvePoint> {
    let fewest = side.runs.iter().map(|run| run.latencies.total()).min().unwrap_or(0);
    let shares = (0..=CURVE_NINES * CURVE_POINTS_PER_NINE).map(|step| {
        let nines = f64::from(step) / f64::from(CURVE_POINTS_PER_NINE);
        1.0 - 0.1f64.powf(nines)
    });
    // Below the median the axis of nines is too coarse.
    let shares = [0.01, 0.05, 0.1].into_iter().chain(shares.skip(1));
    let mut shares: Vec<f64> = shares.collect();
    shares.sort_by(f64::total_cmp);
    let seen = shares.into_iter().take_while(|share| (1.0 - share) * fewest as f64 >= 1.0);
    let point = |share: f64| {
        let values = side.runs.iter().map(|run| (run.latencies.quantile(share) as f64).max(0.5));
        let (mut low, mut high, mut sum) = (f64::INFINITY, 0.0f64, 0.0);
        for value in values {
            (low, high, sum) = (low.min(value), high.max(value), sum + value.ln());
        }
        let us = (sum / side.runs.len() as f64).exp();
        CurvePoint { share, us, us_min: low, us_max: high, change: None }
    };
    seen.map(point).collect()
}

/// Means over the runs, second by second, as far as the shortest run goes.
fn course(side: &Side) -> Vec<Instant> {
    let length = side.runs.iter().map(|run| run.seconds.len()).min().unwrap_or(0);
    let instant = |at: usize| {
        let mean = |of: &dyn Fn(&sample::Second) -> f64| {
            side.runs.iter().map(|run| of(&run.seconds[at])).sum::<f64>() / side.runs.len() as f64
        };
        Instant {
            t_s: at as u64,
            offered: mean(&|second| second.offered),
            done: mean(&|second| second.done),
            p50_us: mean(&|second| second.latencies.quantile(0.5) as f64),
            p99_us: mean(&|second| second.latencies.quantile(0.99) as f64),
            cpu: mean(&|second| second.cpu.unwrap_or_default()),
        }
    };
    (0..length).map(instant).collect()
}

/// Fills in what takes all the figures together: adjusted chances and findings. `fits` belong to
/// the shifts in their order; those that must not be judged are `None`.
fn judge(sides: &mut [SideResult], fits: &[Option<Fit>], relevant: f64) {
    let judged: Vec<Fit> = fits.iter().flatten().copied().collect();
    let chances: Vec<f64> = judged.iter().map(Fit::chance).collect();
    let mut adjusted = shift::adjusted(&chances).into_iter();
    let shifts = sides.iter_mut().flat_map(|side| &mut side.shifts);
    for (shift, fit) in shifts.zip(fits) {
        let Some((fit, chance)) = fit.and_then(|fit| Some((fit, adjusted.next()?))) else {
            continue;
        };
        let level = FALSE_ALARMS / judged.len() as f64;
        shift.chance_adjusted = Some(chance);
        shift.detectable = Some((fit.detectable(level).exp() - 1.0).max(relevant));
        let rises = shift.change > 0.0;
        let more_is_better = shift.unit == Metric::Throughput.unit();
        shift.finding = if chance > FALSE_ALARMS {
            Finding::NoDifference
        } else if shift.change.abs() < relevant {
            Finding::Negligible
        } else if rises == more_is_better {
            Finding::Better
        } else {
            Finding::Worse
        };
    }
}

fn verdict(sides: &[SideResult]) -> Verdict {
    let has = |finding| sides.iter().flat_map(|side| &side.shifts).any(|s| s.finding == finding);
    if has(Finding::Worse) {
        Verdict::Worse
    } else if sides[1..].iter().any(|side| !side.obstacles.is_empty() || side.shifts.is_empty()) {
        Verdict::NotJudged
    } else if has(Finding::Better) {
        Verdict::Better
    } else {
        Verdict::NoDifference
    }
}

fn reasons(sides: &[SideResult], verdict: Verdict) -> Vec<String> {
    let first = &sides[0].name;
    let mut reasons = Vec::new();
    for side in &sides[1..] {
        reasons.extend(side.obstacles.iter().cloned());
        for shift in &side.shifts {
            let word = match shift.finding {
                Finding::Worse => "worse",
                Finding::Better => "better",
                _ => continue,
            };
            reasons.push(format!(
                "{} of {} is {word} than that of {first}: {}",
                shift.metric,
                side.name,
                share(shift.change)
            ));
        }
        if side.obstacles.is_empty() && side.shifts.is_empty() {
            reasons.push(format!("{} and {first} have no figure in common", side.name));
        }
    }
    if verdict == Verdict::NoDifference {
        reasons.push(
            "no significant difference; the table says how small a change would have been seen"
                .to_owned(),
        );
    }
    reasons
}

/// A share as a signed percentage.
pub fn share(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

#[cfg(test)]
mod tests;
