//! The two products of a gradient, on lines of a matrix: rows in C order, columns in Fortran order.
//!
//! The scores of rows in C order are the products of each line with the coefficients, and so are the slopes of columns
//! in Fortran order with the residual. The other product is in both cases a sum of lines.

#![allow(clippy::indexing_slicing, reason = "`Lines` are cut in `design::dense`, whose constructors hold X to n × d")]

mod narrow;
mod short;

use crate::ahead::Ahead;
use crate::lanes::{arch, product, totals, vectorized};
use crate::real::Real;
pub use narrow::MOST_NARROW;
use narrow::{MOST_NARROW_BYTES, add_narrow_dots, add_narrow_lines};
use pulp::Simd;
use short::{add_short_dots, add_short_lines};

/// Lines whose products with the vector are totalled together. They are read one after the other, as the processor
/// foresees it when it reads ahead: several at a time halve the rate from memory, unless each is as long as this.
const DOTS_AT_ONCE: usize = 4;
const LONG_BYTES: usize = 8 << 10;
/// Lanes of the widest register, of the smaller type.
const MOST_LANES: usize = 16;
/// Lines that one sweep over the sum adds, to load and store the sum once for all of them.
const LINES_AT_ONCE: usize = 8;
const FEWER_AT_ONCE: usize = 4;

/// Lines of `length` entries, each `stride` after the one before.
#[derive(Clone, Copy)]
pub struct Lines<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
    pub length: usize,
    pub count: usize,
    /// What will be read soon: asked for meanwhile. May be empty.
    pub next: &'a [T],
}

impl<'a, T: Real> Lines<'a, T> {
    #[inline(always)]
    fn line(self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.length]
    }

    /// The last entries of line i that fill a register, some of which whole registers have seen before. If the line is
    /// shorter than that, line i and what stands behind it.
    #[inline(always)]
    fn last_register<S: Simd>(self, simd: S, i: usize) -> T::Vector<S> {
        let n_lanes = n_lanes::<S, T>(simd);
        let start = i * self.stride + self.length.saturating_sub(n_lanes);
        match self.data.get(start..start + n_lanes) {
            // A whole register is read at once; a part of one takes several times as long.
            Some(entries) => T::whole::<S>(entries).0[0],
            None => T::partial(simd, &self.data[start..]),
        }
    }

    fn are_narrow(self) -> bool {
        let bytes = self.length * size_of::<T>();
        self.length <= MOST_NARROW && bytes <= MOST_NARROW_BYTES && self.stride == self.length
    }

    /// sums[i] ← sums[i] + ⟨line i, vector⟩
    pub fn add_dots(self, vector: &[T], sums: &mut [T]) {
        if self.are_narrow() {
            Ahead::new(self.next, 1).ask();
            vectorized(
                #[inline(always)]
                || add_narrow_dots(self.data, vector, sums),
            );
        } else {
            add_wide_dots(self, vector, sums);
        }
    }

    /// sum ← sum + Σᵢ weights[i] · line i
    pub fn add_weighted(self, weights: &[T], sum: &mut [T]) {
        if self.are_narrow() {
            Ahead::new(self.next, 1).ask();
            vectorized(
                #[inline(always)]
                || add_narrow_lines(self.data, weights, sum),
            );
        } else {
            add_wide_lines(self, weights, sum);
        }
    }
}

#[pulp::with_simd(add_wide_dots = arch())]
#[inline(always)]
fn add_wide_dots_with_simd<S: Simd, T: Real>(simd: S, lines: Lines<'_, T>, vector: &[T], sums: &mut [T]) {
    if add_short_dots(simd, lines, vector, sums) {
        return;
    }
    let are_long = lines.length * size_of::<T>() >= LONG_BYTES;
    let (groups, alone) = sums[..lines.count].as_chunks_mut::<DOTS_AT_ONCE>();
    let first_alone = groups.len() * DOTS_AT_ONCE;
    let mut ahead = Ahead::new(lines.next, groups.len() * T::whole::<S>(vector).0.len());
    for (g, sums) in groups.iter_mut().enumerate() {
        let group = [0, 1, 2, 3].map(|k| lines.line(g * DOTS_AT_ONCE + k));
        let mut found = [T::zeros(simd); DOTS_AT_ONCE];
        if are_long {
            found = products(simd, group, vector);
        } else {
            for k in 0..DOTS_AT_ONCE {
                found[k] = product(simd, group[k], vector, || ahead.ask());
            }
        }
        for (sum, found) in sums.iter_mut().zip(totals::<S, T>(simd, found)) {
            *sum += found;
        }
    }
    for (k, sum) in alone.iter_mut().enumerate() {
        *sum += T::total(simd, product(simd, lines.line(first_alone + k), vector, || {}));
    }
}

/// ⟨line, vector⟩ for each line, spread over the lanes of a register; the vector is loaded once for all of them.
#[inline(always)]
fn products<S: Simd, T: Real, const N: usize>(simd: S, lines: [&[T]; N], vector: &[T]) -> [T::Vector<S>; N] {
    let (whole, rest) = T::whole::<S>(vector);
    let lines = lines.map(|line| T::whole::<S>(line));
    let mut sums = [T::zeros(simd); N];
    let count = whole.len();
    let bodies = lines.map(|(body, _)| &body[..count]);
    for j in 0..count {
        for k in 0..N {
            sums[k] = T::multiply_add(simd, bodies[k][j], whole[j], sums[k]);
        }
    }
    if !rest.is_empty() {
        let rest = T::partial(simd, rest);
        for k in 0..N {
            sums[k] = T::multiply_add(simd, T::partial(simd, lines[k].1), rest, sums[k]);
        }
    }
    sums
}

