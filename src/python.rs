//! The binding: the only module that names pyo3 and numpy. The façade has the documentation.
//!
//! Python hands over a description (`Problem`, `Plan`); it is parsed once into typed form, and then everything runs
//! without the interpreter except for its signals and the callback, both on the calling thread.

use crate::descend::{Solution, StepInfo, descend};
use crate::design::{ColumnMajor, Design, RowMajor};
use crate::error::Error;
use crate::loss::Loss;
use crate::method;
use crate::objective::{Empirical, Objective, Sample};
use crate::pass;
use crate::penalty::L2;
use crate::real::Real;
use crate::reduce::Team;
use crate::step::{Constant, InverseCurvature, StepSize};
use crate::stopping::Stopping;
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::RefCell;

/// The attributes of `problem.Problem` that the core reads.
#[derive(FromPyObject)]
struct ProblemDescription<'py> {
    design: Bound<'py, PyAny>,
    targets: Bound<'py, PyAny>,
    sample_weight: Option<Bound<'py, PyAny>>,
    loss: LossDescription,
    penalty: PenaltyDescription,
    fit_intercept: bool,
}

#[derive(FromPyObject)]
struct LossDescription {
    name: String,
    width: usize,
}

#[derive(FromPyObject)]
struct PenaltyDescription {
    alpha: f64,
}

/// The attributes of `problem.Plan` that the core reads.
#[derive(FromPyObject)]
struct PlanDescription {
    method: String,
    /// None is "auto".
    learning_rate: Option<f64>,
    n_steps: u64,
    tol: f64,
    reference: Option<f64>,
    n_threads: usize,
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// Lets the core ask Python whether to stop, and keeps the exception until the core has returned.
#[derive(Default)]
struct Interpreter(RefCell<Option<PyErr>>);

impl Interpreter {
    /// Runs `question` attached to the interpreter; an exception is kept and becomes `Interrupted`.
    fn ask<R>(&self, question: impl FnOnce(Python<'_>) -> PyResult<R>) -> Result<R, Error> {
        Python::attach(question).map_err(|exception| {
            *self.0.borrow_mut() = Some(exception);
            Error::Interrupted
        })
    }

    fn raise(self, error: Error) -> PyErr {
        match (error, self.0.into_inner()) {
            (Error::Interrupted, Some(exception)) => exception,
            (error, _) => error.into(),
        }
    }
}

/// What is done with an objective once it is built.
trait Task: Send {
    type Output: Send;
    fn run(self, interpreter: &Interpreter, objective: &mut dyn Objective) -> Result<Self::Output, Error>;
}

/// Builds the objective that `problem` describes and runs `task` on it, detached from the interpreter.
fn with_objective<K: Task>(
    py: Python<'_>,
    problem: &ProblemDescription<'_>,
    n_threads: usize,
    task: K,
) -> PyResult<K::Output> {
    if problem.design.extract::<PyReadonlyArray2<'_, f32>>().is_ok() {
        with_typed_objective::<f32, K>(py, problem, n_threads, task)
    } else {
        with_typed_objective::<f64, K>(py, problem, n_threads, task)
    }
}

fn with_typed_objective<T: Real + Element, K: Task>(
    py: Python<'_>,
    problem: &ProblemDescription<'_>,
    n_threads: usize,
    task: K,
) -> PyResult<K::Output> {
    let design = problem.design.extract::<PyReadonlyArray2<'_, T>>()?;
    let targets = problem.targets.extract::<PyReadonlyArray1<'_, T>>()?;
    let weights = match &problem.sample_weight {
        None => None,
        Some(weights) => Some(weights.extract::<PyReadonlyArray1<'_, T>>()?),
    };
    let loss = Loss::from_name(&problem.loss.name, problem.loss.width)?;
    let penalty = L2 { alpha: problem.penalty.alpha };
    let fit_intercept = problem.fit_intercept;
    let (n_rows, n_features) = (design.shape()[0], design.shape()[1]);
    // A single column is both; columns are read with all lanes busy.
    let by_columns = design.is_fortran_contiguous();
    let data = design.as_slice()?;
    let sample = Sample {
        targets: targets.as_slice()?,
        weights: weights.as_ref().map(|weights| weights.as_slice()).transpose()?,
    };
    py.detach(|| {
        let interpreter = Interpreter::default();
        let interrupted = || interpreter.ask(|py| py.check_signals()).is_err();
        let team = Team::new(n_threads, &interrupted);
        let run = |design: &dyn Design<T>| {
            let mut objective = Empirical::new(design, sample, loss, penalty, fit_intercept, team)?;
            task.run(&interpreter, &mut objective)
        };
        let outcome = if by_columns {
            ColumnMajor::new(data, n_rows, n_features).and_then(|design| run(&design))
        } else {
            RowMajor::new(data, n_rows, n_features).and_then(|design| run(&design))
        };
        outcome.map_err(|error| interpreter.raise(error))
    })
}

struct Evaluate {
    parameters: Vec<f64>,
}

impl Task for Evaluate {
    type Output = (f64, Vec<f64>);

    fn run(self, _interpreter: &Interpreter, objective: &mut dyn Objective) -> Result<Self::Output, Error> {
        let mut gradient = vec![0.0; objective.n_parameters()];
        let value = objective.value_and_gradient(&self.parameters, &mut gradient)?;
        Ok((value, gradient))
    }
}

struct Curvature;

impl Task for Curvature {
    type Output = f64;

    fn run(self, _interpreter: &Interpreter, objective: &mut dyn Objective) -> Result<f64, Error> {
        objective.curvature()
    }
}

struct Minimise {
    plan: PlanDescription,
    start: Vec<f64>,
    callback: Option<Py<PyAny>>,
}

impl Minimise {
    fn watch(&self, interpreter: &Interpreter, info: &StepInfo) -> Result<bool, Error> {
        let Some(callback) = &self.callback else {
            return Ok(false);
        };
        interpreter.ask(|py| {
            let arguments = (info.step, info.loss, info.gradient_norm, info.step_size, info.seconds);
            callback.bind(py).call1(arguments)?.is_truthy()
        })
    }
}

impl Task for Minimise {
    type Output = Solution;

    fn run(self, interpreter: &Interpreter, objective: &mut dyn Objective) -> Result<Solution, Error> {
        let mut method = method::from_name(&self.plan.method)?;
        let mut step_size: Box<dyn StepSize> = match self.plan.learning_rate {
            Some(rate) => Box::new(Constant(rate)),
            None => Box::new(InverseCurvature::default()),
        };
        let stopping =
            Stopping { max_steps: self.plan.n_steps, tolerance: self.plan.tol, reference: self.plan.reference };
        let mut watch = |info: &StepInfo| self.watch(interpreter, info);
        descend(objective, method.as_mut(), step_size.as_mut(), stopping, self.start.clone(), &mut watch)
    }
}

/// What the kernels run on here.
#[pyfunction]
fn instruction_set() -> &'static str {
    crate::lanes::instruction_set()
}

/// F and its gradient at flat `parameters`.
#[pyfunction]
fn value_and_gradient<'py>(
    py: Python<'py>,
    problem: ProblemDescription<'py>,
    parameters: PyReadonlyArray1<'py, f64>,
    n_threads: usize,
) -> PyResult<(f64, Bound<'py, PyArray1<f64>>)> {
    let parameters = parameters.as_slice()?.to_vec();
    let (value, gradient) = with_objective(py, &problem, n_threads, Evaluate { parameters })?;
    Ok((value, gradient.into_pyarray(py)))
}

