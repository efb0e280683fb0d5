//! Vector kernels on slices: dot products, sums, scaled adds, compiled once per instruction set.
//!
//! `pulp` picks the instruction set at run time. Sums name its registers, because a compiler must not reorder them by
//! itself; the other kernels are plain loops, which it turns into vector code.

#![allow(clippy::indexing_slicing, reason = "arrays of constant length; `best` is a place in the list")]

use crate::error::Error;
use crate::real::Real;
use pulp::{Arch, Simd};
use std::sync::atomic::{AtomicU8, Ordering};

/// Sums that run side by side, to hide the latency of an addition.
const ACCUMULATORS: usize = 4;
/// Registers, and terms, that are summed before their sum joins others: with more, sums in `f32` lose digits.
const REGISTERS_OF_A_SUM: usize = 64;
pub const TERMS_OF_A_SUM: usize = 512;

/// Names of instruction sets for `use_instructions`, the narrowest first, and what people call them.
const INSTRUCTION_SETS: [(&str, &str); if cfg!(target_arch = "x86_64") { 3 } else { 2 }] = [
    ("baseline", "baseline instructions"),
    #[cfg(target_arch = "x86_64")]
    ("avx2", "AVX2"),
    #[cfg(target_arch = "x86_64")]
    ("avx512", "AVX-512"),
    #[cfg(not(target_arch = "x86_64"))]
    ("neon", "NEON"),
];
/// The widest instruction set that kernels may use, by its place in that list.
static WIDEST: AtomicU8 = AtomicU8::new(u8::MAX);

/// The instruction set of this call: the best of this processor, unless a narrower one was asked for.
#[inline(always)]
pub fn arch() -> Arch {
    match WIDEST.load(Ordering::Relaxed) {
        0 => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        1 => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    }
}

/// From now on, kernels use the instruction set of that name, or an error lists those of this processor. For tests, and
/// to have the same bits on two machines. Matrix products are a library's, which always takes the best.
pub fn use_instructions(name: &str) -> Result<(), Error> {
    let known = &INSTRUCTION_SETS[..=best()];
    let place = known.iter().position(|(known, _)| *known == name);
    let names = || known.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    let place = place.ok_or_else(|| Error::Instructions { given: name.to_owned(), known: names() })?;
    WIDEST.store(place as u8, Ordering::Relaxed);
    Ok(())
}

/// The place in the list of the best instruction set of this processor.
fn best() -> usize {
    place(Arch::new())
}

fn place(arch: Arch) -> usize {
    match arch {
        Arch::Scalar => 0,
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => 1,
        _ => INSTRUCTION_SETS.len() - 1,
    }
}

/// Runs `kernel` compiled for the instruction set of this call.
#[inline(always)]
pub fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    arch().dispatch(kernel)
}

/// A loop whose products may be fused with the sums that they go into, for instruction sets that can.
pub trait Kernel {
    fn run<const FUSED: bool>(self);
}

/// Runs `kernel` compiled for the instruction set of this call, fused if that can.
#[inline(always)]
pub fn vectorized_kernel(kernel: impl Kernel) {
    run_kernel(kernel);
}

#[pulp::with_simd(run_kernel = arch())]
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

/// What kernels use here, as people call it.
pub fn instruction_set() -> &'static str {
    INSTRUCTION_SETS[place(arch())].1
}

/// Σ aᵢ bᵢ, spread over the lanes of a register, for kernels that are already compiled for `S`. Every few registers it
/// calls `meanwhile`.
#[inline(always)]
pub fn product<S: Simd, T: Real>(simd: S, a: &[T], b: &[T], mut meanwhile: impl FnMut()) -> T::Vector<S> {
    let mut total = T::zeros(simd);
    let length = REGISTERS_OF_A_SUM * T::lanes::<S>(&total).len();
    for (a, b) in a.chunks(length).zip(b.chunks(length)) {
        total = T::add_lanes(simd, total, product_of_part(simd, a, b, &mut meanwhile));
    }
    total
}

#[inline(always)]
fn product_of_part<S: Simd, T: Real>(simd: S, a: &[T], b: &[T], meanwhile: &mut impl FnMut()) -> T::Vector<S> {
    let (a_whole, a_rest) = T::whole::<S>(a);
    let (b_whole, b_rest) = T::whole::<S>(b);
    let mut sums = [T::zeros(simd); ACCUMULATORS];
    let (a_groups, a_last) = a_whole.as_chunks::<ACCUMULATORS>();
    let (b_groups, b_last) = b_whole.as_chunks::<ACCUMULATORS>();
    for (a, b) in a_groups.iter().zip(b_groups) {
        meanwhile();
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
#[pulp::with_simd(dot = arch())]
#[inline(always)]
pub fn dot_with_simd<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    T::total(simd, product(simd, a, b, || {}))
}

/// Σ aᵢ.
#[pulp::with_simd(sum = arch())]
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

/// Σ aᵢ, for any number of them.
#[pulp::with_simd(total = arch())]
#[inline(always)]
pub fn total_with_simd<S: Simd, T: Real>(simd: S, a: &[T]) -> f64 {
    let mut total = 0.0;
    for part in a.chunks(TERMS_OF_A_SUM) {
        total += sum_with_simd(simd, part).to_f64();
    }
    total
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
