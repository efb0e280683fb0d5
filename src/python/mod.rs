//! The binding: the only module that names pyo3 and numpy. The façade has the documentation.
//!
//! Python hands over a description (`Problem`, `Plan`); it is parsed once into typed form, and then everything runs
//! without the interpreter except for its signals and the callback, both on the calling thread.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod problem;
mod process;
mod statistics;

use crate::descend::{Solution, Start, StepInfo, descend};
use crate::empirical::Empirical;
use crate::error::{Error, expect_length};
use crate::memory::reserve;
use crate::method::{Description, build};
use crate::objective::Objective;
use crate::pass;
use crate::real::Real;
use crate::reduce::Team;
use crate::state::State;
use crate::stopping::Stopping;
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use problem::{HeldProblem, ProblemDescription};
use process::{guarded, is_ending};
use pyo3::exceptions::{PyMemoryError, PySystemExit, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A method or a rule for step sizes.
#[derive(FromPyObject)]
struct Named {
    name: String,
    settings: BTreeMap<String, f64>,
}

impl From<Named> for Description {
    fn from(named: Named) -> Self {
        Self { name: named.name, settings: named.settings }
    }
}

/// The attributes of `problem.Plan` that the core reads.
#[derive(FromPyObject)]
struct PlanDescription {
    method: Named,
    step_size: Named,
    n_steps: u64,
    tol: f64,
    max_seconds: Option<f64>,
    target_loss: Option<f64>,
    patience: u64,
    seed: u64,
    n_threads: usize,
    strategy: String,
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let kind = match error {
            Error::Memory { .. } => return PyMemoryError::new_err(message),
            // Without an exception of Python's that says why.
            Error::Interrupted => return PySystemExit::new_err(()),
            Error::Internal { .. } => "InternalError",
            _ => "InputError",
        };
        Python::attach(|py| {
            let kind = py.import("steepest.errors").and_then(|errors| errors.getattr(kind));
            match kind.and_then(|kind| kind.call1((&message,))) {
                Ok(exception) => PyErr::from_value(exception),
                // Only where the package itself is broken.
                Err(_) => PyValueError::new_err(message),
            }
        })
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
    fn run<T: Real>(
        self,
        interpreter: &Interpreter,
        objective: &mut Empirical<'_, T>,
        validation: Option<&mut Empirical<'_, T>>,
    ) -> Result<Self::Output, Error>;
}

/// How the objectives are to be evaluated.
#[derive(Clone, Copy)]
struct Means {
    n_threads: usize,
    /// Whether sufficient statistics stand for the rows.
    expand: bool,
}

impl Means {
    fn stream(n_threads: usize) -> Self {
        Self { n_threads, expand: false }
    }
}

/// Builds the objectives that are described and runs `task` on them, detached from the interpreter.
fn with_objective<'py, K: Task>(
    py: Python<'py>,
    problem: &ProblemDescription<'py>,
    validation: Option<&ProblemDescription<'py>>,
    means: Means,
    task: K,
) -> PyResult<K::Output> {
    match HeldProblem::<f32>::extract(problem)? {
        Some(problem) => with_typed_objective(py, &problem, validation, means, task),
        None => {
            let problem = HeldProblem::<f64>::extract(problem)?;
            let problem = problem.ok_or_else(|| PyValueError::new_err("X: expected float32 or float64"))?;
            with_typed_objective(py, &problem, validation, means, task)
        }
    }
}

fn with_typed_objective<'py, T: Real + Element, K: Task>(
    py: Python<'py>,
    problem: &HeldProblem<'py, T>,
    validation: Option<&ProblemDescription<'py>>,
    means: Means,
    task: K,
) -> PyResult<K::Output> {
    let validation = match validation {
        None => None,
        Some(validation) => HeldProblem::<T>::extract(validation)?,
    };
    let (design, sample, model, precondition) =
        (problem.design()?, problem.sample()?, problem.model, problem.precondition);
    let validation = match &validation {
        None => None,
        Some(validation) => Some((validation.design()?, validation.sample()?, validation.model)),
    };
    py.detach(|| {
        let interpreter = Interpreter::default();
        let interrupted = || is_ending() || interpreter.ask(|py| py.check_signals()).is_err();
        let team = Team::new(means.n_threads, &interrupted);
        let outcome = design.with(|design| {
            let mut objective = Empirical::new(design, sample, model, &team)?;
            if means.expand {
                objective.expand()?;
            }
            let scaling = if precondition { Some(objective.standard_scaling()?) } else { None };
            objective.rescale(scaling.clone());
            let Some((design, sample, model)) = &validation else {
                return task.run(&interpreter, &mut objective, None);
            };
            design.with(|design| {
                let mut validation = Empirical::new(design, *sample, *model, &team)?;
                validation.rescale(scaling);
                task.run(&interpreter, &mut objective, Some(&mut validation))
            })
        });
        outcome.map_err(|error| interpreter.raise(error))
    })
}

