//! Losses: functions of a row's target and scores. The data matrix never enters.
//!
//! The façade's `losses.py` documents each one; here stands its fast form.

use crate::elementary::{exp_nonpositive, log1p_unit};
use crate::error::Error;
use crate::lanes::{sum, vectorized};
use crate::real::Real;

/// ℓ(y, z), averaged over the rows by the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// (z − y)²
    Mse,
    /// log(1 + eᶻ) − y z, with y 0 or 1
    LogLoss,
    /// log Σ eᶻᵏ − z_y, with y the number of a class
    Softmax { n_classes: usize },
}

impl Loss {
    /// The loss that the façade calls `name`, with `width` scores a row.
    pub fn from_name(name: &str, width: usize) -> Result<Self, Error> {
        match (name, width) {
            ("mse", 1) => Ok(Self::Mse),
            ("log_loss", 1) => Ok(Self::LogLoss),
            ("log_loss", n_classes) => Ok(Self::Softmax { n_classes }),
            _ => Err(Error::Unknown {
                name: "loss",
                given: format!("{name} with {width} scores"),
                known: "mse, log_loss",
            }),
        }
    }

    /// Scores per row: 1, or the number of classes.
    pub fn width(self) -> usize {
        match self {
            Self::Mse | Self::LogLoss => 1,
            Self::Softmax { n_classes } => n_classes,
        }
    }

    /// L with 0 ≼ ∂²ℓ/∂z² ≼ L·I.
    pub fn curvature(self) -> f64 {
        match self {
            Self::Mse => 2.0,
            Self::LogLoss => 0.25,
            // diag(p) − p pᵀ: by Gershgorin at most max 2 p (1 − p).
            Self::Softmax { .. } => 0.5,
        }
    }

    /// An error unless every target can index a class, so that no kernel need check.
    pub fn admit<T: Real>(self, targets: &[T]) -> Result<(), Error> {
        let Self::Softmax { n_classes } = self else {
            return Ok(());
        };
        for (row, target) in targets.iter().enumerate() {
            let value = target.to_f64();
            if !(value >= 0.0 && value < n_classes as f64 && value.fract() == 0.0) {
                return Err(Error::ClassNumber { row, value, n_classes });
            }
        }
        Ok(())
    }

    /// Returns Σ sᵢ ℓ(yᵢ, zᵢ) over a block of rows and replaces each score by sᵢ ∂ℓ/∂z.
    ///
    /// `scores` is rows × width; `values` is scratch, one entry a row.
    pub fn value_and_residual<T: Real>(
        self,
        targets: &[T],
        weights: Option<&[T]>,
        scores: &mut [T],
        values: &mut [T],
    ) -> f64 {
        vectorized(
            #[inline(always)]
            || {
                match self {
                    Self::Mse => pointwise::<SquaredError, T>(targets, scores, values),
                    Self::LogLoss => pointwise::<Logistic, T>(targets, scores, values),
                    Self::Softmax { n_classes } => softmax(n_classes, targets, scores, values),
                }
                if let Some(weights) = weights {
                    weigh(weights, self.width(), scores, values);
                }
            },
        );
        sum(values).to_f64()
    }
}

/// A loss of one score a row: its value and derivative at a point, without branches.
trait Point {
    fn at<T: Real>(y: T, z: T) -> (T, T);
}

struct SquaredError;

impl Point for SquaredError {
    #[inline(always)]
    fn at<T: Real>(y: T, z: T) -> (T, T) {
        let residual = z - y;
        (residual * residual, residual + residual)
    }
}

struct Logistic;

impl Point for Logistic {
    /// With e = exp(−|z|), value and derivative keep their relative accuracy at both ends: nothing of size one is
    /// subtracted from something close to one. The choice between z > 0 and z < 0 is made by two maxima of numbers
    /// in [0, 1], because a conditional would become a branch and keep the loop over a block from being vector code.
    #[inline(always)]
    fn at<T: Real>(y: T, z: T) -> (T, T) {
        let magnitude = z.magnitude();
        let e = exp_nonpositive(-magnitude);
        let positive = z.is_positive();
        let (of_miss, of_hit) = (larger(e, positive), larger(e, T::ONE - positive));
        let numerator = (T::ONE - y) * of_miss - y * of_hit;
        (z * positive - y * z + log1p_unit(e), numerator / (T::ONE + e))
    }
}

#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

#[inline(always)]
fn pointwise<P: Point, T: Real>(targets: &[T], scores: &mut [T], values: &mut [T]) {
    // One index for three slices of one proven length: what the compiler needs to vectorise.
    let n = values.len();
    let (targets, scores) = (&targets[..n], &mut scores[..n]);
    for i in 0..n {
        (values[i], scores[i]) = P::at(targets[i], scores[i]);
    }
}

