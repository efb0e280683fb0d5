use super::Update;
use crate::objective::Objective;

/// w ← prox(w − η ∇f(w))
pub struct GradientDescent;

impl Update for GradientDescent {
    fn target(&mut self, from: &[f64], gradient: &[f64], size: f64, objective: &dyn Objective, to: &mut Vec<f64>) {
        to.clear();
        to.extend(from.iter().zip(gradient).map(|(w, slope)| w - size * slope));
        objective.prox(to, &|_| size);
    }
}
