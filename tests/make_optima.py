# mypy: disable-error-code="import-not-found, import-untyped"
"""Compute `optima.json`: the least value of F for real data, each loss and each penalty, by two ways that must agree.

    F(W, b) = Σᵢ ℓ(yᵢ, zᵢ) / n + α [ρ‖W‖₁ + ½ (1 − ρ)‖W‖²],   zᵢ = W xᵢ + b

Run by hand, in an environment with scikit-learn and statsmodels: ``python tests/make_optima.py``; a minute and a half.
Nothing of steepest is imported. For each of the `CASES`:

1. SciPy's L-BFGS-B on the formulas below, with W split into two parts of one sign each where there is an l1 term, then
   Newton steps with the exact Hessian on the support. The optimality conditions must hold to `MOST_RESIDUAL` of the
   gradient at the origin, and the last Newton step promise less than `MOST_PROMISE` of F: a proof, as F is convex.
2. An estimator of scikit-learn, statsmodels or SciPy with this very objective; for the squared hinge, and for Huber and
   Poisson where there is none, scikit-learn's least squares again and again (`repeated_least_squares`). F at its
   parameters must be within `MOST_DIFFERENCE` of the first.

`n_nonzero` counts the coefficients, without intercepts, that are not zero; it is null where the minimum is attained at
several points, or a coefficient stands just at the brink.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, PoissonRegressor, Ridge

from datasets import DATASETS, Floats

MOST_RESIDUAL = 1e-12
MOST_PROMISE = 1e-15
MOST_DIFFERENCE = 1e-10
#: A share of α within which a gradient is at the brink, and of the largest curvature below which there is none.
BRINK = 1e-6
FLAT = 1e-10


@dataclass(frozen=True)
class Case:
    dataset: str
    loss: str
    delta: float | None
    alpha: float
    l1_ratio: float


def cases(dataset: str, loss: str, delta: float | None = None, **alphas: float) -> list[Case]:
    """Return a case for each penalty named."""
    ratios = {"none": 0.0, "l2": 0.0, "l1": 1.0, "elastic_net": 0.5}
    return [Case(dataset, loss, delta, alpha, ratios[penalty]) for penalty, alpha in alphas.items()]


#: α leaves the problem moderately conditioned, and with l1 about half of the coefficients zero. No penalty only where
#: the minimum is attained, and well-conditioned: not for separable classes, nor for collinear columns.
CASES = [
    *cases("diabetes", "mse", none=0.0, l2=0.1, l1=10.0, elastic_net=2.0),
    *cases("diabetes_several", "mse", none=0.0, l2=0.1, l1=0.1, elastic_net=0.1),
    *cases("abalone", "mse", none=0.0, elastic_net=0.1),
    *cases("bikeshare", "mse", l2=0.1, l1=20.0),
    *cases("bikeshare_riders", "mse", elastic_net=5.0),
    *cases("diabetes_standardised", "huber", 1.0, none=0.0, l2=0.1, l1=0.1, elastic_net=0.1),
    *cases("abalone", "huber", 1.35, none=0.0, elastic_net=0.1),
    *cases("breast_cancer", "log_loss", l2=0.01, l1=0.005, elastic_net=0.01),
    *cases("digits", "log_loss", l2=0.01, l1=0.0005, elastic_net=0.002),
    *cases("wine", "log_loss", l2=0.01, l1=0.01, elastic_net=0.02),
    *cases("abalone_sex", "log_loss", none=0.0, l1=0.01),
    *cases("a9a", "log_loss", l2=0.01, l1=0.001, elastic_net=0.002),
    *cases("credit_default", "log_loss", none=0.0, l2=0.01, elastic_net=0.01),
    *cases("abalone", "poisson", none=0.0, l2=0.1, l1=0.1, elastic_net=0.1),
    *cases("bikeshare", "poisson", none=0.0, l2=0.1, l1=10.0, elastic_net=5.0),
    *cases("breast_cancer", "squared_hinge", l2=0.01, l1=0.02, elastic_net=0.02),
    *cases("a9a", "squared_hinge", l2=0.01, l1=0.005, elastic_net=0.005),
    *cases("credit_default", "squared_hinge", none=0.0, l1=0.04),
]

# Losses: ℓ, shape (n,); ∂ℓ/∂z, shape (n, width); ∂²ℓ/∂z², shape (n, width, width); of y and z, shape (n, width).
Derivatives = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def mse(y: Floats, z: Floats) -> Derivatives:
    width = z.shape[1]
    return ((z - y) ** 2).mean(axis=1), 2 * (z - y) / width, np.tile(2 * np.eye(width) / width, (len(z), 1, 1))


def huber(y: Floats, z: Floats, delta: float) -> Derivatives:
    r = z - y
    return special.huber(delta, r)[:, 0], np.clip(r, -delta, delta), 1.0 * (np.abs(r) <= delta)[:, :, np.newaxis]


def logistic(y: Floats, z: Floats) -> Derivatives:
    p = special.expit(z)
    return (np.logaddexp(0, z) - y * z)[:, 0], p - y, (p * special.expit(-z))[:, :, np.newaxis]


def softmax(y: Floats, z: Floats) -> Derivatives:
    p = special.softmax(z, axis=1)
    chosen = y == np.arange(z.shape[1])
    curvature = p[:, :, np.newaxis] * (np.eye(z.shape[1]) - p[:, np.newaxis, :])
    return special.logsumexp(z, axis=1) - z[chosen], p - chosen, curvature


def poisson(y: Floats, z: Floats) -> Derivatives:
    mean = np.exp(z)
    return (mean - y * z)[:, 0], mean - y, mean[:, :, np.newaxis]


def squared_hinge(y: Floats, z: Floats) -> Derivatives:
    sign = 2 * y - 1
    short = np.maximum(0, 1 - sign * z)
    return (short**2)[:, 0], -2 * sign * short, 2.0 * (short > 0)[:, :, np.newaxis]


def dense(case: Case) -> tuple[Floats, Floats]:
    X, y = DATASETS[case.dataset]()
    return X.toarray() if hasattr(X, "toarray") else X, y


class Objective:
    """F at vectors: for each score its d coefficients, then its intercept."""

    def __init__(self, case: Case) -> None:
        X, y = dense(case)
        self.design = np.column_stack([X, np.ones(len(X))])
        self.y = y.reshape(len(y), -1)
        several = case.loss == "log_loss" and y.max() > 1
        self.width = int(y.max()) + 1 if several else self.y.shape[1]
        losses: dict[str, Callable[..., Derivatives]] = {
            "mse": mse,
            "huber": partial(huber, delta=case.delta or 0.0),
            "log_loss": softmax if several else logistic,
            "poisson": poisson,
            "squared_hinge": squared_hinge,
        }
        self.loss = losses[case.loss]
        penalised = np.ones((self.width, self.design.shape[1]))
        penalised[:, -1] = 0
        self.l1 = case.alpha * case.l1_ratio * penalised.ravel()
        self.l2 = case.alpha * (1 - case.l1_ratio) * penalised.ravel()

    def at(self, parameters: Floats) -> Derivatives:
        return self.loss(self.y, self.design @ parameters.reshape(self.width, -1).T)

    def smooth(self, parameters: Floats) -> tuple[float, Floats]:
        """Return F without its l1 term, and the gradient of that."""
        values, residual, _ = self.at(parameters)
        gradient = (residual.T @ self.design).ravel() / len(values) + self.l2 * parameters
        return float(values.mean() + self.l2 @ parameters**2 / 2), gradient

    def value(self, parameters: Floats) -> float:
        return self.smooth(parameters)[0] + float(self.l1 @ np.abs(parameters))

    def hessian(self, parameters: Floats) -> Floats:
        curvature = self.at(parameters)[2] / len(self.y)
        rows = [
            [(self.design * curvature[:, k, m, np.newaxis]).T @ self.design for m in range(self.width)]
            for k in range(self.width)
        ]
        return np.block(rows) + np.diag(self.l2)

    def slope(self, parameters: Floats, gradient: Floats) -> tuple[Floats, Floats]:
        """Return the subgradient of least magnitude, and the sign that each parameter has or would take."""
        sign = np.where(parameters != 0, np.sign(parameters), -np.sign(gradient))
        slope = gradient + self.l1 * sign
        return np.where((parameters == 0) & (np.abs(gradient) <= self.l1), 0, slope), sign

    def residual(self, parameters: Floats) -> float:
        """By how much the optimality conditions fail, as a share of the gradient at the origin."""
        slope, _ = self.slope(parameters, self.smooth(parameters)[1])
        return float(np.abs(slope).max() / np.abs(self.smooth(np.zeros_like(parameters))[1]).max())


def descend(objective: Objective) -> Floats:
    """Return about the optimum, by L-BFGS-B over parts of one sign each where there is an l1 term."""
    split = np.flatnonzero(objective.l1)
    size = len(objective.l1)
    tight = {"maxiter": 20_000, "maxfun": 100_000, "maxcor": 50, "ftol": 1e-15, "gtol": 1e-10}

    def joined(parts: Floats) -> Floats:
        parameters = parts[:size].copy()
        parameters[split] -= parts[size:]
        return parameters

    def value_and_gradient(parts: Floats) -> tuple[float, Floats]:
        value, gradient = objective.smooth(joined(parts))
        value += float(objective.l1 @ parts[:size] + objective.l1[split] @ parts[size:])
        return value, np.concatenate([gradient + objective.l1, objective.l1[split] - gradient[split]])

    bounds = [(0, None) if l1 else (None, None) for l1 in objective.l1] + [(0, None)] * len(split)
    start = np.zeros(size + len(split))
    found = optimize.minimize(value_and_gradient, start, jac=True, bounds=bounds, method="L-BFGS-B", options=tight)
    return joined(found.x)


def polish(objective: Objective, parameters: Floats) -> tuple[Floats, float]:
    """Return the optimum by Newton steps on the support, and the share of F that the last of them could promise."""
    best = parameters
    promise = np.inf
    for _ in range(50):
        value, (slope, sign) = objective.value(parameters), objective.slope(parameters, objective.smooth(parameters)[1])
        free = (parameters != 0) | (slope != 0)
        step = np.zeros_like(parameters)
        # Least squares, because softmax does not see a number added to every intercept.
        hessian = objective.hessian(parameters)[np.ix_(free, free)]
        step[free] = -np.linalg.lstsq(hessian, slope[free], rcond=1e-13)[0]
        promise = float(-slope @ step / 2 / abs(value))
        share = 1.0
        while True:
            trial = parameters + share * step
            trial[(objective.l1 > 0) & (trial * sign < 0)] = 0
            if objective.value(trial) <= value + 4 * np.finfo(float).eps * abs(value) or share < 1e-9:
                break
            share /= 2
        parameters = trial
        if objective.residual(parameters) < objective.residual(best):
            best = parameters
        elif promise < MOST_PROMISE / 100:
            break
    return best, promise


def least_squares(case: Case, X: Floats, targets: Floats, weights: Floats) -> Any:
    """Return scikit-learn's estimator of Σᵢ ½ wᵢ (zᵢ − tᵢ)² / n and the penalty of the case, fitted."""
    n = len(X)
    if case.alpha == 0:
        estimator = LinearRegression()
    elif case.l1_ratio == 0:
        estimator = Ridge(alpha=n * case.alpha)
    else:
        alpha = case.alpha * n / weights.sum()
        estimator = ElasticNet(alpha=alpha, l1_ratio=case.l1_ratio, tol=1e-14, max_iter=1_000_000)
    return estimator.fit(X, targets, weights)


