//! Least squares without its rows: statistics once, then a quadratic.

mod twofold;

use super::Empirical;
use crate::error::Error;
use crate::least_squares::{COARSE_CONDITION, Factor, NormalEquations, factorise};
use crate::loss::Loss;
use crate::objective::Layout;
use crate::quadratic::Quadratic;
use crate::real::Real;
use crate::statistics::{Rows, Statistics};
use faer::{Mat, Side};

/// What stands for the rows.
pub(super) struct Expansion {
    pub(super) quadratic: Quadratic,
    /// Where it is least, the penalty's smooth part included.
    pub(super) minimiser: Vec<f64>,
    condition: f64,
}

impl<T: Real> Empirical<'_, T> {
    /// An estimate of the condition number of the scaled normal equations, the penalty included, where they have been
    /// taken; infinite where they do not determine the minimum.
    pub fn condition(&self) -> Option<f64> {
        self.expansion.as_ref().map(|expansion| expansion.condition)
    }

    /// The statistics of the rows; of several samples, they can be merged.
    ///
    /// Only for `Loss::Mse`. One pass.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        Statistics::of(self.rows()?, self.team)
    }

    fn rows(&self) -> Result<Rows<'_, T>, Error> {
        match self.loss {
            Loss::Mse { n_targets } => Ok(Rows { design: self.design, sample: self.sample, n_targets }),
            _ => Err(Error::NotQuadratic),
        }
    }

    /// Takes the statistics of the rows, which later evaluations read in their place; nothing changes but rounding.
    ///
    /// Only for `Loss::Mse`. One pass; a second one of double precision corrects the minimum. Where the first was too
    /// coarse one of QR factorisations comes between, and the last is of twice the precision.
    pub fn expand(&mut self) -> Result<(), Error> {
        let rows = self.rows()?;
        let (layout, l2, d) = (self.layout, self.penalty.l2, self.layout.n_features);
        let statistics = Statistics::of(rows, self.team)?;
        let (weight, target_squares) = (statistics.weight, target_squares(&statistics, layout));
        let solve = move || {
            let equations = NormalEquations::new(&statistics, layout, l2);
            let factor = equations.factor();
            let (solution, condition) = (equations.solve(&factor), factor.condition());
            (equations, factor, solution, condition)
        };
        let (equations, mut factor, mut solution, mut condition) = self.team.apart(d, solve)?;
        let coarse = condition > COARSE_CONDITION;
        let better = if coarse { factorise(rows, self.team, weight, &equations)? } else { None };
        let by_rows = better.is_some();
        if let Some(better) = better {
            (factor, solution, condition) = better;
        }
        let expand = move || {
            if coarse && !by_rows {
                // The rows do not determine them, so what the matrix seems to is rounding.
                factor = equations.singular_factor();
                (solution, condition) = (equations.solve(&factor), factor.condition());
            }
            (Quadratic::new(&equations, layout, target_squares, &solution), factor, condition)
        };
        let (mut quadratic, factor, condition) = self.team.apart(d, expand)?;
        if T::PRECISION <= f64::EPSILON {
            // The rows know value and gradient at the anchor better than differences of large moments do.
            let (anchor, mut gradient) = (quadratic.anchor.clone(), quadratic.gradient.clone());
            let value = if by_rows {
                // Of scores that cancel few digits are left, and the condition number squared multiplies what is not.
                twofold::loss_and_gradient(rows, self.team, layout, weight, &anchor, &mut gradient)?
            } else {
                self.average_loss(&anchor, &mut gradient)?
            };
            (quadratic.value, quadratic.gradient) = (value, gradient);
        }
        let correct = move || {
            if by_rows {
                quadratic.evaluate_by(&factor, l2);
            }
            let minimiser = corrected(&quadratic, layout, &factor, l2);
            (quadratic, minimiser)
        };
        let (quadratic, minimiser) = self.team.apart(d, correct)?;
        self.expansion = Some(Expansion { quadratic, minimiser, condition });
        Ok(())
    }

    /// The Hessian of the average loss, in the variables of this function.
    pub(super) fn least_squares_hessian(&self) -> Result<Option<Mat<f64>>, Error> {
        let Some(Expansion { quadratic, .. }) = &self.expansion else {
            return Ok(None);
        };
        let layout = Layout { width: 1, ..self.layout };
        let one = self.pull_back_matrix(layout, quadratic.hessian(), Some(&quadratic.center))?;
        let Layout { width, n_features: d, .. } = self.layout;
        // Targets share it, and do not mix.
        let place = |i: usize| if i < width * d { (i / d, i % d) } else { (i - width * d, d) };
        let order = self.layout.n_parameters();
        Ok(Some(Mat::from_fn(order, order, |i, j| {
            let ((k, i), (l, j)) = (place(i), place(j));
            if k == l { one[(i, j)] } else { 0.0 }
        })))
    }

    /// The largest eigenvalue of that Hessian.
    pub(super) fn least_squares_curvature(&self) -> Result<Option<f64>, Error> {
        let Some(Expansion { quadratic, .. }) = &self.expansion else {
            return Ok(None);
        };
        let layout = Layout { width: 1, ..self.layout };
        let one = self.pull_back_matrix(layout, quadratic.hessian(), Some(&quadratic.center))?;
        let trace: f64 = (0..one.nrows()).map(|i| one[(i, i)]).sum();
        if !trace.is_finite() {
            return Ok(Some(trace));
        }
        // The trace is a bound where the iteration for the spectrum fails.
        let eigenvalues = self.team.apart(one.nrows(), move || one.self_adjoint_eigenvalues(Side::Lower))?;
        let largest = eigenvalues.ok().and_then(|values| values.last().copied());
        Ok(Some(largest.map_or(trace, |value| value.max(0.0))))
    }
}

