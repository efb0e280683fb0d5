"""Passes over scores that are in memory: a kernel for them, and a pass over X with it between two products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.kernels import (
    ANY_THREADS,
    BLOCKS_PER_MULTIPROCESSOR,
    CHUNK_ROWS,
    ROW_THREADS,
    WARP,
    add_levels,
    add_up,
    compiled,
    formula_by_columns,
    layout_of_scores,
    levels_of,
    parameter_of,
    pointer,
    score_pass,
)

if TYPE_CHECKING:
    from steepest.losses import Loss


class ScorePass:
    """Losses and slopes of a loss that has a formula in one reading of scores, which slopes take the place of."""

    def __init__(self, xp: Any, loss: Loss, dtype: Any, multiprocessors: int) -> None:
        number = np.dtype(dtype)
        self.xp, self.width = xp, loss.width
        self.parameter = parameter_of(loss, number)
        self.line = score_pass(formula_by_columns(loss), number.name, self.width)
        is_wide = layout_of_scores(self.width, number.name) is None
        self.block = ANY_THREADS if is_wide else ROW_THREADS
        self.shared = self.block // WARP * (1 if is_wide else self.width + 1) * 8
        self.most_blocks = multiprocessors * BLOCKS_PER_MULTIPROCESSOR

    def __call__(self, scores: Any, rows: tuple[Any, Any, Any], intercept: Any = None, kept: Any = None) -> Any:
        """Return Σ slopes and Σ losses, (k + 1,) float64, of scores (n, k), C-contiguous, that become the slopes.

        They are without the intercept if it is given, and without the offset; with the one and without the other they
        go to `kept` if it is given.
        """
        partials = self.room(len(scores))
        self.launch(scores, rows, partials, intercept, kept)
        return partials[0, :] if len(partials) == 1 else add_up(self.xp, partials)

    def room(self, n: int) -> Any:
        """Return room for the sums of chunks of some rows."""
        return self.xp.empty((-(-n // CHUNK_ROWS), self.width + 1), dtype=self.xp.float64)

    def launch(
        self, scores: Any, rows: tuple[Any, Any, Any], partials: Any, intercept: Any = None, kept: Any = None
    ) -> None:
        """Write the sums of chunks to `partials`."""
        targets, weights, offset = (pointer(part) for part in rows)
        compiled(self.xp, self.line)(
            (min(len(partials), self.most_blocks),),
            (self.block,),
            (
                scores,
                targets,
                weights,
                offset,
                self.parameter,
                pointer(intercept),
                np.int64(len(scores)),
                np.int32(self.width),
                pointer(kept),
                partials,
            ),
            shared_mem=self.shared,
        )


class ProductPass:
    """The sums of a pass by two products a block of rows and a kernel between them, in memory that is kept.

    They are those of `DeviceObjective`, to the bit, by the same operations in the same order.
    """

    #: CuPy does not record what cuBLAS launches.
    is_recordable = False

    def __init__(
        self, xp: Any, over_scores: ScorePass, parts: list[tuple[Any, tuple[Any, Any, Any]]], dtype: Any
    ) -> None:
        self.xp, self.over_scores, width = xp, over_scores, over_scores.width
        (n, d), stored = parts[0][0].shape, parts[0][0].dtype
        self.dense = None if stored == dtype else xp.empty((n, d), dtype=dtype)
        self.scores, self.gradient = (xp.empty(shape, dtype=dtype) for shape in ((n, width), (width, d)))
        self.blocks = [(*part, levels_of(xp, over_scores.room(len(part[0])), 1)) for part in parts]
        self.partials = xp.empty((1, width * (d + 1) + 1), dtype=xp.float64)
        self.totals = xp.reshape(self.partials[0, : width * d], (width, d)), self.partials[0, width * d :]

    def launch(self, parameters: Any, halted: Any = None) -> None:  # noqa: ARG002
        """Write the sums to `partials`, at parameters in the type of computation; once halted, nobody reads them."""
        xp, gradient = self.xp, self.gradient
        coef = xp.reshape(parameters[: gradient.size], gradient.shape)
        for number, (stored, beside, levels) in enumerate(self.blocks):
            part, scores = stored, self.scores[: len(stored), :]
            if self.dense is not None:
                part = self.dense[: len(stored), :]
                part[...] = stored
            xp.matmul(part, coef.T, out=scores)
            self.over_scores.launch(scores, beside, levels[0], parameters[gradient.size :])
            xp.matmul(scores.T, part, out=gradient)
            for total, found in zip(self.totals, (gradient, add_levels(xp, levels)[0, :]), strict=True):
                if number:
                    xp.add(total, found, out=total)
                else:
                    total[...] = found
