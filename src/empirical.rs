//! The average loss over a sample plus the penalty: the objective of all fits.
//!
//! F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b + offsetᵢ) / Σᵢ sᵢ + penalty(W), at parameters held in `f64` whatever the type of the
//! data. A *scaling* makes it a function of other variables with the same values; the data and the penalty stay as
//! they are.

use crate::design::Design;
use crate::error::{Error, expect_length};
use crate::hessian::{CurvatureRule, hessian};
use crate::lanes::dot;
use crate::loss::Loss;
use crate::moments::{column_means, column_squares};
use crate::objective::{Layout, Objective};
use crate::pass::{Pass, ScoreRule};
use crate::penalty::{ElasticNet, soft_threshold};
use crate::real::Real;
use crate::reduce::Team;
use crate::scaling::Scaling;
use crate::spectrum::largest_eigenvalue;
use faer::{Mat, Side};
use std::ops::Range;

/// Up to this dimension the exact spectrum of a matrix costs less than the passes of an iteration.
const SMALL_DIMENSION: usize = 64;
/// Parameters whose Hessian, with the sums of a few threads, still fits a common memory.
const MOST_HESSIAN_PARAMETERS: usize = 8192;
/// Bytes a parameter squared that a Hessian takes: eight chunks in both types, and the matrix and its factor.
const HESSIAN_BYTES: f64 = 112.0;

/// What was observed, row by row.
#[derive(Clone, Copy)]
pub struct Sample<'a, T> {
    /// rows × the loss's `target_width`
    pub targets: &'a [T],
    pub weights: Option<&'a [T]>,
    /// Known parts of the scores, rows × width.
    pub offsets: Option<&'a [T]>,
}

/// What is asked of the coefficients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    pub loss: Loss,
    pub penalty: ElasticNet,
    pub fit_intercept: bool,
}

/// The average loss over a sample plus the penalty.
pub struct Empirical<'a, T: Real> {
    design: &'a dyn Design<T>,
    sample: Sample<'a, T>,
    total_weight: f64,
    loss: Loss,
    penalty: ElasticNet,
    layout: Layout,
    scaling: Option<Scaling>,
    team: &'a Team<'a>,
    pass: Pass<'a, T>,
    /// What `rounding` must know of the targets.
    target_scale: (f64, f64),
    keep_lines: bool,
    /// ½ λ₂ ‖W‖² and its derivatives on the line that was last begun: held parameters and the way to the latest.
    held: Vec<f64>,
    latest: Vec<f64>,
    /// The parameters in the data's own type, for the pass.
    cast: Vec<T>,
}

impl<'a, T: Real> Empirical<'a, T> {
    pub fn new(
        design: &'a dyn Design<T>,
        sample: Sample<'a, T>,
        model: Model,
        team: &'a Team<'a>,
    ) -> Result<Self, Error> {
        let (n, loss) = (design.n_rows(), model.loss);
        expect_length("y", n.saturating_mul(loss.target_width()), sample.targets.len())?;
        loss.admit(sample.targets)?;
        if let Some(offsets) = sample.offsets {
            expect_length("offset", n.saturating_mul(loss.width()), offsets.len())?;
        }
        let total_weight = match sample.weights {
            None => n as f64,
            Some(weights) => {
                expect_length("sample_weight", n, weights.len())?;
                weights.iter().map(|weight| weight.to_f64()).sum()
            }
        };
        let layout =
            Layout { width: loss.width(), n_features: design.n_features(), fit_intercept: model.fit_intercept };
        Ok(Self {
            design,
            sample,
            total_weight,
            loss,
            penalty: model.penalty,
            layout,
            scaling: None,
            team,
            pass: Pass::new(design, loss.width()),
            target_scale: target_scale(loss, sample.targets),
            keep_lines: false,
            held: Vec::new(),
            latest: Vec::new(),
            cast: vec![T::ZERO; layout.n_parameters()],
        })
    }

    /// Becomes a function of other variables.
    pub fn rescale(&mut self, scaling: Option<Scaling>) {
        self.scaling = scaling;
    }

    /// The scaling that gives the columns of X mean zero and, together with the penalty, the same curvature: with a
    /// small penalty, deviation one. Two passes.
    pub fn standard_scaling(&self) -> Result<Scaling, Error> {
        let weights = self.sample.weights;
        let center = if self.layout.fit_intercept {
            column_means(self.design, self.team, weights)?
        } else {
            vec![0.0; self.layout.n_features]
        };
        let mut squares = column_squares(self.design, self.team, weights, &center)?;
        let share = self.penalty.l2 / self.loss.curvature().unwrap_or(1.0);
        squares.iter_mut().for_each(|square| *square = *square / self.total_weight + share);
        Ok(Scaling::new(center, &squares))
    }

