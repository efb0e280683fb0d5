"""Files to tables: CSV and Parquet, read by Arrow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from os import PathLike

    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = {".parquet", ".pq"}
COMPRESSIONS = {".gz", ".bz2", ".zst"}


def read_table(path: str | PathLike[str], as_text: Collection[str] = ()) -> pa.Table:
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
    # Files that are cut or packed wrongly are errors of the system to Arrow, without a name.
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: {error}") from error
    if not names or table.num_rows == 0:
        raise InputError(f"{path}: expected at least one row below the header; there is none")
    refuse_repeated(path, names)
    return table


def refuse_repeated(where: str | PathLike[str], names: Iterable[str]) -> None:
    """Raise an error if two columns share a name."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{where}: expected different column names; {min(repeated)!r} repeats")


def _read_csv(path: Path, delimiter: str, as_text: Collection[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, column_types=dict.fromkeys(as_text, pa.string())),
    )
    expect_text(path, table.schema)
    return table


def expect_text(path: str | PathLike[str], schema: pa.Schema) -> None:
    """Raise an error if a column of a CSV file is neither of numbers nor of text in UTF-8."""
    import pyarrow as pa

    for field in schema:
        if pa.types.is_binary(field.type):
            raise InputError(f"{path}: expected UTF-8; column {field.name!r} is not; iconv converts it")


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)
