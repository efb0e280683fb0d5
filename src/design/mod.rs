//! The design matrix: two verbs on a range of rows. Optimisers never learn how it is stored.

mod dense;

pub use dense::{ColumnMajor, RowMajor};

use crate::real::Real;
use std::ops::Range;

/// X, n rows by d features.
pub trait Design<T: Real>: Sync {
    fn n_rows(&self) -> usize;
    fn n_features(&self) -> usize;

    /// Rows of a block that, with `width` scores a row, stays in a core's cache between the two verbs. Depends on the
    /// shape only.
    fn block_rows(&self, width: usize) -> usize;

    /// scores ← scores + X[rows] · coefᵀ, with coef width × d and scores rows × width.
    fn add_scores(&self, rows: Range<usize>, coef: &[T], scores: &mut [T]);

    /// gradient ← gradient + residualᵀ · X[rows], with residual rows × width and gradient width × d.
    fn add_gradient(&self, rows: Range<usize>, residual: &[T], gradient: &mut [T]);
}
