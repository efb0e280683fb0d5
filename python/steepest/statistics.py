"""Sufficient statistics: all that least squares needs to know of the rows, however many there were."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from steepest.backends import thread_count
from steepest.choice import MOST_GRAM_FEATURES
from steepest.descend import descend
from steepest.design import check_finite
from steepest.errors import InputError
from steepest.moments import Moments
from steepest.problem import make_problem
from steepest.tables import expect_names, is_on_gpu

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steepest.result import Fit


@dataclass(eq=False)
class SufficientStatistics:
    r"""Weight, means and second moments of the columns of X and y together, in float64.

    Rows are taken part by part, on one machine or on many, and merged: any cut of the rows gives the same statistics up
    to rounding, and least squares with any penalty by any method needs nothing else. They take d² numbers, however many
    rows there were, and can be pickled.

    Attributes
    ----------
    weight : float
        The weights of the rows added up; each is one if not given.
    mean : ndarray of float64, (n_features + n_targets,)
        Of the columns of X, then of y less the offset.
    moments : ndarray of float64, (n_features + n_targets, n_features + n_targets)
        :math:`\sum_i s_i (v_i - \bar v)(v_i - \bar v)^\top` over rows v = (x, y).
    n_targets : int
        Columns of y.
    n_samples : int
        The rows, whatever they weigh.
    several : bool
        Whether y has two dimensions.
    feature_names : list of str or None
        The columns of X, if it was a frame.

    See Also
    --------
    steepest.descend : With ``strategy="gram"`` it takes these statistics by itself.

    Examples
    --------
    >>> import numpy as np
    >>> import steepest as st
    >>> generator = np.random.default_rng(0)
    >>> statistics = st.SufficientStatistics()
    >>> for _ in range(100):
    ...     X = generator.normal(size=(1000, 3))
    ...     statistics = statistics.update(X, X @ [2.0, -1.0, 0.0] + 1)
    >>> fit = statistics.descend(method="auto")
    >>> fit.coef.round(6) + 0.0, fit.intercept.round(6)
    (array([ 2., -1.,  0.]), np.float64(1.0))
    >>> statistics.descend(method="auto", alpha=0.5, l1_ratio=1.0).coef.round(2)
    array([ 1.75, -0.75,  0.  ])
    """

    weight: float = 0.0
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    moments: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    n_targets: int = 1
    several: bool = False
    feature_names: list[str] | None = None
    n_samples: int = 0

    def update(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> Self:
        """Take in some rows, in one pass over them.

        Parameters
        ----------
        X : array_like, frame or sparse, (n_samples, n_features)
            Not copied if it is float32 or float64, contiguous or in compressed rows.
        y : array_like, (n_samples,) or (n_samples, n_targets)
            Numbers.
        sample_weight : array_like, (n_samples,), optional
            None negative; all ones if not given.
        offset : array_like, of the shape of y, optional
            A known part of the scores.
        n_threads : int, optional
            As in `descend`.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If an argument is not what it should be, or the columns are not those of the rows before; then nothing has
            been taken in.
        """
        given = {"X": X, "y": y, "sample_weight": sample_weight, "offset": offset}
        for name, array in given.items():
            if is_on_gpu(array):
                raise InputError(
                    f"{name}: expected an array in main memory; {name}.get() of CuPy, {name}.cpu() of PyTorch make one"
                )
        problem = make_problem(
            X, y, loss="mse", alpha=0.0, fit_intercept=True, sample_weight=sample_weight, offset=offset
        )
        n, d = problem.design.shape
        if d > MOST_GRAM_FEATURES:
            raise InputError(
                f"X: statistics take at most {MOST_GRAM_FEATURES} columns, whose squares they keep; X has {d}"
            )
        moments = Moments.of(problem, thread_count(n_threads))
        if not np.isfinite(moments.matrix).all():
            check_finite(problem.design, problem.feature_names)
        if problem.sample_weight is not None:
            # Weights were brought into the range of the type of X; those of other parts may not have been.
            moments = moments.times(
                float(np.max(np.asarray(sample_weight, np.float64)) / float(problem.sample_weight.max()))
            )
        part = SufficientStatistics(
            *moments,
            problem.loss.width,
            problem.targets.ndim > 1,
            problem.feature_names,
            n,
        )
        return self.merge(part)

    def merge(self, other: SufficientStatistics) -> Self:
        """Take in the rows that `other` has taken in.

        Parameters
        ----------
        other : SufficientStatistics
            Of rows with the same columns.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If the columns differ, or their squares leave the range of numbers; then nothing has been taken in.
        """
        if not isinstance(other, SufficientStatistics):
            raise InputError(f"other: expected SufficientStatistics; got {type(other).__name__}")
        if not len(other.mean):
            return self
        if not len(self.mean):
            other._moments().check_range()
            vars(self).update(vars(other))
            return self
        if (len(self.mean), self.n_targets, self.several) != (len(other.mean), other.n_targets, other.several):
            raise InputError(f"X, y: expected {self._shape()}, as before; got {other._shape()}")
        if self.feature_names is not None and other.feature_names is not None:
            expect_names("X", other.feature_names, self.feature_names)
        both = self._moments().merge(other._moments())
        both.check_range()
        self.weight, self.mean, self.moments = both
        self.n_samples += other.n_samples
        self.feature_names = self.feature_names or other.feature_names
        return self

    def __repr__(self) -> str:
        return "SufficientStatistics()" if not len(self.mean) else f"<{self.n_samples:,} rows of {self._shape()}>"

    def _shape(self) -> str:
        targets = f"{self.n_targets} targets" if self.several else "one target"
        return f"{len(self.mean) - self.n_targets} features and {targets}"

    def _moments(self) -> Moments:
        return Moments(self.weight, self.mean, self.moments)

    def rows(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return X, y and weights of a few rows that have the same statistics as all that were taken in.

        Returns
        -------
        X : ndarray of float64, (2 (n_features + n_targets), n_features)
            The mean, and a factor of the second moments to both sides of it.
        y : ndarray of float64
            One or two dimensions, as y had.
        sample_weight : ndarray of float64
            All equal; they add up to `weight`.

        Raises
        ------
        InputError
            If no row that weighs something has been taken in.

        Notes
        -----
        Whatever depends on the rows through least squares alone is the same for these few.
        """
        if self.weight <= 0:
            raise InputError("X: expected at least one row that weighs something; update(X, y) takes rows in")
        X, y, weights = self._moments().rows(self.n_targets)
        return X, y if self.several else y[:, 0], weights

    def descend(self, **options: Any) -> Fit:
        """Minimise the squared error over all rows that were taken in.

        Parameters
        ----------
        **options
            As in `steepest.descend`, but for the data: ``alpha``, ``l1_ratio``, ``method``, ``fit_intercept``, …

        Returns
        -------
        Fit
            The one that `steepest.descend` returns for the rows themselves, up to rounding.

        Raises
        ------
        InputError
            If an option is not what it should be, or needs the rows themselves: another loss, mini-batches.
        """
        given = sorted({"loss", "sample_weight", "offset", "batch_size", "validation_fraction"} & set(options))
        if given:
            raise InputError(f"{given[0]}: statistics stand for squared errors over all rows; pass rows to st.descend")
        method = options.get("method")
        if method == "sgd" or getattr(method, "batch_size", None) is not None:
            raise InputError("method: statistics stand for all rows, not for mini-batches; pass rows to st.descend")
        X, y, weight = self.rows()
        fit = descend(X, y, loss="mse", sample_weight=weight, **options)
        recipe = fit.recipe._replace(shape=(self.n_samples, X.shape[1]))
        return replace(fit, feature_names=self.feature_names, recipe=recipe)
