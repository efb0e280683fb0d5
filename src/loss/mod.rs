//! Losses: functions of a row's target and scores. The data matrix never enters.
//!
//! The façade's `losses.py` documents each one; here stands its fast form.

#![allow(
    clippy::indexing_slicing,
    reason = "`Loss::admit` and `Empirical::new` hold targets to the classes and to the rows; `Pass` cuts both to a block"
)]

mod pointwise;
mod rowwise;

use crate::error::Error;
use crate::lanes::{Kernel, total, vectorized_kernel};
use crate::real::Real;
use pointwise::{HuberAt, Logistic, PoissonAt, SquaredError, SquaredHingeAt, pointwise, second_derivatives};
use rowwise::{cross_entropy, probabilities, softmax, squared_errors};

/// ℓ(y, z), averaged over the rows by the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Σ (zₖ − yₖ)² / k, for k targets
    Mse { n_targets: usize },
    /// log(1 + eᶻ) − y z, with y in [0, 1]
    LogLoss,
    /// log Σ eᶻᵏ − z_y, with y the number of a class
    Softmax { n_classes: usize },
    /// log Σ eᶻᵏ − Σ yₖ zₖ, with y a row of probabilities
    CrossEntropy { n_classes: usize },
    /// ½ r² where |r| ≤ δ, else δ (|r| − ½ δ), with r = z − y
    Huber { delta: f64 },
    /// eᶻ − y z
    Poisson,
    /// max(0, 1 − y z)², with y −1 or 1
    SquaredHinge,
}

impl Loss {
    /// The loss whose kernel the façade calls `name`, with `width` scores a row.
    pub fn from_name(name: &str, width: usize, parameter: f64) -> Result<Self, Error> {
        match name {
            "mse" => Ok(Self::Mse { n_targets: width }),
            "log_loss" => Ok(Self::LogLoss),
            "softmax" => Ok(Self::Softmax { n_classes: width }),
            "softmax_probabilities" => Ok(Self::CrossEntropy { n_classes: width }),
            "huber" => Ok(Self::Huber { delta: parameter }),
            "poisson" => Ok(Self::Poisson),
            "squared_hinge" => Ok(Self::SquaredHinge),
            _ => Err(Error::Unknown {
                name: "loss",
                given: name.to_owned(),
                known: "mse, log_loss, softmax, softmax_probabilities, huber, poisson, squared_hinge",
            }),
        }
    }

    /// Scores per row: the number of targets or classes; 1 for two classes.
    pub fn width(self) -> usize {
        match self {
            Self::Mse { n_targets } => n_targets,
            Self::Softmax { n_classes } | Self::CrossEntropy { n_classes } => n_classes,
            _ => 1,
        }
    }

    /// Numbers per row that say what was observed.
    pub fn target_width(self) -> usize {
        if let Self::Softmax { .. } = self { 1 } else { self.width() }
    }

    /// L with 0 ≼ ∂²ℓ/∂z² ≼ L·I; None if there is no such bound.
    pub fn curvature(self) -> Option<f64> {
        match self {
            Self::Mse { n_targets } => Some(2.0 / n_targets as f64),
            Self::LogLoss => Some(0.25),
            // diag(p) − p pᵀ: by Gershgorin at most max 2 p (1 − p).
            Self::Softmax { .. } | Self::CrossEntropy { .. } => Some(0.5),
            Self::Huber { .. } => Some(1.0),
            Self::Poisson => None,
            Self::SquaredHinge => Some(2.0),
        }
    }

