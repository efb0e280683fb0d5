"""Workers, clients and schedulers that die, hang or come late: the same bits, or an error in seconds."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import steepest

pytest.importorskip("distributed", reason="needs dask.distributed")

import dask
from dask import delayed
from distributed import Client

import clusters
from clusters import at, blocks, die, kill, pids, scale
from steepest.checkpoint import read_checkpoint
from steepest.distributed import cluster as passes
from steepest.distributed import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# On one process, where tests are spread over several: a cluster for each would be more than there are cores.
pytestmark = pytest.mark.xdist_group("cluster")

DEEP = os.environ.get("STEEPEST_TEST_PROFILE") == "deep"
STEPS = 30
OPTIONS: dict[str, Any] = {"loss": "log_loss", "method": "lbfgs", "alpha": 1e-4, "n_steps": STEPS}
#: Seconds that a descent may take whatever happens: what a hanging worker is given, and some.
LIMIT = 45


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with clusters.cluster(2) as client:
        yield client


@pytest.fixture(scope="module")
def clean(client: Client) -> bytes:
    """Return the bits of a descent to which nothing happens."""
    assert client
    return steepest.descend(blocks(8, "two"), None, **OPTIONS).parameters.tobytes()


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Assert that the body takes no longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def descend(callback: Callable[[Any], object] | None = None) -> bytes:
    """Return the bits of a descent."""
    with limit(LIMIT):
        return steepest.descend(blocks(8, "two"), None, callback=callback, **OPTIONS).parameters.tobytes()


def whole(client: Client) -> None:
    """Wait until both workers are back."""
    scale(client, 2)


@pytest.mark.parametrize("seed", range(30 if DEEP else 4))
def test_a_worker_is_killed_at_a_random_step(client: Client, clean: bytes, seed: int) -> None:
    whole(client)
    generator = np.random.default_rng(seed)
    victim = int(generator.choice(pids(client)))
    assert descend(at(int(generator.integers(STEPS - 2)), lambda: kill([victim]))) == clean


def test_all_workers_are_killed(client: Client, clean: bytes) -> None:
    whole(client)
    victims = pids(client)
    assert len(victims) == 2
    assert descend(at(7, lambda: kill(victims))) == clean


def test_a_worker_hangs(client: Client, clean: bytes) -> None:
    whole(client)
    victim = pids(client)[0]
    try:
        assert descend(at(5, lambda: os.kill(victim, signal.SIGSTOP))) == clean
    finally:
        # The scheduler gives it up and its nanny ends it; if not, it must not hang for ever.
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)


def test_a_worker_joins_and_is_given_partitions(client: Client, clean: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(client)
    before = set(client.nthreads())
    monkeypatch.setattr(passes, "LOOK_AGAIN", 0.0)
    held: list[int] = []

    def look() -> None:
        held.extend(len(keys) for worker, keys in client.has_what().items() if worker not in before)

    def callback(info: Any) -> None:
        if info.step == 5:
            scale(client, 3)
        if info.step == STEPS - 2:
            look()

    try:
        assert descend(callback) == clean
    finally:
        whole(client)
    assert max(held) >= 2


def breakable(number: int, mark: str) -> tuple[Any, Any]:
    """Return a block; the fifth cannot be read while a file is there."""
    if number == 5 and Path(mark).exists():
        raise OSError("the disk is gone")
    return clusters.block(number, "two")


def test_a_partition_fails_in_the_middle_and_the_same_call_goes_on_once_it_is_mended(
    client: Client, clean: bytes, tmp_path: Path
) -> None:
    whole(client)
    mark, path = tmp_path / "mark", tmp_path / "run"

    def lose() -> None:
        mark.touch()
        kill(pids(client))

    def call(callback: Any = None) -> steepest.Fit:
        rows = [delayed(breakable)(number, str(mark)) for number in range(8)]
        with limit(LIMIT):
            return steepest.descend(rows, None, callback=callback, checkpoint=path, **OPTIONS)

    for _ in range(2):
        with pytest.raises(steepest.ClusterError, match=r"^partition 5: OSError: the disk is gone"):
            call(at(STEPS // 2, lose))
        # Every whole segment is there, and it stays.
        assert 0 < read_checkpoint(path).solution.n_steps <= STEPS // 2
    mark.unlink()
    assert call().parameters.tobytes() == clean


def kill_on_sixth(partition: Any, mark: str) -> int | None:
    """Kill the worker that reads the sixth partition, once a file is there."""
    if partition.name == "partition 5" and Path(mark).exists():
        die()
    return 1


@pytest.mark.skipif(not DEEP, reason="eight workers die: STEEPEST_TEST_PROFILE=deep")
def test_a_partition_that_kills_its_worker_is_found_among_those_read_with_it(client: Client, tmp_path: Path) -> None:
    from steepest.backends.blocks import added
    from steepest.distributed import partitions

    whole(client)
    mark = tmp_path / "mark"
    rows = partitions(blocks(8), None)
    assert rows.reduce(kill_on_sixth, added, str(mark)) == 8
    mark.touch()
    with limit(2 * LIMIT), pytest.raises(steepest.ClusterError, match=r"^partition 5: each of the 4 workers"):
        rows.reduce(kill_on_sixth, added, str(mark))
    mark.unlink()
    assert rows.reduce(kill_on_sixth, added, str(mark)) == 8


async def nothing() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("numbers", "named"),
    [((5,), "partition 0"), ((5, 5), "one of the partitions 0, 1")],
)
def test_workers_that_do_not_come_back_are_missed_by_the_name_of_what_they_read(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], named: str
) -> None:
    """Of what waited there one is as good as the other: nobody is left to try them."""
    monkeypatch.setattr(passes, "ANSWER", 1.0)
    monkeypatch.setattr(passes, "NO_WORKER", 1.5)
    with clusters.cluster(1) as client:
        for nanny in client.cluster.workers.values():
            # As one whose worker dies before it is known to have started.
            monkeypatch.setattr(nanny, "instantiate", nothing)
        rows = [delayed(clusters.poison)(number) for number in numbers]
        message = rf"^no worker has been there for 1\.5 s; the last ones died as they read {named}; their logs say why"
        with limit(LIMIT), pytest.raises(steepest.ClusterError, match=message):
            steepest.descend(rows, None, **OPTIONS)


#: Runs in every process of a worker before anything else.
PRELOAD = """
import os

