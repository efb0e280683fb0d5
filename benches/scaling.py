"""Seconds a step against rows and against columns, with one thread and two.

Usage: python benches/scaling.py [--quick]; prints Markdown and draws docs/images/bench-scaling.png.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from curves import COLOURS, plt
from steepest import _steepest
from steepest.problem import make_problem

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "bench-scaling.png"
ROWS = [3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000]
COLUMNS = [4, 16, 64, 256, 1024, 4096]
ENTRIES = 64 << 20
ROUNDS = 15


def seconds_a_pass(X: Any, threads: int) -> float:
    """Return the best time of one value and gradient of log_loss."""
    y = (X[:, 0] > 0).astype(np.int64)
    problem = make_problem(X, y, loss="log_loss", alpha=0.0, fit_intercept=True)
    parameters = np.full(X.shape[1] + 1, 0.01)
    best = np.inf
    for _ in range(ROUNDS if X.nbytes > 1 << 26 else 10 * ROUNDS):
        start = time.perf_counter()
        _steepest.value_and_gradient(problem, parameters, threads)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Measure, draw, print."""
    quick = "--quick" in sys.argv
    generator = np.random.default_rng(0)
    pool = generator.standard_normal(ENTRIES // (10 if quick else 1) * 3, dtype=np.float32)
    by_rows = [n for n in ROWS if n * 64 <= pool.size]
    by_columns = [d for d in COLUMNS if (pool.size // 3) // d]
    shapes = [(n, 64) for n in by_rows] + [(pool.size // 3 // d, d) for d in by_columns]
    times = {
        (shape, k): seconds_a_pass(pool[: shape[0] * shape[1]].reshape(shape), k) for shape in shapes for k in (1, 2)
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for k in (1, 2):
        rows = [(n, times[(n, 64), k]) for n in by_rows]
        columns = [(d, times[(pool.size // 3 // d, d), k] / (pool.size // 3 // d) * 1e9) for d in by_columns]
        label = f"{k} thread{'s' * (k > 1)}"
        left.plot(*zip(*rows, strict=True), marker="o", color=COLOURS[k], label=label)
        right.plot(*zip(*columns, strict=True), marker="o", color=COLOURS[k], label=label)
    left.set(xscale="log", yscale="log", xlabel="rows of 64 columns", ylabel="seconds a step")
    right.set(xscale="log", yscale="log", xlabel="columns", ylabel="nanoseconds a row")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    print("## Scaling", "", "One value and gradient of log_loss, float32.", "", sep="\n")
    print("![Seconds a step against rows, nanoseconds a row against columns](images/bench-scaling.png)", "", sep="\n")
    print("| X | one thread | two threads | ratio | ns an entry |", "|---|---|---|---|---|", sep="\n")
    for n, d in shapes:
        one, two = times[(n, d), 1], times[(n, d), 2]
        print(f"| {n:,}×{d} | {one * 1e3:.3g} ms | {two * 1e3:.3g} ms | {one / two:.2f}× | {two / n / d * 1e9:.3f} |")


if __name__ == "__main__":
    main()
