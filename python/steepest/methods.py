"""Methods: what to do with a gradient. And step sizes: how far to go.

The portable form; the fast form of each is in ``src/method`` and ``src/step.rs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Method(Protocol):
    """An optimiser's own part of a step; the loop does the rest."""

    name: ClassVar[str]

    def advance(self, point: Any, gradient: Any, step_size: float) -> Any:
        """Return the place where the next gradient will be taken."""


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent.

    step       w ← w − η ∇F(w)
    rate       F(wₖ) − F* ≤ ‖w₀ − w*‖² / (2 η k) for η ≤ 1/L
    """

    name: ClassVar[str] = "gd"

    def advance(self, point: Any, gradient: Any, step_size: float) -> Any:
        """Return w − η ∇F(w)."""
        return point - step_size * gradient


METHODS: dict[str, type[GradientDescent]] = {"gd": GradientDescent}


def step_size_rule(learning_rate: float | None, curvature: Callable[[], float]) -> Callable[[], float]:
    """Return a function that gives the size of each step: `learning_rate`, or 1/L where it is None.

    `curvature` is asked for L at the first step. A function without curvature is constant: any step will do.
    """
    size = learning_rate

    def following() -> float:
        nonlocal size
        if size is None:
            bound = curvature()
            size = 1 / bound if bound > 0 else 1.0
        return size

    return following
