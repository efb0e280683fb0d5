//! One pass over the data: scores → residual → gradient, block by block while the block is in cache.
//!
//! Two levels. A *block* of rows stays in a core's cache between its two uses, so X is read from memory once. A *chunk*
//! of blocks is one task: sums run in the data's own type over a few hundred rows, in `f64` beyond, and the chunks'
//! sums are merged in order. Both borders depend on the shape alone.

#![allow(
    clippy::indexing_slicing,
    reason = "`Pass::new` makes the room: one chunk at the least, and in each for the rows of a block"
)]

use crate::design::Design;
use crate::error::Error;
use crate::lanes::{add_scaled, dot, sum, total, vectorized};
use crate::memory::{ask, ask_for_vectors, bytes_of, reserve};
use crate::real::Real;
use crate::reduce::Team;
use std::borrow::Cow;
use std::ops::Range;

/// Most chunks: enough for any number of cores to share evenly.
const MOST_CHUNKS: usize = 128;
const FEW_CHUNKS: usize = 8;
/// All chunks' partial sums together stay below this.
const PARTIAL_SUM_BYTES: usize = 32 << 20;
/// Additions to each partial sum of a chunk, on average, that outweigh clearing it and merging it.
const ADDITIONS_PER_SUM: usize = 16;
/// Entries of X below which waking other threads costs more than it saves: two threads were three times slower than one
/// at 64 thousand, as fast at 192 thousand, 1.5 times faster at 640 thousand.
const FEWEST_PARALLEL_ENTRIES: usize = 3 << 16;
/// Entries of X between two questions whether to stop.
const ENTRIES_UNASKED: usize = 1 << 15;
/// Entries of a mini-batch that make a task of their own.
const BATCH_TASK_ENTRIES: usize = 1 << 17;

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

/// The partial sums of one chunk, room for one block, and the scores that a line search looks back at.
struct Chunk<T> {
    sums: Sums,
    slope: f64,
    scores: Vec<T>,
    values: Vec<T>,
    coef_gradient: Vec<T>,
    /// Scores of the chunk's rows, before the rule, at the last point and at the one that was held.
    latest: Vec<T>,
    held: Vec<T>,
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
    pub fn new(design: &'a dyn Design<T>, width: usize) -> Result<Self, Error> {
        let (n, d) = (design.n_rows(), design.n_features());
        let block_rows = design.block_rows(width);
        let bytes = bytes_of::<f64>(&[width, d]).saturating_add(bytes_of::<T>(&[width, d]));
        let chunk_rows = chunk_rows(n, block_rows, width, bytes, design.n_entries() / d.max(1));
        let room = block_rows.min(n);
        let n_chunks = n.div_ceil(chunk_rows).max(1);
        let block_bytes = bytes_of::<T>(&[room, width.saturating_add(1)]);
        ask("sums over the rows", n_chunks.saturating_mul(bytes.saturating_add(block_bytes)))?;
        let chunk = || Chunk {
            sums: Sums::new(width, d),
            slope: 0.0,
            scores: vec![T::ZERO; room * width],
            values: vec![T::ZERO; room],
            coef_gradient: vec![T::ZERO; width * d],
            latest: Vec::new(),
            held: Vec::new(),
        };
        Ok(Self {
            design,
            block_rows,
            chunk_rows,
            in_parallel: worth_waking(design.n_entries().saturating_mul(width)),
            chunks: (0..n_chunks).map(|_| chunk()).collect(),
        })
    }

    /// Sums over all rows at `coef` (width × d) and `intercept` (width, or empty for none).
    pub fn run(
        &mut self,
        team: &Team<'_>,
        rule: &dyn ScoreRule<T>,
        coef: &[T],
        intercept: &[T],
    ) -> Result<&Sums, Error> {
        self.run_over(team, rule, coef, intercept, false)
    }

    /// The same, and keeps the scores: they are the latest now.
    pub fn run_and_keep(
        &mut self,
        team: &Team<'_>,
        rule: &dyn ScoreRule<T>,
        coef: &[T],
        intercept: &[T],
    ) -> Result<&Sums, Error> {
        self.run_over(team, rule, coef, intercept, true)
    }

