use super::Update;
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;

/// Adam (Kingma and Ba, algorithm 1), with the proximal map in the metric of its own step sizes:
/// w ← prox(w − η m̂ / (√v̂ + ε)), m and v running means of the gradient and its square, the hats for their bias.
pub struct Adam {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    n_seen: i32,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Adam {
    pub fn new(beta1: f64, beta2: f64, epsilon: f64) -> Self {
        Self { beta1, beta2, epsilon, n_seen: 0, mean: Vec::new(), square: Vec::new() }
    }
}

impl Update for Adam {
    fn see(&mut self, gradient: &[f64]) {
        self.n_seen = self.n_seen.saturating_add(1);
        self.mean.resize(gradient.len(), 0.0);
        self.square.resize(gradient.len(), 0.0);
        for ((mean, square), slope) in self.mean.iter_mut().zip(&mut self.square).zip(gradient) {
            *mean = self.beta1 * *mean + (1.0 - self.beta1) * slope;
            *square = self.beta2 * *square + (1.0 - self.beta2) * (slope * slope);
        }
    }

    fn target(&mut self, from: &[f64], _gradient: &[f64], size: f64, objective: &dyn Objective, to: &mut Vec<f64>) {
        let mean_bias = 1.0 - self.beta1.powi(self.n_seen);
        let square_bias = 1.0 - self.beta2.powi(self.n_seen);
        let of_square = |square: &f64| size / ((square / square_bias).sqrt() + self.epsilon);
        let own_size = |j: usize| self.square.get(j).map_or(size, of_square);
        to.clear();
        let moments = self.mean.iter().zip(&self.square);
        to.extend(from.iter().zip(moments).map(|(w, (mean, square))| w - of_square(square) * (mean / mean_bias)));
        objective.prox(to, &own_size);
    }

    fn save(&self, state: &mut State) {
        if self.n_seen == 0 {
            return;
        }
        state.set_number("n_seen", f64::from(self.n_seen));
        state.set("mean", self.mean.clone());
        state.set("square", self.square.clone());
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        if let (Some(n_seen), Some(mean), Some(square)) =
            (state.number("n_seen"), state.vector("mean", n_parameters)?, state.vector("square", n_parameters)?)
        {
            (self.n_seen, self.mean, self.square) = (n_seen as i32, mean, square);
        }
        Ok(())
    }
}
