"""The objective as a landscape, and descents on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.curves import check_format, colour, new_axes, short
from steepest.errors import InputError, MissingPackageError
from steepest.files import check_writable, written_whole
from steepest.model import LinearModel
from steepest.plot.lines import draw_points, grid_of, line_of, points_of, steps_of
from steepest.problem import make_problem
from steepest.surface import surface
from steepest.validation import integer, known, number

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray

    from steepest.surface import Surface

SIZE = (6.4, 4.8)
N_LEVELS = 12
#: Of the fill, bottom first: one hue, so that paths of every colour can be seen on it.
VALLEY = ("#7FB2D9", "#F4F8FC")
PATHS = ("#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00", "#0072B2")
#: The share of the highest gap above the least value at which the innermost contour lies.
LOWEST_LEVEL = 1e-3
#: Beyond this, Matplotlib cannot tell levels apart.
HIGHEST = 1e200
#: Steps up to which each one gets a dot.
MOST_DOTS = 60
KINDS = ("surface", "fit")
#: Inches; at 80 dots an inch a GIF stays small.
ANIMATION_SIZE, ANIMATION_DPI = (4.8, 3.6), 100
LAST_SECONDS = 2


def plot_surface(
    X: Any,
    y: Any,
    path: Any = None,
    *,
    parameters: tuple[Any, Any] | None = None,
    extent: tuple[tuple[float, float], tuple[float, float]] | None = None,
    n_points: int = 81,
    loss: Any = "mse",
    alpha: float = 0.0,
    l1_ratio: float = 0.0,
    sample_weight: Any = None,
    offset: Any = None,
    classes: Any = None,
    ax: Any = None,
) -> Any:
    """Draw contours of the objective over two parameters, or over the plane of a path, with the path on it.

    X is read once: a point of the plane costs one evaluation of the loss a row, and for ``"mse"`` nothing, whatever the
    number of rows. Contours lie closer towards the bottom: each is the same factor nearer to it.

    Parameters
    ----------
    X, y, loss, alpha, l1_ratio, sample_weight, offset, classes
        As in `steepest.descend`: what the objective is.
    path : iterable of Step or of (coef, intercept), or a dict of such, optional
        What ``st.iterate(X, y, …)`` yields; several are drawn in their own colours, labelled by the keys. An open
        circle is the start, a full one the end. The plane goes through the last point.
    parameters : pair, optional
        The two to draw over: column numbers, names of columns, or ``"intercept"``; pairs (score, column) where a
        row has several scores. By default the only two there are, or the two main directions of the path. The others
        are held where the path ends, or where F is least.
    extent : ((u_low, u_high), (v_low, v_high)), optional
        What to draw; by default around the path, or around the minimum and zero.
    n_points : int ≥ 2
        Points of the grid along each side.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If an argument is not what it should be, or neither path nor parameters say which plane.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> x, y = [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 6.0]
    >>> axes = st.plot.plot_surface(x, y, st.iterate(x, y, learning_rate=0.1, n_steps=20))
    >>> axes.get_xlabel(), axes.get_ylabel(), len(axes.lines[0].get_xdata())
    ('coefficient', 'intercept', 21)
    """
    found = surface(
        X,
        y,
        path,
        parameters=parameters,
        extent=extent,
        n_points=n_points,
        loss=loss,
        alpha=alpha,
        l1_ratio=l1_ratio,
        sample_weight=sample_weight,
        offset=offset,
        classes=classes,
    )
    ax = new_axes(ax, SIZE)
    _draw_contours(ax, found)
    for k, (label, points) in enumerate(found.paths.items()):
        _draw_path(ax, points, PATHS[k % len(PATHS)], label)
    if any(found.paths):
        ax.legend(frameon=True, framealpha=0.85, edgecolor="none")
    return ax


def _levels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return levels at gaps above the least value that shrink by the same factor."""
    least, gap = values.min(), np.ptp(values)
    if not values.max() < HIGHEST:
        raise InputError(
            f"extent: expected a region where the loss is below {HIGHEST:g}; it is {values.max():.3g} there"
        )
    if not gap > 0:
        raise InputError("extent: expected a region where the loss varies; it is the same everywhere")
    # One more than is drawn: the highest only touches a corner.
    levels: NDArray[np.float64] = least + gap * np.geomspace(LOWEST_LEVEL, 1, N_LEVELS + 1)
    return levels


