"""Which rows each mini-batch has: blocks of neighbouring rows, in an order that is drawn anew for every epoch.

The portable form of ``src/batches.rs``: the same rows for the same seed. The order is a function of the seed and the
number of the step, so a descent that is stopped and resumed sees the batches that it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BLOCK_ROWS = 16


@dataclass(frozen=True)
class Batches:
    """A plan of mini-batches over `n_rows` rows."""

    n_rows: int
    batch_rows: int
    seed: int
    replacement: bool

    @property
    def block_rows(self) -> int:
        """Rows of a block: the largest divisor of the batch that is at most 16."""
        return max(rows for rows in range(1, MOST_BLOCK_ROWS + 1) if self.batch_rows % rows == 0)

    @property
    def n_blocks(self) -> int:
        """Blocks of all rows; the last may be short."""
        return -(-self.n_rows // self.block_rows)

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-self.n_blocks // (self.batch_rows // self.block_rows))

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the rows of the batch of `step`, counted from the first of all."""
        epoch, place = divmod(step, self.per_epoch)
        per_batch = self.batch_rows // self.block_rows
        chosen = self._blocks(epoch)[place * per_batch : (place + 1) * per_batch]
        rows = (chosen[:, None] * self.block_rows + np.arange(self.block_rows)).ravel()
        return rows[rows < self.n_rows]

    def _blocks(self, epoch: int) -> NDArray[np.int64]:
        return _drawn(self.n_blocks, self.seed, epoch, replacement=self.replacement)


@lru_cache(maxsize=1)
def _drawn(n_blocks: int, seed: int, epoch: int, *, replacement: bool) -> NDArray[np.int64]:
    base = _mix(np.uint64(seed) + _mix(np.asarray([epoch], dtype=np.uint64)))
    keys = _mix(base + np.arange(n_blocks, dtype=np.uint64))
    if replacement:
        return (keys % np.uint64(n_blocks)).astype(np.int64)
    return np.argsort(keys, kind="stable")


def _mix(value: Any) -> NDArray[np.uint64]:
    """Return the output function of SplitMix64, after one step of its counter."""
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
