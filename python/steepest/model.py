"""A linear model of a table: how rows become numbers, and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.losses import LogLoss
from steepest.metrics import classification_metrics, regression_metrics
from steepest.validation import as_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.preprocessing import Encoder


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Encoder, coefficients and intercept: raw rows in, predictions out.

    Attributes
    ----------
    loss : {"mse", "log_loss"}
        What it was trained for.
    target : str
        The column that it predicts.
    classes : list or None
        The labels in the order of the class numbers; None for a number.
    encoder : Encoder
        How a table becomes X.
    coef : ndarray of float64, (n_scores, n_features)
        In the units of the table. Two classes have one score.
    intercept : ndarray of float64, (n_scores,)
        The score of a row of zeros.
    training : dict
        How it was trained: plain text and numbers.
    """

    loss: str
    target: str
    classes: list[Any] | None
    encoder: Encoder
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    training: dict[str, Any] = field(default_factory=dict)

    def scores(self, frame: Any) -> NDArray[np.float64]:
        """Return X · coefᵀ + intercept, (n_rows, n_scores)."""
        return self.scores_of(self.encoder.encode(frame))

    def scores_of(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of rows that are already encoded."""
        scores: NDArray[np.float64] = X @ self.coef.T + self.intercept
        return scores

    def predict_proba(self, frame: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (n_rows, n_classes)."""
        if self.classes is None:
            raise InputError(f"the model predicts the number {self.target!r}, not classes")
        return self.probabilities_of(self.scores(frame))

    @staticmethod
    def probabilities_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the softmax of the scores; of two classes, only the second has one."""
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    def predict(self, frame: Any) -> NDArray[Any]:
        """Return the predicted number or the most probable label for each row, (n_rows,)."""
        if self.classes is None:
            return self.scores(frame)[:, 0]
        return np.asarray(np.array(self.classes)[self.predict_proba(frame).argmax(axis=1)])

    def evaluate(self, frame: Any, target: Any) -> dict[str, float]:
        """Return the metrics of the predictions for `frame` against `target`, a sequence of numbers or labels."""
        if self.classes is None:
            return regression_metrics(as_vector(self.target, target, len(target), np.float64), self.predict(frame))
        return classification_metrics(self.class_numbers(target), self.predict_proba(frame))

    def class_numbers(self, target: Any) -> NDArray[np.int64]:
        """Return the class number of each label."""
        numbers = {label: number for number, label in enumerate(self.classes or [])}
        try:
            return np.array([numbers[label] for label in target], dtype=np.int64)
        except KeyError as error:
            raise InputError(
                f"column {self.target!r}: label {error.args[0]!r} was not there in training; classes: {self.classes}"
            ) from None


def n_scores(classes: list[Any] | None) -> int:
    """Return how many scores a row has."""
    return 1 if classes is None else LogLoss(len(classes)).width
