"""A start at the answer is the end; a start from another model is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import steepest as st

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.1 * GENERATOR.normal(size=60)
LABELS = np.where(Y > 1, "c", np.where(Y > -1, "b", "a"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_start_at_the_answer_takes_no_step(backend: str, dtype: Any) -> None:
    """The tolerance is relative to the gradient at zero: its own gradient would never be small enough."""
    tol = 1e-4 if dtype == np.float32 else 1e-9
    fit = st.descend(X.astype(dtype), Y, tol=tol, n_steps=10_000, backend=backend)
    again = st.descend(X.astype(dtype), Y, tol=tol, start=fit, backend=backend)
    assert fit.converged
    assert again.converged
    assert again.n_steps == 0


def test_rounding_at_the_answer_is_no_rise(backend: str) -> None:
    """Steps at the answer move the loss by rounding, which is nothing to warn of."""
    for seed in range(30):
        generator = np.random.default_rng(seed)
        design = generator.normal(size=(200, 4)).astype(np.float32)
        target = design @ generator.normal(size=4) + generator.normal(size=200)
        fit = st.descend(design, target, n_steps=500, backend=backend)
        st.descend(design, target, start=fit, n_steps=20, backend=backend)


def test_only_a_fit_of_the_same_model_is_a_start() -> None:
    fit = st.descend(X, LABELS == "a", loss="log_loss", n_steps=5)
    with pytest.raises(st.InputError, match="start: expected a fit of loss 'mse' with classes none; got one of 'log_l"):
        st.descend(X, Y, start=fit)
    with pytest.raises(st.InputError, match=r"start: .* with classes \['a', 'b', 'c'\]; got .*\[False, True\]"):
        st.descend(X, LABELS, loss="log_loss", start=fit)
    with pytest.raises(st.InputError, match=r"start: coef: expected shape \(2,\); got \(3,\)"):
        st.descend(X[:, :2], LABELS == "a", loss="log_loss", start=fit)


def test_a_part_that_lacks_a_class_goes_on(backend: str) -> None:
    fit = st.descend(X, LABELS, loss="log_loss", n_steps=5, backend=backend)
    part = LABELS != "b"
    options: dict[str, Any] = {"loss": "log_loss", "start": fit, "n_steps": 3, "backend": backend}
    more = st.descend(X[part], LABELS[part], classes=["a", "b", "c"], **options)
    assert more.classes is not None
    assert more.classes.tolist() == ["a", "b", "c"]
    assert more.coef.shape == (3, 3)
    with pytest.raises(st.InputError, match="start: expected a fit"):
        st.descend(X[part], LABELS[part], **options)
