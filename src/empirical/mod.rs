//! The average loss over a sample plus the penalty: the objective of all fits.
//!
//! F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b + offsetᵢ) / Σᵢ sᵢ + penalty(W), at parameters held in `f64` whatever the type of the
//! data. A *scaling* makes it a function of other variables with the same values; the data and the penalty stay as
//! they are.

mod curvature;
mod expansion;
mod residual;

use crate::design::Design;
use crate::error::{Error, expect_length};
use crate::hessian::hessian;
use crate::lanes::dot;
use crate::loss::Loss;
use crate::moments::{column_means, column_squares};
use crate::objective::{Layout, Objective};
use crate::pass::Pass;
use crate::penalty::{ElasticNet, soft_threshold};
use crate::real::Real;
use crate::reduce::Team;
use crate::sample::Sample;
use crate::scaling::Scaling;
use expansion::Expansion;
use faer::Mat;
use residual::Residual;
use std::borrow::Cow;
use std::ops::Range;

/// Parameters whose Hessian, with the sums of a few threads, still fits a common memory.
const MOST_HESSIAN_PARAMETERS: usize = 8192;
/// Bytes a parameter squared that a Hessian takes: eight chunks in both types, and the matrix and its factor.
const HESSIAN_BYTES: f64 = 112.0;

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
    target_scale: TargetScale,
    /// What stands for the rows where least squares has been expanded.
    expansion: Option<Expansion>,
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
        let layout =
            Layout { width: loss.width(), n_features: design.n_features(), fit_intercept: model.fit_intercept };
        layout.admit(n)?;
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
        Ok(Self {
            design,
            sample,
            total_weight,
            loss,
            penalty: model.penalty,
            layout,
            scaling: None,
            team,
            pass: Pass::new(design, loss.width())?,
            target_scale: TargetScale::new(loss, sample),
            expansion: None,
            keep_lines: false,
            held: Vec::new(),
            latest: Vec::new(),
            cast: vec![T::ZERO; layout.n_parameters()],
        })
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Becomes a function of other variables.
    pub fn rescale(&mut self, scaling: Option<Scaling>) {
        self.scaling = scaling;
    }

    /// The scaling that gives the columns of X mean zero and, together with the penalty, the same curvature: with a
    /// small penalty, deviation one. Two passes.
    pub fn standard_scaling(&self) -> Result<Scaling, Error> {
        let weights = self.sample.weights;
        let share = self.penalty.l2 / self.loss.curvature().unwrap_or(1.0);
        if let Some(Expansion { quadratic, .. }) = &self.expansion {
            let variances = quadratic.diagonal().map(|bend| bend / self.loss.curvature().unwrap_or(1.0) + share);
            return Ok(Scaling::new(quadratic.center.clone(), &variances.collect::<Vec<f64>>(), T::PRECISION));
        }
        let center = if self.layout.fit_intercept {
            column_means(self.design, self.team, weights)?
        } else {
            vec![0.0; self.layout.n_features]
        };
        let mut squares = column_squares(self.design, self.team, weights, &center)?;
        squares.iter_mut().for_each(|square| *square = *square / self.total_weight + share);
        Ok(Scaling::new(center, &squares, T::PRECISION))
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
        let scale = self.scaling.as_ref().and_then(|scaling| scaling.scale.get(column));
        scale.map_or(strength, |scale| strength / scale.powi(power))
    }

    /// The largest λ₂ of a column.
    fn penalty_curvature(&self) -> f64 {
        (0..self.layout.n_features).map(|j| self.scaled(self.penalty.l2, j, 2)).fold(0.0, f64::max)
    }

    fn original<'p>(&self, parameters: &'p [f64]) -> Cow<'p, [f64]> {
        let mut original = Cow::Borrowed(parameters);
        if let Some(scaling) = &self.scaling {
            scaling.to_original(self.layout, original.to_mut());
        }
        original
    }

    /// The average loss and its gradient in the variables of X as it is: from the rows, or from what stands for them.
    fn average_loss(&mut self, original: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
        if let Some(Expansion { quadratic, .. }) = &mut self.expansion {
            self.team.check_often(self.layout.n_features)?;
            return Ok(quadratic.value_and_gradient(original, gradient));
        }
        cast_into(&mut self.cast, original);
        let (coef, intercept) = self.layout.split(&self.cast);
        let rule = Residual { loss: self.loss, sample: self.sample };
        let sums = if self.keep_lines {
            self.pass.run_and_keep(self.team, &rule, coef, intercept)?
        } else {
            self.pass.run(self.team, &rule, coef, intercept)?
        };
        let (coef_gradient, intercept_gradient) = self.layout.split_mut(gradient);
        scale_into(coef_gradient, &sums.coef_gradient, self.total_weight);
        scale_into(intercept_gradient, &sums.intercept_gradient, self.total_weight);
        Ok(sums.value / self.total_weight)
    }

    /// The sums of a pass, divided, with the penalty's part: the gradient in the variables of this function.
    fn finish_gradient(&self, original: &[f64], gradient: &mut [f64]) {
        let (coef, _) = self.layout.split(original);
        let (coef_gradient, _) = self.layout.split_mut(gradient);
        self.penalty.add_gradient(coef, coef_gradient);
        self.pull_back(self.layout, gradient);
    }
}

