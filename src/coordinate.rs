//! A quadratic with an ℓ1 part, coordinate by coordinate: ½ wᵀ G w + … + λ₁ ‖w‖₁ + ½ λ₂ ‖w‖².
//!
//! A cycle brings each coefficient in turn to where the function is least, the others held; what stays zero costs
//! nothing. Cycles soon find which coefficients are not zero, and are slow to settle their values where columns are
//! alike; Newton's step among those, as far as their signs hold, settles them at once. Neither ever goes up.

#![allow(
    clippy::indexing_slicing,
    reason = "`Quadratic::new` makes G d × d and `felt` d long; the layout cuts coefficients and slopes likewise"
)]

use crate::lanes::{add_scaled, vectorized};
use crate::penalty::{ElasticNet, soft_threshold};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// Coefficients among which Newton's step is made: beyond, its matrix costs more than many cycles.
const MOST_SETTLED: usize = 2048;
/// Shares of Newton's step that are tried.
const LENGTHS: [f64; 3] = [1.0, 0.5, 0.1];
/// What a diagonal of ones is raised by where more are not zero than the rows can tell apart: the step still goes down,
/// and soon some of them are zero. Of 1e-6, 1e-4, 1e-2 and 1e-1 the one that took the fewest steps.
const DAMPING: f64 = 1e-2;

pub struct Coordinates<'a> {
    /// G, d × d
    pub gram: &'a [f64],
    /// Columns that vary: rounding alone would move the others.
    pub felt: &'a [bool],
    pub penalty: ElasticNet,
}

impl Coordinates<'_> {
    fn bend(&self, j: usize) -> f64 {
        self.gram[j * self.felt.len() + j]
    }

    fn line(&self, j: usize) -> &[f64] {
        &self.gram[j * self.felt.len()..(j + 1) * self.felt.len()]
    }

    /// Moves wⱼ, and with it `slope`, the gradient of the part without penalty.
    fn shift(&self, w: &mut [f64], slope: &mut [f64], j: usize, to: f64) {
        let way = to - w[j];
        w[j] = to;
        if way != 0.0 {
            vectorized(|| add_scaled(slope, way, self.line(j)));
        }
    }

    /// Each wⱼ in turn to where the function is least.
    pub fn cycle(&self, w: &mut [f64], slope: &mut [f64]) {
        let ElasticNet { l1, l2 } = self.penalty;
        for j in 0..w.len() {
            if self.felt[j] {
                let bend = self.bend(j);
                let to = soft_threshold(bend * w[j] - slope[j], l1) / (bend + l2);
                self.shift(w, slope, j, to);
            } else if l1 > 0.0 {
                self.shift(w, slope, j, 0.0);
            }
        }
    }

    /// Newton's step among the wⱼ that are not zero, up to where the first of them becomes zero.
    pub fn settle(&self, w: &mut [f64], slope: &mut [f64]) {
        let ElasticNet { l1, l2 } = self.penalty;
        let active: Vec<usize> = (0..w.len()).filter(|&j| w[j] != 0.0 && self.felt[j]).collect();
        let order = active.len();
        if order == 0 || order > MOST_SETTLED {
            return;
        }
        let scale: Vec<f64> = active.iter().map(|&j| (self.bend(j) + l2).sqrt()).collect();
        // Ones on the diagonal, exactly: so that pivots can be told from rounding.
        let scaled = |damping: f64| {
            Mat::from_fn(order, order, |i, j| {
                if i == j { 1.0 + damping } else { self.line(active[i])[active[j]] / scale[i] / scale[j] }
            })
        };
        let negligible = order as f64 * f64::EPSILON;
        let definite = |damping: f64| {
            let factor = scaled(damping).llt(Side::Lower).ok()?;
            (0..order).all(|i| factor.L()[(i, i)].powi(2) > negligible).then_some(factor)
        };
        let Some(factor) = definite(0.0).or_else(|| definite(DAMPING)) else { return };
        let uphill = |j: usize| slope[j] + l2 * w[j] + l1 * w[j].signum();
        let mut way = Mat::from_fn(order, 1, |i, _| -uphill(active[i]) / scale[i]);
        factor.solve_in_place(&mut way);
        let way: Vec<f64> = (0..order).map(|i| way[(i, 0)] / scale[i]).collect();
        // Up to the first change of sign, beyond which the function is another one, nothing can go wrong. Further on,
        // what would change its sign stays zero, and the value tells.
        let until = |(&way, &j): (&f64, &usize)| if way * w[j] < 0.0 { -w[j] / way } else { 1.0 };
        let first = if l1 > 0.0 { way.iter().zip(&active).map(until).fold(1.0, f64::min) } else { 1.0 };
        let moves = |t: f64| -> Vec<f64> {
            let to = |(&way, &j): (&f64, &usize)| if l1 > 0.0 { clip(t * way, w[j]) } else { t * way };
            way.iter().zip(&active).map(to).collect()
        };
        let mut best = (f64::INFINITY, Vec::new());
        for t in LENGTHS.into_iter().filter(|&t| t > first).chain([first]) {
            let moves = moves(t);
            let change = self.change(w, slope, &active, &moves);
            if change < best.0 {
                best = (change, moves);
            }
        }
        for (way, &j) in best.1.iter().zip(&active) {
            self.shift(w, slope, j, w[j] + way);
        }
    }

    /// By how much the function changes where the `active` move.
    fn change(&self, w: &[f64], slope: &[f64], active: &[usize], moves: &[f64]) -> f64 {
        let ElasticNet { l1, l2 } = self.penalty;
        let mut change = 0.0;
        for (&i, &way) in active.iter().zip(moves) {
            let line = self.line(i);
            let bend: f64 = active.iter().zip(moves).map(|(&j, way)| line[j] * way).sum();
            change += way * (slope[i] + 0.5 * bend + l2 * (w[i] + 0.5 * way)) + l1 * ((w[i] + way).abs() - w[i].abs());
        }
        change
    }
}

