"""Clusters of this machine for tests, and what is run on them: importable, so that workers find it too."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask import delayed
from distributed import Client, LocalCluster, wait
from scipy import sparse

from steepest.distributed import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

#: Limits of the tests: nothing waits longer than this.
CONFIG = {
    "distributed.scheduler.worker-ttl": "3s",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.admin.tick.limit": "1 hour",
    # A cluster of this machine looks so long after a death whether the worker is there. If it is on its way back from
    # another death just then, as here, it is given up for good.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    "steepest.longest-pass": "60s",
}
ROWS, COLUMNS = 120, 5


@contextmanager
def cluster(n_workers: int) -> Iterator[Client]:
    """Yield a client of so many processes of one thread each."""
    with (
        dask.config.set(CONFIG),
        LocalCluster(n_workers=n_workers, processes=True, **LOCAL) as workers,
        Client(workers, timeout=30) as client,
    ):
        yield client


def scale(client: Client, n_workers: int) -> None:
    """Wait until there are so many workers."""
    client.cluster.scale(n_workers)
    limit = time.monotonic() + 60
    while len(client.nthreads()) != n_workers:
        assert time.monotonic() < limit
        time.sleep(0.05)


def pids(client: Client) -> list[int]:
    """Return the processes of the workers."""
    return sorted(client.run(os.getpid).values())


def table(number: int, n: int = ROWS, d: int = COLUMNS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return X and numbers to predict: some of the rows of a table, the same every time."""
    generator = np.random.default_rng([number, n, d])
    X = generator.normal(size=(n, d)) * 2.0 ** np.arange(d) + 1
    return X, X @ np.linspace(-1, 1, d) / 4 + generator.normal(size=n)


def block(number: int, kind: str = "numbers", dtype: Any = np.float64) -> tuple[Any, Any]:
    """Return a block: of numbers, of two labels, of three, or sparse with two labels."""
    X, y = table(number)
    if kind == "sparse":
        return sparse.csr_array(np.where(X > 1, X, 0).astype(dtype)), np.where(y > 0, "yes", "no")
    labels = {"numbers": y, "two": np.where(y > 0, "yes", "no"), "three": np.digitize(y, [-0.5, 0.5])}
    return X.astype(dtype), labels[kind]


def blocks(n: int, kind: str = "numbers", dtype: Any = np.float64) -> list[Any]:
    """Return delayed blocks."""
    return [delayed(block)(number, kind, dtype) for number in range(n)]


def together(n: int, kind: str = "numbers", dtype: Any = np.float64) -> tuple[Any, Any]:
    """Return the rows of the same blocks, in memory."""
    parts = [block(number, kind, dtype) for number in range(n)]
    stack = sparse.vstack if kind == "sparse" else np.concatenate
    return stack([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def kill(victims: list[int]) -> None:
    """Kill processes; a worker that was too slow to be seen alive may have been replaced before."""
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def die() -> None:
    """Kill this process, once its nanny knows that it has started: else that gives up, and nobody comes back."""
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGKILL)


def poison(number: int) -> tuple[Any, Any]:
    """Return a block; the fifth kills whoever reads it."""
    if number == 5:
        die()
    return block(number)


def deadly(number: int, folder: str, deaths: int) -> tuple[Any, Any]:
    """Return a block, which kills the first that read it; they are counted in a folder, once it is there."""
    while not Path(folder).exists():
        time.sleep(0.05)
    if len(list(Path(folder).iterdir())) < deaths:
        Path(folder, str(os.getpid())).touch()
        die()
    return block(number)


def suspects(client: Client, folder: Path, deaths: int) -> list[Any]:
    """Return two blocks that Dask has given up: the first waited at the only worker whenever it died of the other.

    The cluster is one that had one worker from the start: of two that die, one may still be on its way back.
    """
    second = client.submit(deadly, 1, str(folder), deaths, priority=1, pure=False)
    first = client.submit(block, 0, pure=False)
    while sum(map(len, client.processing().values())) < 2:
        time.sleep(0.05)
    folder.mkdir()
    wait([first, second])
    assert [first.status, second.status] == ["error", "error"]
    return [first, second]


def broken(number: int) -> tuple[Any, Any]:
    """Return a block; the fifth cannot be read."""
    if number == 5:
        raise OSError("the disk is gone")
    return block(number)


def at(step: int, action: Callable[[], object]) -> Callable[[Any], None]:
    """Return a callback that does something once, before a step."""
    done: list[object] = []

    def callback(info: Any) -> None:
        if info.step >= step and not done:
            done.append(action())

    return callback
