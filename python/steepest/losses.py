"""Losses: functions of a row's target and scores. The design matrix never enters.

Each is a frozen description with its portable formula: `value_and_residual(xp, targets, scores)` returns ℓ(y, z) for
each row and ∂ℓ/∂z, for arrays of any array-API namespace `xp`. The fast form of the same formula is in ``src/loss.rs``.

A description can be passed where a loss is asked for: ``loss=st.Huber(delta=2.0)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from steepest.errors import InputError
from steepest.validation import (
    as_classes,
    as_probabilities,
    as_table,
    as_vector,
    class_numbers,
    is_table,
    known,
    number,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINARY = 2
#: Beyond this score the exponential of "poisson" goes on as its tangent: a sum of many is still finite.
HIGHEST_EXPONENT = {"float32": 64.0, "float64": 600.0}


class Loss(Protocol):
    """What the objective asks of a loss."""

    name: ClassVar[str]
    title: ClassVar[str]

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Loss, NDArray[Any], NDArray[Any] | None]:
        """Return the loss for targets `y`, the targets as an array of `dtype`, and the classes or None."""

    @property
    def kernel(self) -> str:
        """The name of the formula in the compiled core."""

    @property
    def parameter(self) -> float:
        """The number in the formula, if it has one; else 0."""

    @property
    def width(self) -> int:
        """Scores per row: the number of targets or classes; 1 for two classes."""

    @property
    def curvature(self) -> float | None:
        """L with 0 ≼ ∂²ℓ/∂z² ≼ L·I; None if there is no such bound."""

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return ℓ, shape (n,), and ∂ℓ/∂z, shape of `scores`: (n,) or (n, width)."""

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:
        """Return ∂²ℓ/∂z²: (n,), or (n, width, width)."""

    def mean(self, xp: Any, scores: Any) -> Any:
        """Return the expected target, the inverse of the link: numbers, or probabilities (n, n_classes)."""


def _no_classes(name: str, classes: ArrayLike | None) -> None:
    if classes is not None:
        raise InputError(f"classes: expected None for loss {name!r}")


