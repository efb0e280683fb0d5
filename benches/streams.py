"""A pass over a file that is not in memory, beside the two things that it cannot be faster than: disk and kernel.

    python benches/streams.py [--gigabytes 1] [--folder /tmp]

A cold pass begins with the file put out of the page cache; a warm one finds it there, as the pass before has left it.
The disk is one thread that reads the file block by block, each into memory of its own. The kernel goes over more blocks
than a cache holds. A pass does both, on the cores that each has to itself here.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends import get_backend
from steepest.backends.blocks import BlocksObjective, evaluate
from steepest.sources.files import BLOCK_BYTES
from steepest.streams import as_blocks
from steepest.survey import survey_blocks
from steepest.threads import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from steepest.problem import Problem

COLUMNS = 128
REPEATS = 5
#: Different blocks that the kernel goes over: a hundred megabytes.
HELD = 24


def write(folder: Path, n_rows: int) -> tuple[Path, Path]:
    """Write X and the labels, a block at a time."""
    generator = np.random.default_rng(0)
    rows = BLOCK_BYTES // (4 * COLUMNS)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_rows, COLUMNS))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (n_rows,))
    for start in range(0, n_rows, rows):
        block = generator.standard_normal((min(rows, n_rows - start), COLUMNS), dtype=np.float32)
        X[start : start + rows] = block
        y[start : start + rows] = block[:, 0] + generator.standard_normal(len(block)) > 0
    X.flush()
    y.flush()
    return folder / "X.npy", folder / "y.npy"


def forget(path: Path) -> None:
    """Put a file out of the page cache."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> None:
    """Read a file, a block at a time, each into memory of its own."""
    with path.open("rb", buffering=0) as stream:
        while len(np.fromfile(stream, np.uint8, BLOCK_BYTES)):
            pass


def seconds(work: Callable[[], Any], path: Path, *, cold: bool) -> float:
    """Return the median time of some runs."""
    times = []
    for _ in range(REPEATS):
        if cold:
            forget(path)
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measure(path: Path, target: Path) -> None:
    """Print the times of a pass for each loss."""
    engine, threads, size = get_backend("rust"), thread_count(None), path.stat().st_size
    print(f"{size / 1e9:.2f} GB, {COLUMNS} columns of float32, {threads} threads; medians of {REPEATS} passes")
    print("loss       cache   disk s  kernel s  pass s  share of the slower")
    for loss in ("log_loss", "huber"):
        blocks: Any = as_blocks(path, target, numbers=loss != "log_loss")
        problem = survey_blocks(
            blocks, loss=loss, alpha=0.0, l1_ratio=0.0, fit_intercept=True, classes=None, precondition=False,
            with_moments=False, n_threads=threads,
        )  # fmt: skip
        objective = BlocksObjective(problem, engine, threads)
        with closing(problem.blocks.epoch(0, 0)) as some:
            held: list[Problem] = list(islice(some, HELD))
        point = np.zeros(problem.n_parameters)
        n_blocks = len(problem.survey.lengths)

        def kernel(held: list[Problem] = held, point: Any = point, n_blocks: int = n_blocks) -> None:
            for block in islice(cycle(held), n_blocks):
                evaluate(block, engine, point[np.newaxis], threads)

        def one_pass(objective: BlocksObjective = objective, point: Any = point) -> None:
            objective.value_and_gradient(point)
            objective.known.clear()

        for cold in (True, False):
            disk = seconds(lambda: read(path), path, cold=cold)
            own = seconds(kernel, path, cold=False)
            whole = seconds(one_pass, path, cold=cold)
            name = "cold" if cold else "warm"
            print(f"{loss:<10} {name:<6} {disk:7.3f}  {own:8.3f} {whole:7.3f}  {max(disk, own) / whole:19.0%}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MiB")


def main() -> None:
    """Write the file and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if os.fork() == 0:
            # Elsewhere, so that what writing takes is not counted as what reading takes.
            write(Path(folder), int(options.gigabytes * 1e9 / (4 * COLUMNS)))
            os._exit(0)
        os.wait()
        measure(Path(folder) / "X.npy", Path(folder) / "y.npy")


if __name__ == "__main__":
    main()
