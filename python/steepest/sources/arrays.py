"""Files of NumPy: any rows of them can be read at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import Part, Rows
from steepest.errors import InputError
from steepest.sources.files import File, block_rows, is_path

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    def rows(self, start: int, stop: int) -> Any:
        """Return some of them."""
        parts, first = [], 0
        for piece, length in self.pieces:
            a, b = max(start - first, 0), min(stop - first, length)
            if a < b:
                parts.append(_npy_rows(piece, a, b) if isinstance(piece, File) else piece[a:b])
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

    def read(self) -> Iterator[Rows]:
        """Yield the rows, which are one block."""
        a, b = self.first + self.start, self.first + self.stop
        others = [None if column is None else column.rows(a, b) for column in self.columns]
        yield Rows(self.name, _npy_rows(self.file, self.start, self.stop), *others)


# Once a file, not once a block: to parse it takes as long as to read a megabyte.
@lru_cache(maxsize=4096)
def _npy_header(file: File) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, type, and where the numbers begin."""
    with file.unchanged(), Path(file.path).open("rb") as stream:
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if dtype.hasobject:
            raise InputError(f"{file.path}: expected numbers; it holds Python objects")
        if by_columns and sum(length > 1 for length in shape) > 1:
            raise InputError(
                f"{file.path}: expected an array by rows, which can be read a few at a time; it is by columns; "
                "np.save(path, np.ascontiguousarray(array)) writes one"
            )
        return shape, dtype, stream.tell()


def _npy_rows(file: File, start: int, stop: int) -> Any:
    shape, dtype, begin = _npy_header(file)
    width = int(np.prod(shape[1:], dtype=np.int64))
    with file.unchanged(), Path(file.path).open("rb", buffering=0) as stream:
        stream.seek(begin + start * width * dtype.itemsize)
        values = np.fromfile(stream, dtype, (stop - start) * width)
        if len(values) < (stop - start) * width:
            raise InputError(f"{file.path}: expected {shape[0]} rows, as its header says; it ends before that")
    return values.reshape(stop - start, *shape[1:])


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
        step = block_rows(int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
        parts += [NpyPart(file, a, min(a + step, shape[0]), columns, first) for a in range(0, shape[0], step)]
        first += shape[0]
    return parts
