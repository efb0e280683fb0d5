//! Linear models by gradient descent: the fast core of the Python package `steepest`.
//!
//! The map, in the order of imports (a module uses only modules above it; a test enforces it):
//!
//! | module | what lives there |
//! |---|---|
//! | [`real`] | the scalar types, `f32` and `f64` |
//! | [`error`] | what can go wrong |
//! | [`fault`] | panics become errors |
//! | [`memory`] | asked for before it is taken |
//! | [`lanes`] | vector kernels, and the choice of instruction set |
//! | [`ahead`] | memory asked for before it is read (the only module with `unsafe` in it) |
//! | [`lines`] | the two products of a gradient, on lines of a matrix |
//! | [`elementary`] | exponential and logarithm for whole blocks |
//! | [`loss`], [`penalty`] | ℓ(y, z) and its derivative; functions of the coefficients |
//! | [`design`] | the data matrix: two verbs |
//! | [`sample`] | what was observed beside it |
//! | [`reduce`] | threads (the only module that names rayon) |
//! | [`pass`] | one pass over the data: scores → residual → gradient |
//! | [`moments`] | means and squares of the columns |
//! | [`objective`] | all that an optimiser sees |
//! | [`scaling`] | preconditioning: a change of variables |
//! | [`hessian`] | one pass for second derivatives |
//! | [`spectrum`] | the largest eigenvalue of an operator |
//! | [`statistics`] | all that least squares needs to know of the rows |
//! | [`least_squares`] | its solution in closed form |
//! | [`coordinate`] | a quadratic, coordinate by coordinate |
//! | [`quadratic`] | the objective of least squares without the rows |
//! | [`empirical`] | the objective of a sample: loss, penalty, scaling |
//! | [`state`] | what a descent must remember to go on |
//! | [`batches`] | the rows of each mini-batch |
//! | [`step`], [`line_search`], [`method`] | step size, search on a line, direction |
//! | [`stopping`] | when to end, and how it ended |
//! | [`descend`] | the one loop |
//! | `python` | the binding (the only module that names pyo3 and numpy), behind the feature `python` |

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used))]

pub mod real;

pub mod error;

pub mod fault;

pub mod memory;

pub mod lanes;

pub mod ahead;
pub mod lines;

pub mod elementary;

pub mod loss;
pub mod penalty;

pub mod design;

pub mod sample;

pub mod reduce;

pub mod pass;

pub mod moments;

pub mod objective;

pub mod scaling;

pub mod hessian;

pub mod spectrum;

pub mod statistics;

pub mod least_squares;

pub mod coordinate;

pub mod quadratic;

pub mod empirical;

pub mod state;

pub mod batches;

pub mod step;

pub mod line_search;

pub mod method;

pub mod stopping;

pub mod descend;

#[cfg(feature = "python")]
mod python;
