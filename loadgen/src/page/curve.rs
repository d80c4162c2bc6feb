//! What histograms look like: percentile curves and heat maps.

use hdrhistogram::Histogram;

use super::figure::{Field, HEATS};
use crate::tally::Latency;

/// Points of a percentile curve for each factor of ten of rarity.
const POINTS_PER_NINE: f64 = 40.0;

/// Columns of a heat map at most: more are narrower than a person sees.
const COLUMNS_MAX: usize = 180;

/// Rows of a heat map for each factor of ten of latency.
const ROWS_PER_DECADE: f64 = 12.0;

/// Nines of the highest of so many values: of 1000 values the highest says something of p99.9.
pub fn nines_of(count: u64) -> f64 {
    (count.max(1) as f64).log10()
}

/// Percentile curve: (nines, microseconds), from the lowest to the highest value. It ends where
/// one single value is left, because beyond that a curve would be invented.
pub fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let last = nines_of(histogram.len());
    let steps = (last * POINTS_PER_NINE).ceil() as u32;
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(steps as usize + 2);
    for step in 0..=steps {
        let nines = (f64::from(step) / POINTS_PER_NINE).min(last);
        let share = 1.0 - 10f64.powf(-nines);
        let us = histogram.value_at_quantile(share).max(1) as f64;
        // Of a run of equal values only the ends say something.
        if let [.., before, middle] = points[..]
            && before.1 == us
            && middle.1 == us
        {
            points.pop();
        }
        points.push((nines, us));
    }
    points
}

/// Lowest and highest value of histograms, microseconds.
pub fn span<'a>(histograms: impl IntoIterator<Item = &'a Histogram<u64>>) -> Option<(f64, f64)> {
    let filled = histograms.into_iter().filter(|histogram| !histogram.is_empty());
    filled.fold(None, |joined, histogram| {
        join(joined, Some((histogram.min().max(1) as f64, histogram.max().max(1) as f64)))
    })
}

/// The span that holds both.
pub fn join(one: Option<(f64, f64)>, other: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (one, other) {
        (Some((low, high)), Some((lower, higher))) => Some((low.min(lower), high.max(higher))),
        (one, other) => one.or(other),
    }
}

/// Latencies between two moments in seconds.
pub type Piece = (f64, f64, Option<Latency>);

/// Counts of a heat map.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    /// From and to of each column, seconds.
    columns: Vec<(f64, f64)>,
    /// Column, row and how many.
    counts: Vec<(usize, usize, u64)>,
    /// Most in one field.
    pub most: u64,
    /// Lowest and highest latency, microseconds.
    pub span: Option<(f64, f64)>,
}

/// Row of a latency.
fn row(us: u64) -> usize {
    ((us.max(1) as f64).log10() * ROWS_PER_DECADE) as usize
}

/// Latency at the lower end of a row, microseconds.
fn row_us(row: usize) -> f64 {
    10f64.powf(row as f64 / ROWS_PER_DECADE)
}

impl Heat {
    /// Counts the latencies of `count` pieces in order; one is held in memory at a time.
    pub fn new(pieces: impl Iterator<Item = Piece>, count: usize) -> Self {
        let merged = count.div_ceil(COLUMNS_MAX).max(1);
        let mut heat = Self::default();
        let mut rows: Vec<u64> = Vec::new();
        for (index, (from_s, to_s, latency)) in pieces.enumerate() {
            if index.is_multiple_of(merged) {
                heat.end_column(&mut rows);
                heat.columns.push((from_s, to_s));
            }
            heat.columns.last_mut().expect("the first piece begins a column").1 = to_s;
            let Some(latency) = latency.filter(|latency| latency.count() > 0) else { continue };
            let histogram = latency.histogram();
            heat.span = join(heat.span, span([histogram]));
            for value in histogram.iter_recorded() {
                let row = row(value.value_iterated_to());
                if rows.len() <= row {
                    rows.resize(row + 1, 0);
                }
                rows[row] += value.count_since_last_iteration();
            }
        }
        heat.end_column(&mut rows);
        heat.most = heat.counts.iter().map(|(_, _, count)| *count).max().unwrap_or(0);
        heat
    }

