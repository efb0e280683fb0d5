"""Fitted models: their coefficients, their line through the points, how far their probabilities can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.curves import COLOURS, QUIET, colour, labelled, new_axes
from steepest.errors import InputError, MissingPackageError
from steepest.losses import Poisson, SquaredHinge
from steepest.model import LinearModel, as_model
from steepest.validation import integer, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINARY = 2
ROW_HEIGHT, LEAST_HEIGHT = 0.26, 2.4
#: Points of a line, which may bend.
N_ALONG = 200
#: Points that lie on each other fade, down to this.
FAINTEST, FADING_FROM = 0.06, 150


class Series(NamedTuple):
    """The coefficients of one score by name."""

    label: str
    values: dict[str, float]


def plot_coefficients(models: Any, *, X: Any = None, n_most: int = 20, ax: Any = None) -> Any:
    """Draw the coefficients, largest first: bars for one model, dots side by side for several, or several classes.

    Parameters
    ----------
    models : Fit, LinearModel or fitted estimator, or a dict or list of them
        The keys of a dict are the labels.
    X : array_like, frame or sparse, (n_samples, n_features), or a table as in training, optional
        Rows to take the spread of the features from. Drawn is then what one standard deviation of a feature does, which
        compares features of different units; without it, what one unit does.
    n_most : int ≥ 1
        Features to draw at the most.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If a model is not one or not fitted, or X is not what it predicts from.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> fit = st.descend([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 3.0, 9.0], method="newton", n_steps=9)
    >>> axes = st.plot.plot_coefficients(fit)
    >>> [label.get_text() for label in axes.get_yticklabels()], [round(bar.get_width(), 6) for bar in axes.patches]
    (['x[0]', 'x[1]'], [3.0, 1.0])
    """
    given = {label: as_model(model) for label, model in labelled("models", models).items()}
    integer("n_most", n_most, least=1)
    series = [one for label, model in given.items() for one in _series(label, model, X)]
    names = list(dict.fromkeys(name for one in series for name in one.values))
    size = {name: max(abs(one.values.get(name, 0.0)) for one in series) for name in names}
    shown = sorted(names, key=lambda name: -size[name])[:n_most]
    ax = new_axes(ax, (6.4, LEAST_HEIGHT + ROW_HEIGHT * len(shown)))
    rows = np.arange(len(shown))
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
    if len(series) == 1:
        ax.barh(rows, [series[0].values[name] for name in shown], height=0.7, color=COLOURS[0], zorder=2)
    else:
        for k, one in enumerate(series):
            values = [one.values.get(name, np.nan) for name in shown]
            ax.plot(values, rows, "o", color=colour(k), label=one.label, alpha=0.9, zorder=2)
        ax.hlines(rows, *_ends(series, shown), color="#D0D0D0", linewidth=1.2, zorder=1)
        ax.legend(frameon=False)
    ax.set_yticks(rows, shown)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", alpha=0.25)
    ax.set_xlabel(f"{_scored(next(iter(given.values())))} per {'unit' if X is None else 'standard deviation'}")
    if len(names) > len(shown):
        ax.set_title(f"the {len(shown)} largest of {len(names):,}", fontsize=10, loc="left")
    return ax


def _series(label: str, model: LinearModel, X: Any) -> list[Series]:
    names = names_of(model)
    weights = model.weights.astype(np.float64)
    if X is not None:
        weights = weights * _deviation(model.design(X))
    if len(weights) == 1:
        return [Series(label, dict(zip(names, weights[0].tolist(), strict=True)))]
    scores = model.classes or range(len(weights))
    return [
        Series(f"{label} {score}".strip(), dict(zip(names, row.tolist(), strict=True)))
        for score, row in zip(scores, weights, strict=True)
    ]


def _deviation(design: Any) -> Floats:
    if not hasattr(design, "tocsr"):
        return np.asarray(design.std(axis=0, dtype=np.float64))
    mean = np.asarray(design.mean(axis=0, dtype=np.float64)).ravel()
    square = np.asarray(design.multiply(design).mean(axis=0, dtype=np.float64)).ravel()
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _ends(series: Sequence[Series], names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the least and the largest value of each name."""
    found = [[one.values[name] for one in series if name in one.values] for name in names]
    return [min(values) for values in found], [max(values) for values in found]


