"""What both estimators share: arguments to `descend`, tables to arrays, the fit to attributes."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from joblib import effective_n_jobs
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
from steepest.design import as_design, check_finite
from steepest.errors import InputError
from steepest.estimators.watching import CallbackSupportMixin, Printed, Watched, all_of
from steepest.methods import MINI_BATCH, Adam, StochasticGradientDescent
from steepest.setup import Setup, set_up
from steepest.tables import as_matrix
from steepest.validation import flag, integer, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.losses import Loss
    from steepest.result import Fit, History

PENALTIES = ("l1", "l2", "elasticnet")
DTYPES = (np.float64, np.float32)
#: What `descend` calls its arguments, and what scikit-learn does.
CALLED = {"n_steps": "max_iter", "n_threads": "n_jobs", "patience": "n_iter_no_change", "nan": "NaN"}
#: What an update by hand remembers from the data before.
KEPT = ("n_made", "n_seen", "mean", "square")
#: In place of targets where none are needed; None is none given where they are.
NO_TARGETS = object()
#: Frames between a warning and the line of whoever called `fit`.
STACK_LEVEL = 7


class ConvergenceWarning(errors.ConvergenceWarning, exceptions.ConvergenceWarning):
    """Both packages' warning: whoever filters one of them means this one too."""


KINDS = {errors.ConvergenceWarning: ConvergenceWarning}


