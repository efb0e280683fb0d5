"""Penalties: the proximal map of the ℓ1 part, by itself and inside a step."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import steepest
from properties import descends_with_prox, penalty_is_a_proximal_map
from steepest.penalties import PENALTIES, ElasticNet
from strategies import KINDS, samples
from tolerance import tolerance

DTYPES = [np.float32, np.float64]
numbers = st.floats(-100, 100, width=16)
pairs_of_vectors = st.integers(1, 4).flatmap(
    lambda d: st.tuples(*[hnp.arrays(np.float64, d, elements=numbers) for _ in range(2)])
)

every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@every_penalty
@given(vectors=pairs_of_vectors, size=st.sampled_from([0.0, 0.125, 1.0, 8.0]), scale=st.sampled_from([0.25, 1.0, 4.0]))
def test_proximal_map(penalty: tuple[float, float], vectors: Any, size: float, scale: float) -> None:
    w, v = vectors
    penalty_is_a_proximal_map(ElasticNet.from_ratio(*penalty), w, v, size, scale)


@every_penalty
@given(vectors=pairs_of_vectors)
def test_smooth_part_is_the_ridge(penalty: tuple[float, float], vectors: Any) -> None:
    w, v = vectors
    net = ElasticNet.from_ratio(*penalty)
    (at_w, _), (at_v, slope) = net.value_and_gradient(np, w), net.value_and_gradient(np, v)
    # A quadratic is its own expansion.
    gap = float(at_w - at_v - slope @ (w - v)) - 0.5 * net.curvature * float((w - v) @ (w - v))
    assert abs(gap) <= tolerance(np.float64, 4 * len(w)) * (1 + float(w @ w + v @ v))


@every_dtype
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_step_goes_through_the_map(backend: str, kind: str, dtype: Any, data: st.DataObject) -> None:
    sample = data.draw(samples(kind, max_rows=8)).cast(dtype)
    descends_with_prox(backend, sample.but(alpha=0.5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam", "sgd"])
def test_a_strong_lasso_leaves_nothing_but_the_intercept(backend: str, kind: str, method: str) -> None:
    """Beyond max |∂f/∂w| at the best intercept every coefficient is exactly zero, and the intercept is not."""
    from strategies import observed

    kind_of, generator = KINDS[kind], np.random.default_rng(3)
    X = generator.normal(size=(40, 3))
    # Targets that are not centred, so that there is an intercept to find.
    y = observed(kind, 40, generator)
    y = y + 2 if kind_of.loss in {"mse", "huber"} else np.where(y > 1, 0, y) if kind == "softmax" else y
    if kind in {"binary", "squared_hinge"}:
        y[:8] = 0
    options: dict[str, Any] = {"method": method, "alpha": 50.0, "l1_ratio": 1.0, "n_steps": 100, "backend": backend}
    fit = steepest.descend(X, y, loss=kind_of.loss, **options)
    assert not fit.coef.any()
    assert np.any(np.abs(fit.intercept) > 1e-3)
