"""Sparse data is dense data: the same numbers for every loss and method, whatever the matrix looks like inside."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies
from numpy.typing import NDArray

import steepest as st
from steepest.design import Csr, as_design
from steepest.losses import LOSSES
from strategies import Floats, integers, weights
from tolerance import tolerance

#: Names of the losses for `descend`, and how many scores a row has.
WIDTHS = {"mse": 1, "mse_several": 3, "huber": 1, "poisson": 1, "log_loss": 1, "softmax": 3, "squared_hinge": 1}
#: Rows beyond which a pass is several blocks, on several threads.
MANY = 20_011

every_loss = pytest.mark.parametrize("kind", WIDTHS)
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
either_index = pytest.mark.parametrize("index", [np.int32, np.int64])


class Stored(NamedTuple):
    """A matrix of small whole numbers twice: dense, and sparse in some form."""

    dense: Floats
    sparse: Any

    def cast(self, dtype: Any) -> Stored:
        """Return both in another type, which holds them exactly."""
        return Stored(self.dense.astype(dtype), self.sparse.astype(dtype))


class Arrays(NamedTuple):
    """What a CSR matrix is made of."""

    data: Any
    indices: Any
    indptr: Any

    def matrix(self, n_columns: int, index: Any, make: Any = sp.csr_array) -> Any:
        """Return the matrix with indices of just this type, which SciPy would narrow."""
        matrix = make((len(self.indptr) - 1, n_columns), dtype=np.float64)
        matrix.data = np.array(self.data, dtype=np.float64)
        matrix.indices, matrix.indptr = np.array(self.indices, index), np.array(self.indptr, index)
        return matrix


#: The same entries in other containers.
FORMS: dict[str, Any] = {
    "csr_array": lambda matrix: matrix,
    "csr_matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "csc_matrix": sp.csc_matrix,
    "lil": lambda matrix: sp.lil_array(matrix.toarray()),
}


@strategies.composite
def matrices(draw: strategies.DrawFn) -> Stored:
    """Promises up to 12 × 5 entries, whole and at most 8 in magnitude, with rows and columns that may be empty.

    Entries of a row stand in any order, a column may be there twice, and zeros may be stored.
    """
    n, d = draw(strategies.integers(1, 12)), draw(strategies.integers(1, 5))
    entry = strategies.tuples(strategies.integers(0, d - 1), strategies.integers(-4, 4))
    rows = draw(strategies.lists(strategies.lists(entry, max_size=6), min_size=n, max_size=n))
    dense = np.zeros((n, d))
    for i, row in enumerate(rows):
        for j, value in row:
            dense[i, j] += value
    entries = [pair for row in rows for pair in row]
    arrays = Arrays([value for _, value in entries], [j for j, _ in entries], np.cumsum([0, *map(len, rows)]))
    matrix = arrays.matrix(d, draw(strategies.sampled_from([np.int32, np.int64])))
    return Stored(dense, FORMS[draw(strategies.sampled_from(sorted(FORMS)))](matrix))


def targets(draw: Any, kind: str, n: int) -> NDArray[Any]:
    if kind in {"log_loss", "squared_hinge", "softmax"}:
        most = 2 if kind == "softmax" else 1
        return np.array(draw(strategies.lists(strategies.integers(0, most), min_size=n, max_size=n)))
    y: Floats = draw(integers((n, 3) if kind == "mse_several" else n))
    return abs(y) if kind == "poisson" else y


def arguments(kind: str) -> dict[str, Any]:
    """Return the loss, and the classes, of which `y` may lack some."""
    if kind == "softmax":
        return {"loss": "log_loss", "classes": [0, 1, 2]}
    if kind in {"log_loss", "squared_hinge"}:
        return {"loss": kind, "classes": [0, 1]}
    return {"loss": kind.removesuffix("_several")}


def test_every_loss_is_here() -> None:
    assert {arguments(kind)["loss"] for kind in WIDTHS} == {loss.name for loss in LOSSES.values()}


@given(matrix=matrices())
def test_promises(matrix: Stored) -> None:
    assert np.array_equal(matrix.sparse.toarray(), matrix.dense)


@every_loss
@given(data=strategies.data(), dtype=strategies.sampled_from([np.float32, np.float64]))
def test_value_and_gradient_are_those_of_the_dense_matrix(
    backend: str, kind: str, data: strategies.DataObject, dtype: Any
) -> None:
    dense, sparse = data.draw(matrices()).cast(dtype)
    (n, d), width = dense.shape, WIDTHS[kind]
    y = targets(data.draw, kind, n)
    coef = data.draw(integers((width, d) if width > 1 else d, 2)) / (1 if kind.startswith("mse") else 8)
    intercept = data.draw(integers(width, 4)) / (1 if kind.startswith("mse") else 8)
    shares = data.draw(strategies.none() | weights(n))
    given_both: dict[str, Any] = {"sample_weight": shares, "alpha": 0.5, "backend": backend} | arguments(kind)
    expected = st.loss_and_gradient(dense, y, coef, intercept, **given_both)
    found = st.loss_and_gradient(sparse, y, coef, intercept, **given_both)
    if kind == "mse":
        # Sums of whole numbers are exact in any order.
        assert found[0] == expected[0]
        assert np.array_equal(found[1], expected[1])
        assert np.array_equal(found[2], expected[2])
        return
    # A score is at most 6 · 4 / 4 · 5 + ½ in magnitude, or ten times that, a Poisson rate at most eight hundred.
    slack = tolerance(dtype, n + 6 * d) * (1e3 if kind == "poisson" else 1e2)
    magnitude = 1 + float(np.abs(dense).sum(axis=1).max()) * (1 + float(np.abs(y).max()))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(np.asarray(one) - other).max() <= slack * magnitude * (1 + abs(expected[0]))


# --- Structures ---

X_DENSE = np.array([[0.0, 2.0, -1.0], [0, 0, 0], [3, 0, 0], [0, 0, 5], [-2, 1, 0]])
Y = np.array([1.0, 2.0, -1.0, 0.0, 3.0])
PLAIN = Arrays([2, -1, 3, 5, -2, 1], [1, 2, 0, 2, 0, 1], [0, 2, 2, 3, 4, 6])
STRUCTURES = {
    "sorted": PLAIN,
    "unsorted": Arrays([-1, 2, 3, 5, 1, -2], [2, 1, 0, 2, 1, 0], PLAIN.indptr),
    "duplicates": Arrays([1, 1, -1, 4, -1, 5, -2, 1], [1, 1, 2, 0, 0, 2, 0, 1], [0, 3, 3, 5, 6, 8]),
    "stored zeros": Arrays([2, -1, 0, 3, 0, 5, -2, 1], [1, 2, 0, 0, 1, 2, 0, 1], [0, 3, 3, 5, 6, 8]),
}


@either_index
@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_the_same_matrix(backend: str, name: str, make: Any, index: Any) -> None:
    matrix = STRUCTURES[name].matrix(3, index, make)
    assert matrix.indices.dtype == index
    coef = np.array([1.0, -2.0, 3.0])
    expected = st.loss_and_gradient(X_DENSE, Y, coef, 1.0, backend=backend)
    value, slope, intercept_slope = st.loss_and_gradient(matrix, Y, coef, 1.0, backend=backend)
    assert (value, intercept_slope) == (expected[0], expected[2])
    assert np.array_equal(slope, expected[1])


def test_room_that_no_row_uses_is_not_read() -> None:
    """SciPy leaves such room in the arrays where it has taken entries out."""
    matrix = Arrays([*PLAIN.data, np.nan, 1], [*PLAIN.indices, 0, 7], PLAIN.indptr).matrix(3, np.int32)
    fits = [st.descend(X, Y, n_steps=3, backend=name) for X in (X_DENSE, matrix) for name in ("rust", "numpy")]
    for fit in fits:
        assert fit.coef == pytest.approx(fits[0].coef, rel=1e-12)


@either_index
@either_dtype
@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix])
def test_a_csr_matrix_is_not_copied(index: Any, dtype: Any, make: Any) -> None:
    matrix = PLAIN.matrix(3, index, make)
    matrix.data = matrix.data.astype(dtype)
    design, _ = as_design(matrix)
    assert isinstance(design, Csr)
    assert design.shape == (5, 3)
    assert (design.data.dtype, design.indices.dtype, design.indptr.dtype) == (dtype, index, index)
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(design, name), getattr(matrix, name))
    before = [matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()]
    for method in ("gd", "newton", "sgd"):
        st.descend(matrix, Y, method=method, precondition=True, alpha=0.1, n_steps=3)
    for array, copy in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
        assert np.array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.uint16])
def test_whole_numbers_become_floats(backend: str, dtype: Any) -> None:
    values = np.abs(X_DENSE).astype(dtype)
    fit = st.descend(sp.csr_array(values), Y, n_steps=5, backend=backend)
    expected = st.descend(values.astype(np.float64), Y, n_steps=5, backend=backend)
    assert fit.coef.dtype == np.float64
    assert fit.coef == pytest.approx(expected.coef, rel=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(st.InputError, match="X: expected at least one row and one column"):
        st.descend(sp.csr_array(shape), np.zeros(shape[0]))


def test_a_hole_is_named_by_its_row_and_column(backend: str) -> None:
    matrix = STRUCTURES["unsorted"].matrix(3, np.int32)
    matrix.data[4] = np.inf
    for method in ("gd", "lbfgs", "newton", "sgd"):
        with pytest.raises(st.InputError, match=r"X: expected finite numbers; X\[4, 1\] is inf"):
            st.descend(matrix, Y, method=method, backend=backend)


@pytest.mark.parametrize(
    ("name", "value"),
    [("indices", [1, 2, 0, 3, 0, 1]), ("indices", [1, -1, 0, 2, 0, 1]), ("indptr", [0, 2, 1, 3, 4, 6])],
)
def test_a_broken_matrix_is_an_error(backend: str, name: str, value: list[int]) -> None:
    """No index leads out of the arrays, whoever made them."""
    matrix = PLAIN.matrix(3, np.int32)
    setattr(matrix, name, np.array(value, np.int32))
    with pytest.raises(ValueError, match="X: the sparse matrix is broken: "):
        st.descend(matrix, Y, n_steps=2, backend=backend)


# --- Descents ---

GENERATOR = np.random.default_rng(11)
SPARSE = sp.csr_array(sp.random_array((60, 8), density=0.3, rng=GENERATOR) @ np.diag([1, 2, 0, 1, 1, 3, 1, 1.0]))
SCORES = SPARSE @ GENERATOR.normal(size=8) + 0.3 * GENERATOR.normal(size=60)
TARGETS: dict[str, NDArray[Any]] = {
    "mse": SCORES,
    "mse_several": np.column_stack([SCORES, -SCORES, SCORES**2]),
    "huber": SCORES,
    "poisson": np.round(np.exp(SCORES)),
    "log_loss": (SCORES > 0.2).astype(int),
    "softmax": np.digitize(SCORES, [0.0, 0.5]),
    "squared_hinge": (SCORES > 0.2).astype(int),
}
METHODS = ["gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton"]


@every_loss
@pytest.mark.parametrize(
    ("method", "l1_ratio"), [*((name, 0.0) for name in METHODS), *((name, 0.5) for name in METHODS[:5])]
)
def test_descents_are_those_of_the_dense_matrix(backend: str, kind: str, method: str, l1_ratio: float) -> None:
    """Step by step; the matrix has an empty column."""
    options: dict[str, Any] = {"method": method, "alpha": 0.1, "l1_ratio": l1_ratio, "n_steps": 4, "backend": backend}
    options |= arguments(kind) | ({"batch_size": 16} if method == "sgd" else {})
    dense, sparse = (st.descend(X, TARGETS[kind], **options) for X in (SPARSE.toarray(), SPARSE))
    assert sparse.coef == pytest.approx(dense.coef, rel=1e-9, abs=1e-12)
    assert sparse.intercept == pytest.approx(dense.intercept, rel=1e-9, abs=1e-12)
    # Newton's method may be done after one or two.
    known = min(len(sparse.history), len(dense.history))
    assert known >= 1
    assert sparse.history.loss[:known] == pytest.approx(dense.history.loss[:known], rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision(backend: str, method: str) -> None:
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "alpha": 0.1, "n_steps": 4, "backend": backend}
    dense, sparse = (
        st.descend(X.astype(np.float32), TARGETS["log_loss"], **options) for X in (SPARSE.toarray(), SPARSE)
    )
    assert sparse.coef.dtype == np.float32
    assert sparse.coef == pytest.approx(dense.coef, rel=1e-4, abs=1e-5)


@either_index
@pytest.mark.parametrize("method", METHODS)
def test_bits_do_not_depend_on_threads(method: str, index: Any) -> None:
    matrix = sp.random_array((MANY, 6), density=0.2, rng=np.random.default_rng(0), format="csr")
    y = matrix @ np.arange(6.0) > 0.5
    stored = Arrays(matrix.data, matrix.indices, matrix.indptr).matrix(6, index)
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "alpha": 1e-3, "n_steps": 4}
    fits = [st.descend(stored, y, n_threads=n_threads, **options) for n_threads in (1, 2, 3, 8)]
    assert len({(fit.coef.tobytes(), fit.intercept.tobytes(), fit.history.loss.tobytes()) for fit in fits}) == 1


@pytest.mark.parametrize("method", METHODS)
def test_offset_weights_and_no_intercept(backend: str, method: str) -> None:
    options: dict[str, Any] = {"loss": "poisson", "method": method, "alpha": 0.1, "n_steps": 3, "backend": backend}
    options |= {"offset": SCORES / 2, "sample_weight": np.arange(60.0) % 4, "fit_intercept": False}
    dense, sparse = (st.descend(X, TARGETS["poisson"], **options) for X in (SPARSE.toarray(), SPARSE))
    assert sparse.coef == pytest.approx(dense.coef, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("method", ["gd", "sgd"])
def test_validation_data_may_be_sparse_or_dense(backend: str, method: str) -> None:
    y = TARGETS["log_loss"]
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "n_steps": 6, "backend": backend}
    fits = [
        st.descend(X[:40], y[:40], eval_set=(held_out[40:], y[40:]), **options)
        for X in (SPARSE.toarray(), SPARSE)
        for held_out in (SPARSE.toarray(), SPARSE)
    ]
    for fit in fits[1:]:
        assert fit.history.validation_loss == pytest.approx(fits[0].history.validation_loss, rel=1e-9)
    parts = [st.descend(X, y, validation_fraction=0.25, **options) for X in (SPARSE.toarray(), SPARSE)]
    assert parts[1].history.validation_loss == pytest.approx(parts[0].history.validation_loss, rel=1e-9)