    /// Whether each score has a loss of its own: ∂²ℓ/∂zₖ∂zₗ = 0 for k ≠ l.
    pub fn is_separable(self) -> bool {
        !matches!(self, Self::Softmax { .. } | Self::CrossEntropy { .. })
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
    /// `targets` is rows × `target_width`, `scores` rows × width; `values` is scratch, one entry a row.
    pub fn value_and_residual<T: Real>(
        self,
        targets: &[T],
        weights: Option<&[T]>,
        scores: &mut [T],
        values: &mut [T],
    ) -> f64 {
        vectorized_kernel(Evaluation { loss: self, targets, weights, scores, values });
        total(values)
    }

    /// Replaces the scores of a block by what `second_derivative` needs: ∂²ℓ/∂z², or the probabilities of the classes.
    pub fn prepare_second_derivative<T: Real>(self, targets: &[T], scores: &mut [T]) {
        match self {
            Self::Mse { n_targets } => scores.fill(T::from_f64(2.0 / n_targets as f64)),
            Self::LogLoss => second_derivatives(Logistic, targets, scores),
            Self::Softmax { n_classes } | Self::CrossEntropy { n_classes } => {
                for row in scores.chunks_exact_mut(n_classes) {
                    probabilities(row);
                }
            }
            Self::Huber { delta } => second_derivatives(HuberAt(T::from_f64(delta)), targets, scores),
            Self::Poisson => second_derivatives(PoissonAt, targets, scores),
            Self::SquaredHinge => second_derivatives(SquaredHingeAt, targets, scores),
        }
    }

    /// ∂²ℓ/∂zₖ∂zₗ of a row that `prepare_second_derivative` has prepared.
    #[inline(always)]
    pub fn second_derivative<T: Real>(self, prepared: &[T], k: usize, l: usize) -> T {
        let own = if k == l { prepared[k] } else { T::ZERO };
        if self.is_separable() { own } else { own - prepared[k] * prepared[l] }
    }
}

/// `Loss::value_and_residual` of a block, but for the sum.
struct Evaluation<'a, T> {
    loss: Loss,
    targets: &'a [T],
    weights: Option<&'a [T]>,
    scores: &'a mut [T],
    values: &'a mut [T],
}

impl<T: Real> Kernel for Evaluation<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { loss, targets, weights, scores, values } = self;
        match loss {
            Loss::Mse { n_targets: 1 } => pointwise::<T, FUSED>(SquaredError, targets, scores, values),
            Loss::Mse { n_targets } => squared_errors(n_targets, targets, scores, values),
            Loss::LogLoss => pointwise::<T, FUSED>(Logistic, targets, scores, values),
            Loss::Softmax { n_classes } => softmax::<T, FUSED>(n_classes, targets, scores, values),
            Loss::CrossEntropy { n_classes } => cross_entropy::<T, FUSED>(n_classes, targets, scores, values),
            Loss::Huber { delta } => pointwise::<T, FUSED>(HuberAt(T::from_f64(delta)), targets, scores, values),
            Loss::Poisson => pointwise::<T, FUSED>(PoissonAt, targets, scores, values),
            Loss::SquaredHinge => pointwise::<T, FUSED>(SquaredHingeAt, targets, scores, values),
        }
        if let Some(weights) = weights {
            weigh(weights, loss.width(), scores, values);
        }
    }
}