    pub fn to_original(&self, parameters: &mut [f64]) {
        if let Some(scaling) = &self.scaling {
            scaling.to_original(self.layout, parameters);
        }
    }

    pub fn to_scaled(&self, parameters: &mut [f64]) {
        if let Some(scaling) = &self.scaling {
            scaling.to_scaled(self.layout, parameters);
        }
    }

    fn pull_back(&self, layout: Layout, gradient: &mut [f64]) {
        if let Some(scaling) = &self.scaling {
            scaling.pull_back(layout, gradient);
        }
    }

    /// λ of column j of the scaled variables, for a penalty of the given power.
    fn scaled(&self, strength: f64, column: usize, power: i32) -> f64 {
        self.scaling.as_ref().map_or(strength, |scaling| strength / scaling.scale[column].powi(power))
    }

    /// The largest λ₂ of a column.
    fn penalty_curvature(&self) -> f64 {
        (0..self.layout.n_features).map(|j| self.scaled(self.penalty.l2, j, 2)).fold(0.0, f64::max)
    }

    fn original(&self, parameters: &[f64]) -> Vec<f64> {
        let mut original = parameters.to_vec();
        self.to_original(&mut original);
        original
    }

    /// The sums of a pass, divided, with the penalty's part: the gradient in the variables of this function.
    fn finish_gradient(&self, original: &[f64], gradient: &mut [f64]) {
        let (coef, _) = self.layout.split(original);
        let (coef_gradient, _) = self.layout.split_mut(gradient);
        self.penalty.add_gradient(coef, coef_gradient);
        self.pull_back(self.layout, gradient);
    }

    /// What the rows weigh in a bound on the Hessian: ∂²ℓ/∂z² at most, or at `parameters` where there is no bound.
    fn curvature_weights(&mut self, parameters: &[f64]) -> Result<(f64, Option<Vec<T>>), Error> {
        if let Some(bound) = self.loss.curvature() {
            return Ok((bound, self.sample.weights.map(<[T]>::to_vec)));
        }
        let original = self.original(parameters);
        cast_into(&mut self.cast, &original);
        let (coef, intercept) = self.layout.split(&self.cast);
        let rule = Residual { loss: self.loss, sample: self.sample };
        self.pass.run_and_keep(self.team, &rule, coef, intercept)?;
        let mut bends = self.pass.latest_scores();
        let rows = 0..self.design.n_rows();
        rule.prepare(rows, &mut bends);
        if let Some(weights) = self.sample.weights {
            bends.iter_mut().zip(weights).for_each(|(bend, &weight)| *bend *= weight);
        }
        Ok((1.0, Some(bends)))
    }

