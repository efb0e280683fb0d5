"""Files of models and of descents that somebody made: refused by name, or what they hold is finite and is saved again.

The loaders are Python, so that here atheris watches where a file leads to, as cargo-fuzz does for Rust; see README.md.
A file is changed in one of its parts, and then has the length and the checksum of what it is: else hardly any change
would get beyond the first question.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
with atheris.instrument_imports(include=["steepest", "json"]):
    # Preprocessing is imported where it is used, which would be too late.
    from hostile import HEADERS, is_refused, resealed, sealed, taken_apart
    from steepest import files, preprocessing  # noqa: F401

#: In memory, where there is such a folder: nothing of it is to be kept.
HELD = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
FOLDER = Path(HELD.name)


def check(content: bytes, kind: str) -> None:
    """Raise an error unless a file is refused, or holds what it should."""
    path = FOLDER / "given"
    path.write_bytes(content)
    is_refused(path, kind)


def changed(content: bytes, most: int, seed: int, header: str) -> bytes:
    """Return a file with a change that JSON and numbers may have, or with other bytes in a part of it, or anywhere."""
    generator = random.Random(seed)
    try:
        match generator.randrange(3):
            case 0:
                return resealed(content, header, generator)[:most]
            case 1:
                description, table, data = taken_apart(content, header)
                if data and generator.randrange(2):
                    data = atheris.Mutate(data, most)
                else:
                    description = atheris.Mutate(description.encode(), most).decode(errors="replace")
                return sealed(header, description, table, data)[:most]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        # No longer a file with such parts.
        pass
    return atheris.Mutate(content, most)


if __name__ == "__main__":
    # libFuzzer leaves options of two dashes alone. To merge it starts this program again, by a shell.
    kind = next(kind for kind in HEADERS if f"--{kind}" in sys.argv)
    # Writing to the disk would be most of the time, and there is nothing to be lost.
    files.os.fsync = lambda _: None
    atheris.Setup(
        [f"{sys.executable} {sys.argv[0]}", *sys.argv[1:]],
        lambda content: check(content, kind),
        custom_mutator=lambda content, most, seed: changed(content, most, seed, HEADERS[kind]),
    )
    atheris.Fuzz()
