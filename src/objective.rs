//! The objective: the only thing that an optimiser sees, and the only thing that touches data.
//!
//! F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b) / Σᵢ sᵢ + penalty(W), at parameters held in `f64` whatever the type of the data.

use crate::design::Design;
use crate::error::{Error, expect_length};
use crate::loss::Loss;
use crate::pass::{Pass, ScoreRule};
use crate::penalty::L2;
use crate::real::Real;
use crate::reduce::Team;
use crate::spectrum::largest_eigenvalue;
use std::ops::Range;

/// A smooth convex function of a flat vector of parameters.
pub trait Objective {
    fn n_parameters(&self) -> usize;

    /// Returns F(parameters) and overwrites `gradient`, in one pass over the data.
    fn value_and_gradient(&mut self, parameters: &[f64], gradient: &mut [f64]) -> Result<f64, Error>;

    /// L with 0 ≼ ∇²F ≼ L·I everywhere: 1/L is a safe step size. Several passes.
    fn curvature(&mut self) -> Result<f64, Error>;
}

/// Where the coefficients and the intercept stand in the flat vector: coef (width × d, by rows), then intercept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub width: usize,
    pub n_features: usize,
    pub fit_intercept: bool,
}

impl Layout {
    pub fn n_parameters(self) -> usize {
        self.n_coef() + if self.fit_intercept { self.width } else { 0 }
    }

    fn n_coef(self) -> usize {
        self.width * self.n_features
    }

    pub fn split<T>(self, parameters: &[T]) -> (&[T], &[T]) {
        parameters.split_at(self.n_coef())
    }

    pub fn split_mut<T>(self, parameters: &mut [T]) -> (&mut [T], &mut [T]) {
        parameters.split_at_mut(self.n_coef())
    }
}

/// The rows' targets and weights.
#[derive(Clone, Copy)]
pub struct Sample<'a, T> {
    pub targets: &'a [T],
    pub weights: Option<&'a [T]>,
}

/// The average loss over a sample plus the penalty.
pub struct Empirical<'a, T: Real> {
    design: &'a dyn Design<T>,
    sample: Sample<'a, T>,
    total_weight: f64,
    loss: Loss,
    penalty: L2,
    layout: Layout,
    team: Team<'a>,
    pass: Pass<'a, T>,
    /// The parameters in the data's own type, for the pass.
    cast: Vec<T>,
}

impl<'a, T: Real> Empirical<'a, T> {
    pub fn new(
        design: &'a dyn Design<T>,
        sample: Sample<'a, T>,
        loss: Loss,
        penalty: L2,
        fit_intercept: bool,
        team: Team<'a>,
    ) -> Result<Self, Error> {
        let n = design.n_rows();
        expect_length("y", n, sample.targets.len())?;
        loss.admit(sample.targets)?;
        let total_weight = match sample.weights {
            None => n as f64,
            Some(weights) => {
                expect_length("sample_weight", n, weights.len())?;
                weights.iter().map(|weight| weight.to_f64()).sum()
            }
        };
        let layout = Layout { width: loss.width(), n_features: design.n_features(), fit_intercept };
        Ok(Self {
            design,
            sample,
            total_weight,
            loss,
            penalty,
            layout,
            team,
            pass: Pass::new(design, loss.width()),
            cast: vec![T::ZERO; layout.n_parameters()],
        })
    }

    /// The largest eigenvalue of Σ sᵢ x̃ᵢ x̃ᵢᵀ / Σ sᵢ, where x̃ is x with a one appended if there is an intercept.
    fn largest_second_moment(&mut self) -> Result<f64, Error> {
        let layout = Layout { width: 1, ..self.layout };
        let (team, total_weight) = (&self.team, self.total_weight);
        let rule = Weighted(self.sample.weights);
        let mut pass = Pass::new(self.design, 1);
        let mut cast = vec![T::ZERO; layout.n_parameters()];
        largest_eigenvalue(layout.n_parameters(), |v, image| {
            cast_into(&mut cast, v);
            let (coef, intercept) = layout.split(&cast);
            let sums = pass.run(team, &rule, coef, intercept)?;
            let (coef, intercept) = layout.split_mut(image);
            scale_into(coef, &sums.coef_gradient, total_weight);
            scale_into(intercept, &sums.intercept_gradient, total_weight);
            Ok(())
        })
    }
}

