//! The largest eigenvalue of a symmetric positive semi-definite operator that is only known by its products.

use crate::error::Error;
use crate::lanes::{add_scaled, dot, vectorized};
use faer::{Mat, Side};

/// Products at the most; every one is a pass over the data.
const MOST_PRODUCTS: usize = 32;
/// Stop when the bound is this close to the estimate.
const RELATIVE_GAP: f64 = 1e-6;
/// Directions to begin from, where one turns out to see only some of the eigenvectors.
const STARTS: usize = 2;
/// What is left of a vector after orthogonalisation is rounding below this share of its length.
const NEGLIGIBLE: f64 = 1e-12;

/// An upper estimate of the largest eigenvalue of the operator v ↦ `product(v)`.
///
/// Lanczos iteration with full orthogonalisation. Some eigenvalue lies within the residual norm of the largest Ritz
/// value, in practice the largest one; their sum is returned. Within `RELATIVE_GAP` when the dimension is at most
/// `MOST_PRODUCTS`; beyond, an estimate that falls up to a percent short only shortens the reserve of
/// gradient descent, which is stable up to 2/L. Not finite if a product is not.
pub fn largest_eigenvalue(
    dimension: usize,
    mut product: impl FnMut(&[f64], &mut [f64]) -> Result<(), Error>,
) -> Result<f64, Error> {
    let mut last = normalized(start(dimension, 1)).0;
    let mut begun = 1;
    let (mut basis, mut diagonal, mut off_diagonal) = (Vec::new(), Vec::new(), Vec::new());
    let mut image = vec![0.0; dimension];
    loop {
        product(&last, &mut image)?;
        let scale = norm(&image);
        if !scale.is_finite() {
            return Ok(scale);
        }
        diagonal.push(dot(&last, &image));
        basis.push(last);
        // Twice is enough: one round leaves errors of the size of what it removed.
        for _ in 0..2 {
            for direction in &basis {
                let share = dot(direction, &image);
                vectorized(|| add_scaled(&mut image, -share, direction));
            }
        }
        let (mut next, mut rest) = normalized(image.clone());
        let (value, last_entry) = largest_pair(&diagonal, &off_diagonal);
        let gap = rest * last_entry.abs();
        let trapped = rest <= NEGLIGIBLE * scale;
        if basis.len() == dimension || (trapped && begun == STARTS) {
            return Ok(value.max(0.0));
        }
        if basis.len() == MOST_PRODUCTS || (gap <= RELATIVE_GAP * value && !trapped) {
            return Ok(value + gap);
        }
        if trapped {
            // The start had no share of the other eigenvectors; another one will.
            begun += 1;
            next = start(dimension, begun);
            for _ in 0..2 {
                for direction in &basis {
                    let share = dot(direction, &next);
                    vectorized(|| add_scaled(&mut next, -share, direction));
                }
            }
            (next, rest) = (normalized(next).0, 0.0);
        }
        off_diagonal.push(rest);
        last = next;
    }
}

/// A fixed direction along no axis: the fractional parts of multiples of the golden ratio, around zero; another for
/// another `number`.
fn start(dimension: usize, number: usize) -> Vec<f64> {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (1..=dimension).map(|i| ((i.wrapping_pow(number as u32) % 1_000_003) as f64 * GOLDEN).fract() - 0.5).collect()
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

fn normalized(mut v: Vec<f64>) -> (Vec<f64>, f64) {
    let length = norm(&v);
    if length > 0.0 {
        v.iter_mut().for_each(|entry| *entry /= length);
    }
    (v, length)
}

/// The largest eigenvalue of a symmetric tridiagonal matrix and the last entry of its eigenvector.
fn largest_pair(diagonal: &[f64], off_diagonal: &[f64]) -> (f64, f64) {
    let k = diagonal.len();
    let mut matrix = Mat::zeros(k, k);
    diagonal.iter().enumerate().for_each(|(i, &entry)| matrix[(i, i)] = entry);
    off_diagonal.iter().enumerate().for_each(|(i, &entry)| matrix[(i + 1, i)] = entry);
    match matrix.self_adjoint_eigen(Side::Lower) {
        Ok(pairs) => (pairs.S()[k - 1], pairs.U()[(k - 1, k - 1)]),
        // No eigenvalue exceeds the largest row sum.
        Err(_) => {
            let at = |i: usize| off_diagonal.get(i).map_or(0.0, |entry: &f64| entry.abs());
            let row = |(i, entry): (usize, &f64)| entry.abs() + at(i) + if i > 0 { at(i - 1) } else { 0.0 };
            (diagonal.iter().enumerate().map(row).fold(0.0, f64::max), 0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A diagonal operator with known eigenvalues, few and many.
        #[test]
        fn bounds_the_spectrum(eigenvalues in proptest::collection::vec(0.0f64..100.0, 1..200)) {
            let exact = eigenvalues.iter().copied().fold(0.0, f64::max);
            let got = largest_eigenvalue(eigenvalues.len(), |v, image| {
                for ((image, v), eigenvalue) in image.iter_mut().zip(v).zip(&eigenvalues) {
                    *image = v * eigenvalue;
                }
                Ok(())
            }).unwrap();
            prop_assert!(got >= 0.99 * exact && got <= 1.1 * exact, "{got} for {exact}");
            if eigenvalues.len() <= MOST_PRODUCTS {
                prop_assert!((got - exact).abs() <= 1.001e-6 * exact);
            }
        }
    }

    /// An operator of two eigenvalues, the smaller one's space holding the whole start.
    #[test]
    fn a_start_that_misses_the_largest() {
        let dimension = 100;
        let first = normalized(start(dimension, 1)).0;
        let (mut top, _) = normalized((0..dimension).map(|i| (i as f64).cos()).collect());
        let share = dot(&first, &top);
        add_scaled(&mut top, -share, &first);
        let top = normalized(top).0;
        let got = largest_eigenvalue(dimension, |v, image| {
            let along = dot(&top, v);
            image.copy_from_slice(v);
            add_scaled(image, 899.0 * along, &top);
            Ok(())
        });
        assert!((got.unwrap() - 900.0).abs() < 1e-6);
    }

    #[test]
    fn zero_and_not_finite() {
        let constant = |value: f64| {
            largest_eigenvalue(3, |_, image| {
                image.fill(value);
                Ok(())
            })
        };
        assert_eq!(constant(0.0), Ok(0.0));
        assert!(!constant(f64::NAN).unwrap().is_finite());
    }
}
