"""Files of NumPy: any rows of them can be read at once."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import Part, Rows
from steepest.errors import InputError
from steepest.sources.files import File, block_rows, is_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Opener = Callable[[File], "OpenNpy"]

#: What a block has of the bytes that other sources' have: few enough to be in cache when it is computed with.
SHARE = 4
#: Rows below which it has as many, so that there is something to draw mini-batches from.
ENOUGH_ROWS = 4096
#: Files that are kept open: X, targets, weights and offsets, and those that follow them.
MOST_OPEN = 8
#: Seconds within which a block has been read if it was in memory.
FROM_MEMORY = 2e-3

#: What files may hold, as NumPy's `dtype.kind` calls it: numbers, and labels that are text.
KINDS = "biufUS"
#: What reads them, by version: the second is for longer ones, the third for names of fields, which numbers have not.
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
#: Letters of what NumPy says of a header, which it may quote whole.
MOST_SAID = 200


@dataclass(frozen=True)
class Column:
    """A column that stands by itself: an array in memory, or .npy files one after the other."""

    pieces: tuple[tuple[Any, int], ...]
    """Arrays or files, and how many rows they have."""

    @classmethod
    def of(cls, name: str, given: Any, n: int) -> Column | None:
        """Return what the user gave for as many rows, None if nothing."""
        if given is None:
            return None
        if is_path(given):
            found: list[Any] = [
                File.of(path, name) for path in (given if isinstance(given, (list, tuple)) else [given])
            ]
            shapes = [_npy_header(file)[0] for file in found]
        else:
            found = [np.asarray(given)]
            shapes = [found[0].shape]
        lengths = [shape[0] if shape else 0 for shape in shapes]
        if sum(lengths) != n:
            raise InputError(f"{name}: expected {n} rows, one a row of X; got {sum(lengths)}")
        return cls(tuple(zip(found, lengths, strict=True)))

    def rows(self, opened: Opener, start: int, stop: int) -> Any:
        """Return some of them."""
        parts, first = [], 0
        for piece, length in self.pieces:
            a, b = max(start - first, 0), min(stop - first, length)
            if a < b:
                parts.append(opened(piece).rows(a, b) if isinstance(piece, File) else piece[a:b])
            first += length
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class NpyPart:
    """Some rows of a .npy file."""

    file: File
    start: int
    stop: int
    columns: tuple[Column | None, ...]
    """Targets, weights, offsets."""
    first: int
    """The number of the file's first row in these columns."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        return f"{self.file.path}, rows from {self.start} on"

    @property
    def n_bytes(self) -> int:
        """How many bytes of X there are."""
        shape, dtype, _ = _npy_header(self.file)
        return (self.stop - self.start) * _row_bytes(shape, dtype)

    def read(self, opened: Opener) -> Iterator[Rows]:
        """Yield the rows, which are one block."""
        a, b = self.first + self.start, self.first + self.stop
        others = [None if column is None else column.rows(opened, a, b) for column in self.columns]
        yield Rows(self.name, opened(self.file).rows(self.start, self.stop), *others)


# Once a file, not once a block: to parse it takes as long as to read a megabyte.
@lru_cache(maxsize=4096)
def _npy_header(file: File) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, type, and where the numbers begin, which are all there."""
    with file.unchanged(), Path(file.path).open("rb") as stream:
        shape, by_columns, dtype = _read_header(file, stream)
        if dtype.kind not in KINDS or not dtype.itemsize:
            raise InputError(
                f"{file.path}: expected numbers; it holds {'Python objects' if dtype.hasobject else dtype}"
            )
        if min(shape, default=0) < 0 or 0 in shape[1:]:
            raise InputError(f"{file.path}: expected at least one column; got shape {shape}")
        if by_columns and sum(length > 1 for length in shape) > 1:
            raise InputError(
                f"{file.path}: expected an array by rows, which can be read a few at a time; it is by columns; "
                "np.save(path, np.ascontiguousarray(array)) writes one"
            )
        begin = stream.tell()
        if begin + math.prod(shape) * dtype.itemsize > file.size:
            raise InputError(f"{file.path}: expected {shape[0]} rows, as its header says; it ends before that")
        return shape, dtype, begin


def _read_header(file: File, stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return what the header says: shape, whether by columns, type."""
    try:
        version = np.lib.format.read_magic(stream)
        found = HEADERS[version](stream) if version in HEADERS else None
    except OSError:
        raise
    # NumPy reads it as Python, and so may fail in as many ways as Python does.
    except Exception as error:
        raise InputError(f"{file.path}: expected a file that np.save wrote; {str(error)[:MOST_SAID]}") from error
    if found is None:
        raise InputError(f"{file.path}: expected a file that np.save wrote; it is of version {version}")
    shape, by_columns, dtype = found
    # What Python takes for integers may be True.
    return tuple(int(side) for side in shape), by_columns, dtype


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


