"""Columns of very different scales, far from zero: what preconditioning is for, and that it moves no optimum."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.sparse import csr_array

import steepest as st
from fake_gpu import FakeCupy, ForeignSparse
from steepest.backends import get_backend
from strategies import Floats

N, D = 500, 20
#: From 10⁻³ to 10³; the means are ten times as large.
SCALES = np.logspace(-3, 3, D)
GENERATOR = np.random.default_rng(3)
#: The columns before they are scaled and shifted: with these, everything is easy.
CENTRED = GENERATOR.normal(size=(N, D))
CENTRED -= CENTRED.mean(axis=0)
X = SCALES * (CENTRED + 10)
SCORES = CENTRED @ GENERATOR.normal(size=D) + 0.5 * GENERATOR.normal(size=N)
TARGETS = {"mse": SCORES + 3, "log_loss": (SCORES + GENERATOR.logistic(size=N) > 0.5).astype(np.float64)}
SHARE = 1e-8


class Objective(NamedTuple):
    """A loss and a penalty, in the units of X."""

    loss: str
    alpha: float
    l1_ratio: float = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """What `descend` is told."""
        return self._asdict()


#: The penalties leave the small columns all but out; with l1 some are out and some are in.
OBJECTIVES = [
    Objective("mse", 0.0),
    Objective("mse", 0.1),
    Objective("log_loss", 1e-3),
    Objective("mse", 0.05, 1.0),
    Objective("log_loss", 0.01, 1.0),
    Objective("log_loss", 0.01, 0.5),
]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda it: "-".join(map(str, it)))


def derivatives(objective: Objective, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Return ℓ, ℓ′ and ℓ″ of each row."""
    y = TARGETS[objective.loss]
    if objective.loss == "mse":
        return (scores - y) ** 2, 2 * (scores - y), np.full(N, 2.0)
    p = 1 / (1 + np.exp(-scores))
    return np.logaddexp(0, scores) - y * scores, p - y, p * (1 - p)


@cache
def optimum(objective: Objective) -> tuple[float, int]:
    """Return F* and how many coefficients are not zero.

    By the definition of the problem in variables that are easy, the centred columns: Newton steps, each of whose models
    is minimised one variable after the other. The conditions of optimality are checked at the end.
    """
    design = np.column_stack([CENTRED, np.ones(N)])
    share, units = objective.l1_ratio, np.append(1 / SCALES, 0.0)
    l1, l2 = objective.alpha * share * units, objective.alpha * (1 - share) * units**2
    v = np.zeros(D + 1)
    for _ in range(25):
        _, slopes, bends = derivatives(objective, design @ v)
        gradient, hessian = design.T @ slopes / N + l2 * v, (design.T * bends) @ design / N + np.diag(l2)
        model = gradient.copy()
        u = v.copy()
        for j in np.tile(np.arange(D + 1), 100):
            free = u[j] - model[j] / hessian[j, j]
            new = np.sign(free) * max(abs(free) - l1[j] / hessian[j, j], 0.0)
            model += hessian[:, j] * (new - u[j])
            u[j] = new
        v = u
    losses, slopes, _ = derivatives(objective, design @ v)
    gradient = design.T @ slopes / N + l2 * v
    unbalanced = np.where(v != 0, gradient + l1 * np.sign(v), np.maximum(np.abs(gradient) - l1, 0))
    assert np.abs(unbalanced).max() <= 1e-10
    return float(losses.mean() + l1 @ np.abs(v) + 0.5 * l2 @ v**2), int(np.count_nonzero(v[:D]))


def assert_optimal(objective: Objective, fit: st.Fit) -> None:
    value, n_nonzero = optimum(objective)
    assert fit.converged
    assert abs(fit.loss - value) <= SHARE * value
    assert np.count_nonzero(fit.coef) == n_nonzero


def descend(objective: Objective, **options: Any) -> st.Fit:
    return st.descend(X, TARGETS[objective.loss], **(objective.options | {"tol": 1e-7, "n_steps": 5000} | options))


def test_the_columns_are_as_bad_as_promised() -> None:
    assert X.std(axis=0).max() / X.std(axis=0).min() > 9e5
    assert np.all(X.mean(axis=0) > 9 * X.std(axis=0))
    assert np.linalg.cond(np.column_stack([X, np.ones(N)])) > 1e6
    for objective in OBJECTIVES:
        n_nonzero = optimum(objective)[1]
        assert 0 < n_nonzero < D if objective.l1_ratio else n_nonzero == D


@every_objective
def test_auto_reaches_the_optimum(backend: str, objective: Objective) -> None:
    assert_optimal(objective, descend(objective, method="auto", backend=backend))


