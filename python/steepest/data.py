"""Files to tables: CSV and Parquet, read by Arrow."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = {".parquet", ".pq"}
COMPRESSIONS = {".gz", ".bz2", ".zst"}


def read_table(path: str | os.PathLike[str], as_text: Collection[str] = ()) -> pa.Table:
    """Read a CSV, TSV (also compressed) or Parquet file, chosen by its ending, with its columns' types inferred.

    Parameters
    ----------
    path : path-like
        The file. In a CSV the first line names the columns; empty cells and NA, NaN, null, … are missing values.
    as_text : collection of str
        Columns of a CSV that are text even where they look like something else.

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
        table = _read_parquet(path) if ending in PARQUET else _read_csv(path, DELIMITERS[ending], as_text)
        names = table.column_names
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8; {error}; iconv converts it") from error
    except pa.ArrowException as error:
        raise InputError(f"{path}: {error}") from error
    if not names or table.num_rows == 0:
        raise InputError(f"{path}: expected at least one row below the header; there is none")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"{path}: expected different column names; {min(repeated)!r} repeats")
    return table


def _read_csv(path: Path, delimiter: str, as_text: Collection[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, column_types=dict.fromkeys(as_text, pa.string())),
    )
    for field in table.schema:
        if pa.types.is_binary(field.type):
            raise InputError(f"{path}: expected UTF-8; column {field.name!r} is not; iconv converts it")
    return table


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

    A reader sees the old file or the new one, never half of one. Links are followed, the permissions of an old file are
    kept, and what is no file, such as a pipe or a terminal, is copied to.
    """
    path = Path(path).resolve()
    special = path.exists() and not path.is_file()
    directory = None if special else path.parent
    handle, name = tempfile.mkstemp(prefix=".steepest-", suffix=path.suffix, dir=directory)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if special:
            path.write_bytes(temporary.read_bytes())
        else:
            temporary.chmod(_mode(path))
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """Return the permissions of the file at `path`, or of a new one: a temporary file's own are stricter."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
