"""NVIDIA's runtime compiler by itself: to see whether kernels compile takes neither a GPU nor a driver nor CuPy."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any

from cpu_shim import kept_file, key_of

#: Where the wheels of CUDA 13 and 12 put it.
FOLDERS = ("nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib")
#: As CuPy compiles, and with an account of registers.
OPTIONS = ("-default-device", "-ftz=true", "--ptxas-options=-v")


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiler, if its wheel is installed."""
    for folder in (Path(base, found) for base in sys.path if base for found in FOLDERS):
        for path in sorted(folder.glob("libnvrtc.so.*")):
            # The compiler looks for its own parts where the loader does, which is not here.
            for part in folder.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(part), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path))
    return None


def _ask(function: str, *arguments: Any) -> int:
    found = library()
    assert found is not None
    return int(getattr(found, function)(*arguments))


def kept(folder: Path, source: str, architecture: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Return what `compiled` does, from a folder if it was compiled before."""
    version = [ctypes.c_int(), ctypes.c_int()]
    _ask("nvrtcVersion", *map(ctypes.byref, version))
    path = folder / key_of(architecture, *options, *OPTIONS, *(str(part.value) for part in version)) / key_of(source)

    def make(part: str) -> None:
        code, log = compiled(source, architecture, options)
        Path(part).write_bytes(log.rstrip("\0").encode() + b"\0" + code)

    log, _, code = kept_file(path.with_suffix(".cubin"), make).read_bytes().partition(b"\0")
    return code, log.decode()


def compiled(source: str, architecture: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Return machine code for an architecture such as "sm_90", and what the compiler says; an error if it fails."""
    program = ctypes.c_void_p()
    assert _ask("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"steepest.cu", 0, None, None) == 0
    every = [option.encode() for option in (f"--gpu-architecture={architecture}", *options, *OPTIONS)]
    failed = _ask("nvrtcCompileProgram", program, len(every), (ctypes.c_char_p * len(every))(*every))
    log = _text("nvrtcGetProgramLog", program).decode()
    assert not failed, log
    code = _text("nvrtcGetCUBIN", program)
    _ask("nvrtcDestroyProgram", ctypes.byref(program))
    return code, log


def _text(function: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    assert _ask(f"{function}Size", program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert _ask(function, program, text) == 0
    return text.raw