    /// The largest eigenvalue of Σ weightsᵢ x̃ᵢ x̃ᵢᵀ / Σ sᵢ, where x̃ is x, scaled, with a one if there is an intercept.
    fn largest_second_moment(&self, weights: Option<&[T]>) -> Result<f64, Error> {
        let layout = Layout { width: 1, ..self.layout };
        if layout.n_parameters() <= SMALL_DIMENSION {
            let zeros = vec![T::ZERO; layout.n_parameters()];
            let matrix = hessian(self.design, self.team, &Weighted(weights), layout, &zeros)?;
            let matrix = self.pull_back_matrix(layout, matrix);
            let total: f64 = (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum();
            if !total.is_finite() {
                return Ok(total);
            }
            let eigenvalues = matrix.self_adjoint_eigenvalues(Side::Lower);
            // The trace is a bound where the iteration for the spectrum fails.
            return Ok(eigenvalues.map_or(total, |values| values[values.len() - 1].max(0.0)));
        }
        let mut pass = Pass::new(self.design, 1);
        let mut cast = vec![T::ZERO; layout.n_parameters()];
        largest_eigenvalue(layout.n_parameters(), |v, image| {
            let mut original = v.to_vec();
            if let Some(scaling) = &self.scaling {
                scaling.to_original(layout, &mut original);
            }
            cast_into(&mut cast, &original);
            let (coef, intercept) = layout.split(&cast);
            let sums = pass.run(self.team, &Weighted(weights), coef, intercept)?;
            let (coef, intercept) = layout.split_mut(image);
            scale_into(coef, &sums.coef_gradient, self.total_weight);
            scale_into(intercept, &sums.intercept_gradient, self.total_weight);
            self.pull_back(layout, image);
            Ok(())
        })
    }

    /// Softmax does not see what is added to the scores of all classes alike, so without a penalty the Hessian has no
    /// bend there, and no inverse. Any bend will do: gradients do not point there, and no other direction feels it.
    fn bend_shared_shifts(&self, matrix: &mut Mat<f64>) {
        let Layout { width, n_features, fit_intercept } = self.layout;
        let n_free = if self.penalty.l2 == 0.0 { n_features } else { 0 };
        let place = |j: usize, k: usize| if j < n_features { k * n_features + j } else { width * n_features + k };
        for j in (0..n_free).chain(if fit_intercept { Some(n_features) } else { None }) {
            let bend = (0..width).map(|k| matrix[(place(j, k), place(j, k))]).sum::<f64>() / (width * width) as f64;
            for k in 0..width {
                for l in 0..width {
                    matrix[(place(j, k), place(j, l))] += bend;
                }
            }
        }
    }

    /// Jᵀ H J / Σ sᵢ, where J is the change of variables.
    fn pull_back_matrix(&self, layout: Layout, matrix: Mat<f64>) -> Mat<f64> {
        let order = matrix.nrows();
        let mut rows: Vec<Vec<f64>> =
            (0..order).map(|i| (0..order).map(|j| matrix[(i, j)] / self.total_weight).collect()).collect();
        if self.scaling.is_none() {
            return Mat::from_fn(order, order, |i, j| rows[i][j]);
        }
        for _ in 0..2 {
            rows.iter_mut().for_each(|row| self.pull_back(layout, row));
            rows = (0..order).map(|i| rows.iter().map(|row| row[i]).collect()).collect();
        }
        Mat::from_fn(order, order, |i, j| rows[i][j])
    }
}

/// The mean square of residuals at score zero, and the size of what slopes are differences of.
fn target_scale<T: Real>(loss: Loss, targets: &[T]) -> (f64, f64) {
    let mean = |of: fn(f64) -> f64| targets.iter().map(|y| of(y.to_f64())).sum::<f64>() / targets.len().max(1) as f64;
    match loss {
        Loss::Mse { .. } | Loss::Huber { .. } => (mean(|y| y * y), 0.0),
        Loss::SquaredHinge => (1.0, 0.0),
        Loss::LogLoss => (0.0, 0.0),
        Loss::Softmax { .. } | Loss::CrossEntropy { .. } => (0.0, 1.0),
        Loss::Poisson => (0.0, 1.0 + mean(|y| y)),
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

    fn n_rows(&self) -> usize {
        self.design.n_rows()
    }

    fn value_and_gradient(&mut self, parameters: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
        let (layout, total_weight) = (self.layout, self.total_weight);
        expect_length("parameters", layout.n_parameters(), parameters.len())?;
        let original = self.original(parameters);
        cast_into(&mut self.cast, &original);
        let (coef, intercept) = layout.split(&self.cast);
        let rule = Residual { loss: self.loss, sample: self.sample };
        let sums = if self.keep_lines {
            self.pass.run_and_keep(self.team, &rule, coef, intercept)?
        } else {
            self.pass.run(self.team, &rule, coef, intercept)?
        };
        let (coef_gradient, intercept_gradient) = layout.split_mut(gradient);
        scale_into(coef_gradient, &sums.coef_gradient, total_weight);
        scale_into(intercept_gradient, &sums.intercept_gradient, total_weight);
        let value = sums.value / total_weight;
        self.finish_gradient(&original, gradient);
        let (coef, _) = layout.split(&original);
        let penalty = self.penalty.smooth_value(coef);
        if self.keep_lines {
            self.latest = original;
        }
        Ok(value + penalty)
    }

    fn rough_value(&self, parameters: &[f64]) -> f64 {
        if self.penalty.l1 == 0.0 {
            return 0.0;
        }
        self.penalty.rough_value(self.layout.split(&self.original(parameters)).0)
    }

    fn prox(&self, parameters: &mut [f64], size: &dyn Fn(usize) -> f64) {
        if self.penalty.l1 == 0.0 {
            return;
        }
        let (coef, _) = self.layout.split_mut(parameters);
        for (i, w) in coef.iter_mut().enumerate() {
            *w = soft_threshold(*w, size(i) * self.scaled(self.penalty.l1, i % self.layout.n_features, 1));
        }
    }

    fn curvature(&mut self, parameters: &[f64]) -> Result<f64, Error> {
        let (bound, weights) = self.curvature_weights(parameters)?;
        Ok(bound * self.largest_second_moment(weights.as_deref())? + self.penalty_curvature())
    }

    fn row_curvature(&mut self, parameters: &[f64]) -> Result<f64, Error> {
        let (bound, weights) = self.curvature_weights(parameters)?;
        let zeros = vec![0.0; self.layout.n_features];
        let center = self.scaling.as_ref().map_or(&zeros, |scaling| &scaling.center);
        let squares = column_squares(self.design, self.team, weights.as_deref(), center)?;
        let squares = squares.iter().enumerate().map(|(j, &square)| self.scaled(square, j, 2)).sum::<f64>();
        let ones = if self.layout.fit_intercept {
            weights.map_or(self.total_weight, |weights| weights.iter().map(|weight| weight.to_f64()).sum())
        } else {
            0.0
        };
        Ok(bound * (squares + ones) / self.total_weight + self.penalty_curvature())
    }

    fn hessian(&mut self, parameters: &[f64]) -> Result<Mat<f64>, Error> {
        let n_parameters = self.n_parameters();
        if n_parameters > MOST_HESSIAN_PARAMETERS {
            let gigabytes = (n_parameters as f64).powi(2) * HESSIAN_BYTES / 1e9;
            return Err(Error::HessianTooLarge { n_parameters, gigabytes });
        }
        let original = self.original(parameters);
        cast_into(&mut self.cast, &original);
        let rule = Residual { loss: self.loss, sample: self.sample };
        let matrix = hessian(self.design, self.team, &rule, self.layout, &self.cast)?;
        let mut matrix = self.pull_back_matrix(self.layout, matrix);
        for i in 0..self.layout.n_coef() {
            matrix[(i, i)] += self.scaled(self.penalty.l2, i % self.layout.n_features, 2);
        }
        if !self.loss.is_separable() {
            self.bend_shared_shifts(&mut matrix);
        }
        Ok(matrix)
    }

    fn batch_gradient(&mut self, parameters: &[f64], rows: &[Range<usize>], gradient: &mut [f64]) -> Result<(), Error> {
        let n_drawn: usize = rows.iter().map(ExactSizeIterator::len).sum();
        let divisor = self.total_weight * (n_drawn as f64 / self.design.n_rows() as f64);
        let original = self.original(parameters);
        cast_into(&mut self.cast, &original);
        let (coef, intercept) = self.layout.split(&self.cast);
        let rule = Residual { loss: self.loss, sample: self.sample };
        let sums = self.pass.run_on(self.team, &rule, coef, intercept, rows)?;
        let (coef_gradient, intercept_gradient) = self.layout.split_mut(gradient);
        scale_into(coef_gradient, &sums.coef_gradient, divisor);
        scale_into(intercept_gradient, &sums.intercept_gradient, divisor);
        self.finish_gradient(&original, gradient);
        Ok(())
    }

    fn keep_lines(&mut self, keep: bool) {
        self.keep_lines = keep;
    }

    fn hold(&mut self) {
        self.pass.hold();
        std::mem::swap(&mut self.held, &mut self.latest);
    }

    fn along(&mut self, t: f64) -> Result<(f64, f64), Error> {
        let rule = Residual { loss: self.loss, sample: self.sample };
        let (value, slope) = self.pass.along(self.team, &rule, t)?;
        let (held, _) = self.layout.split(&self.held);
        let (latest, _) = self.layout.split(&self.latest);
        let direction: Vec<f64> = latest.iter().zip(held).map(|(to, from)| to - from).collect();
        let point: Vec<f64> = held.iter().zip(&direction).map(|(from, way)| from + t * way).collect();
        let bend = self.penalty.l2 * dot(&point, &direction);
        Ok((value / self.total_weight + self.penalty.smooth_value(&point), slope / self.total_weight + bend))
    }

    /// The value's own rounding, then what the rounding of scores makes of it: |∂ℓ/∂z| |z| is at most about
    /// √(ℓ · mean y²) for losses of residuals; where probabilities or counts are subtracted, their size.
    fn rounding(&self, value: f64) -> f64 {
        let (squares, sizes) = self.target_scale;
        T::PRECISION * (64.0 * value.abs() + 4.0 * (value.abs() * squares).sqrt() + 4.0 * sizes)
    }
}

/// The rule of the objective's own pass.
struct Residual<'a, T> {
    loss: Loss,
    sample: Sample<'a, T>,
}

impl<T: Real> Residual<'_, T> {
    fn targets(&self, rows: &Range<usize>) -> &[T] {
        let width = self.loss.target_width();
        &self.sample.targets[rows.start * width..rows.end * width]
    }

