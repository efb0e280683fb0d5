"""A linear model by itself: coefficients, what they mean, and what is done with them. NumPy is all that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.design import check_finite
from steepest.errors import InputError
from steepest.losses import LOSSES, LogLoss, Loss, Mse, SquaredHinge
from steepest.metrics import classification_metrics, regression_metrics
from steepest.result import Fit
from steepest.tables import as_matrix, expect_names
from steepest.validation import as_numbers, as_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.preprocessing import Encoder


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Coefficients and intercept, with labels, names and preprocessing: raw rows in, predictions out.

    Attributes
    ----------
    loss : str
        What it was trained for: a name in `steepest.losses.LOSSES`.
    target : str
        What it predicts.
    classes : list or None
        The labels in the order of the class numbers; None for numbers.
    encoder : Encoder or None
        How a table becomes X; None where rows are X.
    coef : ndarray, (n_scores, n_kept)
        In the units of X; float32 or float64, or smaller after `quantize`. Two classes have one score.
    intercept : ndarray of float32 or float64, (n_scores,)
        The score of a row of zeros. Its dtype is that of the computation.
    training : dict
        How it was trained: plain text and numbers.
    feature_names : list of str or None
        The columns of X.
    n_features : int
        Columns of X; `coef` has them all unless `kept` says which.
    kept : ndarray of int64 or None
        The columns that `coef` is for, after `prune`.
    scale : ndarray or None
        (n_scores,), after ``quantize("int8")``: what the integers of a row of `coef` are multiplied by.
    """

    loss: str
    target: str
    classes: list[Any] | None
    encoder: Encoder | None
    coef: NDArray[Any]
    intercept: NDArray[Any]
    training: dict[str, Any] = field(default_factory=dict)
    feature_names: list[str] | None = None
    n_features: int = -1
    kept: NDArray[np.int64] | None = None
    scale: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.n_features < 0:
            object.__setattr__(self, "n_features", self.coef.shape[1])
        if self.feature_names is None and self.encoder is not None:
            object.__setattr__(self, "feature_names", self.encoder.feature_names)

    def __repr__(self) -> str:
        what = self.target if self.classes is None else f"{self.target}, {len(self.classes)} classes"
        kept = "" if self.kept is None else f" of {self.n_features}"
        return f"LinearModel({self.loss}: {what} from {self.coef.shape[1]}{kept} features, {self.coef.dtype})"

    @property
    def fitted_loss(self) -> Loss:
        """The loss, with its number of classes or targets."""
        if LOSSES[self.loss] is LogLoss:
            return LogLoss(len(self.classes or []))
        if LOSSES[self.loss] is Mse:
            return Mse(len(self.intercept))
        return LOSSES[self.loss]()

    @property
    def weights(self) -> NDArray[Any]:
        """The coefficients of all features as numbers to compute with, (n_scores, n_features)."""
        small = self._kept_weights()
        if self.kept is None:
            return small
        coef = np.zeros((len(small), self.n_features), small.dtype)
        coef[:, self.kept] = small
        return coef

    def _kept_weights(self) -> NDArray[Any]:
        coef = self.coef.astype(self.intercept.dtype, copy=False)
        return coef if self.scale is None else coef * self.scale[:, np.newaxis]

    def design(self, rows: Any) -> Any:
        """Return X for raw rows: encoded, or checked against the features of training.

        Raises
        ------
        InputError
            If columns are missing or unexpected, or their number is not that of training.
        """
        if self.encoder is not None:
            return self.encoder.encode(rows)
        X, names = as_matrix("X", rows)
        if names is not None and self.feature_names is not None:
            expect_names("X", names, self.feature_names)
        X = X.tocsr() if hasattr(X, "tocsr") else as_numbers("X", X)
        if len(X.shape) != 2 or X.shape[1] != self.n_features:  # noqa: PLR2004
            raise InputError(f"X: expected shape (n_samples, {self.n_features}); got {X.shape}")
        return X

    def scores(self, rows: Any) -> NDArray[Any]:
        """Return X · coefᵀ + intercept, (n_rows, n_scores)."""
        return self.scores_of(self.design(rows))

    def scores_of(self, X: Any) -> NDArray[Any]:
        """Return the scores of rows of X."""
        part = X if self.kept is None else X[:, self.kept]
        scores: NDArray[Any] = np.asarray(part @ self._kept_weights().T) + self.intercept
        if not np.isfinite(scores).all() and isinstance(X, np.ndarray):
            check_finite(X, self.feature_names)
        return scores

    def mean_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the expected targets for scores: numbers, (n_rows,) or (n_rows, n_targets), or probabilities."""
        loss = self.fitted_loss
        return np.asarray(loss.mean(np, scores[:, 0] if loss.width == 1 else scores))

    def decision_function(self, rows: Any) -> NDArray[Any]:
        """Return the scores: (n_rows,), or (n_rows, n_scores) where a row has several."""
        scores = self.scores(rows)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, rows: Any) -> NDArray[Any]:
        """Return the probability of each class, (n_rows, n_classes).

        Raises
        ------
        InputError
            If the model predicts numbers, or its loss gives margins.
        """
        if self.classes is None:
            raise InputError(f"the model predicts the number {self.target!r}, not classes")
        return self.mean_of(self.scores(rows))

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return the predicted numbers, or the most probable label of each row: (n_rows,), or (n_rows, n_targets)."""
        scores = self.scores(rows)
        return self.mean_of(scores) if self.classes is None else self.labels_of(scores)

    def labels_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the label with the highest score; of two classes the second where its score is positive."""
        numbers = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
        return np.asarray(np.array(self.classes)[numbers])

    def evaluate(self, rows: Any, target: Any) -> dict[str, float]:
        """Return the metrics of the predictions for `rows` against `target`, a sequence of numbers or labels."""
        if self.classes is None:
            return regression_metrics(as_vector(self.target, target, len(target), np.float64), self.predict(rows))
        return self.metrics_of(self.class_numbers(target), self.scores(rows))

    def metrics_of(self, target: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return the metrics of scores against numbers or class numbers."""
        if self.classes is None:
            return regression_metrics(target, self.mean_of(scores))
        if LOSSES[self.loss] is SquaredHinge:
            return classification_metrics(target, (scores[:, 0] > 0).astype(np.int64), scores[:, 0], None)
        probabilities = self.mean_of(scores)
        ranking = probabilities[:, 1] if scores.shape[1] == 1 else None
        return classification_metrics(target, probabilities.argmax(axis=1), ranking, probabilities)

    def class_numbers(self, target: Any) -> NDArray[np.int64]:
        """Return the class number of each label."""
        numbers = {label: number for number, label in enumerate(self.classes or [])}
        try:
            return np.array([numbers[label] for label in target], dtype=np.int64)
        except KeyError as error:
            raise InputError(
                f"column {self.target!r}: label {error.args[0]!r} was not there in training; classes: {self.classes}"
            ) from None


