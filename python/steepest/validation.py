"""Arrays in: whatever the user has becomes arrays that every backend can read, or an error that names the culprit."""

from __future__ import annotations

import difflib
import math
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

MOST = 2**63 - 1
#: Weights between this and its inverse are taken as they are.
SMALL = 1e-6
#: The share of their standard deviation that numbers may lose when they are rounded to the type of X.
MOST_LOST = 1e-3
#: By how much the sum of a row of probabilities may miss one.
MOST_OFF_ONE = 1e-5
LEAST_CLASSES = 2


def known(name: str, given: object, choices: Collection[str]) -> str:
    """Return `given` if it is one of `choices`; otherwise say which there are and which is nearest."""
    if isinstance(given, str) and given in choices:
        return given
    choices = sorted(choices)
    near = difflib.get_close_matches(str(given), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{name}: expected one of {', '.join(choices)}; got {given!r}{hint}")


def number(name: str, given: object, *, least: float = -np.inf, above: float = -np.inf) -> float:
    """Return `given` as a finite float that is at least `least` and greater than `above`."""
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        value = _as_float(given)
        if math.isfinite(value) and value >= least and value > above:
            return value
    bound = f" > {above:g}" if above > -np.inf else f" ≥ {least:g}" if least > -np.inf else ""
    raise InputError(f"{name}: expected a finite number{bound}; got {reprlib.repr(given)}")


def _as_float(given: Any) -> float:
    try:
        return float(given)
    except OverflowError:
        return np.inf


def integer(name: str, given: object, *, least: int) -> int:
    """Return `given` as an integer that is at least `least` and fits 64 bits."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and least <= given <= MOST:
        return int(given)
    most = " and < 2**63" if isinstance(given, int) and given > MOST else ""
    raise InputError(f"{name}: expected an integer ≥ {least}{most}; got {reprlib.repr(given)}")


def to_host(array: Any) -> NDArray[Any]:
    """Return an array of any namespace in main memory, for NumPy; on a GPU this waits until it is computed."""
    found: NDArray[Any] = array.get() if hasattr(array, "get") else np.asarray(array)
    return found


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
    refuse_masked(name, given)
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError(f"{name}: expected an array of numbers; {error}") from error
    if array.dtype.kind == "O":
        array = _from_objects(name, array)
    refuse_kinds(name, array, besides="fiub")
    single = array.dtype.kind == "f" and array.dtype.itemsize <= np.dtype(np.float32).itemsize
    # A long double that is too large becomes infinite, and is then refused as such.
    with np.errstate(over="ignore"):
        return np.require(array, dtype=np.float32 if single else np.float64, requirements="A")


def refuse_masked(name: str, given: Any) -> None:
    """Raise an error if entries are hidden, which NumPy would uncover without a word."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name}: expected no masked entries; fill or drop them first")


def refuse_kinds(name: str, array: NDArray[Any], *, besides: str) -> None:
    """Raise an error if an array is not of one of these kinds, as NumPy's `dtype.kind` calls them."""
    if array.dtype.kind not in besides:
        where = f" ({cell(name, (0,) * array.ndim)} is {array.flat[0]!r})" if array.size else ""
        raise InputError(f"{name}: expected numbers; got dtype {array.dtype}{where}")


def _from_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    for index, value in np.ndenumerate(array):
        real = isinstance(value, (int, float, np.number, np.bool_)) and not isinstance(value, np.complexfloating)
        if not real or (isinstance(value, int) and np.isinf(_as_float(value))):
            raise InputError(f"{name}: expected numbers; {cell(name, index)} is {reprlib.repr(value)}")
    return array.astype(np.float64)


