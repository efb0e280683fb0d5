"""Arrays however they lie in memory: the bits of a contiguous copy, or an error by name; never written to, never kept.

`strategies.LAYOUTS` has the everyday ones; here are those that NumPy can be made to produce.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as hst
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray
from scipy import sparse

import steepest as st
from strategies import LAYOUTS

Floats = NDArray[np.float64]
#: A drawn case is several fits.
FEWER = max(settings.default.max_examples // 4, 25) if settings.default else 25


def _sliced_twice(values: Floats) -> Floats:
    room = np.zeros((3, *values.shape, 2))
    room[1, ..., 1] = values
    return room[1, ..., 1]


def _with_odd_strides(values: Floats) -> Floats:
    """Rows that begin five bytes after a multiple of eight, and are not a multiple of eight apart."""
    n, d = values.shape
    room = np.zeros(n * (8 * d + 3) + 5, dtype=np.uint8)
    array: Floats = as_strided(room[5 : 5 + 8].view(np.float64), shape=(n, d), strides=(8 * d + 3, 8))
    array[...] = values
    return array


def _of_a_structure(values: Floats) -> Floats:
    table = np.zeros(values.shape, dtype=[("flag", "i1"), ("value", "f8")])
    table["value"] = values
    return table["value"]


def _of_a_complex(values: Floats) -> Any:
    return (values + 1j).real


def _in_a_subclass(values: Floats) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(values)


#: The same numbers, stored as only a program would.
STRANGE: dict[str, Callable[[Floats], Any]] = {
    "transposed": lambda values: values.T.copy().T,
    "every second row": lambda values: np.repeat(values, 2, axis=0)[::2],
    "backwards": lambda values: values[::-1].copy()[::-1],
    "backwards by columns": lambda values: values[:, ::-1].copy(order="F")[:, ::-1],
    "sliced to no dimension": _sliced_twice,
    "odd strides": _with_odd_strides,
    "a field of a structure": _of_a_structure,
    "half of a complex": _of_a_complex,
    "a matrix": _in_a_subclass,
    "masked nowhere": lambda values: np.ma.masked_array(values, np.zeros(values.shape, bool)),
    "big-endian objects": lambda values: values.astype(">f8").astype(object),
    "big-endian and backwards": lambda values: values[::-1].astype(">f8")[::-1],
    "a longer memory": lambda values: np.frombuffer(values.tobytes() + b"\0" * 8)[:-1].reshape(values.shape),
    "read-only by columns": lambda values: _frozen(np.asfortranarray(values)),
}


def _frozen(values: Floats) -> Floats:
    values.flags.writeable = False
    return values


#: Layouts that hold any number as it is; the others of `LAYOUTS` round.
EXACT = {name: LAYOUTS[name] for name in ("c", "fortran", "strided", "negative stride", "read-only", "unaligned")}
EXACT |= {name: LAYOUTS[name] for name in ("big-endian", "long double", "objects", "lists")} | STRANGE


def bits(X: Any, y: Any, weights: Any, offset: Any, **options: Any) -> bytes:
    fit = st.descend(X, y, sample_weight=weights, offset=offset, n_steps=4, **options)
    return b"".join(part.tobytes() for part in (fit.coef, fit.intercept, fit.history.loss))


def flat(store: Callable[[Floats], Any], values: Floats) -> Any:
    """Return numbers in one dimension, stored as a column of a table is."""
    stored = store(np.column_stack([values, values]))
    return [row[0] for row in stored] if isinstance(stored, list) else np.asarray(stored)[:, 0]


@settings(max_examples=FEWER, suppress_health_check=[HealthCheck.too_slow])
@given(data=hst.data())
def test_every_layout_gives_the_bits_of_a_contiguous_copy(backend: str, data: hst.DataObject) -> None:
    n, d = data.draw(hst.integers(2, 40)), data.draw(hst.integers(1, 5))
    numbers = hst.floats(-100, 100, width=32).map(lambda x: x if abs(x) > 1e-3 else 0.0)
    X = data.draw(hnp.arrays(np.float64, (n, d), elements=numbers))
    y, offset = (data.draw(hnp.arrays(np.float64, n, elements=numbers)) for _ in range(2))
    weights = data.draw(hnp.arrays(np.float64, n, elements=hst.integers(1, 4).map(float)))
    options: dict[str, Any] = {
        "method": data.draw(hst.sampled_from(["gd", "nesterov", "sgd", "lbfgs"])),
        "precondition": data.draw(hst.booleans()),
        "strategy": data.draw(hst.sampled_from(["auto", "stream"])),
        "backend": backend,
    }
    first, *others = (data.draw(hst.sampled_from(sorted(EXACT))) for _ in range(4))
    vectors = [flat(EXACT[name], vector) for name, vector in zip(others, (y, weights, offset), strict=True)]
    stored = EXACT[first](X), *vectors
    before = [np.array(array, copy=True) for array in stored]
    try:
        found = bits(*stored, **options)
    except st.DivergenceError:
        return
    # A copy keeps what lies by columns by columns, where sums run in another order.
    references = {bits(order(X), y, weights, offset, **options) for order in (np.ascontiguousarray, np.asfortranarray)}
    assert found in references
    for array, as_it_was in zip(stored, before, strict=True):
        assert np.array_equal(np.asarray(array), as_it_was)


@pytest.mark.parametrize("name", sorted(EXACT))
def test_results_are_nobody_elses(backend: str, name: str) -> None:
    """Neither a fit nor a prediction shares memory with what came in, and what came in may go."""
    values = np.random.default_rng(0).normal(size=(20, 3))
    X, y = EXACT[name](values), flat(EXACT[name], values @ [1.0, 2.0, 3.0])
    fit = st.descend(X, y, n_steps=3, backend=backend)
    results = [fit.coef, fit.parameters, *fit.state.values(), fit.history.loss]
    if not isinstance(X, list):
        plain = np.asarray(X)
        model = st.GDRegressor(backend=backend).fit(plain, y)
        results += [model.coef_, model.predict(plain)]
        assert not any(np.may_share_memory(result, array) for result in results for array in (plain, np.asarray(y)))
    before = [result.copy() for result in results]
    if isinstance(X, np.ndarray) and X.flags.writeable and X.dtype != object:
        X[...] = 0
    assert all(np.array_equal(one, other) for one, other in zip(results, before, strict=True))
    start = fit.coef.copy(), fit.intercept
    st.descend(values, values[:, 0], start=start, n_steps=3, backend=backend)
    assert np.array_equal(start[0], fit.coef)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_strides_of_zero(backend: str, axes: tuple[int, ...]) -> None:
    """One row that stands for many, one column that stands for all, one number that stands for everything."""
    shape = (30, 3)
    one = np.random.default_rng(1).normal(size=tuple(1 if axis in axes else n for axis, n in enumerate(shape)))
    broadcast = np.broadcast_to(one, shape)
    assert 0 in broadcast.strides
    y = np.arange(30.0)
    for options in ({}, {"precondition": True}, {"method": "lbfgs"}):
        found, expected = (
            st.descend(X, y, n_steps=3, backend=backend, **options)
            for X in (broadcast, np.ascontiguousarray(broadcast))
        )
        assert found.coef.tobytes() == expected.coef.tobytes()
    flat_one = np.broadcast_to(np.float64(2.0), 30)
    for argument in ("sample_weight", "offset"):
        found, expected = (
            st.descend(y[:, None], y, n_steps=3, backend=backend, **{argument: given})  # type: ignore[arg-type]
            for given in (flat_one, flat_one.copy())
        )
        assert found.coef.tobytes() == expected.coef.tobytes()


def test_windows_that_overlap(backend: str) -> None:
    windows = sliding_window_view(np.random.default_rng(2).normal(size=50), 4)
    found, expected = (
        st.descend(X, np.arange(47.0), n_steps=3, backend=backend) for X in (windows, np.ascontiguousarray(windows))
    )
    assert found.coef.tobytes() == expected.coef.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_in_memory(backend: str, order: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(500, 3))
    mapped = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=values.shape, order=order)
    mapped[...] = values
    mapped.flush()
    before = (tmp_path / "X").read_bytes()
    read = np.memmap(tmp_path / "X", dtype=np.float64, mode="r", shape=values.shape, order=order)
    found, expected = (
        st.descend(X, values[:, 0], n_steps=3, backend=backend) for X in (read, np.asarray(values, order=order))
    )
    assert found.coef.tobytes() == expected.coef.tobytes()
    assert type(found.coef) is np.ndarray
    assert (tmp_path / "X").read_bytes() == before


#: Types of numbers, and the one that they are computed in.
TYPES = {
    **dict.fromkeys(["f2", "f4", ">f4", ">f2"], np.float32),
    **dict.fromkeys(["f8", ">f8", "longdouble", "?", "i1", "u2", ">i4", "i8", ">u8", "object"], np.float64),
}


@pytest.mark.parametrize("dtype", TYPES)
def test_types_of_numbers(backend: str, dtype: str) -> None:
    values = np.random.default_rng(4).integers(0, 2, size=(30, 3))
    y = values @ [1, 2, 1]
    stored = values.astype(dtype)
    found, expected = (st.descend(X, y, n_steps=3, backend=backend) for X in (stored, values.astype(TYPES[dtype])))
    assert found.coef.dtype == TYPES[dtype]
    assert found.coef.tobytes() == expected.coef.tobytes()


X, Y = np.random.default_rng(5).normal(size=(12, 3)), np.arange(12.0)
REFUSED: dict[str, Any] = {
    "complex": X + 0j,
    "complex in single precision": (X + 0j).astype(np.complex64),
    "objects that are complex": (X + 1j).astype(object),
    "objects that are none": np.where(X > 0, X.astype(object), np.full(X.shape, None)),
    "masked": np.ma.masked_greater(X, 0.0),
    "masked by objects": np.ma.masked_greater(X.astype(object), 0.0),
    "a structure": X.copy().view([("a", "f8"), ("b", "f8"), ("c", "f8")]),
    "a structure of one field": np.zeros(X.shape, dtype=[("a", "f8")]),
    "dates": X.astype("datetime64[s]"),
    "times": X.astype("timedelta64[s]"),
    "text": X.astype(str),
    "bytes": X.astype(bytes),
    "void": X.view("V8"),
    "no dimension": np.array(1.0),
    "three dimensions": X[None],
    "no rows": X[:0],
    "no columns": X[:, :0],
    "neither": X[:0, :0],
    "ragged": [[1.0], [1.0, 2.0]],
    "long doubles beyond doubles": np.full((12, 3), np.longdouble(10) ** 400)
    if np.finfo(np.longdouble).maxexp > 1024
    else X * np.inf,
    "integers beyond doubles": np.full((12, 3), 10**400, dtype=object),
    "not finite": np.where(X > 1, np.inf, X),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_of_numbers_is_refused_by_name(backend: str, kind: str) -> None:
    given = REFUSED[kind]
    with pytest.raises(st.InputError, match=r"^X: "):
        st.descend(given, Y, n_steps=2, backend=backend)
    with pytest.raises(st.InputError, match=r"^(eval_set: )?X: "):
        st.descend(X, Y, eval_set=(given, Y), n_steps=2, backend=backend)
    # scikit-learn has words of its own for some of them, which are no nonsense either.
    with pytest.raises((ValueError, TypeError)):
        st.GDRegressor(backend=backend).fit(given, Y)


@pytest.mark.parametrize("kind", ["C", "F", "[::2]", "empty"])
def test_empty_predictions(kind: str) -> None:
    model = st.GDRegressor().fit(X, Y)
    if kind == "empty":
        with pytest.raises(ValueError, match="0 sample"):
            model.predict(X[:0])
        return
    given = {"C": X, "F": np.asfortranarray(X), "[::2]": np.repeat(X, 2, axis=0)[::2]}[kind]
    assert model.predict(given) == pytest.approx(model.predict(X), rel=1e-14)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@settings(max_examples=FEWER)
@given(data=hst.data())
def test_sparse_parts_however_they_lie(backend: str, index: Any, data: hst.DataObject) -> None:
    """Data and indices that are slices of others, read-only, or of another byte order, are those of a plain matrix."""
    dense = data.draw(hnp.arrays(np.float64, (9, 4), elements=hst.sampled_from([0.0, 0.0, 1.5, -2.0])))
    plain = sparse.csr_array(dense)
    plain.indices, plain.indptr = plain.indices.astype(index), plain.indptr.astype(index)
    y = np.arange(9.0)
    expected = st.descend(plain, y, n_steps=3, backend=backend)
    stored = plain.copy()
    stored.indices, stored.indptr = plain.indices.copy(), plain.indptr.copy()
    how = data.draw(hst.sampled_from(["strided", "read-only", "big-endian", "unaligned"]))
    parts = data.draw(hst.sets(hst.sampled_from(["data", "indices", "indptr"]), min_size=1))
    for name in parts:
        setattr(stored, name, _stored_otherwise(getattr(plain, name), how))
    before = [getattr(stored, name).copy() for name in ("data", "indices", "indptr")]
    try:
        found = st.descend(stored, y, n_steps=3, backend=backend)
    except st.InputError as error:
        # SciPy itself refuses indices of another byte order.
        assert how == "big-endian"
        assert str(error).startswith("X")  # noqa: PT017
        return
    assert found.coef.tobytes() == expected.coef.tobytes()
    for name, as_it_was in zip(("data", "indices", "indptr"), before, strict=True):
        assert np.array_equal(getattr(stored, name), as_it_was)


def _stored_otherwise(array: NDArray[Any], how: str) -> NDArray[Any]:
    if how == "strided":
        return np.repeat(array, 2)[::2]
    if how == "read-only":
        return _frozen(array.copy())
    if how == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    room = np.zeros(array.nbytes + 1, dtype=np.uint8)
    copy = room[1:].view(array.dtype)
    copy[...] = array
    return copy


RACE = """
import sys, threading, warnings
import numpy as np
from scipy.sparse import csr_array
import steepest as st

