"""Blocks on the workers of a cluster, and the passes over them.

Each pass is one task a worker, which reads the partitions that lie there. Results of partitions are merged in pairs by
the tree of `blocks.merged`, whoever computes them, so they have the same bits for any number of workers and whatever
happened to them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steepest.distributed.tasks import Refused, called, deaths, joined, mapped, part, same, subtrees, union
from steepest.errors import ClusterError, InputError, SteepestError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from distributed import Client, Future

    from steepest.distributed.tasks import Nodes

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
        """Whether each partition is a task of its own, as one of them may have killed its workers."""

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
            self.client.submit(mapped, number, function, future, *shared, pure=False, retries=RETRIES)
            for number, future in enumerate(self.futures)
        ]
        return Partitions(self.client, made)

    def reduce(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], *broadcast: Any) -> Any:
        """Return ``task(partition, *broadcast)`` of all partitions, merged pairwise in order; None is left out."""
        try:
            with self._named():
                nodes = self._whole(task, merge, broadcast)
        finally:
            self._release()
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
            # Whatever waits at a worker that dies is suspected with what killed it: the partition that a task reads,
            # another that is computed there again, the task.
            pass
        self.apart, self.looked = True, 0.0
        nodes: Nodes = {}
        # Those that failed come first: one of them may be the one.
        for number in sorted(range(len(self)), key=lambda number: self.futures[number].status != "error"):
            nodes |= self._alone(number, task, merge, broadcast)
        return subtrees(nodes, len(self), merge)

    def _alone(
        self, number: int, task: Callable[..., Any], merge: Callable[[Any, Any], Any], broadcast: tuple[Any, ...]
    ) -> Nodes:
        """Read one partition while nothing else is computed: a worker that dies meanwhile dies of it."""
        self._settle()
        try:
            return self._nodes([("", [number])], task, merge, broadcast)
        except _killed_worker() as error:
            if error.task == self.running[0][0].key:
                raise _deadly(number, error) from error
        # Dask gave the partition up, perhaps for another that lay beside it, and ends it at one more death.
        self._settle()
        self._again(self.futures[number])
        try:
            return self._nodes([("", [number])], task, merge, broadcast)
        except _killed_worker() as error:
            raise _deadly(number, error) from error

    def _settle(self) -> None:
        """Wait until nothing is computed any more."""
        computed = (*self.futures, *(future for future, _ in self.running))
        self._wait([future for future in computed if not future.done()])
        self._release()

    def _release(self) -> None:
        """Forget the tasks of this pass: one that failed may be waited for by others, and tried again."""
        for future in (*(future for future, _ in self.running), *self.joining):
            future.release()
        self.running, self.joining = [], []

    def _again(self, future: Future) -> None:
        """Have what failed computed once more."""

        async def ask() -> None:
            # `Client.retry` knows no tasks but its own futures, and it is one below them that failed.
            await self.client.scheduler.retry(keys=[future.key], client=self.client.id)

        self.client.sync(ask, callback_timeout=ANSWER)

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
                part,
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
                self.client.submit(joined, parts[i : i + FAN_IN], n, merge, pure=False)
                for i in range(0, len(parts), FAN_IN)
            ]
            self.joining += parts
        return subtrees(union(self._results(parts)), n, merge)

    def _shared(self, broadcast: tuple[Any, ...]) -> list[Any]:
        """Return arguments that all tasks have in common; large arrays as futures."""
        # Not scattered: what is scattered dies with its worker, what a task returned is computed again.
        return [
            self.client.submit(same, value, pure=False) if getattr(value, "nbytes", 0) >= LARGE else value
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
        died = self._died(self.futures, deep=True)
        for (_, numbers), n in zip(self.running, self._died([future for future, _ in self.running]), strict=True):
            for number in numbers:
                died[number] = max(died[number], n)
        if not any(died):
            return "; start some"
        suspects = [number for number, n in enumerate(died) if n == max(died)]
        return (
            f"; the last ones died as they read {_listed(suspects)}; their logs say why; most often memory is short: "
            "make partitions smaller, and start workers again"
        )

    def _died(self, futures: Sequence[Future], *, deep: bool = False) -> list[int]:
        """Return how many workers each task has cost; of what is done the last ones did not die."""
        counts: list[int] = self.client.run_on_scheduler(deaths, keys=[future.key for future in futures], deep=deep)
        return [0 if future.done() else n for future, n in zip(futures, counts, strict=True)]

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say what went wrong in words that name the partition."""
        from distributed.comm import CommClosedError

        try:
            yield
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

    def _culprit(self) -> str:
        """Return which partition failed, or made a task of this pass fail."""
        waited = time.monotonic()
        # News of the partition itself may come after that of the task which read it.
        while not (failed := self._failed(self.futures)) and time.monotonic() - waited < MOMENT:
            time.sleep(MOMENT / 10)
        tasks = self._failed([future for future, _ in self.running])
        read = [number for task in tasks for number in self.running[task][1]]
        # Others may have failed before: not all are read any more where one is read alone.
        return _listed([number for number in failed if number in read] or read or failed)

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


def _deadly(number: int, error: Any) -> ClusterError:
    """Return what is raised for a partition that kills workers, also one that has nothing else to do."""
    return ClusterError(
        f"{called(number)}: each of the {error.allowed_failures + 1} workers that read it died, also where nothing "
        "else was read; their logs say why; most often memory is short: make partitions smaller"
    )


def _listed(numbers: list[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"partition {listed}" if len(numbers) == 1 else f"one of the partitions {listed or 'asked for'}"


def _killed_worker() -> Any:
    from distributed import KilledWorker

    return KilledWorker


def _seconds(given: Any) -> float:
    from dask.utils import parse_timedelta

    return float(parse_timedelta(given))
