use super::*;
use crate::design::{ColumnMajor, Csr, RowMajor};
use crate::statistics::{Rows, Statistics};
use proptest::prelude::*;

const MSE: Loss = Loss::Mse { n_targets: 1 };
const NEVER: &dyn Fn() -> bool = &|| false;

fn evaluate<T: Real>(
    design: &dyn Design<T>,
    sample: Sample<'_, T>,
    loss: Loss,
    parameters: &[f64],
    n_threads: usize,
) -> (f64, Vec<f64>) {
    let team = Team::new(n_threads, NEVER);
    let model = Model { loss, penalty: ElasticNet { l1: 0.0, l2: 0.5 }, fit_intercept: true };
    let mut objective = Empirical::new(design, sample, model, &team).unwrap();
    let mut gradient = vec![f64::NAN; objective.n_parameters()];
    let value = objective.value_and_gradient(parameters, &mut gradient).unwrap();
    (value, gradient)
}

/// Data that spans many blocks and chunks, the same on every run.
fn waves(length: usize) -> Vec<f32> {
    (0..length).map(|i| (i as f32 * 0.7).sin()).collect()
}

#[test]
fn bits_do_not_depend_on_threads() {
    let (n, d) = (20_011, 13);
    let x = waves(n * d);
    let labels: Vec<f32> = (0..n).map(|i| (i % 3) as f32).collect();
    let weights: Vec<f32> = waves(n).iter().map(|w| w + 1.5).collect();
    for loss in [MSE, Loss::Softmax { n_classes: 3 }] {
        for weights in [None, Some(&weights[..])] {
            let sample = Sample { targets: &labels[..], weights, offsets: None };
            let parameters: Vec<f64> = (0..loss.width() * (d + 1)).map(|i| 0.1 * i as f64).collect();
            let row_major = RowMajor::new(&x, n, d).unwrap();
            let column_major = ColumnMajor::new(&x, n, d).unwrap();
            for design in [&row_major as &dyn Design<f32>, &column_major] {
                let alone = evaluate(design, sample, loss, &parameters, 1);
                for n_threads in [2, 3, 8] {
                    assert_eq!(evaluate(design, sample, loss, &parameters, n_threads), alone);
                }
            }
        }
    }
}

proptest! {
    /// Integers: every sum is exact, so the blocked pass must equal the definition exactly.
    #[test]
    fn pass_equals_definition(n in 1usize..5000, d in 1usize..6, seed in 0usize..1000) {
        let entry = |i: usize| ((i * 2_654_435_761 + seed) / 7 % 9) as f64 - 4.0;
        let x: Vec<f64> = (0..n * d).map(entry).collect();
        let y: Vec<f64> = (0..n).map(|i| entry(i + 17)).collect();
        let parameters: Vec<f64> = (0..=d).map(|j| entry(j + 3)).collect();
        let design = RowMajor::new(&x, n, d).unwrap();
        let sample = Sample { targets: &y[..], weights: None, offsets: None };
        let (value, gradient) = evaluate(&design, sample, MSE, &parameters, 2);
        let residual: Vec<f64> = (0..n).map(|i| {
            (0..d).map(|j| x[i * d + j] * parameters[j]).sum::<f64>() + parameters[d] - y[i]
        }).collect();
        let penalty: f64 = parameters[..d].iter().map(|w| w * w).sum();
        prop_assert_eq!(value, residual.iter().map(|r| r * r).sum::<f64>() / n as f64 + 0.25 * penalty);
        for j in 0..d {
            let sum: f64 = (0..n).map(|i| 2.0 * residual[i] * x[i * d + j]).sum();
            prop_assert_eq!(gradient[j], sum / n as f64 + 0.5 * parameters[j]);
        }
        prop_assert_eq!(gradient[d], residual.iter().map(|r| 2.0 * r).sum::<f64>() / n as f64);
    }
}

#[test]
fn single_precision_sums_do_not_drift() {
    let n = 1 << 20;
    let (x, y) = (vec![0.1f32; n], vec![0.0f32; n]);
    let sample = Sample { targets: &y[..], weights: None, offsets: None };
    let exact = f64::from(0.1f32) * f64::from(0.1f32);
    let row_major = RowMajor::new(&x, n, 1).unwrap();
    let column_major = ColumnMajor::new(&x, n, 1).unwrap();
    for design in [&row_major as &dyn Design<f32>, &column_major] {
        let (value, gradient) = evaluate(design, sample, MSE, &[1.0, 0.0], 1);
        assert!((value - 0.25 - exact).abs() < 1e-5 * exact);
        assert!((gradient[0] - 0.5 - 2.0 * exact).abs() < 1e-5 * exact);
    }
}

#[test]
fn curvature_bounds_the_hessian() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0];
    let design = RowMajor::new(&x, 3, 2).unwrap();
    let sample = Sample { targets: &[0.0; 3], weights: None, offsets: None };
    let team = Team::new(1, NEVER);
    let model = Model { loss: MSE, penalty: ElasticNet { l1: 0.0, l2: 0.25 }, fit_intercept: false };
    let mut objective = Empirical::new(&design, sample, model, &team).unwrap();
    // XᵀX = [[35, 49], [49, 69]]
    let exact = 2.0 / 3.0 * (52.0 + (17.0f64 * 17.0 + 49.0 * 49.0).sqrt()) + 0.25;
    assert!((objective.curvature(&[0.0; 2]).unwrap() - exact).abs() < 1e-12 * exact);
}

/// Sizes whose products are beyond all numbers are no different from those that are beyond all memory.
#[test]
fn what_fits_nowhere_is_refused() {
    for (n_features, width) in [(usize::MAX, 1), (usize::MAX / 2, 3), (3, usize::MAX), (1 << 40, 1 << 40)] {
        let design = Csr::new(&[0i64, 1], &[0], &[1.0f64], n_features).unwrap();
        let sample = Sample { targets: &[0.0][..], weights: None, offsets: None };
        let (team, layout) = (Team::new(1, NEVER), Layout { width, n_features, fit_intercept: true });
        assert!(matches!(layout.admit(1), Err(Error::Memory { .. })));
        assert!(matches!(Pass::new(&design, width), Err(Error::Memory { .. })));
        let rows = Rows { design: &design, sample, n_targets: width };
        assert!(matches!(Statistics::of(rows, &team), Err(Error::Memory { .. })));
        let (rule, one) = (Residual { loss: MSE, sample }, Layout { width: 1, ..layout });
        assert!(n_features == 3 || matches!(hessian(&design, &team, &rule, one, &[]), Err(Error::Memory { .. })));
    }
}
