"""Rows in blocks, wherever these lie: in files, behind an iterator, on the workers of a cluster.

All that a descent asks of them are two verbs: a function applied to every block where it lies, and the results of
another one merged in the order of the blocks. What is merged with what depends on the number of blocks and on nothing
else, so the bits of a result do not depend on who computed which block when.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Result = TypeVar("Result")


class Rows(NamedTuple):
    """A block as its source has it: rows that nobody has checked."""

    name: str
    """What the user calls it, for messages: ``"data.parquet, rows from 65536 on"``."""
    X: Any
    y: Any
    sample_weight: Any = None
    offset: Any = None
    feature_names: list[str] | None = None
    """Where X is an array whose columns have names."""

    @property
    def n_rows(self) -> int:
        """How many rows there are, none perhaps."""
        shape = getattr(self.X, "shape", None)
        return int(shape[0]) if shape else len(self.X)

    @property
    def n_bytes(self) -> int:
        """How many bytes of memory X takes, as far as it says."""
        arrays = (self.X, *(getattr(self.X, name, None) for name in ("data", "indices", "indptr")))
        sizes = (getattr(array, "nbytes", 0) for array in (arrays[1:] if hasattr(self.X, "tocsr") else arrays[:1]))
        return sum(int(size) for size in sizes)


class Part(Protocol):
    """Some of the rows, which can be read without the others: a file, a piece of one, an element of a list."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def read(self, opened: Any) -> Iterable[Rows]:
        """Yield the rows in blocks, each time anew; `opened` keeps files open that other parts share."""


class Blocks(Protocol):
    """Blocks of rows, of any number, in one order.

    Functions that are handed over must be importable by their module and name, and their arguments must be picklable:
    they may travel.
    """

    def spread(self, n_threads: int, answer_bytes: float) -> tuple[Blocks, int]:
        """Return the same blocks for tasks with answers of so many bytes, and the threads that such a task should take.

        `n_threads` are to be had on this machine.
        """

    def map(self, function: Callable[..., Any], *arguments: Any) -> Blocks:
        """Return ``function(block, *arguments)`` of every block, where it lies, computed now or when it is needed."""

    def reduce(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], *arguments: Any) -> Any:
        """Return ``task(block, *arguments)`` of all blocks, merged by `merged`.

        A block, or an answer, that is None is left out; with no answer at all None is returned.
        """

    def epoch(self, seed: int, epoch: int) -> Generator[Any]:
        """Yield every block once, in an order that `seed` draws for this epoch; an InputError if that cannot be."""


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say of which block an error is."""
    try:
        yield
    except InputError as error:
        error.args = (f"{name}: {error}",)
        raise


def merged(parts: Iterable[Result | None], merge: Callable[[Result, Result], Result]) -> Result | None:
    """Return all parts merged pairwise by their index: neighbours, then neighbours of these, and so on.

    The tree is that of ``src/reduce.rs``. Of n parts, log₂ n are held at a time. None stands for nothing.

    Examples
    --------
    >>> merged("abcde", lambda a, b: f"({a}{b})")
    '(((ab)(cd))e)'
    """

    def both(left: Result | None, right: Result | None) -> Result | None:
        return right if left is None else left if right is None else merge(left, right)

    # Like the digits of a binary counter: a pending result stands for 2^level parts.
    pending: list[tuple[int, Result | None]] = []
    for part in parts:
        level, result = 0, part
        while pending and pending[-1][0] == level:
            result = both(pending.pop()[1], result)
            level += 1
        pending.append((level, result))
    total: Result | None = None
    while pending:
        total = both(pending.pop()[1], total)
    return total


def reduced(blocks: Iterable[Any], task: Callable[..., Any], merge: Callable[[Any, Any], Any], *arguments: Any) -> Any:
    """Return what `Blocks.reduce` does, for blocks that come one by one."""
    return merged((None if block is None else task(block, *arguments) for block in blocks), merge)
