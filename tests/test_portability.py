"""The portable loop needs nothing that the array API standard does not promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_strict
import numpy as np
import pytest

from steepest.backends.array import ArrayBackend
from steepest.backends.objective import SMALL_DIMENSION
from steepest.methods import METHODS, Adam, Method, as_method
from steepest.problem import Plan, Problem, Solution, make_problem
from steepest.step_sizes import STEP_SIZES, Auto, Constant, Cosine, StepSize

N = 50
CASES: dict[str, dict[str, Any]] = {
    "mse": {"loss": "mse"},
    "several targets": {"loss": "mse"},
    "binary": {"loss": "log_loss"},
    "softmax": {"loss": "log_loss"},
    "probabilities": {"loss": "log_loss"},
    "huber": {"loss": "huber"},
    "poisson": {"loss": "poisson"},
    "squared_hinge": {"loss": "squared_hinge"},
}
#: A method and a rule for its step sizes; every one of each is among them.
PLANS: dict[str, tuple[Method, StepSize]] = {
    **{name: (as_method(name, N, None), Auto()) for name in METHODS},
    "mini-batches of adam": (Adam(batch_size=16), Cosine(0.1, n_steps=20)),
    "mini-batches of sgd": (as_method("sgd", N, 16), Auto()),
    "constant": (as_method("momentum", N, None), Constant(0.01)),
    **{name: (as_method("gd", N, None), rule()) for name, rule in STEP_SIZES.items()},
}


def problem(kind: str, dtype: Any, n_features: int = 3, **options: Any) -> Problem:
    design = np.sin(np.arange(N * n_features, dtype=dtype) ** 1.5).reshape(N, n_features)
    numbers = np.arange(N) % (2 if kind in {"binary", "squared_hinge"} else 3)
    shares = np.eye(3)[numbers] * 0.7 + 0.1
    target = {"several targets": np.cos(np.arange(2.0 * N)).reshape(N, 2), "probabilities": shares}.get(kind, numbers)
    weights = np.linspace(0.5, 1.5, N)
    defaults = {"alpha": 0.1, "fit_intercept": True, "sample_weight": weights}
    return make_problem(design, target, **(CASES[kind] | defaults | options))


def solve(namespace: Any, posed: Problem, plan: Plan, validation: Problem | None = None) -> Solution:
    start = np.linspace(-0.1, 0.1, posed.n_parameters)
    return ArrayBackend("portable", namespace).minimise(posed, validation, plan, start, {}, None)


def assert_same(posed: Problem, plan: Plan, validation: Problem | None = None) -> None:
    strict, plain = (solve(namespace, posed, plan, validation) for namespace in (array_api_strict, np))
    assert plain.n_steps > 0
    assert plain.status in {"max_steps", "stalled"}
    assert (strict.status, strict.n_steps, strict.loss) == (plain.status, plain.n_steps, plain.loss)
    assert np.array_equal(strict.parameters, plain.parameters)
    for name in ("step", "loss", "gradient_norm", "step_size", "validation_loss"):
        assert np.array_equal(strict.history[name], plain.history[name], equal_nan=True), name
    assert {name: values.tolist() for name, values in strict.state.items()} == {
        name: values.tolist() for name, values in plain.state.items()
    }


def plan_of(method: Method, step_size: StepSize) -> Plan:
    return Plan(method, step_size, n_steps=20, tol=1e-300, n_threads=1, seed=1)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", PLANS)
def test_a_descent_in_the_strict_namespace_is_numpys(kind: str, name: str) -> None:
    posed, plan = problem(kind, np.float64, offset=None), plan_of(*PLANS[name])
    if plan.method.needs_statistics:
        if posed.loss.name != "mse":
            return
        plan = replace(plan, strategy="gram")
    assert_same(posed, plan)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["mse", "softmax", "poisson"])
@pytest.mark.parametrize("name", ["gd", "nesterov", "adam", "sgd"])
def test_so_is_one_with_everything(kind: str, name: str, dtype: Any) -> None:
    """An ℓ1 part, preconditioning, an offset, validation data."""
    offset = np.cos(np.arange(N * 3.0)).reshape(N, 3) if kind == "softmax" else np.cos(np.arange(N))
    options: dict[str, Any] = {"l1_ratio": 0.5, "precondition": True, "offset": offset}
    validation = problem(kind, dtype, alpha=0.0, sample_weight=None)
    assert_same(problem(kind, dtype, **options), plan_of(*PLANS[name]), validation)


@pytest.mark.parametrize("kind", ["mse", "softmax", "poisson"])
@pytest.mark.parametrize("name", ["lbfgs", "newton"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_so_is_a_search_with_preconditioning(kind: str, name: str, dtype: Any) -> None:
    assert_same(problem(kind, dtype, precondition=True), plan_of(*PLANS[name]))


@pytest.mark.parametrize("n_features", [3, SMALL_DIMENSION + 1])
@pytest.mark.parametrize("kind", CASES)
def test_the_curvature_too(kind: str, n_features: int) -> None:
    """By its exact spectrum, and by products where there are too many columns for that."""
    posed = problem(kind, np.float64, n_features)
    strict, plain = (ArrayBackend("portable", xp).curvature(posed, 1) for xp in (array_api_strict, np))
    assert strict == plain > 0


def test_every_rule_for_step_sizes_by_name_is_among_the_plans() -> None:
    assert {type(rule) for _, rule in PLANS.values()} >= set(STEP_SIZES.values())
