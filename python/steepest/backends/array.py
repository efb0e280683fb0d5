"""The portable backend: the objective and the loop for arrays of any array-API namespace.

With NumPy it is the reference that the fast core is held to.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.least_squares import LeastSquares
from steepest.backends.loop import descend
from steepest.backends.objective import ArrayObjective
from steepest.tables import refuse_gpu
from steepest.validation import to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.problem import Callback, Plan, Problem, Solution, State


class ArrayBackend:
    """The backend on the namespace `xp`, whose arrays NumPy can read."""

    #: Points that are computed before the numbers of the first are read.
    most_ahead = 1

    def __init__(self, name: str, xp: Any) -> None:
        self.name = name
        self.xp = xp

    def describe(self) -> str:
        """Return a line on what this backend runs on."""
        return f"NumPy {np.__version__}: the reference"

    def value_and_gradient(
        self,
        problem: Problem,
        parameters: NDArray[np.float64],
        n_threads: int,  # noqa: ARG002
    ) -> tuple[float, NDArray[np.float64]]:
        """Return F and the flat gradient of its smooth part."""
        objective = self._rows(problem)
        with np.errstate(all="ignore"):
            point = self.xp.asarray(parameters)
            value, gradient = objective.value_and_gradient(point)
            return float(value + objective.rough_value(point)), to_host(gradient)

    def curvature(self, problem: Problem, n_threads: int) -> float:  # noqa: ARG002
        """Return L with 0 ≼ ∇²F ≼ L·I, at zero parameters if the loss has no bound."""
        with np.errstate(all="ignore"):
            objective = self._objective(problem)
            return objective.curvature(self.xp.zeros(problem.n_parameters, dtype=self.xp.float64))

    def minimise(  # noqa: PLR0917
        self,
        problem: Problem,
        validation: Problem | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        """Descend from `start`. Overflow is not warned of: it ends the descent with a status."""
        with np.errstate(all="ignore"):
            objective = self._objective(problem, plan.strategy)
            held_out = None
            if validation is not None:
                held_out = self._rows(validation)
                held_out.same_variables(objective)
            point = state.get("point")
            if point is None or not np.array_equal(to_host(objective.to_original(objective.xp.asarray(point))), start):
                # Other data has other variables: what was remembered in the old ones would mislead.
                point, state = to_host(objective.to_scaled(objective.xp.asarray(start))), {}
            with closing(objective):
                solution = descend(objective, held_out, plan, point, state, callback, self.most_ahead)
            return replace(solution, condition=objective.condition)

    def _objective(self, problem: Problem, strategy: str = "stream") -> ArrayObjective:
        objective = self._moments(problem) if strategy == "gram" else self._rows(problem)
        if problem.precondition:
            objective.standardise()
        return objective

    def _rows(self, problem: Problem) -> ArrayObjective:
        """Return the objective that reads X at every look."""
        return ArrayObjective(problem, self.xp)

    def _moments(self, problem: Problem) -> ArrayObjective:
        """Return the objective that reads X once."""
        return LeastSquares(problem, self.xp)

    def adopt(self, **arrays: Any) -> dict[str, Any]:
        """Return the user's arrays, which must be in main memory."""
        return refuse_gpu(self.name, **arrays)

    def give_back(self, array: NDArray[Any], like: Any) -> Any:  # noqa: ARG002
        """Return the array as it is."""
        return array
