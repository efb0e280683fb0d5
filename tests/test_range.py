"""Numbers at the ends of their type: a named error, never silent nonsense."""

from __future__ import annotations

import numpy as np
import pytest

import steepest as st
from steepest.model import as_model

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(1000, 2))
Y = X @ [3.0, 5.0] + 0.1 * GENERATOR.normal(size=1000)
WEIGHTS = GENERATOR.uniform(0.1, 1, size=1000)


@pytest.mark.parametrize("offset", [1.7e9, 1e7, -1e8])
def test_targets_that_single_precision_cannot_hold(offset: float) -> None:
    with pytest.raises(st.InputError, match=r"y: rounding it to the float32 of X would lose .*; pass X as float64"):
        st.descend(X.astype(np.float32), offset + Y)
    st.descend(X, offset + Y, n_steps=1)


def test_targets_that_single_precision_can_hold() -> None:
    st.descend(X.astype(np.float32), 1000 + Y, n_steps=1)
    st.descend(X.astype(np.float32), np.full(1000, 1.7e9 + 1), n_steps=1)


@pytest.mark.parametrize("scale", [3e18, 1e19, 1e25])
def test_curvature_beyond_single_precision_is_no_obstacle(backend: str, scale: float) -> None:
    """Squares of the columns are summed in double precision, and parameters are held in it."""
    fit = st.descend((scale * X).astype(np.float32), Y, fit_intercept=False, n_steps=200, backend=backend)
    assert fit.coef.astype(np.float64) * scale == pytest.approx(np.linalg.lstsq(X, Y)[0], rel=1e-4)


