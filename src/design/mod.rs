//! The design matrix: verbs on a range of rows. Optimisers never learn how it is stored.

mod csr;
mod dense;

pub use csr::{Csr, Index};
pub use dense::{ColumnMajor, RowMajor};

use crate::real::Real;
use std::ops::Range;

/// Rows after which sums in the data's own type are added to those in `f64`.
const FLUSH_ROWS: usize = 256;

/// X, n rows by d features. The first two verbs are all that a gradient needs.
pub trait Design<T: Real>: Sync {
    fn n_rows(&self) -> usize;
    fn n_features(&self) -> usize;

    /// Rows of a block that, with `width` scores a row, stays in a core's cache between the two verbs. Depends on the
    /// shape, and on the number of entries that are stored, only.
    fn block_rows(&self, width: usize) -> usize;

    /// Rows after which sums in the data's own type are added to those in `f64`.
    fn flush_rows(&self) -> usize {
        FLUSH_ROWS
    }

    /// Entries that are stored: what a pass has to read.
    fn n_entries(&self) -> usize {
        self.n_rows().saturating_mul(self.n_features())
    }

    /// Whether the next two verbs hold coefficients and gradients by features, d × width instead of width × d: what an
    /// entry of X meets then stands side by side.
    fn by_features(&self) -> bool {
        false
    }

    /// scores ← scores + X[rows] · coefᵀ, with coef width × d and scores rows × width.
    fn add_scores(&self, rows: Range<usize>, coef: &[T], scores: &mut [T]);

    /// gradient ← gradient + residualᵀ · X[rows], with residual rows × width and gradient width × d.
    fn add_gradient(&self, rows: Range<usize>, residual: &[T], gradient: &mut [T]);

    /// gram ← gram + X̃[rows]ᵀ diag(weights) X̃[rows], X̃ being X with a last column of ones: the lower triangle of a
    /// (d + 1) × (d + 1) matrix. In `f64`, because means may be subtracted from it that are larger than what is left.
    fn add_gram(&self, rows: Range<usize>, weights: &[T], gram: &mut [f64]);

    /// squares[j] ← squares[j] + Σ_row weights[row] (X[row, j] − center[j])².
    fn add_squares(&self, rows: Range<usize>, weights: &[T], center: &[T], squares: &mut [T]);

    /// Writes X[rows] in double precision, each row to the first places of one of `out`, whose rows are `stride` long.
    fn copy_rows(&self, rows: Range<usize>, stride: usize, out: &mut [f64]);
}
