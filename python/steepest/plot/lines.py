"""A model of one feature, as a line through its points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.curves import COLOURS, colour, new_axes
from steepest.errors import InputError
from steepest.losses import SquaredHinge
from steepest.model import as_model
from steepest.plot.coefficients import names_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.model import LinearModel

    Floats = NDArray[np.float64]

BINARY = 2
#: Points of a line, which may bend.
N_ALONG = 200
#: The share of the height that the numbers of two steps are apart at the least.
CLOSEST = 0.03
#: Points that lie on each other fade, down to this; very many are drawn as pixels, in vector formats too.
FAINTEST, FADING_FROM, MOST_VECTORS = 0.06, 150, 10_000


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
    ends = [line_of(fitted, *steps[k], along[-1:])[0, 0] for k in early]
    apart = CLOSEST * (max(*ends, targets.max()) - min(*ends, targets.min())) if len(ends) > 1 else 0.0
    written: list[float] = []
    for rank, (k, end) in enumerate(zip(early, ends, strict=True)):
        line = line_of(fitted, *steps[k], along)[:, 0]
        ax.plot(along, line, color=COLOURS[1], linewidth=1, alpha=0.2 + 0.5 * rank / len(early), zorder=2.4)
        if all(abs(end - other) >= apart for other in written):
            written.append(end)
            text = str(k) if k else "step 0"
            ax.annotate(text, (along[-1], end), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center")
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
            x,
            height,
            "o",
            color=COLOURS[0],
            markersize=4,
            markeredgewidth=0,
            alpha=fade,
            rasterized=len(x) > MOST_VECTORS,
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
