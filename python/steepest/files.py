"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from steepest.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Windows does not give the name of a file that somebody reads to another.
WINDOWS = os.name == "nt"
#: Seconds to wait there between tries: scanners and indexers let go of a new file within a moment.
PAUSES = (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.3)


def check_name(argument: str, path: str | os.PathLike[str]) -> None:
    """Raise an error that names the argument if no file can have this name."""
    if "\0" in os.fspath(path):
        raise InputError(f"{argument}: expected a file name; got {os.fspath(path)!r}, with the character \\0")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an error now if `path` could not be written later, before hours are spent on what goes there."""
    check_name("path", path)
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

    A reader sees the old file or the new one, never half of one, and so does whoever looks after the power failed: the
    bytes are on the disk before the name is theirs. Links are followed, the permissions of an old file are kept, and
    what is no file, such as a pipe or a terminal, is copied to. A process that is killed here leaves its temporary
    file, ``.steepest-…``.

    Raises
    ------
    InputError
        If no file can have this name.
    OSError
        If it cannot be written; it names the file.
    """
    check_name("path", path)
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
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(_mode(path))
            _replace(temporary, path)
            _sync_directory(path.parent)
    except OSError as error:
        # A disk that is full says so without a name, and nobody knows the temporary one.
        if error.errno is None:
            raise OSError(errno.EIO, str(error), str(path)) from error
        if error.filename in {None, name}:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Give a file its name, for about a second on Windows while others hold the old one."""
    for pause in PAUSES if WINDOWS else ():
        try:
            temporary.replace(path)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    temporary.replace(path)


def _sync_directory(path: Path) -> None:
    """Have the disk hold a new name, where the system can be asked to."""
    if WINDOWS:
        return
    # Some file systems refuse; the file is whole all the same.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _mode(path: Path) -> int:
    """Return the permissions of the file at `path`, or of a new one: a temporary file's own are stricter."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
