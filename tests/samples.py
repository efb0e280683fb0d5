"""An objective at a point as plain data, and its definition in float64 NumPy: the witness that backends are held to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import array_api_strict
import numpy as np
from numpy.typing import NDArray

import steepest as st
from steepest.backends import Backend, get_backend
from steepest.backends.array import ArrayBackend
from steepest.problem import Problem, make_problem
from tolerance import tolerance


class Evaluation(NamedTuple):
    """F and its gradient: by coefficients, row after row, then by intercept."""

    value: float
    gradient: NDArray[np.float64]

    def bits(self) -> tuple[bytes, bytes]:
        """What two evaluations share when not a single bit differs."""
        return np.float64(self.value).tobytes(), self.gradient.tobytes()


@dataclass(frozen=True, eq=False)
class Sample:
    """Data and parameters; `n_classes` is 0 for "mse", else the labels in `y` are 0 … n_classes − 1."""

    loss: str
    X: NDArray[Any]
    y: NDArray[Any]
    coef: NDArray[Any]
    intercept: Any
    weights: NDArray[Any] | None = None
    alpha: float = 0.0
    n_classes: int = 0

    def __repr__(self) -> str:
        fields = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        values = (f"{name}={value.tolist() if hasattr(value, 'tolist') else value!r}" for name, value in fields)
        return f"Sample[{self.X.dtype}]({', '.join(values)})"

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def cast(self, dtype: Any, order: Any = "C") -> Self:
        """Return a copy with X of another type and order."""
        return self.but(X=np.array(self.X, dtype=dtype, order=order))

    def rows(self, index: Any) -> Self:
        """Return the sample of some of the rows."""
        weights = None if self.weights is None else self.weights[index]
        return self.but(X=self.X[index], y=self.y[index], weights=weights)

    @property
    def width(self) -> int:
        """Scores a row."""
        return self.n_classes if self.n_classes > 2 else 1

    @property
    def classes(self) -> list[int] | None:
        """The labels, also where `y` has not all of them."""
        return list(range(self.n_classes)) if self.n_classes else None

    @property
    def total_weight(self) -> float:
        """Σ s."""
        return float(len(self.y) if self.weights is None else self.weights.sum())

    @property
    def terms(self) -> int:
        """The longest chain of additions: a score, then a sum over rows."""
        return sum(self.X.shape)

    def problem(self) -> Problem:
        """Return the description that backends take."""
        return make_problem(
            self.X,
            self.y,
            loss=self.loss,
            alpha=self.alpha,
            fit_intercept=True,
            sample_weight=self.weights,
            classes=self.classes,
        )

    def evaluate(self, backend: str, n_threads: int = 1) -> Evaluation:
        """Ask a backend, through the façade if it can be asked for by name there."""
        if backend == "strict":
            problem = self.problem()
            parameters = problem.flatten(self.coef, self.intercept)
            return Evaluation(*engine(backend).value_and_gradient(problem, parameters, n_threads))
        value, coef_gradient, intercept_gradient = st.loss_and_gradient(
            self.X,
            self.y,
            self.coef,
            self.intercept,
            loss=self.loss,
            alpha=self.alpha,
            sample_weight=self.weights,
            classes=self.classes,
            backend=backend,
            n_threads=n_threads,
        )
        return Evaluation(value, np.concatenate([coef_gradient.ravel(), np.atleast_1d(intercept_gradient)]))


def engine(name: str) -> Backend:
    """Return a backend; "strict" is the portable one on a namespace that has nothing but the array-API standard."""
    return ArrayBackend("strict", array_api_strict) if name == "strict" else get_backend(name)


class Definition(NamedTuple):
    """F and its gradient by their formulas, and the sums of the magnitudes that rounding errors are relative to."""

    value: float
    gradient: NDArray[np.float64]
    value_magnitude: float
    gradient_magnitude: NDArray[np.float64]


def point(sample: Sample, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return ℓ, ∂ℓ/∂z and the curvature bound for scores (n, width)."""
    y = sample.y.astype(np.float64)
    if sample.loss == "mse":
        return (z[:, 0] - y) ** 2, 2 * (z - y[:, None]), 2.0
    if sample.width == 1:
        sign = 1 - 2 * y[:, None]
        return np.logaddexp(0, sign * z)[:, 0], sign / (1 + np.exp(-sign * z)), 0.25
    chosen = y[:, None] == np.arange(sample.width)
    ahead = z - z[chosen][:, None]
    losses = np.logaddexp.reduce(ahead, axis=1)
    return losses, np.exp(ahead - losses[:, None]) - chosen, 0.5


def define(sample: Sample) -> Definition:
    """Return the objective of `sample` by its definition: no blocks, no tricks, float64 throughout."""
    X, d = sample.X.astype(np.float64), sample.X.shape[1]
    coef = np.asarray(sample.coef, dtype=np.float64).reshape(sample.width, d)
    intercept = np.broadcast_to(np.asarray(sample.intercept, dtype=np.float64), sample.width)
    shares = np.ones(len(X)) if sample.weights is None else sample.weights.astype(np.float64)
    shares = shares / shares.sum()
    losses, slopes, curvature = point(sample, X @ coef.T + intercept)
    penalty = 0.5 * sample.alpha * float(np.sum(coef * coef))
    gradient = np.concatenate([(slopes.T * shares @ X + sample.alpha * coef).ravel(), shares @ slopes])

    # A score is off by eps times `reach`; a slope then by `curvature` times that, a loss by its slope times that. The
    # cross-entropy of several classes also has the logarithm of a sum between 1 and their number.
    reach = np.abs(X) @ np.abs(coef.T) + np.abs(intercept)
    reach += np.abs(sample.y.astype(np.float64))[:, None] if sample.loss == "mse" else 1.0
    slope_magnitude = np.abs(slopes) + curvature * reach
    second_order = tolerance(sample.X.dtype, sample.terms) * curvature * reach
    loss_magnitude = np.abs(losses) + np.sum((np.abs(slopes) + second_order) * reach, axis=1) + (sample.width > 1)
    gradient_magnitude = np.concatenate(
        [(slope_magnitude.T * shares @ np.abs(X) + sample.alpha * np.abs(coef)).ravel(), shares @ slope_magnitude]
    )
    value_magnitude = float(shares @ loss_magnitude) + penalty
    return Definition(float(shares @ losses) + penalty, gradient, value_magnitude, gradient_magnitude)
