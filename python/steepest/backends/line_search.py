"""Search on a line, and the two methods that need it: the portable form of ``src/line_search.rs`` and its users.

The first trial, the full step, is evaluated by a pass. All further trials read scores that are known, not X; one more
pass evaluates the point that they choose.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.step_sizes import Point
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from steepest.backends.objective import ArrayObjective

DECREASE = 1e-4
SLOPE_LEFT = 0.9
MOST_TRIALS = 60
#: Points by the secant that may be too far, one after the other; why, the core says.
MOST_TOO_LONG = 6
LONGEST = 1e10
DAMPING_GROWTH = 100.0
#: Steps of a quasi-Newton method, which is not monotone, at the end.
PATIENCE = 10


def evaluate(objective: ArrayObjective, parameters: Any) -> Point:
    """Return `parameters` with value, gradient and loss there."""
    value, gradient = objective.value_and_gradient(parameters)
    return Point(parameters, value, gradient, value + objective.rough_value(parameters))


class Patience:
    """How long gradients may take to fall where rounding hides what values say."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.flattest, self.n_since = math.inf, 0

    def allows(self, norm: float) -> bool:
        """Return whether to go on to a point whose gradient has this norm."""
        self.n_since = 0 if norm < self.flattest else self.n_since + 1
        self.flattest = min(self.flattest, norm)
        return self.n_since <= self.most


def search(objective: ArrayObjective, here: Point, direction: Any, patience: Patience) -> tuple[Point, float] | None:
    """Return a point along `direction` that satisfies the conditions, and the step size; None if there is none."""
    xp = objective.xp
    slope = float(xp.sum(here.gradient * direction))
    if not -math.inf < slope < 0:
        return None
    value_here, rounding = float(here.value), float(objective.rounding(here.value))

    def judge(t: float, value: float, slope_there: float) -> str:
        decreases = value <= value_here + DECREASE * t * slope or (
            value <= value_here + rounding and slope_there <= (2 * DECREASE - 1) * slope
        )
        if not (math.isfinite(value) and math.isfinite(slope_there) and decreases):
            return "too long"
        return "too short" if slope_there < SLOPE_LEFT * slope else "good"

    objective.hold(here.parameters, direction)
    full = evaluate(objective, here.parameters + direction)
    full_slope = float(xp.sum(full.gradient * direction))
    # Where no value can tell better from worse, gradients still can.
    blind, steepness = -slope <= rounding, _norm(xp, here.gradient)
    verdict = judge(1.0, float(full.value), full_slope)
    if blind:
        patience.flattest = min(patience.flattest, steepness)
    point, t = full, 1.0
    if not (verdict == "good" or (blind and _norm(xp, full.gradient) < steepness)):
        found = _on_the_line(objective, judge, slope, (verdict, full_slope))
        if found is None:
            return None
        point, t = evaluate(objective, here.parameters + found * direction), found
    better = patience.allows(_norm(xp, point.gradient)) if blind else float(point.value) <= value_here + rounding
    return (point, t) if better else None


def _on_the_line(
    objective: ArrayObjective, judge: Callable[[float, float, float], str], slope: float, full: tuple[str, float]
) -> float | None:
    """Bracket a good point, then narrow the bracket by the secant of the slopes, never by less than a tenth."""
    low, low_slope = (1.0, full[1]) if full[0] == "too short" else (0.0, slope)
    high = None if full[0] == "too short" else (1.0, full[1])
    n_too_long = 0
    for _ in range(MOST_TRIALS):
        if high is None:
            t = 2 * low
        else:
            width = high[0] - low
            rise = high[1] - low_slope
            shortest, longest = low + 0.1 * width, high[0] - 0.1 * width
            secant = low - low_slope * width / rise if rise else math.nan
            useful = math.isfinite(secant) and n_too_long < MOST_TOO_LONG
            t = min(max(secant, shortest), longest) if useful else shortest
        if t > LONGEST:
            break
        value, slope_there = objective.along(t)
        verdict = judge(t, value, slope_there)
        if verdict == "good":
            return t
        if verdict == "too short":
            low, low_slope, n_too_long = t, slope_there, 0
        else:
            high, n_too_long = (t, slope_there), n_too_long + 1
    return low if low > 0 else None


def _norm(xp: Any, vector: Any) -> float:
    return math.sqrt(float(xp.sum(vector * vector)))


