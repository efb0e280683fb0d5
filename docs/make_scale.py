"""Simulate clusters of 10 to 10,000 workers from what was measured on one machine.

``python docs/make_scale.py`` reads output/cluster.json, which benches/cluster.py wrote, prints what output/scale.txt
holds, and draws images/scale.png.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import steepest as st
from steepest.choice import DENSE_RATE, LBFGS_STEPS
from steepest.curves import save_picture
from steepest.distributed.cluster import FAN_IN, LARGE

HERE = Path(__file__).parent
WORKERS = (10, 100, 1_000, 10_000)
TERABYTES = (1, 10, 100, 1_000)
COLUMNS = 1_000
THREADS = 16
#: Bytes of memory of a worker, bytes a second that it reads of them, and of a disk what does not fit.
MEMORY, MEMORY_RATE, DISK_RATE = 5e11, 1e11, 2e9
#: Bytes a second between two machines, and the spread of how long equal work takes.
NETWORK, SPREAD = 1.25e9, 0.1
#: Passes of L-BFGS and rounds of local SGD to a gap of 3e-3, as printed below; an epoch of SGD takes two passes' time.
ROUGH_PASSES, ROUNDS, EPOCH = 9, 5, 2.0


class Costs(NamedTuple):
    """Seconds, as measured."""

    base: float
    """Of a pass."""
    worker: float
    """Of the client and the scheduler, which do one thing after the other, for each task."""
    own: float
    """Of a worker for its task."""
    partition: float
    """Of client and scheduler, for each partition that a task reads."""
    rate: float
    """Bytes a second that one thread passes over."""


def costs(measured: dict[str, Any]) -> Costs:
    """Return what passes without work say, and the steps with most work."""
    design = np.array([[1.0, line["workers"], line["partitions"]] for line in measured["empty"]])
    whole, busy = (
        np.linalg.lstsq(design, np.array([line[what] for line in measured["empty"]]))[0] for what in ("seconds", "busy")
    )
    largest = max(measured["steps"], key=lambda line: line["bytes"])
    own = max(float(whole[1] - busy[1]), 0.0)
    return Costs(float(whole[0]), float(busy[1]), own, float(whole[2]), largest["bytes"] / largest["kernels"])


def served(arrivals: Any, cost: float) -> Any:
    """Return when one who takes `cost` for each is done with those who arrive, first come, first served."""
    arrivals = np.sort(arrivals)
    number = np.arange(len(arrivals))
    return cost * (number + 1) + np.maximum.accumulate(arrivals - cost * number)


def pass_seconds(cost: Costs, n_workers: int, work: float, numbers: float, partitions: float = 0.0) -> float:
    """Simulate one pass.

    Tasks are sent one after the other, run for `work` seconds more or less, and are answered one after the other; then
    `FAN_IN` answers at a time, of so many `numbers` each, are merged by tasks of their own, until the client takes the
    rest.
    """
    generator = np.random.default_rng(n_workers)
    half, size = cost.worker / 2, 8 * numbers
    # Large vectors go from worker to worker, small ones with the tasks.
    spreading = np.log2(n_workers) * size / NETWORK if size >= LARGE else n_workers * size / NETWORK
    sent = cost.base + spreading + served(np.zeros(n_workers), half + cost.partition * partitions)
    done = served(sent + cost.own + work * generator.lognormal(0, SPREAD, n_workers), half)
    while len(done) > FAN_IN:
        ready = [done[i : i + FAN_IN].max() for i in range(0, len(done), FAN_IN)]
        started = served(np.array(ready), half)
        done = served(started + cost.own + (FAN_IN - 1) * size / NETWORK, half)
    return float(done.max() + len(done) * size / NETWORK)


def reading_seconds(cost: Costs, n_workers: int, n_bytes: float) -> float:
    """Return how long a worker passes over its share of the rows."""
    share = n_bytes / n_workers
    return share / (min(THREADS * cost.rate, MEMORY_RATE) if share <= MEMORY else DISK_RATE)


def whole(cost: Costs, n_workers: int, n_bytes: float) -> dict[str, float]:
    """Return the seconds of each way: to the optimum, or to a gap of 3e-3."""
    reading = reading_seconds(cost, n_workers, n_bytes)
    squares = n_bytes / 8 * COLUMNS / 2 / DENSE_RATE / THREADS / n_workers
    step = pass_seconds(cost, n_workers, reading, COLUMNS)
    epoch = pass_seconds(cost, n_workers, EPOCH * reading, COLUMNS)
    return {
        "statistics": pass_seconds(cost, n_workers, max(reading, squares), COLUMNS**2),
        "lbfgs": LBFGS_STEPS * step,
        "lbfgs, roughly": ROUGH_PASSES * step,
        "local sgd, roughly": ROUNDS * epoch,
    }


def table(cost: Costs) -> list[str]:
    """Return the simulation in lines."""
    head = "workers  data     one step  overhead | to the optimum: statistics, lbfgs | to 3e-3: lbfgs, local SGD"
    lines = [head]
    for n_workers in WORKERS:
        for size in TERABYTES:
            found = whole(cost, n_workers, size * 1e12)
            step = found["lbfgs"] / LBFGS_STEPS
            reading = reading_seconds(cost, n_workers, size * 1e12)
            lines.append(
                f"{n_workers:7,}  {size:4,} TB  {step:8.3g}  {1 - reading / step:8.0%} | "
                f"{found['statistics']:27.3g}  {found['lbfgs']:5.3g} | "
                f"{found['lbfgs, roughly']:13.3g}  {found['local sgd, roughly']:9.3g}"
            )
    return [*lines, "(seconds; float64, 1,000 columns, 16 threads and 0.5 TB of memory a worker)"]


def check(cost: Costs, measured: dict[str, Any]) -> list[str]:
    """Return the model beside what was measured."""
    lines = ["X              measured  model  off by"]
    for line in measured["steps"]:
        work = line["kernels"] / measured["workers"]
        share = measured["partitions"] / measured["workers"]
        model = pass_seconds(cost, measured["workers"], work, line["columns"] + 2, share)
        shape = f"{line['rows']:,.0f}×{line['columns']:.0f}"
        lines.append(f"{shape:13}  {line['step'] * 1e3:5.1f} ms  {model * 1e3:5.1f}  {model / line['step'] - 1:6.0%}")
    return lines


def gaps() -> list[str]:
    """Return how the gap falls by steps of L-BFGS and rounds of local SGD: an epoch on every part, then the mean."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(100_000, 50)) * 2.0 ** -(np.arange(50) % 4)
    X += 0.5 * X[:, :1]
    z = X @ generator.normal(size=50) / 4 - 0.5
    y = (generator.random(len(X)) < 1 / (1 + np.exp(-z))).astype(np.int64)
    options: dict[str, Any] = {"loss": "log_loss", "precondition": True}
    best = st.descend(X, y, method="newton", n_steps=20, **options).loss
    steps = st.descend(X, y, method="lbfgs", n_steps=16, **options).history.loss / best - 1
    model: tuple[Any, Any] = np.zeros(50), 0.0
    parts = np.array_split(np.arange(len(X)), 64)
    lines = ["                 " + "".join(f"{k:9}" for k in range(1, 9))]
    lines.append("steps of lbfgs   " + "".join(f"{gap:9.1e}" for gap in steps[1:9]))
    found = []
    for turn in range(1, 9):
        fits = [
            st.descend(
                X[part],
                y[part],
                method="sgd",
                learning_rate=0.3 / turn**0.5,
                start=model,
                n_steps=-(-len(part) // 256),
                random_state=turn,
                **options,
            )
            for part in parts
        ]
        model = np.mean([fit.coef for fit in fits], axis=0), np.mean([fit.intercept for fit in fits])
        value, _, _ = st.loss_and_gradient(X, y, *model, loss="log_loss")
        found.append(value / best - 1)
    return [*lines, "rounds, 64 parts " + "".join(f"{gap:9.1e}" for gap in found)]


def draw(cost: Costs, path: Path) -> None:
    """Draw the seconds of each way against the workers, for two sizes."""
    numbers = np.unique(np.geomspace(10, 10_000, 25).astype(int))
    styles = {"lbfgs": "-", "statistics": "--", "local sgd, roughly": ":"}

    def picture(axes: Any) -> None:
        for size, colour in ((1, "#0072B2"), (100, "#D55E00"), (1_000, "#009E73")):
            for way, style in styles.items():
                seconds = [whole(cost, int(n), size * 1e12)[way] for n in numbers]
                axes.plot(numbers, seconds, style, color=colour, label=f"{size:,} TB, {way}")
        axes.set(xscale="log", yscale="log", xlabel="workers of 16 threads", ylabel="seconds")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="upper center")
        axes.set_ylim(top=axes.get_ylim()[1] * 8)

    save_picture(picture, path, (7.0, 4.6))


def main() -> None:
    """Print and draw."""
    warnings.simplefilter("ignore", st.ConvergenceWarning)
    measured = json.loads((HERE / "output" / "cluster.json").read_text(encoding="utf-8"))
    cost = costs(measured)
    units = f"{cost.base * 1e3:.1f} ms a pass, {cost.worker * 1e3:.1f} ms a task for client and scheduler, "
    units += f"{cost.own * 1e3:.1f} ms for its worker, {cost.partition * 1e3:.2f} ms a partition, "
    print(units + f"{cost.rate / 1e9:.1f} GB/s a thread", *check(cost, measured), *gaps(), *table(cost), sep="\n")  # noqa: T201
    draw(cost, HERE / "images" / "scale.png")


if __name__ == "__main__":
    main()
