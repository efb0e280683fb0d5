"""Tables of Arrow: Parquet and CSV files, and streams of record batches."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.blocks import Part, Rows, named
from steepest.data import DELIMITERS, expect_text, refuse_repeated
from steepest.errors import InputError, MissingPackageError
from steepest.sources.files import File, block_rows
from steepest.tables import as_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa


class Names(NamedTuple):
    """Which columns of a table are what."""

    features: tuple[str, ...]
    target: str
    sample_weight: str | None = None
    offset: str | None = None

    @classmethod
    def of(cls, where: str, names: Sequence[str], y: Any, sample_weight: Any, offset: Any) -> Names:
        """Return the roles of a table's columns, given the names of those that are not features."""
        refuse_repeated(where, names)
        for argument, given in (("y", y), ("sample_weight", sample_weight), ("offset", offset)):
            if given is None and argument != "y":
                continue
            if not isinstance(given, str):
                raise InputError(f"{argument}: expected the name of a column of {where}; got {type(given).__name__}")
            if given not in names:
                near = difflib.get_close_matches(given, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InputError(f"{argument}: {where} has no column {given!r}{hint}")
        features = tuple(name for name in names if name not in {y, sample_weight, offset})
        if not features:
            raise InputError(f"{where}: expected columns beside the target; there are none")
        return cls(features, y, sample_weight, offset)

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return [*self.features, *(name for name in self[1:] if name is not None)]

    def check(self, where: str, names: Sequence[str]) -> None:
        """Raise an error if a column that the first file has is missing here, or one is here that it has not."""
        for wrong, what in ((set(self.all) - set(names), "no"), (set(names) - set(self.all), "another")):
            if wrong:
                raise InputError(f"{where}: expected the columns of the first file; it has {what} {min(wrong)!r}")

    def rows(self, name: str, table: pa.Table) -> Rows:
        """Return the rows of a table."""
        with named(name):
            X = _matrix(table.select(list(self.features)))
            y, sample_weight, offset = (None if of is None else _values(of, table[of]) for of in self[1:])
            return Rows(name, X, y, sample_weight, offset, list(self.features))


def _matrix(table: pa.Table) -> Any:
    """Return the numbers of a table, by columns: float32 where all of it is, else float64."""
    import pyarrow as pa

    kinds = set(table.schema.types)
    if len(kinds) > 1 or not kinds <= {pa.float32(), pa.float64()}:
        return as_matrix("X", table)[0]
    array = np.empty(table.shape, kinds.pop().to_pandas_dtype(), order="F")
    for j, column in enumerate(table.columns):
        array[:, j] = column.to_numpy()
    return array


def _values(name: str, column: pa.ChunkedArray) -> Any:
    """Return a column as an array, of text where it is text."""
    import pyarrow as pa
    from pyarrow import compute

    if column.null_count:
        row = compute.index(column.is_null(), value=True).as_py()
        raise InputError(f"column {name!r}: expected a value in every row; row {row} has none; drop or fill such rows")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        # Texts repeat: only the different ones are converted.
        coded = column.dictionary_encode().unify_dictionaries()
        texts = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
        return np.asarray(texts, dtype=np.str_)[coded.combine_chunks().indices.to_numpy()]
    return column.to_numpy()


@contextmanager
def _arrow_errors(where: str) -> Iterator[None]:
    """Say of which file an error of Arrow is, and what to install where Arrow is missing."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingPackageError(f"X: reading {where} needs pyarrow: pip install pyarrow") from None
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8; {error}; iconv converts it") from error
    except pa.ArrowException as error:
        raise InputError(f"{where}: {error}") from error


@dataclass(frozen=True)
class ParquetPart:
    """A row group of a Parquet file, which is read a block at a time."""

    file: File
    group: int
    first: int
    """The number of its first row."""
    names: Names
    block_rows: int

    @property
    def name(self) -> str:
        """What the user calls it."""
        return f"{self.file.path}, rows from {self.first} on"

    def read(self, opened: object) -> Iterator[Rows]:  # noqa: ARG002
        """Yield its rows in blocks."""
        import pyarrow as pa
        from pyarrow import parquet

        first = self.first
        path = self.file.path
        # Buffering ahead would keep whole row groups, and more, in memory.
        with self.file.unchanged(), _arrow_errors(path), parquet.ParquetFile(path, pre_buffer=False) as source:
            batches = source.iter_batches(self.block_rows, row_groups=[self.group], columns=self.names.all)
            for batch in batches:
                name = f"{self.file.path}, rows from {first} on"
                yield self.names.rows(name, pa.Table.from_batches([batch]))
                first += batch.num_rows


def parquet_parts(files: list[File], y: Any, sample_weight: Any, offset: Any) -> list[Part]:
    """Return the row groups of Parquet files; targets, weights and offsets are columns of theirs."""
    names: Names | None = None
    parts: list[Part] = []
    for file in files:
        with file.unchanged(), _arrow_errors(file.path):
            from pyarrow import parquet

            about = parquet.read_metadata(file.path)
            found = about.schema.to_arrow_schema().names
            lengths = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        if names is None:
            names = Names.of(file.path, found, y, sample_weight, offset)
        names.check(file.path, found)
        step = block_rows(8 * len(names.features))
        starts = np.cumsum([0, *lengths])
        parts += [ParquetPart(file, i, int(starts[i]), names, step) for i in range(len(lengths))]
    return parts


@dataclass(frozen=True)
class CsvPart:
    """A CSV file, which is read from its beginning, a block at a time."""

    file: File
    names: Names
    types: tuple[tuple[str, Any], ...]
    """Of columns that Arrow would take for something narrower by the first rows."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.file.path

    def read(self, opened: object) -> Iterator[Rows]:  # noqa: ARG002
        """Yield its rows in blocks."""
        import pyarrow as pa

        first = 0
        with self.file.unchanged(), _arrow_errors(self.file.path), _open_csv(self.file, dict(self.types)) as batches:
            self.names.check(self.file.path, batches.schema.names)
            for batch in batches:
                yield self.names.rows(f"{self.file.path}, rows from {first} on", pa.Table.from_batches([batch]))
                first += batch.num_rows


def _open_csv(file: File, types: dict[str, Any]) -> Any:
    from pyarrow import csv

    suffixes = [suffix for suffix in Path(file.path).suffixes if suffix.lower() in DELIMITERS]
    batches = csv.open_csv(
        file.path,
        read_options=csv.ReadOptions(block_size=block_rows(2)),
        parse_options=csv.ParseOptions(delimiter=DELIMITERS[suffixes[-1].lower()]),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, column_types=types),
    )
    expect_text(file.path, batches.schema)
    return batches