if os.path.exists({mark!r}):
    os._exit(1)
"""


@contextmanager
def deadly_starts(folder: Path) -> Iterator[Path]:
    """Yield the name of a file: while it is there, workers die as they start."""
    mark, preload = folder / "mark", folder / "preload.py"
    preload.write_text(PRELOAD.format(mark=str(mark)), encoding="utf-8")
    with dask.config.set({"distributed.worker.preload": [str(preload)]}):
        yield mark


def test_workers_that_die_as_they_start(clean: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is left goes on; nobody left is an error, in seconds."""
    monkeypatch.setattr(passes, "ANSWER", 1.0)
    monkeypatch.setattr(passes, "NO_WORKER", 1.5)
    with deadly_starts(tmp_path) as mark, clusters.cluster(2) as client:
        mark.touch()
        victims = pids(client)
        assert descend(at(7, lambda: kill(victims[:1]))) == clean
        assert pids(client) == victims[1:]
        with pytest.raises(steepest.ClusterError, match=r"^no worker has been there for 1\.5 s"):
            descend(at(7, lambda: kill(victims[1:])))


def test_a_cluster_of_this_machine_whose_workers_die_as_they_start(tmp_path: Path) -> None:
    with deadly_starts(tmp_path) as mark:
        mark.touch()
        message = "^cluster: workers do not start on this machine: "
        with limit(LIMIT), pytest.raises(steepest.ClusterError, match=message), connected("local:2"):
            pass


def test_a_cluster_of_this_machine_waits_for_its_workers_to_come_back() -> None:
    """Dask's own gives up who is on the way back from a death when it asks, here at once, else 15 s after another."""
    with (
        limit(LIMIT),
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}),
        connected("local:1") as client,
    ):
        before = set(client.nthreads())
        kill(pids(client))
        while set(client.nthreads()) <= before:
            time.sleep(0.05)
        # One that was given up is closed as it comes back.
        assert list(client.cluster.workers) == [0]


