"""Real data, small enough to solve to the last digit: what `optima.json` is computed from and solvers are held to.

Every entry of `DATASETS` is called without arguments and returns ``(X, y)``, the same read-only arrays each time.
X is dense float64 with columns of mean 0 and standard deviation 1, except where its loader says otherwise. Class labels
are 0 … K − 1, also for the squared hinge; counts and measurements are as they were recorded. The files lie in
`tests/data`, whose README names their sources, in `examples`, and in scikit-learn.

===================== ============ ==================================== =======================
name                  shape of X   y                                    meant for
===================== ============ ==================================== =======================
diabetes              442 × 10     progression of the disease           mse
diabetes_standardised 442 × 10     the same, mean 0 and deviation 1     huber, mse
diabetes_several      442 × 7      three serum measurements, (442, 3)   mse of several targets
breast_cancer         569 × 30     2 classes, separable                 log_loss, squared_hinge
digits                1797 × 64    10 classes, separable                log_loss
wine                  178 × 13     3 classes, separable                 log_loss
abalone               4177 × 9     rings of a shell, 1 … 29             mse, huber, poisson
abalone_sex           4177 × 8     3 classes, not separable             log_loss
bikeshare             8645 × 31    rentals in an hour                   mse, poisson
bikeshare_riders      8645 × 31    casual and registered, (8645, 2)     mse of several targets
a9a                   4000 × 123   2 classes; X is sparse               log_loss, squared_hinge
credit_default        30000 × 23   2 classes, not separable             log_loss, squared_hinge
===================== ============ ==================================== =======================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_svmlight_file, load_wine

TESTS = Path(__file__).parent
DATA = TESTS / "data"
EXAMPLES = TESTS.parent / "examples"

Floats = NDArray[np.float64]
#: X, dense or a SciPy CSR matrix, and y of shape (n,) or (n, targets).
Dataset = tuple[Any, Floats]


def standardised(columns: Any) -> Floats:
    """Return float64 columns of mean 0 and standard deviation 1."""
    table = np.asarray(columns, dtype=np.float64)
    result: Floats = (table - table.mean(axis=0)) / table.std(axis=0)
    return result


def one_hot(values: NDArray[Any]) -> Floats:
    """Return a column of 0 and 1 for each value but the first: with an intercept, all of them would be collinear."""
    columns: Floats = (values[:, np.newaxis] == np.unique(values)[1:]).astype(np.float64)
    return columns


def diabetes() -> Dataset:
    """Ten measurements, standardised; the progression as recorded, 25 … 346."""
    X, y = load_diabetes(return_X_y=True)
    return standardised(X), y


def diabetes_standardised() -> Dataset:
    """As `diabetes`, with the progression standardised too, so that a δ of about 1 divides the rows."""
    X, y = diabetes()
    return X, standardised(y)


def diabetes_several() -> Dataset:
    """The first seven measurements, standardised; the targets are the last three, standardised."""
    X, _ = diabetes()
    return X[:, :7].copy(), X[:, 7:].copy()


def breast_cancer() -> Dataset:
    """Thirty measurements, standardised; 0 malignant, 1 benign."""
    X, y = load_breast_cancer(return_X_y=True)
    return standardised(X), y.astype(np.float64)


def digits() -> Dataset:
    """Pixels divided by 16, so 0 … 1, some of them 0 in every row; the digit."""
    X, y = load_digits(return_X_y=True)
    return X / 16, y.astype(np.float64)


def wine() -> Dataset:
    """Thirteen measurements, standardised; the cultivar."""
    X, y = load_wine(return_X_y=True)
    return standardised(X), y.astype(np.float64)


def _abalone() -> tuple[NDArray[Any], Floats]:
    """Return the letters of the sex, and the numbers: seven measurements, then the rings."""
    table = np.loadtxt(DATA / "abalone.csv", dtype=str, delimiter=",")
    return table[:, 0], table[:, 1:].astype(np.float64)


def abalone() -> Dataset:
    """Seven measurements and the sex, one-hot without "F", standardised; the rings as counted."""
    sex, numbers = _abalone()
    return standardised(np.hstack([numbers[:, :-1], one_hot(sex)])), numbers[:, -1].copy()


def abalone_sex() -> Dataset:
    """Seven measurements and the rings, standardised; 0 female, 1 infant, 2 male."""
    sex, numbers = _abalone()
    return standardised(numbers), np.unique(sex, return_inverse=True)[1].astype(np.float64)


def _bikeshare() -> tuple[Floats, Floats]:
    """Return the hour one-hot without midnight and eight more columns, standardised; casual, registered, all riders."""
    table = np.loadtxt(EXAMPLES / "bikeshare.csv", delimiter=",", skiprows=1)
    return standardised(np.hstack([table[:, :1], table[:, 2:9], one_hot(table[:, 1])])), table[:, 9:]


def bikeshare() -> Dataset:
    """Season, day, weather and the hour one-hot without midnight, standardised; all riders as counted."""
    X, riders = _bikeshare()
    return X, riders[:, 2].copy()


def bikeshare_riders() -> Dataset:
    """As `bikeshare`, with two targets: casual and registered riders as counted."""
    X, riders = _bikeshare()
    return X, riders[:, :2].copy()


def a9a() -> Dataset:
    """Sparse CSR of 123 columns of 0 and 1, as they are; 1 if the income is above 50,000 dollars."""
    X, y = load_svmlight_file(str(DATA / "a9a.libsvm"), n_features=123)
    return X, (y > 0).astype(np.float64)


def credit_default() -> Dataset:
    """The 23 columns between ID and target as numbers, standardised; 1 if the payment was missed."""
    table = np.loadtxt(EXAMPLES / "credit-default.csv", delimiter=",", skiprows=1)
    return standardised(table[:, 1:-1]), table[:, -1].copy()


def once(load: Callable[[], Dataset]) -> Callable[[], Dataset]:
    """Load once, and let no test write into what the others see."""

    @cache
    def load_once() -> Dataset:
        X, y = load()
        for array in (y, X.data if hasattr(X, "indptr") else X):
            array.setflags(write=False)
        return X, y

    return load_once


LOADERS = [
    diabetes,
    diabetes_standardised,
    diabetes_several,
    breast_cancer,
    digits,
    wine,
    abalone,
    abalone_sex,
    bikeshare,
    bikeshare_riders,
    a9a,
    credit_default,
]
DATASETS: dict[str, Callable[[], Dataset]] = {load.__name__: once(load) for load in LOADERS}
