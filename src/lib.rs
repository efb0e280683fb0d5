//! Linear models by gradient descent: the fast core of the Python package `steepest`.
//!
//! The map, in the order of imports (a module uses only modules above it; a test enforces it):
//!
//! | module | what lives there |
//! |---|---|
//! | [`real`] | the scalar types, `f32` and `f64` |
//! | [`error`] | what can go wrong |
//! | [`lanes`] | vector kernels, and the choice of instruction set |
//! | [`elementary`] | exponential and logarithm for whole blocks |
//! | [`loss`], [`penalty`] | ℓ(y, z) and its derivative; functions of the coefficients |
//! | [`design`] | the data matrix: two verbs |
//! | [`reduce`] | threads (the only module that names rayon) |
//! | [`pass`] | one pass over the data: scores → residual → gradient |
//! | [`spectrum`] | the largest eigenvalue of an operator |
//! | [`objective`] | all that an optimiser sees |
//! | [`method`], [`step`], [`stopping`] | direction, step size, when to end |
//! | [`descend`] | the one loop |
//! | `python` | the binding (the only module that names pyo3 and numpy), behind the feature `python` |
#![deny(unsafe_code)]

pub mod real;

pub mod error;

pub mod lanes;

pub mod elementary;

pub mod loss;
pub mod penalty;

pub mod design;

pub mod reduce;

pub mod pass;

pub mod spectrum;

pub mod objective;

pub mod method;
pub mod step;
pub mod stopping;

pub mod descend;

#[cfg(feature = "python")]
mod python;
