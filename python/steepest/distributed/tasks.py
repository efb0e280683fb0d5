"""What runs on a cluster by itself: the tasks of its workers, which merge what their partitions add up to."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from steepest.design import aligned
from steepest.errors import ClusterError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Nodes = dict[tuple[int, int], Any]


class Refused(NamedTuple):
    """What the user must mend, as a result: what is raised, Dask tries again, as if that could help."""

    message: str


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


def union(parts: Iterable[Nodes]) -> Nodes:
    """Return the nodes of several parts together."""
    return {place: value for nodes in parts for place, value in nodes.items()}


def part(verbs: tuple[Any, Any], n: int, numbers: list[int], partitions: list[Any], *broadcast: Any) -> Nodes | Refused:
    """Run the task on some partitions, on a worker, up to the first that is refused."""
    task, merge = verbs
    nodes: Nodes = {}
    for number, partition in zip(numbers, partitions, strict=True):
        result = mapped(number, task, partition, *broadcast)
        if isinstance(result, Refused):
            return result
        nodes = subtrees({**nodes, (number, 1): result}, n, merge)
    return nodes


def joined(parts: list[Nodes | Refused], n: int, merge: Callable[[Any, Any], Any]) -> Nodes | Refused:
    """Merge what other tasks returned, which stays as it is: it may be asked for again."""
    found: list[Nodes] = []
    for nodes in parts:
        if isinstance(nodes, Refused):
            return nodes
        found.append(nodes)
    return subtrees(copy.deepcopy(union(found)), n, merge)


def mapped(number: int, function: Callable[..., Any], partition: Any, *broadcast: Any) -> Any:
    """Call a function about a partition, unless that is nothing, or was refused."""
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


def same(value: Any) -> Any:
    """Return the value: a task whose result workers pass on to each other."""
    return value


def deaths(keys: list[Any], *, deep: bool, dask_scheduler: Any) -> list[int]:
    """Return how many workers died while each task was theirs, or, if `deep`, one that it needs; on the scheduler."""
    found = []
    for key in keys:
        waiting, seen = [dask_scheduler.tasks.get(key)], set()
        while waiting:
            task = waiting.pop()
            if task is not None and task not in seen:
                seen.add(task)
                waiting += task.dependencies if deep else ()
        found.append(max((task.suspicious for task in seen), default=0))
    return found
