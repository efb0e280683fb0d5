//! Dense matrices, borrowed: rows one after the other, or columns one after the other.

#![allow(clippy::indexing_slicing, reason = "the constructors hold X to n × d; rows are those of `n_rows`")]

use super::Design;
use crate::error::{Error, expect_length};
use crate::lanes::{TERMS_OF_A_SUM, vectorized};
use crate::lines::{Lines, MOST_NARROW};
use crate::real::Real;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as triangular_matmul};
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use std::ops::Range;

/// Blocks of rows that meet several vectors go through a matrix product, which wants to be large; a block of this size
/// stays in the second level of cache. Of 64, 128, 256 and 512 KiB the best.
const ROW_BLOCK_BYTES: usize = 256 << 10;
/// Blocks of rows that meet one vector. While a block is read again the processor reads nothing ahead, so blocks are
/// short, and what follows is asked for meanwhile. On a Zen 5, of the rate of only reading, two threads: rows of 64 to 512
/// bytes 60 to 68 % without asking, 85 to 91 % with it; of 1 and 3 KiB 77 and 98 %; of 6 KiB 82 and 88 %. Of longer rows
/// the processor reads enough ahead by itself, if a block has enough of them. Blocks of 16 KiB of rows of 512 bytes give
/// 84 %, of 8 KiB 74 %; of rows of 256 bytes the shorter blocks are the faster ones.
const NARROW_ROW_BLOCK_BYTES: usize = 4 << 10;
const SHORT_ROW_BYTES: usize = 256;
const SHORT_ROW_BLOCK_BYTES: usize = 6 << 10;
const MIDDLE_ROW_BYTES: usize = 8 << 10;
const MIDDLE_ROW_BLOCK_BYTES: usize = 16 << 10;
const LONG_ROW_BLOCK_BYTES: usize = 64 << 10;
const FEWEST_LONG_ROWS: usize = 16;
/// Bytes ahead at which memory answers in time: one block, or two where they are shorter than this.
const BYTES_AHEAD: usize = 8 << 10;
/// What most caches hold from pass to pass: of such data blocks of 64 KiB are the faster ones, 1.2 to 1.9 times; at 25 MB
/// they are 1.5 times slower.
const CACHED_BYTES: usize = 4 << 20;
/// Columns are read in pieces; larger blocks keep the pieces long enough for the hardware to read ahead.
const COLUMN_BLOCK_BYTES: usize = 256 << 10;
/// Bounds on a block's rows. Each entry of the gradient is one running sum over the rows of a row-major block; those of a
/// column-major one are summed in parts.
const MOST_ROW_BLOCK_ROWS: usize = 512;
const MOST_COLUMN_BLOCK_ROWS: usize = 4096;
const FEWEST_BLOCK_ROWS: usize = 4;
/// Rows whose weighted products are summed by one matrix product: enough for its full rate, and in cache.
const GRAM_ROWS: usize = 128;

fn rows_within<T>(bytes: usize, row_length: usize, most: usize) -> usize {
    let rows = bytes / (size_of::<T>() * row_length.max(1));
    (rows / FEWEST_BLOCK_ROWS * FEWEST_BLOCK_ROWS).clamp(FEWEST_BLOCK_ROWS, most)
}

fn checked<T>(data: &[T], n_rows: usize, n_features: usize) -> Result<(), Error> {
    expect_length("X", n_rows.saturating_mul(n_features), data.len())
}

/// C order: each row is contiguous.
pub struct RowMajor<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_features: usize,
}

impl<'a, T: Real> RowMajor<'a, T> {
    pub fn new(data: &'a [T], n_rows: usize, n_features: usize) -> Result<Self, Error> {
        checked(data, n_rows, n_features)?;
        Ok(Self { data, n_rows, n_features })
    }

