"""The portable backend: the objective and the loop for arrays of any array-API namespace.

With NumPy it is the reference that the fast core is held to. Products run in the dtype of X within a block of rows,
sums over blocks in float64, parameters are float64: as in the fast core.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.spectrum import largest_eigenvalue
from steepest.methods import METHODS, step_size_rule
from steepest.problem import Callback, Plan, Problem, Solution, StepInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BLOCK_ROWS = 1 << 13


class ArrayObjective:
    """F and its gradient, on arrays of the namespace `xp`."""

    def __init__(self, problem: Problem, xp: Any) -> None:
        self.xp = xp
        self.loss = problem.loss
        self.penalty = problem.penalty
        self.fit_intercept = problem.fit_intercept
        self.n_coef = problem.n_coef
        self.design = xp.asarray(problem.design)
        self.targets = xp.asarray(problem.targets)
        self.weights = None
        self.total_weight = float(len(problem.design))
        if problem.sample_weight is not None:
            self.weights = xp.asarray(problem.sample_weight)
            self.total_weight = float(problem.sample_weight.sum(dtype=np.float64))

    def value_and_gradient(self, parameters: Any) -> tuple[float, Any]:
        """Return F and ∇F at flat float64 `parameters`."""
        xp, width = self.xp, self.loss.width
        value = 0.0

        def residual(rows: slice, scores: Any) -> Any:
            nonlocal value
            flat = scores if width > 1 else scores[:, 0]
            losses, slopes = self.loss.value_and_residual(xp, self.targets[rows], flat)
            if self.weights is not None:
                weights = self.weights[rows]
                losses, slopes = (
                    losses * weights,
                    (slopes.T * weights).T if width > 1 else slopes * weights,
                )
            value += float(xp.sum(xp.astype(losses, xp.float64)))
            return xp.reshape(slopes, scores.shape)

        gradient = self._pass(parameters, width, residual)
        coef = parameters[: self.n_coef]
        penalty, slope = self.penalty.value_and_gradient(xp, coef)
        intercept = gradient[self.n_coef :]
        gradient = xp.concat([gradient[: self.n_coef] + slope, intercept])
        return value / self.total_weight + float(penalty), gradient

    def curvature(self) -> float:
        """Return L with 0 ≼ ∇²F ≼ L·I: ℓ's own bound times the largest eigenvalue of the second moment of the rows."""
        dimension = self.design.shape[1] + self.fit_intercept

        def weighted(rows: slice, scores: Any) -> Any:
            return scores if self.weights is None else scores * self.weights[rows][:, None]

        moment = largest_eigenvalue(self.xp, dimension, lambda v: self._pass(v, 1, weighted))
        return self.loss.curvature * moment + self.penalty.curvature

    def _pass(self, parameters: Any, width: int, rule: Callable[[slice, Any], Any]) -> Any:
        """Return Σ X̃ᵀ rule(X̃ W) / Σ s over blocks of rows; X̃ has a last column of ones if there is an intercept."""
        xp, dtype = self.xp, self.design.dtype
        n_coef = width * self.design.shape[1]
        coef = xp.astype(xp.reshape(parameters[:n_coef], (width, -1)), dtype)
        intercept = xp.astype(parameters[n_coef:], dtype)
        coef_gradient = xp.zeros(coef.shape, dtype=xp.float64)
        intercept_gradient = xp.zeros(width, dtype=xp.float64)
        for rows in self._blocks():
            block = self.design[rows, :]
            scores = block @ coef.T
            if self.fit_intercept:
                scores = scores + intercept
            residual = rule(rows, scores)
            coef_gradient = coef_gradient + xp.astype(residual.T @ block, xp.float64)
            intercept_gradient = intercept_gradient + xp.sum(xp.astype(residual, xp.float64), axis=0)
        parts = [xp.reshape(coef_gradient, (-1,))]
        if self.fit_intercept:
            parts.append(intercept_gradient)
        return xp.concat(parts) / self.total_weight

    def _blocks(self) -> Iterator[slice]:
        n = self.design.shape[0]
        for start in range(0, n, BLOCK_ROWS):
            yield slice(start, min(start + BLOCK_ROWS, n))


def descend(objective: ArrayObjective, plan: Plan, start: NDArray[np.float64], callback: Callback | None) -> Solution:
    """Minimise `objective`: the loop of ``src/descend.rs``, gradient → finite? → stop? → record → advance."""
    xp = objective.xp
    method = METHODS[plan.method]()
    step_size = step_size_rule(plan.learning_rate, objective.curvature)
    point = xp.asarray(start)
    history: list[StepInfo] = []
    started = time.perf_counter()
    reference = plan.reference
    status = None
    while True:
        loss, gradient = objective.value_and_gradient(point)
        gradient_norm = float(xp.sum(gradient * gradient)) ** 0.5
        step = len(history)
        if reference is None:
            reference = gradient_norm
        if not (np.isfinite(loss) and np.isfinite(gradient_norm)):
            status = "diverged"
        elif plan.tol > 0 and gradient_norm <= plan.tol * reference:
            status = "converged"
        elif step == plan.n_steps:
            status = "max_steps"
        else:
            seconds = time.perf_counter() - started
            info = StepInfo(step, loss, gradient_norm, step_size(), seconds)
            if callback is not None and callback(info):
                status = "stopped"
        if status is not None:
            return Solution(np.asarray(point), loss, gradient_norm, status, _columns(history))
        history.append(info)
        point = method.advance(point, gradient, info.step_size)


def _columns(history: list[StepInfo]) -> dict[str, NDArray[np.float64]]:
    names = StepInfo._fields[1:]
    table = np.array([info[1:] for info in history], dtype=np.float64).reshape(-1, len(names))
    return {name: table[:, i].copy() for i, name in enumerate(names)}


class ArrayBackend:
    """The backend on the namespace `xp`, whose arrays NumPy can read."""

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
        """Return F and its flat gradient."""
        objective = ArrayObjective(problem, self.xp)
        with np.errstate(all="ignore"):
            value, gradient = objective.value_and_gradient(self.xp.asarray(parameters))
        return value, np.asarray(gradient)

    def curvature(self, problem: Problem, n_threads: int) -> float:  # noqa: ARG002
        """Return L with 0 ≼ ∇²F ≼ L·I."""
        with np.errstate(all="ignore"):
            return ArrayObjective(problem, self.xp).curvature()

    def minimise(
        self,
        problem: Problem,
        plan: Plan,
        start: NDArray[np.float64],
        callback: Callback | None,
    ) -> Solution:
        """Descend from `start`. Overflow is not warned of: it ends the descent with a status."""
        with np.errstate(all="ignore"):
            return descend(ArrayObjective(problem, self.xp), plan, start, callback)
