"""Penalties: functions of the coefficients alone, never of the intercept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class L2:
    """Ridge penalty.

    value      ½ α ‖W‖²; α = 0 is no penalty
    gradient   α W
    curvature  α
    """

    alpha: float

    @property
    def curvature(self) -> float:
        """The largest eigenvalue of the Hessian."""
        return self.alpha

    def value_and_gradient(self, xp: Any, coef: Any) -> tuple[Any, Any]:
        """Return ½ α ‖W‖² and α W for coefficients of any shape."""
        gradient = self.alpha * coef
        return 0.5 * xp.sum(gradient * coef), gradient
