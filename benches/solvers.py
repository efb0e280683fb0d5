"""How each library is asked to solve a case: one short function each, with the settings that its documentation gives.

A solver takes a case and a tolerance and returns a function that fits, which returns coefficients and intercept. What
is prepared outside of that function, such as labels in the form that a library wants, is not timed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cases import Case

THREADS = 2
Answer = tuple[Any, Any]
Solver = Callable[[Case, float], Callable[[], Answer]]
LOOSE_TO_TIGHT = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


class NotForThisCaseError(Exception):
    """The library has no such model; the text says which part it lacks."""


def steepest(case: Case, tolerance: float) -> Callable[[], Answer]:
    """method="auto"."""
    import steepest as st

    def fit() -> Answer:
        alpha = case.alpha + case.l1
        found = st.descend(
            case.X,
            case.y,
            loss=case.loss,
            alpha=alpha,
            l1_ratio=case.l1 / alpha if alpha else 0.0,
            method="auto",
            tol=tolerance,
            n_threads=THREADS,
        )
        return found.coef, found.intercept

    return fit


def _logistic_regression(case: Case, tolerance: float, solver: str) -> Callable[[], Answer]:
    from sklearn.linear_model import LogisticRegression

    if case.loss != "log_loss":
        raise NotForThisCaseError("classification only")
    if solver == "newton-cholesky" and case.X.shape[1] > 10_000:
        raise NotForThisCaseError(f"a Hessian of {case.X.shape[1]:,}² numbers")
    model = LogisticRegression(C=case.inverse_strength, solver=solver, tol=tolerance, max_iter=10_000)

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return (model.coef_ if len(model.coef_) > 1 else model.coef_[0]), model.intercept_

    return fit


def sklearn_lbfgs(case: Case, tolerance: float) -> Callable[[], Answer]:
    """LogisticRegression(solver="lbfgs")."""
    return _logistic_regression(case, tolerance, "lbfgs")


def sklearn_newton_cholesky(case: Case, tolerance: float) -> Callable[[], Answer]:
    """LogisticRegression(solver="newton-cholesky")."""
    return _logistic_regression(case, tolerance, "newton-cholesky")


def sklearn_ridge_cholesky(case: Case, tolerance: float) -> Callable[[], Answer]:  # noqa: ARG001
    """Ridge(alpha=0, solver="cholesky")."""
    from sklearn.linear_model import Ridge

    if case.loss != "mse":
        raise NotForThisCaseError("least squares only")
    model = Ridge(alpha=0.0, solver="cholesky")

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return model.coef_, model.intercept_

    return fit


def sklearn_linear_regression(case: Case, tolerance: float) -> Callable[[], Answer]:  # noqa: ARG001
    """LinearRegression()."""
    from sklearn.linear_model import LinearRegression

    if case.loss != "mse":
        raise NotForThisCaseError("least squares only")
    model = LinearRegression()

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return model.coef_, model.intercept_

    return fit


def sklearn_lasso(case: Case, tolerance: float) -> Callable[[], Answer]:
    """Lasso(precompute=True, tol=tol)."""
    from sklearn.linear_model import Lasso

    if not case.l1:
        raise NotForThisCaseError("for an ℓ1 penalty")
    # Its squared error is halved.
    model = Lasso(alpha=case.l1 / 2, precompute=True, tol=tolerance, max_iter=100_000)

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return model.coef_, model.intercept_

    return fit


def glum(case: Case, tolerance: float) -> Callable[[], Answer]:
    """GeneralizedLinearRegressor(l1_ratio=0 or 1, gradient_tol=tol)."""
    from glum import GeneralizedLinearRegressor

    if case.loss == "log_loss" and len(np.unique(case.y)) > 2:
        raise NotForThisCaseError("no softmax")
    if case.X.shape[1] > 10_000:
        raise NotForThisCaseError(f"a Hessian of {case.X.shape[1]:,}² numbers")
    family = "normal" if case.loss == "mse" else "binomial"
    # Its squared error is halved.
    alpha, l1_ratio = (case.l1 / 2, 1) if case.l1 else (case.alpha, 0)
    y = case.y.astype(case.X.dtype)
    model = GeneralizedLinearRegressor(
        family=family, alpha=alpha, l1_ratio=l1_ratio, gradient_tol=tolerance, max_iter=10_000
    )

    def fit() -> Answer:
        model.fit(case.X, y)
        return model.coef_, model.intercept_

    return fit


def cyanure(case: Case, tolerance: float) -> Callable[[], Answer]:
    """Classifier(loss="logistic" or "multiclass-logistic", penalty="l2", tol=tol)."""
    from cyanure.estimators import Classifier

    if case.loss != "log_loss":
        raise NotForThisCaseError("its least squares needs a penalty")
    several = len(np.unique(case.y)) > 2
    y = case.y if several else np.where(case.y > 0, 1, -1)
    model = Classifier(
        loss="multiclass-logistic" if several else "logistic",
        multi_class="multinomial" if several else "auto",
        penalty="l2",
        lambda_1=case.alpha,
        fit_intercept=True,
        tol=tolerance,
        max_iter=10_000,
        n_threads=THREADS,
        verbose=False,
        safe=False,
    )

    def fit() -> Answer:
        model.fit(case.X, y)
        coef = np.asarray(model.coef_)
        coef = coef.T if coef.shape[0] == case.X.shape[1] else coef
        return (coef if several else coef.ravel()), np.ravel(model.intercept_)

    return fit


def snapml(case: Case, tolerance: float) -> Callable[[], Answer]:
    """LogisticRegression(regularizer=1 / C, fit_intercept=True, tol=tol); its intercept is penalised."""
    from snapml import LogisticRegression

    if case.loss != "log_loss":
        raise NotForThisCaseError("classification only")
    if len(np.unique(case.y)) > 2:
        raise NotForThisCaseError("no softmax")
    model = LogisticRegression(
        regularizer=1 / case.inverse_strength, fit_intercept=True, tol=tolerance, max_iter=10_000, n_jobs=THREADS
    )

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return np.ravel(model.coef_), np.ravel(model.intercept_)

    return fit


def skglm_lasso(case: Case, tolerance: float) -> Callable[[], Answer]:
    """Lasso(alpha, tol=tol)."""
    from skglm import Lasso

    if not case.l1:
        raise NotForThisCaseError("for an ℓ1 penalty")
    model = Lasso(alpha=case.l1 / 2, tol=tolerance, max_iter=1000)

    def fit() -> Answer:
        model.fit(case.X, case.y)
        return model.coef_, model.intercept_

    return fit


def skglm(case: Case, tolerance: float) -> Callable[[], Answer]:
    """GeneralizedLinearEstimator(Logistic(), L1_plus_L2(alpha, 0), ProxNewton(tol=tol)): its LBFGS has no intercept."""
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Logistic
    from skglm.penalties import L1_plus_L2
    from skglm.solvers import ProxNewton

    if case.loss != "log_loss" or len(np.unique(case.y)) > 2:
        raise NotForThisCaseError("two classes only, with an L2 penalty")
    X, y = case.X, np.where(case.y > 0, 1.0, -1.0)
    if hasattr(X, "indices"):
        # It refuses 64-bit indices.
        X = type(X)((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)
    model = GeneralizedLinearEstimator(
        Logistic(), L1_plus_L2(case.alpha, 0.0), ProxNewton(tol=tolerance, max_iter=10_000)
    )

    def fit() -> Answer:
        model.fit(X, y)
        return np.ravel(model.coef_), np.ravel(model.intercept_)

    return fit


SOLVERS: dict[str, Solver] = {
    "steepest": steepest,
    "sklearn lbfgs": sklearn_lbfgs,
    "sklearn newton-cholesky": sklearn_newton_cholesky,
    "sklearn Ridge cholesky": sklearn_ridge_cholesky,
    "sklearn LinearRegression": sklearn_linear_regression,
    "sklearn Lasso": sklearn_lasso,
    "glum": glum,
    "cyanure": cyanure,
    "snapml": snapml,
    "skglm": skglm,
    "skglm Lasso": skglm_lasso,
}
#: Those that can have an ℓ1 penalty here.
WITH_L1 = {"steepest", "sklearn Lasso", "glum", "skglm Lasso"}


def solver_for(case: Case, name: str) -> Solver:
    """Return the solver of this name, if the penalty is one that it has."""
    if case.l1 and name not in WITH_L1:
        raise NotForThisCaseError("no ℓ1 penalty")
    return SOLVERS[name]


def exact(case: Case) -> float:
    """Return the lowest objective that two libraries find in float64 at a tolerance as tight as they take."""
    tight = replace(case, X=case.X.astype(np.float64))
    found = []
    with warnings.catch_warnings():
        # At this tolerance rounding ends the search; how far it got is what counts.
        warnings.simplefilter("ignore")
        small = case.X.shape[1] < 10_000
        rivals = (steepest, sklearn_linear_regression, sklearn_newton_cholesky) if small else (steepest, sklearn_lbfgs)
        for solver in (steepest, sklearn_lasso) if case.l1 else rivals:
            try:
                found.append(tight.objective(*solver(tight, 1e-10)()))
            except NotForThisCaseError:
                continue
    return min(found)
