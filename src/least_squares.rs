//! Least squares in closed form: from sufficient statistics, and from the rows themselves where those are too coarse.
//!
//! The normal equations square the condition number. While that leaves digits to correct the rest with, a Cholesky factor
//! and corrections do; beyond, a QR factorisation of the rows, block by block, does without the squaring.

#![allow(
    clippy::indexing_slicing,
    reason = "order = d + k columns: `Rows::order` makes the statistics so, and the factors"
)]

use crate::error::Error;
use crate::memory::{ask, bytes_of};
use crate::objective::Layout;
use crate::pass::chunk_rows;
use crate::real::Real;
use crate::reduce::{Team, apart};
use crate::statistics::{Rows, Statistics};
use faer::{Mat, Side, concat};
use std::ops::Range;

/// Condition numbers of the scaled normal equations beyond which the rows are factorised.
pub const COARSE_CONDITION: f64 = 1e8;
/// Deviations below this share of the mean, in units of rounding, are no more than rounding.
const NEGLIGIBLE: f64 = 512.0;
/// Products to estimate an extreme eigenvalue by; its order of magnitude is all that is asked for.
const PRODUCTS: usize = 8;
const CORRECTIONS: usize = 3;
/// Rows of a factorisation, for each of its columns.
const QR_ROWS: usize = 4;
/// Pivots of the rows' factor, relative to their column, that may be rounding alone: so many units, times √n and more.
const PIVOT_ROUNDING: f64 = 8.0;
/// Rows that are copied between two questions whether to stop.
const BAND_ROWS: usize = 256;
/// Matrices of those rows and the factor that a thread holds at a time, with the library's own.
const QR_COPIES: usize = 6;

/// (G + λ₂ I) w = r, for each target: where the gradient of penalised least squares is zero.
pub struct NormalEquations {
    /// G = (2 / k) Σ s (x − m)(x − m)ᵀ / Σ s
    pub gram: Mat<f64>,
    /// r = (2 / k) Σ s (x − m)(y − ȳ) / Σ s, a column a target
    pub right: Mat<f64>,
    /// m: zero where there is no intercept to take it up.
    pub center: Vec<f64>,
    /// ȳ, likewise
    pub target_means: Vec<f64>,
    l2: f64,
    /// What gives the diagonal of G + λ₂ I ones; infinite for a column that does not vary, so that nothing moves it.
    scales: Vec<f64>,
}

impl NormalEquations {
    pub fn new(statistics: &Statistics, layout: Layout, l2: f64) -> Self {
        let (d, k) = (layout.n_features, layout.width);
        let (means, weight, share) = (&statistics.means, statistics.weight, 2.0 / layout.width as f64);
        // Without an intercept, moments are about zero.
        let raw = if layout.fit_intercept { 0.0 } else { 1.0 };
        let moment = |i: usize, j: usize| share * (statistics.moment(i, j) / weight + raw * means[i] * means[j]);
        let gram = Mat::from_fn(d, d, moment);
        let scale = |j: usize| {
            let rounding = NEGLIGIBLE * f64::EPSILON * (1.0 - raw) * means[j];
            let varies = gram[(j, j)] > share * rounding * rounding;
            if varies || l2 > 0.0 { (gram[(j, j)] + l2).sqrt() } else { f64::INFINITY }
        };
        Self {
            right: Mat::from_fn(d, k, |i, j| moment(i, d + j)),
            center: means[..d].iter().map(|mean| (1.0 - raw) * mean).collect(),
            target_means: means[d..].iter().map(|mean| (1.0 - raw) * mean).collect(),
            l2,
            scales: (0..d).map(scale).collect(),
            gram,
        }
    }

    /// Whether a column varies by more than rounding, or a penalty holds it.
    pub fn is_felt(&self, column: usize) -> bool {
        self.scales[column].is_finite()
    }

    /// A Cholesky factor of the scaled matrix, with a little more on its diagonal where it is singular.
    pub fn factor(&self) -> Factor {
        self.damped(0.0)
    }

    /// The factor of a matrix that is known to be singular.
    pub fn singular_factor(&self) -> Factor {
        self.damped(4.0 * self.negligible())
    }

    /// Pivots of the scaled matrix that rounding leaves of nothing.
    fn negligible(&self) -> f64 {
        self.gram.nrows() as f64 * f64::EPSILON
    }

