//! Compressed sparse rows, borrowed. Indices may be unsorted; the same column twice in a row counts as their sum.

use super::{Design, FLUSH_ROWS};
use crate::error::Error;
use crate::lanes::vectorized;
use crate::memory::reserve;
use crate::real::Real;
use std::ops::Range;

const BLOCK_BYTES: usize = 128 << 10;
const MOST_BLOCK_ROWS: usize = 4096;
/// Entries for each column before sums are added to those in `f64`, which costs one sweep over the columns.
const FLUSH_ENTRIES: usize = 4;
/// Rows before that, where columns are few: one sum after the other rounds more than the many of dense data.
const FLUSH_ROWS_SINGLE: usize = 64;
/// The same where the data is `f64` itself, so that its sums gain nothing but a little from shorter ones.
const FLUSH_ENTRIES_DOUBLE: usize = 64;

/// The two integer types of indices.
pub trait Index: Copy + PartialOrd + Send + Sync + 'static {
    /// None if it is negative.
    fn position(self) -> Option<usize>;

    /// The position of an index that is not negative, without asking whether it is.
    fn column(self) -> usize;
}

impl Index for i32 {
    #[inline(always)]
    fn position(self) -> Option<usize> {
        usize::try_from(self).ok()
    }

    #[inline(always)]
    fn column(self) -> usize {
        self as u32 as usize
    }
}

impl Index for i64 {
    #[inline(always)]
    fn position(self) -> Option<usize> {
        usize::try_from(self).ok()
    }

    #[inline(always)]
    fn column(self) -> usize {
        self as usize
    }
}

/// Row i holds `data[indptr[i]..indptr[i + 1]]`, in the columns that `indices` names.
pub struct Csr<'a, T, I> {
    indptr: Vec<usize>,
    indices: &'a [I],
    data: &'a [T],
    n_features: usize,
    /// Whether the columns of every row rise, none of them twice.
    is_sorted: bool,
}

impl<'a, T: Real, I: Index> Csr<'a, T, I> {
    /// Checks once what the verbs rely on: the pointers rise from 0 to the number of entries, every index is a column.
    pub fn new(indptr: &[I], indices: &'a [I], data: &'a [T], n_features: usize) -> Result<Self, Error> {
        let broken = |reason: String| Error::Csr { reason };
        if indices.len() != data.len() {
            return Err(broken(format!("{} indices for {} entries", indices.len(), data.len())));
        }
        let mut positions = Vec::new();
        reserve("pointers to the rows", &mut positions, indptr.len())?;
        for (row, pointer) in indptr.iter().enumerate() {
            let last = positions.last().copied().unwrap_or(0);
            match pointer.position() {
                Some(position) if position >= last && (row > 0 || position == 0) => positions.push(position),
                _ => return Err(broken(format!("indptr must rise from 0; indptr[{row}] does not"))),
            }
        }
        if positions.last() != Some(&data.len()) {
            return Err(broken(format!("indptr must end at the number of entries, {}", data.len())));
        }
        let is_column = |index: &I| index.position().is_some_and(|column| column < n_features);
        // Where columns rise, the first and the last tell about all of them.
        let are_columns =
            |row: &[I]| rises(row) && row.first().is_none_or(is_column) && row.last().is_none_or(is_column);
        let mut rows = positions.iter().zip(positions.iter().skip(1));
        let is_sorted = rows.all(|(&start, &end)| indices.get(start..end).is_some_and(are_columns));
        if !is_sorted && let Some(entry) = indices.iter().position(|index| !is_column(index)) {
            return Err(broken(format!("indices[{entry}] is not a column; there are {n_features}")));
        }
        Ok(Self { indptr: positions, indices, data, n_features, is_sorted })
    }
}

