from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "__version__",
    "_after_fork",
    "_before_fork",
    "_begin_child",
    "_end",
    "_panic",
    "available_threads",
    "curvature",
    "instruction_set",
    "merged_statistics",
    "minimise",
    "read",
    "statistics",
    "value_and_gradient",
]

__version__: str

_Statistics: TypeAlias = tuple[float, NDArray[np.float64], NDArray[np.float64]]

def _before_fork() -> None: ...
def _after_fork() -> None: ...
def _begin_child() -> None: ...
def _end() -> None: ...
def _panic(n_threads: int) -> None: ...
def available_threads() -> int: ...
def instruction_set() -> str: ...
def value_and_gradient(
    problem: Any, parameters: NDArray[np.float64], n_threads: int
) -> tuple[float, NDArray[np.float64]]: ...
def read(design: Any, n_threads: int) -> float: ...
def curvature(problem: Any, n_threads: int) -> float: ...
def statistics(problem: Any, n_threads: int) -> _Statistics: ...
def merged_statistics(one: _Statistics, other: _Statistics) -> _Statistics: ...
def minimise(
    problem: Any,
    validation: Any,
    plan: Any,
    start: NDArray[np.float64],
    state: dict[str, NDArray[np.float64]],
    callback: Callable[[int, float, float, float, float, float], object] | None,
) -> dict[str, Any]: ...