def csv_parts(files: list[File], y: Any, sample_weight: Any, offset: Any, *, numbers: bool) -> list[Part]:
    """Return CSV files as pieces; targets, weights and offsets are columns of theirs, `numbers` or labels."""
    import pyarrow as pa

    with files[0].unchanged(), _arrow_errors(files[0].path), _open_csv(files[0], {}) as batches:
        schema, columns = batches.schema, batches.schema.names
    names = Names.of(files[0].path, columns, y, sample_weight, offset)
    whole = [
        field.name
        for field in schema
        # The first rows may be whole, or have no value at all.
        if (pa.types.is_integer(field.type) or pa.types.is_null(field.type)) and (numbers or field.name != names.target)
    ]
    types = tuple((name, pa.float64()) for name in whole)
    return [CsvPart(file, names, types) for file in files]


@dataclass
class BatchesPart:
    """A stream of record batches, which can be read once."""

    batches: Any
    names: Names
    name: str = "record batches"

    def read(self, opened: object) -> Iterator[Rows]:  # noqa: ARG002
        """Yield the batches."""
        import pyarrow as pa

        first = 0
        with _arrow_errors(self.name):
            for batch in self.batches:
                yield self.names.rows(f"{self.name}, rows from {first} on", pa.Table.from_batches([batch]))
                first += batch.num_rows


def batches_part(given: Any, y: Any, sample_weight: Any, offset: Any) -> Part:
    """Return what speaks Arrow's protocol of streams as one piece."""
    import pyarrow as pa

    reader = given if isinstance(given, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(given)
    return BatchesPart(reader, Names.of("X", reader.schema.names, y, sample_weight, offset))
