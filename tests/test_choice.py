"""``method="auto"``: the cheapest that can, by a model that is stated, and the sentence that says why."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

import steepest as st
from steepest.choice import MOMENT, MOST_NEWTON_PARAMETERS, choose_method
from steepest.losses import LOSSES
from steepest.problem import Problem, make_problem

GENERATOR = np.random.default_rng(2)
X = GENERATOR.normal(size=(300, 5))
TARGETS: dict[str, NDArray[Any]] = {
    "mse": X[:, 0],
    "huber": X[:, 0],
    "poisson": np.round(np.exp(X[:, 0])),
    "log_loss": (X[:, 0] > 0).astype(int),
    "squared_hinge": (X[:, 0] > 0).astype(int),
}
SIZES = re.compile(r"(\d+) parameters, (\d+) rows: (.*)")
SECONDS = re.compile(r"newton should take (\S+) (\S+), lbfgs (\S+) (\S+)")
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


def problem_of(design: Any, *, n_classes: int = 0, l1_ratio: float = 0.0) -> Problem:
    """Return a problem of this design; the values do not matter."""
    y = np.arange(design.shape[0]) % (n_classes or 2)
    loss = "log_loss" if n_classes else "mse"
    return make_problem(design, y, loss=loss, alpha=0.1, l1_ratio=l1_ratio, fit_intercept=True)


def empty(n: int, d: int) -> Any:
    """Return a dense matrix of zeros that takes no memory to speak of."""
    return np.zeros((n, d), dtype=np.float32)


def choice(problem: Problem, batch_size: int | None = None) -> str:
    return choose_method(problem, batch_size)[0].name


def test_every_loss_is_here() -> None:
    assert set(TARGETS) == {loss.name for loss in LOSSES.values()}


@pytest.mark.parametrize("loss", TARGETS)
def test_few_columns_are_for_newton(backend: str, loss: str) -> None:
    """Sixty columns at the most, and a few hundred rows: a Hessian costs next to nothing."""
    fit = st.descend(X, TARGETS[loss], loss=loss, alpha=0.1, method="auto", tol=1e-9, backend=backend)
    assert (fit.method, fit.converged) == ("newton", True)
    match = SIZES.fullmatch(fit.reason)
    assert match is not None
    assert match.groups()[:2] == ("6", "300")


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_l1_is_for_coordinates_or_nesterov(backend: str, loss: str, l1_ratio: float) -> None:
    options: dict[str, Any] = {"alpha": 0.01, "l1_ratio": l1_ratio, "method": "auto", "tol": 1e-6, "backend": backend}
    fit = st.descend(X, TARGETS[loss], loss=loss, **options)
    by_rows = st.descend(X, TARGETS[loss], loss=loss, strategy="stream", **options)
    assert (by_rows.method, by_rows.converged) == ("nesterov", True)
    assert by_rows.reason == "an ℓ1 penalty needs a proximal method"
    assert (fit.method, fit.converged) == ("coordinate" if loss == "mse" else "nesterov", True)
    assert fit.reason.startswith("an ℓ1 penalty ")
    assert fit.loss == pytest.approx(by_rows.loss, rel=1e-6)
    # No penalty has no ℓ1 part, whatever its share.
    assert st.descend(X, TARGETS["mse"], l1_ratio=l1_ratio, method="auto", backend=backend).method == "newton"


def test_batches_are_for_sgd(backend: str) -> None:
    fit = st.descend(X, TARGETS["mse"], method="auto", batch_size=32, n_steps=100, backend=backend)
    assert fit.method == "sgd"
    assert fit.reason == "batch_size asks for mini-batches"
    same = st.descend(X, TARGETS["mse"], method="sgd", batch_size=32, n_steps=100, precondition=True, backend=backend)
    assert fit.parameters.tobytes() == same.parameters.tobytes()


def test_many_columns_are_for_lbfgs(backend: str) -> None:
    """Twenty thousand of them, of which a row has twenty."""
    design = csr_array(random_array((500, 20_000), density=1e-3, rng=GENERATOR))
    y = np.arange(500) % 2
    fit = st.descend(design, y, loss="log_loss", alpha=0.01, method="auto", n_steps=3, backend=backend)
    assert fit.method == "lbfgs"
    assert fit.reason == "20001 parameters, 500 rows: too many parameters for a Hessian"


def test_parameters_are_counted_over_all_classes() -> None:
    """A Hessian that the core refuses is never asked for."""
    columns = MOST_NEWTON_PARAMETERS // 8
    assert columns * 8 == MOST_NEWTON_PARAMETERS
    reasons = [choose_method(problem_of(empty(8, d), n_classes=8), None)[1] for d in (columns - 1, columns)]
    assert "too many parameters" not in reasons[0]
    assert "too many parameters" in reasons[1]


def test_choices_at_the_extremes() -> None:
    """Newton's cost grows with the square of the columns and of the classes, that of a pass with neither."""
    assert choice(problem_of(empty(100_000, 10))) == "newton"
    assert choice(problem_of(empty(100_000, 10), n_classes=2)) == "newton"
    assert choice(problem_of(empty(2000, 2000), n_classes=2)) == "lbfgs"
    assert choice(problem_of(empty(2000, 100), n_classes=30)) == "lbfgs"
    # One step is all that least squares takes; ten times as many for another loss.
    few = [choice(problem_of(empty(3000, 300), n_classes=n_classes)) for n_classes in (0, 2)]
    assert few == ["newton", "lbfgs"]
    # A sparse Gram matrix costs as many products as pairs of entries in a row.
    sparse = csr_array(random_array((2000, 2000), density=1e-3, rng=GENERATOR, dtype=np.float32))
    assert choice(problem_of(sparse, n_classes=2)) == "lbfgs"


