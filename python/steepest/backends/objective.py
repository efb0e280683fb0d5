"""The objective for arrays of any array-API namespace: the portable form of ``src/empirical.rs``.

Products run in the dtype of X within a block of rows, sums over blocks in float64, parameters are float64: as in the
fast core. With a scaling it is a function of other variables with the same values.

Values are arrays without dimensions, not floats: on a GPU a float is there only when all before it is computed. Floats
are what is asked for once a descent: curvatures, totals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.rounding import Rounding
from steepest.backends.spectrum import largest_eigenvalue
from steepest.batches import Batches
from steepest.design import Csr
from steepest.errors import InputError
from steepest.losses import LogLoss
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from steepest.problem import Problem

BLOCK_ROWS = 1 << 13
#: Up to this dimension the exact spectrum of a matrix costs less than the passes of an iteration.
SMALL_DIMENSION = 64
#: Parameters whose Hessian still fits a common memory.
MOST_HESSIAN_PARAMETERS = 8192
#: Units of rounding that the sums of a column may be off.
NEGLIGIBLE = 512


class ArrayObjective:
    """F and its derivatives, on arrays of the namespace `xp`."""

    def __init__(self, problem: Problem, xp: Any) -> None:
        self.xp = xp
        self.loss = problem.loss
        self.penalty = problem.penalty
        self.fit_intercept = problem.fit_intercept
        self.n_coef, self.n_parameters = problem.n_coef, problem.n_parameters
        self.n_samples, self.n_features = problem.n_samples, int(problem.design.shape[1])
        self.dtype = xp.float32 if problem.dtype == np.float32 else xp.float64
        self.design = self._placed(problem)
        self.targets = xp.asarray(problem.targets)
        self.offset = None if problem.offset is None else xp.asarray(problem.offset)
        self.weights = None if problem.sample_weight is None else xp.asarray(problem.sample_weight)
        self.total_weight = problem.total_weight
        self.center = xp.zeros(self.n_features, dtype=xp.float64)
        self.scale = xp.ones(self.n_features, dtype=xp.float64)
        self.rounding = Rounding(problem, xp, float(xp.finfo(self.dtype).eps))
        self.condition: float | None = None
        self.keeps_lines = False
        self.latest: tuple[Any, Any] = (None, None)
        self.held: tuple[Any, Any] = (None, None)

    def _placed(self, problem: Problem) -> Any:
        """Return X where it is computed with, which is what rows are taken of and multiplied."""
        design = problem.design
        return design.to_scipy() if isinstance(design, Csr) else self.xp.asarray(design)

    def standardise(self) -> None:
        """Become a function of variables in which columns have mean zero and, with the penalty, like curvature."""
        xp = self.xp
        self.center, squares = self._column_moments()
        second = squares + self.penalty.l2 / (self.loss.curvature or 1.0)
        deviation, size = xp.sqrt(second), xp.abs(self.center)
        tiny = float(xp.finfo(xp.float64).smallest_normal)
        # Below this share of the mean, a deviation is only rounding.
        negligible = NEGLIGIBLE * float(xp.finfo(self.dtype).eps) * size
        varies = (deviation > negligible) & (deviation >= tiny)
        self.scale = xp.where(varies, deviation, xp.where(size >= tiny, size, xp.ones_like(size)))

    def _column_moments(self) -> tuple[Any, Any]:
        """Return the columns' means, zero where no intercept could take them up, and mean squares about them."""
        xp = self.xp
        center = self.center
        if self.fit_intercept:
            total = 0.0
            for rows in self._blocks():
                weights = self._weights_of(self.weights, rows)
                center = center + xp.astype(weights @ self._rows(self.design, rows), xp.float64)
                total += float(xp.sum(xp.astype(weights, xp.float64)))
            center = center / total
        return center, self._squares(self.weights, center) / self.total_weight

    def same_variables(self, other: ArrayObjective) -> None:
        """Become a function of the variables of `other`."""
        self.center, self.scale = self.xp.asarray(other.center), self.xp.asarray(other.scale)

    def to_original(self, parameters: Any, width: int | None = None) -> Any:
        """Return the coefficients and intercept of X as it is: w = v / s, b = c − Σ m w."""
        coef, intercept = self._split(parameters, width)
        coef = coef / self.scale
        return self._joined(coef, intercept - coef @ self.center)

    def to_scaled(self, parameters: Any) -> Any:
        """Return the parameters of this function for coefficients and intercept of X as it is."""
        coef, intercept = self._split(parameters)
        return self._joined(coef * self.scale, intercept + coef @ self.center)

    def _pull_back(self, coef_gradient: Any, intercept_gradient: Any) -> Any:
        if self.fit_intercept:
            coef_gradient = coef_gradient - intercept_gradient[:, None] * self.center[None, :]
        return self._joined(coef_gradient / self.scale, intercept_gradient)

    def _split(self, parameters: Any, width: int | None = None) -> tuple[Any, Any]:
        xp, width = self.xp, width or self.loss.width
        n_coef = width * self.n_features
        intercept = parameters[n_coef:] if self.fit_intercept else xp.zeros(width, dtype=xp.float64)
        return xp.reshape(parameters[:n_coef], (width, -1)), intercept

    def _joined(self, coef: Any, intercept: Any) -> Any:
        parts = [self.xp.reshape(coef, (-1,))]
        return self.xp.concat([*parts, intercept] if self.fit_intercept else parts)

    def value_and_gradient(self, parameters: Any) -> tuple[Any, Any]:
        """Return the smooth part of F and its gradient at flat float64 `parameters`."""
        original = self.to_original(parameters)
        value, coef_gradient, intercept_gradient = self._average_loss(original)
        coef, _ = self._split(original)
        penalty, slope = self.penalty.value_and_gradient(self.xp, coef)
        return value + penalty, self._pull_back(coef_gradient + slope, intercept_gradient)

    def _average_loss(self, original: Any) -> tuple[Any, Any, Any]:
        """Return the average loss and its gradients at parameters of X as it is."""
        losses, scores, sums = self._loss_sums(original, self._blocks())
        if self.keeps_lines:
            self.latest = original, self.xp.concat(scores)
        return losses / self.total_weight, sums[0] / self.total_weight, sums[1] / self.total_weight

    def _loss_sums(self, original: Any, blocks: Any) -> tuple[Any, list[Any], tuple[Any, Any]]:
        """Return Σ losses, the scores if they are kept, and the sums of the gradients, over blocks of rows."""
        return self._pass(original, self.loss.width, self._residual, blocks)

    def batches(self, method: Any, seed: int) -> Any:
        """Return the mini-batches of a method: ``rows(step)``, of which there are `per_epoch`."""
        return Batches(self.n_samples, method.batch_size, seed, method.replacement)

    def close(self) -> None:
        """Let go of what mini-batches may have opened."""

    def batch_gradient(self, parameters: Any, rows: Any) -> Any:
        """Return an estimate of the smooth part's gradient from some of the rows, unbiased where drawn evenly."""
        original = self.to_original(parameters)
        _, _, sums = self._loss_sums(original, [self.xp.asarray(rows)])
        divisor = self.total_weight * (len(rows) / self.n_samples)
        coef, _ = self._split(original)
        _, slope = self.penalty.value_and_gradient(self.xp, coef)
        return self._pull_back(sums[0] / divisor + slope, sums[1] / divisor)

    def rough_value(self, parameters: Any) -> Any:
        """Return the rest of F: λ₁ ‖W‖₁."""
        return self.penalty.rough_value(self.xp, self._split(parameters)[0] / self.scale)

    def prox(self, parameters: Any, size: Any) -> Any:
        """Return argmin_v ½ Σ (v − parameters)² / size + λ₁ ‖W(v)‖₁; `size` is a number, or one a parameter."""
        if self.penalty.l1 == 0:
            return parameters
        coef, intercept = self._split(parameters)
        sizes = self._split(size + self.xp.zeros_like(parameters))[0]
        return self._joined(self.penalty.prox(self.xp, coef, sizes, self.scale), intercept)

    def optimality(self, parameters: Any, gradient: Any) -> Any:
        """Return ‖p − prox(p − ∇f(p), 1)‖, the proximal gradient mapping; ‖∇F‖ if nothing is rough."""
        xp = self.xp
        moved = parameters - gradient
        mapping = gradient + (moved - self.prox(moved, 1.0))
        # Scaled, because squares may leave the range of numbers.
        largest = xp.max(xp.abs(mapping))
        sensible = (largest > 0) & xp.isfinite(largest)
        unit = xp.where(sensible, largest, xp.ones_like(largest))
        return xp.where(sensible, unit * xp.sqrt(xp.sum((mapping / unit) ** 2)), largest)

    def curvature(self, parameters: Any) -> float:
        """Return L such that the Hessian is at most L·I: everywhere if there is such a bound, else at `parameters`."""
        bound, weights = self.curvature_weights(parameters)
        return bound * self._largest_second_moment(weights) + self._penalty_curvature()

    def row_curvature(self, parameters: Any) -> float:
        """Return the average over single rows of the same bound."""
        bound, weights = self.curvature_weights(parameters)
        if self.loss.curvature is None:
            # Where the descent leads, eᶻ is about y.
            there = self.targets if self.weights is None else self.targets * self.weights
            weights = self.xp.maximum(weights, there)
        rows = float(self.xp.sum(self._squares(weights, self.center) / self.scale**2))
        if self.fit_intercept:
            rows += (
                self.total_weight if weights is None else float(self.xp.sum(self.xp.astype(weights, self.xp.float64)))
            )
        return bound * rows / self.total_weight + self._penalty_curvature()

    def coordinate_step(self, parameters: Any) -> Any:  # noqa: ARG002
        """Return where coordinate descent leads in a step; only where F knows itself as a quadratic."""
        raise InputError("method 'coordinate' needs sufficient statistics; pass strategy='gram'")

    def minimiser(self) -> Any:
        """Return where the smooth part is least, if that is known in closed form."""
        return None

    def hessian(self, parameters: Any) -> NDArray[np.float64]:
        """Return the Hessian of the smooth part, in NumPy."""
        if self.n_parameters > MOST_HESSIAN_PARAMETERS:
            raise InputError(
                f"method 'newton': {self.n_parameters} parameters need a Hessian of "
                f"{8 * self.n_parameters**2 / 1e9:.1f} GB; method='lbfgs' needs none"
            )
        width = self.loss.width
        matrix = self.loss_hessian(parameters)
        penalty = np.zeros(len(matrix))
        penalty[: self.n_coef] = np.tile(self.penalty.l2 / to_host(self.scale) ** 2, width)
        matrix = matrix + np.diag(penalty)
        if isinstance(self.loss, LogLoss) and width > 1:
            self._bend_shared_shifts(matrix)
        return matrix

    def loss_hessian(self, parameters: Any) -> NDArray[np.float64]:
        """Return the Hessian of the average loss, in NumPy."""
        xp, width = self.xp, self.loss.width
        coef, intercept = self._cast(self.to_original(parameters), width)

        def bends(rows: Any) -> Any:
            scores = self._shifted(rows, self._flat(self._scores(rows, coef, intercept), width))
            bend = self.loss.second_derivative(xp, self.targets[rows, ...], scores)
            if self.weights is None:
                return bend
            weights = self.weights[rows]
            return bend * (weights if width == 1 else weights[:, None, None])

        return self._moment(bends, width)

    def _bend_shared_shifts(self, matrix: NDArray[np.float64]) -> None:
        """Give a bend to what all classes share, which softmax does not see and gradients do not point to."""
        width, d = self.loss.width, self.n_features
        columns = [np.arange(width) * d + j for j in range(d if self.penalty.l2 == 0 else 0)]
        if self.fit_intercept:
            columns.append(self.n_coef + np.arange(width))
        for places in columns:
            matrix[np.ix_(places, places)] += float(np.trace(matrix[np.ix_(places, places)])) / width**2

    def hold(self, parameters: Any, direction: Any) -> None:  # noqa: ARG002
        """Let a line begin at `parameters`, the point last evaluated; the next one evaluated is its point at t = 1."""
        self.held = self.latest

    def along(self, t: float) -> tuple[float, float]:
        """Return the smooth part's value and slope at `t` on the line. Reads no data, only scores."""
        xp, width = self.xp, self.loss.width
        (here, held), (there, latest) = self.held, self.latest
        way = latest - held
        losses, slopes = self._residual(slice(0, self.n_samples), held + t * way)
        (from_coef, _), (to_coef, _) = self._split(here), self._split(there)
        move = to_coef - from_coef
        penalty, slope = self.penalty.value_and_gradient(xp, from_coef + t * move)
        value = losses / self.total_weight + penalty
        slopes = xp.sum(xp.astype(slopes * xp.reshape(way, (-1, width)), xp.float64))
        return float(value), float(slopes / self.total_weight + xp.sum(slope * move))

    def _residual(self, rows: Any, scores: Any) -> tuple[Any, Any]:
        """Return Σ sᵢ ℓ(yᵢ, zᵢ) and sᵢ ∂ℓ/∂z of some rows, for scores without their offset."""
        xp, width = self.xp, self.loss.width
        flat = self._shifted(rows, self._flat(scores, width))
        losses, slopes = self.loss.value_and_residual(xp, self._rows(self.targets, rows), flat)
        slopes = xp.reshape(slopes, (-1, width))
        if self.weights is not None:
            weights = self._rows(self.weights, rows)
            # Chosen, not multiplied: what weighs nothing may be beyond the range of numbers.
            zero = xp.zeros_like(weights)
            losses = xp.where(weights > 0, losses * weights, zero)
            slopes = xp.where(weights[:, None] > 0, slopes * weights[:, None], zero[:, None])
        return xp.sum(xp.astype(losses, xp.float64)), slopes

    def _rows(self, array: Any, rows: Any) -> Any:
        """Return some rows, by a slice or by their numbers."""
        if hasattr(array, "tocsr"):
            return array[rows]
        return array[rows, ...] if isinstance(rows, slice) else self.xp.take(array, rows, axis=0)

    def _shifted(self, rows: Any, scores: Any) -> Any:
        return scores if self.offset is None else scores + self._rows(self.offset, rows)

    @staticmethod
    def _flat(scores: Any, width: int) -> Any:
        return scores[:, 0] if width == 1 else scores

    def _cast(self, parameters: Any, width: int) -> tuple[Any, Any]:
        coef, intercept = self._split(parameters, width)
        return self.xp.astype(coef, self.dtype), self.xp.astype(intercept, self.dtype)

    def _scores(self, rows: Any, coef: Any, intercept: Any) -> Any:
        scores = self._rows(self.design, rows) @ coef.T
        return scores + intercept if self.fit_intercept else scores

    def _pass(
        self, parameters: Any, width: int, rule: Callable[[Any, Any], tuple[Any, Any]], blocks: Any
    ) -> tuple[Any, list[Any], tuple[Any, Any]]:
        """Return Σ values, the scores, and Σ residualᵀ X̃ over blocks of rows."""
        xp = self.xp
        coef, intercept = self._cast(parameters, width)
        value, kept = xp.zeros((), dtype=xp.float64), []
        coef_sum = xp.zeros(coef.shape, dtype=xp.float64)
        intercept_sum = xp.zeros(width, dtype=xp.float64)
        for rows in blocks:
            scores = self._scores(rows, coef, intercept)
            part, residual = rule(rows, scores)
            value = value + part
            if self.keeps_lines:
                kept.append(scores)
            coef_sum = coef_sum + xp.astype(residual.T @ self._rows(self.design, rows), xp.float64)
            intercept_sum = intercept_sum + xp.sum(xp.astype(residual, xp.float64), axis=0)
        return value, kept, (coef_sum, intercept_sum)

    def curvature_weights(self, parameters: Any) -> tuple[float, Any]:
        """Return what the rows weigh in a bound on the Hessian: a bound on ∂²ℓ/∂z², or its values at `parameters`."""
        if self.loss.curvature is not None:
            return self.loss.curvature, self.weights
        coef, intercept = self._cast(self.to_original(parameters), 1)
        bends = []
        for rows in self._blocks():
            scores = self._shifted(rows, self._flat(self._scores(rows, coef, intercept), 1))
            bends.append(self.loss.second_derivative(self.xp, self.targets[rows], scores))
        weights = self.xp.concat(bends)
        return 1.0, weights if self.weights is None else weights * self.weights

    def _largest_second_moment(self, weights: Any) -> float:
        dimension = self.n_features + self.fit_intercept
        if dimension <= SMALL_DIMENSION:
            return largest_of(self.second_moment(weights))
        return largest_eigenvalue(self.xp, dimension, lambda v: self.times_second_moment(v, weights))

    def second_moment(self, weights: Any) -> NDArray[np.float64]:
        """Return Σ weights x̃ x̃ᵀ / Σ s, in NumPy."""
        return self._moment(lambda rows: self._weights_of(weights, rows), 1)

    def times_second_moment(self, v: Any, weights: Any) -> Any:
        """Return the product of that matrix, which is not formed, and a vector."""
        _, _, sums = self._pass(
            self.to_original(v, 1),
            1,
            lambda rows, scores: (0.0, scores * self._weights_of(weights, rows)[:, None]),
            self._blocks(),
        )
        return self._pull_back(sums[0] / self.total_weight, sums[1] / self.total_weight)

    def _penalty_curvature(self) -> float:
        return float(np.max(self.penalty.curvature / to_host(self.scale) ** 2))

    def _squares(self, weights: Any, center: Any) -> Any:
        """Return Σ weights (x − center)² for each column."""
        xp = self.xp
        sums = xp.zeros(self.n_features, dtype=xp.float64)
        center = xp.astype(center, self.dtype)
        for rows, part in self._parts():
            block = part.toarray() if hasattr(part, "toarray") else part
            sums = sums + xp.astype(self._weights_of(weights, rows) @ ((block - center) ** 2), xp.float64)
        return sums

    def _moment(self, bends: Callable[[Any], Any], width: int) -> NDArray[np.float64]:
        """Return Σᵢ bendsᵢ ⊗ x̃ᵢ x̃ᵢᵀ / Σ s in the order of the parameters, pulled back to the scaled variables."""
        xp, d, k = self.xp, self.n_features, width
        order = k * (d + self.fit_intercept)
        matrix = np.zeros((order, order))
        for rows, block in self._parts():
            weights = bends(rows)
            for a, b in ((a, b) for a in range(k) for b in range(k)):
                own = weights if k == 1 else weights[:, a, b]
                squares, cross = (to_host(part) for part in _weighted_products(xp, block, own))
                matrix[a * d : (a + 1) * d, b * d : (b + 1) * d] += squares
                if self.fit_intercept:
                    matrix[k * d + a, b * d : (b + 1) * d] += cross
                    matrix[b * d : (b + 1) * d, k * d + a] += cross
                    matrix[k * d + a, k * d + b] += float(xp.sum(xp.astype(own, xp.float64)))
        change = self._change_of_variables(k)
        return np.asarray(change.T @ matrix @ change / self.total_weight)

    def _change_of_variables(self, width: int) -> NDArray[np.float64]:
        """Return the matrix that takes scaled parameters to those of X as it is."""
        d, center, scale = self.n_features, to_host(self.center), to_host(self.scale)
        matrix = np.diag(np.concatenate([np.tile(1 / scale, width), np.ones(width * self.fit_intercept)]))
        if self.fit_intercept:
            for k in range(width):
                matrix[width * d + k, k * d : (k + 1) * d] = -center / scale
        return matrix

    def _weights_of(self, weights: Any, rows: slice) -> Any:
        return self.xp.ones(rows.stop - rows.start, dtype=self.dtype) if weights is None else weights[rows]

    def _parts(self) -> Iterator[tuple[slice, Any]]:
        """Yield rows and what X has there, for squares."""
        for rows in self._blocks():
            yield rows, self._rows(self.design, rows)

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, self.n_samples, BLOCK_ROWS):
            yield slice(start, min(start + BLOCK_ROWS, self.n_samples))


def largest_of(matrix: NDArray[np.float64]) -> float:
    """Return the largest eigenvalue of a second moment, or what is not finite where the matrix is not."""
    return float(np.linalg.eigvalsh(matrix)[-1]) if np.isfinite(matrix).all() else float(np.trace(matrix))


def _weighted_products(xp: Any, block: Any, weights: Any) -> tuple[Any, Any]:
    """Return Σ weights x xᵀ and Σ weights x over the rows of a block, in float64 where it is dense."""
    double = xp.astype(weights, xp.float64, copy=False)
    if hasattr(block, "tocsr"):
        return (block.T.multiply(weights) @ block).toarray(), double @ block
    block = xp.astype(block, xp.float64, copy=False)
    return (block.T * double) @ block, double @ block
