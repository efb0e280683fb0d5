"""Every method that converges linearly ends at the certified optimum of every case: loss, penalty and data."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import steepest as st
from datasets import DATASETS, TESTS, Floats
from steepest.losses import LOSSES
from steepest.methods import METHODS

#: F − F* may be this share of F* and of what the coefficients lower F by, whichever is less.
SHARE = 1e-8
TOL = 1e-7
MOST_STEPS = 30_000
#: Numbers of rows up to which the portable loop, too, is soon done.
FEW_ROWS = 1000


class Case(NamedTuple):
    """A certified optimum, as `make_optima` wrote it."""

    dataset: str
    loss: str
    delta: float | None
    alpha: float
    l1_ratio: float
    value: float
    n_nonzero: int | None

    @property
    def penalty(self) -> str:
        """The kind of penalty."""
        if self.alpha == 0:
            return "none"
        return {0.0: "l2", 1.0: "l1"}.get(self.l1_ratio, "elastic_net")

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the case from all others."""
        return self.dataset, self.loss, self.penalty

    @property
    def n_rows(self) -> int:
        """Rows of the design."""
        return int(DATASETS[self.dataset]()[0].shape[0])

    def descend(self, **options: Any) -> st.Fit:
        """Descend on the case. A warning is an error, so every descent must reach its tolerance."""
        X, y = DATASETS[self.dataset]()
        loss = self.loss if self.delta is None else st.Huber(self.delta)
        given: dict[str, Any] = {"loss": loss, "alpha": self.alpha, "l1_ratio": self.l1_ratio}
        return st.descend(X, y, **(given | {"tol": TOL, "n_steps": MOST_STEPS} | options))

    def best_intercept(self) -> float:
        """Return the least F without any coefficients."""
        y = DATASETS[self.dataset]()[1]
        if self.loss == "mse":
            return float(np.mean(y.var(axis=0)))
        if self.loss == "huber":
            return float(minimize_scalar(lambda b: huber(b - y, self.delta or 0.0).mean()).fun)
        if self.loss == "poisson":
            return float(y.mean() - y.mean() * np.log(y.mean()))
        shares = np.unique(y, return_counts=True)[1] / len(y)
        return float(-shares @ np.log(shares)) if self.loss == "log_loss" else float(4 * shares[0] * shares[1])


def huber(residual: Floats, delta: float) -> Floats:
    size = np.abs(residual)
    losses: Floats = np.where(size <= delta, residual**2 / 2, delta * (size - delta / 2))
    return losses


CASES = [
    Case(*(entry[name] for name in Case._fields))
    for entry in json.loads((TESTS / "optima.json").read_text(encoding="utf-8"))
]

#: Cases for which plain descent needs more than `MOST_STEPS` steps: it takes as many as their condition number.
TOO_LONG_FOR_GD = frozenset(
    {
        # Weights and lengths of the same shells, all but collinear, and few rows in the quadratic part.
        ("abalone", "huber", "none"),
        ("abalone_sex", "log_loss", "none"),
        # No curvature of a penalty, and classes that are all but separated: none of the loss either.
        ("breast_cancer", "log_loss", "l1"),
        ("breast_cancer", "squared_hinge", "l1"),
        ("digits", "log_loss", "l1"),
    }
)
LINEAR = {
    "rust": ("gd", "momentum", "nesterov", "lbfgs", "newton", "coordinate"),
    "numpy": ("nesterov", "lbfgs", "newton", "coordinate"),
}


def able_to_minimise(method: str, loss: str) -> bool:
    return loss == "mse" or not METHODS[method].needs_statistics


def fits(case: Case, method: str, backend: str) -> bool:
    """Whether a row of the table is for this case, method and backend."""
    if case.l1_ratio > 0 and not METHODS[method].takes_l1:
        return False
    if not able_to_minimise(method, case.loss):
        return False
    if method == "gd" and case.key in TOO_LONG_FOR_GD:
        return False
    return backend == "rust" or case.n_rows <= FEW_ROWS


