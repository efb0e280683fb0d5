//! Losses of one score a row.

use crate::elementary::{exp, log1p_and_inverse, multiply_add};
use crate::lanes::vectorized;
use crate::real::Real;

/// A loss of one score a row at a point, without branches.
pub trait Point<T>: Copy {
    /// ℓ and ∂ℓ/∂z.
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T);
    /// ∂²ℓ/∂z².
    fn bend(self, y: T, z: T) -> T;
}

#[derive(Clone, Copy)]
pub struct SquaredError;

impl<T: Real> Point<T> for SquaredError {
    #[inline(always)]
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T) {
        let residual = z - y;
        (residual * residual, residual + residual)
    }

    #[inline(always)]
    fn bend(self, _y: T, _z: T) -> T {
        T::ONE + T::ONE
    }
}

#[derive(Clone, Copy)]
pub struct Logistic;

impl<T: Real> Point<T> for Logistic {
    /// With e = exp(−|z|), value and derivative keep their relative accuracy at both ends: where y is 0 or 1, nothing of
    /// size one is subtracted from something close to one. The choice between z > 0 and z < 0 is made by a maximum of
    /// numbers in [0, 1], because a conditional would become a branch and keep the loop from being vector code.
    #[inline(always)]
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T) {
        let magnitude = z.magnitude();
        let e = exp::<T, FUSED>(-magnitude);
        let positive = z.is_positive();
        let numerator = multiply_add::<T, FUSED>(-y, e, larger(e, positive) - y);
        let (logarithm, inverse) = log1p_and_inverse::<T, FUSED>(e);
        (multiply_add::<T, FUSED>(z, positive - y, logarithm), numerator * inverse)
    }

    #[inline(always)]
    fn bend(self, _y: T, z: T) -> T {
        let e = exp::<T, false>(-z.magnitude());
        e / ((T::ONE + e) * (T::ONE + e))
    }
}

#[derive(Clone, Copy)]
pub struct HuberAt<T>(pub T);

impl<T: Real> Point<T> for HuberAt<T> {
    /// With c the residual cut to ±δ, c (r − ½ c) is both the quadratic and the linear part.
    #[inline(always)]
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T) {
        let residual = z - y;
        let cut = larger(smaller(residual, self.0), -self.0);
        (cut * (residual - T::from_f64(0.5) * cut), cut)
    }

    #[inline(always)]
    fn bend(self, y: T, z: T) -> T {
        if (z - y).magnitude() <= self.0 { T::ONE } else { T::ZERO }
    }
}

#[derive(Clone, Copy)]
pub struct PoissonAt;

impl<T: Real> Point<T> for PoissonAt {
    /// Beyond `T::HIGHEST_EXPONENT` the exponential goes on as its tangent: finite, and still convex.
    #[inline(always)]
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T) {
        let cut = smaller(z, T::HIGHEST_EXPONENT);
        let e = exp::<T, FUSED>(cut);
        (e + e * (z - cut) - y * z, e - y)
    }

    #[inline(always)]
    fn bend(self, _y: T, z: T) -> T {
        exp::<T, false>(smaller(z, T::HIGHEST_EXPONENT))
    }
}

#[derive(Clone, Copy)]
pub struct SquaredHingeAt;

impl<T: Real> Point<T> for SquaredHingeAt {
    #[inline(always)]
    fn at<const FUSED: bool>(self, y: T, z: T) -> (T, T) {
        // In this order a score that is no number stays one, and is no perfect fit.
        let miss = larger(T::ZERO, T::ONE - y * z);
        (miss * miss, -(y * (miss + miss)))
    }

    #[inline(always)]
    fn bend(self, y: T, z: T) -> T {
        if y * z < T::ONE { T::ONE + T::ONE } else { T::ZERO }
    }
}

#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller<T: Real>(a: T, b: T) -> T {
    if a < b { a } else { b }
}

#[inline(always)]
pub fn pointwise<T: Real, const FUSED: bool>(point: impl Point<T>, targets: &[T], scores: &mut [T], values: &mut [T]) {
    // One index for three slices of one proven length: what the compiler needs to vectorise.
    let n = values.len();
    let (targets, scores) = (&targets[..n], &mut scores[..n]);
    for i in 0..n {
        (values[i], scores[i]) = point.at::<FUSED>(targets[i], scores[i]);
    }
}

pub fn second_derivatives<T: Real>(point: impl Point<T>, targets: &[T], scores: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            let n = scores.len();
            let targets = &targets[..n];
            for i in 0..n {
                scores[i] = point.bend(targets[i], scores[i]);
            }
        },
    );
}
