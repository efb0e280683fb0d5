"""Data as it comes: constant columns, tiny and huge scales, rows that weigh nothing, columns far from zero."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import steepest as st

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(200, 4))
Y = X @ [1.0, -2.0, 3.0, 0.5] + 1 + 0.1 * GENERATOR.normal(size=200)
COUNTS = GENERATOR.poisson(100, size=200).astype(float)
LOWEST = float(np.mean((Y - np.c_[X, np.ones(200)] @ np.linalg.lstsq(np.c_[X, np.ones(200)], Y)[0]) ** 2))

every_method = pytest.mark.parametrize("method", ["auto", "newton", "lbfgs", "nesterov", "gd"])


@every_method
@pytest.mark.parametrize("constant", [0.1, 0.7, 12345.678, 0.0])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_constant_column_in_single_precision(backend: str, method: str, constant: float, order: Any) -> None:
    """What rounding leaves of its deviation is not a scale."""
    design = np.array(np.c_[X, np.full(200, constant)], dtype=np.float32, order=order)
    fit = st.descend(design, Y, method=method, precondition=True, backend=backend)
    assert fit.loss == pytest.approx(LOWEST, rel=1e-3)
    assert np.abs(fit.coef).max() < 4


@pytest.mark.parametrize("method", ["auto", "lbfgs", "nesterov"])
def test_single_precision_columns_far_from_zero(backend: str, method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        fit = st.descend((X + 1e3).astype(np.float32), Y, method=method, precondition=True, backend=backend)
    assert fit.loss == pytest.approx(LOWEST, rel=0.05)


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e-3, 1e3, 1e6, 1e150])
@pytest.mark.parametrize("method", ["auto", "lbfgs", "nesterov"])
def test_scales(backend: str, method: str, scale: float) -> None:
    fit = st.descend(X * scale, Y, method=method, precondition=True, backend=backend)
    assert fit.loss == pytest.approx(LOWEST, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_lbfgs_without_preconditioning_goes_as_far_as_it_must(backend: str, scale: float) -> None:
    fit = st.descend(X * scale, Y - 1, method="lbfgs", fit_intercept=False, backend=backend)
    assert fit.loss == pytest.approx(LOWEST, rel=0.05)


@pytest.mark.parametrize("method", ["gd", "nesterov", "momentum", "adam", "sgd", "lbfgs", "newton"])
@pytest.mark.parametrize("exponent", [-200, -165, 160])
def test_beyond_the_range_of_squares(backend: str, method: str, exponent: int) -> None:
    """An answer or an error that says so; never a crash, never "converged" where nothing was done."""
    penalty: dict[str, Any] = {} if method in {"lbfgs", "newton"} else {"alpha": 1.0, "l1_ratio": 1.0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            fit = st.descend(
                (X + 3) * 10.0**exponent, Y, method=method, precondition=True, tol=1e-6, backend=backend, **penalty
            )
    except st.DivergenceError as error:
        assert "range" in str(error) or "finite" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(fit.loss)


@pytest.mark.parametrize("method", ["sgd", "adam", "nesterov", "auto"])
def test_large_counts(backend: str, method: str) -> None:
    fit = st.descend(X, COUNTS, loss="poisson", method=method, n_steps=2000, backend=backend)
    constant = np.mean(COUNTS) - np.mean(COUNTS) * np.log(np.mean(COUNTS))
    start = 1.0
    assert fit.loss < start + 0.9 * (constant - start)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["auto", "armijo", "barzilai_borwein"])
def test_rows_that_weigh_nothing_are_not_there(backend: str, dtype: Any, rule: str) -> None:
    y, weights = Y.copy(), np.ones(200)
    y[:5], weights[:5] = 1e25, 0.0
    fit = st.descend(X.astype(dtype), y, sample_weight=weights, learning_rate=rule, backend=backend)
    without = st.descend(X[5:].astype(dtype), Y[5:], learning_rate=rule, backend=backend)
    assert fit.loss == pytest.approx(without.loss, rel=1e-2)
    assert fit.history.loss[-1] < fit.history.loss[0]


@pytest.mark.parametrize("method", ["lbfgs", "gd", "newton"])
def test_far_outliers_of_huber_in_single_precision(backend: str, method: str) -> None:
    generator = np.random.default_rng(0)
    design = generator.normal(size=(2000, 5)).astype(np.float32)
    y = design @ np.arange(1, 6) + generator.normal(size=2000)
    y[:20] += 10 ** generator.uniform(3, 6, 20)
    rule = "armijo" if method == "gd" else "auto"
    fit = st.descend(design, y, loss="huber", method=method, learning_rate=rule, n_steps=300, backend=backend)
    assert np.abs(fit.coef - np.arange(1, 6)).max() < 0.2


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1e-4])
def test_targets_of_huber_far_from_the_start(backend: str, alpha: float, method: str) -> None:
    """Where every residual is beyond delta, the loss does not bend at all, and a Newton step of it is endless."""
    for seed in range(8):
        generator = np.random.default_rng(seed)
        X = generator.normal(size=(200, 2))
        y = 20 + X[:, 0] + 0.5 * generator.normal(size=200)
        options: dict[str, Any] = {"loss": "huber", "alpha": alpha, "tol": 1e-9, "n_steps": 300}
        lowest = st.descend(X, y, method="lbfgs", precondition=True, **options)
        for precondition in (False, True):
            fit = st.descend(X, y, method=method, precondition=precondition, backend=backend, **options)
            assert fit.loss == pytest.approx(lowest.loss, rel=1e-9)


def test_columns_that_repeat_have_one_deviation(backend: str) -> None:
    n, d = X.shape
    repeated = csr_array(
        (np.repeat(X.ravel() / 8, 8), np.repeat(np.tile(np.arange(d), n), 8), np.arange(n + 1) * d * 8)
    )
    fits = [st.descend(design, Y, precondition=True, n_steps=5, backend=backend) for design in (X, repeated)]
    assert fits[1].history.step_size == pytest.approx(fits[0].history.step_size, rel=1e-6)
    assert fits[1].coef == pytest.approx(fits[0].coef, rel=1e-6)


@pytest.mark.parametrize("precondition", [False, True])
def test_other_data_begins_at_the_coefficients(backend: str, *, precondition: bool) -> None:
    first = st.descend(X, Y, precondition=precondition, n_steps=50, backend=backend)
    other = st.descend(X * 1000 + 5, Y, precondition=precondition, start=first, n_steps=0, backend=backend)
    assert other.coef == pytest.approx(first.coef, rel=1e-12)
    assert other.intercept == pytest.approx(first.intercept, rel=1e-9)


def test_what_one_backend_left_another_goes_on_with() -> None:
    for method in ("gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton"):
        for k in (0, 3):
            for one, other in (("rust", "numpy"), ("numpy", "rust")):
                first = st.descend(X, Y, method=method, n_steps=k, backend=one)
                second = st.descend(X, Y, method=method, n_steps=2, start=first, backend=other)
                whole = st.descend(X, Y, method=method, n_steps=k + 2, backend=other)
                assert second.loss == pytest.approx(whole.loss, rel=1e-9)


def test_validation_keeps_its_promise_beside_a_target(backend: str) -> None:
    noise = GENERATOR.normal(size=(50, 4)), 100 * GENERATOR.normal(size=50)
    fit = st.descend(X, Y, eval_set=noise, target_loss=2 * LOWEST, method="nesterov", backend=backend)
    assert fit.status == ("target_loss" if fit.loss <= 2 * LOWEST else "early_stopped")
