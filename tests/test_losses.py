"""Losses: value, slope, convexity and curvature, in the portable formula and in the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis.strategies import DrawFn, SearchStrategy
from numpy.typing import NDArray

import steepest
from properties import (
    EVALUATIONS,
    Pair,
    Rows,
    classes_of,
    close_rows,
    compiled,
    finite,
    portable,
    rows_are_independent,
    sandwich,
)
from steepest.losses import LOSSES, Huber, LogLoss, Loss, Mse, Poisson, SquaredHinge
from strategies import probabilities, scores
from tolerance import tolerance

Values = NDArray[Any]

#: Every shape that a registered loss takes.
VARIANTS: dict[str, Loss] = {
    "mse": Mse(),
    "mse of 3": Mse(3),
    "binary": LogLoss(2),
    "binary probabilities": LogLoss(2, probabilities=True),
    "softmax of 3": LogLoss(3),
    "softmax of 5": LogLoss(5),
    "probabilities of 3": LogLoss(3, probabilities=True),
    "huber": Huber(),
    "huber of 3": Huber(3.0),
    "poisson": Poisson(),
    "squared hinge": SquaredHinge(),
}
DTYPES = [np.float32, np.float64]
LARGEST = float(np.finfo(np.float64).max)

every_variant = pytest.mark.parametrize("loss", VARIANTS.values(), ids=VARIANTS.keys())
every_bounded_variant = pytest.mark.parametrize(
    "loss", [pytest.param(loss, id=name) for name, loss in VARIANTS.items() if loss.curvature is not None]
)
every_evaluation = pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS.keys())
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def test_every_registered_loss_is_tested() -> None:
    assert {loss.name for loss in VARIANTS.values()} == {loss.name for loss in LOSSES.values()}


def targets_of(loss: Loss, n_rows: int, dtype: Any, values: SearchStrategy[float]) -> SearchStrategy[Values]:
    """What a loss can observe: (n_rows,), or (n_rows, width)."""
    if isinstance(loss, LogLoss) and loss.probabilities:
        rows_of = probabilities(n_rows, loss.n_classes).map(lambda rows: rows.astype(dtype))
        return rows_of if loss.width > 1 else rows_of.map(lambda rows: np.ascontiguousarray(rows[:, 1]))
    if isinstance(loss, LogLoss):
        values = st.integers(0, loss.n_classes - 1).map(float)
    elif isinstance(loss, SquaredHinge):
        values = st.sampled_from([-1.0, 1.0])
    elif isinstance(loss, Poisson):
        values = values.map(abs)
    return hnp.arrays(
        dtype, (n_rows, loss.width) if loss.width > 1 and isinstance(loss, Mse) else n_rows, elements=values
    )


@st.composite
def pairs(draw: DrawFn, loss: Loss, dtype: Any) -> Pair:
    """Two scores within a millionth to a million of each other."""
    scale = 10.0 ** draw(st.integers(-6, 6))
    # Half precision: nothing so small that its square is lost, which no relative error could account for.
    near = st.floats(-1, 1, width=16)
    target = draw(targets_of(loss, 1, dtype, near.map(lambda t: float(dtype(t * scale)))))[0]
    u, v = (draw(hnp.arrays(np.float64, loss.width, elements=near)) for _ in range(2))
    return Pair(loss, target, (u * scale).astype(dtype), (v * scale).astype(dtype))


@st.composite
def rows(draw: DrawFn, loss: Loss, dtype: Any, values: SearchStrategy[float], max_rows: int = 6) -> Rows:
    n = draw(st.integers(1, max_rows))
    targets = draw(targets_of(loss, n, dtype, values))
    return Rows(loss, targets, draw(hnp.arrays(dtype, (n, loss.width), elements=values)))


@every_dtype
@every_variant
@every_evaluation
@given(data=st.data())
def test_sandwich(evaluate: Callable[..., Any], loss: Loss, dtype: Any, data: st.DataObject) -> None:
    sandwich(evaluate, data.draw(pairs(loss, dtype)))


@every_bounded_variant
@every_evaluation
def test_curvature_bound_is_reached(evaluate: Callable[..., Any], loss: Loss) -> None:
    """No smaller L would do: the slope changes by L |u − v| somewhere, here between two equal classes."""
    u, v = np.full((2, loss.width), 0.0 if loss.width == 1 else -100.0)
    u[0], v[0] = 1e-3, -1e-3
    if loss.width > 1:
        u[1], v[1] = -1e-3, 1e-3
    # Rows of equal probabilities, the first class, the first label: what is subtracted from a slope cancels.
    target = np.full(loss.width, 1 / loss.width) if getattr(loss, "probabilities", False) else np.zeros(loss.width)
    target = np.array([-1.0]) if isinstance(loss, SquaredHinge) else target
    one = target[0] if isinstance(loss, LogLoss) and not (loss.probabilities and loss.width > 1) else target
    one = target[0] if loss.width == 1 else one
    _, (slope_u, slope_v) = evaluate(loss, np.array([one, one]), np.stack([u, v]))
    change = np.linalg.norm(slope_u - slope_v) / np.linalg.norm(u - v)
    # The curvature falls off quadratically from where it is largest.
    assert change == pytest.approx(loss.curvature, rel=1e-6)


@every_variant
@every_evaluation
@given(data=st.data())
def test_finite_for_every_score(evaluate: Callable[..., Any], loss: Loss, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    finite(evaluate, data.draw(rows(loss, dtype, scores(dtype))))


@every_dtype
@every_evaluation
def test_softmax_of_scores_whose_difference_overflows(evaluate: Callable[..., Any], dtype: Any) -> None:
    """The class of the highest score loses nothing, however far below the others are."""
    largest = np.finfo(dtype).max
    finite(evaluate, Rows(LogLoss(3), np.zeros(1, dtype), np.array([[largest, -largest, 0]], dtype)))


@every_dtype
@every_evaluation
def test_nothing_is_lost_by_a_perfect_prediction(evaluate: Callable[..., Any], dtype: Any) -> None:
    def lost(loss: Loss, target: float, row: list[float]) -> float:
        losses, slopes = evaluate(loss, np.array([target], dtype), np.array([row], dtype))
        return float(max(losses[0], np.abs(slopes).max()))

    for number in (0.0, -3.5, 1e30):
        assert lost(Mse(), number, [number]) == 0
    # The core stops at the smallest normal number, where the exponential would go on to zero.
    smallest = 2 * float(np.finfo(dtype).tiny)
    assert lost(LogLoss(2), 1.0, [1e4]) <= smallest
    assert lost(LogLoss(2), 0.0, [-1e4]) <= smallest
    assert lost(LogLoss(3), 1.0, [-1e4, 1e4, 0.0]) <= smallest


@every_dtype
@every_evaluation
@given(st.data())
def test_softmax_knows_differences_only(evaluate: Callable[..., Any], dtype: Any, data: st.DataObject) -> None:
    whole = st.integers(-1000, 1000).map(float)
    drawn = data.draw(rows(LogLoss(3), dtype, whole))
    shift = data.draw(whole)
    # Differences of whole numbers are exact, so not a bit may change.
    for one, other in zip(
        evaluate(*drawn), evaluate(drawn.loss, drawn.targets, drawn.scores + dtype(shift)), strict=True
    ):
        assert one.tobytes() == other.tobytes()


@given(hnp.arrays(np.float64, (4, 2), elements=st.integers(-400, 400).map(lambda z: z / 8)), st.integers(0, 1))
@pytest.mark.parametrize("namespace", [np, array_api_strict], ids=["numpy", "strict"])
def test_softmax_of_two_classes_is_logistic(namespace: Any, scores: Values, label: int) -> None:
    loss, targets = LogLoss(2), np.full(4, float(label))
    several, one = (namespace.asarray(z) for z in (scores, scores[:, 1] - scores[:, 0]))
    y = namespace.asarray(targets)
    (values, slopes), (expected, slope) = loss._softmax(namespace, y, several), loss._logistic(namespace, y, one)
    # A probability near one rounds to within eps of it, so small losses and slopes agree in absolute terms only.
    slack = tolerance(np.float64, 2)
    assert np.all(np.abs(np.asarray(values) - np.asarray(expected)) <= slack * (1 + np.asarray(expected)))
    assert np.all(np.abs(np.asarray(slopes)[:, 1] - np.asarray(slope)) <= slack)
    assert np.all(np.abs(np.asarray(slopes).sum(axis=1)) <= slack)


@every_variant
@pytest.mark.parametrize("namespace", [np, array_api_strict], ids=["numpy", "strict"])
@given(data=st.data())
def test_rows_do_not_influence_each_other(namespace: Any, loss: Loss, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    # Up to the square root of the largest number, so that squares are numbers.
    largest = 2.0**20 if isinstance(loss, Poisson) else 2.0**60
    bounded = st.floats(-largest, largest, width=32)
    rows_are_independent(
        portable(namespace), data.draw(rows(loss, dtype, st.one_of(bounded, st.floats(-50, 50, width=32))))
    )


@every_variant
@given(data=st.data())
def test_rows_do_not_influence_each_other_in_the_core(loss: Loss, data: st.DataObject) -> None:
    """With X = I the coefficients are the scores and each coefficient's slope is its own row's, bit for bit."""
    dtype = data.draw(st.sampled_from(DTYPES))
    n = 8  # A power of two, so that dividing by it loses nothing.
    # No probability is so small that an eighth of it is subnormal.
    values = st.floats(-40, 40, width=32)
    targets = data.draw(targets_of(loss, n, dtype, values))
    drawn = Rows(loss, targets, data.draw(hnp.arrays(dtype, (n, loss.width), elements=values)))
    coef = drawn.scores.T if loss.width > 1 else drawn.scores[:, 0]
    binary_rows = isinstance(loss, LogLoss) and loss.probabilities and loss.width == 1
    y = np.column_stack([1 - targets, targets]) if binary_rows else targets
    for X in (np.eye(n, dtype=dtype, order="C"), np.eye(n, dtype=dtype, order="F")):
        value, slopes, _ = steepest.loss_and_gradient(
            X, y, coef, np.zeros(loss.width), loss=loss, classes=classes_of(loss), backend="rust"
        )
        losses, expected = compiled(*drawn)
        assert np.array_equal(np.reshape(slopes.T * n, drawn.scores.shape), expected)
        assert abs(value - losses.mean()) <= tolerance(dtype, n) * np.abs(losses).mean()


#: Scores on a logarithmic grid to ±1e4, and where exponentials of either type begin to vanish.
GRID = np.concatenate([[0.0, 0.5, 36.0, 87.0, 88.0, 103.0, 700.0, 708.0, 709.0, 745.0], np.logspace(-12, 4, 97)])


def units_off(got: Values, exact: list[Any], dtype: Any) -> float:
    """Return the largest error in units in the last place, less what vanishing exponentials may be off.

    The core's exponential stops at the smallest normal number; that is an absolute error which no sum can feel.
    """
    vanished = 2 * float(np.finfo(dtype).tiny)
    worst = 0.0
    for value, reference in zip(got, exact, strict=True):
        error = max(mpmath.mpf(0), abs(mpmath.mpf(float(value)) - reference) - vanished)
        unit = np.spacing(np.maximum(np.abs(dtype(float(reference))), np.finfo(dtype).tiny))
        worst = max(worst, float(error / mpmath.mpf(float(unit))))
    return worst


@every_dtype
@every_evaluation
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_logistic_loss_to_fifty_digits(evaluate: Callable[..., Any], target: float, dtype: Any) -> None:
    grid = np.concatenate([-GRID[::-1], GRID]).astype(dtype)
    losses, slopes = evaluate(LogLoss(2), np.full(len(grid), target, dtype), grid[:, None])
    with mpmath.workdps(50):
        # The loss of label 1 at z is that of label 0 at −z; log1p keeps the digits where exp is small.
        signed = [mpmath.mpf(float(z)) * (1 - 2 * int(target)) for z in grid]
        exact = [mpmath.log1p(mpmath.exp(z)) for z in signed]
        exact_slopes = [(1 - 2 * int(target)) / (1 + mpmath.exp(-z)) for z in signed]
        # An exponential of 2 units, a logarithm of 3, a sum and a quotient.
        assert units_off(losses, exact, dtype) <= 6
        assert units_off(slopes[:, 0], exact_slopes, dtype) <= 4


@every_dtype
@every_evaluation
def test_softmax_loss_to_fifty_digits(evaluate: Callable[..., Any], dtype: Any) -> None:
    grid = np.concatenate([-GRID[::-1], GRID]).astype(dtype)
    rows = np.stack([grid, np.zeros_like(grid), np.roll(grid, 17)], axis=1)
    targets = np.arange(len(grid)).astype(dtype) % 3
    losses, slopes = evaluate(LogLoss(3), targets, rows)
    with mpmath.workdps(50):
        for row, target, loss, slope in zip(rows, targets.astype(int), losses, slopes, strict=True):
            z = [mpmath.mpf(float(score)) for score in row]
            # Relative to the highest score, where the sum is between one and the number of classes.
            powers = [mpmath.exp(score - max(z)) for score in z]
            total = mpmath.fsum(powers)
            exact = mpmath.log(total) + max(z) - z[target]
            slack = tolerance(dtype, 3)
            assert abs(mpmath.mpf(float(loss)) - exact) <= slack * (1 + exact)
            for k in range(3):
                assert abs(mpmath.mpf(float(slope[k])) - (powers[k] / total - (k == target))) <= slack


@given(rows(Mse(), np.float64, st.integers(-(2**20), 2**20).map(float)))
@example(Rows(Mse(), np.zeros(1), np.ones((1, 1))))
@every_evaluation
def test_squared_error_is_the_formula_exactly(evaluate: Callable[..., Any], drawn: Rows) -> None:
    losses, slopes = evaluate(*drawn)
    residual = drawn.scores[:, 0] - drawn.targets
    assert np.array_equal(losses, residual**2)
    assert np.array_equal(slopes[:, 0], 2 * residual)


@every_variant
@given(data=st.data())
def test_core_and_portable_formula_agree(loss: Loss, data: st.DataObject) -> None:
    drawn = data.draw(rows(loss, np.float64, st.floats(-700, 700)))
    if loss in {Mse(), LogLoss()}:
        for one, other in zip(compiled(*drawn), portable(np)(*drawn), strict=True):
            close_rows(one, other, np.float64)
        return
    (losses, slopes), (expected, expected_slopes) = compiled(*drawn), portable(np)(*drawn)
    # Terms that cancel are as large as these.
    highest = float(np.abs(drawn.scores).max() + np.abs(drawn.targets).max())
    rise = float(np.exp(min(drawn.scores.max(), 600.0))) if isinstance(loss, Poisson) else 1.0
    slack = tolerance(np.float64, loss.width) * (1 + highest) ** 2 * rise
    assert np.all(np.abs(losses - expected) <= slack)
    assert np.all(np.abs(slopes - expected_slopes) <= slack)


@every_variant
@pytest.mark.parametrize("namespace", [np, array_api_strict], ids=["numpy", "strict"])
@given(data=st.data())
def test_second_derivative_is_the_slopes(namespace: Any, loss: Loss, data: st.DataObject) -> None:
    """By differences of the slope to either side; one of them, where the slope has a kink."""
    drawn = data.draw(rows(loss, np.float64, st.integers(-24, 24).map(lambda z: z / 8), max_rows=3))
    n, width, step = len(drawn.scores), loss.width, 1e-5
    flat = drawn.scores if width > 1 else drawn.scores[:, 0]
    bends = loss.second_derivative(namespace, namespace.asarray(drawn.targets), namespace.asarray(flat))
    bends = np.asarray(bends).reshape(n, width, width)
    _, here = portable(namespace)(*drawn)
    for k in range(width):
        move = step * np.eye(width)[k]
        _, ahead = portable(namespace)(loss, drawn.targets, drawn.scores + move)
        _, behind = portable(namespace)(loss, drawn.targets, drawn.scores - move)
        near = np.minimum(np.abs((ahead - here) / step - bends[:, k]), np.abs((here - behind) / step - bends[:, k]))
        assert np.all(near <= 1e-3)
