"""The block pass against the machine's read bandwidth and NumPy's two products, all in one run.

Usage: python benches/pass.py [--quick]

Every time is the best of several alternating rounds, so that a slow moment hits all alike. Gigabytes are those of X.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import steepest as st
from steepest import _steepest
from steepest.backends import thread_count
from steepest.problem import make_problem

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(4_000_000, 32), (1_000_000, 128), (200_000, 784)]
ROUNDS = 7


def best_seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each task's shortest time over `rounds` rounds of all tasks in turn."""
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def tasks(n: int, d: int, dtype: Any, order: str) -> dict[str, Callable[[], object]]:
    """Return reading, the pass for two losses, and NumPy's two products, on the same data."""
    generator = np.random.default_rng(0)
    X = np.empty((n, d), dtype=dtype, order=order)
    for start in range(0, n, 1 << 16):
        X[start : start + (1 << 16)] = generator.standard_normal((min(1 << 16, n - start), d), np.float32)
    y = (X[:, 0] > 0).astype(dtype)
    w = generator.standard_normal(d).astype(dtype) / 10
    threads = thread_count(None)
    parameters = np.append(w, 0.0).astype(np.float64)

    def pass_for(loss: str) -> Callable[[], object]:
        problem = make_problem(X, y, loss=loss, alpha=0.0, fit_intercept=True)
        return lambda: _steepest.value_and_gradient(problem, parameters, threads)

    def products() -> Any:
        residual = X @ w - y
        return (residual @ residual) / n, X.T @ residual

    return {
        "read": lambda: _steepest.read(X, threads),
        "mse": pass_for("mse"),
        "log_loss": pass_for("log_loss"),
        "numpy": products,
    }


def first_lesson(rounds: int) -> str:
    """Return a line on 1000 steps on 100 points with the loss of every step, against the plain NumPy loop."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=100)
    y = 2 * x + 1 + 0.5 * generator.normal(size=100)

    def loop() -> list[float]:
        w = b = 0.0
        losses = []
        for _ in range(1000):
            residual = w * x + b - y
            losses.append((residual @ residual) / 100)
            w, b = w - 0.02 * (residual @ x) / 100, b - 0.02 * residual.sum() / 100
        return losses

    runs = {"steepest": lambda: st.descend(x, y, learning_rate=0.01, n_steps=1000), "numpy": loop}
    seconds = best_seconds(runs, 10 * rounds)
    return (
        f"1000 steps on 100×1 with history: {seconds['steepest'] * 1e3:.2f} ms, "
        f"NumPy loop {seconds['numpy'] * 1e3:.2f} ms, {seconds['numpy'] / seconds['steepest']:.0f}x"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, fewer rounds")
    quick = parser.parse_args().quick
    print(f"{thread_count(None)} threads, {_steepest.instruction_set()}, NumPy {np.__version__}")
    print(f"{'X':>24} {'read':>9} {'mse':>14} {'log_loss':>14} {'numpy mse':>10} {'mse/numpy':>10}")
    cases = [(n, d, np.float32, "C") for n, d in SHAPES]
    cases += [(500_000, 128, np.float64, "C"), (1_000_000, 128, np.float32, "F")]
    for n, d, dtype, order in cases:
        n_rows = n // 10 if quick else n
        seconds = best_seconds(tasks(n_rows, d, dtype, order), 3 if quick else ROUNDS)
        gigabytes = n_rows * d * np.dtype(dtype).itemsize / 1e9
        rate = {name: gigabytes / time for name, time in seconds.items()}
        shape = f"{n_rows}×{d} {np.dtype(dtype).name} {order}"
        print(
            f"{shape:>24} {rate['read']:5.1f}GB/s"
            + "".join(f" {rate[k]:5.1f}GB/s {rate[k] / rate['read']:4.0%}" for k in ("mse", "log_loss"))
            + f" {rate['numpy']:6.1f}GB/s {rate['mse'] / rate['numpy']:9.2f}x",
            flush=True,
        )
    print(first_lesson(3 if quick else ROUNDS))


if __name__ == "__main__":
    main()
