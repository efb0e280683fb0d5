//! What a descent must remember to go on as if it had never stopped: named vectors, the same for every backend.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::error::Error;
use std::collections::BTreeMap;

/// Named vectors of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub BTreeMap<String, Vec<f64>>);

impl State {
    /// Nothing is kept of an empty vector: there was nothing to remember yet.
    pub fn set(&mut self, name: &str, values: Vec<f64>) {
        if !values.is_empty() {
            self.0.insert(name.to_owned(), values);
        }
    }

    pub fn set_number(&mut self, name: &str, value: f64) {
        self.set(name, vec![value]);
    }

    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// A vector of the length of the parameters; None if there is none.
    pub fn vector(&self, name: &str, n_parameters: usize) -> Result<Option<Vec<f64>>, Error> {
        self.checked(name, n_parameters, |length| length == n_parameters)
    }

    /// Some of them, one after the other.
    pub fn vectors(&self, name: &str, n_parameters: usize) -> Result<Option<Vec<f64>>, Error> {
        self.checked(name, n_parameters, |length| length.is_multiple_of(n_parameters))
    }

    fn checked(
        &self,
        name: &str,
        n_parameters: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Result<Option<Vec<f64>>, Error> {
        match self.get(name) {
            None | Some([]) => Ok(None),
            Some(values) if fits(values.len()) => Ok(Some(values.to_vec())),
            Some(values) => Err(Error::State {
                reason: format!("{name:?} has {} numbers for {n_parameters} parameters", values.len()),
            }),
        }
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(|values| values.first().copied())
    }
}
