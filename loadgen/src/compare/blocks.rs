//! How far a figure of one run could have come out otherwise, judged by the run alone.
//!
//! The seconds of a run are not independent: a busy second is followed by a busy one. Taken as
//! independent they would promise intervals several times too narrow. So whole blocks of
//! neighbouring seconds are drawn again (moving blocks on a circle, Politis and Romano 1992), long
//! enough for what the seconds remember, which is estimated from the run itself. What differs from
//! run to run is not seen here; [`super::shift`] sees it.

use super::sample::{Distribution, Metric, RunData, Second, rank};
use crate::schedule::Random;

/// Times each run is drawn again: the spread is then known to about 5 %.
const DRAWS: usize = 200;

/// Intervals of a run at most; longer runs have neighbouring seconds put together, which keeps a
/// run of a day at the memory and time of one of five minutes.
const INTERVALS_MAX: usize = 300;

/// Latencies told apart when a run is drawn again.
const LEVELS_MAX: usize = 2048;

/// Fewest intervals a spread can be estimated from.
const INTERVALS_MIN: usize = 4;

/// Spread of one run's figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Standard deviation of the figure's logarithm.
    pub deviation: f64,
    /// Independent pieces it rests on: intervals by block length.
    pub pieces: f64,
}

/// A run prepared to be drawn again.
#[derive(Debug)]
pub struct Redraw {
    intervals: Vec<Second>,
    levels: Vec<u64>,
    /// For each interval, how many of its latencies each level holds at or below itself.
    below: Vec<Vec<u64>>,
    seed: u64,
}

impl Redraw {
    /// Prepares a run; the same seed draws the same.
    pub fn new(run: &RunData, seed: u64) -> Self {
        let width = run.seconds.len().div_ceil(INTERVALS_MAX).max(1);
        let intervals: Vec<Second> = run.seconds.chunks(width).map(put_together).collect();
        let levels = levels(&intervals);
        let below = intervals.iter().map(|interval| below(&interval.latencies, &levels)).collect();
        Self { intervals, levels, below, seed }
    }

    /// Spread of a figure; `None`: too short a run, or the figure has no series.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        let count = self.intervals.len();
        if count < INTERVALS_MIN {
            return None;
        }
        let once = vec![1; count];
        let whole = self.value(metric, &once)?;
        let length = block_length(&self.influence(metric, whole));
        self.spread_of_blocks(metric, length)
    }

    /// The same with seconds taken as independent, for the tests to show what that hides.
    #[cfg(test)]
    pub fn spread_of_seconds(&self, metric: Metric) -> Option<Spread> {
        self.spread_of_blocks(metric, 1)
    }

    fn spread_of_blocks(&self, metric: Metric, length: usize) -> Option<Spread> {
        let count = self.intervals.len();
        let mut random = Random(self.seed);
        let mut logarithms = Vec::with_capacity(DRAWS);
        for _ in 0..DRAWS {
            let weights = draw(&mut random, count, length);
            logarithms.push(self.value(metric, &weights)?.ln());
        }
        let mean = logarithms.iter().sum::<f64>() / DRAWS as f64;
        let squares: f64 = logarithms.iter().map(|value| (value - mean).powi(2)).sum();
        // Blocks are centred at the run's own mean and not at the true one, which hides about
        // one block's share of the variance.
        let hidden = count as f64 / (count - length) as f64;
        let deviation = (squares / (DRAWS - 1) as f64 * hidden).sqrt();
        Some(Spread { deviation, pieces: count as f64 / length as f64 })
    }

    /// The figure when each interval came so many times.
    fn value(&self, metric: Metric, weights: &[u64]) -> Option<f64> {
        let sum = |of: &dyn Fn(&Second) -> f64| -> f64 {
            let pairs = self.intervals.iter().zip(weights);
            pairs.map(|(interval, weight)| of(interval) * *weight as f64).sum()
        };
        let count = |interval: &Second| interval.latencies.total() as f64;
        let value = match metric {
            Metric::Quantile(share) => self.quantile(share, weights) as f64,
            Metric::Mean => sum(&|interval| interval.latencies.sum()) / sum(&count),
            Metric::Throughput => sum(&|interval| interval.done) / weights.len() as f64,
            Metric::Cpu => {
                self.intervals.iter().all(|interval| interval.cpu.is_some()).then_some(())?;
                sum(&|interval| interval.cpu.unwrap_or_default()) / sum(&|interval| interval.done)
            }
            Metric::Memory => return None,
        };
        (value > 0.0 && value.is_finite()).then_some(value)
    }

    fn quantile(&self, share: f64, weights: &[u64]) -> u64 {
        let at_or_below = |level: usize| -> u64 {
            self.below.iter().zip(weights).map(|(below, weight)| below[level] * weight).sum()
        };
        let Some(last) = self.levels.len().checked_sub(1) else { return 0 };
        let wanted = rank(share, at_or_below(last));
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = usize::midpoint(low, high);
            if at_or_below(middle) >= wanted {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.levels[low]
    }

    /// What each interval does to the figure: the series whose memory sets the block length. For a
    /// quantile that is how many of the interval's latencies exceed it, beyond their share.
    fn influence(&self, metric: Metric, whole: f64) -> Vec<f64> {
        let of = |interval: &Second| match metric {
            Metric::Quantile(share) => {
                let counts = interval.latencies.counts();
                let split = counts.partition_point(|(us, _)| *us as f64 <= whole);
                let above: u64 = counts[split..].iter().map(|(_, count)| count).sum();
                above as f64 - (1.0 - share) * interval.latencies.total() as f64
            }
            Metric::Mean => interval.latencies.sum() - whole * interval.latencies.total() as f64,
            Metric::Throughput | Metric::Memory => interval.done - whole,
            Metric::Cpu => interval.cpu.unwrap_or_default() - whole * interval.done,
        };
        self.intervals.iter().map(of).collect()
    }
}

