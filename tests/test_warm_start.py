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


#: Everything that a descent may have to remember.
RECIPES: dict[str, dict[str, Any]] = {
    "gd": {"method": "gd"},
    "gd, armijo": {"method": "gd", "learning_rate": "armijo"},
    "gd, barzilai_borwein": {"method": "gd", "learning_rate": "barzilai_borwein"},
    "gd, schedule": {"method": "gd", "learning_rate": st.Cosine(0.1, n_steps=15)},
    "momentum": {"method": "momentum"},
    "nesterov, elastic net": {"method": "nesterov", "alpha": 0.1, "l1_ratio": 0.5},
    "adam": {"method": "adam"},
    "adam, mini-batches": {"method": "adam", "batch_size": 17},
    "sgd": {"method": "sgd", "batch_size": 17, "random_state": 3},
    "sgd, replacement": {"method": st.StochasticGradientDescent(batch_size=17, replacement=True)},
    "sgd, schedule": {"method": "sgd", "batch_size": 17, "learning_rate": st.InverseScaling(0.01)},
    "lbfgs": {"method": "lbfgs"},
    "lbfgs, short memory": {"method": st.Lbfgs(memory=2)},
    "newton": {"method": "newton"},
    "auto": {"method": "auto"},
}
BOWLS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "labels": (X, LABELS, {"loss": "log_loss", "alpha": 0.01}),
    "labels, units": (X * [1e3, 1, 1e-3], LABELS == "b", {"loss": "log_loss", "alpha": 0.01, "precondition": True}),
    "numbers, single": (X.astype(np.float32), np.exp(Y / 4), {"loss": "huber"}),
    "counts": (X, np.round(np.exp(Y / 4)), {"loss": "poisson", "precondition": True}),
}


@pytest.mark.filterwarnings("ignore:the loss rose")
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("bowl", BOWLS.values(), ids=BOWLS.keys())
def test_steps_and_more_steps_are_all_steps(backend: str, bowl: Any, recipe: dict[str, Any]) -> None:
    """Bit for bit, wherever the first descent ended."""
    design, y, problem = bowl
    options = problem | recipe | {"backend": backend}
    whole = st.descend(design, y, n_steps=13, **options)
    for n_steps in (0, 1, 4, 6):
        first = st.descend(design, y, n_steps=n_steps, **options)
        second = st.descend(design, y, n_steps=13 - first.n_steps, start=first, **options)
        assert second.parameters.tobytes() == whole.parameters.tobytes()
        assert second.loss == whole.loss
        assert (first.n_steps + second.n_steps, second.status) == (whole.n_steps, whole.status)
        assert sorted(second.state) == sorted(whole.state)


@pytest.mark.parametrize("recipe", ["momentum", "sgd", "sgd, replacement", "adam, mini-batches"])
@pytest.mark.parametrize("bowl", BOWLS.values(), ids=BOWLS.keys())
def test_a_part_of_a_descent_that_swings_is_not_blamed_on_its_step(backend: str, bowl: Any, recipe: str) -> None:
    """Momentum overshoots and batches are noisy; no step size is too large of which a smaller is called safe."""
    design, y, problem = bowl
    options = problem | RECIPES[recipe] | {"backend": backend}
    fit = None
    for _ in range(12):
        # Warnings are errors here.
        fit = st.descend(design, y, n_steps=1, start=fit, **options)


@pytest.mark.parametrize("change", [{"method": "momentum"}, {"learning_rate": 0.01}, {"alpha": 1.0}, {"batch_size": 7}])
def test_another_recipe_begins_afresh_where_the_fit_ended(backend: str, change: dict[str, Any]) -> None:
    """The parameters are taken, the memory is not."""
    options: dict[str, Any] = {"method": "adam", "alpha": 0.1, "backend": backend}
    fit = st.descend(X, Y, n_steps=5, **options)
    other = options | change
    one = st.descend(X, Y, n_steps=3, start=fit, **other)
    two = st.descend(X, Y, n_steps=3, start=(fit.coef, fit.intercept), **other)
    assert one.parameters.tobytes() == two.parameters.tobytes()
    again = st.descend(X, Y, n_steps=3, start=fit, **options)
    assert (
        again.parameters.tobytes()
        != st.descend(X, Y, n_steps=3, start=(fit.coef, fit.intercept), **options).parameters.tobytes()
    )


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
