use super::{Made, Method, Update};
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;
use crate::step::{Evaluated, StepSize, Trial};

/// Halvings after which there is no shorter step worth trying.
const MOST_HALVINGS: u32 = 100;

/// An update with the gradient of all rows; each step is one pass, plus one for every size that the rule rejects.
pub struct FullBatch<U> {
    update: U,
    rule: Box<dyn StepSize>,
    n_made: u64,
    spare: Evaluated,
}

impl<U: Update> FullBatch<U> {
    pub fn new(update: U, rule: Box<dyn StepSize>) -> Self {
        let spare = Evaluated { parameters: Vec::new(), value: 0.0, gradient: Vec::new() };
        Self { update, rule, n_made: 0, spare }
    }
}

impl<U: Update> Method for FullBatch<U> {
    fn propose(&mut self, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
        self.rule.propose(self.n_made, here, objective)
    }

    fn advance(
        &mut self,
        objective: &mut dyn Objective,
        here: &mut Evaluated,
        mut size: f64,
        _most: u64,
    ) -> Result<Made, Error> {
        self.update.see(&here.gradient);
        self.spare.gradient.resize(here.gradient.len(), 0.0);
        for _ in 0..MOST_HALVINGS {
            let to = &mut self.spare;
            self.update.target(&here.parameters, &here.gradient, size, objective, &mut to.parameters);
            to.value = objective.value_and_gradient(&to.parameters, &mut to.gradient)?;
            if !self.rule.judges() || self.rule.accepts(&Trial { from: here, to, size, objective }) {
                self.update.commit(&here.parameters);
                std::mem::swap(here, &mut self.spare);
                self.n_made = self.n_made.saturating_add(1);
                return Ok(Made { steps: 1, size });
            }
            // What momentum added may be to blame, not the size.
            if !self.update.rest(&here.parameters) {
                size *= 0.5;
            }
        }
        Ok(Made { steps: 0, size })
    }

    fn save(&self, state: &mut State) {
        state.set_number("n_made", self.n_made as f64);
        self.update.save(state);
        self.rule.save(state);
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        self.n_made = state.number("n_made").unwrap_or(0.0) as u64;
        self.update.load(state, n_parameters)?;
        self.rule.load(state, n_parameters)
    }
}
