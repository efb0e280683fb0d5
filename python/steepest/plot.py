"""Pictures. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError, MissingPackageError
from steepest.losses import LOSSES

if TYPE_CHECKING:
    from os import PathLike

    from steepest.result import Fit

FORMATS = {".png", ".svg", ".pdf", ".jpg"}
#: A span of losses wider than this factor is easier to read on a logarithmic scale.
WIDE_SPAN = 20.0


def plot_loss(fit: Fit, ax: Any = None) -> Any:
    """Draw the loss of `fit` against the step, beside that of validation data if there was any; return the axes.

    The point marked is what the descent returned. The scale is logarithmic where losses span more than a factor of 20.
    """
    try:
        from matplotlib.ticker import LogLocator, NullLocator
    except ImportError:
        raise MissingPackageError("pictures need matplotlib; pip install 'steepest[plot]'") from None

    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    steps, losses = fit.history.step, fit.history.loss
    kept = np.flatnonzero(fit.history.validation_loss == fit.validation_loss)
    # Where validation chose an earlier point, that is the one to mark; else the descent ends with what it returns.
    end = (steps[kept[0]], fit.loss) if len(kept) else (fit.n_steps, fit.loss)
    if not len(kept):
        steps, losses = np.append(steps, fit.n_steps), np.append(losses, fit.loss)
    (line,) = ax.plot(steps, losses, linewidth=2, label="training")
    if fit.validation_loss is not None:
        ax.plot(fit.history.step, fit.history.validation_loss, linewidth=2, linestyle="--", label="validation")
        ax.legend(frameon=False)
    ax.plot(*end, "o", color=line.get_color())
    ax.annotate(f"{fit.loss:.4g}", end, xytext=(0, 8), textcoords="offset points", ha="right")
    if losses.min() > 0 and losses.max() > WIDE_SPAN * losses.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("step")
    ax.set_ylabel(LOSSES[fit.loss_name].title)
    ax.set_title(f"{fit.method}, {fit.n_steps} steps, backend {fit.backend}")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def check_format(path: str | PathLike[str]) -> None:
    """Raise an error if `path` does not end in the name of a format that can be drawn."""
    ending = Path(path).suffix
    if ending.lower() not in FORMATS:
        raise InputError(f"plot: expected a name ending in {', '.join(sorted(FORMATS))}; got {str(path)!r}")


def save_loss(fit: Fit, path: str | PathLike[str]) -> None:
    """Write the picture of `plot_loss` to `path`; the ending chooses the format. Needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    plot_loss(fit, ax=figure.subplots())
    figure.savefig(path, dpi=150)