def _draw_contours(ax: Any, found: Surface) -> Any:
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    levels = _levels(found.values)
    fills = LinearSegmentedColormap.from_list("valley", VALLEY)
    edges = np.concatenate([[found.values.min()], levels])
    norm = BoundaryNorm(edges, fills.N)
    ax.contourf(found.u, found.v, found.values, levels=edges, cmap=fills, norm=norm, extend="both")
    lines = ax.contour(found.u, found.v, found.values, levels=levels[:-1], colors="white", linewidths=0.8)
    for label in ax.clabel(lines, levels[N_LEVELS - 1 : 4 : -2], fmt=short, fontsize=8):
        label.set(rotation=0, color="#404040")
    ax.set_xlabel(found.plane.names[0])
    ax.set_ylabel(found.plane.names[1])
    penalty = found.problem.penalty
    penalised = " + penalty" if penalty.l1 or penalty.l2 else ""
    ax.set_title(f"contours of the {found.problem.loss.title}{penalised}")
    ax.set_xlim(found.u[0], found.u[-1])
    ax.set_ylim(found.v[0], found.v[-1])
    return lines


def _draw_path(ax: Any, points: NDArray[np.float64], shade: str, label: str) -> None:
    marker = "." if len(points) <= MOST_DOTS else None
    ax.plot(*points.T, color=shade, linewidth=1.6, marker=marker, markersize=5, label=label or None, zorder=3)
    ax.plot(*points[0], "o", markerfacecolor="white", markeredgecolor=shade, markeredgewidth=1.6, zorder=3.1)
    ax.plot(*points[-1], "o", color=shade, markeredgecolor="white", zorder=3.2)


def animate_descent(
    file: str | PathLike[str],
    X: Any,
    y: Any,
    path: Any,
    *,
    kind: str = "surface",
    loss: Any = "mse",
    n_frames: int = 40,
    frames_per_second: float = 10.0,
    **options: Any,
) -> Path:
    """Write a descent as a GIF: a point that walks down the surface, or the line that it fits.

    Parameters
    ----------
    file : path-like
        Where to; its name ends in .gif.
    X, y, loss
        As in `steepest.descend`.
    path : iterable of Step or of (coef, intercept), or for the surface a dict of such
        What ``st.iterate(X, y, …)`` yields; several race.
    kind : {"surface", "fit"}
        ``"fit"`` is for one feature.
    n_frames : int ≥ 2
        Pictures at the most; the first steps, which are the longest, get one each, later ones share.
    frames_per_second : float > 0
        The last one stays for two seconds.
    **options
        Those of `plot_surface` that say what is drawn, for ``kind="surface"``.

    Returns
    -------
    pathlib.Path
        The file, which is written whole or not at all.

    Raises
    ------
    InputError
        If an argument is not what it should be.
    MissingPackageError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import steepest as st
    >>> x, y = [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 6.0]
    >>> file = Path(tempfile.mkdtemp()) / "descent.gif"
    >>> st.plot.animate_descent(file, x, y, st.iterate(x, y, learning_rate=0.1, n_steps=20)).name
    'descent.gif'
    """
    known("kind", kind, KINDS)
    integer("n_frames", n_frames, least=2)
    rate = number("frames_per_second", frames_per_second, above=0.0)
    if kind == "fit" and options:
        raise InputError(f"animate_descent: {next(iter(options))!r} is not an option of kind 'fit'")
    check_format(file, {".gif"})
    check_writable(file)
    figure, ax = _canvas()
    n_points, show = (_on_surface if kind == "surface" else _as_line)(ax, X, y, path, loss=loss, **options)
    with written_whole(file) as temporary:
        _write(figure, [(k, show) for k in _chosen(n_points, n_frames)], temporary, rate)
    return Path(file)


