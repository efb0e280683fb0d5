"""How a descent can go wrong on good arguments: cells that are no numbers, steps that are too long, too few of them."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, strategies
from scipy import sparse

import steepest as st
from steepest.design import SCAN_ROWS
from steepest.methods import METHODS

X = np.arange(12.0).reshape(6, 2) % 5
Y = np.arange(6.0)
#: The exact bound 1/L for X with an intercept, by the definition of L.
SAFE = 6 / (2 * np.linalg.norm(np.column_stack([X, np.ones(6)]), 2) ** 2)
HOLES = [np.nan, np.inf, -np.inf]
FIRST_ORDER: dict[str, dict[str, Any]] = {
    "gd": {"method": "gd"},
    "momentum": {"method": "momentum"},
    "nesterov": {"method": "nesterov"},
    "sgd": {"method": "sgd", "batch_size": 4},
    "adam": {"method": "adam"},
}
#: Two classes with a gap between them.
SEPARABLE = np.random.default_rng(3).normal(size=(40, 2))
SIDES = np.where(SEPARABLE[:, 0] > 0, "right", "left")
SEPARABLE[:, 0] += np.where(SEPARABLE[:, 0] > 0, 0.25, -0.25)


def assert_names(cell: tuple[int, int], hole: float, function: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(st.InputError) as caught:
        function(*arguments, **options)
    assert f"X: expected finite numbers; X[{cell[0]}, {cell[1]}] is {hole}; drop or fill" in str(caught.value)


@pytest.mark.parametrize("loss", ["mse", "log_loss", "huber", "poisson", "squared_hinge"])
@given(data=strategies.data())
def test_hole_in_the_design_is_named(backend: str, loss: str, data: strategies.DataObject) -> None:
    dtype: Any = data.draw(strategies.sampled_from([np.float32, np.float64]))
    n, d = data.draw(strategies.integers(4, 40)), data.draw(strategies.integers(1, 9))
    order: Any = data.draw(strategies.sampled_from("CF"))
    hole = data.draw(strategies.sampled_from(HOLES))
    design = np.asarray(data.draw(hnp.arrays(dtype, (n, d), elements=strategies.floats(-4, 4, width=16))), order=order)
    anywhere = strategies.tuples(strategies.integers(0, n - 1), strategies.integers(0, d - 1))
    cell = data.draw(strategies.sampled_from([(0, 0), (n - 1, d - 1)]) | anywhere)
    design[cell] = hole
    n_classes = 2 if loss == "squared_hinge" else data.draw(strategies.sampled_from([2, 3]))
    y = np.arange(n) % n_classes
    options: dict[str, Any] = {"loss": loss, "backend": backend}
    if data.draw(strategies.booleans()):
        # A weight of zero is no excuse.
        options["sample_weight"] = (np.arange(n) != cell[0]).astype(float)
    shape = (3, d) if loss == "log_loss" and n_classes == 3 else (d,)
    coef = data.draw(hnp.arrays(np.float64, shape, elements=strategies.integers(-2, 2).map(float)))
    assert_names(cell, hole, st.loss_and_gradient, design, y, coef, **options)
    able = [name for name, kind in METHODS.items() if loss == "mse" or not kind.needs_statistics]
    options["method"] = data.draw(strategies.sampled_from(["auto", *able]))
    options["precondition"] = data.draw(strategies.booleans())
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


@pytest.mark.parametrize("make", ["csr_array", "csc_array", "coo_array"])
@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("method", ["gd", "sgd", "lbfgs", "newton", "auto"])
def test_hole_in_sparse_data_is_named(backend: str, method: str, hole: float, make: str) -> None:
    """By its row and column, whatever entries there are before it."""
    design = X.copy()
    design[4, 1] = hole
    matrix = getattr(sparse, make)(design)
    assert_names((4, 1), hole, st.descend, matrix, Y, method=method, backend=backend)
    assert_names((4, 1), hole, st.loss_and_gradient, matrix, Y, [0.0, 0.0], backend=backend)


@pytest.mark.parametrize("hole", HOLES)
def test_hole_beyond_the_margin_is_named(backend: str, hole: float) -> None:
    """Where a row costs nothing, the loss is a number whatever the cell is."""
    design, labels = X.copy(), np.arange(6) % 2
    for row in range(6):
        design[:] = X
        design[row, 0] = hole
        assert_names(
            (row, 0), hole, st.loss_and_gradient, design, labels, [1, 0], loss="squared_hinge", backend=backend
        )


def test_hole_in_the_validation_data_is_named(backend: str) -> None:
    """A validation loss that is no number would never be the best, and never the end."""
    holed = X.copy()
    holed[3, 1] = np.nan
    with pytest.raises(st.InputError, match=r"eval_set: X: expected finite numbers; X\[3, 1\] is nan"):
        st.descend(X, Y, eval_set=(holed, Y), n_steps=3, backend=backend)


@pytest.mark.parametrize("row", range(6))
def test_hole_is_named_by_its_row_before_some_are_held_out(backend: str, row: int) -> None:
    holed = X.copy()
    holed[row, 1] = np.nan
    assert_names((row, 1), np.nan, st.descend, holed, Y, validation_fraction=0.5, n_steps=3, backend=backend)


def test_hole_in_a_row_after_empty_ones_is_named(backend: str) -> None:
    matrix = sparse.csr_array(([1.0, np.nan], ([0, 3], [1, 0])), shape=(5, 2))
    assert_names((3, 0), np.nan, st.descend, matrix, Y[:5], backend=backend)


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


@pytest.mark.parametrize("rate", ["auto", 1e-3])
def test_curvature_beyond_the_range_of_numbers(backend: str, rate: float | str) -> None:
    """No step is small enough: said at once, not after steps that go nowhere."""
    with pytest.raises(st.DivergenceError, match="no step size is safe: the curvature") as caught:
        st.descend(X * 1e160, 1e-20 * Y, learning_rate=rate, fit_intercept=False, backend=backend)
    assert caught.value.safe_step_size == 0


@pytest.mark.parametrize("options", FIRST_ORDER.values(), ids=FIRST_ORDER.keys())
def test_every_method_of_first_order_names_a_safe_step(backend: str, options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    design = generator.normal(size=(200, 15))
    y = design @ generator.normal(size=15) + generator.normal(size=200)
    options = options | {"n_steps": 500, "backend": backend}
    rate = 1e200 if options["method"] == "adam" else 5.0
    with pytest.raises(st.DivergenceError, match="learning_rate='auto' takes it") as caught:
        st.descend(design, y, learning_rate=rate, **options)
    error = caught.value
    assert error.step_size == rate
    automatic = st.descend(design, y, **options)
    assert error.safe_step_size == pytest.approx(automatic.history.step_size[0], rel=1e-5)
    # Warnings are errors here: the loss does not rise.
    safe = st.descend(design, y, learning_rate=error.safe_step_size, **options)
    assert safe.loss < safe.history.loss[0]


@pytest.mark.parametrize("rate", [st.InverseScaling(1e300), st.Exponential(1e300), st.Cosine(1e300, n_steps=99)])
def test_schedules_are_literal_and_so_can_diverge(backend: str, rate: Any) -> None:
    with pytest.raises(st.DivergenceError, match=r"after step 1 with step size 1e\+300; the largest safe") as caught:
        st.descend(X, Y, learning_rate=rate, backend=backend)
    assert caught.value.safe_step_size == pytest.approx(SAFE, rel=2e-6)


@pytest.mark.parametrize("method", ["gd", "nesterov", "momentum"])
@pytest.mark.parametrize("loss", ["mse", "huber", "log_loss", "squared_hinge", "poisson"])
def test_automatic_steps_do_not_diverge(backend: str, loss: str, method: str) -> None:
    """From far away too, where the curvature of "poisson" is another."""
    y = [0, 1, 0, 1, 1, 0] if loss in {"log_loss", "squared_hinge"} else Y
    start = (np.array([3.0, 2.0]), 1.0)
    fit = st.descend(X, y, loss=loss, method=method, start=start, n_steps=300, backend=backend)
    assert fit.loss < fit.history.loss[0]


def test_iterate_says_it_at_the_step(backend: str) -> None:
    steps = st.iterate(X, Y, learning_rate=1e200, backend=backend)
    assert next(steps).step == 0
    with pytest.raises(st.DivergenceError, match=r"with step size 1e\+200; the largest safe step size is 0\.0545"):
        next(steps)


def test_loss_that_rose_is_told(backend: str) -> None:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = st.descend(X, Y, learning_rate=0.2, n_steps=10, backend=backend)
    (warning,) = caught
    assert fit.loss > fit.history.loss[0]
    assert warning.filename == __file__
    message = str(warning.message)
    assert f"rose from {fit.history.loss[0]:.6g} to {fit.loss:.6g}: a step size of 0.2 is too large" in message
    assert f"the largest safe one is {SAFE:.6g} (learning_rate='auto')" in message


def test_step_that_is_blamed_is_the_largest_that_was_made(backend: str) -> None:
    """A schedule may have come down to nothing since."""
    with pytest.warns(
        st.ConvergenceWarning, match=r"a step size of 1 is too large here; the largest safe one is 0\.05"
    ):
        st.descend(X, Y, learning_rate=st.Cosine(1.0, n_steps=10), n_steps=12, backend=backend)


def test_tolerance_that_was_not_reached_is_told(backend: str) -> None:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = st.descend(X, Y, tol=1e-9, n_steps=10, backend=backend)
    (warning,) = caught
    assert not fit.converged
    assert warning.filename == __file__
    assert str(warning.message) == (
        f"not converged after 10 steps: all steps were made; the gradient norm is {fit.gradient_norm:.3g} and tol asks "
        "for 1e-09 of that at zero; raise n_steps, or pass method='auto', or pass precondition=True or bring the "
        "columns of X to a similar scale, or accept a larger tol"
    )


def cures(options: dict[str, Any]) -> str:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = st.descend(X, Y, **({"tol": 1e-12} | options))
    (warning,) = caught
    assert not fit.converged
    return str(warning.message)


def test_cures_are_those_that_can_help(backend: str) -> None:
    """What was passed already is not advised once more."""
    common: dict[str, Any] = {"n_steps": 2, "backend": backend}
    for method in ("gd", "momentum", "adam", "sgd"):
        message = cures(common | {"method": method})
        assert "raise n_steps, or pass method='auto', or pass precondition=True or bring" in message
    message = cures(common | {"method": "lbfgs"})
    assert "method='auto'" not in message
    assert "precondition=True" in message
    message = cures(common | {"method": "gd", "precondition": True})
    assert "precondition=True" not in message
    message = cures({"backend": backend, "n_steps": 10**9, "max_seconds": 1e-9})
    assert "the time was up" in message
    assert "; raise max_seconds, or " in message
    assert "n_steps" not in message
    assert "alpha" not in message


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_tolerance_beyond_rounding_is_told(backend: str, method: str) -> None:
    """More steps would not help, and are not advised."""
    generator = np.random.default_rng(1)
    design = generator.normal(size=(300, 3)).astype(np.float32)
    y = (design[:, 0] + generator.normal(size=300) > 0).astype(int)
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.01, "method": method, "backend": backend}
    with pytest.warns(st.ConvergenceWarning, match="no step lowers the loss any further") as caught:
        fit = st.descend(design, y, tol=1e-30, **options)
    assert fit.status == "stalled"
    assert str(caught[0].message).endswith("and tol asks for 1e-30 of that at zero; accept a larger tol")
    # Warnings are errors here: without a tolerance nothing was missed.
    assert st.descend(design, y, **options).status == "stalled"


@pytest.mark.parametrize("method", ["gd", "nesterov", "lbfgs", "newton", "auto"])
def test_separable_classes_have_no_optimum(backend: str, method: str) -> None:
    """The loss falls for ever; that it is not there yet is told, with the cure."""
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "n_steps": 12, "backend": backend}
    with pytest.warns(st.ConvergenceWarning, match="not converged after 12 steps: all steps were made; ") as caught:
        fit = st.descend(SEPARABLE, SIDES, tol=1e-12, **options)
    (warning,) = caught
    assert "or pass an alpha > 0, without which separable classes have no optimum, or accept" in str(warning.message)
    assert (fit.status, fit.converged) == ("max_steps", False)
    assert np.isfinite(fit.coef).all()
    assert np.isfinite(fit.intercept)
    assert 0 < fit.loss < np.log(2)
    assert np.all(np.diff(fit.history.loss) < 0)
    cured = st.descend(SEPARABLE, SIDES, tol=1e-3, alpha=1.0, **(options | {"n_steps": 500}))
    assert cured.converged


@pytest.mark.parametrize("method", ["lbfgs", "newton", "auto"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separable_classes_as_far_as_numbers_go(backend: str, method: str, dtype: Any) -> None:
    """Until the gradient is too small for its type: the end, not an overflow."""
    fit = st.descend(SEPARABLE.astype(dtype), SIDES, loss="log_loss", method=method, n_steps=3000, backend=backend)
    assert fit.status in {"stalled", "max_steps"}
    assert np.isfinite(fit.coef).all()
    assert 0 <= fit.loss < 1e-30
    assert np.all((SEPARABLE @ fit.coef + fit.intercept > 0) == (SIDES == "right"))


@pytest.mark.parametrize("method", ["nesterov", "lbfgs", "newton", "auto"])
def test_separable_classes_have_an_optimum_by_margins(backend: str, method: str) -> None:
    """Beyond the margin a row costs nothing: the loss is zero there, and the tolerance is reached."""
    options: dict[str, Any] = {"loss": "squared_hinge", "method": method, "n_steps": 2000, "backend": backend}
    fit = st.descend(SEPARABLE, SIDES, tol=1e-9, **options)
    assert fit.converged
    assert fit.loss == pytest.approx(0, abs=1e-15)
    assert np.isfinite(fit.coef).all()
    with pytest.warns(st.ConvergenceWarning, match="not converged after 2 steps"):
        short = st.descend(SEPARABLE, SIDES, tol=1e-9, **(options | {"n_steps": 2}))
    assert not short.converged
    assert np.isfinite(short.coef).all()


@pytest.mark.parametrize("method", ["newton", "lbfgs", "auto", "nesterov"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_counts_do_not_overflow(backend: str, method: str, dtype: Any) -> None:
    """The score of a million is fourteen; the first steps overshoot it by far."""
    generator = np.random.default_rng(2)
    design = generator.normal(size=(60, 3)).astype(dtype)
    y = np.where(np.arange(60) % 3 == 0, 1e6, 3.0)
    options: dict[str, Any] = {"loss": "poisson", "backend": backend, "n_steps": 2000}
    fit = st.descend(design, y, method=method, tol=1e-4, **options)
    assert fit.converged
    exact = st.descend(design.astype(np.float64), y, method="newton", tol=1e-12, **(options | {"backend": "rust"}))
    assert fit.loss == pytest.approx(exact.loss, rel=1e-6)
    assert fit.coef == pytest.approx(exact.coef, abs=1e-2)
    # The mean of the predictions is that of the counts: the condition on the intercept.
    predicted = np.exp(design.astype(np.float64) @ fit.coef.astype(np.float64) + float(fit.intercept))
    assert predicted.mean() == pytest.approx(y.mean(), rel=1e-3)


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
    reached = st.descend(X, Y, tol=1e-9, target_loss=8.0, backend=backend)
    assert (reached.status, reached.loss <= 8) == ("target_loss", True)
    held_out = (X, -Y)
    early = st.descend(X, Y, tol=1e-9, eval_set=held_out, patience=2, backend=backend)
    assert early.status == "early_stopped"
    timed = st.descend(X, Y, n_steps=10**9, max_seconds=1e-9, backend=backend)
    assert timed.status == "max_seconds"
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
