"""Descents that stay on the GPU, kernel by kernel: a module for the tests, and for a process with a sanitizer.

Each is made under several orders of threads, which must give the same bits, and held to the portable loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from fake_gpu import SCHEDULES, FakeCupy
from steepest.backends import device, kernels, loop, resident
from steepest.backends.array import ArrayBackend
from steepest.backends.device import DeviceLeastSquares, DeviceObjective
from steepest.backends.kernels import RULES
from steepest.backends.objective import ArrayObjective
from steepest.methods import METHODS
from steepest.problem import Plan, Problem, Solution
from steepest.step_sizes import Auto, Constant, Cosine
from strategies import example
from tolerance import tolerance

STEPS = 5
#: Rows of a block where X is multiplied: more than a chunk.
BLOCK_ROWS = 520


class Way(NamedTuple):
    """What makes the steps, a method, a loss, the type of X, its shape, and what else the problem has."""

    maker: str
    method: str
    kind: str = "mse"
    dtype: str = "float64"
    n: int = 70
    d: int = 3
    penalised: bool = False
    l1_ratio: float = 0.5
    intercept: bool = True
    n_classes: int = 0
    """Of softmax, if they are not those of the example."""
    understated: float = 0.0
    """Step sizes are "auto" if this is not zero, and the curvature that they begin with so many times too small."""


#: Every method by every maker and of several scores, every loss by one block, both types, steps that are tried and such
#: that are not. More columns than a warp has lanes, and fewer; one chunk of rows, and several; sums that `FINISH` adds
#: by itself, and such that were folded before.
WAYS = [
    *(Way(maker, method, penalised=True) for maker, method in itertools.product(("grid", "block", "moments"), RULES)),
    Way("block", "gd", "binary", n=1100, d=5, understated=3),
    Way("block", "momentum", "huber", "float32", n=515, d=2, understated=3),
    Way("block", "nesterov", "poisson", intercept=False, penalised=True, understated=3),
    Way("block", "adam", "squared_hinge", "float32", d=40),
    Way("grid", "nesterov", "binary", "float32", n=1100, d=40, penalised=True, understated=3),
    Way("grid", "momentum", "huber", intercept=False, understated=3),
    Way("folds", "gd", "binary", "float32", n=1100, d=4, understated=3),
    Way("folds", "adam", "mse", n=1100, d=33),
    *(Way("grid", method, "softmax", d=5, penalised=True) for method in RULES),
    Way("grid", "nesterov", "softmax", "float32", n=1100, d=40, penalised=True, understated=3),
    Way("folds", "momentum", "softmax", n=1100, intercept=False, understated=3),
    *(Way("products", method, "two targets", penalised=True) for method in RULES),
    Way("products", "gd", "probabilities", "float32", n=1100, d=40, understated=3),
    Way("products", "momentum", "softmax", "float32", n=1100, d=5, n_classes=9, penalised=True),
    Way("products", "nesterov", "softmax", n=1100, d=4, n_classes=9, intercept=False, understated=12),
    Way("products", "momentum", "two targets", penalised=True, understated=5),
    Way("moments", "nesterov", d=70, n=100, intercept=False, penalised=True),
    Way("moments", "momentum", d=5, n=90, penalised=True, understated=5),
    Way("moments", "nesterov", d=5, n=90, intercept=False, penalised=True, understated=5),
    Way("moments", "gd", d=40, n=90, understated=3),
]
#: By kernel, those that bugs are planted for; a sanitizer gets the last one.
FEW_WAYS = {
    "finish": [Way("grid", "nesterov", d=40, n=530, penalised=True), Way("grid", "adam", d=3, n=40, penalised=True)],
    "several": [Way("grid", "gd", "softmax", d=3, n=40, penalised=True)],
    "block": [Way("block", "gd", d=40, n=530, penalised=True), Way("block", "momentum", "poisson", d=3, n=600)],
    "moments": [Way("moments", "nesterov", d=40, n=90, penalised=True)],
    "momentum": [Way("moments", "momentum", d=3, n=40, penalised=True, understated=5)],
    "nesterov": [Way("moments", "nesterov", d=3, n=40, penalised=True, understated=5)],
}


def problem_of(way: Way) -> Problem:
    """Return a problem with weights, an offset and unlike columns."""
    sample = example(way.kind, way.n, way.d)
    if way.n_classes:
        sample = sample.but(y=np.arange(way.n) % way.n_classes, n_classes=way.n_classes)
    sample = sample.cast(way.dtype).but(
        X=(sample.X / 2.0 ** np.arange(way.d) + 0.5).astype(way.dtype),
        weights=np.linspace(0, 2, way.n),
        alpha=0.05 * way.penalised,
        l1_ratio=way.l1_ratio,
        offset=np.linspace(-0.5, 0.5, way.n * sample.width).reshape((way.n, -1) if sample.width > 1 else -1),
    )
    return replace(sample.problem(), fit_intercept=way.intercept, precondition=way.penalised)


def plan_of(way: Way, n_steps: int = STEPS) -> Plan:
    """Return a plan of a few steps."""
    size: Any = Constant(0.02) if way.method == "adam" else Cosine(0.3 / (4 + way.d), n_steps=2 * STEPS)
    size = Auto() if way.understated else size
    strategy = "gram" if way.maker == "moments" else "stream"
    return Plan(METHODS[way.method](), size, n_steps=n_steps, tol=1e-300, n_threads=1, strategy=strategy)


@cache
def curvature_of(way: Way) -> float:
    """Return the curvature where descents begin, as NumPy finds it: on an imaginary GPU that takes long."""
    objective = ArrayBackend("numpy", np)._objective(problem_of(way), plan_of(way).strategy)
    return objective.curvature(objective.to_scaled(start_of(problem_of(way))))


@contextmanager
def understated(way: Way) -> Iterator[None]:
    """Let the first steps that are tried be too long: what is right is seldom put to the test."""
    with pytest.MonkeyPatch.context() as patch:
        if way.understated:
            known = curvature_of(way) / way.understated
            patch.setattr(ArrayObjective, "curvature", lambda *_: known)
        yield


def reference(way: Way, plan: Plan, former: Solution | None = None) -> Solution:
    """Return what the portable loop says, from where it ended if it goes on."""
    posed = problem_of(way)
    start, state = (start_of(posed), {}) if former is None else (former.parameters, former.state)
    with understated(way):
        return ArrayBackend("numpy", np).minimise(posed, None, plan, start, state, None)


def start_of(posed: Problem) -> Any:
    """Return where descents begin: not where nothing is."""
    return np.linspace(-0.2, 0.3, posed.n_parameters)


def placed(xp: Any, way: Way) -> tuple[Any, Any]:
    """Return the objective on the GPU, and where descents begin in its variables."""
    posed = problem_of(way)

    def place(problem: Problem) -> Any:
        return xp.asarray(problem.design)

    objective: Any
    objective = DeviceLeastSquares(posed, xp, place) if way.maker == "moments" else DeviceObjective(posed, xp, place, 3)
    if posed.precondition:
        objective.standardise()
    return objective, np.asarray(_numbers(objective.to_scaled(objective.xp.asarray(start_of(posed)))))


def on_gpu(xp: Any, way: Way, plan: Plan, state: Any = None) -> Solution:
    """Return what stays on the GPU until it ends, by the maker of `way`."""
    objective, start = placed(xp, way)
    start = start if state is None else state["point"]
    with understated(way):
        here = resident.Resident(xp, objective, plan, start, state or {}, problem_of(way).dtype)
    if way.maker == "moments":
        return resident.descend(here, resident.ByMoments(here, objective))
    maker: Any = resident.ByBlock if way.maker == "block" else resident.ByGrid
    return resident.descend(here, maker(here, objective.kept_pass()))


def by_the_host(xp: Any, way: Way, plan: Plan) -> Solution:
    """Return the same by the loop of the host."""
    objective, start = placed(xp, way)
    with understated(way):
        return loop.descend(objective, None, plan, start, {}, None, most_ahead=3)


def _numbers(array: Any) -> Any:
    return array.get() if hasattr(array, "get") else array


def bits(solution: Solution) -> tuple[bytes, ...]:
    """Return all that two descents must share, to the bit."""
    numbers = (solution.parameters, np.array([solution.loss, solution.gradient_norm, solution.n_steps]))
    history = (values for name, values in sorted(solution.history.items()) if name != "seconds")
    memory = (solution.state[name] for name in sorted(solution.state))
    return (solution.status.encode(), *(part.tobytes() for part in (*numbers, *history, *memory)))


def compare(way: Way, found: Solution, expected: Solution) -> None:
    """Assert that two descents are the same but for rounding."""
    assert (found.status, found.n_steps) == (expected.status, expected.n_steps), way
    # Rounding of the passes, which steps carry on.
    slack = max(tolerance(way.dtype, way.n + way.d), 1e-13) * (1 + found.n_steps)
    pairs: list[tuple[Any, Any]] = [(found.parameters, expected.parameters), (found.loss, expected.loss)]
    pairs += [(found.gradient_norm, expected.gradient_norm)]
    pairs += [(found.history[name], values) for name, values in expected.history.items() if name != "seconds"]
    assert found.state.keys() == expected.state.keys(), way
    pairs += [(found.state[name], values) for name, values in expected.state.items()]
    for one, other in pairs:
        assert np.shape(one) == np.shape(other), way
        assert np.all(np.isfinite(one) == np.isfinite(other)), way
        difference = np.nan_to_num(np.asarray(one, np.float64) - other)
        assert np.all(np.abs(difference) <= slack * (1 + np.abs(np.nan_to_num(other)))), way


def check_descent(fake: FakeCupy, way: Way, schedules: Sequence[int] = SCHEDULES) -> None:
    """Assert that a descent is the portable one, and the same bits whatever the order of threads."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        if way.maker == "folds":
            patch.setattr(resident, "FINISH_PARTS", 1)
        patch.setattr(device, "rows_of", lambda *_: BLOCK_ROWS)
        for schedule in schedules:
            fake.schedule = schedule
            solution = on_gpu(fake, way, plan_of(way))
            found[bits(solution)] = solution
    assert len(found) == 1, f"{way}: the descent depends on the order of threads"
    compare(way, found.popitem()[1], reference(way, plan_of(way)))


def kernels_of_ways(ways: Sequence[Way]) -> list[str]:
    """Return the lines of the kernels that descents need, for the pass at zero parameters too."""
    made = set()
    for way in ways:
        loss, dtype = problem_of(way).loss, way.dtype
        if way.maker == "moments":
            made.add(kernels.quadratic(way.method))
            continue
        if way.maker == "products":
            made.add(kernels.score_pass(kernels.formula_by_columns(loss), dtype, loss.width))
            made |= {kernels.fold("float64"), kernels.finish(way.method, "float64", dtype)}
            continue
        formula, layout = kernels.formula_of(loss), kernels.layout_of(way.d, dtype) if loss.width == 1 else None
        made.add(kernels.any_pass(formula, dtype) if layout is None else kernels.row_pass(formula, dtype, layout))
        made.add(kernels.fold(dtype))
        if way.maker == "block":
            made.add(kernels.one_block(formula, way.method, dtype))
        else:
            made.add(kernels.finish(way.method, "float64" if way.maker == "folds" else dtype, dtype))
    return sorted(made)