fn cast_into<T: Real>(target: &mut [T], source: &[f64]) {
    for (target, &source) in target.iter_mut().zip(source) {
        *target = T::from_f64(source);
    }
}

fn scale_into(target: &mut [f64], source: &[f64], divisor: f64) {
    for (target, source) in target.iter_mut().zip(source) {
        *target = source / divisor;
    }
}

impl<T: Real> Objective for Empirical<'_, T> {
    fn n_parameters(&self) -> usize {
        self.layout.n_parameters()
    }

    fn value_and_gradient(&mut self, parameters: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
        let (layout, total_weight) = (self.layout, self.total_weight);
        expect_length("parameters", layout.n_parameters(), parameters.len())?;
        cast_into(&mut self.cast, parameters);
        let (coef, intercept) = layout.split(&self.cast);
        let rule = Residual { loss: self.loss, sample: self.sample };
        let sums = self.pass.run(&self.team, &rule, coef, intercept)?;
        let (coef_gradient, intercept_gradient) = layout.split_mut(gradient);
        scale_into(coef_gradient, &sums.coef_gradient, total_weight);
        scale_into(intercept_gradient, &sums.intercept_gradient, total_weight);
        let value = sums.value / total_weight;
        let (coef, _) = layout.split(parameters);
        self.penalty.add_gradient(coef, coef_gradient);
        Ok(value + self.penalty.value(coef))
    }

    fn curvature(&mut self) -> Result<f64, Error> {
        Ok(self.loss.curvature() * self.largest_second_moment()? + self.penalty.curvature())
    }
}

/// The rule of the objective's own pass.
struct Residual<'a, T> {
    loss: Loss,
    sample: Sample<'a, T>,
}

impl<T: Real> ScoreRule<T> for Residual<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], values: &mut [T]) -> f64 {
        let targets = &self.sample.targets[rows.clone()];
        let weights = self.sample.weights.map(|weights| &weights[rows]);
        self.loss.value_and_residual(targets, weights, scores, values)
    }
}

/// The rule of a product with the second moment: a score is its own residual.
struct Weighted<'a, T>(Option<&'a [T]>);