    fn add_offsets(&self, rows: &Range<usize>, scores: &mut [T]) {
        if let Some(offsets) = self.sample.offsets {
            let width = self.loss.width();
            for (score, &offset) in scores.iter_mut().zip(&offsets[rows.start * width..rows.end * width]) {
                *score += offset;
            }
        }
    }
}

impl<T: Real> ScoreRule<T> for Residual<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], values: &mut [T]) -> f64 {
        self.add_offsets(&rows, scores);
        let weights = self.sample.weights.map(|weights| &weights[rows.clone()]);
        self.loss.value_and_residual(self.targets(&rows), weights, scores, values)
    }
}

impl<T: Real> CurvatureRule<T> for Residual<'_, T> {
    fn prepare(&self, rows: Range<usize>, scores: &mut [T]) {
        self.add_offsets(&rows, scores);
        self.loss.prepare_second_derivative(self.targets(&rows), scores);
    }

    fn weights(&self, rows: Range<usize>, prepared: &[T], (k, l): (usize, usize), weights: &mut [T]) -> bool {
        if k != l && self.loss.is_separable() {
            return false;
        }
        for (weight, row) in weights.iter_mut().zip(prepared.chunks_exact(self.loss.width())) {
            *weight = self.loss.second_derivative(row, k, l);
        }
        if let Some(own) = self.sample.weights {
            weights.iter_mut().zip(&own[rows]).for_each(|(weight, &own)| *weight *= own);
        }
        true
    }
}

