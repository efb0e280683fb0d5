"""What both estimators share: arguments to `descend`, tables to arrays, the fit to attributes."""

from __future__ import annotations

import inspect
import re
import warnings
from abc import ABC, abstractmethod
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from joblib import effective_n_jobs  # type: ignore[import-untyped]
from scipy import sparse
from sklearn import exceptions
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    check_X_y,
    validate_data,
)

from steepest import errors
from steepest.descend import descend_defaults, run
from steepest.design import check_scores
from steepest.errors import DivergenceError, InputError
from steepest.estimators.checks import refuse_conversions
from steepest.estimators.watching import CallbackSupportMixin, Printed, Watched, all_of
from steepest.losses import as_loss
from steepest.methods import DEFAULT_BATCH, Adam, StochasticGradientDescent
from steepest.problem import as_offset
from steepest.setup import Setup, set_up
from steepest.tables import as_frame, as_matrix
from steepest.validation import flag, integer, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.losses import Loss
    from steepest.methods import Method
    from steepest.problem import Problem
    from steepest.result import Fit, History

PENALTIES = ("l1", "l2", "elasticnet")
DTYPES = (np.float64, np.float32)
#: What `descend` calls its arguments, and what scikit-learn does.
CALLED = {
    "n_steps": "max_iter",
    "n_threads": "n_jobs",
    "patience": "n_iter_no_change",
    "method": "solver",
    "methods": "solvers",
    "nan": "NaN",
}
#: What stands in quotes is the user's own, and left as it is.
WORDS = re.compile(rf"'[^']*'|\b(?:{'|'.join(CALLED)})\b")
#: What an update by hand remembers from the data before.
KEPT = ("n_made", "n_seen", "mean", "square", "previous")
#: Rows from which on their means and deviations are near those of the rows to come.
FEWEST_TO_SCALE = 10
#: In place of targets where none are needed; None is none given where they are.
NO_TARGETS = object()
#: Packages whose lines nobody wants to be warned of.
NOT_THE_CALLER = {"steepest", "sklearn", "joblib", "contextlib"}


class ConvergenceWarning(errors.ConvergenceWarning, exceptions.ConvergenceWarning):  # type: ignore[misc]
    """Both packages' warning: whoever filters one of them means this one too."""


KINDS: dict[type[Warning], type[Warning]] = {errors.ConvergenceWarning: ConvergenceWarning}


