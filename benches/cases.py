"""The problems of the benchmark, and the one function that judges every answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Case:
    """Minimise F(W, b) = average loss + ½ α ‖W‖² + λ ‖W‖₁; the intercept is not penalised."""

    name: str
    title: str
    X: Any
    y: Any
    loss: str
    alpha: float
    l1: float = 0.0
    """λ"""

    @property
    def inverse_strength(self) -> float:
        """Return C with α = 1 / (C n), as scikit-learn counts."""
        return 1 / (self.alpha * self.X.shape[0])

    def objective(self, coef: Any, intercept: Any) -> float:
        """Return F in float64, a slice of rows at a time."""
        coef, intercept = np.atleast_2d(np.asarray(coef, np.float64)), np.ravel(intercept).astype(np.float64)
        total = 0.0
        for start in range(0, self.X.shape[0], 1 << 16):
            rows = slice(start, start + (1 << 16))
            scores = self.X[rows].astype(np.float64) @ coef.T + intercept
            total += float(np.sum(_losses(self.loss, self.y[rows], scores)))
        penalty = self.alpha / 2 * float(np.sum(coef**2)) + self.l1 * float(np.sum(np.abs(coef)))
        return total / self.X.shape[0] + penalty


def _losses(loss: str, y: Any, scores: Any) -> Any:
    if loss == "mse":
        return (scores[:, 0] - y) ** 2
    if scores.shape[1] == 1:
        return np.logaddexp(0, np.where(y > 0, -1.0, 1.0) * scores[:, 0])
    highest = scores.max(axis=1)
    return np.log(np.exp(scores - highest[:, None]).sum(axis=1)) + highest - scores[np.arange(len(y)), y]


def _normal(generator: np.random.Generator, n: int, d: int, dtype: Any = np.float32) -> Any:
    return generator.standard_normal((n, d), dtype=dtype)


def _drawn(generator: np.random.Generator, scores: Any) -> Any:
    """Return labels 0 and 1 with logistic noise."""
    return (generator.random(len(scores)) < 1 / (1 + np.exp(-scores))).astype(np.int64)


def ols(shrink: int) -> Case:
    """A line through standard normal columns."""
    generator, n, d = np.random.default_rng(0), 1_000_000 // shrink, 64
    X = _normal(generator, n, d)
    y = X @ generator.standard_normal(d).astype(np.float32) + 1 + _normal(generator, n, 1)[:, 0]
    return Case("ols", f"least squares, {n:,}×{d} float32", X, y.astype(np.float32), "mse", 0.0)


def logistic(shrink: int) -> Case:
    """Two classes by standard normal columns."""
    generator, n, d = np.random.default_rng(0), 1_000_000 // shrink, 64
    X = _normal(generator, n, d)
    y = _drawn(generator, X @ (0.3 * generator.standard_normal(d)).astype(np.float32))
    return Case("logistic", f"two classes, {n:,}×{d} float32, C = 1", X, y, "log_loss", 1 / n)


def badscale(shrink: int) -> Case:
    """Columns whose scales span six decades, off centre by ten deviations."""
    generator, n, d = np.random.default_rng(0), 200_000 // shrink, 40
    scales = 10 ** generator.uniform(-3, 3, d)
    X = (_normal(generator, n, d, np.float64) + 10) * scales
    y = _drawn(generator, ((X / scales) - 10) @ (0.5 * generator.standard_normal(d)))
    return Case(
        "badscale", f"two classes, {n:,}×{d} float64, scales 10^±3, means tenfold, C = 1", X, y, "log_loss", 1 / n
    )


def a9a(shrink: int) -> Case:  # noqa: ARG001
    """Census data, one-hot."""
    from sklearn.datasets import load_svmlight_file

    with gzip.open(DATA / "a9a.gz") as file:
        X, y = load_svmlight_file(file, n_features=123)
    return Case(
        "a9a", "two classes, 32,561×123 sparse float64, C = 1", X, (y > 0).astype(np.int64), "log_loss", 1 / len(y)
    )


def sparse(shrink: int) -> Case:
    """Like text: few of many columns in a row, most of them rare."""
    from scipy.sparse import csr_matrix

    generator, n, d, k = np.random.default_rng(0), 100_000 // shrink, 47_000, 76
    share = generator.pareto(0.6, d) + 1
    columns = generator.choice(d, size=(n, k), p=share / share.sum()).astype(np.int32)
    entries = generator.exponential(size=(n, k))
    X = csr_matrix((entries.ravel(), columns.ravel(), np.arange(0, n * k + 1, k, dtype=np.int32)), shape=(n, d))
    X.sum_duplicates()
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    y = _drawn(generator, X @ (3 * generator.standard_normal(d)))
    return Case(
        "sparse",
        f"two classes, {n:,}×{d:,} sparse float64, {X.nnz // n} entries a row, C = 10",
        X,
        y,
        "log_loss",
        0.1 / n,
    )


def digits(shrink: int) -> Case:
    """Images of digits, twenty times over with noise."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    times = max(20 // shrink, 1)
    X, y = np.tile(X / 16, (times, 1)), np.tile(y, times)
    X = (X + 0.1 * np.random.default_rng(0).standard_normal(X.shape)).astype(np.float32)
    return Case("digits", f"ten classes, {len(X):,}×64 float32, C = 1", X, y, "log_loss", 1 / len(X))


def lasso(shrink: int) -> Case:
    """A few of many columns, each much like the one before."""
    generator, n, d, alike = np.random.default_rng(0), 100_000 // shrink, 256, 0.95
    X = _normal(generator, n, d)
    for j in range(1, d):
        X[:, j] = alike * X[:, j - 1] + np.sqrt(1 - alike**2, dtype=np.float32) * X[:, j]
    y = X[:, :: d // 20] @ generator.standard_normal(len(range(0, d, d // 20))).astype(np.float32)
    y += 3 + _normal(generator, n, 1)[:, 0]
    largest = float(2 * np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / n)
    title = f"least squares with an ℓ1 penalty, a hundredth of the largest, {n:,}×{d} float32, correlation 0.95"
    return Case("lasso", title, X, y, "mse", 0.0, l1=largest / 100)


#: Problems to be solved to a relative gap.
CASES: dict[str, Callable[[int], Case]] = {
    make.__name__: make for make in (ols, logistic, badscale, a9a, sparse, digits, lasso)
}
