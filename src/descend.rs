//! The one loop: gradient → finite? → stop? → step size → record → advance.

use crate::error::Error;
use crate::lanes::dot;
use crate::method::Method;
use crate::objective::Objective;
use crate::step::StepSize;
use crate::stopping::{Status, Stopping};
use std::time::Instant;

/// What is known just before step `step + 1` is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInfo {
    pub step: u64,
    pub loss: f64,
    pub gradient_norm: f64,
    pub step_size: f64,
    pub seconds: f64,
}

/// Where a descent ended, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    pub parameters: Vec<f64>,
    pub loss: f64,
    pub gradient_norm: f64,
    pub status: Status,
    /// One entry a step that was made.
    pub history: Vec<StepInfo>,
}

/// What the caller is asked before every step: true to stop there.
pub type Watch<'a> = dyn FnMut(&StepInfo) -> Result<bool, Error> + 'a;

/// Minimises `objective` from `parameters`.
pub fn descend(
    objective: &mut dyn Objective,
    method: &mut dyn Method,
    step_size: &mut dyn StepSize,
    stopping: Stopping,
    mut parameters: Vec<f64>,
    watch: &mut Watch<'_>,
) -> Result<Solution, Error> {
    let started = Instant::now();
    let mut gradient = vec![0.0; objective.n_parameters()];
    let mut first_gradient_norm = f64::NAN;
    let mut history = Vec::new();
    for step in 0.. {
        let loss = objective.value_and_gradient(&parameters, &mut gradient)?;
        let gradient_norm = dot(&gradient, &gradient).sqrt();
        if step == 0 {
            first_gradient_norm = gradient_norm;
        }
        let mut status = if !loss.is_finite() || !gradient_norm.is_finite() {
            Some(Status::Diverged)
        } else if stopping.is_met(gradient_norm, first_gradient_norm) {
            Some(Status::Converged)
        } else if step == stopping.max_steps {
            Some(Status::MaxSteps)
        } else {
            None
        };
        if status.is_none() {
            let info = StepInfo {
                step,
                loss,
                gradient_norm,
                step_size: step_size.next(objective)?,
                seconds: started.elapsed().as_secs_f64(),
            };
            if watch(&info)? {
                status = Some(Status::Stopped);
            } else {
                history.push(info);
                method.advance(&mut parameters, &gradient, info.step_size);
            }
        }
        if let Some(status) = status {
            return Ok(Solution { parameters, loss, gradient_norm, status, history });
        }
    }
    unreachable!("the loop ends by `max_steps` at the latest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::GradientDescent;
    use crate::step::{Constant, InverseCurvature};
    use proptest::prelude::*;

    /// F(w) = ½ Σ λⱼ (wⱼ − 1)²
    struct Quadratic(Vec<f64>);

    impl Objective for Quadratic {
        fn n_parameters(&self) -> usize {
            self.0.len()
        }

        fn value_and_gradient(&mut self, w: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
            let mut value = 0.0;
            for ((slope, w), curvature) in gradient.iter_mut().zip(w).zip(&self.0) {
                *slope = curvature * (w - 1.0);
                value += 0.5 * *slope * (w - 1.0);
            }
            Ok(value)
        }

        fn curvature(&mut self) -> Result<f64, Error> {
            Ok(self.0.iter().copied().fold(0.0, f64::max))
        }
    }

    fn run(eigenvalues: &[f64], step_size: &mut dyn StepSize, stopping: Stopping) -> Solution {
        let mut objective = Quadratic(eigenvalues.to_vec());
        let start = vec![0.0; eigenvalues.len()];
        let watch = &mut |_: &StepInfo| Ok(false);
        descend(&mut objective, &mut GradientDescent, step_size, stopping, start, watch).unwrap()
    }

    proptest! {
        /// F(wₖ) − F* ≤ L ‖w₀ − w*‖² / 2k, and the value never rises.
        #[test]
        fn rate_certificate(eigenvalues in proptest::collection::vec(1e-3f64..1e3, 1..6)) {
            let stopping = Stopping { max_steps: 50, tolerance: 0.0, reference: None };
            let solution = run(&eigenvalues, &mut InverseCurvature::default(), stopping);
            let largest = eigenvalues.iter().copied().fold(0.0, f64::max);
            let distance = eigenvalues.len() as f64;
            prop_assert_eq!(solution.history.len(), 50);
            for info in &solution.history[1..] {
                let bound = largest * distance / (2.0 * info.step as f64);
                prop_assert!(info.loss <= bound * (1.0 + 1e-12));
            }
            for pair in solution.history.windows(2) {
                prop_assert!(pair[1].loss <= pair[0].loss);
            }
        }
    }

    #[test]
    fn converges_to_the_minimum() {
        let stopping = Stopping { max_steps: 10_000, tolerance: 1e-12, reference: None };
        let solution = run(&[1.0, 10.0], &mut InverseCurvature::default(), stopping);
        assert_eq!(solution.status, Status::Converged);
        assert!(solution.parameters.iter().all(|w| (w - 1.0).abs() < 1e-10));
    }

    #[test]
    fn divergence_is_noticed() {
        let stopping = Stopping { max_steps: 10_000, tolerance: 0.0, reference: None };
        let solution = run(&[1.0], &mut Constant(3.0), stopping);
        assert_eq!(solution.status, Status::Diverged);
        assert!(solution.history.iter().all(|info| info.loss.is_finite()));
    }

    #[test]
    fn zero_steps_and_a_watcher_that_stops() {
        let stopping = Stopping { max_steps: 0, tolerance: 0.0, reference: None };
        let solution = run(&[1.0], &mut Constant(1.0), stopping);
        assert_eq!((solution.status, solution.loss), (Status::MaxSteps, 0.5));
        let stopping = Stopping { max_steps: 10, ..stopping };
        let watch = &mut |info: &StepInfo| Ok(info.step == 4);
        let solution =
            descend(&mut Quadratic(vec![1.0]), &mut GradientDescent, &mut Constant(0.5), stopping, vec![0.0], watch)
                .unwrap();
        assert_eq!((solution.status, solution.history.len()), (Status::Stopped, 4));
    }
}
