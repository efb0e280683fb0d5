"""How the loss fell: one descent, or several that race. What every picture shares stands here too.

Matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.errors import InputError, MissingPackageError
from steepest.losses import LOSSES
from steepest.validation import known, number

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray

FORMATS = {".png", ".svg", ".pdf", ".jpg"}
SIZE = (6.4, 4.0)
#: Okabe and Ito's colours, told apart by colour-blind eyes too; their yellow is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
QUIET = "#8C8C8C"
#: A span wider than this factor is easier to read on a logarithmic scale.
WIDE_SPAN = 20.0
#: Fewer powers of ten than this leave room for marks at 2 and 5.
MOST_DECADES = 4
#: A gap of this many units of rounding is nothing but rounding.
ROUNDING = 8
AXES = {"step": "step", "seconds": "time [s]"}


class Run(NamedTuple):
    """What is drawn of a descent."""

    label: str
    title: str
    step: NDArray[Any]
    seconds: NDArray[Any]
    loss: NDArray[Any]
    validation_loss: NDArray[Any] | None
    end: int
    """The entry that the descent returned."""


def new_axes(ax: Any = None, size: tuple[float, float] = SIZE) -> Any:
    """Return the axes to draw on, those of a new figure if none are given, without the frame's idle sides.

    Raises
    ------
    MissingPackageError
        If Matplotlib is not installed.
    InputError
        If `ax` is not axes.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingPackageError("pictures need matplotlib; pip install 'steepest[plot]'") from None

    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=size, layout="constrained")
    if not isinstance(ax, mpl.axes.Axes):
        raise InputError(f"ax: expected matplotlib Axes, such as plt.subplots() returns; got {type(ax).__name__}")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def labelled(name: str, given: Any) -> dict[str, Any]:
    """Return what is drawn side by side by label: a mapping, a list, or one thing by itself."""
    if isinstance(given, Mapping):
        found = {str(label): one for label, one in given.items()}
    elif isinstance(given, (list, tuple)):
        found = {str(k): one for k, one in enumerate(given)}
    else:
        found = {"": given}
    if not found:
        raise InputError(f"{name}: expected at least one; got none")
    return found


def colour(k: int) -> str:
    """Return the colour of the k-th of several things."""
    return COLOURS[k % len(COLOURS)]


def short(value: float, digits: int = 3) -> str:
    """Return a number in so many digits, thousands apart rather than with an exponent."""
    rounded = float(f"{value:.{digits}g}")
    text = f"{rounded:,.0f}" if 1e3 <= abs(rounded) < 1e9 else f"{rounded:g}"  # noqa: PLR2004
    return text.replace("-", "−")


def plot_loss(fits: Any, ax: Any = None, *, against: str = "step", gap: bool | float = False) -> Any:
    """Draw how the loss fell: of one descent, or of several that race on the same axes.

    The point marked is what a descent returned; the loss of validation data, if there was any, is dashed. Scales are
    logarithmic where losses span more than a factor of 20, or the lengths of the races do.

    Parameters
    ----------
    fits : Fit, History or fitted estimator, or a dict or list of them
        The keys of a dict are the labels; a list is labelled by method.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    against : {"step", "seconds"}
        What the loss is drawn against.
    gap : bool or float
        Draw by how much the loss is above the least of all that are drawn, or above the number that is given: an
        optimum that is known better.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If an argument is not what it should be, or the fits are of different losses.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> X, y = [[0.0, 1.0], [1.0, 0.5], [2.0, -1.0], [4.0, 0.0]], [1.0, 3.0, 5.0, 8.0]
    >>> race = {method: st.descend(X, y, method=method, n_steps=30) for method in ("gd", "nesterov", "lbfgs")}
    >>> axes = st.plot.plot_loss(race, gap=True)
    >>> axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()
    ('step', 'mean squared error above the least', 'log')
    """
    known("against", against, AXES)
    runs = _runs(fits)
    ax = new_axes(ax)
    bottom = _bottom(runs, gap)
    alone = len(runs) == 1
    for k, run in enumerate(runs):
        x = run.step if against == "step" else run.seconds
        y = run.loss if bottom is None else _above(run.loss, bottom)
        label = "training" if alone else run.label
        (line,) = ax.plot(x, y, linewidth=2, color=colour(k), label=label, zorder=2.2)
        if run.validation_loss is not None and bottom is None:
            label = "validation" if alone else f"{run.label}, validation"
            ax.plot(x, run.validation_loss, linewidth=2, linestyle="--", color=colour(k), alpha=0.8, label=label)
        if bottom is None or y[run.end] > 0:
            ax.plot(x[run.end], y[run.end], "o", color=line.get_color(), zorder=2.3)
    if alone and bottom is None:
        _mark_end(ax, runs[0], against)
    _scale(ax, runs, against, bottom)
    above = "" if bottom is None else " above the least" if gap is True else f" above {bottom:.6g}"
    ax.set_xlabel(AXES[against])
    ax.set_ylabel(runs[0].title + above)
    if len(ax.get_legend_handles_labels()[0]) > 1:
        ax.legend(frameon=False)
    if alone and runs[0].label:
        ax.set_title(runs[0].label)
    ax.grid(alpha=0.25)
    return ax


