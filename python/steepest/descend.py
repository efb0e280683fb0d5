"""The façade: descend, step by step if you like, and look at the objective."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends import get_backend, nearest
from steepest.design import check_finite
from steepest.errors import InputError
from steepest.methods import METHODS
from steepest.outcome import check_outcome, warn_caller
from steepest.problem import STATUSES, Callback, Solution, make_problem
from steepest.result import Fit, History, Step
from steepest.segments import minimise
from steepest.setup import Setup, set_up
from steepest.threads import thread_count
from steepest.validation import flag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from numpy.typing import ArrayLike

    from steepest.checkpoint import Checkpoint
    from steepest.losses import Loss
    from steepest.methods import Method
    from steepest.outcome import Warn
    from steepest.step_sizes import StepSize


def descend(
    X: Any,
    y: ArrayLike | str | PathLike[str] | None = None,
    *,
    loss: str | Loss = "mse",
    alpha: float = 0.0,
    l1_ratio: float = 0.0,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | str | PathLike[str] | None = None,
    offset: ArrayLike | str | PathLike[str] | None = None,
    classes: ArrayLike | None = None,
    method: str | Method = "gd",
    learning_rate: float | str | StepSize = "auto",
    batch_size: int | None = None,
    n_steps: int = 1000,
    tol: float = 0.0,
    max_seconds: float | None = None,
    target_loss: float | None = None,
    eval_set: tuple[ArrayLike, ArrayLike] | None = None,
    validation_fraction: float | None = None,
    patience: int = 10,
    start: Fit | tuple[ArrayLike, ArrayLike] | None = None,
    precondition: bool | str = "auto",
    random_state: int = 0,
    backend: str = "auto",
    strategy: str = "auto",
    n_threads: int | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
) -> Fit:
    """Train a linear model by gradient descent, literally.

    Minimises F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b + oᵢ) / Σᵢ sᵢ + α [ρ ‖W‖₁ + ½ (1 − ρ) ‖W‖²]. With
    ``method="gd"``, a number as `learning_rate` and no `tol` it makes exactly `n_steps` steps of that size; nothing is
    rescaled behind your back.

    Parameters
    ----------
    X : array_like, frame or sparse, (n_samples, n_features) or (n_samples,); path, or blocks
        float32 or float64, contiguous by rows or by columns, is used in place, and so is a CSR matrix with int32 or
        int64 indices, and a pandas, polars or Arrow table or a DLPack array that is laid out so; other numbers are
        converted once. Do not write to it during the call. Its type is that of the computation: `y`, the weights and
        the offset are rounded to it.

        Data beyond memory: the path of a ``.npy``, Parquet, CSV or svmlight file, or a list of paths, or a pattern such
        as ``"data/*.parquet"``; an Arrow record-batch reader; or blocks ``(X, y)`` or ``(X, y, sample_weight)``: a
        list, what can be iterated again and again, or a function that returns an iterator. They are read ahead, a few
        blocks at a time, once a step, and once before the first; for ``"mse"`` with all rows once in all.

        Or rows on a cluster: a dask array, a dask dataframe (`y`, the weights and the offset may be names of its
        columns), or a list of delayed blocks (X, y[, sample_weight]), with None as `y`. They stay on the workers of the
        current ``distributed.Client``; the result has the same bits for any number of these.
    y : array_like, (n_samples,) or (n_samples, k); column name, or path
        Numbers for ``"mse"`` (k ≥ 2 columns: as many targets) and ``"huber"``, counts ≥ 0 for ``"poisson"``, class
        labels of any type for ``"log_loss"`` (or k ≥ 2 columns of probabilities) and, two of them, ``"squared_hinge"``.
        Of tables in files, the name of the column; for ``.npy`` files an array or another such file; None for blocks
        and svmlight. `sample_weight` and `offset` likewise.
    loss : {"mse", "log_loss", "huber", "poisson", "squared_hinge"} or a loss
        Or an alias: ``"squared_error"``, ``"cross_entropy"``; or a description: ``st.Huber(delta=2.0)``. More than two
        classes make ``"log_loss"`` softmax regression.
    alpha : float ≥ 0
        Strength of the penalty; the intercept is not penalised.
    l1_ratio : float in [0, 1]
        ρ: 0 is ridge, 1 is lasso.
    fit_intercept : bool
        Whether there is a b.
    sample_weight : array_like, (n_samples,), optional
        None negative, not all zero. Weight 2 is the same as the row twice.
    offset : array_like, (n_samples,) or (n_samples, k), optional
        A known part o of the scores, such as the logarithm of an exposure.
    classes : array_like, optional
        All labels in their order, where `y` may hold only some of them; default: those in `y`, sorted.
    method : {"gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton", "coordinate", "auto"} or a method
        Or a description: ``st.Momentum(momentum=0.8)``. ``"auto"`` picks by a cost model (`steepest.choice`);
        `Fit.reason` says why. ``"lbfgs"`` and ``"newton"`` take no `l1_ratio`; ``"coordinate"`` is for ``"mse"``.
    learning_rate : float > 0, "auto", "armijo", "barzilai_borwein" or a rule
        The step size η in w ← w − η ∇F(w), or a rule for it: ``st.Cosine(0.1, n_steps=500)``. ``"auto"`` is 1/L, where
        L bounds the curvature of F, halved where F bends more than that; for ``"adam"`` 0.1 / √(1 + k); for ``"sgd"``
        safe for the average row, and slowly falling. ``"lbfgs"``, ``"newton"`` and ``"coordinate"`` have their own.
    batch_size : int ≥ 1, optional
        Rows of a mini-batch, for ``"sgd"`` (default 256) and ``"adam"`` (default: all).
    n_steps : int ≥ 0
        Steps at the most; mini-batch methods count batches.
    tol : float ≥ 0
        Stop when the norm of the proximal gradient mapping w − prox(w − ∇f(w)), which is ‖∇F‖ without an ℓ1 part, is at
        most `tol` times what it is at zero parameters, where a descent starts by default. 0 never stops early.
    max_seconds : float > 0, optional
        Stop after the first evaluation that is later than this.
    target_loss : float, optional
        Stop when F is at most this.
    eval_set : (X, y), optional
        Validation data. Its average loss, without penalty, is recorded before every step; the parameters that were best
        by it are returned, and the descent ends when `patience` evaluations in a row were not better.
    validation_fraction : float in (0, 1), optional
        Draw such a share of the rows as the validation data instead (a copy), by `random_state`.
    patience : int ≥ 1
        See `eval_set`.
    start : Fit or (coef, intercept), optional
        Where to begin; zero by default. A `Fit` of the same problem by the same method is gone on with as if it had
        never stopped: k steps and then m are k + m, bit for bit.
    precondition : bool or "auto"
        Descend in variables for which the columns of X have mean zero and deviation one. Neither X nor the problem
        changes: the penalty and the optimum stay those of your units, sparse data stays sparse. ``"auto"`` does it for
        ``method="auto"`` only. `gradient_norm` is then in these variables.
    random_state : int ≥ 0
        Seed of the mini-batches and of `validation_fraction`.
    backend : {"auto", "rust", "numpy", "cupy"}
        What computes. Never replaced by another one silently. ``"auto"`` is ``"cupy"`` where X is on a GPU, or where
        one should pay for the way there (`steepest.choice`), else ``"rust"``. An X on a GPU, of CuPy, PyTorch or JAX,
        is used in place, and coefficients come back there; y, weights and offset, which must be there too, are checked
        in main memory. There X may also be float16 or bfloat16: it is read as it is and computed in float32.
    strategy : {"auto", "stream", "gram"}
        How the loss is evaluated: ``"stream"`` reads X once a step; ``"gram"``, for ``"mse"``, reads it once or twice
        in all, for its sufficient statistics in float64, and every step then costs as if there were n_features rows.
        The steps are the same up to rounding. ``"auto"`` decides by the shape of X and the method (`steepest.choice`).
    n_threads : int ≥ 1, optional
        Default: STEEPEST_NUM_THREADS, OMP_NUM_THREADS, or all cores. The result has the same bits for any number.
    callback : callable, optional
        Called before every step, or every epoch of mini-batches, as ``callback(info)``, with `info.step`, `info.loss`,
        `info.gradient_norm`, `info.step_size`, `info.seconds`, `info.validation_loss`; a true answer stops there.
    progress : bool
        Show a bar with step, loss and gradient norm.
    checkpoint : path-like or Checkpoint, optional
        A file in which the descent is written down as it goes, every ten seconds, at the end and at Ctrl-C, each time
        whole or not at all. If it is there already the descent goes on from it, bit for bit as if it had never
        stopped: after a crash, run the same lines again. `n_steps` counts from the first start, `max_seconds` from
        this call. A file of another descent, or of other validation data, is refused.

    Returns
    -------
    Fit
        Coefficients, intercept, final loss, and the history of every step.

    Raises
    ------
    InputError
        If an argument is not what it should be; the message names it.
    DivergenceError
        If the loss leaves the finite numbers: the learning rate is too large. Names the largest safe one.
    BackendUnavailableError
        If the backend cannot run here.
    CheckpointError
        If the file to go on from is no checkpoint, or is damaged.
    OSError
        If the checkpoint cannot be written; an old one is then left as it was.
    ClusterError
        If a partition cannot be read, or the cluster is lost.

    Warns
    -----
    IllConditionedWarning
        If ``method="newton"`` solves least squares whose solution is not determined by the data to half its digits; if
        `precondition` takes a column for a constant; if `tol` was reached without it, but by the intercept or by some
        columns alone: where all are brought to one scale, a share of the gradient is left.
    ConvergenceWarning
        If a `tol` was asked for and not reached, or if the loss ends higher than it began.

    Examples
    --------
    >>> import numpy as np
    >>> import steepest as st
    >>> x = np.array([0.0, 1.0, 2.0, 3.0])
    >>> fit = st.descend(x, 2 * x + 1, learning_rate=0.1, n_steps=500)
    >>> fit.coef.round(6), fit.intercept.round(6)
    (array([2.]), np.float64(1.0))
    >>> fit.history.loss[:2]
    array([21.   ,  0.535])

    Data beyond memory, as a function that opens its blocks:

    >>> def blocks():
    ...     return ((x[i : i + 2, np.newaxis], 2 * x[i : i + 2] + 1) for i in (0, 2))
    >>> st.descend(blocks, method="auto").coef.round(6)
    array([2.])
    """
    options = {name: value for name, value in locals().items() if name not in {"X", "y", "callback", "progress"}}
    setup = set_up(X, y, **options)
    if callback is not None and not callable(callback):
        raise InputError(f"callback: expected a callable or None; got {callback!r}")
    if flag("progress", progress):
        from steepest.progress import watched

        read = getattr(getattr(setup.problem, "blocks", None), "gauge", None)
        with watched(setup.plan.n_steps, callback, read) as watching:
            return run(setup, watching)
    return run(setup, callback)


def run(setup: Setup, callback: Callback | None = None, warn: Warn = warn_caller) -> Fit:
    """Descend as set up; raise, or `warn`, where the descent did not end as its caller must expect."""
    solution, seconds = minimise(setup, callback)
    if setup.validation is not None and not np.isfinite(solution.validation_loss):
        try:
            check_finite(setup.validation.design, setup.validation.feature_names)
        except InputError as error:
            raise InputError(f"eval_set: {error}") from None
    check_outcome(setup.engine, setup.problem, setup.plan, solution, warn)
    return _fit(setup, solution, seconds)


def _fit(setup: Setup, solution: Solution, seconds: float) -> Fit:
    problem = setup.problem
    coef, intercept = setup.model(solution.parameters)
    return Fit(
        coef=coef,
        intercept=intercept,
        loss=solution.loss,
        gradient_norm=solution.gradient_norm,
        validation_loss=None if setup.validation is None else solution.validation_loss,
        n_steps=solution.n_steps,
        seconds=seconds,
        status=solution.status,
        message=STATUSES[solution.status],
        history=History(**solution.history),
        classes=problem.classes,
        feature_names=problem.feature_names,
        loss_name=problem.loss.name,
        backend=setup.engine.name,
        method=setup.plan.method.name,
        reason=setup.reason,
        strategy=setup.plan.strategy,
        condition=solution.condition,
        parameters=solution.parameters,
        state=solution.state,
        recipe=setup.recipe,
    )


def loss_and_gradient(
    X: ArrayLike,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike = 0.0,
    *,
    loss: str | Loss = "mse",
    alpha: float = 0.0,
    l1_ratio: float = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, Any, Any]:
    """Return the objective and its gradient at given parameters, in one pass over X.

    Parameters
    ----------
    X, y, loss, alpha, l1_ratio, sample_weight, offset, backend, n_threads
        As in `descend`.
    coef : array_like, (n_features,) or (k, n_features)
        Coefficients.
    intercept : float or array_like, (k,)
        Intercept.
    classes : array_like, optional
        All labels in their order, where `y` may hold only some of them; default: those in `y`, sorted.

    Returns
    -------
    value : float
        F(coef, intercept); like the gradient, infinite where it is beyond the range of numbers.
    coef_gradient : ndarray of float64
        ∂F/∂coef, shape of `coef`; an ℓ1 part, which has no derivative at zero, is left to its proximal map.
    intercept_gradient : float or ndarray of float64, (k,)
        ∂F/∂intercept.

    Raises
    ------
    InputError
        If an argument is not what it should be, or the loss or the gradient there is no number, as it may be where
        scores are beyond the range of numbers; the message names it.

    Examples
    --------
    >>> import steepest as st
    >>> st.loss_and_gradient([[1.0], [2.0]], [1.0, 1.0], coef=[1.0])
    (0.5, array([2.]), 1.0)
    """
    engine = get_backend(nearest(backend, X))
    data = engine.adopt(X=X, y=y, sample_weight=sample_weight, offset=offset)
    problem = make_problem(
        data["X"],
        data["y"],
        loss=loss,
        alpha=alpha,
        l1_ratio=l1_ratio,
        fit_intercept=True,
        sample_weight=data["sample_weight"],
        offset=data["offset"],
        classes=classes,
    )
    parameters = problem.flatten(coef, intercept)
    value, gradient = engine.value_and_gradient(problem, parameters, thread_count(n_threads))
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        check_finite(problem.design, problem.feature_names)
    if np.isnan(value) or np.isnan(gradient).any():
        raise InputError("coef: the scores there are beyond the range of numbers; bring X to a scale near 1")
    coef_gradient = engine.give_back(gradient[: problem.n_coef].reshape(problem.coef_shape), X)
    intercept_gradient = gradient[problem.n_coef :]
    if problem.loss.width == 1:
        return value, coef_gradient, float(intercept_gradient[0])
    return value, coef_gradient, engine.give_back(intercept_gradient, X)


def iterate(X: ArrayLike, y: ArrayLike, *, n_steps: int = 1000, **options: Any) -> Iterator[Step]:
    """Descend one step at a time: a loop to look into, for teaching and notebooks.

    The steps are those of `descend`, bit for bit where `strategy` is the same; each costs one evaluation more.

    Parameters
    ----------
    X, y
        As in `descend`.
    n_steps : int ≥ 0
        Steps at the most.
    **options
        Those of `descend` that say what to minimise and how; `strategy` is ``"stream"`` by default. The loop ends by
        itself at `n_steps`, at `tol`, or where no better point is found; leave it when you have seen enough.

    Yields
    ------
    Step
        Before the first step and after each: `step`, `loss`, `gradient_norm`, `step_size` of the step that led here,
        `coef`, `intercept`.

    Raises
    ------
    InputError, DivergenceError, BackendUnavailableError
        As `descend`.

    Examples
    --------
    >>> import steepest as st
    >>> for step in st.iterate([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], learning_rate=0.25, n_steps=3):
    ...     print(step.step, round(step.loss, 4), step.coef.round(2))
    0 11.6667 [0.]
    1 0.463 [2.17]
    2 0.036 [1.78]
    3 0.0151 [1.88]
    """
    strange = sorted(set(options) - _iterate_options())
    if strange:
        raise InputError(f"iterate: {strange[0]!r} is not one of its options: {', '.join(sorted(_iterate_options()))}")
    method: Any = options.get("method")
    described = METHODS.get(method) if isinstance(method, str) else method
    strategy = "auto" if getattr(described, "needs_statistics", False) else "stream"
    setup = set_up(X, y, **{**descend_defaults(), "strategy": strategy, **options, "n_steps": n_steps})
    return _steps(setup)


def _steps(setup: Setup) -> Iterator[Step]:
    n_steps, step, size = setup.plan.n_steps, 0, float("nan")
    one = replace(setup.plan, n_steps=1)
    solution = setup.engine.minimise(
        setup.problem, None, replace(one, n_steps=0), setup.start, setup.state, callback=None
    )
    while True:
        if solution.status == "diverged":
            check_outcome(setup.engine, setup.problem, setup.plan, solution, warn_caller)
        coef, intercept = setup.model(solution.parameters)
        yield Step(step, solution.loss, solution.gradient_norm, size, coef, intercept)
        if step == n_steps:
            return
        start, state = (setup.start, setup.state) if step == 0 else (solution.parameters, solution.state)
        solution = setup.engine.minimise(setup.problem, None, one, start, state, callback=None)
        if solution.n_steps == 0 and solution.status != "diverged":
            return
        step, size = step + 1, float(solution.history["step_size"][-1])


def descend_defaults() -> dict[str, Any]:
    """Return what `descend` takes unless told otherwise, of all that says what to minimise and how."""
    defaults = dict(descend.__kwdefaults__ or {})
    return {name: value for name, value in defaults.items() if name not in {"callback", "progress"}}


def _iterate_options() -> set[str]:
    return set(descend_defaults()) - {
        "n_steps",
        "max_seconds",
        "eval_set",
        "validation_fraction",
        "patience",
        "target_loss",
        "checkpoint",
    }
