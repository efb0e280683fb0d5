"""Tables to matrices: the same for every frame library, and undone exactly in the coefficients."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from numpy.typing import NDArray

from steepest import InputError
from steepest.preprocessing import Encoder, Standardizer, require_columns, without_missing

COLUMNS: dict[str, list[Any]] = {
    "size": [1.5, -2.0, 3.0, 0.25],
    "count": [3, 1, 2, 2],
    "new": [True, False, False, True],
    "colour": ["red", "blue", "red", "green"],
}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
ENCODED = np.array(
    [
        # red is the most frequent colour; blue and green are compared with it
        [1.5, 3, 1, 0, 0],
        [-2.0, 1, 0, 1, 0],
        [3.0, 2, 0, 0, 0],
        [0.25, 2, 1, 0, 1],
    ]
)


@pytest.fixture(params=FRAMES)
def frame_of(request: pytest.FixtureRequest) -> Any:
    """Make a frame of each library from columns."""
    return FRAMES[request.param]


def test_encoding(frame_of: Any) -> None:
    encoder = Encoder.learn(frame_of(COLUMNS))
    assert encoder.feature_names == ["size", "count", "new", "colour=blue", "colour=green"]
    assert np.array_equal(encoder.encode(frame_of(COLUMNS)), ENCODED)
    assert Encoder.from_json(encoder.to_json()) == encoder


def test_numbers_that_are_codes(frame_of: Any) -> None:
    encoder = Encoder.learn(frame_of(COLUMNS), exclude={"size", "new", "colour"}, categorical={"count"})
    assert encoder.feature_names == ["count=1", "count=3"]
    assert np.array_equal(encoder.encode(frame_of(COLUMNS)), [[0, 1], [1, 0], [0, 0], [0, 0]])


def test_rows_of_another_table(frame_of: Any) -> None:
    encoder = Encoder.learn(frame_of(COLUMNS))
    shuffled = {name: COLUMNS[name][::-1] for name in reversed(COLUMNS)}
    assert np.array_equal(encoder.encode(frame_of(shuffled)), ENCODED[::-1])
    with pytest.raises(InputError, match="the table lacks column 'count', 'new'"):
        encoder.encode(frame_of({name: COLUMNS[name] for name in ("size", "colour")}))
    with pytest.raises(InputError, match=r"'pink' \(row 1\) was not there in training; levels: 'blue', 'green', 'red'"):
        encoder.encode(frame_of(COLUMNS | {"colour": ["red", "pink", "red", "red"]}))


def test_missing_values(frame_of: Any) -> None:
    columns: dict[str, list[Any]] = COLUMNS | {
        "size": [1.5, None, 3.0, float("nan")],
        "colour": [None, "blue", "red", "red"],
    }
    names = list(columns)
    with pytest.raises(InputError, match=r"'size' \(2\), 'colour' \(1\); --missing drop leaves out the 3 rows"):
        without_missing(frame_of(columns), names, "error")
    kept, n_left_out = without_missing(frame_of(columns), names, "drop")
    assert (len(kept), n_left_out) == (1, 3)
    assert isinstance(kept, type(frame_of(columns)))
    assert without_missing(frame_of(columns), ["count"], "error")[1] == 0
    with pytest.raises(InputError, match="missing values in every row"):
        without_missing(frame_of({"a": [None, None], "b": [1, 2]}), ["a"], "drop")


def test_nearest_column() -> None:
    with pytest.raises(InputError, match="target: there is no column 'colour'; did you mean 'color'"):
        require_columns(pd.DataFrame({"color": [1], "size": [2]}), ["size", "colour"], "target")


matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.floats(-1e3, 1e3))


@given(matrices, st.integers(0, 2**32 - 1))
def test_standardising_is_only_a_change_of_variables(X: NDArray[np.float64], seed: int) -> None:
    """Scores in the new variables are scores in the old ones."""
    standardizer = Standardizer.learn(X)
    generator = np.random.default_rng(seed)
    coef, intercept = generator.normal(size=(2, X.shape[1])), generator.normal(size=2)
    Z = standardizer.transform(X)
    old_coef, old_intercept = standardizer.original_units(coef, intercept)
    # Each score is a sum of terms that cancel: the error is relative to their size.
    size = (np.abs(X) + np.abs(standardizer.mean)) @ np.abs(old_coef).T + np.abs(intercept)
    error = np.abs((X @ old_coef.T + old_intercept) - (Z @ coef.T + intercept))
    assert (error <= 64 * np.finfo(np.float64).eps * size).all()


def test_constant_columns_become_zero() -> None:
    Z = Standardizer.learn(np.full((5, 1), 0.1)).transform(np.full((5, 1), 0.1))
    assert np.abs(Z).max() < 1e-15
