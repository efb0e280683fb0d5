"""How a descent ended, said aloud: errors and warnings with the cure."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from steepest.design import check_finite
from steepest.errors import ConvergenceWarning, DivergenceError
from steepest.problem import STATUSES
from steepest.step_sizes import Auto

if TYPE_CHECKING:
    from steepest.backends import Backend
    from steepest.problem import Plan, Problem, Solution

#: Frames between the warning and the user's line.
STACK_LEVEL = 3
ENDED_SHORT = ("max_steps", "max_seconds", "stalled")


def check_outcome(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> None:
    """Raise or warn where the descent did not end as its caller must expect."""
    if solution.status == "diverged":
        # A cell that is not finite ends the first pass this way, so no pass of its own need look for it.
        check_finite(problem.design)
        raise _divergence(engine, problem, plan, solution)
    losses = solution.history["loss"]
    if len(losses) and isinstance(plan.step_size, Auto) and solution.history["step_size"][-1] == 0:
        raise _divergence(engine, problem, plan, solution)
    if len(losses) and solution.status != "early_stopped" and solution.loss > losses[0] + _rounding(problem, losses[0]):
        size = solution.history["step_size"][-1]
        warnings.warn(
            f"the loss rose from {losses[0]:.6g} to {solution.loss:.6g}: a step size of {size:.6g} is too large "
            f"here; the largest safe one is {_safe_step_size(engine, problem, plan):.6g} (learning_rate='auto')",
            ConvergenceWarning,
            stacklevel=STACK_LEVEL,
        )
    elif plan.tol > 0 and solution.status in ENDED_SHORT:
        warnings.warn(_not_converged(problem, plan, solution), ConvergenceWarning, stacklevel=STACK_LEVEL)


def _not_converged(problem: Problem, plan: Plan, solution: Solution) -> str:
    cures = ["raise n_steps"] if solution.status == "max_steps" else []
    if solution.status == "max_seconds":
        cures = ["raise max_seconds"]
    if solution.status != "stalled":
        if plan.method.name in {"gd", "momentum", "adam", "sgd"}:
            cures.append("pass method='auto'")
        if not problem.precondition:
            cures.append("pass precondition=True or bring the columns of X to a similar scale")
    separable = problem.penalty.l1 == problem.penalty.l2 == 0 and problem.classes is not None
    if separable:
        cures.append("pass an alpha > 0, without which separable classes have no optimum")
    cures.append("accept a larger tol")
    return (
        f"not converged after {solution.n_steps} steps: {STATUSES[solution.status]}; the gradient norm is "
        f"{solution.gradient_norm:.3g} and tol asks for {plan.tol:g} of that at zero; {', or '.join(cures)}"
    )


def _rounding(problem: Problem, loss: float) -> float:
    """Return how far rounding alone may lift the loss: sums over a block in the type of X."""
    return float(64 * np.finfo(problem.design.dtype).eps * abs(loss))


def _divergence(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> DivergenceError:
    sizes = solution.history["step_size"]
    step, size = len(sizes), float(sizes[-1]) if len(sizes) else 0.0
    dtype = problem.design.dtype
    if step == 0:
        return DivergenceError(
            f"the loss at the start is beyond the range of {dtype}; bring start, X and y to a smaller scale",
            step=0,
            step_size=0.0,
            safe_step_size=0.0,
        )
    safe = _safe_step_size(engine, problem, plan)
    if not 0 < safe < np.inf:
        return DivergenceError(
            f"no step size is safe: the curvature of the objective is beyond the range of {dtype}; "
            "bring the columns of X to a scale near 1",
            step=step,
            step_size=size,
            safe_step_size=0.0,
        )
    return DivergenceError(
        f"the loss left the finite numbers after step {step} with step size {size:.6g}; "
        f"the largest safe step size is {safe:.6g} (learning_rate='auto' takes it)",
        step=step,
        step_size=size,
        safe_step_size=safe,
    )


def _safe_step_size(engine: Backend, problem: Problem, plan: Plan) -> float:
    curvature = engine.curvature(problem, plan.n_threads)
    with np.errstate(all="ignore"):
        return float(1 / np.float64(curvature))
