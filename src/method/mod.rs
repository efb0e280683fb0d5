//! Methods: what to do with a gradient. One file each; `full_batch` and `mini_batch` drive those of first order.

mod adam;
mod coordinate;
mod full_batch;
mod gradient_descent;
mod lbfgs;
mod mini_batch;
mod momentum;
mod nesterov;
mod newton;

pub use adam::Adam;
pub use coordinate::CoordinateDescent;
pub use full_batch::FullBatch;
pub use gradient_descent::GradientDescent;
pub use lbfgs::Lbfgs;
pub use mini_batch::MiniBatch;
pub use momentum::HeavyBall;
pub use nesterov::Nesterov;
pub use newton::Newton;

use crate::batches::Batches;
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;
use crate::step::{Armijo, Backtracking, BarzilaiBorwein, Decaying, Evaluated, Schedule, StepSize};
use std::collections::BTreeMap;

/// What came of an attempt to go on: no steps if the method finds no better point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    pub steps: u64,
    /// The size of the first step.
    pub size: f64,
}

/// An optimiser's own part of a step; the loop in `descend` does the rest.
pub trait Method {
    /// The size that the next step tries first.
    fn propose(&mut self, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error>;

    /// Steps until the full objective should be evaluated again.
    fn stride(&self) -> u64 {
        1
    }

    /// Makes up to `most` steps, `stride` at a time, and evaluates where they lead.
    fn advance(
        &mut self,
        objective: &mut dyn Objective,
        here: &mut Evaluated,
        size: f64,
        most: u64,
    ) -> Result<Made, Error>;

    /// Whether it looks back at scores: `Objective::along`.
    fn searches_lines(&self) -> bool {
        false
    }

    fn save(&self, state: &mut State);

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error>;
}

/// A method of first order: from a gradient to the next point.
pub trait Update {
    /// Learns a gradient, once a step, before any target.
    fn see(&mut self, _gradient: &[f64]) {}

    /// Writes where a step of this size leads.
    fn target(&mut self, from: &[f64], gradient: &[f64], size: f64, objective: &dyn Objective, to: &mut Vec<f64>);

    /// Gives up whatever a step from `from` would carry on of the steps before; false if there is nothing left.
    fn rest(&mut self, _from: &[f64]) -> bool {
        false
    }

    /// The last target is taken.
    fn commit(&mut self, _from: &[f64]) {}

    fn save(&self, _state: &mut State) {}

    fn load(&mut self, _state: &State, _n_parameters: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// A name and its numbers, as the façade gives them; what is not named is zero.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub name: String,
    pub settings: BTreeMap<String, f64>,
}

impl Description {
    fn get(&self, setting: &str) -> f64 {
        self.settings.get(setting).copied().unwrap_or(0.0)
    }
}

/// The method that `method` describes, with the step sizes that `step_size` describes.
pub fn build(
    method: &Description,
    step_size: &Description,
    n_rows: usize,
    seed: u64,
) -> Result<Box<dyn Method>, Error> {
    let heavy_ball = || HeavyBall::new(method.get("momentum"));
    let adam = || Adam::new(method.get("beta1"), method.get("beta2"), method.get("epsilon"));
    let batches = Batches {
        n_rows,
        batch_rows: (method.get("batch_size") as usize).clamp(1, n_rows.max(1)),
        seed,
        replacement: method.get("replacement") != 0.0,
    };
    let rule = || rule(step_size, method, batches.per_epoch());
    Ok(match method.name.as_str() {
        "gd" => Box::new(FullBatch::new(GradientDescent, rule()?)),
        "momentum" => Box::new(FullBatch::new(heavy_ball(), rule()?)),
        "nesterov" => Box::new(FullBatch::new(Nesterov::default(), rule()?)),
        "adam" if method.get("batch_size") == 0.0 => Box::new(FullBatch::new(adam(), rule()?)),
        "adam" => Box::new(MiniBatch::new(adam(), rule()?, batches)),
        "sgd" => Box::new(MiniBatch::new(heavy_ball(), rule()?, batches)),
        "lbfgs" => Box::new(Lbfgs::new(method.get("memory") as usize)),
        "newton" => Box::new(Newton),
        "coordinate" => Box::new(CoordinateDescent),
        name => {
            return Err(Error::Unknown {
                name: "method",
                given: name.to_owned(),
                known: "gd, momentum, nesterov, adam, sgd, lbfgs, newton, coordinate",
            });
        }
    })
}

fn rule(step_size: &Description, method: &Description, per_epoch: u64) -> Result<Box<dyn StepSize>, Error> {
    let get = |setting| step_size.get(setting);
    let rate = get("rate");
    Ok(match (step_size.name.as_str(), method.name.as_str()) {
        ("auto", "sgd") => Box::new(Decaying::new(per_epoch, 1.0 - method.get("momentum"))),
        // Adam divides by the size of the gradient, so curvature says nothing about its steps.
        ("auto", "adam") => Box::new(Schedule::InverseScaling { rate: 0.1, power: 0.5 }),
        ("auto", _) => Box::new(Backtracking::default()),
        ("constant", _) => Box::new(Schedule::Constant { rate }),
        ("inverse_scaling", _) => Box::new(Schedule::InverseScaling { rate, power: get("power") }),
        ("exponential", _) => Box::new(Schedule::Exponential { rate, decay: get("decay") }),
        ("cosine", _) => Box::new(Schedule::Cosine { rate, n_steps: get("n_steps"), least: get("least") }),
        ("armijo", _) => Box::new(Armijo::new(rate, get("share"))),
        ("barzilai_borwein", _) => Box::new(BarzilaiBorwein::new(get("memory") as usize)),
        (name, _) => {
            return Err(Error::Unknown {
                name: "learning_rate",
                given: name.to_owned(),
                known: "auto, constant, inverse_scaling, exponential, cosine, armijo, barzilai_borwein",
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_of_another_length_are_refused() {
        let step_size = Description { name: "auto".to_owned(), ..Description::default() };
        for (name, remembered) in [
            ("momentum", &["previous"][..]),
            ("nesterov", &["previous"]),
            ("adam", &["n_seen", "mean", "square"]),
            ("lbfgs", &["moves", "changes"]),
        ] {
            let description = Description { name: name.to_owned(), ..Description::default() };
            let mut method = build(&description, &step_size, 1, 0).unwrap();
            let mut load = |length: usize| {
                let mut state = State::default();
                remembered.iter().for_each(|vector| state.set(vector, vec![1.0; length]));
                method.load(&state, 2)
            };
            assert_eq!(load(2), Ok(()));
            assert!(matches!(load(3), Err(Error::State { .. })), "{name}");
            // Of L-BFGS, the moves of two steps.
            assert_eq!(matches!(load(4), Err(Error::State { .. })), name != "lbfgs", "{name}");
        }
    }
}