/// The sum of all entries of a float32 or float64 matrix: the time of reading it, for benchmarks.
#[pyfunction]
fn read(py: Python<'_>, design: &Bound<'_, PyAny>, n_threads: usize) -> PyResult<f64> {
    fn typed<T: Real + Element>(py: Python<'_>, design: &PyReadonlyArray2<'_, T>, n_threads: usize) -> PyResult<f64> {
        let data = design.as_slice()?;
        Ok(py.detach(|| pass::read(data, &Team::new(n_threads, &|| false)))?)
    }
    match design.extract::<PyReadonlyArray2<'_, f32>>() {
        Ok(single) => typed(py, &single, n_threads),
        Err(_) => typed(py, &design.extract::<PyReadonlyArray2<'_, f64>>()?, n_threads),
    }
}

/// L with 0 ≼ ∇²F ≼ L·I.
#[pyfunction]
fn curvature(py: Python<'_>, problem: ProblemDescription<'_>, n_threads: usize) -> PyResult<f64> {
    with_objective(py, &problem, n_threads, Curvature)
}

/// Descends from flat `start`; returns the fields of `problem.Solution`.
#[pyfunction]
fn minimise<'py>(
    py: Python<'py>,
    problem: ProblemDescription<'py>,
    plan: PlanDescription,
    start: PyReadonlyArray1<'py, f64>,
    callback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let n_threads = plan.n_threads;
    let task = Minimise { plan, start: start.as_slice()?.to_vec(), callback };
    let solution = with_objective(py, &problem, n_threads, task)?;
    let column = |of: fn(&StepInfo) -> f64| {
        let column: Vec<f64> = solution.history.iter().map(of).collect();
        column.into_pyarray(py)
    };
    let history = PyDict::new(py);
    history.set_item("loss", column(|info| info.loss))?;
    history.set_item("gradient_norm", column(|info| info.gradient_norm))?;
    history.set_item("step_size", column(|info| info.step_size))?;
    history.set_item("seconds", column(|info| info.seconds))?;
    let fields = PyDict::new(py);
    fields.set_item("parameters", solution.parameters.clone().into_pyarray(py))?;
    fields.set_item("loss", solution.loss)?;
    fields.set_item("gradient_norm", solution.gradient_norm)?;
    fields.set_item("status", solution.status.name())?;
    fields.set_item("history", history)?;
    Ok(fields)
}

// Not yet tried on a free-threaded interpreter, so the module asks for the lock.
#[pymodule(gil_used = true)]
mod _steepest {
    #[pymodule_export]
    use super::{curvature, instruction_set, minimise, read, value_and_gradient};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
