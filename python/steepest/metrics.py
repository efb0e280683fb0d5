"""How good a model is: scikit-learn's figures under short names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The figure of a metric, and whether more is better.
HIGHER_IS_BETTER = {"R²": True, "RMSE": False, "accuracy": True, "log-loss": False, "AUC": True}


def regression_metrics(y: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
    """Return R² and RMSE (in the units of y); R² is not a number for fewer than two rows."""
    from sklearn.metrics import r2_score, root_mean_squared_error

    several = len(y) > 1
    return {
        "R²": float(r2_score(y, prediction)) if several else float("nan"),
        "RMSE": float(root_mean_squared_error(y, prediction)),
    }


def classification_metrics(
    class_numbers: NDArray[Any],
    predicted: NDArray[Any],
    ranking: NDArray[Any] | None,
    probabilities: NDArray[Any] | None,
) -> dict[str, float]:
    """Return accuracy; log-loss if there are probabilities; for two classes AUC.

    Parameters
    ----------
    class_numbers : ndarray of int, (n,)
        The class of each row.
    predicted : ndarray of int, (n,)
        The class that is predicted.
    ranking : ndarray or None, (n,)
        What puts the rows in order, the second of two classes last.
    probabilities : ndarray or None, (n, n_classes)
        Rows that sum to one.
    """
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    figures = {"accuracy": float(accuracy_score(class_numbers, predicted))}
    if probabilities is not None:
        labels = np.arange(probabilities.shape[1])
        figures["log-loss"] = float(log_loss(class_numbers, probabilities, labels=labels))
    if ranking is not None:
        both = len(np.unique(class_numbers)) > 1
        figures["AUC"] = float(roc_auc_score(class_numbers, ranking)) if both else float("nan")
    return figures
