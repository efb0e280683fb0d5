"""scikit-learn estimators over `descend`, with practical defaults."""

from steepest.estimators.classifier import GDClassifier
from steepest.estimators.regressor import GDRegressor
from steepest.threads import limit_by_threadpoolctl

# scikit-learn has imported threadpoolctl.
limit_by_threadpoolctl()

__all__ = ["GDClassifier", "GDRegressor"]
