"""Surfaces of the objective, and descents on them, each against figures that were worked out in another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from scipy import sparse

import pictures
import steepest as st
from pictures import BINARY, OFFSET, SEVERAL, WEIGHTS, X, Y, xy
from steepest import plot
from steepest.surface import surface
from tolerance import tolerance

close = pictures.close

#: What F is, and of which targets.
OBJECTIVES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mse": (Y, {}),
    "ridge, weights, offset": (Y, {"alpha": 0.7, "sample_weight": WEIGHTS, "offset": OFFSET}),
    "lasso": (Y, {"alpha": 0.7, "l1_ratio": 0.6}),
    "two targets": (np.column_stack([Y, OFFSET]), {"alpha": 0.1, "sample_weight": WEIGHTS}),
    "logistic": (BINARY, {"loss": "log_loss", "alpha": 0.2, "sample_weight": WEIGHTS, "offset": OFFSET}),
    "softmax": (SEVERAL, {"loss": "log_loss", "alpha": 0.2, "l1_ratio": 0.5, "sample_weight": WEIGHTS}),
    "huber": (Y, {"loss": st.Huber(delta=0.7)}),
    "poisson": (np.abs(np.rint(Y)), {"loss": "poisson", "offset": OFFSET}),
    "hinge": (BINARY, {"loss": "squared_hinge"}),
}


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_surface_is_the_objective(name: str, layout: str) -> None:
    """Every point of the grid equals F as the numpy backend evaluates it there, row by row."""
    y, options = OBJECTIVES[name]
    design = X if layout == "dense" else sparse.csr_array(X)
    walk = list(st.iterate(design, y, n_steps=12, learning_rate=0.02, **options))
    found = surface(design, y, walk, n_points=5, **options)
    assert found.values.shape == (5, 5)
    for i, v in enumerate(found.v):
        for j, u in enumerate(found.u):
            coef, intercept = found.problem.unflatten(found.plane.parameters(float(u), float(v)))
            expected, _, _ = st.loss_and_gradient(X, y, coef, intercept, backend="numpy", **options)
            assert found.values[i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)
    u, v = found.paths[""][-1]
    lowest = found.plane.parameters(float(u), float(v))
    assert found.problem.unflatten(lowest)[0] == pytest.approx(walk[-1].coef, abs=1e-12)


def test_surface_in_single_precision() -> None:
    found = surface(X.astype(np.float32), Y.astype(np.float32), parameters=(0, 1), n_points=3)
    for (i, j), value in np.ndenumerate(found.values):
        parameters = found.plane.parameters(float(found.u[j]), float(found.v[i]))
        expected = np.mean((X.astype(np.float32) @ parameters[:3] + parameters[3] - Y.astype(np.float32)) ** 2)
        assert value == pytest.approx(expected, rel=tolerance(np.float64, 60, condition=1e4))


def test_plane_of_a_path_is_its_principal_components() -> None:
    walk = list(st.iterate(X, Y, n_steps=30))
    points = np.array([[*step.coef, step.intercept] for step in walk])
    found = surface(X, Y, walk, n_points=2)
    difference = points - points[-1]
    eigenvalues, directions = np.linalg.eigh(difference.T @ difference)
    assert np.abs(found.plane.directions @ directions[:, [-1, -2]]) == pytest.approx(np.eye(2), abs=1e-9)
    assert f"({eigenvalues[-1] / eigenvalues.sum():.0%})" in found.plane.names[0]
    assert found.paths[""] == pytest.approx(difference @ found.plane.directions.T, abs=1e-12)
    assert (found.paths[""].min(axis=0) >= [found.u[0], found.v[0]]).all()
    assert (found.paths[""].max(axis=0) <= [found.u[-1], found.v[-1]]).all()


def test_a_straight_path_still_spans_a_plane() -> None:
    straight = [(t * np.array([1.0, 2.0, 3.0]), 0.0) for t in (1.0, 0.5, 0.0)]
    plane = surface(X, Y, straight, n_points=2).plane
    assert plane.directions @ plane.directions.T == pytest.approx(np.eye(2), abs=1e-12)
    assert np.abs(plane.directions[0]) == pytest.approx(np.array([1, 2, 3, 0]) / np.sqrt(14))


def test_surface_without_a_path_is_about_the_minimum() -> None:
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), Y)[0]
    found = surface(X, Y, parameters=(1, "intercept"), n_points=81)
    row, column = np.unravel_index(found.values.argmin(), found.values.shape)
    assert found.u[column] == pytest.approx(exact[1], abs=found.u[1] - found.u[0])
    assert found.v[row] == pytest.approx(exact[3], abs=found.v[1] - found.v[0])
    assert found.plane.names == ("coefficient 1", "intercept")
    for end, low, high in zip(exact[[1, 3]], (found.u[0], found.v[0]), (found.u[-1], found.v[-1]), strict=True):
        assert low < min(0, end) < max(0, end) < high


def test_contours_lie_where_the_objective_has_their_level() -> None:
    walks = {method: list(st.iterate(X, Y, method=method, n_steps=15)) for method in ("gd", "nesterov")}
    axes = plot.plot_surface(X, Y, walks, parameters=(0, 1), n_points=101)
    end = walks["nesterov"][-1]
    (lines,) = [found for found in axes.collections if isinstance(found, QuadContourSet) and not found.filled]
    checked = 0
    levels = np.asarray(lines.levels)
    for level, path in zip(levels, lines.get_paths(), strict=True):
        for u, v in np.asarray(path.vertices)[::25]:
            value = np.mean((X @ [u, v, end.coef[2]] + end.intercept - Y) ** 2)
            assert value == pytest.approx(level, rel=0.02)
            checked += 1
    assert checked > 50
    assert (np.diff(levels) > 0).all()
    for label, walk in walks.items():
        (drawn,) = [line for line in axes.lines if line.get_label() == label]
        assert np.column_stack(xy(drawn)) == pytest.approx(np.array([step.coef[:2] for step in walk]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("coefficient 0", "coefficient 1")


def test_parameters_by_name_and_by_class() -> None:
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    assert surface(frame, Y, parameters=("c", "intercept"), n_points=2).plane.names == ("c", "intercept")
    found = surface(frame, SEVERAL, parameters=((0, "b"), (2, "intercept")), loss="log_loss", alpha=0.1, n_points=2)
    assert found.plane.names == ("b, a", "intercept, c")
    assert np.flatnonzero(found.plane.directions.sum(axis=0)).tolist() == [1, 3 * 3 + 2]