def cell(name: str, index: tuple[int, ...]) -> str:
    """Return what the user calls an entry."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def as_vector(name: str, given: Any, n_samples: int, dtype: Any) -> NDArray[Any]:
    """Return `given` as (n_samples,) of `dtype`, every entry finite."""
    array = as_numbers(name, given)
    if array.shape != (n_samples,):
        hint = f"; {name}.ravel() makes it flat" if array.size == n_samples else ""
        raise InputError(f"{name}: expected shape ({n_samples},); got {array.shape}{hint}")
    return _rounded(name, array, dtype)


def as_table(name: str, given: Any, n_samples: int, dtype: Any, width: int | None = None) -> NDArray[Any]:
    """Return `given` as (n_samples, width) of `dtype`, by rows, every entry finite; width at least two."""
    array = as_numbers(name, given)
    fits = array.ndim == 2 and array.shape[1] > 1 and width in {None, array.shape[1]}  # noqa: PLR2004
    if not fits or len(array) != n_samples:
        expected = "width ≥ 2" if width is None else str(width)
        raise InputError(f"{name}: expected shape ({n_samples}, {expected}); got {array.shape}")
    return _rounded(name, array, dtype)


def _rounded(name: str, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return finite numbers as `dtype`, if that loses little of what tells them apart."""
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"{name}: expected finite numbers; {cell(name, place)} is {array[place]}")
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(array, dtype=dtype)
        lost, spread = np.abs(rounded - array), array.std() if array.size else 0.0
    if not np.isfinite(lost).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(lost))[0])
        raise InputError(
            f"{name}: {cell(name, place)} is {array[place]}, beyond the {rounded.dtype} of X; pass X as float64"
        )
    if spread > 0 and lost.max() > MOST_LOST * spread:
        raise InputError(
            f"{name}: rounding it to the {rounded.dtype} of X would lose {lost.max() / spread:.1g} of its standard "
            f"deviation; pass X as float64, or subtract the mean of {name}"
        )
    return rounded


def weights_of(given: Any, n_samples: int) -> NDArray[np.float64]:
    """Return the weights of some rows as (n_samples,), none negative."""
    weights = as_vector("sample_weight", given, n_samples, np.float64)
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise InputError(f"sample_weight: expected no negative weight; sample_weight[{row}] is {weights[row]}")
    return weights


def weights_in_range(largest: float) -> bool:
    """Return whether weights up to this are safe in every type of X."""
    return SMALL < largest < 1 / SMALL


def as_weights(given: Any, n_samples: int, dtype: Any) -> NDArray[Any]:
    """Return sample weights as (n_samples,): none negative, not all zero."""
    weights = weights_of(given, n_samples)
    if not weights.any():
        raise InputError("sample_weight: expected at least one weight > 0; all are 0")
    # Only ratios of weights matter: bring the largest to one where it could leave the range of the type of X.
    largest = weights.max()
    if not weights_in_range(largest):
        weights = weights / largest
    return weights.astype(dtype)


def is_table(given: Any) -> bool:
    """Return whether `given` has two dimensions and at least two columns."""
    try:
        shape = np.shape(given)
    except ValueError:
        return False
    return len(shape) == 2 and shape[1] > 1  # noqa: PLR2004


def as_labels(
    name: str, given: ArrayLike, length: int | None = None, loss: str = "log_loss"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return class labels as an array of one dimension, and the different ones sorted."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name}: expected no masked entries; fill or drop them first")
    try:
        labels = np.asarray(given)
        found = np.unique(labels)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected labels of one type; {error}") from error
    if labels.ndim != 1 or len(labels) != (len(labels) if length is None else length):
        expected = "(n_classes,)" if length is None else f"({length},)"
        raise InputError(f"{name}: expected shape {expected}; got {labels.shape}")
    if labels.dtype.kind == "U" and isinstance(given, (list, tuple)):
        # NumPy would turn the others into text without a word.
        other = next((label for label in given if not isinstance(label, str)), None)
        if other is not None:
            raise InputError(f"{name}: expected labels of one type; got text and {other!r}")
    if labels.dtype.kind == "O":
        hole = next((row for row, label in enumerate(labels) if isinstance(label, float) and np.isnan(label)), None)
        if hole is not None:
            raise InputError(f"{name}: expected a label in every row; {name}[{hole}] is nan")
    if labels.dtype.kind == "f":
        as_vector(name, labels, len(labels), np.float64)
        fractional = labels != np.floor(labels)
        if fractional.any():
            row = int(np.argmax(fractional))
            raise InputError(
                f"{name}: expected class labels for loss {loss!r}; {name}[{row}] is {labels[row]}; "
                "loss='mse' predicts numbers"
            )
    return labels, found