fn put_together(seconds: &[Second]) -> Second {
    let mean =
        |of: &dyn Fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>() / seconds.len() as f64;
    let has_cpu = seconds.iter().all(|second| second.cpu.is_some());
    Second {
        latencies: Distribution::merged(seconds.iter().map(|second| &second.latencies)),
        offered: mean(&|second| second.offered),
        done: mean(&|second| second.done),
        cpu: has_cpu.then(|| mean(&|second| second.cpu.unwrap_or_default())),
    }
}

/// All latencies of a run; of too many, every n-th and the highest.
fn levels(intervals: &[Second]) -> Vec<u64> {
    let all = intervals.iter().flat_map(|interval| interval.latencies.counts());
    let mut all: Vec<u64> = all.map(|(us, _)| *us).collect();
    all.sort_unstable();
    all.dedup();
    let step = all.len().div_ceil(LEVELS_MAX).max(1);
    let highest = all.last().copied();
    let mut levels: Vec<u64> = all.into_iter().step_by(step).collect();
    if levels.last().copied() != highest {
        levels.extend(highest);
    }
    levels
}

fn below(latencies: &Distribution, levels: &[u64]) -> Vec<u64> {
    let mut counts = latencies.counts().iter().peekable();
    let mut sum = 0;
    let upto = levels.iter().map(|level| {
        while let Some((_, count)) = counts.next_if(|(us, _)| us <= level) {
            sum += count;
        }
        sum
    });
    upto.collect()
}

/// How often each of `count` intervals comes when blocks of `length` are drawn on a circle.
fn draw(random: &mut Random, count: usize, length: usize) -> Vec<u64> {
    let mut weights = vec![0; count];
    let mut drawn = 0;
    while drawn < count {
        let start = random.below(count as u32) as usize;
        for at in start..start + length.min(count - drawn) {
            weights[at % count] += 1;
        }
        drawn += length;
    }
    weights
}

/// Intervals a block needs so that the memory of this series is kept inside it.
///
/// Taken as a series in which each value remembers a share r of the last one, the best length is
/// (3/2 · (2r / (1 - r²))² · n)^⅓ (Politis and White 2004, for blocks on a circle). r is raised by
/// what short series hide of it (Kendall 1954). At most a quarter of the run: fewer than four
/// blocks say nothing.
fn block_length(series: &[f64]) -> usize {
    let count = series.len() as f64;
    let remembered = remembered(series);
    let raised = remembered + (1.0 + 4.0 * remembered) / count;
    let share = raised.clamp(0.0, 0.97);
    let memory = 2.0 * share / (1.0 - share * share);
    let length = (1.5 * memory * memory * count).cbrt().ceil() as usize;
    length.clamp(1, (series.len() / 4).max(1))
}

/// Correlation of a series with itself one step later; 0 for a constant one.
pub fn remembered(series: &[f64]) -> f64 {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    let variance: f64 = series.iter().map(|value| (value - mean).powi(2)).sum();
    let lagged: f64 = series.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
    if variance > 0.0 { lagged / variance } else { 0.0 }
}