    fn end_column(&mut self, rows: &mut Vec<u64>) {
        let column = self.columns.len().saturating_sub(1);
        let filled = rows.drain(..).enumerate().filter(|(_, count)| *count > 0);
        self.counts.extend(filled.map(|(row, count)| (column, row, count)));
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Seconds of a column.
    pub fn column_s(&self) -> f64 {
        self.columns.first().map_or(0.0, |(from, to)| to - from)
    }

    /// Fields, coloured by the logarithm of their count up to `most`; `second` is what a second
    /// is on the horizontal axis.
    pub fn fields(&self, most: u64, second: f64) -> Vec<Field> {
        let mut fields: Vec<Field> = self
            .counts
            .iter()
            .map(|(column, row, count)| Field {
                heat: step(*count, most),
                x: (self.columns[*column].0 * second, self.columns[*column].1 * second),
                y: (row_us(*row), row_us(*row + 1)),
            })
            .collect();
        // Equal ones side by side are one wider field: fewer elements for the browser.
        fields.sort_by(|a, b| {
            (a.y.0, a.x.0).partial_cmp(&(b.y.0, b.x.0)).expect("places are numbers")
        });
        fields.dedup_by(|next, field| {
            let joins = next.y.0 == field.y.0
                && next.heat == field.heat
                && (next.x.0 - field.x.1).abs() < (next.x.1 - next.x.0) / 2.0;
            if joins {
                field.x.1 = next.x.1;
            }
            joins
        });
        fields
    }
}

/// Step of the colour scale for a count.
fn step(count: u64, most: u64) -> usize {
    let share = ((count.max(1) as f64).ln() / (most.max(2) as f64).ln()).clamp(0.0, 1.0);
    ((share * HEATS as f64) as usize).min(HEATS - 1)
}

/// Names of the colour steps up to `most`, and how many steps tell different counts.
pub fn step_names(most: u64) -> Vec<String> {
    let bound = |step: usize| (most.max(2) as f64).powf(step as f64 / HEATS as f64).ceil() as u64;
    (0..HEATS)
        .map(|step| {
            let (low, next) = (bound(step), bound(step + 1));
            let high = if step + 1 == HEATS { most } else { next.saturating_sub(1) };
            match high.cmp(&low) {
                std::cmp::Ordering::Less => String::new(),
                std::cmp::Ordering::Equal => super::number::short(low as f64),
                std::cmp::Ordering::Greater => format!(
                    "{}–{}",
                    super::number::short(low as f64),
                    super::number::short(high as f64)
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        for value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn a_curve_runs_from_the_lowest_to_the_highest_and_stops_where_values_end() {
        let points = percentiles(&histogram(1..=1000));
        assert_eq!(points[0], (0.0, 1.0));
        let (nines, us) = *points.last().unwrap();
        assert!((nines - 3.0).abs() < 1e-9, "{nines}");
        assert!((998.0..=1001.0).contains(&us), "{us}");
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert!(percentiles(&histogram([])).is_empty());
    }

    #[test]
    fn equal_values_take_two_points() {
        assert_eq!(percentiles(&histogram([500; 10_000])).len(), 2);
    }

    #[test]
    fn every_value_is_in_one_field_of_the_heat_map() {
        let pieces = (0..400).map(|second| {
            let mut latency = Latency::default();
            latency.record(100 + second);
            latency.record(90_000);
            (second as f64, second as f64 + 1.0, Some(latency))
        });
        let heat = Heat::new(pieces, 400);
        assert_eq!(heat.column_s(), 3.0);
        let total: u64 = heat.counts.iter().map(|(_, _, count)| count).sum();
        assert_eq!(total, 800);
        let fields = heat.fields(heat.most, 1.0);
        let slow: f64 =
            fields.iter().filter(|field| field.y.1 > 80_000.0).map(|f| f.x.1 - f.x.0).sum();
        assert_eq!(slow, 400.0, "133 columns of 3 s and one of 1 s");
    }

    #[test]
    fn colour_steps_grow_with_the_count_and_are_named_without_gaps() {
        assert_eq!((step(1, 10_000), step(10_000, 10_000)), (0, HEATS - 1));
        let names = step_names(10_000);
        assert_eq!(names.len(), HEATS);
        assert!(names[0].starts_with('1'), "{names:?}");
        assert!(names[HEATS - 1].replace('\u{a0}', " ").ends_with("10 k"), "{names:?}");
    }
}
