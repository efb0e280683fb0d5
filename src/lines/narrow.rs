//! The same products for lines shorter than a register: plain loops of constant length, which the compiler turns into
//! vector code across lines.

use crate::real::Real;

/// The longest line that is treated so.
pub const MOST_NARROW: usize = 8;
pub const MOST_NARROW_BYTES: usize = 56;

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
    // Sums that run side by side, one for each of as many lines: as many as the compiler keeps in registers.
    match sum.len() {
        1 => add_lines::<T, 1, 8>(lines, weights, sum),
        2 => add_lines::<T, 2, 8>(lines, weights, sum),
        3 => add_lines::<T, 3, 8>(lines, weights, sum),
        4 => add_lines::<T, 4, 8>(lines, weights, sum),
        5 => add_lines::<T, 5, 4>(lines, weights, sum),
        6 => add_lines::<T, 6, 4>(lines, weights, sum),
        7 => add_lines::<T, 7, 4>(lines, weights, sum),
        8 => add_lines::<T, 8, 4>(lines, weights, sum),
        _ => {}
    }
}

#[inline(always)]
fn add_lines<T: Real, const D: usize, const K: usize>(lines: &[T], weights: &[T], sum: &mut [T]) {
    let Some(sum) = sum.first_chunk_mut::<D>() else { return };
    let mut sums = [[T::ZERO; D]; K];
    let (groups, last) = weights.as_chunks::<K>();
    let (lines, last_lines) = lines.as_chunks::<D>().0.split_at(groups.len() * K);
    for (weights, lines) in groups.iter().zip(lines.as_chunks::<K>().0) {
        for k in 0..K {
            for j in 0..D {
                sums[k][j] += weights[k] * lines[k][j];
            }
        }
    }
    for (k, (&weight, line)) in last.iter().zip(last_lines).enumerate() {
        for j in 0..D {
            sums[k][j] += weight * line[j];
        }
    }
    for part in &sums {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += *part;
        }
    }
}
