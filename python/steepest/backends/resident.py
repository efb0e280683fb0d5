"""Descents that stay on the GPU: steps are made and judged there, and the host looks some ten times a second.

Step sizes, the history, and why a descent ends are in the GPU's memory; `FINISH` in ``cuda/descent.cu`` turns the sums
of a pass into the next point, or goes back where a step is not good enough. From the point that is the last no step is
made, however many have been asked for: the result is that of looking after every step.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from steepest.backends import kernels, loop
from steepest.backends.kernels import BLOCK_THREADS, FINISH_PARTS, FOLD_THREADS, RULES, WARP, compiled, pointer
from steepest.backends.least_squares import LeastSquares
from steepest.methods import Adam, GradientDescent
from steepest.problem import Plan, Solution
from steepest.step_sizes import SCHEDULES, Auto, Constant
from steepest.validation import to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends.kernels import FusedPass
    from steepest.backends.objective import ArrayObjective
    from steepest.backends.scores import ProductPass
    from steepest.problem import State

#: Why a descent ends, in the order of the source.
ENDS = ("", "diverged", "converged", "target_loss", "max_steps", "stalled")
#: Of a method, what it remembers of each variable, by the names of its `save`.
MEMORY = {"gd": (), "momentum": ("previous",), "nesterov": ("previous",), "adam": ("mean", "square")}
#: Rows of the table of variables: center, scale, point, what is remembered, the gradient, and room for a target and for
#: point and gradient before it.
VECTORS, CENTER, SCALE, POINT, REMEMBERED, GRADIENT = 9, 0, 1, 2, 3, 5
#: A descent that only looks at where it is.
LOOK = Plan(GradientDescent(), Constant(1.0), n_steps=0, tol=0.0, n_threads=1)
#: Place of Nesterov's t among the settings.
T = 15
#: Columns of what is found at a point: its loss, the norm of the gradient, the size of the step that led there.
FOUND = 3
#: Steps of a graph: what is launched at once costs a launch once.
GRAPH_STEPS = 32
#: Steps between looks at the most, and how many times more than at the last look.
MOST_STEPS, GROWTH = 1 << 15, 8
#: Bytes of X that stay in the cache of a multiprocessor, beside a number a row.
BLOCK_BYTES = 160_000
#: Columns whose second moments one block multiplies in less time than a core.
MOST_QUADRATIC = 512


class Maker(Protocol):
    """What makes steps."""

    most_at_first: int
    """Steps that take no time worth a look."""

    def make(self, count: int) -> None:
        """Launch what makes `count` steps, or more, of which those beyond do nothing."""


class Resident:
    """What a descent has in the GPU's memory."""

    def __init__(  # noqa: PLR0917
        self, xp: Any, objective: ArrayObjective, plan: Plan, start: NDArray[np.float64], state: State, dtype: Any
    ) -> None:
        self.began = time.perf_counter()
        self.xp, self.plan, self.objective, self.dtype = xp, plan, objective, np.dtype(dtype)
        self.method: Any = plan.method
        self.rule: Any = loop.FullBatch(plan).rule
        self.searches = not isinstance(self.rule, SCHEDULES)
        self.d, self.m, self.width = objective.n_features, objective.n_parameters, objective.loss.width
        self.n_before = int(state.get("n_made", [0])[0])
        self.state = state
        # Second moments have been divided by the weights already.
        self.total_weight = 1.0 if isinstance(objective, LeastSquares) else objective.total_weight
        vectors = np.zeros((VECTORS, self.m))
        vectors[SCALE] = 1
        for row, of_columns in ((CENTER, objective.center), (SCALE, objective.scale)):
            vectors[row, : objective.n_coef] = np.tile(to_host(of_columns), self.width)
        vectors[POINT] = start
        for row, name in enumerate(MEMORY[self.method.name], REMEMBERED):
            vectors[row] = state.get(name, start if name == "previous" else 0.0)
        self.vectors = xp.asarray(vectors)
        self.parameters = xp.zeros(self.width * (self.d + 1), dtype=self.dtype)
        self.settings = xp.asarray(self._settings())
        self.sums = xp.zeros(kernels.sums_of(objective.loss, self.d), dtype=xp.float64)
        self.progress = xp.zeros(5, dtype=xp.int64)
        most = min(plan.n_steps + 1, MOST_STEPS)
        self.sizes = xp.zeros((most, 3), dtype=xp.float64)
        self.records = xp.zeros((most + 1, FOUND), dtype=xp.float64)

    def _settings(self) -> NDArray[np.float64]:
        plan, penalty, given = self.plan, self.objective.penalty, self.method.settings
        start, rounding = to_host(self.vectors[POINT, :]), self.objective.rounding
        reference = loop.reference(self.objective, plan, start)
        return np.array(
            [
                self.total_weight,
                penalty.l1,
                penalty.l2,
                plan.tol,
                -math.inf if plan.target_loss is None else plan.target_loss,
                *(given.get(name, 0.0) for name in ("momentum", "beta1", "beta2", "epsilon")),
                *(rounding.precision, rounding.squares, float(rounding.steepest), rounding.sizes),
                loop.MOST_HALVINGS if self.searches else 0,
                -1.0 if reference is None else reference,
                self.state.get("t", [1.0])[0],
                self._first_size(start),
                *(0.0, 0.0, 0.0, 0.0),
            ],
            dtype=np.float64,
        )

    def _first_size(self, start: NDArray[np.float64]) -> float:
        """Return the size that the first step tries; for a descent of no steps nobody looks for one."""
        if not self.searches:
            return 0.0
        objective = self.objective
        here: Any = objective.xp.asarray(start)
        self.rule.load(self.state)
        curvature = (lambda: objective.curvature(here)) if self.plan.n_steps else (lambda: math.nan)
        return float(self.rule.propose(objective.xp, 0, here, curvature))

    @property
    def halted(self) -> Any:
        """The place that says whether to do nothing."""
        return self.progress[4:]

    def arguments(self) -> tuple[Any, ...]:
        """Return what every kernel that finishes a step takes."""
        return (
            self.progress,
            self.settings,
            self.sizes,
            self.vectors,
            self.sums,
            self.records,
            self.parameters,
            np.int32(self.d),
            np.int32(self.width),
            np.int32(self.m),
        )

    def begin(self, step: int, count: int) -> None:
        """Let the steps from `step` be made, up to `count` of them."""
        numbers = range(self.n_before + step, self.n_before + step + count)
        sizes = np.ones((count, 3))
        if not self.searches:
            sizes[:, 0] = [self.rule.at(number) for number in numbers]
        if isinstance(self.method, Adam):
            sizes[:, 1:] = [self.method.biases(number + 1) for number in numbers]
        self.sizes[:count, :] = self.xp.asarray(sizes)
        self.progress[...] = self.xp.asarray(np.array([step, step, step + count, self.plan.n_steps, 0], np.int64))

    def look(self, count: int) -> tuple[int, int, NDArray[np.float64]]:
        """Wait; return the step where the descent is, how it ended, and what was found at each point so far."""
        (step, ending, _), *_ = found = to_host(self.records[: count + 1, :])
        return int(step), int(ending), found[1:]

    def remembered(self, step: int, size: float, *, has_tried: bool) -> State:
        """Return what must be remembered to go on after steps, the last of some size, as `save` of method and rule."""
        vectors, n_made = to_host(self.vectors), np.array([self.n_before + step], np.float64)
        saved = {"n_made": n_made, "point": vectors[POINT].copy()}
        if self.method.name == "nesterov":
            saved["t"] = to_host(self.settings)[T : T + 1].copy()
        of_steps = {name: vectors[row].copy() for row, name in enumerate(MEMORY[self.method.name], REMEMBERED)}
        of_steps |= {"n_seen": n_made.copy()} if isinstance(self.method, Adam) else {}
        of_steps |= {"step_size": np.array([size])} if self.searches else {}
        return saved | {name: part for name, part in of_steps.items() if has_tried or name in self.state}


