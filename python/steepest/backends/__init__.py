"""Backends: each answers the verbs of `Backend` for any problem. Add one here.

A backend is imported when it is asked for, so that ``import steepest`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from steepest.errors import BackendUnavailableError
from steepest.tables import is_on_gpu
from steepest.threads import get_num_threads
from steepest.validation import known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from steepest.problem import Callback, Plan, Problem, Solution, State


class Backend(Protocol):
    """What the façade asks of a backend."""

    @property
    def name(self) -> str:
        """The name under which it is asked for."""

    def describe(self) -> str:
        """Return a line on what this backend runs on."""

    def value_and_gradient(
        self, problem: Problem, parameters: NDArray[np.float64], n_threads: int
    ) -> tuple[float, NDArray[np.float64]]:
        """Return F and its gradient at flat parameters."""

    def curvature(self, problem: Problem, n_threads: int) -> float:
        """Return L with 0 ≼ ∇²F ≼ L·I: 1/L is a safe step size."""

    def minimise(  # noqa: PLR0917
        self,
        problem: Problem,
        validation: Problem | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        """Descend from flat parameters `start`, or go on from the `state` of a former descent of the same problem."""

    def adopt(self, **arrays: Any) -> dict[str, Any]:
        """Return the user's arrays, by name, where `make_problem` can check them; an error if one is out of reach."""

    def give_back(self, array: NDArray[Any], like: Any) -> Any:
        """Return an array of the solution where the user's array `like` is, and of its kind."""


#: Names that can be asked for, and what each is.
BACKENDS = {
    "rust": "compiled, every core of this machine",
    "numpy": "portable reference",
    "cupy": "NVIDIA GPUs",
}


def get_backend(name: str) -> Backend:
    """Return the backend called `name`; ``"auto"`` is the fastest that runs here.

    Raises
    ------
    InputError
        If there is none of that name.
    BackendUnavailableError
        If it cannot run here; nothing else takes its place.
    """
    known("backend", name, ["auto", *BACKENDS])
    if name == "cupy":
        from steepest.backends.cupy import CupyBackend

        return CupyBackend()
    if name == "numpy":
        import numpy as np

        from steepest.backends.array import ArrayBackend

        return ArrayBackend("numpy", np)
    from steepest.backends.rust import RustBackend

    return RustBackend()


def gpu_backend(problem: Problem) -> Backend | None:
    """Return the backend on a GPU if there is one and X fits its memory."""
    try:
        backend: Any = get_backend("cupy")
    except BackendUnavailableError:
        return None
    return backend if backend.holds(problem) else None


def nearest(name: str, X: Any) -> str:
    """Return the backend that is asked for: for ``"auto"`` the one that reads X where it is."""
    return "cupy" if isinstance(name, str) and name == "auto" and is_on_gpu(X) else name


def show_backends() -> None:
    """Print each backend, whether it runs here, and on what.

    Examples
    --------
    >>> import steepest as st
    >>> st.show_backends()  # doctest: +ELLIPSIS
    rust   ready: steepest core ...
    numpy  ready: NumPy ...
    cupy   ...
    """
    for name in BACKENDS:
        try:
            backend = get_backend(name)
        except BackendUnavailableError as error:
            print(f"{name:<6} not available: {error}")  # noqa: T201
        else:
            threads = f", {get_num_threads()} threads" if name == "rust" else ""
            print(f"{name:<6} ready: {backend.describe()}{threads}")  # noqa: T201
