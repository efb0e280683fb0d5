"""A linear model by itself: coefficients, what they mean, and what is done with them. NumPy is all that it needs."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.design import check_scores
from steepest.errors import InputError
from steepest.losses import BINARY, LOSSES, Huber, LogLoss, Loss, Mse, SquaredHinge
from steepest.metrics import classification_metrics, regression_metrics
from steepest.result import Fit
from steepest.tables import as_matrix, expect_names
from steepest.validation import MOST as LARGEST_LABEL
from steepest.validation import as_numbers, as_table, as_vector, expect_different, integer, known, number

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
    parameter : float
        The number in the formula of the loss, if it has one: δ of a Huber loss.

    Raises
    ------
    InputError
        If these do not go together, or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from steepest import LinearModel
    >>> model = LinearModel("log_loss", "spam", ["no", "yes"], None, np.array([[2.0]]), np.array([-1.0]))
    >>> model.predict([[0.0], [3.0]])
    array(['no', 'yes'], dtype='<U3')
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
    parameter: float = -1.0

    def __post_init__(self) -> None:
        known("loss", self.loss, LOSSES)
        if self.parameter < 0:
            object.__setattr__(self, "parameter", LOSSES[self.loss]().parameter)
        if self.n_features < 0:
            object.__setattr__(self, "n_features", self.coef.shape[-1])
        if self.feature_names is None and self.encoder is not None:
            object.__setattr__(self, "feature_names", self.encoder.feature_names)
        _check_meaning(self)
        _check_numbers(self)

    def __repr__(self) -> str:
        what = self.target if self.classes is None else f"{self.target}, {len(self.classes)} classes"
        kept = "" if self.kept is None else f" of {self.n_features}"
        return f"LinearModel({self.loss}: {what} from {self.coef.shape[1]}{kept} features, {self.coef.dtype})"

    @property
    def fitted_loss(self) -> Loss:
        """The loss, with its number of classes or targets."""
        kind = LOSSES[self.loss]
        if kind is LogLoss:
            return LogLoss(len(self.classes or []))
        if kind is Mse:
            return Mse(self.intercept.size)
        return Huber(self.parameter) if kind is Huber else kind()

    @property
    def weights(self) -> NDArray[Any]:
        """The coefficients of all features as numbers to compute with, (n_scores, n_features)."""
        small = self.kept_weights
        if self.kept is None:
            return small
        coef = np.zeros((len(small), self.n_features), small.dtype)
        coef[:, self.kept] = small
        return coef

    @property
    def kept_weights(self) -> NDArray[Any]:
        """The coefficients of the features that were kept, (n_scores, n_kept)."""
        coef = self.coef.astype(self.intercept.dtype, copy=False)
        return coef if self.scale is None else coef * self.scale[:, np.newaxis]

    def design(self, rows: Any) -> Any:
        """Return X for rows: encoded, or checked against the features of training and not copied if it can be.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.

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
        if len(X.shape) == self.n_features == 1:
            X = X[:, np.newaxis]
        if len(X.shape) != 2 or X.shape[1] != self.n_features:  # noqa: PLR2004
            raise InputError(f"X: expected shape (n_samples, {self.n_features}); got {X.shape}")
        return X

    def scores(self, rows: Any) -> NDArray[Any]:
        """Return X · coefᵀ + intercept.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.

        Returns
        -------
        ndarray, (n_rows, n_scores)
            In the wider of the precisions of rows and model.

        Raises
        ------
        InputError
            If the columns are not those of training, or a cell or a score is not finite, which it names.
        """
        return self.scores_of(self.design(rows))

    def scores_of(self, X: Any) -> NDArray[Any]:
        """Return the scores of rows of X."""
        part = X if self.kept is None else X[:, self.kept]
        with np.errstate(over="ignore", invalid="ignore"):
            scores: NDArray[Any] = np.asarray(part @ self.kept_weights.T) + self.intercept
        check_scores(scores, X, self.feature_names)
        return scores

    def mean_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the expected targets for scores: numbers, (n_rows,) or (n_rows, n_targets), or probabilities."""
        loss = self.fitted_loss
        return np.asarray(loss.mean(np, scores[:, 0] if loss.width == 1 else scores))

    def decision_function(self, rows: Any) -> NDArray[Any]:
        """Return the scores; of two classes, only the second has one.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.

        Returns
        -------
        ndarray, (n_rows,), or (n_rows, n_scores) where a row has several

        Raises
        ------
        InputError
            If the columns are not those of training, or a cell or a score is not finite, which it names.
        """
        scores = self.scores(rows)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, rows: Any) -> NDArray[Any]:
        """Return the probability of each class.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.

        Returns
        -------
        ndarray, (n_rows, n_classes)
            In the order of `classes`.

        Raises
        ------
        InputError
            If the model predicts numbers, its loss gives margins, or the rows are not as in training.
        """
        if self.classes is None:
            raise InputError(f"the model predicts the number {self.target!r}, not classes")
        return self.mean_of(self.scores(rows))

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return the predicted numbers, or the most probable label of each row.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.

        Returns
        -------
        ndarray, (n_rows,), or (n_rows, n_targets)
            Of two labels the second where its score is positive. An offset of training, such as the logarithm of an
            exposure, is not in it: of counts it is the rate.

        Raises
        ------
        InputError
            If the columns are not those of training, or a cell or a score is not finite, which it names.
        """
        scores = self.scores(rows)
        return self.mean_of(scores) if self.classes is None else self.labels_of(scores)

    def labels_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the label with the highest score; of two classes the second where its score is positive."""
        numbers = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
        return np.asarray(np.array(self.classes)[numbers])

    def evaluate(self, rows: Any, target: Any) -> dict[str, float]:
        """Return how good the predictions are: R² and RMSE, or accuracy, log-loss and AUC. Needs scikit-learn.

        Parameters
        ----------
        rows : array_like, frame or sparse, (n_rows, n_features), or a table
            As in training; columns with names must have those of training, in their order.
        target : array_like, (n_rows,) or (n_rows, n_targets)
            Numbers or labels.

        Returns
        -------
        dict of str to float

        Raises
        ------
        InputError
            If rows or target are not as in training.
        """
        if self.classes is None:
            shaped = as_vector if len(self.intercept) == 1 else as_table
            return regression_metrics(shaped(self.target, target, len(target), np.float64), self.predict(rows))
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
        if np.ndim(target) != 1:
            raise InputError(f"{self.target}: expected one label a row; got shape {np.shape(target)}")
        numbers = {label: number for number, label in enumerate(self.classes or [])}
        try:
            return np.array([numbers[label] for label in target], dtype=np.int64)
        except KeyError as error:
            raise InputError(
                f"column {self.target!r}: label {error.args[0]!r} was not there in training; classes: {self.classes}"
            ) from None


def _check_meaning(model: LinearModel) -> None:
    """Raise an error unless loss, labels and names go together."""
    number("parameter", model.parameter, least=0.0)
    classes, names, of_labels = model.classes, model.feature_names, LOSSES[model.loss] in {LogLoss, SquaredHinge}
    if (classes is not None) != of_labels:
        raise InputError(f"classes {classes!r} do not go with loss {model.loss!r}")
    if classes is not None:
        expect_different("classes", classes, (str, bool, int, float), 2)
        several = len({type(label) for label in classes}) > 1
        if several or not all(isinstance(label, str) or abs(label) <= LARGEST_LABEL for label in classes):
            raise InputError(f"classes: expected text, or numbers of 64 bits; got {reprlib.repr(classes)}")
        if LOSSES[model.loss] is SquaredHinge and len(classes) > BINARY:
            raise InputError(f"classes: loss {model.loss!r} is for two; got {len(classes)}")
    integer("n_features", model.n_features, least=1)
    if names is not None and len(names) != model.n_features:
        raise InputError(f"n_features: {model.n_features} do not go with {len(names)} names")


def _check_numbers(model: LinearModel) -> None:
    """Raise an error unless shapes and types go together and every number is finite."""
    intercept, kept, real = model.intercept, model.kept, model.intercept.dtype
    n_columns = model.n_features
    if kept is not None:
        n_columns = kept.size
        rising = kept.ndim == 1 and kept.dtype == np.int64 and bool((np.diff(kept) > 0).all())
        if not rising or not n_columns or kept[0] < 0 or kept[-1] >= model.n_features:
            raise InputError("kept: expected rising numbers of features")
    width = model.fitted_loss.width
    expected: list[tuple[str, Any, tuple[int, ...], list[Any]]] = [
        ("intercept", intercept, (width,), [np.float32, np.float64]),
        ("coef", model.coef, (width, n_columns), [np.int8] if model.scale is not None else [np.float16, real]),
        ("scale", model.scale, (width,), [real]),
    ]
    for name, array, shape, dtypes in expected:
        if array is None:
            continue
        if array.shape != shape or array.dtype not in dtypes or not width:
            kinds = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
            raise InputError(f"{name}: expected {kinds} {shape}; got {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: not finite")
    if model.scale is not None and not (model.scale > 0).all():
        raise InputError("scale: expected numbers > 0")


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
    coef = np.ascontiguousarray(np.atleast_2d(coef))
    return LinearModel(
        loss=fit.loss_name,
        target="y",
        classes=None if fit.classes is None else [_plain(label) for label in fit.classes.tolist()],
        encoder=None,
        coef=coef,
        intercept=np.atleast_1d(intercept).astype(coef.dtype, copy=False),
        training=describe(fit),
        feature_names=fit.feature_names,
        parameter=fit.recipe.loss.parameter,
    )


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def describe(fit: Fit) -> dict[str, Any]:
    """Return how a descent went, as plain text and numbers."""
    from steepest import __version__

    recipe = fit.recipe
    alpha = recipe.penalty.l1 + recipe.penalty.l2
    return {
        "steepest": __version__,
        "method": fit.method,
        "backend": fit.backend,
        "steps": fit.n_steps,
        "status": fit.status,
        "loss": float(fit.loss),
        "alpha": float(alpha),
        "l1_ratio": float(recipe.penalty.l1 / alpha) if alpha else 0.0,
        "rows": int(recipe.shape[0]),
        "seed": int(recipe.seed),
    }
