//! Methods: what to do with a gradient. One file each.

mod gradient_descent;

pub use gradient_descent::GradientDescent;

use crate::error::Error;

/// An optimiser's own part of a step; the loop in `descend` does the rest.
pub trait Method {
    /// Moves `point`, the place where the next gradient will be taken.
    fn advance(&mut self, point: &mut [f64], gradient: &[f64], step_size: f64);
}

/// The method that the façade calls `name`.
pub fn from_name(name: &str) -> Result<Box<dyn Method>, Error> {
    match name {
        "gd" => Ok(Box::new(GradientDescent)),
        _ => Err(Error::Unknown { name: "method", given: name.to_owned(), known: "gd" }),
    }
}
