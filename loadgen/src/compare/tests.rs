//! Made-up runs whose truth is known: how often are the intervals right, the alarms false, the
//! shifts found?

use std::sync::LazyLock;

use super::{
    blocks::{self, Redraw},
    sample::{Distribution, Second},
    *,
};
use crate::schedule::Random;

/// Share of its level that a second has from the last one.
const REMEMBERED: f64 = 0.8;

/// What the made-up runs have in common.
#[derive(Clone, Copy)]
struct Nature {
    /// Length of a run.
    seconds: usize,
    /// Deviation of a second's level (logarithm).
    second: f64,
    /// Deviation of a run's level.
    run: f64,
    /// Drift from run to run.
    drift: f64,
    /// True shift of the second side.
    shift: f64,
    seed: u64,
}

const QUIET: Nature =
    Nature { seconds: 30, second: 0.03, run: 0.015, drift: 0.0, shift: 0.0, seed: 0 };

fn normal(random: &mut Random) -> f64 {
    // Sum of uniform numbers: as good as normal as far out as is looked here.
    let sum: f64 = (0..12).map(|_| random.bits() as f64 / u64::MAX as f64).sum();
    sum - 6.0
}

/// Latencies of a second at level 0: a lognormal distribution by its quantiles.
static SHAPE: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut random = Random(77);
    (0..80).map(|_| 5000.0 * (0.3 * normal(&mut random)).exp()).collect()
});

fn run(random: &mut Random, nature: &Nature, level: f64, started: u64) -> RunData {
    let level = level + nature.run * normal(random);
    let fresh = (1.0 - REMEMBERED * REMEMBERED).sqrt();
    let mut memory = normal(random);
    let second = |_| {
        memory = REMEMBERED * memory + fresh * normal(random);
        let factor = (level + nature.second * memory).exp();
        let counts = SHAPE.iter().map(|us| ((us * factor) as u64, 5)).collect();
        let latencies = Distribution::new(counts);
        Second { latencies, offered: 400.0, done: 400.0, cpu: Some(0.01 * factor) }
    };
    let seconds: Vec<Second> = (0..nature.seconds).map(second).collect();
    RunData {
        name: format!("run {started}"),
        started,
        latencies: Distribution::merged(seconds.iter().map(|second| &second.latencies)),
        throughput: Some(400.0 + 0.01 * normal(random)),
        cpu_us: Some(25.0 * (level + 0.01 * normal(random)).exp()),
        bytes: Some(4096.0),
        seconds,
    }
}

fn sides(nature: &Nature, runs: usize) -> Vec<Side> {
    let mut random = Random(nature.seed);
    let mut sides = ["old", "new"].map(|name| Side { name: name.to_owned(), runs: Vec::new() });
    for at in 0..2 * runs {
        let level = nature.drift * at as f64 + nature.shift * (at % 2) as f64;
        sides[at % 2].runs.push(run(&mut random, nature, level, at as u64));
    }
    sides.into()
}

fn compared(nature: &Nature, runs: usize) -> Comparison {
    let settings = Settings { seed: nature.seed, ..Settings::default() };
    compare("made up", &sides(nature, runs), &settings)
}

fn of<'a>(comparison: &'a Comparison, metric: &str) -> &'a Shift {
    let shifts = &comparison.sides[1].shifts;
    shifts.iter().find(|shift| shift.metric == metric).expect("the figure is there")
}

