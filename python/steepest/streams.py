"""Data beyond memory: blocks of rows that are read one after the other, a few of them ahead, once a pass."""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import Blocks, Part, Rows, merged, reduced
from steepest.distributed import is_distributed, partitions
from steepest.errors import InputError
from steepest.sources import file_parts, is_path
from steepest.sources.arrays import NpyPart, opening
from steepest.sources.tables import batches_part

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Self

#: Blocks that are read or waiting to be used, beside the one in use.
IN_FLIGHT = 2
#: Answers that a thread which computes with what it reads hands over at a time: to wake another one takes as long as to
#: read half a megabyte.
HANDED_OVER = 16
#: Blocks for each thread that make up for the last ones, which not all threads have.
BLOCKS_PER_THREAD = 4
#: Bytes of an answer of which so many may wait.
FEW_BYTES = 1 << 17
#: Bytes of a block beyond which who computes with what it reads finds it in no cache, and the disk is read in leaps.
MOST_BYTES = 8 << 20
#: What a block of a re-iterable is: (X, y) or (X, y, sample_weight).
SIZES = (2, 3)
_END = object()
#: Where more than one pass is needed.
ONCE = (
    "X: expected blocks that can be read again, once a step; these can be read only once: pass the function that opens "
    "them (X=blocks, not X=blocks()), a list, or the path of a file. loss='mse' with all rows needs but one pass"
)
#: Where a pass saw other blocks than the first.
SAME = "every pass must see the same rows: pass blocks, or a function, that give the same ones each time"


@dataclass
class Gauge:
    """What has been read so far, while it is."""

    n_bytes: int = 0
    """Of X, as it is in memory."""
    n_passes: int = 0

    def __str__(self) -> str:
        return f"{self.n_bytes / 1e9:.1f} GB read, {self.n_passes} passes"


