"""Frames and foreign arrays in: pandas, polars, pyarrow, anything that speaks Arrow or DLPack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError, MissingPackageError
from steepest.validation import as_numbers

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    from numpy.typing import NDArray


def as_matrix(name: str, given: Any) -> tuple[Any, list[str] | None]:
    """Return what `given` holds as an array, and the names of its columns if it is a frame.

    A frame whose columns are one block of float32 or float64 is not copied; any other becomes an array of float64, by
    columns; a pandas frame of sparse columns becomes a sparse matrix. An array on the CPU that speaks only DLPack is
    not copied. What is neither is returned as it is.

    Raises
    ------
    InputError
        If a column is not numbers, or the frame has not been collected; the message names it.
    MissingPackageError
        If a frame was given and narwhals, which reads frames, is not installed.
    """
    if isinstance(given, (np.ndarray, np.generic, list, tuple)) or hasattr(given, "tocsr"):
        return given, None
    frame = _as_frame(name, given)
    if frame is not None:
        return _matrix(name, frame), [str(column) for column in frame.columns]
    if hasattr(given, "__dlpack__") and not hasattr(given, "__array__"):
        try:
            return np.from_dlpack(given), None
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{name}: expected an array in main memory; {error}") from error
    return given, None


def as_frame(name: str, given: Any) -> Any:
    """Return `given`; or, where it is a frame that only speaks Arrow, a pyarrow table, whose names others can read."""
    frame = _as_frame(name, given)
    return given if frame is None else frame.to_native()


#: The kinds of memory of DLPack that a GPU owns: its own, and what it shares with the host.
GPU_MEMORY = (2, 13)


def is_on_gpu(given: Any) -> bool:
    """Return whether `given` is an array in the memory of a CUDA GPU; nothing is imported to find out."""
    if hasattr(given, "tocsr"):
        return is_on_gpu(getattr(given, "data", None))
    if hasattr(type(given), "__dlpack_device__"):
        # Libraries with arrays in both memories have the interface of CUDA on all of them.
        try:
            return int(given.__dlpack_device__()[0]) in GPU_MEMORY
        except (BufferError, RuntimeError, TypeError, ValueError):
            return False
    return hasattr(type(given), "__cuda_array_interface__")


def refuse_gpu(backend: str, **arrays: Any) -> dict[str, Any]:
    """Return the arrays, all of them in main memory; an error that names the first that is not."""
    for name, array in arrays.items():
        if array is not None and is_on_gpu(array):
            raise InputError(
                f"{name}: it is in the memory of a GPU, and backend={backend!r} reads main memory; "
                f"pass backend='cupy', or bring it over: {name}.get() for CuPy, {name}.cpu() for PyTorch"
            )
    return arrays


def as_floats(column: Any) -> NDArray[np.float64]:
    """Return a narwhals column of numbers as float64: what is missing is NaN, integers beyond 2⁵³ are rounded."""
    import narwhals.stable.v2 as nw

    # Arrow's own conversion refuses integers that it would round, such as times in nanoseconds; NumPy's rounds them.
    kind = column.dtype
    known = (kind.is_integer() or kind.is_float()) and kind not in {nw.Int128, nw.UInt128}
    numbers = column if known else column.cast(nw.Float64)
    found: NDArray[np.float64] = numbers.to_numpy().astype(np.float64)
    return found


def is_frame(given: Any) -> bool:
    """Return whether `given` has named columns."""
    return hasattr(given, "__arrow_c_stream__") or hasattr(given, "__dataframe__") or hasattr(given, "collect_schema")


def expect_names(name: str, given: list[str], expected: list[str]) -> None:
    """Raise an error that lists what is missing and what is unexpected unless the columns are those of training."""
    if given == expected:
        return
    here, there = set(given), set(expected)
    missing = [column for column in expected if column not in here]
    unexpected = [column for column in given if column not in there]
    found = [
        f"{what}: {', '.join(map(repr, columns))}"
        for what, columns in (("missing", missing), ("unexpected", unexpected))
        if columns
    ]
    raise InputError(
        f"{name}: expected the columns of training; "
        + ("; ".join(found) if found else f"got them in another order; frame[{expected!r}] puts them right")
    )


def _as_frame(name: str, given: Any) -> nw.DataFrame[Any] | None:
    if not is_frame(given):
        return None
    try:
        import narwhals.stable.v2 as nw
        from narwhals.exceptions import DuplicateError
    except ImportError:
        raise MissingPackageError(f"{name}: tables need narwhals: pip install narwhals") from None

    try:
        table = nw.from_native(given, pass_through=True, allow_series=True)
    except DuplicateError as error:
        raise InputError(f"{name}: expected columns of different names; {error}") from error
    if isinstance(table, nw.Series):
        return None
    if isinstance(table, nw.LazyFrame):
        raise InputError(f"{name}: expected a frame in memory; got a lazy one; {name}.collect() makes one")
    if isinstance(table, nw.DataFrame):
        return table
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingPackageError(
            f"{name}: reading Arrow data of {type(given).__name__} needs pyarrow: pip install pyarrow"
        ) from None
    if not hasattr(given, "__arrow_c_stream__"):
        return None
    try:
        arrow: nw.DataFrame[Any] = nw.from_native(pa.table(given), eager_only=True)
    except (TypeError, ValueError, pa.ArrowException):
        # A single Arrow column is an array, not a table.
        return None
    return arrow


def _matrix(name: str, frame: nw.DataFrame[Any]) -> Any:
    import narwhals.stable.v2 as nw

    kinds = frame.schema
    native = frame.to_native()
    # pandas gives a frame this attribute only if all its columns are sparse.
    if hasattr(native, "sparse"):
        try:
            return native.sparse.to_coo().tocsr()
        except ValueError as error:
            raise InputError(f"{name}: expected sparse columns of which most are 0; {error}") from error
    for column in frame.iter_columns():
        kind = column.dtype
        if not (kind.is_numeric() or kind in {nw.Boolean, nw.Object}):
            shown = next((repr(value) for value in column.head(1).to_list()), "nothing")
            raise InputError(
                f"{name}: expected numbers; column {str(column.name)!r} is {kind} (the first is {shown}); leave it out "
                "or encode it: sklearn.preprocessing.OneHotEncoder for categories, 'steepest fit' for whole tables"
            )
    single, double = (all(kind == wanted for kind in kinds.values()) for wanted in (nw.Float32, nw.Float64))
    if single or double:
        return np.asarray(frame.to_numpy())
    array = np.empty(frame.shape, order="F")
    for j, column in enumerate(frame.iter_columns()):
        if column.dtype == nw.Object:
            array[:, j] = as_numbers(f"{name}[{str(column.name)!r}]", column.to_numpy())
        else:
            array[:, j] = as_floats(column)
    return array
