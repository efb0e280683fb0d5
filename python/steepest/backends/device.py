"""The objective where X is in the memory of a GPU: one fused pass over X, or over the scores between two products."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.kernels import CsrMatrix, has_formula, reads_rows
from steepest.backends.least_squares import LeastSquares
from steepest.backends.objective import ArrayObjective
from steepest.backends.scores import ProductPass, ScorePass
from steepest.backends.spectrum import largest_eigenvalue
from steepest.backends.streamed import HostMatrix, fused_pass
from steepest.design import HALVES, Csr
from steepest.losses import Mse
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from steepest.problem import Problem

#: Bytes of X in a block of the portable pass: large enough that a launch costs nothing beside it.
BLOCK_BYTES = 1 << 28
#: Parameters of several scores that one block steps with in less time than the host: by estimate, some 8 ns each.
MOST_STAYING = 1 << 14
#: Solutions of ill-conditioned normal equations, each for what the last one left.
REFINEMENTS = 3


class DeviceObjective(ArrayObjective):
    """F and its derivatives, on arrays of a GPU; `place` brings X there, or finds it there."""

    def __init__(self, problem: Problem, xp: Any, place: Callable[[Problem], Any], multiprocessors: int) -> None:
        self.place, self.multiprocessors = place, multiprocessors
        super().__init__(problem, xp)
        self.fused: Any = None
        self.over_scores: Any = None
        if has_formula(self.loss):
            self.over_scores = ScorePass(xp, self.loss, self.dtype, multiprocessors)
            if reads_rows(self.loss) and not isinstance(self.design, CsrMatrix):
                rows = self.targets, self.weights, self.offset
                self.fused = fused_pass(xp, self.loss, self.design, rows, multiprocessors)

    def _placed(self, problem: Problem) -> Any:
        return self.place(problem)

    def _average_loss(self, original: Any) -> tuple[Any, Any, Any]:
        if self.fused is None:
            return super()._average_loss(original)
        xp, width = self.xp, self.loss.width
        scores = xp.empty((self.n_samples, width), dtype=self.dtype) if self.keeps_lines else None
        sums = self.fused(self._with_intercept(original, width), scores) / self.total_weight
        if scores is not None:
            self.latest = original, scores
        return self._split_sums(sums, width)

    def _loss_sums(self, original: Any, blocks: Any) -> tuple[Any, list[Any], tuple[Any, Any]]:
        if self.over_scores is None:
            return super()._loss_sums(original, blocks)
        xp, width = self.xp, self.loss.width
        coef, intercept = self._cast(original, width)
        coef_sum = xp.zeros(coef.shape, dtype=xp.float64)
        sums, kept = xp.zeros(width + 1, dtype=xp.float64), []
        for rows in blocks:
            part = self._rows(self.design, rows)
            slopes = xp.ascontiguousarray(part @ coef.T)
            if self.keeps_lines:
                kept.append(xp.empty(slopes.shape, dtype=self.dtype))
            found = self.over_scores(slopes, self._beside(rows), intercept, kept[-1] if self.keeps_lines else None)
            sums, coef_sum = sums + found, coef_sum + xp.astype(slopes.T @ part, xp.float64)
        return sums[-1], kept, (coef_sum, sums[:-1])

    def kept_pass(self) -> Any:
        """Return the pass over all rows of a descent that stays on the GPU; None if there is none."""
        in_place = not isinstance(self.design, (HostMatrix, CsrMatrix)) and self.n_parameters <= MOST_STAYING
        if self.fused is not None or self.over_scores is None or not in_place:
            return self.fused
        parts = [(self.design[rows, :], self._beside(rows)) for rows in self._blocks()]
        return ProductPass(self.xp, self.over_scores, parts, self.dtype)

    def _residual(self, rows: Any, scores: Any) -> tuple[Any, Any]:
        if self.over_scores is None:
            return super()._residual(rows, scores)
        # What it is asked of is made for it: a point of a line.
        return self.over_scores(scores, self._beside(rows))[-1], scores

    def _beside(self, rows: Any) -> tuple[Any, Any, Any]:
        """Return the targets, weights and offset of some rows."""
        parts = (self.targets, self.weights, self.offset)
        return tuple(None if part is None else self._rows(part, rows) for part in parts)  # type: ignore[return-value]

    def _largest_second_moment(self, weights: Any) -> float:
        if self.fused is None:
            return super()._largest_second_moment(weights)
        # The slope of a squared error of zero is twice the score: the same pass gives products with the moment.
        xp, d = self.xp, self.n_features
        rows = xp.zeros(self.n_samples, dtype=self.dtype), weights, None
        squares = fused_pass(xp, Mse(), self.design, rows, self.multiprocessors)

        def product(v: Any) -> Any:
            sums = squares(self._with_intercept(self.to_original(v, 1), 1)) / (2 * self.total_weight)
            return self._pull_back(*self._split_sums(sums, 1)[1:])

        return largest_eigenvalue(xp, d + self.fit_intercept, product)

    def _with_intercept(self, original: Any, width: int) -> Any:
        xp = self.xp
        return original if self.fit_intercept else xp.concat([original, xp.zeros(width, dtype=xp.float64)])

    def _split_sums(self, sums: Any, width: int) -> tuple[Any, Any, Any]:
        """Return Σ losses, Σ slopes x and Σ slopes."""
        n_coef = width * self.n_features
        return sums[-1], self.xp.reshape(sums[:n_coef], (width, -1)), sums[n_coef:-1]

    def _blocks(self) -> Iterator[slice]:
        # Products with a sparse matrix are of all its rows.
        whole = isinstance(self.design, CsrMatrix)
        widest = max(self.n_features, self.loss.width)
        return blocks(self.n_samples, self.n_samples if whole else rows_of(BLOCK_BYTES, widest))

    def _parts(self) -> Iterator[tuple[slice, Any]]:
        for rows, part in parts(self.design):
            yield rows, self.xp.astype(part, self.dtype, copy=False)

    def _rows(self, array: Any, rows: Any) -> Any:
        if isinstance(array, (HostMatrix, CsrMatrix)) and not isinstance(rows, slice):
            return array.take(rows)
        part = super()._rows(array, rows)
        # What is stored in half is computed in single precision; the fused pass does it by itself.
        halved = array is self.design and str(part.dtype) in HALVES
        return self.xp.astype(part, self.dtype) if halved else part


def rows_of(size: int, n_features: int) -> int:
    """Return how many rows of float64 fit a size in bytes."""
    return max(1, size // (8 * n_features))


def blocks(n: int, step: int) -> Iterator[slice]:
    """Yield `step` rows after the other."""
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def parts(design: Any) -> Iterator[tuple[slice, Any]]:
    """Yield rows and what a matrix on the GPU has there, dense."""
    n, d = design.shape
    for rows in blocks(n, rows_of(BLOCK_BYTES, d)):
        yield rows, design.dense(rows) if isinstance(design, CsrMatrix) else design[rows, :]


class DeviceLeastSquares(LeastSquares):
    """F for squared errors from moments that a GPU took; what then remains is small, and done in main memory."""

    def __init__(self, problem: Problem, xp: Any, place: Callable[[Problem], Any]) -> None:
        self.device, self.place = xp, place
        super().__init__(problem, np)

    def _placed(self, problem: Problem) -> Any:
        return self.place(problem)

    def _take_moments(self, problem: Problem) -> None:
        """Read X for its means, for the products about them, and for value and gradient at the anchor."""
        xp, shape = self.device, (self.n_features, self.loss.width)
        self.mean, target_mean = np.zeros(shape[0]), np.zeros(shape[1])
        if self.fit_intercept:
            sums = self._sums(problem, lambda roots, x, y: (roots**2 @ x, roots**2 @ y))
            self.mean, target_mean = (part / self.total_weight for part in sums)
        unit = math.sqrt(self.share / self.total_weight)
        means = xp.asarray(self.mean), xp.asarray(target_mean)

        def centred(roots: Any, x: Any, y: Any) -> tuple[Any, Any]:
            return unit * roots[:, None] * (x - means[0]), unit * roots[:, None] * (y - means[1])

        def products(roots: Any, x: Any, y: Any) -> tuple[Any, Any]:
            x, y = centred(roots, x, y)
            return x.T @ x, x.T @ y

        def at(coef: NDArray[np.float64]) -> Any:
            here = xp.asarray(coef)

            def look(roots: Any, x: Any, y: Any) -> tuple[Any, Any]:
                x, y = centred(roots, x, y)
                residual = x @ here - y
                return 0.5 * xp.sum(residual**2), x.T @ residual

            return self._sums(problem, look)

        self.moment, right = self._sums(problem, products)

        def refined(scale: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
            # The normal equations again for what the rows say is left: each time as many digits as they have.
            scaled = (self.moment + l2 * np.eye(shape[0])) / scale / scale[:, None]
            solution = np.zeros(shape)
            rest = right / scale[:, None]
            for _ in range(REFINEMENTS):
                solution += np.linalg.lstsq(scaled, rest, rcond=shape[0] * self.rounding.precision)[0]
                coef = solution / scale[:, None]
                rest = -(at(coef)[1] + l2 * coef) / scale[:, None]
            return solution

        coef = self._solve(right, refined)
        self.anchor = coef.T, target_mean - coef.T @ self.mean
        value, gradient = at(coef)
        self.anchor_value, self.anchor_gradient = float(value), gradient.T

    def _sums(self, problem: Problem, rule: Callable[[Any, Any, Any], tuple[Any, Any]]) -> tuple[Any, Any]:
        """Return the sums over blocks of rows of what `rule` says of √s, X and y less the offset, in float64."""
        xp, total = self.device, None
        for rows, part in parts(self.design):
            y = problem.targets[rows].astype(np.float64)
            y = y if problem.offset is None else y - problem.offset[rows]
            weight = np.ones(len(y)) if problem.sample_weight is None else problem.sample_weight[rows]
            roots, x, y = xp.sqrt(xp.asarray(weight, dtype=xp.float64)), xp.astype(part, xp.float64), xp.asarray(y)
            # Rows that weigh nothing are zero, or not numbers.
            counts, y = (roots > 0)[:, None], xp.reshape(y, (len(weight), -1))
            x, y = xp.where(counts, x, x - x), xp.where(counts, y, y - y)
            found = rule(roots, x, y)
            total = found if total is None else (total[0] + found[0], total[1] + found[1])
        return tuple(to_host(part) for part in total or ())  # type: ignore[return-value]

    def _largest_second_moment(self, weights: Any) -> float:  # noqa: ARG002
        d = self.n_features
        matrix = np.eye(d + self.fit_intercept)
        matrix[:d, :d] = self.moment / self.share
        if self.fit_intercept:
            matrix[:d, :d] += np.outer(self.mean, self.mean)
            matrix[d, :d] = matrix[:d, d] = self.mean
        change = self._change_of_variables(1)
        matrix = change.T @ matrix @ change
        return float(np.linalg.eigvalsh(matrix)[-1]) if np.isfinite(matrix).all() else float(np.trace(matrix))


def transposed(matrix: Csr) -> Csr:
    """Return a matrix by columns, which is its transpose by rows, in main memory."""
    by_columns = matrix.to_scipy().T.tocsr()
    by_columns.sort_indices()
    indices, indptr = (
        part.astype(matrix.indices.dtype, copy=False) for part in (by_columns.indices, by_columns.indptr)
    )
    return Csr(by_columns.data, indices, indptr, (matrix.shape[1], matrix.shape[0]))
