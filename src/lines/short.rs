//! The same products for lines of a few registers: the vector, or the sum, stays in registers while all lines pass, one
//! after the other, as the processor foresees it when it reads ahead.

use super::{DOTS_AT_ONCE, Lines, n_lanes, rest_of_vector};
use crate::ahead::Ahead;
use crate::lanes::totals;
use crate::real::Real;
use pulp::Simd;

/// sums[i] ← sums[i] + ⟨line i, vector⟩. False, and nothing is done, if the lines are too long for it.
#[inline(always)]
pub fn add_short_dots<S: Simd, T: Real>(simd: S, lines: Lines<'_, T>, vector: &[T], sums: &mut [T]) -> bool {
    let (whole, rest) = T::whole::<S>(vector);
    match (whole.len(), rest.is_empty()) {
        (1, true) => add_dots::<S, T, 1, false>(simd, lines, vector, sums),
        (2, true) => add_dots::<S, T, 2, false>(simd, lines, vector, sums),
        (3, true) => add_dots::<S, T, 3, false>(simd, lines, vector, sums),
        (4, true) => add_dots::<S, T, 4, false>(simd, lines, vector, sums),
        (5, true) => add_dots::<S, T, 5, false>(simd, lines, vector, sums),
        (6, true) => add_dots::<S, T, 6, false>(simd, lines, vector, sums),
        (7, true) => add_dots::<S, T, 7, false>(simd, lines, vector, sums),
        (8, true) => add_dots::<S, T, 8, false>(simd, lines, vector, sums),
        (0, false) => add_dots::<S, T, 0, true>(simd, lines, vector, sums),
        (1, false) => add_dots::<S, T, 1, true>(simd, lines, vector, sums),
        (2, false) => add_dots::<S, T, 2, true>(simd, lines, vector, sums),
        (3, false) => add_dots::<S, T, 3, true>(simd, lines, vector, sums),
        (4, false) => add_dots::<S, T, 4, true>(simd, lines, vector, sums),
        (5, false) => add_dots::<S, T, 5, true>(simd, lines, vector, sums),
        (6, false) => add_dots::<S, T, 6, true>(simd, lines, vector, sums),
        (7, false) => add_dots::<S, T, 7, true>(simd, lines, vector, sums),
        _ => return false,
    }
    true
}

/// The same for lines of R whole registers, and a rest if REST.
#[inline(always)]
fn add_dots<S: Simd, T: Real, const R: usize, const REST: bool>(
    simd: S,
    lines: Lines<'_, T>,
    vector: &[T],
    sums: &mut [T],
) {
    let rest = rest_of_vector(simd, vector).unwrap_or(T::zeros(simd));
    let Some(vector) = T::whole::<S>(vector).0.first_chunk::<R>() else { return };
    let (groups, last) = sums[..lines.count].as_chunks_mut::<DOTS_AT_ONCE>();
    let first_of_last = groups.len() * DOTS_AT_ONCE;
    let mut ahead = Ahead::new(lines.next, groups.len());
    for (g, sums) in groups.iter_mut().enumerate() {
        ahead.ask();
        let mut found = [T::zeros(simd); DOTS_AT_ONCE];
        for (k, found) in found.iter_mut().enumerate() {
            *found = short_product::<S, T, R, REST>(simd, lines, g * DOTS_AT_ONCE + k, vector, rest);
        }
        for (sum, found) in sums.iter_mut().zip(totals::<S, T>(simd, found)) {
            *sum += found;
        }
    }
    for (k, sum) in last.iter_mut().enumerate() {
        *sum += T::total(simd, short_product::<S, T, R, REST>(simd, lines, first_of_last + k, vector, rest));
    }
}

/// ⟨line i, vector⟩, spread over the lanes of a register.
#[inline(always)]
fn short_product<S: Simd, T: Real, const R: usize, const REST: bool>(
    simd: S,
    lines: Lines<'_, T>,
    i: usize,
    vector: &[T::Vector<S>; R],
    rest: T::Vector<S>,
) -> T::Vector<S> {
    let body = T::whole::<S>(lines.line(i)).0;
    let mut sum = T::zeros(simd);
    for j in 0..R {
        sum = T::multiply_add(simd, body[j], vector[j], sum);
    }
    if REST { T::multiply_add(simd, lines.last_register(simd, i), rest, sum) } else { sum }
}

