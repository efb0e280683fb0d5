"""Classifiers: how far their probabilities can be believed, and which classes they take for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.curves import colour, labelled, new_axes
from steepest.errors import InputError, MissingPackageError
from steepest.model import LinearModel, as_model
from steepest.validation import integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINARY = 2


def plot_calibration(models: Any, X: Any, y: Any, *, n_bins: int = 10, ax: Any = None) -> Any:
    """Draw how often the second class comes true among rows with about the same predicted probability.

    By scikit-learn's `CalibrationDisplay`, in bins of as many rows each.

    Parameters
    ----------
    models : Fit, LinearModel, fitted estimator or pipeline, or a dict or list of them
        Classifiers of two classes that give probabilities.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training
        Rows that were not trained on.
    y : array_like, (n_samples,)
        Their labels.
    n_bins : int ≥ 1
        Points of each curve.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If a model does not give the probabilities of two classes.
    MissingPackageError
        If Matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> x, y = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], ["no", "no", "yes", "no", "yes", "yes"]
    >>> axes = st.plot.plot_calibration(st.descend(x, y, loss="log_loss"), [[v] for v in x], y, n_bins=2)
    >>> axes.get_ylabel()
    "share of 'yes'"
    """
    given = labelled("models", models)
    integer("n_bins", n_bins, least=1)
    ax = new_axes(ax, (4.8, 4.8))
    CalibrationDisplay = _sklearn("calibration", "CalibrationDisplay")
    for k, (label, model) in enumerate(given.items()):
        fitted = _predictor(model)
        classes = _classes(fitted)
        if len(classes) != BINARY:
            raise InputError(f"models: expected two classes; got {len(classes)}")
        probability = np.asarray(fitted.predict_proba(X))[:, 1]
        came_true = _labels(y, classes) == 1
        CalibrationDisplay.from_predictions(
            came_true, probability, n_bins=n_bins, strategy="quantile", ax=ax, name=label or None,
            color=colour(k), linewidth=1.8, marker="o", markersize=5,
        )  # fmt: skip
        named = f"{classes[1]!r}" if getattr(fitted, "target", "y") == "y" else f"{fitted.target} = {classes[1]}"
        ax.set_xlabel(f"predicted probability of {named}")
        ax.set_ylabel(f"share of {named}")
    ax.spines[["top", "right"]].set_visible(False)
    if len(given) == 1:
        ax.get_legend().remove()
    ax.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.grid(alpha=0.25)
    return ax


def plot_confusion(model: Any, X: Any, y: Any, *, normalize: str | None = None, ax: Any = None) -> Any:
    """Draw which classes are taken for which: true classes by rows, predicted ones by columns.

    By scikit-learn's `ConfusionMatrixDisplay`.

    Parameters
    ----------
    model : Fit, LinearModel, fitted estimator or pipeline
        A classifier.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training
        Rows that were not trained on.
    y : array_like, (n_samples,)
        Their labels.
    normalize : {"true", "pred", "all"}, optional
        Draw shares of the true class, of the predicted one, or of all rows; default: counts.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the model predicts numbers, or a label was not there in training.
    MissingPackageError
        If Matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> x, y = [0.0, 1.0, 2.0, 3.0], ["no", "no", "yes", "yes"]
    >>> axes = st.plot.plot_confusion(st.descend(x, y, loss="log_loss"), [[v] for v in x], y)
    >>> [text.get_text() for text in axes.texts]
    ['2', '0', '0', '2']
    """
    if normalize not in {None, "true", "pred", "all"}:
        raise InputError(f"normalize: expected None, 'true', 'pred' or 'all'; got {normalize!r}")
    fitted = _predictor(model)
    classes = _classes(fitted)
    numbers, predicted = _labels(y, classes), _labels(fitted.predict(X), classes)
    ax = new_axes(ax, (side(len(classes)),) * 2)
    _sklearn("metrics", "ConfusionMatrixDisplay").from_predictions(
        numbers,
        predicted,
        labels=range(len(classes)),
        display_labels=classes,
        normalize=normalize,
        values_format=",d" if normalize is None else ".0%",
        cmap="cividis",
        colorbar=False,
        ax=ax,
    )
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def side(n_classes: int) -> float:
    """Return the inches that a square of so many classes takes."""
    return 2.6 + 0.5 * n_classes


def _sklearn(module: str, name: str) -> Any:
    from importlib import import_module

    try:
        return getattr(import_module(f"sklearn.{module}"), name)
    except ImportError:
        raise MissingPackageError("this picture needs scikit-learn: pip install 'steepest[sklearn]'") from None


def _predictor(model: Any) -> Any:
    """Return what predicts as the user's model does: an estimator or pipeline itself, or a model by itself."""
    return model if hasattr(model, "predict") else as_model(model)


def _classes(model: Any) -> list[Any]:
    classes = getattr(model, "classes", None) if isinstance(model, LinearModel) else getattr(model, "classes_", None)
    if classes is None:
        raise InputError("model: expected a classifier; this model predicts numbers")
    return list(np.asarray(classes).tolist())


def _labels(y: Any, classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the number of each label's class."""
    numbers = {label: k for k, label in enumerate(classes)}
    given = y.to_pylist() if hasattr(y, "to_pylist") else np.asarray(y).tolist()
    strange = next((label for label in given if label not in numbers), None)
    if strange is not None:
        raise InputError(f"y: expected labels of {classes}; got {strange!r}")
    return np.array([numbers[label] for label in given], dtype=np.int64)
