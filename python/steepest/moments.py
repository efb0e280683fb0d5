"""Second moments of rows (x, y) about their mean, in float64: all that least squares needs to know of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steepest import _steepest
from steepest.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.problem import Problem

#: Eigenvalues of moments on one scale that rounding may be, in its units, for each column.
NEGLIGIBLE = 32.0


class Moments(NamedTuple):
    """Σ s, the mean row, and Σ s (v − mean)(v − mean)ᵀ of rows v = (x, y)."""

    weight: float
    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, problem: Problem, n_threads: int) -> Moments:
        """Return those of all rows, the offset taken off y, in one pass."""
        return cls._whole(*_steepest.statistics(problem, n_threads))

    @classmethod
    def _whole(cls, weight: float, mean: NDArray[np.float64], lower: NDArray[np.float64]) -> Moments:
        """Return the moments whose matrix is given by its lower triangle; squares that rounding made negative are 0."""
        triangle = lower.reshape(len(mean), len(mean))
        matrix = np.tril(triangle) + np.tril(triangle, -1).T
        np.fill_diagonal(matrix, np.maximum(np.diag(matrix), 0.0))
        return cls(weight, mean, matrix)

    def times(self, factor: float) -> Moments:
        """Return the moments of the same rows, each of which weighs `factor` times as much."""
        return Moments(factor * self.weight, self.mean, factor * self.matrix)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the rows of both."""
        one, two = ((part.weight, part.mean, part.matrix.ravel()) for part in (self, other))
        return self._whole(*_steepest.merged_statistics(one, two))

    def check_range(self) -> None:
        """Raise an error if a moment left the range of numbers."""
        if not np.isfinite(self.matrix).all():
            raise InputError("X, y: their squares are beyond the largest number; divide them by a constant")

    def rows(self, n_targets: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return X, y (two dimensions) and weights of a few rows that have these moments."""
        order = len(self.mean)
        size = np.sqrt(np.diag(self.matrix))
        scale = np.where(size > 0, size, 1.0)
        eigenvalues, vectors = np.linalg.eigh(self.matrix / scale / scale[:, np.newaxis])
        # What rounding leaves of nothing would have a root of a hundred-millionth, and be taken for a direction.
        rounding = NEGLIGIBLE * order * np.finfo(np.float64).eps
        roots = np.sqrt(np.where(eigenvalues > rounding, eigenvalues, 0.0))
        # By its size and not its scale, so that a column that does not vary does not.
        factor = (size[:, np.newaxis] * vectors * roots).T
        apart = np.sqrt(order / self.weight) * factor
        points = self.mean + np.concatenate([apart, -apart])
        d = order - n_targets
        X, y = np.ascontiguousarray(points[:, :d]), np.ascontiguousarray(points[:, d:])
        return X, y, np.full(2 * order, self.weight / (2 * order))
