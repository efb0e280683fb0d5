"""Tables to matrices: numbers as they are, text as one column a level, and scales.

Any frame that narwhals knows goes in: pandas, polars, pyarrow, …
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import narwhals.stable.v2 as nw
import numpy as np

from steepest.errors import InputError
from steepest.tables import as_floats

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

#: More different texts than this in a column are names or free text, not categories.
MOST_LEVELS = 200
Missing = Literal["error", "drop"]


def require_columns(frame: Any, wanted: Iterable[str], what: str) -> None:
    """Raise an error that names the nearest column if `frame` lacks one of those that are wanted."""
    # Asked for once: a frame makes a new list of its names at each question.
    names = nw.from_native(frame, eager_only=True).columns
    known = set(names)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{what}: there is no column {name!r}{hint}; columns: {', '.join(names)}")


def without_missing(frame: Any, columns: Sequence[str], missing: Missing) -> tuple[Any, int]:
    """Return the rows of `frame` that miss nothing in `columns`, and how many do; or refuse, as told.

    Raises
    ------
    InputError
        With ``missing="error"`` if a value is missing: names each such column with its count. With ``"drop"`` if no
        row is left.
    """
    table = nw.from_native(frame, eager_only=True)
    absent = np.zeros(len(table), dtype=bool)
    counts = {}
    for name in columns:
        gaps = _gaps(table.get_column(name))
        if gaps.any():
            counts[name] = int(gaps.sum())
            absent |= gaps
    if not counts:
        return frame, 0
    if missing == "error":
        found = ", ".join(f"{name!r} ({count:,})" for name, count in counts.items())
        raise InputError(
            f"missing values in column {found}; --missing drop leaves out the {int(absent.sum()):,} rows that have any"
        )
    if absent.all():
        raise InputError("missing values in every row: dropping them leaves nothing")
    return nw.to_native(table.filter((~absent).tolist())), int(absent.sum())


def _gaps(column: nw.Series[Any]) -> NDArray[np.bool_]:
    if column.dtype.is_float():
        return np.isnan(as_floats(column))
    return np.asarray(column.is_null().to_numpy(), dtype=bool)


@dataclass(frozen=True)
class Numeric:
    """A column of numbers, taken as it is."""

    name: str

    @property
    def feature_names(self) -> list[str]:
        """One feature, of the column's name."""
        return [self.name]

    def encode(self, column: nw.Series[Any]) -> NDArray[np.float64]:
        """Return (n, 1)."""
        if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
            raise InputError(f"column {self.name!r}: expected numbers as in training; got {column.dtype}")
        values = as_floats(column)
        infinite = np.isinf(values)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise InputError(f"column {self.name!r}: expected finite numbers; row {row} is {values[row]}")
        return values[:, np.newaxis]


@dataclass(frozen=True)
class Categorical:
    """A column of text: one feature for each level but the first, which the others are compared with."""

    name: str
    levels: tuple[str, ...]

    @property
    def feature_names(self) -> list[str]:
        """``column=level`` for each level but the first."""
        return [f"{self.name}={level}" for level in self.levels[1:]]

    def encode(self, column: nw.Series[Any]) -> NDArray[np.float64]:
        """Return (n, levels − 1) of zeros and ones."""
        values = _texts(column)
        numbers = {level: number for number, level in enumerate(self.levels)}
        codes = np.array([numbers.get(value, -1) for value in values])
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            known = ", ".join(map(repr, sorted(self.levels)[:10]))
            raise InputError(
                f"column {self.name!r}: {values[row]!r} (row {row}) was not there in training; levels: {known}"
                + (", …" if len(self.levels) > 10 else "")  # noqa: PLR2004
            )
        indicators: NDArray[np.bool_] = codes[:, np.newaxis] == np.arange(1, len(self.levels))
        return indicators.astype(np.float64)


def _texts(column: nw.Series[Any]) -> list[str]:
    return [str(value) for value in column.to_list()]


