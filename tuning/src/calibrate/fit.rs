//! Least squares: which multiples of what was opened explain what was seen.
//!
//! Several things are seen of the same openings (a column for each slab cache), so the design is
//! inverted once and each column costs one multiplication.

/// Columns are brought to length 1; a pivot below this means that two kinds of openings were never
/// varied apart.
const PIVOT_LEAST: f64 = 1e-9;

/// One coefficient.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// Per opening.
    pub value: f64,
    /// Standard error of it.
    pub error: f64,
}

/// A design whose rows are observations and whose columns are kinds of openings.
#[derive(Clone, Debug)]
pub struct Design {
    rows: Vec<Vec<f64>>,
    /// Length each column had.
    lengths: Vec<f64>,
    /// Of the matrix of products.
    inverse: Vec<Vec<f64>>,
}

impl Design {
    /// `None` if there are no more rows than columns, or a column can be had from the others.
    #[must_use]
    pub fn new(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        let columns = rows.first()?.len();
        if rows.len() <= columns || rows.iter().any(|row| row.len() != columns) {
            return None;
        }
        let lengths: Vec<f64> = (0..columns)
            .map(|column| rows.iter().map(|row| row[column].powi(2)).sum::<f64>().sqrt())
            .collect();
        if lengths.contains(&0.0) {
            return None;
        }
        for row in &mut rows {
            row.iter_mut().zip(&lengths).for_each(|(value, length)| *value /= length);
        }
        let product = |one: usize, other: usize| rows.iter().map(|row| row[one] * row[other]).sum();
        let squares: Vec<Vec<f64>> = (0..columns)
            .map(|one| (0..columns).map(|other| product(one, other)).collect())
            .collect();
        let inverse = inverted(squares)?;
        Some(Self { rows, lengths, inverse })
    }

    /// Coefficients of `seen`, one value per row.
    ///
    /// # Panics
    /// If there is not one value per row.
    #[must_use]
    pub fn solve(&self, seen: &[f64]) -> Vec<Estimate> {
        assert_eq!(seen.len(), self.rows.len(), "one value for each observation");
        let columns = self.inverse.len();
        let products: Vec<f64> = (0..columns)
            .map(|column| self.rows.iter().zip(seen).map(|(row, seen)| row[column] * seen).sum())
            .collect();
        let values: Vec<f64> = self.inverse.iter().map(|row| dot(row, &products)).collect();
        let left: f64 =
            self.rows.iter().zip(seen).map(|(row, seen)| (seen - dot(row, &values)).powi(2)).sum();
        let variance = left / (self.rows.len() - columns) as f64;
        (0..columns)
            .map(|at| Estimate {
                value: values[at] / self.lengths[at],
                error: (variance * self.inverse[at][at]).max(0.0).sqrt() / self.lengths[at],
            })
            .collect()
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// By elimination with row exchange.
fn inverted(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let size = matrix.len();
    let mut inverse: Vec<Vec<f64>> =
        (0..size).map(|row| (0..size).map(|at| f64::from(row == at)).collect()).collect();
    for at in 0..size {
        let pivot = (at..size)
            .max_by(|one, other| matrix[*one][at].abs().total_cmp(&matrix[*other][at].abs()))?;
        if matrix[pivot][at].abs() <= PIVOT_LEAST {
            return None;
        }
        matrix.swap(at, pivot);
        inverse.swap(at, pivot);
        let factor = matrix[at][at].recip();
        scale(&mut matrix[at], factor);
        scale(&mut inverse[at], factor);
        for row in (0..size).filter(|row| *row != at) {
            let factor = matrix[row][at];
            let (from, of) = (matrix[at].clone(), inverse[at].clone());
            take_away(&mut matrix[row], &from, factor);
            take_away(&mut inverse[row], &of, factor);
        }
    }
    Some(inverse)
}

fn scale(row: &mut [f64], factor: f64) {
    row.iter_mut().for_each(|value| *value *= factor);
}

fn take_away(row: &mut [f64], from: &[f64], factor: f64) {
    row.iter_mut().zip(from).for_each(|(value, from)| *value -= factor * from);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kinds opened one after the other, and a constant.
    fn rows() -> Vec<Vec<f64>> {
        (0..=10)
            .map(|step| vec![1.0, f64::from(step.min(5)), f64::from((step - 5).max(0))])
            .collect()
    }

    #[test]
    fn what_was_mixed_is_told_apart_and_an_exact_fit_has_no_error() {
        let design = Design::new(rows()).unwrap();
        let seen: Vec<f64> = rows().iter().map(|row| 40.0 + 3.0 * row[1] - 0.5 * row[2]).collect();
        let found = design.solve(&seen);
        for (found, expected) in found.iter().zip([40.0, 3.0, -0.5]) {
            assert!((found.value - expected).abs() < 1e-9, "{found:?}");
            assert!(found.error < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn the_error_of_a_slope_is_the_one_of_the_textbook() {
        // Residuals of +1 and -1 in turn about a line.
        let rows: Vec<Vec<f64>> = (0..8).map(|at| vec![1.0, f64::from(at)]).collect();
        let seen: Vec<f64> =
            (0..8).map(|at| f64::from(2 * at) + if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let slope = Design::new(rows.clone()).unwrap().solve(&seen)[1];
        let mean = 3.5;
        let spread: f64 = rows.iter().map(|row| (row[1] - mean).powi(2)).sum();
        let intercept = Design::new(rows.clone()).unwrap().solve(&seen)[0];
        let left: f64 = rows
            .iter()
            .zip(&seen)
            .map(|(row, seen)| (seen - intercept.value - slope.value * row[1]).powi(2))
            .sum();
        let expected = (left / 6.0 / spread).sqrt();
        assert!((slope.error - expected).abs() < 1e-9, "{slope:?} {expected}");
        assert!((slope.value - 2.0).abs() < 0.2);
    }

    #[test]
    fn kinds_that_were_never_varied_apart_have_no_answer() {
        let together = (0..9).map(|at| vec![1.0, f64::from(at), f64::from(2 * at)]).collect();
        assert!(Design::new(together).is_none());
        assert!(Design::new(vec![vec![1.0, 2.0]; 2]).is_none(), "too few observations");
    }
}
