"""The portable loop needs nothing that the array API standard does not promise."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest

from steepest.backends.array import ArrayBackend
from steepest.problem import Plan, make_problem


@pytest.mark.parametrize("kind", ["mse", "binary", "softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("learning_rate", [None, 0.1])
def test_a_descent_in_the_strict_namespace_is_numpys(kind: str, dtype: Any, learning_rate: float | None) -> None:
    n, d = 50, 3
    design = np.sin(np.arange(n * d, dtype=dtype)).reshape(n, d)
    target = np.arange(n) % (2 if kind == "binary" else 3)
    loss = "mse" if kind == "mse" else "log_loss"
    weights = np.linspace(0.5, 1.5, n)
    problem = make_problem(design, target, loss=loss, alpha=0.1, fit_intercept=True, sample_weight=weights)
    plan = Plan("gd", learning_rate, n_steps=30, tol=0.0, reference=None, n_threads=1)
    start = np.zeros(problem.n_parameters)
    strict, plain = (
        ArrayBackend(name, namespace).minimise(problem, plan, start, None)
        for name, namespace in (("strict", array_api_strict), ("numpy", np))
    )
    assert strict.loss == plain.loss
    assert np.array_equal(strict.parameters, plain.parameters)
    assert np.array_equal(strict.history["step_size"], plain.history["step_size"])
