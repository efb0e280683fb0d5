//! The objective: the only thing that an optimiser sees, and the only thing that touches data.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::error::{Error, expect_length};
use crate::lanes::dot;
use crate::memory::ask_for_vectors;
use faer::Mat;
use std::ops::Range;

/// A convex function of a flat vector of parameters: a smooth part, and a *rough* part λ₁‖·‖₁ that only has a proximal
/// map. Evaluating the smooth part is one pass over the data.
pub trait Objective {
    fn n_parameters(&self) -> usize;

    /// Returns the smooth part's value and overwrites `gradient` with its gradient.
    fn value_and_gradient(&mut self, parameters: &[f64], gradient: &mut [f64]) -> Result<f64, Error>;

    /// Whether there is no rough part.
    fn is_smooth(&self) -> bool;

    fn rough_value(&self, parameters: &[f64]) -> f64;

    /// parameters ← argmin_v Σⱼ (vⱼ − pⱼ)² / 2 sizeⱼ + rough(v), where `size(j)` is the step size of parameter j.
    fn prox(&self, parameters: &mut [f64], size: &dyn Fn(usize) -> f64);

    /// L such that the smooth part's Hessian is at most L·I: everywhere if there is such a bound, else at `parameters`.
    fn curvature(&mut self, parameters: &[f64]) -> Result<f64, Error>;

    /// The average over single rows of the same bound: what a step on a few rows meets.
    fn row_curvature(&mut self, parameters: &[f64]) -> Result<f64, Error>;

    /// The Hessian of the smooth part.
    fn hessian(&mut self, parameters: &[f64]) -> Result<Mat<f64>, Error>;

    /// Where the smooth part is least, if that is known in closed form.
    fn minimiser(&self) -> Option<Vec<f64>> {
        None
    }

    /// Where coordinate descent leads in a step: only where the objective knows itself as a quadratic.
    fn coordinate_step(&mut self, _parameters: &[f64]) -> Result<Vec<f64>, Error> {
        Err(Error::NoStatistics)
    }

    fn n_rows(&self) -> usize;

    /// Overwrites `gradient` with an estimate of the smooth part's gradient from some of the rows; unbiased where they
    /// are drawn evenly.
    fn batch_gradient(&mut self, parameters: &[f64], rows: &[Range<usize>], gradient: &mut [f64]) -> Result<(), Error>;

    /// Whether evaluations keep what `hold` and `along` need.
    fn keep_lines(&mut self, keep: bool);

    /// The point last evaluated becomes the start of a line; the next one evaluated is its point at t = 1.
    fn hold(&mut self);

    /// The smooth part's value and slope at `t` on the line. Reads no data, only scores.
    fn along(&mut self, t: f64) -> Result<(f64, f64), Error>;

    /// The relative precision of sums over the data.
    fn precision(&self) -> f64;

    /// Runs work on a matrix of this order, so that the caller can stop meanwhile.
    fn apart(&self, order: usize, work: Box<dyn FnOnce() -> Vec<f64> + Send>) -> Result<Vec<f64>, Error>;

    /// By how much rounding alone may change a value of about this size.
    fn rounding(&self, value: f64) -> f64;
}

/// ‖p − prox(p − ∇f(p))‖, the proximal gradient mapping with a step of one; the gradient's norm if nothing is rough.
pub fn optimality(objective: &dyn Objective, parameters: &[f64], gradient: &[f64]) -> f64 {
    if objective.is_smooth() {
        return norm(gradient);
    }
    let mut moved: Vec<f64> = parameters.iter().zip(gradient).map(|(p, slope)| p - slope).collect();
    objective.prox(&mut moved, &|_| 1.0);
    let unmoved = parameters.iter().zip(gradient).map(|(p, slope)| p - slope);
    // p − prox(p − g) as g + ((p − g) − prox(p − g)): exactly g where the proximal map does nothing.
    let mapping: Vec<f64> = gradient.iter().zip(unmoved).zip(&moved).map(|((g, u), m)| g + (u - m)).collect();
    norm(&mapping)
}

const FEW: usize = 8;

/// ‖v‖, also where squares leave the range of numbers.
pub fn norm(v: &[f64]) -> f64 {
    // A few numbers are added before a kernel for many is chosen.
    let square = if v.len() <= FEW { v.iter().map(|entry| entry * entry).sum() } else { dot(v, v) };
    if square.is_normal() {
        return square.sqrt();
    }
    let largest = v.iter().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
    if largest == 0.0 || v.iter().any(|entry| !entry.is_finite()) {
        return square.sqrt();
    }
    let scaled: f64 = v.iter().map(|entry| (entry / largest).powi(2)).sum();
    largest * scaled.sqrt()
}

/// Where the coefficients and the intercept stand in the flat vector: coef (width × d, by rows), then intercept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub width: usize,
    pub n_features: usize,
    pub fit_intercept: bool,
}

impl Layout {
    /// An error unless there is something to fit, and room for it.
    pub fn admit(self, n_rows: usize) -> Result<(), Error> {
        let Self { width, n_features, .. } = self;
        if n_rows == 0 || n_features == 0 || width == 0 {
            return Err(Error::Empty { n_rows, n_features, width });
        }
        ask_for_vectors(width.saturating_mul(n_features.saturating_add(1)))
    }

    /// An error unless validation has as many columns and scores.
    pub fn expect(self, validation: Self) -> Result<(), Error> {
        expect_length("columns of eval_set", self.n_features, validation.n_features)?;
        expect_length("scores of eval_set", self.width, validation.width)?;
        expect_length("parameters of eval_set", self.n_parameters(), validation.n_parameters())
    }

    pub fn n_parameters(self) -> usize {
        self.n_coef().saturating_add(if self.fit_intercept { self.width } else { 0 })
    }

    pub fn n_coef(self) -> usize {
        self.width.saturating_mul(self.n_features)
    }

    pub fn split<T>(self, parameters: &[T]) -> (&[T], &[T]) {
        parameters.split_at(self.n_coef())
    }

    pub fn split_mut<T>(self, parameters: &mut [T]) -> (&mut [T], &mut [T]) {
        parameters.split_at_mut(self.n_coef())
    }
}
