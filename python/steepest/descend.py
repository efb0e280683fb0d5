"""The façade: descend, and look at the objective."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.backends import get_backend, thread_count
from steepest.errors import ConvergenceWarning, DivergenceError, InputError
from steepest.methods import METHODS
from steepest.problem import STATUSES, Callback, Plan, Problem, Solution, make_problem
from steepest.result import Fit, History
from steepest.validation import check_finite, flag, integer, known, number, rate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from steepest.backends import Backend

STRATEGIES = ("auto", "stream")


def descend(
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str = "mse",
    alpha: float = 0.0,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    method: str = "gd",
    learning_rate: float | str = "auto",
    n_steps: int = 1000,
    tol: float = 0.0,
    start: Fit | tuple[ArrayLike, ArrayLike] | None = None,
    backend: str = "auto",
    strategy: str = "auto",
    n_threads: int | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Fit:
    r"""Train a linear model by gradient descent, literally.

    Minimises :math:`F(W, b) = \sum_i s_i \ell(y_i, W x_i + b) / \sum_i s_i + \frac{\alpha}{2} \|W\|^2`. With a number
    as `learning_rate` and no `tol` it makes exactly `n_steps` steps of that size; nothing is rescaled behind your back.

    Parameters
    ----------
    X : array_like, (n_samples, n_features) or (n_samples,)
        float32 or float64, contiguous by rows or by columns, is used in place; anything else is converted once. Do not
        write to it during the call. Its type is that of the computation: `y` and the weights are rounded to it.
    y : array_like, (n_samples,)
        Numbers for ``"mse"``, class labels of any type for ``"log_loss"``.
    loss : {"mse", "log_loss"}
        Or an alias: ``"squared_error"``, ``"cross_entropy"``. More than two classes make it softmax regression.
    alpha : float ≥ 0
        Strength of the L2 penalty; the intercept is not penalised.
    fit_intercept : bool
        Whether there is a b.
    sample_weight : array_like, (n_samples,), optional
        None negative, not all zero. Weight 2 is the same as the row twice.
    classes : array_like, optional
        All labels in their order, where `y` may hold only some of them; default: those in `y`, sorted.
    method : {"gd"}
        Plain gradient descent.
    learning_rate : float > 0 or "auto"
        The step size η in w ← w − η ∇F(w). ``"auto"`` is 1/L, where L bounds the curvature of F: the loss never rises,
        and of all fixed steps it has the best guaranteed rate. Beyond 2/L a quadratic diverges.
    n_steps : int ≥ 0
        Steps at the most.
    tol : float ≥ 0
        Stop when ‖∇F‖ is at most `tol` times its value at zero parameters; 0 never stops early.
    start : Fit or (coef, intercept), optional
        Where to begin; zero by default.
    backend : {"auto", "rust", "numpy", "cupy"}
        What computes. Never replaced by another one silently.
    strategy : {"auto", "stream"}
        How the gradient is computed: ``"stream"`` reads X once a step.
    n_threads : int ≥ 1, optional
        Default: STEEPEST_NUM_THREADS, OMP_NUM_THREADS, or all cores. The result has the same bits for any number.
    callback : callable, optional
        Called before every step as ``callback(info)``, with `info.step`, `info.loss`, `info.gradient_norm`,
        `info.step_size`, `info.seconds`; a true answer stops there.
    progress : bool
        Show a bar with step, loss and gradient norm.

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

    Warns
    -----
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
    """
    engine = get_backend(backend)
    known("strategy", strategy, STRATEGIES)
    problem = make_problem(
        X,
        y,
        loss=loss,
        alpha=alpha,
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        classes=classes,
    )
    plan = Plan(
        method=known("method", method, METHODS),
        learning_rate=rate(learning_rate),
        n_steps=integer("n_steps", n_steps, least=0),
        tol=number("tol", tol, least=0.0),
        reference=None,
        n_threads=thread_count(n_threads),
    )
    origin = _start(problem, start)
    if plan.tol > 0 and origin.any():
        _, gradient = engine.value_and_gradient(problem, np.zeros_like(origin), plan.n_threads)
        plan = replace(plan, reference=float(np.linalg.norm(gradient)))
    if callback is not None and not callable(callback):
        raise InputError(f"callback: expected a callable or None; got {callback!r}")
    if flag("progress", progress):
        from steepest.progress import watched

        with watched(plan.n_steps, callback) as watching:
            solution = engine.minimise(problem, plan, origin, watching)
    else:
        solution = engine.minimise(problem, plan, origin, callback)
    _check_outcome(engine, problem, plan, solution)
    coef, intercept = problem.unflatten(solution.parameters)
    n_made = len(solution.history["loss"])
    return Fit(
        coef=coef,
        intercept=intercept,
        loss=solution.loss,
        gradient_norm=solution.gradient_norm,
        n_steps=n_made,
        status=solution.status,
        message=STATUSES[solution.status],
        history=History(step=np.arange(n_made), **solution.history),
        classes=problem.classes,
        loss_name=problem.loss.name,
        backend=engine.name,
        method=plan.method,
        strategy="stream",
        parameters=solution.parameters,
    )


def loss_and_gradient(
    X: ArrayLike,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike = 0.0,
    *,
    loss: str = "mse",
    alpha: float = 0.0,
    sample_weight: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, Any, Any]:
    """Return the objective and its gradient at given parameters, in one pass over X.

    Parameters
    ----------
    X, y, loss, alpha, sample_weight, backend, n_threads
        As in `descend`.
    coef : array_like, (n_features,) or (n_classes, n_features)
        Coefficients.
    intercept : float or array_like, (n_classes,)
        Intercept.
    classes : array_like, optional
        All labels in their order, where `y` may hold only some of them; default: those in `y`, sorted.

    Returns
    -------
    value : float
        F(coef, intercept).
    coef_gradient : ndarray of float64
        ∂F/∂coef, shape of `coef`.
    intercept_gradient : float or ndarray of float64, (n_classes,)
        ∂F/∂intercept.

    Raises
    ------
    InputError
        If an argument is not what it should be; the message names it.

    Examples
    --------
    >>> import steepest as st
    >>> st.loss_and_gradient([[1.0], [2.0]], [1.0, 1.0], coef=[1.0])
    (0.5, array([2.]), 1.0)
    """
    engine = get_backend(backend)
    problem = make_problem(
        X,
        y,
        loss=loss,
        alpha=alpha,
        fit_intercept=True,
        sample_weight=sample_weight,
        classes=classes,
    )
    parameters = problem.flatten(coef, intercept)
    value, gradient = engine.value_and_gradient(problem, parameters, thread_count(n_threads))
    if not np.isfinite(value):
        check_finite(problem.design)
    coef_gradient = gradient[: problem.n_coef].reshape(problem.coef_shape)
    intercept_gradient = gradient[problem.n_coef :]
    if problem.loss.width == 1:
        return value, coef_gradient, float(intercept_gradient[0])
    return value, coef_gradient, intercept_gradient


def _start(problem: Problem, start: Fit | tuple[Any, Any] | None) -> Any:
    if start is None:
        return problem.flatten(np.zeros(problem.coef_shape), 0.0)
    if isinstance(start, Fit):
        if (start.loss_name, _listed(start.classes)) != (problem.loss.name, _listed(problem.classes)):
            raise InputError(
                f"start: expected a fit of loss {problem.loss.name!r} with classes {_listed(problem.classes)}; "
                f"got one of {start.loss_name!r} with classes {_listed(start.classes)}"
            )
        # In full precision, so that going on is the same as never having stopped.
        if start.coef.shape == problem.coef_shape and len(start.parameters) == problem.n_parameters:
            return start.parameters
        start = (start.coef, start.intercept)
    if isinstance(start, tuple) and len(start) == 2:  # noqa: PLR2004
        try:
            return problem.flatten(*start)
        except InputError as error:
            raise InputError(f"start: {error}") from None
    raise InputError(f"start: expected a Fit or a tuple (coef, intercept); got {start!r}")


def _listed(classes: Any) -> str:
    return "none" if classes is None else str(classes.tolist())


def _check_outcome(engine: Backend, problem: Problem, plan: Plan, solution: Solution) -> None:
    """Raise or warn where the descent did not end as its caller must expect."""
    if solution.status == "diverged":
        # A cell that is not finite ends the first pass this way, so no pass of its own need look for it.
        check_finite(problem.design)
        raise _divergence(engine, problem, plan, solution)
    losses = solution.history["loss"]
    if len(losses) and solution.history["step_size"][-1] == 0:
        raise _divergence(engine, problem, plan, solution)
    if len(losses) and solution.loss > losses[0] + _rounding(problem, losses[0]):
        size = solution.history["step_size"][-1]
        warnings.warn(
            f"the loss rose from {losses[0]:.6g} to {solution.loss:.6g}: a step size of {size:.6g} is too large "
            f"here; the largest safe one is {_safe_step_size(engine, problem, plan):.6g} (learning_rate='auto')",
            ConvergenceWarning,
            stacklevel=3,
        )
    elif plan.tol > 0 and solution.status == "max_steps":
        first = solution.history["gradient_norm"][0] if len(losses) else solution.gradient_norm
        share = solution.gradient_norm / (first if plan.reference is None else plan.reference)
        warnings.warn(
            f"not converged after {plan.n_steps} steps: the gradient norm is {solution.gradient_norm:.3g}, "
            f"{share:.3g} of that at zero, and tol is {plan.tol:g}; "
            "raise n_steps, bring the columns of X to a similar scale, or accept a larger tol",
            ConvergenceWarning,
            stacklevel=3,
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
