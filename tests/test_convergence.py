"""Where a descent ends: at the optimum, as near as the condition number and the rounding allow."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import steepest as st
from properties import accelerated_certificate, preconditioning_changes_no_optimum
from samples import Sample, define
from strategies import Floats, LeastSquares, problems, samples, weights
from tolerance import tolerance

DTYPES = [np.float32, np.float64]
#: Steps grow with the square of the condition number; the portable loop takes a hundred times as long for each.
MAX_COND = {"rust": 30.0, "numpy": 3.0}
MOST_STEPS = 1_000_000

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_order = pytest.mark.parametrize("order", ["C", "F"])


class Optimum(NamedTuple):
    """The least-squares solution with the curvature around it, and what is known of rounding there."""

    sample: Sample
    """At the optimum."""
    parameters: Floats
    smallest: float
    """μ: the least curvature of the objective."""
    error: float
    """How far `parameters` themselves may be off."""


def least_squares(sample: Sample, *, fit_intercept: bool) -> Optimum:
    """Solve by NumPy's singular value decomposition, in float64."""
    shares = np.ones(len(sample.y)) if sample.weights is None else sample.weights
    root = np.sqrt(shares / shares.sum())
    columns = [sample.X.astype(np.float64)] + ([np.ones((len(sample.y), 1))] if fit_intercept else [])
    design = root[:, np.newaxis] * np.hstack(columns)
    parameters, _, _, singular_values = np.linalg.lstsq(design, root * sample.y)
    condition = singular_values[0] / singular_values[-1]
    d = sample.X.shape[1]
    intercept = parameters[d] if fit_intercept else 0.0
    return Optimum(
        sample=sample.but(coef=parameters[:d], intercept=intercept),
        parameters=parameters,
        smallest=2 * singular_values[-1] ** 2,
        error=tolerance(np.float64, sample.terms, condition**2)
        * (np.linalg.norm(parameters) + np.linalg.norm(root * sample.y) / singular_values[0]),
    )


def noise(sample: Sample) -> float:
    """Return how far the computed gradient at `sample` may be from the true one."""
    slack = tolerance(sample.X.dtype, sample.terms)
    return slack * float(np.linalg.norm(define(sample).gradient_magnitude))


def assert_converges_to_least_squares(
    backend: str, problem: LeastSquares, dtype: Any, order: str, shares: Floats | None, *, fit_intercept: bool
) -> None:
    """Descend until the gradient is as small as rounding lets it be; then ‖w − w*‖ ≤ ‖∇F(w)‖ / μ."""
    d = problem.X.shape[1]
    sample = Sample("mse", problem.X, problem.y, np.zeros(d), 0.0, weights=shares).cast(dtype, order)
    optimum = least_squares(sample, fit_intercept=fit_intercept)
    first = float(np.linalg.norm(define(sample).gradient[: d + fit_intercept]))
    target = max(1e-12 * first, 4 * max(noise(optimum.sample), noise(sample)))
    tol = target / first if first > 0 else 1.0
    with warnings.catch_warnings():
        # So near its optimum an objective moves by less than the rounding of its value.
        warnings.filterwarnings("ignore", "the loss rose", st.ConvergenceWarning)
        # Where rounding is all that is left of the gradient, columns on one scale may have less of it.
        warnings.filterwarnings("ignore", "tol was reached by", st.IllConditionedWarning)
        fit = st.descend(
            sample.X,
            sample.y,
            fit_intercept=fit_intercept,
            sample_weight=shares,
            n_steps=MOST_STEPS,
            tol=tol,
            backend=backend,
        )
    assert fit.converged
    end = sample.but(coef=fit.coef.astype(np.float64), intercept=float(fit.intercept))
    reached = np.append(end.coef, end.intercept)[: d + fit_intercept]
    held = float(np.finfo(dtype).eps) * float(np.linalg.norm(reached))
    distance = (target + noise(end)) / optimum.smallest + held + optimum.error
    assert np.linalg.norm(reached - optimum.parameters) <= distance
    lowest = define(optimum.sample)
    slack = tolerance(dtype, sample.terms) * max(lowest.value_magnitude, define(end).value_magnitude)
    assert fit.loss <= lowest.value + 0.5 * (target + noise(end)) ** 2 / optimum.smallest + slack


@every_order
@every_dtype
@given(data=strategies.data())
def test_least_squares(backend: str, dtype: Any, order: str, data: strategies.DataObject) -> None:
    problem = data.draw(problems(max_cond=MAX_COND[backend]))
    assert_converges_to_least_squares(backend, problem, dtype, order, None, fit_intercept=False)


@every_order
@every_dtype
@given(data=strategies.data())
def test_least_squares_with_weights_and_intercept(
    backend: str, dtype: Any, order: str, data: strategies.DataObject
) -> None:
    problem = data.draw(problems(max_cond=MAX_COND[backend], centred=True))
    shares = data.draw(strategies.none() | weights(len(problem.y)))
    assert_converges_to_least_squares(backend, problem, dtype, order, shares, fit_intercept=True)


def test_least_squares_of_an_ill_conditioned_design() -> None:
    """A hundred thousand steps and more: the bound holds where the condition number is a hundred."""
    generator = np.random.default_rng(5)
    left, right = (np.linalg.qr(generator.normal(size=(n, 3)))[0] for n in (30, 3))
    singular_values = np.sqrt(30) * np.array([100.0, 10.0, 1.0])
    X = left * singular_values @ right.T
    problem = LeastSquares(X, generator.normal(size=30), singular_values)
    assert_converges_to_least_squares("rust", problem, np.float64, "C", None, fit_intercept=False)