def repeated_least_squares(case: Case, X: Floats, y: Floats) -> Any:
    """Fit to targets moved by the last fit, until it moves no more; F is then at its least.

    Huber's ½r² or δ(|r| − ½δ) is the least of ½(r − e)² + δ|e| over e, and max(0, u)² that of (u + t)² over t ≥ 0; for
    Poisson these are Newton's steps, from where the means are between the counts and their mean.
    """
    n, sign = len(y), 2 * y - 1
    scores = np.log((y + y.mean()) / 2) if case.loss == "poisson" else np.zeros(n)
    for _ in range(10_000):
        match case.loss:
            case "huber":
                weights, targets = np.ones(n), scores - np.clip(scores - y, -float(case.delta or 0), case.delta)
            case "squared_hinge":
                weights, targets = np.full(n, 2.0), sign * np.maximum(1, sign * scores)
            case _:
                weights = np.exp(scores)
                targets = scores - (weights - y) / weights
        estimator = least_squares(case, X, targets, weights)
        before, scores = scores, estimator.predict(X)
        if np.abs(scores - before).max() < 1e-9 * np.abs(scores).max():
            return estimator
    raise RuntimeError(f"{case}: least squares did not settle")


def rival(case: Case) -> tuple[str, Floats]:
    """Return what else minimises the F of the case, and the parameters that it finds, a row for each score."""
    # Not among what the tests need, and they import every module here in search of examples.
    import statsmodels.api as sm

    X, y = dense(case)
    n, width = len(X), y[0].size
    families = {"mse": sm.families.Gaussian, "log_loss": sm.families.Binomial, "poisson": sm.families.Poisson}
    if case.alpha == 0 and case.loss in families and width == 1 and not (case.loss == "log_loss" and y.max() > 1):
        fit = sm.GLM(y, np.column_stack([X, np.ones(n)]), families[case.loss]()).fit(tol=1e-14, maxiter=100)
        return f"statsmodels GLM {families[case.loss].__name__}", fit.params
    if case.alpha == 0 and case.loss == "huber":
        design = np.column_stack([X, np.ones(n)])
        tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 10_000}
        found = optimize.least_squares(
            lambda w: design @ w - y,
            np.zeros(design.shape[1]),
            lambda _: design,
            loss="huber",
            f_scale=case.delta,
            **tight,
        )
        return "scipy least_squares huber", found.x
    again = ""
    if case.loss == "log_loss":
        solver = "saga" if case.l1_ratio else "newton-cholesky"
        inverse = 1 / (n * case.alpha) if case.alpha else np.inf
        estimator = LogisticRegression(
            C=inverse, l1_ratio=case.l1_ratio, solver=solver, tol=1e-10, max_iter=50_000, random_state=0
        ).fit(X, y)
        again = f" {solver}"
    elif case.loss == "poisson" and case.l1_ratio == 0:
        estimator = PoissonRegressor(alpha=case.alpha, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    elif case.loss == "mse":
        estimator = least_squares(case, X, y, np.full(n, 2 / width))
    else:
        estimator, again = repeated_least_squares(case, X, y), " repeated"
    parameters = np.column_stack([np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)])
    return f"sklearn {type(estimator).__name__}{again}", parameters.ravel()