/// Shares of `count` made-up comparisons: intervals of the figure that hold the truth, and those
/// that find the figure worse (or, for a true shift of 0, any figure worse or better).
fn shares(nature: Nature, count: u64, metric: &str) -> (f64, f64) {
    let (mut held, mut found) = (0.0, 0.0);
    for seed in 0..count {
        let comparison = compared(&Nature { seed: 1000 + seed, ..nature }, 5);
        let [low, high] = of(&comparison, metric).interval.expect("ten runs tell an error");
        let truth = nature.shift.exp() - 1.0;
        held += f64::from(u8::from(low <= truth && truth <= high));
        let alarm = if nature.shift == 0.0 {
            comparison.verdict != Verdict::NoDifference
        } else {
            of(&comparison, metric).finding == Finding::Worse
        };
        found += f64::from(u8::from(alarm));
    }
    (held / count as f64, found / count as f64)
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_promise() {
    for (nature, metric) in [
        (QUIET, "p50"),
        (QUIET, "p99"),
        (Nature { second: 0.2, run: 0.0, ..QUIET }, "p50"),
        (Nature { drift: 0.03, ..QUIET }, "mean"),
    ] {
        let (held, alarms) = shares(nature, 150, metric);
        println!("{metric}: held {held:.3}, false alarms {alarms:.3}");
        assert!((0.91..=0.995).contains(&held), "{metric}: {held}");
        // One in fifty is promised; of 150, 7 or more are then seen once in 300 times.
        assert!(alarms <= 0.04, "false alarms: {alarms}");
    }
}

#[test]
fn shift_of_a_tenth_is_found_and_named() {
    let nature = Nature { shift: 0.1, drift: 0.01, ..QUIET };
    let (held, found) = shares(nature, 60, "p50");
    println!("held {held:.3}, found {found:.3}");
    assert!(found >= 0.95, "{found}");
    assert!(held >= 0.88, "{held}");
    let comparison = compared(&nature, 5);
    assert!(comparison.reasons.iter().any(|reason| reason.starts_with("p50 of new is worse")));
    assert_eq!(comparison.verdict.exit_code(), 8);
}

#[test]
fn same_thing_twice_answers_no_difference_and_what_could_have_been_seen() {
    let comparison = compared(&Nature { seed: 5, ..QUIET }, 5);
    assert_eq!(comparison.verdict, Verdict::NoDifference, "{:?}", comparison.reasons);
    let p50 = of(&comparison, "p50");
    let detectable = p50.detectable.expect("five runs a side are judged");
    assert!((0.01..0.15).contains(&detectable), "{detectable}");
    assert_eq!(comparison.verdict.exit_code(), 0);
}

#[test]
fn faster_side_is_better_and_more_throughput_too() {
    let mut sides = sides(&Nature { shift: -0.2, ..QUIET }, 5);
    sides[1].runs.iter_mut().for_each(|run| run.throughput = Some(440.0));
    let comparison = compare("", &sides, &Settings::default());
    assert_eq!(comparison.verdict, Verdict::Better, "{:?}", comparison.reasons);
    assert_eq!(of(&comparison, "throughput").finding, Finding::Better);
    sides[1].runs.iter_mut().for_each(|run| run.throughput = Some(380.0));
    let comparison = compare("", &sides, &Settings::default());
    assert_eq!(of(&comparison, "throughput").finding, Finding::Worse);
    assert_eq!(comparison.verdict, Verdict::Worse);
}

#[test]
fn certain_and_tiny_is_too_small_to_matter() {
    let mut sides = sides(&QUIET, 5);
    sides[1].runs.iter_mut().for_each(|run| run.bytes = Some(4110.0));
    let comparison = compare("", &sides, &Settings::default());
    let memory = of(&comparison, "server memory per connection");
    assert_eq!(memory.finding, Finding::Negligible, "{memory:?}");
    assert_eq!(comparison.verdict, Verdict::NoDifference);
}

#[test]
fn too_few_runs_or_runs_one_after_the_other_are_not_judged() {
    let few = compared(&Nature { shift: 1.0, ..QUIET }, 4);
    assert_eq!(few.verdict, Verdict::NotJudged);
    assert!(few.reasons[0].contains("4 runs, a verdict needs at least 5"), "{:?}", few.reasons);
    assert!(of(&few, "p50").interval.is_some());
    assert_eq!(few.verdict.exit_code(), 5);

    let mut sides = sides(&Nature { shift: 1.0, ..QUIET }, 5);
    for (side, runs) in sides.iter_mut().enumerate() {
        let at = |number: usize| (side * 5 + number) as u64;
        runs.runs.iter_mut().enumerate().for_each(|(number, run)| run.started = at(number));
    }
    let blocked = compare("", &sides, &Settings::default());
    assert_eq!(blocked.verdict, Verdict::NotJudged);
    assert!(blocked.reasons[0].contains("not interleaved"), "{:?}", blocked.reasons);
}

/// Single runs against each other: only what the run itself remembers can save the interval.
#[test]
fn spread_within_a_run_accounts_for_the_memory_of_its_seconds() {
    let nature = Nature { seconds: 120, second: 0.2, run: 0.0, ..QUIET };
    let (mut held, mut naive, mut count) = (0, 0, 0);
    for seed in 0..150 {
        let sides = sides(&Nature { seed: 2000 + seed, ..nature }, 1);
        let value = |side: &Side| Metric::Quantile(0.5).of(&side.runs[0]).unwrap().ln();
        let shift = value(&sides[1]) - value(&sides[0]);
        let fit = compare("", &sides, &Settings::default());
        let [low, high] = of(&fit, "p50").interval.unwrap();
        held += u32::from(low <= 0.0 && 0.0 <= high);
        let error = sides.iter().map(|side| {
            let redraw = Redraw::new(&side.runs[0], seed);
            redraw.spread_of_seconds(Metric::Quantile(0.5)).unwrap().deviation.powi(2)
        });
        naive += u32::from(shift.abs() < 1.96 * error.sum::<f64>().sqrt());
        count += 1;
    }
    let share = |held: u32| f64::from(held) / f64::from(count);
    println!("blocks {:.3}, seconds taken as independent {:.3}", share(held), share(naive));
    assert!(share(held) >= 0.88, "{}", share(held));
    assert!(share(naive) < 0.6, "{}", share(naive));
}

#[test]
fn memory_of_a_series_is_seen() {
    let mut random = Random(3);
    let mut level = 0.0;
    let series: Vec<f64> = (0..2000)
        .map(|_| {
            level = 0.7 * level + normal(&mut random);
            level
        })
        .collect();
    assert!((blocks::remembered(&series) - 0.7).abs() < 0.05);
    assert_eq!(blocks::remembered(&[1.0; 9]), 0.0);
}

/// Why the error comes from Student's t and not from drawing five runs again.
#[test]
fn drawing_five_runs_again_promises_too_narrow_intervals() {
    let mut random = Random(9);
    let mut held = 0;
    for _ in 0..1500 {
        let runs: Vec<f64> = (0..10).map(|_| normal(&mut random)).collect();
        let mut shifts: Vec<f64> = (0..200)
            .map(|_| {
                let mut mean = |side: &[f64]| {
                    (0..5).map(|_| side[random.below(5) as usize]).sum::<f64>() / 5.0
                };
                mean(&runs[5..]) - mean(&runs[..5])
            })
            .collect();
        shifts.sort_by(f64::total_cmp);
        held += u32::from(shifts[5] <= 0.0 && 0.0 <= shifts[194]);
    }
    let share = f64::from(held) / 1500.0;
    println!("drawn again: {share:.3}");
    assert!(share < 0.9, "{share}");
}

#[test]
fn several_sides_are_each_compared_with_the_first() {
    let mut sides = sides(&QUIET, 5);
    let mut third = sides[1].clone();
    third.name = "third".to_owned();
    third.runs.iter_mut().for_each(|run| run.cpu_us = run.cpu_us.map(|us| us * 1.5));
    sides.push(third);
    let comparison = compare("", &sides, &Settings::default());
    assert!(comparison.sides[0].shifts.is_empty());
    assert_eq!(comparison.verdict, Verdict::Worse);
    let worse = &comparison.reasons;
    assert!(worse.iter().all(|reason| reason.contains("CPU per message of third")), "{worse:?}");
}

#[test]
fn long_run_of_many_latencies_is_drawn_again_within_bounds() {
    let mut random = Random(11);
    let seconds: Vec<Second> = (0..1000)
        .map(|_| {
            let counts = (0..50).map(|_| (random.bits() % 1_000_000, 1)).collect();
            Second { latencies: Distribution::new(counts), ..Second::default() }
        })
        .collect();
    let run = RunData { seconds, ..RunData::default() };
    let spread = Redraw::new(&run, 1).spread(Metric::Quantile(0.5)).unwrap();
    assert!((0.001..0.05).contains(&spread.deviation), "{spread:?}");
}

#[test]
fn curve_ends_where_the_messages_do() {
    let comparison = compared(&QUIET, 5);
    let curve = &comparison.sides[1].curve;
    assert!(curve.is_sorted_by(|a, b| a.share < b.share && a.us <= b.us));
    let last = curve.last().unwrap().share;
    assert!((0.9995..0.99992).contains(&last), "{last}");
    assert!(curve.iter().all(|point| point.change.is_some()));
}

#[test]
fn page_and_table_show_every_figure_and_the_page_holds_the_json() {
    let comparison = compared(&Nature { shift: 0.2, ..QUIET }, 5);
    let page = page::page(&comparison);
    for id in ["percentiles", "changes", "runs-p50", "runs-p99", "p50", "p99", "throughput", "cpu"]
    {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let (_, after) = page.split_once("id=\"comparison\">").unwrap();
    let (json, _) = after.split_once("</script>").unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(json), value(&command::json(&comparison)));
    let text = text::text(&comparison);
    for shift in &comparison.sides[1].shifts {
        assert!(text.contains(&shift.metric), "{text}");
    }
    assert!(text.contains("verdict: worse"), "{text}");
}
