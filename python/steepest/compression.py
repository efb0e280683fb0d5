"""Smaller models, with what it costs: features left out, coefficients in fewer bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from steepest.errors import InputError
from steepest.model import LinearModel, as_model
from steepest.validation import integer, is_table, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The largest integer that a coefficient becomes; −128 is not used, so that signs are alike.
LARGEST_INTEGER = 127


class Smaller(NamedTuple):
    """A smaller model and what it costs: what `prune` and `quantize` return.

    Attributes
    ----------
    model : LinearModel
        The smaller one.
    loss : float
        Its average loss over the data that was passed, without penalty.
    loss_before : float
        That of the model it was made from.
    """

    model: LinearModel
    loss: float
    loss_before: float

    @property
    def loss_change(self) -> float:
        """How much the average loss rose."""
        return self.loss - self.loss_before


def prune(model: Any, X: Any, y: Any, *, threshold: float | None = None, n_features: int | None = None) -> Smaller:
    """Leave out the features that matter least to the scores.

    What feature j does is ``maxₖ |wₖⱼ| · sd(xⱼ)``, in the units of the scores. The mean over the
    data of what is left out goes into the intercept.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor or GDClassifier
        A fitted one; it is not changed.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training
        Data to measure on.
    y : array_like, (n_samples,) or (n_samples, k)
        Its targets.
    threshold : float ≥ 0, optional
        Leave out features that do less than this.
    n_features : int ≥ 1, optional
        Or keep this many, those that do most.

    Returns
    -------
    Smaller
        The smaller model, its loss on this data and the loss before; data that was not trained on tells more.

    Raises
    ------
    InputError
        If not one of `threshold` and `n_features` is given, no feature would be left, or the data is not as in
        training.

    Examples
    --------
    >>> import numpy as np
    >>> import steepest as st
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> fit = st.descend(X, X @ [2.0, 0.0, 1.0], method="newton", n_steps=9)
    >>> smaller = st.prune(fit, X, X @ [2.0, 0.0, 1.0], n_features=2)
    >>> smaller.model.kept, round(smaller.loss_change, 9)
    (array([0, 2]), 0.0)
    """
    model = as_model(model)
    if (threshold is None) == (n_features is None):
        raise InputError("threshold, n_features: expected one of the two")
    data = _Data.of(model, X, y)
    columns = np.arange(model.n_features) if model.kept is None else model.kept
    effect = np.abs(model.weights[:, columns]).max(axis=0) * data.deviation[columns]
    if threshold is not None:
        chosen = np.flatnonzero(effect >= number("threshold", threshold, least=0.0))
    else:
        most = integer("n_features", n_features, least=1)
        if most > len(columns):
            raise InputError(f"n_features: expected at most {len(columns)}, those of the model; got {most}")
        chosen = np.sort(np.argsort(-effect, kind="stable")[:most])
    if not len(chosen):
        raise InputError(f"threshold: expected one that leaves a feature; the largest effect is {effect.max():.6g}")
    smaller = replace(
        model,
        coef=np.ascontiguousarray(model.coef[:, chosen]),
        kept=columns[chosen].astype(np.int64),
        training={**model.training, "pruned": f"{len(chosen)} of {model.n_features} features"},
    )
    return _measured(model, smaller, data)


def quantize(model: Any, X: Any, y: Any, *, to: str = "int8") -> Smaller:
    """Store the coefficients in fewer bits.

    What rounding takes from the scores on average over the data goes into the intercept, which keeps its precision.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor or GDClassifier
        A fitted one; it is not changed.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training
        Data to measure on.
    y : array_like, (n_samples,) or (n_samples, k)
        Its targets.
    to : {"int8", "float16"}
        Integers with one scale a score, the largest coefficient becoming 127: a fourth of float32, an eighth of
        float64, fit for columns of similar scale. Or half precision: eleven bits, for coefficients from 6e-5 to 65504.

    Returns
    -------
    Smaller
        The smaller model, its loss on this data and the loss before; data that was not trained on tells more.

    Raises
    ------
    InputError
        If a coefficient is beyond the range of float16, or the data is not as in training.

    Examples
    --------
    >>> import numpy as np
    >>> import steepest as st
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> fit = st.descend(X, X @ [2.0, -1.0, 1.0], method="newton", n_steps=9)
    >>> smaller = st.quantize(fit, X, X @ [2.0, -1.0, 1.0])
    >>> smaller.model.coef, smaller.loss_change < 1e-3
    (array([[127, -64,  64]], dtype=int8), True)
    """
    model = as_model(model)
    stored = model.kept_weights
    if known("to", to, ["int8", "float16"]) == "int8":
        largest = np.abs(stored).max(axis=1)
        # The scale of a row of zeros, or of numbers too small to be divided by, does not matter.
        least = np.finfo(stored.dtype).tiny
        scale = np.where(largest > least * LARGEST_INTEGER, largest / LARGEST_INTEGER, 1).astype(stored.dtype)
        coef: NDArray[Any] = np.rint(stored / scale[:, np.newaxis]).astype(np.int8)
    else:
        scale = None
        with np.errstate(over="ignore"):
            coef = stored.astype(np.float16)
        if not np.isfinite(coef).all():
            raise InputError(f"to: a coefficient of {np.abs(stored).max():.3g} is beyond float16; to='int8' takes it")
    smaller = replace(model, coef=coef, scale=scale, training={**model.training, "quantized": to})
    return _measured(model, smaller, _Data.of(model, X, y))


class _Data(NamedTuple):
    """Data to measure on, and mean and standard deviation of each column."""

    design: Any
    y: Any
    loss: float
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, model: LinearModel, X: Any, y: Any) -> Self:
        design = model.design(X)
        if not design.shape[0]:
            raise InputError("X: expected at least one row to measure on")
        # Before anything else is made of X: where it is not finite, this names the cell.
        loss = average_loss(model, model.scores_of(design), y)
        return cls(design, y, loss, *moments(design))


def moments(design: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each column of a dense or sparse matrix."""
    if not hasattr(design, "tocsr"):
        return design.mean(axis=0, dtype=np.float64), design.std(axis=0, dtype=np.float64)
    mean, square = (
        np.asarray(part.mean(axis=0, dtype=np.float64)).ravel() for part in (design, design.multiply(design))
    )
    return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _measured(model: LinearModel, smaller: LinearModel, data: _Data) -> Smaller:
    """Give back to the intercept what the scores lost on average, and measure the loss."""
    lost = (model.weights.astype(np.float64) - smaller.weights) @ data.mean
    smaller = replace(smaller, intercept=(model.intercept + lost).astype(model.intercept.dtype))
    return Smaller(smaller, average_loss(smaller, smaller.scores_of(data.design), data.y), data.loss)


def average_loss(model: LinearModel, scores: NDArray[Any], y: Any) -> float:
    """Return the average loss of scores (n_rows, n_scores) for targets y, without penalty."""
    classes = None if model.classes is None else range(len(model.classes))
    if classes is not None and not is_table(y):
        y = model.class_numbers(y)
    loss, targets, _ = model.fitted_loss.prepare(y, len(scores), np.float64, classes)
    if loss.width != scores.shape[1]:
        raise InputError(f"y: expected {scores.shape[1]} columns, as in training; got {loss.width}")
    z = scores.astype(np.float64)
    value, _ = loss.value_and_residual(np, targets, z[:, 0] if loss.width == 1 else z)
    return float(np.mean(value))
