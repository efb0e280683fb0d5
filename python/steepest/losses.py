"""Losses: functions of a row's target and scores. The design matrix never enters.

Each is a frozen description with its portable formula: `value_and_residual(xp, targets, scores)` returns ℓ(y, z) for
each row and ∂ℓ/∂z, for arrays of any array-API namespace `xp`. The fast form of the same formula is in ``src/loss.rs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from steepest.errors import InputError
from steepest.validation import as_vector, known

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINARY = 2


class Loss(Protocol):
    """What the objective asks of a loss."""

    name: ClassVar[str]
    title: ClassVar[str]

    @classmethod
    def prepare(
        cls, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Loss, NDArray[Any], NDArray[Any] | None]:
        """Return the loss for targets `y`, the targets as (n_samples,) of `dtype`, and the classes or None."""

    @property
    def width(self) -> int:
        """Scores per row: 1, or the number of classes."""

    @property
    def curvature(self) -> float:
        """L with 0 ≼ ∂²ℓ/∂z² ≼ L·I."""

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:
        """Return ℓ, shape (n,), and ∂ℓ/∂z, shape of `scores`: (n,) or (n, width)."""


@dataclass(frozen=True)
class Mse:
    """Squared error: the number printed is the mean squared error.

    value      (z − y)², no ½
    domain     y, z real
    link       identity: the prediction is the score
    curvature  2
    """

    name: ClassVar[str] = "mse"
    title: ClassVar[str] = "mean squared error"
    width: ClassVar[int] = 1
    curvature: ClassVar[float] = 2.0

    @classmethod
    def prepare(
        cls, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], None]:
        """Return the loss, the targets as (n_samples,) of `dtype`, and no classes."""
        if classes is not None:
            raise InputError("classes: expected None for loss 'mse'")
        return cls(), as_vector("y", y, n_samples, dtype), None

    def value_and_residual(self, xp: Any, targets: Any, scores: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Return (z − y)² and 2 (z − y)."""
        residual = scores - targets
        return residual * residual, 2 * residual


@dataclass(frozen=True)
class LogLoss:
    """Cross-entropy of class labels: logistic regression for two classes, softmax regression for more.

    value      two classes: log(1 + eᶻ) − y z;  more: log Σₖ exp zₖ − z_y
    domain     y one of `n_classes` labels, counted from 0; z real
    link       two classes: p = 1 / (1 + e⁻ᶻ) of the second;  more: p = softmax(z)
    curvature  ¼ for two classes, ½ for more (Gershgorin: max 2 p (1 − p))

    Written with exp of nothing positive, so that it is finite for every finite score.
    """

    n_classes: int
    name: ClassVar[str] = "log_loss"
    title: ClassVar[str] = "cross-entropy"

    @property
    def width(self) -> int:
        """One score for two classes, else one score a class."""
        return 1 if self.n_classes == BINARY else self.n_classes

    @property
    def curvature(self) -> float:
        """¼ for two classes, ½ for more."""
        return 0.25 if self.n_classes == BINARY else 0.5

    @classmethod
    def prepare(
        cls, y: ArrayLike, n_samples: int, dtype: Any, classes: ArrayLike | None
    ) -> tuple[Self, NDArray[Any], NDArray[Any]]:
        """Return the loss, the class numbers as (n_samples,) of `dtype`, and the labels in their order."""
        labels, found = _labels("y", y, n_samples)
        if classes is None:
            order = found
            if len(found) < BINARY:
                raise InputError(f"y: expected at least two classes; every label is {found.tolist()[0]!r}")
        else:
            order, different = _labels("classes", classes)
            if len(order) < BINARY or len(different) < len(order):
                raise InputError(f"classes: expected at least two different labels; got {order.tolist()}")
            strange = found[~np.isin(found, order)]
            if strange.size:
                raise InputError(f"y: expected labels among {order.tolist()}; got {strange.tolist()[0]!r}")
        sorter = np.argsort(order)
        numbers = sorter[np.searchsorted(order, labels, sorter=sorter)]
        return cls(len(order)), numbers.astype(dtype), order

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
        numbers = xp.arange(self.n_classes, dtype=z.dtype)
        chosen = y[:, None] == numbers[None, :]
        shifted = z - xp.max(z, axis=1, keepdims=True)
        e = xp.exp(shifted)
        total = xp.sum(e, axis=1, keepdims=True)
        # Chosen, not multiplied by zero: a score far below the highest may be shifted to minus infinity.
        value = xp.log(total[:, 0]) - xp.sum(xp.where(chosen, shifted, xp.zeros_like(shifted)), axis=1)
        return value, e / total - xp.astype(chosen, z.dtype)


def _labels(name: str, given: ArrayLike, length: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return class labels as an array of one dimension, and the different ones sorted."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name}: expected no masked entries; fill or drop them first")
    try:
        labels = np.asarray(given)
        found = np.unique(labels)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected labels of one type; {error}") from error
    if labels.ndim != 1 or len(labels) != (len(labels) if length is None else length):
        expected = "(n_classes,)" if length is None else f"({length},)"
        raise InputError(f"{name}: expected shape {expected}; got {labels.shape}")
    if labels.dtype.kind == "U" and isinstance(given, (list, tuple)):
        # NumPy would turn the others into text without a word.
        other = next((label for label in given if not isinstance(label, str)), None)
        if other is not None:
            raise InputError(f"{name}: expected labels of one type; got text and {other!r}")
    if labels.dtype.kind == "O":
        hole = next((row for row, label in enumerate(labels) if isinstance(label, float) and np.isnan(label)), None)
        if hole is not None:
            raise InputError(f"{name}: expected a label in every row; {name}[{hole}] is nan")
    if labels.dtype.kind == "f":
        as_vector(name, labels, len(labels), np.float64)
        fractional = labels != np.floor(labels)
        if fractional.any():
            row = int(np.argmax(fractional))
            raise InputError(
                f"{name}: expected class labels for loss 'log_loss'; {name}[{row}] is {labels[row]}; "
                "loss='mse' predicts numbers"
            )
    return labels, found


#: Every name under which a loss can be asked for.
LOSSES: dict[str, type[Loss]] = {
    "mse": Mse,
    "squared_error": Mse,
    "log_loss": LogLoss,
    "cross_entropy": LogLoss,
}


def loss_type(name: str) -> type[Loss]:
    """Return the loss called `name`."""
    return LOSSES[known("loss", name, LOSSES)]
