"""Coordinate descent on the Gram matrix: held to its optimality conditions and to scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies
from scipy.sparse import csr_array
from sklearn.linear_model import ElasticNet

import steepest as st
from strategies import Floats

COORDINATE: dict[str, Any] = {"method": "coordinate", "tol": 1e-12, "n_steps": 500}


def table(n: int, d: int, seed: int = 0, correlation: float = 0.0, n_targets: int = 1) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d))
    for j in range(1, d):
        X[:, j] = correlation * X[:, j - 1] + np.sqrt(1 - correlation**2) * X[:, j]
    coef = generator.normal(size=(d, n_targets)) * (generator.uniform(size=(d, n_targets)) < 0.4)
    y = 3 + X @ coef + generator.normal(size=(n, n_targets))
    return X + 2, y[:, 0] if n_targets == 1 else y


def excess(X: Any, y: Floats, fit: st.Fit, alpha: float, l1_ratio: float) -> float:
    """How far the gradient is from where a minimum has it, relative to where zero coefficients have it."""
    options: dict[str, Any] = {"alpha": alpha, "l1_ratio": l1_ratio}
    _, slope, intercept_slope = st.loss_and_gradient(X, y, fit.coef.astype(float), fit.intercept, **options)
    _, at_zero, _ = st.loss_and_gradient(X, y, np.zeros_like(fit.coef, dtype=float), np.mean(y, axis=0), **options)
    l1 = alpha * l1_ratio
    over = np.where(fit.coef == 0, np.maximum(np.abs(slope) - l1, 0), np.abs(slope + l1 * np.sign(fit.coef)))
    return float((np.abs(over).max() + np.abs(intercept_slope).max()) / (np.abs(at_zero).max() + 1e-300))


@given(
    shape=strategies.tuples(strategies.integers(2, 40), strategies.integers(1, 12)),
    seed=strategies.integers(0, 10**6),
    alpha=strategies.floats(1e-3, 3.0),
    l1_ratio=strategies.sampled_from([0.0, 0.3, 1.0]),
    correlation=strategies.sampled_from([0.0, 0.99]),
    precondition=strategies.booleans(),
)
def test_it_ends_where_the_minimum_is(  # noqa: PLR0917
    backend: str,
    shape: tuple[int, int],
    seed: int,
    alpha: float,
    l1_ratio: float,
    correlation: float,
    *,
    precondition: bool,
) -> None:
    X, y = table(*shape, seed=seed, correlation=correlation)
    options: dict[str, Any] = {"alpha": alpha, "l1_ratio": l1_ratio, "precondition": precondition, "backend": backend}
    fit = st.descend(X, y, **COORDINATE | {"tol": 1e-10} | options)
    assert fit.converged
    assert fit.strategy == "gram"
    assert excess(X, y, fit, alpha, l1_ratio) <= 1e-8
    # The last bits of a loss are those of its evaluation.
    assert np.all(np.diff(np.append(fit.history.loss, fit.loss)) <= 1e-12 * (1 + fit.history.loss))


@pytest.mark.parametrize("correlation", [0.0, 0.95])
@pytest.mark.parametrize("shape", [(300, 20), (30, 60)])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_as_scikit_learn(shape: tuple[int, int], correlation: float, share: float) -> None:
    X, y = table(*shape, correlation=correlation)
    alpha = share * 2 * np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y)
    for l1_ratio in (0.5, 1.0):
        fit = st.descend(X, y, alpha=alpha, l1_ratio=l1_ratio, **COORDINATE | {"tol": 1e-10})
        # Half of ours: its squared error is halved.
        oracle = ElasticNet(alpha=alpha / 2, l1_ratio=l1_ratio, tol=1e-14, max_iter=10**6).fit(X, y)
        assert fit.coef == pytest.approx(oracle.coef_, abs=1e-6)
        assert np.array_equal(fit.coef == 0, np.abs(oracle.coef_) < 1e-9)


def test_it_takes_few_steps_where_columns_are_alike() -> None:
    """Newton's step among what is not zero is what cycles lack, and what nesterov lacks too."""
    X, y = table(2000, 60, correlation=0.95)
    options: dict[str, Any] = {"alpha": 0.05, "l1_ratio": 1.0, "precondition": True, "tol": 1e-9, "strategy": "gram"}
    few, many = (st.descend(X, y, method=name, n_steps=10_000, **options) for name in ("coordinate", "nesterov"))
    assert few.loss == pytest.approx(many.loss, rel=1e-10)
    assert few.n_steps * 5 < many.n_steps


@pytest.mark.parametrize(("n", "d", "alpha"), [(100, 300, 0.05), (20, 60, 0.02)])
def test_more_columns_than_rows_can_tell_apart(backend: str, n: int, d: int, alpha: float) -> None:
    """At first more coefficients are not zero than there are rows, so Newton's matrix is singular."""
    X, y = table(n, d)
    fit = st.descend(X, y, alpha=alpha, l1_ratio=1.0, backend=backend, **COORDINATE | {"tol": 1e-9})
    assert fit.converged
    assert fit.n_steps < 300
    assert 0 < np.count_nonzero(fit.coef) <= n
    assert excess(X, y, fit, alpha, 1.0) <= 1e-8


