//! Second derivatives of the objective: bounds, and the Hessian's change of variables.

use super::{Empirical, Residual, cast_into, scale_into};
use crate::error::Error;
use crate::hessian::{CurvatureRule, hessian};
use crate::objective::Layout;
use crate::pass::{Pass, ScoreRule};
use crate::real::Real;
use crate::sample::of_rows;
use crate::scaling::Scaling;
use crate::spectrum::largest_eigenvalue;
use faer::{Mat, Side};
use std::ops::Range;

/// Up to this dimension the exact spectrum of a matrix costs less than the passes of an iteration.
const SMALL_DIMENSION: usize = 64;

impl<T: Real> Empirical<'_, T> {
    /// What the rows weigh in a bound on the Hessian: ∂²ℓ/∂z² at most, or at `parameters` where there is no bound.
    pub(super) fn curvature_weights(&mut self, parameters: &[f64]) -> Result<(f64, Option<Vec<T>>), Error> {
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
    pub(super) fn largest_second_moment(&self, weights: Option<&[T]>) -> Result<f64, Error> {
        let layout = Layout { width: 1, ..self.layout };
        if layout.n_parameters() <= SMALL_DIMENSION {
            let zeros = vec![T::ZERO; layout.n_parameters()];
            let sums = hessian(self.design, self.team, &Weighted(weights), layout, &zeros)?;
            let matrix = self.pull_back_matrix(layout, self.average(sums), None)?;
            let total: f64 = (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum();
            if !total.is_finite() {
                return Ok(total);
            }
            let eigenvalues = matrix.self_adjoint_eigenvalues(Side::Lower);
            // The trace is a bound where the iteration for the spectrum fails.
            let largest = eigenvalues.ok().and_then(|values| values.last().copied());
            return Ok(largest.map_or(total, |value| value.max(0.0)));
        }
        let mut pass = Pass::new(self.design, 1)?;
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
    pub(super) fn bend_shared_shifts(&self, matrix: &mut Mat<f64>) {
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

    /// Sums over rows → averages.
    pub(super) fn average(&self, mut sums: Mat<f64>) -> Mat<f64> {
        sums *= faer::Scale(1.0 / self.total_weight);
        sums
    }

    /// Jᵀ H J, where J is the change of variables. H is by coefficients and intercept; or, given a `center`, by
    /// coefficients and the score at the center.
    pub(super) fn pull_back_matrix(
        &self,
        layout: Layout,
        matrix: Mat<f64>,
        center: Option<&[f64]>,
    ) -> Result<Mat<f64>, Error> {
        let scaling = match (&self.scaling, center) {
            (None, None) => return Ok(matrix),
            (scaling, center) => scaling_about(scaling.as_ref(), center, layout.n_features),
        };
        self.team.apart(matrix.nrows(), move || scaling.pull_back_matrix(layout, &matrix))
    }
}

/// The change of variables to coefficients and the score at `center`: c − Σ (mⱼ − centerⱼ) wⱼ.
fn scaling_about(scaling: Option<&Scaling>, center: Option<&[f64]>, n_features: usize) -> Scaling {
    let identity = Scaling { center: vec![0.0; n_features], scale: vec![1.0; n_features] };
    let mut about = scaling.cloned().unwrap_or(identity);
    if let Some(center) = center {
        about.center.iter_mut().zip(center).for_each(|(own, center)| *own -= center);
    }
    about
}

/// The rule of a product with the second moment, and of that moment itself: a score is its own residual.
struct Weighted<'a, T>(Option<&'a [T]>);

impl<T: Real> ScoreRule<T> for Weighted<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], _values: &mut [T]) -> f64 {
        if let Some(weights) = self.0 {
            for (score, &weight) in scores.iter_mut().zip(of_rows(weights, &rows, 1)) {
                *score *= weight;
            }
        }
        0.0
    }
}

impl<T: Real> CurvatureRule<T> for Weighted<'_, T> {
    fn prepare(&self, _rows: Range<usize>, _scores: &mut [T]) {}

    fn weights(&self, rows: Range<usize>, _prepared: &[T], _pair: (usize, usize), weights: &mut [T]) {
        match self.0 {
            None => weights.fill(T::ONE),
            Some(own) => weights.copy_from_slice(of_rows(own, &rows, 1)),
        }
    }
}