def names_of(model: LinearModel) -> list[str]:
    """Return what the features are called."""
    return list(model.feature_names or [f"x[{j}]" for j in range(model.n_features)])


def _scored(model: LinearModel) -> str:
    """Return what a score is, in the units of the target where it has them."""
    if model.classes is not None:
        return "margin" if isinstance(model.fitted_loss, SquaredHinge) else "log-odds"
    return f"log of {model.target}" if isinstance(model.fitted_loss, Poisson) else model.target


def plot_path(models: Mapping[float, Any], *, n_most: int = 7, ax: Any = None) -> Any:
    """Draw the coefficients against the strength of the penalty, on a logarithmic scale.

    Parameters
    ----------
    models : dict of float to Fit, LinearModel or fitted estimator
        One a strength α > 0; of one score each.
    n_most : int from 1 to 7
        Features that get a colour and a name, those with the largest coefficients; the others are grey.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If a strength is not positive, or a model is not one or of several scores.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 3.0, 9.0]
    >>> fits = {alpha: st.descend(X, y, alpha=alpha, method="newton", n_steps=9) for alpha in (0.1, 1.0, 10.0)}
    >>> axes = st.plot.plot_path(fits)
    >>> axes.get_xscale(), len(axes.lines)
    ('log', 3)
    """
    if not isinstance(models, Mapping) or len(models) < BINARY:
        raise InputError("models: expected a dict of at least two, such as {alpha: st.descend(…, alpha=alpha), …}")
    fits = {number("models: alpha", alpha, above=0.0): as_model(models[alpha]) for alpha in models}
    alphas = sorted(fits)
    shapes = {fits[alpha].weights.shape for alpha in alphas}
    if len(shapes) > 1 or next(iter(shapes))[0] > 1:
        raise InputError(f"models: expected models of one score and the same features; got coefficients of {shapes}")
    n_most = min(integer("n_most", n_most, least=1), len(COLOURS))
    weights = np.array([fits[alpha].weights[0] for alpha in alphas])
    names = names_of(fits[alphas[0]])
    ax = new_axes(ax)
    ax.axhline(0, color=QUIET, linewidth=0.8)
    order = np.argsort(-np.abs(weights).max(axis=0), kind="stable")
    for rank, j in enumerate(order):
        named = rank < n_most
        ax.plot(
            alphas,
            weights[:, j],
            color=colour(rank) if named else "#C8C8C8",
            linewidth=1.8 if named else 1,
            label=names[j] if named else None,
            zorder=2.5 if named else 2,
        )
    ax.set_xscale("log")
    ax.set_xlabel("strength of the penalty, α")
    ax.set_ylabel(f"coefficient, {_scored(fits[alphas[0]])} per unit")
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return ax


