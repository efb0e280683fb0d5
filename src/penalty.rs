//! Penalties: functions of the coefficients alone, never of the intercept.

use crate::lanes::{add_scaled, dot, vectorized};

/// λ₁ ‖W‖₁ + ½ λ₂ ‖W‖²: ridge, lasso and what lies between. The quadratic part is smooth and is differentiated; the
/// other has its proximal map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ElasticNet {
    pub l1: f64,
    pub l2: f64,
}

impl ElasticNet {
    pub const NONE: Self = Self { l1: 0.0, l2: 0.0 };

    /// ½ λ₂ ‖W‖²
    pub fn smooth_value(self, coef: &[f64]) -> f64 {
        if self.l2 == 0.0 {
            // ‖W‖² may be infinite where W is not.
            return 0.0;
        }
        0.5 * self.l2 * dot(coef, coef)
    }

    /// gradient ← gradient + λ₂ W
    pub fn add_gradient(self, coef: &[f64], gradient: &mut [f64]) {
        if self.l2 == 0.0 {
            return;
        }
        vectorized(|| add_scaled(gradient, self.l2, coef));
    }

    /// λ₁ ‖W‖₁
    pub fn rough_value(self, coef: &[f64]) -> f64 {
        if self.l1 == 0.0 { 0.0 } else { self.l1 * coef.iter().map(|w| w.abs()).sum::<f64>() }
    }
}

/// argmin ½ (v − w)² + threshold · |v|
#[inline(always)]
pub fn soft_threshold(w: f64, threshold: f64) -> f64 {
    // Not `clamp`, which panics where the threshold is not a number.
    w - w.max(-threshold).min(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gradient_is_the_derivative_of_the_value() {
        let (penalty, coef, step) = (ElasticNet { l1: 0.7, l2: 0.3 }, [1.0, -2.0, 0.5], 1e-3);
        let mut gradient = [1.0; 3];
        penalty.add_gradient(&coef, &mut gradient);
        for j in 0..3 {
            let at = |shift: f64| {
                let mut moved = coef;
                moved[j] += shift;
                penalty.smooth_value(&moved)
            };
            // The central difference of a quadratic is exact.
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((gradient[j] - 1.0 - slope).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn no_competitor_beats_the_proximal_map(w in -9.0f64..9.0, v in -9.0f64..9.0, threshold in 0.0f64..9.0) {
            let cost = |v: f64| 0.5 * (v - w) * (v - w) + threshold * v.abs();
            prop_assert!(cost(soft_threshold(w, threshold)) <= cost(v) * (1.0 + 1e-12) + 1e-12);
        }
    }
}
