"""The coefficients of models: the largest first, side by side, or against the strength of the penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.compression import moments
from steepest.curves import COLOURS, QUIET, colour, labelled, new_axes, short
from steepest.errors import InputError
from steepest.losses import Poisson, SquaredHinge
from steepest.model import as_model
from steepest.validation import integer, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steepest.model import LinearModel

WIDTH, ROW_HEIGHT, LEAST_HEIGHT = 6.4, 0.26, 1.2
PALE = "#C8C8C8"


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
    >>> fit = st.descend([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 4.0, 9.0], method="newton", n_steps=9)
    >>> axes = st.plot.plot_coefficients(fit)
    >>> [label.get_text() for label in axes.get_yticklabels()], len(axes.patches)
    (['x[0]', 'x[1]'], 2)
    """
    given = {label: as_model(model) for label, model in labelled("models", models).items()}
    integer("n_most", n_most, least=1)
    series = [one for label, model in given.items() for one in _series(label, model, X)]
    names = list(dict.fromkeys(name for one in series for name in one.values))
    size = {name: max(abs(one.values.get(name, 0.0)) for one in series) for name in names}
    shown = sorted(names, key=lambda name: -size[name])[:n_most]
    ax = new_axes(ax, (WIDTH, height(len(shown))))
    rows = np.arange(len(shown))
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
    if len(series) == 1:
        ax.barh(rows, [series[0].values[name] for name in shown], height=0.7, color=COLOURS[0], zorder=2)
    else:
        for k, one in enumerate(series):
            values = [one.values.get(name, np.nan) for name in shown]
            ax.plot(values, rows, "o", color=colour(k), label=one.label, alpha=0.9, zorder=2)
        ax.hlines(rows, *_ends(series, shown), color=PALE, linewidth=1.2, zorder=1)
        ax.legend(frameon=False)
    ax.xaxis.set_major_formatter(lambda value, _: short(value, 6))
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
        weights = weights * moments(model.design(X))[1]
    if len(weights) == 1:
        return [Series(label, dict(zip(names, weights[0].tolist(), strict=True)))]
    scores = model.classes or range(len(weights))
    return [
        Series(f"{label} {score}".strip(), dict(zip(names, row.tolist(), strict=True)))
        for score, row in zip(scores, weights, strict=True)
    ]


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


def height(n_rows: int) -> float:
    """Return the inches that so many rows take."""
    return LEAST_HEIGHT + ROW_HEIGHT * n_rows


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
    if not isinstance(models, Mapping) or len(models) < 2:  # noqa: PLR2004
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
            color=colour(rank) if named else PALE,
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