def test_squared_errors_without_a_penalty_are_solved_in_a_step(backend: str) -> None:
    X, y = table(50, 5, n_targets=2)
    fit = st.descend(X, y, backend=backend, **COORDINATE | {"n_steps": 1, "tol": 0.0})
    design = np.column_stack([X, np.ones(50)])
    exact = np.linalg.lstsq(design, y)[0]
    assert fit.coef == pytest.approx(exact[:-1].T, rel=1e-10)
    assert fit.intercept == pytest.approx(exact[-1], rel=1e-10)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_weights_offsets_layouts_and_targets(backend: str, *, fit_intercept: bool) -> None:
    X, y = table(80, 6, n_targets=3)
    X *= np.random.default_rng(1).uniform(size=X.shape) < 0.7
    weight, offset = np.arange(80) % 3, np.sin(np.arange(240.0)).reshape(80, 3)
    options: dict[str, Any] = {"alpha": 0.4, "l1_ratio": 0.7, "fit_intercept": fit_intercept, "backend": backend}
    rows = np.repeat(np.arange(80), weight)
    expected = MultiTargets(0.4, 0.7, fit_intercept=fit_intercept).fit(X[rows], (y - offset)[rows])
    for design in (X, np.asfortranarray(X), csr_array(X)):
        fit = st.descend(design, y, sample_weight=weight, offset=offset, **COORDINATE, **options)
        assert fit.coef == pytest.approx(expected, abs=1e-8)


class MultiTargets:
    """scikit-learn's elastic net, target by target."""

    def __init__(self, alpha: float, l1_ratio: float, *, fit_intercept: bool) -> None:
        self.options: dict[str, Any] = {"l1_ratio": l1_ratio, "fit_intercept": fit_intercept, "tol": 1e-14}
        self.alpha = alpha

    def fit(self, X: Floats, y: Floats) -> Floats:
        # The average is over targets too.
        alpha = self.alpha * y.shape[1] / 2
        fits = [ElasticNet(alpha=alpha, max_iter=10**6, **self.options).fit(X, column) for column in y.T]
        return np.stack([fit.coef_ for fit in fits])


def test_columns_that_say_nothing_are_left_alone(backend: str) -> None:
    X, y = table(40, 3)
    odd = np.column_stack([X, np.full(40, 0.1), X[:, 0], np.zeros(40)])
    for l1_ratio in (0.0, 1.0):
        options: dict[str, Any] = {"alpha": 0.2 * l1_ratio, "l1_ratio": l1_ratio, "backend": backend}
        plain, fit = (st.descend(design, y, **COORDINATE | {"tol": 1e-10}, **options) for design in (X, odd))
        assert fit.loss == pytest.approx(plain.loss, rel=1e-9)
        assert fit.coef[[3, 5]].tolist() == [0.0, 0.0]


def test_a_penalty_that_is_too_large_leaves_nothing(backend: str) -> None:
    X, y = table(60, 4)
    largest = 2 * np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y)
    fit = st.descend(X, y, alpha=1.0001 * largest, l1_ratio=1.0, backend=backend, **COORDINATE)
    assert not fit.coef.any()
    assert not np.signbit(fit.coef).any()
    assert fit.intercept == pytest.approx(y.mean())
    fit = st.descend(X, y, alpha=0.9999 * largest, l1_ratio=1.0, backend=backend, **COORDINATE)
    assert np.count_nonzero(fit.coef) == 1


def test_single_precision_is_summed_in_double() -> None:
    X, y = table(500, 8)
    X, y = X.astype(np.float32), y.astype(np.float32)
    options: dict[str, Any] = {"alpha": 0.1, "l1_ratio": 1.0}
    single, double = (st.descend(X.astype(dtype), y, **COORDINATE, **options) for dtype in (np.float32, np.float64))
    assert single.coef.dtype == np.float32
    assert np.array_equal(single.coef, double.coef.astype(np.float32))


def test_statistics_descend_by_coordinates() -> None:
    X, y = table(300, 6)
    statistics = st.SufficientStatistics().update(X[:100], y[:100]).update(X[100:], y[100:])
    options: dict[str, Any] = {"alpha": 0.3, "l1_ratio": 0.9}
    parts, whole = statistics.descend(**COORDINATE, **options), st.descend(X, y, **COORDINATE, **options)
    assert parts.coef == pytest.approx(whole.coef, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"loss": "huber"}, "loss 'huber' has none"),
        ({"strategy": "stream"}, "strategy='stream' reads the rows instead"),
        ({"X": np.zeros((2, 5000)), "y": [0.0, 1.0]}, "they take at most 4096 columns and X has 5000"),
    ],
)
def test_what_has_no_statistics_is_refused(backend: str, options: dict[str, Any], found: str) -> None:
    given: dict[str, Any] = {"X": [[0.0], [1.0]], "y": [0.0, 1.0], "method": "coordinate", "backend": backend}
    with pytest.raises(st.InputError, match=f"^method: 'coordinate' needs .*; {found}; pass method='auto'$"):
        st.descend(**given | options)
    with pytest.raises(st.InputError, match="learning_rate: method 'coordinate' searches for its own step sizes"):
        st.descend([0.0, 1.0], [0.0, 1.0], method="coordinate", learning_rate=0.1)
