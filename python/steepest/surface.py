"""The objective on a plane through its parameters, and descents on it: numbers only, for pictures to draw.

Scores are linear in the parameters: on a plane they are ``Z₀ + u Z₁ + v Z₂``, three products with X in all. A point of
the plane then costs no product, and for squared errors not even a look at the rows: nine sums say it all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends import get_backend
from steepest.descend import descend
from steepest.design import Csr, check_finite
from steepest.errors import InputError
from steepest.losses import Mse
from steepest.penalties import ElasticNet
from steepest.problem import make_problem
from steepest.threads import thread_count
from steepest.validation import integer, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from steepest.problem import Problem

    Floats = NDArray[np.float64]

#: Scores that are in memory at a time.
MOST_SCORES = 1 << 18
#: How far beyond the paths, or beyond zero, the picture reaches.
MARGIN = 0.3
#: The share of the longer side of a path's plane that the shorter one has at the least.
THINNEST = 0.25
#: A path whose second direction is shorter than this share of the first is a line.
NO_WIDTH = 1e-9


@dataclass(frozen=True, eq=False)
class Plane:
    """Parameters ``origin + u · directions[0] + v · directions[1]``, flat as `Problem.flatten` makes them."""

    origin: Floats
    directions: Floats
    """(2, n_parameters), of length one and orthogonal."""
    names: tuple[str, str]

    def coordinates(self, points: Floats) -> Floats:
        """Return u and v of the nearest point on the plane for each point, (n, 2)."""
        return np.asarray((points - self.origin) @ self.directions.T)

    def parameters(self, u: float, v: float) -> Floats:
        """Return the parameters at (u, v)."""
        return np.asarray(self.origin + u * self.directions[0] + v * self.directions[1])


@dataclass(frozen=True, eq=False)
class Surface:
    """F on a grid of a plane, and the paths of descents on it.

    Attributes
    ----------
    u, v : ndarray of float64
        Coordinates of the columns and rows of `values`.
    values : ndarray of float64, (len(v), len(u))
        F there.
    paths : dict of str to ndarray of float64, (n_steps + 1, 2)
        Coordinates of each descent, projected on the plane.
    problem, plane
        What F is of, and where.
    """

    u: Floats
    v: Floats
    values: Floats
    paths: dict[str, Floats]
    problem: Problem
    plane: Plane


def surface(
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
) -> Surface:
    """Return F on a plane: over two parameters, or over the two main directions of the paths.

    The arguments are those of `steepest.plot.plot_surface`.
    """
    problem = make_problem(
        X,
        y,
        loss=loss,
        alpha=alpha,
        l1_ratio=l1_ratio,
        fit_intercept=True,
        sample_weight=sample_weight,
        offset=offset,
        classes=classes,
    )
    check_finite(problem.design, problem.feature_names)
    integer("n_points", n_points, least=2)
    walks = {label: _flat(problem, steps) for label, steps in _labelled_paths(path).items()}
    points = np.concatenate(list(walks.values())) if walks else None
    if parameters is None and problem.n_parameters == 2:  # noqa: PLR2004
        parameters = (0, "intercept")
    if parameters is None and points is None:
        raise InputError(
            f"parameters: {problem.n_parameters} parameters span no plane; name two, such as (0, 1) or (0, 'intercept')"
            ", or pass a path, whose main directions are drawn"
        )
    if parameters is not None:
        through = _minimum(problem, X, y, classes) if points is None else points[-1]
        plane = _plane_of_parameters(problem, parameters, through)
    else:
        assert points is not None  # noqa: S101
        through = points[-1]
        plane = _plane_of_path(points)
    paths = {label: plane.coordinates(walk) for label, walk in walks.items()}
    if extent is None:
        extent = _extent(problem, plane, plane.coordinates(through[None, :])[0], list(paths.values()))
    u, v = (np.linspace(*_range(side), n_points) for side in extent)
    return Surface(u, v, values_on(problem, plane, u, v), paths, problem, plane)


def _labelled_paths(path: Any) -> dict[str, Any]:
    if path is None:
        return {}
    if isinstance(path, Mapping):
        return {str(label): steps for label, steps in path.items()}
    return {"": path}


def _flat(problem: Problem, path: Any) -> Floats:
    """Return the points of a path, (n, n_parameters)."""
    cure = "path: expected steps with coef and intercept, such as st.iterate(X, y, …) yields, or a dict of such"
    if not isinstance(path, Iterable):
        raise InputError(f"{cure}; got {type(path).__name__}")
    points: list[Floats] = []
    for step in path:
        pair = (step.coef, step.intercept) if hasattr(step, "coef") else step
        if not isinstance(pair, tuple) or len(pair) != 2:  # noqa: PLR2004
            raise InputError(f"{cure}; step {len(points)} is a {type(step).__name__}")
        points.append(problem.flatten(*pair))
    if not points:
        raise InputError(f"{cure}; got no step: an iterator can be read once, list(…) keeps what it yields")
    return np.array(points)


def _minimum(problem: Problem, X: Any, y: Any, classes: Any) -> Floats:
    """Return where F is least, or as near to it as a descent comes."""
    penalty = problem.penalty
    strength = penalty.l1 + penalty.l2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = descend(
            X,
            y,
            loss=problem.loss,
            alpha=strength,
            l1_ratio=penalty.l1 / strength if strength else 0.0,
            sample_weight=problem.sample_weight,
            offset=problem.offset,
            classes=classes,
            method="auto",
            tol=1e-8,
        )
    return fit.parameters


def _plane_of_parameters(problem: Problem, parameters: Any, through: Floats) -> Plane:
    if not isinstance(parameters, (tuple, list)) or len(parameters) != 2:  # noqa: PLR2004
        raise InputError(f"parameters: expected two, such as (0, 1) or ('carat', 'intercept'); got {parameters!r}")
    places, names = zip(*(_place(problem, given) for given in parameters), strict=True)
    if places[0] == places[1]:
        raise InputError(f"parameters: expected two different ones; got {parameters!r}")
    directions = np.zeros((2, problem.n_parameters))
    directions[[0, 1], places] = 1
    origin = through.copy()
    origin[list(places)] = 0
    return Plane(origin, directions, names)


def _place(problem: Problem, given: Any) -> tuple[int, str]:
    """Return where a parameter stands in the flat vector, and what to call it."""
    width, d = problem.loss.width, int(problem.design.shape[1])
    row, of = 0, ""
    if width > 1:
        if not isinstance(given, (tuple, list)) or len(given) != 2:  # noqa: PLR2004
            raise InputError(f"parameters: with {width} scores a row expected pairs (score, feature); got {given!r}")
        row, given = integer("parameters: score", given[0], least=0), given[1]
        if row >= width:
            raise InputError(f"parameters: expected a score from 0 to {width - 1}; got {row}")
        of = f", {row if problem.classes is None else problem.classes[row]}"
    names = problem.feature_names or []
    if isinstance(given, str):
        if given in names:
            return row * d + names.index(given), given + of
        if given != "intercept":
            listed = ", ".join(map(repr, [*names, "intercept"]))
            raise InputError(f"parameters: expected a column number or one of {listed}; got {given!r}")
        return problem.n_coef + row, f"intercept{of}"
    column = integer("parameters", given, least=0)
    if column >= d:
        raise InputError(f"parameters: expected columns from 0 to {d - 1} or 'intercept'; got {column}")
    name = names[column] if names else "coefficient" if d == 1 else f"coefficient {column}"
    return row * d + column, name + of


def _plane_of_path(points: Floats) -> Plane:
    """Return the plane through the last point along the two main directions of all of them."""
    origin = points[-1]
    if points.shape[1] < 2:  # noqa: PLR2004
        raise InputError("path: expected at least two parameters to draw a plane of; got one")
    _, sizes, directions = np.linalg.svd(points - origin, full_matrices=False)
    if sizes[0] == 0:
        raise InputError("path: expected steps that differ; all are the same point")
    shares = sizes**2 / np.sum(sizes**2)
    first = directions[0]
    if len(sizes) > 1 and sizes[1] > NO_WIDTH * sizes[0]:
        second, share = directions[1], float(shares[1])
    else:
        # A straight path: across it, along the parameter that has least part in it.
        second, share = np.zeros_like(first), 0.0
        second[np.argmin(np.abs(first))] = 1
        second -= (second @ first) * first
        second /= np.linalg.norm(second)
    names = (f"main direction of the path ({shares[0]:.0%})", f"second direction ({share:.0%})")
    return Plane(origin, np.array([first, second]), names)


def _extent(problem: Problem, plane: Plane, through: Floats, paths: Sequence[Floats]) -> Any:
    """Return the ranges of u and v: around the paths, or about the minimum as far as zero and as far again."""
    if paths:
        low, high = (end(np.concatenate([*paths, through[None, :]]), axis=0) for end in (np.min, np.max))
        size = high - low
        if not plane.names[0].startswith("main"):
            steep = np.array([_effect(problem, direction) for direction in plane.directions])
            size = np.maximum(size, THINNEST * (size * steep).max() / np.where(steep > 0, steep, 1))
        else:
            size = np.maximum(size, THINNEST * size.max())
        size = np.where(size > 0, size, 1)
        middle = (low + high) / 2
        return [(m - (0.5 + MARGIN) * s, m + (0.5 + MARGIN) * s) for m, s in zip(middle, size, strict=True)]
    steep = np.array([_effect(problem, direction) for direction in plane.directions])
    # A coefficient near zero is drawn as far as changes the scores like the other one.
    half = np.maximum(np.abs(through), THINNEST * (np.abs(through) * steep).max() / np.where(steep > 0, steep, 1))
    half = (1 + MARGIN) * np.where(half > 0, half, 1)
    return [(m - h, m + h) for m, h in zip(through, half, strict=True)]


def _range(side: Any) -> tuple[float, float]:
    if not isinstance(side, (tuple, list)) or len(side) != 2:  # noqa: PLR2004
        raise InputError(f"extent: expected ((u_low, u_high), (v_low, v_high)); got {side!r}")
    low, high = (number("extent", end) for end in side)
    if low >= high:
        raise InputError(f"extent: expected a range that rises; got {side!r}")
    return low, high


def _effect(problem: Problem, direction: Floats) -> float:
    """Return the root mean square of what a step along `direction` does to the scores."""
    total = sum(float(np.sum(scores[0] ** 2)) for _, scores in _blocks(problem, direction[None, :], 1))
    return float(np.sqrt(total / problem.n_samples))


def _blocks(problem: Problem, points: Floats, scores_each: int) -> Iterator[tuple[slice, Floats]]:
    """Yield blocks of rows with their scores at each of the points, (n_points, n_rows, width), less the offset."""
    width = problem.loss.width
    coef = points[:, : problem.n_coef].reshape(-1, problem.design.shape[1])
    intercept = points[:, problem.n_coef :]
    design = problem.design.to_scipy() if isinstance(problem.design, Csr) else problem.design
    size = max(1, MOST_SCORES // (width * scores_each))
    for start in range(0, problem.n_samples, size):
        rows = slice(start, start + size)
        scores = np.asarray(design[rows].astype(np.float64) @ coef.T)
        yield rows, np.moveaxis(scores.reshape(-1, len(points), width), 1, 0) + intercept[:, None, :]


def values_on(problem: Problem, plane: Plane, u: Floats, v: Floats) -> Floats:
    """Return F on the grid, (len(v), len(u))."""
    points = np.array([plane.origin, *plane.directions])
    average = _squares if isinstance(problem.loss, Mse) else _of_one_score if problem.loss.width == 1 else _of_scores
    with np.errstate(over="ignore"):
        values = average(problem, points, u, v)
    penalty = problem.penalty
    if penalty.l1 or penalty.l2:
        coef = points[:, : problem.n_coef]
        for i, j in np.ndindex(values.shape):
            here = coef[0] + u[j] * coef[1] + v[i] * coef[2]
            values[i, j] += penalty.value_and_gradient(np, here)[0] + penalty.rough_value(np, here)
    return values


def _weights(problem: Problem) -> Floats:
    given = problem.sample_weight
    weights = np.ones(problem.n_samples) if given is None else given.astype(np.float64)
    return np.asarray(weights / weights.sum())


def _squares(problem: Problem, points: Floats, u: Floats, v: Floats) -> Floats:
    """Return the mean squared error on the grid, from the products of (Z₀ − y, Z₁, Z₂) summed over the rows."""
    weights, width = _weights(problem), problem.loss.width
    targets = problem.targets.astype(np.float64) - (0 if problem.offset is None else problem.offset)
    targets = targets.reshape(problem.n_samples, width)
    moments = np.zeros((3, 3))
    for rows, scores in _blocks(problem, points, 3):
        scores[0] -= targets[rows]
        moments += np.einsum("r,irk,jrk->ij", weights[rows], scores, scores, optimize=True)
    at = np.stack([np.ones((len(v), len(u))), *np.meshgrid(u, v)])
    return np.asarray(np.einsum("iab,ij,jab->ab", at, moments, at, optimize=True) / width)


def _of_one_score(problem: Problem, points: Floats, u: Floats, v: Floats) -> Floats:
    """Return the average loss on the grid: on a plane, the problem is one of two features, the rest an offset."""
    scores = np.concatenate([part[:, :, 0] for _, part in _blocks(problem, points, 3)], axis=1)
    offset, weight = problem.offset, problem.sample_weight
    on_plane = replace(
        problem,
        design=np.ascontiguousarray(scores[1:].T),
        targets=problem.targets.astype(np.float64),
        sample_weight=None if weight is None else weight.astype(np.float64),
        offset=np.ascontiguousarray(scores[0] if offset is None else scores[0] + offset),
        penalty=ElasticNet(0.0, 0.0),
        fit_intercept=False,
        precondition=False,
    )
    engine, threads = get_backend("auto"), thread_count(None)
    return np.array([[engine.value_and_gradient(on_plane, np.array([a, b]), threads)[0] for a in u] for b in v])


def _of_scores(problem: Problem, points: Floats, u: Floats, v: Floats) -> Floats:
    """Return the average loss of several scores on the grid, a block of rows and a line of the grid at a time."""
    weights, loss, width = _weights(problem), problem.loss, problem.loss.width
    values = np.zeros((len(v), len(u)))
    for rows, scores in _blocks(problem, points, len(u)):
        targets = np.repeat(problem.targets[rows].astype(np.float64), len(u), axis=0)
        if problem.offset is not None:
            scores[0] += problem.offset[rows]
        for i, height in enumerate(v):
            line = (scores[0] + height * scores[2])[:, None, :] + u[:, None] * scores[1][:, None, :]
            value, _ = loss.value_and_residual(np, targets, line.reshape(-1, width))
            values[i] += weights[rows] @ value.reshape(-1, len(u))
    return values
