use super::Update;
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;

/// w ← prox(w − η ∇f(w) + β (w − w₋)), with w₋ the point before: the heavy ball.
///
/// The last move is added inside the proximal map. A velocity made of gradients would be multiplied by 1 / (1 − β)
/// where it settles, and the threshold of the map would not.
pub struct HeavyBall {
    momentum: f64,
    before: Vec<f64>,
}

impl HeavyBall {
    pub fn new(momentum: f64) -> Self {
        Self { momentum, before: Vec::new() }
    }
}

impl Update for HeavyBall {
    fn target(&mut self, from: &[f64], gradient: &[f64], size: f64, objective: &dyn Objective, to: &mut Vec<f64>) {
        if self.before.is_empty() {
            self.before.extend_from_slice(from);
        }
        to.clear();
        let moves = from.iter().zip(&self.before).map(|(w, before)| self.momentum * (w - before));
        to.extend(from.iter().zip(gradient).zip(moves).map(|((w, slope), way)| w - size * slope + way));
        objective.prox(to, &|_| size);
    }

    fn rest(&mut self, from: &[f64]) -> bool {
        let moved = self.before != from;
        self.before.copy_from_slice(from);
        moved
    }

    fn commit(&mut self, from: &[f64]) {
        self.before.copy_from_slice(from);
    }

    fn save(&self, state: &mut State) {
        state.set("previous", self.before.clone());
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        self.before = state.vector("previous", n_parameters)?.unwrap_or_default();
        Ok(())
    }
}