/// What `vector` holds beyond its whole registers, in the places that it has in the last register of a line.
#[inline(always)]
fn rest_of_vector<S: Simd, T: Real>(simd: S, vector: &[T]) -> Option<T::Vector<S>> {
    let (whole, rest) = T::whole::<S>(vector);
    if rest.is_empty() {
        return None;
    }
    let n_lanes = n_lanes::<S, T>(simd);
    let mut padded = [T::ZERO; MOST_LANES];
    let place = if whole.is_empty() { 0 } else { n_lanes - rest.len() };
    padded[place..place + rest.len()].copy_from_slice(rest);
    Some(T::partial(simd, &padded[..n_lanes]))
}

#[inline(always)]
fn n_lanes<S: Simd, T: Real>(simd: S) -> usize {
    T::lanes::<S>(&T::zeros(simd)).len()
}

#[pulp::with_simd(add_wide_lines = arch())]
#[inline(always)]
fn add_wide_lines_with_simd<S: Simd, T: Real>(simd: S, lines: Lines<'_, T>, weights: &[T], sum: &mut [T]) {
    if add_short_lines(simd, lines, weights, sum) {
        return;
    }
    let weights = &weights[..lines.count];
    let n_sweeps = weights.len().div_ceil(LINES_AT_ONCE);
    let mut ahead = Ahead::new(lines.next, n_sweeps * T::whole::<S>(sum).0.len());
    let mut done = add_groups::<S, T, LINES_AT_ONCE>(simd, lines, 0, weights, sum, &mut ahead);
    done += add_groups::<S, T, FEWER_AT_ONCE>(simd, lines, done, weights, sum, &mut ahead);
    add_groups::<S, T, 1>(simd, lines, done, weights, sum, &mut ahead);
}

/// The same for as many groups of N lines as there are from line `first` on; returns how many lines that were.
#[inline(always)]
fn add_groups<S: Simd, T: Real, const N: usize>(
    simd: S,
    lines: Lines<'_, T>,
    first: usize,
    weights: &[T],
    sum: &mut [T],
    ahead: &mut Ahead<'_, T>,
) -> usize {
    let (groups, _) = weights[first..].as_chunks::<N>();
    for (g, weights) in groups.iter().enumerate() {
        let group = std::array::from_fn(|k| lines.line(first + g * N + k));
        add_scaled_lines(simd, group, *weights, sum, ahead);
    }
    groups.len() * N
}

/// sum ← sum + Σ weightₖ · lineₖ
#[inline(always)]
fn add_scaled_lines<S: Simd, T: Real, const N: usize>(
    simd: S,
    lines: [&[T]; N],
    weights: [T; N],
    sum: &mut [T],
    ahead: &mut Ahead<'_, T>,
) {
    let weights = weights.map(|weight| T::splat(simd, weight));
    let (whole, rest) = T::whole_mut::<S>(sum);
    let lines = lines.map(|line| T::whole::<S>(line));
    let count = whole.len();
    let bodies = lines.map(|(body, _)| &body[..count]);
    for j in 0..count {
        ahead.ask();
        let added = combine::<S, T, N>(simd, weights, bodies.map(|body| body[j]));
        whole[j] = T::add_lanes(simd, whole[j], added);
    }
    if !rest.is_empty() {
        let added = combine::<S, T, N>(simd, weights, lines.map(|(_, rest)| T::partial(simd, rest)));
        let own = T::partial(simd, rest);
        T::store_partial(simd, rest, T::add_lanes(simd, own, added));
    }
}

/// Σ weightₖ · vₖ, in two chains and apart from the sum that it is added to, so that sweeps need not wait for another.
#[inline(always)]
fn combine<S: Simd, T: Real, const N: usize>(
    simd: S,
    weights: [T::Vector<S>; N],
    vectors: [T::Vector<S>; N],
) -> T::Vector<S> {
    let mut chains = [T::zeros(simd); 2];
    for k in 0..N {
        chains[k % 2] = T::multiply_add(simd, weights[k], vectors[k], chains[k % 2]);
    }
    T::add_lanes(simd, chains[0], chains[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small integers: sums are exact, so kernels can be compared with `==`.
    fn integers(length: usize) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec((-8i8..=8).prop_map(f32::from), length)
    }

    /// Lines, one after the other or with gaps, and both vectors.
    fn cases() -> impl Strategy<Value = (usize, usize, usize, Vec<f32>, Vec<f32>, Vec<f32>)> {
        let shapes = (0usize..70, prop_oneof![1usize..10, 1usize..100, 100usize..400], 0usize..3);
        shapes.prop_flat_map(|(count, length, gap)| {
            let stride = length + gap;
            (Just(count), Just(length), Just(stride), integers(count * stride), integers(length), integers(count))
        })
    }

    proptest! {
        #[test]
        fn products_are_exact_on_integers((count, length, stride, data, vector, weights) in cases()) {
            // Whatever is asked for meanwhile.
            for next in [&data[..0], &data[..data.len() / 2], &data[..]] {
                let lines = Lines { data: &data, stride, length, count, next };
                let (mut sums, mut sum) = (vec![1.0; count], vec![1.0; length]);
                lines.add_dots(&vector, &mut sums);
                lines.add_weighted(&weights, &mut sum);
                for (i, got) in sums.into_iter().enumerate() {
                    let exact: f32 = (0..length).map(|j| data[i * stride + j] * vector[j]).sum();
                    prop_assert_eq!(got, 1.0 + exact);
                }
                for (j, got) in sum.into_iter().enumerate() {
                    let exact: f32 = (0..count).map(|i| weights[i] * data[i * stride + j]).sum();
                    prop_assert_eq!(got, 1.0 + exact);
                }
            }
        }
    }
}
