//! Three kernels to count the instructions of: `benches/gate.py` runs this under callgrind.
//!
//! Usage: kernels pass|sparse|gram REPETITIONS

use steepest::design::{Csr, Design, RowMajor};
use steepest::empirical::{Empirical, Model};
use steepest::loss::Loss;
use steepest::objective::Objective;
use steepest::penalty::ElasticNet;
use steepest::reduce::Team;
use steepest::sample::Sample;
use steepest::statistics::{Rows, Statistics};

const ROWS: usize = 4096;
const FEATURES: usize = 32;
/// Entries of a sparse row.
const ENTRIES: usize = 14;

fn waves(length: usize) -> Vec<f32> {
    (0..length).map(|i| (i as f32 * 0.7).sin()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let repetitions: usize = arguments[2].parse().expect("a number of repetitions");
    let x = waves(ROWS * FEATURES);
    let y: Vec<f32> = (0..ROWS).map(|i| (i % 2) as f32).collect();
    let sample = Sample { targets: &y[..], weights: None, offsets: None };
    let team = Team::new(1, &|| false);
    let dense = RowMajor::new(&x, ROWS, FEATURES).expect("a matrix");
    let starts: Vec<i32> = (0..=ROWS).map(|row| (row * ENTRIES) as i32).collect();
    let columns: Vec<i32> = (0..ROWS * ENTRIES).map(|i| (i % ENTRIES * 2) as i32).collect();
    let sparse = Csr::new(&starts, &columns, &x[..ROWS * ENTRIES], FEATURES).expect("a sparse matrix");
    let mut total = 0.0;
    match arguments[1].as_str() {
        "pass" => evaluate(&dense, sample, &team, repetitions, &mut total),
        "sparse" => evaluate(&sparse, sample, &team, repetitions, &mut total),
        "gram" => {
            for _ in 0..repetitions {
                let statistics = Statistics::of(Rows { design: &dense, sample, n_targets: 1 }, &team);
                total += statistics.expect("statistics").weight;
            }
        }
        other => panic!("no kernel {other}"),
    }
    println!("{total}");
}

fn evaluate(design: &dyn Design<f32>, sample: Sample<'_, f32>, team: &Team<'_>, repetitions: usize, total: &mut f64) {
    let model = Model { loss: Loss::LogLoss, penalty: ElasticNet { l1: 0.0, l2: 0.5 }, fit_intercept: true };
    let mut objective = Empirical::new(design, sample, model, team).expect("an objective");
    let parameters: Vec<f64> = (0..objective.n_parameters()).map(|i| 0.01 * i as f64).collect();
    let mut gradient = vec![0.0; parameters.len()];
    for _ in 0..repetitions {
        *total += objective.value_and_gradient(&parameters, &mut gradient).expect("a value");
    }
}
