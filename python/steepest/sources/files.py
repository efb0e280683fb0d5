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
        name = os.fspath(path)
        try:
            found = os.stat(name)  # noqa: PTH116 (a path would take longer than the question, asked at every block)
        except (OSError, ValueError):
            found = None
        if found is None or not stat.S_ISREG(found.st_mode):
            raise InputError(f"{argument}: {name} does not exist or is not a file")
        return cls(name, found.st_size, found.st_mtime_ns)

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
        """Raise an error that names the file if it has changed."""
        if self != File.of(self.path):
            raise InputError(
                f"{self.path}: the file has changed since it was opened; every pass must see the same rows: "
                "descend once nobody writes to it"
            )
