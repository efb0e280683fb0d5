"""Files of svmlight's format: a target and the entries that are not zero, line by line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steepest.blocks import Part, Rows
from steepest.errors import InputError, MissingPackageError
from steepest.sources.files import File, block_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Columns of a file while it is not known how many there are.
MOST_COLUMNS = 2**31 - 1


@dataclass(frozen=True)
class SvmlightPart:
    """The lines that begin within a range of bytes."""

    file: File
    start: int
    n_bytes: int
    n_features: int
    zero_based: bool

    @property
    def name(self) -> str:
        """What the user calls it."""
        return f"{self.file.path}, lines after byte {self.start}"

    def read(self, opened: object) -> Iterator[Rows]:  # noqa: ARG002
        """Yield the rows, which are one block."""
        with self.file.unchanged():
            yield Rows(self.name, *self._load())

    def _load(self) -> Any:
        from sklearn.datasets import load_svmlight_file

        try:
            return load_svmlight_file(
                self.file.path,
                n_features=self.n_features,
                zero_based=self.zero_based,
                offset=self.start,
                length=self.n_bytes,
            )
        except OverflowError as error:
            raise InputError(f"{self.file.path}: expected numbers of columns below 2³¹; {error}") from error

    def columns(self) -> tuple[int, int]:
        """Return the least and the largest number of a column."""
        with self.file.unchanged():
            indices = self._load()[0].indices
        return (int(indices.min()), int(indices.max())) if len(indices) else (1, 0)


def svmlight_parts(files: list[File]) -> list[Part]:
    """Return pieces of svmlight files; a pass over them finds out how many columns there are."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingPackageError("X: reading svmlight files needs scikit-learn: pip install scikit-learn") from None
    step = block_rows(1)
    parts = [
        SvmlightPart(file, start, min(step, file.size - start), MOST_COLUMNS, zero_based=True)
        for file in files
        for start in range(0, file.size, step)
    ]
    found = [part.columns() for part in parts]
    largest = max((most for _, most in found), default=0)
    zero_based = min((least for least, _ in found), default=1) == 0
    n_features = largest + zero_based
    if n_features == 0:
        raise InputError(f"{files[0].path}: expected lines of a target and 'column:value'; no column is named")
    return [replace(part, n_features=n_features, zero_based=zero_based) for part in parts]