#[allow(clippy::indexing_slicing, reason = "`new` has checked that pointers are positions and indices columns")]
impl<T: Real, I: Index> Csr<'_, T, I> {
    /// ⟨row `i`, coef⟩.
    #[inline(always)]
    fn dot(&self, i: usize, coef: &[T]) -> T {
        let mut sum = T::ZERO;
        for (column, value) in self.row(i) {
            sum += value * coef[column];
        }
        sum
    }

    /// scores ← scores + row `i` · coef from score column `first` on, with coef d × width: as many as were added.
    #[inline(always)]
    fn add_some_scores<const K: usize>(&self, i: usize, coef: &[T], first: usize, scores: &mut [T]) -> usize {
        let width = scores.len();
        let mut sums = [T::ZERO; K];
        for (column, value) in self.row(i) {
            for (sum, &coef) in sums.iter_mut().zip(&coef[column * width + first..][..K]) {
                *sum += value * coef;
            }
        }
        for (score, sum) in scores[first..].iter_mut().zip(sums) {
            *score += sum;
        }
        K
    }

    /// The same for the gradient: gradient ← gradient + row `i`ᵀ · residual, with gradient d × width.
    #[inline(always)]
    fn add_some_slopes<const K: usize>(&self, i: usize, residual: &[T], first: usize, gradient: &mut [T]) -> usize {
        let width = residual.len();
        let residual: [T; K] = std::array::from_fn(|k| residual[first + k]);
        for (column, value) in self.row(i) {
            for (slope, residual) in gradient[column * width + first..][..K].iter_mut().zip(residual) {
                *slope += residual * value;
            }
        }
        K
    }

    /// The columns of row `i` in rising order, none of them twice, and their values.
    fn copy_row(&self, i: usize, entries: &mut Vec<(usize, T)>) {
        entries.clear();
        entries.extend(self.row(i));
        if !self.is_sorted {
            merge(entries);
        }
    }

    /// gradient ← gradient + residual · row `i`.
    #[inline(always)]
    fn add_row(&self, i: usize, residual: T, gradient: &mut [T]) {
        for (column, value) in self.row(i) {
            gradient[column] += residual * value;
        }
    }

    /// The columns and values of row `i`.
    #[inline(always)]
    fn row(&self, i: usize) -> impl Iterator<Item = (usize, T)> + Clone + '_ {
        let entries = self.indptr[i]..self.indptr[i + 1];
        let columns = self.indices[entries.clone()].iter().map(|index| index.column());
        columns.zip(self.data[entries].iter().copied())
    }
}

/// Whether each of a row's indices is above the one before.
fn rises<I: Index>(row: &[I]) -> bool {
    // All pairs, without an early end, so that it becomes vector code.
    row.iter().zip(row.iter().skip(1)).fold(true, |rising, (index, next)| rising & (index < next))
}

