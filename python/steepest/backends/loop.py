"""The loop of ``src/descend.rs`` for arrays of any namespace: evaluate → finite? → stop? → record → advance.

Where to read a number is to wait for it, on a GPU, several steps are made before the numbers of any are read, all at
once. They are then looked at one by one, and what was made beyond the step that should have been the last is dropped:
the result is that of looking after every step.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.backends.coordinate import CoordinateSteps
from steepest.backends.line_search import LbfgsSteps, NewtonSteps, evaluate
from steepest.methods import Adam, CoordinateDescent, Lbfgs, Newton, StochasticGradientDescent
from steepest.problem import BEST, OF_BEST, Callback, Plan, Solution, StepInfo
from steepest.step_sizes import SCHEDULES, Auto, InverseScaling, Point, Trial
from steepest.validation import to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends.objective import ArrayObjective
    from steepest.problem import State

MOST_HALVINGS = 100
#: Adam divides by the size of the gradient, so curvature says nothing about its steps.
ADAM_RATE = 0.1
#: Epochs after which the step size of "auto" for mini-batches begins to fall.
STEADY_EPOCHS = 10
#: Seconds that several steps may take before anybody looks: Ctrl-C is answered only then.
MOST_SECONDS_AHEAD = 0.1


class FullBatch:
    """A method of first order with the gradient of all rows."""

    stride = 1
    is_blind: bool
    """Whether steps are made without a look at a number that they led to."""

    def __init__(self, plan: Plan) -> None:
        auto_adam = isinstance(plan.method, Adam) and isinstance(plan.step_size, Auto)
        self.rule = InverseScaling(ADAM_RATE, 0.5) if auto_adam else plan.step_size.rule()
        self.is_blind = auto_adam or isinstance(plan.step_size, SCHEDULES)
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
            trial = Trial(here, there, size, partial(_rounding_between, objective, here, there))
            if self.rule.accepts(xp, trial):
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


def _rounding_between(objective: ArrayObjective, here: Point, there: Point) -> Any:
    return objective.rounding(here.value) + objective.rounding(there.value)


class MiniBatch:
    """A method of first order with the gradient of a few rows at a time."""

    is_blind = True

    def __init__(self, plan: Plan, objective: ArrayObjective) -> None:
        method: Any = plan.method
        self.update = method.update()
        self.batches = objective.batches(method, plan.seed)
        self.n_made = 0
        self.rate: float | None = None
        self.damping = 1 - getattr(method, "momentum", 0.0)
        self.rule = None if isinstance(plan.step_size, Auto) else plan.step_size.rule()
        if self.rule is None and isinstance(method, Adam):
            self.rule = InverseScaling(ADAM_RATE, 0.5)

    @property
    def stride(self) -> int:
        """Steps until the end of the epoch."""
        return int(self.batches.per_epoch - self.n_made % self.batches.per_epoch)

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
    is_blind = False

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


def driver(plan: Plan, objective: ArrayObjective) -> FullBatch | MiniBatch | LineSearch | CoordinateSteps:
    """Return what makes the steps of a plan."""
    method = plan.method
    if isinstance(method, Lbfgs):
        return LineSearch(LbfgsSteps(method.memory))
    if isinstance(method, Newton):
        return LineSearch(NewtonSteps())
    if isinstance(method, CoordinateDescent):
        return CoordinateSteps()
    if isinstance(method, StochasticGradientDescent) or (isinstance(method, Adam) and method.batch_size):
        return MiniBatch(plan, objective)
    return FullBatch(plan)


class Best:
    """The best point by its validation loss, and how many in a row were not; from the `state` of a former descent."""

    def __init__(self, xp: Any, state: State) -> None:
        self.parameters = xp.asarray(state[BEST]) if BEST in state else None
        self.numbers, self.n_worse = [math.nan] * 3, 0
        if BEST in state:
            *self.numbers, n_worse = state[OF_BEST].tolist()
            self.n_worse = int(n_worse)

    def see(self, info: StepInfo, parameters: Any) -> int:
        """Keep the point if it is the best so far; return how many in a row were not."""
        if self.parameters is not None and info.step == 0:
            # A former descent ended here, and has counted this point.
            return self.n_worse
        if self.parameters is not None and info.validation_loss >= self.numbers[2]:
            self.n_worse += 1
        else:
            self.parameters, self.n_worse = parameters, 0
            self.numbers = [info.loss, info.gradient_norm, info.validation_loss]
        return self.n_worse

    def save(self) -> dict[str, Any]:
        """Return what must be remembered to go on."""
        return {} if self.parameters is None else {BEST: self.parameters, OF_BEST: [*self.numbers, self.n_worse]}


class Mark(NamedTuple):
    """A point on the way, whose numbers nobody has read yet."""

    step: int
    here: Point
    norm: Any
    validation_loss: Any
    step_size: float = math.nan
    """Of the step that was made from here, if one was."""
    memory: dict[str, Any] | None = None
    """What the method must remember to go on from here, if it has gone on."""


class Way:
    """The steps of a descent, several of them made before any number is read where that is safe."""

    def __init__(self, objective: ArrayObjective, validation: ArrayObjective | None, plan: Plan) -> None:
        self.objective, self.validation, self.plan = objective, validation, plan
        self.steps = driver(plan, objective)
        self.step = 0

    def mark(self, here: Point) -> Mark:
        """Return what is to be known of a point."""
        loss, held_out = math.nan, self.validation
        if held_out is not None:
            loss = held_out.value_and_gradient(held_out.xp.asarray(here.parameters))[0]
        return Mark(self.step, here, self.objective.optimality(here.parameters, here.gradient), loss)

    def advance(self, here: Point, size: float) -> tuple[Point, float] | None:
        """Make a step that tries `size` first: where it leads and its size; None if it leads nowhere better."""
        made = self.steps.advance(self.objective, here, size, self.plan.n_steps - self.step)
        if made is None:
            return None
        self.step += made[2]
        return made[:2]

    def walk(self, here: Point, most: int) -> list[Mark]:
        """Return `here` and the points after it: `most` in all, or as many as there are steps to make."""
        marks: list[Mark] = []
        while True:
            mark = self.mark(here)
            if len(marks) + 1 == most or self.step >= self.plan.n_steps:
                return [*marks, mark]
            memory, size = self.steps.save(), self.steps.propose(self.objective, here)
            made = self.advance(here, size)
            if made is None:
                return [*marks, mark]
            marks.append(mark._replace(step_size=made[1], memory=memory))
            here = made[0]

    def read(self, marks: list[Mark]) -> list[list[float]]:
        """Return loss, gradient norm and validation loss of each point, all in one reading."""
        xp, columns = self.objective.xp, 2 if self.validation is None else 3
        numbers = [number for mark in marks for number in (mark.here.loss, mark.norm, mark.validation_loss)[:columns]]
        table = np.full((len(marks), 3), np.nan)
        read = to_host(xp.stack([xp.asarray(number, dtype=xp.float64) for number in numbers]))
        table[:, :columns] = read.reshape(len(marks), columns)
        rows: list[list[float]] = table.tolist()
        return rows


class Judge:
    """Whether a point is the last, and what is known of it then."""

    def __init__(self, plan: Plan, reference: float | None, best: Best) -> None:
        self.plan, self.reference, self.best = plan, reference, best
        self.began = time.perf_counter()

    def see(self, mark: Mark, numbers: list[float], *, validated: bool) -> tuple[StepInfo, str | None]:
        """Return what is known of the next point, and the status if the descent ends there."""
        loss, norm, validation_loss = numbers
        info = StepInfo(mark.step, loss, norm, 0.0, time.perf_counter() - self.began)
        self.reference = norm if self.reference is None else self.reference
        status = _status(self.plan, info, self.reference)
        if validated and status != "diverged":
            info = info._replace(validation_loss=validation_loss)
            worse = self.best.see(info, mark.here.parameters)
            status = status or ("early_stopped" if worse >= self.plan.patience else None)
        return info, status or _limit(self.plan, info)


def reference(objective: ArrayObjective, plan: Plan, start: NDArray[np.float64]) -> float | None:
    """Return the optimality at zero parameters, if it is asked for and not that of the start."""
    if plan.tol == 0 or not start.any():
        return None
    zero = evaluate(objective, objective.xp.zeros(len(start), dtype=objective.xp.float64))
    return float(objective.optimality(zero.parameters, zero.gradient))


def descend(  # noqa: PLR0917
    objective: ArrayObjective,
    validation: ArrayObjective | None,
    plan: Plan,
    start: NDArray[np.float64],
    state: State,
    callback: Callback | None,
    most_ahead: int = 1,
) -> Solution:
    """Minimise `objective` from `start`, in its own variables. The loss of `validation` decides when to stop early.

    Up to `most_ahead` points are computed before a number of the first is read, unless such numbers decide on a step
    or a callback or the clock is to be asked before it.
    """
    xp = objective.xp
    judge = Judge(plan, reference(objective, plan, start), Best(xp, state))
    way = Way(objective, validation, plan)
    way.steps.load({name: xp.asarray(values) for name, values in state.items()}, objective)
    objective.keeps_lines = isinstance(way.steps, LineSearch)
    if callback is not None or plan.max_seconds is not None or not way.steps.is_blind:
        most_ahead = 1
    here = evaluate(objective, xp.asarray(start))
    history: list[StepInfo] = []
    status, ahead = None, 1
    while status is None:
        looked = time.perf_counter()
        marks = way.walk(here, ahead)
        for mark, numbers in zip(marks, way.read(marks), strict=True):
            info, status = judge.see(mark, numbers, validated=validation is not None)
            if status is not None or mark is marks[-1]:
                break
            history.append(info._replace(step_size=mark.step_size))
        if status is not None:
            break
        ahead = min(2 * ahead, most_ahead) if time.perf_counter() - looked < MOST_SECONDS_AHEAD else -(-ahead // 2)
        info = info._replace(step_size=way.steps.propose(objective, mark.here))
        if callback is not None and callback(info):
            status = "stopped"
            break
        made = way.advance(mark.here, info.step_size)
        if made is None:
            status = "stalled"
            break
        here = made[0]
        history.append(info._replace(step_size=made[1]))
    memory = way.steps.save() if mark.memory is None else mark.memory
    point, best = mark.here.parameters, judge.best
    remembered = {**memory, **best.save(), "point": point}
    return Solution(
        to_host(objective.to_original(point)),
        info.loss,
        info.gradient_norm,
        info.validation_loss,
        info.step,
        status,
        _columns(history),
        {name: _numbers(values) for name, values in remembered.items()},
        best=None if best.parameters is None else to_host(objective.to_original(best.parameters)),
    )


def _numbers(values: Any) -> NDArray[np.float64]:
    """Return what is remembered, an array or a list of numbers, as a copy in main memory."""
    return np.array([to_host(value) for value in values] if isinstance(values, list) else to_host(values), np.float64)


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
