"""The design matrix in: dense or sparse, as every backend can read it, or an error that names the culprit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError, MissingPackageError
from steepest.tables import as_matrix, is_on_gpu
from steepest.validation import as_numbers, cell, to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCAN_ROWS = 1 << 16
#: Types that X may be stored in on a GPU, of half the bytes of the type that they are computed in.
HALVES = ("float16", "bfloat16")
HALF_BYTES = 2


@dataclass(frozen=True, eq=False)
class Csr:
    """A sparse matrix by compressed rows: row i holds ``data[indptr[i]:indptr[i + 1]]`` in the columns `indices` names.

    Indices may be unsorted; the same column twice in a row counts as the sum.
    """

    data: NDArray[Any]
    """float32 or float64."""
    indices: NDArray[Any]
    indptr: NDArray[Any]
    """Both int32 or both int64."""
    shape: tuple[int, int]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: aligned(part) for name, part in state.items()})

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the entries."""
        return self.data.dtype

    def take(self, rows: Any) -> Csr:
        """Return some of the rows, copied."""
        return _as_csr(self.to_scipy()[rows])

    def to_scipy(self) -> Any:
        """Return the same matrix, not copied, for SciPy; an error if its structure is broken."""
        try:
            from scipy.sparse import csr_array
        except ImportError as error:
            raise MissingPackageError("sparse X needs SciPy here: pip install scipy") from error
        try:
            matrix = csr_array((self.data, self.indices, self.indptr), shape=self.shape)
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise InputError(f"X: the sparse matrix is broken: {error}") from error
        return matrix


class GpuCsr(Csr):
    """A sparse matrix in the memory of a GPU: arrays of CuPy, used in place; in each row every column once."""

    def to_scipy(self) -> Any:
        """Return a copy in main memory, for SciPy; an error if its structure is broken."""
        return Csr(to_host(self.data), to_host(self.indices), to_host(self.indptr), self.shape).to_scipy()


def aligned(part: Any) -> Any:
    """Return a part of what was sent here: an array may lie where no kernel can read it, and is then copied."""
    return np.require(part, requirements="A") if isinstance(part, np.ndarray) else part


def as_design(X: Any) -> tuple[NDArray[Any] | Csr, list[str] | None]:
    """Return X as (n_samples, n_features), and the names of its columns if it is a frame.

    Contiguous by rows or columns, or sparse; one dimension is one feature.
    """
    if is_on_gpu(X):
        return _as_gpu_csr(X.tocsr()) if hasattr(X, "tocsr") else _as_gpu_design(X), None
    X, names = as_matrix("X", X)
    if hasattr(X, "tocsr"):
        csr = _as_csr(X.tocsr())
        _check_shape(csr)
        return csr, names
    array = as_numbers("X", X)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2:  # noqa: PLR2004
        raise InputError(f"X: expected shape (n_samples, n_features); got {array.shape}")
    _check_shape(array)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array, names
    return np.ascontiguousarray(array), names


def _as_gpu_design(array: Any) -> Any:
    """Return an array of CuPy, which is used in place whatever its strides."""
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:  # noqa: PLR2004
        raise InputError(f"X: expected shape (n_samples, n_features); got {array.shape}")
    _expect_type(array, "float32, float64, float16 or bfloat16")
    _check_shape(array)
    return array


def _as_gpu_csr(matrix: Any) -> Csr:
    """Return a sparse matrix of CuPy, which is used in place; one in main memory if a row's columns do not rise."""
    _expect_type(matrix, "float32 or float64")
    _check_shape(matrix)
    design = _gpu_parts(matrix)
    if not _is_whole(design):
        # It says what is wrong.
        design.to_scipy()
    # CuPy adds what stands twice in an order of its own, which may be another one every time.
    return design if matrix.has_canonical_format else _as_csr(design.to_scipy())


def _gpu_parts(matrix: Any) -> GpuCsr:
    # There may be spare room behind the last entry.
    end = max(int(matrix.indptr[-1]), 0)
    narrow = matrix.indices.dtype == matrix.indptr.dtype == np.int32
    index = np.int32 if narrow else np.int64
    # As kernels read them; what is so already is not copied.
    data = matrix.data[:end].astype(matrix.data.dtype, order="C", copy=False)
    indices = matrix.indices[:end].astype(index, order="C", copy=False)
    indptr = matrix.indptr.astype(index, order="C", copy=False)
    return GpuCsr(data, indices, indptr, (int(matrix.shape[0]), int(matrix.shape[1])))


