//! One pass over the data: scores → residual → gradient, block by block while the block is in cache.
//!
//! Two levels. A *block* of rows stays in a core's cache between its two uses, so X is read from memory once. A *chunk*
//! of blocks is one task: sums run in the data's own type over a few hundred rows, in `f64` beyond, and the chunks'
//! sums are merged in order. Both borders depend on the shape alone.

use crate::design::Design;
use crate::error::Error;
use crate::lanes::sum;
use crate::real::Real;
use crate::reduce::Team;
use std::ops::Range;

/// Most chunks: enough for any number of cores to share evenly.
const MOST_CHUNKS: usize = 128;
const FEW_CHUNKS: usize = 8;
/// All chunks' partial sums together stay below this.
const PARTIAL_SUM_BYTES: usize = 32 << 20;
/// Entries of X below which waking other threads costs more than it saves.
const FEWEST_PARALLEL_ENTRIES: usize = 1 << 15;
/// Rows after which sums in the data's own type are added to those in `f64`.
const FEWEST_FLUSH_ROWS: usize = 256;

/// What happens to a block's scores between the two uses of X.
pub trait ScoreRule<T: Real>: Sync {
    /// Replaces scores by residuals, rows × width; returns their contribution to the value. `values`: one entry a row.
    fn value_and_residual(&self, rows: Range<usize>, scores: &mut [T], values: &mut [T]) -> f64;
}

/// Sums over all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    pub value: f64,
    /// width × d
    pub coef_gradient: Vec<f64>,
    /// width
    pub intercept_gradient: Vec<f64>,
}

impl Sums {
    fn new(width: usize, n_features: usize) -> Self {
        Self { value: 0.0, coef_gradient: vec![0.0; width * n_features], intercept_gradient: vec![0.0; width] }
    }

    fn clear(&mut self) {
        self.value = 0.0;
        self.coef_gradient.fill(0.0);
        self.intercept_gradient.fill(0.0);
    }

    fn add(&mut self, other: &Self) {
        self.value += other.value;
        add(&mut self.coef_gradient, &other.coef_gradient);
        add(&mut self.intercept_gradient, &other.intercept_gradient);
    }
}

fn add(sums: &mut [f64], others: &[f64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// The partial sums of one chunk, and room for one block.
struct Chunk<T> {
    sums: Sums,
    scores: Vec<T>,
    values: Vec<T>,
    coef_gradient: Vec<T>,
}

/// Borders and room for the passes over one design matrix with one width.
pub struct Pass<'a, T: Real> {
    design: &'a dyn Design<T>,
    block_rows: usize,
    chunk_rows: usize,
    in_parallel: bool,
    chunks: Vec<Chunk<T>>,
}

impl<'a, T: Real> Pass<'a, T> {
    pub fn new(design: &'a dyn Design<T>, width: usize) -> Self {
        let (n, d) = (design.n_rows(), design.n_features());
        let block_rows = design.block_rows(width);
        let bytes_per_chunk = width * d * (size_of::<f64>() + size_of::<T>());
        // Where one gradient is large, a few chunks all the same, as long as they stay smaller than X.
        let few_chunks = FEW_CHUNKS.min(n / (4 * width));
        let most_chunks = (PARTIAL_SUM_BYTES / bytes_per_chunk.max(1)).clamp(few_chunks.max(1), MOST_CHUNKS);
        let blocks_per_chunk = n.div_ceil(block_rows).div_ceil(most_chunks).max(1);
        let chunk_rows = blocks_per_chunk * block_rows;
        let room = block_rows.min(n);
        let chunk = || Chunk {
            sums: Sums::new(width, d),
            scores: vec![T::ZERO; room * width],
            values: vec![T::ZERO; room],
            coef_gradient: vec![T::ZERO; width * d],
        };
        Self {
            design,
            block_rows,
            chunk_rows,
            in_parallel: n.saturating_mul(d).saturating_mul(width) >= FEWEST_PARALLEL_ENTRIES,
            chunks: (0..n.div_ceil(chunk_rows).max(1)).map(|_| chunk()).collect(),
        }
    }

    /// Sums over all rows at `coef` (width × d) and `intercept` (width, or empty for none).
    pub fn run(
        &mut self,
        team: &Team<'_>,
        rule: &dyn ScoreRule<T>,
        coef: &[T],
        intercept: &[T],
    ) -> Result<&Sums, Error> {
        let (chunk_rows, n_rows) = (self.chunk_rows, self.design.n_rows());
        let point = Point { design: self.design, rule, coef, intercept, block_rows: self.block_rows };
        let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
            chunk.run(&point, i * chunk_rows..((i + 1) * chunk_rows).min(n_rows), stop);
        };
        team.ordered_reduce(self.in_parallel, &mut self.chunks, task, |a, b| {
            a.sums.add(&b.sums);
        })?;
        Ok(&self.chunks[0].sums)
    }
}