/// In three sweeps, so that the exponentials of all rows are one loop.
#[inline(always)]
fn softmax<T: Real>(n_classes: usize, targets: &[T], scores: &mut [T], values: &mut [T]) {
    let class = |target: T| target.to_f64() as usize;
    for ((&target, row), value) in targets.iter().zip(scores.chunks_exact_mut(n_classes)).zip(values.iter_mut()) {
        let mut highest = row[0];
        for &score in &row[1..] {
            highest = if score > highest { score } else { highest };
        }
        *value = highest - row[class(target)];
        for score in row {
            *score -= highest;
        }
    }
    for score in scores.iter_mut() {
        *score = exp_nonpositive(*score);
    }
    for ((&target, row), value) in targets.iter().zip(scores.chunks_exact_mut(n_classes)).zip(values) {
        let mut total = T::ZERO;
        for &score in row.iter() {
            total += score;
        }
        *value += total.natural_log();
        for score in row.iter_mut() {
            *score /= total;
        }
        row[class(target)] -= T::ONE;
    }
}

#[inline(always)]
fn weigh<T: Real>(weights: &[T], width: usize, scores: &mut [T], values: &mut [T]) {
    for ((&weight, row), value) in weights.iter().zip(scores.chunks_exact_mut(width)).zip(values) {
        *value *= weight;
        for score in row {
            *score *= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evaluate(loss: Loss, y: f64, scores: &[f64]) -> (f64, Vec<f64>) {
        let (mut residual, mut value) = (scores.to_vec(), [0.0]);
        let sum = loss.value_and_residual(&[y], None, &mut residual, &mut value);
        (sum, residual)
    }

    proptest! {
        /// 0 ≤ ℓ(u) − ℓ(v) − ⟨ℓ′(v), u − v⟩ ≤ ½ L |u − v|²: value, derivative, convexity and curvature at once.
        #[test]
        fn sandwich(
            u in proptest::collection::vec(-50.0f64..50.0, 3),
            v in proptest::collection::vec(-50.0f64..50.0, 3),
            class in 0usize..3,
        ) {
            for loss in [Loss::Mse, Loss::LogLoss, Loss::Softmax { n_classes: 3 }] {
                let width = loss.width();
                let (u, v) = (&u[..width], &v[..width]);
                let y = class.min(width.max(2) - 1) as f64;
                let (value_u, _) = evaluate(loss, y, u);
                let (value_v, slope) = evaluate(loss, y, v);
                let linear: f64 = slope.iter().zip(u).zip(v).map(|((s, u), v)| s * (u - v)).sum();
                let square: f64 = u.iter().zip(v).map(|(u, v)| (u - v) * (u - v)).sum();
                let gap = value_u - value_v - linear;
                let slack = 16.0 * f64::EPSILON * (value_u.abs() + value_v.abs() + linear.abs() + 1.0);
                prop_assert!(gap >= -slack && gap <= 0.5 * loss.curvature() * square + slack, "{loss:?} {gap}");
            }
        }

        #[test]
        fn softmax_of_two_is_logistic(a in -40.0f64..40.0, b in -40.0f64..40.0, class in 0usize..2) {
            let (two, slope_two) = evaluate(Loss::Softmax { n_classes: 2 }, class as f64, &[a, b]);
            let (one, slope_one) = evaluate(Loss::LogLoss, class as f64, &[b - a]);
            prop_assert!((two - one).abs() <= 1e-14 * (1.0 + one));
            prop_assert!((slope_two[1] - slope_one[0]).abs() <= 1e-15);
        }
    }

    #[test]
    fn extremes_are_finite() {
        for z in [-1e300, -745.0, 0.0, 745.0, 1e300] {
            for y in [0.0, 1.0] {
                let (value, slope) = evaluate(Loss::LogLoss, y, &[z]);
                assert!(value.is_finite() && value >= 0.0 && slope[0].abs() <= 1.0);
            }
        }
        let (value, slope) = evaluate(Loss::Softmax { n_classes: 3 }, 0.0, &[1e4, -1e4, 0.0]);
        assert!(value < 1e-300 && slope[0].abs() < 1e-300);
    }

    #[test]
    fn class_numbers_are_checked() {
        let loss = Loss::Softmax { n_classes: 3 };
        assert!(loss.admit(&[0.0f32, 1.0, 2.0]).is_ok());
        for bad in [3.0, -1.0, 0.5, f64::NAN] {
            assert!(loss.admit(&[bad]).is_err());
        }
    }
}
