//! `problem.Problem` in typed form, its arrays borrowed from Python.

use crate::design::{ColumnMajor, Csr, Design, RowMajor};
use crate::empirical::Model;
use crate::error::Error;
use crate::loss::Loss;
use crate::penalty::ElasticNet;
use crate::real::Real;
use crate::sample::Sample;
use numpy::ndarray::Dimension;
use numpy::{Element, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// The attributes of `problem.Problem` that the core reads.
#[derive(FromPyObject)]
pub(super) struct ProblemDescription<'py> {
    design: Bound<'py, PyAny>,
    targets: Bound<'py, PyAny>,
    sample_weight: Option<Bound<'py, PyAny>>,
    offset: Option<Bound<'py, PyAny>>,
    loss: LossDescription,
    penalty: PenaltyDescription,
    fit_intercept: bool,
    precondition: bool,
}

#[derive(FromPyObject)]
struct LossDescription {
    kernel: String,
    width: usize,
    parameter: f64,
}

#[derive(FromPyObject)]
struct PenaltyDescription {
    l1: f64,
    l2: f64,
}

/// The attributes of a sparse design matrix.
#[derive(FromPyObject)]
struct CsrDescription<'py> {
    indptr: Bound<'py, PyAny>,
    indices: Bound<'py, PyAny>,
    data: Bound<'py, PyAny>,
    shape: (usize, usize),
}

/// A design matrix as slices that need no interpreter.
pub(super) enum DesignView<'a, T> {
    Dense { data: &'a [T], shape: (usize, usize), by_columns: bool },
    Csr32 { indptr: &'a [i32], indices: &'a [i32], data: &'a [T], n_features: usize },
    Csr64 { indptr: &'a [i64], indices: &'a [i64], data: &'a [T], n_features: usize },
}

impl<T: Real> DesignView<'_, T> {
    /// Runs `task` on the design matrix; its structure is checked here, once.
    pub(super) fn with<R>(&self, task: impl FnOnce(&dyn Design<T>) -> Result<R, Error>) -> Result<R, Error> {
        match *self {
            Self::Dense { data, shape: (n, d), by_columns: true } => task(&ColumnMajor::new(data, n, d)?),
            Self::Dense { data, shape: (n, d), .. } => task(&RowMajor::new(data, n, d)?),
            Self::Csr32 { indptr, indices, data, n_features } => task(&Csr::new(indptr, indices, data, n_features)?),
            Self::Csr64 { indptr, indices, data, n_features } => task(&Csr::new(indptr, indices, data, n_features)?),
        }
    }
}

/// The arrays of a design matrix, borrowed from Python.
enum HeldDesign<'py, T: Element> {
    Dense(PyReadonlyArray2<'py, T>),
    Csr32(PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, T>, usize),
    Csr64(PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, T>, usize),
}

impl<'py, T: Real + Element> HeldDesign<'py, T> {
    /// None if its numbers are of another type.
    fn extract(design: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Ok(csr) = design.extract::<CsrDescription<'py>>() else {
            return Ok(design.extract().ok().map(Self::Dense));
        };
        let Ok(data) = csr.data.extract() else {
            return Ok(None);
        };
        let n_features = csr.shape.1;
        Ok(Some(match (csr.indptr.extract(), csr.indices.extract()) {
            (Ok(indptr), Ok(indices)) => Self::Csr32(indptr, indices, data, n_features),
            _ => Self::Csr64(csr.indptr.extract()?, csr.indices.extract()?, data, n_features),
        }))
    }

    fn view(&self) -> PyResult<DesignView<'_, T>> {
        Ok(match self {
            Self::Dense(array) => DesignView::Dense {
                data: array.as_slice()?,
                shape: array.dims().into_pattern(),
                // A single column is both: the kernels for short rows are the faster ones.
                by_columns: !array.is_c_contiguous(),
            },
            Self::Csr32(indptr, indices, data, n_features) => DesignView::Csr32 {
                indptr: indptr.as_slice()?,
                indices: indices.as_slice()?,
                data: data.as_slice()?,
                n_features: *n_features,
            },
            Self::Csr64(indptr, indices, data, n_features) => DesignView::Csr64 {
                indptr: indptr.as_slice()?,
                indices: indices.as_slice()?,
                data: data.as_slice()?,
                n_features: *n_features,
            },
        })
    }
}

/// A problem in typed form, its arrays borrowed from Python.
pub(super) struct HeldProblem<'py, T: Element> {
    design: HeldDesign<'py, T>,
    targets: PyReadonlyArrayDyn<'py, T>,
    weights: Option<PyReadonlyArray1<'py, T>>,
    offsets: Option<PyReadonlyArrayDyn<'py, T>>,
    pub(super) model: Model,
    pub(super) precondition: bool,
}

impl<'py, T: Real + Element> HeldProblem<'py, T> {
    /// None if its numbers are of another type.
    pub(super) fn extract(problem: &ProblemDescription<'py>) -> PyResult<Option<Self>> {
        let Some(design) = HeldDesign::extract(&problem.design)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            design,
            targets: problem.targets.extract()?,
            weights: problem.sample_weight.as_ref().map(|weights| weights.extract()).transpose()?,
            offsets: problem.offset.as_ref().map(|offsets| offsets.extract()).transpose()?,
            model: Model {
                loss: Loss::from_name(&problem.loss.kernel, problem.loss.width, problem.loss.parameter)?,
                penalty: ElasticNet { l1: problem.penalty.l1, l2: problem.penalty.l2 },
                fit_intercept: problem.fit_intercept,
            },
            precondition: problem.precondition,
        }))
    }

    pub(super) fn design(&self) -> PyResult<DesignView<'_, T>> {
        self.design.view()
    }

    pub(super) fn sample(&self) -> PyResult<Sample<'_, T>> {
        Ok(Sample {
            targets: self.targets.as_slice()?,
            weights: self.weights.as_ref().map(|weights| weights.as_slice()).transpose()?,
            offsets: self.offsets.as_ref().map(|offsets| offsets.as_slice()).transpose()?,
        })
    }
}
