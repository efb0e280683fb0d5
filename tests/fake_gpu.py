"""CuPy on a CPU, for tests: arrays that are strict about what leaves them, and kernels that run on the CPU shim.

Every value that the host reads is counted, and refused while a trap is set; arrays of NumPy are refused wherever CuPy
refuses them. So a test sees what a GPU would wait for.
"""

from __future__ import annotations

import ctypes
import operator
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import scipy.sparse

from cpu_shim import COMPILER, SCHEDULES, Library, needs_compiler
from steepest.backends import kernels


class HostReadError(RuntimeError):
    """The host read a value from the GPU where it must not wait for one."""


class Reads:
    """How often the host read a value, and whether it may."""

    count = 0
    trapped = False

    @classmethod
    def one(cls) -> None:
        Stream.refuse("a value was read")
        if cls.trapped:
            raise HostReadError("a value of the GPU was read on the host")
        cls.count += 1


class Memory:
    """Whether the host may ask the GPU for memory."""

    trapped = False

    @classmethod
    def take(cls) -> None:
        Stream.refuse("memory was asked for")
        assert not cls.trapped, "memory was asked for"


def _plain(value: Any) -> Any:
    """Return an argument as NumPy takes it; arrays of NumPy itself are no arguments of CuPy."""
    if isinstance(value, Array):
        return value.values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part) for part in value)
    return value


def _wrapped(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return Array(np.asarray(value))
    return type(value)(_wrapped(part) for part in value) if isinstance(value, tuple) else value


class Array:
    """An array in the memory of a GPU that is not there."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    strides = property(lambda self: self.values.strides)
    flags = property(lambda self: self.values.flags)
    T = property(lambda self: Array(self.values.T))
    data = property(lambda self: SimpleNamespace(ptr=self.values.ctypes.data))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.values.__array_interface__)

    def __len__(self) -> int:
        return len(self.values)

    def get(self) -> np.ndarray[Any, Any]:
        Reads.one()
        return self.values.copy()

    def set(self, values: np.ndarray[Any, Any], stream: Any = None) -> None:
        def copy() -> None:
            self.values[...] = values

        if stream is None:
            copy()
        else:
            # As late as can be: what does not wait for it does not find it, and finds what the source has become.
            stream.waiting.append(copy)

    def __float__(self) -> float:
        Reads.one()
        return float(self.values)

    def __int__(self) -> int:
        Reads.one()
        return int(self.values)

    __index__ = __int__

    def __bool__(self) -> bool:
        Reads.one()
        return bool(self.values)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _wrapped(getattr(ufunc, method)(*map(_plain, inputs), **options))

    def __getitem__(self, index: Any) -> Array:
        # CuPy takes indices of the host too: it copies them.
        parts = index if isinstance(index, tuple) else (index,)
        values = self.values[tuple(part.values if isinstance(part, Array) else part for part in parts)]
        return Array(np.asarray(values))

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        self.values[tuple(part.values if isinstance(part, Array) else part for part in parts)] = _plain(value)

    def astype(self, dtype: Any, **options: Any) -> Array:
        made = self.values.astype(dtype, **options)
        if made is not self.values:
            Memory.take()
        return Array(made)

    def view(self, dtype: Any) -> Array:
        return Array(self.values.view(dtype))

    def ravel(self, order: Any = "C") -> Array:
        return Array(self.values.ravel(order))

    def all(self) -> Array:
        return Array(np.asarray(self.values.all()))


class ForeignSparse:
    """A sparse matrix of CuPy."""

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self.data, self.indices, self.indptr = (Array(part) for part in (matrix.data, matrix.indices, matrix.indptr))

    @property
    def has_canonical_format(self) -> bool:
        return bool(scipy.sparse.csr_array(self.matrix).has_canonical_format)

    def tocsr(self) -> Any:
        return self


def _operator(name: str, function: Callable[..., Any]) -> None:
    def forward(self: Array, other: Any) -> Any:
        if getattr(other, "__array_ufunc__", True) is None:
            return NotImplemented
        Memory.take()
        return _wrapped(np.asarray(function(self.values, _plain(other))))

    def backward(self: Array, other: Any) -> Any:
        Memory.take()
        return _wrapped(np.asarray(function(_plain(other), self.values)))

    setattr(Array, f"__{name}__", forward)
    setattr(Array, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "lt", "le", "gt", "ge"):
    _operator(_name, getattr(operator, f"{_name}_" if _name in {"and", "or"} else _name))
for _name in ("eq", "ne"):
    _operator(_name, getattr(operator, _name))


def _unary(name: str, function: Callable[[Any], Any]) -> None:
    def forward(self: Array) -> Array:
        Memory.take()
        return Array(np.asarray(function(self.values)))

    setattr(Array, f"__{name}__", forward)


for _name in ("neg", "invert", "abs"):
    _unary(_name, getattr(operator, _name))


def _memory(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array whose memory a view is of."""
    return values if not isinstance(values.base, np.ndarray) else _memory(values.base)


class _Address(int):
    """Where an array is."""


def _box(argument: Any) -> Any:
    if isinstance(argument, _Address):
        return ctypes.c_void_p(int(argument))
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Array):
        argument = argument.values
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    assert isinstance(argument, np.generic), f"a kernel takes numbers of a stated size, not {argument!r}"
    return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())