@every_objective
@pytest.mark.parametrize("method", ["nesterov", "lbfgs", "newton", "momentum"])
def test_preconditioned_methods_reach_the_optimum(backend: str, method: str, objective: Objective) -> None:
    if objective.l1_ratio and method in {"lbfgs", "newton"}:
        with pytest.raises(st.InputError, match="l1_ratio: method"):
            descend(objective, method=method, precondition=True, backend=backend)
        return
    assert_optimal(objective, descend(objective, method=method, precondition=True, backend=backend))


@every_objective
def test_literal_descent_says_that_it_is_not_there(backend: str, objective: Objective) -> None:
    with pytest.warns(st.ConvergenceWarning) as caught:
        fit = descend(objective, method="gd", n_steps=1000, backend=backend)
    (warning,) = caught
    assert not fit.converged
    assert (fit.status, fit.n_steps) == ("max_steps", 1000)
    assert fit.loss > 1.01 * optimum(objective)[0]
    message = str(warning.message)
    assert message.startswith("not converged after 1000 steps: ")
    for cure in ("raise n_steps", "pass method='auto'", "pass precondition=True", "accept a larger tol"):
        assert cure in message


def test_single_precision_reaches_what_it_can(backend: str) -> None:
    """A mean of ten deviations costs a digit or two of the seven."""
    fit = st.descend(X.astype(np.float32), SCORES + 3, method="auto", tol=1e-4, n_steps=5000, backend=backend)
    coef, intercept = fit.coef.astype(np.float64), float(fit.intercept)
    value = float(np.mean((X @ coef + intercept - SCORES - 3) ** 2))
    best = optimum(Objective("mse", 0.0))[0]
    assert fit.coef.dtype == np.float32
    assert best * (1 - SHARE) <= value <= best * (1 + 1e-3)


# --- The optimum does not move ---

#: Mild enough for plain descents to find the optimum too; a column that is constant, and one that is zero.
ROWS, COLUMNS = 60, 6
MILD = np.where(GENERATOR.random((ROWS, COLUMNS)) < 0.4, GENERATOR.normal(size=(ROWS, COLUMNS)), 0.0)
MILD *= [0.5, 2.0, 1.0, 1.5, 1.0, 1.0]
MILD[:, 4], MILD[:, 5] = 1.5, 0.0
MILD_SCORES = MILD @ [1.0, -1.0, 0.0, 0.5, 0.2, 0.0] + 0.3 * GENERATOR.normal(size=ROWS)
MILD_TARGETS: dict[str, Any] = {
    "mse": MILD_SCORES,
    "huber": MILD_SCORES,
    "poisson": np.round(np.exp(MILD_SCORES)),
    "log_loss": MILD_SCORES > 0.2,
    "softmax": np.digitize(MILD_SCORES, [-0.5, 0.5]),
    "squared_hinge": MILD_SCORES > 0.2,
}
WEIGHTS = GENERATOR.integers(1, 5, ROWS).astype(np.float64)


@pytest.mark.parametrize("loss", MILD_TARGETS)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_preconditioning_moves_no_optimum(
    backend: str, loss: str, l1_ratio: float, *, fit_intercept: bool, weighted: bool
) -> None:
    """In the units of X as it is: dense or sparse, with weights and without."""
    options: dict[str, Any] = {
        "loss": "log_loss" if loss == "softmax" else loss,
        "alpha": 0.1,
        "l1_ratio": l1_ratio,
        "fit_intercept": fit_intercept,
        "sample_weight": WEIGHTS if weighted else None,
        "method": "nesterov",
        "tol": 1e-9,
        "n_steps": 20_000,
        "backend": backend,
    }
    y = MILD_TARGETS[loss]
    literal = st.descend(MILD, y, precondition=False, **options)
    options["precondition"] = True
    fits = [st.descend(design, y, **options) for design in (MILD, csr_array(MILD))]
    if l1_ratio == 0:
        fits += [st.descend(csr_array(MILD), y, **(options | {"method": name})) for name in ("auto", "newton", "lbfgs")]
    for fit in fits:
        assert fit.converged
        assert fit.loss == pytest.approx(literal.loss, rel=1e-12)
        assert fit.coef == pytest.approx(literal.coef, rel=1e-6, abs=1e-6)
        # Softmax does not see a number added to every intercept.
        shifts = fit.intercept - literal.intercept
        assert shifts == pytest.approx(np.mean(shifts) * (loss == "softmax"), abs=1e-6)
    # Zeros from the proximal map are zeros in either variables.
    if l1_ratio:
        assert [np.count_nonzero(fit.coef) for fit in fits] == [np.count_nonzero(literal.coef)] * 2