@dataclass(frozen=True)
class Stream:
    """Blocks of rows that are read, and made ready, on a thread of their own while others are computed with."""

    parts: Sequence[Part]
    once: bool = False
    """Whether they can be read only once."""
    gauge: Gauge = field(default_factory=Gauge)
    """Shared by all streams that are made of this one."""
    functions: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()
    n_spread: int = 0
    """Threads that compute with what they read; none where one reads ahead of who computes."""

    def map(self, function: Callable[..., Any], *arguments: Any) -> Self:
        """Return ``function(block, *arguments)`` of every block, computed whenever it is read."""
        return replace(self, functions=(*self.functions, (function, arguments)))

    def spread(self, n_threads: int, answer_bytes: float) -> tuple[Self, int]:
        """Return the same blocks, and the threads that a task should take: one where as many tasks run at once.

        A thread that computes with what it has read finds it in the cache of its core, and no thread waits for another.
        """
        has_many = 1 < n_threads <= len(self.parts) // BLOCKS_PER_THREAD
        if has_many and answer_bytes <= FEW_BYTES and all(map(_is_small, self.parts)):
            return replace(self, n_spread=n_threads), 1
        return self, n_threads

    def reduce(self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], *arguments: Any) -> Any:
        """Return ``task(block, *arguments)`` of all blocks, merged in their order, in one pass."""
        if self.n_spread:
            with closing(self._answers(task, arguments)) as answers:
                return merged(answers, merge)
        with closing(read_ahead(self._blocks(self.parts))) as blocks:
            return reduced(blocks, task, merge, *arguments)

    def epoch(self, seed: int, epoch: int) -> Generator[Any]:
        """Yield every block once; the order of the parts is drawn anew for every epoch."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.parts))
        return read_ahead(self._blocks([self.parts[i] for i in order]))

    def _blocks(self, parts: Sequence[Part]) -> Generator[Any]:
        with opening() as opened:
            for part in parts:
                for rows in part.read(opened):
                    self.gauge.n_bytes += rows.n_bytes
                    yield self._mapped(rows)
        self.gauge.n_passes += 1

    def _mapped(self, rows: Any) -> Any:
        for function, arguments in self.functions:
            rows = None if rows is None else function(rows, *arguments)
        return rows

    def _answers(self, task: Callable[..., Any], arguments: tuple[Any, ...]) -> Generator[Any]:
        """Yield what the task answers for every part, which is one block."""

        def answer(part: Part) -> tuple[int, Any]:
            (rows,) = part.read(opened)
            block = self._mapped(rows)
            return rows.n_bytes, None if block is None else task(block, *arguments)

        with opening() as opened, closing(side_by_side(answer, self.parts, self.n_spread)) as answers:
            for n_bytes, found in answers:
                self.gauge.n_bytes += n_bytes
                yield found
        self.gauge.n_passes += 1


def _is_small(part: Part) -> bool:
    """Return whether a part is a small block that any thread can read."""
    return isinstance(part, NpyPart) and part.n_bytes <= MOST_BYTES


def side_by_side(work: Callable[[Any], Any], items: Sequence[Any], n_threads: int) -> Generator[Any]:
    """Yield ``work(item)`` of every item, in their order, computed on so many threads.

    What is raised there is raised here, the first of it. The threads end with this generator, however that ends.
    """
    # A step of it is one of the interpreter's: no two threads take the same.
    left = enumerate(items)
    known: dict[int, tuple[Any, BaseException | None]] = {}
    # An interrupt while a thread is being started leaves it to itself: the executor does not wait for it then.
    places = Semaphore(n_threads)

    def some() -> None:
        with places:
            for number, item in islice(left, HANDED_OVER):
                try:
                    known[number] = work(item), None
                except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
                    known[number] = None, error

    try:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="steepest-read") as threads:
            try:
                ahead = deque(threads.submit(some) for _ in range(IN_FLIGHT * n_threads))
                for number in range(len(items)):
                    while number not in known:
                        ahead.popleft().result()
                        ahead.append(threads.submit(some))
                    answer, error = known.pop(number)
                    if error is not None:
                        raise error
                    yield answer
            finally:
                # Nothing is left to take.
                deque(left, maxlen=0)
    finally:
        try:
            for _ in range(n_threads):
                places.acquire()
        finally:
            # Another interrupt, perhaps: nobody must wait for what is taken here.
            places.release(n_threads)
            # An error and a frame that holds it would keep each other, and open files.
            error = None
            known.clear()


def read_ahead(blocks: Generator[Any]) -> Generator[Any]:
    """Yield what `blocks` yields, which runs on a thread of its own, at most `IN_FLIGHT` blocks ahead.

    What it raises is raised here. The thread ends with this generator, however that ends.
    """
    # An interrupt while the thread is being started leaves it to itself: the executor does not wait for it then.
    reading = Lock()

    def following() -> Any:
        with reading:
            return next(blocks, _END)

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="steepest-read") as reader:
            ahead = deque(reader.submit(following) for _ in range(IN_FLIGHT))
            try:
                while (block := ahead.popleft().result()) is not _END:
                    ahead.append(reader.submit(following))
                    yield block
                    # Not kept while the next one is waited for.
                    del block
            finally:
                for waiting in ahead:
                    waiting.cancel()
    finally:
        with reading:
            blocks.close()


def as_blocks(X: Any, y: Any, sample_weight: Any = None, offset: Any = None, *, numbers: bool = True) -> Blocks | None:
    """Return the blocks that the user's X stands for; None if it is one piece of data in memory.

    `numbers` says whether targets are numbers, not labels.
    """
    others = {"y": y, "sample_weight": sample_weight, "offset": offset}
    if is_path(X):
        return Stream(file_parts(X, **others, numbers=numbers))
    if isinstance(y, str) and _is_arrow_stream(X):
        return Stream([batches_part(X, **others)], once=True)
    if is_distributed(X):
        return partitions(X, **others)
    is_blocks = all(hasattr(X, verb) for verb in ("map", "reduce", "epoch"))
    # Nothing in memory is called, or gives values until there are no more: there a y is one too many.
    is_open = y is None or callable(X) or hasattr(X, "__next__")
    if not is_blocks and not (is_open and _is_iterable_of_blocks(X)):
        return None
    for name, given in others.items():
        if given is not None:
            raise InputError(f"{name}: expected None where X is blocks (X, y[, sample_weight]), which have their own")
    return X if is_blocks else _of_iterable(X)


def check_lasting(blocks: Blocks) -> None:
    """Raise an error if the blocks can be read only once."""
    if isinstance(blocks, Stream) and blocks.once:
        raise InputError(ONCE)


def _is_arrow_stream(X: Any) -> bool:
    """Return whether X gives record batches, and is no table in memory."""
    return hasattr(X, "__arrow_c_stream__") and not hasattr(X, "__len__")


def _is_iterable_of_blocks(X: Any) -> bool:
    """Return whether X gives blocks one by one, or is a function that returns what does; not whether these are good."""
    in_memory = ("__array__", "tocsr", "__dlpack__", "__arrow_c_stream__", "__dataframe__", "collect_schema")
    if isinstance(X, (bytes, np.generic)) or any(hasattr(X, name) for name in in_memory):
        return False
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and all(isinstance(block, tuple) and len(block) in SIZES for block in X)
    return callable(X) or hasattr(X, "__iter__")


def _of_iterable(blocks: Any) -> Stream:
    if isinstance(blocks, (list, tuple)):
        return Stream([GivenPart(f"block {i}", [block], i) for i, block in enumerate(blocks)])
    once = not callable(blocks) and iter(blocks) is blocks
    return Stream([GivenPart("blocks", blocks)], once=once)


@dataclass
class GivenPart:
    """Blocks of the user's: what can be iterated, or a function that returns it."""

    name: str
    blocks: Any
    first: int = 0
    """The number of the first block."""
    seen: list[Any] = field(default_factory=list)
    """What tells the blocks of the first pass from others."""
    is_complete: bool = False
    """Whether a pass has come to the end."""

    def read(self, opened: object) -> Iterator[Rows]:  # noqa: ARG002
        """Yield the blocks; an error if they are not those of the first pass."""
        n_blocks = 0
        blocks = self.blocks
        if callable(blocks):
            blocks = blocks()
            if not hasattr(blocks, "__iter__"):
                raise InputError(f"X: expected a function that returns blocks; {self.blocks!r} returned {blocks!r}")
        for i, block in enumerate(blocks, self.first):
            if not isinstance(block, (tuple, list)) or len(block) not in SIZES:
                found = f"{len(block)} values" if isinstance(block, (tuple, list)) else type(block).__name__
                raise InputError(f"X: expected blocks (X, y) or (X, y, sample_weight); block {i} is {found}")
            rows = Rows(f"block {i}", *block)
            self._expect(n_blocks, rows)
            n_blocks += 1
            yield rows
        if n_blocks < len(self.seen):
            raise InputError(f"X: expected {len(self.seen)} blocks, as in the first pass; got {n_blocks}; {SAME}")
        self.is_complete = True

    def _expect(self, index: int, rows: Rows) -> None:
        """Raise an error if in the first pass there were other rows at this place."""
        mark = _mark(rows.X), _mark(rows.y), _mark(rows.sample_weight)
        if index < len(self.seen):
            if self.seen[index] != mark:
                raise InputError(f"{rows.name}: it has other rows than in the first pass; {SAME}")
        elif self.is_complete:
            raise InputError(f"X: expected {len(self.seen)} blocks, as in the first pass; got more; {SAME}")
        else:
            self.seen.append(mark)


def _mark(values: Any) -> tuple[Any, int]:
    """Return the shape, and a checksum of the first and the last row of an array."""
    checksum = 0
    if isinstance(values, np.ndarray) and values.ndim and len(values) and not values.dtype.hasobject:
        checksum = zlib.crc32(values[[0, -1]].tobytes())
    return getattr(values, "shape", None), checksum
