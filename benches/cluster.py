"""What a cluster costs: the pass against its kernels, and against dask-ml and dask-glm to the same gap.

Usage: python benches/cluster.py [--quick]; prints Markdown, and writes what was measured to docs/output/cluster.json,
which docs/make_scale.py draws. Workers are processes of one thread each, on this machine.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import steepest as st
from machine import processor
from steepest import _steepest
from steepest.distributed import partitions
from steepest.problem import make_problem

RESULTS = Path(__file__).parent.parent / "docs" / "output" / "cluster.json"
N_WORKERS, N_PARTITIONS = 2, 8
#: Rows and columns of what is passed over.
SHAPES = [(100_000, 10), (400_000, 50), (1_600_000, 50), (400_000, 400)]
#: Workers, and partitions, of passes that do nothing.
EMPTY = [(1, 8), (2, 8), (4, 8), (8, 8), (2, 2), (2, 32), (2, 128)]
ROUNDS, STEPS = 25, 12
GAP = 1e-6
#: Steps that are tried until one of them reaches the gap.
TRIED = (5, 8, 12, 16, 24, 40)


def nothing(_partition: Any, vector: Any) -> Any:
    """The task of a pass that does nothing."""
    return vector


def added(one: Any, other: Any) -> Any:
    """Merge two answers."""
    return one + other


def cluster(n_workers: int) -> Client:
    """A cluster of this machine."""
    workers = LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
    )
    return Client(workers)


def close(client: Client) -> None:
    """Let the cluster go."""
    workers = client.cluster
    client.close()
    workers.close()


def seconds(task: Callable[[], object], rounds: int) -> float:
    """The median of some rounds, after one that is not counted."""
    task()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def empty_passes(quick: bool) -> list[dict[str, float]]:  # noqa: FBT001
    """Passes without work: what is left is what the cluster costs."""
    found = []
    vector = np.zeros(51)
    for n_workers, n_partitions in EMPTY[:3] if quick else EMPTY:
        client = cluster(n_workers)
        rows = partitions(da.zeros((n_partitions * 10, 50), chunks=(10, -1)), np.zeros(n_partitions * 10))
        busy = time.process_time()
        taken = seconds(lambda rows=rows: rows.reduce(nothing, added, vector), ROUNDS)
        # The scheduler runs in this process.
        busy = (time.process_time() - busy) / (ROUNDS + 1)
        found.append({"workers": n_workers, "partitions": n_partitions, "seconds": taken, "busy": busy})
        close(client)
    return found


def rows_of(n: int, d: int) -> tuple[Any, Any]:
    """Rows whose classes overlap, of columns that are correlated and of several scales."""
    generator = np.random.default_rng(n + d)
    X = generator.standard_normal((n, d), dtype=np.float32).astype(np.float64)
    X += 0.5 * X[:, :1]
    X *= 2.0 ** -(np.arange(d) % 4)
    z = X @ (generator.standard_normal(d) / np.sqrt(d)) * 2 - 0.5
    return X, (generator.random(n) < 1 / (1 + np.exp(-z))).astype(np.int64)


def persisted(X: Any, y: Any) -> tuple[Any, Any]:
    """X and y on the workers."""
    chunk = -(-len(X) // N_PARTITIONS)
    both = da.from_array(X, chunks=(chunk, -1)).persist(), da.from_array(y, chunks=chunk).persist()
    wait(both)
    return both


def step_cost(n: int, d: int) -> dict[str, float]:
    """A step of log_loss on the cluster, the kernel alone, and both at once: as many processes as workers."""
    X, y = rows_of(n, d)
    X_, y_ = persisted(X, y)
    moments: list[float] = []
    options: dict[str, Any] = {"loss": "log_loss", "learning_rate": 1e-9, "n_steps": STEPS, "method": "gd"}
    st.descend(X_, y_, callback=lambda _: moments.append(time.perf_counter()), **options)
    step = float(np.median(np.diff(moments)))
    parameters = np.full(d + 1, 0.01)
    kernels = []
    for rows in np.array_split(np.arange(n), N_PARTITIONS):
        part = make_problem(X[rows], y[rows], loss="log_loss", alpha=0.0, fit_intercept=True, classes=[0, 1])
        kernels.append(seconds(lambda part=part: _steepest.value_and_gradient(part, parameters, 1), 5))
    del X_, y_
    return {"rows": n, "columns": d, "bytes": float(X.nbytes), "step": step, "kernels": float(sum(kernels))}


def gap_of(coef: Any, intercept: Any, data: tuple[Any, Any], best: float) -> float:
    """(F − F*) / F* of a model."""
    value, _, _ = st.loss_and_gradient(*data, np.ravel(coef), float(np.ravel(intercept)[0]), loss="log_loss")
    return value / best - 1


def ours(X: Any, y: Any, steps: int) -> tuple[Any, Any]:
    """Ask for the fewest passes."""
    fit = st.descend(X, y, loss="log_loss", method="auto", n_steps=steps)
    return fit.coef, fit.intercept


def dask_ml(solver: str) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """dask-ml."""

    def fit(X: Any, y: Any, steps: int) -> tuple[Any, Any]:
        from dask_ml.linear_model import LogisticRegression

        settings = {"regularizer": None} if solver == "lbfgs" else None
        model = LogisticRegression(solver=solver, max_iter=steps, tol=1e-12, solver_kwargs=settings).fit(X, y)
        return model.coef_, model.intercept_

    return fit


def dask_glm(solver: str) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """dask-glm."""

    def fit(X: Any, y: Any, steps: int) -> tuple[Any, Any]:
        from dask_glm.estimators import LogisticRegression

        model = LogisticRegression(solver=solver, max_iter=steps, tol=1e-12, regularizer=None).fit(X, y)
        return model.coef_, model.intercept_

    return fit


PEERS: dict[str, Callable[[Any, Any, int], tuple[Any, Any]]] = {
    "steepest, auto (lbfgs)": ours,
    "dask-ml LogisticRegression, lbfgs": dask_ml("lbfgs"),
    "dask-ml LogisticRegression, newton": dask_ml("newton"),
    "dask-glm LogisticRegression, lbfgs": dask_glm("lbfgs"),
}


def race(n: int, d: int) -> list[tuple[str, str, float]]:
    """Seconds of each until its gap is small, with the first number of steps tried that reaches it."""
    data = rows_of(n, d)
    best = st.descend(*data, loss="log_loss", method="newton", tol=1e-12, n_steps=50).loss
    X_, y_ = persisted(*data)
    lines = []
    for name, fit in PEERS.items():
        try:
            for steps in TRIED:
                start = time.perf_counter()
                model = fit(X_, y_, steps)
                taken, gap = time.perf_counter() - start, gap_of(*model, data, best)
                if gap <= GAP:
                    lines.append((name, f"{steps} steps, gap {gap:.1e}", taken))
                    break
            else:
                lines.append((name, f"gap {gap:.1e} after {steps} steps", taken))
        except ImportError as error:
            lines.append((name, f"missing: {error}", np.nan))
        except Exception as error:  # noqa: BLE001 (whatever a peer raises is its result)
            lines.append((name, f"{type(error).__name__}: {str(error)[:80]}", np.nan))
    return lines


def versions() -> str:
    """What took part."""
    found = []
    for name in ("dask", "distributed", "dask-ml", "dask-glm"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def fitted(empty: list[dict[str, float]], what: str) -> list[float]:
    """Seconds of a pass, of each worker in it, and of each partition: least squares over the empty passes."""
    design = np.array([[1.0, line["workers"], line["partitions"]] for line in empty])
    found: list[float] = np.linalg.lstsq(design, np.array([line[what] for line in empty]))[0].tolist()
    return found


def main() -> None:
    """Measure, print, write."""
    quick = "--quick" in sys.argv
    warnings.simplefilter("ignore")
    empty = empty_passes(quick)
    print("## A cluster of processes", "", f"{processor()}; {versions()}.", "", sep="\n")
    print("Passes without work:", "", "| workers | partitions | a pass | client and scheduler |", sep="\n")
    print("|---|---|---|---|")
    for line in empty:
        taken, busy = line["seconds"] * 1e3, line["busy"] * 1e3
        print(f"| {line['workers']} | {line['partitions']} | {taken:.1f} ms | {busy:.1f} ms |")
    for what, words in (("seconds", "A pass"), ("busy", "Of client and scheduler a pass")):
        base, task, partition = (1e3 * part for part in fitted(empty, what))
        print("", f"{words} {base:.1f} ms, each worker {task:.2f} ms, each partition {partition:.3f} ms.", sep="\n")
    print()
    client = cluster(N_WORKERS)
    steps = [step_cost(n // 10 if quick else n, d) for n, d in SHAPES]
    print(f"A step of log_loss, {N_WORKERS} workers, {N_PARTITIONS} partitions, float64:", "", sep="\n")
    print("| X | a step | kernels, one after the other | their share of a worker | the rest |")
    print("|---|---|---|---|---|")
    for line in steps:
        share = line["kernels"] / N_WORKERS
        print(
            f"| {line['rows']:,.0f}×{line['columns']:.0f} | {line['step'] * 1e3:.1f} ms "
            f"| {line['kernels'] * 1e3:.1f} ms | {share * 1e3:.1f} ms | {(line['step'] - share) * 1e3:.1f} ms |"
        )
    n, d = (40_000, 50) if quick else (400_000, 50)
    lines = race(n, d)
    close(client)
    print("", f"Logistic regression, {n:,}×{d}, without a penalty, to (F − F*) / F* ≤ {GAP:g}:", "", sep="\n")
    print("| | | seconds | |", "|---|---|---|---|", sep="\n")
    for name, result, taken in lines:
        print(f"| {name} | {result} | {taken:.2f} | {taken / lines[0][2]:.1f}× |")
    if not quick:
        measured = {"workers": N_WORKERS, "partitions": N_PARTITIONS, "empty": empty, "steps": steps}
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