@dataclass(frozen=True)
class Encoder:
    """How the rows of a table become rows of X. Learned once, saved with the model."""

    columns: tuple[Numeric | Categorical, ...]

    @classmethod
    def learn(cls, frame: Any, *, exclude: Collection[str] = (), categorical: Collection[str] = ()) -> Encoder:
        """Decide for each column of `frame` what it is.

        Parameters
        ----------
        frame : pandas, polars or pyarrow table
            No value missing.
        exclude : collection of str
            Columns to leave out, the target among them.
        categorical : collection of str
            Columns of numbers that are codes, to be treated as text.

        Raises
        ------
        InputError
            If a column is neither numbers nor text, or has more than 200 different texts, or none is left.
        """
        table = nw.from_native(frame, eager_only=True)
        exclude, categorical = set(exclude), set(categorical)
        columns: list[Numeric | Categorical] = []
        for name in table.columns:
            if name in exclude:
                continue
            column = table.get_column(name)
            kind = column.dtype
            if name in categorical or kind in {nw.String, nw.Categorical, nw.Enum}:
                columns.append(_learn_levels(name, column))
            elif kind.is_numeric() or kind == nw.Boolean:
                columns.append(Numeric(name))
            else:
                raise InputError(f"column {name!r}: expected numbers or text; got {kind}; --drop {name} leaves it out")
        encoder = cls(tuple(columns))
        if not encoder.feature_names:
            raise InputError("expected at least one column to predict from; none is left, or each has a single level")
        return encoder

    @property
    def column_names(self) -> list[str]:
        """The columns that a table must have."""
        return [column.name for column in self.columns]

    @property
    def feature_names(self) -> list[str]:
        """The columns of X."""
        return [name for column in self.columns for name in column.feature_names]

    def encode(self, frame: Any) -> NDArray[np.float64]:
        """Return X, (n_rows, n_features) by columns.

        Raises
        ------
        InputError
            If a column is not there, is of another kind than in training, or holds a level never seen.
        """
        table = nw.from_native(frame, eager_only=True)
        found = set(table.columns)
        absent = [name for name in self.column_names if name not in found]
        if absent:
            raise InputError(f"the table lacks column {', '.join(map(repr, absent))}")
        X = np.empty((len(table), len(self.feature_names)), order="F")
        start = 0
        for column in self.columns:
            part = column.encode(table.get_column(column.name))
            X[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return X

    def to_json(self) -> list[dict[str, Any]]:
        """Return a description that `from_json` understands."""
        return [
            {"name": column.name} | ({"levels": list(column.levels)} if isinstance(column, Categorical) else {})
            for column in self.columns
        ]

    @classmethod
    def from_json(cls, description: list[dict[str, Any]]) -> Encoder:
        """Return the encoder that `to_json` described."""
        return cls(
            tuple(
                Categorical(str(entry["name"]), tuple(map(str, entry["levels"])))
                if "levels" in entry
                else Numeric(str(entry["name"]))
                for entry in description
            )
        )


def _learn_levels(name: str, column: nw.Series[Any]) -> Categorical:
    counts = Counter(_texts(column))
    if len(counts) > MOST_LEVELS:
        raise InputError(
            f"column {name!r}: {len(counts):,} different texts are not categories; --drop {name} leaves it out"
        )
    # The most frequent level is what the others are best compared with; ties go by the alphabet.
    return Categorical(name, tuple(sorted(counts, key=lambda level: (-counts[level], level))))


@dataclass(frozen=True, eq=False)
class Standardizer:
    """A change of variables: each column of X minus its mean, over its standard deviation."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def learn(cls, X: NDArray[np.float64]) -> Standardizer:
        """Take mean and standard deviation of each column; a constant column has scale 1."""
        mean, scale = X.mean(axis=0), X.std(axis=0)
        # The deviation of a constant column is rounding, not zero.
        constant = scale <= 8 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, scale))

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a standardised copy."""
        return (X - self.mean) / self.scale

    def original_units(
        self, coef: NDArray[np.float64], intercept: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients and intercept for X itself, given those for the standardised copy."""
        coef = coef / self.scale
        return coef, intercept - coef @ self.mean