def class_numbers(
    y: ArrayLike, n_samples: int, classes: ArrayLike | None, loss: str, *, most: float = np.inf
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the number of each row's class, counted from 0, and the labels in their order, two of them at least."""
    if isinstance(classes, np.ndarray) and isinstance(y, np.ndarray) and y.shape == (n_samples,):
        numbers = _numbers_among(classes, y)
        if numbers is not None and LEAST_CLASSES <= len(classes) <= most:
            return numbers, classes
    labels, found = as_labels("y", y, n_samples, loss)
    if classes is None:
        order = found
        if len(found) < LEAST_CLASSES:
            raise InputError(f"y: expected at least two classes; got 1 class: every label is {found.tolist()[0]!r}")
    else:
        order = as_classes(classes)
        strange = found[~np.isin(found, order)]
        if strange.size:
            raise InputError(f"y: expected labels among {order.tolist()}; got {strange.tolist()[0]!r}")
    if len(order) > most:
        raise InputError(
            f"y: expected at most {most:g} classes for this loss; got {len(order)}; loss='log_loss' takes any number"
        )
    sorter = np.argsort(order)
    return sorter[np.searchsorted(order, labels, sorter=sorter)], order


def _numbers_among(classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the number of each label if all are among `classes`, which are sorted: without a sort of all labels."""
    if (
        labels.dtype.kind != classes.dtype.kind
        or labels.dtype.kind not in "iubfU"
        or not (classes[1:] > classes[:-1]).all()
    ):
        return None
    if len(classes) == LEAST_CLASSES:
        # Two comparisons take a tenth of the time of a search.
        is_second = labels == classes[1]
        return is_second.astype(np.int64) if (is_second | (labels == classes[0])).all() else None
    numbers = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return numbers if (classes[numbers] == labels).all() else None


def as_classes(classes: ArrayLike) -> NDArray[Any]:
    """Return different labels, two of them at least, in the order given."""
    order, different = as_labels("classes", classes)
    if len(order) < LEAST_CLASSES or len(different) < len(order):
        raise InputError(f"classes: expected at least two different labels; got {order.tolist()}")
    return order


def expect_different(what: str, given: Any, kinds: tuple[type, ...], least: int) -> None:
    """Raise an error unless `given` is a list of at least `least` different values of `kinds`."""
    right = isinstance(given, list) and len(given) >= least and all(isinstance(value, kinds) for value in given)
    if not right or len(set(given)) < len(given):
        raise InputError(f"{what}: expected at least {least} different values; got {reprlib.repr(given)}")


def as_probabilities(y: Any, n_samples: int, dtype: Any) -> NDArray[Any]:
    """Return rows of probabilities, (n_samples, n_classes): none negative, each row with the sum one."""
    rows = as_table("y", y, n_samples, dtype)
    if rows.min() < 0:
        row, column = (int(i) for i in np.argwhere(rows < 0)[0])
        raise InputError(f"y: expected no negative probability; y[{row}, {column}] is {rows[row, column]}")
    off = np.abs(rows.sum(axis=1, dtype=np.float64) - 1)
    if off.max() > MOST_OFF_ONE:
        row = int(np.argmax(off))
        raise InputError(
            f"y: expected rows of probabilities that sum to 1; y[{row}] sums to {rows[row].sum(dtype=np.float64):g}"
        )
    return rows
