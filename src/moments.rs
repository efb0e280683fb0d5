//! Weighted moments of the columns: means, and mean squares about a center.

use crate::design::Design;
use crate::error::Error;
use crate::memory::ask;
use crate::pass::{Pass, ScoreRule, chunk_rows};
use crate::real::Real;
use crate::reduce::Team;
use crate::sample::of_rows;
use std::ops::Range;

/// Σ sᵢ xᵢ / Σ sᵢ for each column.
pub fn column_means<T: Real>(
    design: &dyn Design<T>,
    team: &Team<'_>,
    weights: Option<&[T]>,
) -> Result<Vec<f64>, Error> {
    let coef = vec![T::ZERO; design.n_features()];
    let mut pass = Pass::new(design, 1)?;
    let sums = pass.run(team, &OwnWeight(weights), &coef, &[])?;
    let total: f64 = sums.intercept_gradient.iter().sum();
    Ok(sums.coef_gradient.iter().map(|sum| sum / total).collect())
}

/// The rule of a weighted sum of rows: whatever the scores, each row counts by its weight.
struct OwnWeight<'a, T>(Option<&'a [T]>);

impl<T: Real> ScoreRule<T> for OwnWeight<'_, T> {
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], _values: &mut [T]) -> f64 {
        match self.0 {
            None => scores.fill(T::ONE),
            Some(weights) => scores.copy_from_slice(of_rows(weights, &rows, 1)),
        }
        0.0
    }
}

struct Chunk<T> {
    sums: Vec<f64>,
    part: Vec<T>,
}

/// Σ weightsᵢ (xᵢ − center)² for each column; None is weight one for every row.
pub fn column_squares<T: Real>(
    design: &dyn Design<T>,
    team: &Team<'_>,
    weights: Option<&[T]>,
    center: &[f64],
) -> Result<Vec<f64>, Error> {
    let (n, d) = (design.n_rows(), design.n_features());
    let center: Vec<T> = center.iter().map(|&center| T::from_f64(center)).collect();
    let bytes = d * (size_of::<f64>() + size_of::<T>());
    let block_rows = design.block_rows(1).min(n);
    let chunk_rows = chunk_rows(n, block_rows, 1, bytes, design.n_entries() / d.max(1));
    let rows_at_once = design.flush_rows().min(chunk_rows);
    let ones = vec![T::ONE; if weights.is_none() { rows_at_once } else { 0 }];
    let n_chunks = n.div_ceil(chunk_rows).max(1);
    ask("squares of the columns", n_chunks.saturating_mul(bytes))?;
    let chunk = || Chunk { sums: vec![0.0; d], part: vec![T::ZERO; d] };
    let mut chunks: Vec<Chunk<T>> = (0..n_chunks).map(|_| chunk()).collect();
    let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
        let rows = i * chunk_rows..((i + 1) * chunk_rows).min(n);
        for start in rows.clone().step_by(rows_at_once) {
            if stop() {
                return;
            }
            let block = start..(start + rows_at_once).min(rows.end);
            let weights = match weights {
                None => of_rows(&ones, &(0..block.len()), 1),
                Some(weights) => of_rows(weights, &block, 1),
            };
            design.add_squares(block, weights, &center, &mut chunk.part);
            for (sum, part) in chunk.sums.iter_mut().zip(&mut chunk.part) {
                *sum += part.to_f64();
                *part = T::ZERO;
            }
        }
    };
    let all = team.ordered_reduce(true, &mut chunks, task, |a, b| {
        a.sums.iter_mut().zip(&b.sums).for_each(|(a, b)| *a += b);
    })?;
    Ok(std::mem::take(&mut all.sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::RowMajor;

    #[test]
    fn means_and_squares_with_and_without_weights() {
        let x = [1.0, 10.0, 3.0, 10.0, 5.0, 10.0];
        let design = RowMajor::new(&x, 3, 2).unwrap();
        let team = Team::new(1, &|| false);
        let twice = [2.0; 3];
        for (weights, total) in [(None, 3.0), (Some(&twice[..]), 6.0)] {
            let means = column_means(&design, &team, weights).unwrap();
            assert_eq!(means, [3.0, 10.0]);
            let squares = column_squares(&design, &team, weights, &means).unwrap();
            assert_eq!(squares, [8.0 / 3.0 * total, 0.0]);
        }
    }
}
