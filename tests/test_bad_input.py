"""Bad input: an error that names the argument, what was expected, and what was given; never a wrong answer."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import steepest as st

X = np.arange(12.0).reshape(6, 2) % 5
Y = np.arange(6.0)
LABELS = np.array([0, 1, 0, 1, 1, 0])
NAN, INF = np.nan, np.inf
SHAPE_OF_X = "X: expected shape (n_samples, n_features); got "
EMPTY_X = "X: expected at least one row and one column; got shape "
LOSSES = "loss: expected one of cross_entropy, log_loss, mse, squared_error; got "
BACKENDS = "backend: expected one of auto, cupy, numpy, rust; got "
ABOVE_ZERO = "learning_rate: expected a finite number > 0; got "
START = "start: expected a Fit or a tuple (coef, intercept); got "


def without(values: np.ndarray[Any, Any], replacement: Any, *index: int) -> np.ndarray[Any, Any]:
    """Return a copy with one entry replaced."""
    copy = values.astype(object if isinstance(replacement, str) or replacement is None else float)
    copy[index] = replacement
    return copy


#: For both functions: argument, value, what the message says.
COMMON: list[tuple[str, Any, str]] = [
    ("X", 3.0, SHAPE_OF_X + "()"),
    ("X", np.zeros((2, 2, 2)), SHAPE_OF_X + "(2, 2, 2)"),
    ("X", np.zeros((0, 2)), EMPTY_X + "(0, 2)"),
    ("X", np.zeros((6, 0)), EMPTY_X + "(6, 0)"),
    ("X", [], EMPTY_X + "(0, 1)"),
    ("X", np.array([["a", "b"]] * 6), "X: expected numbers; got dtype <U1 (X[0, 0] is "),
    ("X", without(X, "abc", 4, 1), "X: expected numbers; X[4, 1] is 'abc'"),
    ("X", without(X, None, 5, 0), "X: expected numbers; X[5, 0] is None"),
    ("X", [[1.0], [1.0, 2.0]], "X: expected an array of numbers; "),
    ("X", X * 1j, "X: expected numbers; got dtype complex128 (X[0, 0] is "),
    ("X", np.zeros((6, 2), "datetime64[s]"), "X: expected numbers; got dtype datetime64[s]"),
    ("X", np.ma.masked_greater(X, 3), "X: expected no masked entries; fill or drop them first"),
    ("X", None, "X: expected numbers; "),
    ("y", None, "y: expected targets; got None"),
    ("y", Y[:5], "y: expected shape (6,); got (5,)"),
    ("y", Y[:, np.newaxis], "y: expected shape (6,); got (6, 1); y.ravel() makes it flat"),
    ("y", 1.0, "y: expected shape (6,); got ()"),
    ("y", list("abcdef"), "y: expected numbers; got dtype <U1 (y[0] is "),
    ("y", without(Y, "x", 2), "y: expected numbers; y[2] is 'x'"),
    ("y", Y * 1j, "y: expected numbers; got dtype complex128"),
    ("y", without(Y, NAN, 2), "y: expected finite numbers; y[2] is nan"),
    ("y", without(Y, -INF, 5), "y: expected finite numbers; y[5] is -inf"),
    ("y", np.ma.masked_greater(Y, 3), "y: expected no masked entries"),
    ("classes", [0, 1], "classes: expected None for loss 'mse'"),
    ("loss", "msse", LOSSES + "'msse'; did you mean 'mse'?"),
    ("loss", "hinge", LOSSES + "'hinge'"),
    ("loss", None, LOSSES + "None"),
    ("loss", 3, LOSSES + "3"),
    ("alpha", -1.0, "alpha: expected a finite number ≥ 0; got -1.0"),
    ("alpha", NAN, "alpha: expected a finite number ≥ 0; got nan"),
    ("alpha", INF, "alpha: expected a finite number ≥ 0; got inf"),
    ("alpha", "1", "alpha: expected a finite number ≥ 0; got '1'"),
    ("alpha", True, "alpha: expected a finite number ≥ 0; got True"),
    ("alpha", [0.1], "alpha: expected a finite number ≥ 0; got [0.1]"),
    ("sample_weight", np.ones(5), "sample_weight: expected shape (6,); got (5,)"),
    ("sample_weight", np.ones((6, 1)), "(6,); got (6, 1); sample_weight.ravel() makes it flat"),
    ("sample_weight", 2.0, "sample_weight: expected shape (6,); got ()"),
    ("sample_weight", np.zeros(6), "sample_weight: expected at least one weight > 0; all are 0"),
    ("sample_weight", without(Y, -0.5, 3), "sample_weight: expected no negative weight; sample_weight[3] is -0.5"),
    ("sample_weight", without(Y, NAN, 1), "sample_weight: expected finite numbers; sample_weight[1] is nan"),
    ("sample_weight", without(Y, INF, 4), "sample_weight: expected finite numbers; sample_weight[4] is inf"),
    ("sample_weight", ["a"] * 6, "sample_weight: expected numbers; got dtype <U1"),
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
    ("method", "gdd", "method: expected one of gd; got 'gdd'; did you mean 'gd'?"),
    ("method", None, "method: expected one of gd; got None"),
    ("learning_rate", 0, ABOVE_ZERO + "0"),
    ("learning_rate", -0.1, ABOVE_ZERO + "-0.1"),
    ("learning_rate", NAN, ABOVE_ZERO + "nan"),
    ("learning_rate", INF, ABOVE_ZERO + "inf"),
    ("learning_rate", True, ABOVE_ZERO + "True"),
    ("learning_rate", None, ABOVE_ZERO + "None"),
    ("learning_rate", "aut", "learning_rate: expected 'auto' or a number > 0; got 'aut'"),
    ("n_steps", -1, "n_steps: expected an integer ≥ 0; got -1"),
    ("n_steps", 10.0, "n_steps: expected an integer ≥ 0; got 10.0"),
    ("n_steps", True, "n_steps: expected an integer ≥ 0; got True"),
    ("n_steps", None, "n_steps: expected an integer ≥ 0; got None"),
    ("tol", -1e-9, "tol: expected a finite number ≥ 0; got -1e-09"),
    ("tol", NAN, "tol: expected a finite number ≥ 0; got nan"),
    ("tol", "small", "tol: expected a finite number ≥ 0; got 'small'"),
    ("tol", None, "tol: expected a finite number ≥ 0; got None"),
    ("start", 5, START + "5"),
    ("start", "zero", START + "'zero'"),
    ("start", (np.zeros(2),), START + "(array([0., 0.]),)"),
    ("start", (np.zeros(3), 0.0), "start: coef: expected shape (2,); got (3,)"),
    ("start", (np.zeros((1, 2)), 0.0), "start: coef: expected shape (2,); got (1, 2)"),
    ("start", (np.zeros(2), np.zeros(2)), "start: intercept: expected 1 numbers; got shape (2,)"),
    ("start", ([0.0, NAN], 0.0), "start: coef and intercept: expected finite numbers"),
    ("start", (np.zeros(2), INF), "start: coef and intercept: expected finite numbers"),
    ("strategy", "streem", "strategy: expected one of auto, stream; got 'streem'; did you mean 'stream'?"),
    ("strategy", None, "strategy: expected one of auto, stream; got None"),
    ("callback", 3, "callback: expected a callable or None; got 3"),
    ("callback", "print", "callback: expected a callable or None; got 'print'"),
    ("progress", "no", "progress: expected True or False; got 'no'"),
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

#: With loss="log_loss" and labels as y.
LABELLED: list[tuple[str, Any, str]] = [
    ("y", None, "y: expected targets; got None"),
    ("y", LABELS[:5], "y: expected shape (6,); got (5,)"),
    ("y", LABELS[:, np.newaxis], "y: expected shape (6,); got (6, 1)"),
    ("y", np.ones(6, dtype=int), "y: expected at least two classes; every label is "),
    ("y", without(LABELS, 0.5, 2), "y[2] is 0.5; loss='mse' predicts numbers"),
    ("y", without(LABELS, NAN, 4), "y: expected finite numbers; y[4] is nan"),
    ("y", without(LABELS, INF, 0), "y: expected finite numbers; y[0] is inf"),
    ("y", without(LABELS, "a", 3), "y: expected labels of one type; "),
    ("y", without(np.array(list("aabbab")), None, 3), "y: expected labels of one type; "),
    ("y", np.ma.masked_array(LABELS, mask=LABELS == 1), "y: expected no masked entries"),
    ("y", [[0], [1, 2]] * 3, "y: expected "),
    ("y", without(LABELS, NAN, 2).astype(object), "y: expected "),
    ("y", [0, 1, "a", 1, 0, 1], "y: expected labels of one type; got text and 0"),
]


def assert_refused(function: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(st.InputError) as caught:
        function(**arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, st.SteepestError)


def named(cases: list[tuple[str, Any, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("argument", "value", "message"), cases, ids=[f"{i}-{name}" for i, (name, _, _) in enumerate(cases)]
    )


@named(COMMON + DESCEND)
def test_descend(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@named(COMMON + EVALUATE)
def test_loss_and_gradient(argument: str, value: Any, message: str) -> None:
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | {argument: value}, message)


@named(LABELLED)
def test_labels(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": LABELS, "loss": "log_loss", "n_steps": 1} | {argument: value}, message)


@named(
    [
        ("classes", [1, 2], "y: expected labels among [1, 2]; got "),
        ("classes", ["a", "b"], "y: expected labels among ['a', 'b']; got "),
        ("classes", [0], "classes: expected at least two"),
        ("classes", [[0, 1]], "classes: expected shape "),
        ("classes", [0, 0, 1], "classes: expected at least two different labels; got [0, 0, 1]"),
        ("classes", [], "classes: expected at least two different labels; got []"),
        ("classes", 5, "classes: expected shape (n_classes,); got ()"),
        ("coef", np.zeros((2, 2)), "coef: expected shape (2,); got (2, 2)"),
    ]
)
def test_classes(argument: str, value: Any, message: str) -> None:
    arguments = {"X": X, "y": LABELS, "coef": np.zeros(2), "loss": "log_loss"}
    assert_refused(st.loss_and_gradient, arguments | {argument: value}, message)


@pytest.mark.parametrize(
    ("function", "tables"),
    [(st.descend, COMMON + DESCEND), (st.loss_and_gradient, COMMON + EVALUATE)],
    ids=["descend", "loss_and_gradient"],
)
def test_every_argument_is_tested(function: Any, tables: list[tuple[str, Any, str]]) -> None:
    assert {name for name, _, _ in tables} == set(inspect.signature(function).parameters)


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_sparse_is_named_with_its_cure(argument: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    arguments = {"X": X, "y": Y, "sample_weight": Y + 1}
    arguments[argument] = sparse.csr_array(arguments[argument].reshape(6, -1))
    message = f"{argument}: expected a dense array; got a sparse csr_array; {argument}.toarray() makes a dense one"
    assert_refused(st.descend, arguments, message)


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


def test_complex_numbers_among_objects() -> None:
    """The imaginary part is not to be dropped."""
    values = X.astype(object)
    values[1, 0] = np.complex128(1j)
    assert_refused(st.descend, {"X": values, "y": Y}, "X[1, 0] is ")


def test_target_too_large_for_the_type_of_the_design() -> None:
    """The number given is the one named, not what single precision makes of it."""
    assert_refused(st.descend, {"X": X.astype(np.float32), "y": without(Y, 1e300, 2)}, "y[2] is 1e+300")


def test_target_that_the_type_of_the_design_cannot_tell_apart() -> None:
    """Timestamps and the like: in single precision they would be one number."""
    arguments = {"X": X.astype(np.float32), "y": 1e9 + Y}
    assert_refused(st.descend, arguments, "y: rounding it to the float32 of X would lose")
    assert st.descend(X, 1e9 + Y, n_steps=1).n_steps == 1


def test_weights_whose_sum_is_too_large(backend: str) -> None:
    """Either the right average or an error; not an average of nothing."""
    weights = np.full(6, 1e308)
    try:
        value, _, _ = st.loss_and_gradient(X, np.full(6, 1e-3), [0.0, 0.0], sample_weight=weights, backend=backend)
    except st.InputError as error:
        assert "sample_weight" in str(error)  # noqa: PT017
    else:
        assert value == pytest.approx(1e-6)


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


def test_masked_array_without_masked_entries_is_an_array() -> None:
    fit, masked = (st.descend(design, Y, n_steps=2) for design in (X, np.ma.masked_array(X)))
    assert np.array_equal(fit.coef, masked.coef)


def test_one_row(backend: str) -> None:
    """Enough for least squares; for classes it is one class."""
    fit = st.descend([[1.0, 2.0]], [3.0], tol=1e-9, backend=backend)
    assert fit.loss == pytest.approx(0, abs=1e-15)
    assert_refused(st.descend, {"X": [[1.0, 2.0]], "y": [3], "loss": "log_loss"}, "y: expected at least two classes")


def test_every_error_of_the_package_has_its_base() -> None:
    errors = [st.InputError, st.DivergenceError, st.BackendUnavailableError, st.ModelFileError]
    assert all(issubclass(error, st.SteepestError) for error in errors)
    assert issubclass(st.BackendUnavailableError, RuntimeError)
    assert issubclass(st.DivergenceError, ArithmeticError)
    assert issubclass(st.ConvergenceWarning, UserWarning)


@pytest.mark.parametrize(("function", "options"), [(st.descend, {}), (st.loss_and_gradient, {"coef": [0, 0]})])
def test_backend_that_cannot_run_says_what_to_do(function: Any, options: dict[str, Any]) -> None:
    with pytest.raises(st.BackendUnavailableError, match="backend='rust'"):
        function(X, Y, backend="cupy", **options)
