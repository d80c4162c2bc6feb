//! What a comparison knows of a run: how its latencies were distributed, whole and second by
//! second, and its other figures. Plain data: where it came from is the reader's business.

/// Latencies with how often each came, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    counts: Vec<(u64, u64)>,
    total: u64,
}

impl Distribution {
    /// From latencies in microseconds and how often each came, in any order.
    pub fn new(mut counts: Vec<(u64, u64)>) -> Self {
        counts.retain(|(_, count)| *count > 0);
        counts.sort_unstable();
        let total = counts.iter().map(|(_, count)| count).sum();
        Self { counts, total }
    }

    /// All of these together.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = std::collections::BTreeMap::new();
        for (us, count) in parts.into_iter().flat_map(|part| &part.counts) {
            *all.entry(*us).or_insert(0) += count;
        }
        Self::new(all.into_iter().collect())
    }

    /// Latencies and how often each came, ascending.
    pub fn counts(&self) -> &[(u64, u64)] {
        &self.counts
    }

    /// How many.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Lowest latency that this share of all does not exceed, microseconds; 0 if there is none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = rank(share, self.total);
        let mut below = 0;
        let found = self.counts.iter().find(|(_, count)| {
            below += count;
            below >= wanted
        });
        found.or(self.counts.last()).map_or(0, |(us, _)| *us)
    }

    /// Sum of all, microseconds.
    pub fn sum(&self) -> f64 {
        self.counts.iter().map(|(us, count)| *us as f64 * *count as f64).sum()
    }

    /// Mean, microseconds; 0 if there is none.
    pub fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum() / self.total as f64 }
    }
}

/// How many of `total` a quantile leaves at or below itself; at least one.
pub fn rank(share: f64, total: u64) -> u64 {
    ((share * total as f64).ceil() as u64).clamp(1, total.max(1))
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// The headline latencies that began in it.
    pub latencies: Distribution,
    /// Messages the schedule intended in it.
    pub offered: f64,
    /// Messages that came to their end in it.
    pub done: f64,
    /// CPU of the server's process, cores.
    pub cpu: Option<f64>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunData {
    /// Where it was read from.
    pub name: String,
    /// When it was started; only the order matters.
    pub started: u64,
    /// The headline latencies of the measured window.
    pub latencies: Distribution,
    /// The measured window, second by second.
    pub seconds: Vec<Second>,
    /// Messages a second that came to their end.
    pub throughput: Option<f64>,
    /// CPU of the server's process per message, microseconds.
    pub cpu_us: Option<f64>,
    /// Memory of the server's process per connection, bytes.
    pub bytes: Option<f64>,
}

/// What two sides are compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// The latency this share of all messages does not exceed.
    Quantile(f64),
    /// The mean latency.
    Mean,
    /// Messages a second.
    Throughput,
    /// CPU of the server's process per message.
    Cpu,
    /// Memory of the server's process per connection.
    Memory,
}

impl Metric {
    /// All that a verdict rests on.
    pub const ALL: [Self; 8] = [
        Self::Quantile(0.5),
        Self::Quantile(0.9),
        Self::Quantile(0.99),
        Self::Quantile(0.999),
        Self::Mean,
        Self::Throughput,
        Self::Cpu,
        Self::Memory,
    ];

    /// As it stands in tables and in JSON.
    pub fn name(self) -> String {
        match self {
            Self::Quantile(share) => percentile(share),
            Self::Mean => "mean".to_owned(),
            Self::Throughput => "throughput".to_owned(),
            Self::Cpu => "server CPU per message".to_owned(),
            Self::Memory => "server memory per connection".to_owned(),
        }
    }

    /// Unit of its values.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Quantile(_) | Self::Mean | Self::Cpu => "us",
            Self::Throughput => "1/s",
            Self::Memory => "bytes",
        }
    }

    /// More of it is better.
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput)
    }

    /// Fewest messages a run must have measured for this figure to stand on more than a few of
    /// them.
    pub fn messages_min(self) -> u64 {
        match self {
            Self::Quantile(share) => (EXTREMES_MIN / (1.0 - share).max(1e-9)).round() as u64,
            _ => 1,
        }
    }

    /// Its value in a run; `None`: the run has not measured it.
    pub fn of(self, run: &RunData) -> Option<f64> {
        let latencies = Some(&run.latencies).filter(|all| all.total() >= self.messages_min());
        let value = match self {
            Self::Quantile(share) => latencies.map(|all| all.quantile(share) as f64),
            Self::Mean => latencies.map(Distribution::mean),
            Self::Throughput => run.throughput,
            Self::Cpu => run.cpu_us,
            Self::Memory => run.bytes,
        };
        // Shifts are ratios: a figure that is not above 0 has none.
        value.filter(|value| *value > 0.0 && value.is_finite())
    }
}

/// A percentile stands on at least so many messages above it.
const EXTREMES_MIN: f64 = 10.0;

/// `p50`, `p99.9`.
pub fn percentile(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_lowest_latency_that_enough_do_not_exceed() {
        let all = Distribution::new(vec![(30, 1), (10, 5), (20, 4)]);
        assert_eq!((all.quantile(0.5), all.quantile(0.51), all.quantile(0.9)), (10, 20, 20));
        assert_eq!((all.quantile(1.0), all.total()), (30, 10));
        assert!((all.mean() - 16.0).abs() < 1e-9);
        assert_eq!(Distribution::default().quantile(0.5), 0);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let parts = [vec![(1, 2), (5, 1)], vec![(5, 3)], vec![]].map(Distribution::new);
        assert_eq!(Distribution::merged(&parts), Distribution::new(vec![(1, 2), (5, 4)]));
    }

    #[test]
    fn percentile_of_too_few_messages_is_no_figure() {
        let run = |count| RunData {
            latencies: Distribution::new(vec![(7, count)]),
            ..RunData::default()
        };
        assert_eq!(Metric::Quantile(0.999).of(&run(9_999)), None);
        assert_eq!(Metric::Quantile(0.999).of(&run(10_000)), Some(7.0));
        assert_eq!(Metric::Throughput.of(&run(10_000)), None);
    }

    #[test]
    fn percentiles_are_named_without_needless_digits() {
        assert_eq!([0.5, 0.99, 0.999, 0.9999].map(percentile), ["p50", "p99", "p99.9", "p99.99"]);
    }
}
