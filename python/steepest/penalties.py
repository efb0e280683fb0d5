"""Penalties: functions of the coefficients alone, never of the intercept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from steepest.errors import InputError
from steepest.validation import number


@dataclass(frozen=True)
class ElasticNet:
    """α [ρ ‖W‖₁ + ½ (1 − ρ) ‖W‖²]: ridge for ρ = 0, lasso for ρ = 1; α = 0 is no penalty.

    smooth part    ½ λ₂ ‖W‖², λ₂ = α (1 − ρ): differentiated, so that a plain gradient step stays one
    rough part     λ₁ ‖W‖₁, λ₁ = α ρ: goes through its proximal map, w − clip(w, −η λ₁, η λ₁)
    curvature      λ₂
    """

    l1: float
    l2: float

    @classmethod
    def from_ratio(cls, alpha: object, l1_ratio: object) -> Self:
        """Return the penalty of strength `alpha` ≥ 0 with the share `l1_ratio` in [0, 1] of ‖W‖₁."""
        strength = number("alpha", alpha, least=0.0)
        share = number("l1_ratio", l1_ratio, least=0.0)
        if share > 1:
            raise InputError(f"l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got {l1_ratio!r}")
        return cls(l1=strength * share, l2=strength * (1 - share))

    @property
    def curvature(self) -> float:
        """The largest eigenvalue of the smooth part's Hessian."""
        return self.l2

    def value_and_gradient(self, xp: Any, coef: Any) -> tuple[Any, Any]:
        """Return the smooth part ½ λ₂ ‖W‖² and its gradient λ₂ W for coefficients of any shape."""
        gradient = self.l2 * coef
        return 0.5 * xp.sum(gradient * coef), gradient

    def rough_value(self, xp: Any, coef: Any) -> Any:
        """Return λ₁ ‖W‖₁."""
        return self.l1 * xp.sum(xp.abs(coef)) if self.l1 else 0.0

    def prox(self, xp: Any, coef: Any, size: Any, scale: Any = 1.0) -> Any:
        """Return argmin_v ½ ‖v − coef‖² / size + λ₁ ‖v / scale‖₁, entry by entry; size and scale broadcast."""
        threshold = size * self.l1 / scale
        return coef - xp.maximum(xp.minimum(coef, threshold), -threshold)


#: The kinds of penalty that the tests go through: α and ρ.
PENALTIES = {"none": (0.0, 0.0), "l2": (1.0, 0.0), "l1": (1.0, 1.0), "elastic_net": (1.0, 0.5)}
