"""Numbers at the edges: a finite answer, or an error or a warning by name; never nonsense without a word.

Every loss and every method, preconditioned or not, on both backends, on data that breaks those who square, subtract or
divide without thought. Where a descent says that it converged and no more, its loss is held to the lowest one: of least
squares by long doubles, else by a descent of many steps on columns of one scale.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.strategies as hst
import mpmath
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy.sparse import csr_array

import steepest as st
from properties import compiled, portable
from samples import methods_for
from steepest.losses import Huber, Loss, Poisson, SquaredHinge
from test_losses import GRID
from tolerance import tolerance

PROFILE = os.environ.get("STEEPEST_TEST_PROFILE", "dev")
LONG = np.longdouble
TOL = 1e-6
#: A drawn case is a whole descent.
FEWER = max(settings.default.max_examples // 2, 25) if settings.default else 25
N, D = 48, 3
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(N, D))
SCORES = X @ [1.0, -2.0, 0.5]
NOISY = SCORES + 0.1 * GENERATOR.normal(size=N)
TARGETS: dict[str, NDArray[Any]] = {
    "mse": NOISY,
    "huber": NOISY,
    "poisson": np.round(np.exp(SCORES / 2)),
    "log_loss": (NOISY > 0).astype(int),
    "softmax": np.digitize(NOISY, [-1.0, 1.0]),
    "squared_hinge": (NOISY > 0).astype(int),
}
OF_NUMBERS = {"mse", "huber", "poisson"}
ONE_ROW = np.zeros(N)
ONE_ROW[7] = 1.0

DESIGNS: dict[str, Callable[[], NDArray[Any]]] = {
    "as usual": lambda: X,
    "scale 1e150": lambda: X * 1e150,
    "scale 1e-150": lambda: X * 1e-150,
    "scales of every kind": lambda: X * [1e150, 1.0, 1e-150],
    "at the end of the range": lambda: X / np.abs(X).max() * np.finfo(float).max,
    "subnormal": lambda: X * 5e-320,
    "constant column": lambda: np.c_[X, np.full(N, 12345.678)],
    "columns twice": lambda: np.c_[X, X],
    "columns all but twice": lambda: np.c_[X, X * (1 + 1e-9)],
    "far from zero": lambda: X + 1e8,
    "farther than digits reach": lambda: X + 1e14,
    "all zero": lambda: X * 0.0,
    "one value": lambda: X * 0.0 + 3.0,
    "wide": lambda: np.random.default_rng(1).normal(size=(8, 20)),
    "single precision, far from zero": lambda: (X + 3e5).astype(np.float32),
    "single precision, huge": lambda: (X * 1e37).astype(np.float32),
    "single precision, subnormal": lambda: (X * 1e-40).astype(np.float32),
}
Change = Callable[[str, NDArray[Any]], tuple[NDArray[Any], dict[str, Any]]]


def numbers(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
    """Change the targets of the losses that are of numbers."""
    return lambda loss, y: (change(y) if loss in OF_NUMBERS else y, {})


def offset(value: float) -> Change:
    return lambda loss, y: (y, {"offset": np.full((N, 3) if loss == "softmax" else N, value)})


OBSERVED: dict[str, Change] = {
    "a perfect fit": lambda loss, y: (SCORES if loss in {"mse", "huber"} else y, {}),
    "targets of no variance": numbers(lambda y: np.full(len(y), 5.0)),
    "targets of zero": numbers(lambda y: 0.0 * y),
    "huge targets": numbers(lambda y: 1e150 * y),
    "tiny targets": numbers(lambda y: 1e-150 * y),
    "targets whose squares overflow": numbers(lambda y: 1e305 * y),
    "all weight on one row": lambda _, y: (y, {"sample_weight": ONE_ROW}),
    "all but all weight on one row": lambda _, y: (y, {"sample_weight": np.where(ONE_ROW > 0, 1.0, 1e-300)}),
    "subnormal weights": lambda _, y: (y, {"sample_weight": np.full(N, 5e-324)}),
    "offsets of 1e3": offset(1e3),
    "offsets of -1e10": offset(-1e10),
    "offsets of 1e300": offset(1e300),
    "a penalty of 1e300": lambda _, y: (y, {"alpha": 1e300}),
    "a penalty of 1e-300": lambda _, y: (y, {"alpha": 1e-300}),
}


#: Where an error by name will do, for some losses and methods: beyond the range of numbers. All else has an answer.
BEYOND = {
    "scale 1e150",
    "scales of every kind",
    "at the end of the range",
    "single precision, huge",
    "single precision, subnormal",
    "huge targets",
    "targets whose squares overflow",
    "offsets of -1e10",
    "offsets of 1e300",
}
#: Shares of what there is to gain on the loss at zero that a descent may leave. On columns of one scale the gradient is
#: `TOL` of that at zero; else 1e-2 passes, whose square counts by the condition number of the correlations.
OF_LOSS, OF_LOSS_AS_IT_IS = 1e-4, 1e-3


class Known(NamedTuple):
    """What is known of the losses of a problem without the descent that is judged."""

    lowest: float
    at_zero: float
    rounding: float


class Ended(NamedTuple):
    """How a descent ended."""

    fit: st.Fit | None
    said: list[type[Warning]]


def end_of(design: Any, y: Any, loss: str, **options: Any) -> Ended:
    """Descend; an error or a warning is one of ours, by name."""
    name = "log_loss" if loss == "softmax" else loss
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = st.descend(design, y, loss=name, **{"tol": TOL, "n_steps": 25, **options})
        except (st.InputError, st.DivergenceError):
            return Ended(None, [])
    said = [warning.category for warning in caught]
    assert set(said) <= {st.ConvergenceWarning, st.IllConditionedWarning}, caught
    return Ended(fit, said)


def expect_honest(ended: Ended, known: Known | None, *, preconditioned: bool) -> None:
    """Expect finite numbers, and a word where they are not those of the optimum."""
    fit, said = ended
    if fit is None:
        return
    assert np.isfinite(fit.coef).all()
    assert np.isfinite(fit.intercept).all()
    assert np.isfinite(fit.loss)
    assert fit.converged or said
    first = fit.history.loss[0] if len(fit.history) else fit.loss
    assert fit.loss <= first + 1e-4 * abs(first) or said
    if known is not None and fit.converged and not said:
        share = OF_LOSS if preconditioned else OF_LOSS_AS_IT_IS
        assert fit.loss <= known.lowest + share * (known.at_zero - known.lowest) + known.rounding


def known_of(design: NDArray[Any], y: Any, loss: str, **options: Any) -> Known | None:
    """Return what is known of the losses; None if nothing is."""
    easy = design if "alpha" in options else on_one_scale(design)
    if loss == "mse" and not options:
        with np.errstate(over="ignore", invalid="ignore"):
            lowest, at_zero = lowest_mse(easy, y), float(np.mean(np.square(y)))
        return Known(lowest, at_zero, 0.0) if np.isfinite(at_zero) else None
    fit, said = end_of(easy, y, loss, **{"method": "auto", "n_steps": 500, **options})
    if fit is None or said or not fit.converged:
        return None
    at_zero = float(fit.history.loss[0]) if len(fit.history) else fit.loss
    return Known(fit.loss, at_zero, tolerance(design.dtype, 64) * abs(fit.loss))


def on_one_scale(design: NDArray[Any]) -> NDArray[np.float64]:
    """Return columns of which lines are those of the design, centred and scaled in long double."""
    columns = design.astype(LONG)
    columns = columns - columns.mean(axis=0)
    size = np.abs(columns).max(axis=0)
    return np.asarray(columns / np.where(size > 0, size, 1), dtype=np.float64)


def lowest_mse(columns: NDArray[np.float64], y: NDArray[Any]) -> float:
    """Return the least mean square that any line reaches."""
    centred = y - y.mean()
    return float(np.mean((centred - columns @ np.linalg.lstsq(columns, centred)[0]) ** 2))


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("kind", DESIGNS)
def test_designs(backend: str, kind: str, loss: str) -> None:
    design = DESIGNS[kind]()
    y = TARGETS[loss][: len(design)]
    known = known_of(design, y, loss)
    for method in [*methods_for(loss), "auto"]:
        for precondition in (False, True):
            ended = end_of(design, y, loss, method=method, precondition=precondition, backend=backend)
            assert ended.fit is not None or kind in BEYOND
            expect_honest(ended, known, preconditioned=precondition)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("kind", OBSERVED)
def test_targets_weights_offsets_and_penalties(backend: str, kind: str, loss: str) -> None:
    y, options = OBSERVED[kind](loss, TARGETS[loss])
    known = known_of(X, y, loss, **options)
    for method in [*methods_for(loss), "auto"]:
        for precondition in (False, True):
            ended = end_of(X, y, loss, method=method, precondition=precondition, backend=backend, **options)
            assert ended.fit is not None or kind in BEYOND
            expect_honest(ended, known, preconditioned=precondition)


@pytest.mark.parametrize("kind", [*DESIGNS])
def test_estimators(kind: str) -> None:
    design = DESIGNS[kind]()
    for loss, targets in TARGETS.items():
        y = targets[: len(design)]
        known = known_of(design, y, loss)
        kind_of: Any = st.GDRegressor if loss in OF_NUMBERS else st.GDClassifier
        name = {"mse": "squared_error", "softmax": "log_loss"}.get(loss, loss)
        for options in ({}, {"alpha": 0.0}, {"alpha": 0.0, "precondition": False}):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    model = kind_of(name, **options).fit(design, y)
                except (st.InputError, st.DivergenceError):
                    assert kind in BEYOND
                    continue
            assert np.isfinite(model.predict(design).astype(float)).all()
            ended = Ended(model.fit_, [warning.category for warning in caught])
            expect_honest(ended, known if options else None, preconditioned=model.precondition)


@pytest.mark.parametrize("loss", ["log_loss", "softmax", "squared_hinge"])
@pytest.mark.parametrize("method", ["auto", "newton", "lbfgs", "nesterov"])
def test_separable_classes_have_no_optimum_and_are_told_apart(backend: str, loss: str, method: str) -> None:
    y = np.digitize(SCORES, [-1.0, 1.0] if loss == "softmax" else [0.0])
    fit, said = end_of(X, y, loss, method=method, backend=backend, n_steps=300)
    assert fit is not None
    assert np.isfinite(fit.coef).all()
    assert fit.converged or said
    scores = X @ np.atleast_2d(fit.coef).T + fit.intercept
    assert np.array_equal(scores.argmax(axis=1) if loss == "softmax" else scores[:, 0] > 0, y)


def test_a_column_that_rounding_swallows_is_named(backend: str) -> None:
    """Descents that bring columns to one scale take it for a constant; without a word, that would be nonsense."""
    for design in (
        X + np.array([0.0, 1e14, 0.0]),
        (X + np.array([0.0, 3e5, 0.0])).astype(np.float32),
        X * [1.0, 5e-320, 1.0],
    ):
        for method in ("auto", "lbfgs", "gd"):
            with pytest.warns(
                st.IllConditionedWarning, match=r"^column 1 of X is taken for a constant: .*(mean|scale)"
            ):
                st.descend(design, NOISY, method=method, precondition=True, backend=backend, n_steps=60)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1] + 1e14})
    with pytest.warns(st.IllConditionedWarning, match="^column 'b' of X is taken for a constant"):
        st.descend(frame, NOISY, precondition=True, backend=backend, n_steps=60)
    # One that is constant, one that can be told from a constant, and descents that scale nothing, need no word.
    with warnings.catch_warnings():
        warnings.simplefilter("error", st.IllConditionedWarning)
        for design in (np.c_[X, np.full(N, 0.1)], X + np.array([0.0, 1e10, 0.0]), (X + 100).astype(np.float32)):
            st.descend(design, NOISY, precondition=True, backend=backend, n_steps=60)
        st.descend(X + 1e14, NOISY, backend=backend, n_steps=60)


@pytest.mark.parametrize("method", ["adam", "sgd"])
def test_steps_that_lead_away_are_warned_of(backend: str, method: str) -> None:
    """Steps of "auto" that no rule tests, on a column of a scale that they were not made for."""
    fit, said = end_of(X * 1e6, NOISY, "mse", method=method, n_steps=3, tol=0.0, backend=backend)
    assert fit is not None
    assert fit.loss < fit.history.loss[0] or said == [st.ConvergenceWarning]


@settings(max_examples=FEWER)
@given(data=hst.data())
def test_any_scales_and_distances(backend: str, data: hst.DataObject) -> None:
    exponents = data.draw(hst.lists(hst.integers(-150, 150), min_size=D, max_size=D))
    distances = data.draw(hst.lists(hst.sampled_from([0.0, 1.0, -1e4, 1e9, 1e16]), min_size=D, max_size=D))
    design: Any = (X + distances) * 10.0 ** np.array(exponents)
    loss = data.draw(hst.sampled_from(sorted(TARGETS)))
    method = data.draw(hst.sampled_from([*methods_for(loss), "auto"]))
    precondition = data.draw(hst.booleans())
    sparse = data.draw(hst.booleans())
    ended = end_of(
        csr_array(design) if sparse else design,
        TARGETS[loss],
        loss,
        method=method,
        precondition=precondition,
        backend=backend,
        n_steps=30,
    )
    # That a column is taken for a constant is not said of sparse ones.
    known = None if sparse and any(distances) else known_of(design, TARGETS[loss], loss)
    expect_honest(ended, known, preconditioned=precondition)


#: The reference takes its time.
MANY = 2**26 if PROFILE == "deep" else 2**22


@pytest.mark.parametrize("n_columns", [2, 8])
@pytest.mark.parametrize("layout", ["by rows", "by columns", "sparse"])
def test_sums_over_many_rows_in_single_precision(backend: str, layout: str, n_columns: int) -> None:
    """NumPy's own mean of 2²⁵ rows of 0.1 in single precision is 0.0625.

    Sums over a few hundred rows are in the type of X, and those over more in double precision or sums of sums; those of
    the core run beside each other, and those of sparse rows are shorter, and are the more exact for it.
    """
    tenth, n = float(np.float32(0.1)), MANY if backend == "rust" else MANY // 8
    design: Any = np.full((n, n_columns), tenth, dtype=np.float32, order="F" if layout == "by columns" else "C")
    if layout == "sparse":
        design = csr_array(
            (
                design.ravel(),
                np.tile(np.arange(n_columns, dtype=np.int32), n),
                np.arange(n + 1, dtype=np.int64) * n_columns,
            ),
            shape=(n, n_columns),
        )
    y = np.ones(n, dtype=np.float32)
    coef = np.full(n_columns, 2 / n_columns)
    value, slope, intercept_slope = st.loss_and_gradient(design, y, coef, backend=backend)
    residual = 2 * tenth - 1
    slack = 1e-6 if backend == "rust" else tolerance(np.float32, 512)
    assert value == pytest.approx(residual**2, rel=slack)
    assert slope == pytest.approx([2 * residual * tenth] * n_columns, rel=slack)
    assert intercept_slope == pytest.approx(2 * residual, rel=slack)
    for strategy in ("stream", "gram"):
        fit = st.descend(design, y, fit_intercept=False, n_steps=20, backend=backend, strategy=strategy)
        assert fit.coef.sum() * tenth == pytest.approx(1.0, rel=2 * slack)


def test_many_rows_in_single_precision_give_the_coefficients_of_double(backend: str) -> None:
    n = MANY // 16
    design = np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)
    y = (design @ np.array([1, -2, 0.5, 3], np.float32) + 1).astype(np.float32)
    for method in ("auto", "lbfgs"):
        single, double = (
            st.descend(design.astype(dtype), y.astype(dtype), method=method, n_steps=30, backend=backend)
            for dtype in (np.float32, np.float64)
        )
        assert single.coef == pytest.approx(double.coef, rel=1e-4)
        assert single.intercept == pytest.approx(double.intercept, rel=1e-4)


class Exact(NamedTuple):
    """A loss and its derivative in 50 digits, and the sizes of the terms that make them up."""

    value: Any
    slope: Any
    value_size: Any
    slope_size: Any


def exact(loss: Loss, y: float, z: Any) -> Exact:
    match loss:
        case Huber(delta=delta):
            cut = max(-delta, min(z - y, mpmath.mpf(delta)))
            return Exact(cut * (z - y - cut / 2), cut, abs(cut) * (abs(z) + y + abs(cut)), abs(z) + y)
        case SquaredHinge():
            miss = max(1 - y * z, mpmath.mpf(0))
            return Exact(miss**2, -2 * y * miss, (1 + abs(z)) ** 2, 2 * (1 + abs(z)))
        case _:
            power = mpmath.exp(z)
            return Exact(power - y * z, power - y, power + y * abs(z), power + y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("evaluate", [compiled, portable(np)], ids=["core", "numpy"])
@pytest.mark.parametrize("loss", [Huber(), Huber(delta=250.0), Poisson(), SquaredHinge()], ids=repr)
def test_derivatives_to_fifty_digits(evaluate: Callable[..., Any], loss: Loss, dtype: Any) -> None:
    """On scores to ±1e4; the exponential of "poisson" as far as it is one: beyond, it goes on as its tangent."""
    grid = np.concatenate([-GRID[::-1], GRID]).astype(dtype)
    if isinstance(loss, Poisson):
        grid = grid[grid <= (64 if dtype is np.float32 else 600)]
    for target in (-1.0, 1.0) if isinstance(loss, SquaredHinge) else (0.0, 1.0, 3.0, 1000.0):
        losses, slopes = evaluate(loss, np.full(len(grid), target, dtype), grid[:, None])
        with mpmath.workdps(50):
            for z, value, slope in zip(grid, losses, slopes[:, 0], strict=True):
                expected = exact(loss, target, mpmath.mpf(float(z)))
                slack = tolerance(dtype, 2)
                # An exponential that vanishes may be off by the smallest normal number.
                least = 2 * float(np.finfo(dtype).tiny)
                assert abs(mpmath.mpf(float(value)) - expected.value) <= slack * expected.value_size + least
                assert abs(mpmath.mpf(float(slope)) - expected.slope) <= slack * expected.slope_size + least
