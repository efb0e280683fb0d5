"""Numbers at the ends of their type: a named error, never silent nonsense."""

from __future__ import annotations

import numpy as np
import pytest

import steepest as st

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
