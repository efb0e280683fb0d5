"""The loop of ``src/descend.rs`` for arrays of any namespace: evaluate → finite? → stop? → record → advance."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.line_search import LbfgsSteps, NewtonSteps, evaluate
from steepest.batches import Batches
from steepest.methods import ADAM_RATE, Adam, Lbfgs, Newton, StochasticGradientDescent
from steepest.problem import Callback, Plan, Solution, StepInfo
from steepest.step_sizes import Auto, InverseScaling, Point, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends.objective import ArrayObjective
    from steepest.problem import State

MOST_HALVINGS = 100
#: Epochs after which the step size of "auto" for mini-batches begins to fall.
STEADY_EPOCHS = 10


class FullBatch:
    """A method of first order with the gradient of all rows."""

    stride = 1

    def __init__(self, plan: Plan) -> None:
        auto_adam = isinstance(plan.method, Adam) and isinstance(plan.step_size, Auto)
        self.rule = InverseScaling(ADAM_RATE, 0.5) if auto_adam else plan.step_size.rule()
        self.update = plan.method.update()  # type: ignore[attr-defined]
        self.n_made = 0

    def propose(self, objective: ArrayObjective, here: Point) -> float:
        """Return the size that the next step tries first."""
        return self.rule.propose(objective.xp, self.n_made, here, lambda: objective.curvature(here.parameters))

    def advance(
        self,
        objective: ArrayObjective,
        here: Point,
        size: float,
        most: int,  # noqa: ARG002
    ) -> tuple[Point, float, int] | None:
        """Return the next point, the step size, and one step."""
        xp = objective.xp
        self.update.see(xp, here.gradient)
        for _ in range(MOST_HALVINGS):
            there = evaluate(objective, self.update.target(xp, here.parameters, here.gradient, size, objective.prox))
            rounding = objective.rounding(here.value) + objective.rounding(there.value)
            if self.rule.accepts(xp, Trial(here, there, size, rounding)):
                self.update.commit(here.parameters)
                self.n_made += 1
                return there, size, 1
            # What momentum added may be to blame, not the size.
            if not self.update.rest(xp, here.parameters):
                size *= 0.5
        return None

    def save(self) -> dict[str, Any]:
        """Return what must be remembered to go on."""
        return {"n_made": [self.n_made], **self.update.save(), **self.rule.save()}

    def load(self, state: dict[str, Any], objective: ArrayObjective) -> None:  # noqa: ARG002
        """Go on from what was remembered."""
        self.n_made = int(state.get("n_made", [0])[0])
        self.update.load(state)
        self.rule.load(state)


class MiniBatch:
    """A method of first order with the gradient of a few rows at a time."""

    def __init__(self, plan: Plan, n_samples: int) -> None:
        method: Any = plan.method
        self.update = method.update()
        self.batches = Batches(n_samples, method.batch_size, plan.seed, method.replacement)
        self.n_made = 0
        self.rate: float | None = None
        self.damping = 1 - getattr(method, "momentum", 0.0)
        self.rule = None if isinstance(plan.step_size, Auto) else plan.step_size.rule()
        if self.rule is None and isinstance(method, Adam):
            self.rule = InverseScaling(ADAM_RATE, 0.5)

    @property
    def stride(self) -> int:
        """Steps until the end of the epoch."""
        return self.batches.per_epoch - self.n_made % self.batches.per_epoch

    def propose(self, objective: ArrayObjective, here: Point) -> float:
        """Return the size of the next step: for "auto" rate / √(1 + epochs / 10), safe for the average row."""
        if self.rule is not None:
            return self.rule.propose(objective.xp, self.n_made, here, lambda: math.nan)
        if self.rate is None:
            curvature = objective.row_curvature(here.parameters)
            self.rate = self.damping / curvature if curvature else 1.0
        return self.rate / math.sqrt(1 + self.n_made / (STEADY_EPOCHS * self.batches.per_epoch))

    def advance(self, objective: ArrayObjective, here: Point, size: float, most: int) -> tuple[Point, float, int]:
        """Return the point at the end of the epoch, the size of the first step, and the number of steps."""
        steps, point = min(self.stride, most), here.parameters
        for step in range(steps):
            step_size = size if step == 0 else self.propose(objective, here)
            gradient = objective.batch_gradient(point, self.batches.rows(self.n_made))
            self.update.see(objective.xp, gradient)
            target = self.update.target(objective.xp, point, gradient, step_size, objective.prox)
            self.update.commit(point)
            point = target
            self.n_made += 1
        return evaluate(objective, point), size, steps

    def save(self) -> dict[str, Any]:
        """Return what must be remembered to go on."""
        rate = {} if self.rate is None else {"rate": [self.rate]}
        return {"n_made": [self.n_made], **self.update.save(), **rate}

    def load(self, state: dict[str, Any], objective: ArrayObjective) -> None:  # noqa: ARG002
        """Go on from what was remembered."""
        self.n_made = int(state.get("n_made", [0])[0])
        self.rate = float(state["rate"][0]) if "rate" in state else None
        self.update.load(state)


class LineSearch:
    """A method that searches on lines."""

    stride = 1

    def __init__(self, steps: LbfgsSteps | NewtonSteps) -> None:
        self.steps = steps
        self.save, self.load = steps.save, steps.load

    def propose(self, objective: ArrayObjective, here: Point) -> float:  # noqa: ARG002
        """Return 1, the full step."""
        return 1.0

    def advance(
        self,
        objective: ArrayObjective,
        here: Point,
        size: float,  # noqa: ARG002
        most: int,  # noqa: ARG002
    ) -> tuple[Point, float, int] | None:
        """Return the next point, the step size, and one step."""
        found = self.steps.advance(objective, here)
        return None if found is None else (*found, 1)


def driver(plan: Plan, n_samples: int) -> FullBatch | MiniBatch | LineSearch:
    """Return what makes the steps of a plan."""
    method = plan.method
    if isinstance(method, Lbfgs):
        return LineSearch(LbfgsSteps(method.memory))
    if isinstance(method, Newton):
        return LineSearch(NewtonSteps())
    if isinstance(method, StochasticGradientDescent) or (isinstance(method, Adam) and method.batch_size):
        return MiniBatch(plan, n_samples)
    return FullBatch(plan)


class Best:
    """The best point by its validation loss, and how many in a row were not."""

    def __init__(self) -> None:
        self.info: StepInfo | None = None
        self.parameters: Any = None
        self.n_worse = 0

    def see(self, info: StepInfo, parameters: Any) -> int:
        """Keep the point if it is the best so far; return how many in a row were not."""
        if self.info is not None and info.validation_loss >= self.info.validation_loss:
            self.n_worse += 1
        else:
            self.info, self.parameters, self.n_worse = info, parameters, 0
        return self.n_worse


def descend(  # noqa: PLR0917
    objective: ArrayObjective,
    validation: ArrayObjective | None,
    plan: Plan,
    start: NDArray[np.float64],
    state: State,
    callback: Callback | None,
) -> Solution:
    """Minimise `objective` from `start`, in its own variables. The loss of `validation` decides when to stop early."""
    xp, began = objective.xp, time.perf_counter()
    steps = driver(plan, objective.n_samples)
    steps.load({name: xp.asarray(values) for name, values in state.items()}, objective)
    objective.keeps_lines = isinstance(steps, LineSearch)
    reference = None
    if plan.tol > 0 and start.any():
        zero = evaluate(objective, xp.zeros(len(start), dtype=xp.float64))
        reference = objective.optimality(zero.parameters, zero.gradient)
    here = evaluate(objective, xp.asarray(start))
    history: list[StepInfo] = []
    best, step = Best(), 0
    while True:
        norm = objective.optimality(here.parameters, here.gradient)
        info = StepInfo(step, here.loss, norm, 0.0, time.perf_counter() - began)
        reference = norm if reference is None else reference
        status = _status(plan, info, reference)
        if validation is not None and status != "diverged":
            info = info._replace(validation_loss=validation.value_and_gradient(here.parameters)[0])
            worse = best.see(info, here.parameters)
            status = status or ("early_stopped" if worse >= plan.patience else None)
        status = status or _limit(plan, info)
        if status is not None:
            break
        info = info._replace(step_size=steps.propose(objective, here))
        if callback is not None and callback(info):
            status = "stopped"
            break
        made = steps.advance(objective, here, info.step_size, plan.n_steps - step)
        if made is None:
            status = "stalled"
            break
        here = made[0]
        history.append(info._replace(step_size=made[1]))
        step += made[2]
    point, memory = here.parameters, steps.save()
    if best.info is not None and bool(xp.any(best.parameters != point)):
        # What the method remembers belongs to the last point: from another one it begins afresh.
        info, point, memory = best.info, best.parameters, {}
        # What the last point reached, the best one did not.
        status = "early_stopped" if status in {"converged", "target_loss"} else status
    remembered = {name: np.array(values, dtype=np.float64) for name, values in {**memory, "point": point}.items()}
    return Solution(
        np.asarray(objective.to_original(point)),
        info.loss,
        info.gradient_norm,
        info.validation_loss,
        step,
        status,
        _columns(history),
        remembered,
    )


def _status(plan: Plan, info: StepInfo, reference: float) -> str | None:
    if not (math.isfinite(info.loss) and math.isfinite(info.gradient_norm)):
        return "diverged"
    if plan.tol > 0 and info.gradient_norm <= plan.tol * reference:
        return "converged"
    if plan.target_loss is not None and info.loss <= plan.target_loss:
        return "target_loss"
    return None


def _limit(plan: Plan, info: StepInfo) -> str | None:
    if info.step >= plan.n_steps:
        return "max_steps"
    if plan.max_seconds is not None and info.seconds >= plan.max_seconds:
        return "max_seconds"
    return None


def _columns(history: list[StepInfo]) -> dict[str, NDArray[Any]]:
    table = np.array([info[1:] for info in history], dtype=np.float64).reshape(-1, len(StepInfo._fields) - 1)
    columns: dict[str, NDArray[Any]] = {name: table[:, i].copy() for i, name in enumerate(StepInfo._fields[1:])}
    columns["step"] = np.array([info.step for info in history], dtype=np.int64)
    return columns
