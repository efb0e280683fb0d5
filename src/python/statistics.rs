//! Sufficient statistics of least squares, to Python and back: weight, means, second moments by rows.

use super::problem::ProblemDescription;
use super::process::guarded;
use super::{Interpreter, Means, Task, copied, with_objective};
use crate::empirical::Empirical;
use crate::error::{Error, expect_length};
use crate::real::Real;
use crate::statistics::Statistics;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

type Given<'py> = (f64, PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>);
type Returned<'py> = (f64, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

struct Take;

impl Task for Take {
    type Output = Statistics;

    fn run<T: Real>(
        self,
        _interpreter: &Interpreter,
        objective: &mut Empirical<'_, T>,
        _validation: Option<&mut Empirical<'_, T>>,
    ) -> Result<Statistics, Error> {
        objective.statistics()
    }
}

/// The statistics of a problem's rows, in one pass.
#[pyfunction]
pub fn statistics<'py>(py: Python<'py>, problem: ProblemDescription<'py>, n_threads: usize) -> PyResult<Returned<'py>> {
    guarded(|| Ok(returned(py, with_objective(py, &problem, None, Means::stream(n_threads), Take)?)))
}

/// The statistics of two samples together.
#[pyfunction]
pub fn merged_statistics<'py>(py: Python<'py>, one: Given<'py>, other: Given<'py>) -> PyResult<Returned<'py>> {
    guarded(|| {
        let (mut merged, other) = (extract(&one)?, extract(&other)?);
        expect_length("means", merged.order(), other.order())?;
        merged.merge(&other);
        Ok(returned(py, merged))
    })
}

fn extract((weight, means, moments): &Given<'_>) -> PyResult<Statistics> {
    let (means, moments) = (copied(means)?, copied(moments)?);
    expect_length("moments", means.len().saturating_mul(means.len()), moments.len())?;
    Ok(Statistics { weight: *weight, means, moments })
}

fn returned(py: Python<'_>, statistics: Statistics) -> Returned<'_> {
    (statistics.weight, statistics.means.into_pyarray(py), statistics.moments.into_pyarray(py))
}
