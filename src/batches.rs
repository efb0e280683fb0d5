//! Which rows each mini-batch has: blocks of neighbouring rows, in an order that is drawn anew for every epoch.
//!
//! The order is a function of the seed and the number of the step, with nothing to remember in between, so a descent
//! that is stopped and resumed sees the batches that it would have seen.

use std::ops::Range;

/// Neighbouring rows that are drawn together: enough to read memory in a stream, few enough to mix.
const MOST_BLOCK_ROWS: usize = 16;

/// A plan of mini-batches over `n_rows` rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batches {
    pub n_rows: usize,
    pub batch_rows: usize,
    pub seed: u64,
    /// Whether each batch is drawn from all blocks, instead of from those that the epoch has not yet had.
    pub replacement: bool,
}

impl Batches {
    /// Rows of a block: the largest divisor of the batch that is at most `MOST_BLOCK_ROWS`.
    fn block_rows(self) -> usize {
        (1..=MOST_BLOCK_ROWS).rev().find(|&rows| self.batch_rows.is_multiple_of(rows)).unwrap_or(1)
    }

    fn n_blocks(self) -> usize {
        self.n_rows.div_ceil(self.block_rows())
    }

    fn blocks_per_batch(self) -> usize {
        self.batch_rows / self.block_rows()
    }

    pub fn per_epoch(self) -> u64 {
        self.n_blocks().div_ceil(self.blocks_per_batch()).max(1) as u64
    }

    fn rows(self, block: usize) -> Range<usize> {
        let start = block * self.block_rows();
        start..(start + self.block_rows()).min(self.n_rows)
    }

    /// The order of the blocks in an epoch.
    pub fn order(self, epoch: u64) -> Vec<usize> {
        let n = self.n_blocks();
        let mut keyed: Vec<(u64, usize)> = (0..n).map(|i| (self.draw(epoch, i as u64), i)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, block)| block).collect()
    }

    /// The rows of the batch of `step`, counted from the first of all; `order` is that of its epoch.
    pub fn batch(self, step: u64, order: &[usize]) -> Vec<Range<usize>> {
        let (per_batch, epoch) = (self.blocks_per_batch(), step / self.per_epoch());
        let first = (step % self.per_epoch()) as usize * per_batch;
        if self.replacement {
            let n = self.n_blocks() as u64;
            let places = first..(first + per_batch).min(self.n_blocks());
            return places.map(|place| self.rows((self.draw(epoch, place as u64) % n) as usize)).collect();
        }
        order.iter().skip(first).take(per_batch).map(|&block| self.rows(block)).collect()
    }

    /// A number that looks random, for every pair of an epoch and a place.
    fn draw(self, epoch: u64, place: u64) -> u64 {
        mix(mix(self.seed.wrapping_add(mix(epoch))).wrapping_add(place))
    }
}

/// The output function of SplitMix64, after one step of its counter.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_outputs_of_splitmix64() {
        // The reference implementation, seeded with 1234567.
        let outputs: Vec<u64> =
            (0..3u64).map(|i| mix(1_234_567u64.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).collect();
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    proptest! {
        /// Without replacement, every epoch has every row once; no batch is empty or too large.
        #[test]
        fn an_epoch_has_every_row_once(n_rows in 1usize..200, batch_rows in 1usize..80, seed in any::<u64>()) {
            let batches = Batches { n_rows, batch_rows: batch_rows.min(n_rows), seed, replacement: false };
            for epoch in 0..2 {
                let order = batches.order(epoch);
                let mut rows = Vec::new();
                for step in epoch * batches.per_epoch()..(epoch + 1) * batches.per_epoch() {
                    let batch: Vec<usize> = batches.batch(step, &order).into_iter().flatten().collect();
                    prop_assert!(!batch.is_empty() && batch.len() <= batches.batch_rows);
                    rows.extend(batch);
                }
                rows.sort_unstable();
                prop_assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let batches = Batches { n_rows: 1000, batch_rows: 10, seed: 0, replacement: false };
        assert_ne!(batches.order(0), batches.order(1));
        assert_ne!(batches.order(0), Batches { seed: 1, ..batches }.order(0));
    }
}
