"""A file as it was when a descent began, and whether it still is: every pass must see the same rows."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a block, about: enough that a pass spends its time in the kernel, few enough that some fit any memory.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class File:
    """A file as it was when it was first seen."""

    path: str
    size: int
    changed: int
    """Nanoseconds."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> File:
        """Return the file at `path`; an error if there is none."""
        name = os.fspath(path)
        if not Path(name).is_file():
            raise InputError(f"X: {name} does not exist or is not a file")
        found = Path(name).stat()
        return cls(name, found.st_size, found.st_mtime_ns)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raise an error that names the file if it has changed, before or meanwhile, or cannot be read."""
        self._check()
        try:
            yield
        except InputError:
            raise
        except (OSError, ValueError) as error:
            self._check()
            raise InputError(f"{self.path}: {error}") from error
        self._check()

    def _check(self) -> None:
        if self != File.of(self.path):
            raise InputError(
                f"{self.path}: the file has changed since it was opened; every pass must see the same rows: "
                "descend once nobody writes to it"
            )
