use super::{Made, Method, Update};
use crate::batches::Batches;
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;
use crate::step::{Evaluated, StepSize};

/// An update with the gradient of a few rows at a time. The full objective is evaluated after every epoch.
pub struct MiniBatch<U> {
    update: U,
    rule: Box<dyn StepSize>,
    batches: Batches,
    n_made: u64,
    /// The epoch whose order of blocks is at hand.
    order: Option<(u64, Vec<usize>)>,
}

impl<U: Update> MiniBatch<U> {
    pub fn new(update: U, rule: Box<dyn StepSize>, batches: Batches) -> Self {
        Self { update, rule, batches, n_made: 0, order: None }
    }

    fn order(&mut self) -> &[usize] {
        let epoch = self.n_made / self.batches.per_epoch();
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.order = Some((epoch, self.batches.order(epoch)));
        }
        self.order.as_ref().map_or(&[], |(_, order)| order)
    }
}

impl<U: Update> Method for MiniBatch<U> {
    fn propose(&mut self, here: &Evaluated, objective: &mut dyn Objective) -> Result<f64, Error> {
        self.rule.propose(self.n_made, here, objective)
    }

    fn stride(&self) -> u64 {
        self.batches.per_epoch() - self.n_made % self.batches.per_epoch()
    }

    fn advance(
        &mut self,
        objective: &mut dyn Objective,
        here: &mut Evaluated,
        size: f64,
        most: u64,
    ) -> Result<Made, Error> {
        let steps = self.stride().min(most);
        let mut to = Vec::new();
        for step in 0..steps {
            let step_size = if step == 0 { size } else { self.rule.propose(self.n_made, here, objective)? };
            let (batches, n_made) = (self.batches, self.n_made);
            let rows = batches.batch(n_made, self.order());
            objective.batch_gradient(&here.parameters, &rows, &mut here.gradient)?;
            self.update.see(&here.gradient);
            self.update.target(&here.parameters, &here.gradient, step_size, objective, &mut to);
            self.update.commit(&here.parameters);
            std::mem::swap(&mut here.parameters, &mut to);
            self.n_made = self.n_made.saturating_add(1);
        }
        here.value = objective.value_and_gradient(&here.parameters, &mut here.gradient)?;
        Ok(Made { steps, size })
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