/// The average second moment of the targets, about their means where there is an intercept.
fn target_squares(statistics: &Statistics, layout: Layout) -> f64 {
    let raw = if layout.fit_intercept { 0.0 } else { 1.0 };
    let square = |(j, mean): (usize, &f64)| statistics.moment(j, j) / statistics.weight + raw * mean.powi(2);
    statistics.means.iter().enumerate().skip(layout.n_features).map(square).sum::<f64>() / layout.width as f64
}

/// The anchor less what its gradient says it is off.
fn corrected(quadratic: &Quadratic, layout: Layout, factor: &Factor, l2: f64) -> Vec<f64> {
    let (d, share) = (layout.n_features, 2.0 / layout.width as f64);
    let (coef, _) = layout.split(&quadratic.anchor);
    let (slope, intercept_slope) = layout.split(&quadratic.gradient);
    let at_center = |k: usize| intercept_slope.get(k).copied().unwrap_or(0.0);
    let mut steps = Mat::zeros(d, layout.width);
    for (k, (slope, coef)) in slope.chunks_exact(d).zip(coef.chunks_exact(d)).enumerate() {
        let terms = slope.iter().zip(&quadratic.center).zip(coef);
        for (entry, ((slope, center), w)) in steps.col_as_slice_mut(k).iter_mut().zip(terms) {
            *entry = slope - center * at_center(k) + l2 * w;
        }
    }
    factor.solve_in_place(&mut steps);
    let mut minimiser = quadratic.anchor.clone();
    let (coef, intercept) = layout.split_mut(&mut minimiser);
    for (k, coef) in coef.chunks_exact_mut(d).enumerate() {
        let mut shift = 0.0;
        for ((w, center), step) in coef.iter_mut().zip(&quadratic.center).zip(steps.col_as_slice(k)) {
            *w -= step;
            shift += center * step;
        }
        if let Some(b) = intercept.get_mut(k) {
            *b += shift - at_center(k) / share;
        }
    }
    minimiser
}
