"""The backend on an NVIDIA GPU, through CuPy: the portable loop, the fused pass in CUDA, arrays used where they are."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from steepest.backends import resident
from steepest.backends.array import ArrayBackend
from steepest.backends.device import DeviceLeastSquares, DeviceObjective, transposed
from steepest.backends.kernels import CsrMatrix, by_columns
from steepest.backends.streamed import HostMatrix
from steepest.design import Csr, GpuCsr
from steepest.errors import BackendUnavailableError, InputError, SteepestError
from steepest.tables import is_on_gpu
from steepest.validation import to_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from steepest.backends.objective import ArrayObjective
    from steepest.problem import Callback, Plan, Problem, Solution, State

NOT_INSTALLED = (
    'backend="cupy" needs CuPy, which is not installed. Install it with: pip install "steepest[cuda13]" '
    '(or "steepest[cuda12]" for a CUDA 12 driver), or use backend="rust".'
)
FORKED = (
    'backend="cupy": CUDA was started before the fork, by process {parent}, and no child of a fork can use it. '
    'Start processes by "spawn" or "forkserver", as in multiprocessing.get_context("spawn"), or use backend="rust".'
)
#: Bytes that go to the GPU at a time, through memory that the GPU reads by itself.
PINNED_BYTES = 1 << 26
#: Of the free memory that a matrix may take: with a larger one, rows are brought at every pass.
MOST_SHARE = 0.8
#: By the library that an array of the caller is from, the module that takes one of CuPy's without a copy.
TAKERS = {"torch": "torch", "jax": "jax.numpy", "jaxlib": "jax.numpy"}

#: The process that was the first to use the GPU: what CUDA keeps of it is of no use to a process that inherits it.
_first_process: int | None = None


def load_cupy() -> Any:
    """Return the module `cupy`, if it has a GPU to work on."""
    global _first_process  # noqa: PLW0603
    if _first_process not in {None, os.getpid()}:
        raise BackendUnavailableError(FORKED.format(parent=_first_process))
    try:
        cupy = import_module("cupy")
    except ModuleNotFoundError as error:
        if (error.name or "cupy").partition(".")[0] != "cupy":
            raise _broken(error) from error
        raise BackendUnavailableError(NOT_INSTALLED) from None
    except Exception as error:
        # A library that is missing is an ImportError, an OSError or, from cuda.pathfinder, a RuntimeError.
        raise _broken(error) from error
    runtime = cupy.cuda.runtime
    try:
        reason = None if runtime.getDeviceCount() else "cudaErrorNoDevice: no CUDA-capable device is detected"
    except runtime.CUDARuntimeError as error:
        # CuPy's own is_available() keeps the reason to itself.
        reason = str(error)
    if reason is not None:
        raise BackendUnavailableError(
            f'backend="cupy" was requested but no usable CUDA GPU was found: {reason} '
            f"(CuPy {cupy.__version__}, driver: {_driver(runtime)}). "
            'Use backend="rust", or run where nvidia-smi lists a GPU.'
        )
    _first_process = os.getpid()
    return cupy


def _broken(error: Exception) -> BackendUnavailableError:
    return BackendUnavailableError(
        f'backend="cupy": CuPy cannot be imported: {error}. Use backend="rust", which needs no GPU.'
    )


def _driver(runtime: Any) -> str:
    version = runtime.driverGetVersion()
    return f"CUDA {version // 1000}.{version % 1000 // 10}" if version else "none"


class CupyBackend(ArrayBackend):
    """The backend on the current GPU and stream of CuPy."""

    most_ahead = 32

    def __init__(self) -> None:
        super().__init__("cupy", load_cupy())
        runtime = self.xp.cuda.runtime
        self.properties = runtime.getDeviceProperties(runtime.getDevice())
        self.designs: WeakKeyDictionary[Problem, Any] = WeakKeyDictionary()

    def describe(self) -> str:
        """Return a line on what this backend runs on."""
        found = self.properties
        return (
            f"CuPy {self.xp.__version__}, {found['name'].decode()}, {found['totalGlobalMem'] / 2**30:.0f} GiB, "
            f"compute capability {found['major']}.{found['minor']}, driver {_driver(self.xp.cuda.runtime)}"
        )

    def value_and_gradient(
        self, problem: Problem, parameters: NDArray[np.float64], n_threads: int
    ) -> tuple[float, NDArray[np.float64]]:
        """Return F and the flat gradient of its smooth part."""
        with self._cures(problem):
            found = resident.evaluated(self.xp, self._rows(problem), parameters)
            return super().value_and_gradient(problem, parameters, n_threads) if found is None else found

    def curvature(self, problem: Problem, n_threads: int) -> float:
        """Return L with 0 ≼ ∇²F ≼ L·I, at zero parameters if the loss has no bound."""
        with self._cures(problem):
            return super().curvature(problem, n_threads)

    def minimise(  # noqa: PLR0917
        self,
        problem: Problem,
        validation: Problem | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        """Descend from `start`. Ctrl-C is answered between looks at the numbers, about ten a second at the least."""
        with self._cures(problem):
            return super().minimise(problem, validation, plan, start, state, callback)

    def _descend(  # noqa: PLR0917
        self,
        objective: ArrayObjective,
        validation: ArrayObjective | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        if validation is None and callback is None:
            stays = resident.begun(self.xp, objective, plan, start, state)
            if stays is not None:
                return resident.descend(*stays)
        return super()._descend(objective, validation, plan, start, state, callback)

    def adopt(self, **arrays: Any) -> dict[str, Any]:
        """Return X on the GPU as an array of CuPy, in place, and what rows have beside it in main memory for checks.

        Raises
        ------
        InputError
            If some are on the GPU and some are not.
        """
        given = {name: array for name, array in arrays.items() if array is not None}
        places = {name: is_on_gpu(array) for name, array in given.items()}
        first = next(iter(given))
        for name, place in places.items():
            if place != places[first]:
                here, there = ("on a GPU", "in main memory") if places[first] else ("in main memory", "on a GPU")
                raise InputError(
                    f"{name}: {first} is {here} and {name} {there}; bring both to one place: "
                    "cupy.asarray(…) makes an array of the GPU, .get() one of main memory"
                )
        if not places[first]:
            return arrays
        return {
            name: array if array is None else self._adopted(array, in_place=name.endswith("X"))
            for name, array in arrays.items()
        }

    def _adopted(self, array: Any, *, in_place: bool) -> Any:
        xp = self.xp
        if not hasattr(array, "tocsr") and not isinstance(array, xp.ndarray):
            # DLPack knows bfloat16, and on whose stream the array is written.
            speaks = hasattr(type(array), "__dlpack__")
            array = xp.from_dlpack(array) if speaks else xp.asarray(array)
        return array if in_place else array.get()

    def give_back(self, array: NDArray[Any], like: Any) -> Any:
        """Return an array where `like` is, and of its kind."""
        if not is_on_gpu(like):
            return array
        module = sys.modules.get(TAKERS.get(type(like).__module__.partition(".")[0], ""))
        on_gpu = self.xp.asarray(array)
        return on_gpu if module is None else module.from_dlpack(on_gpu)

    def _rows(self, problem: Problem) -> ArrayObjective:
        return DeviceObjective(problem, self.xp, self._place, int(self.properties["multiProcessorCount"]))

    def _moments(self, problem: Problem) -> ArrayObjective:
        return DeviceLeastSquares(problem, self.xp, self._place)

    def _place(self, problem: Problem) -> Any:
        """Return X on the GPU: brought there once, however often the problem is looked at."""
        if problem not in self.designs:
            design = problem.design
            if isinstance(design, GpuCsr):
                self.designs[problem] = self._place_columns(design)
            elif isinstance(design, Csr):
                self.designs[problem] = self._place_sparse(design)
            elif isinstance(design, self.xp.ndarray):
                return design
            elif self._holds(design):
                self.designs[problem] = self._sent(design)
            else:
                self.designs[problem] = HostMatrix(self.xp, design)
        return self.designs[problem]

    def holds(self, problem: Problem) -> bool:
        """Return whether X can be brought to the GPU as a whole."""
        return problem in self.designs or isinstance(problem.design, Csr) or self._holds(problem.design)

    def _holds(self, design: Any) -> bool:
        free, _ = self.xp.cuda.runtime.memGetInfo()
        kept = self.xp.get_default_memory_pool().free_bytes()
        return bool(design.nbytes <= MOST_SHARE * (free + kept))

    def _place_sparse(self, design: Csr) -> CsrMatrix:
        canonical = design.to_scipy().copy()
        canonical.sum_duplicates()
        rows = Csr(canonical.data, canonical.indices, canonical.indptr, design.shape)
        by_rows, by_columns = (
            (self._sent(matrix.data), self._sent(matrix.indices), self._sent(matrix.indptr))
            for matrix in (rows, transposed(rows))
        )
        return CsrMatrix(self.xp, by_rows, by_columns, canonical.indptr)

    def _place_columns(self, design: GpuCsr) -> CsrMatrix:
        """Return a matrix whose rows are there; it is needed by columns, too."""
        xp = self.xp
        data, indices, indptr = design.data, design.indices, design.indptr
        rows = xp.searchsorted(indptr, xp.arange(len(data), dtype=indptr.dtype), side="right") - 1
        columns = by_columns(xp, data, indices, rows, design.shape)
        return CsrMatrix(xp, (data, indices, indptr), columns, to_host(indptr))

    def _sent(self, array: NDArray[Any]) -> Any:
        """Return an array of main memory on the GPU, through pinned memory where it is large."""
        xp = self.xp
        if array.nbytes <= PINNED_BYTES:
            return xp.asarray(array)
        flat = array.ravel(order="K")
        there = xp.empty(flat.shape, dtype=flat.dtype)
        length = PINNED_BYTES // flat.itemsize
        stream, ready = xp.cuda.Stream(non_blocking=True), xp.cuda.Event(disable_timing=True)
        # The memory may be what a kernel that is still to run on the current stream reads.
        ready.record()
        stream.wait_event(ready)
        pinned = [np.frombuffer(xp.cuda.alloc_pinned_memory(PINNED_BYTES), flat.dtype, length) for _ in range(2)]
        sent = [xp.cuda.Event(disable_timing=True) for _ in pinned]
        for number, start in enumerate(range(0, len(flat), length)):
            turn = number % len(pinned)
            # The buffer is free again when what it held before is there.
            sent[turn].synchronize()
            part = pinned[turn][: min(length, len(flat) - start)]
            part[...] = flat[start : start + length]
            there[start : start + length].set(part, stream=stream)
            sent[turn].record(stream)
        stream.synchronize()
        return xp.reshape(there, array.shape, order="C" if array.flags.c_contiguous else "F")

    @contextmanager
    def _cures(self, problem: Problem) -> Iterator[None]:
        """Say what to do where the GPU is there and yet cannot."""
        xp = self.xp
        try:
            yield
        except SteepestError:
            raise
        except xp.cuda.memory.OutOfMemoryError as error:
            free, _ = xp.cuda.runtime.memGetInfo()
            needed = _bytes(problem.design)
            raise BackendUnavailableError(
                f'backend="cupy" ran out of memory: X takes {needed / 1e9:.2f} GB of the GPU and {free / 1e9:.2f} GB '
                'are free. Pass X as float32, fewer rows, or use backend="rust".'
            ) from error
        except Exception as error:
            message = str(error).partition("\n")[0]
            if "cublas" in message.lower():
                raise BackendUnavailableError(
                    f"CuPy found a GPU but no cuBLAS for matrix products: {message}. "
                    'Install: pip install "nvidia-cublas" (for a CUDA 12 driver: "nvidia-cublas-cu12"), '
                    'or use backend="rust".'
                ) from error
            if type(error).__name__ in CANNOT_COMPILE or "CUDA headers" in message:
                raise BackendUnavailableError(
                    f"CuPy found a GPU but cannot compile kernels: {message}. Install: "
                    'pip install "nvidia-cuda-nvrtc" "nvidia-cuda-runtime" (for a CUDA 12 driver: '
                    '"nvidia-cuda-nvrtc-cu12" "nvidia-cuda-runtime-cu12"), or use backend="rust".'
                ) from error
            raise


#: Errors of CuPy, and of what looks for CUDA's libraries, where there is no compiler.
CANNOT_COMPILE = ("CompileException", "NVRTCError", "DynamicLibNotFoundError", "ImportError", "ModuleNotFoundError")


def _bytes(design: Any) -> int:
    parts = (design.data, design.indices, design.indptr) if isinstance(design, Csr) else (design,)
    return sum(int(part.nbytes) for part in parts)
