//! The one loop: evaluate → finite? → stop? → record → advance.

use crate::error::Error;
use crate::memory::{ask_for_vectors, reserve};
use crate::method::Method;
use crate::objective::{Objective, optimality};
use crate::state::State;
use crate::step::Evaluated;
use crate::stopping::{Status, Stopping};
use std::time::Instant;

/// What is known just before step `step + 1` is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInfo {
    pub step: u64,
    pub loss: f64,
    pub gradient_norm: f64,
    /// The size that the step tries first; in a history, the size that it took.
    pub step_size: f64,
    pub seconds: f64,
    /// The average loss over the validation sample; not a number where there is none.
    pub validation_loss: f64,
}

/// Where a descent ended, and how; what is known of the last point.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    pub parameters: Vec<f64>,
    pub loss: f64,
    pub gradient_norm: f64,
    pub validation_loss: f64,
    pub n_steps: u64,
    pub status: Status,
    /// One entry each time the full objective was evaluated before a step.
    pub history: Vec<StepInfo>,
    /// What it needs to go on.
    pub state: State,
    /// The best parameters by the validation loss, where there is one.
    pub best: Option<Vec<f64>>,
}

/// What the caller is asked before every recorded step, with the parameters: true to stop there.
pub type Watch<'a> = dyn FnMut(&StepInfo, &[f64]) -> Result<bool, Error> + 'a;

/// Where to begin: parameters, and what a former descent remembered.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub parameters: Vec<f64>,
    pub state: State,
}

/// Steps shorter than this share a look at the clock, which would take a good part of their time.
const SHORT_STEP: f64 = 5e-7;
/// Short steps between two looks.
const MOST_UNTIMED: u32 = 16;
/// Entries of the history that are made room for at once.
const ROOM: u64 = 4096;

/// What the best point is remembered by: its parameters; its loss, gradient norm and validation loss, and how many
/// points in a row were not better.
const BEST: &str = "best";
const OF_BEST: &str = "of_best";

/// The time since the start.
struct Clock {
    started: Instant,
    /// Seconds since, at the latest look.
    latest: f64,
    /// Steps from the latest look to the next, and those of them that are left.
    stride: u32,
    unread: u32,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), latest: 0.0, stride: 1, unread: 0 }
    }

    /// Seconds since the start, once a step: where steps are short, as they were at most 16 steps ago.
    fn seconds(&mut self) -> f64 {
        if self.unread == 0 {
            let now = self.started.elapsed().as_secs_f64();
            let are_short = now - self.latest < SHORT_STEP * f64::from(self.stride);
            self.stride = if are_short { (2 * self.stride).min(MOST_UNTIMED) } else { 1 };
            (self.latest, self.unread) = (now, self.stride);
        }
        self.unread -= 1;
        self.latest
    }
}

/// The best point by its validation loss, and how many points in a row were not.
struct Best {
    parameters: Vec<f64>,
    loss: f64,
    gradient_norm: f64,
    validation_loss: f64,
    n_worse: u64,
}

impl Best {
    fn load(state: &State, n_parameters: usize) -> Option<Self> {
        let (parameters, numbers) = (state.get(BEST)?, state.get(OF_BEST)?);
        match *numbers {
            [loss, gradient_norm, validation_loss, n_worse] if parameters.len() == n_parameters => Some(Self {
                parameters: parameters.to_vec(),
                loss,
                gradient_norm,
                validation_loss,
                n_worse: n_worse as u64,
            }),
            _ => None,
        }
    }

    fn save(&self, state: &mut State) {
        state.set(BEST, self.parameters.clone());
        state.set(OF_BEST, vec![self.loss, self.gradient_norm, self.validation_loss, self.n_worse as f64]);
    }

    /// The better one of the best so far and another point.
    fn or(self, info: &StepInfo, parameters: &[f64]) -> Self {
        if info.validation_loss >= self.validation_loss {
            return Self { n_worse: self.n_worse.saturating_add(1), ..self };
        }
        Self::new(info, parameters)
    }

    fn new(info: &StepInfo, parameters: &[f64]) -> Self {
        Self {
            parameters: parameters.to_vec(),
            loss: info.loss,
            gradient_norm: info.gradient_norm,
            validation_loss: info.validation_loss,
            n_worse: 0,
        }
    }
}

