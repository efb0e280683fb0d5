//! Vector kernels on slices: dot products, sums, scaled adds, compiled once per instruction set.
//!
//! `pulp` picks the instruction set at run time. Sums name its registers, because a compiler must not reorder them by
//! itself; the other kernels are plain loops, which it turns into vector code.

use crate::real::Real;
use pulp::Simd;

/// Sums that run side by side, to hide the latency of an addition.
const ACCUMULATORS: usize = 4;

/// Runs `kernel` compiled for the best instruction set of this processor.
#[inline(always)]
pub fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// What `vectorized` compiles for here: the library's name for it.
pub fn instruction_set() -> &'static str {
    let name = format!("{:?}", pulp::Arch::new());
    let known = [("V4", "AVX-512"), ("V3", "AVX2"), ("Neon", "NEON")];
    let found = known.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or("baseline instructions", |(_, known)| known)
}

/// Σ aᵢ bᵢ, for kernels that are already compiled for `S`.
#[inline(always)]
fn dot_on<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    let (a_whole, a_rest) = T::whole::<S>(a);
    let (b_whole, b_rest) = T::whole::<S>(b);
    let mut sums = [T::zeros(simd); ACCUMULATORS];
    let (a_groups, a_last) = a_whole.as_chunks::<ACCUMULATORS>();
    let (b_groups, b_last) = b_whole.as_chunks::<ACCUMULATORS>();
    for (a, b) in a_groups.iter().zip(b_groups) {
        for k in 0..ACCUMULATORS {
            sums[k] = T::multiply_add(simd, a[k], b[k], sums[k]);
        }
    }
    for (&a, &b) in a_last.iter().zip(b_last) {
        sums[0] = T::multiply_add(simd, a, b, sums[0]);
    }
    if !a_rest.is_empty() {
        let (a, b) = (T::partial(simd, a_rest), T::partial(simd, b_rest));
        sums[1] = T::multiply_add(simd, a, b, sums[1]);
    }
    T::total(simd, join::<S, T>(simd, sums))
}

#[inline(always)]
fn join<S: Simd, T: Real>(simd: S, sums: [T::Vector<S>; ACCUMULATORS]) -> T::Vector<S> {
    let first = T::add_lanes(simd, sums[0], sums[1]);
    T::add_lanes(simd, first, T::add_lanes(simd, sums[2], sums[3]))
}

/// Σ aᵢ bᵢ.
#[pulp::with_simd(dot = pulp::Arch::new())]
#[inline(always)]
pub fn dot_with_simd<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    dot_on(simd, a, b)
}

/// Σ aᵢ.
#[pulp::with_simd(sum = pulp::Arch::new())]
#[inline(always)]
pub fn sum_with_simd<S: Simd, T: Real>(simd: S, a: &[T]) -> T {
    let (whole, rest) = T::whole::<S>(a);
    let mut sums = [T::zeros(simd); ACCUMULATORS];
    let (groups, last) = whole.as_chunks::<ACCUMULATORS>();
    for group in groups {
        for k in 0..ACCUMULATORS {
            sums[k] = T::add_lanes(simd, sums[k], group[k]);
        }
    }
    for &a in last {
        sums[0] = T::add_lanes(simd, sums[0], a);
    }
    sums[1] = T::add_lanes(simd, sums[1], T::partial(simd, rest));
    T::total(simd, join::<S, T>(simd, sums))
}

/// y ← y + scale · x.
#[inline(always)]
pub fn add_scaled<T: Real>(y: &mut [T], scale: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small integers: sums are exact, so kernels can be compared with `==`.
    fn integers(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec((-8i8..=8).prop_map(f32::from), length)
    }

    proptest! {
        #[test]
        fn sums_are_exact_on_integers(a in integers(0..200)) {
            let twice: Vec<f32> = a.iter().map(|x| 2.0 * x).collect();
            prop_assert_eq!(sum(&a), a.iter().sum::<f32>());
            prop_assert_eq!(dot(&a, &twice), a.iter().map(|x| 2.0 * x * x).sum::<f32>());
        }
    }
}