@dataclass(frozen=True)
class Mse:
    """Squared error: the number printed is the mean squared error.

    :value:      (z − y)², no ½; for k targets the mean over them, Σₖ (zₖ − yₖ)² / k
    :domain:     y, z real
    :link:       identity: the prediction is the score
    :curvature:  2 / k
    """

    n_targets: int = 1
    name: ClassVar[str] = "mse"
    title: ClassVar[str] = "mean squared error"
    kernel: ClassVar[str] = "mse"
    parameter: ClassVar[float] = 0.0

    @property
    def width(self) -> int:
        """One score a target."""
        return self.n_targets

    @property
    def curvature(self) -> float:
        """2 / k."""
        return 2 / self.n_targets

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], None]:
        """Return the loss, the targets as (n_samples,) or (n_samples, n_targets) of `dtype`, and no classes."""
        _no_classes(self.name, classes)
        if is_table(y):
            targets = as_table("y", y, n_samples, dtype)
            return replace(self, n_targets=targets.shape[1]), targets, None
        return replace(self, n_targets=1), as_vector("y", y, n_samples, dtype), None

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return (z − y)² and 2 (z − y), or their shares of the mean over the targets."""
        residual = scores - targets
        if self.n_targets == 1:
            return residual * residual, 2 * residual
        return xp.sum(residual * residual, axis=1) / self.n_targets, 2 * residual / self.n_targets

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG002
        """Return 2 / k, for each target by itself."""
        if self.n_targets == 1:
            return xp.full_like(scores, 2.0)
        own = xp.full_like(scores, self.curvature)
        return own[:, :, None] * xp.eye(self.n_targets, dtype=scores.dtype)[None, :, :]

    def mean(self, xp: Any, scores: Any) -> Any:  # noqa: ARG002
        """Return the scores."""
        return scores


@dataclass(frozen=True)
class LogLoss:
    """Cross-entropy of class labels or probabilities: logistic regression for two classes, softmax for more.

    :value:      two classes: log(1 + eᶻ) − y z;  more: log Σₖ exp zₖ − Σₖ yₖ zₖ, y one for the row's class, else zero
    :domain:     y one of `n_classes` labels, counted from 0, or a row of probabilities; z real
    :link:       two classes: p = 1 / (1 + e⁻ᶻ) of the second;  more: p = softmax(z)
    :curvature:  ¼ for two classes, ½ for more (Gershgorin: max 2 p (1 − p))

    Written with exp of nothing positive, so that it is finite for every finite score.
    """

    n_classes: int = BINARY
    probabilities: bool = False
    name: ClassVar[str] = "log_loss"
    title: ClassVar[str] = "cross-entropy"
    parameter: ClassVar[float] = 0.0

    @property
    def kernel(self) -> str:
        """One of three."""
        if self.n_classes == BINARY:
            return "log_loss"
        return "softmax_probabilities" if self.probabilities else "softmax"

    @property
    def width(self) -> int:
        """One score for two classes, else one score a class."""
        return 1 if self.n_classes == BINARY else self.n_classes

    @property
    def curvature(self) -> float:
        """¼ for two classes, ½ for more."""
        return 0.25 if self.n_classes == BINARY else 0.5

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], NDArray[Any]]:
        """Return the loss, the class numbers (n_samples,) or probabilities, and the labels in their order."""
        if is_table(y):
            rows = as_probabilities(y, n_samples, dtype)
            n_classes = rows.shape[1]
            order = np.arange(n_classes) if classes is None else as_classes(classes)
            if len(order) != n_classes:
                raise InputError(f"classes: expected {n_classes} labels, one a column of y; got {order.tolist()}")
            targets = np.ascontiguousarray(rows[:, 1]) if n_classes == BINARY else rows
            return replace(self, n_classes=n_classes, probabilities=True), targets, order
        numbers, order = class_numbers(y, n_samples, classes, self.name)
        return replace(self, n_classes=len(order), probabilities=False), numbers.astype(dtype), order

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return the cross-entropy of each row, and p − y."""
        if self.n_classes == BINARY:
            return self._logistic(xp, targets, scores)
        return self._softmax(xp, targets, scores)

    def _logistic(self, xp: Any, y: Any, z: Any) -> tuple[Any, Any]:
        e = xp.exp(-xp.abs(z))
        zero = xp.zeros_like(z)
        value = xp.where(z > 0, z, zero) - y * z + xp.log1p(e)
        miss = 1 - y
        numerator = xp.where(z > 0, miss - y * e, miss * e - y)
        return value, numerator / (1 + e)

    def _softmax(self, xp: Any, y: Any, z: Any) -> tuple[Any, Any]:
        if not self.probabilities:
            numbers = xp.arange(self.n_classes, dtype=z.dtype)
            y = xp.astype(y[:, None] == numbers[None, :], z.dtype)
        shifted = z - xp.max(z, axis=1, keepdims=True)
        e = xp.exp(shifted)
        total = xp.sum(e, axis=1, keepdims=True)
        # Chosen, not multiplied by zero: a score far below the highest may be shifted to minus infinity.
        value = xp.log(total[:, 0]) - xp.sum(xp.where(y > 0, y * shifted, xp.zeros_like(shifted)), axis=1)
        return value, e / total - y

    def mean(self, xp: Any, scores: Any) -> Any:
        """Return the probability of each class, (n, n_classes), from scores (n,) or (n, n_classes)."""
        if self.n_classes == BINARY:
            scores = xp.stack([xp.zeros_like(scores), scores], axis=1)
        e = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
        return e / xp.sum(e, axis=1, keepdims=True)

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG002
        """Return p (1 − p), or diag(p) − p pᵀ."""
        if self.n_classes == BINARY:
            e = xp.exp(-xp.abs(scores))
            return e / ((1 + e) * (1 + e))
        p = self.mean(xp, scores)
        own = p[:, :, None] * xp.eye(self.n_classes, dtype=p.dtype)[None, :, :]
        return own - p[:, :, None] * p[:, None, :]