TABLE = [
    (case, method, backend)
    for backend, methods in LINEAR.items()
    for case, method in product(CASES, methods)
    if fits(case, method, backend)
]

every_case = pytest.mark.parametrize("case", CASES, ids=["-".join(case.key) for case in CASES])


def assert_optimal(case: Case, fit: st.Fit) -> None:
    scale = min(abs(case.value), case.best_intercept() - case.value)
    assert scale > 0
    assert abs(fit.loss - case.value) <= SHARE * scale


def test_table_covers_every_loss_penalty_and_method() -> None:
    assert len({case.key for case in CASES}) == len(CASES)
    losses, penalties = {loss.name for loss in LOSSES.values()}, ("none", "l2", "l1", "elastic_net")
    covered = {(case.loss, case.penalty, method) for case, method, backend in TABLE if backend == "rust"}
    for loss, penalty, method in product(losses, penalties, LINEAR["rust"]):
        able = (METHODS[method].takes_l1 or penalty in {"none", "l2"}) and able_to_minimise(method, loss)
        assert ((loss, penalty, method) in covered) == able
    # The methods that are not here do not converge linearly.
    assert set(METHODS) - set(LINEAR["rust"]) == {"adam", "sgd"}
    assert {case.key for case in CASES} >= TOO_LONG_FOR_GD
    assert {case.dataset for case in CASES} == set(DATASETS)
    for case, method, backend in TABLE:
        assert backend == "rust" or (case, method, "rust") in TABLE
    portable = {(case.loss, method) for case, method, backend in TABLE if backend == "numpy"}
    pairs = set(product(losses - {"poisson"}, LINEAR["numpy"]))
    assert portable == {(loss, method) for loss, method in pairs if able_to_minimise(method, loss)}


@pytest.mark.parametrize(("case", "method", "backend"), TABLE, ids=lambda part: "-".join(getattr(part, "key", [part])))
def test_method_reaches_the_optimum(case: Case, method: str, backend: str) -> None:
    fit = case.descend(method=method, precondition=True, backend=backend)
    assert fit.status == "converged"
    assert fit.method == method
    assert_optimal(case, fit)


@every_case
def test_auto_reaches_the_optimum(case: Case) -> None:
    fit = case.descend(method="auto", n_steps=5000)
    assert fit.converged
    assert_optimal(case, fit)
    assert fit.method in {"newton", "lbfgs", "nesterov", "coordinate"}
    assert (fit.method in {"nesterov", "coordinate"}) == (case.l1_ratio > 0)
    assert case.l1_ratio == 0 or (fit.method == "coordinate") == (case.loss == "mse")
    assert len(fit.reason.split()) >= 4


@every_case
def test_loss_of_a_fit_is_that_of_its_parameters(case: Case) -> None:
    """The value at the optimum is no number of its own: anyone who evaluates F there finds it."""
    X, y = DATASETS[case.dataset]()
    fit = case.descend(method="auto", n_steps=5000)
    loss = case.loss if case.delta is None else st.Huber(case.delta)
    value, _, _ = st.loss_and_gradient(
        X, y, fit.coef, fit.intercept, loss=loss, alpha=case.alpha, l1_ratio=case.l1_ratio, backend="numpy"
    )
    assert value == pytest.approx(fit.loss, rel=1e-12)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.l1_ratio > 0 and case.n_nonzero is not None],
    ids=lambda case: "-".join(case.key),
)
def test_coefficients_that_an_l1_penalty_leaves(case: Case) -> None:
    """The proximal map makes zeros that are zeros, in the variables of a descent and in those of X alike."""
    fit = case.descend(method="nesterov", precondition=True, tol=1e-10)
    assert np.count_nonzero(fit.coef) == case.n_nonzero
    assert_optimal(case, fit)
