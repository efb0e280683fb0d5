//! What can go wrong in the core. Input is checked by the façade; these are what only the core can notice.

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    #[error("{name}: expected length {expected}, got {given}")]
    Length { name: &'static str, expected: usize, given: usize },
    #[error("{name}: unknown value {given:?}; known: {known}")]
    Unknown { name: &'static str, given: String, known: &'static str },
    #[error("STEEPEST_ISA: unknown instruction set {given:?}; this machine has: {known}")]
    Instructions { given: String, known: String },
    #[error("target {value} at row {row} is not a class number below {n_classes}")]
    ClassNumber { row: usize, value: f64, n_classes: usize },
    #[error("X: the sparse matrix is broken: {reason}")]
    Csr { reason: String },
    #[error("state: {reason}; pass start=(coef, intercept) to begin afresh")]
    State { reason: String },
    #[error(
        "method 'newton': {n_parameters} parameters need a Hessian of {gigabytes:.1} GB; method='lbfgs' needs none"
    )]
    HessianTooLarge { n_parameters: usize, gigabytes: f64 },
    #[error("strategy 'gram': only squared errors have sufficient statistics; pass strategy='stream'")]
    NotQuadratic,
    #[error("method 'coordinate' needs sufficient statistics; pass strategy='gram'")]
    NoStatistics,
    #[error("X, y and the scores of a row: expected at least one of each; got {n_rows} × {n_features}, {width} scores")]
    Empty { n_rows: usize, n_features: usize, width: usize },
    #[error("{what}: no room for another {megabytes:.0} MB; fewer rows, columns or classes at a time need less")]
    Memory { what: &'static str, megabytes: f64 },
    #[error(
        "a bug in steepest, unless another thread changed the data meanwhile; please report what led to it: {report}"
    )]
    Internal { report: String },
    #[error("interrupted")]
    Interrupted,
}

/// An error unless `given` is `expected`.
pub fn expect_length(name: &'static str, expected: usize, given: usize) -> Result<(), Error> {
    if expected == given { Ok(()) } else { Err(Error::Length { name, expected, given }) }
}
