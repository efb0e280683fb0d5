//! What was observed, row by row.

use crate::real::Real;
use std::ops::Range;

/// Borrowed observations, beside the rows of a design matrix.
#[derive(Clone, Copy)]
pub struct Sample<'a, T> {
    /// rows × the loss's `target_width`
    pub targets: &'a [T],
    pub weights: Option<&'a [T]>,
    /// Known parts of the scores, rows × width.
    pub offsets: Option<&'a [T]>,
}

impl<T: Real> Sample<'_, T> {
    /// What a row counts: one, unless something else is known.
    #[inline(always)]
    pub fn weight(&self, row: usize) -> f64 {
        self.weights.and_then(|weights| weights.get(row)).map_or(1.0, |weight| weight.to_f64())
    }

    /// The known part of a score, by its place: zero, unless something else is known.
    #[inline(always)]
    pub fn offset(&self, place: usize) -> f64 {
        self.offsets.and_then(|offsets| offsets.get(place)).map_or(0.0, |offset| offset.to_f64())
    }
}

/// What stands beside some rows of the design matrix, `width` entries a row.
#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    reason = "rows of the design, to whose number `Empirical::new` holds the lengths of targets, weights and offsets"
)]
pub fn of_rows<'a, T>(values: &'a [T], rows: &Range<usize>, width: usize) -> &'a [T] {
    &values[rows.start * width..rows.end * width]
}
