use super::{Made, Method};
use crate::error::Error;
use crate::lanes::dot;
use crate::line_search::{Patience, search};
use crate::memory::{ask, bytes_of};
use crate::objective::Objective;
use crate::state::State;
use crate::step::Evaluated;
use std::collections::VecDeque;

/// Steps that gradients may take to fall, where rounding hides what values say: quasi-Newton steps are not monotone.
const PATIENCE: u64 = 10;

/// L-BFGS (Nocedal and Wright, algorithms 7.4 and 7.5): the direction −H ∇f, with H the inverse Hessian that the last
/// moves s and changes of gradient y suggest.
pub struct Lbfgs {
    memory: usize,
    pairs: VecDeque<Pair>,
    patience: Patience,
}

struct Pair {
    way: Vec<f64>,
    change: Vec<f64>,
    bend: f64,
}

impl Pair {
    fn new(way: Vec<f64>, change: Vec<f64>) -> Self {
        let bend = dot(&way, &change);
        Self { way, change, bend }
    }

    /// Whether the curvature along the move is more than rounding.
    fn is_convex(&self) -> bool {
        self.bend > f64::EPSILON * dot(&self.change, &self.change).sqrt() * dot(&self.way, &self.way).sqrt()
    }
}

impl Lbfgs {
    pub fn new(memory: usize) -> Self {
        Self { memory: memory.max(1), pairs: VecDeque::new(), patience: Patience::new(PATIENCE) }
    }

    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.way, &direction) / pair.bend;
            add(&mut direction, -share, &pair.change);
            shares.push(share);
        }
        let scale = match self.pairs.back() {
            Some(last) => last.bend / dot(&last.change, &last.change),
            // A first move of length one; the line search finds the right one on known scores.
            None => 1.0 / dot(gradient, gradient).sqrt().max(1.0),
        };
        direction.iter_mut().for_each(|entry| *entry *= scale);
        for (pair, share) in self.pairs.iter().zip(shares.iter().rev()) {
            let correction = share - dot(&pair.change, &direction) / pair.bend;
            add(&mut direction, correction, &pair.way);
        }
        direction
    }
}

fn add(sum: &mut [f64], scale: f64, other: &[f64]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += scale * other;
    }
}

impl Method for Lbfgs {
    fn propose(&mut self, _here: &Evaluated, _objective: &mut dyn Objective) -> Result<f64, Error> {
        Ok(1.0)
    }

    fn advance(
        &mut self,
        objective: &mut dyn Objective,
        here: &mut Evaluated,
        _size: f64,
        _most: u64,
    ) -> Result<Made, Error> {
        let before = here.clone();
        loop {
            let direction = self.direction(&here.gradient);
            if let Some(size) = search(objective, here, &direction, &mut self.patience)? {
                // For this move, and to save all of them in the end.
                ask("the memory of lbfgs", bytes_of::<f64>(&[4 * (self.pairs.len() + 2), here.parameters.len()]))?;
                let difference = |to: &[f64], from: &[f64]| to.iter().zip(from).map(|(to, from)| to - from).collect();
                let pair = Pair::new(
                    difference(&here.parameters, &before.parameters),
                    difference(&here.gradient, &before.gradient),
                );
                if pair.is_convex() {
                    self.pairs.push_back(pair);
                }
                if self.pairs.len() > self.memory {
                    self.pairs.pop_front();
                }
                return Ok(Made { steps: 1, size });
            }
            if self.pairs.is_empty() {
                return Ok(Made { steps: 0, size: 0.0 });
            }
            // The memory misled: once more along the gradient. The line starts where scores were last kept.
            self.pairs.clear();
            *here = Evaluated::new(objective, here.parameters.clone())?;
        }
    }

    fn searches_lines(&self) -> bool {
        true
    }

    fn save(&self, state: &mut State) {
        let all =
            |of: fn(&Pair) -> &Vec<f64>| self.pairs.iter().map(|pair| of(pair).as_slice()).collect::<Vec<_>>().concat();
        state.set("moves", all(|pair| &pair.way));
        state.set("changes", all(|pair| &pair.change));
        if self.patience.flattest.is_finite() {
            state.set("patience", vec![self.patience.flattest, self.patience.n_since as f64]);
        }
    }

    fn load(&mut self, state: &State, n_parameters: usize) -> Result<(), Error> {
        self.pairs.clear();
        let n_kept = state.get("moves").map_or(0, <[f64]>::len);
        ask("the memory of lbfgs", bytes_of::<f64>(&[4, n_kept]))?;
        if let Some(&[flattest, n_since]) = state.get("patience") {
            (self.patience.flattest, self.patience.n_since) = (flattest, n_since as u64);
        }
        if let (Some(moves), Some(changes)) =
            (state.vectors("moves", n_parameters)?, state.vectors("changes", n_parameters)?)
        {
            let pairs = moves.chunks_exact(n_parameters).zip(changes.chunks_exact(n_parameters));
            self.pairs.extend(pairs.map(|(way, change)| Pair::new(way.to_vec(), change.to_vec())));
        }
        Ok(())
    }
}
