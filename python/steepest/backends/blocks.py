"""The objective of rows in blocks, wherever they lie: every look at them is one pass, whatever is asked for.

A block is evaluated by another backend, as a problem of its own, and counts by its weight.
"""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends.array import ArrayBackend
from steepest.backends.objective import ArrayObjective, largest_of
from steepest.backends.spectrum import largest_eigenvalue
from steepest.errors import InputError
from steepest.survey import BlockedProblem
from steepest.tables import is_on_gpu

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from steepest.backends import Backend
    from steepest.blocks import Blocks
    from steepest.problem import Callback, Plan, Problem, Solution, State

#: Step sizes that are tried in one pass where a line search goes on to longer ones.
TRIALS = 4
#: Parameters whose squares cost less, all in one pass, than the passes of an iteration.
MOST_SQUARED = 1024


def evaluate(problem: Problem, engine: Backend, points: NDArray[np.float64], n_threads: int) -> NDArray[np.float64]:
    """Return Σ s ℓ and its gradient over the rows of a block, (n_points, 1 + n_parameters).

    A block on a GPU is evaluated there.
    """
    if is_on_gpu(problem.design) and engine.name == "rust":
        from steepest.backends.cupy import CupyBackend

        engine = CupyBackend()
    sums = np.empty((len(points), 1 + points.shape[1]))
    for line, point in zip(sums, points, strict=True):
        line[0], line[1:] = engine.value_and_gradient(problem, point, n_threads)
    return problem.total_weight * sums


def share(problem: Problem, verb: str, variables: tuple[Any, Any], *arguments: Any) -> Any:
    """Return what the portable objective of a block answers in the variables of all, times the block's weight."""
    objective = ArrayObjective(problem, np)
    objective.center, objective.scale = variables
    with np.errstate(all="ignore"):
        return problem.total_weight * getattr(objective, verb)(*arguments)


def second_moment(problem: Problem, variables: tuple[Any, Any], parameters: Any, v: Any = None) -> Any:
    """Return Σ b x̃ x̃ᵀ over a block, b a bound on the loss's second derivative times s, or its product with v."""
    objective = ArrayObjective(problem, np)
    objective.center, objective.scale = variables
    with np.errstate(all="ignore"):
        bound, weights = objective.curvature_weights(parameters)
        part = objective.second_moment(weights) if v is None else objective.times_second_moment(v, weights)
        return problem.total_weight * bound * part


def added(one: Any, other: Any) -> Any:
    """Return the sum of what two blocks answer."""
    return one + other


class BlocksObjective(ArrayObjective):
    """F and its derivatives over all blocks of a problem."""

    def __init__(self, problem: BlockedProblem, engine: Backend, n_threads: int) -> None:
        super().__init__(problem, np)
        self.problem, self.blocks, self.survey = problem, problem.blocks, problem.survey
        self.engine = engine
        # Only the core is made for several calls at once.
        answer_bytes = TRIALS * (1 + problem.n_parameters) * 8 if engine.name == "rust" else math.inf
        self.spread, self.n_threads = problem.blocks.spread(n_threads, answer_bytes)
        self.batching: BlockBatches | None = None
        self.line: tuple[Any, Any] = (None, None)
        #: Sums at points of the line, by the bytes of the point.
        self.known: dict[bytes, Any] = {}

    def _column_moments(self) -> tuple[Any, Any]:
        mean, squares = self.survey.mean, self.survey.squares / self.survey.weight
        return (mean, squares) if self.fit_intercept else (np.zeros_like(mean), squares + mean**2)

    def _average_loss(self, original: Any) -> tuple[Any, Any, Any]:
        key = original.tobytes()
        if key not in self.known:
            if not self.keeps_lines:
                self.known.clear()
            self._look_at([original])
        sums = self.known[key] / self.total_weight
        coef, intercept = self._split(sums[1:])
        return sums[0], coef, intercept

    def _look_at(self, points: list[Any]) -> None:
        """Evaluate several points in one pass."""
        sums = self.spread.reduce(evaluate, added, self.engine, np.stack(points), self.n_threads)
        self.known.update(zip((point.tobytes() for point in points), sums, strict=True))

    def _sum(self, task: Any, *arguments: Any) -> Any:
        return self.blocks.reduce(task, added, *arguments)

    @property
    def _variables(self) -> tuple[Any, Any]:
        return self.center, self.scale

    def hold(self, parameters: Any, direction: Any) -> None:
        """Let a line begin at `parameters`; what is known of other lines is forgotten."""
        key = self.to_original(parameters).tobytes()
        self.line = parameters, direction
        self.known = {key: self.known[key]} if key in self.known else {}

    def along(self, t: float) -> tuple[float, float]:
        """Return the smooth part's value and slope at `t` on the line; a pass that goes further looks ahead."""
        start, direction = self.line
        # A search that goes beyond the full step doubles it until that is too far.
        steps = [t * 2**k for k in range(TRIALS if t > 1 else 1)]
        points = [self.to_original(start + step * direction) for step in steps]
        if points[0].tobytes() not in self.known:
            self._look_at(points)
        value, gradient = self.value_and_gradient(start + t * direction)
        return float(value), float(np.sum(gradient * direction))

    def batches(self, method: Any, seed: int) -> BlockBatches:
        """Return the mini-batches of a method."""
        if method.replacement:
            raise InputError("method: blocks are read one by one; pass replacement=False")
        size = method.batch_size
        self.batching = BlockBatches(self.blocks, self.problem.batches_per_epoch(size), size, seed)
        return self.batching

    def close(self) -> None:
        """Let go of what mini-batches have opened."""
        if self.batching is not None:
            self.batching.close()

    def batch_gradient(self, parameters: Any, rows: Problem) -> Any:
        """Return an estimate of the smooth part's gradient from a batch."""
        original, share = self.to_original(parameters), rows.total_weight
        gradient = np.zeros_like(original)
        if share > 0:
            _, gradient = self.engine.value_and_gradient(rows, original, 1)
        gradient = gradient * (share / (self.total_weight * (rows.n_samples / self.n_samples)))
        coef, intercept = self._split(gradient)
        _, slope = self.penalty.value_and_gradient(np, self._split(original)[0])
        return self._pull_back(coef + slope, intercept)

    def curvature(self, parameters: Any) -> float:
        """Return L such that the Hessian is at most L·I: everywhere if there is such a bound, else at `parameters`."""
        dimension = self.n_features + self.fit_intercept

        def product(v: Any) -> Any:
            return self._sum(second_moment, self._variables, parameters, v) / self.total_weight

        if dimension <= MOST_SQUARED:
            bend = largest_of(self._sum(second_moment, self._variables, parameters) / self.total_weight)
        else:
            bend = largest_eigenvalue(np, dimension, product)
        return bend + self._penalty_curvature()

    def row_curvature(self, parameters: Any) -> float:
        """Return the average over single rows of the same bound."""
        rows = self._sum(share, "row_curvature", self._variables, parameters)
        return float(rows / self.total_weight) + self._penalty_curvature()

    def loss_hessian(self, parameters: Any) -> NDArray[np.float64]:
        """Return the Hessian of the average loss."""
        found = self._sum(share, "loss_hessian", self._variables, parameters)
        return np.asarray(found / self.total_weight)


