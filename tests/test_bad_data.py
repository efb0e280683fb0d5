"""Bad data: an error that names the argument, what was expected, and what was given; never a wrong answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import steepest as st
from refusals import EMPTY_X, INF, ITERATED, LABELS, NAN, SPARSE, TWO, X, Y, assert_refused, named, without

SHAPE_OF_X = "X: expected shape (n_samples, n_features); got "

#: For all functions: argument, value, what the message says.
DATA: list[tuple[str, Any, str]] = [
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
    ("X", {"a": 1}, "X: expected numbers; "),
    ("X", SPARSE * 1j, "X.data: expected numbers; got dtype complex128"),
    ("X", sparse.csr_array((0, 2)), EMPTY_X + "(0, 2)"),
    ("X", sparse.csr_array((6, 0)), EMPTY_X + "(6, 0)"),
    ("y", None, "y: expected targets; got None"),
    ("y", Y[:5], "y: expected shape (6,); got (5,)"),
    ("y", TWO[:5], "y: expected shape (6, width ≥ 2); got (5, 2)"),
    ("y", without(TWO, NAN, 4, 1), "y: expected finite numbers; y[4, 1] is nan"),
    ("y", TWO[:, :, np.newaxis], "y: expected shape (6,); got (6, 2, 1)"),
    ("y", sparse.csr_array(TWO), "y: expected a dense array; got a sparse csr_array; y.toarray() makes a dense one"),
    ("y", [], "y: expected shape (6,); got (0,)"),
    ("y", [[0], [1, 2]] * 3, "y: expected "),
    ("y", {"a": 1}, "y: expected numbers; "),
    ("y", Y[:, np.newaxis], "y: expected shape (6,); got (6, 1); y.ravel() makes it flat"),
    ("y", 1.0, "y: expected shape (6,); got ()"),
    ("y", list("abcdef"), "y: expected numbers; got dtype <U1 (y[0] is "),
    ("y", without(Y, "x", 2), "y: expected numbers; y[2] is 'x'"),
    ("y", Y * 1j, "y: expected numbers; got dtype complex128"),
    ("y", without(Y, NAN, 2), "y: expected finite numbers; y[2] is nan"),
    ("y", without(Y, -INF, 5), "y: expected finite numbers; y[5] is -inf"),
    ("y", np.ma.masked_greater(Y, 3), "y: expected no masked entries"),
    ("classes", [0, 1], "classes: expected None for loss 'mse'"),
    ("offset", np.ones(5), "offset: expected shape (6,); got (5,)"),
    ("offset", np.ones((6, 1)), "offset: expected shape (6,); got (6, 1); offset.ravel() makes it flat"),
    ("offset", np.ones((6, 2)), "offset: expected shape (6,); got (6, 2)"),
    ("offset", 1.0, "offset: expected shape (6,); got ()"),
    ("offset", without(Y, NAN, 2), "offset: expected finite numbers; offset[2] is nan"),
    ("offset", without(Y, -INF, 0), "offset: expected finite numbers; offset[0] is -inf"),
    ("offset", ["a"] * 6, "offset: expected numbers; got dtype <U1 (offset[0] is "),
    ("offset", Y * 1j, "offset: expected numbers; got dtype complex128"),
    ("offset", SPARSE, "offset: expected a dense array; got a sparse csr_array"),
    ("sample_weight", SPARSE, "sample_weight: expected a dense array; got a sparse csr_array"),
    ("sample_weight", Y * 1j, "sample_weight: expected numbers; got dtype complex128"),
    ("sample_weight", np.ones(5), "sample_weight: expected shape (6,); got (5,)"),
    ("sample_weight", np.ones((6, 1)), "(6,); got (6, 1); sample_weight.ravel() makes it flat"),
    ("sample_weight", 2.0, "sample_weight: expected shape (6,); got ()"),
    ("sample_weight", np.zeros(6), "sample_weight: expected at least one weight > 0; all are 0"),
    ("sample_weight", without(Y, -0.5, 3), "sample_weight: expected no negative weight; sample_weight[3] is -0.5"),
    ("sample_weight", without(Y, NAN, 1), "sample_weight: expected finite numbers; sample_weight[1] is nan"),
    ("sample_weight", without(Y, INF, 4), "sample_weight: expected finite numbers; sample_weight[4] is inf"),
    ("sample_weight", ["a"] * 6, "sample_weight: expected numbers; got dtype <U1"),
]

#: What is refused only where it meets something else.
TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    ("y", {"loss": "poisson", "y": Y - 1}, "y: expected counts ≥ 0 for loss 'poisson'; y[0] is -1.0"),
    ("y", {"loss": "poisson", "y": without(Y, NAN, 2)}, "y: expected finite numbers; y[2] is nan"),
    ("y", {"loss": "poisson", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "huber", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "huber", "y": list("abcdef")}, "y: expected numbers; got dtype <U1"),
    ("y", {"loss": st.Huber(2.0), "y": without(Y, INF, 1)}, "y: expected finite numbers; y[1] is inf"),
    ("y", {"loss": "squared_hinge", "y": [0, 1, 2, 0, 1, 2]}, "y: expected at most 2 classes for this loss; got 3"),
    ("y", {"loss": "squared_hinge", "y": [0, 1, 2, 0, 1, 2]}, "loss='log_loss' takes any number"),
    ("y", {"loss": "squared_hinge", "y": [1] * 6}, "y: expected at least two classes; got 1 class: every label is 1"),
    ("y", {"loss": "squared_hinge", "y": Y + 0.5}, "y[0] is 0.5; loss='mse' predicts numbers"),
    ("y", {"loss": "squared_hinge", "y": Y + 0.5}, "y: expected class labels for loss 'squared_hinge'"),
    ("y", {"loss": "squared_hinge", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "log_loss", "y": [[1.5, -0.5]] * 6}, "y: expected no negative probability; y[0, 1] is -0.5"),
    (
        "y",
        {"loss": "log_loss", "y": [[0.5, 0.5]] * 5 + [[0.5, 0.4]]},
        "y: expected rows of probabilities that sum to 1",
    ),
    ("y", {"loss": "log_loss", "y": [[0.5, 0.5]] * 5 + [[0.5, 0.4]]}, "; y[5] sums to 0.9"),
    ("y", {"loss": "log_loss", "y": [[0.5, NAN]] * 6}, "y: expected finite numbers; y[0, 1] is nan"),
    ("y", {"loss": "log_loss", "y": [[0.5, 0.5]] * 5}, "y: expected shape (6, width ≥ 2); got (5, 2)"),
    ("y", {"loss": "log_loss", "y": [["a", "b"]] * 6}, "y: expected numbers; got dtype <U1 (y[0, 0] is "),
    ("classes", {"loss": "huber", "classes": [0, 1]}, "classes: expected None for loss 'huber'"),
    ("classes", {"loss": "poisson", "classes": [0, 1]}, "classes: expected None for loss 'poisson'"),
    ("classes", {"loss": "log_loss", "y": LABELS, "classes": [0, 2]}, "y: expected labels among [0, 2]; got 1"),
    ("classes", {"loss": "squared_hinge", "y": LABELS, "classes": [0, 2]}, "y: expected labels among [0, 2]; got 1"),
    ("classes", {"loss": "squared_hinge", "y": LABELS, "classes": [0, 1, 2]}, "at most 2 classes for this loss; got 3"),
    (
        "classes",
        {"loss": "log_loss", "y": [[0.5, 0.5]] * 6, "classes": [0, 1, 2]},
        "classes: expected 2 labels, one a column of y; got [0, 1, 2]",
    ),
    ("offset", {"y": TWO, "offset": Y}, "offset: expected shape (6, 2); got (6,)"),
    ("offset", {"y": TWO, "offset": np.ones((6, 3))}, "offset: expected shape (6, 2); got (6, 3)"),
    ("offset", {"y": TWO, "offset": without(TWO, NAN, 1, 1)}, "offset: expected finite numbers; offset[1, 1] is nan"),
    ("offset", {"loss": "log_loss", "y": list("abcabc"), "offset": Y}, "offset: expected shape (6, 3); got (6,)"),
]

#: With loss="log_loss" and labels as y.
LABELLED: list[tuple[str, Any, str]] = [
    ("y", None, "y: expected targets; got None"),
    ("y", LABELS[:5], "y: expected shape (6,); got (5,)"),
    ("y", LABELS[:, np.newaxis], "y: expected shape (6,); got (6, 1)"),
    ("y", np.ones(6, dtype=int), "y: expected at least two classes; got 1 class: every label is "),
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


@named(DATA)
def test_descend(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@named([row for row in DATA if row[0] in ITERATED])
def test_iterate(argument: str, value: Any, message: str) -> None:
    """At once, not at the first step."""
    assert_refused(st.iterate, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@named(DATA)
def test_loss_and_gradient(argument: str, value: Any, message: str) -> None:
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | {argument: value}, message)


@named(TOGETHER)
def test_what_does_not_go_together(argument: str, value: dict[str, Any], message: str) -> None:
    assert argument in value
    for backend in ("rust", "numpy"):
        assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1, "backend": backend} | value, message)


@named(TOGETHER)
def test_what_does_not_go_together_in_an_evaluation(argument: str, value: dict[str, Any], message: str) -> None:
    assert argument in value
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | value, message)


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
    ("good", "given"),
    [
        ({"loss": "mse"}, {"loss": st.Mse(n_targets=3)}),
        ({"loss": "log_loss"}, {"loss": st.LogLoss(n_classes=5, probabilities=True)}),
    ],
)
def test_what_y_says_counts(good: dict[str, Any], given: dict[str, Any]) -> None:
    one, other = (st.descend(X, LABELS, n_steps=2, **options) for options in (good, given))
    assert one.coef.tobytes() == other.coef.tobytes()


SMALL = np.array([[1.0, 0, 2, 0], [0, 0, 0, 3], [4, 5, 0, 0]])


def broken(**parts: Any) -> Any:
    """Return a sparse matrix of 3 rows and 4 columns with a part of it changed behind its back."""
    matrix = sparse.csr_array(SMALL)
    for name, values in parts.items():
        setattr(matrix, name, np.array(values, dtype=getattr(matrix, name).dtype))
    return matrix


BROKEN: dict[str, dict[str, Any]] = {
    "indptr falls": {"indptr": [0, 3, 2, 5]},
    "indptr does not begin at 0": {"indptr": [1, 2, 3, 5]},
    "indptr is negative": {"indptr": [0, -1, 3, 5]},
    "indptr ends too late": {"indptr": [0, 2, 3, 6]},
    "indptr goes far beyond": {"indptr": [0, 2, 2**31 - 1, 5]},
    "indptr is too short": {"indptr": [0, 2, 5]},
    "indptr is too long": {"indptr": [0, 2, 3, 5, 5]},
    "index out of range": {"indices": [0, 4, 3, 0, 1]},
    "index far out of range": {"indices": [0, 2**31 - 1, 3, 0, 1]},
    "index is negative": {"indices": [0, -1, 3, 0, 1]},
    "fewer indices than entries": {"indices": [0, 2, 3, 0]},
    "fewer entries than indices": {"data": [1, 2, 3, 4]},
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("width", [np.int32, np.int64])
def test_broken_sparse_matrices(backend: str, width: Any, parts: dict[str, Any]) -> None:
    """Refused, not read from where nothing is."""
    matrix = broken(**parts)
    matrix.indices, matrix.indptr = matrix.indices.astype(width), matrix.indptr.astype(width)
    message = "X: the sparse matrix is broken: "
    assert_refused(st.descend, {"X": matrix, "y": Y[:3], "n_steps": 2, "backend": backend}, message)
    arguments = {"X": matrix, "y": Y[:3], "coef": np.ones(4), "backend": backend}
    assert_refused(st.loss_and_gradient, arguments, message)
    good = broken()
    assert_refused(st.descend, {"X": good, "y": Y[:3], "eval_set": (matrix, Y[:3]), "backend": backend}, message)
    for options in ({"precondition": True}, {"method": "newton"}, {"method": "sgd"}, {"validation_fraction": 0.4}):
        assert_refused(st.descend, {"X": matrix, "y": Y[:3], "n_steps": 2, "backend": backend} | options, message)


def test_sparse_matrices_with_room_to_spare_are_taken(backend: str) -> None:
    """SciPy allows more entries than the pointers speak of, whatever they are."""
    matrix = broken(data=[1, 2, 3, 4, 5, NAN], indices=[0, 2, 3, 0, 1, 99])
    fit, exact = (st.descend(design, Y[:3], n_steps=3, backend=backend) for design in (matrix, SMALL))
    assert fit.coef == pytest.approx(exact.coef)


@pytest.mark.parametrize("make", ["csr_array", "csc_array", "coo_array", "csr_matrix", "dok_array", "lil_array"])
def test_sparse_of_every_kind_is_taken(backend: str, make: str) -> None:
    fit = st.descend(getattr(sparse, make)(X), Y, n_steps=3, backend=backend)
    assert fit.coef == pytest.approx(st.descend(X, Y, n_steps=3, backend=backend).coef)


@pytest.mark.parametrize("n_columns", [2**50, 2**61], ids=["beyond all memory", "beyond all numbers"])
def test_coefficients_that_fit_nowhere(backend: str, n_columns: int) -> None:
    wide = sparse.csr_array((np.ones(6), (np.arange(6), np.arange(6))), shape=(6, n_columns))
    with pytest.raises(MemoryError):
        st.descend(wide, Y, n_steps=1, backend=backend)


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


def test_masked_array_without_masked_entries_is_an_array() -> None:
    fit, masked = (st.descend(design, Y, n_steps=2) for design in (X, np.ma.masked_array(X)))
    assert np.array_equal(fit.coef, masked.coef)


def test_one_row(backend: str) -> None:
    """Enough for least squares; for classes it is one class."""
    fit = st.descend([[1.0, 2.0]], [3.0], tol=1e-9, backend=backend)
    assert fit.loss == pytest.approx(0, abs=1e-15)
    assert_refused(st.descend, {"X": [[1.0, 2.0]], "y": [3], "loss": "log_loss"}, "y: expected at least two classes")