class LinearEstimator(CallbackSupportMixin, BaseEstimator):
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def sparsify(self) -> Self:
        """Keep the coefficients as a sparse matrix: smaller where an ℓ1 penalty made most of them zero.

        Returns
        -------
        self
            `coef_` is a scipy.sparse matrix, (n_scores, n_features), of which predictions read only what is not zero.
        """
        check_is_fitted(self)
        self.coef_ = sparse.csr_matrix(np.atleast_2d(self.coef_))
        return self

    def densify(self) -> Self:
        """Turn `coef_` back into an array.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if sparse.issparse(self.coef_):
            self.coef_ = self.coef_.toarray().reshape(self.fit_.coef.shape)
        return self

    def _scores(self, X: Any) -> NDArray[Any]:
        """Return X · coefᵀ + intercept, (n,) or (n, n_scores)."""
        check_is_fitted(self)
        matrix, _ = self._as_checked(X, reset=False)
        coef = self.coef_.T if sparse.issparse(self.coef_) else np.atleast_2d(self.coef_).T
        product = matrix @ coef
        scores: NDArray[Any] = (product.toarray() if sparse.issparse(product) else np.asarray(product)) + np.atleast_1d(
            self.intercept_
        )
        if not np.isfinite(scores).all():
            # Only then is X read once more, to name the cell.
            self._in_our_words(check_finite, as_design(matrix)[0], self._names())
        return scores[:, 0] if self.loss_.width == 1 else scores

    def _names(self) -> list[str] | None:
        return list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None

    def _as_checked(
        self, X: Any, y: Any = NO_TARGETS, *, reset: bool, several: bool = False, numeric: bool = False
    ) -> tuple[Any, Any]:
        """Return X as an array or sparse, and y if it is given; remember, or compare, the names of the columns."""
        matrix, names = as_matrix("X", X)
        options = {
            "accept_sparse": "csr",
            "dtype": DTYPES,
            # A cell that is not finite is found by the first pass over the data, which names it.
            "ensure_all_finite": False,
            "estimator": self,
        }
        if y is not NO_TARGETS:
            matrix, y = check_X_y(matrix, y, multi_output=several, y_numeric=numeric, **options)
        else:
            matrix = check_array(matrix, input_name="X", **options)
        validate_data(self, matrix if names is None else X, skip_check_array=True, reset=reset)
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
                "sample_weight": None if sample_weight is None else _check_sample_weight(sample_weight, X),
                "method": self.solver,
                "learning_rate": self.learning_rate,
                "batch_size": self.batch_size,
                "tol": self.tol,
                "precondition": flag("precondition", self.precondition),
                "random_state": seed,
                "backend": self.backend,
                "n_threads": None if self.n_jobs is None else effective_n_jobs(self.n_jobs),
                **options,
            },
        )

    def _fit(self, X: Any, y: Any, sample_weight: Any, offset: Any, eval_set: Any) -> Fit:
        """Descend until converged."""
        max_iter = integer("max_iter", self.max_iter, least=1)
        held_out = flag("early_stopping", self.early_stopping) and eval_set is None
        if eval_set is not None:
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
        )
        epoch = steps_per_epoch(setup)
        setup = replace(setup, plan=replace(setup.plan, n_steps=max_iter * epoch))
        return self._run(setup, max_iter, X, y)

    def _run(self, setup: Setup, n_iter: int, X: Any, y: Any) -> Fit:
        watchers: list[Any] = []
        if self.verbose:
            watchers.append(Printed(f"[{type(self).__name__}]", every_step=self.verbose > 1))
        if getattr(self, "_skl_callbacks", None):
            watchers.append(Watched(self, n_iter, X, y))
        fit = run(replace(setup, problem=self._named(setup)), all_of(watchers), self._warn)
        self.loss_ = setup.problem.loss
        self.fit_ = fit
        self.history_, self.status_, self.backend_ = fit.history, fit.status, fit.backend
        self.solver_ = fit.method
        self.n_iter_ = max(1, -(-fit.n_steps // steps_per_epoch(setup)))
        self._keep(fit)
        for watcher in watchers:
            watcher.end(fit)
        return fit

    def _keep(self, fit: Fit) -> None:
        """Set the coefficients and what else predictions need."""
        raise NotImplementedError

    def _named(self, setup: Setup) -> Any:
        return replace(setup.problem, feature_names=self._names())

    def _as_eval_set(self, eval_set: Any) -> Any:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:  # noqa: PLR2004
            raise InputError(f"eval_set: expected a pair (X, y); got {type(eval_set).__name__}")
        return self._as_checked(eval_set[0], reset=False)[0], np.asarray(eval_set[1])

    def _start(self) -> Any:
        """Return where the last fit ended, if it is to be gone on with and had as many features."""
        fit = getattr(self, "fit_", None)
        same = fit is not None and fit.coef.shape[-1] == self.n_features_in_
        return fit if flag("warm_start", self.warm_start) and same else None

    def _update(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Fit:
        """Make one pass of mini-batch steps over this data, from where the last one ended."""
        method = self.solver
        if isinstance(method, str) and method == "adam":
            method = Adam(batch_size=self.batch_size or StochasticGradientDescent().fitted_to(X.shape[0]).batch_size)
        elif isinstance(method, str):
            method = "sgd"
        last: Fit | None = getattr(self, "fit_", None)
        start = None if last is None else (last.coef, last.intercept)
        batch_size = None if self.batch_size is None else min(self.batch_size, X.shape[0])
        setup = self._set_up(
            X, y, sample_weight, classes=classes, method=method, batch_size=batch_size, start=start, n_steps=1, tol=0.0
        )
        state = {} if last is None else {name: last.state[name] for name in KEPT if name in last.state}
        setup = replace(setup, state=state, plan=replace(setup.plan, n_steps=steps_per_epoch(setup)))
        n_iter = 0 if last is None else self.n_iter_
        fit = self._run(setup, 1, X, y)
        self.n_iter_ = n_iter + 1
        return fit

    def _warn(self, message: str, kind: type[Warning]) -> None:
        warnings.warn(in_our_words(message), KINDS.get(kind, kind), stacklevel=STACK_LEVEL)

    @staticmethod
    def _in_our_words(function: Any, *arguments: Any) -> Any:
        """Call a function; what it says of its arguments is said of the estimator's parameters."""
        try:
            return function(*arguments)
        except InputError as error:
            raise InputError(in_our_words(str(error))) from None


def in_our_words(message: str) -> str:
    """Return a message of `descend` with scikit-learn's names for its arguments."""
    for theirs, ours in CALLED.items():
        message = re.sub(rf"\b{theirs}\b", ours, message)
    return re.sub(r"\bmethod(s?)\b", r"solver\1", message)


def steps_per_epoch(setup: Setup) -> int:
    """Return how many steps a pass over the data has: one, or as many as there are mini-batches."""
    method = setup.plan.method
    batch_size = getattr(method, "batch_size", None)
    if method.name not in MINI_BATCH or batch_size is None:
        return 1
    return -(-setup.problem.n_samples // batch_size)
