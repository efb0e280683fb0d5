"""scikit-learn estimators over `descend`, with practical defaults."""

from steepest.estimators.classifier import GDClassifier
from steepest.estimators.regressor import GDRegressor

__all__ = ["GDClassifier", "GDRegressor"]
