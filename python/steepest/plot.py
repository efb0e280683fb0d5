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
    """Draw the loss of `fit` against the step and return the axes.

    The last point is where the descent ended. The scale is logarithmic where the losses span more than a factor of 20.
    """
    try:
        from matplotlib.ticker import LogLocator, NullLocator
    except ImportError:
        raise MissingPackageError("pictures need matplotlib; pip install 'steepest[plot]'") from None

    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    steps = np.append(fit.history.step, fit.n_steps)
    losses = np.append(fit.history.loss, fit.loss)
    (line,) = ax.plot(steps, losses, linewidth=2)
    ax.plot(steps[-1:], losses[-1:], "o", color=line.get_color())
    ax.annotate(
        f"{losses[-1]:.4g}",
        (steps[-1], losses[-1]),
        xytext=(0, 8),
        textcoords="offset points",
        ha="right",
    )
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