struct Evaluate {
    parameters: Vec<f64>,
}

impl Task for Evaluate {
    type Output = (f64, Vec<f64>);

    fn run<T: Real>(
        self,
        _interpreter: &Interpreter,
        objective: &mut Empirical<'_, T>,
        _validation: Option<&mut Empirical<'_, T>>,
    ) -> Result<Self::Output, Error> {
        let mut gradient = vec![0.0; objective.n_parameters()];
        let value = objective.value_and_gradient(&self.parameters, &mut gradient)?;
        Ok((value + objective.rough_value(&self.parameters), gradient))
    }
}

struct Curvature;

impl Task for Curvature {
    type Output = f64;

    fn run<T: Real>(
        self,
        _interpreter: &Interpreter,
        objective: &mut Empirical<'_, T>,
        _validation: Option<&mut Empirical<'_, T>>,
    ) -> Result<f64, Error> {
        objective.curvature(&vec![0.0; objective.n_parameters()])
    }
}

struct Minimise {
    plan: PlanDescription,
    start: Start,
    callback: Option<Py<PyAny>>,
}

impl Minimise {
    fn watch(callback: Option<&Py<PyAny>>, interpreter: &Interpreter, info: &StepInfo) -> Result<bool, Error> {
        let Some(callback) = callback else {
            return Ok(false);
        };
        interpreter.ask(|py| {
            let numbers = (info.loss, info.gradient_norm, info.step_size, info.seconds, info.validation_loss);
            callback.bind(py).call1((info.step, numbers.0, numbers.1, numbers.2, numbers.3, numbers.4))?.is_truthy()
        })
    }
}

impl Task for Minimise {
    /// With the condition number of least squares, where it is known.
    type Output = (Solution, Option<f64>);

    fn run<T: Real>(
        self,
        interpreter: &Interpreter,
        objective: &mut Empirical<'_, T>,
        validation: Option<&mut Empirical<'_, T>>,
    ) -> Result<Self::Output, Error> {
        let (plan, mut start) = (self.plan, self.start);
        expect_length("start", objective.n_parameters(), start.parameters.len())?;
        if let Some(validation) = &validation {
            objective.layout().expect(validation.layout())?;
        }
        let mut method = build(&plan.method.into(), &plan.step_size.into(), objective.n_rows(), plan.seed)?;
        let stopping = Stopping {
            max_steps: plan.n_steps,
            tolerance: plan.tol,
            max_seconds: plan.max_seconds,
            target_loss: plan.target_loss,
            patience: plan.patience,
        };
        let point = start.state.vector("point", start.parameters.len())?;
        let original = point.clone().map(|mut point| {
            objective.to_original(&mut point);
            point
        });
        if original.as_ref() == Some(&start.parameters) {
            // In the variables that the descent works on, so that going on loses nothing to rounding.
            start.parameters = point.unwrap_or_default();
        } else {
            // Other data has other variables: what was remembered in the old ones would mislead.
            start.state = State::default();
            objective.to_scaled(&mut start.parameters);
        }
        let mut watch = |info: &StepInfo, _: &[f64]| Self::watch(self.callback.as_ref(), interpreter, info);
        let validation = validation.map(|validation| validation as &mut dyn Objective);
        let condition = objective.condition();
        let mut solution = descend(objective, validation, method.as_mut(), stopping, start, &mut watch)?;
        objective.to_original(&mut solution.parameters);
        if let Some(best) = &mut solution.best {
            objective.to_original(best);
        }
        Ok((solution, condition))
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
    guarded(|| {
        let parameters = copied(&parameters)?;
        let (value, gradient) = with_objective(py, &problem, None, Means::stream(n_threads), Evaluate { parameters })?;
        Ok((value, gradient.into_pyarray(py)))
    })
}

/// The sum of all entries of a float32 or float64 matrix: the time of reading it, for benchmarks.
#[pyfunction]
fn read(py: Python<'_>, design: &Bound<'_, PyAny>, n_threads: usize) -> PyResult<f64> {
    fn typed<T: Real + Element>(py: Python<'_>, design: &PyReadonlyArray2<'_, T>, n_threads: usize) -> PyResult<f64> {
        let data = design.as_slice()?;
        Ok(py.detach(|| pass::read(data, &Team::new(n_threads, &|| false)))?)
    }
    guarded(|| match design.extract::<PyReadonlyArray2<'_, f32>>() {
        Ok(single) => typed(py, &single, n_threads),
        Err(_) => typed(py, &design.extract::<PyReadonlyArray2<'_, f64>>()?, n_threads),
    })
}

/// L with 0 ≼ ∇²F ≼ L·I.
#[pyfunction]
fn curvature(py: Python<'_>, problem: ProblemDescription<'_>, n_threads: usize) -> PyResult<f64> {
    guarded(|| with_objective(py, &problem, None, Means::stream(n_threads), Curvature))
}

/// Numbers of Python's, copied.
fn copied(numbers: &PyReadonlyArray1<'_, f64>) -> PyResult<Vec<f64>> {
    let (given, mut copy) = (numbers.as_slice()?, Vec::new());
    reserve("a copy of the parameters", &mut copy, given.len())?;
    copy.extend_from_slice(given);
    Ok(copy)
}

/// Descends from flat `start` and a former `state`; returns the fields of `problem.Solution`.
#[pyfunction]
fn minimise<'py>(
    py: Python<'py>,
    problem: ProblemDescription<'py>,
    validation: Option<ProblemDescription<'py>>,
    plan: PlanDescription,
    start: PyReadonlyArray1<'py, f64>,
    state: BTreeMap<String, PyReadonlyArray1<'py, f64>>,
    callback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    guarded(|| {
        let means = Means { n_threads: plan.n_threads, expand: plan.strategy == "gram" };
        let mut remembered = State::default();
        for (name, values) in &state {
            remembered.set(name, copied(values)?);
        }
        let start = Start { parameters: copied(&start)?, state: remembered };
        let task = Minimise { plan, start, callback };
        let (solution, condition) = with_objective(py, &problem, validation.as_ref(), means, task)?;
        fields_of(py, solution, condition)
    })
}