/// The rule of a product with the second moment, and of that moment itself: a score is its own residual.
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

impl<T: Real> CurvatureRule<T> for Weighted<'_, T> {
    fn prepare(&self, _rows: Range<usize>, _scores: &mut [T]) {}

    fn weights(&self, rows: Range<usize>, _prepared: &[T], _pair: (usize, usize), weights: &mut [T]) -> bool {
        match self.0 {
            None => weights.fill(T::ONE),
            Some(own) => weights.copy_from_slice(&own[rows]),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::{ColumnMajor, RowMajor};
    use proptest::prelude::*;

    const MSE: Loss = Loss::Mse { n_targets: 1 };
    const NEVER: &dyn Fn() -> bool = &|| false;

    fn evaluate<T: Real>(
        design: &dyn Design<T>,
        sample: Sample<'_, T>,
        loss: Loss,
        parameters: &[f64],
        n_threads: usize,
    ) -> (f64, Vec<f64>) {
        let team = Team::new(n_threads, NEVER);
        let model = Model { loss, penalty: ElasticNet { l1: 0.0, l2: 0.5 }, fit_intercept: true };
        let mut objective = Empirical::new(design, sample, model, &team).unwrap();
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
        for loss in [MSE, Loss::Softmax { n_classes: 3 }] {
            for weights in [None, Some(&weights[..])] {
                let sample = Sample { targets: &labels[..], weights, offsets: None };
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
            let sample = Sample { targets: &y[..], weights: None, offsets: None };
            let (value, gradient) = evaluate(&design, sample, MSE, &parameters, 2);
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
        let sample = Sample { targets: &y[..], weights: None, offsets: None };
        let exact = f64::from(0.1f32) * f64::from(0.1f32);
        let row_major = RowMajor::new(&x, n, 1).unwrap();
        let column_major = ColumnMajor::new(&x, n, 1).unwrap();
        for design in [&row_major as &dyn Design<f32>, &column_major] {
            let (value, gradient) = evaluate(design, sample, MSE, &[1.0, 0.0], 1);
            assert!((value - 0.25 - exact).abs() < 1e-5 * exact);
            assert!((gradient[0] - 0.5 - 2.0 * exact).abs() < 1e-5 * exact);
        }
    }

    #[test]
    fn curvature_bounds_the_hessian() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0];
        let design = RowMajor::new(&x, 3, 2).unwrap();
        let sample = Sample { targets: &[0.0; 3], weights: None, offsets: None };
        let team = Team::new(1, NEVER);
        let model = Model { loss: MSE, penalty: ElasticNet { l1: 0.0, l2: 0.25 }, fit_intercept: false };
        let mut objective = Empirical::new(&design, sample, model, &team).unwrap();
        // XᵀX = [[35, 49], [49, 69]]
        let exact = 2.0 / 3.0 * (52.0 + (17.0f64 * 17.0 + 49.0 * 49.0).sqrt()) + 0.25;
        assert!((objective.curvature(&[0.0; 2]).unwrap() - exact).abs() < 1e-12 * exact);
    }
}
