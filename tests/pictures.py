"""What the tests of pictures share: data to draw, and how lines are read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(size=(60, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.3, 2.0]] + [0.5, 0.0, 1.0]
Y = X @ [1.0, -2.0, 0.5] + 0.3 * GENERATOR.normal(size=60) + 1.0
BINARY = np.where(np.median(Y) < Y, "yes", "no")
SEVERAL = np.array(["a", "b", "c"])[np.digitize(Y, np.quantile(Y, [0.3, 0.6]))]
WEIGHTS = GENERATOR.integers(0, 4, size=60).astype(float)
OFFSET = GENERATOR.normal(size=60)
LINE = X[:, 0]


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    """Leave no figure open."""
    yield
    plt.close("all")


def xy(line: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
