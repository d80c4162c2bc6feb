//! Axes of the figures: what a position means, where its ticks stand and how they read. An axis
//! is a coordinate of `plotters`, with the ticks chosen here because the library knows neither
//! log-nines nor units.

use std::ops::Range;

use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};

use super::number;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Equal factors at equal distances.
    Log,
    /// Values are nines: 1 is p90, 2 is p99, 3 is p99.9; evenly.
    Nines,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds, shown with the unit that fits.
    Microseconds,
    /// Seconds, minutes or hours: the axis says which by `divisor`.
    Span,
    /// Messages, connections.
    Count,
    /// Bytes, in binary multiples.
    Bytes,
    /// Processors in use.
    Cores,
    /// Per cent.
    Percent,
    /// Nines, shown as percentiles.
    Percentile,
}

impl Unit {
    /// Value as text.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Microseconds => number::time(value),
            Self::Span | Self::Cores => number::digits(value),
            Self::Count => number::short(value),
            Self::Bytes => number::bytes(value),
            Self::Percent => format!("{}\u{a0}%", number::digits(value)),
            Self::Percentile => percentile(value),
        }
    }
}

/// Nines as the name of a percentile: `p50`, `p99.9`.
pub fn percentile(nines: f64) -> String {
    let share = 100.0 * (1.0 - 10f64.powf(-nines));
    let decimals = (nines.ceil() as usize).saturating_sub(2).min(6);
    let text = format!("{share:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
    format!("p{}", text.trim_end_matches('.'))
}

/// One axis of a figure.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// Spread of values.
    pub scale: Scale,
    /// Unit of values.
    pub unit: Unit,
    /// Lowest value.
    pub low: f64,
    /// Highest value.
    pub high: f64,
    ticks: Vec<f64>,
    light: Vec<f64>,
}

/// Ticks of a linear axis: about so many.
const TICKS: f64 = 6.0;

/// Room above the highest value of a linear axis, as a factor.
const HEADROOM: f64 = 1.03;

/// Span of a logarithmic axis at least, as a factor: nearly equal values shall not fill a figure.
const LOG_SPAN_MIN: f64 = 5.0;

/// Decades of a logarithmic axis up to which ticks stand at 2 and 5 as well.
const FINE_DECADES: f64 = 2.4;

impl Axis {
    /// An even axis from 0 to at least `high`.
    pub fn linear(label: &str, unit: Unit, high: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 / HEADROOM };
        let whole = matches!(unit, Unit::Count);
        let step = match unit {
            Unit::Bytes => binary_step(high / TICKS),
            _ => step(high / TICKS),
        };
        let step = if whole { step.max(1.0) } else { step };
        // A line at the very top of a figure looks like its frame.
        let count = (high * HEADROOM / step - 1e-9).ceil().max(1.0) as u32;
        let ticks: Vec<f64> = (0..=count).map(|index| f64::from(index) * step).collect();
        let high = f64::from(count) * step;
        Self::new(label, Scale::Linear, unit, (0.0, high), ticks, Vec::new())
    }

    /// An even axis that holds 0 and both ends, which may be below it.
    pub fn spread(label: &str, unit: Unit, (low, high): (f64, f64)) -> Self {
        let width = (high.max(0.0) - low.min(0.0)).max(1e-3);
        let step = step(width / TICKS);
        let first = (low.min(0.0) / step + 1e-9).floor() as i64;
        let last = ((high.max(0.0) / step - 1e-9).ceil() as i64).max(first + 1);
        let ticks: Vec<f64> = (first..=last).map(|index| index as f64 * step).collect();
        let ends = (first as f64 * step, last as f64 * step);
        Self::new(label, Scale::Linear, unit, ends, ticks, Vec::new())
    }

    /// Time of a run between two moments in seconds, in the unit that fits; what a second is on
    /// this axis stands beside it.
    pub fn time(what: &str, (from_s, to_s): (f64, f64)) -> (Self, f64) {
        let (unit, second) = match to_s - from_s {
            ..=300.0 => ("s", 1.0),
            ..=10_800.0 => ("min", 1.0 / 60.0),
            _ => ("h", 1.0 / 3600.0),
        };
        let (low, high) = (from_s * second, to_s.max(from_s + 1e-3) * second);
        let step = step((high - low) / 10.0);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last).map(|index| index as f64 * step).collect();
        let label = format!("{what} ({unit})");
        (Self::new(&label, Scale::Linear, Unit::Span, (low, high), ticks, Vec::new()), second)
    }

    /// Runs in their order, from 1.
    pub fn runs(label: &str, count: usize) -> Self {
        let ticks = (1..=count).map(|run| run as f64).collect();
        let ends = (0.5, count as f64 + 0.5);
        Self::new(label, Scale::Linear, Unit::Span, ends, ticks, Vec::new())
    }

    /// A logarithmic axis around the values from `low` to `high`.
    pub fn log(label: &str, unit: Unit, low: f64, high: f64) -> Self {
        let low = if low.is_finite() { low.max(1.0) } else { 1.0 };
        let high = if high.is_finite() { high.max(low) } else { low * 10.0 };
        let low = fine(low, f64::floor);
        let high = fine(high.max(low * LOG_SPAN_MIN), f64::ceil);
        let decades = (high / low).log10();
        let mut ticks = Vec::new();
        let mut light = Vec::new();
        for decade in low.log10().floor() as i32..=high.log10().ceil() as i32 {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(decade);
                if value < low * 0.999 || value > high * 1.001 {
                    continue;
                }
                if digit == 1 || (decades <= FINE_DECADES && (digit == 2 || digit == 5)) {
                    ticks.push(value);
                } else {
                    light.push(value);
                }
            }
        }
        Self::new(label, Scale::Log, unit, (low, high), ticks, light)
    }

    /// Percentiles up to `nines` nines.
    pub fn nines(label: &str, nines: f64) -> Self {
        let high = nines.clamp(2.0, 7.0);
        // The first tick is p50, whose nines are log10(2).
        let ticks = std::iter::once(2f64.log10());
        let ticks = ticks.chain((1..=high as u32).map(f64::from)).collect();
        Self::new(label, Scale::Nines, Unit::Percentile, (0.0, high), ticks, Vec::new())
    }

    fn new(
        label: &str,
        scale: Scale,
        unit: Unit,
        (low, high): (f64, f64),
        ticks: Vec<f64>,
        light: Vec<f64>,
    ) -> Self {
        Self { label: label.to_owned(), scale, unit, low, high, ticks, light }
    }

    /// Where a value stands between the ends, 0 to 1; what is beyond an end stands at it.
    pub fn position(&self, value: f64) -> f64 {
        let (low, high, value) = match self.scale {
            Scale::Log => (self.low.ln(), self.high.ln(), value.max(self.low).ln()),
            Scale::Linear | Scale::Nines => (self.low, self.high, value),
        };
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Values with a tick and a text.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// Text at a tick.
    pub fn text(&self, value: f64) -> String {
        self.unit.text(value)
    }
}

