"""How a descent can go wrong on good arguments: cells that are no numbers, steps that are too long, too few of them."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, strategies

import steepest as st
from steepest.validation import SCAN_ROWS

X = np.arange(12.0).reshape(6, 2) % 5
Y = np.arange(6.0)
#: The exact bound 1/L for X with an intercept, by the definition of L.
SAFE = 6 / (2 * np.linalg.norm(np.column_stack([X, np.ones(6)]), 2) ** 2)
HOLES = [np.nan, np.inf, -np.inf]


def assert_names(cell: tuple[int, int], hole: float, function: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(st.InputError) as caught:
        function(*arguments, **options)
    assert f"X: expected finite numbers; X[{cell[0]}, {cell[1]}] is {hole}; drop or fill" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["mse", "log_loss"])
@given(data=strategies.data())
def test_hole_in_the_design_is_named(backend: str, loss: str, dtype: Any, data: strategies.DataObject) -> None:
    n, d = data.draw(strategies.integers(4, 40)), data.draw(strategies.integers(1, 9))
    order: Any = data.draw(strategies.sampled_from("CF"))
    hole = data.draw(strategies.sampled_from(HOLES))
    design = np.asarray(data.draw(hnp.arrays(dtype, (n, d), elements=strategies.floats(-4, 4, width=16))), order=order)
    anywhere = strategies.tuples(strategies.integers(0, n - 1), strategies.integers(0, d - 1))
    cell = data.draw(strategies.sampled_from([(0, 0), (n - 1, d - 1)]) | anywhere)
    design[cell] = hole
    n_classes = data.draw(strategies.sampled_from([2, 3]))
    y = np.arange(n) % n_classes
    options = {"loss": loss, "backend": backend}
    if data.draw(strategies.booleans()):
        # A weight of zero is no excuse.
        options["sample_weight"] = (np.arange(n) != cell[0]).astype(float)
    shape = (3, d) if loss == "log_loss" and n_classes == 3 else (d,)
    coef = data.draw(hnp.arrays(np.float64, shape, elements=strategies.integers(-2, 2).map(float)))
    assert_names(cell, hole, st.loss_and_gradient, design, y, coef, **options)
    for n_steps in (0, 5):
        assert_names(cell, hole, st.descend, design, y, n_steps=n_steps, **options)


@pytest.mark.parametrize("order", ["C", "F"])
def test_hole_in_the_last_row_of_many_is_named(backend: str, order: Any) -> None:
    design = np.zeros((2 * SCAN_ROWS + 3, 2), np.float32, order=order)
    last = len(design) - 1
    design[last, 1] = np.nan
    assert_names((last, 1), np.nan, st.descend, design, np.zeros(len(design)), backend=backend)


def test_first_of_several_holes_is_named(backend: str) -> None:
    design = X.copy()
    design[4, 0], design[2, 1] = np.inf, np.nan
    assert_names((2, 1), np.nan, st.descend, design, Y, backend=backend)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_names_its_numbers(backend: str, dtype: Any) -> None:
    rate = 10.0
    with pytest.raises(st.DivergenceError) as caught:
        st.descend(X.astype(dtype), Y, learning_rate=rate, n_steps=10_000, backend=backend)
    error = caught.value
    assert isinstance(error, ArithmeticError)
    assert isinstance(error, st.SteepestError)
    assert error.step_size == rate
    assert error.safe_step_size == pytest.approx(SAFE, rel=2e-6)
    assert f"after step {error.step} with step size {rate:g}" in str(error)
    assert f"largest safe step size is {error.safe_step_size:.6g}" in str(error)
    assert "learning_rate='auto'" in str(error)
    # The step before is the last that can be made.
    with pytest.warns(st.ConvergenceWarning, match="the loss rose"):
        fit = st.descend(X.astype(dtype), Y, learning_rate=rate, n_steps=error.step - 1, backend=backend)
    assert np.isfinite(fit.loss)
    safe = st.descend(X.astype(dtype), Y, learning_rate=error.safe_step_size, n_steps=100, backend=backend)
    assert np.all(np.diff(safe.history.loss) < 0)


def test_divergence_at_the_start(backend: str) -> None:
    with pytest.raises(st.DivergenceError, match=r"loss at the start is .* to a smaller scale") as caught:
        st.descend(X, Y * 1e200, backend=backend)
    assert (caught.value.step, caught.value.step_size, caught.value.safe_step_size) == (0, 0, 0)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e25), (np.float64, 1e100)])
@pytest.mark.parametrize("rate", ["auto", 1e-3])
def test_curvature_beyond_the_range_of_the_type(backend: str, dtype: Any, scale: float, rate: float | str) -> None:
    """No step is small enough: said at once, not after steps that go nowhere."""
    with pytest.raises(st.DivergenceError, match="no step size is safe: the curvature") as caught:
        st.descend((X * scale).astype(dtype), Y, learning_rate=rate, fit_intercept=False, backend=backend)
    assert caught.value.safe_step_size == 0


def test_loss_that_rose_is_told(backend: str) -> None:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = st.descend(X, Y, learning_rate=0.2, n_steps=10, backend=backend)
    (warning,) = caught
    assert fit.loss > fit.history.loss[0]
    assert warning.filename == __file__
    message = str(warning.message)
    assert f"rose from {fit.history.loss[0]:.6g} to {fit.loss:.6g}: a step size of 0.2 is too large" in message
    assert f"the largest safe one is {SAFE:.6g} (learning_rate='auto')" in message


def test_tolerance_that_was_not_reached_is_told(backend: str) -> None:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = st.descend(X, Y, tol=1e-9, n_steps=10, backend=backend)
    (warning,) = caught
    assert not fit.converged
    assert warning.filename == __file__
    share = fit.gradient_norm / fit.history.gradient_norm[0]
    expected = f"not converged after 10 steps: the gradient norm is {fit.gradient_norm:.3g}, {share:.3g} of "
    assert expected in str(warning.message)
    assert "tol is 1e-09; raise n_steps" in str(warning.message)


def test_tolerance_does_not_depend_on_the_start(backend: str) -> None:
    """It is relative to the gradient at zero, so that a good start is worth something and a bad one costs."""
    cold = st.descend(X, Y, tol=1e-4, n_steps=10_000, backend=backend)
    far = st.descend(X, Y, tol=1e-4, n_steps=10_000, start=([1e3, 1e3], 0.0), backend=backend)
    target = 1e-4 * cold.history.gradient_norm[0]
    for fit in (cold, far):
        assert fit.gradient_norm <= target < fit.history.gradient_norm[-1]
    assert far.n_steps > cold.n_steps
    again = st.descend(X, Y, tol=1e-4, start=cold, backend=backend)
    assert (again.n_steps, again.status) == (0, "converged")


def test_no_steps_do_not_reach_a_tolerance(backend: str) -> None:
    with pytest.warns(st.ConvergenceWarning, match="not converged after 0 steps"):
        st.descend(X, Y, tol=1e-9, n_steps=0, backend=backend)


def test_who_stops_is_not_warned(backend: str) -> None:
    """Warnings are errors here."""
    fit = st.descend(X, Y, tol=1e-9, callback=lambda info: info.step == 3, backend=backend)
    assert fit.status == "stopped"
    assert not st.descend(X, Y, n_steps=3, backend=backend).converged


@pytest.mark.parametrize("spread", [1.0, 0.0], ids=["with noise", "without noise"])
def test_rounding_at_the_optimum_is_not_a_loss_that_rose(backend: str, spread: float) -> None:
    """Safe steps from a fit that is done: the loss trembles in its last digit, and no step size is to blame."""
    for seed in range(40):
        generator = np.random.default_rng(seed)
        design = generator.normal(size=(12, 3))
        y = design @ [1, 2, 3] + 100 + spread * generator.normal(size=12)
        solution = np.linalg.lstsq(np.column_stack([design, np.ones(12)]), y)[0]
        st.descend(design, y, n_steps=5, start=(solution[:3], solution[3]), backend=backend)
