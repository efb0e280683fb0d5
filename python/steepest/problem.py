"""The problem, the plan to solve it, and the solution: plain descriptions that every backend understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.errors import InputError
from steepest.losses import Loss, loss_type
from steepest.penalties import L2
from steepest.validation import as_design, as_numbers, as_weights, flag, number

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StepInfo(NamedTuple):
    """What is known just before step ``step + 1`` is made."""

    step: int
    loss: float
    gradient_norm: float
    step_size: float
    seconds: float


#: Asked before every step; true stops there.
Callback = Callable[[StepInfo], object]


@dataclass(frozen=True, eq=False)
class Problem:
    """The objective in full: data, loss, penalty.

    F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b) / Σᵢ sᵢ + penalty(W)
    """

    design: NDArray[Any]
    """X, (n_samples, n_features), float32 or float64, contiguous by rows or by columns."""
    targets: NDArray[Any]
    """(n_samples,), dtype of X."""
    sample_weight: NDArray[Any] | None
    """(n_samples,), dtype of X; None is all ones."""
    loss: Loss
    penalty: L2
    fit_intercept: bool
    classes: NDArray[Any] | None
    """The labels that the class numbers in `targets` stand for."""

    @property
    def coef_shape(self) -> tuple[int, ...]:
        """(n_features,), or (n_classes, n_features) where a row has several scores."""
        d = self.design.shape[1]
        return (d,) if self.loss.width == 1 else (self.loss.width, d)

    @property
    def n_coef(self) -> int:
        """Number of coefficients."""
        n_features: int = self.design.shape[1]
        return self.loss.width * n_features

    @property
    def n_parameters(self) -> int:
        """Number of coefficients and intercepts that are fitted."""
        return self.n_coef + (self.loss.width if self.fit_intercept else 0)

    def flatten(self, coef: Any, intercept: Any) -> NDArray[np.float64]:
        """Return coefficients and intercept as one flat vector: coef by rows, then intercept if it is fitted."""
        coef = np.atleast_1d(as_numbers("coef", coef)).astype(np.float64)
        if coef.shape != self.coef_shape:
            raise InputError(f"coef: expected shape {self.coef_shape}; got {coef.shape}")
        intercept = as_numbers("intercept", intercept).astype(np.float64)
        if intercept.size not in {1, self.loss.width}:
            raise InputError(f"intercept: expected {self.loss.width} numbers; got shape {intercept.shape}")
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise InputError("coef and intercept: expected finite numbers")
        if not self.fit_intercept:
            if intercept.any():
                raise InputError("intercept: expected 0 with fit_intercept=False")
            intercept = np.empty(0)
        else:
            intercept = np.broadcast_to(intercept.ravel(), self.loss.width)
        flat: NDArray[np.float64] = np.concatenate([coef.ravel(), intercept])
        return flat

    def unflatten(self, parameters: NDArray[np.float64]) -> tuple[NDArray[Any], Any]:
        """Return coef (`coef_shape`) and intercept (float, or (n_classes,)), in the dtype of X."""
        dtype = self.design.dtype
        coef = parameters[: self.n_coef].reshape(self.coef_shape).astype(dtype)
        intercept = parameters[self.n_coef :].astype(dtype)
        if self.loss.width == 1:
            return coef, dtype.type(intercept[0] if self.fit_intercept else 0)
        return coef, intercept if self.fit_intercept else np.zeros(self.loss.width, dtype)


@dataclass(frozen=True)
class Plan:
    """How to descend."""

    method: str
    learning_rate: float | None
    """None is 1/L."""
    n_steps: int
    tol: float
    """Stop when ‖∇F‖ ≤ tol · reference; zero never stops early."""
    reference: float | None
    """‖∇F(0)‖; None takes the norm at the start, which is the same for a start at zero."""
    n_threads: int


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a descent ended, and how."""

    parameters: NDArray[np.float64]
    """Flat, as `Problem.flatten` makes them."""
    loss: float
    gradient_norm: float
    status: str
    """A key of `STATUSES`."""
    history: dict[str, NDArray[np.float64]]
    """loss, gradient_norm, step_size, seconds: one entry a step that was made."""


#: How a descent can end, and the sentence for it.
STATUSES = {
    "converged": "the gradient norm reached the tolerance",
    "max_steps": "all steps were made",
    "stopped": "the callback asked to stop",
    "diverged": "the loss or its gradient is no longer finite",
}


def make_problem(
    X: Any,
    y: Any,
    *,
    loss: str,
    alpha: float,
    fit_intercept: bool,
    sample_weight: Any = None,
    classes: Any = None,
) -> Problem:
    """Check the user's arguments, one by one, and put them together. X is not copied if a backend can read it."""
    chosen = loss_type(loss)
    design = as_design(X)
    n, dtype = len(design), design.dtype
    if y is None:
        raise InputError("y: expected targets; got None")
    prepared, targets, labels = chosen.prepare(y, n, dtype, classes)
    weights = None if sample_weight is None else as_weights(sample_weight, n, dtype)
    return Problem(
        design=design,
        targets=targets,
        sample_weight=weights,
        loss=prepared,
        penalty=L2(number("alpha", alpha, least=0.0)),
        fit_intercept=flag("fit_intercept", fit_intercept),
        classes=labels,
    )