def _is_whole(design: GpuCsr) -> bool:
    """Return whether all entries are within the matrix."""
    indices, indptr, (n, d) = design.indices, design.indptr, design.shape
    if len(indptr) != n + 1 or len(indices) != len(design.data):
        return False
    is_whole = (indptr[0] == 0) & (indptr[-1] == len(indices)) & (indptr[1:] >= indptr[:-1]).all()
    return bool(is_whole & ((indices >= 0) & (indices < d)).all())


def _expect_type(array: Any, expected: str) -> None:
    if str(array.dtype) not in expected.replace(" or", ",").split(", "):
        raise InputError(
            f"X: expected {expected} on a GPU, where it is not converted; got {array.dtype}; "
            "X.astype('float32') makes a copy"
        )


def computed_in(design: NDArray[Any] | Csr) -> np.dtype[Any]:
    """Return the type that a design matrix is computed in: its own, or float32 where it is stored in half of one."""
    # Of what `as_design` lets through, two bytes are one of `HALVES`, and asking for a name takes microseconds.
    return np.dtype(np.float32) if design.dtype.itemsize == HALF_BYTES else design.dtype


def _check_shape(design: Any) -> None:
    if 0 in design.shape:
        raise InputError(f"X: expected at least one row and one column; got shape {design.shape}")


def _as_csr(matrix: Any) -> Csr:
    narrow = matrix.indices.dtype == matrix.indptr.dtype == np.int32
    index = np.int32 if narrow else np.int64
    if len(matrix.indptr) != matrix.shape[0] + 1:
        raise InputError(
            f"X: the sparse matrix is broken: {matrix.shape[0]} rows need {matrix.shape[0] + 1} pointers; "
            f"indptr has {len(matrix.indptr)}"
        )
    # SciPy may keep spare room behind the last entry.
    end = max(int(matrix.indptr[-1]), 0)
    return Csr(
        data=np.ascontiguousarray(as_numbers("X.data", matrix.data[:end])),
        indices=np.require(matrix.indices[:end], dtype=index, requirements=["C", "A"]),
        indptr=np.require(matrix.indptr, dtype=index, requirements=["C", "A"]),
        shape=(int(matrix.shape[0]), int(matrix.shape[1])),
    )


def take_rows(design: NDArray[Any] | Csr, rows: Any) -> NDArray[Any] | Csr:
    """Return some of the rows of a design matrix, copied."""
    if isinstance(design, Csr):
        return design.take(rows)
    part = design[rows]
    return np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part


def check_finite(design: NDArray[Any] | Csr, names: list[str] | None = None) -> None:
    """Raise an error that names the first row and column of X that is not finite, if there is one."""
    if isinstance(design, Csr):
        if not np.isfinite(design.data).all():
            data = to_host(design.data)
            entry = int(np.argmin(np.isfinite(data)))
            row = int(np.searchsorted(to_host(design.indptr), entry, side="right")) - 1
            _not_finite((row, int(design.indices[entry])), data[entry], names)
        return
    for start in range(0, len(design), SCAN_ROWS):
        rows = to_host(design[start : start + SCAN_ROWS])
        finite = np.isfinite(rows)
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            _not_finite((start + row, column), rows[row, column], names)


def check_scores(scores: NDArray[Any], X: Any, names: list[str] | None = None) -> None:
    """Raise an error that names a cell of X, or else the row, if there is a score that is not finite."""
    finite = np.isfinite(scores)
    if finite.all():
        return
    # Only then is X read once more.
    check_finite(as_design(X)[0], names)
    row = int(np.argwhere(~finite)[0][0])
    raise InputError(
        f"X: the score of row {row} is beyond the range of {scores.dtype}; bring the columns to the scale of training"
    )


def _not_finite(place: tuple[int, int], value: Any, names: list[str] | None) -> None:
    called = f" (column {names[place[1]]!r})" if names else ""
    raise InputError(
        f"X: expected finite numbers; {cell('X', place)}{called} is {value}; drop or fill such cells first"
    )
