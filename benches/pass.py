"""The block pass against the machine's read bandwidth and NumPy's two products, all in one run.

Usage: python benches/pass.py [--quick]; prints Markdown.

A step of a streaming descent, which is one value and gradient, against the time of only reading X and y, and of NumPy's
two products. Every time is the best of several alternating rounds, so that a slow moment hits all alike. Gigabytes are
those of X and y.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import steepest as st
from steepest import _steepest
from steepest.threads import thread_count

#: Columns of X, its type and order, and the least share of the read bandwidth that is asked for.
SHAPES: list[tuple[int, Any, str, float]] = [
    *((d, dtype, "C", 0.8) for d in (4, 16) for dtype in (np.float32, np.float64)),
    *((d, dtype, "C", 0.9) for d in (32, 128, 784) for dtype in (np.float32, np.float64)),
    *((4096, dtype, "C", 0.8) for dtype in (np.float32, np.float64)),
    *((d, np.float32, "F", 0.7) for d in (16, 128)),
]
BYTES = 400_000_000
ROUNDS = 7
#: Steps of a descent, of which the fastest counts.
STEPS = 4


def best_seconds(tasks: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the least seconds of each task over `rounds` rounds of all tasks in turn."""
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            best[name] = min(best[name], task())
    return best


def seconds_of(task: Callable[[], object]) -> float:
    """Return how long a task takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def tasks(n: int, d: int, dtype: Any, order: str) -> dict[str, Callable[[], float]]:
    """Return reading, a step for two losses, and NumPy's two products, on the same data."""
    generator = np.random.default_rng(0)
    X = np.empty((n, d), dtype=dtype, order=order)
    for start in range(0, n, 1 << 16):
        X[start : start + (1 << 16)] = generator.standard_normal((min(1 << 16, n - start), d), np.float32)
    y = (X[:, 0] > 0).astype(dtype)
    w = generator.standard_normal(d).astype(dtype) / 10
    threads = thread_count(None)

    def step(loss: str) -> float:
        moments: list[float] = []

        def note(_: st.StepInfo) -> None:
            moments.append(time.perf_counter())

        st.descend(X, y, loss=loss, strategy="stream", learning_rate=1e-9, tol=0, n_steps=STEPS, callback=note)
        return float(np.diff(moments).min())

    def products() -> Any:
        residual = X @ w - y
        return (residual @ residual) / n, X.T @ residual

    return {
        "read": lambda: seconds_of(lambda: (_steepest.read(X, threads), _steepest.read(y[:, np.newaxis], threads))),
        "mse": lambda: step("mse"),
        "log_loss": lambda: step("log_loss"),
        "numpy": lambda: seconds_of(products),
    }


def main() -> None:
    """Print the table."""
    quick = "--quick" in sys.argv
    # Steps of 1e-9 lead nowhere, and that is not the question.
    warnings.simplefilter("ignore", st.ConvergenceWarning)
    print("## The pass", "", __doc__.split("\n\n")[2], "", sep="\n")
    print(
        "| X | read | mse | log_loss | NumPy's products | mse / NumPy | asked for |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    for d, dtype, order, asked in SHAPES:
        n = (BYTES // 10 if quick else BYTES) // d // np.dtype(dtype).itemsize
        seconds = best_seconds(tasks(n, d, dtype, order), 3 if quick else ROUNDS)
        rate = {name: n * (d + 1) * np.dtype(dtype).itemsize / 1e9 / time for name, time in seconds.items()}
        shares = " | ".join(f"{rate[name]:.1f} GB/s, {rate[name] / rate['read']:.0%}" for name in ("mse", "log_loss"))
        print(
            f"| {n:,}×{d} {np.dtype(dtype).name} {order} | {rate['read']:.1f} GB/s | {shares} "
            f"| {rate['numpy']:.1f} GB/s | {rate['mse'] / rate['numpy']:.2f}× | {asked:.0%}, 2× |",
            flush=True,
        )


if __name__ == "__main__":
    main()
