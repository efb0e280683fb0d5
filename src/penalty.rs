//! Penalties: functions of the coefficients alone, never of the intercept.

use crate::lanes::{add_scaled, dot, vectorized};

/// ½ α ‖W‖²; α = 0 is no penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L2 {
    pub alpha: f64,
}

impl L2 {
    pub fn value(self, coef: &[f64]) -> f64 {
        if self.alpha == 0.0 {
            // ‖W‖² may be infinite where W is not.
            return 0.0;
        }
        0.5 * self.alpha * dot(coef, coef)
    }

    /// gradient ← gradient + α W
    pub fn add_gradient(self, coef: &[f64], gradient: &mut [f64]) {
        vectorized(|| add_scaled(gradient, self.alpha, coef));
    }

    /// The largest eigenvalue of the Hessian.
    pub fn curvature(self) -> f64 {
        self.alpha
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_is_the_derivative_of_the_value() {
        let (penalty, coef, step) = (L2 { alpha: 0.3 }, [1.0, -2.0, 0.5], 1e-3);
        let mut gradient = [1.0; 3];
        penalty.add_gradient(&coef, &mut gradient);
        for j in 0..3 {
            let at = |shift: f64| {
                let mut moved = coef;
                moved[j] += shift;
                penalty.value(&moved)
            };
            // The central difference of a quadratic is exact.
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((gradient[j] - 1.0 - slope).abs() < 1e-12);
        }
    }
}