    fn block(&self, rows: Range<usize>) -> &'a [T] {
        &self.data[rows.start * self.n_features..rows.end * self.n_features]
    }

    /// Whether the rows come from memory at every pass, and need to be asked for.
    fn needs_asking(&self) -> bool {
        size_of_val(self.data) > CACHED_BYTES && self.n_features * size_of::<T>() <= MIDDLE_ROW_BYTES
    }

    /// A block of rows, to be read for one of the two products; each asks for half of a block that follows.
    fn lines(&self, rows: Range<usize>, product: Product) -> Lines<'a, T> {
        let (count, length, end) = (rows.len(), self.n_features, rows.end * self.n_features);
        let data = self.block(rows);
        let mut next: &[T] = &[];
        if self.needs_asking() {
            let skipped = if size_of_val(data) < BYTES_AHEAD { data.len() } else { 0 };
            let (first, half) = (end + skipped, data.len() / 2);
            let wanted = match product {
                Product::Scores => first..first + half,
                Product::Gradient => first + half..first + data.len(),
            };
            next = &self.data[wanted.start.min(self.data.len())..wanted.end.min(self.data.len())];
        }
        Lines { data, stride: length, length, count, next }
    }
}

/// What a block is read for.
#[derive(Clone, Copy)]
enum Product {
    Scores,
    Gradient,
}

impl<T: Real> Design<T> for RowMajor<'_, T> {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_features(&self) -> usize {
        self.n_features
    }

    fn block_rows(&self, width: usize) -> usize {
        if width > 1 {
            return rows_within::<T>(ROW_BLOCK_BYTES, self.n_features + width, MOST_ROW_BLOCK_ROWS);
        }
        let (bytes, fewest) = if !self.needs_asking() {
            (LONG_ROW_BLOCK_BYTES, FEWEST_LONG_ROWS)
        } else if self.n_features <= MOST_NARROW {
            (NARROW_ROW_BLOCK_BYTES, FEWEST_BLOCK_ROWS)
        } else if self.n_features * size_of::<T>() <= SHORT_ROW_BYTES {
            (SHORT_ROW_BLOCK_BYTES, FEWEST_BLOCK_ROWS)
        } else {
            (MIDDLE_ROW_BLOCK_BYTES, FEWEST_BLOCK_ROWS)
        };
        rows_within::<T>(bytes, self.n_features, MOST_ROW_BLOCK_ROWS).max(fewest)
    }

    fn add_scores(&self, rows: Range<usize>, coef: &[T], scores: &mut [T]) {
        if scores.len() == rows.len() {
            self.lines(rows, Product::Scores).add_dots(coef, scores);
        } else {
            let (n_rows, d) = (rows.len(), self.n_features);
            let x = MatRef::from_row_major_slice(self.block(rows), n_rows, d);
            add_score_columns(x, coef, scores);
        }
    }

    fn add_gradient(&self, rows: Range<usize>, residual: &[T], gradient: &mut [T]) {
        if residual.len() == rows.len() {
            self.lines(rows, Product::Gradient).add_weighted(residual, gradient);
        } else {
            let (n_rows, d) = (rows.len(), self.n_features);
            let x = MatRef::from_row_major_slice(self.block(rows), n_rows, d);
            add_gradient_rows(x, residual, gradient);
        }
    }

    fn add_gram(&self, rows: Range<usize>, weights: &[T], gram: &mut [f64]) {
        add_weighted_gram(self, rows, weights, gram);
    }

    fn copy_rows(&self, rows: Range<usize>, stride: usize, out: &mut [f64]) {
        vectorized(
            #[inline(always)]
            || {
                for (row, out) in self.block(rows).chunks_exact(self.n_features).zip(out.chunks_exact_mut(stride)) {
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = x.to_f64());
                }
            },
        );
    }

    fn add_squares(&self, rows: Range<usize>, weights: &[T], center: &[T], squares: &mut [T]) {
        for (row, &weight) in self.block(rows).chunks_exact(self.n_features).zip(weights) {
            for ((square, &x), &center) in squares.iter_mut().zip(row).zip(center) {
                *square += weight * (x - center) * (x - center);
            }
        }
    }
}

/// Fortran order: each column is contiguous.
pub struct ColumnMajor<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_features: usize,
}

