"""Regression: least squares, Huber, Poisson."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from steepest.errors import InputError
from steepest.estimators.base import LinearEstimator, told, weights_of
from steepest.estimators.watching import with_callbacks
from steepest.losses import LogLoss, Loss, Mse, Poisson, SquaredHinge, as_loss
from steepest.streams import as_blocks
from steepest.validation import is_table

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from steepest.checkpoint import Checkpoint
    from steepest.methods import Method
    from steepest.problem import Problem
    from steepest.step_sizes import StepSize


class GDRegressor(RegressorMixin, LinearEstimator):  # type: ignore[misc]
    """Linear regression by gradient descent: least squares, Huber or Poisson, ridge, lasso or elastic net.

    Minimises the weighted average loss plus ``alpha`` times the penalty, ½ ‖w‖² or ‖w‖₁ or a mix; the intercept is not
    penalised. `descend` is the literal form; here the defaults are those that get to the optimum.

    Parameters
    ----------
    loss : {"squared_error", "huber", "poisson"} or a loss
        Or a description: ``st.Huber(delta=2.0)``.
    penalty : {"l2", "l1", "elasticnet"} or None
        Which penalty, on the coefficients for the columns as they are.
    alpha : float ≥ 0
        Its strength.
    l1_ratio : float in [0, 1]
        The share of ‖w‖₁ in ``"elasticnet"``.
    fit_intercept : bool
        Whether there is an intercept.
    solver : {"auto", "gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton", "coordinate"} or a method
        ``"auto"`` picks by a cost model; `solver_` says which.
    learning_rate : float > 0, "auto", "armijo", "barzilai_borwein" or a rule
        As in `descend`.
    batch_size : int ≥ 1, optional
        Rows of a mini-batch, for ``"sgd"`` and ``"adam"``.
    max_iter : int ≥ 1
        Steps at the most; passes over the data for mini-batches.
    tol : float ≥ 0
        Converged when the gradient norm is this share of what it is at zero coefficients.
    precondition : bool
        Descend in variables of mean zero and deviation one, sparse data too. The optimum is the same.
    early_stopping : bool
        Hold out `validation_fraction` of the rows, stop when `n_iter_no_change` evaluations in a row were not better on
        them, and return the best. An `eval_set` given to `fit` does the same with your own rows.
    validation_fraction : float in (0, 1)
        See `early_stopping`.
    n_iter_no_change : int ≥ 1
        See `early_stopping`.
    warm_start : bool
        Begin where the last `fit` ended; on the same data, go on as if it had never stopped. Each such `fit` is
        a descent of its own, and has a `checkpoint` of its own.
    backend : {"auto", "rust", "numpy", "cupy"}
        What computes.
    n_jobs : int, optional
        Threads; None is STEEPEST_NUM_THREADS, OMP_NUM_THREADS or all cores, -1 all cores. The result does not depend on
        it.
    random_state : int, RandomState or None
        Seed of mini-batches and held-out rows; None draws one.
    verbose : int
        1 prints the loss at steps 0, 1, 2, 5, 10, …; 2 at every step. Callbacks of scikit-learn, from 1.9 on, see every
        step too: ``model.set_callbacks(sklearn.callback.ProgressBar())``.
    checkpoint : path-like or Checkpoint, optional
        A file in which `fit` writes itself down as it goes, and from which it goes on if it is there: as in `descend`.
        One file a fit: a search over parameters has one model each, and after a `fit` with `warm_start` the next one is
        told of another, ``model.set_params(checkpoint="second.safetensors")``.

    Attributes
    ----------
    coef_ : ndarray, (n_features,) or (n_targets, n_features)
        In the units of X, of its dtype.
    intercept_ : float or ndarray, (n_targets,)
        0 where none was fitted.
    n_iter_ : int
        Steps made; passes over the data for mini-batches.
    history_ : History
        Loss, gradient norm, step size and seconds of every step.
    status_ : str
        How the descent ended: ``"converged"``, ``"max_steps"``, …
    solver_, backend_ : str
        What did it.
    fit_ : Fit
        All that `descend` returned; ``fit_.plot()`` draws the loss.
    n_features_in_, feature_names_in_
        Of the X that was fitted.

    See Also
    --------
    steepest.descend : The literal form.

    Notes
    -----
    Threads may fit and predict beside each other, each fit with an estimator of its own: one `fit` an object at a time.

    Examples
    --------
    >>> import steepest as st
    >>> model = st.GDRegressor(alpha=0.0).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> model.predict([[3.0]]).round(6)
    array([7.])
    """

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        solver: str | Method = "auto",
        learning_rate: float | str | StepSize = "auto",
        batch_size: int | None = None,
        max_iter: int = 1000,
        tol: float = 1e-6,
        precondition: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        backend: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = 0,
        verbose: int = 0,
        checkpoint: str | PathLike[str] | Checkpoint | None = None,
    ) -> None:
        super().__init__(
            loss,
            penalty=penalty,
            alpha=alpha,
            l1_ratio=l1_ratio,
            fit_intercept=fit_intercept,
            solver=solver,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_iter=max_iter,
            tol=tol,
            precondition=precondition,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            backend=backend,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
            checkpoint=checkpoint,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._has_loss(Mse)
        tags.target_tags.positive_only = self._has_loss(Poisson)
        return tags

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | str | None = None,
        *,
        offset: ArrayLike | str | None = None,
        eval_set: tuple[Any, Any] | None = None,
    ) -> Self:
        """Fit to X and y.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            float32 or float64 is used in place where its layout allows it; the names of a frame's columns are kept.
            Or a path, or blocks, of data beyond memory, as `steepest.descend` takes them.
        y : array_like, (n_samples,) or, for squared errors, (n_samples, n_targets); or the name of a column
            Numbers; counts ≥ 0 for ``"poisson"``.
        sample_weight : array_like, (n_samples,); or the name of a column, optional
            None negative. Weight 2 is the same as the row twice.
        offset : array_like, (n_samples,) or (n_samples, n_targets), optional
            A known part of the scores, such as the logarithm of an exposure.
        eval_set : (X, y), optional
            Validation data: the parameters that were best on it are kept.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If an argument or a parameter is not what it should be.
        DivergenceError
            If `learning_rate` was given and is too large.
        CheckpointError, OSError
            If `checkpoint` cannot be gone on from, or cannot be written.
        ClusterError
            If a partition cannot be read, or the cluster is lost.

        Warns
        -----
        ConvergenceWarning
            If `tol` was not reached; scikit-learn's and ours in one.
        """
        self._check_loss()
        blocks = self._in_our_words(as_blocks, X, y, sample_weight, offset)
        if blocks is not None:
            self._in_our_words(self._fit, blocks, None, None, told(X, y, sample_weight), offset=None, eval_set=eval_set)
            return self
        matrix, targets = self._as_checked(X, y, reset=True, several=is_table(np.asarray(y)), numeric=True)
        weights = weights_of(matrix, sample_weight)
        given = told(X, y, sample_weight)
        self._in_our_words(self._fit, matrix, targets, weights, given, offset=offset, eval_set=eval_set)
        return self

    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Make one pass of mini-batch steps over this part of the data, from where the last call ended.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            Some rows.
        y : array_like, (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : array_like, (n_samples,), optional
            Their weights.

        Returns
        -------
        self
            Every call is an epoch of ``"sgd"`` without momentum, or of ``"adam"`` if that is the solver; `history_` is
            that of this call. ``"sgd"`` brings the columns of ten rows or more to one scale, by these rows,
            and its step sizes start anew with every call; ``"adam"``, whose memory and steps go on from part to part,
            takes the columns as they are, and so does ``"sgd"`` with ``precondition=False``.

        Examples
        --------
        >>> import steepest as st
        >>> model = st.GDRegressor()
        >>> for _ in range(200):
        ...     for X, y in (([[0.0], [1.0]], [1.0, 3.0]), ([[2.0], [3.0]], [5.0, 7.0])):
        ...         model = model.partial_fit(X, y)
        >>> model.predict([[4.0]]).round(1)
        array([9.])
        """
        first = not hasattr(self, "coef_")
        matrix, targets = self._as_checked(X, y, reset=first, several=is_table(np.asarray(y)), numeric=True)
        self._check_loss()
        if not first and np.shape(targets)[1:] != np.shape(self.fit_.coef)[:-1]:
            before, now = (
                f"{shape[0]} columns" if shape else "one dimension"
                for shape in (np.shape(self.fit_.coef)[:-1], np.shape(targets)[1:])
            )
            raise InputError(f"y: expected {before}, as in the parts before; got {now}")
        weights = weights_of(matrix, sample_weight)
        self._in_our_words(self._update, matrix, targets, weights, told(X, y, sample_weight))
        return self

    def _check_loss(self) -> None:
        if isinstance(as_loss(self.loss), (LogLoss, SquaredHinge)):
            raise InputError(f"loss: expected one for numbers; {self.loss!r} is for GDClassifier")

    def _attributes(self, problem: Problem, coef: NDArray[Any], intercept: Any) -> dict[str, Any]:
        return {"loss_": problem.loss, "coef_": coef, "intercept_": intercept}

    def _shaped(self, coef: NDArray[Any]) -> NDArray[Any]:
        return coef.ravel() if self.loss_.width == 1 else coef

    def predict(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Predict the targets of X.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            With the columns of training.
        offset : array_like, (n_samples,) or (n_samples, n_targets), optional
            As in `fit`.

        Returns
        -------
        ndarray, (n_samples,) or (n_samples, n_targets)
            The scores; their exponential for ``"poisson"``.

        Raises
        ------
        InputError
            If X is not finite, or the offset does not fit it; ValueError if its columns are not those of training.

        Examples
        --------
        >>> import steepest as st
        >>> model = st.GDRegressor("poisson", alpha=0.0).fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0])
        >>> model.predict([[3.0]]).round(4)
        array([8.])
        """
        scores = self._scores(X, offset)
        return np.asarray(self.loss_.mean(np, scores))
