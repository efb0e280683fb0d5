"""A file as it was when a descent began, and whether it still is: every pass must see the same rows."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a block, about: enough that a pass spends its time in the kernel, few enough that some fit any memory.
BLOCK_BYTES = 16 << 20


def block_rows(row_bytes: int) -> int:
    """Return how many rows of so many bytes make a block."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def is_path(given: Any) -> bool:
    """Return whether `given` is a path or a list of paths."""
    if isinstance(given, (list, tuple)):
        return len(given) > 0 and all(isinstance(path, (str, os.PathLike)) for path in given)
    return isinstance(given, (str, os.PathLike))


@dataclass(frozen=True)
class File:
    """A file as it was when it was first seen."""

    path: str
    size: int
    changed: int
    """Nanoseconds."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], argument: str = "X") -> File:
        """Return the file at `path`; an error if there is none."""
        found = cls._seen(os.fspath(path))
        if found is None:
            raise InputError(f"{argument}: {os.fspath(path)} does not exist or is not a file")
        return found

    @classmethod
    def _seen(cls, name: str) -> File | None:
        try:
            found = os.stat(name)  # noqa: PTH116 (a path would take longer than the question, asked at every block)
        except (OSError, ValueError):
            return None
        return cls(name, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raise an error that names the file if it has changed, before or meanwhile, or cannot be read."""
        self.check()
        try:
            yield
        except InputError:
            raise
        except (OSError, ValueError) as error:
            self.check()
            raise InputError(f"{self.path}: {error}") from error
        self.check()

    def check(self) -> None:
        """Raise an error that names the file if it has changed or is no longer there."""
        found = self._seen(self.path)
        if found != self:
            what = "is no longer there" if found is None else "has changed since it was opened"
            raise InputError(
                f"{self.path}: the file {what}; every pass must see the same rows: descend once nobody writes to it"
            )