fn fields_of(py: Python<'_>, solution: Solution, condition: Option<f64>) -> PyResult<Bound<'_, PyDict>> {
    let history = PyDict::new(py);
    history.set_item("step", column(py, &solution.history, |info| info.step as i64)?)?;
    history.set_item("loss", column(py, &solution.history, |info| info.loss)?)?;
    history.set_item("gradient_norm", column(py, &solution.history, |info| info.gradient_norm)?)?;
    history.set_item("step_size", column(py, &solution.history, |info| info.step_size)?)?;
    history.set_item("seconds", column(py, &solution.history, |info| info.seconds)?)?;
    history.set_item("validation_loss", column(py, &solution.history, |info| info.validation_loss)?)?;
    let state = PyDict::new(py);
    for (name, values) in solution.state.0 {
        state.set_item(name, values.into_pyarray(py))?;
    }
    let fields = PyDict::new(py);
    fields.set_item("parameters", solution.parameters.into_pyarray(py))?;
    fields.set_item("loss", solution.loss)?;
    fields.set_item("gradient_norm", solution.gradient_norm)?;
    fields.set_item("validation_loss", solution.validation_loss)?;
    fields.set_item("n_steps", solution.n_steps)?;
    fields.set_item("status", solution.status.name())?;
    fields.set_item("history", history)?;
    fields.set_item("state", state)?;
    fields.set_item("condition", condition)?;
    fields.set_item("best", solution.best.map(|best| best.into_pyarray(py)))?;
    Ok(fields)
}

/// A column of the history.
fn column<'py, V: Element>(
    py: Python<'py>,
    history: &[StepInfo],
    of: fn(&StepInfo) -> V,
) -> PyResult<Bound<'py, PyArray1<V>>> {
    let mut values = Vec::new();
    reserve("the history of the descent", &mut values, history.len())?;
    values.extend(history.iter().map(of));
    Ok(values.into_pyarray(py))
}

// Not yet tried on a free-threaded interpreter, so the module asks for the lock.
#[pymodule(gil_used = true)]
mod _steepest {
    #[pymodule_export]
    use super::process::{_after_fork, _before_fork, _begin_child, _end, _panic, available_threads};
    #[pymodule_export]
    use super::statistics::{merged_statistics, statistics};
    #[pymodule_export]
    use super::{curvature, instruction_set, minimise, read, value_and_gradient};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        super::process::arrange(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