/// A move of w, up to zero: exactly there where rounding alone keeps it from that.
fn clip(way: f64, w: f64) -> f64 {
    if (w + way) / w <= 4.0 * f64::EPSILON { -w } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ½ wᵀ G w − ⟨r, w⟩ and the penalty.
    fn value(coordinates: &Coordinates<'_>, right: &[f64], w: &[f64]) -> f64 {
        let mut sum = coordinates.penalty.smooth_value(w) + coordinates.penalty.rough_value(w);
        for (j, wj) in w.iter().enumerate() {
            let image: f64 = coordinates.line(j).iter().zip(w).map(|(g, w)| g * w).sum();
            sum += wj * (0.5 * image - right[j]);
        }
        sum
    }

    proptest! {
        /// From anywhere, cycles and Newton's steps only go down, and end where no coordinate has anything to gain.
        #[test]
        fn steps_go_down_to_the_minimum(
            entries in proptest::collection::vec(-2.0f64..2.0, 36),
            right in proptest::collection::vec(-3.0f64..3.0, 4),
            start in proptest::collection::vec(-3.0f64..3.0, 4),
            l1 in 0.0f64..2.0,
            l2 in 0.01f64..1.0,
        ) {
            // AᵀA of nine rows
            let product = |i: usize, j: usize| (0..9).map(|k| entries[4 * k + i] * entries[4 * k + j]).sum::<f64>();
            let gram: Vec<f64> = (0..16).map(|i| product(i / 4, i % 4)).collect();
            let coordinates = Coordinates { gram: &gram, felt: &[true; 4], penalty: ElasticNet { l1, l2 } };
            let mut w = start;
            let mut slope: Vec<f64> = (0..4).map(|j| {
                coordinates.line(j).iter().zip(&w).map(|(g, w)| g * w).sum::<f64>() - right[j]
            }).collect();
            let mut before = value(&coordinates, &right, &w);
            for _ in 0..60 {
                for newton in [false, true] {
                    if newton { coordinates.settle(&mut w, &mut slope) } else { coordinates.cycle(&mut w, &mut slope) }
                    let after = value(&coordinates, &right, &w);
                    prop_assert!(after <= before + 1e-10 * (1.0 + before.abs()));
                    before = after;
                }
            }
            for j in 0..4 {
                let uphill = slope[j] + l2 * w[j];
                let excess = if w[j] == 0.0 { uphill.abs() - l1 } else { (uphill + l1 * w[j].signum()).abs() };
                prop_assert!(excess <= 1e-8, "{excess} at {j}");
            }
        }
    }
}