def as_model(given: Any) -> LinearModel:
    """Return a fitted estimator, or what `descend` returned, as a model by itself; the arrays are not copied.

    Raises
    ------
    InputError
        If `given` is neither, or is not fitted.
    """
    if isinstance(given, LinearModel):
        return given
    fit = given if isinstance(given, Fit) else getattr(given, "fit_", None)
    if not isinstance(fit, Fit):
        hint = "; a pipeline is more than a linear model: save its last step, or pass it to to_onnx"
        raise InputError(
            f"model: expected a LinearModel, a Fit or a fitted GDRegressor or GDClassifier; got "
            f"{type(given).__name__}{hint if hasattr(given, 'steps') else ''}"
        )
    coef, intercept = (fit.coef, fit.intercept) if given is fit else (given.coef_, given.intercept_)
    if hasattr(coef, "toarray"):
        coef = coef.toarray()
    from steepest import __version__

    return LinearModel(
        loss=fit.loss_name,
        target="y",
        classes=None if fit.classes is None else fit.classes.tolist(),
        encoder=None,
        coef=np.ascontiguousarray(np.atleast_2d(coef)),
        intercept=np.atleast_1d(intercept),
        training={"steepest": __version__, **describe(fit)},
        feature_names=fit.feature_names,
    )


def describe(fit: Fit) -> dict[str, Any]:
    """Return how a descent went, as plain text and numbers."""
    return {
        "method": fit.method,
        "backend": fit.backend,
        "steps": fit.n_steps,
        "status": fit.status,
        "loss": float(fit.loss),
        "alpha": float(fit.recipe.penalty.l1 + fit.recipe.penalty.l2),
        "l1": float(fit.recipe.penalty.l1),
        "rows": int(fit.recipe.shape[0]),
        "seed": int(fit.recipe.seed),
    }