warnings.simplefilter("ignore")
generator = np.random.default_rng(0)
X = generator.normal(size=(5000, 8))
y = X[:, 0].copy()
sparse = csr_array(np.where(generator.random(X.shape) < 0.5, X, 0))
plain = sparse.indices.copy(), sparse.indptr.copy()
done = threading.Event()

def write():
    generator = np.random.default_rng(1)
    while not done.is_set():
        X[generator.integers(len(X))] = generator.normal(size=8) * 10.0 ** generator.integers(-300, 300)
        for part, n in ((sparse.indices, 2000), (sparse.indptr, 50)):
            part[generator.integers(len(part), size=n)] = generator.integers(-2**31, 2**31 - 1, size=n)
        sparse.indices[:], sparse.indptr[:] = plain

writer = threading.Thread(target=write)
writer.start()
n_fits = 0
for number in range(200):
    for design in (X, sparse):
        try:
            st.descend(design, y, n_steps=3, backend="rust", n_threads=1 + number % 3)
        except st.SteepestError:
            # What was checked is no longer so: the core stops there, and touches nothing that is not its own.
            pass
        n_fits += 1
done.set()
writer.join()
print(n_fits)
"""


def test_another_thread_that_writes_makes_wrong_numbers_and_no_crash() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "400\n"
