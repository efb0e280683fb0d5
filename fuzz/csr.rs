//! Sparse matrices that nobody checked: what `Csr::new` lets through, every verb can read.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use steepest::design::{Csr, Design, Index};

#[derive(Arbitrary, Debug)]
struct Matrix<I> {
    indptr: Vec<I>,
    indices: Vec<I>,
    data: Vec<f32>,
    n_features: u8,
    n_scores: u8,
}

#[derive(Arbitrary, Debug)]
enum Given {
    Narrow(Matrix<i32>),
    Wide(Matrix<i64>),
}

fuzz_target!(|given: Given| {
    match given {
        Given::Narrow(matrix) => read(&matrix),
        Given::Wide(matrix) => read(&matrix),
    }
});

fn read<I: Index>(matrix: &Matrix<I>) {
    let d = usize::from(matrix.n_features);
    // As many entries as there are columns named: otherwise hardly any input would get beyond the first question.
    let data: Vec<f32> = matrix.data.iter().copied().chain(std::iter::repeat(1.0)).take(matrix.indices.len()).collect();
    let Ok(design) = Csr::new(&matrix.indptr, &matrix.indices, &data, d) else { return };
    let (n, k) = (design.n_rows(), 1 + usize::from(matrix.n_scores) % 20);
    if n == 0 || d == 0 {
        // What no objective admits.
        return;
    }
    let mut scores = vec![0.5; n * k];
    let mut gradient = vec![0.0; k * d];
    design.add_scores(0..n, &vec![0.5; k * d], &mut scores);
    design.add_gradient(0..n, &scores, &mut gradient);
    design.add_squares(0..n, &vec![1.0; n], &vec![0.5; d], &mut vec![0.0; d]);
    design.add_gram(0..n, &vec![1.0; n], &mut vec![0.0; (d + 1) * (d + 1)]);
    design.copy_rows(0..n, d + 1, &mut vec![0.0; n * (d + 1)]);
}
