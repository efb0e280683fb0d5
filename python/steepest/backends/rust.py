"""The fast core: one call into Rust a fit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from steepest import _steepest
from steepest.problem import Callback, Plan, Problem, Solution, StepInfo
from steepest.tables import refuse_gpu

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from steepest.problem import State


class RustBackend:
    """The compiled core, on the cores of this machine."""

    name = "rust"

    def describe(self) -> str:
        """Return a line on what this backend runs on."""
        asked = ", as STEEPEST_ISA asks" if os.environ.get("STEEPEST_ISA") else ""
        return f"steepest core {_steepest.__version__}, {_steepest.instruction_set()}{asked}"

    def value_and_gradient(
        self, problem: Problem, parameters: NDArray[np.float64], n_threads: int
    ) -> tuple[float, NDArray[np.float64]]:
        """Return F and the flat gradient of its smooth part."""
        return _steepest.value_and_gradient(problem, parameters, n_threads)

    def curvature(self, problem: Problem, n_threads: int) -> float:
        """Return L with 0 ≼ ∇²F ≼ L·I, at zero parameters if the loss has no bound."""
        return _steepest.curvature(problem, n_threads)

    def minimise(  # noqa: PLR0917
        self,
        problem: Problem,
        validation: Problem | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        """Descend from `start`. Ctrl-C is answered within a pass; the callback runs on this thread."""
        watch = None if callback is None else lambda *fields: callback(StepInfo(*fields))
        return Solution(**_steepest.minimise(problem, validation, plan, start, state, watch))

    def adopt(self, **arrays: Any) -> dict[str, Any]:
        """Return the user's arrays, which must be in main memory."""
        return refuse_gpu(self.name, **arrays)

    def give_back(self, array: NDArray[Any], like: Any) -> Any:  # noqa: ARG002
        """Return the array as it is."""
        return array
