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

/// A loop whose products may be fused with the sums that they go into, for instruction sets that can.
pub trait Kernel {
    fn run<const FUSED: bool>(self);
}

/// Runs `kernel` compiled for the best instruction set of this processor, fused if that can.
#[inline(always)]
pub fn vectorized_kernel(kernel: impl Kernel) {
    run_kernel(kernel);
}

#[pulp::with_simd(run_kernel = pulp::Arch::new())]
#[inline(always)]
fn run_kernel_with_simd<S: Simd, K: Kernel>(_simd: S, kernel: K) {
    // AVX2 comes with fused multiplication here, as the library defines it, and so do all registers wider than that;
    // what is narrower has it on 64-bit ARM alone.
    if const { size_of::<S::f64s>() >= 32 || cfg!(target_arch = "aarch64") } {
        kernel.run::<true>();
    } else {
        kernel.run::<false>();
    }
}

/// What `vectorized` compiles for here: the library's name for it.
pub fn instruction_set() -> &'static str {
    let name = format!("{:?}", pulp::Arch::new());
    let known = [("V4", "AVX-512"), ("V3", "AVX2"), ("Neon", "NEON")];
    let found = known.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or("baseline instructions", |(_, known)| known)
}

/// Σ aᵢ bᵢ, spread over the lanes of a register, for kernels that are already compiled for `S`.
#[inline(always)]
pub fn product<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T::Vector<S> {
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
    join::<S, T>(simd, sums)
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
    T::total(simd, product(simd, a, b))
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

/// The totals of four registers: together they take a third of the exchanges that each would by itself.
#[inline(always)]
pub fn totals<S: Simd, T: Real>(simd: S, sums: [T::Vector<S>; 4]) -> [T; 4] {
    let n_lanes = T::lanes::<S>(&sums[0]).len();
    if n_lanes < 4 {
        return sums.map(|sum| T::total(simd, sum));
    }
    let [a, b, c, d] = T::exchange(simd, sums);
    let joined = T::add_lanes(simd, T::add_lanes(simd, a, b), T::add_lanes(simd, c, d));
    // Whose entries stand where: constants go through the same exchange, which the compiler does ahead of time.
    let owners = T::exchange(simd, [0.0, 1.0, 2.0, 3.0].map(|k| T::splat(simd, T::from_f64(k))))[0];
    let mut totals = [T::ZERO; 4];
    for (&entry, owner) in T::lanes::<S>(&joined).iter().zip(T::lanes::<S>(&owners)) {
        totals[owner.to_f64() as usize & 3] += entry;
    }
    totals
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
