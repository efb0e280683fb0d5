"""The objective of squared errors without its rows: the portable form of ``src/quadratic.rs``.

F(a + δ) = F(a) + ⟨∇F(a), δ⟩ + ½ δᵀ H δ holds exactly, so one look at the rows is enough: H, and value and gradient at a
point a near the minimum, about which nothing cancels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.coordinate import Quadratic, cycle, settle
from steepest.backends.objective import ArrayObjective
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from steepest.problem import Problem

#: Condition numbers of the scaled normal equations beyond which the rows themselves are solved for.
COARSE_CONDITION = 1e4
#: Units of rounding that a column's deviations may be.
NEGLIGIBLE = 512


class LeastSquares(ArrayObjective):
    """F for squared errors, from second moments about the means in float64."""

    def __init__(self, problem: Problem, xp: Any) -> None:
        super().__init__(problem, xp)
        self.rounding.precision = float(np.finfo(np.float64).eps)
        self.share = 2 / self.loss.width
        self._take_moments(problem)

    def _take_moments(self, problem: Problem) -> None:
        """Set the means, the centred second moments, and value and gradient at the anchor."""
        rows, targets, roots = self._rows_in_double(problem)
        self.mean, target_mean = np.zeros(self.n_features), np.zeros(self.loss.width)
        if self.fit_intercept:
            self.mean = (roots**2) @ rows / self.total_weight
            target_mean = (roots**2) @ targets / self.total_weight
        unit = math.sqrt(self.share / self.total_weight)
        rows, targets = (unit * roots[:, None] * (part - m) for part, m in ((rows, self.mean), (targets, target_mean)))
        self.moment = rows.T @ rows

        def by_rows(scale: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
            # Without the squares of the normal equations.
            tall = np.concatenate([rows / scale, np.diag(math.sqrt(l2) / scale)])
            zeros = np.zeros((self.n_features, self.loss.width))
            return np.asarray(np.linalg.lstsq(tall, np.concatenate([targets, zeros]))[0])

        coef = self._solve(rows.T @ targets, by_rows).T
        residual = rows @ coef.T - targets
        self.anchor = coef, target_mean - coef @ self.mean
        self.anchor_value = 0.5 * float(np.sum(residual**2))
        self.anchor_gradient = residual.T @ rows

    def _rows_in_double(self, problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return X, y less the offset, by columns, and √s; rows that weigh nothing are zero, or not numbers."""
        design = self.design.toarray() if hasattr(self.design, "toarray") else np.asarray(self.design)
        targets = np.asarray(problem.targets, np.float64)
        if problem.offset is not None:
            targets = targets - problem.offset
        weight = np.ones(len(design)) if problem.sample_weight is None else problem.sample_weight.astype(np.float64)
        rows, columns = design.astype(np.float64), np.reshape(targets, (len(design), -1))
        counts = (weight > 0)[:, None]
        rows, columns = (np.where(counts, part, part - part) for part in (rows, columns))
        return rows, columns, np.sqrt(weight)

    def _solve(
        self, products: NDArray[np.float64], by_rows: Callable[[NDArray[np.float64], float], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the coefficients by targets where the penalised F is least, and set `condition`.

        Ill-conditioned ones, in columns divided by a scale, are what `by_rows` says for that scale and λ₂.
        """
        d, l2 = self.n_features, self.penalty.l2
        rounding = NEGLIGIBLE * np.finfo(np.float64).eps * np.abs(self.mean)
        diagonal = np.diag(self.moment)
        felt = self.felt = (diagonal > self.share * rounding**2) | (l2 > 0)
        scale = np.where(felt, np.sqrt(diagonal + l2), np.inf)
        if not np.isfinite(self.moment).all():
            self.condition = math.nan
            return np.full((d, self.loss.width), np.nan)
        scaled = (self.moment + l2 * np.eye(d)) / scale / scale[:, None]
        eigenvalues = np.linalg.eigvalsh(scaled[np.ix_(felt, felt)])
        least, largest = (float(eigenvalues[i]) if len(eigenvalues) else 1.0 for i in (0, -1))
        self.condition = largest / least if least > d * self.rounding.precision else math.inf
        right = products / scale[:, None]
        if COARSE_CONDITION < self.condition < math.inf:
            solution: NDArray[Any] = by_rows(scale, l2)
        else:
            solution, *_ = np.linalg.lstsq(scaled, right, rcond=d * self.rounding.precision)
        return np.asarray(solution / scale[:, None])

    def _column_moments(self) -> tuple[Any, Any]:
        return self.xp.asarray(self.mean), self.xp.asarray(np.diag(self.moment) / self.share)

    def _average_loss(self, original: Any) -> tuple[float, Any, Any]:
        if self.keeps_lines:
            self.latest = original, None
        coef, intercept = self._split(original)
        way, across = to_host(coef) - self.anchor[0], to_host(intercept) - self.anchor[1]
        # The score of the mean row moves by this.
        shift = across + way @ self.mean if self.fit_intercept else np.zeros(self.loss.width)
        image = way @ self.moment
        value = (
            self.anchor_value + np.sum(way * (self.anchor_gradient + 0.5 * image)) + 0.5 * self.share * shift @ shift
        )
        slopes = self.anchor_gradient + image + self.share * shift[:, None] * self.mean
        return float(value), self.xp.asarray(slopes), self.xp.asarray(self.share * shift)

    def along(self, t: float) -> tuple[float, float]:
        """Return the smooth part's value and slope at `t` on the line."""
        here, there = self.held[0], self.latest[0]
        point = here + t * (there - here)
        value, coef_gradient, intercept_gradient = self._average_loss(point)
        self.latest = there, None
        penalty, slope = self.penalty.value_and_gradient(self.xp, self._split(point)[0])
        gradient = self._joined(coef_gradient + slope, intercept_gradient)
        return float(value + penalty), float(self.xp.sum(gradient * (there - here)))

    def coordinate_step(self, parameters: Any) -> Any:
        """Return where a cycle of coordinate steps, then Newton's among what is not zero, lead."""
        coef, intercept = (to_host(part) for part in self._split(self.to_original(parameters)))
        coef, quadratic = coef.copy(), Quadratic(self.moment, self.felt, self.penalty.l1, self.penalty.l2)
        for w, way, slope in zip(coef, coef - self.anchor[0], self.anchor_gradient, strict=True):
            settle(quadratic, w, cycle(quadratic, w, slope + self.moment @ way))
        if self.fit_intercept:
            intercept = self.anchor[1] - (coef - self.anchor[0]) @ self.mean
        return self.to_scaled(self._joined(self.xp.asarray(coef), self.xp.asarray(intercept)))

    def minimiser(self) -> Any:
        """Return where the smooth part is least."""
        coef, intercept = (self.xp.asarray(part) for part in self.anchor)
        return self.to_scaled(self._joined(coef, intercept))
