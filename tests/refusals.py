"""What the tests of bad input share: a small table to spoil, and what every refusal is."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import steepest as st

X = np.arange(12.0).reshape(6, 2) % 5
Y = np.arange(6.0)
LABELS = np.array([0, 1, 0, 1, 1, 0])
TWO = np.column_stack([Y, Y[::-1]])
SPARSE = sparse.csr_array(X)
NAN, INF = np.nan, np.inf
EMPTY_X = "X: expected at least one row and one column; got shape "
#: The arguments that `iterate` shares with `descend`.
ITERATED = set(inspect.signature(st.descend).parameters) - {
    "max_seconds",
    "target_loss",
    "eval_set",
    "validation_fraction",
    "patience",
    "callback",
    "checkpoint",
    "progress",
}


def without(values: np.ndarray[Any, Any], replacement: Any, *index: int) -> np.ndarray[Any, Any]:
    """Return a copy with one entry replaced."""
    copy = values.astype(object if isinstance(replacement, str) or replacement is None else float)
    copy[index] = replacement
    return copy


def assert_refused(function: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(st.InputError) as caught:
        function(**arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, st.SteepestError)


def named(cases: list[tuple[str, Any, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("argument", "value", "message"), cases, ids=[f"{i}-{name}" for i, (name, _, _) in enumerate(cases)]
    )
