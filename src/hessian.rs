//! One pass over the data for second derivatives: the Hessian of the average loss, and the second moment of the rows.

use crate::design::Design;
use crate::error::Error;
use crate::lanes::sum;
use crate::objective::Layout;
use crate::pass::{chunk_rows, fill_rows};
use crate::real::Real;
use crate::reduce::Team;
use faer::Mat;
use std::ops::Range;

/// What the rows weigh for a pair of score columns.
pub trait CurvatureRule<T: Real>: Sync {
    /// Replaces a block's scores by whatever `weights` needs.
    fn prepare(&self, rows: Range<usize>, scores: &mut [T]);

    /// Fills `weights` with sᵢ ∂²ℓ/∂zₖ∂zₗ; false if that is zero for every row.
    fn weights(&self, rows: Range<usize>, prepared: &[T], pair: (usize, usize), weights: &mut [T]) -> bool;
}

/// Σᵢ weightsᵢ x̃ᵢ x̃ᵢᵀ for one pair of score columns, where x̃ is x with a one appended.
#[derive(Clone)]
struct Moment<T> {
    /// Lower triangle, d × d, by rows.
    gram: Vec<f64>,
    cross: Vec<f64>,
    total: f64,
    block_gram: Vec<T>,
    block_cross: Vec<T>,
}

struct Chunk<T> {
    moments: Vec<Moment<T>>,
    scores: Vec<T>,
    weights: Vec<T>,
}

/// Σᵢ over all rows, at `coef` and `intercept`, as a symmetric matrix in the order of `layout`.
pub fn hessian<T: Real>(
    design: &dyn Design<T>,
    team: &Team<'_>,
    rule: &dyn CurvatureRule<T>,
    layout: Layout,
    parameters: &[T],
) -> Result<Mat<f64>, Error> {
    let (n, d, width) = (design.n_rows(), design.n_features(), layout.width);
    let pairs: Vec<(usize, usize)> = (0..width).flat_map(|k| (0..=k).map(move |l| (k, l))).collect();
    let block_rows = design.block_rows(width).min(n);
    let chunk_rows = chunk_rows(n, block_rows, width, pairs.len() * d * d * (size_of::<f64>() + size_of::<T>()));
    let moment = Moment {
        gram: vec![0.0; d * d],
        cross: vec![0.0; d],
        total: 0.0,
        block_gram: vec![T::ZERO; d * d],
        block_cross: vec![T::ZERO; d],
    };
    let chunk = || Chunk {
        moments: vec![moment.clone(); pairs.len()],
        scores: vec![T::ZERO; block_rows * width],
        weights: vec![T::ZERO; block_rows],
    };
    let mut chunks: Vec<Chunk<T>> = (0..n.div_ceil(chunk_rows).max(1)).map(|_| chunk()).collect();
    let (coef, intercept) = layout.split(parameters);
    let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
        let rows = i * chunk_rows..((i + 1) * chunk_rows).min(n);
        for start in rows.clone().step_by(block_rows) {
            if stop() {
                return;
            }
            let block = start..(start + block_rows).min(rows.end);
            let scores = &mut chunk.scores[..block.len() * width];
            fill_rows(scores, intercept);
            design.add_scores(block.clone(), coef, scores);
            rule.prepare(block.clone(), scores);
            for (&pair, moment) in pairs.iter().zip(&mut chunk.moments) {
                let weights = &mut chunk.weights[..block.len()];
                if rule.weights(block.clone(), scores, pair, weights) {
                    moment.add(design, block.clone(), weights);
                }
            }
        }
    };
    team.ordered_reduce(true, &mut chunks, task, |a, b| {
        for (a, b) in a.moments.iter_mut().zip(&b.moments) {
            a.merge(b);
        }
    })?;
    Ok(assemble(layout, &pairs, &chunks[0].moments))
}

impl<T: Real> Moment<T> {
    fn add(&mut self, design: &dyn Design<T>, rows: Range<usize>, weights: &[T]) {
        design.add_gram(rows.clone(), weights, &mut self.block_gram);
        design.add_gradient(rows, weights, &mut self.block_cross);
        self.total += sum(weights).to_f64();
        flush(&mut self.gram, &mut self.block_gram);
        flush(&mut self.cross, &mut self.block_cross);
    }

    fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [f64], others: &[f64]| sums.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        add(&mut self.gram, &other.gram);
        add(&mut self.cross, &other.cross);
        self.total += other.total;
    }
}

fn flush<T: Real>(sums: &mut [f64], parts: &mut [T]) {
    for (sum, part) in sums.iter_mut().zip(parts) {
        *sum += part.to_f64();
        *part = T::ZERO;
    }
}

fn assemble<T>(layout: Layout, pairs: &[(usize, usize)], moments: &[Moment<T>]) -> Mat<f64> {
    let d = layout.n_features;
    let mut matrix = Mat::zeros(layout.n_parameters(), layout.n_parameters());
    let mut set = |i: usize, j: usize, value: f64| {
        matrix[(i, j)] = value;
        matrix[(j, i)] = value;
    };
    for (&(k, l), moment) in pairs.iter().zip(moments) {
        for i in 0..d {
            for j in 0..d {
                let (low, high) = (i.min(j), i.max(j));
                set(k * d + i, l * d + j, moment.gram[high * d + low]);
            }
        }
        if layout.fit_intercept {
            let (b_k, b_l) = (layout.width * d + k, layout.width * d + l);
            for (j, &value) in moment.cross.iter().enumerate() {
                set(b_k, l * d + j, value);
                set(b_l, k * d + j, value);
            }
            set(b_k, b_l, moment.total);
        }
    }
    matrix
}