def test_lbfgs_goes_as_far_as_newton(backend: str) -> None:
    """A value is all rounding long before its gradient is: where half of the digits of a gradient are left."""
    for loss, options in (("mse", {"fit_intercept": False}), ("poisson", {"sample_weight": WEIGHTS})):
        given_all: dict[str, Any] = {"loss": loss, "alpha": 0.1, "tol": 1e-9, "backend": backend} | options
        for method in ("newton", "lbfgs"):
            assert st.descend(MILD, MILD_TARGETS[loss], method=method, **given_all).converged


@pytest.mark.parametrize("method", ["gd", "nesterov", "newton", "lbfgs", "momentum", "adam"])
def test_sparse_steps_are_dense_steps(backend: str, method: str) -> None:
    """Centring without filling the zeros in: the same way, not only the same end."""
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.1, "sample_weight": WEIGHTS, "method": method}
    dense, sparse = (
        st.descend(design, MILD_TARGETS["log_loss"], precondition=True, n_steps=3, backend=backend, **options)
        # Adam would make a step of the rounding that a constant column has for a gradient.
        for design in (MILD[:, :4].copy(), csr_array(MILD[:, :4]))
    )
    assert sparse.coef == pytest.approx(dense.coef, rel=1e-9)
    assert sparse.history.loss == pytest.approx(dense.history.loss, rel=1e-9)


def test_a_start_is_in_the_units_of_the_data(backend: str) -> None:
    """A pair of parameters means the same with preconditioning as without."""
    start = (np.arange(6.0), 0.5)
    options: dict[str, Any] = {"start": start, "n_steps": 0, "backend": backend}
    literal, scaled = (st.descend(MILD, MILD_SCORES, precondition=flag, **options) for flag in (False, True))
    assert scaled.loss == pytest.approx(literal.loss, rel=1e-12)
    assert scaled.coef == pytest.approx(start[0], rel=1e-12)
    assert scaled.intercept == pytest.approx(start[1], rel=1e-12)


# --- What `tol` does not see is told ---

EASY = np.random.default_rng(4).normal(size=(90, 3))
EASY_SCORES = EASY @ [1.0, -2.0, 0.5] + 0.3 * np.random.default_rng(5).normal(size=90)
LABELS = (EASY_SCORES + np.random.default_rng(6).logistic(size=90) > 0).astype(int)
#: Targets by their losses; "years" are squared errors of targets far from zero.
EASY_TARGETS: dict[str, Any] = {
    "mse": EASY_SCORES,
    "years": EASY_SCORES + 2000,
    "two targets": np.column_stack([EASY_SCORES, 5 - EASY_SCORES]),
    "huber": EASY_SCORES,
    "poisson": np.round(np.exp(EASY_SCORES / 2)),
    "log_loss": LABELS,
    "softmax": np.where(EASY_SCORES > 1.5, 2, LABELS),
    "squared_hinge": LABELS,
}
LOSS_OF = {"years": "mse", "two targets": "mse", "softmax": "log_loss"}
#: Columns that gradients do not see beside the intercept, or beside each other.
UNSEEN = {
    "small": EASY * 1e-9,
    "far from zero": EASY + 1e8,
    "one is small": EASY * [1.0, 1.0, 1e-9],
    "seconds since 1970": np.c_[EASY, 1.7e9 + np.arange(90)],
}


def in_blocks(X: Floats, y: Any) -> Any:
    return [(X[a : a + 30], y[a : a + 30]) for a in range(0, len(X), 30)]


def assert_told(X: Any, y: Any, **options: Any) -> None:
    message = r"^tol was reached by .*; pass precondition=True or bring the columns of X to a similar scale$"
    with pytest.warns(st.IllConditionedWarning, match=message) as caught:
        fit = st.descend(X, y, **{"tol": 1e-6, "n_steps": 3000, "precondition": False, **options})
    assert len(caught) == 1
    assert fit.converged


