//! The average squared error as what it is, a quadratic: its expansion about a point, at a cost of d² an evaluation.
//!
//! F(a + δ) = F(a) + ⟨∇F(a), δ⟩ + ½ δᵀ H δ holds exactly. About a point near the minimum nothing cancels: what is added
//! to the minimum is a sum of squares.

#![allow(
    clippy::indexing_slicing,
    reason = "vectors are of the layout's length: `new` makes its own so, and what evaluates first checks the parameters"
)]

use crate::coordinate::Coordinates;
use crate::error::Error;
use crate::lanes::{add_scaled, dot};
use crate::least_squares::{Factor, NormalEquations};
use crate::objective::Layout;
use crate::penalty::ElasticNet;
use faer::Mat;

/// The average loss, without a penalty, in the variables of X as it is.
pub struct Quadratic {
    layout: Layout,
    /// G = (2 / k) Σ s (x − m)(x − m)ᵀ / Σ s, by rows
    gram: Vec<f64>,
    /// m: zero where there is no intercept.
    pub center: Vec<f64>,
    /// a
    pub anchor: Vec<f64>,
    /// F(a)
    pub value: f64,
    /// ∇F(a)
    pub gradient: Vec<f64>,
    /// Columns that vary.
    felt: Vec<bool>,
    root: Option<Root>,
    way: Vec<f64>,
    /// G δ for one target.
    turned: Vec<f64>,
}

/// A triangular Q with QᵀQ = G + λ₂ I, by rows. Where columns all but determine each other, G δ is far smaller than its
/// terms; Q δ is so by the root of that, and of δᵀ G δ it makes a sum of squares.
struct Root {
    upper: Vec<f64>,
    l2: f64,
}

impl Root {
    /// Overwrites `product` with G δ and returns δᵀ G δ.
    fn turn(&self, way: &[f64], product: &mut [f64]) -> f64 {
        let d = way.len();
        product.iter_mut().zip(way).for_each(|(entry, way)| *entry = -self.l2 * way);
        let mut squares = -self.l2 * dot(way, way);
        for (i, line) in self.upper.chunks_exact(d).enumerate() {
            let along = dot(&line[i..], &way[i..]);
            add_scaled(&mut product[i..], along, &line[i..]);
            squares += along * along;
        }
        squares
    }
}

