"""Classification: logistic and softmax regression, squared hinge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from steepest.errors import InputError
from steepest.estimators.base import LinearEstimator, told, weights_of
from steepest.estimators.blocks import weighted_by_class
from steepest.estimators.watching import with_callbacks
from steepest.losses import BINARY, LogLoss, Loss, SquaredHinge, as_loss
from steepest.streams import as_blocks
from steepest.validation import is_table

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from steepest.checkpoint import Checkpoint
    from steepest.methods import Method
    from steepest.problem import Problem
    from steepest.step_sizes import StepSize

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _has_probabilities(classifier: GDClassifier) -> bool:
    if isinstance(as_loss(classifier.loss), LogLoss):
        return True
    raise AttributeError(f"loss {classifier.loss!r} gives margins, not probabilities; loss='log_loss' gives both")


def _where_there_are_probabilities(method: _Method) -> _Method:
    available: _Method = available_if(_has_probabilities)(method)
    return available


class GDClassifier(ClassifierMixin, LinearEstimator):  # type: ignore[misc]
    """Linear classification by gradient descent: logistic regression, softmax, or a squared hinge.

    Minimises the weighted average loss plus ``alpha`` times the penalty, ½ ‖W‖² or ‖W‖₁ or a mix; the intercept is not
    penalised. More than two classes are one softmax, not many binary problems.

    Parameters
    ----------
    loss : {"log_loss", "squared_hinge"} or a loss
        ``"squared_hinge"``, a linear support vector machine, is for two classes and has no probabilities.
    penalty : {"l2", "l1", "elasticnet"} or None
        Which penalty, on the coefficients for the columns as they are.
    alpha : float ≥ 0
        Its strength; ``alpha = 1 / (C · n_samples)`` for those who are used to scikit-learn's C.
    l1_ratio : float in [0, 1]
        The share of ‖W‖₁ in ``"elasticnet"``.
    class_weight : dict, "balanced" or None
        Weight of each class; ``"balanced"`` gives every class the same total weight.
    fit_intercept, solver, learning_rate, batch_size, max_iter, tol, precondition, early_stopping, \
