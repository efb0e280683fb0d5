"""NVIDIA's runtime compiler by itself: to see whether kernels compile takes neither a GPU nor a driver nor CuPy."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any

#: Where the wheels of CUDA 13 and 12 put it.
FOLDERS = ("nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib")
#: As CuPy compiles, and with an account of registers.
OPTIONS = ("--std=c++17", "-default-device", "-ftz=true", "--ptxas-options=-v")


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


def compiled(source: str, architecture: str) -> tuple[bytes, str]:
    """Return machine code for an architecture such as "sm_90", and what the compiler says; an error if it fails."""
    program = ctypes.c_void_p()
    assert _ask("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"steepest.cu", 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in OPTIONS)]
    failed = _ask("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
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