impl Quadratic {
    /// About `anchor`, with value and gradient there by the equations and the second moments of the targets about
    /// `target_means`.
    pub fn new(equations: &NormalEquations, layout: Layout, target_squares: f64, solution: &Mat<f64>) -> Self {
        let d = layout.n_features;
        let slope = &equations.gram * solution - &equations.right;
        let mut gradient = vec![0.0; layout.n_parameters()];
        let mut value = target_squares;
        for (k, row) in layout.split_mut(&mut gradient).0.chunks_exact_mut(d).enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry = slope[(j, k)];
                // −⟨r, w⟩ + ½ ⟨w, G w⟩
                value += 0.5 * solution[(j, k)] * (slope[(j, k)] - equations.right[(j, k)]);
            }
        }
        Self {
            layout,
            // It lies by columns, and is symmetric.
            gram: (0..d).flat_map(|j| (0..d).map(move |i| equations.gram[(i, j)])).collect(),
            center: equations.center.clone(),
            anchor: equations.parameters(layout, solution),
            // No maximum: that would hide what is not a number.
            value: if value < 0.0 { 0.0 } else { value },
            gradient,
            felt: (0..d).map(|j| equations.is_felt(j)).collect(),
            root: None,
            way: vec![0.0; d],
            turned: vec![0.0; d],
        }
    }

    /// From now on, evaluates by a factor of G + λ₂ I that was not taken from G.
    pub fn evaluate_by(&mut self, factor: &Factor, l2: f64) {
        self.root = Some(Root { upper: factor.by_rows(), l2 });
    }

    /// Returns F and overwrites `gradient` with its gradient.
    pub fn value_and_gradient(&mut self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let (layout, d, share) = (self.layout, self.layout.n_features, 2.0 / self.layout.width as f64);
        let (coef, intercept) = layout.split(parameters);
        let (anchor, anchor_intercept) = layout.split(&self.anchor);
        let (slope, intercept_slope) = layout.split(&self.gradient);
        let (coef_gradient, intercept_gradient) = layout.split_mut(gradient);
        let mut value = self.value;
        for k in 0..layout.width {
            let row = k * d..(k + 1) * d;
            for ((way, w), a) in self.way.iter_mut().zip(&coef[row.clone()]).zip(&anchor[row.clone()]) {
                *way = w - a;
            }
            // The scores of the mean row move by this.
            let shift = intercept.get(k).map_or(0.0, |b| b - anchor_intercept[k] + dot(&self.center, &self.way));
            let coef_gradient = &mut coef_gradient[row.clone()];
            let squares = match &self.root {
                Some(root) => root.turn(&self.way, &mut self.turned),
                None => {
                    let lines = self.gram.chunks_exact(d);
                    self.turned.iter_mut().zip(lines).for_each(|(entry, line)| *entry = dot(line, &self.way));
                    dot(&self.way, &self.turned)
                }
            };
            for ((entry, at_anchor), turned) in coef_gradient.iter_mut().zip(&slope[row.clone()]).zip(&self.turned) {
                *entry = at_anchor + turned;
            }
            // ½ ⟨δ, H δ⟩ + ⟨δ, ∇F(a)⟩, first without the mean row, whose share is a square of its own.
            value += 0.5 * (squares + share * shift * shift) + dot(&self.way, &slope[row]);
            if let Some(b) = intercept.get(k) {
                coef_gradient.iter_mut().zip(&self.center).for_each(|(entry, m)| *entry += share * shift * m);
                intercept_gradient[k] = intercept_slope[k] + share * shift;
                value += (b - anchor_intercept[k]) * intercept_slope[k];
            }
        }
        value
    }

    /// Where a cycle of coordinate steps, and Newton's step among what it leaves, lead from `parameters`; the intercept
    /// is always at its best. Before either, `check` may end it with an error.
    pub fn coordinate_step(
        &mut self,
        parameters: &mut [f64],
        penalty: ElasticNet,
        check: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (layout, d, share) = (self.layout, self.layout.n_features, 2.0 / self.layout.width as f64);
        let (anchor, anchor_intercept) = layout.split(&self.anchor);
        let (slope, intercept_slope) = layout.split(&self.gradient);
        let (coef, intercept) = layout.split_mut(parameters);
        let coordinates = Coordinates { gram: &self.gram, felt: &self.felt, penalty };
        for (k, w) in coef.chunks_exact_mut(d).enumerate() {
            let row = k * d..(k + 1) * d;
            let at_center = intercept_slope.get(k).copied().unwrap_or(0.0);
            let move_from_anchor = |way: &mut [f64], w: &[f64]| {
                way.iter_mut().zip(w).zip(&anchor[row.clone()]).for_each(|((way, w), a)| *way = w - a);
            };
            move_from_anchor(&mut self.way, w);
            // With the intercept at its best, the mean row's score moves by −∂F/∂b ÷ share.
            let mut slope: Vec<f64> =
                slope[row.clone()].iter().zip(&self.center).map(|(slope, m)| slope - m * at_center).collect();
            slope.iter_mut().zip(self.gram.chunks_exact(d)).for_each(|(slope, line)| *slope += dot(line, &self.way));
            check()?;
            coordinates.cycle(w, &mut slope);
            check()?;
            coordinates.settle(w, &mut slope);
            if let Some(b) = intercept.get_mut(k) {
                move_from_anchor(&mut self.way, w);
                *b = anchor_intercept[k] - at_center / share - dot(&self.center, &self.way);
            }
        }
        Ok(())
    }

    /// The diagonal of G.
    pub fn diagonal(&self) -> impl Iterator<Item = f64> {
        self.gram.iter().step_by(self.layout.n_features + 1).copied()
    }

    /// The Hessian for one target, by the coefficients and the scores of the mean row.
    pub fn hessian(&self) -> Mat<f64> {
        let (d, share) = (self.layout.n_features, 2.0 / self.layout.width as f64);
        let order = if self.layout.fit_intercept { d + 1 } else { d };
        Mat::from_fn(order, order, |i, j| match (i < d, j < d) {
            (true, true) => self.gram[j * d + i],
            (false, false) => share,
            _ => 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Statistics;
    use std::cell::Cell;

    /// Each target may take a tenth of a second.
    #[test]
    fn a_coordinate_step_can_be_ended_at_any_target() {
        let (d, width) = (2, 3);
        let layout = Layout { width, n_features: d, fit_intercept: true };
        let order = d + width;
        let moments = (0..order * order).map(|i| if i % (order + 1) == 0 { 1.0 } else { 0.1 }).collect();
        let statistics = Statistics { weight: 10.0, means: vec![0.0; order], moments };
        let equations = NormalEquations::new(&statistics, layout, 0.0);
        let solution = equations.solve(&equations.factor());
        let mut quadratic = Quadratic::new(&equations, layout, 1.0, &solution);
        for most in 0..=2 * width {
            let asked = Cell::new(0);
            let check = || {
                asked.set(asked.get() + 1);
                if asked.get() > most { Err(Error::Interrupted) } else { Ok(()) }
            };
            let outcome = quadratic.coordinate_step(&mut vec![0.0; layout.n_parameters()], ElasticNet::NONE, check);
            assert_eq!(outcome.is_ok(), most == 2 * width);
        }
    }
}
