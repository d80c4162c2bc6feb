//! Median and spread of a few runs.

use std::fmt;

/// Runs of one side, one figure each.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// Adds one run's figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle; of an even number the mean of the two in the middle; NaN of none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }
}

impl fmt::Display for Runs {
    /// `6.90 (6.71 to 7.20)`; without decimals from 100 on, where they say nothing.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let decimals = if most < 100.0 { 2 } else { 0 };
        let median = self.median();
        out.pad(&format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert_eq!(Runs(vec![9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(Runs(vec![4.0, 1.0, 2.0, 100.0]).median(), 3.0);
        assert!(Runs::default().median().is_nan());
    }

    #[test]
    fn spread_is_printed_beside_the_median() {
        assert_eq!(Runs(vec![2.0, 1.0, 4.5]).to_string(), "2.00 (1.00 to 4.50)");
        assert_eq!(Runs(vec![20.4, 10.0, 450.0]).to_string(), "20 (10 to 450)");
    }
}