validation_fraction, n_iter_no_change, warm_start, backend, n_jobs, random_state, verbose,
    checkpoint
        As in `GDRegressor`.

    Attributes
    ----------
    classes_ : ndarray, (n_classes,)
        The labels, sorted.
    coef_ : ndarray, (1, n_features) or (n_classes, n_features)
        In the units of X, of its dtype.
    intercept_ : ndarray, (1,) or (n_classes,)
        0 where none was fitted.
    n_iter_, history_, status_, solver_, backend_, fit_, n_features_in_, feature_names_in_
        As in `GDRegressor`.

    See Also
    --------
    steepest.descend : The literal form.

    Notes
    -----
    Threads may fit and predict beside each other, each fit with an estimator of its own: one `fit` an object at a time.

    Examples
    --------
    >>> import steepest as st
    >>> model = st.GDClassifier().fit([[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"])
    >>> model.predict([[-1.0], [4.0]])
    array(['no', 'yes'], dtype='<U3')
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        loss: str | Loss = "log_loss",
        *,
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        class_weight: Any = None,
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
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = not self._has_loss(SquaredHinge)
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
        y : array_like, (n_samples,) or (n_samples, n_classes); or the name of a column
            Labels of any type; or, for ``"log_loss"``, rows of probabilities: soft labels, of classes 0, 1, 2, ….
        sample_weight : array_like, (n_samples,); or the name of a column, optional
            None negative; multiplied by `class_weight`.
        offset : array_like, (n_samples,) or (n_samples, n_classes), optional
            A known part of the scores.
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
        blocks = self._in_our_words(as_blocks, X, y, sample_weight, offset, numbers=False)
        if blocks is not None:
            blocks = self._in_our_words(weighted_by_class, blocks, self.class_weight)
            self._in_our_words(self._fit, blocks, None, None, told(X, y, sample_weight), offset=None, eval_set=eval_set)
            return self
        matrix, labels = self._as_labelled(X, y)
        weights = self._weighted(labels, weights_of(matrix, sample_weight))
        given = told(X, y, sample_weight)
        self._in_our_words(self._fit, matrix, labels, weights, given, offset=offset, eval_set=eval_set)
        return self

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Make one pass of mini-batch steps over this part of the data, from where the last call ended.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            Some rows.
        y : array_like, (n_samples,)
            Their labels.
        classes : array_like, (n_classes,)
            All labels there will be; needed in the first call.
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
        >>> model = st.GDClassifier()
        >>> for X, y in (([[0.0], [1.0]], ["no", "no"]), ([[3.0], [4.0]], ["yes", "yes"])):
        ...     model = model.partial_fit(X, y, classes=["no", "yes"])
        >>> model.n_iter_
        2
        """
        first = not hasattr(self, "coef_")
        if first and classes is None:
            raise InputError("classes: expected all labels that there will be, in the first call of partial_fit")
        order = np.unique(np.asarray(classes)) if first else self.classes_
        if classes is not None and not np.array_equal(np.unique(np.asarray(classes)), order):
            raise InputError(f"classes: expected those of the first call, {order.tolist()}; got {classes!r}")
        if isinstance(self.class_weight, str):
            raise InputError("class_weight: partial_fit sees only some rows; pass a dict, or sample_weight")
        matrix, labels = self._as_labelled(X, y, reset=first)
        weights = self._weighted(labels, weights_of(matrix, sample_weight))
        self._in_our_words(self._update, matrix, labels, weights, told(X, y, sample_weight), order)
        return self

    def _check_loss(self) -> Loss:
        loss = as_loss(self.loss)
        if not isinstance(loss, (LogLoss, SquaredHinge)):
            raise InputError(f"loss: expected one for labels; {self.loss!r} is for GDRegressor")
        return loss

    def _as_labelled(self, X: Any, y: Any, *, reset: bool = True) -> Any:
        loss = self._check_loss()
        soft = is_table(np.asarray(y)) and isinstance(loss, LogLoss)
        matrix, labels = self._as_checked(X, y, reset=reset, several=soft, numeric=soft)
        if not soft:
            check_classification_targets(labels)
            if isinstance(loss, SquaredHinge) and len(np.unique(labels)) > BINARY:
                raise InputError(
                    "Only binary classification is supported. The type of the target is multiclass. "
                    "loss='log_loss' takes any number of classes, and so does "
                    "sklearn.multiclass.OneVsRestClassifier(GDClassifier('squared_hinge'))"
                )
        return matrix, labels

    def _weighted(self, labels: Any, sample_weight: Any) -> Any:
        """Return the weights times those of the classes."""
        if self.class_weight is None:
            return sample_weight
        if labels.ndim > 1:
            raise InputError("class_weight: rows of probabilities have no one class; pass sample_weight")
        if self.class_weight != "balanced":
            weights = compute_sample_weight(self.class_weight, labels)
            return weights if sample_weight is None else weights * sample_weight
        # Not scikit-learn's, which counts rows whatever they weigh: weight 2 is the same as the row twice here too.
        rows = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        classes, numbers = np.unique(labels, return_inverse=True)
        totals = np.bincount(numbers, weights=rows)
        return rows * (rows.sum() / (len(classes) * np.where(totals > 0, totals, 1.0)))[numbers]

    def _attributes(self, problem: Problem, coef: NDArray[Any], intercept: Any) -> dict[str, Any]:
        return {
            "loss_": problem.loss,
            "classes_": np.asarray(problem.classes),
            "coef_": self._shaped(coef),
            "intercept_": np.atleast_1d(intercept),
        }

    def _shaped(self, coef: NDArray[Any]) -> NDArray[Any]:
        return np.atleast_2d(coef)

    def decision_function(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Return the scores, whose softmax is the probabilities; of two classes, only the second has one.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            With the columns of training.
        offset : array_like, (n_samples,) or (n_samples, n_classes), optional
            As in `fit`.

        Returns
        -------
        ndarray, (n_samples,) or (n_samples, n_classes)
        """
        return self._scores(X, offset)

    def predict(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Return the most probable label of each row.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            With the columns of training.
        offset : array_like, (n_samples,) or (n_samples, n_classes), optional
            As in `fit`.

        Returns
        -------
        ndarray, (n_samples,)
        """
        scores = self._scores(X, offset)
        numbers = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[numbers])

    @_where_there_are_probabilities
    def predict_proba(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            With the columns of training.
        offset : array_like, (n_samples,) or (n_samples, n_classes), optional
            As in `fit`.

        Returns
        -------
        ndarray, (n_samples, n_classes)
            In the order of `classes_`.

        Examples
        --------
        >>> import steepest as st
        >>> model = st.GDClassifier(alpha=0.01).fit([[0.0], [1.0], [2.0], [3.0]], ["no", "yes", "no", "yes"])
        >>> model.predict_proba([[1.5]]).round(2)
        array([[0.5, 0.5]])
        """
        scores = self._scores(X, offset)
        return np.asarray(self.loss_.mean(np, scores))

    @_where_there_are_probabilities
    def predict_log_proba(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Return the logarithm of the probability of each class, exact where the probability is too small for a number.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            With the columns of training.
        offset : array_like, (n_samples,) or (n_samples, n_classes), optional
            As in `fit`.

        Returns
        -------
        ndarray, (n_samples, n_classes)
            In the order of `classes_`.
        """
        scores = self._scores(X, offset)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