def counted(partition: Any, folder: str) -> int | None:
    """Leave a file a call; the third partition is refused, and those after it take their time, but for a mark.

    One that the third stands behind in a worker's queue does not take it for long.
    """
    Path(folder, f"{partition.name} {time.monotonic_ns()}").touch()
    if partition.name == "partition 3":
        raise steepest.InputError("X: expected something else")
    began = time.monotonic()
    while partition.name > "partition 3" and not Path(folder, "over").exists():
        is_refused = any(Path(folder).glob("partition 3 *"))
        if time.monotonic() - began > (LIMIT if is_refused else 2.0):
            break
        time.sleep(0.05)
    return 1


def one(_partition: Any) -> int:
    """Return one."""
    return 1


@pytest.mark.parametrize("verb", ["map", "reduce"])
def test_what_the_user_must_mend_is_said_at_once(client: Client, tmp_path: Path, verb: str) -> None:
    """Not after more tries, nor once all others have been read."""
    from steepest.backends.blocks import added
    from steepest.distributed import partitions

    whole(client)
    rows = partitions(blocks(8), None)
    assert rows.reduce(one, added) == 8
    if verb == "map":
        rows = rows.map(counted, str(tmp_path))
    task, arguments = (one, ()) if verb == "map" else (counted, (str(tmp_path),))
    try:
        with limit(LIMIT / 2), pytest.raises(steepest.InputError, match=r"^partition 3: X: expected something else$"):
            rows.reduce(task, added, *arguments)
    finally:
        (tmp_path / "over").touch()
    assert len(list(tmp_path.glob("partition 3 *"))) == 1


CLIENT = """
import os, pickle, sys
from distributed import Client
import steepest
from clusters import blocks
from test_cluster import OPTIONS, SLICE

if __name__ == "__main__":
    address, path = sys.argv[1:]
    with Client(address, timeout=20) as client:
        fit = None
        for number in range(1000):
            fit = steepest.descend(blocks(8, "two"), None, start=fit, **{**OPTIONS, "n_steps": SLICE})
            with open(path + ".new", "wb") as file:
                pickle.dump((fit, (number + 1) * SLICE), file)
            os.replace(path + ".new", path)
"""
SLICE = 2


def script(folder: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python script that finds the modules of the tests."""
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    here = Path(__file__).parent
    paths = [str(here.parent), str(here), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, str(path), *arguments], env=environment, stdout=subprocess.PIPE, text=True)


def test_the_client_is_killed_and_another_goes_on(client: Client, clean: bytes, tmp_path: Path) -> None:
    whole(client)
    saved = tmp_path / "fit"
    with script(tmp_path, CLIENT, client.scheduler.address, str(saved)) as process:
        began = time.monotonic()
        while not saved.exists():
            assert process.poll() is None
            assert time.monotonic() - began < LIMIT
            time.sleep(0.05)
        process.kill()
    fit, n_steps = pickle.loads(saved.read_bytes())  # noqa: S301 (our own)
    assert 0 < n_steps < STEPS
    with limit(LIMIT):
        rest = steepest.descend(blocks(8, "two"), None, start=fit, **{**OPTIONS, "n_steps": STEPS - n_steps})
    assert rest.parameters.tobytes() == clean


CLUSTER = """
import time, clusters
if __name__ == "__main__":
    with clusters.cluster(1) as client:
        print(client.scheduler.address, flush=True)
        time.sleep(60)
"""


def test_the_scheduler_is_lost(tmp_path: Path) -> None:
    with script(tmp_path, CLUSTER) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            with (
                Client(address, timeout=20, set_as_default=False) as client,
                client.as_current(),
                limit(LIMIT),
                pytest.raises(steepest.ClusterError, match=f"^the scheduler at {address} was lost"),
            ):
                steepest.descend(blocks(8, "two"), None, callback=at(3, process.kill), **OPTIONS)
        finally:
            process.kill()
