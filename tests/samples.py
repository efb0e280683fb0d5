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
from steepest.methods import METHODS
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
    """Data and parameters of one of the `KINDS`: labels in `y` are 0 … n_classes − 1, or a row of `y` has `width`."""

    loss: str
    X: NDArray[Any]
    y: NDArray[Any]
    coef: NDArray[Any]
    intercept: Any
    weights: NDArray[Any] | None = None
    alpha: float = 0.0
    n_classes: int = 0
    l1_ratio: float = 0.0
    offset: NDArray[Any] | None = None

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
        weights, offset = (None if of is None else of[index] for of in (self.weights, self.offset))
        return self.but(X=self.X[index], y=self.y[index], weights=weights, offset=offset)

    @property
    def width(self) -> int:
        """Scores a row."""
        if self.loss == "mse" and self.y.ndim == 2:
            return int(self.y.shape[1])
        return self.n_classes if self.n_classes > 2 else 1

    @property
    def smooth(self) -> Self:
        """Return the sample with the ridge penalty."""
        return self.but(l1_ratio=0.0)

    @property
    def is_exact(self) -> bool:
        """Whether whole numbers make whole losses, whose sums are exact in any order."""
        return self.loss == "mse"

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
            l1_ratio=self.l1_ratio,
            fit_intercept=True,
            sample_weight=self.weights,
            offset=self.offset,
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
            l1_ratio=self.l1_ratio,
            sample_weight=self.weights,
            offset=self.offset,
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


class Rowwise(NamedTuple):
    """A loss at the scores of each row: (n,), else (n, width); and how large the terms are that make it up."""

    losses: NDArray[np.float64]
    slopes: NDArray[np.float64]
    curvature: Any
    loss_magnitude: Any
    slope_magnitude: Any


def point(sample: Sample, z: NDArray[np.float64]) -> Rowwise:
    """Return ℓ, ∂ℓ/∂z and a bound on the curvature for scores (n, width), by the formulas of the textbooks."""
    y = sample.y.astype(np.float64)
    column = y if y.ndim == 2 else y[:, None]
    residual = z - column if sample.loss in {"mse", "huber"} else z
    if sample.loss == "mse":
        return Rowwise(np.mean(residual**2, axis=1), 2 * residual / sample.width, 2.0 / sample.width, 0.0, 0.0)
    if sample.loss == "huber":
        far = np.abs(residual) > 1
        losses = np.where(far, np.abs(residual) - 0.5, 0.5 * residual**2)
        return Rowwise(losses[:, 0], np.where(far, np.sign(residual), residual), 1.0, 1.0, 1.0)
    if sample.loss == "poisson":
        mean = np.exp(z)
        return Rowwise((mean - column * z)[:, 0], mean - column, mean, (mean + column * np.abs(z))[:, 0], mean + column)
    if sample.loss == "squared_hinge":
        sign = 2 * column - 1
        miss = np.maximum(0, 1 - sign * z)
        return Rowwise(miss[:, 0] ** 2, -2 * sign * miss, 2.0, 1.0, 1.0)
    if sample.width == 1:
        ones = column[:, 1:] if y.ndim == 2 else column
        losses = ones * np.logaddexp(0, -z) + (1 - ones) * np.logaddexp(0, z)
        slopes = (1 - ones) / (1 + np.exp(-z)) - ones / (1 + np.exp(z))
        return Rowwise(losses[:, 0], slopes, 0.25, 0.0, 0.0)
    chosen = column if y.ndim == 2 else column == np.arange(sample.width)
    ahead = z[:, None, :] - z[:, :, None]
    own = np.logaddexp.reduce(ahead, axis=2)
    return Rowwise(np.sum(chosen * own, axis=1), np.exp(-own) - chosen, 0.5, 1.0, 0.0)


def define(sample: Sample) -> Definition:
    """Return the objective of `sample` by its definition: no blocks, no tricks, float64 throughout."""
    X, d = sample.X.astype(np.float64), sample.X.shape[1]
    coef = np.asarray(sample.coef, dtype=np.float64).reshape(sample.width, d)
    intercept = np.broadcast_to(np.asarray(sample.intercept, dtype=np.float64), sample.width)
    offset = 0.0 if sample.offset is None else sample.offset.astype(np.float64).reshape(len(X), -1)
    shares = np.ones(len(X)) if sample.weights is None else sample.weights.astype(np.float64)
    shares = shares / shares.sum()
    losses, slopes, curvature, loss_terms, slope_terms = point(sample, X @ coef.T + intercept + offset)
    l1, l2 = sample.alpha * sample.l1_ratio, sample.alpha * (1 - sample.l1_ratio)
    penalty = l1 * float(np.sum(np.abs(coef))) + 0.5 * l2 * float(np.sum(coef * coef))
    gradient = np.concatenate([(slopes.T * shares @ X + l2 * coef).ravel(), shares @ slopes])

    # A score is off by eps times `reach`; a slope then by `curvature` times that, a loss by its slope times that.
    reach = np.abs(X) @ np.abs(coef.T) + np.abs(intercept) + np.abs(offset)
    y = sample.y.astype(np.float64)
    reach += np.abs(y if y.ndim == 2 else y[:, None]) if sample.loss in {"mse", "huber"} else 1.0
    slope_magnitude = np.abs(slopes) + curvature * reach + slope_terms
    second_order = tolerance(sample.X.dtype, sample.terms) * curvature * reach
    loss_magnitude = np.abs(losses) + np.sum((np.abs(slopes) + second_order) * reach, axis=1) + loss_terms
    gradient_magnitude = np.concatenate(
        [(slope_magnitude.T * shares @ np.abs(X) + l2 * np.abs(coef)).ravel(), shares @ slope_magnitude]
    )
    value_magnitude = float(shares @ loss_magnitude) + penalty
    return Definition(float(shares @ losses) + penalty, gradient, value_magnitude, gradient_magnitude)


def methods_for(loss: str) -> list[str]:
    """Return the names of the methods that can minimise this loss."""
    return [name for name, kind in METHODS.items() if loss == "mse" or not kind.needs_statistics]
