//! Sufficient statistics of least squares: all that later steps need to know of the rows.
//!
//! For the columns of X and y together, their total weight, their means, and their second moments about the means, in
//! `f64`. One pass takes them; those of two samples are merged into those of both.

use crate::design::Design;
use crate::error::Error;
use crate::lanes::vectorized;
use crate::memory::{ask, bytes_of};
use crate::pass::{chunk_rows, worth_waking};
use crate::real::Real;
use crate::reduce::Team;
use crate::sample::{Sample, of_rows};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;

/// Rows that are taken in double precision at a time: enough for a matrix product to run at its full rate.
const BLOCK_ROWS: usize = 256;
/// Lines of the matrix of moments that they are added to at a time: milliseconds, however many columns there are.
const BAND_LINES: usize = 512;
/// Matrices of moments, two by two, that least squares needs beside those of the chunks.
const MATRICES: usize = 4;

/// Weight, means and second moments of the columns of X and y.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    pub weight: f64,
    pub means: Vec<f64>,
    /// Σ s (v − mean)(v − mean)ᵀ over rows v = (x, y), by rows: the lower triangle.
    pub moments: Vec<f64>,
}

impl Statistics {
    /// Of all rows, in one pass.
    pub fn of<T: Real>(rows: Rows<'_, T>, team: &Team<'_>) -> Result<Self, Error> {
        let (n, order) = (rows.design.n_rows(), rows.order());
        let block_rows = BLOCK_ROWS.min(n);
        let bytes = bytes_of::<f64>(&[order.saturating_mul(2).saturating_add(block_rows), order]);
        let chunk_rows = chunk_rows(n, block_rows, 1, bytes, n);
        let n_chunks = n.div_ceil(chunk_rows).max(1);
        // And what solves the normal equations.
        ask("sufficient statistics", (n_chunks + MATRICES).saturating_mul(bytes))?;
        let mut chunks: Vec<Chunk> = (0..n_chunks).map(|_| Chunk::new(order, block_rows)).collect();
        let task = |i: usize, chunk: &mut Chunk, stop: &dyn Fn() -> bool| {
            chunk.take(&rows, i * chunk_rows..((i + 1) * chunk_rows).min(n), block_rows, stop);
        };
        let all = team.ordered_reduce(rows.in_parallel(), &mut chunks, task, |a, b| a.own.merge(&b.own))?;
        Ok(std::mem::take(&mut all.own))
    }

    /// From moments of rows (v − center, 1), which have their sums in the last line, to moments about the mean.
    fn recenter(&mut self, center: &[f64], extended: &[f64]) {
        let (order, lines) = (self.order(), extended.chunks_exact(self.order() + 1));
        self.means.copy_from_slice(center);
        let Some(sums) = lines.clone().last().filter(|_| self.weight != 0.0) else { return };
        for (i, ((own, line), of_line)) in self.moments.chunks_exact_mut(order).zip(lines).zip(sums).enumerate() {
            for (own, (about_center, sum)) in own.iter_mut().zip(line.iter().zip(sums)).take(i + 1) {
                *own = about_center - of_line * (sum / self.weight);
            }
        }
        for (mean, sum) in self.means.iter_mut().zip(sums) {
            *mean += sum / self.weight;
        }
    }

    pub fn order(&self) -> usize {
        self.means.len()
    }

    /// Σ s (vᵢ − meanᵢ)(vⱼ − meanⱼ)
    #[allow(clippy::indexing_slicing, reason = "for columns of these statistics: moments are order × order")]
    pub fn moment(&self, i: usize, j: usize) -> f64 {
        self.moments[i.max(j) * self.order() + i.min(j)]
    }

    /// Becomes the statistics of both samples (Chan, Golub and LeVeque, equation 2.1): no sum of raw squares, so means
    /// may be as far from zero as they like.
    pub fn merge(&mut self, other: &Self) {
        let weight = self.weight + other.weight;
        if other.weight == 0.0 {
            return;
        }
        let apart: Vec<f64> = other.means.iter().zip(&self.means).map(|(b, a)| b - a).collect();
        let share = self.weight * (other.weight / weight);
        let order = self.order().max(1);
        let lines = self.moments.chunks_exact_mut(order).zip(other.moments.chunks_exact(order));
        for (i, ((own, other), a)) in lines.zip(&apart).enumerate() {
            for ((own, other), b) in own.iter_mut().zip(other).zip(&apart).take(i + 1) {
                *own += other + share * a * b;
            }
        }
        for (mean, apart) in self.means.iter_mut().zip(&apart) {
            *mean += apart * (other.weight / weight);
        }
        self.weight = weight;
    }
}

