"""Subnormal numbers: neither a fit nor its threads turn on the processor's mode that takes them for zero."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import steepest as st
from steepest import _steepest

TINY = 5e-324
X = np.random.default_rng(0).normal(size=(40_000, 10))
Y = X @ np.arange(10.0) > 0


def kept() -> bool:
    """Return whether this thread has subnormal numbers, as results and as operands."""
    smallest_normal, tiny = np.float64(2.0**-1022), np.float64(TINY)
    lanes = np.full(64, smallest_normal)
    return bool(
        smallest_normal / 2 != 0.0
        and tiny * 1.0 != 0.0
        and (tiny * 2**60) * 2.0**60 == TINY * 2.0**120
        and ((lanes / 2) * 2 == lanes).all()
        and np.float32(1e-45) * np.float32(1) != 0
    )


@pytest.mark.parametrize("method", ["gd", "lbfgs", "newton", "adam", "sgd"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_fits_keep_subnormal_numbers(method: str, n_threads: int) -> None:
    """Before, in the callback of a fit, afterwards, and in other threads."""
    seen = [kept()]

    def callback(_: st.StepInfo) -> bool:
        seen.append(kept())
        return False

    options: dict[str, Any] = {"batch_size": 1000} if method == "sgd" else {}
    st.descend(X, Y, loss="log_loss", method=method, n_steps=3, n_threads=n_threads, callback=callback, **options)
    seen.append(kept())
    thread = threading.Thread(target=lambda: seen.append(kept()))
    thread.start()
    thread.join()
    assert len(seen) >= 4
    assert all(seen)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(("dtype", "tiny"), [(np.float64, TINY), (np.float32, 1e-45)])
def test_kernels_keep_subnormal_numbers(n_threads: int, dtype: type, tiny: float) -> None:
    """Exact sums of the smallest numbers there are, by the threads of the pool."""
    st.descend(X, Y, loss="log_loss", n_steps=3, n_threads=n_threads)
    x: NDArray[Any] = np.full((1 << 10, 1 << 8), tiny, dtype)
    assert _steepest.read(x, n_threads) == (1 << 18) * float(dtype(tiny))
    value = 2.0**-537 if dtype is np.float64 else 2.0**-74
    # The gradient at zero of a mean square is −2 x y, which is subnormal here.
    column: NDArray[Any] = np.full((200_000, 1), value, dtype)
    _, slope, _ = st.loss_and_gradient(column, np.full(200_000, value, dtype), np.zeros(1), 0.0, n_threads=n_threads)
    assert float(slope[0]) == pytest.approx(-2 * value * value, rel=0.3)
