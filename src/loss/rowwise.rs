//! Losses of several scores a row.

use crate::elementary::exp;
use crate::real::Real;

#[inline(always)]
pub fn squared_errors<T: Real>(n_targets: usize, targets: &[T], scores: &mut [T], values: &mut [T]) {
    let share = T::from_f64(1.0 / n_targets as f64);
    let rows = targets.chunks_exact(n_targets).zip(scores.chunks_exact_mut(n_targets));
    for ((targets, row), value) in rows.zip(values) {
        let mut total = T::ZERO;
        for (score, &target) in row.iter_mut().zip(targets) {
            let residual = *score - target;
            total += residual * residual;
            *score = (residual + residual) * share;
        }
        *value = total * share;
    }
}

/// Shifts each row so that its highest score is zero.
#[inline(always)]
fn shift_rows<T: Real>(n_classes: usize, scores: &mut [T]) {
    for row in scores.chunks_exact_mut(n_classes) {
        let mut highest = row[0];
        for &score in &row[1..] {
            highest = if score > highest { score } else { highest };
        }
        for score in row {
            *score -= highest;
        }
    }
}

/// In three sweeps, so that the exponentials of all rows are one loop.
#[inline(always)]
pub fn softmax<T: Real, const FUSED: bool>(n_classes: usize, targets: &[T], scores: &mut [T], values: &mut [T]) {
    let class = |target: T| target.to_f64() as usize;
    shift_rows(n_classes, scores);
    for ((&target, row), value) in targets.iter().zip(scores.chunks_exact(n_classes)).zip(values.iter_mut()) {
        *value = -row[class(target)];
    }
    for score in scores.iter_mut() {
        *score = exp::<T, FUSED>(*score);
    }
    for ((&target, row), value) in targets.iter().zip(scores.chunks_exact_mut(n_classes)).zip(values) {
        *value += normalise(row);
        row[class(target)] -= T::ONE;
    }
}

/// The same with a probability for every class: one that is zero adds nothing, however low its score.
#[inline(always)]
pub fn cross_entropy<T: Real, const FUSED: bool>(n_classes: usize, targets: &[T], scores: &mut [T], values: &mut [T]) {
    shift_rows(n_classes, scores);
    let rows = targets.chunks_exact(n_classes);
    for ((targets, row), value) in rows.clone().zip(scores.chunks_exact(n_classes)).zip(values.iter_mut()) {
        *value = T::ZERO;
        for (&target, &score) in targets.iter().zip(row) {
            *value -= if target == T::ZERO { T::ZERO } else { target * score };
        }
    }
    for score in scores.iter_mut() {
        *score = exp::<T, FUSED>(*score);
    }
    for ((targets, row), value) in rows.zip(scores.chunks_exact_mut(n_classes)).zip(values) {
        *value += normalise(row);
        for (score, &target) in row.iter_mut().zip(targets) {
            *score -= target;
        }
    }
}

/// Divides a row by its sum; returns the logarithm of the sum.
#[inline(always)]
fn normalise<T: Real>(row: &mut [T]) -> T {
    let mut total = T::ZERO;
    for &entry in row.iter() {
        total += entry;
    }
    for entry in row {
        *entry /= total;
    }
    total.natural_log()
}

pub fn probabilities<T: Real>(row: &mut [T]) {
    shift_rows(row.len(), row);
    for score in row.iter_mut() {
        *score = exp::<T, false>(*score);
    }
    normalise(row);
}