@dataclass(frozen=True)
class Huber:
    """Quadratic near the target, linear beyond `delta`: outliers pull with a bounded force.

    :value:      ``½ r² where |r| ≤ δ, else δ (|r| − ½ δ)``, with r = z − y
    :domain:     y, z real; δ > 0, in the units of y
    :link:       identity: the prediction is the score
    :curvature:  1
    """

    delta: float = 1.0
    name: ClassVar[str] = "huber"
    title: ClassVar[str] = "Huber loss"
    kernel: ClassVar[str] = "huber"
    width: ClassVar[int] = 1
    curvature: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        number("delta", self.delta, above=0.0)

    @property
    def parameter(self) -> float:
        """δ."""
        return float(self.delta)

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], None]:
        """Return the loss, the targets as (n_samples,) of `dtype`, and no classes."""
        _no_classes(self.name, classes)
        return self, as_vector("y", y, n_samples, dtype), None

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return c (r − ½ c) and c, with c the residual cut to ±δ."""
        residual = scores - targets
        cut = xp.clip(residual, -self.parameter, self.parameter)
        return cut * (residual - 0.5 * cut), cut

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:
        """Return 1 where ``|r| ≤ δ``, else 0."""
        return xp.astype(xp.abs(scores - targets) <= self.parameter, scores.dtype)

    def mean(self, xp: Any, scores: Any) -> Any:  # noqa: ARG002
        """Return the scores."""
        return scores


@dataclass(frozen=True)
class Poisson:
    """Counts: the negative log-likelihood of a Poisson distribution, without the term that only depends on y.

    :value:      eᶻ − y z; beyond z = 600 (64 for float32) the exponential goes on as its tangent
    :domain:     y ≥ 0; z real
    :link:       logarithm: the prediction is eᶻ
    :curvature:  none that holds everywhere: eᶻ
    """

    name: ClassVar[str] = "poisson"
    title: ClassVar[str] = "Poisson loss"
    kernel: ClassVar[str] = "poisson"
    parameter: ClassVar[float] = 0.0
    width: ClassVar[int] = 1
    curvature: ClassVar[None] = None

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], None]:
        """Return the loss, the targets as (n_samples,) of `dtype`, and no classes."""
        _no_classes(self.name, classes)
        counts = as_vector("y", y, n_samples, dtype)
        if counts.min() < 0:
            row = int(np.argmax(counts < 0))
            raise InputError(f"y: expected counts ≥ 0 for loss 'poisson'; y[{row}] is {counts[row]}")
        return self, counts, None

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return eᶻ − y z and eᶻ − y."""
        cut, e = self._exponential(xp, scores)
        return e + e * (scores - cut) - targets * scores, e - targets

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG002
        """Return eᶻ."""
        return self.mean(xp, scores)

    def mean(self, xp: Any, scores: Any) -> Any:
        """Return eᶻ."""
        return self._exponential(xp, scores)[1]

    def _exponential(self, xp: Any, scores: Any) -> tuple[Any, Any]:
        highest = HIGHEST_EXPONENT["float32" if scores.dtype == xp.float32 else "float64"]
        cut = xp.clip(scores, None, highest)
        return cut, xp.exp(cut)


@dataclass(frozen=True)
class SquaredHinge:
    """Two classes by a margin: rows beyond it cost nothing.

    :value:      max(0, 1 − y z)²
    :domain:     y −1 or 1, for the first and the second of two labels; z real
    :link:       sign: the prediction is the second label where z > 0
    :curvature:  2
    """

    name: ClassVar[str] = "squared_hinge"
    title: ClassVar[str] = "squared hinge loss"
    kernel: ClassVar[str] = "squared_hinge"
    parameter: ClassVar[float] = 0.0
    width: ClassVar[int] = 1
    curvature: ClassVar[float] = 2.0

    def prepare(
        self, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], NDArray[Any]]:
        """Return the loss, −1 or 1 for each row as (n_samples,) of `dtype`, and the two labels."""
        numbers, order = class_numbers(y, n_samples, classes, self.name, most=BINARY)
        return self, (2 * numbers - 1).astype(dtype), order

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return m² and −2 y m, with m = max(0, 1 − y z)."""
        miss = xp.clip(1 - targets * scores, 0.0, None)
        return miss * miss, -2 * targets * miss

    def second_derivative(self, xp: Any, targets: Any, scores: Any) -> Any:
        """Return 2 where y z < 1, else 0."""
        return 2 * xp.astype(targets * scores < 1, scores.dtype)

    def mean(self, xp: Any, scores: Any) -> Any:  # noqa: ARG002
        """Raise an error: a margin is not a probability."""
        raise InputError("loss 'squared_hinge' gives margins, not probabilities; loss='log_loss' gives both")


#: Every name under which a loss can be asked for.
LOSSES: dict[str, type[Loss]] = {
    "mse": Mse,
    "squared_error": Mse,
    "log_loss": LogLoss,
    "cross_entropy": LogLoss,
    "huber": Huber,
    "poisson": Poisson,
    "squared_hinge": SquaredHinge,
}


def as_loss(given: str | Loss) -> Loss:
    """Return the loss that `given` names, or is."""
    if isinstance(given, str):
        return LOSSES[known("loss", given, LOSSES)]()
    if not isinstance(given, tuple(set(LOSSES.values()))):
        raise InputError(f"loss: expected one of {', '.join(sorted(LOSSES))} or a loss; got {given!r}")
    return given