class OpenNpy(FileIO):
    """A .npy file that several threads read; it is closed once nobody holds it."""

    def __init__(self, file: File) -> None:
        self.file, self.reading = file, Lock()
        self.in_turn = not hasattr(os, "preadv")
        """Whether threads read one after the other: what is in memory is copied by all at once, a disk has one head."""
        with file.unchanged():
            super().__init__(file.path)

    def __del__(self) -> None:
        self.close()

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; an error if they are no longer those of when the file was first seen."""
        file = self.file
        shape, dtype, begin = _npy_header(file)
        row_bytes = _row_bytes(shape, dtype)
        values = np.empty((stop - start) * row_bytes, np.uint8)
        wrong = self._fill(values.data, begin + start * row_bytes)
        # An error that somebody keeps, as at a prompt, would keep the file open.
        del self
        # As it was before its first block, it still is where it is so after each.
        file.check()
        if wrong:
            raise InputError(f"{file.path}: {wrong}")
        return values.view(dtype).reshape(stop - start, *shape[1:])

    def _fill(self, room: memoryview, place: int) -> str:
        """Read from a place of the file; return what is wrong with it, nothing if it is right."""
        with self.reading if self.in_turn else nullcontext():
            began = perf_counter()
            try:
                while room and (n_read := self._read_some(room, place)):
                    room, place = room[n_read:], place + n_read
            except OSError as error:
                return str(error)
            self.in_turn = self.in_turn or perf_counter() - began > FROM_MEMORY
        return f"{len(room):,} bytes are missing at its end" if room else ""

    def _read_some(self, room: memoryview, place: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.fileno(), [room], place)
        self.seek(place)
        return self.readinto(room)


@contextmanager
def opening() -> Iterator[Opener]:
    """Give what opens the files of a pass: the last few are kept, so that the system reads on from where they are."""
    opened = lru_cache(MOST_OPEN)(OpenNpy)
    try:
        yield opened
    finally:
        # An error that somebody keeps would keep them open.
        opened.cache_clear()


def _rows_of_a_block(row_bytes: int) -> int:
    most = block_rows(row_bytes)
    return max(most // SHARE, min(most, ENOUGH_ROWS))


def npy_parts(files: list[File], y: Any, sample_weight: Any, offset: Any) -> list[Part]:
    """Return the pieces of .npy files; targets, weights and offsets are arrays or .npy files of as many rows in all."""
    if y is None:
        raise InputError("y: expected an array or a .npy file, with a target for each row of X; got None")
    headers = [_npy_header(file) for file in files]
    for file, (shape, _, _) in zip(files, headers, strict=True):
        if not 1 <= len(shape) <= 2:  # noqa: PLR2004
            raise InputError(f"{file.path}: expected shape (n_samples, n_features); got {shape}")
    given = {"y": y, "sample_weight": sample_weight, "offset": offset}
    total = sum(shape[0] for shape, _, _ in headers)
    columns = tuple(Column.of(name, values, total) for name, values in given.items())
    parts: list[Part] = []
    first = 0
    for file, (shape, dtype, _) in zip(files, headers, strict=True):
        step = _rows_of_a_block(_row_bytes(shape, dtype))
        parts += [NpyPart(file, a, min(a + step, shape[0]), columns, first) for a in range(0, shape[0], step)]
        first += shape[0]
    return parts
