//! Step sizes: how far along the method's direction. A rule proposes a size and judges the point that it leads to.

use crate::error::Error;
use crate::lanes::dot;
use crate::objective::Objective;
use crate::state::State;

/// A point with the smooth part's value and gradient there.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    pub parameters: Vec<f64>,
    pub value: f64,
    pub gradient: Vec<f64>,
}

impl Evaluated {
    pub fn new(objective: &mut dyn Objective, parameters: Vec<f64>) -> Result<Self, Error> {
        let mut gradient = vec![0.0; parameters.len()];
        let value = objective.value_and_gradient(&parameters, &mut gradient)?;
        Ok(Self { parameters, value, gradient })
    }

    /// The objective, rough part included.
    pub fn loss(&self, objective: &dyn Objective) -> f64 {
        self.value + objective.rough_value(&self.parameters)
    }
}

/// A step that could be made.
pub struct Trial<'a> {
    pub from: &'a Evaluated,
    pub to: &'a Evaluated,
    pub size: f64,
    pub objective: &'a dyn Objective,
}

impl Trial<'_> {
    fn squared_length(&self) -> f64 {
        self.moves().map(|way| way * way).sum()
    }

    fn moves(&self) -> impl Iterator<Item = f64> {
        self.to.parameters.iter().zip(&self.from.parameters).map(|(to, from)| to - from)
    }

    fn rounding(&self) -> f64 {
        self.objective.rounding(self.from.value) + self.objective.rounding(self.to.value)
    }
}

/// A rule that gives the size of each step.
pub trait StepSize {
    /// The size that the next step tries first, at the point `here`; `step` counts from the first of all.
    fn propose(&mut self, step: u64, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error>;

    /// Whether a trial is good enough; if not, half its size is tried.
    fn accepts(&mut self, _trial: &Trial<'_>) -> bool {
        true
    }

    /// Whether `accepts` may say no.
    fn judges(&self) -> bool {
        false
    }

    fn save(&self, _state: &mut State) {}

    fn load(&mut self, _state: &State, _n_parameters: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// A size that depends on the number of the step alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    Constant {
        rate: f64,
    },
    /// rate / (1 + k)^power
    InverseScaling {
        rate: f64,
        power: f64,
    },
    /// rate · decayᵏ
    Exponential {
        rate: f64,
        decay: f64,
    },
    /// least + ½ (rate − least) (1 + cos π min(k / n, 1))
    Cosine {
        rate: f64,
        n_steps: f64,
        least: f64,
    },
}

impl Schedule {
    fn at(self, step: u64) -> f64 {
        let k = step as f64;
        match self {
            Self::Constant { rate } => rate,
            Self::InverseScaling { rate, power } => rate / (1.0 + k).powf(power),
            Self::Exponential { rate, decay } => rate * decay.powf(k),
            Self::Cosine { rate, n_steps, least } => {
                least + 0.5 * (rate - least) * (1.0 + (std::f64::consts::PI * (k / n_steps).min(1.0)).cos())
            }
        }
    }
}

impl StepSize for Schedule {
    fn propose(&mut self, step: u64, _here: &Evaluated, _objective: &mut dyn Objective) -> Result<f64, Error> {
        Ok(self.at(step))
    }
}

/// 1/L, the step of the best guaranteed descent (beyond 2/L a quadratic diverges); halved where the objective bends
/// more than L said, which an estimate of L may hide, and a bound that holds only nearby.
#[derive(Default)]
pub struct Backtracking {
    size: Option<f64>,
}

fn inverse_curvature(here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
    let curvature = objective.curvature(&here.parameters)?;
    // A function without curvature is constant: any step will do.
    Ok(if curvature == 0.0 { 1.0 } else { 1.0 / curvature })
}

impl StepSize for Backtracking {
    fn propose(&mut self, _step: u64, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
        if let Some(size) = self.size {
            return Ok(size);
        }
        let size = inverse_curvature(here, objective)?;
        self.size = Some(size);
        Ok(size)
    }

    /// f(to) ≤ f(from) + ⟨∇f(from), way⟩ + ‖way‖² / 2η: true of any two points if η ≤ 1/L.
    fn accepts(&mut self, trial: &Trial<'_>) -> bool {
        let linear: f64 = trial.moves().zip(&trial.from.gradient).map(|(way, slope)| way * slope).sum();
        let bound = trial.from.value + linear + trial.squared_length() / (2.0 * trial.size);
        let accepted = trial.to.value <= bound + trial.rounding();
        if accepted {
            self.size = Some(trial.size);
        }
        accepted
    }

    fn judges(&self) -> bool {
        true
    }

    fn save(&self, state: &mut State) {
        if let Some(size) = self.size {
            state.set_number("step_size", size);
        }
    }

    fn load(&mut self, state: &State, _n_parameters: usize) -> Result<(), Error> {
        self.size = state.number("step_size");
        Ok(())
    }
}

/// The first of rate, rate/2, rate/4, … that lowers the objective by a share of what its slope promises; each search
/// begins at twice the size that the last one ended with.
pub struct Armijo {
    pub rate: f64,
    pub share: f64,
    last: Option<f64>,
}

impl Armijo {
    pub fn new(rate: f64, share: f64) -> Self {
        Self { rate, share, last: None }
    }
}

impl StepSize for Armijo {
    fn propose(&mut self, _step: u64, _here: &Evaluated, _objective: &mut dyn Objective) -> Result<f64, Error> {
        Ok(self.last.map_or(self.rate, |last| 2.0 * last))
    }