/// The rows (x, y − offset) of a sample, as least squares sees them.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    pub design: &'a dyn Design<T>,
    pub sample: Sample<'a, T>,
    pub n_targets: usize,
}

impl<T: Real> Rows<'_, T> {
    pub fn order(&self) -> usize {
        self.design.n_features().saturating_add(self.n_targets)
    }

    /// Whether the products of a row's entries two by two are enough work to wake other threads for.
    pub fn in_parallel(&self) -> bool {
        worth_waking(self.design.n_rows().saturating_mul(self.order().saturating_mul(self.order())))
    }

    /// The mean of some rows, to subtract before squares are summed.
    fn near(&self, rows: Range<usize>, block: &mut [f64]) -> Vec<f64> {
        let order = self.order();
        let total = self.copy_centered(rows.clone(), &vec![0.0; order], block);
        let mut sums = vec![0.0; order];
        for (row, entries) in rows.zip(block.chunks_exact(order + 1)) {
            let root = self.sample.weight(row).sqrt();
            sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += root * entry);
        }
        if total > 0.0 {
            sums.iter_mut().for_each(|sum| *sum /= total);
        }
        sums
    }

    /// Writes √s (v − center, 1) for some rows, each `order` + 1 long, and returns their total weight.
    pub fn copy_centered(&self, rows: Range<usize>, center: &[f64], block: &mut [f64]) -> f64 {
        let (d, k, stride) = (self.design.n_features(), self.n_targets, self.order() + 1);
        self.design.copy_rows(rows.clone(), stride, block);
        let observed = of_rows(self.sample.targets, &rows, k).chunks_exact(k);
        for ((row, targets), entries) in rows.clone().zip(observed).zip(block.chunks_exact_mut(stride)) {
            let places = row * k..;
            let values = targets.iter().zip(places).map(|(y, place)| y.to_f64() - self.sample.offset(place));
            entries.iter_mut().skip(d).zip(values.chain([1.0])).for_each(|(entry, value)| *entry = value);
        }
        vectorized(
            #[inline(always)]
            || {
                for entries in block.chunks_exact_mut(stride) {
                    entries.iter_mut().zip(center).for_each(|(entry, center)| *entry -= center);
                }
            },
        );
        let Some(weights) = self.sample.weights else {
            return rows.len() as f64;
        };
        let mut total = 0.0;
        for (weight, entries) in of_rows(weights, &rows, 1).iter().zip(block.chunks_exact_mut(stride)) {
            let weight = weight.to_f64();
            total += weight;
            let root = weight.sqrt();
            // Also by zero: what weighs nothing may be huge, but not a hole.
            entries.iter_mut().for_each(|entry| *entry *= root);
        }
        total
    }
}

struct Chunk {
    own: Statistics,
    block: Vec<f64>,
    /// Moments of the rows with a one at their end, whose line has their sums.
    extended: Vec<f64>,
}

impl Chunk {
    fn new(order: usize, block_rows: usize) -> Self {
        let stride = order + 1;
        Self {
            own: Statistics { weight: 0.0, means: vec![0.0; order], moments: vec![0.0; order * order] },
            block: vec![0.0; block_rows * stride],
            extended: vec![0.0; stride * stride],
        }
    }

    fn take<T: Real>(&mut self, all: &Rows<'_, T>, rows: Range<usize>, block_rows: usize, stop: &dyn Fn() -> bool) {
        let stride = all.order() + 1;
        let first = rows.start..(rows.start + block_rows).min(rows.end);
        self.block.resize(first.len() * stride, 0.0);
        let center = all.near(first, &mut self.block);
        for start in rows.clone().step_by(block_rows) {
            if stop() {
                return;
            }
            let part = start..(start + block_rows).min(rows.end);
            self.block.resize(part.len() * stride, 0.0);
            self.own.weight += all.copy_centered(part, &center, &mut self.block);
            add_products(&mut self.extended, &self.block, stride, stop);
        }
        self.own.recenter(&center, &self.extended);
    }
}

