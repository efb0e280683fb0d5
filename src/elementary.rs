//! Exponential and logarithm without branches, so that a loop over a block of scores becomes vector code.
//!
//! Sums and products only, fused where that is asked for. The errors stated hold for both and are asserted by the tests.
//! The loops over terms run over half-open ranges: the compiler unrolls inclusive ones too late to vectorise around them.

#![allow(clippy::indexing_slicing, reason = "two sums, and coefficients counted by their own length")]

use crate::real::Real;

/// eˣ for x ≤ `T::HIGHEST_EXPONENT`; below `T::LOWEST_EXPONENT`, the smallest normal power instead of zero.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2, then eʳ = 1 + (r + r² p(r)). Error below 2 units in the last place.
#[inline(always)]
pub fn exp<T: Real, const FUSED: bool>(x: T) -> T {
    let x = if x < T::LOWEST_EXPONENT { T::LOWEST_EXPONENT } else { x };
    let rounded = multiply_add::<T, FUSED>(x, T::from_f64(std::f64::consts::LOG2_E), T::ROUNDING);
    let n = rounded - T::ROUNDING;
    let r = multiply_add::<T, FUSED>(-n, T::LN_2_LOW, multiply_add::<T, FUSED>(-n, T::LN_2_HIGH, x));
    let square = r * r;
    let series = polynomial::<T, FUSED>(T::EXPONENTIAL, r, square);
    (T::ONE + multiply_add::<T, FUSED>(square, series, r)) * T::power_of_two(rounded)
}

/// log(1 + x) and 1 / (1 + x) for 0 ≤ x ≤ 1, with one division for both.
///
/// The logarithm is 2 artanh(s) = 2 s + s³ q(s²) with s = x / (2 + x): no cancellation where x is small. Errors below 3
/// units in the last place.
#[inline(always)]
pub fn log1p_and_inverse<T: Real, const FUSED: bool>(x: T) -> (T, T) {
    let (one_more, two_more) = (x + T::ONE, x + T::ONE + T::ONE);
    let inverse = T::ONE / (one_more * two_more);
    let s = x * one_more * inverse;
    let square = s * s;
    let series = polynomial::<T, FUSED>(T::ARTANH, square, square * square);
    (multiply_add::<T, FUSED>(s * square, series, s + s), two_more * inverse)
}

/// Σ cₖ xᵏ: the even and the odd powers side by side, because each step waits for the one before.
#[inline(always)]
fn polynomial<T: Real, const FUSED: bool>(coefficients: &[T], x: T, square: T) -> T {
    let mut sums = [T::ZERO; 2];
    for k in (0..coefficients.len()).rev() {
        // The highest of each start a sum: the compiler must not leave out 0 · x², which may be NaN.
        let is_first = k + 2 >= coefficients.len();
        let coefficient = coefficients[k];
        sums[k % 2] = if is_first { coefficient } else { multiply_add::<T, FUSED>(sums[k % 2], square, coefficient) };
    }
    multiply_add::<T, FUSED>(x, sums[1], sums[0])
}

/// a · b + c, fused where that is asked for.
#[inline(always)]
pub fn multiply_add<T: Real, const FUSED: bool>(a: T, b: T, c: T) -> T {
    if FUSED { a.fused(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_within<T: Real>(got: T, exact: f64, epsilon: f64, units: f64) {
        let error = (got.to_f64() - exact).abs();
        assert!(
            error <= units * epsilon * exact.abs(),
            "{got:?} is {} units from {exact:e}",
            error / (epsilon * exact.abs())
        );
    }

    proptest! {
        #[test]
        fn exponential_matches_libm(x in -700.0f64..600.0) {
            assert_within(exp::<_, false>(x), x.exp(), f64::EPSILON, 2.0);
            assert_within(exp::<_, true>(x), x.exp(), f64::EPSILON, 2.0);
        }

        #[test]
        fn exponential_matches_libm_in_single_precision(x in -86.0f32..64.0) {
            assert_within(exp::<_, false>(x), f64::from(x).exp(), f64::from(f32::EPSILON), 2.0);
            assert_within(exp::<_, true>(x), f64::from(x).exp(), f64::from(f32::EPSILON), 2.0);
        }

        #[test]
        fn logarithm_and_inverse_match_libm(exponent in -300.0f64..0.0) {
            let x = exponent.exp();
            for (logarithm, inverse) in [log1p_and_inverse::<_, false>(x), log1p_and_inverse::<_, true>(x)] {
                assert_within(logarithm, x.ln_1p(), f64::EPSILON, 3.0);
                assert_within(inverse, 1.0 / (1.0 + x), f64::EPSILON, 3.0);
            }
            let x = x.max(1e-30) as f32;
            for (logarithm, inverse) in [log1p_and_inverse::<_, false>(x), log1p_and_inverse::<_, true>(x)] {
                assert_within(logarithm, f64::from(x).ln_1p(), f64::from(f32::EPSILON), 3.0);
                assert_within(inverse, 1.0 / (1.0 + f64::from(x)), f64::from(f32::EPSILON), 3.0);
            }
        }
    }

    #[test]
    fn edges() {
        assert_edges::<false>();
        assert_edges::<true>();
    }

    fn assert_edges<const FUSED: bool>() {
        assert_eq!(exp::<_, FUSED>(0.0f64), 1.0);
        assert!(exp::<_, FUSED>(f64::NEG_INFINITY) < 1e-307);
        assert!(exp::<_, FUSED>(-1e30f32) < 1e-37);
        assert!(exp::<_, FUSED>(f64::NAN).is_nan());
        assert_eq!(log1p_and_inverse::<_, FUSED>(0.0f64), (0.0, 1.0));
    }
}
