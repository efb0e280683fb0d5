//! Step sizes: how far along the method's direction.

use crate::error::Error;
use crate::objective::Objective;

/// A rule that gives the size of each step.
pub trait StepSize {
    fn next(&mut self, objective: &mut dyn Objective) -> Result<f64, Error>;
}

/// The same number for every step.
pub struct Constant(pub f64);

impl StepSize for Constant {
    fn next(&mut self, _objective: &mut dyn Objective) -> Result<f64, Error> {
        Ok(self.0)
    }
}

/// 1/L, the step of the best guaranteed descent (beyond 2/L a quadratic diverges). L is asked for once.
#[derive(Default)]
pub struct InverseCurvature {
    size: Option<f64>,
}

impl StepSize for InverseCurvature {
    fn next(&mut self, objective: &mut dyn Objective) -> Result<f64, Error> {
        if let Some(size) = self.size {
            return Ok(size);
        }
        let curvature = objective.curvature()?;
        // A function without curvature is constant: any step will do.
        let size = if curvature == 0.0 { 1.0 } else { 1.0 / curvature };
        self.size = Some(size);
        Ok(size)
    }
}
