"""How a descent ended, said aloud: errors and warnings with the cure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steepest.design import Csr, check_finite
from steepest.errors import ConvergenceWarning, DivergenceError, IllConditionedWarning
from steepest.methods import MINI_BATCH, GradientDescent
from steepest.problem import FINGERPRINT_ROWS, STATUSES, Plan
from steepest.step_sizes import SCHEDULES, Auto, Constant
from steepest.survey import BlockedProblem
from steepest.validation import to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends import Backend
    from steepest.problem import Problem, Solution

#: What passes on a message and the kind of warning that it is.
Warn = Callable[[str, type[Warning]], None]
#: Frames between the warning and the line of whoever called `descend`.
STACK_LEVEL = 5
#: Condition numbers of the normal equations from which on fewer than half the digits of a double are safe.
ILL_CONDITIONED = 1e14
#: The steps of "auto" may rise on the way; where the slope grows so many times, they led away from any optimum.
LED_AWAY = 10.0
#: Units of rounding below which a deviation beside its mean is not told from zero, as backends have it.
NEGLIGIBLE = 512.0
#: Share of the gradient at zero coefficients, columns on one scale, that may be left where `tol` was reached on others.
#: Of what there is to gain on the loss, its square is left, times at most the condition number of the correlations.
MOST_LEFT = 1e-2
#: How many times `tol` may be missed by on one scale where it was reached on others.
MISSED = 10.0
#: How many times the gradient at zero may be that at zero coefficients: targets far from zero are the intercept's.
OF_INTERCEPT = 100.0
#: Cells of the few rows that show what columns are like, and the least rows, however wide they are.
MOST_CELLS, LEAST_ROWS = 1 << 19, 8
ENDED_SHORT = ("max_steps", "max_seconds", "stalled")


def warn_caller(message: str, kind: type[Warning]) -> None:
    """Warn whoever called `descend`."""
    warnings.warn(message, kind, stacklevel=STACK_LEVEL)


def check_outcome(engine: Backend, problem: Problem, plan: Plan, solution: Solution, warn: Warn) -> None:
    """Raise or warn where the descent did not end as its caller must expect."""
    if solution.status == "diverged":
        # A cell that is not finite ends the first pass this way, so no pass of its own need look for it.
        check_finite(problem.design, problem.feature_names)
        raise _divergence(engine, problem, plan, solution)
    losses = solution.history["loss"]
    automatic = isinstance(plan.step_size, Auto)
    none_made = automatic and solution.status == "stalled" and not len(losses)
    if none_made and not 0 < _safe_step_size(engine, problem, plan) < np.inf:
        raise _no_safe_step(problem, 0, 0.0)
    if len(losses) and automatic and solution.history["step_size"][-1] == 0:
        raise _divergence(engine, problem, plan, solution)
    if problem.precondition:
        ill_scaled = _taken_for_constant(problem)
    else:
        ill_scaled = _left_out(engine, problem, plan, solution) if solution.status == "converged" else None
    if ill_scaled is not None:
        warn(ill_scaled, IllConditionedWarning)
    literal = isinstance(plan.step_size, SCHEDULES) and solution.status != "early_stopped"
    risen = len(losses) > 0 and solution.loss > losses[0] + _rounding(problem, losses[0])
    if literal and risen:
        warn(_risen(engine, problem, plan, solution), ConvergenceWarning)
    elif automatic and risen and solution.gradient_norm > LED_AWAY * solution.history["gradient_norm"][0]:
        warn(_led_away(problem, solution), ConvergenceWarning)
    elif plan.method.name == "newton" and (solution.condition or 0.0) > ILL_CONDITIONED:
        warn(_ill_conditioned(solution.condition or np.inf), IllConditionedWarning)
    elif plan.tol > 0 and solution.status in ENDED_SHORT:
        warn(_not_converged(problem, plan, solution), ConvergenceWarning)


def _risen(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> str:
    before, size = solution.history["loss"][0], float(solution.history["step_size"].max())
    rise = f"the loss rose from {before:.6g} to {solution.loss:.6g}: a step size of {size:.6g} is too large"
    if plan.method.name in MINI_BATCH:
        return f"{rise} for so few steps of {plan.method.name!r}; pass a smaller learning_rate, or raise n_steps"
    safe = _safe_step_size(engine, problem, plan)
    return f"{rise} here; the largest safe one is {safe:.6g} (learning_rate='auto')"


def _led_away(problem: Problem, solution: Solution) -> str:
    cures = ["pass a smaller learning_rate", "a method that tests its steps, such as 'nesterov'"]
    if not problem.precondition:
        cures.insert(0, "pass precondition=True or bring the columns of X to a similar scale")
    return f"the loss rose from {solution.history['loss'][0]:.6g} to {solution.loss:.6g}; {', or '.join(cures)}"


class _Columns(NamedTuple):
    """Columns of X as a few rows show them: the others differ from these by no more than these among themselves."""

    numbers: NDArray[np.intp]
    """Which ones: of a sparse X, those that have entries in these rows."""
    mean: NDArray[np.float64]
    """Zero without an intercept."""
    deviation: NDArray[np.float64]
    """From the mean."""
    varies: NDArray[np.bool_]

    @classmethod
    def of(cls, problem: Problem) -> _Columns:
        """Return those of rows in blocks, which have been surveyed, or of a few rows."""
        if isinstance(problem, BlockedProblem):
            mean, deviation = problem.survey.mean, np.sqrt(problem.survey.squares / problem.survey.weight)
            if not problem.fit_intercept:
                mean, deviation = np.zeros_like(mean), np.hypot(deviation, mean)
            varies = deviation > NEGLIGIBLE * np.finfo(problem.dtype).eps * np.abs(mean)
            return cls(np.arange(len(mean)), mean, deviation, varies)
        rows, numbers = _few_rows(problem)
        mean = rows.mean(axis=0) if problem.fit_intercept else np.zeros(rows.shape[1])
        # Scaled, because squares may leave the range of numbers.
        largest = np.abs(rows - mean).max(axis=0, initial=0.0)
        scale = np.where(largest > 0, largest, 1.0)
        deviation = scale * np.sqrt(np.mean(((rows - mean) / scale) ** 2, axis=0))
        return cls(numbers, mean, deviation, np.ptp(rows, axis=0) > 0 if problem.fit_intercept else largest > 0)


def _few_rows(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return some rows, spread over all, and the numbers of their columns."""
    design = problem.design
    n_rows = min(FINGERPRINT_ROWS, max(LEAST_ROWS, MOST_CELLS // design.shape[1]))
    step = -(-problem.n_samples // n_rows) or 1
    if not isinstance(design, Csr):
        return np.asarray(to_host(design[::step]), dtype=np.float64), np.arange(design.shape[1])
    starts, ends = to_host(design.indptr[:-1][::step]), to_host(design.indptr[1:][::step])
    spans = [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    data, indices = (np.concatenate([to_host(part[span]) for span in spans]) for part in (design.data, design.indices))
    indptr = np.append(0, np.cumsum(ends - starts)).astype(indices.dtype)
    numbers = np.unique(indices)
    rows = Csr(data, indices, indptr, (len(spans), design.shape[1])).to_scipy()
    return rows[:, numbers].toarray().astype(np.float64), numbers


def _left_out(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> str | None:
    """Return what to say where `tol` was reached without columns that are small, or far from zero, beside others.

    Most X are told from such by a few rows, and not read again: how far the gradient may be from that of columns of
    mean zero and deviation one.
    """
    with np.errstate(all="ignore"):
        columns = _Columns.of(problem)
        size, of_intercept = np.abs(columns.mean), float(problem.fit_intercept)
        forth = np.max(((1 + size) / _with_penalty(problem, columns))[columns.varies], initial=of_intercept)
        back = np.max(columns.deviation + size, initial=of_intercept)
        if plan.tol * forth * back <= max(MISSED * plan.tol, MOST_LEFT / OF_INTERCEPT):
            return None
        return _taken_for_constant(problem, columns) or _gradient_left(engine, problem, plan, solution, columns)


def _gradient_left(engine: Backend, problem: Problem, plan: Plan, solution: Solution, columns: _Columns) -> str | None:
    """Return what to say of the gradient that preconditioning makes.

    It is held to that at zero coefficients and the intercept that goes with them: at zero it may all be the
    intercept's.
    """
    on_one_scale = replace(problem, precondition=True)
    # Rows that are here cost less than their products; blocks may be gone.
    strategy = plan.strategy if isinstance(problem, BlockedProblem) else "stream"
    look = Plan(GradientDescent(), Constant(1.0), 0, MISSED * plan.tol, plan.n_threads, strategy)
    here = engine.minimise(on_one_scale, None, look, solution.parameters, {}, None)
    if here.status == "converged":
        return None
    if here.status == "diverged":
        return (
            f"tol was reached, but X is too near the end of the range of {problem.dtype} to tell what is left to gain; "
            "bring its columns to a scale near 1"
        )
    without, n_coef = np.zeros_like(solution.parameters), problem.n_coef
    if problem.fit_intercept:
        coef = solution.parameters[:n_coef].reshape(problem.loss.width, -1)
        without[n_coef:] = solution.parameters[n_coef:] + coef[:, columns.numbers] @ columns.mean
    at_zero = engine.minimise(on_one_scale, None, replace(look, tol=0.0), without, {}, None)
    if not here.gradient_norm > MOST_LEFT * at_zero.gradient_norm:
        return None
    return (
        "tol was reached by the intercept, or some columns of X, without the others: where all have mean zero and "
        f"deviation one, the gradient norm is still {here.gradient_norm / at_zero.gradient_norm:.2g} times that at "
        "zero coefficients; pass precondition=True or bring the columns of X to a similar scale"
    )


def _with_penalty(problem: Problem, columns: _Columns) -> NDArray[np.float64]:
    """Return the deviations that preconditioning makes one."""
    return np.asarray(np.hypot(columns.deviation, np.sqrt(problem.penalty.l2 / (problem.loss.curvature or 1.0))))


def _taken_for_constant(problem: Problem, columns: _Columns | None = None) -> str | None:
    """Return what to say of a column that varies by less than preconditioning can tell from rounding, if one does.

    Not of sparse columns, nor of rows in blocks.
    """
    if isinstance(problem.design, Csr) or isinstance(problem, BlockedProblem):
        return None
    with np.errstate(all="ignore"):
        columns = columns or _Columns.of(problem)
        with_penalty = _with_penalty(problem, columns)
    mean, deviation = columns.mean, columns.deviation
    small = with_penalty <= NEGLIGIBLE * np.finfo(problem.dtype).eps * np.abs(mean)
    swallowed = np.flatnonzero(columns.varies & (small | (with_penalty < np.finfo(np.float64).tiny)))
    if not len(swallowed):
        return None
    j = int(swallowed[0])
    what = f"{j}" if problem.feature_names is None else repr(problem.feature_names[j])
    cure = (
        f"beside its mean of {mean[j]:.3g} it varies by {deviation[j]:.3g}, which {problem.dtype} cannot tell from "
        "rounding; subtract its mean"
        if small[j]
        else f"it varies by {deviation[j]:.3g}; bring it to a scale near 1"
    )
    return f"column {what} of X is taken for a constant: {cure}"


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


def _ill_conditioned(condition: float) -> str:
    found = (
        "the columns of X do not determine the coefficients: other ones fit as well"
        if condition == np.inf
        else f"the columns of X all but determine each other: the condition number is {np.sqrt(condition):.1g}"
    )
    return f"{found}; drop the columns that others repeat, or pass an alpha > 0"


def _rounding(problem: Problem, loss: float) -> float:
    """Return how far rounding alone may lift the loss: sums over a block in the type of X."""
    return float(64 * np.finfo(problem.dtype).eps * abs(loss))


def _divergence(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> DivergenceError:
    sizes = solution.history["step_size"]
    step, size = solution.n_steps, float(sizes[-1]) if len(sizes) else 0.0
    dtype = problem.dtype
    if step == 0:
        return DivergenceError(
            f"the loss at the start is beyond the range of {dtype}; bring start, X and y to a smaller scale",
            step=0,
            step_size=0.0,
            safe_step_size=0.0,
        )
    safe = _safe_step_size(engine, problem, plan)
    if not 0 < safe < np.inf:
        return _no_safe_step(problem, step, size)
    if isinstance(plan.step_size, Auto):
        return DivergenceError(
            f"the loss left the finite numbers after step {step} with step size {size:.6g}, which seemed safe at the "
            f"start; pass a smaller learning_rate, or a method that tests its steps, such as 'nesterov'",
            step=step,
            step_size=size,
            safe_step_size=safe,
        )
    return DivergenceError(
        f"the loss left the finite numbers after step {step} with step size {size:.6g}; "
        f"the largest safe step size is {safe:.6g} (learning_rate='auto' takes it)",
        step=step,
        step_size=size,
        safe_step_size=safe,
    )


def _no_safe_step(problem: Problem, step: int, size: float) -> DivergenceError:
    return DivergenceError(
        f"no step size is safe: the curvature of the objective is beyond the range of {problem.dtype}; "
        "bring the columns of X to a scale near 1",
        step=step,
        step_size=size,
        safe_step_size=0.0,
    )


def _safe_step_size(engine: Backend, problem: Problem, plan: Plan) -> float:
    """Return the size that learning_rate='auto' begins with: the method's own, where curvature is not what counts."""
    if plan.method.name in {"adam", "sgd"}:
        start = np.zeros(problem.n_parameters)
        one = replace(plan, step_size=Auto(), n_steps=1, tol=0.0, max_seconds=None, target_loss=None)
        sizes = engine.minimise(problem, None, one, start, {}, None).history["step_size"]
        return float(sizes[0]) if len(sizes) else 0.0
    curvature = engine.curvature(problem, plan.n_threads)
    with np.errstate(all="ignore"):
        return float(1 / np.float64(curvature))