    fn damped(&self, least_damping: f64) -> Factor {
        let (d, scales, negligible) = (self.gram.nrows(), &self.scales, self.negligible());
        let scaled = |i: usize, j: usize| {
            if i == j { 1.0 } else { self.gram[(i, j)] / scales[i] / scales[j] }
        };
        let dampings = [0.0, 4.0 * negligible, 1.0, d as f64];
        for damping in dampings.into_iter().filter(|&damping| damping >= least_damping) {
            let matrix = Mat::from_fn(d, d, |i, j| scaled(i, j) + if i == j { damping } else { 0.0 });
            let Ok(lower) = matrix.llt(Side::Lower) else { continue };
            let least = (0..d).map(|i| lower.L()[(i, i)].powi(2)).fold(f64::INFINITY, f64::min);
            if damping > 0.0 || least > negligible {
                let upper = lower.L().transpose().to_owned();
                return Factor { upper, scales: scales.clone(), singular: damping > 0.0 };
            }
        }
        // Only where it is not finite: then nothing of it is.
        Factor { upper: Mat::full(d, d, f64::NAN), scales: scales.clone(), singular: true }
    }

    /// The solution, by a factor of the matrix, corrected by what is left over; one of many where it is singular.
    pub fn solve(&self, factor: &Factor) -> Mat<f64> {
        let mut solution = Mat::zeros(self.gram.nrows(), self.right.ncols());
        for _ in 0..CORRECTIONS {
            let mut step = &self.right - &self.gram * &solution - faer::Scale(self.l2) * &solution;
            factor.solve_in_place(&mut step);
            solution += step;
        }
        solution
    }

    /// w, and b = ȳ − m w where there is an intercept, in the order of `layout`.
    pub fn parameters(&self, layout: Layout, solution: &Mat<f64>) -> Vec<f64> {
        let mut parameters = vec![0.0; layout.n_parameters()];
        let (coef, intercept) = layout.split_mut(&mut parameters);
        for (k, row) in coef.chunks_exact_mut(layout.n_features).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, w)| *w = solution[(j, k)]);
            if let Some(b) = intercept.get_mut(k) {
                *b = self.target_means[k] - row.iter().zip(&self.center).map(|(w, m)| w * m).sum::<f64>();
            }
        }
        parameters
    }
}

/// A triangular R with RᵀR = S⁻¹ (G + λ₂ I) S⁻¹, S the scales.
pub struct Factor {
    upper: Mat<f64>,
    scales: Vec<f64>,
    singular: bool,
}

impl Factor {
    /// v ← (G + λ₂ I)⁻¹ v
    pub fn solve_in_place(&self, v: &mut Mat<f64>) {
        self.rescale(v);
        self.upper.transpose().solve_lower_triangular_in_place(&mut *v);
        self.upper.solve_upper_triangular_in_place(&mut *v);
        self.rescale(v);
    }

    fn rescale(&self, v: &mut Mat<f64>) {
        for j in 0..v.ncols() {
            for (i, scale) in self.scales.iter().enumerate() {
                v[(i, j)] /= scale;
            }
        }
    }

    /// R S, by rows.
    pub fn by_rows(&self) -> Vec<f64> {
        let d = self.scales.len();
        let entry = |i: usize, j: usize| if i <= j { self.upper[(i, j)] * self.scales[j] } else { 0.0 };
        (0..d).flat_map(|i| (0..d).map(move |j| entry(i, j))).collect()
    }

    /// An estimate, from below, of the condition number of RᵀR; infinite where it is singular.
    pub fn condition(&self) -> f64 {
        if self.singular {
            return f64::INFINITY;
        }
        let largest = dominant(self.upper.nrows(), |v| *v = self.upper.transpose() * (&self.upper * &*v));
        let inverse = dominant(self.upper.nrows(), |v| {
            self.upper.transpose().solve_lower_triangular_in_place(&mut *v);
            self.upper.solve_upper_triangular_in_place(v);
        });
        largest * inverse
    }
}

/// The largest eigenvalue of a symmetric positive operator, from below, by the power method.
fn dominant(order: usize, mut product: impl FnMut(&mut Mat<f64>)) -> f64 {
    // Along no axis, and without symmetry: some share of every eigenvector.
    let mut v = Mat::from_fn(order, 1, |i, _| 1.0 + (i as f64 * 0.618_033_988_749_894_9).fract());
    let mut length = v.norm_l2();
    for _ in 0..PRODUCTS {
        v = Mat::from_fn(order, 1, |i, _| v[(i, 0)] / length);
        product(&mut v);
        length = v.norm_l2();
    }
    length
}

