"""The largest eigenvalue of a symmetric positive semi-definite operator that is only known by its products.

The portable form of ``src/spectrum.rs``: the same Lanczos iteration from the same start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST_PRODUCTS = 32
RELATIVE_GAP = 1e-6
NEGLIGIBLE = 1e-12
STARTS = 2
GOLDEN = 0.6180339887498949


def largest_eigenvalue(xp: Any, dimension: int, product: Callable[[Any], Any]) -> float:
    """Return an upper estimate of the largest eigenvalue of v ↦ ``product(v)``.

    Some eigenvalue lies within the residual norm of the largest Ritz value; their sum is returned. Exact up to
    rounding when the dimension is small. Not finite if a product is not.
    """
    basis = [xp.asarray(_start(dimension, 1))]
    begun = 1
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    while True:
        image = product(basis[-1])
        scale = _norm(xp, image)
        if not np.isfinite(scale):
            return scale
        diagonal.append(float(xp.sum(basis[-1] * image)))
        for _ in range(2):
            for direction in basis:
                image = image - xp.sum(direction * image) * direction
        rest = _norm(xp, image)
        value, last_entry = _largest_pair(np.array(diagonal), np.array(off_diagonal))
        gap = rest * abs(last_entry)
        trapped = rest <= NEGLIGIBLE * scale
        if len(basis) == dimension or (trapped and begun == STARTS):
            return max(value, 0.0)
        if len(basis) == MOST_PRODUCTS or (gap <= RELATIVE_GAP * value and not trapped):
            return value + gap
        if trapped:
            # The start had no share of the other eigenvectors; another one will.
            begun += 1
            image = xp.asarray(_start(dimension, begun))
            for direction in [*basis, *basis]:
                image = image - xp.sum(direction * image) * direction
            off_diagonal.append(0.0)
            basis.append(image / _norm(xp, image))
            continue
        off_diagonal.append(rest)
        basis.append(image / rest)


def _start(dimension: int, number: int) -> NDArray[np.float64]:
    start = np.arange(1, dimension + 1) ** number % 1_000_003 * GOLDEN % 1 - 0.5
    return np.asarray(start / np.linalg.norm(start))


def _norm(xp: Any, v: Any) -> float:
    return math.sqrt(float(xp.sum(v * v)))


def _largest_pair(diagonal: NDArray[np.float64], off_diagonal: NDArray[np.float64]) -> tuple[float, float]:
    matrix = np.diag(diagonal) + np.diag(off_diagonal, -1)
    values, vectors = np.linalg.eigh(matrix, UPLO="L")
    return float(values[-1]), float(vectors[-1, -1])