@pytest.mark.parametrize("scale", [1e-18, 1e-9, 1e9, 1e15])
@pytest.mark.parametrize("method", ["newton", "lbfgs", "nesterov", "gd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_preconditioning_makes_the_scale_of_a_column_irrelevant(
    backend: str, dtype: type, method: str, scale: float
) -> None:
    scales = np.array([1.0, scale])
    plain, scaled = (
        st.descend((X * by).astype(dtype), Y, method=method, precondition=True, tol=1e-3, backend=backend)
        for by in (np.ones(2), scales)
    )
    assert plain.converged
    assert scaled.converged
    assert scaled.coef * scales == pytest.approx(plain.coef, rel=1e-3)


def test_curvature_too_small_for_any_step(backend: str) -> None:
    with pytest.raises(st.DivergenceError, match="bring the columns of X to a scale near 1"):
        st.descend(1e-160 * X, Y, fit_intercept=False, n_steps=20, backend=backend)


@pytest.mark.parametrize("scale", [1e-50, 1e-300, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_the_ratios_of_weights_matter(backend: str, dtype: type, scale: float) -> None:
    plain, scaled = (
        st.descend(X.astype(dtype), Y, sample_weight=factor * WEIGHTS, n_steps=20, backend=backend)
        for factor in (1.0, scale)
    )
    assert scaled.coef == pytest.approx(plain.coef, rel=64 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("method", ["sgd", "adam", "nesterov", "lbfgs", "newton"])
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_only_the_ratios_of_weights_matter_to_any_method(backend: str, method: str, scale: float) -> None:
    plain, scaled = (
        st.descend(X, Y, sample_weight=factor * WEIGHTS, method=method, n_steps=4, backend=backend)
        for factor in (1.0, scale)
    )
    assert scaled.coef == pytest.approx(plain.coef, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_beyond_the_exponent(backend: str, dtype: type) -> None:
    """The exponential of "poisson" goes on as its tangent, so that one step back is always possible."""
    counts = np.arange(1000) % 3
    value, slope, _ = st.loss_and_gradient(X.astype(dtype), counts, [1e4, 0], loss="poisson", backend=backend)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    start = (np.array([30.0, 0.0]), 0.0)
    fit = st.descend(X.astype(dtype), counts, loss="poisson", method="newton", start=start, tol=1e-3, backend=backend)
    assert fit.converged
    assert fit.coef == pytest.approx(0, abs=0.2)


def test_a_start_beyond_the_range(backend: str) -> None:
    with pytest.raises(st.DivergenceError, match="the loss at the start is beyond the range of float64; bring start,"):
        st.descend(X, Y, start=([1e300, 1e300], 0.0), backend=backend)


TARGETS = {"mse": Y, "huber": Y, "poisson": np.exp(Y / 9), "log_loss": Y > 0, "squared_hinge": Y > 0}


def assert_honest(loss: str, backend: str, dtype: type, size: float) -> bool:
    """Evaluate at coefficients of this size: nothing is NaN, or it is refused."""
    try:
        value, *gradient = st.loss_and_gradient(
            X.astype(dtype), TARGETS[loss], [size, -size], loss=loss, backend=backend
        )
    except st.InputError as error:
        assert str(error).startswith("coef")  # noqa: PT017
        assert "range of" in str(error)  # noqa: PT017
        return False
    assert value > 0
    assert not np.isnan(np.hstack(gradient)).any()
    return True


SIZES = [(np.float64, 1e20), (np.float64, 1e160), (np.float64, 1.7e308), (np.float32, 1e20), (np.float32, 1e300)]


@pytest.mark.parametrize("loss", TARGETS)
def test_a_gradient_is_a_number_or_refused(backend: str, loss: str) -> None:
    # Scores of the largest coefficients may be ∞ − ∞, or infinite, by the order of their sum.
    large, huge, _, single, beyond_single = (assert_honest(loss, backend, *each) for each in SIZES)
    assert large
    assert huge
    assert single
    assert not beyond_single


def test_a_gradient_of_a_gpu_is_a_number_or_refused(gpu: object) -> None:
    assert gpu
    for loss in TARGETS:
        large, huge, _ = (assert_honest(loss, "cupy", *each) for each in SIZES[:3])
        assert large
        assert huge


@pytest.mark.parametrize("loss", TARGETS)
def test_a_score_that_is_no_number_is_no_perfect_fit(backend: str, loss: str) -> None:
    """∞ − ∞ in the first row. Another order of the sum has no such score, only a great one."""
    design = np.array([[1e308, 1e308], [1.0, 2.0]])
    try:
        value, *_ = st.loss_and_gradient(design, [1, 0], [10.0, -10.0], loss=loss, backend=backend)
    except st.InputError as error:
        assert "range of" in str(error)  # noqa: PT017
    else:
        assert value > 1e300


def test_an_infinite_loss_may_have_a_finite_gradient(backend: str) -> None:
    """(1e160)² is beyond float64, 2 · 1e160 is not. Whoever searches along a line wants to see it."""
    value, gradient, intercept = st.loss_and_gradient([[1.0], [1.0]], [0.0, 0.0], [1e160], backend=backend)
    assert (value, gradient.tolist(), intercept) == (np.inf, [2e160], 2e160)


@pytest.mark.parametrize("ask", ["predict", "decision_function", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("kinds", [2, 3])
def test_scores_beyond_the_range_are_refused_by_row(ask: str, kinds: int) -> None:
    """Of infinite scores, or the difference of two, there is neither label nor probability."""
    labels = np.digitize(Y, [0.0, 3.0][: kinds - 1])
    far = np.vstack([X[:2], np.copysign(1e308, [[1, 1], [1, -1]])])
    model = st.GDClassifier().fit(9 * X, labels)
    message = "X: the score of row 2 is beyond the range of float64; bring the columns to the scale of training"
    with pytest.raises(st.InputError, match=message):
        getattr(model, ask)(far)
    assert len(getattr(model, ask)(far[:2])) == 2
    alone = as_model(model)
    if hasattr(alone, ask):
        with pytest.raises(st.InputError, match=message):
            getattr(alone, ask)(far)


def test_predicted_numbers_beyond_the_range_are_refused_by_row() -> None:
    model = st.GDRegressor().fit(X, Y)
    for predict in (model.predict, as_model(model).predict):
        with pytest.raises(st.InputError, match="X: the score of row 1 is beyond the range of float64"):
            predict([[1.0, 1.0], [1e308, 1e308]])
    with pytest.raises(st.InputError, match="X: the score of row 0 is beyond"):
        model.predict([[1e307, 1e307]], offset=[1.7e308])
