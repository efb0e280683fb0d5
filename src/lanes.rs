//! Vector kernels on slices: dot product, scaled add, sum.
//!
//! Written over fixed-width lanes in plain Rust and compiled once per instruction set (`pulp` picks one at run time).
//! The order of additions is the same in all of them and no multiply-add is fused, so the bits are the same too.

use crate::real::Real;

/// Lanes of the main loop: two 512-bit registers of `f32`, four of `f64`.
const WIDE: usize = 32;
/// Lanes of the loop over what the main loop leaves.
const NARROW: usize = 8;
/// Rows that one sweep over the gradient adds, to load and store the gradient once for all of them.
const ROWS: usize = 8;

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

#[inline(always)]
fn halve<T: Real, const N: usize>(lanes: [T; N]) -> T {
    let mut lanes = lanes;
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ aᵢ bᵢ.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let (a_wide, a_rest) = a.as_chunks::<WIDE>();
    let (b_wide, b_rest) = b.as_chunks::<WIDE>();
    let mut wide = [T::ZERO; WIDE];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for lane in 0..WIDE {
            wide[lane] += a[lane] * b[lane];
        }
    }
    let (a_narrow, a_rest) = a_rest.as_chunks::<NARROW>();
    let (b_narrow, b_rest) = b_rest.as_chunks::<NARROW>();
    let mut narrow = [T::ZERO; NARROW];
    for (a, b) in a_narrow.iter().zip(b_narrow) {
        for lane in 0..NARROW {
            narrow[lane] += a[lane] * b[lane];
        }
    }
    let mut rest = T::ZERO;
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        rest += a * b;
    }
    halve(wide) + (halve(narrow) + rest)
}

/// Σ aᵢ.
#[inline(always)]
pub fn sum<T: Real>(a: &[T]) -> T {
    let (a_wide, a_rest) = a.as_chunks::<WIDE>();
    let mut wide = [T::ZERO; WIDE];
    for a in a_wide {
        for lane in 0..WIDE {
            wide[lane] += a[lane];
        }
    }
    let mut rest = T::ZERO;
    for &a in a_rest {
        rest += a;
    }
    halve(wide) + rest
}

/// y ← y + scale · x.
#[inline(always)]
pub fn add_scaled<T: Real>(y: &mut [T], scale: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

/// gradient ← gradient + Σ_row residual[row] · rows[row, ·], rows of length `gradient.len()` one after the other.
#[inline(always)]
pub fn add_rows<T: Real>(gradient: &mut [T], residual: &[T], rows: &[T]) {
    let d = gradient.len();
    let mut residuals = residual.chunks_exact(ROWS);
    let mut groups = rows.chunks_exact(ROWS * d);
    for (r, group) in residuals.by_ref().zip(groups.by_ref()) {
        let row = |k: usize| &group[k * d..][..d];
        let (x0, x1, x2, x3) = (row(0), row(1), row(2), row(3));
        let (x4, x5, x6, x7) = (row(4), row(5), row(6), row(7));
        for j in 0..d {
            let first = (r[0] * x0[j] + r[1] * x1[j]) + (r[2] * x2[j] + r[3] * x3[j]);
            let second = (r[4] * x4[j] + r[5] * x5[j]) + (r[6] * x6[j] + r[7] * x7[j]);
            gradient[j] += first + second;
        }
    }
    for (&r, row) in residuals.remainder().iter().zip(groups.remainder().chunks_exact(d)) {
        add_scaled(gradient, r, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small integers: sums are exact, so kernels can be compared with `==`.
    fn integers(
        length: impl Into<proptest::collection::SizeRange>,
    ) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec((-8i8..=8).prop_map(f32::from), length)
    }

    proptest! {
        #[test]
        fn sums_are_exact_on_integers(a in integers(0..200)) {
            let twice: Vec<f32> = a.iter().map(|x| 2.0 * x).collect();
            prop_assert_eq!(vectorized(|| sum(&a)), a.iter().sum::<f32>());
            prop_assert_eq!(vectorized(|| dot(&a, &twice)), a.iter().map(|x| 2.0 * x * x).sum::<f32>());
        }

        #[test]
        fn rows_add_up((n, d, values) in (0usize..30, 1usize..40).prop_flat_map(
            |(n, d)| (Just(n), Just(d), integers(n * d + n)))) {
            let (rows, residual) = values.split_at(n * d);
            let mut got = vec![1.0; d];
            vectorized(|| add_rows(&mut got, residual, rows));
            for (j, got) in got.into_iter().enumerate() {
                let exact: f32 = (0..n).map(|i| residual[i] * rows[i * d + j]).sum();
                prop_assert_eq!(got, 1.0 + exact);
            }
        }
    }
}
