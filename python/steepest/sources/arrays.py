"""Files of NumPy: any rows of them can be read at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import Part, Rows
from steepest.errors import InputError
from steepest.sources.files import BLOCK_BYTES, File

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Column:
    """A column that stands by itself: an array in memory, or a .npy file."""

    values: Any
    file: File | None = None

    @classmethod
    def of(cls, name: str, given: Any, n: int) -> Column | None:
        """Return what the user gave for as many rows, None if nothing."""
        if given is None:
            return None
        if isinstance(given, (str, os.PathLike)):
            file = File.of(given)
            shape = _npy_header(file)[0]
        else:
            file, given = None, np.asarray(given)
            shape = given.shape
        if not shape or shape[0] != n:
            raise InputError(f"{name}: expected {n} rows, one a row of X; got shape {shape}")
        return cls(given if file is None else None, file)

    def rows(self, start: int, stop: int) -> Any:
        """Return some of them."""
        return self.values[start:stop] if self.file is None else _npy_rows(self.file, start, stop)


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
    """Return the pieces of .npy files; targets, weights and offsets are arrays or .npy files of as many rows."""
    headers = [_npy_header(file) for file in files]
    if y is None:
        raise InputError("y: expected an array or a .npy file, with a target for each row of X; got None")
    total = sum(shape[0] for shape, _, _ in headers if shape)
    parts: list[Part] = []
    given = {"y": y, "sample_weight": sample_weight, "offset": offset}
    by_file = isinstance(y, (list, tuple)) and all(isinstance(name, (str, os.PathLike)) for name in y)
    if by_file and len(y) != len(files):
        raise InputError(f"y: expected as many files as X has, {len(files)}; got {len(y)}")
    columns = () if by_file else tuple(Column.of(name, values, total) for name, values in given.items())
    first = 0
    for i, (file, (shape, dtype, _)) in enumerate(zip(files, headers, strict=True)):
        if not 1 <= len(shape) <= 2:  # noqa: PLR2004
            raise InputError(f"{file.path}: expected shape (n_samples, n_features); got {shape}")
        own = (
            tuple(Column.of(n, v[i] if v is not None else v, shape[0]) for n, v in given.items())
            if by_file
            else columns
        )
        row_bytes = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
        step = max(1, BLOCK_BYTES // row_bytes)
        begin = 0 if by_file else first
        parts += [NpyPart(file, a, min(a + step, shape[0]), own, begin) for a in range(0, shape[0], step)]
        first += shape[0]
    return parts
