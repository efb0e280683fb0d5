"""Arrays in: whatever the user has becomes arrays that every backend can read, or an error that names the culprit."""

from __future__ import annotations

import difflib
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SCAN_ROWS = 1 << 16
MOST = 2**63 - 1
#: Weights between this and its inverse are taken as they are.
SMALL = 1e-6
#: The share of their standard deviation that numbers may lose when they are rounded to the type of X.
MOST_LOST = 1e-3


def known(name: str, given: object, choices: Iterable[str]) -> str:
    """Return `given` if it is one of `choices`; otherwise say which there are and which is nearest."""
    choices = sorted(choices)
    if isinstance(given, str) and given in choices:
        return given
    near = difflib.get_close_matches(str(given), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{name}: expected one of {', '.join(choices)}; got {given!r}{hint}")


def number(name: str, given: object, *, least: float = -np.inf, above: float = -np.inf) -> float:
    """Return `given` as a finite float that is at least `least` and greater than `above`."""
    expected = "a finite number"
    if above > -np.inf:
        expected = f"a finite number > {above:g}"
    elif least > -np.inf:
        expected = f"a finite number ≥ {least:g}"
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        value = _as_float(given)
        if np.isfinite(value) and value >= least and value > above:
            return value
    raise InputError(f"{name}: expected {expected}; got {reprlib.repr(given)}")


def rate(given: object) -> float | None:
    """Return a learning rate as a float, or None for ``"auto"``."""
    if given == "auto":
        return None
    if isinstance(given, str):
        raise InputError(f"learning_rate: expected 'auto' or a number > 0; got {given!r}")
    return number("learning_rate", given, above=0.0)


def _as_float(given: Any) -> float:
    try:
        return float(given)
    except OverflowError:
        return np.inf


def integer(name: str, given: object, *, least: int) -> int:
    """Return `given` as an integer that is at least `least` and fits 64 bits."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and least <= given <= MOST:
        return int(given)
    raise InputError(f"{name}: expected an integer ≥ {least}; got {reprlib.repr(given)}")


def flag(name: str, given: object) -> bool:
    """Return `given` if it is True or False."""
    if isinstance(given, (bool, np.bool_)):
        return bool(given)
    raise InputError(f"{name}: expected True or False; got {given!r}")


def as_numbers(name: str, given: Any) -> NDArray[Any]:
    """Return `given` as an array of float32 or float64 in native byte order, copied only if it is something else.

    float16 becomes float32; integers, booleans and long doubles become float64.
    """
    if hasattr(given, "tocsr"):
        raise InputError(
            f"{name}: expected a dense array; got a sparse {type(given).__name__}; {name}.toarray() makes a dense one"
        )
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name}: expected no masked entries; fill or drop them first")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError(f"{name}: expected an array of numbers; {error}") from error
    if array.dtype.kind == "O":
        array = _from_objects(name, array)
    if array.dtype.kind not in "fiub":
        where = f" ({_cell(name, (0,) * array.ndim)} is {array.flat[0]!r})" if array.size else ""
        raise InputError(f"{name}: expected numbers; got dtype {array.dtype}{where}")
    single = array.dtype.kind == "f" and array.dtype.itemsize <= np.dtype(np.float32).itemsize
    return np.require(array, dtype=np.float32 if single else np.float64, requirements="A")


def _from_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    for index, value in np.ndenumerate(array):
        real = isinstance(value, (int, float, np.number, np.bool_)) and not isinstance(value, np.complexfloating)
        if not real or (isinstance(value, int) and np.isinf(_as_float(value))):
            raise InputError(f"{name}: expected numbers; {_cell(name, index)} is {reprlib.repr(value)}")
    return array.astype(np.float64)


def _cell(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def as_design(X: Any) -> NDArray[Any]:
    """Return X as (n_samples, n_features), contiguous by rows or by columns. One dimension is one feature."""
    array = as_numbers("X", X)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2:  # noqa: PLR2004
        raise InputError(f"X: expected shape (n_samples, n_features); got {array.shape}")
    if 0 in array.shape:
        raise InputError(f"X: expected at least one row and one column; got shape {array.shape}")
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array
    return np.ascontiguousarray(array)


def as_vector(name: str, given: Any, n_samples: int, dtype: Any) -> NDArray[Any]:
    """Return `given` as (n_samples,) of `dtype`, every entry finite."""
    array = as_numbers(name, given)
    if array.shape != (n_samples,):
        hint = f"; {name}.ravel() makes it flat" if array.size == n_samples else ""
        raise InputError(f"{name}: expected shape ({n_samples},); got {array.shape}{hint}")
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"{name}: expected finite numbers; {name}[{row}] is {array[row]}")
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(array, dtype=dtype)
        lost, spread = np.abs(rounded - array), array.std() if array.size else 0.0
    if not np.isfinite(lost).all():
        row = int(np.argmin(np.isfinite(lost)))
        raise InputError(f"{name}: {name}[{row}] is {array[row]}, beyond the {rounded.dtype} of X; pass X as float64")
    if spread > 0 and lost.max() > MOST_LOST * spread:
        raise InputError(
            f"{name}: rounding it to the {rounded.dtype} of X would lose {lost.max() / spread:.1g} of its standard "
            f"deviation; pass X as float64, or subtract the mean of {name}"
        )
    return rounded


def as_weights(given: Any, n_samples: int, dtype: Any) -> NDArray[Any]:
    """Return sample weights as (n_samples,): none negative, not all zero."""
    weights = as_vector("sample_weight", given, n_samples, np.float64)
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise InputError(f"sample_weight: expected no negative weight; sample_weight[{row}] is {weights[row]}")
    if not weights.any():
        raise InputError("sample_weight: expected at least one weight > 0; all are 0")
    # Only ratios of weights matter: bring the largest to one where it could leave the range of the type of X.
    largest = weights.max()
    if not SMALL < largest < 1 / SMALL:
        weights = weights / largest
    return weights.astype(dtype)


def check_finite(X: NDArray[Any], names: list[str] | None = None) -> None:
    """Raise an error that names the first row and column of X that is not finite, if there is one."""
    for start in range(0, len(X), SCAN_ROWS):
        finite = np.isfinite(X[start : start + SCAN_ROWS])
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            value = X[start + row, column]
            called = f" (column {names[column]!r})" if names else ""
            raise InputError(
                f"X: expected finite numbers; X[{start + row}, {column}]{called} is {value}; "
                "drop or fill such cells first"
            )
