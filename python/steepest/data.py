"""Files to tables: CSV and Parquet, read by Arrow."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = {".parquet", ".pq"}
COMPRESSIONS = {".gz", ".bz2", ".zst"}


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """Read a CSV, TSV (also compressed) or Parquet file, chosen by its ending, with its columns' types inferred.

    Parameters
    ----------
    path : path-like
        The file. In a CSV the first line names the columns; empty cells and NA, NaN, null, … are missing values.

    Returns
    -------
    pyarrow.Table
        At least one row and one column.

    Raises
    ------
    InputError
        If there is no such file, it is empty, a line has too few or too many cells, or two columns share a name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"file: {path} does not exist or is not a file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    ending = suffixes[-1] if suffixes else ""
    if ending not in DELIMITERS and ending not in PARQUET:
        raise InputError(
            f"file: expected a name ending in {', '.join([*DELIMITERS, *sorted(PARQUET)])}; got {path.name!r}"
        )
    import pyarrow as pa

    try:
        table = _read_parquet(path) if ending in PARQUET else _read_csv(path, DELIMITERS[ending])
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    names = table.column_names
    if not names or table.num_rows == 0:
        raise InputError(f"{path}: expected at least one row below the header; there is none")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"{path}: expected different column names; {min(repeated)!r} repeats")
    return table


def _read_csv(path: Path, delimiter: str) -> Any:
    from pyarrow import csv

    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(strings_can_be_null=True),
    )


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an error now if `path` could not be written later, before hours are spent on what goes there."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: expected a file name; it is a directory")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the directory {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the directory {path.parent} cannot be written to")


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same directory, and move it to `path` if the body succeeds.

    A reader sees the old file or the new one, never half of one.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # A temporary file is private; what is written here is as public as any other file of this user.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
