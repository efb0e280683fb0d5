"""Coordinate descent on a quadratic with an ℓ1 part: the portable form of ``src/coordinate.rs`` and its method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.backends.line_search import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends.objective import ArrayObjective
    from steepest.step_sizes import Point

#: Shares of Newton's step that are tried.
LENGTHS = (1.0, 0.5, 0.1)
#: Of the diagonal of ones, where more are not zero than the rows can tell apart.
DAMPING = 1e-2


class Quadratic(NamedTuple):
    """½ wᵀ G w + … + λ₁ ‖w‖₁ + ½ λ₂ ‖w‖²."""

    gram: NDArray[np.float64]
    felt: NDArray[np.bool_]
    """Columns that vary: rounding alone would move the others."""
    l1: float
    l2: float


def cycle(quadratic: Quadratic, w: NDArray[Any], slope: NDArray[Any]) -> NDArray[Any]:
    """Bring each wⱼ in turn to where F is least; return the slope of the average loss there."""
    gram, felt, l1, l2 = quadratic
    for j in range(len(w)):
        before, free = w[j], np.diag(gram)[j] * w[j] - slope[j]
        if felt[j]:
            # No zero is negative.
            w[j] = np.sign(free) * max(abs(free) - l1, 0.0) / (np.diag(gram)[j] + l2) + 0.0
        elif l1 > 0:
            w[j] = 0.0
        slope = slope + (w[j] - before) * gram[j]
    return slope


def settle(quadratic: Quadratic, w: NDArray[Any], slope: NDArray[Any]) -> None:
    """Make Newton's step among the wⱼ that are not zero, up to where the first becomes zero."""
    gram, felt, l1, l2 = quadratic
    active = np.flatnonzero(felt & (w != 0))
    scale = np.sqrt(np.diag(gram)[active] + l2)
    scaled = gram[np.ix_(active, active)] / scale / scale[:, None]
    np.fill_diagonal(scaled, 1.0)
    if not _definite(scaled):
        scaled += DAMPING * np.eye(len(active))
        if not _definite(scaled):
            return
    sign = np.sign(w[active])
    uphill = slope[active] + l2 * w[active] + l1 * sign
    way = -np.linalg.solve(scaled, uphill / scale) / scale
    turns = (way * sign < 0) & (l1 > 0)
    first = float(np.min(-w[active][turns] / way[turns], initial=1.0))
    lengths = [length for length in LENGTHS if length > first]
    trials = [_clipped(length * way, w[active], l1) for length in [*lengths, first]]
    changes = [_change(quadratic, active, w, slope, trial) for trial in trials]
    w[active] += trials[int(np.argmin(changes))]


def _definite(matrix: NDArray[Any]) -> bool:
    """Return whether a matrix with a diagonal of ones is positive definite, beyond doubt, and not empty."""
    try:
        pivots = np.diag(np.linalg.cholesky(matrix)) ** 2
    except np.linalg.LinAlgError:
        return False
    return len(matrix) > 0 and bool(pivots.min() > len(matrix) * np.finfo(np.float64).eps)


def _clipped(way: NDArray[Any], w: NDArray[Any], l1: float) -> NDArray[Any]:
    """Return the way, up to zero for what would change its sign: exactly there, whatever rounding does."""
    return np.where(((w + way) / w <= 4 * np.finfo(np.float64).eps) & (l1 > 0), -w, way)


def _change(
    quadratic: Quadratic, active: NDArray[Any], w: NDArray[Any], slope: NDArray[Any], way: NDArray[Any]
) -> float:
    """Return by how much the function changes where the active w move."""
    gram, _, l1, l2 = quadratic
    before = w[active]
    rise = slope[active] + 0.5 * gram[np.ix_(active, active)] @ way + l2 * (before + 0.5 * way)
    return float(way @ rise + l1 * np.sum(np.abs(before + way) - np.abs(before)))


class CoordinateSteps:
    """Coordinate descent, on an objective that is a quadratic."""

    stride = 1
    is_blind = False

    def propose(self, objective: ArrayObjective, here: Point) -> float:  # noqa: ARG002
        """Return 1: every coordinate goes all the way."""
        return 1.0

    def advance(
        self,
        objective: ArrayObjective,
        here: Point,
        size: float,
        most: int,  # noqa: ARG002
    ) -> tuple[Point, float, int] | None:
        """Return the next point, the step size, and one step."""
        there = evaluate(objective, objective.coordinate_step(here.parameters))
        stays = not bool(objective.xp.any(there.parameters != here.parameters))
        if stays or there.loss > here.loss + objective.rounding(here.loss):
            return None
        return there, size, 1

    def save(self) -> dict[str, Any]:
        """Return nothing: a step depends on the point alone."""
        return {}

    def load(self, state: dict[str, Any], objective: ArrayObjective) -> None:
        """Remember nothing."""
