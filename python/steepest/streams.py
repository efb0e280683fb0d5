"""Data beyond memory: blocks of rows that are read one after the other, a few of them ahead, once a pass."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.blocks import Blocks, Rows, reduced
from steepest.distributed import is_distributed, partitions
from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import Self

#: Blocks that are read or waiting to be used, beside the one in use.
IN_FLIGHT = 2
#: What a block of a re-iterable is: (X, y) or (X, y, sample_weight).
SIZES = (2, 3)
_END = object()


class Part(NamedTuple):
    """Some of the rows, which can be read without the others: a file, a piece of one, an element of a list."""

    name: str
    read: Callable[[], Iterable[Rows]]


@dataclass(frozen=True)
class Stream:
    """Blocks of rows that are read, and made ready, on a thread of their own while others are computed with."""

    parts: Sequence[Part]
    once: bool = False
    """Whether they can be read only once."""
    functions: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()
    n_threads: int | None = field(default=None, init=False)

    def map(self, function: Callable[..., Any], *arguments: Any) -> Self:
        """Return ``function(block, *arguments)`` of every block, computed whenever it is read."""
        return replace(self, functions=(*self.functions, (function, arguments)))

    def reduce(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], *arguments: Any) -> Any:
        """Return ``task(block, *arguments)`` of all blocks, merged in their order, in one pass."""
        with closing(read_ahead(self._blocks(self.parts))) as blocks:
            return reduced(blocks, task, merge, *arguments)

    def epoch(self, seed: int, epoch: int) -> Iterator[Any]:
        """Yield every block once; the order of the parts is drawn anew for every epoch."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.parts))
        return read_ahead(self._blocks([self.parts[i] for i in order]))

    def _blocks(self, parts: Sequence[Part]) -> Generator[Any]:
        for part in parts:
            for rows in part.read():
                block: Any = rows
                for function, arguments in self.functions:
                    block = None if block is None else function(block, *arguments)
                yield block


def read_ahead(blocks: Generator[Any]) -> Generator[Any]:
    """Yield what `blocks` yields, which runs on a thread of its own, at most `IN_FLIGHT` blocks ahead.

    What it raises is raised here. The thread ends with this generator, however that ends.
    """
    with closing(blocks), ThreadPoolExecutor(1, thread_name_prefix="steepest-read") as reader:
        ahead = deque(reader.submit(next, blocks, _END) for _ in range(IN_FLIGHT))
        try:
            while (block := ahead.popleft().result()) is not _END:
                ahead.append(reader.submit(next, blocks, _END))
                yield block
                # Not kept while the next one is waited for.
                del block
        finally:
            for waiting in ahead:
                waiting.cancel()


def as_blocks(X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> Blocks | None:
    """Return the blocks that the user's X stands for; None if it is one piece of data in memory."""
    if all(hasattr(X, verb) for verb in ("map", "reduce", "epoch")):
        return _alone(X, y, sample_weight, offset)  # type: ignore[no-any-return]
    if is_distributed(X):
        return partitions(X, y, sample_weight, offset)
    if y is None and is_iterable_of_blocks(X):
        return _alone(from_iterable(X), y, sample_weight, offset)  # type: ignore[no-any-return]
    return None


def check_lasting(blocks: Blocks) -> None:
    """Raise an error if the blocks can be read only once."""
    if isinstance(blocks, Stream) and blocks.once:
        raise InputError(ONCE)


def _alone(blocks: Any, y: Any, sample_weight: Any, offset: Any) -> Any:
    for name, given in (("y", y), ("sample_weight", sample_weight), ("offset", offset)):
        if given is not None:
            raise InputError(f"{name}: expected None where X is blocks (X, y[, sample_weight]), which have their own")
    return blocks


def is_iterable_of_blocks(X: Any) -> bool:
    """Return whether X gives blocks one by one, or is a function that returns what does; not whether these are good."""
    if isinstance(X, (str, bytes, os.PathLike, np.generic)) or any(
        hasattr(X, name) for name in ("__array__", "tocsr", "__dlpack__", "__arrow_c_stream__", "__dataframe__")
    ):
        return False
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and all(_is_block(block) for block in X)
    return callable(X) or hasattr(X, "__iter__")


def _is_block(given: Any) -> bool:
    if not isinstance(given, tuple) or len(given) not in SIZES:
        return False
    shape = getattr(given[0], "shape", None)
    return shape is None or len(shape) > 0


def from_iterable(blocks: Any) -> Stream:
    """Return the stream of a list of blocks, of what can be iterated again, or of a function that opens it."""
    if isinstance(blocks, (list, tuple)):
        return Stream([Part(f"block {i}", _reader([block], i)) for i, block in enumerate(blocks)])
    if callable(blocks):
        return Stream([Part("blocks", _opener(blocks))])
    if iter(blocks) is blocks:
        return Stream([Part("blocks", _reader(_Once(blocks), 0))], once=True)
    return Stream([Part("blocks", _reader(blocks, 0))])


class _Once:
    """An iterator that says so when it is asked for a second time."""

    def __init__(self, blocks: Iterator[Any]) -> None:
        self.blocks, self.is_read = blocks, False

    def __iter__(self) -> Iterator[Any]:
        if self.is_read:
            raise InputError(ONCE)
        self.is_read = True
        return self.blocks


#: Where more than one pass is needed.
ONCE = (
    "X: expected blocks that can be read again, once a step; this is an iterator, which is spent after one pass; pass "
    "the function that makes it (X=blocks, not X=blocks()), or a list. loss='mse' with all rows needs only one pass"
)


def _opener(function: Callable[[], Any]) -> Callable[[], Iterable[Rows]]:
    def read() -> Iterable[Rows]:
        opened = function()
        if not hasattr(opened, "__iter__"):
            raise InputError(f"X: expected a function that returns blocks; {function!r} returned {opened!r}")
        return _named(opened, 0)

    return read


def _reader(blocks: Iterable[Any], first: int) -> Callable[[], Iterable[Rows]]:
    return lambda: _named(blocks, first)


def _named(blocks: Iterable[Any], first: int) -> Iterator[Rows]:
    for i, block in enumerate(blocks, first):
        if not isinstance(block, (tuple, list)) or len(block) not in SIZES:
            raise InputError(f"X: expected blocks (X, y) or (X, y, sample_weight); block {i} is {type(block).__name__}")
        yield Rows(f"block {i}", *block)
