//! Sufficient statistics of least squares: all that later steps need to know of the rows.
//!
//! For the columns of X and y together, their total weight, their means, and their second moments about the means, in
//! `f64`. One pass takes them; those of two samples are merged into those of both.

use crate::design::Design;
use crate::error::Error;
use crate::pass::chunk_rows;
use crate::real::Real;
use crate::reduce::Team;
use crate::sample::Sample;
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;

/// Rows that are taken in double precision at a time: enough for a matrix product to run at its full rate.
const BLOCK_ROWS: usize = 256;

/// Weight, means and second moments of the columns of X and y.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    pub weight: f64,
    pub means: Vec<f64>,
    /// Σ s (v − mean)(v − mean)ᵀ over rows v = (x, y), by rows: the lower triangle.
    pub moments: Vec<f64>,
}

impl Statistics {
    fn zero(order: usize) -> Self {
        Self { weight: 0.0, means: vec![0.0; order], moments: vec![0.0; order * order] }
    }

    /// Of all rows, in one pass.
    pub fn of<T: Real>(rows: Rows<'_, T>, team: &Team<'_>) -> Result<Self, Error> {
        let (n, order) = (rows.design.n_rows(), rows.order());
        let block_rows = BLOCK_ROWS.min(n);
        let chunk_rows = chunk_rows(n, block_rows, 1, (order + block_rows) * order * size_of::<f64>());
        let chunk = || Chunk { own: Self::zero(order), block: vec![0.0; block_rows * order] };
        let mut chunks: Vec<Chunk> = (0..n.div_ceil(chunk_rows).max(1)).map(|_| chunk()).collect();
        let task = |i: usize, chunk: &mut Chunk, stop: &dyn Fn() -> bool| {
            chunk.take(&rows, i * chunk_rows..((i + 1) * chunk_rows).min(n), block_rows, stop);
        };
        team.ordered_reduce(rows.in_parallel(), &mut chunks, task, |a, b| a.own.merge(&b.own))?;
        Ok(chunks.swap_remove(0).own)
    }

    pub fn order(&self) -> usize {
        self.means.len()
    }

    /// Σ s (vᵢ − meanᵢ)(vⱼ − meanⱼ)
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
        let order = self.order();
        let apart: Vec<f64> = other.means.iter().zip(&self.means).map(|(b, a)| b - a).collect();
        let share = self.weight * (other.weight / weight);
        for i in 0..order {
            let line = i * order..i * order + i + 1;
            for ((own, other), b) in self.moments[line.clone()].iter_mut().zip(&other.moments[line]).zip(&apart) {
                *own += other + share * apart[i] * b;
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
        self.design.n_features() + self.n_targets
    }

    pub fn in_parallel(&self) -> bool {
        self.design.n_rows() > 2 * BLOCK_ROWS
    }

    fn weight(&self, row: usize) -> f64 {
        self.sample.weights.map_or(1.0, |weights| weights[row].to_f64())
    }

    /// The mean of some rows, to subtract before squares are summed.
    fn near(&self, rows: Range<usize>, block: &mut [f64]) -> Vec<f64> {
        let order = self.order();
        self.copy(rows.clone(), block);
        let (mut sums, mut n) = (vec![0.0; order], 0.0);
        for (_, entries) in rows.zip(block.chunks_exact(order)).filter(|&(row, _)| self.weight(row) > 0.0) {
            sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += entry);
            n += 1.0;
        }
        sums.iter_mut().for_each(|sum| *sum /= f64::max(n, 1.0));
        sums
    }

    fn copy(&self, rows: Range<usize>, block: &mut [f64]) {
        let (d, order, k) = (self.design.n_features(), self.order(), self.n_targets);
        self.design.copy_rows(rows.clone(), order, block);
        for (row, entries) in rows.zip(block.chunks_exact_mut(order)) {
            for (j, entry) in entries[d..].iter_mut().enumerate() {
                let offset = self.sample.offsets.map_or(T::ZERO, |offsets| offsets[row * k + j]);
                *entry = self.sample.targets[row * k + j].to_f64() - offset.to_f64();
            }
        }
    }

    /// Writes √s (v − center) for some rows, and returns their total weight.
    pub fn copy_centered(&self, rows: Range<usize>, center: &[f64], block: &mut [f64]) -> f64 {
        self.copy(rows.clone(), block);
        for entries in block.chunks_exact_mut(self.order()) {
            entries.iter_mut().zip(center).for_each(|(entry, center)| *entry -= center);
        }
        let Some(weights) = self.sample.weights else {
            return rows.len() as f64;
        };
        let mut total = 0.0;
        for (weight, entries) in weights[rows].iter().zip(block.chunks_exact_mut(self.order())) {
            let weight = weight.to_f64();
            total += weight;
            let root = weight.sqrt();
            // Chosen, not multiplied: what weighs nothing may be beyond the range of numbers.
            entries.iter_mut().for_each(|entry| *entry = if weight > 0.0 { root * *entry } else { 0.0 });
        }
        total
    }
}

struct Chunk {
    own: Statistics,
    block: Vec<f64>,
}

impl Chunk {
    fn take<T: Real>(&mut self, all: &Rows<'_, T>, rows: Range<usize>, block_rows: usize, stop: &dyn Fn() -> bool) {
        let order = all.order();
        let first = rows.start..(rows.start + block_rows).min(rows.end);
        let center = all.near(first.clone(), &mut self.block[..first.len() * order]);
        let mut sums = vec![0.0; order];
        for start in rows.clone().step_by(block_rows) {
            if stop() {
                return;
            }
            let part = start..(start + block_rows).min(rows.end);
            let entries = &mut self.block[..part.len() * order];
            self.own.weight += all.copy_centered(part.clone(), &center, entries);
            for (row, entries) in part.clone().zip(entries.chunks_exact(order)) {
                let root = all.weight(row).sqrt();
                sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += root * entry);
            }
            add_products(&mut self.own.moments, entries, order);
        }
        self.own.recenter(&center, &sums);
    }
}

/// moments ← moments + VᵀV, the lower triangle, for rows of length `order`.
fn add_products(moments: &mut [f64], rows: &[f64], order: usize) {
    let rows = MatRef::from_row_major_slice(rows, rows.len() / order, order);
    let moments = MatMut::from_row_major_slice_mut(moments, order, order);
    let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    matmul(moments, lower, Accum::Add, rows.transpose(), whole, rows, whole, 1.0, Par::Seq);
}

impl Statistics {
    /// From moments about `center`, with the sums of v − center, to moments about the mean.
    fn recenter(&mut self, center: &[f64], sums: &[f64]) {
        let order = self.order();
        self.means.copy_from_slice(center);
        if self.weight == 0.0 {
            return;
        }
        for i in 0..order {
            for (moment, sum) in self.moments[i * order..][..=i].iter_mut().zip(sums) {
                *moment -= sums[i] * (sum / self.weight);
            }
        }
        for (mean, sum) in self.means.iter_mut().zip(sums) {
            *mean += sum / self.weight;
        }
    }
}