class BlockBatches:
    """Mini-batches of blocks that come in an order drawn for each epoch, their rows shuffled; none goes across blocks.

    What is drawn depends on the seed and the number of the epoch, so a descent that is gone on with sees the batches
    that it would have seen; to get to where it stopped, the epoch's blocks are read again up to there.
    """

    def __init__(self, blocks: Blocks, per_epoch: int, batch_rows: int, seed: int) -> None:
        self.blocks, self.per_epoch, self.batch_rows, self.seed = blocks, per_epoch, batch_rows, seed
        self.ahead: Generator[Problem] = self._epoch(0)
        self.next = 0

    def rows(self, step: int) -> Problem:
        """Return the batch of a step."""
        epoch, place = divmod(step, self.per_epoch)
        if step != self.next or place == 0:
            self.close()
            self.ahead = self._epoch(epoch)
            for _ in range(place):
                next(self.ahead)
        self.next = step + 1
        return next(self.ahead)

    def _epoch(self, epoch: int) -> Generator[Problem]:
        generator = np.random.default_rng((self.seed, epoch, 1))
        with closing(self.blocks.epoch(self.seed, epoch)) as blocks:
            for block in blocks:
                if block is None:
                    continue
                shuffled = block.take(generator.permutation(block.n_samples))
                for start in range(0, block.n_samples, self.batch_rows):
                    yield shuffled.take(slice(start, min(start + self.batch_rows, block.n_samples)))

    def close(self) -> None:
        """End the reading."""
        self.ahead.close()


class BlocksBackend(ArrayBackend):
    """The portable loop over blocks that `engine` evaluates."""

    def __init__(self, engine: Backend, n_threads: int) -> None:
        super().__init__(engine.name, np)
        self.engine, self.n_threads = engine, n_threads

    def describe(self) -> str:
        """Return a line on what this backend runs on."""
        return self.engine.describe()

    def curvature(self, problem: Problem, n_threads: int) -> float:
        """Return L with 0 ≼ ∇²F ≼ L·I, at zero parameters if the loss has no bound."""
        few = _compressed(problem)
        return super().curvature(problem, n_threads) if few is None else self.engine.curvature(few, n_threads)

    def minimise(  # noqa: PLR0917
        self,
        problem: Problem,
        validation: Problem | None,
        plan: Plan,
        start: NDArray[np.float64],
        state: State,
        callback: Callback | None,
    ) -> Solution:
        """Descend from `start`: on a few rows that have the moments of all, if these are known, else on the blocks."""
        if plan.strategy == "gram":
            few = _compressed(problem)
            if few is None:
                raise InputError("strategy: 'gram' needs the moments of all rows, for which X has too many columns")
            return self.engine.minimise(few, validation, plan, start, state, callback)
        return super().minimise(problem, validation, plan, start, state, callback)

    def _objective(self, problem: Problem, strategy: str = "stream") -> ArrayObjective:  # noqa: ARG002
        objective = self._rows(problem)
        if problem.precondition:
            objective.standardise()
        return objective

    def _rows(self, problem: Problem) -> ArrayObjective:
        """Return the objective; validation data are in memory."""
        if isinstance(problem, BlockedProblem):
            return BlocksObjective(problem, self.engine, self.n_threads)
        return ArrayObjective(problem, self.xp)


def _compressed(problem: Problem) -> Problem | None:
    return problem.compressed() if isinstance(problem, BlockedProblem) else None