impl<T: Real> ScoreRule<T> for Weighted<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], _values: &mut [T]) -> f64 {
        if let Some(weights) = self.0 {
            for (score, &weight) in scores.iter_mut().zip(&weights[rows]) {
                *score *= weight;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::{ColumnMajor, RowMajor};
    use proptest::prelude::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    fn evaluate<T: Real>(
        design: &dyn Design<T>,
        sample: Sample<'_, T>,
        loss: Loss,
        parameters: &[f64],
        n_threads: usize,
    ) -> (f64, Vec<f64>) {
        let team = Team::new(n_threads, NEVER);
        let mut objective = Empirical::new(design, sample, loss, L2 { alpha: 0.5 }, true, team).unwrap();
        let mut gradient = vec![f64::NAN; objective.n_parameters()];
        let value = objective.value_and_gradient(parameters, &mut gradient).unwrap();
        (value, gradient)
    }

    /// Data that spans many blocks and chunks, the same on every run.
    fn waves(length: usize) -> Vec<f32> {
        (0..length).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let (n, d) = (20_011, 13);
        let x = waves(n * d);
        let labels: Vec<f32> = (0..n).map(|i| (i % 3) as f32).collect();
        let weights: Vec<f32> = waves(n).iter().map(|w| w + 1.5).collect();
        for loss in [Loss::Mse, Loss::Softmax { n_classes: 3 }] {
            for weights in [None, Some(&weights[..])] {
                let sample = Sample { targets: &labels[..], weights };
                let parameters: Vec<f64> = (0..loss.width() * (d + 1)).map(|i| 0.1 * i as f64).collect();
                let row_major = RowMajor::new(&x, n, d).unwrap();
                let column_major = ColumnMajor::new(&x, n, d).unwrap();
                for design in [&row_major as &dyn Design<f32>, &column_major] {
                    let alone = evaluate(design, sample, loss, &parameters, 1);
                    for n_threads in [2, 3, 8] {
                        assert_eq!(evaluate(design, sample, loss, &parameters, n_threads), alone);
                    }
                }
            }
        }
    }

    proptest! {
        /// Integers: every sum is exact, so the blocked pass must equal the definition exactly.
        #[test]
        fn pass_equals_definition(n in 1usize..5000, d in 1usize..6, seed in 0usize..1000) {
            let entry = |i: usize| ((i * 2_654_435_761 + seed) / 7 % 9) as f64 - 4.0;
            let x: Vec<f64> = (0..n * d).map(entry).collect();
            let y: Vec<f64> = (0..n).map(|i| entry(i + 17)).collect();
            let parameters: Vec<f64> = (0..=d).map(|j| entry(j + 3)).collect();
            let design = RowMajor::new(&x, n, d).unwrap();
            let sample = Sample { targets: &y[..], weights: None };
            let (value, gradient) = evaluate(&design, sample, Loss::Mse, &parameters, 2);
            let residual: Vec<f64> = (0..n).map(|i| {
                (0..d).map(|j| x[i * d + j] * parameters[j]).sum::<f64>() + parameters[d] - y[i]
            }).collect();
            let penalty: f64 = parameters[..d].iter().map(|w| w * w).sum();
            prop_assert_eq!(value, residual.iter().map(|r| r * r).sum::<f64>() / n as f64 + 0.25 * penalty);
            for j in 0..d {
                let sum: f64 = (0..n).map(|i| 2.0 * residual[i] * x[i * d + j]).sum();
                prop_assert_eq!(gradient[j], sum / n as f64 + 0.5 * parameters[j]);
            }
            prop_assert_eq!(gradient[d], residual.iter().map(|r| 2.0 * r).sum::<f64>() / n as f64);
        }
    }

    #[test]
    fn single_precision_sums_do_not_drift() {
        let n = 1 << 20;
        let (x, y) = (vec![0.1f32; n], vec![0.0f32; n]);
        let sample = Sample { targets: &y[..], weights: None };
        let exact = f64::from(0.1f32) * f64::from(0.1f32);
        let row_major = RowMajor::new(&x, n, 1).unwrap();
        let column_major = ColumnMajor::new(&x, n, 1).unwrap();
        for design in [&row_major as &dyn Design<f32>, &column_major] {
            let (value, gradient) = evaluate(design, sample, Loss::Mse, &[1.0, 0.0], 1);
            assert!((value - 0.25 - exact).abs() < 1e-5 * exact);
            assert!((gradient[0] - 0.5 - 2.0 * exact).abs() < 1e-5 * exact);
        }
    }

    #[test]
    fn curvature_bounds_the_hessian() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0];
        let design = RowMajor::new(&x, 3, 2).unwrap();
        let sample = Sample { targets: &[0.0; 3], weights: None };
        let team = Team::new(1, NEVER);
        let mut objective = Empirical::new(&design, sample, Loss::Mse, L2 { alpha: 0.25 }, false, team).unwrap();
        // XᵀX = [[35, 49], [49, 69]]
        let exact = 2.0 / 3.0 * (52.0 + (17.0f64 * 17.0 + 49.0 * 49.0).sqrt()) + 0.25;
        assert!((objective.curvature().unwrap() - exact).abs() < 1e-12 * exact);
    }
}
