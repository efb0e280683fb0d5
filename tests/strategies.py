"""What the property tests are run on. Each docstring says what is promised; `test_strategies.py` holds it to that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis.strategies import DrawFn, SearchStrategy
from numpy.typing import NDArray

from samples import Sample

Floats = NDArray[np.float64]

LARGEST_INTEGER = 8
LARGEST_WEIGHT = 4


def integers(shape: Any, largest: int = LARGEST_INTEGER) -> SearchStrategy[Floats]:
    """Promises float64 arrays of `shape` whose entries are whole and at most `largest` in magnitude.

    Sums of products of a few hundred of them are exact in float32 too, in any order, so results compare with ``==``.
    """
    return hnp.arrays(np.float64, shape, elements=st.integers(-largest, largest).map(float))


def weights(n_rows: int) -> SearchStrategy[Floats]:
    """Promises whole weights from 1 to 4: they at most double the condition number of a design."""
    return hnp.arrays(np.float64, n_rows, elements=st.integers(1, LARGEST_WEIGHT).map(float))


def scores(dtype: Any = np.float64) -> SearchStrategy[float]:
    """Promises finite floats of `dtype` over its full range: both zeros, subnormals, the largest, and everyday ones."""
    info = np.finfo(dtype)
    width: Any = info.bits
    largest, smallest = float(info.max), float(info.tiny)
    extremes = [0.0, -0.0, float(info.smallest_subnormal), -smallest, 1e4, -1e4, largest, -largest]
    if width == 64:
        extremes += [1e300, -1e300]
    return st.one_of(
        st.floats(-50, 50, width=width),
        st.floats(-largest, largest, width=width),
        st.floats(-smallest, smallest, width=width),
        st.sampled_from(extremes),
    )


class LeastSquares(NamedTuple):
    """min ‖X w − y‖² / n with a known spectrum."""

    X: Floats
    y: Floats
    singular_values: Floats


@st.composite
def problems(
    draw: DrawFn, max_rows: int = 12, max_columns: int = 4, max_cond: float = 1e3, *, centred: bool = False
) -> LeastSquares:
    """Promises X = √n · U diag(s) Vᵀ of full column rank with 1 ≤ s ≤ `max_cond`; the singular values are √n s.

    U and V are products of Householder reflections of small integers, so simple problems have them and s equal to one.
    With `centred`, the columns of X sum to zero, so that a column of ones adds √n to the singular values and no more.
    The targets are whole. Nothing is filtered.
    """
    d = draw(st.integers(1, max_columns))
    n = draw(st.integers(d + centred, max_rows))
    logarithms = draw(hnp.arrays(np.float64, d, elements=st.floats(0, float(np.log(max_cond)))))
    singular_values = np.sqrt(n) * np.exp(logarithms)
    X = np.zeros((n, d))
    X[centred:] = _reflect(draw, np.eye(n - centred, d) * singular_values)
    X = _reflect(draw, X.T).T
    if centred:
        # The first row is zero; the reflection that swaps the first axis for the direction of ones centres the rest.
        axis = -np.full(n, n**-0.5)
        axis[0] += 1
        X -= 2 / (axis @ axis) * np.outer(axis, axis @ X)
    return LeastSquares(np.ascontiguousarray(X), draw(integers(n)), np.sort(singular_values)[::-1])


def _reflect(draw: DrawFn, matrix: Floats) -> Floats:
    for _ in range(2):
        axis = draw(integers(len(matrix), 4))
        if axis.any():
            matrix = matrix - 2 / (axis @ axis) * np.outer(axis, axis @ matrix)
    return matrix


class Kind(NamedTuple):
    """A loss, the number of its classes (0: none), and the columns of `y` (1: none but itself)."""

    loss: str
    n_classes: int = 0
    n_columns: int = 1

    @property
    def width(self) -> int:
        """Scores a row."""
        return self.n_columns if self.loss == "mse" else (self.n_classes if self.n_classes > 2 else 1)


#: The kinds of sample. A new loss adds its own.
KINDS = {
    "mse": Kind("mse"),
    "two targets": Kind("mse", n_columns=2),
    "binary": Kind("log_loss", 2),
    "binary probabilities": Kind("log_loss", 2, n_columns=2),
    "softmax": Kind("log_loss", 4),
    "probabilities": Kind("log_loss", 3, n_columns=3),
    "huber": Kind("huber"),
    "poisson": Kind("poisson"),
    "squared_hinge": Kind("squared_hinge", 2),
}
#: Those whose curvature has a bound.
BOUNDED = sorted(set(KINDS) - {"poisson"})


@st.composite
def probabilities(draw: DrawFn, n_rows: int, n_classes: int) -> Floats:
    """Promises rows of eighths that sum to one."""
    cuts = draw(hnp.arrays(np.int64, (n_rows, n_classes - 1), elements=st.integers(0, 8)))
    edges = np.hstack([np.zeros((n_rows, 1)), np.sort(cuts, axis=1), np.full((n_rows, 1), 8)])
    return np.diff(edges, axis=1) / 8


def observed(kind: str, n_rows: int, generator: np.random.Generator) -> Floats:
    """Promises targets that `kind` can observe, from a generator of random numbers."""
    loss, n_classes, n_columns = KINDS[kind]
    if n_classes and n_columns > 1:
        shares = generator.uniform(size=(n_rows, n_columns))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))
    if n_classes:
        return (np.arange(n_rows) % n_classes).astype(np.float64)
    numbers = generator.normal(size=(n_rows, n_columns) if n_columns > 1 else n_rows)
    return np.asarray(np.round(np.exp(numbers)) if loss == "poisson" else numbers, dtype=np.float64)


def example(kind: str, n: int = 41, d: int = 3) -> Sample:
    """Promises a problem that no descent is done with in a few steps, where no gradient is zero but for rounding."""
    kind_of, generator = KINDS[kind], np.random.default_rng(n + d)
    X = generator.normal(size=(n, d)) * 2.0 ** np.arange(d)
    y = observed(kind, n, generator)
    if kind == "mse":
        y += X @ np.ones(d)
    shape = (kind_of.width, d) if kind_of.width > 1 else (d,)
    zeros = np.zeros(shape), np.zeros(shape[:-1] or 1)
    return Sample(kind_of.loss, X, y, *zeros, alpha=0.01, n_classes=kind_of.n_classes)


@st.composite
def targets(draw: DrawFn, kind: Kind, n_rows: int, numbers: SearchStrategy[Floats]) -> Floats:
    """Promises what `kind` can observe, (n_rows,) or (n_rows, n_columns); `numbers` gives those of a regression."""
    if kind.n_classes and kind.n_columns > 1:
        return draw(probabilities(n_rows, kind.n_classes))
    if kind.n_classes:
        return draw(hnp.arrays(np.float64, n_rows, elements=st.integers(0, kind.n_classes - 1).map(float)))
    drawn = draw(numbers)
    return np.abs(drawn) if kind.loss == "poisson" else drawn


@st.composite
def samples(
    draw: DrawFn,
    kind: str | None = None,
    *,
    exact: bool = False,
    weighted: bool | None = None,
    max_rows: int = 20,
) -> Sample:
    """Promises a valid objective at a point, in float64, all of whose numbers float32 holds exactly.

    With `exact` they are small and whole (alpha in halves), so that the sums of "mse" are exact in any order, in
    float32 too. Otherwise entries reach ±10. Labels need not all be there. Weights are whole, from 1 to 4.
    """
    kind_of = KINDS[kind or draw(st.sampled_from(sorted(KINDS)))]
    n, d, width = draw(st.integers(1, max_rows)), draw(st.integers(1, 4)), kind_of.width
    shape = (width, d) if width > 1 else (d,)
    # Exponentials of scores stay within the range of single precision.
    shrink = 1 / 64 if kind_of.loss == "poisson" else 1.0
    # Half precision: no number is so small that its square is lost, which no relative error could account for.
    reals = st.floats(-10, 10, width=16)

    def numbers(shape: Any, largest: int) -> SearchStrategy[Floats]:
        return integers(shape, largest) if exact else hnp.arrays(np.float64, shape, elements=reals)

    columns = (n, kind_of.n_columns) if kind_of.n_columns > 1 else n
    offsets = numbers((n, width) if width > 1 else n, 4).map(lambda offset: offset * shrink)
    return Sample(
        loss=kind_of.loss,
        X=draw(numbers((n, d), LARGEST_INTEGER)),
        y=draw(targets(kind_of, n, numbers(columns, LARGEST_INTEGER))),
        coef=draw(numbers(shape, 2)) * shrink,
        intercept=draw(numbers(shape[:-1] or 1, 4)) * shrink,
        weights=draw(weights(n)) if (draw(st.booleans()) if weighted is None else weighted) else None,
        alpha=draw(st.sampled_from([0.0, 0.5, 2.0])),
        n_classes=kind_of.n_classes,
        l1_ratio=draw(st.sampled_from([0.0, 0.5, 1.0])),
        offset=draw(st.none() | offsets),
    )


def _strided(values: Floats) -> Floats:
    room = np.full((2 * values.shape[0], 3 * values.shape[1]), np.nan)
    room[::2, ::3] = values
    return room[::2, ::3]


def _read_only(values: Floats) -> Floats:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(values: Floats) -> Floats:
    room = np.zeros(values.nbytes + 1, dtype=np.uint8)
    copy = room[1:].view(np.float64).reshape(values.shape)
    copy[...] = values
    return copy


#: The same numbers, stored otherwise.
LAYOUTS: dict[str, Callable[[Floats], Any]] = {
    "c": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "strided": _strided,
    "negative stride": lambda values: values[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": _read_only,
    "unaligned": _unaligned,
    "big-endian": lambda values: values.astype(">f8"),
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "long double": lambda values: values.astype(np.longdouble),
    "int64": lambda values: values.astype(np.int64),
    "uint8": lambda values: values.astype(np.uint8),
    "bool": lambda values: values.astype(np.bool_),
    "objects": lambda values: values.astype(object),
    "lists": lambda values: values.tolist(),
}


class Layout(NamedTuple):
    """A matrix twice: as a plain float64 array, and as it is `stored`."""

    name: str
    values: Floats
    stored: Any


@st.composite
def layouts(draw: DrawFn) -> Layout:
    """Promises a matrix of zeros and ones, of at least two rows and columns, and the same matrix in some layout."""
    shape = (draw(st.integers(2, 12)), draw(st.integers(2, 4)))
    values = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0])))
    name = draw(st.sampled_from(sorted(LAYOUTS)))
    return Layout(name, values, LAYOUTS[name](values))