@every_dtype
@given(problem=problems(max_cond=1e3, centred=True), seed=strategies.integers(0, 100))
def test_rate_certificate(backend: str, dtype: Any, problem: LeastSquares, seed: int) -> None:
    """F(wₖ) − F* ≤ L ‖w₀ − w*‖² / 2k at every step, from any start."""
    generator = np.random.default_rng(seed)
    coef, intercept = generator.integers(-3, 4, problem.X.shape[1]), generator.integers(-3, 4)
    sample = Sample("mse", problem.X, problem.y, coef.astype(float), float(intercept)).cast(dtype)
    optimum = least_squares(sample, fit_intercept=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the loss rose", st.ConvergenceWarning)
        fit = st.descend(sample.X, sample.y, start=(coef, intercept), n_steps=30, backend=backend)
    largest, lowest = 1 / fit.history.step_size[0], define(optimum.sample)
    square = float(np.sum((np.append(coef, intercept) - optimum.parameters) ** 2)) + optimum.error**2
    bound = lowest.value + largest * square / (2 * fit.history.step[1:])
    # In 30 steps the errors of the values add up too.
    slack = 30 * tolerance(dtype, sample.terms) * max(define(sample).value_magnitude, lowest.value_magnitude)
    assert np.all(fit.history.loss[1:] <= bound + slack)
    assert np.all(fit.history.loss >= lowest.value - slack)


@given(problem=problems(max_cond=1e2))
def test_accelerated_certificate(backend: str, problem: LeastSquares) -> None:
    accelerated_certificate(backend, problem)


@given(data=strategies.data())
# Labels and counts that are all alike would have no optimum.
@pytest.mark.parametrize("kind", ["mse", "two targets", "huber", "squared_hinge"])
def test_preconditioning_changes_no_optimum(backend: str, kind: str, data: strategies.DataObject) -> None:
    preconditioning_changes_no_optimum(backend, data.draw(samples(kind, max_rows=6)))


def standardised(loaded: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    X: NDArray[np.float64] = StandardScaler().fit_transform(loaded.data)
    return X, loaded.target


DATASETS = {"breast cancer": load_breast_cancer, "iris": load_iris}
ALPHA = 0.1


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_regression_is_scikit_learns(backend: str, dataset: str, order: Any, *, weighted: bool) -> None:
    """Two classes and three; both end where the gradient vanishes, so they differ by what is left of it over μ."""
    X, y = standardised(DATASETS[dataset]())
    X = np.asarray(X, order=order)
    n, n_classes = len(y), len(np.unique(y))
    shares = np.random.default_rng(2).uniform(0.5, 2, n) if weighted else np.ones(n)
    fit = st.descend(
        X,
        y,
        loss="log_loss",
        alpha=ALPHA,
        sample_weight=shares if weighted else None,
        tol=1e-10,
        n_steps=20_000,
        backend=backend,
    )
    oracle = LogisticRegression(C=1 / (ALPHA * shares.sum()), tol=1e-10, max_iter=10_000)
    oracle.fit(X, y, sample_weight=shares)
    coef, intercept = np.squeeze(oracle.coef_), np.squeeze(oracle.intercept_)
    sample = Sample("log_loss", X, y, coef, intercept, shares, ALPHA, n_classes)
    theirs, ours = define(sample), define(sample.but(coef=fit.coef, intercept=fit.intercept))
    left = float(np.linalg.norm(theirs.gradient) + np.linalg.norm(ours.gradient))
    bound = left / least_curvature(sample)
    assert fit.converged
    assert fit.history.loss[-1] >= theirs.value - tolerance(np.float64, sample.terms)
    assert bound < 1e-5  # Or the comparison would say little.
    assert np.linalg.norm(fit.coef - coef) <= bound
    # The intercepts of several classes are known up to a constant; theirs and ours both add up to zero.
    assert np.linalg.norm(fit.intercept - intercept) <= bound
    assert_certified(fit, theirs.value, np.append(np.ravel(coef), np.ravel(intercept)))


def assert_certified(fit: st.Fit, lowest: float, optimum: Floats) -> None:
    """F(wₖ) − F* ≤ L ‖w* ‖² / 2k from zero."""
    bound = float(optimum @ optimum) / (2 * fit.history.step_size[0] * fit.history.step[1:])
    assert np.all(fit.history.loss[1:] - lowest <= bound)


def least_curvature(sample: Sample) -> float:
    """Return half the least eigenvalue of the Hessian at `sample`, but for the direction that changes nothing.

    Half, because the Hessian varies a little between two points that are close.
    """
    probabilities = probability(sample)
    assert sample.weights is not None
    shares, k = sample.weights / sample.weights.sum(), probabilities.shape[1]
    X = np.column_stack([sample.X, np.ones(len(sample.y))])
    d = X.shape[1]
    hessian = np.zeros((k * d, k * d))
    for i in range(k):
        for j in range(k):
            spread = probabilities[:, i] * ((i == j) - probabilities[:, j])
            hessian[i * d : (i + 1) * d, j * d : (j + 1) * d] = X.T * (shares * spread) @ X
    hessian += ALPHA * np.diag(np.tile(np.append(np.ones(d - 1), 0.0), k))
    eigenvalues = np.linalg.eigvalsh(hessian)
    return 0.5 * float(eigenvalues[0 if k == 1 else 1])


def probability(sample: Sample) -> Floats:
    """Return the probability of each class, or of the second of two."""
    coef = np.asarray(sample.coef).reshape(sample.width, -1)
    z: Floats = sample.X @ coef.T + sample.intercept
    powers = np.exp(z - z.max(axis=1, keepdims=True)) if sample.width > 1 else np.exp(z)
    total: Floats = powers.sum(axis=1, keepdims=True) if sample.width > 1 else 1 + powers
    return powers / total