    /// F(to) ≤ F(from) − share · ‖way‖² / η
    fn accepts(&mut self, trial: &Trial<'_>) -> bool {
        let gain = self.share * trial.squared_length() / trial.size;
        let accepted = trial.to.loss(trial.objective) <= trial.from.loss(trial.objective) - gain + trial.rounding();
        if accepted {
            self.last = Some(trial.size);
        }
        accepted
    }

    fn judges(&self) -> bool {
        true
    }

    fn save(&self, state: &mut State) {
        if let Some(last) = self.last {
            state.set_number("step_size", last);
        }
    }

    fn load(&mut self, state: &State, _n_parameters: usize) -> Result<(), Error> {
        self.last = state.number("step_size");
        Ok(())
    }
}

/// ⟨s, s⟩ / ⟨s, y⟩ for the last move s and the change of gradient y: the inverse of the curvature that was just met.
/// The objective need only stay below the highest of its last values.
pub struct BarzilaiBorwein {
    memory: usize,
    share: f64,
    before: Option<(Vec<f64>, Vec<f64>)>,
    losses: Vec<f64>,
    last: Option<f64>,
}

impl BarzilaiBorwein {
    pub fn new(memory: usize) -> Self {
        Self { memory: memory.max(1), share: 1e-4, before: None, losses: Vec::new(), last: None }
    }
}

impl StepSize for BarzilaiBorwein {
    fn propose(&mut self, _step: u64, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
        if self.losses.is_empty() {
            self.losses.push(here.loss(objective));
        }
        let (Some((parameters, gradient)), Some(last)) = (&self.before, self.last) else {
            return inverse_curvature(here, objective);
        };
        let way: Vec<f64> = here.parameters.iter().zip(parameters).map(|(to, from)| to - from).collect();
        let change: Vec<f64> = here.gradient.iter().zip(gradient).map(|(to, from)| to - from).collect();
        let (length, bend) = (dot(&way, &way), dot(&way, &change));
        let size = length / bend;
        Ok(if bend > 0.0 && size.is_normal() { size } else { last })
    }

    fn accepts(&mut self, trial: &Trial<'_>) -> bool {
        let highest = self.losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let loss = trial.to.loss(trial.objective);
        let accepted = loss <= highest - self.share * trial.squared_length() / trial.size + trial.rounding();
        if accepted {
            self.losses.push(loss);
            if self.losses.len() > self.memory {
                self.losses.remove(0);
            }
            self.before = Some((trial.from.parameters.clone(), trial.from.gradient.clone()));
            self.last = Some(trial.size);
        }
        accepted
    }

    fn judges(&self) -> bool {
        true
    }

    fn save(&self, state: &mut State) {
        if let (Some((parameters, gradient)), Some(last)) = (&self.before, self.last) {
            state.set("before", parameters.clone());
            state.set("gradient_before", gradient.clone());
            state.set("losses", self.losses.clone());
            state.set_number("step_size", last);
        }
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        let vector = |name: &str| state.vector(name, n_parameters);
        if let (Some(before), Some(gradient)) = (vector("before")?, vector("gradient_before")?) {
            self.before = Some((before, gradient));
            self.losses = state.get("losses").unwrap_or_default().to_vec();
            self.last = state.number("step_size");
        }
        Ok(())
    }
}

/// For mini-batches: rate / √(1 + epochs / 10), where the rate is safe for the average row.
pub struct Decaying {
    pub per_epoch: u64,
    pub damping: f64,
    rate: Option<f64>,
}

impl Decaying {
    pub fn new(per_epoch: u64, damping: f64) -> Self {
        Self { per_epoch, damping, rate: None }
    }
}

impl StepSize for Decaying {
    fn propose(&mut self, step: u64, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
        let rate = match self.rate {
            Some(rate) => rate,
            None => {
                let curvature = objective.row_curvature(&here.parameters)?;
                if curvature == 0.0 { 1.0 } else { self.damping / curvature }
            }
        };
        self.rate = Some(rate);
        Ok(rate / (1.0 + step as f64 / (10.0 * self.per_epoch as f64)).sqrt())
    }

    fn save(&self, state: &mut State) {
        if let Some(rate) = self.rate {
            state.set_number("rate", rate);
        }
    }

    fn load(&mut self, state: &State, _n_parameters: usize) -> Result<(), Error> {
        self.rate = state.number("rate");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_another_length_are_refused() {
        for (name, other) in [("before", "gradient_before"), ("gradient_before", "before")] {
            let mut state = State::default();
            state.set(name, vec![0.0; 3]);
            state.set(other, vec![0.0; 4]);
            let outcome = BarzilaiBorwein::new(1).load(&state, 4);
            assert!(matches!(outcome, Err(Error::State { .. })), "{name}");
        }
    }
}