/// sum ← sum + Σᵢ weights[i] · line i. False, and nothing is done, if the lines are too long for it.
#[inline(always)]
pub fn add_short_lines<S: Simd, T: Real>(simd: S, lines: Lines<'_, T>, weights: &[T], sum: &mut [T]) -> bool {
    let (whole, rest) = T::whole::<S>(sum);
    // Enough sums side by side to hide the latency of an addition.
    match (whole.len(), rest.is_empty()) {
        (1, true) => add_lines::<S, T, 1, 8, false>(simd, lines, weights, sum),
        (2, true) => add_lines::<S, T, 2, 4, false>(simd, lines, weights, sum),
        (3, true) => add_lines::<S, T, 3, 4, false>(simd, lines, weights, sum),
        (4, true) => add_lines::<S, T, 4, 2, false>(simd, lines, weights, sum),
        (5, true) => add_lines::<S, T, 5, 2, false>(simd, lines, weights, sum),
        (6, true) => add_lines::<S, T, 6, 2, false>(simd, lines, weights, sum),
        (7, true) => add_lines::<S, T, 7, 2, false>(simd, lines, weights, sum),
        (8, true) => add_lines::<S, T, 8, 2, false>(simd, lines, weights, sum),
        (0, false) => add_lines::<S, T, 0, 8, true>(simd, lines, weights, sum),
        (1, false) => add_lines::<S, T, 1, 4, true>(simd, lines, weights, sum),
        (2, false) => add_lines::<S, T, 2, 4, true>(simd, lines, weights, sum),
        (3, false) => add_lines::<S, T, 3, 2, true>(simd, lines, weights, sum),
        (4, false) => add_lines::<S, T, 4, 2, true>(simd, lines, weights, sum),
        (5, false) => add_lines::<S, T, 5, 2, true>(simd, lines, weights, sum),
        (6, false) => add_lines::<S, T, 6, 2, true>(simd, lines, weights, sum),
        (7, false) => add_lines::<S, T, 7, 2, true>(simd, lines, weights, sum),
        _ => return false,
    }
    true
}

/// The same for lines of R whole registers, and a rest if REST, in C chains.
#[inline(always)]
fn add_lines<S: Simd, T: Real, const R: usize, const C: usize, const REST: bool>(
    simd: S,
    lines: Lines<'_, T>,
    weights: &[T],
    sum: &mut [T],
) {
    let (mut whole, mut rest) = ([[T::zeros(simd); R]; C], [T::zeros(simd); C]);
    let (groups, last) = weights[..lines.count].as_chunks::<C>();
    let mut ahead = Ahead::new(lines.next, groups.len());
    for (g, group) in groups.iter().enumerate() {
        ahead.ask();
        for k in 0..C {
            let body = T::whole::<S>(lines.line(g * C + k)).0;
            let weight = T::splat(simd, group[k]);
            for j in 0..R {
                whole[k][j] = T::multiply_add(simd, weight, body[j], whole[k][j]);
            }
            if REST {
                rest[k] = T::multiply_add(simd, weight, lines.last_register(simd, g * C + k), rest[k]);
            }
        }
    }
    for (k, &weight) in last.iter().enumerate() {
        let body = T::whole::<S>(lines.line(groups.len() * C + k)).0;
        let weight = T::splat(simd, weight);
        for j in 0..R {
            whole[0][j] = T::multiply_add(simd, weight, body[j], whole[0][j]);
        }
        if REST {
            rest[0] = T::multiply_add(simd, weight, lines.last_register(simd, groups.len() * C + k), rest[0]);
        }
    }
    let (body, end) = T::whole_mut::<S>(sum);
    for parts in &whole {
        for (sum, &part) in body.iter_mut().zip(parts) {
            *sum = T::add_lanes(simd, *sum, part);
        }
    }
    if REST {
        let place = if R == 0 { 0 } else { n_lanes::<S, T>(simd) - end.len() };
        for rest in &rest {
            for (sum, &part) in end.iter_mut().zip(&T::lanes::<S>(rest)[place..]) {
                *sum += part;
            }
        }
    }
}
