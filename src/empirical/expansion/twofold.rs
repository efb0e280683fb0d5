//! The average squared error to twice the usual precision: what corrects a minimum of which X itself takes half the
//! digits.

use crate::error::Error;
use crate::lanes::vectorized;
use crate::memory::bytes_of;
use crate::objective::Layout;
use crate::pass::chunk_rows;
use crate::real::Real;
use crate::reduce::Team;
use crate::sample::of_rows;
use crate::statistics::Rows;
use std::ops::Range;

const BLOCK_ROWS: usize = 64;

/// A sum, and what rounding has taken from it (Ogita, Rump and Oishi, Accurate sum and dot product, algorithm 5.3).
#[derive(Clone, Copy, Default)]
struct Twofold {
    sum: f64,
    rest: f64,
}

impl Twofold {
    #[inline(always)]
    fn add(&mut self, other: Self) {
        let sum = self.sum + other.sum;
        let taken = sum - self.sum;
        self.rest += (self.sum - (sum - taken)) + (other.sum - taken) + other.rest;
        self.sum = sum;
    }

    #[inline(always)]
    fn add_multiple(&mut self, factor: f64, other: Self) {
        let product = factor * other.sum;
        self.add(Self { sum: product, rest: factor.mul_add(other.sum, -product) + factor * other.rest });
    }

    /// The same number, with a rest that is no more than a rounding of the sum.
    #[inline(always)]
    fn settled(self) -> Self {
        let sum = self.sum + self.rest;
        Self { sum, rest: self.rest - (sum - self.sum) }
    }
}

impl From<f64> for Twofold {
    #[inline(always)]
    fn from(sum: f64) -> Self {
        Self { sum, rest: 0.0 }
    }
}

/// Σ s r² and Σ s r (x, 1), r = w x + b + offset − y.
struct Sums {
    value: Twofold,
    gradient: Vec<Twofold>,
}