    fn run_over(
        &mut self,
        team: &Team<'_>,
        rule: &dyn ScoreRule<T>,
        coef: &[T],
        intercept: &[T],
        keep: bool,
    ) -> Result<&Sums, Error> {
        let (chunk_rows, n_rows) = (self.chunk_rows, self.design.n_rows());
        if keep {
            self.make_room_for_scores()?;
        }
        let coef = &arranged(self.design, coef);
        let point = Point { design: self.design, rule, coef, intercept, block_rows: self.block_rows, keep };
        let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
            let rows = i * chunk_rows..((i + 1) * chunk_rows).min(n_rows);
            chunk.run(&point, std::slice::from_ref(&rows), stop);
        };
        let all = team.ordered_reduce(self.in_parallel, &mut self.chunks, task, |a, b| a.sums.add(&b.sums))?;
        Ok(&all.sums)
    }

    /// For the scores of all rows: several times the size of X where there are many classes.
    fn make_room_for_scores(&mut self) -> Result<(), Error> {
        let n_rows = self.design.n_rows();
        for (i, chunk) in self.chunks.iter_mut().enumerate() {
            let rows = (n_rows - i * self.chunk_rows).min(self.chunk_rows);
            chunk.latest.clear();
            reserve("scores of all rows", &mut chunk.latest, rows.saturating_mul(chunk.sums.intercept_gradient.len()))?;
        }
        // What is left must do for the rest of the step.
        ask_for_vectors(self.chunks[0].coef_gradient.len())
    }

    /// Sums over some ranges of rows: a mini-batch.
    pub fn run_on(
        &mut self,
        team: &Team<'_>,
        rule: &dyn ScoreRule<T>,
        coef: &[T],
        intercept: &[T],
        ranges: &[Range<usize>],
    ) -> Result<&Sums, Error> {
        let rows: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        let entries = self.design.n_entries() / self.design.n_rows().max(1) * rows;
        let most_tasks = (entries / BATCH_TASK_ENTRIES).clamp(1, self.chunks.len());
        let per_task = ranges.len().div_ceil(most_tasks).max(1);
        let n_tasks = ranges.len().div_ceil(per_task).max(1);
        let coef = &arranged(self.design, coef);
        let point = Point { design: self.design, rule, coef, intercept, block_rows: self.block_rows, keep: false };
        let task = |i: usize, chunk: &mut Chunk<T>, stop: &dyn Fn() -> bool| {
            chunk.run(&point, &ranges[i * per_task..((i + 1) * per_task).min(ranges.len())], stop);
        };
        let chunks = &mut self.chunks[..n_tasks];
        let all = team.ordered_reduce(n_tasks > 1, chunks, task, |a, b| a.sums.add(&b.sums))?;
        Ok(&all.sums)
    }

    /// The latest scores become those that a line starts from.
    pub fn hold(&mut self) {
        for chunk in &mut self.chunks {
            std::mem::swap(&mut chunk.latest, &mut chunk.held);
        }
    }

    /// The latest scores, by rows.
    pub fn latest_scores(&self) -> Vec<T> {
        self.chunks.iter().flat_map(|chunk| chunk.latest.iter().copied()).collect()
    }

    /// Value and slope at `t` on the line of scores from those held, t = 0, through the latest, t = 1. X is not read.
    pub fn along(&mut self, team: &Team<'_>, rule: &dyn ScoreRule<T>, t: f64) -> Result<(f64, f64), Error> {
        let (chunk_rows, n_rows, block_rows) = (self.chunk_rows, self.design.n_rows(), self.block_rows);
        let in_parallel = worth_waking(self.chunks.iter().map(|chunk| chunk.latest.len()).sum());
        let task = |i: usize, chunk: &mut Chunk<T>, _: &dyn Fn() -> bool| {
            chunk.along(rule, i * chunk_rows..((i + 1) * chunk_rows).min(n_rows), block_rows, T::from_f64(t));
        };
        let all = team.ordered_reduce(in_parallel, &mut self.chunks, task, |a, b| {
            a.sums.value += b.sums.value;
            a.slope += b.slope;
        })?;
        Ok((all.sums.value, all.slope))
    }
}

/// Whether this many entries read, or products taken, repay the time that waking other threads takes.
pub fn worth_waking(n_entries: usize) -> bool {
    n_entries >= FEWEST_PARALLEL_ENTRIES
}

/// Rows of a task whose partial sums take `bytes`, in whole blocks; all rows together add `additions` terms to a sum.
pub fn chunk_rows(n_rows: usize, block_rows: usize, width: usize, bytes: usize, additions: usize) -> usize {
    // Where one gradient is large, a few chunks all the same, as long as they stay smaller than X.
    let few_chunks = FEW_CHUNKS.min(n_rows / width.saturating_mul(4));
    let affordable = (PARTIAL_SUM_BYTES / bytes.max(1)).min(additions / ADDITIONS_PER_SUM);
    let most_chunks = affordable.clamp(few_chunks.max(1), MOST_CHUNKS);
    n_rows.div_ceil(block_rows).div_ceil(most_chunks).max(1) * block_rows
}

/// `coef`, width × d, in the order that the design reads.
pub fn arranged<'a, T: Real>(design: &dyn Design<T>, coef: &'a [T]) -> Cow<'a, [T]> {
    let d = design.n_features();
    if !design.by_features() || coef.len() == d {
        return Cow::Borrowed(coef);
    }
    Cow::Owned((0..d).flat_map(|j| coef[j..].iter().step_by(d).copied()).collect())
}

