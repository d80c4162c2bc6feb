//! How far two sides are apart, judged by how far runs of the same side are.
//!
//! A figure's logarithm in run i is taken as `level + shift · side + drift · order + rest`. The
//! machine's slow drift stands in the order of the runs, which is why they are interleaved; the
//! rest's variance, and so the error of the shift, comes from the runs themselves, with Student's
//! t for their few degrees of freedom. Drawing five runs again with replacement instead would
//! promise 95 % and hold 87 % (the tests measure it). What a run alone says of its
//! spread ([`super::blocks`]) is a lower bound of the rest: five runs may be close by chance.

use super::student;

/// Fewest runs of a side from which on the drift is estimated too; fewer leave no freedom for it.
pub const DRIFT_RUNS_MIN: usize = 4;

/// Above it, half of what separates the sides is also what separates early from late runs.
const CONFOUNDING_MAX: f64 = 2.0;

/// One run's figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Belongs to the second side.
    pub other: bool,
    /// Place among all the runs in order of time.
    pub order: f64,
    /// Logarithm of the figure.
    pub logarithm: f64,
    /// Standard deviation of the logarithm as the run alone tells it, 0 if it does not.
    pub within: f64,
    /// Independent pieces that `within` rests on.
    pub pieces: f64,
}

/// A shift with its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Logarithm of the second side's figure less that of the first.
    pub shift: f64,
    /// Its standard error.
    pub error: f64,
    /// Degrees of freedom of the error.
    pub degrees: f64,
}

impl Fit {
    /// Chance of a shift at least as large if there is none.
    pub fn chance(&self) -> f64 {
        student::two_sided(self.shift / self.error, self.degrees)
    }

    /// Half the width of the interval that holds the true shift with this confidence.
    pub fn half_width(&self, confidence: f64) -> f64 {
        student::quantile(1.0 - confidence, self.degrees) * self.error
    }

    /// Smallest true shift that is called significant at `level` in 4 of 5 comparisons.
    pub fn detectable(&self, level: f64) -> f64 {
        // 4 of 5 lie above the mean less this many errors: two-sided 0.4 is one-sided 0.2.
        let margin = student::quantile(0.4, self.degrees);
        (student::quantile(level, self.degrees) + margin) * self.error
    }
}

/// Fits the shift; `None` if there is not a run on each side, or no error can be told.
/// `resolution`: standard deviation that the figure has from its rounding alone.
pub fn fit(points: &[Point], resolution: f64) -> Option<Fit> {
    let count = |other: bool| points.iter().filter(|point| point.other == other).count();
    let (first, second) = (count(false), count(true));
    if first == 0 || second == 0 {
        return None;
    }
    let runs = points.len() as f64;
    let within = points.iter().map(|point| point.within.powi(2)).sum::<f64>() / runs;
    let least = within.max(resolution.powi(2));
    if points.len() < 3 {
        let pieces = points.iter().map(|point| point.pieces).fold(f64::INFINITY, f64::min);
        let told = points.iter().all(|point| point.within > 0.0) && pieces >= 2.0;
        let shift = difference(points);
        // Two runs each with as many pieces less their means.
        let degrees = (2.0 * (pieces - 1.0)).max(1.0);
        return told.then(|| Fit { shift, error: (2.0 * least).sqrt(), degrees });
    }
    let drift = first.min(second) >= DRIFT_RUNS_MIN;
    let sides = apart_from_order(points, drift, |point| f64::from(u8::from(point.other)));
    let figures = apart_from_order(points, drift, |point| point.logarithm);
    let square: f64 = sides.iter().map(|side| side * side).sum();
    if square <= 0.0 {
        return None;
    }
    let product: f64 = sides.iter().zip(&figures).map(|(side, figure)| side * figure).sum();
    let shift = product / square;
    let rests = sides.iter().zip(&figures).map(|(side, figure)| figure - shift * side);
    let degrees = runs - if drift { 3.0 } else { 2.0 };
    let between = rests.map(|rest| rest * rest).sum::<f64>() / degrees;
    Some(Fit { shift, error: (between.max(least) / square).sqrt(), degrees })
}

fn difference(points: &[Point]) -> f64 {
    let mean = |other: bool| {
        let side = points.iter().filter(|point| point.other == other);
        let (sum, count) = side.fold((0.0, 0.0), |(s, c), point| (s + point.logarithm, c + 1.0));
        sum / count
    };
    mean(true) - mean(false)
}

