//! Preconditioning: a change of variables that gives columns mean zero and like curvature, and touches no data.
//!
//! With centers m and scales s, z = Σⱼ (xⱼ − mⱼ) / sⱼ · vⱼ + c is the same function of x as z = Σⱼ xⱼ wⱼ + b where
//! wⱼ = vⱼ / sⱼ and b = c − Σⱼ mⱼ wⱼ. So a method works on (v, c) and the pass on (w, b): sparse data stays sparse, and
//! the optimum is the same.

use crate::objective::Layout;
use faer::Mat;

/// Units of rounding that the sums of a column may be off.
const NEGLIGIBLE: f64 = 512.0;

/// Centers and scales of the columns; centers are zero where no intercept could take them up.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    pub center: Vec<f64>,
    pub scale: Vec<f64>,
}

impl Scaling {
    /// From weighted means and mean squares about `center`, both of relative `precision`. A column that does not vary
    /// keeps the scale of its size.
    pub fn new(center: Vec<f64>, mean_squares: &[f64], precision: f64) -> Self {
        let scale = |(&square, &center): (&f64, &f64)| {
            let deviation = square.sqrt();
            // Below this share of the mean, a deviation is only rounding.
            if deviation > NEGLIGIBLE * precision * center.abs() && deviation.is_normal() {
                deviation
            } else if center.is_normal() {
                center.abs()
            } else {
                1.0
            }
        };
        let scale = mean_squares.iter().zip(&center).map(scale).collect();
        Self { center, scale }
    }

    /// (v, c) → (w, b)
    pub fn to_original(&self, layout: Layout, parameters: &mut [f64]) {
        let (coef, intercept) = layout.split_mut(parameters);
        for (k, row) in coef.chunks_exact_mut(layout.n_features).enumerate() {
            for (w, scale) in row.iter_mut().zip(&self.scale) {
                *w /= scale;
            }
            if let Some(b) = intercept.get_mut(k) {
                *b -= row.iter().zip(&self.center).map(|(w, center)| w * center).sum::<f64>();
            }
        }
    }

    /// (w, b) → (v, c)
    pub fn to_scaled(&self, layout: Layout, parameters: &mut [f64]) {
        let (coef, intercept) = layout.split_mut(parameters);
        for (k, row) in coef.chunks_exact_mut(layout.n_features).enumerate() {
            if let Some(c) = intercept.get_mut(k) {
                *c += row.iter().zip(&self.center).map(|(w, center)| w * center).sum::<f64>();
            }
            for (v, scale) in row.iter_mut().zip(&self.scale) {
                *v *= scale;
            }
        }
    }

    /// The gradient by (w, b) → the gradient by (v, c).
    pub fn pull_back(&self, layout: Layout, gradient: &mut [f64]) {
        let (coef, intercept) = layout.split_mut(gradient);
        for (k, row) in coef.chunks_exact_mut(layout.n_features).enumerate() {
            let by_intercept = intercept.get(k).copied().unwrap_or(0.0);
            for ((slope, scale), center) in row.iter_mut().zip(&self.scale).zip(&self.center) {
                *slope = (*slope - center * by_intercept) / scale;
            }
        }
    }

    /// The same for both sides of a matrix.
    pub fn pull_back_matrix(&self, layout: Layout, matrix: &Mat<f64>) -> Mat<f64> {
        let mut pulled = matrix.clone();
        for _ in 0..2 {
            pulled = pulled.transpose().to_owned();
            (0..pulled.ncols()).for_each(|j| self.pull_back(layout, pulled.col_as_slice_mut(j)));
        }
        pulled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// There and back; and a gradient is pulled back by the transpose of the change of variables.
        #[test]
        fn a_change_of_variables(
            center in proptest::collection::vec(-9.0f64..9.0, 3), scale in proptest::collection::vec(0.1f64..9.0, 3),
            v in proptest::collection::vec(-9.0f64..9.0, 8), gradient in proptest::collection::vec(-9.0f64..9.0, 8),
        ) {
            let layout = Layout { width: 2, n_features: 3, fit_intercept: true };
            let scaling = Scaling { center, scale };
            let mut w = v.clone();
            scaling.to_original(layout, &mut w);
            let mut pulled = gradient.clone();
            scaling.pull_back(layout, &mut pulled);
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            prop_assert!((product(&gradient, &w) - product(&pulled, &v)).abs() < 1e-8);
            scaling.to_scaled(layout, &mut w);
            prop_assert!(w.iter().zip(&v).all(|(back, v)| (back - v).abs() < 1e-9));
        }
    }

    #[test]
    fn columns_without_spread_keep_their_size() {
        let scaling = Scaling::new(vec![0.0, -5.0, 5.0, 3.0], &[0.0, 0.0, 1e-30, 4.0], f64::EPSILON);
        assert_eq!(scaling.scale, [1.0, 5.0, 5.0, 2.0]);
    }
}