def _canvas() -> tuple[Any, Any]:
    """Return a figure and axes that need no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise MissingPackageError("pictures need matplotlib; pip install 'steepest[plot]'") from None
    from matplotlib.figure import Figure

    figure = Figure(figsize=ANIMATION_SIZE, dpi=ANIMATION_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, new_axes(figure.subplots())


def _chosen(n_points: int, n_frames: int) -> list[int]:
    """Return the points that are shown: the first ones, then ever fewer of those that follow, and the last."""
    chosen = np.unique(np.rint(np.geomspace(1, n_points, n_frames)).astype(int) - 1)
    missing = np.setdiff1d(np.arange(n_points), chosen)[: n_frames - len(chosen)]
    return [int(k) for k in np.union1d(chosen, missing)]


def _on_surface(ax: Any, X: Any, y: Any, path: Any, **options: Any) -> tuple[int, Callable[[int], None]]:
    """Draw the landscape; return the number of points of the longest path, and what moves to the k-th."""
    if path is None:
        raise InputError("path: expected steps, such as st.iterate(X, y, …) yields; got None")
    found = surface(X, y, path, **options)
    _draw_contours(ax, found)
    title = ax.get_title()
    walkers = []
    for k, (label, points) in enumerate(found.paths.items()):
        (line,) = ax.plot([], [], color=PATHS[k % len(PATHS)], linewidth=1.6, label=label or None, zorder=3)
        (dot,) = ax.plot([], [], "o", color=PATHS[k % len(PATHS)], markeredgecolor="white", markersize=8, zorder=3.2)
        walkers.append((points, line, dot))
    if any(found.paths):
        ax.legend(frameon=True, framealpha=0.85, edgecolor="none", loc="upper right")

    def show(k: int) -> None:
        for points, line, dot in walkers:
            line.set_data(*points[: k + 1].T)
            dot.set_data(*points[min(k, len(points) - 1), :, None])
        ax.set_title(f"{title}, step {k}")

    return max(map(len, found.paths.values())), show


def _as_line(ax: Any, X: Any, y: Any, path: Any, *, loss: Any) -> tuple[int, Callable[[int], None]]:
    """Draw the points; return the number of lines, and what draws the k-th."""
    problem = make_problem(X, y, loss=loss, alpha=0.0, fit_intercept=True)
    coef, intercept = problem.unflatten(np.zeros(problem.n_parameters))
    model = LinearModel(
        loss=problem.loss.name,
        target="y",
        classes=None if problem.classes is None else problem.classes.tolist(),
        encoder=None,
        coef=np.atleast_2d(coef),
        intercept=np.atleast_1d(intercept),
        feature_names=problem.feature_names,
    )
    x, targets = points_of(model, X, y)
    steps = steps_of(path)
    if not steps:
        raise InputError("path: expected steps, such as st.iterate(X, y, …) yields; got none")
    draw_points(ax, model, x, targets)
    along = grid_of(x)
    lines = ax.plot(along, line_of(model, *steps[0], along), linewidth=2.2)
    for k, line in enumerate(lines):
        line.set_color(colour(k if len(lines) > 1 else 1))

    def show(k: int) -> None:
        for line, height in zip(lines, line_of(model, *steps[k], along).T, strict=True):
            line.set_ydata(height)
        ax.set_title(f"step {k}")

    return len(steps), show


def _write(figure: Any, frames: list[tuple[int, Callable[[int], None]]], file: Path, rate: float) -> None:
    """Write frames of one palette: what does not move is then stored once."""
    from PIL import Image

    pictures = []
    for k, show in frames:
        show(k)
        figure.canvas.draw()
        pictures.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB"))
    # The last picture has all that is ever drawn.
    palette = pictures[-1].quantize()
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(1000 / rate)] * (len(pictures) - 1) + [1000 * LAST_SECONDS]
    pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
