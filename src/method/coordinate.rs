use super::{Made, Method};
use crate::error::Error;
use crate::objective::Objective;
use crate::state::State;
use crate::step::Evaluated;

/// Cyclic coordinate descent on the Hessian of least squares; `coordinate` has the step.
pub struct CoordinateDescent;

impl Method for CoordinateDescent {
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
        let parameters = objective.coordinate_step(&here.parameters)?;
        let there = Evaluated::new(objective, parameters)?;
        let (before, after) = (here.loss(objective), there.loss(objective));
        // No comparison the other way round: what is not a number must be seen to be one.
        if there.parameters == here.parameters || after > before + objective.rounding(before) {
            return Ok(Made { steps: 0, size: 0.0 });
        }
        *here = there;
        Ok(Made { steps: 1, size: 1.0 })
    }

    fn save(&self, _state: &mut State) {}

    fn load(&mut self, _state: &State, _n_parameters: usize) -> Result<(), Error> {
        Ok(())
    }
}