/// What all chunks of one pass share.
struct Point<'a, T> {
    design: &'a dyn Design<T>,
    rule: &'a dyn ScoreRule<T>,
    coef: &'a [T],
    intercept: &'a [T],
    block_rows: usize,
    keep: bool,
}

impl<T: Real> Chunk<T> {
    fn run(&mut self, point: &Point<'_, T>, ranges: &[Range<usize>], stop: &dyn Fn() -> bool) {
        self.sums.clear();
        if point.keep {
            self.latest.clear();
        }
        let width = self.sums.intercept_gradient.len();
        let (flush_rows, by_features) = (point.design.flush_rows(), point.design.by_features());
        let (mut unflushed, mut unasked) = (0, 0);
        for rows in ranges {
            for start in rows.clone().step_by(point.block_rows) {
                if unasked >= ENTRIES_UNASKED {
                    if stop() {
                        return;
                    }
                    unasked = 0;
                }
                let block = start..(start + point.block_rows).min(rows.end);
                let n_rows = block.len();
                let scores = &mut self.scores[..n_rows * width];
                fill_rows(scores, point.intercept);
                point.design.add_scores(block.clone(), point.coef, scores);
                if point.keep {
                    self.latest.extend_from_slice(scores);
                }
                let values = &mut self.values[..n_rows];
                self.sums.value += point.rule.value_and_residual(block.clone(), scores, values);
                add_column_sums(&mut self.sums.intercept_gradient, scores);
                point.design.add_gradient(block, scores, &mut self.coef_gradient);
                unflushed += n_rows;
                unasked += n_rows * point.design.n_features();
                if unflushed >= flush_rows {
                    self.flush(by_features);
                    unflushed = 0;
                }
            }
        }
        self.flush(by_features);
    }

    fn along(&mut self, rule: &dyn ScoreRule<T>, rows: Range<usize>, block_rows: usize, t: T) {
        (self.sums.value, self.slope) = (0.0, 0.0);
        let width = self.sums.intercept_gradient.len();
        let mut direction = vec![T::ZERO; self.scores.len()];
        for start in rows.clone().step_by(block_rows) {
            let block = start..(start + block_rows).min(rows.end);
            let place = (start - rows.start) * width..(block.end - rows.start) * width;
            let (held, latest) = (&self.held[place.clone()], &self.latest[place]);
            let (scores, direction) = (&mut self.scores[..held.len()], &mut direction[..held.len()]);
            for ((direction, &to), &from) in direction.iter_mut().zip(latest).zip(held) {
                *direction = to - from;
            }
            scores.copy_from_slice(held);
            vectorized(|| add_scaled(scores, t, direction));
            let values = &mut self.values[..block.len()];
            self.sums.value += rule.value_and_residual(block, scores, values);
            self.slope += dot(scores, direction).to_f64();
        }
    }

    fn flush(&mut self, by_features: bool) {
        let (sums, width) = (&mut self.sums.coef_gradient, self.sums.intercept_gradient.len());
        if by_features && width > 1 {
            let d = sums.len() / width;
            for (j, parts) in self.coef_gradient.chunks_exact(width).enumerate() {
                for (sum, part) in sums[j..].iter_mut().step_by(d).zip(parts) {
                    *sum += part.to_f64();
                }
            }
        } else {
            for (sum, part) in sums.iter_mut().zip(&self.coef_gradient) {
                *sum += part.to_f64();
            }
        }
        self.coef_gradient.fill(T::ZERO);
    }
}

/// The sum of all entries: what reading the data once costs, the floor that benchmarks hold a pass to.
pub fn read<T: Real>(data: &[T], team: &Team<'_>) -> Result<f64, Error> {
    let chunk_length = data.len().div_ceil(MOST_CHUNKS).max(1);
    let mut sums = vec![0.0; data.len().div_ceil(chunk_length).max(1)];
    let task = |i: usize, total: &mut f64, _: &dyn Fn() -> bool| {
        let chunk = &data[i * chunk_length..((i + 1) * chunk_length).min(data.len())];
        *total = sum(chunk).to_f64();
    };
    team.ordered_reduce(true, &mut sums, task, |a, b| *a += b).copied()
}

/// Every row of `scores` starts at the intercept.
pub fn fill_rows<T: Real>(scores: &mut [T], intercept: &[T]) {
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
        [one] => *one += total(residual),
        several => {
            for row in residual.chunks_exact(several.len()) {
                for (sum, r) in several.iter_mut().zip(row) {
                    *sum += r.to_f64();
                }
            }
        }
    }
}
