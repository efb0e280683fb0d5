use super::{Made, Method};
use crate::error::Error;
use crate::line_search::{Patience, search};
use crate::objective::Objective;
use crate::state::State;
use crate::step::Evaluated;
use faer::linalg::solvers::Solve;
use faer::{Mat, MatRef, Side};

/// Growth of the damping until the Hessian is positive definite.
const DAMPING_GROWTH: f64 = 100.0;

/// Newton's method: the direction −(∇²f + τ I)⁻¹ ∇f by Cholesky, with τ = 0 where that succeeds, and a line search;
/// straight to the minimiser where the objective knows it.
pub struct Newton;

impl Method for Newton {
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
        let direction = match objective.minimiser() {
            Some(minimiser) => minimiser.iter().zip(&here.parameters).map(|(to, from)| to - from).collect(),
            None => {
                let hessian = objective.hessian(&here.parameters)?;
                if (0..hessian.nrows()).any(|i| !hessian[(i, i)].is_finite()) {
                    return Ok(Made { steps: 0, size: 0.0 });
                }
                let (order, gradient, precision) = (hessian.nrows(), here.gradient.clone(), objective.precision());
                objective.apart(order, Box::new(move || direction(hessian, &gradient, precision)))?
            }
        };
        let size = search(objective, here, &direction, &mut Patience::new(0))?;
        Ok(Made { steps: u64::from(size.is_some()), size: size.unwrap_or(0.0) })
    }

    fn searches_lines(&self) -> bool {
        true
    }

    fn save(&self, _state: &mut State) {}

    fn load(&mut self, _state: &State, _n_parameters: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// Damped, relative to the largest diagonal entry, where a pivot is no more than what rounding leaves of nothing: along
/// such a direction there would be no telling how far to go.
fn direction(mut hessian: Mat<f64>, gradient: &[f64], precision: f64) -> Vec<f64> {
    let order = hessian.nrows();
    let diagonal: Vec<f64> = (0..order).map(|i| hessian[(i, i)]).collect();
    let largest = diagonal.iter().copied().fold(0.0, f64::max);
    let negligible = order as f64 * precision;
    let mut damping = 0.0;
    // At the latest when the damping outweighs the matrix, it is positive definite; unless it is not finite.
    while damping <= DAMPING_GROWTH {
        if let Ok(factor) = hessian.llt(Side::Lower) {
            let pivot = |i: usize| factor.L()[(i, i)].powi(2);
            let felt =
                |(i, &bend): (usize, &f64)| pivot(i) > negligible * bend && bend > negligible * negligible * largest;
            let definite = damping > 0.0 || diagonal.iter().enumerate().all(felt);
            let mut direction = -MatRef::from_column_major_slice(gradient, order, 1);
            factor.solve_in_place(&mut direction);
            let direction = direction.col_as_slice(0).to_vec();
            if definite && direction.iter().all(|entry| entry.is_finite()) {
                return direction;
            }
        }
        let more = if damping == 0.0 { negligible } else { damping * DAMPING_GROWTH };
        for i in 0..order {
            hessian[(i, i)] += (more - damping) * if largest > 0.0 { largest } else { 1.0 };
        }
        damping = more;
    }
    gradient.iter().map(|slope| -slope).collect()
}