@given(
    shape=strategies.tuples(strategies.integers(1, 60), strategies.integers(1, 60)),
    n_classes=strategies.sampled_from([0, 2, 3, 9]),
    l1_ratio=strategies.sampled_from([0.0, 0.5]),
    batch_size=strategies.none() | strategies.just(1),
    sparse=strategies.booleans(),
)
def test_the_choice_is_never_plain_descent(
    shape: tuple[int, int], n_classes: int, l1_ratio: float, batch_size: int | None, *, sparse: bool
) -> None:
    shape = (max(shape[0], n_classes, 2), shape[1])
    design = csr_array(shape) if sparse else np.zeros(shape)
    problem = problem_of(design, n_classes=n_classes, l1_ratio=l1_ratio)
    method, reason = choose_method(problem, batch_size)
    assert method.name in {"newton", "lbfgs", "nesterov", "coordinate", "sgd"}
    assert (method.name == "sgd") == (batch_size is not None)
    assert (method.name in {"nesterov", "coordinate"}) == (l1_ratio > 0 and batch_size is None)
    assert not method.needs_statistics or problem.loss.name == "mse"
    assert len(reason.split()) >= 4
    assert method.takes_l1 or l1_ratio == 0
    if method.name in {"newton", "lbfgs"}:
        assert reason.startswith(f"{problem.n_parameters} parameters, {problem.n_samples} rows: ")


@settings(max_examples=50)
@given(n=strategies.integers(1000, 3000), d=strategies.integers(10, 300))
def test_the_reason_is_why(n: int, d: int) -> None:
    """The method that is chosen is the one for which less time is stated."""
    method, reason = choose_method(problem_of(empty(n, d), n_classes=2), None)
    match = SECONDS.search(reason)
    assert match is not None
    newton, lbfgs = float(match[1]) * UNITS[match[2]], float(match[3]) * UNITS[match[4]]
    # What is stated is rounded.
    assert newton <= 1.1 * max(lbfgs, MOMENT) if method.name == "newton" else max(lbfgs, MOMENT) <= 1.1 * newton


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton"])
def test_who_asks_gets_what_they_asked_for(backend: str, method: str) -> None:
    fit = st.descend(X, TARGETS["mse"], method=method, n_steps=1, backend=backend)
    assert (fit.method, fit.reason) == (method, "it was asked for")


def test_auto_preconditions_unless_told_not_to(backend: str) -> None:
    y = TARGETS["log_loss"]
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.1, "n_steps": 2, "backend": backend}
    scaled, plain, automatic, literal = (
        st.descend(X * [1, 2, 3, 4, 5], y, method=method, precondition=flag, **options)
        for method, flag in (("newton", True), ("newton", False), ("auto", "auto"), ("auto", False))
    )
    assert automatic.gradient_norm == scaled.gradient_norm
    assert literal.gradient_norm == plain.gradient_norm
    assert scaled.gradient_norm != plain.gradient_norm
    assert scaled.history.loss == pytest.approx(plain.history.loss, rel=1e-12)
    by_default = st.descend(X, y, method="newton", **options)
    assert by_default.parameters.tobytes() == (
        st.descend(X, y, method="newton", precondition=False, **options).parameters.tobytes()
    )
