"""Bad options: an error that names the argument, what was expected, and what was given; never a wrong answer."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import steepest as st
from refusals import EMPTY_X, INF, ITERATED, LABELS, NAN, SPARSE, TWO, X, Y, assert_refused, named, without
from test_bad_data import DATA

LOSSES = "loss: expected one of cross_entropy, huber, log_loss, mse, poisson, squared_error, squared_hinge"
METHODS = "method: expected one of adam, coordinate, gd, lbfgs, momentum, nesterov, newton, sgd"
BACKENDS = "backend: expected one of auto, cupy, numpy, rust; got "
ABOVE_ZERO = "learning_rate: expected a finite number > 0; got "
RATES = "learning_rate: expected a number > 0, one of 'armijo', 'auto', 'barzilai_borwein', or a schedule such as "
START = "start: expected a Fit or a tuple (coef, intercept); got "
SHARE = "validation_fraction: expected a share of the 6 rows that leaves some on both sides; got "

#: For all functions: argument, value, what the message says.
COMMON: list[tuple[str, Any, str]] = [
    ("loss", "msse", LOSSES + "; got 'msse'; did you mean 'mse'?"),
    ("loss", "square_hinge", LOSSES + "; got 'square_hinge'; did you mean 'squared_hinge'?"),
    ("loss", "hinge", LOSSES + "; got 'hinge'"),
    ("loss", None, LOSSES + " or a loss; got None"),
    ("loss", 3, LOSSES + " or a loss; got 3"),
    ("loss", st.Huber, LOSSES + " or a loss; got <class "),
    ("loss", st.Momentum(), LOSSES + " or a loss; got Momentum("),
    ("alpha", -1.0, "alpha: expected a finite number ≥ 0; got -1.0"),
    ("alpha", NAN, "alpha: expected a finite number ≥ 0; got nan"),
    ("alpha", INF, "alpha: expected a finite number ≥ 0; got inf"),
    ("alpha", "1", "alpha: expected a finite number ≥ 0; got '1'"),
    ("alpha", True, "alpha: expected a finite number ≥ 0; got True"),
    ("alpha", [0.1], "alpha: expected a finite number ≥ 0; got [0.1]"),
    ("alpha", None, "alpha: expected a finite number ≥ 0; got None"),
    ("l1_ratio", 2, "l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got 2"),
    ("l1_ratio", 1.0000001, "l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got 1.0000001"),
    ("l1_ratio", -0.1, "l1_ratio: expected a finite number ≥ 0; got -0.1"),
    ("l1_ratio", NAN, "l1_ratio: expected a finite number ≥ 0; got nan"),
    ("l1_ratio", "x", "l1_ratio: expected a finite number ≥ 0; got 'x'"),
    ("l1_ratio", None, "l1_ratio: expected a finite number ≥ 0; got None"),
    ("l1_ratio", True, "l1_ratio: expected a finite number ≥ 0; got True"),
    ("backend", "ruts", BACKENDS + "'ruts'; did you mean 'rust'?"),
    ("backend", "gpu", BACKENDS + "'gpu'"),
    ("backend", None, BACKENDS + "None"),
    ("n_threads", 0, "n_threads: expected an integer ≥ 1; got 0"),
    ("n_threads", -2, "n_threads: expected an integer ≥ 1; got -2"),
    ("n_threads", 2.0, "n_threads: expected an integer ≥ 1; got 2.0"),
    ("n_threads", True, "n_threads: expected an integer ≥ 1; got True"),
    ("n_threads", "2", "n_threads: expected an integer ≥ 1; got '2'"),
]

DESCEND: list[tuple[str, Any, str]] = [
    ("fit_intercept", 1, "fit_intercept: expected True or False; got 1"),
    ("fit_intercept", "no", "fit_intercept: expected True or False; got 'no'"),
    ("fit_intercept", None, "fit_intercept: expected True or False; got None"),
    ("method", "gdd", METHODS + "; got 'gdd'; did you mean 'gd'?"),
    ("method", None, METHODS + " or a method; got None"),
    ("method", 3, METHODS + " or a method; got 3"),
    ("method", st.Momentum, METHODS + " or a method; got <class "),
    ("method", st.Huber(), METHODS + " or a method; got Huber("),
    ("method", st.Adam(batch_size=7), "batch_size: expected at most the number of rows, 6; got 7"),
    ("method", st.StochasticGradientDescent(batch_size=7), "batch_size: expected at most the number of rows, 6; got 7"),
    ("learning_rate", 0, ABOVE_ZERO + "0"),
    ("learning_rate", -0.1, ABOVE_ZERO + "-0.1"),
    ("learning_rate", NAN, ABOVE_ZERO + "nan"),
    ("learning_rate", INF, ABOVE_ZERO + "inf"),
    ("learning_rate", True, ABOVE_ZERO + "True"),
    ("learning_rate", None, ABOVE_ZERO + "None"),
    ("learning_rate", "aut", RATES),
    ("learning_rate", "aut", "got 'aut'"),
    ("learning_rate", "constant", RATES),
    ("learning_rate", [0.1], ABOVE_ZERO + "[0.1]"),
    ("learning_rate", st.Constant, ABOVE_ZERO + "<class"),
    ("batch_size", 2, "batch_size: method 'gd' uses all rows at every step; methods with mini-batches: adam, sgd"),
    ("batch_size", 0, "batch_size: expected an integer ≥ 1; got 0"),
    ("batch_size", -3, "batch_size: expected an integer ≥ 1; got -3"),
    ("batch_size", 2.0, "batch_size: expected an integer ≥ 1; got 2.0"),
    ("batch_size", True, "batch_size: expected an integer ≥ 1; got True"),
    ("batch_size", "all", "batch_size: expected an integer ≥ 1; got 'all'"),
    ("max_seconds", 0, "max_seconds: expected a finite number > 0; got 0"),
    ("max_seconds", -1, "max_seconds: expected a finite number > 0; got -1"),
    ("max_seconds", NAN, "max_seconds: expected a finite number > 0; got nan"),
    ("max_seconds", INF, "max_seconds: expected a finite number > 0; got inf"),
    ("max_seconds", "1", "max_seconds: expected a finite number > 0; got '1'"),
    ("max_seconds", True, "max_seconds: expected a finite number > 0; got True"),
    ("target_loss", NAN, "target_loss: expected a finite number; got nan"),
    ("target_loss", -INF, "target_loss: expected a finite number; got -inf"),
    ("target_loss", "0", "target_loss: expected a finite number; got '0'"),
    ("target_loss", True, "target_loss: expected a finite number; got True"),
    ("eval_set", 3, "eval_set: expected a pair (X, y); got int"),
    ("eval_set", X, "eval_set: expected a pair (X, y); got ndarray"),
    ("eval_set", (X,), "eval_set: expected a pair (X, y); got "),
    ("eval_set", (X, Y, Y), "eval_set: expected a pair (X, y); got "),
    ("eval_set", {"X": X, "y": Y}, "eval_set: expected a pair (X, y); got dict"),
    ("eval_set", (X[:, :1], Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (SPARSE[:, [0]], Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (Y, Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (X, Y[:5]), "eval_set: y: expected shape (6,); got (5,)"),
    ("eval_set", (X, TWO), "eval_set: y: expected 1 targets; got 2"),
    ("eval_set", (X[:0], Y[:0]), "eval_set: " + EMPTY_X + "(0, 2)"),
    ("eval_set", (None, Y), "eval_set: X: expected numbers; "),
    ("eval_set", (X, None), "eval_set: y: expected numbers; y is None"),
    ("eval_set", (X, without(Y, NAN, 3)), "eval_set: y: expected finite numbers; y[3] is nan"),
    ("eval_set", (X * 1j, Y), "eval_set: X: expected numbers; got dtype complex128"),
    ("validation_fraction", 0, "validation_fraction: expected a finite number > 0; got 0"),
    ("validation_fraction", -0.5, "validation_fraction: expected a finite number > 0; got -0.5"),
    ("validation_fraction", NAN, "validation_fraction: expected a finite number > 0; got nan"),
    ("validation_fraction", "half", "validation_fraction: expected a finite number > 0; got 'half'"),
    ("validation_fraction", True, "validation_fraction: expected a finite number > 0; got True"),
    ("validation_fraction", 1, SHARE + "1"),
    ("validation_fraction", 1.5, SHARE + "1.5"),
    ("validation_fraction", 0.01, SHARE + "0.01"),
    ("validation_fraction", 0.99, SHARE + "0.99"),
    ("patience", 0, "patience: expected an integer ≥ 1; got 0"),
    ("patience", -1, "patience: expected an integer ≥ 1; got -1"),
    ("patience", 2.5, "patience: expected an integer ≥ 1; got 2.5"),
    ("patience", None, "patience: expected an integer ≥ 1; got None"),
    ("precondition", "yes", "precondition: expected True, False or 'auto'; got 'yes'"),
    ("precondition", 1, "precondition: expected True, False or 'auto'; got 1"),
    ("precondition", None, "precondition: expected True, False or 'auto'; got None"),
    ("random_state", -1, "random_state: expected an integer ≥ 0; got -1"),
    ("random_state", 1.0, "random_state: expected an integer ≥ 0; got 1.0"),
    ("random_state", None, "random_state: expected an integer ≥ 0; got None"),
    ("random_state", "x", "random_state: expected an integer ≥ 0; got 'x'"),
    ("random_state", np.random.default_rng(0), "random_state: expected an integer ≥ 0; got Generator"),
    ("n_steps", -1, "n_steps: expected an integer ≥ 0; got -1"),
    ("n_steps", 10.0, "n_steps: expected an integer ≥ 0; got 10.0"),
    ("n_steps", True, "n_steps: expected an integer ≥ 0; got True"),
    ("n_steps", None, "n_steps: expected an integer ≥ 0; got None"),
    ("tol", -1e-9, "tol: expected a finite number ≥ 0; got -1e-09"),
    ("tol", NAN, "tol: expected a finite number ≥ 0; got nan"),
    ("tol", "small", "tol: expected a finite number ≥ 0; got 'small'"),
    ("tol", None, "tol: expected a finite number ≥ 0; got None"),
    ("start", 5, START + "5"),
    ("start", [np.zeros(2), 0.0], START + "[array([0., 0.]), 0.0]"),
    ("start", (np.zeros(2), 0.0, 0.0), START),
    ("start", (["a", "b"], 0.0), "start: coef: expected numbers; got dtype <U1 (coef[0] is "),
    ("start", (np.zeros(2), None), "start: intercept: expected numbers; "),
    ("start", (SPARSE, 0.0), "start: coef: expected a dense array"),
    ("start", "zero", START + "'zero'"),
    ("start", (np.zeros(2),), START + "(array([0., 0.]),)"),
    ("start", (np.zeros(3), 0.0), "start: coef: expected shape (2,); got (3,)"),
    ("start", (np.zeros((1, 2)), 0.0), "start: coef: expected shape (2,); got (1, 2)"),
    ("start", (np.zeros(2), np.zeros(2)), "start: intercept: expected 1 numbers; got shape (2,)"),
    ("start", ([0.0, NAN], 0.0), "start: coef and intercept: expected finite numbers"),
    ("start", (np.zeros(2), INF), "start: coef and intercept: expected finite numbers"),
    ("strategy", "streem", "strategy: expected one of auto, gram, stream; got 'streem'; did you mean 'stream'?"),
    ("strategy", None, "strategy: expected one of auto, gram, stream; got None"),
    ("callback", 3, "callback: expected a callable or None; got 3"),
    ("callback", "print", "callback: expected a callable or None; got 'print'"),
    ("progress", "no", "progress: expected True or False; got 'no'"),
    ("checkpoint", 3, "checkpoint: expected a path or a Checkpoint; got 3"),
    ("checkpoint", b"run", "checkpoint: expected a path or a Checkpoint; got b'run'"),
]

EVALUATE: list[tuple[str, Any, str]] = [
    ("coef", np.zeros(3), "coef: expected shape (2,); got (3,)"),
    ("coef", np.zeros((1, 2)), "coef: expected shape (2,); got (1, 2)"),
    ("coef", None, "coef: expected numbers; "),
    ("coef", [0.0, NAN], "coef and intercept: expected finite numbers"),
    ("intercept", np.zeros(3), "intercept: expected 1 numbers; got shape (3,)"),
    ("intercept", INF, "coef and intercept: expected finite numbers"),
    ("intercept", "b", "intercept: expected numbers; "),
]

#: What is refused only where it meets something else.
TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    ("strategy", {"loss": "huber", "strategy": "gram"}, "strategy: 'gram' needs sufficient statistics of all rows;"),
    ("strategy", {"method": "sgd", "strategy": "gram"}, "statistics of all rows; method 'sgd' uses mini-batches; pass"),
    *(
        ("l1_ratio", {"method": method, "alpha": 1.0, "l1_ratio": 0.5}, message)
        for method in ("lbfgs", "newton", st.Lbfgs(memory=3))
        for message in ("needs a smooth penalty, l1_ratio=0; methods that", "auto, gd, momentum, nesterov, adam, sgd")
    ),
    *(
        ("learning_rate", {"method": method, "learning_rate": rate}, message)
        for method in ("lbfgs", "newton", "auto")
        for rate in (0.1, "armijo", st.Cosine(0.1, n_steps=5))
        for message in ("searches for its own step sizes, learning_rate='auto'; methods that take one: gd, momentum",)
    ),
    *(
        (
            "learning_rate",
            {"method": method, "learning_rate": rate},
            f"{name!r} is for method 'gd'; got method {method!r}",
        )
        for method in ("nesterov", "momentum", "adam", "sgd")
        for rate, name in (("armijo", "armijo"), (st.BarzilaiBorwein(), "barzilai_borwein"))
    ),
    *(
        ("batch_size", {"method": method, "batch_size": size}, message)
        for method in ("sgd", "adam", "auto", st.Adam(), st.StochasticGradientDescent(batch_size=2))
        for size, message in (
            (7, "batch_size: expected at most the number of rows, 6; got 7"),
            (0, "batch_size: expected an integer ≥ 1; got 0"),
            ("x", "batch_size: expected an integer ≥ 1; got 'x'"),
        )
    ),
    *(
        (
            "batch_size",
            {"method": method, "batch_size": 2},
            f"batch_size: method {method!r} uses all rows at every step",
        )
        for method in ("gd", "momentum", "nesterov", "lbfgs", "newton")
    ),
    (
        "validation_fraction",
        {"eval_set": (X, Y), "validation_fraction": 0.5},
        "validation_fraction: expected None where eval_set is given; pass one of the two",
    ),
    (
        "validation_fraction",
        {"validation_fraction": 0.5, "sample_weight": np.eye(6)[2]},
        "validation_fraction: every row on one side has weight 0",
    ),
    ("eval_set", {"y": TWO, "eval_set": (X, Y)}, "eval_set: y: expected 2 targets; got 1"),
    ("eval_set", {"y": LABELS, "loss": "log_loss", "eval_set": (X, 2 * LABELS)}, "eval_set: y: expected labels among "),
    (
        "eval_set",
        {"y": LABELS, "loss": "log_loss", "eval_set": (X, list("abcdef"))},
        "eval_set: y: expected labels amo",
    ),
    ("eval_set", {"y": LABELS, "loss": "log_loss", "eval_set": (X, LABELS[:2])}, "eval_set: y: expected shape (6,)"),
    ("eval_set", {"loss": "poisson", "eval_set": (X, -Y)}, "eval_set: y: expected counts ≥ 0 for loss 'poisson'; y[1]"),
    ("start", {"y": TWO, "start": (np.zeros(2), 0.0)}, "start: coef: expected shape (2, 2); got (2,)"),
    (
        "start",
        {"y": TWO, "start": (np.zeros((2, 2)), np.zeros(3))},
        "start: intercept: expected 2 numbers; got shape (3,",
    ),
    (
        "start",
        {"fit_intercept": False, "start": (np.zeros(2), 1.0)},
        "start: intercept: expected 0 with fit_intercept=",
    ),
]


@named(COMMON + DESCEND)
def test_descend(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@named([row for row in COMMON + DESCEND if row[0] in ITERATED])
def test_iterate(argument: str, value: Any, message: str) -> None:
    """At once, not at the first step."""
    assert_refused(st.iterate, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@pytest.mark.parametrize("option", [*sorted(set(inspect.signature(st.descend).parameters) - ITERATED), "learnig_rate"])
def test_iterate_names_an_option_that_it_does_not_have(option: str) -> None:
    arguments = {"X": X, "y": Y, "learning_rate": 0.1, option: 1}
    assert_refused(st.iterate, arguments, f"iterate: {option!r} is not one of its options: ")


@named(COMMON + EVALUATE)
def test_loss_and_gradient(argument: str, value: Any, message: str) -> None:
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | {argument: value}, message)


@named(TOGETHER)
def test_what_does_not_go_together(argument: str, value: dict[str, Any], message: str) -> None:
    assert argument in value
    for backend in ("rust", "numpy"):
        assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1, "backend": backend} | value, message)


@pytest.mark.parametrize(
    ("function", "tables"),
    [(st.descend, DATA + COMMON + DESCEND), (st.loss_and_gradient, DATA + COMMON + EVALUATE)],
    ids=["descend", "loss_and_gradient"],
)
def test_every_argument_is_tested(function: Any, tables: list[tuple[str, Any, str]]) -> None:
    assert {name for name, _, _ in tables} == set(inspect.signature(function).parameters)


def test_a_hessian_that_fits_nowhere_is_refused() -> None:
    wide = sparse.csr_array(([1.0, 2.0], ([0, 1], [0, 8999])), shape=(6, 9000))
    message = "method 'newton': 9001 parameters need a Hessian of "
    assert_refused(st.descend, {"X": wide, "y": Y, "method": "newton", "n_steps": 1}, message)
    assert st.descend(wide, Y, method="auto", n_steps=1).method == "lbfgs"


@pytest.mark.parametrize("argument", ["alpha", "learning_rate", "tol", "X", "y"])
def test_numbers_too_large_for_any_type(backend: str, argument: str) -> None:
    arguments: dict[str, Any] = {"X": X, "y": Y, "n_steps": 1, "backend": backend}
    given = 10**400
    arguments[argument] = {"X": [[given, 1]] * 6, "y": [given] * 6}.get(argument, given)
    assert_refused(st.descend, arguments, f"{argument}: expected ")


@pytest.mark.parametrize("argument", ["n_steps", "n_threads"])
def test_counts_too_large_for_any_machine(backend: str, argument: str) -> None:
    """Either it is refused by name, or it does no harm."""
    arguments: dict[str, Any] = {"n_steps": 1, argument: 2**64}
    try:
        fit = st.descend(X, Y, callback=lambda info: info.step == 1, backend=backend, **arguments)
    except st.InputError as error:
        assert f"{argument}: expected " in str(error)  # noqa: PT017
    else:
        assert fit.n_steps == 1


def test_start_without_an_intercept_to_start_from() -> None:
    arguments = {"X": X, "y": Y, "fit_intercept": False, "start": (np.zeros(2), 1.0)}
    assert_refused(st.descend, arguments, "intercept: expected 0 with fit_intercept=False")


def test_start_from_a_fit_of_other_data() -> None:
    fit = st.descend(X[:, :1], Y, n_steps=1)
    assert_refused(st.descend, {"X": X, "y": Y, "start": fit}, "start: coef: expected shape (2,); got (1,)")
    labelled = st.descend(X, LABELS, loss="log_loss", n_steps=1)
    message = "start: expected a fit of loss 'mse' with classes none; got one of 'log_loss' with classes [0, 1]"
    assert_refused(st.descend, {"X": X, "y": Y, "start": labelled}, message)
    message = "start: expected a fit of loss 'log_loss' with classes [0, 2]; got one of 'log_loss' with classes [0, 1]"
    assert_refused(st.descend, {"X": X, "y": 2 * LABELS, "loss": "log_loss", "start": labelled}, message)


def test_every_error_of_the_package_has_its_base() -> None:
    errors = [st.InputError, st.DivergenceError, st.BackendUnavailableError, st.ModelFileError]
    assert all(issubclass(error, st.SteepestError) for error in errors)
    assert issubclass(st.BackendUnavailableError, RuntimeError)
    assert issubclass(st.DivergenceError, ArithmeticError)
    assert issubclass(st.ConvergenceWarning, UserWarning)


@pytest.mark.parametrize(("function", "options"), [(st.descend, {}), (st.loss_and_gradient, {"coef": [0, 0]})])
def test_backend_that_cannot_run_says_what_to_do(function: Any, options: dict[str, Any]) -> None:
    with pytest.raises(st.BackendUnavailableError, match='backend="rust"'):
        function(X, Y, backend="cupy", **options)
