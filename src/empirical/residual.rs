//! The rule of the objective's own pass.

use crate::hessian::CurvatureRule;
use crate::loss::Loss;
use crate::pass::ScoreRule;
use crate::real::Real;
use crate::sample::{Sample, of_rows};
use std::ops::Range;

/// Scores to residuals, and to second derivatives, with the rows' weights and offsets.
pub(super) struct Residual<'a, T> {
    pub(super) loss: Loss,
    pub(super) sample: Sample<'a, T>,
}

impl<T: Real> Residual<'_, T> {
    fn targets(&self, rows: &Range<usize>) -> &[T] {
        of_rows(self.sample.targets, rows, self.loss.target_width())
    }

    fn add_offsets(&self, rows: &Range<usize>, scores: &mut [T]) {
        if let Some(offsets) = self.sample.offsets {
            for (score, &offset) in scores.iter_mut().zip(of_rows(offsets, rows, self.loss.width())) {
                *score += offset;
            }
        }
    }
}

impl<T: Real> ScoreRule<T> for Residual<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], values: &mut [T]) -> f64 {
        self.add_offsets(&rows, scores);
        let weights = self.sample.weights.map(|weights| of_rows(weights, &rows, 1));
        self.loss.value_and_residual(self.targets(&rows), weights, scores, values)
    }
}

impl<T: Real> CurvatureRule<T> for Residual<'_, T> {
    fn prepare(&self, rows: Range<usize>, scores: &mut [T]) {
        self.add_offsets(&rows, scores);
        self.loss.prepare_second_derivative(self.targets(&rows), scores);
    }

    fn is_felt(&self, (k, l): (usize, usize)) -> bool {
        k == l || !self.loss.is_separable()
    }

    fn weights(&self, rows: Range<usize>, prepared: &[T], (k, l): (usize, usize), weights: &mut [T]) {
        for (weight, row) in weights.iter_mut().zip(prepared.chunks_exact(self.loss.width())) {
            *weight = self.loss.second_derivative(row, k, l);
        }
        if let Some(own) = self.sample.weights {
            weights.iter_mut().zip(of_rows(own, &rows, 1)).for_each(|(weight, &own)| *weight *= own);
        }
    }
}