impl<'a, T: Real> ColumnMajor<'a, T> {
    pub fn new(data: &'a [T], n_rows: usize, n_features: usize) -> Result<Self, Error> {
        checked(data, n_rows, n_features)?;
        Ok(Self { data, n_rows, n_features })
    }

    fn columns(&self, rows: Range<usize>) -> Lines<'a, T> {
        let data = &self.data[rows.start.min(self.data.len())..];
        Lines { data, stride: self.n_rows, length: rows.len(), count: self.n_features, next: &[] }
    }

    fn block(&self, rows: Range<usize>) -> MatRef<'a, T> {
        MatRef::from_column_major_slice(self.data, self.n_rows, self.n_features).subrows(rows.start, rows.len())
    }
}

impl<T: Real> Design<T> for ColumnMajor<'_, T> {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_features(&self) -> usize {
        self.n_features
    }

    fn block_rows(&self, width: usize) -> usize {
        rows_within::<T>(COLUMN_BLOCK_BYTES, self.n_features + width, MOST_COLUMN_BLOCK_ROWS)
    }

    fn add_scores(&self, rows: Range<usize>, coef: &[T], scores: &mut [T]) {
        if scores.len() == rows.len() {
            self.columns(rows).add_weighted(coef, scores);
        } else {
            add_score_columns(self.block(rows), coef, scores);
        }
    }

    fn add_gradient(&self, rows: Range<usize>, residual: &[T], gradient: &mut [T]) {
        if residual.len() == rows.len() {
            for (start, residual) in rows.step_by(TERMS_OF_A_SUM).zip(residual.chunks(TERMS_OF_A_SUM)) {
                self.columns(start..start + residual.len()).add_dots(residual, gradient);
            }
        } else {
            add_gradient_rows(self.block(rows), residual, gradient);
        }
    }

    fn add_gram(&self, rows: Range<usize>, weights: &[T], gram: &mut [f64]) {
        add_weighted_gram(self, rows, weights, gram);
    }

    fn copy_rows(&self, rows: Range<usize>, stride: usize, out: &mut [f64]) {
        for (j, column) in self.data.chunks_exact(self.n_rows).enumerate() {
            for (&x, out) in column[rows.clone()].iter().zip(out.chunks_exact_mut(stride)) {
                out[j] = x.to_f64();
            }
        }
    }

    fn add_squares(&self, rows: Range<usize>, weights: &[T], center: &[T], squares: &mut [T]) {
        for ((column, square), &center) in self.data.chunks_exact(self.n_rows).zip(squares).zip(center) {
            for (&x, &weight) in column[rows.clone()].iter().zip(weights) {
                *square += weight * (x - center) * (x - center);
            }
        }
    }
}

/// scores ← scores + x · coefᵀ for several score columns, by the library's matrix product on this thread.
fn add_score_columns<T: Real>(x: MatRef<'_, T>, coef: &[T], scores: &mut [T]) {
    let width = scores.len() / x.nrows();
    let coef = MatRef::from_row_major_slice(coef, width, x.ncols());
    let scores = MatMut::from_row_major_slice_mut(scores, x.nrows(), width);
    matmul(scores, Accum::Add, x, coef.transpose(), T::ONE, Par::Seq);
}

/// gradient ← gradient + residualᵀ · x, likewise.
fn add_gradient_rows<T: Real>(x: MatRef<'_, T>, residual: &[T], gradient: &mut [T]) {
    let width = residual.len() / x.nrows();
    let residual = MatRef::from_row_major_slice(residual, x.nrows(), width);
    let gradient = MatMut::from_row_major_slice_mut(gradient, width, x.ncols());
    matmul(gradient, Accum::Add, residual.transpose(), x, T::ONE, Par::Seq);
}

