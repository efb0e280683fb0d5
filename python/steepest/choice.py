"""``"auto"``: a stated cost model picks the method and the strategy. The method is never plain gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steepest.design import Csr
from steepest.errors import InputError
from steepest.losses import Mse
from steepest.methods import CoordinateDescent, Lbfgs, Nesterov, Newton, StochasticGradientDescent
from steepest.survey import MOST_MOMENT_COLUMNS, BlockedProblem
from steepest.validation import known

if TYPE_CHECKING:
    from steepest.losses import Loss
    from steepest.methods import Method
    from steepest.problem import Plan, Problem

STRATEGIES = ("auto", "stream", "gram")
#: Bytes a second that a machine of a few cores reads from memory, and these cores. Not those that are there: the
#: choice, like the result, must not depend on them.
READ_RATE, THREADS = 2e10, 4
#: Multiplications and additions a second of one thread: in a matrix product, and along the indices of a sparse row.
DENSE_RATE, SPARSE_RATE = 1e10, 1.5e9
#: Of a GPU: seconds until it is ready, bytes a second that reach it, and that it reads of its own memory.
GPU_START, GPU_SEND_RATE, GPU_READ_RATE = 1.0, 1e10, 2e12
#: Seconds of the launches of a step with a mini-batch, some thirty.
GPU_BATCH = 1e-4
#: Steps to a relative gap of 1e-6, with preconditioning. The problems of `benches/cases.py` took 4 to 7 and 7 to 135.
NEWTON_STEPS, LBFGS_STEPS = 6, 30
#: Steps of a first-order method with all rows.
FIRST_ORDER_STEPS = 100
#: Seconds that nobody waits for: newton, which ends far below the tolerance, may take them.
MOMENT = 1e-3
#: Columns whose Gram matrix, with the sums of several threads, takes a gigabyte.
MOST_GRAM_FEATURES = 4096
#: Entries of X that are worth it.
FEWEST_GRAM_ENTRIES = 1 << 16
#: Parameters whose Hessian, with the sums of several threads, takes half a gigabyte.
MOST_NEWTON_PARAMETERS = 2048


def choose_method(problem: Problem, batch_size: int | None, strategy: str = "auto") -> tuple[Method, str]:
    """Return a method for `problem` and the sentence that says why.

    Mini-batches that were asked for: sgd. An ℓ1 part: coordinate for "mse", unless there are more columns than rows,
    its matrix would cost more than 100 passes, or `strategy` is "stream"; else nesterov, a proximal method. Otherwise
    newton where it is a matter of a millisecond, else the cheaper of newton and lbfgs, by the seconds that their steps
    should take, with n rows, d columns, k score columns, p parameters:

    * a pass reads all entries once; 2 k multiplications an entry;
    * lbfgs: 30 passes;
    * newton: 6 steps (1 for "mse") of two passes, k (k + 1) / 2 Gram matrices at n d² / 2 (sparse: as many as pairs of
      entries in a row), and a Cholesky factor at p³ / 3.

    Of data in blocks each look is a pass over all of them: newton for "mse", whose moments the first pass takes; else
    lbfgs.
    """
    if batch_size is not None:
        return StochasticGradientDescent(), "batch_size asks for mini-batches"
    if problem.penalty.l1 > 0:
        return _for_an_l1_part(problem, strategy)
    if isinstance(problem, BlockedProblem):
        if problem.survey.moments is not None:
            return Newton(), "the second moments of all rows were taken in one pass"
        return Lbfgs(), "it makes the fewest passes over the blocks"
    newton, lbfgs = _newton_seconds(problem), LBFGS_STEPS * _pass_seconds(problem)
    size = f"{problem.n_parameters} parameters, {problem.n_samples} rows"
    if problem.n_parameters > MOST_NEWTON_PARAMETERS:
        return Lbfgs(), f"{size}: too many parameters for a Hessian"
    method: Method = Newton() if newton <= max(lbfgs, MOMENT) else Lbfgs()
    return method, f"{size}: newton should take {_readable(newton)}, lbfgs {_readable(lbfgs)}"


def _for_an_l1_part(problem: Problem, strategy: str) -> tuple[Method, str]:
    if strategy != "stream" and _takes_statistics(problem):
        return CoordinateDescent(), "an ℓ1 penalty on squared errors goes coordinate by coordinate"
    return Nesterov(), "an ℓ1 penalty needs a proximal method"


def _takes_statistics(problem: Problem) -> bool:
    """Return whether there are sufficient statistics, and at less than the passes of a first-order method."""
    if isinstance(problem, BlockedProblem):
        return problem.survey.moments is not None
    n, d = problem.design.shape
    # Of fewer rows than columns the matrix is larger than X, and singular: coordinates are slow to settle.
    if not isinstance(problem.loss, Mse) or d > min(n, MOST_GRAM_FEATURES):
        return False
    factor = float(d) ** 3 / DENSE_RATE
    return _gram_seconds(problem) + factor < max(FIRST_ORDER_STEPS * _pass_seconds(problem), MOMENT)


def _entries(problem: Problem) -> float:
    design = problem.design
    return float(len(design.data)) if isinstance(design, Csr) else float(design.size)


def _pass_seconds(problem: Problem) -> float:
    entries, sparse = _entries(problem), isinstance(problem.design, Csr)
    item = problem.design.dtype.itemsize
    if isinstance(problem.design, Csr):
        item += problem.design.indices.dtype.itemsize
    reading = entries * item / READ_RATE
    rate = SPARSE_RATE if sparse else DENSE_RATE
    return max(reading, 2 * entries * problem.loss.width / (rate * THREADS))


def _gram_seconds(problem: Problem) -> float:
    """Return the seconds for one Gram matrix of the columns, in double precision."""
    n, d = (float(length) for length in problem.design.shape)
    return n * d * d / 2 / (DENSE_RATE * THREADS)


def _newton_seconds(problem: Problem) -> float:
    factor = problem.n_parameters**3 / 3 / DENSE_RATE
    if isinstance(problem.loss, Mse):
        # All targets share one matrix.
        return _gram_seconds(problem) + 2 * _pass_seconds(problem) + factor / problem.loss.width**3
    width = problem.loss.width
    products = _gram_seconds(problem)
    if isinstance(problem.design, Csr):
        products = _entries(problem) ** 2 / 2 / problem.n_samples / (SPARSE_RATE * THREADS)
    return NEWTON_STEPS * (2 * _pass_seconds(problem) + width * (width + 1) / 2 * products + factor)


def choose_strategy(problem: Problem, method: Method, given: str) -> str:
    """Return "gram" or "stream": as `given`, or the cheaper one for "auto".

    For "mse" with all rows at every step. Statistics cost n d² / 2 multiplications once and d² a step; streaming costs
    a pass a step, and first-order methods are taken to make 100 steps, lbfgs 30, whatever `n_steps` says: a descent
    that is stopped and gone on with must not change its ways. Small data streams: its steps cost next to nothing, and
    are those of the textbook to the last bit. newton needs the matrix in any case.
    """
    known("strategy", given, STRATEGIES)
    in_batches = getattr(method, "batch_size", None) is not None
    able = isinstance(problem.loss, Mse) and not in_batches
    d = int(problem.design.shape[1])
    most = MOST_MOMENT_COLUMNS - problem.loss.width if isinstance(problem, BlockedProblem) else MOST_GRAM_FEATURES
    if method.needs_statistics and not (able and d <= most and given != "stream"):
        found = (
            f"loss {problem.loss.name!r} has none"
            if not able
            else "strategy='stream' reads the rows instead"
            if given == "stream"
            else f"they take at most {most} columns and X has {d}"
        )
        raise InputError(
            f"method: {method.name!r} needs the sufficient statistics of squared errors; {found}; pass method='auto'"
        )
    if given == "gram":
        if not able:
            reason = (
                f"method {method.name!r} uses mini-batches" if in_batches else f"loss {problem.loss.name!r} has none"
            )
            raise InputError(f"strategy: 'gram' needs sufficient statistics of all rows; {reason}; pass 'stream'")
        if d > most:
            raise InputError(
                f"strategy: 'gram' takes at most {most} columns, whose squares it keeps; X has {d}; pass 'stream'"
            )
        return "gram"
    if isinstance(problem, BlockedProblem):
        return "stream" if problem.survey.moments is None else "gram"
    if given == "stream" or not able or d > MOST_GRAM_FEATURES:
        return "stream"
    if method.name == "newton" or method.needs_statistics:
        return "gram"
    if _entries(problem) < FEWEST_GRAM_ENTRIES:
        return "stream"
    steps = LBFGS_STEPS if method.name == "lbfgs" else FIRST_ORDER_STEPS
    gram = _gram_seconds(problem) + 2 * _pass_seconds(problem) + steps * 2 * problem.loss.width * d * d / DENSE_RATE
    return "gram" if gram < steps * _pass_seconds(problem) else "stream"


def wants_moments(loss: Loss, method: Any, batch_size: Any, strategy: str) -> bool:
    """Return whether the second moments of blocks are all that a descent will need of them."""
    in_batches = batch_size is not None or method == "sgd" or getattr(method, "batch_size", None) is not None
    mini_batch = in_batches or isinstance(method, StochasticGradientDescent)
    return isinstance(loss, Mse) and strategy != "stream" and not mini_batch


def worth_a_gpu(problem: Problem, plan: Plan) -> bool:
    """Return whether a GPU should take less than half the time, X brought there included.

    Seconds of the cores as above, for as many passes as the method should need and `n_steps` allows; of a GPU a start,
    the way of X there at 1e10 bytes a second, and passes at 2e12, half of what an H100 reads. A step with a mini-batch
    is its share of a pass, and 1e-4 seconds of launches on a GPU.
    """
    design, method = problem.design, plan.method
    batch_size, launches = getattr(method, "batch_size", None), 0.0
    if isinstance(design, Csr) and batch_size is not None:
        # Every batch is sorted by columns first, and waited for.
        return False
    usual = {"lbfgs": LBFGS_STEPS, "newton": 2 * NEWTON_STEPS}.get(method.name, plan.n_steps)
    passes, size = float(min(plan.n_steps, usual)), _entries(problem) * design.dtype.itemsize
    if batch_size is not None:
        passes, launches = passes * min(1.0, batch_size / problem.n_samples), passes * GPU_BATCH
    here = passes * _pass_seconds(problem)
    if plan.strategy == "gram":
        here, passes = _gram_seconds(problem) + 2 * _pass_seconds(problem), 3
    elif method.name == "newton":
        here = _newton_seconds(problem)
    return GPU_START + size / GPU_SEND_RATE + passes * size / GPU_READ_RATE + launches < here / 2


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return "less than 1 µs"
