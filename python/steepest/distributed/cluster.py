"""Blocks on the workers of a cluster, and the passes over them.

Each pass is one task a worker, which reads the partitions that lie there. Results of partitions are merged in pairs by
the tree of `blocks.merged`, whoever computes them, so they have the same bits for any number of workers and whatever
happened to them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from steepest.design import aligned
from steepest.errors import ClusterError, InputError, SteepestError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from distributed import Client, Future

    Nodes = dict[tuple[int, int], Any]

#: Results that one task merges, and that the client takes by itself.
FAN_IN = 8
#: Seconds between two looks at where the partitions are.
LOOK_AGAIN = 2.0
#: Seconds that news may be late, that a question to the scheduler may take, and that no worker may be there.
MOMENT, ANSWER, NO_WORKER = 1.0, 5.0, 60.0
#: How long a pass may take; ``dask.config.set({"steepest.longest-pass": …})`` says otherwise.
LONGEST = "1 hour"
#: A task that fails is tried again so many times: files may be out of reach for a moment.
RETRIES = 2
#: Bytes from which on what all tasks read goes to the workers once, and from them to each other.
LARGE = 1 << 16


class Refused(NamedTuple):
    """What the user must mend, as a result: what is raised, Dask tries again, as if that could help."""

    message: str


class Partitions:
    """Blocks of rows on the workers of a cluster: `blocks.Blocks`."""

    def __init__(self, client: Client, futures: Sequence[Future]) -> None:
        import dask

        self.client, self.futures = client, list(futures)
        self.address = client.scheduler.address
        self.longest_pass = _seconds(dask.config.get("steepest.longest-pass", LONGEST))
        self.groups: list[tuple[str, list[int]]] = []
        self.running: list[tuple[Future, list[int]]] = []
        """The tasks of this pass, and which partitions each reads."""
        self.joining: list[Future] = []
        self.looked = -1.0
        self.apart = False
        """Whether each partition is a task of its own, to find the one that kills its worker."""

    def spread(self, n_threads: int, answer_bytes: float) -> tuple[Partitions, int]:  # noqa: ARG002
        """Return itself and the threads of the worker that has fewest: tasks of one worker share them."""
        return self, min(self._threads().values(), default=1)

    def epoch(self, seed: int, epoch: int) -> Generator[Any]:  # noqa: ARG002
        """Raise an error: mini-batches would bring the rows to the client."""
        raise InputError(
            "method: mini-batches would bring every partition to the client; on a cluster take 'auto', 'lbfgs' or "
            "another method of all rows"
        )

    def __len__(self) -> int:
        return len(self.futures)

    def map(self, function: Callable[..., Any], *broadcast: Any) -> Partitions:
        """Return the partitions ``function(partition, *broadcast)``, kept on the workers once they are computed."""
        shared = self._shared(broadcast)
        made = [
            self.client.submit(_mapped, number, function, future, *shared, pure=False, retries=RETRIES)
            for number, future in enumerate(self.futures)
        ]
        return Partitions(self.client, made)

    def reduce(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], *broadcast: Any) -> Any:
        """Return ``task(partition, *broadcast)`` of all partitions, merged pairwise in order; None is left out."""
        try:
            with self._named():
                nodes = self._whole(task, merge, broadcast)
        finally:
            # A task that failed may be waited for by others, and tried again.
            for future in (*(future for future, _ in self.running), *self.joining):
                future.release()
            self.running, self.joining = [], []
        (result,) = nodes.values()
        return result

    def _whole(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], broadcast: tuple[Any, ...]) -> Nodes:
        if self.looked < 0:
            self._wait(self.futures)
        if time.monotonic() - self.looked > LOOK_AGAIN:
            self._look()
        try:
            return self._nodes(self.groups, task, merge, broadcast)
        except _killed_worker():
            if self.apart or self._failed(self.futures):
                raise
        # Whatever waits at a worker that dies is suspected with the task that killed it: read one after the other, it
        # is known, or has the memory that it needs.
        self.apart, self.looked = True, 0.0
        nodes: Nodes = {}
        for number in range(len(self)):
            nodes |= self._nodes([("", [number])], task, merge, broadcast)
        return subtrees(nodes, len(self), merge)

    def _nodes(
        self,
        groups: list[tuple[str, list[int]]],
        task: Callable[..., Any],
        merge: Callable[[Any, Any], Any],
        broadcast: tuple[Any, ...],
    ) -> Nodes:
        """Return what the partitions of some groups add up to, as far as they are neighbours."""
        shared, n = self._shared(broadcast), len(self)
        parts = [
            self.client.submit(
                _part,
                (task, merge),
                n,
                numbers,
                [self.futures[number] for number in numbers],
                *shared,
                # Where its partitions are; anywhere else if that worker is gone.
                workers=[worker] if worker else None,
                allow_other_workers=bool(worker),
                pure=False,
                retries=RETRIES,
            )
            for worker, numbers in groups
        ]
        self.running = [(future, numbers) for future, (_, numbers) in zip(parts, groups, strict=True)]
        while len(parts) > FAN_IN:
            parts = [
                self.client.submit(_joined, parts[i : i + FAN_IN], n, merge, pure=False)
                for i in range(0, len(parts), FAN_IN)
            ]
            self.joining += parts
        return subtrees(_union(self._results(parts)), n, merge)

    def _shared(self, broadcast: tuple[Any, ...]) -> list[Any]:
        """Return arguments that all tasks have in common; large arrays as futures."""
        # Not scattered: what is scattered dies with its worker, what a task returned is computed again.
        return [
            self.client.submit(_same, value, pure=False) if getattr(value, "nbytes", 0) >= LARGE else value
            for value in broadcast
        ]

    def _look(self) -> None:
        """Group the partitions by the worker that holds them; who holds too few is given some of those of others."""

        async def ask() -> tuple[dict[str, Sequence[str]], dict[str, int]]:
            return await self.client.who_has(self.futures), await self.client.nthreads()

        holders, threads = self.client.sync(ask, callback_timeout=ANSWER)
        held = [[worker for worker in holders.get(future.key, ()) if worker in threads] for future in self.futures]
        self.groups = grouped(held, threads) if threads else [("", list(range(len(self))))]
        if self.apart:
            self.groups = [(worker, [number]) for worker, numbers in self.groups for number in numbers]
        self.looked = time.monotonic()

    def _results(self, futures: Sequence[Future]) -> list[Any]:
        """Return the results of tasks once all are done."""
        self._wait(futures)

        async def gather() -> list[Any]:
            found: list[Any] = await self.client.gather(futures)
            return found

        results: list[Any] = self.client.sync(gather, callback_timeout=self.longest_pass)
        return results

    def _wait(self, futures: Sequence[Future]) -> None:
        """Wait until all tasks are done, as long as there is somebody to do them; raise what refuses one."""
        from distributed import as_completed

        async def done() -> None:
            async for future in as_completed(futures, loop=self.client.loop):
                if future.type is Refused:
                    raise InputError((await future).message)

        began = staffed = time.monotonic()
        while True:
            try:
                self.client.sync(done, callback_timeout=min(ANSWER, self.longest_pass))
            except TimeoutError:
                now = time.monotonic()
                if self._threads():
                    staffed = now
                if now - staffed > NO_WORKER:
                    raise ClusterError(f"no worker has been there for {NO_WORKER:g} s{self._last_words()}") from None
                if now - began > self.longest_pass:
                    raise ClusterError(
                        f"a pass over {len(self)} partitions took longer than {self.longest_pass:g} s; "
                        "dask.config.set({'steepest.longest-pass': …}) allows more"
                    ) from None
            else:
                return

    def _threads(self) -> dict[str, int]:
        """Return the threads of each worker that is there."""

        async def ask() -> dict[str, int]:
            return dict(await self.client.nthreads())

        found: dict[str, int] = self.client.sync(ask, callback_timeout=ANSWER)
        return found

    def _last_words(self) -> str:
        """Return what workers did when they died, as far as the scheduler knows, and what may help."""
        keys = [future.key for future in self.futures]
        deaths: list[int] = self.client.run_on_scheduler(_deaths, keys=keys)
        of_passes: list[int] = self.client.run_on_scheduler(_deaths, keys=[future.key for future, _ in self.running])
        for (_, numbers), n in zip(self.running, of_passes, strict=True):
            for number in numbers:
                deaths[number] = max(deaths[number], n)
        if not any(deaths):
            return "; start some"
        suspects = [number for number, n in enumerate(deaths) if n == max(deaths)]
        return (
            f"; the last ones died as they read {_listed(suspects)}; their logs say why; most often memory is short: "
            "make partitions smaller, and start workers again"
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say what went wrong in words that name the partition."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            yield
        except KilledWorker as error:
            died = error.allowed_failures + 1
            raise ClusterError(
                f"{self._culprit(error.task)}: each of the {died} workers that read it died; their logs say why; most "
                "often memory is short: make partitions smaller"
            ) from error
        except SteepestError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            culprit = self._culprit()
            cut_off = isinstance(error, (CommClosedError, asyncio.CancelledError, concurrent.futures.CancelledError))
            if self.client.status != "running" or (cut_off and not self._failed(self.futures)):
                raise ClusterError(
                    f"the scheduler at {self.address} was lost, or what it knew: {error}; start another one and go on "
                    "from the last fit with start="
                ) from error
            raise ClusterError(f"{culprit}: {type(error).__name__}: {error}") from error

    def _culprit(self, task: Any = None) -> str:
        """Return which partition failed, or made this task of a pass fail."""
        waited = time.monotonic()
        # News of the partition itself may come after that of the task which read it.
        while not (numbers := self._failed(self.futures)) and time.monotonic() - waited < MOMENT:
            if any(future.key == task for future, _ in self.running):
                break
            time.sleep(MOMENT / 10)
        if not numbers:
            failed = self._failed([future for future, _ in self.running])
            numbers = [number for group in failed for number in self.running[group][1]]
        return _listed(numbers)

    @staticmethod
    def _failed(futures: Sequence[Future]) -> list[int]:
        return [number for number, future in enumerate(futures) if future.status in {"error", "cancelled"}]


def grouped(held: list[list[str]], threads: dict[str, int]) -> list[tuple[str, list[int]]]:
    """Return which worker reads which partitions: those that it holds, as many a thread as the others.

    Parameters
    ----------
    held : list of list of str
        The workers that hold each partition.
    threads : dict
        Threads of each worker, by its address.
    """
    loads: dict[str, list[int]] = {worker: [] for worker in sorted(threads)}

    def load(worker: str, more: int = 0) -> float:
        return (len(loads[worker]) + more) / threads[worker]

    for number, workers in enumerate(held):
        loads[min(workers or loads, key=load)].append(number)
    while True:
        most, least = max(loads, key=load), min(loads, key=lambda worker: load(worker, 1))
        if load(most) <= load(least, 1):
            return [(worker, sorted(numbers)) for worker, numbers in loads.items() if numbers]
        loads[least].append(loads[most].pop())


def subtrees(nodes: Nodes, n: int, merge: Callable[[Any, Any], Any]) -> Nodes:
    """Merge neighbours wherever both are there, in the tree that `blocks.merged` has for `n` results.

    A node (start, span) stands for the results `start` to ``start + span``. Whatever is merged when, the one node that
    is left in the end was made by the same merges.
    """
    nodes, span = dict(nodes), 1
    while span < n:
        for start in sorted(start for start, width in nodes if width == span and start % (2 * span) == 0):
            if start + span >= n:
                nodes[start, 2 * span] = nodes.pop((start, span))
            elif (start + span, span) in nodes:
                left, right = nodes.pop((start, span)), nodes.pop((start + span, span))
                nodes[start, 2 * span] = right if left is None else left if right is None else merge(left, right)
        span *= 2
    return nodes


def _union(parts: Iterable[Nodes]) -> Nodes:
    return {place: value for nodes in parts for place, value in nodes.items()}


def _part(
    verbs: tuple[Any, Any], n: int, numbers: list[int], partitions: list[Any], *broadcast: Any
) -> Nodes | Refused:
    """Run the task on some partitions, on a worker, up to the first that is refused."""
    task, merge = verbs
    nodes: Nodes = {}
    for number, partition in zip(numbers, partitions, strict=True):
        result = _mapped(number, task, partition, *broadcast)
        if isinstance(result, Refused):
            return result
        nodes = subtrees({**nodes, (number, 1): result}, n, merge)
    return nodes


def _joined(parts: list[Nodes | Refused], n: int, merge: Callable[[Any, Any], Any]) -> Nodes | Refused:
    """Merge what other tasks returned, which stays as it is: it may be asked for again."""
    found: list[Nodes] = []
    for part in parts:
        if isinstance(part, Refused):
            return part
        found.append(part)
    return subtrees(copy.deepcopy(_union(found)), n, merge)


def _mapped(number: int, function: Callable[..., Any], partition: Any, *broadcast: Any) -> Any:
    settled = partition is None or isinstance(partition, Refused)
    return partition if settled else about(number, function, partition, *broadcast)


def about(number: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; what it complains of is said of a partition, and returned where only the user can mend it."""
    try:
        return function(*map(aligned, arguments))
    except InputError as error:
        named = str(error).startswith(called(number))
        return Refused(str(error) if named else f"{called(number)}: {error}")
    except Exception as error:
        raise ClusterError(f"{called(number)}: {type(error).__name__}: {error}") from error


def called(number: int) -> str:
    """Return what messages call a partition."""
    return f"partition {number}"


def _listed(numbers: list[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"partition {listed}" if len(numbers) == 1 else f"one of the partitions {listed or 'asked for'}"


def _deaths(keys: list[Any], dask_scheduler: Any) -> list[int]:
    """Return how many workers died while each task was theirs, or one that it needs; on the scheduler."""
    found = []
    for key in keys:
        waiting, seen = [dask_scheduler.tasks.get(key)], set()
        while waiting:
            task = waiting.pop()
            if task is not None and task not in seen:
                seen.add(task)
                waiting += task.dependencies
        found.append(max((task.suspicious for task in seen), default=0))
    return found


def _same(value: Any) -> Any:
    return value


def _killed_worker() -> Any:
    from distributed import KilledWorker

    return KilledWorker


def _seconds(given: Any) -> float:
    from dask.utils import parse_timedelta

    return float(parse_timedelta(given))
