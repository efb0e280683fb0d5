//! One pass over the data for second derivatives: the Hessian of the average loss, and the second moment of the rows.

use crate::design::Design;
use crate::error::Error;
use crate::memory::{ask, bytes_of};
use crate::objective::Layout;
use crate::pass::{arranged, chunk_rows, fill_rows};
use crate::real::Real;
use crate::reduce::Team;
use faer::Mat;
use std::ops::Range;

/// What the rows weigh for a pair of score columns.
pub trait CurvatureRule<T: Real>: Sync {
    /// Replaces a block's scores by whatever `weights` needs.
    fn prepare(&self, rows: Range<usize>, scores: &mut [T]);

    /// Fills `weights` with sᵢ ∂²ℓ/∂zₖ∂zₗ.
    fn weights(&self, rows: Range<usize>, prepared: &[T], pair: (usize, usize), weights: &mut [T]);

    /// Whether ∂²ℓ/∂zₖ∂zₗ is ever other than zero.
    fn is_felt(&self, _pair: (usize, usize)) -> bool {
        true
    }
}

struct Chunk<T> {
    /// For each pair of score columns Σᵢ weightsᵢ x̃ᵢ x̃ᵢᵀ, where x̃ is x with a one appended: the lower triangle.
    grams: Vec<Vec<f64>>,
    scores: Vec<T>,
    weights: Vec<T>,
}

/// Σᵢ over all rows, at `parameters`, as a symmetric matrix in the order of `layout`.
pub fn hessian<T: Real>(
    design: &dyn Design<T>,
    team: &Team<'_>,
    rule: &dyn CurvatureRule<T>,
    layout: Layout,
    parameters: &[T],
) -> Result<Mat<f64>, Error> {
    let (n, order, width) = (design.n_rows(), design.n_features().saturating_add(1), layout.width);
    let pairs: Vec<(usize, usize)> =
        (0..width).flat_map(|k| (0..=k).map(move |l| (k, l))).filter(|&pair| rule.is_felt(pair)).collect();
    let block_rows = design.block_rows(width).min(n);
    let bytes = bytes_of::<f64>(&[pairs.len(), order, order]);
    // A row adds the products of its entries, and of the one that is appended, two by two.
    let row_entries = design.n_entries().div_ceil(n.max(1)).saturating_add(1);
    let products = n.saturating_mul(row_entries.saturating_mul(row_entries));
    let chunk_rows = chunk_rows(n, block_rows, width, bytes, products / order.saturating_mul(order));
    let chunk = || Chunk {
        grams: vec![vec![0.0; order * order]; pairs.len()],
        scores: vec![T::ZERO; block_rows * width],
        weights: vec![T::ZERO; block_rows],
    };
    let n_chunks = n.div_ceil(chunk_rows).max(1);
    // And the matrix, the one that is solved with, and the change of variables on the way.
    let matrices = bytes_of::<f64>(&[4, layout.n_parameters(), layout.n_parameters()]);
    ask("second derivatives", n_chunks.saturating_mul(bytes).saturating_add(matrices))?;
    let mut chunks: Vec<Chunk<T>> = (0..n_chunks).map(|_| chunk()).collect();
    let (coef, intercept) = layout.split(parameters);
    let coef = &arranged(design, coef);
    let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
        let rows = i * chunk_rows..((i + 1) * chunk_rows).min(n);
        for start in rows.clone().step_by(block_rows) {
            if stop() {
                return;
            }
            let block = start..(start + block_rows).min(rows.end);
            let (scores, weights) = (&mut chunk.scores, &mut chunk.weights);
            scores.resize(block.len() * width, T::ZERO);
            weights.resize(block.len(), T::ZERO);
            fill_rows(scores, intercept);
            design.add_scores(block.clone(), coef, scores);
            rule.prepare(block.clone(), scores);
            for (&pair, gram) in pairs.iter().zip(&mut chunk.grams) {
                rule.weights(block.clone(), scores, pair, weights);
                design.add_gram(block.clone(), weights, gram);
            }
        }
    };
    let all = team.ordered_reduce(true, &mut chunks, task, |a, b| {
        for (a, b) in a.grams.iter_mut().flatten().zip(b.grams.iter().flatten()) {
            *a += b;
        }
    })?;
    Ok(assemble(layout, &pairs, &all.grams))
}

fn assemble(layout: Layout, pairs: &[(usize, usize)], grams: &[Vec<f64>]) -> Mat<f64> {
    let d = layout.n_features;
    let mut matrix = Mat::zeros(layout.n_parameters(), layout.n_parameters());
    let last = if layout.fit_intercept { d } else { d - 1 };
    let place = |k: usize, j: usize| if j < d { k * d + j } else { layout.width * d + k };
    for (&(k, l), gram) in pairs.iter().zip(grams) {
        for (i, line) in gram.chunks_exact(d + 1).enumerate().take(last + 1) {
            for (j, &value) in line.iter().enumerate().take(i + 1) {
                for (one, other) in [(place(k, i), place(l, j)), (place(k, j), place(l, i))] {
                    matrix[(one, other)] = value;
                    matrix[(other, one)] = value;
                }
            }
        }
    }
    matrix
}
