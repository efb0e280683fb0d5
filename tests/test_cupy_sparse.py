"""Sparse matrices on a GPU, on an imaginary one: by rows and by columns, in place, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import steepest as st
from fake_gpu import Array, FakeCupy, ForeignSparse
from steepest.backends import kernels
from strategies import KINDS
from test_cupy import assert_close, host
from tolerance import tolerance


@pytest.mark.parametrize("kind", ["mse", "binary", "softmax", "poisson"])
@pytest.mark.parametrize("method", ["gd", "nesterov", "lbfgs", "newton"])
def test_sparse_rows(gpu: FakeCupy, kind: str, method: str) -> None:
    dense = scipy.sparse.random(90, 20, 0.3, random_state=0).toarray()
    X = scipy.sparse.csr_array(dense)
    # An entry twice, unsorted: it counts as the sum.
    X = scipy.sparse.csr_array(
        (np.append(X.data, 0.5), np.append(X.indices, X.indices[-1]), np.append(X.indptr[:-1], X.indptr[-1] + 1)),
        X.shape,
    )
    y = np.arange(90) % (KINDS[kind].n_classes or 3)
    options: dict[str, Any] = {"loss": KINDS[kind].loss, "method": method, "n_steps": 5, "precondition": True}
    options |= {"alpha": 0.1, "sample_weight": np.linspace(1, 2, 90), "strategy": "stream"}
    fit, expected = (st.descend(X, y, backend=name, **options) for name in ("cupy", "numpy"))
    assert_close(fit, expected, 90)
    assert "CSR_PRODUCT" in gpu.launches


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("kind", ["mse", "binary", "softmax"])
@pytest.mark.parametrize(
    "method",
    [
        st.StochasticGradientDescent(batch_size=7),
        st.StochasticGradientDescent(batch_size=5, replacement=True),
        st.Adam(batch_size=8),
    ],
)
def test_mini_batches_of_sparse_rows(gpu: FakeCupy, kind: str, method: Any, index: Any) -> None:
    X = scipy.sparse.random_array((90, 20), density=0.2, rng=np.random.default_rng(0), format="csr")
    X = scipy.sparse.csr_array((X.data, X.indices.astype(index), X.indptr.astype(index)), X.shape)
    # Rows and columns without an entry, one of each the last.
    X = scipy.sparse.csr_array(X.multiply(np.arange(90)[:, None] % 6 < 5).multiply(np.arange(20) % 5 < 4))
    y = np.arange(90) % (KINDS[kind].n_classes or 3)
    options: dict[str, Any] = {"loss": KINDS[kind].loss, "method": method, "n_steps": 40, "random_state": 3}
    options |= {"alpha": 0.1, "sample_weight": np.linspace(1, 2, 90)}
    fit, expected = (st.descend(X, y, backend=name, **options) for name in ("cupy", "numpy"))
    assert_close(fit, expected, 90)
    assert "CSR_PRODUCT" in gpu.launches


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["sorted", "reversed", "twice"])
def test_sparse_x_on_the_gpu_is_used_in_place(
    gpu: FakeCupy, dtype: Any, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = scipy.sparse.random_array((300, 40), density=0.1, rng=np.random.default_rng(0), format="csr").astype(dtype)
    if order == "reversed":
        X = scipy.sparse.csr_array((X.data[::-1].copy(), X.indices[::-1].copy(), X.nnz - X.indptr[::-1]), X.shape)
    elif order == "twice":
        X = scipy.sparse.csr_array((np.repeat(X.data, 2), np.repeat(X.indices, 2), X.indptr * 2), X.shape)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    y = np.random.default_rng(1).normal(size=300).astype(dtype)
    given = ForeignSparse(X)
    used: list[Any] = []

    def spy(xp: Any, data: Any, columns: Any, *others: Any) -> Any:
        used.extend((data, columns))
        return kernels.by_columns(xp, data, columns, *others)

    monkeypatch.setattr("steepest.backends.cupy.by_columns", spy)
    options: dict[str, Any] = {"n_steps": 20, "alpha": 0.1, "method": "nesterov", "strategy": "stream"}
    fit = st.descend(given, Array(y), **options)
    assert fit.backend == "cupy"
    assert isinstance(fit.coef, Array)
    expected = st.descend(X.copy(), y, backend="numpy", **options)
    assert np.abs(host(fit.coef) - expected.coef).max() <= tolerance(dtype, 4000)
    if order == "sorted":
        assert np.shares_memory(used[0].values, given.data.values)
        assert np.shares_memory(used[1].values, given.indices.values)
    else:
        assert not used
    assert "CSR_PRODUCT" in gpu.launches


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("form", ["strided", "int64"])
def test_parts_of_a_sparse_x_on_the_gpu(gpu: FakeCupy, part: str, form: str) -> None:
    """Kernels read parts that lie together, with indices of one type: others are brought into this form."""
    X = scipy.sparse.random_array((60, 8), density=0.4, rng=np.random.default_rng(0), format="csr")
    y = np.random.default_rng(1).normal(size=60)
    given = ForeignSparse(X)
    values = getattr(X, part)
    if form == "strided":
        setattr(given, part, Array(np.repeat(values, 2)[::2]))
    elif part != "data":
        setattr(given, part, Array(values.astype(np.int64)))
    options: dict[str, Any] = {"n_steps": 5, "method": "gd", "learning_rate": 0.1}
    fit, expected = st.descend(given, Array(y), **options), st.descend(X, y, backend="numpy", **options)
    assert np.abs(host(fit.coef) - expected.coef).max() <= tolerance(np.float64, 400)
    assert gpu.launches


#: What is written over the second number of a part, and what is said then.
BROKEN: dict[str, tuple[str, int, str]] = {
    "a column that is not there": ("indices", 4, "indices must be < 4"),
    "a negative column": ("indices", -1, "indices must be >= 0"),
    "pointers that fall": ("indptr", 3, "index pointer|indptr"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_sparse_x_on_the_gpu(gpu: FakeCupy, case: str) -> None:
    name, value, said = BROKEN[case]
    X = scipy.sparse.csr_array(np.eye(4))
    getattr(X, name)[1] = value
    with pytest.raises(st.InputError, match=f"X: the sparse matrix is broken: .*({said})"):
        st.descend(ForeignSparse(X), Array(np.arange(4.0)), n_steps=1)
    assert not gpu.launches


def test_sparse_x_on_the_gpu_is_not_converted(gpu: FakeCupy) -> None:
    X = ForeignSparse(scipy.sparse.csr_array(np.eye(4, dtype=np.int64)))
    with pytest.raises(st.InputError, match=r"X: expected float32 or float64 on a GPU, .* got int64; X\.astype"):
        st.descend(X, Array(np.arange(4.0)))
    assert not gpu.launches


def test_no_number_in_a_sparse_x_on_the_gpu(gpu: FakeCupy) -> None:
    X = scipy.sparse.csr_array(np.eye(4))
    X.data[2] = np.nan
    with pytest.raises(st.InputError, match=r"X\[2, 2\] is nan"):
        st.descend(ForeignSparse(X), Array(np.arange(4.0)), n_steps=1, learning_rate=0.1)
    assert gpu.launches
