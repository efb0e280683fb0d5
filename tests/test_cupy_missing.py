"""What is said where the GPU, its driver, CuPy or a compiler is missing: why, and what to do."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import steepest as st
from fake_gpu import Array, FakeCupy, _Runtime
from steepest.backends import kernels

X, Y = np.eye(4, dtype=np.float32), np.arange(4.0)
RUST = 'use backend="rust"'
NOT_INSTALLED = (
    'backend="cupy" needs CuPy, which is not installed. Install it with: pip install "steepest[cuda13]" '
    '(or "steepest[cuda12]" for a CUDA 12 driver), or use backend="rust".'
)
NO_DRIVER = (
    'backend="cupy" was requested but no usable CUDA GPU was found: cudaErrorInsufficientDriver: CUDA driver version '
    "is insufficient for CUDA runtime version (CuPy {}, driver: none). "
    'Use backend="rust", or run where nvidia-smi lists a GPU.'
)
needs_cupy = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")


def message(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(st.BackendUnavailableError) as caught:
        function(*arguments, backend="cupy", **options)
    return str(caught.value)


@pytest.mark.parametrize(("function", "options"), [(st.descend, {}), (st.loss_and_gradient, {"coef": np.zeros(4)})])
def test_without_cupy(monkeypatch: pytest.MonkeyPatch, function: Any, options: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert message(function, X, Y, **options) == NOT_INSTALLED
    # Nothing is tried that was not asked for.
    assert st.descend(X, Y, n_steps=2).backend == "rust"


def test_without_cupy_it_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    st.show_backends()
    assert capsys.readouterr().out.splitlines()[-1] == f"cupy   not available: {NOT_INSTALLED}"


@needs_cupy
def test_with_cupy_and_no_gpu() -> None:
    cupy = importlib.import_module("cupy")
    if cupy.is_available():
        pytest.skip("there is a GPU here")
    assert message(st.descend, X, Y) == NO_DRIVER.format(cupy.__version__)


def test_with_cupy_and_no_driver(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise _Runtime.CUDARuntimeError(
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
        )

    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceCount", fail)
    monkeypatch.setattr(gpu.cuda.runtime, "driverGetVersion", lambda: 0)
    assert message(st.descend, X, Y) == NO_DRIVER.format("14.2.0")


def test_with_a_driver_and_no_gpu(gpu: FakeCupy) -> None:
    gpu.cuda.runtime.n_devices = 0
    said = message(st.descend, X, Y)
    assert "no usable CUDA GPU was found: cudaErrorNoDevice: no CUDA-capable device is detected" in said
    assert "(CuPy 14.2.0, driver: CUDA 13.0)" in said


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcudart.so.12: cannot open shared object file", name="cupy_backends.cuda"),
        ImportError("libcudart.so.12: cannot open shared object file"),
        RuntimeError("Could not load 'libdl.so.2' (required for dlinfo/dlerror on Linux)"),
        OSError("libc.so.6: failed to map segment from shared object"),
    ],
)
def test_with_a_cupy_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: str) -> Any:
        raise error

    monkeypatch.setattr("steepest.backends.cupy.import_module", fail)
    said = message(st.descend, X, Y)
    assert said.startswith(f'backend="cupy": CuPy cannot be imported: {error}')
    assert RUST.capitalize() in said
    # Steps enough to be worth a GPU are taken without one.
    assert st.descend(X, Y, method="gd", learning_rate=0.3, n_steps=2**62, tol=1e-3).backend == "rust"


LibraryError = type("DynamicLibNotFoundError", (RuntimeError,), {})
CANNOT_COMPILE = "CuPy found a GPU but cannot compile kernels:"
#: What CuPy raises where something is missing, and what is said then.
MISSING: dict[str, tuple[Exception, list[str]]] = {
    "compiler": (
        LibraryError('Failure finding "libnvrtc.so.13": no such file\nsearched: …'),
        [CANNOT_COMPILE, 'Failure finding "libnvrtc.so.13": no such file. Install: pip install "nvidia-cuda-nvrtc" '],
    ),
    "headers": (
        RuntimeError("Failed to find CUDA headers. Please install …"),
        [CANNOT_COMPILE, 'Please install …. Install: pip install "nvidia-cuda-nvrtc" "nvidia-cuda-runtime" '],
    ),
    "cuBLAS": (
        ImportError("libcublas.so.13: cannot open shared object file"),
        [
            "CuPy found a GPU but no cuBLAS for matrix products: libcublas.so.13: ",
            'Install: pip install "nvidia-cublas" ',
        ],
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_without_a_library_of_cuda(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    error, expected = MISSING[what]

    def fail(**_: Any) -> Any:
        raise error

    monkeypatch.setattr(gpu, "RawModule", fail)
    kernels.compiled.cache_clear()
    said = message(st.descend, X, Y, strategy="stream")
    assert all(part in said for part in expected)
    assert said.startswith(expected[0])
    assert said.endswith(f"{RUST}.")


def test_without_room(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise gpu.cuda.memory.OutOfMemoryError("Out of memory allocating 64 bytes")

    monkeypatch.setattr(gpu.cuda.runtime, "memGetInfo", lambda: (10_000_000, 8 << 30))
    monkeypatch.setattr(gpu, "empty", fail, raising=False)
    said = message(st.descend, np.zeros((1000, 1000)), np.zeros(1000), strategy="stream")
    assert said.startswith('backend="cupy" ran out of memory: X takes 0.01 GB of the GPU and 0.01 GB are free.')
    assert said.endswith(f"{RUST}.")


def test_other_errors_are_not_dressed_up(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> Any:
        raise _Runtime.CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    monkeypatch.setattr(gpu, "RawModule", fail)
    kernels.compiled.cache_clear()
    with pytest.raises(_Runtime.CUDARuntimeError, match="cudaErrorIllegalAddress"):
        st.descend(X, Y, backend="cupy", strategy="stream")


def test_auto_on_the_gpu_without_cupy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """X is where only CuPy can reach it: an error, not a copy."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(st.BackendUnavailableError, match="which is not installed"):
        st.descend(Array(X), Array(Y))


@needs_cupy
def test_import_does_not_import_cupy() -> None:
    code = (
        "import sys, steepest as st; st.descend([[0.0], [1.0]], [1.0, 2.0], n_steps=2); "
        "import steepest.backends.device, steepest.backends.cupy; print('cupy' in sys.modules)"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout == "False\n"


@needs_cupy
def test_cupy_has_what_is_used_of_it(gpu: FakeCupy) -> None:
    """Every function that a descent asks the imaginary module for is one of the real one."""
    saved = sys.modules.pop("cupy")
    try:
        real = importlib.import_module("cupy")
    finally:
        sys.modules["cupy"] = saved
    X = np.sin(np.arange(90.0)).reshape(30, 3)
    for loss, classes in (("log_loss", 2), ("log_loss", 3), ("poisson", 2), ("huber", 2), ("squared_hinge", 2)):
        for method in ("gd", "nesterov", "adam", "sgd", "lbfgs", "newton"):
            st.descend(X, np.arange(30) % classes, loss=loss, n_steps=2, method=method, backend="cupy")
    missing = {name for name in gpu.used if not hasattr(real, name)}
    assert gpu.used
    assert not missing
    for name in ("asarray", "asnumpy", "RawModule", "from_dlpack", "float64", "finfo", "ndarray"):
        assert hasattr(real, name)
    for name in ("Stream", "Event", "alloc_pinned_memory", "memory", "runtime"):
        assert hasattr(real.cuda, name)