/// Minimises `objective` from `start`. The loss of `validation`, at the same parameters, decides when to stop early.
pub fn descend(
    objective: &mut dyn Objective,
    mut validation: Option<&mut dyn Objective>,
    method: &mut dyn Method,
    stopping: Stopping,
    start: Start,
    watch: &mut Watch<'_>,
) -> Result<Solution, Error> {
    let mut clock = Clock::start();
    let n_parameters = start.parameters.len();
    ask_for_vectors(n_parameters)?;
    method.load(&start.state, n_parameters)?;
    objective.keep_lines(method.searches_lines());
    let mut reference = None;
    if stopping.tolerance > 0.0 && start.parameters.iter().any(|&parameter| parameter != 0.0) {
        let zero = Evaluated::new(objective, vec![0.0; n_parameters])?;
        reference = Some(optimality(objective, &zero.parameters, &zero.gradient));
    }
    let mut here = Evaluated::new(objective, start.parameters)?;
    let mut history: Vec<StepInfo> = Vec::with_capacity(stopping.max_steps.min(ROOM) as usize);
    let mut best = Best::load(&start.state, n_parameters);
    let mut step = 0;
    let (mut info, mut status);
    loop {
        info = StepInfo {
            step,
            loss: here.loss(objective),
            gradient_norm: optimality(objective, &here.parameters, &here.gradient),
            step_size: 0.0,
            seconds: clock.seconds(),
            validation_loss: f64::NAN,
        };
        let goal = *reference.get_or_insert(info.gradient_norm) * stopping.tolerance;
        status = if !info.loss.is_finite() || !info.gradient_norm.is_finite() {
            Some(Status::Diverged)
        } else if stopping.tolerance > 0.0 && info.gradient_norm <= goal {
            Some(Status::Converged)
        } else if stopping.target_loss.is_some_and(|target| info.loss <= target) {
            Some(Status::TargetLoss)
        } else {
            None
        };
        if let (Some(validation), false) = (&mut validation, status == Some(Status::Diverged)) {
            info.validation_loss = Evaluated::new(&mut **validation, here.parameters.clone())?.value;
            let now = match best {
                // A former descent ended here, and has counted this point.
                Some(best) if step == 0 => best,
                Some(best) => best.or(&info, &here.parameters),
                None => Best::new(&info, &here.parameters),
            };
            if status.is_none() && now.n_worse >= stopping.patience {
                status = Some(Status::EarlyStopped);
            }
            best = Some(now);
        }
        if status.is_none() && step >= stopping.max_steps {
            status = Some(Status::MaxSteps);
        } else if status.is_none() && stopping.max_seconds.is_some_and(|most| info.seconds >= most) {
            status = Some(Status::MaxSeconds);
        }
        if status.is_some() {
            break;
        }
        ask_for_vectors(n_parameters)?;
        info.step_size = method.propose(&here, objective)?;
        if watch(&info, &here.parameters)? {
            status = Some(Status::Stopped);
            break;
        }
        let made = method.advance(objective, &mut here, info.step_size, stopping.max_steps - step)?;
        if made.steps == 0 {
            status = Some(Status::Stalled);
            break;
        }
        reserve("the history of the descent", &mut history, 1)?;
        history.push(StepInfo { step_size: made.size, ..info });
        step += made.steps;
    }
    let mut state = State::default();
    method.save(&mut state);
    state.set("point", here.parameters.clone());
    if let Some(best) = &best {
        best.save(&mut state);
    }
    Ok(Solution {
        parameters: here.parameters,
        loss: info.loss,
        gradient_norm: info.gradient_norm,
        validation_loss: info.validation_loss,
        n_steps: step,
        status: status.unwrap_or(Status::MaxSteps),
        history,
        state,
        best: best.map(|best| best.parameters),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::{Design, RowMajor};
    use crate::empirical::{Empirical, Model};
    use crate::loss::Loss;
    use crate::method::{Description, build};
    use crate::penalty::ElasticNet;
    use crate::reduce::Team;
    use crate::sample::Sample;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn describe(name: &str, settings: &[(&str, f64)]) -> Description {
        let settings: BTreeMap<String, f64> = settings.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        Description { name: name.to_owned(), settings }
    }

    fn methods() -> Vec<Description> {
        vec![
            describe("gd", &[]),
            describe("momentum", &[("momentum", 0.5)]),
            describe("nesterov", &[]),
            describe("adam", &[("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-8)]),
            describe("sgd", &[("momentum", 0.5), ("batch_size", 4.0)]),
            describe("lbfgs", &[("memory", 10.0)]),
            describe("newton", &[]),
        ]
    }

    /// F(w) = Σ λⱼ (wⱼ − 1)², as least squares on as many rows: the curvature is 2 λ / n · n.
    fn run(
        eigenvalues: &[f64],
        method: &Description,
        rate: &Description,
        stopping: Stopping,
        start: Start,
    ) -> Solution {
        let d = eigenvalues.len();
        let x: Vec<f64> =
            (0..d * d).map(|i| if i % d == i / d { (eigenvalues[i / d] * d as f64).sqrt() } else { 0.0 }).collect();
        let y: Vec<f64> = (0..d).map(|j| (eigenvalues[j] * d as f64).sqrt()).collect();
        let design = RowMajor::new(&x, d, d).unwrap();
        let sample = Sample { targets: &y[..], weights: None, offsets: None };
        let model = Model { loss: Loss::Mse { n_targets: 1 }, penalty: ElasticNet::NONE, fit_intercept: false };
        let team = Team::new(1, &|| false);
        let mut objective = Empirical::new(&design, sample, model, &team).unwrap();
        let mut method = build(method, rate, design.n_rows(), 0).unwrap();
        let start = if start.parameters.is_empty() { Start { parameters: vec![0.0; d], ..start } } else { start };
        descend(&mut objective, None, method.as_mut(), stopping, start, &mut |_, _| Ok(false)).unwrap()
    }

    proptest! {
        /// F(wₖ) − F* ≤ L ‖w₀ − w*‖² / 2k, and the value never rises.
        #[test]
        fn rate_certificate(eigenvalues in proptest::collection::vec(1e-3f64..1e3, 1..6)) {
            let solution = run(&eigenvalues, &describe("gd", &[]), &describe("auto", &[]), Stopping::steps(50), Start::default());
            let largest = 2.0 * eigenvalues.iter().copied().fold(0.0, f64::max);
            let distance = eigenvalues.len() as f64;
            prop_assert_eq!(solution.history.len(), 50);
            for info in &solution.history[1..] {
                let bound = largest * distance / (2.0 * info.step as f64);
                prop_assert!(info.loss <= bound * (1.0 + 1e-12));
            }
            for pair in solution.history.windows(2) {
                prop_assert!(pair[1].loss <= pair[0].loss * (1.0 + 1e-12));
            }
        }

        /// k steps, then m with what was remembered, are k + m steps, bit for bit.
        #[test]
        fn a_descent_goes_on(eigenvalues in proptest::collection::vec(1e-1f64..1e1, 1..6), k in 0u64..6, m in 0u64..6) {
            for method in methods() {
                let go = |steps, start| run(&eigenvalues, &method, &describe("auto", &[]), Stopping::steps(steps), start);
                let whole = go(k + m, Start::default());
                let first = go(k, Start::default());
                let second = go(m, Start { parameters: first.parameters.clone(), state: first.state.clone() });
                prop_assert_eq!(&second.parameters, &whole.parameters, "{}", method.name);
                prop_assert_eq!(second.loss.to_bits(), whole.loss.to_bits());
            }
        }
    }

    #[test]
    fn every_method_finds_the_minimum() {
        for method in methods() {
            let stopping = Stopping { tolerance: 1e-6, ..Stopping::steps(20_000) };
            let solution = run(&[1.0, 10.0, 3.0], &method, &describe("auto", &[]), stopping, Start::default());
            assert_eq!(solution.status, Status::Converged, "{}", method.name);
            assert!(solution.parameters.iter().all(|w| (w - 1.0).abs() < 1e-4), "{}", method.name);
        }
    }

    #[test]
    fn the_clock_is_read_often_enough() {
        let mut clock = Clock::start();
        let mut looks = 0;
        for step in 0..100 {
            let before = clock.latest;
            clock.seconds();
            looks += u32::from(clock.latest != before);
            if step >= 50 {
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        }
        // Every long step is timed, but for those that a run of short ones has put off.
        assert!(looks >= 100 - 50 - MOST_UNTIMED, "{looks}");
        assert!(clock.latest >= 3e-3);
    }

    #[test]
    fn divergence_is_noticed() {
        let rate = describe("constant", &[("rate", 3.0)]);
        let solution = run(&[1.0], &describe("gd", &[]), &rate, Stopping::steps(10_000), Start::default());
        assert_eq!(solution.status, Status::Diverged);
        assert!(solution.history.iter().all(|info| info.loss.is_finite()));
    }

    /// However many steps a state says were made, one more can be counted.
    #[test]
    fn counts_do_not_overflow() {
        for method in methods() {
            let mut state = State::default();
            state.set_number("n_made", f64::MAX);
            let start = Start { parameters: vec![0.0; 2], state };
            let solution = run(&[1.0, 10.0], &method, &describe("auto", &[]), Stopping::steps(3), start);
            assert!(solution.loss.is_finite(), "{}", method.name);
        }
    }

    #[test]
    fn zero_steps_return_the_start() {
        let solution = run(&[1.0], &describe("gd", &[]), &describe("auto", &[]), Stopping::steps(0), Start::default());
        assert_eq!((solution.status, solution.loss, solution.n_steps), (Status::MaxSteps, 1.0, 0));
    }
}