/// How large the numbers are that rounding comes from.
#[derive(Clone, Copy)]
struct TargetScale {
    /// The mean square of what scores are made of: targets, or margins of one, and offsets.
    squares: f64,
    /// The most that a slope times a target can be.
    steepest: f64,
    /// The size of what slopes are differences of.
    sizes: f64,
}

impl TargetScale {
    fn new<T: Real>(loss: Loss, sample: Sample<'_, T>) -> Self {
        let mean = |values: &[T], width: usize, of: fn(f64) -> f64| {
            let rows = values.chunks_exact(width).enumerate().filter(|&(row, _)| sample.weight(row) > 0.0);
            let counted = rows.flat_map(|(_, row)| row).map(|value| of(value.to_f64()));
            let (sum, n) = counted.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
            sum / n.max(1) as f64
        };
        let of_targets = |of| mean(sample.targets, loss.target_width(), of);
        let of_offsets = |of| sample.offsets.map_or(0.0, |offsets| mean(offsets, loss.width(), of));
        let of_both = |of| of_targets(of) + of_offsets(of);
        let none = Self { squares: 0.0, steepest: f64::INFINITY, sizes: 0.0 };
        match loss {
            Loss::Mse { .. } => Self { squares: of_both(|z| z * z), ..none },
            Loss::Huber { delta } => Self { squares: of_both(|z| z * z), steepest: delta * of_both(f64::abs), ..none },
            Loss::SquaredHinge => Self { squares: 1.0 + of_offsets(|z| z * z), ..none },
            Loss::LogLoss => none,
            Loss::Softmax { .. } | Loss::CrossEntropy { .. } => Self { sizes: 1.0, ..none },
            Loss::Poisson => Self { sizes: 1.0 + of_targets(|y| y), ..none },
        }
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
        expect_length("parameters", self.layout.n_parameters(), parameters.len())?;
        let original = self.original(parameters);
        let value = self.average_loss(&original, gradient)?;
        self.finish_gradient(&original, gradient);
        let (coef, _) = self.layout.split(&original);
        let penalty = self.penalty.smooth_value(coef);
        if self.keep_lines {
            self.latest = original.into_owned();
        }
        Ok(value + penalty)
    }

    fn is_smooth(&self) -> bool {
        self.penalty.l1 == 0.0
    }

    fn rough_value(&self, parameters: &[f64]) -> f64 {
        if self.is_smooth() {
            return 0.0;
        }
        self.penalty.rough_value(self.layout.split(&self.original(parameters)).0)
    }