class ByGrid:
    """Steps by all multiprocessors: a pass, folds, and `FINISH`; by graphs where a step takes no time."""

    most_at_first = 1

    def __init__(self, resident: Resident, kept: FusedPass | ProductPass) -> None:
        self.resident, self.xp, self.kept = resident, resident.xp, kept
        self.sums = kernels.levels_of(self.xp, kept.partials, FINISH_PARTS)
        self.finish = compiled(
            self.xp, kernels.finish(resident.method.name, str(self.sums[-1].dtype), resident.dtype.name)
        )
        self.graph: Any = None
        self._finish(self.sums[-1][:0, :])

    def make(self, count: int) -> None:
        """Launch steps: one after the other, or graphs of them."""
        if count < GRAPH_STEPS or not self.kept.is_recordable:
            for _ in range(count):
                self._step()
            return
        if self.graph is None:
            self.graph = self._captured()
        for _ in range(-(-count // GRAPH_STEPS)):
            self.graph.launch()

    def _step(self) -> None:
        resident = self.resident
        self.kept.launch(resident.parameters, halted=resident.halted)
        self._finish(kernels.add_levels(self.xp, self.sums, resident.halted))

    def _finish(self, parts: Any) -> None:
        arguments = (parts, np.int64(len(parts)), *self.resident.arguments())
        self.finish((1,), (FOLD_THREADS,), arguments, shared_mem=FOLD_THREADS // WARP * 8)

    def _captured(self) -> Any:
        """Return the graph of some steps. Nothing is allocated while it is recorded, and nothing runs."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            for _ in range(GRAPH_STEPS):
                self._step()
            return stream.end_capture()


class ByBlock:
    """Steps by one multiprocessor, as many as are wanted in one launch: for data that fit its cache."""

    most_at_first = GRAPH_STEPS

    def __init__(self, resident: Resident, fused: FusedPass) -> None:
        self.resident, xp = resident, resident.xp
        self.kernel = compiled(xp, kernels.one_block(fused.formula, resident.method.name, resident.dtype.name))
        columns = xp.ascontiguousarray(xp.astype(fused.X, fused.dtype).T)
        slopes = xp.empty(fused.n, dtype=fused.dtype)
        rows = (pointer(part) for part in fused.rows)
        self.arguments = (columns, *rows, fused.parameter, np.int64(fused.n), slopes)

    def make(self, count: int) -> None:  # noqa: ARG002
        """Launch the kernel, which goes on until it has made what `begin` allowed."""
        self.kernel(
            (1,), (BLOCK_THREADS,), (*self.arguments, *self.resident.arguments()), shared_mem=BLOCK_THREADS // WARP * 8
        )


class ByMoments:
    """Steps from second moments, by one multiprocessor."""

    most_at_first = GRAPH_STEPS

    def __init__(self, resident: Resident, objective: LeastSquares) -> None:
        xp = resident.xp
        self.resident = resident
        self.kernel = compiled(xp, kernels.quadratic(resident.method.name))
        coef, intercept = objective.anchor
        rows = [np.append(objective.mean, 0.0), np.append(coef, intercept), np.append(objective.anchor_gradient, 0.0)]
        numbers = np.float64(objective.anchor_value), np.float64(objective.share)
        self.arguments = (xp.asarray(objective.moment), xp.asarray(np.array(rows)), *numbers)

    def make(self, count: int) -> None:  # noqa: ARG002
        """Launch the kernel, which goes on until it has made what `begin` allowed."""
        self.kernel(
            (1,),
            (BLOCK_THREADS,),
            (*self.arguments, *self.resident.arguments()),
            shared_mem=(BLOCK_THREADS // WARP + self.resident.d) * 8,
        )


def begun(
    xp: Any, objective: Any, plan: Plan, start: NDArray[np.float64], state: State
) -> tuple[Resident, Maker] | None:
    """Return a descent and what makes its steps; None if the host must see a number, or there is no kernel for it."""
    steps = loop.driver(plan, objective)
    if not (isinstance(steps, loop.FullBatch) and plan.method.name in RULES and plan.max_seconds is None):
        return None
    if not (steps.is_blind or isinstance(plan.step_size, Auto)):
        return None
    if isinstance(objective, LeastSquares):
        if objective.loss.width > 1 or objective.n_features > MOST_QUADRATIC:
            return None
        here = Resident(xp, objective, plan, start, state, np.float64)
        return here, ByMoments(here, objective)
    kept = objective.kept_pass()
    if kept is None:
        return None
    here = Resident(xp, objective, plan, start, state, objective.dtype)
    is_small = objective.n_samples * objective.n_features * here.dtype.itemsize <= BLOCK_BYTES
    by_block = is_small and here.width == 1 and kept.is_recordable
    return here, (ByBlock if by_block else ByGrid)(here, kept)


def evaluated(xp: Any, objective: Any, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]] | None:
    """Return F and the gradient of its smooth part, the very numbers of a descent; None if none would stay here."""
    stays = begun(xp, objective, LOOK, parameters, {})
    if stays is None:
        return None
    return descend(*stays).loss, to_host(stays[0].vectors)[GRADIENT].copy()


def descend(resident: Resident, maker: Maker) -> Solution:
    """Minimise from where `resident` is; look when about `loop.MOST_SECONDS_AHEAD` have gone by."""
    plan, began = resident.plan, resident.began
    columns: list[NDArray[np.float64]] = []
    step = ending = 0
    ahead = maker.most_at_first
    while not ending:
        looked = time.perf_counter()
        count = min(ahead, plan.n_steps + 1 - step)
        resident.begin(step, count)
        maker.make(count)
        reached, ending, found = resident.look(count)
        now = time.perf_counter()
        n_points = reached - step + bool(ending)
        steps, seconds = np.arange(step, step + n_points), np.full(n_points, now - began)
        columns.append(np.column_stack([steps, found[:n_points], seconds]))
        step, ahead = reached, _ahead(ahead, now - looked)
    return _solution(resident, np.concatenate(columns), ENDS[ending])


def _ahead(ahead: int, seconds: float) -> int:
    """Return how many steps to make before the next look, if `ahead` took so many seconds."""
    if seconds * GROWTH < loop.MOST_SECONDS_AHEAD:
        return min(GROWTH * ahead, MOST_STEPS)
    return ahead if seconds < loop.MOST_SECONDS_AHEAD else -(-ahead // 2)


def _solution(resident: Resident, table: NDArray[np.float64], status: str) -> Solution:
    """Return where the descent ended: the last row of the table is the point that was not left."""
    step, loss, norm, size = int(table[-1, 0]), *map(float, table[-1, 1 : 1 + FOUND])
    history: dict[str, NDArray[Any]] = {
        "step": table[:-1, 0].astype(np.int64),
        "loss": table[:-1, 1].copy(),
        "gradient_norm": table[:-1, 2].copy(),
        # That of the step from a point led to the next one.
        "step_size": table[1:, 3].copy(),
        "seconds": table[:-1, 4].copy(),
        "validation_loss": np.full(len(table) - 1, np.nan),
    }
    state = resident.remembered(step, size, has_tried=step > 0 or status == "stalled")
    objective = resident.objective
    parameters = to_host(objective.to_original(objective.xp.asarray(state["point"])))
    return Solution(parameters, loss, norm, math.nan, step, status, history, state)
