//! What was observed, row by row.

/// Borrowed observations, beside the rows of a design matrix.
#[derive(Clone, Copy)]
pub struct Sample<'a, T> {
    /// rows × the loss's `target_width`
    pub targets: &'a [T],
    pub weights: Option<&'a [T]>,
    /// Known parts of the scores, rows × width.
    pub offsets: Option<&'a [T]>,
}
