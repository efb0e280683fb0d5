//! The two scalar types: `f32` and `f64`, and what a kernel may ask of them.

use pulp::Simd;
use pulp::bytemuck::cast_slice;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A floating-point scalar of the data: `f32` or `f64`.
///
/// The supertrait from `faer` lets blocks with several score columns go through its matrix product.
pub trait Real:
    faer::traits::RealField
    + Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    /// The lowest `x` for which `exp(x)` is still a normal number.
    const LOWEST_EXPONENT: Self;
    /// The highest `x` for which a sum of many exp(x) is still finite.
    const HIGHEST_EXPONENT: Self;
    /// The distance from 1 to the next number.
    const PRECISION: f64;
    /// Adding and subtracting this (1.5 · 2^mantissa bits) rounds to the nearest integer.
    const ROUNDING: Self;
    /// ln 2 with its last bits cleared, so that an integer times it is exact, and the rest of ln 2.
    const LN_2_HIGH: Self;
    const LN_2_LOW: Self;
    /// Coefficients, lowest first, of the polynomials in `elementary` that stand for (eʳ − 1 − r) / r² with
    /// |r| ≤ ½ ln 2, and for (2 artanh(s) / s − 2) / s² as a function of s² ≤ 1/9. They meet these functions at the
    /// Chebyshev nodes of the interval; computed with 60 digits.
    const EXPONENTIAL: &'static [Self];
    const ARTANH: &'static [Self];

    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn natural_log(self) -> Self;
    fn magnitude(self) -> Self;
    /// self · factor + term with one rounding: fast only where the instruction set has it.
    fn fused(self, factor: Self, term: Self) -> Self;
    /// 1 where the sign is plus, 0 where it is minus; arithmetic on bits, never a branch.
    fn is_positive(self) -> Self;
    /// One register of these on the instruction set `S`, and what a reduction needs of it.
    type Vector<S: Simd>: Copy;
    fn zeros<S: Simd>(simd: S) -> Self::Vector<S>;
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `slice` as whole registers, and what is left over.
    fn whole<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    fn whole_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// What is left over as one register, padded with zeros.
    fn partial<S: Simd>(simd: S, slice: &[Self]) -> Self::Vector<S>;
    /// Its inverse: writes as many entries as `slice` has.
    fn store_partial<S: Simd>(simd: S, slice: &mut [Self], values: Self::Vector<S>);
    fn add_lanes<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a · b + c, fused where the instruction set can.
    fn multiply_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    fn total<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// The entries of a register.
    fn lanes<S: Simd>(a: &Self::Vector<S>) -> &[Self];
    /// Four registers with their entries exchanged, so that each has a quarter of every one of those given, all four in
    /// the same places. Only for registers of at least four lanes; which places, the instruction set decides.
    fn exchange<S: Simd>(simd: S, a: [Self::Vector<S>; 4]) -> [Self::Vector<S>; 4];

    /// 2ⁿ, given n + `ROUNDING`: the low bits of that sum are n in two's complement.
    fn power_of_two(rounded: Self) -> Self;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const LOWEST_EXPONENT: f32 = -87.0;
    const HIGHEST_EXPONENT: f32 = 64.0;
    const PRECISION: f64 = f32::EPSILON as f64;
    const ROUNDING: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200);
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - Self::LN_2_HIGH as f64) as f32;
    const EXPONENTIAL: &'static [f32] = &[0.5, 0.16666576, 0.041666556, 0.008363173, 0.0013926176];
    const ARTANH: &'static [f32] = &[0.6666664, 0.4000756, 0.2823662, 0.268515];

    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.abs()
    }

    #[inline(always)]
    fn fused(self, factor: f32, term: f32) -> f32 {
        self.mul_add(factor, term)
    }

    #[inline(always)]
    fn is_positive(self) -> f32 {
        0.5 + 0.5_f32.copysign(self)
    }

    #[inline(always)]
    fn natural_log(self) -> f32 {
        self.ln()
    }

    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn zeros<S: Simd>(simd: S) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: f32) -> S::f32s {
        simd.splat_f32s(value)
    }

    #[inline(always)]
    fn whole<S: Simd>(slice: &[f32]) -> (&[S::f32s], &[f32]) {
        S::as_simd_f32s(slice)
    }

    #[inline(always)]
    fn whole_mut<S: Simd>(slice: &mut [f32]) -> (&mut [S::f32s], &mut [f32]) {
        S::as_mut_simd_f32s(slice)
    }

    #[inline(always)]
    fn partial<S: Simd>(simd: S, slice: &[f32]) -> S::f32s {
        simd.partial_load_f32s(slice)
    }

    #[inline(always)]
    fn store_partial<S: Simd>(simd: S, slice: &mut [f32], values: S::f32s) {
        simd.partial_store_f32s(slice, values);
    }

    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.add_f32s(a, b)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }

    #[inline(always)]
    fn total<S: Simd>(simd: S, a: S::f32s) -> f32 {
        simd.reduce_sum_f32s(a)
    }

    #[inline(always)]
    fn lanes<S: Simd>(a: &S::f32s) -> &[f32] {
        cast_slice(std::slice::from_ref(a))
    }

    #[inline(always)]
    fn exchange<S: Simd>(simd: S, a: [S::f32s; 4]) -> [S::f32s; 4] {
        simd.deinterleave_shfl_f32s(a)
    }

    #[inline(always)]
    fn power_of_two(rounded: f32) -> f32 {
        f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const LOWEST_EXPONENT: f64 = -708.0;
    const HIGHEST_EXPONENT: f64 = 600.0;
    const PRECISION: f64 = f64::EPSILON;
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    // ln 2 = 0.693147180369123816490 + 1.90821492927058770002e-10
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const EXPONENTIAL: &'static [f64] = &[
        0.5000000000000001,
        0.16666666666666666,
        0.041666666666624164,
        0.008333333333330065,
        0.0013888888917196719,
        0.00019841269863040545,
        2.4801521322368692e-5,
        2.755726848031003e-6,
        2.7620075879983367e-7,
        2.5100375832561234e-8,
    ];
    const ARTANH: &'static [f64] = &[
        0.6666666666666666,
        0.40000000000014585,
        0.2857142856710876,
        0.22222222717427864,
        0.18181789436132859,
        0.15385570064958623,
        0.13314144209654935,
        0.12001072809590713,
        0.08800738486144674,
        0.1616404561194353,
    ];

    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn magnitude(self) -> f64 {
        self.abs()
    }

    #[inline(always)]
    fn fused(self, factor: f64, term: f64) -> f64 {
        self.mul_add(factor, term)
    }

    #[inline(always)]
    fn is_positive(self) -> f64 {
        0.5 + 0.5_f64.copysign(self)
    }

    #[inline(always)]
    fn natural_log(self) -> f64 {
        self.ln()
    }

    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn zeros<S: Simd>(simd: S) -> S::f64s {
        simd.splat_f64s(0.0)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: f64) -> S::f64s {
        simd.splat_f64s(value)
    }

    #[inline(always)]
    fn whole<S: Simd>(slice: &[f64]) -> (&[S::f64s], &[f64]) {
        S::as_simd_f64s(slice)
    }

    #[inline(always)]
    fn whole_mut<S: Simd>(slice: &mut [f64]) -> (&mut [S::f64s], &mut [f64]) {
        S::as_mut_simd_f64s(slice)
    }

    #[inline(always)]
    fn partial<S: Simd>(simd: S, slice: &[f64]) -> S::f64s {
        simd.partial_load_f64s(slice)
    }

    #[inline(always)]
    fn store_partial<S: Simd>(simd: S, slice: &mut [f64], values: S::f64s) {
        simd.partial_store_f64s(slice, values);
    }

    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.add_f64s(a, b)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }

    #[inline(always)]
    fn total<S: Simd>(simd: S, a: S::f64s) -> f64 {
        simd.reduce_sum_f64s(a)
    }

    #[inline(always)]
    fn lanes<S: Simd>(a: &S::f64s) -> &[f64] {
        cast_slice(std::slice::from_ref(a))
    }

    #[inline(always)]
    fn exchange<S: Simd>(simd: S, a: [S::f64s; 4]) -> [S::f64s; 4] {
        simd.deinterleave_shfl_f64s(a)
    }

    #[inline(always)]
    fn power_of_two(rounded: f64) -> f64 {
        f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
    }
}