def support(objective: Objective, parameters: Floats) -> int | None:
    """Return how many coefficients are not zero, or None if other minimisers have other ones."""
    gradient = objective.smooth(parameters)[1]
    at_brink = (parameters == 0) & (objective.l1 > 0) & (np.abs(gradient) > (1 - BRINK) * objective.l1)
    free = parameters != 0
    # Softmax does not see a number added to every intercept.
    free[-1] = objective.width == objective.y.shape[1]
    curvatures = np.linalg.eigvalsh(objective.hessian(parameters)[np.ix_(free, free)])
    if at_brink.any() or curvatures[0] < FLAT * curvatures[-1]:
        return None
    shape = (objective.width, objective.design.shape[1])
    return int(np.count_nonzero(parameters.reshape(shape)[:, :-1]))


def solve(case: Case) -> dict[str, Any]:
    objective = Objective(case)
    parameters, promise = polish(objective, descend(objective))
    value, residual = objective.value(parameters), objective.residual(parameters)
    name, others = rival(case)
    difference = (objective.value(others) - value) / abs(value)
    print(f"{case}: {value!r}, residual {residual:.0e}, promise {promise:.0e}; {name}: {difference:+.0e}")  # noqa: T201
    assert residual <= MOST_RESIDUAL
    assert promise <= MOST_PROMISE
    assert abs(difference) <= MOST_DIFFERENCE
    by = [name, "scipy L-BFGS-B, then Newton"]
    return asdict(case) | {"value": value, "n_nonzero": support(objective, parameters), "by": by}


def main() -> None:
    warnings.simplefilter("error")
    lines = [json.dumps(solve(case)) for case in CASES]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    Path(__file__).with_name("optima.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