/// moments ← moments + VᵀV, the lower triangle, for rows of length `order`.
fn add_products(moments: &mut [f64], rows: &[f64], order: usize, stop: &dyn Fn() -> bool) {
    let rows = MatRef::from_row_major_slice(rows, rows.len() / order, order);
    let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let mut first = 0;
    for band in moments.chunks_mut(BAND_LINES * order) {
        if first > 0 && stop() {
            return;
        }
        let band = MatMut::from_row_major_slice_mut(band, band.len() / order, order);
        let n_lines = band.nrows();
        let (left, right) = band.split_at_col_mut(first);
        let (before, own) = (rows.subcols(0, first), rows.subcols(first, n_lines));
        let diagonal = right.subcols_mut(0, n_lines);
        matmul(left, whole, Accum::Add, own.transpose(), whole, before, whole, 1.0, Par::Seq);
        matmul(diagonal, lower, Accum::Add, own.transpose(), whole, own, whole, 1.0, Par::Seq);
        first += n_lines;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::RowMajor;
    use proptest::prelude::*;

    fn statistics(x: &[f64], y: &[f64], weights: Option<&[f64]>, n_threads: usize) -> Statistics {
        let design = RowMajor::new(x, y.len(), x.len() / y.len()).unwrap();
        let sample = Sample { targets: y, weights, offsets: None };
        Statistics::of(Rows { design: &design, sample, n_targets: 1 }, &Team::new(n_threads, &|| false)).unwrap()
    }

    /// Numbers in [−1, 1) about a mean, the same on every run.
    fn waves(length: usize, mean: f64) -> Vec<f64> {
        (0..length).map(|i| mean + (i as f64 * 0.7).sin()).collect()
    }

    proptest! {
        /// Means and moments by their definition, however far the means are; and of two parts merged.
        #[test]
        fn by_definition_and_by_parts(n in 2usize..600, cut in 1usize..600, mean in -1e6f64..1e6) {
            let (d, cut) = (3, cut.min(n - 1));
            let (x, y, weights) = (waves(n * d, mean), waves(n, -mean), waves(n, 1.5));
            let whole = statistics(&x, &y, Some(&weights), 2);
            let column = |i: usize, j: usize| if j < d { x[i * d + j] } else { y[i] };
            let total: f64 = weights.iter().sum();
            let means: Vec<f64> =
                (0..=d).map(|j| (0..n).map(|i| weights[i] * column(i, j)).sum::<f64>() / total).collect();
            let mut parts = statistics(&x[..cut * d], &y[..cut], Some(&weights[..cut]), 1);
            parts.merge(&statistics(&x[cut * d..], &y[cut..], Some(&weights[cut..]), 1));
            for got in [&whole, &parts] {
                prop_assert!((got.weight - total).abs() <= 1e-12 * total);
                for (i, mean_of_column) in means.iter().enumerate() {
                    prop_assert!((got.means[i] - mean_of_column).abs() <= 1e-14 * mean.abs().max(1.0) * n as f64);
                    for j in 0..=i {
                        let exact: f64 = (0..n)
                            .map(|row| weights[row] * (column(row, i) - whole.means[i]) * (column(row, j) - whole.means[j]))
                            .sum();
                        prop_assert!((got.moment(i, j) - exact).abs() <= 1e-8 * total, "{} {exact}", got.moment(i, j));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_that_weigh_nothing_do_not_count() {
        let (mut x, y) = (waves(20, 0.0), waves(10, 0.0));
        let weights: Vec<f64> = (0..10).map(|i| f64::from(u8::from(i != 3))).collect();
        let before = statistics(&x, &y, Some(&weights), 1);
        x[6] = 1e300;
        assert_eq!(statistics(&x, &y, Some(&weights), 1), before);
        x[6] = f64::INFINITY;
        assert!(statistics(&x, &y, Some(&weights), 1).moment(0, 0).is_nan(), "a hole shows all the same");
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let (x, y) = (waves(30_000, 3.0), waves(10_000, 0.0));
        let alone = statistics(&x, &y, None, 1);
        for n_threads in [2, 3, 8] {
            assert_eq!(statistics(&x, &y, None, n_threads), alone);
        }
    }
}
