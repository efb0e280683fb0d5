"""CUDA source as a library of the CPU: compiled once, by whatever process comes first, and kept."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHIM = Path(__file__).parent / "cuda"
COMPILER = shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ is not installed")
LANGUAGE = ("-std=c++17", "-fPIC")
WARNINGS = ("-Wall", "-Wno-unknown-pragmas", "-Werror")
#: The orders in which the shim runs threads: ascending, descending, drawn, and one warp as far as it can go.
SCHEDULES = (0, 1, 2, 100)


class Library:
    """CUDA source as a library of the CPU."""

    def __init__(self, code: str, folder: Path, flags: tuple[str, ...]) -> None:
        # With other flags, or of another text, what was compiled before is not used.
        own = folder / key_of(_compiler(), *(path.read_text(encoding="utf-8") for path in SHIM.iterdir()), *flags)
        command = [COMPILER or "", *LANGUAGE, *flags]
        header = ["-w", "-x", "c++-header", str(SHIM / "cuda_shim.hpp")]
        kept_file(own / "cuda_shim.hpp.gch", lambda path: _run([*command, *header, "-o", path], ""))
        # What runs threads is not under test: not slowed down by a sanitizer, which sees what they do to memory.
        runner = [COMPILER or "", *LANGUAGE, "-O2", "-c", str(SHIM / "cuda_shim.cpp")]
        run = kept_file(own / "cuda_shim.o", lambda path: _run([*runner, "-o", path], ""))
        command += ["-shared", *WARNINGS, "-DSTEEPEST_ON_CPU", f"-I{own}", f"-I{SHIM}", str(run), "-x", "c++", "-"]
        path = kept_file(own / f"{key_of(code)}.so", lambda path: _run([*command, "-o", path], code))
        self.library = ctypes.CDLL(str(path))

    def launch(self, name: str, grid: int, block: int, boxes: Sequence[Any], *, shared: int, schedule: int) -> None:
        """Run a kernel, whose arguments are in boxes of ctypes."""
        assert 0 < block <= 1024
        assert shared <= 48 << 10, "more shared memory than a kernel has without asking"
        pointers = (ctypes.c_void_p * len(boxes))(*(ctypes.addressof(box) for box in boxes))
        getattr(self.library, f"on_cpu_{name}")(grid, block, shared, schedule, pointers)


def key_of(*parts: str) -> str:
    """Return a name for what depends on some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def _compiler() -> str:
    assert COMPILER is not None
    return subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout


def _run(command: list[str], text: str) -> None:
    made = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if made.returncode:
        raise RuntimeError(made.stderr)


def kept_file(path: Path, make: Callable[[str], None]) -> Path:
    """Return a file that is there, made by one process while the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if path.exists():
            path.touch()
        else:
            make(str(path.with_suffix(".part")))
            path.with_suffix(".part").rename(path)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