/// What all chunks of one pass share.
struct Point<'a, T> {
    design: &'a dyn Design<T>,
    rule: &'a dyn ScoreRule<T>,
    coef: &'a [T],
    intercept: &'a [T],
    block_rows: usize,
}

impl<T: Real> Chunk<T> {
    fn run(&mut self, point: &Point<'_, T>, rows: Range<usize>, stop: &dyn Fn() -> bool) {
        self.sums.clear();
        let width = self.sums.intercept_gradient.len();
        let mut unflushed = 0;
        for start in rows.clone().step_by(point.block_rows) {
            if start > rows.start && stop() {
                break;
            }
            let block = start..(start + point.block_rows).min(rows.end);
            let n_rows = block.len();
            let scores = &mut self.scores[..n_rows * width];
            fill_rows(scores, point.intercept);
            point.design.add_scores(block.clone(), point.coef, scores);
            let values = &mut self.values[..n_rows];
            self.sums.value += point.rule.value_and_residual(block.clone(), scores, values);
            add_column_sums(&mut self.sums.intercept_gradient, scores);
            point.design.add_gradient(block, scores, &mut self.coef_gradient);
            unflushed += n_rows;
            if unflushed >= FEWEST_FLUSH_ROWS {
                self.flush();
                unflushed = 0;
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        for (sum, part) in self.sums.coef_gradient.iter_mut().zip(&mut self.coef_gradient) {
            *sum += part.to_f64();
            *part = T::ZERO;
        }
    }
}

/// The sum of all entries: what reading the data once costs, the floor that benchmarks hold a pass to.
pub fn read<T: Real>(data: &[T], team: &Team<'_>) -> Result<f64, Error> {
    let chunk_length = data.len().div_ceil(MOST_CHUNKS).max(1);
    let mut sums = vec![0.0; data.len().div_ceil(chunk_length)];
    let task = |i: usize, total: &mut f64, _: &dyn Fn() -> bool| {
        let chunk = &data[i * chunk_length..((i + 1) * chunk_length).min(data.len())];
        *total = sum(chunk).to_f64();
    };
    team.ordered_reduce(true, &mut sums, task, |a, b| *a += b)?;
    Ok(sums.first().copied().unwrap_or(0.0))
}

/// Every row of `scores` starts at the intercept.
fn fill_rows<T: Real>(scores: &mut [T], intercept: &[T]) {
    match intercept {
        [] => scores.fill(T::ZERO),
        [one] => scores.fill(*one),
        several => {
            for row in scores.chunks_exact_mut(several.len()) {
                row.copy_from_slice(several);
            }
        }
    }
}

fn add_column_sums<T: Real>(sums: &mut [f64], residual: &[T]) {
    match sums {
        [one] => *one += sum(residual).to_f64(),
        several => {
            for row in residual.chunks_exact(several.len()) {
                for (sum, r) in several.iter_mut().zip(row) {
                    *sum += r.to_f64();
                }
            }
        }
    }
}