    fn prox(&self, parameters: &mut [f64], size: &dyn Fn(usize) -> f64) {
        if self.is_smooth() {
            return;
        }
        let (coef, _) = self.layout.split_mut(parameters);
        for (i, w) in coef.iter_mut().enumerate() {
            *w = soft_threshold(*w, size(i) * self.scaled(self.penalty.l1, i % self.layout.n_features, 1));
        }
    }

    fn curvature(&mut self, parameters: &[f64]) -> Result<f64, Error> {
        if let Some(curvature) = self.least_squares_curvature()? {
            return Ok(curvature + self.penalty_curvature());
        }
        let (bound, weights) = self.curvature_weights(parameters)?;
        Ok(bound * self.largest_second_moment(weights.as_deref())? + self.penalty_curvature())
    }

    fn row_curvature(&mut self, parameters: &[f64]) -> Result<f64, Error> {
        let (bound, mut weights) = self.curvature_weights(parameters)?;
        if let (Loss::Poisson, Some(weights)) = (self.loss, &mut weights) {
            // Where the descent leads, eᶻ is about y.
            for (i, (weight, &y)) in weights.iter_mut().zip(self.sample.targets).enumerate() {
                let there = T::from_f64(self.sample.weight(i)) * y;
                *weight = if there > *weight { there } else { *weight };
            }
        }
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
        let mut matrix = match self.least_squares_hessian()? {
            Some(matrix) => matrix,
            None => {
                let rule = Residual { loss: self.loss, sample: self.sample };
                let sums = hessian(self.design, self.team, &rule, self.layout, &self.cast)?;
                self.pull_back_matrix(self.layout, self.average(sums), None)?
            }
        };
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
        let direction: Vec<f64> = self.latest.iter().zip(&self.held).map(|(to, from)| to - from).collect();
        let point: Vec<f64> = self.held.iter().zip(&direction).map(|(from, way)| from + t * way).collect();
        let (value, slope) = match &mut self.expansion {
            Some(Expansion { quadratic, .. }) => {
                let mut gradient = vec![0.0; point.len()];
                let value = quadratic.value_and_gradient(&point, &mut gradient);
                (value, dot(&gradient, &direction))
            }
            None => {
                let rule = Residual { loss: self.loss, sample: self.sample };
                let (value, slope) = self.pass.along(self.team, &rule, t)?;
                (value / self.total_weight, slope / self.total_weight)
            }
        };
        let ((point, _), (direction, _)) = (self.layout.split(&point), self.layout.split(&direction));
        Ok((value + self.penalty.smooth_value(point), slope + self.penalty.l2 * dot(point, direction)))
    }

    fn apart(&self, order: usize, work: Box<dyn FnOnce() -> Vec<f64> + Send>) -> Result<Vec<f64>, Error> {
        self.team.apart(order, work)
    }

    fn precision(&self) -> f64 {
        if self.expansion.is_some() { f64::EPSILON } else { T::PRECISION }
    }

    fn minimiser(&self) -> Option<Vec<f64>> {
        let mut scaled = self.expansion.as_ref()?.minimiser.clone();
        self.to_scaled(&mut scaled);
        Some(scaled)
    }

    fn coordinate_step(&mut self, parameters: &[f64]) -> Result<Vec<f64>, Error> {
        let mut point = self.original(parameters).into_owned();
        let (team, d) = (self.team, self.layout.n_features);
        let expansion = self.expansion.as_mut().ok_or(Error::NoStatistics)?;
        expansion.quadratic.coordinate_step(&mut point, self.penalty, || team.check_often(d))?;
        self.to_scaled(&mut point);
        Ok(point)
    }

    /// The value's own rounding, then what the rounding of scores makes of it: |∂ℓ/∂z| |z| is at most about
    /// √(ℓ · mean y²) for losses of residuals; where probabilities or counts are subtracted, their size.
    fn rounding(&self, value: f64) -> f64 {
        let TargetScale { squares, steepest, sizes } = self.target_scale;
        self.precision() * (64.0 * value.abs() + 4.0 * (value.abs() * squares).sqrt().min(steepest) + 4.0 * sizes)
    }
}

#[cfg(test)]
mod tests;