class _Runtime(SimpleNamespace):
    class CUDARuntimeError(RuntimeError):
        pass

    n_devices = 1

    def getDeviceCount(self) -> int:  # noqa: N802
        return self.n_devices

    def driverGetVersion(self) -> int:  # noqa: N802
        return 13000

    def memGetInfo(self) -> tuple[int, int]:  # noqa: N802
        return 8 << 30, 8 << 30

    def getDevice(self) -> int:  # noqa: N802
        return 0

    def getDeviceProperties(self, _: int) -> dict[str, Any]:  # noqa: N802
        properties = {"name": b"Imaginary GPU", "multiProcessorCount": 3, "major": 9, "minor": 0}
        return {**properties, "totalGlobalMem": 8 << 30}


class _Event:
    def __init__(self, **_: Any) -> None:
        self.seconds = 0.0
        self.follows: tuple[Stream, int] | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.seconds = time.perf_counter()
        self.follows = None if stream is None else (stream, stream.n_done + len(stream.waiting))

    def synchronize(self) -> None:
        self.reach()

    def reach(self) -> None:
        """Make what comes before the event."""
        if self.follows is not None:
            stream, n = self.follows
            stream.finish(n)


class Stream:
    """A stream that can be recorded: what is launched then does not run before the graph of it does."""

    #: The stream that is being recorded, if one is.
    recording: Stream | None = None

    def __init__(self, **_: Any) -> None:
        self.recorded: list[Callable[[], None]] = []
        self.waiting: list[Callable[[], None]] = []
        """Copies that nobody has waited for yet."""
        self.n_done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if Stream.recording is self:
            Stream.recording = None

    def begin_capture(self) -> None:
        Stream.recording = self

    def end_capture(self) -> SimpleNamespace:
        assert Stream.recording is self
        Stream.recording = None
        recorded = self.recorded

        def launch() -> None:
            for run in recorded:
                run()

        return SimpleNamespace(launch=launch)

    def synchronize(self) -> None:
        self.finish(self.n_done + len(self.waiting))

    def wait_event(self, event: _Event) -> None:
        event.reach()

    def finish(self, n: int) -> None:
        """Make the first `n` copies of all that were ever asked for."""
        while self.n_done < n:
            self.waiting.pop(0)()
            self.n_done += 1

    @classmethod
    def refuse(cls, what: str) -> None:
        """Fail where something is done that a stream cannot record."""
        assert cls.recording is None, f"{what} while launches are recorded"


