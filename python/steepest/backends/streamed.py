"""X that is larger than the memory of a GPU: it stays in main memory, and goes through in pieces at every pass.

Pieces are whole chunks of rows, whose sums stand where they would if X were there: the same bits.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.kernels import CHUNK_ROWS, FusedPass, add_up, sums_of
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from steepest.losses import Loss

#: Bytes of a piece; two are on the GPU at a time, and two in pinned memory.
PIECE_BYTES = 1 << 26


class HostMatrix:
    """A matrix of main memory, some rows of which are brought to the GPU when they are asked for."""

    def __init__(self, xp: Any, values: NDArray[Any]) -> None:
        self.xp, self.values = xp, values
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index: Any) -> Any:
        return self.xp.asarray(np.ascontiguousarray(self.values[index]))

    def take(self, rows: Any) -> Any:
        """Return rows by their numbers, which are on the GPU."""
        return self[to_host(rows)]


class StreamedPass:
    """`FusedPass` over a matrix of main memory: while a piece is computed with, the next one is on its way."""

    is_recordable = False

    def __init__(self, xp: Any, loss: Loss, X: HostMatrix, rows: tuple[Any, Any, Any], multiprocessors: int) -> None:
        self.xp, self.X = xp, X
        n, d = X.shape
        self.dtype = xp.float64 if X.dtype == np.float64 else xp.float32
        self.partials = xp.empty((-(-n // CHUNK_ROWS), sums_of(loss, d)), dtype=self.dtype)
        chunks = max(1, PIECE_BYTES // (CHUNK_ROWS * d * X.dtype.itemsize))
        shape = (min(n, chunks * CHUNK_ROWS), d)
        size = shape[0] * d
        self.pinned, self.there = [], []
        for _ in range(2):
            memory = xp.cuda.alloc_pinned_memory(size * X.dtype.itemsize)
            self.pinned.append(np.frombuffer(memory, X.dtype, size).reshape(shape))
            self.there.append(xp.empty(shape, dtype=X.dtype))
        self.copies = xp.cuda.Stream(non_blocking=True)
        self.sent, self.passed = ([xp.cuda.Event(disable_timing=True) for _ in range(2)] for _ in range(2))
        for event in self.passed:
            # The memory may be what a kernel that is still to run on the current stream reads.
            event.record()
        self.pieces = []
        for turn, first in zip(cycle(range(2)), range(0, n, shape[0]), strict=False):
            here = slice(first, min(first + shape[0], n))
            part = self.there[turn][: here.stop - first, :]
            own: Any = tuple(None if of_rows is None else of_rows[here] for of_rows in rows)
            partials = self.partials[first // CHUNK_ROWS : -(-here.stop // CHUNK_ROWS), :]
            self.pieces.append((turn, here, FusedPass(xp, loss, part, own, multiprocessors, partials)))

    def __call__(self, parameters: Any, scores: Any = None) -> Any:
        """Return what `FusedPass` does."""
        self.launch(self.xp.astype(parameters, self.dtype), scores)
        return add_up(self.xp, self.partials)

    def launch(self, parameters: Any, scores: Any = None, halted: Any = None) -> None:
        """Write the sums of chunks to `partials`, piece by piece."""
        for turn, rows, fused in self._brought():
            fused.launch(parameters, None if scores is None else scores[rows], halted)
            self.passed[turn].record()

    def _brought(self) -> Iterator[tuple[int, slice, FusedPass]]:
        """Yield pieces, each when what is launched next may read it."""
        current = self.xp.cuda.get_current_stream()
        for turn, rows, fused in self.pieces:
            # Pinned memory is free when what it held is on the GPU; memory there, when its pass has been made.
            self.sent[turn].synchronize()
            pinned = self.pinned[turn][: rows.stop - rows.start]
            pinned[...] = self.X.values[rows]
            self.copies.wait_event(self.passed[turn])
            fused.X.set(pinned, stream=self.copies)
            self.sent[turn].record(self.copies)
            current.wait_event(self.sent[turn])
            yield turn, rows, fused


def fused_pass(xp: Any, loss: Loss, X: Any, rows: tuple[Any, Any, Any], multiprocessors: int) -> Any:
    """Return the pass over a dense X, on the GPU or brought there."""
    kind: Any = StreamedPass if isinstance(X, HostMatrix) else FusedPass
    return kind(xp, loss, X, rows, multiprocessors)
