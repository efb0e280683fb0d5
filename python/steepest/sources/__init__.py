"""Files as streams: pieces that can be read, and sent somewhere else to be read, each by itself."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steepest.data import COMPRESSIONS, DELIMITERS, PARQUET
from steepest.errors import InputError
from steepest.sources.arrays import npy_parts
from steepest.sources.files import File, is_path
from steepest.sources.sparse import svmlight_parts
from steepest.sources.tables import csv_parts, parquet_parts

if TYPE_CHECKING:
    from steepest.blocks import Part

__all__ = ["file_parts", "is_path"]

SVMLIGHT = {".svm", ".svmlight", ".libsvm"}
KINDS = {
    "npy": {".npy"},
    "parquet": PARQUET,
    "csv": set(DELIMITERS),
    "svmlight": SVMLIGHT,
}


def file_parts(X: Any, y: Any, sample_weight: Any, offset: Any, *, numbers: bool) -> list[Part]:
    """Return the pieces of one file or several of a kind, in the order given; ``*`` stands for what sorts there.

    `numbers` says whether targets are numbers, not labels, which a CSV file does not.
    """
    paths = [path for given in (X if isinstance(X, (list, tuple)) else [X]) for path in _expanded(given)]
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise InputError(f"X: expected files of one kind; got {', '.join(sorted(kinds))}")
    files = [File.of(path) for path in paths]
    match kinds.pop():
        case "npy":
            return npy_parts(files, y, sample_weight, offset)
        case "parquet":
            return parquet_parts(files, y, sample_weight, offset)
        case "csv":
            return csv_parts(files, y, sample_weight, offset, numbers=numbers)
    for name, given in (("y", y), ("sample_weight", sample_weight), ("offset", offset)):
        if given is not None:
            raise InputError(f"{name}: expected None for svmlight files, whose lines begin with the target")
    return svmlight_parts(files)


def _expanded(given: Any) -> list[str]:
    path = os.fspath(given)
    if not glob.has_magic(path) or Path(path).exists():
        return [path]
    found = sorted(glob.glob(path))  # noqa: PTH207 (the pattern may begin anywhere)
    if not found:
        raise InputError(f"X: no file matches {path!r}")
    return found


def _kind(path: str) -> str:
    if Path(path).is_dir():
        raise InputError(f"X: {path} is a directory; name the files in it: {str(Path(path) / '*.parquet')!r}")
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS and suffixes[-2] in DELIMITERS:
        suffixes.pop()
    for kind, endings in KINDS.items():
        if suffixes and suffixes[-1] in endings:
            return kind
    known = ", ".join(ending for endings in KINDS.values() for ending in sorted(endings))
    raise InputError(f"X: expected a file name that ends in one of {known}; got {Path(path).name!r}")