def plot_fit(model: Any, X: Any, y: Any, *, path: Any = None, ax: Any = None) -> Any:
    """Draw a model of one feature through its points, and the lines of early steps if a path is given.

    Parameters
    ----------
    model : Fit, LinearModel or fitted estimator
        Of one feature. For classes, the probability is drawn, of the second of two, or of each.
    X : array_like or frame, (n_samples,) or (n_samples, 1)
        The feature.
    y : array_like, (n_samples,)
        Its targets.
    path : iterable of Step or of (coef, intercept), optional
        What ``st.iterate(X, y, …)`` yields: the lines after 0, 1, 2, 4, 8, … steps are drawn, the darker the later.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the model has more than one feature, or an argument is not what it should be.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> x, y = [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 6.0]
    >>> fit = st.descend(x, y, learning_rate=0.1)
    >>> axes = st.plot.plot_fit(fit, x, y, path=st.iterate(x, y, learning_rate=0.1, n_steps=16))
    >>> len(axes.lines)
    8
    """
    fitted = as_model(model)
    x, targets = points_of(fitted, X, y)
    steps = [] if path is None else steps_of(path)
    ax = new_axes(ax)
    draw_points(ax, fitted, x, targets)
    along = grid_of(x)
    early = [k for k in [0, *(1 << i for i in range(60))] if k < len(steps)]
    for rank, k in enumerate(early):
        line = line_of(fitted, *steps[k], along)[:, 0]
        ax.plot(along, line, color=COLOURS[1], linewidth=1, alpha=0.2 + 0.5 * rank / len(early), zorder=2.4)
        ax.annotate(str(k), (along[-1], line[-1]), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center")
    lines = line_of(fitted, fitted.coef, fitted.intercept, along)
    for k, line in enumerate(lines.T):
        label = str((fitted.classes or [""])[k]) if len(lines.T) > 1 else None
        ax.plot(along, line, color=colour(k if label else 1), linewidth=2.2, label=label, zorder=2.5)
    if lines.shape[1] > 1:
        ax.legend(frameon=False)
    return ax


def points_of(model: LinearModel, X: Any, y: Any) -> tuple[Floats, NDArray[Any]]:
    """Return the feature of each row, and the targets: numbers or class numbers."""
    if model.n_features != 1 or len(model.intercept) not in {1, len(model.classes or [0])}:
        raise InputError(
            f"model: expected one of one feature and one target; got coefficients of shape {model.weights.shape}; "
            "plot_coefficients draws those of many"
        )
    if model.encoder is None and np.ndim(X) == 1:
        X = np.asarray(X)[:, np.newaxis]
    design = model.design(X)
    x = np.asarray(design.toarray() if hasattr(design, "toarray") else design, dtype=np.float64)[:, 0]
    if model.classes is not None:
        targets: NDArray[Any] = model.class_numbers(y)
    else:
        targets = model.fitted_loss.prepare(y, len(x), np.float64, None)[1]
    if len(targets) != len(x):
        raise InputError(f"y: expected shape ({len(x)},); got ({len(targets)},)")
    return x, targets


def grid_of(x: Floats) -> Floats:
    """Return where a line is drawn."""
    return np.linspace(x.min(), x.max(), N_ALONG)


def steps_of(path: Any) -> list[tuple[Any, Any]]:
    """Return coefficients and intercept of each step."""
    if not isinstance(path, Iterable):
        raise InputError(f"path: expected steps, such as st.iterate(X, y, …) yields; got {type(path).__name__}")
    return [(step.coef, step.intercept) if hasattr(step, "coef") else step for step in path]


def line_of(model: LinearModel, coef: Any, intercept: Any, x: Floats) -> Floats:
    """Return what is predicted along x, (n, n_lines): numbers, margins, or probabilities but the first of two."""
    scores = x[:, None] * np.reshape(np.asarray(coef, np.float64), (1, -1)) + np.reshape(intercept, (1, -1))
    loss = model.fitted_loss
    if isinstance(loss, SquaredHinge):
        return np.asarray(scores)
    mean = np.asarray(loss.mean(np, scores[:, 0] if loss.width == 1 else scores))
    if model.classes is None:
        return mean.reshape(len(x), -1)
    return mean[:, 1:] if mean.shape[1] == BINARY else mean


def draw_points(ax: Any, model: LinearModel, x: Floats, targets: NDArray[Any]) -> None:
    """Draw the points, and name the axes."""
    several = len(model.classes or []) > BINARY
    fade = min(0.7, max(FAINTEST, FADING_FROM / len(x)))
    if several:
        # Of more than two classes a row has no height of its own: it stands on the axis, in the colour of its class.
        for k in range(len(model.classes or [])):
            own = x[targets == k]
            ax.plot(own, np.zeros(len(own)), "|", color=colour(k), markersize=8, alpha=0.7)
    else:
        height = 2 * targets - 1 if isinstance(model.fitted_loss, SquaredHinge) else targets
        ax.plot(
            x, height, "o", color=COLOURS[0], markersize=4, markeredgewidth=0, alpha=fade, rasterized=len(x) > 10_000
        )
    ax.set_xlabel(names_of(model)[0] if model.feature_names else "x")
    ax.set_ylabel(_height(model))
    ax.grid(alpha=0.25)


def _height(model: LinearModel) -> str:
    if model.classes is None:
        return model.target
    if isinstance(model.fitted_loss, SquaredHinge):
        return f"margin of {model.classes[1]}"
    return "probability" if len(model.classes) > BINARY else f"probability of {model.classes[1]}"


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
            color=colour(k), linewidth=1.8, markersize=5,
        )  # fmt: skip
        ax.set_xlabel(f"predicted probability of {classes[1]!r}")
        ax.set_ylabel(f"share of {classes[1]!r}")
    ax.spines[["top", "right"]].set_visible(False)
    if len(given) == 1:
        ax.get_legend().remove()
    ax.set_aspect("equal")
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
    side = 2.6 + 0.5 * len(classes)
    ax = new_axes(ax, (side, side))
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
