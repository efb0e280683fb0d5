//! The same products for lines shorter than a register: plain loops of constant length, which the compiler turns into
//! vector code across lines.

use crate::real::Real;

/// The longest line that is treated so.
pub const MOST_NARROW: usize = 8;
pub const MOST_NARROW_BYTES: usize = 56;
/// Lines whose weighted entries are added before they meet the sum.
const LINES_AT_ONCE: usize = 8;

/// sums[i] ← sums[i] + ⟨line i, vector⟩, lines of the vector's length one after the other.
#[inline(always)]
pub fn add_narrow_dots<T: Real>(lines: &[T], vector: &[T], sums: &mut [T]) {
    match vector.len() {
        1 => add_dots::<T, 1>(lines, vector, sums),
        2 => add_dots::<T, 2>(lines, vector, sums),
        3 => add_dots::<T, 3>(lines, vector, sums),
        4 => add_dots::<T, 4>(lines, vector, sums),
        5 => add_dots::<T, 5>(lines, vector, sums),
        6 => add_dots::<T, 6>(lines, vector, sums),
        7 => add_dots::<T, 7>(lines, vector, sums),
        8 => add_dots::<T, 8>(lines, vector, sums),
        _ => {}
    }
}

#[inline(always)]
fn add_dots<T: Real, const D: usize>(lines: &[T], vector: &[T], sums: &mut [T]) {
    let Some(vector) = vector.first_chunk::<D>() else { return };
    let lines = &lines.as_chunks::<D>().0[..sums.len()];
    for (sum, line) in sums.iter_mut().zip(lines) {
        let mut dot = T::ZERO;
        for (&x, &w) in line.iter().zip(vector) {
            dot += x * w;
        }
        *sum += dot;
    }
}

/// sum ← sum + Σᵢ weights[i] · line i, lines of the sum's length one after the other.
#[inline(always)]
pub fn add_narrow_lines<T: Real>(lines: &[T], weights: &[T], sum: &mut [T]) {
    let d = sum.len();
    let mut weights = weights.chunks_exact(LINES_AT_ONCE);
    let mut groups = lines.chunks_exact(LINES_AT_ONCE * d);
    for (r, group) in weights.by_ref().zip(groups.by_ref()) {
        let line = |k: usize| &group[k * d..][..d];
        let (x0, x1, x2, x3) = (line(0), line(1), line(2), line(3));
        let (x4, x5, x6, x7) = (line(4), line(5), line(6), line(7));
        for j in 0..d {
            let first = (r[0] * x0[j] + r[1] * x1[j]) + (r[2] * x2[j] + r[3] * x3[j]);
            let second = (r[4] * x4[j] + r[5] * x5[j]) + (r[6] * x6[j] + r[7] * x7[j]);
            sum[j] += first + second;
        }
    }
    for (&weight, line) in weights.remainder().iter().zip(groups.remainder().chunks_exact(d)) {
        for (sum, &x) in sum.iter_mut().zip(line) {
            *sum += weight * x;
        }
    }
}