/// gram ← gram + x̃ᵀ diag(weights) x̃, its lower triangle; x̃ is x with a last column of ones.
fn add_weighted_gram<T: Real>(design: &impl Design<T>, rows: Range<usize>, weights: &[T], gram: &mut [f64]) {
    let order = design.n_features() + 1;
    let room = GRAM_ROWS.min(rows.len());
    let (mut extended, mut weighted) = (vec![1.0; room * order], vec![0.0; room * order]);
    let mut gram = MatMut::from_row_major_slice_mut(gram, order, order);
    for (start, weights) in rows.clone().step_by(GRAM_ROWS).zip(weights.chunks(GRAM_ROWS)) {
        let n_rows = weights.len();
        design.copy_rows(start..start + n_rows, order, &mut extended);
        vectorized(
            #[inline(always)]
            || {
                let lines = extended.chunks_exact(order).zip(weighted.chunks_exact_mut(order));
                for ((line, out), weight) in lines.zip(weights) {
                    let weight = weight.to_f64();
                    out.iter_mut().zip(line).for_each(|(out, &x)| *out = weight * x);
                }
            },
        );
        let left = MatRef::from_row_major_slice(&extended[..n_rows * order], n_rows, order).transpose();
        let right = MatRef::from_row_major_slice(&weighted[..n_rows * order], n_rows, order);
        let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        triangular_matmul(gram.rb_mut(), lower, Accum::Add, left, whole, right, whole, 1.0, Par::Seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (n, d, width, integer entries of X, coef, residual)
    type Case = (usize, usize, usize, Vec<f64>, Vec<f64>, Vec<f64>);

    fn cases() -> impl Strategy<Value = Case> {
        (1usize..40, 1usize..40, 1usize..4).prop_flat_map(|(n, d, width)| {
            let integers = |length| proptest::collection::vec((-8i8..=8).prop_map(f64::from), length);
            (Just(n), Just(d), Just(width), integers(n * d), integers(width * d), integers(n * width))
        })
    }

    proptest! {
        /// Both orders agree with the definition, exactly, on every range of rows.
        #[test]
        fn verbs_match_their_definition((n, d, width, x, coef, residual) in cases(), cut in 0usize..40) {
            let columns: Vec<f64> = (0..n * d).map(|i| x[i % n * d + i / n]).collect();
            let row_major = RowMajor::new(&x, n, d).unwrap();
            let column_major = ColumnMajor::new(&columns, n, d).unwrap();
            let start = cut.min(n - 1);
            let part = &residual[start * width..];
            for design in [&row_major as &dyn Design<f64>, &column_major] {
                let mut scores = vec![1.0; (n - start) * width];
                design.add_scores(start..n, &coef, &mut scores);
                let mut gradient = vec![1.0; width * d];
                design.add_gradient(start..n, part, &mut gradient);
                for i in start..n {
                    for k in 0..width {
                        let exact: f64 = (0..d).map(|j| x[i * d + j] * coef[k * d + j]).sum();
                        prop_assert_eq!(scores[(i - start) * width + k], 1.0 + exact);
                    }
                }
                let weights: Vec<f64> = part.iter().copied().take(n - start).collect();
                let (mut gram, mut squares) = (vec![1.0; (d + 1) * (d + 1)], vec![1.0; d]);
                design.add_gram(start..n, &weights, &mut gram);
                design.add_squares(start..n, &weights, &coef[..d], &mut squares);
                let extended = |i: usize, j: usize| if j < d { x[i * d + j] } else { 1.0 };
                for j in 0..=d {
                    for k in 0..=j {
                        let exact: f64 = (start..n).map(|i| weights[i - start] * extended(i, j) * extended(i, k)).sum();
                        prop_assert_eq!(gram[j * (d + 1) + k], 1.0 + exact);
                    }
                }
                for j in 0..d {
                    let square = |i: usize| weights[i - start] * (x[i * d + j] - coef[j]).powi(2);
                    prop_assert_eq!(squares[j], 1.0 + (start..n).map(square).sum::<f64>());
                }
                for k in 0..width {
                    for j in 0..d {
                        let exact: f64 = (start..n).map(|i| x[i * d + j] * residual[i * width + k]).sum();
                        prop_assert_eq!(gradient[k * d + j], 1.0 + exact);
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_length_is_an_error() {
        assert!(RowMajor::new(&[1.0f32; 5], 2, 3).is_err());
        assert!(ColumnMajor::new(&[1.0f32; 5], usize::MAX, 3).is_err());
    }
}