class LbfgsSteps:
    """Steps of L-BFGS; the memory is a list of moves, changes of gradient, and their products."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.pairs: list[tuple[Any, Any, float]] = []
        self.patience = Patience(PATIENCE)

    def advance(self, objective: ArrayObjective, here: Point) -> tuple[Point, float] | None:
        """Return the next point and its step size; None if there is no better one."""
        xp = objective.xp
        while True:
            found = search(objective, here, self._direction(xp, here.gradient), self.patience)
            if found is not None:
                break
            if not self.pairs:
                return None
            # The memory misled: once more along the gradient. The line starts where scores were last kept.
            self.pairs = []
            here = evaluate(objective, here.parameters)
        way, change = found[0].parameters - here.parameters, found[0].gradient - here.gradient
        bend = float(xp.sum(way * change))
        if bend > float(np.finfo(np.float64).eps) * _norm(xp, way) * _norm(xp, change):
            self.pairs = [*self.pairs, (way, change, bend)][-self.memory :]
        return found

    def _direction(self, xp: Any, gradient: Any) -> Any:
        direction, shares = -gradient, []
        for way, change, bend in reversed(self.pairs):
            share = xp.sum(way * direction) / bend
            direction = direction - share * change
            shares.append(share)
        if self.pairs:
            # All of the product stays where the arrays are: nobody waits for its numbers.
            _, change, bend = self.pairs[-1]
            square = xp.sum(change * change)
            direction = direction * xp.where(square > 0, bend / square, xp.ones_like(square))
        else:
            direction = direction * (1 / max(1.0, _norm(xp, gradient)))
        for (way, change, bend), share in zip(self.pairs, reversed(shares), strict=True):
            direction = direction + (share - xp.sum(change * direction) / bend) * way
        return direction

    def save(self) -> dict[str, Any]:
        """Return the memory."""
        patience = (
            {}
            if self.patience.flattest == math.inf
            else {"patience": np.asarray([self.patience.flattest, self.patience.n_since])}
        )
        return {
            **patience,
            "moves": np.concatenate([to_host(way) for way, _, _ in self.pairs] or [np.empty(0)]),
            "changes": np.concatenate([to_host(change) for _, change, _ in self.pairs] or [np.empty(0)]),
        }

    def load(self, state: dict[str, Any], objective: ArrayObjective) -> None:
        """Go on with the memory of a former descent."""
        xp, n = objective.xp, objective.n_parameters
        if "patience" in state:
            self.patience.flattest, self.patience.n_since = float(state["patience"][0]), int(state["patience"][1])
        moves, changes = (
            np.reshape(to_host(state[name]) if name in state else np.empty(0), (-1, n)) for name in ("moves", "changes")
        )
        pairs = [(xp.asarray(way), xp.asarray(change)) for way, change in zip(moves, changes, strict=True)]
        self.pairs = [(way, change, float(xp.sum(way * change))) for way, change in pairs]


class NewtonSteps:
    """Steps of Newton's method; nothing is remembered."""

    def advance(self, objective: ArrayObjective, here: Point) -> tuple[Point, float] | None:
        """Return the next point and its step size; None if there is no better one."""
        minimiser = objective.minimiser()
        if minimiser is not None:
            return search(objective, here, minimiser - here.parameters, Patience(0))
        hessian = objective.hessian(here.parameters)
        if not np.isfinite(np.diag(hessian)).all():
            return None
        direction = _newton_direction(hessian, to_host(here.gradient), objective.rounding.precision)
        return search(objective, here, objective.xp.asarray(direction), Patience(0))

    def save(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load(self, state: dict[str, Any], objective: ArrayObjective) -> None:
        """Do nothing."""


def _newton_direction(
    hessian: NDArray[np.float64], gradient: NDArray[np.float64], precision: float
) -> NDArray[np.float64]:
    """Damp where a pivot is no more than what rounding leaves of nothing: there is no telling how far to go there."""
    diagonal, order = np.diag(hessian), len(hessian)
    largest = float(diagonal.max(initial=0.0)) or 1.0
    negligible, damping = order * precision, 0.0
    while damping <= DAMPING_GROWTH:
        try:
            factor = np.linalg.cholesky(hessian + damping * largest * np.eye(order))
            direction = -np.linalg.solve(factor.T, np.linalg.solve(factor, gradient))
            pivots, felt = np.diag(factor) ** 2, diagonal > negligible**2 * largest
            definite = damping > 0 or bool(np.all((pivots > negligible * diagonal) & felt))
            if definite and np.isfinite(direction).all():
                return direction
        except np.linalg.LinAlgError:
            pass
        damping = damping * DAMPING_GROWTH if damping else negligible
    return -gradient