@pytest.mark.parametrize("of", EASY_TARGETS)
@pytest.mark.parametrize("kind", UNSEEN)
def test_tol_without_some_columns_is_told(backend: str, kind: str, of: str) -> None:
    X, y = UNSEEN[kind], EASY_TARGETS[of]
    # Steps of gd along a column that is seen are short for three classes.
    for method in ("lbfgs",) if of == "softmax" else ("gd", "lbfgs"):
        options: dict[str, Any] = {"loss": LOSS_OF.get(of, of), "method": method, "backend": backend}
        assert_told(X, y, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            st.descend(X, y, precondition=True, tol=1e-6, n_steps=300, **options)


@pytest.mark.parametrize("form", ["dense", "sparse", "blocks", "blocks once", "by columns", "single precision"])
def test_wherever_the_columns_lie(backend: str, form: str) -> None:
    y = EASY_SCORES + 2000
    for X in (EASY * 1e-9, EASY * [1.0, 1.0, 1e-9]):
        design: Any = {
            "dense": X,
            "sparse": csr_array(X),
            "blocks": in_blocks(X, y),
            "blocks once": iter(in_blocks(X, y)),
            "by columns": np.asfortranarray(X),
            "single precision": X.astype(np.float32),
        }[form]
        assert_told(design, None if "blocks" in form else y, backend=backend, method="lbfgs")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "sgd"},
        {"method": "nesterov", "alpha": 1e-13, "l1_ratio": 1.0},
        {"alpha": 1e-20},
        {"sample_weight": np.repeat([1.0, 0.0, 3.0], 30), "offset": np.linspace(-1, 1, 90)},
        {"fit_intercept": False},
        {"start": ([1.0, -2.0, 0.0], 20.0)},
    ],
    ids="-".join,
)
def test_however_they_are_left_out(backend: str, options: dict[str, Any]) -> None:
    assert_told(EASY * [1.0, 1.0, 1e-9], EASY_SCORES + 20, backend=backend, **options)


def test_estimators_pass_the_word_on() -> None:
    models = (
        (st.GDRegressor(solver="gd", alpha=0.0, precondition=False), EASY_SCORES),
        (st.GDClassifier(solver="lbfgs", alpha=0.0, precondition=False), LABELS),
    )
    for model, y in models:
        with pytest.warns(st.IllConditionedWarning, match="pass precondition=True"):
            model.fit(EASY * 1e-9, y)


def test_on_a_gpu(gpu: FakeCupy) -> None:
    for design in (EASY * 1e-9, gpu.asarray(EASY * 1e-9), ForeignSparse(csr_array(EASY * 1e-9))):
        y: Any = EASY_SCORES if isinstance(design, np.ndarray) else gpu.asarray(EASY_SCORES)
        assert_told(design, y, backend="cupy")


#: All columns are in the answer, at tolerances that the intercept alone would reach, or nearly.
SEEN: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "easy": (EASY, EASY_SCORES, {}),
    "of one small scale": (EASY * 1e-9, EASY_SCORES, {"fit_intercept": False}),
    "far targets": (EASY, EASY_SCORES + 1e5, {"tol": 1e-4}),
    "nothing to find": (EASY, np.full(90, 7.0), {}),
    "nothing but a penalty": (EASY * 1e-9, EASY_SCORES, {"alpha": 1.0}),
    "all left out by a penalty": (EASY * [1.0, 1.0, 1e-3], EASY_SCORES, {"alpha": 1e9, "l1_ratio": 1.0}),
    "solved": (EASY * 1e-9, EASY_SCORES, {"method": "newton", "strategy": "gram"}),
    "a start that is there": (EASY + 100, EASY_SCORES, {"start": ([1.0, -2.0, 0.5], -49.96), "method": "lbfgs"}),
    "not far": (EASY + 5, EASY_SCORES, {"method": "lbfgs"}),
    "rare": (csr_array(np.where(np.arange(90)[:, None] % 45 == [0, 1, 2], 1.0, 0.0)), EASY_SCORES, {"method": "lbfgs"}),
}


@pytest.mark.parametrize("kind", SEEN)
def test_what_saw_all_columns_is_not_warned_of(backend: str, kind: str) -> None:
    X, y, options = SEEN[kind]
    given: dict[str, Any] = {"tol": 1e-6, "n_steps": 3000, "precondition": False, "backend": backend, **options}
    assert st.descend(X, y, **given).converged


@pytest.mark.parametrize(
    ("design", "tol", "n_calls"), [(EASY, 1e-3, 1), (EASY + 1e3, 1e-12, 1), (EASY * 1e-9, 1e-3, 2)]
)
def test_only_columns_that_may_be_left_out_are_read_again(
    backend: str, design: Floats, tol: float, n_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, n_made = type(get_backend(backend)), 0
    minimise = engine.minimise

    def counted(*given: Any) -> Any:
        nonlocal n_made
        n_made += 1
        return minimise(*given)

    monkeypatch.setattr(engine, "minimise", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert st.descend(design, EASY_SCORES, method="newton", precondition=False, tol=tol, backend=backend).converged
    assert n_made == n_calls