/// 1, 2, 5 times a power of ten, at or above.
fn step(at_least: f64) -> f64 {
    let decade = 10f64.powf(at_least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps.into_iter().find(|step| step * decade >= at_least * 0.999);
    found.unwrap_or(10.0) * decade
}

/// The same for bytes: a power of two, which reads well in binary units.
fn binary_step(at_least: f64) -> f64 {
    2f64.powf(at_least.log2().ceil()).max(1.0)
}

/// Next value with digit 1, 2 or 5 in the direction of `round`.
fn fine(value: f64, round: fn(f64) -> f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let down = round(0.5) == 0.0;
    let digits = [1.0, 2.0, 5.0, 10.0];
    let digit = if down {
        digits.into_iter().rev().find(|digit| digit * decade <= value * 1.001)
    } else {
        digits.into_iter().find(|digit| digit * decade >= value * 0.999)
    };
    digit.unwrap_or(1.0) * decade
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (self.position(*value) * length).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.clone(),
            KeyPointWeight::Any => self.light.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.text(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().iter().map(|tick| axis.text(*tick).replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn nines_read_as_percentiles() {
        let axis = Axis::nines("percentile", 5.0);
        assert_eq!(texts(&axis), ["p50", "p90", "p99", "p99.9", "p99.99", "p99.999"]);
        assert!((axis.position(2.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_ends_at_a_tick_above_the_highest() {
        let axis = Axis::linear("messages per second", Unit::Count, 970.0);
        assert_eq!(texts(&axis), ["0", "200", "400", "600", "800", "1000"]);
        let full = Axis::linear("messages per second", Unit::Count, 1000.0);
        assert_eq!(texts(&full).last().map(String::as_str), Some("1200"), "room above");
        let axis = Axis::linear("memory", Unit::Bytes, 1.2 * 1024.0 * 1024.0 * 1024.0);
        let bytes = ["0 B", "256 MiB", "512 MiB", "768 MiB", "1 GiB", "1.25 GiB"];
        assert_eq!(texts(&axis), bytes);
        let axis = Axis::linear("reconnects", Unit::Count, 0.0);
        assert_eq!(texts(&axis), ["0", "1"]);
    }

    #[test]
    fn a_logarithmic_axis_has_finer_ticks_the_less_it_spans() {
        let narrow = Axis::log("latency", Unit::Microseconds, 130.0, 900.0);
        assert_eq!(texts(&narrow), ["100 µs", "200 µs", "500 µs", "1 ms"]);
        let wide = Axis::log("latency", Unit::Microseconds, 7.0, 3_000_000.0);
        assert_eq!(texts(&wide)[..3], ["10 µs", "100 µs", "1 ms"]);
        assert_eq!(wide.position(1.0), 0.0);
    }

    #[test]
    fn the_time_axis_takes_the_unit_that_fits() {
        let (axis, second) = Axis::time("time", (-1.5, 95.0));
        assert_eq!((axis.label.as_str(), second), ("time (s)", 1.0));
        assert_eq!(texts(&axis)[..2], ["0", "10"]);
        let (axis, _) = Axis::time("time", (0.0, 1200.0));
        assert_eq!(axis.label, "time (min)");
        assert_eq!(texts(&axis).last().map(String::as_str), Some("20"));
    }
}
