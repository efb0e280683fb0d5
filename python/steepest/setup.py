"""From the user's arguments to a problem, a plan and a start: each argument checked, each error with its cure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends import get_backend, gpu_backend, nearest
from steepest.backends.blocks import BlocksBackend
from steepest.checkpoint import as_checkpoint
from steepest.choice import STRATEGIES, choose_method, choose_strategy, wants_moments, worth_a_gpu
from steepest.design import check_finite
from steepest.errors import InputError
from steepest.losses import as_loss
from steepest.methods import MINI_BATCH, as_method, check_penalty, matching_step_size
from steepest.penalties import ElasticNet
from steepest.problem import Plan, Problem, make_problem, make_validation
from steepest.result import Fit, Recipe
from steepest.sources import is_path
from steepest.streams import as_blocks, check_lasting
from steepest.survey import OF_LABELS, BlockedProblem, survey_blocks
from steepest.threads import thread_count
from steepest.validation import flag, integer, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.backends import Backend
    from steepest.checkpoint import Checkpoint
    from steepest.problem import State


#: What one array may hold.
MOST_PARAMETERS = np.iinfo(np.intp).max // np.dtype(np.float64).itemsize


@dataclass(frozen=True)
class Setup:
    """All that a descent needs."""

    engine: Backend
    problem: Problem
    validation: Problem | None
    plan: Plan
    start: NDArray[np.float64]
    state: State
    reason: str
    place: Any
    """The user's X, where the solution goes."""
    checkpoint: Checkpoint | None = None
    """Where the descent is written down as it goes."""

    def model(self, parameters: NDArray[np.float64]) -> tuple[Any, Any]:
        """Return coefficients and intercept where the user's X is."""
        coef, intercept = (self.engine.give_back(part, self.place) for part in self.problem.unflatten(parameters))
        return coef, intercept

    @property
    def steps_per_epoch(self) -> int:
        """How many steps a pass over the data has: one, or as many as there are mini-batches."""
        method = self.plan.method
        batch_size: int | None = getattr(method, "batch_size", None)
        if method.name not in MINI_BATCH or batch_size is None:
            return 1
        return self.problem.batches_per_epoch(batch_size)

    @property
    def recipe(self) -> Recipe:
        """What two descents share of which one can go on where the other ended."""
        problem, plan = self.problem, self.plan
        return Recipe(
            problem.loss,
            problem.penalty,
            problem.fit_intercept,
            problem.precondition,
            problem.shape,
            problem.design.dtype.str,
            plan.method,
            plan.step_size,
            plan.seed,
            plan.strategy,
            problem.fingerprint(),
        )


def set_up(
    X: Any,
    y: Any,
    *,
    loss: Any,
    alpha: Any,
    l1_ratio: Any,
    fit_intercept: Any,
    sample_weight: Any,
    offset: Any,
    classes: Any,
    method: Any,
    learning_rate: Any,
    batch_size: Any,
    n_steps: Any,
    tol: Any,
    max_seconds: Any,
    target_loss: Any,
    eval_set: Any,
    validation_fraction: Any,
    patience: Any,
    start: Any,
    precondition: Any,
    random_state: Any,
    backend: Any,
    strategy: Any,
    n_threads: Any,
    checkpoint: Any,
    feature_names: list[str] | None = None,
) -> Setup:
    """Check everything that `descend` takes, and put it together; `feature_names` where X has lost them."""
    known("strategy", strategy, STRATEGIES)
    automatic = isinstance(method, str) and method == "auto"
    wanted = {
        "loss": loss,
        "alpha": alpha,
        "l1_ratio": l1_ratio,
        "fit_intercept": fit_intercept,
        "classes": classes,
        "precondition": automatic if _is_auto(precondition) else _flag_or_auto("precondition", precondition),
    }
    threads, seed = thread_count(n_threads), integer("random_state", random_state, least=0)
    data = {"X": X, "y": y, "sample_weight": sample_weight, "offset": offset}
    blocks = as_blocks(**data, numbers=not isinstance(as_loss(loss), OF_LABELS))
    if blocks is None:
        engine = get_backend(nearest(backend, X))
        problem = make_problem(**engine.adopt(**data), **wanted)
    else:
        engine = BlocksBackend(get_backend(backend), threads)
        moments = wants_moments(as_loss(loss), method, batch_size, strategy)
        if not moments:
            check_lasting(blocks)
        problem = survey_blocks(blocks, **wanted, with_moments=moments, n_threads=threads)
    if feature_names is not None:
        problem = replace(problem, feature_names=feature_names)
    problem, validation = _validation(problem, _adopted(engine, eval_set), validation_fraction, seed)
    reason = "it was asked for"
    if automatic:
        method, reason = choose_method(problem, batch_size, strategy)
    chosen = as_method(method, problem.n_samples, batch_size)
    check_penalty(chosen, problem.penalty.l1)
    plan = Plan(
        method=chosen,
        step_size=matching_step_size(chosen, learning_rate, automatic=automatic),
        n_steps=integer("n_steps", n_steps, least=0),
        tol=number("tol", tol, least=0.0),
        n_threads=threads,
        strategy=choose_strategy(problem, chosen, strategy),
        max_seconds=None if max_seconds is None else number("max_seconds", max_seconds, above=0.0),
        target_loss=None if target_loss is None else number("target_loss", target_loss),
        patience=integer("patience", patience, least=1),
        seed=seed,
    )
    if blocks is None and backend == "auto" and engine.name != "cupy" and worth_a_gpu(problem, plan):
        engine = gpu_backend(problem) or engine
    setup = Setup(engine, problem, validation, plan, np.empty(0), {}, reason, X, as_checkpoint(checkpoint))
    origin, state = _begin(setup, start)
    return replace(setup, start=origin, state=state)


