use super::Update;
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;

/// Accelerated proximal gradient (Beck and Teboulle's FISTA) with adaptive restart (O'Donoghue and Candès's gradient
/// scheme).
///
/// x₊ = prox(y − η ∇f(y)),  y₊ = x₊ + (t − 1) / t₊ · (x₊ − x),  t₊ = ½ (1 + √(1 + 4 t²)). The descent is at y, where the
/// gradients are, so a step is one pass. Where y − x₊ and x₊ − x point the same way, momentum leads uphill: t is one
/// again.
pub struct Nesterov {
    t: f64,
    x: Vec<f64>,
    target_t: f64,
    target_x: Vec<f64>,
}

impl Default for Nesterov {
    fn default() -> Self {
        Self { t: 1.0, x: Vec::new(), target_t: 1.0, target_x: Vec::new() }
    }
}

impl Update for Nesterov {
    fn target(&mut self, from: &[f64], gradient: &[f64], size: f64, objective: &dyn Objective, to: &mut Vec<f64>) {
        if self.x.is_empty() {
            self.x.extend_from_slice(from);
        }
        self.target_x.clear();
        self.target_x.extend(from.iter().zip(gradient).map(|(y, slope)| y - size * slope));
        objective.prox(&mut self.target_x, &|_| size);
        let triples = from.iter().zip(&self.target_x).zip(&self.x);
        let uphill: f64 = triples.map(|((y, next), x)| (y - next) * (next - x)).sum();
        let t = if uphill > 0.0 { 1.0 } else { self.t };
        self.target_t = 0.5 * (1.0 + (1.0 + 4.0 * t * t).sqrt());
        let momentum = (t - 1.0) / self.target_t;
        to.clear();
        to.extend(self.target_x.iter().zip(&self.x).map(|(next, x)| next + momentum * (next - x)));
    }

    fn rest(&mut self, from: &[f64]) -> bool {
        let moved = self.t > 1.0 || self.x != from;
        self.t = 1.0;
        self.x.copy_from_slice(from);
        moved
    }

    fn commit(&mut self, _from: &[f64]) {
        self.t = self.target_t;
        std::mem::swap(&mut self.x, &mut self.target_x);
    }

    fn save(&self, state: &mut State) {
        state.set_number("t", self.t);
        state.set("previous", self.x.clone());
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        self.t = state.number("t").unwrap_or(1.0);
        self.x = state.vector("previous", n_parameters)?.unwrap_or_default();
        Ok(())
    }
}
