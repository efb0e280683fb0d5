"""Smaller models, with what it costs: features left out, coefficients in fewer bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.errors import InputError
from steepest.model import LinearModel, as_model
from steepest.validation import integer, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The largest integer that a coefficient becomes; −128 is not used, so that signs are alike.
LARGEST_INTEGER = 127


class Smaller(NamedTuple):
    """A smaller model and what it costs.

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
    r"""Leave out the features that matter least to the scores.

    What a feature does is :math:`\max_k |w_{kj}| \, \mathrm{sd}(x_j)`, in the units of the scores. The mean of what is
    left out goes into the intercept.

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
        The smaller model, its loss on this data and the loss before.

    Raises
    ------
    InputError
        If not one of `threshold` and `n_features` is given, or no feature would be left.

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
    design = model.design(X)
    mean, deviation = _moments(design)
    weights = model.weights
    effect = np.abs(weights).max(axis=0) * deviation
    if threshold is not None:
        kept = np.flatnonzero(effect >= number("threshold", threshold, least=0.0))
    else:
        most = integer("n_features", n_features, least=1)
        kept = np.sort(np.argsort(-effect, kind="stable")[:most])
    if not len(kept):
        raise InputError(f"threshold: expected one that leaves a feature; the largest effect is {effect.max():.6g}")
    left_out = np.setdiff1d(np.arange(model.n_features), kept)
    moved = weights[:, left_out] @ mean[left_out]
    smaller = replace(
        model,
        coef=np.ascontiguousarray(weights[:, kept]),
        intercept=(model.intercept + moved).astype(model.intercept.dtype),
        kept=kept.astype(np.int64),
        scale=None,
        training={**model.training, "pruned": f"{len(kept)} of {model.n_features} features"},
    )
    return _measured(model, smaller, design, y)


def quantize(model: Any, X: Any, y: Any, *, to: str = "int8") -> Smaller:
    """Store the coefficients in fewer bits.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor or GDClassifier
        A fitted one; it is not changed.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training
        Data to measure on.
    y : array_like, (n_samples,) or (n_samples, k)
        Its targets.
    to : {"int8", "float16"}
        Integers, with one scale a score: fit for columns of similar scale. Or half precision.

    Returns
    -------
    Smaller
        The smaller model, its loss on this data and the loss before.

    Raises
    ------
    InputError
        If a coefficient is beyond the range of float16.

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
    weights = model._kept_weights()  # noqa: SLF001
    if known("to", to, ["int8", "float16"]) == "int8":
        largest = np.abs(weights).max(axis=1)
        scale = np.where(largest > 0, largest / LARGEST_INTEGER, 1).astype(model.intercept.dtype)
        coef: NDArray[Any] = np.rint(weights / scale[:, np.newaxis]).astype(np.int8)
    else:
        scale = None
        with np.errstate(over="ignore"):
            coef = weights.astype(np.float16)
        if not np.isfinite(coef).all():
            raise InputError(f"to: a coefficient of {np.abs(weights).max():.3g} is beyond float16; to='int8' takes it")
    smaller = replace(model, coef=coef, scale=scale, training={**model.training, "quantized": to})
    return _measured(model, smaller, model.design(X), y)


def _moments(design: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation of each column."""
    if not hasattr(design, "tocsr"):
        return design.mean(axis=0, dtype=np.float64), design.std(axis=0, dtype=np.float64)
    mean = np.asarray(design.mean(axis=0, dtype=np.float64)).ravel()
    square = np.asarray(design.multiply(design).mean(axis=0, dtype=np.float64)).ravel()
    return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _measured(model: LinearModel, smaller: LinearModel, design: Any, y: Any) -> Smaller:
    before, after = (average_loss(one, one.scores_of(design), y) for one in (model, smaller))
    return Smaller(smaller, after, before)


def average_loss(model: LinearModel, scores: NDArray[Any], y: Any) -> float:
    """Return the average loss of scores (n_rows, n_scores) for targets y, without penalty."""
    loss, targets, _ = model.fitted_loss.prepare(y, len(scores), np.float64, model.classes)
    z = scores.astype(np.float64)
    value, _ = loss.value_and_residual(np, targets, z[:, 0] if loss.width == 1 else z)
    return float(np.mean(value))