def _adopted(engine: Backend, eval_set: Any) -> Any:
    if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:  # noqa: PLR2004
        return eval_set
    if is_path(eval_set[0]):
        raise InputError(
            f"eval_set: expected (X, y) in memory; X is the path {str(eval_set[0])!r}; read the file first"
        )
    try:
        return tuple(engine.adopt(X=eval_set[0], y=eval_set[1]).values())
    except InputError as error:
        raise InputError(f"eval_set: {error}") from None


def _flag_or_auto(name: str, given: object) -> bool:
    try:
        return flag(name, given)
    except InputError:
        raise InputError(f"{name}: expected True, False or 'auto'; got {given!r}") from None


def _is_auto(given: object) -> bool:
    return isinstance(given, str) and given == "auto"


def _validation(problem: Problem, eval_set: Any, validation_fraction: Any, seed: int) -> tuple[Problem, Problem | None]:
    """Return the problem to train on and the one to validate with, if there is one."""
    if eval_set is not None and problem.offset is not None:
        raise InputError("offset: expected None where eval_set is given, which has none; pass validation_fraction")
    if validation_fraction is None:
        return problem, None if eval_set is None else make_validation(problem, eval_set)
    if isinstance(problem, BlockedProblem):
        raise InputError("validation_fraction: rows are not drawn from data in blocks; pass other rows as eval_set")
    if eval_set is not None:
        raise InputError("validation_fraction: expected None where eval_set is given; pass one of the two")
    share = number("validation_fraction", validation_fraction, above=0.0)
    n_held_out = round(share * problem.n_samples)
    if not (share < 1 and 0 < n_held_out < problem.n_samples):
        raise InputError(
            f"validation_fraction: expected a share of the {problem.n_samples} rows that leaves some on both sides; "
            f"got {validation_fraction!r}"
        )
    # Here a row still has the number that the user knows it by.
    check_finite(problem.design, problem.feature_names)
    order = np.random.default_rng(seed).permutation(problem.n_samples)
    held_out = _rows_of(problem, np.sort(order[:n_held_out]))
    held_out = replace(held_out, penalty=ElasticNet(0.0, 0.0), precondition=False)
    return _rows_of(problem, np.sort(order[n_held_out:])), held_out


def _rows_of(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    part = problem.take(rows)
    if part.sample_weight is not None and not part.sample_weight.any():
        raise InputError("validation_fraction: every row on one side has weight 0; pass an eval_set, or other weights")
    return part


def _begin(setup: Setup, start: Any) -> tuple[NDArray[np.float64], State]:
    """Return where to begin, and what to remember if that is where a descent of the same recipe ended."""
    problem = setup.problem
    if start is None:
        if problem.n_parameters > MOST_PARAMETERS:
            raise MemoryError(f"{problem.n_parameters} parameters are beyond all memory")
        return np.zeros(problem.n_parameters), {}
    if isinstance(start, Fit):
        if (start.loss_name, _listed(start.classes)) != (problem.loss.name, _listed(problem.classes)):
            raise InputError(
                f"start: expected a fit of loss {problem.loss.name!r} with classes {_listed(problem.classes)}; "
                f"got one of {start.loss_name!r} with classes {_listed(start.classes)}"
            )
        if start.recipe == setup.recipe:
            return start.parameters, dict(start.state)
        if start.coef.shape == problem.coef_shape and len(start.parameters) == problem.n_parameters:
            return start.parameters, {}
        start = (start.coef, start.intercept)
    if isinstance(start, tuple) and len(start) == 2:  # noqa: PLR2004
        try:
            return problem.flatten(*start), {}
        except InputError as error:
            raise InputError(f"start: {error}") from None
    raise InputError(f"start: expected a Fit or a tuple (coef, intercept); got {start!r}")


def _listed(classes: Any) -> str:
    return "none" if classes is None else str(classes.tolist())
