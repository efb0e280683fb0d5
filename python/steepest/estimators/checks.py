"""What scikit-learn's checks would make something else of without a word, or refuse in words that help nobody."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from steepest.errors import InputError
from steepest.sources import is_path
from steepest.validation import refuse_kinds, refuse_masked


def refuse_conversions(X: Any, y: Any) -> None:
    """Raise an error for what would be numbers by a conversion: dates, text, what a mask hides, the path of a file."""
    if is_path(X):
        raise InputError(
            f"X: expected rows in memory; got the path {reprlib.repr(X)}; read the file first, by numpy.load or "
            "pandas.read_csv, or in pieces: only X of fit may be a path"
        )
    refuse_masked("X", X)
    refuse_masked("y", y)
    if isinstance(X, np.ndarray):
        refuse_kinds("X", X, besides="fiubcO")