/// Factor, solution and condition from the rows themselves; None where they do not determine them.
pub fn factorise<T: Real>(
    rows: Rows<'_, T>,
    team: &Team<'_>,
    total_weight: f64,
    equations: &NormalEquations,
) -> Result<Option<(Factor, Mat<f64>, f64)>, Error> {
    let (n, k, order) = (rows.design.n_rows(), rows.n_targets, rows.order());
    let unit = (2.0 / (k as f64 * total_weight)).sqrt();
    let scales: Vec<f64> = (0..order).map(|j| unit / equations.scales.get(j).copied().unwrap_or(1.0)).collect();
    let center = [&equations.center[..], &equations.target_means[..]].concat();
    let block_rows = (QR_ROWS * order).min(n);
    let chunk_rows = chunk_rows(n, block_rows, 1, (2 * order + block_rows) * order * size_of::<f64>(), n);
    ask("factors of the rows", bytes_of::<f64>(&[QR_COPIES, team.n_threads(), block_rows + order, order]))?;
    let mut factors: Vec<_> = (0..n.div_ceil(chunk_rows).max(1)).map(|_| Ok(Mat::zeros(0, order))).collect();
    let task = |i: usize, factor: &mut Result<Mat<f64>, Error>, stop: &dyn Fn() -> bool| {
        let chunk = i * chunk_rows..((i + 1) * chunk_rows).min(n);
        for start in chunk.clone().step_by(block_rows) {
            let part = start..(start + block_rows).min(chunk.end);
            let Ok(above) = factor.as_ref() else { return };
            let Some(stacked) = on_top_of(above, &rows, part, &center, &scales, stop) else { return };
            *factor = apart(order, move || triangular(&stacked), stop);
        }
    };
    let all = team.ordered_reduce(rows.in_parallel(), &mut factors, task, |above, below| {
        if let (Ok(first), Ok(second)) = (&above, below) {
            let stacked = concat![[first], [second]];
            *above = team.apart(order, move || triangular(&stacked));
        }
    })?;
    let factor = std::mem::replace(all, Ok(Mat::new()))?;
    let (scales, l2) = (equations.scales.clone(), equations.l2);
    // Householder's reflections of a block each leave some rounding, which adds up as by chance.
    let rounding = PIVOT_ROUNDING * (order as f64 + (n as f64).sqrt()) * f64::EPSILON;
    team.apart(order, move || solved(factor, scales, l2, rounding))
}

/// The factor of some rows on top of other rows; None if it is asked to stop.
fn on_top_of<T: Real>(
    factor: &Mat<f64>,
    rows: &Rows<'_, T>,
    part: Range<usize>,
    center: &[f64],
    scales: &[f64],
    stop: &dyn Fn() -> bool,
) -> Option<Mat<f64>> {
    let (top, order, stride) = (factor.nrows(), factor.ncols(), factor.ncols() + 1);
    let mut stacked = Mat::zeros(top + part.len(), order);
    stacked.subrows_mut(0, top).copy_from(factor);
    let mut entries = vec![0.0; BAND_ROWS.min(part.len()) * stride];
    for start in part.clone().step_by(BAND_ROWS) {
        if stop() {
            return None;
        }
        let band = start..(start + BAND_ROWS).min(part.end);
        let entries = &mut entries[..band.len() * stride];
        rows.copy_centered(band.clone(), center, entries);
        let mut below = stacked.subrows_mut(top + start - part.start, band.len());
        for (j, scale) in scales.iter().enumerate() {
            for (i, row) in entries.chunks_exact(stride).enumerate() {
                below[(i, j)] = row[j] * scale;
            }
        }
    }
    Some(stacked)
}

/// R of the rows' QR factorisation.
fn triangular(rows: &Mat<f64>) -> Mat<f64> {
    rows.qr().thin_R().to_owned()
}