/// Sorts the entries of a row, and adds up those of each column.
fn merge<T: Real>(entries: &mut Vec<(usize, T)>) {
    entries.sort_by_key(|&(column, _)| column);
    entries.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

#[allow(clippy::indexing_slicing, reason = "columns are below `n_features`, which `new` has checked")]
impl<T: Real, I: Index> Design<T> for Csr<'_, T, I> {
    fn n_rows(&self) -> usize {
        self.indptr.len() - 1
    }

    fn n_features(&self) -> usize {
        self.n_features
    }

    fn n_entries(&self) -> usize {
        self.data.len()
    }

    fn block_rows(&self, width: usize) -> usize {
        let bytes_per_row = self.n_entries().div_ceil(self.n_rows().max(1)) * (size_of::<T>() + size_of::<I>());
        let most = if T::PRECISION > f64::EPSILON { self.flush_rows().min(MOST_BLOCK_ROWS) } else { MOST_BLOCK_ROWS };
        let bytes_of_scores = width.saturating_mul(size_of::<T>());
        (BLOCK_BYTES / bytes_of_scores.saturating_add(bytes_per_row)).clamp(1, most)
    }

    fn flush_rows(&self) -> usize {
        let single = T::PRECISION > f64::EPSILON;
        let (per_column, fewest) =
            if single { (FLUSH_ENTRIES, FLUSH_ROWS_SINGLE) } else { (FLUSH_ENTRIES_DOUBLE, FLUSH_ROWS) };
        let entries = self.n_features.saturating_mul(per_column);
        (entries.saturating_mul(self.n_rows()) / self.n_entries().max(1)).max(fewest)
    }

    fn by_features(&self) -> bool {
        true
    }

    fn add_scores(&self, rows: Range<usize>, coef: &[T], scores: &mut [T]) {
        let width = scores.len() / rows.len();
        if width == 1 {
            for (i, score) in rows.zip(scores) {
                *score += self.dot(i, coef);
            }
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                for (i, scores) in rows.zip(scores.chunks_exact_mut(width)) {
                    let mut first = 0;
                    while first < width {
                        first += match width - first {
                            1 => self.add_some_scores::<1>(i, coef, first, scores),
                            2 => self.add_some_scores::<2>(i, coef, first, scores),
                            3 => self.add_some_scores::<3>(i, coef, first, scores),
                            4..=7 => self.add_some_scores::<4>(i, coef, first, scores),
                            _ => self.add_some_scores::<8>(i, coef, first, scores),
                        };
                    }
                }
            },
        );
    }

    fn add_gradient(&self, rows: Range<usize>, residual: &[T], gradient: &mut [T]) {
        let width = residual.len() / rows.len();
        if width == 1 {
            for (i, &residual) in rows.zip(residual) {
                self.add_row(i, residual, gradient);
            }
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                for (i, residual) in rows.zip(residual.chunks_exact(width)) {
                    let mut first = 0;
                    while first < width {
                        first += match width - first {
                            1 => self.add_some_slopes::<1>(i, residual, first, gradient),
                            2 => self.add_some_slopes::<2>(i, residual, first, gradient),
                            3 => self.add_some_slopes::<3>(i, residual, first, gradient),
                            4..=7 => self.add_some_slopes::<4>(i, residual, first, gradient),
                            _ => self.add_some_slopes::<8>(i, residual, first, gradient),
                        };
                    }
                }
            },
        );
    }

    fn add_gram(&self, rows: Range<usize>, weights: &[T], gram: &mut [f64]) {
        let order = self.n_features + 1;
        let mut entries: Vec<(usize, T)> = Vec::new();
        for (i, &weight) in rows.zip(weights) {
            self.copy_row(i, &mut entries);
            entries.push((self.n_features, T::ONE));
            for (place, &(j, left)) in entries.iter().enumerate() {
                let line = &mut gram[j * order..][..=j];
                let weighted = weight.to_f64() * left.to_f64();
                // The columns rise: up to here they are those below the diagonal.
                for &(k, right) in &entries[..=place] {
                    line[k] += weighted * right.to_f64();
                }
            }
        }
    }

    fn copy_rows(&self, rows: Range<usize>, stride: usize, out: &mut [f64]) {
        for (i, out) in rows.zip(out.chunks_exact_mut(stride)) {
            out[..self.n_features].fill(0.0);
            for (column, value) in self.row(i) {
                out[column] += value.to_f64();
            }
        }
    }

    fn add_squares(&self, rows: Range<usize>, weights: &[T], center: &[T], squares: &mut [T]) {
        // Every entry as if it were zero, then what those that are stored add to that.
        let mut total = T::ZERO;
        for &weight in weights {
            total += weight;
        }
        for (square, &center) in squares.iter_mut().zip(center) {
            *square += total * center * center;
        }
        let mut entries: Vec<(usize, T)> = Vec::new();
        for (i, &weight) in rows.zip(weights) {
            self.copy_row(i, &mut entries);
            for &(column, value) in &entries {
                let center = center[column];
                squares[column] += weight * value * (value - center - center);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::RowMajor;
    use proptest::prelude::*;

    /// Rows of (column, whole value), unsorted, some columns more than once, some rows empty.
    fn rows() -> impl Strategy<Value = (usize, Vec<Vec<(usize, i8)>>)> {
        (1usize..12).prop_flat_map(|d| {
            let entry = (0..d, -8i8..=8);
            (Just(d), proptest::collection::vec(proptest::collection::vec(entry, 0..10), 1..12))
        })
    }

    proptest! {
        /// The same numbers as a dense matrix, exactly.
        #[test]
        fn equals_dense((d, rows) in rows(), width in 1usize..13, seed in 0usize..100) {
            let n = rows.len();
            let mut dense = vec![0.0f64; n * d];
            let (mut indptr, mut indices, mut data) = (vec![0i32], Vec::new(), Vec::new());
            for (i, row) in rows.iter().enumerate() {
                for &(column, value) in row {
                    dense[i * d + column] += f64::from(value);
                    indices.push(column as i32);
                    data.push(f64::from(value));
                }
                indptr.push(data.len() as i32);
            }
            let wave = |i: usize| ((i * 7 + seed) % 11) as f64 - 5.0;
            let sparse = Csr::new(&indptr, &indices, &data, d).unwrap();
            let dense = RowMajor::new(&dense, n, d).unwrap();
            let (coef, residual): (Vec<f64>, Vec<f64>) =
                ((0..width * d).map(wave).collect(), (0..width * n).map(wave).collect());
            let all = |design: &dyn Design<f64>| {
                let place = |k: usize, j: usize| if design.by_features() { j * width + k } else { k * d + j };
                let mut arranged = vec![0.0; width * d];
                (0..width * d).for_each(|i| arranged[place(i / d, i % d)] = coef[i]);
                let mut scores = vec![1.0; n * width];
                design.add_scores(0..n, &arranged, &mut scores);
                let mut slopes = vec![1.0; d * width];
                design.add_gradient(0..n, &residual, &mut slopes);
                let gradient: Vec<f64> = (0..width * d).map(|i| slopes[place(i / d, i % d)]).collect();
                let mut gram = vec![1.0; (d + 1) * (d + 1)];
                design.add_gram(0..n, &residual[..n], &mut gram);
                let lower: Vec<f64> = (0..=d).flat_map(|j| gram[j * (d + 1)..][..=j].to_vec()).collect();
                let mut squares = vec![1.0; d];
                design.add_squares(0..n, &residual[..n], &coef[..d], &mut squares);
                (scores, gradient, lower, squares)
            };
            prop_assert_eq!(all(&sparse), all(&dense));
        }
    }

    /// Small numbers, and now and then one that leads far away.
    fn anywhere() -> impl Strategy<Value = i64> {
        prop_oneof![40 => 0i64..7, 2 => -2i64..0, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => Just(1 << 32)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Exactly what follows the definition is let through, and then no verb leaves the slices.
        #[test]
        fn any_structure(
            d in 1usize..7,
            mut indptr in proptest::collection::vec(anywhere(), 0..6),
            repair in 0usize..8,
            indices in proptest::collection::vec(anywhere(), 0..9),
            missing in prop_oneof![9 => Just(0usize), 1 => Just(1)],
        ) {
            let data = vec![1.0f32; indices.len().saturating_sub(missing)];
            if repair > 0 && indptr.len() > 1 {
                indptr.iter_mut().for_each(|pointer| *pointer = (*pointer).clamp(0, data.len() as i64));
                indptr.sort_unstable();
                indptr[0] = 0;
                let last = indptr.len() - 1;
                indptr[last] = data.len() as i64;
            }
            let rises = indptr.windows(2).all(|pair| pair[0] <= pair[1]);
            let ends = indptr.first() == Some(&0) && indptr.last() == Some(&(data.len() as i64));
            let inside = indices.iter().all(|&column| (0..d as i64).contains(&column));
            let admitted = Csr::new(&indptr, &indices, &data, d);
            prop_assert_eq!(admitted.is_ok(), rises && ends && inside && indices.len() == data.len());
            let Ok(csr) = admitted else { return Ok(()) };
            let n = indptr.len() - 1;
            if n > 0 {
                let mut scores = vec![0.0; n];
                csr.add_scores(0..n, &vec![1.0; d], &mut scores);
                csr.add_gradient(0..n, &scores, &mut vec![0.0; d]);
                prop_assert_eq!(scores.iter().sum::<f32>(), data.len() as f32);
            }
        }
    }

    #[test]
    fn broken_structure_is_an_error() {
        let check = |indptr: &[i64], indices: &[i64], n_features: usize| {
            Csr::new(indptr, indices, &vec![1.0f32; indices.len().min(3)], n_features).is_ok()
        };
        assert!(check(&[0, 1, 3], &[0, 1, 0], 2));
        for indptr in [&[0, 2, 1, 3][..], &[1, 3], &[0, 2], &[0, 4], &[0, -1, 3], &[]] {
            assert!(!check(indptr, &[0, 1, 0], 2));
        }
        assert!(!check(&[0, 3], &[0, 1, 2], 2));
        assert!(!check(&[0, 3], &[0, -1, 0], 2));
        assert!(!check(&[0, 4], &[0, 1, 0, 0], 2));
    }
}