class LinearEstimator(CallbackSupportMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """Fits by `descend`; the two kinds say what a target is and what a prediction."""

    coef_: Any
    intercept_: Any
    n_iter_: int
    history_: History
    status_: str
    solver_: str
    backend_: str
    fit_: Fit
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    #: The loss as it was fitted: with its number of classes or targets.
    loss_: Loss

    def __init__(
        self,
        loss: Any,
        *,
        penalty: str | None,
        alpha: float,
        l1_ratio: float,
        fit_intercept: bool,
        solver: Any,
        learning_rate: Any,
        batch_size: int | None,
        max_iter: int,
        tol: float,
        precondition: bool,
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        warm_start: bool,
        backend: str,
        n_jobs: int | None,
        random_state: Any,
        verbose: int,
        checkpoint: Any,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.precondition = precondition
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a fit has ended: one that was interrupted has left the names of its columns, no more."""
        return hasattr(self, "coef_")

    def _has_loss(self, kind: type[Loss]) -> bool:
        """Return whether the loss is of this kind; a wrong one is none: `fit` says so, not a notebook's display."""
        try:
            return isinstance(as_loss(self.loss), kind)
        except InputError:
            return False

    def sparsify(self) -> Self:
        """Keep the coefficients as a sparse matrix: smaller where an ℓ1 penalty made most of them zero.

        Returns
        -------
        self
            `coef_` is a scipy.sparse matrix, (n_scores, n_features), of which predictions read only what is not zero:
            in columns of zeros, entries that are not finite are not seen.

        Examples
        --------
        >>> import steepest as st
        >>> X, y = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]], [0.0, 1.0, 2.0, 3.0]
        >>> st.GDRegressor(penalty="l1", alpha=0.1).fit(X, y).sparsify().coef_.nnz
        1
        """
        check_is_fitted(self)
        self.coef_ = sparse.csr_matrix(self.coef_ if sparse.issparse(self.coef_) else np.atleast_2d(self.coef_))
        return self

    def densify(self) -> Self:
        """Turn `coef_` back into an array, after `sparsify`.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if sparse.issparse(self.coef_):
            self.coef_ = self._shaped(self.coef_.toarray())
        return self

    @abstractmethod
    def _shaped(self, coef: NDArray[Any]) -> NDArray[Any]:
        """Return coefficients in the shape that scikit-learn's users expect."""

    @abstractmethod
    def _attributes(self, problem: Problem, coef: NDArray[Any], intercept: Any) -> dict[str, Any]:
        """Return what predictions need, by name."""

    def _scores(self, X: Any, offset: Any = None) -> NDArray[Any]:
        """Return X · coefᵀ + intercept + offset, (n,) or (n, n_scores)."""
        check_is_fitted(self)
        matrix, _ = self._as_checked(X, reset=False)
        coef = self.coef_.T if sparse.issparse(self.coef_) else np.atleast_2d(self.coef_).T
        with np.errstate(over="ignore", invalid="ignore"):
            product = matrix @ coef
            product = product.toarray() if sparse.issparse(product) else np.asarray(product)
            scores: NDArray[Any] = product + np.atleast_1d(self.intercept_)
            scores = scores[:, 0] if self.loss_.width == 1 else scores
            if offset is not None:
                scores = scores + as_offset(offset, len(scores), scores.dtype, self.loss_.width)
        self._in_our_words(check_scores, scores, matrix, self._names())
        return scores

    def _names(self) -> list[str] | None:
        return list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None

    def _as_checked(
        self, X: Any, y: Any = NO_TARGETS, *, reset: bool, several: bool = False, numeric: bool = False
    ) -> tuple[Any, Any]:
        """Return X as an array or sparse, and y if it is given; remember, or compare, the names of the columns."""
        frame = as_frame("X", X)
        matrix, names = as_matrix("X", frame)
        options = {
            "accept_sparse": "csr",
            "dtype": DTYPES,
            # A cell that is not finite is found by the first pass over the data, which names it.
            "ensure_all_finite": False,
            "estimator": self,
        }
        refuse_conversions(matrix, y)
        try:
            # A long double that is too large becomes infinite, and is then refused as such.
            with np.errstate(over="ignore"):
                if y is not NO_TARGETS:
                    matrix, y = check_X_y(matrix, y, multi_output=several, y_numeric=numeric, **options)
                else:
                    matrix = check_array(matrix, input_name="X", **options)
        except OverflowError as error:
            raise InputError(f"X: expected numbers that float64 can hold; {error}") from error
        validate_data(self, matrix if names is None else frame, skip_check_array=True, reset=reset)
        return matrix, y

    def _set_up(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> Setup:
        """Return what the parameters mean for this data."""
        ratios = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio}
        if self.penalty is not None:
            known("penalty", self.penalty, PENALTIES)
        number("alpha", self.alpha, least=0.0)
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = int(check_random_state(seed).randint(2**31))
        return set_up(
            X,
            y,
            **{
                **descend_defaults(),
                "loss": self.loss,
                "alpha": 0.0 if self.penalty is None else self.alpha,
                "l1_ratio": ratios[self.penalty],
                "fit_intercept": self.fit_intercept,
                "sample_weight": sample_weight,
                "method": self.solver,
                "learning_rate": self.learning_rate,
                "batch_size": self.batch_size,
                "tol": self.tol,
                "precondition": flag("precondition", self.precondition),
                "random_state": seed,
                "backend": self.backend,
                "n_threads": self._threads(),
                "feature_names": None if hasattr(X, "reduce") else self._names(),
                **options,
            },
        )

    def _threads(self) -> int | None:
        n_jobs = self.n_jobs
        if n_jobs is None:
            return None
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
            raise InputError(f"n_jobs: expected a number of threads, -1 for every core, or None; got {n_jobs!r}")
        return int(effective_n_jobs(n_jobs))

    def _fit(self, X: Any, y: Any, sample_weight: Any, given: dict[str, Any], *, offset: Any, eval_set: Any) -> Fit:
        """Descend until converged; `given` is what callbacks are told of the data."""
        max_iter = integer("max_iter", self.max_iter, least=1)
        held_out = flag("early_stopping", self.early_stopping) and eval_set is None
        in_blocks = hasattr(X, "reduce")
        if eval_set is not None and not in_blocks:
            eval_set = self._as_eval_set(eval_set)
        setup = self._set_up(
            X,
            y,
            sample_weight,
            offset=offset,
            eval_set=eval_set,
            validation_fraction=self.validation_fraction if held_out else None,
            patience=self.n_iter_no_change,
            n_steps=max_iter,
            start=self._start(),
            checkpoint=self.checkpoint,
        )
        if in_blocks:
            self._remember_columns(setup.problem)
        setup = replace(setup, plan=replace(setup.plan, n_steps=max_iter * setup.steps_per_epoch))
        return self._run(setup, max_iter, given)

    def _remember_columns(self, problem: Problem) -> None:
        """Set what scikit-learn's validation sets for data in memory."""
        self.n_features_in_ = problem.shape[1]
        if problem.feature_names is not None:
            self.feature_names_in_ = np.asarray(problem.feature_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _run(self, setup: Setup, n_iter: int, given: dict[str, Any]) -> Fit:
        watchers: list[Any] = []
        if self.verbose:
            watchers.append(Printed(f"[{type(self).__name__}]", every_step=self.verbose > 1))
        if getattr(self, "_skl_callbacks", None):
            watchers.append(Watched(self, setup, n_iter, given))
        fit = run(setup, all_of(watchers), warn_caller)
        self.fit_ = fit
        self.history_, self.status_, self.backend_ = fit.history, fit.status, fit.backend
        self.solver_ = fit.method
        self.n_iter_ = max(1, -(-fit.n_steps // setup.steps_per_epoch))
        for name, value in self._attributes(setup.problem, fit.coef, fit.intercept).items():
            setattr(self, name, value)
        for watcher in watchers:
            watcher.end(fit)
        return fit

    def _as_eval_set(self, eval_set: Any) -> Any:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:  # noqa: PLR2004
            raise InputError(f"eval_set: expected a pair (X, y); got {type(eval_set).__name__}")
        try:
            matrix, _ = self._as_checked(eval_set[0], reset=False)
        except ValueError as error:
            raise InputError(f"eval_set: {error}") from error
        return matrix, np.asarray(eval_set[1])

    def _start(self) -> Any:
        """Return where the last fit ended, if it is to be gone on with."""
        return getattr(self, "fit_", None) if flag("warm_start", self.warm_start) else None

    def _update(self, X: Any, y: Any, sample_weight: Any, given: dict[str, Any], classes: Any = None) -> Fit:
        """Make one pass of mini-batch steps over this data, from where the last one ended."""
        last: Fit | None = getattr(self, "fit_", None)
        method = self._stochastic()
        # What a method remembers is in the variables of its part: with a memory, all parts must have the same.
        forgets = getattr(method, "momentum", None) == 0 and X.shape[0] >= FEWEST_TO_SCALE
        precondition = flag("precondition", self.precondition) and forgets
        setup = self._set_up(
            X,
            y,
            sample_weight,
            classes=classes,
            method=method,
            batch_size=min(self._batch_size(), X.shape[0]),
            start=None if last is None else (last.coef, last.intercept),
            precondition=precondition,
            n_steps=1,
            tol=0.0,
        )
        state = {}
        if last is not None and last.method == method.name and not (precondition or last.recipe.precondition):
            state = {"point": setup.start} | {name: last.state[name] for name in KEPT if name in last.state}
        setup = replace(setup, state=state, plan=replace(setup.plan, n_steps=setup.steps_per_epoch))
        n_iter = 0 if last is None else self.n_iter_
        fit = self._run(setup, 1, given)
        self.n_iter_ = n_iter + 1
        return fit

    def _stochastic(self) -> Method:
        """Return the method of mini-batches that is nearest to the solver."""
        if isinstance(self.solver, (Adam, StochasticGradientDescent)):
            return self.solver
        return Adam() if self.solver == "adam" else StochasticGradientDescent(momentum=0.0)

    def _batch_size(self) -> int:
        """Return the rows of a mini-batch that the parameters, or the solver, ask for."""
        given = self.batch_size if self.batch_size is not None else getattr(self.solver, "batch_size", None)
        return DEFAULT_BATCH if given is None else integer("batch_size", given, least=1)

    @staticmethod
    def _in_our_words(function: Any, *arguments: Any, **options: Any) -> Any:
        """Call a function; what it says of its arguments is said of the estimator's parameters."""
        try:
            return function(*arguments, **options)
        except (InputError, DivergenceError) as error:
            error.args = (in_our_words(str(error)),)
            raise


def in_our_words(message: str) -> str:
    """Return a message of `descend` with scikit-learn's names for its arguments."""
    message = WORDS.sub(lambda word: CALLED.get(word[0], word[0]), message)
    message = re.sub(r"^l1_ratio: (solver .* smooth penalty), l1_ratio=0", r"penalty: \1, penalty='l2'", message)
    return re.sub(r"^start: (.*)", r"warm_start: \1; warm_start=False begins anew", message)


def weights_of(X: Any, sample_weight: Any) -> Any:
    """Return one weight a row, or None where none are given."""
    return None if sample_weight is None else _check_sample_weight(sample_weight, X)


def told(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Return what callbacks are told of the data."""
    return {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}


def warn_caller(message: str, kind: type[Warning]) -> None:
    """Warn whoever called `fit`, by way of a pipeline or not."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_CALLER:
        frame, level = frame.f_back, level + 1
    warnings.warn(in_our_words(message), KINDS.get(kind, kind), stacklevel=level)