class FakeCupy(ModuleType):
    """The module, as far as the package uses it."""

    __version__ = "14.2.0"
    ndarray = Array
    float32, float64, int32, int64, uint8 = np.float32, np.float64, np.int32, np.int64, np.uint8
    finfo = staticmethod(np.finfo)

    def __init__(self, folder: Path, flags: tuple[str, ...] = ("-Og",)) -> None:
        super().__init__("cupy")
        self.folder, self.flags = folder, flags
        self.schedule: int | None = None
        """Of all launches; they take turns by default."""
        self.bundle: list[str] = []
        """Lines of kernels that are compiled together when the first is wanted, which is faster."""
        self.largest = 0
        """Bytes of the largest array that was made on the GPU."""
        self.used: set[str] = set()
        self.launches: list[str] = []
        memory = SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {}))
        self.cuda = SimpleNamespace(
            runtime=_Runtime(),
            memory=memory,
            Stream=Stream,
            get_current_stream=Stream,
            Event=_Event,
            get_elapsed_time=lambda start, end: 1e3 * (end.seconds - start.seconds),
            alloc_pinned_memory=bytearray,
        )

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0)

    def from_dlpack(self, given: Any) -> Array:
        return Array(np.asarray(given.memory))

    def asarray(self, given: Any, dtype: Any = None) -> Array:
        if isinstance(given, Array):
            return given if dtype is None else given.astype(dtype, copy=False)
        if hasattr(given, "__cuda_array_interface__"):
            # In place, like the array of another library that it is.
            return Array(np.asarray(given.memory))
        return Array(np.array(given, dtype=dtype))

    def astype(self, array: Array, dtype: Any, *, copy: bool = True) -> Array:
        return array.astype(dtype, copy=copy)

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802
        head, _, line = code.rstrip().rpartition("\n")
        assert options in {("--std=c++17",), kernels.options_of(line)}
        names = {known: f"kernel_{number}" for number, known in enumerate(self.bundle)}
        if line in names:
            code = "\n".join([head, *(known.replace("(kernel,", f"({name},") for known, name in names.items())])
        library = Library(code, self.folder, self.flags)

        def get_function(name: str) -> Any:
            name = names.get(line, name)

            def launch(grid: tuple[int], block: tuple[int], arguments: Any, shared_mem: int = 0) -> None:
                if Stream.recording is not None:
                    Stream.recording.recorded.append(again(grid, block, arguments, shared_mem))
                    return
                self.launches.append(line.partition("(")[0])
                turn = SCHEDULES[len(self.launches) % len(SCHEDULES)]
                schedule = turn if self.schedule is None else self.schedule
                boxes = [_box(argument) for argument in arguments]
                library.launch(name, *grid, *block, boxes, shared=shared_mem, schedule=schedule)

            def again(grid: tuple[int], block: tuple[int], arguments: Any, shared_mem: int) -> Callable[[], None]:
                """Return the launch by the addresses that it was recorded with: memory must still be where it was."""
                held = [weakref.ref(_memory(part.values)) if isinstance(part, Array) else None for part in arguments]
                boxes = [part.values.ctypes.data if isinstance(part, Array) else part for part in arguments]

                def run() -> None:
                    gone = [alive is not None and alive() is None for alive in held]
                    assert not any(gone), f"what {line} reads or writes was given up"
                    launch(grid, block, [_Address(box) if isinstance(box, int) else box for box in boxes], shared_mem)

                return run

            return launch

        return SimpleNamespace(get_function=get_function)

    def empty(self, shape: Any, dtype: Any) -> Array:
        """Return what nobody has written to: no number."""
        Memory.take()
        made = np.empty(shape, dtype)
        made.view(np.uint8)[...] = 0xFF
        self.largest = max(self.largest, made.nbytes)
        return Array(made)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name, None)
        if name.startswith("_") or not callable(function):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        self.used.add(name)
        Stream.refuse(f"cupy.{name} was called")

        def call(*arguments: Any, **options: Any) -> Any:
            given = [*map(_plain, arguments)], {key: _plain(part) for key, part in options.items()}
            made = _wrapped(function(*given[0], **given[1]))
            parts = [part for part in (*given[0], *given[1].values()) if isinstance(part, np.ndarray)]
            # Views and `out` are memory that is there.
            if not (isinstance(made, Array) and any(_memory(made.values) is _memory(part) for part in parts)):
                Memory.take()
                self.largest = max(self.largest, getattr(made, "nbytes", 0))
            return made

        return call


__all__ = ["COMPILER", "SCHEDULES", "needs_compiler"]