/// From R of all rows, their targets beside them, to factor, solution and condition.
fn solved(mut factor: Mat<f64>, scales: Vec<f64>, l2: f64, rounding: f64) -> Option<(Factor, Mat<f64>, f64)> {
    let (d, order) = (scales.len(), factor.ncols());
    if l2 > 0.0 {
        let penalty = Mat::from_fn(d, order, |i, j| if i == j { l2.sqrt() / scales[i] } else { 0.0 });
        factor = triangular(&concat![[factor], [penalty]]);
    }
    let determined = |j: usize| factor[(j, j)].abs() > rounding;
    if factor.nrows() < d || !(0..d).all(determined) {
        return None;
    }
    let upper = factor.submatrix(0, 0, d, d).to_owned();
    let mut solution = factor.submatrix(0, d, d, order - d).to_owned();
    upper.solve_upper_triangular_in_place(&mut solution);
    let factor = Factor { upper, scales, singular: false };
    factor.rescale(&mut solution);
    let condition = factor.condition();
    Some((factor, solution, condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::RowMajor;
    use crate::sample::Sample;
    use std::time::{Duration, Instant};

    /// y = Σ wⱼ xʲ on whole numbers, exactly: the worse conditioned, the more powers there are.
    #[test]
    fn powers_are_told_apart_by_the_rows() {
        let coef = [3.0, -2.0, 0.5, 0.25, -0.125];
        let (n, d) = (21, coef.len());
        let x: Vec<f64> = (0..n * d).map(|i| ((i / d) as f64).powi((i % d) as i32 + 1)).collect();
        let y: Vec<f64> = (0..n).map(|i| 1.0 + (0..d).map(|j| coef[j] * x[i * d + j]).sum::<f64>()).collect();
        let design = RowMajor::new(&x, n, d).unwrap();
        let rows =
            Rows { design: &design, sample: Sample { targets: &y[..], weights: None, offsets: None }, n_targets: 1 };
        let team = Team::new(1, &|| false);
        let layout = Layout { width: 1, n_features: d, fit_intercept: true };
        let statistics = Statistics::of(rows, &team).unwrap();
        let equations = NormalEquations::new(&statistics, layout, 0.0);
        let factor = equations.factor();
        assert!(factor.condition() > 1e5);
        let by_rows = factorise(rows, &team, statistics.weight, &equations).unwrap().unwrap();
        assert!((by_rows.2 / factor.condition()).ln().abs() < 0.1);
        for (solution, error) in [(equations.solve(&factor), 1e-7), (by_rows.1, 1e-9)] {
            let parameters = equations.parameters(layout, &solution);
            for (got, exact) in parameters.iter().zip(coef.iter().chain([&1.0])) {
                assert!((got - exact).abs() <= error * exact.abs(), "{got} for {exact}");
            }
        }
    }

    /// One block of rows, whose factorisation takes seconds.
    #[test]
    fn an_interrupt_ends_a_long_factorisation() {
        let (n, d) = (10_000, 2500);
        let x: Vec<f64> = (0..n * d).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract()).collect();
        let y = vec![0.0; n];
        let design = RowMajor::new(&x, n, d).unwrap();
        let rows =
            Rows { design: &design, sample: Sample { targets: &y[..], weights: None, offsets: None }, n_targets: 1 };
        let moments = (0..(d + 1) * (d + 1)).map(|i| if i % (d + 2) == 0 { 1.0 } else { 0.0 }).collect();
        let statistics = Statistics { weight: n as f64, means: vec![0.0; d + 1], moments };
        let layout = Layout { width: 1, n_features: d, fit_intercept: true };
        let equations = NormalEquations::new(&statistics, layout, 0.0);
        for n_threads in [1, 2] {
            let started = Instant::now();
            let late = || started.elapsed() > Duration::from_millis(300);
            let outcome = factorise(rows, &Team::new(n_threads, &late), statistics.weight, &equations);
            assert!(matches!(outcome, Err(Error::Interrupted)), "{:?} {:?}", started.elapsed(), outcome.err());
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }

    #[test]
    fn a_repeated_column_is_singular_and_a_constant_one_is_left_alone() {
        let x: Vec<f64> = (0..30).map(|i| [(i / 3) as f64, (i / 3) as f64, 0.1][i % 3]).collect();
        let y: Vec<f64> = (0..10).map(|i| 2.0 * i as f64 + 1.0).collect();
        let design = RowMajor::new(&x, 10, 3).unwrap();
        let rows =
            Rows { design: &design, sample: Sample { targets: &y[..], weights: None, offsets: None }, n_targets: 1 };
        let statistics = Statistics::of(rows, &Team::new(1, &|| false)).unwrap();
        let layout = Layout { width: 1, n_features: 3, fit_intercept: true };
        let equations = NormalEquations::new(&statistics, layout, 0.0);
        let factor = equations.factor();
        assert_eq!(factor.condition(), f64::INFINITY);
        let solution = equations.solve(&factor);
        assert!((solution[(0, 0)] + solution[(1, 0)] - 2.0).abs() < 1e-9);
        assert_eq!(solution[(2, 0)], 0.0);
    }
}
