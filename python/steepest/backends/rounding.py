"""By how much rounding alone may change a value of the objective: what steps are accepted by where rounding is all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steepest.problem import Problem


class Rounding:
    """A bound for values of a problem that are computed to a relative `precision`, on arrays of the namespace `xp`."""

    def __init__(self, problem: Problem, xp: Any, precision: float) -> None:
        self.xp, self.precision = xp, precision
        self.squares, steepest, self.sizes = _target_scale(problem)
        self.steepest = xp.asarray(steepest, dtype=xp.float64)

    def __call__(self, value: Any) -> Any:
        """Return by how much rounding alone may change a value of about this size.

        The value's own rounding, then what the rounding of scores makes of it: |∂ℓ/∂z| |z| is at most about
        √(ℓ · mean y²) for losses of residuals; where probabilities or counts are subtracted, their size.
        """
        xp = self.xp
        size = xp.abs(xp.asarray(value, dtype=xp.float64))
        of_scores = xp.minimum(xp.sqrt(size * self.squares), self.steepest)
        return self.precision * (64 * size + 4 * of_scores + 4 * self.sizes)


def _target_scale(problem: Problem) -> tuple[float, float, float]:
    """Return the mean square of what scores are made of, a slope times a score at most, and the size of slopes' terms.

    Scores are made of targets, or margins of one, and offsets.
    """
    _, targets, target_squares, offsets, offset_squares = problem.sizes
    match problem.loss.kernel:
        case "mse":
            return target_squares + offset_squares, math.inf, 0.0
        case "huber":
            return target_squares + offset_squares, problem.loss.parameter * (targets + offsets), 0.0
        case "poisson":
            return 0.0, math.inf, 1.0 + targets
        case "squared_hinge":
            return 1.0 + offset_squares, math.inf, 0.0
        case "log_loss":
            return 0.0, math.inf, 0.0
        case _:
            return 0.0, math.inf, 1.0