impl Sums {
    /// Adds rows, of which X is in `entries`.
    #[inline(always)]
    fn take<T: Real>(
        &mut self,
        rows: &Rows<'_, T>,
        part: Range<usize>,
        entries: &[f64],
        layout: Layout,
        parameters: &[f64],
    ) {
        let (coef, intercept) = layout.split(parameters);
        let (coef_gradient, intercept_gradient) = layout.split_mut(&mut self.gradient);
        let (sample, d, width) = (&rows.sample, layout.n_features, layout.width);
        let observed = of_rows(sample.targets, &part, width).chunks_exact(width);
        for ((row, x), targets) in part.zip(entries.chunks_exact(d)).zip(observed) {
            let weight = sample.weight(row);
            // What weighs nothing may be huge.
            if weight == 0.0 {
                continue;
            }
            let lines = coef.chunks_exact(d).zip(coef_gradient.chunks_exact_mut(d));
            for (k, (target, (coef, slopes))) in targets.iter().zip(lines).enumerate() {
                let mut residual = Twofold::from(-target.to_f64());
                residual.add(sample.offset(row * width + k).into());
                residual.add(intercept.get(k).copied().unwrap_or(0.0).into());
                for (&x, &w) in x.iter().zip(coef) {
                    residual.add_multiple(x, w.into());
                }
                let residual = residual.settled();
                let mut weighted = Twofold::default();
                weighted.add_multiple(weight, residual);
                let weighted = weighted.settled();
                self.value.add_multiple(residual.sum, weighted);
                self.value.rest += residual.rest * weighted.sum;
                for (entry, &x) in slopes.iter_mut().zip(x) {
                    entry.add_multiple(x, weighted);
                }
                if let Some(entry) = intercept_gradient.get_mut(k) {
                    entry.add(weighted);
                }
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.value.add(other.value);
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(own, other)| own.add(*other));
    }
}

/// Returns the average squared error over rows of this total weight and overwrites `gradient` with its gradient, each
/// the nearest double or next to it.
pub(super) fn loss_and_gradient<T: Real>(
    rows: Rows<'_, T>,
    team: &Team<'_>,
    layout: Layout,
    total_weight: f64,
    parameters: &[f64],
    gradient: &mut [f64],
) -> Result<f64, Error> {
    let (n, d) = (rows.design.n_rows(), layout.n_features);
    let block_rows = BLOCK_ROWS.min(n);
    let chunk_rows = chunk_rows(n, block_rows, layout.width, bytes_of::<Twofold>(&[parameters.len()]), n);
    let nothing = || Sums { value: Twofold::default(), gradient: vec![Twofold::default(); parameters.len()] };
    let mut chunks: Vec<Sums> = (0..n.div_ceil(chunk_rows).max(1)).map(|_| nothing()).collect();
    let task = |i: usize, sums: &mut Sums, stop: &dyn Fn() -> bool| {
        let mut entries = vec![0.0; block_rows * d];
        let chunk = i * chunk_rows..((i + 1) * chunk_rows).min(n);
        for start in chunk.clone().step_by(block_rows) {
            if stop() {
                return;
            }
            let part = start..(start + block_rows).min(chunk.end);
            entries.resize(part.len() * d, 0.0);
            rows.design.copy_rows(part.clone(), d, &mut entries);
            vectorized(
                #[inline(always)]
                || sums.take(&rows, part, &entries, layout, parameters),
            );
        }
    };
    let sums = team.ordered_reduce(rows.in_parallel(), &mut chunks, task, Sums::add)?;
    let average = |sum: Twofold| sum.settled().sum / (layout.width as f64 * total_weight);
    gradient.iter_mut().zip(&sums.gradient).for_each(|(entry, &sum)| *entry = 2.0 * average(sum));
    Ok(average(sums.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::RowMajor;
    use crate::sample::Sample;

    /// Residuals of rounding's own size, of scores sixteen digits larger: all that is usually seen of them is noise.
    #[test]
    fn what_is_left_of_scores_that_cancel_is_exact() {
        let (n, d) = (300, 3);
        let step = |i: usize| (i * 7 % 32) as f64;
        let tiny = 2f64.powi(-40);
        // y = w x but for `tiny`, in numbers whose products need more than 53 digits.
        let coef = [1.0 + tiny, -1.0, tiny];
        let x: Vec<f64> =
            (0..n).flat_map(|i| [1.0 + tiny * step(i), 1.0 + tiny * (step(i) + 1.0), step(i + 3)]).collect();
        let y = vec![0.0; n];
        // Σⱼ wⱼ xⱼ = tiny (step(i) + 1 + tiny step(i) − step(i) − 1 + step(i + 3)), summed by hand
        let residual = |i: usize| tiny * (tiny * step(i) + step(i + 3));
        let design = RowMajor::new(&x, n, d).unwrap();
        let rows =
            Rows { design: &design, sample: Sample { targets: &y[..], weights: None, offsets: None }, n_targets: 1 };
        let layout = Layout { width: 1, n_features: d, fit_intercept: true };
        let parameters = [coef[0], coef[1], coef[2], 0.0];
        let mut found = Vec::new();
        for n_threads in [1, 3] {
            let mut gradient = [f64::NAN; 4];
            let team = Team::new(n_threads, &|| false);
            let value = loss_and_gradient(rows, &team, layout, n as f64, &parameters, &mut gradient).unwrap();
            found.push((value, gradient));
        }
        assert_eq!(found[0], found[1]);
        let (value, gradient) = found[0];
        let mean = |term: &dyn Fn(usize) -> f64| (0..n).map(term).sum::<f64>() / n as f64;
        let close = |got: f64, exact: f64| assert!((got - exact).abs() <= 1e-13 * exact.abs(), "{got} for {exact}");
        close(value, mean(&|i| residual(i).powi(2)));
        (0..d).for_each(|j| close(gradient[j], 2.0 * mean(&|i| residual(i) * x[i * d + j])));
        close(gradient[d], 2.0 * mean(&|i| residual(i)));
    }
}