#[inline(always)]
fn weigh<T: Real>(weights: &[T], width: usize, scores: &mut [T], values: &mut [T]) {
    for ((&weight, row), value) in weights.iter().zip(scores.chunks_exact_mut(width)).zip(values) {
        // Chosen, not multiplied: what weighs nothing may be beyond the range of numbers.
        let counts = weight > T::ZERO;
        *value = if counts { *value * weight } else { T::ZERO };
        for score in row {
            *score = if counts { *score * weight } else { T::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Loss; 8] = [
        Loss::Mse { n_targets: 1 },
        Loss::Mse { n_targets: 3 },
        Loss::LogLoss,
        Loss::Softmax { n_classes: 3 },
        Loss::CrossEntropy { n_classes: 3 },
        Loss::Huber { delta: 1.5 },
        Loss::Poisson,
        Loss::SquaredHinge,
    ];

    fn evaluate(loss: Loss, targets: &[f64], scores: &[f64]) -> (f64, Vec<f64>) {
        let (mut residual, mut value) = (scores.to_vec(), [0.0]);
        let sum = loss.value_and_residual(targets, None, &mut residual, &mut value);
        (sum, residual)
    }

    /// What can be observed: one of three values, or a row of three.
    fn target(loss: Loss, class: usize) -> Vec<f64> {
        match loss {
            Loss::SquaredHinge => vec![if class == 0 { -1.0 } else { 1.0 }],
            Loss::LogLoss => vec![class as f64 / 2.0],
            Loss::CrossEntropy { .. } => vec![0.5 - class as f64 / 4.0, 0.5, class as f64 / 4.0],
            loss => vec![class as f64; loss.target_width()],
        }
    }

    proptest! {
        /// 0 ≤ ℓ(u) − ℓ(v) − ⟨ℓ′(v), u − v⟩ ≤ ½ L |u − v|²: value, derivative, convexity and curvature at once.
        #[test]
        fn sandwich(
            u in proptest::collection::vec(-50.0f64..50.0, 3),
            v in proptest::collection::vec(-50.0f64..50.0, 3),
            class in 0usize..3,
        ) {
            for loss in ALL {
                let width = loss.width();
                let (u, v) = (&u[..width], &v[..width]);
                let y = target(loss, class);
                let (value_u, _) = evaluate(loss, &y, u);
                let (value_v, slope) = evaluate(loss, &y, v);
                let linear: f64 = slope.iter().zip(u).zip(v).map(|((s, u), v)| s * (u - v)).sum();
                let square: f64 = u.iter().zip(v).map(|(u, v)| (u - v) * (u - v)).sum();
                let gap = value_u - value_v - linear;
                // Without a bound, the second derivative is highest where the score is.
                let bound = loss.curvature().unwrap_or(u[0].max(v[0]).exp());
                let slack = 16.0 * f64::EPSILON * (value_u.abs() + value_v.abs() + linear.abs() + bound * square + 1.0);
                prop_assert!(gap >= -slack && gap <= 0.5 * bound * square + slack, "{loss:?} {gap}");
            }
        }

        /// The second derivative is the slope's own, by a central difference where it is continuous.
        #[test]
        fn second_derivative_is_the_slopes(
            scores in proptest::collection::vec(-3.0f64..3.0, 3), class in 0usize..3, k in 0usize..3, l in 0usize..3,
        ) {
            for loss in ALL {
                let width = loss.width();
                let (k, l, y, step) = (k % width, l % width, target(loss, class), 1e-5);
                let at = |shift: f64| {
                    let mut moved = scores[..width].to_vec();
                    moved[l] += shift;
                    evaluate(loss, &y, &moved).1[k]
                };
                let mut prepared = scores[..width].to_vec();
                loss.prepare_second_derivative(&y, &mut prepared);
                let exact = loss.second_derivative(&prepared, k, l);
                let near = [(at(step) - at(0.0)) / step, (at(0.0) - at(-step)) / step];
                prop_assert!(near.iter().any(|near| (near - exact).abs() <= 1e-3), "{loss:?} {near:?} {exact}");
            }
        }

        #[test]
        fn probabilities_of_one_class_are_its_number(
            scores in proptest::collection::vec(-40.0f64..40.0, 3), class in 0usize..3,
        ) {
            let mut row = [0.0; 3];
            row[class] = 1.0;
            let as_rows = evaluate(Loss::CrossEntropy { n_classes: 3 }, &row, &scores);
            prop_assert_eq!(as_rows, evaluate(Loss::Softmax { n_classes: 3 }, &[class as f64], &scores));
        }

        #[test]
        fn softmax_of_two_is_logistic(a in -40.0f64..40.0, b in -40.0f64..40.0, class in 0usize..2) {
            let (two, slope_two) = evaluate(Loss::Softmax { n_classes: 2 }, &[class as f64], &[a, b]);
            let (one, slope_one) = evaluate(Loss::LogLoss, &[class as f64], &[b - a]);
            prop_assert!((two - one).abs() <= 1e-14 * (1.0 + one));
            prop_assert!((slope_two[1] - slope_one[0]).abs() <= 1e-15);
        }
    }

    #[test]
    fn extremes_are_finite() {
        for z in [-1e300, -745.0, 0.0, 745.0, 1e300] {
            for y in [0.0, 1.0] {
                let (value, slope) = evaluate(Loss::LogLoss, &[y], &[z]);
                assert!(value.is_finite() && value >= 0.0 && slope[0].abs() <= 1.0);
            }
        }
        for z in [-1e300, 0.0, 1e4, 1e40] {
            assert!(evaluate(Loss::Poisson, &[3.0], &[z]).0.is_finite());
        }
        let (value, slope) = evaluate(Loss::Softmax { n_classes: 3 }, &[0.0], &[1e4, -1e4, 0.0]);
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