/// What mean and, if asked, a straight line over the order do not explain.
fn apart_from_order(points: &[Point], drift: bool, of: impl Fn(&Point) -> f64) -> Vec<f64> {
    let runs = points.len() as f64;
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / runs;
    let (order, level) = (mean(&|point| point.order), mean(&of));
    let square: f64 = points.iter().map(|point| (point.order - order).powi(2)).sum();
    let product: f64 = points.iter().map(|point| (point.order - order) * (of(point) - level)).sum();
    let slope = if drift && square > 0.0 { product / square } else { 0.0 };
    points.iter().map(|point| of(point) - level - slope * (point.order - order)).collect()
}

/// The runs of both sides alternate enough to tell a shift from a drift.
pub fn is_interleaved(points: &[Point]) -> bool {
    let side = |point: &Point| f64::from(u8::from(point.other));
    let square = |drift| {
        let rests = apart_from_order(points, drift, side);
        rests.iter().map(|rest| rest * rest).sum::<f64>()
    };
    square(false) <= CONFOUNDING_MAX * square(true)
}

/// Chances adjusted for having looked at all of them (Holm 1979): those at or below a level are
/// significant, with at most that chance of a single false one among them all.
pub fn adjusted(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut adjusted = vec![1.0; chances.len()];
    let mut highest: f64 = 0.0;
    for (place, at) in order.into_iter().enumerate() {
        let left = (chances.len() - place) as f64;
        highest = highest.max((chances[at] * left).min(1.0));
        adjusted[at] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(sides: &str, logarithm: impl Fn(usize, bool) -> f64) -> Vec<Point> {
        let runs = sides.chars().enumerate().map(|(at, side)| {
            let other = side == 'B';
            let logarithm = logarithm(at, other);
            Point { other, order: at as f64, logarithm, within: 0.0, pieces: 10.0 }
        });
        runs.collect()
    }

    #[test]
    fn straight_drift_of_interleaved_runs_does_not_touch_the_shift() {
        let noise = [0.01, -0.02, 0.0, 0.01, 0.02, -0.01, -0.01, 0.02, 0.0, -0.02];
        let with = |slope: f64| {
            let runs = points("ABABABABAB", |at, other| {
                noise[at] + slope * at as f64 + if other { 0.1 } else { 0.0 }
            });
            fit(&runs, 0.0).unwrap()
        };
        let (still, drifting) = (with(0.0), with(0.5));
        assert!((still.shift - 0.1).abs() < 0.02, "{still:?}");
        assert!((still.shift - drifting.shift).abs() < 1e-9, "{drifting:?}");
        assert!((still.error - drifting.error).abs() < 1e-9, "{drifting:?}");
        assert_eq!(still.degrees, 7.0);
    }

    #[test]
    fn error_of_runs_without_order_is_that_of_the_two_sample_t_test() {
        // Means 2 and 3, pooled variance 1, so the error is sqrt(2/3).
        let values = [1.0, 2.0, 2.0, 3.0, 3.0, 4.0];
        let fit = fit(&points("ABABAB", |at, _| values[at]), 0.0).unwrap();
        assert!((fit.shift - 1.0).abs() < 1e-12 && fit.degrees == 4.0);
        assert!((fit.error - (2.0f64 / 3.0).sqrt()).abs() < 1e-12, "{fit:?}");
    }

    #[test]
    fn runs_that_agree_by_chance_are_held_to_their_own_spread() {
        let mut runs = points("ABABABABAB", |_, _| 1.0);
        runs.iter_mut().for_each(|run| run.within = 0.1);
        let fit = fit(&runs, 0.0).unwrap();
        assert!(fit.error > 0.06, "{fit:?}");
    }

    #[test]
    fn one_side_after_the_other_is_not_interleaved() {
        let is = |sides| is_interleaved(&points(sides, |_, _| 0.0));
        assert!(is("ABABABABAB") && is("ABBAABBAAB"));
        assert!(!is("AAAAABBBBB") && !is("BBBBAABAAA"));
    }

    #[test]
    fn chances_are_adjusted_as_by_holm() {
        let adjusted = adjusted(&[0.01, 0.04, 0.03, 0.5]);
        for (found, expected) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.5]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
    }
}