def _runs(fits: Any) -> list[Run]:
    given = labelled("fits", fits)
    runs = [_run(label, one) for label, one in given.items()]
    titles = {run.title for run in runs if run.title != "loss"}
    if len(titles) > 1:
        raise InputError(f"fits: expected fits of one loss, to compare; got {', '.join(sorted(titles))}")
    if isinstance(fits, (list, tuple)) and len(runs) > 1:
        counts = Counter(run.label for run in runs)
        runs = [
            run._replace(label=run.label if run.label and counts[run.label] == 1 else f"{run.label} {k}".strip())
            for k, run in enumerate(runs, 1)
        ]
    elif isinstance(fits, Mapping):
        runs = [run._replace(label=label) for run, label in zip(runs, given, strict=True)]
    elif len(runs) == 1 and hasattr(fits, "method"):
        runs = [runs[0]._replace(label=f"{fits.method}, {fits.n_steps} steps, backend {fits.backend}")]
    return runs


def _run(label: str, given: Any) -> Run:
    """Return what is drawn of a fit, an estimator's fit, or a history by itself, which ends with its last entry."""
    fit = getattr(given, "fit_", given)
    history = getattr(fit, "history", fit)
    if not (hasattr(history, "loss") and hasattr(history, "seconds")):
        which = f"fits[{label}]" if label else "fits"
        raise InputError(f"{which}: expected a Fit, a History or a fitted estimator; got {type(given).__name__}")
    step, seconds, loss = history.step, history.seconds, history.loss
    validation = None if np.isnan(history.validation_loss).all() else history.validation_loss
    if history is fit:
        return Run("", "loss", step, seconds, loss, validation, end=-1)
    title = LOSSES[fit.loss_name].title
    # Where validation chose an earlier point, that is the one to mark; else the descent ends with what it returns.
    kept = np.flatnonzero(history.validation_loss == fit.validation_loss)
    if len(kept):
        return Run(fit.method, title, step, seconds, loss, validation, end=int(kept[0]))
    if validation is not None:
        validation = np.append(validation, fit.validation_loss)
    step, seconds, loss = np.append(step, fit.n_steps), np.append(seconds, fit.seconds), np.append(loss, fit.loss)
    return Run(fit.method, title, step, seconds, loss, validation, end=-1)


def _bottom(runs: list[Run], gap: bool | float) -> float | None:  # noqa: FBT001
    if gap is False:
        return None
    if gap is True:
        return min(float(run.loss.min()) for run in runs)
    return number("gap", gap)


def _above(loss: NDArray[Any], bottom: float) -> NDArray[Any]:
    """Return loss − bottom; zero, which leads out of the picture, where only rounding is left, and then nothing."""
    above = loss - bottom
    felt = above > ROUNDING * np.finfo(np.float64).eps * abs(bottom)
    gap = np.where(felt, above, np.nan)
    if felt.any() and not felt[-1]:
        gap[np.flatnonzero(felt)[-1] + 1] = 0
    return gap


def _mark_end(ax: Any, run: Run, against: str) -> None:
    end = getattr(run, against)[run.end], run.loss[run.end]
    # The loss of validation data runs above.
    height = 8 if run.validation_loss is None else -16
    ax.annotate(short(end[1], 4), end, xytext=(0, height), textcoords="offset points", ha="right")


def _scale(ax: Any, runs: list[Run], against: str, bottom: float | None) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    loss = np.concatenate([run.loss for run in runs])
    if bottom is not None:
        loss = np.concatenate([_above(run.loss, bottom) for run in runs])
        loss = loss[loss > 0]
    if len(loss) and loss.min() > 0 and (bottom is not None or loss.max() > WIDE_SPAN * loss.min()):
        ax.set_yscale("log")
        if loss.max() < 10**MOST_DECADES * loss.min():
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(lambda value, _: short(value))
            ax.yaxis.set_minor_locator(NullLocator())
    lengths = [float(getattr(run, against)[-1]) for run in runs]
    if min(lengths) > 0 and max(lengths) > WIDE_SPAN * min(lengths):
        # Step 0 has no logarithm; up to the first step, or the end of the shortest race, the scale is linear.
        ax.set_xscale("symlog", linthresh=1 if against == "step" else min(lengths) / 2)
        if against == "step":
            ax.xaxis.set_major_formatter("{x:g}")
    if against == "step":
        ax.set_xlim(left=0)


def check_format(path: str | PathLike[str], formats: set[str] = FORMATS) -> None:
    """Raise an error if `path` does not end in the name of a format that can be drawn."""
    ending = Path(path).suffix
    if ending.lower() not in formats:
        raise InputError(f"plot: expected a name ending in {', '.join(sorted(formats))}; got {str(path)!r}")


def save_picture(draw: Callable[[Any], object], path: str | PathLike[str], size: tuple[float, float] = SIZE) -> None:
    """Write what `draw` draws on axes to `path`; the ending chooses the format. Needs no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise MissingPackageError("pictures need matplotlib; pip install 'steepest[plot]'") from None
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    figure.savefig(path, dpi=150)
