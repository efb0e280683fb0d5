"""What must be known of all rows before the first step, found in one pass over their blocks; and blocks checked."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import named
from steepest.design import SCAN_ROWS, Csr, as_design, check_finite, computed_in
from steepest.errors import InputError
from steepest.losses import LogLoss, SquaredHinge, as_loss
from steepest.moments import Moments
from steepest.penalties import ElasticNet
from steepest.problem import Problem, Sizes, as_offset
from steepest.tables import expect_names, is_on_gpu
from steepest.validation import as_labels, flag, is_table, to_host, weights_in_range, weights_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.blocks import Blocks, Rows
    from steepest.losses import Loss

#: The losses whose targets are labels, some of which a block may not have.
OF_LABELS = (LogLoss, SquaredHinge)
#: Columns whose second moments, for all blocks that are being merged, take a few hundred megabytes.
MOST_MOMENT_COLUMNS = 1536
#: Rows whose squares are taken at a time: small enough to stay in cache.
CHUNK_ENTRIES = 1 << 16


@dataclass(frozen=True, eq=False)
class Survey:
    """What is to be known of some rows, or of all."""

    name: str
    """Of the first block, for messages."""
    loss: Loss
    """As it fits the targets, but for labels."""
    n_features: int
    dtype: np.dtype[Any]
    feature_names: list[str] | None
    labels: NDArray[Any] | None
    """The different ones, sorted, where y has labels."""
    classes: NDArray[Any] | None
    """All of them in order, where they are known without the rows."""
    lengths: tuple[int, ...]
    """Rows of each block; none where no row weighs anything."""
    weight: float
    """Σ s"""
    largest: float
    """The largest weight."""
    sizes: Sizes
    mean: NDArray[np.float64]
    """Of the columns of X, weighted."""
    squares: NDArray[np.float64]
    """Σ s (x − mean)² of each column."""
    moments: Moments | None
    """Of X and y together, if they were asked for."""
    fingerprint: int

    def merge(self, other: Survey) -> Survey:
        """Return what is known of the rows of both; an error if they cannot be of one table."""
        with named(other.name):
            self._expect_alike(other)
            weight = self.weight + other.weight
            mean, squares, moments = self.mean, self.squares, self.moments
            if other.weight > 0:
                # Chan, Golub and LeVeque: no square of a mean is subtracted.
                apart, share = other.mean - self.mean, other.weight / weight
                mean = self.mean + share * apart
                squares = self.squares + other.squares + self.weight * share * apart**2
            if moments is not None and other.moments is not None:
                moments = moments.merge(other.moments)
                moments.check_range()
        both = np.array([self.fingerprint, other.fingerprint], dtype=np.int64)
        return replace(
            self,
            feature_names=self.feature_names or other.feature_names,
            labels=None if self.labels is None else np.union1d(self.labels, other.labels),  # type: ignore[arg-type]
            lengths=self.lengths + other.lengths,
            weight=weight,
            largest=max(self.largest, other.largest),
            sizes=self.sizes.merge(other.sizes),
            mean=mean,
            squares=squares,
            moments=moments,
            fingerprint=zlib.crc32(both.tobytes()),
        )

    def _expect_alike(self, other: Survey) -> None:
        if other.n_features != self.n_features:
            raise InputError(f"X: expected {self.n_features} columns, as in {self.name}; got {other.n_features}")
        if self.feature_names and other.feature_names:
            expect_names("X", other.feature_names, self.feature_names)
        if other.dtype != self.dtype:
            raise InputError(
                f"X: expected {self.dtype}, as in {self.name}; got {other.dtype}; convert one of them with astype"
            )
        if other.loss != self.loss:
            raise InputError(
                f"y: expected targets as in {self.name}, {self.loss.width} a row; got {other.loss.width} a row"
            )
        if self.labels is not None and other.labels is not None:
            kinds = ["text" if labels.dtype.kind in "UOST" else "numbers" for labels in (self.labels, other.labels)]
            if kinds[0] != kinds[1]:
                raise InputError(f"y: expected labels that are {kinds[0]}, as in {self.name}; got {kinds[1]}")


def survey_of(
    rows: Rows,
    loss: Loss,
    classes: Any,
    n_threads: int,
    *,
    with_moments: bool,
) -> Survey | None:
    """Return what is to be known of a block, None if it has no rows. Every row is checked."""
    n = rows.n_rows
    if n == 0:
        return None
    with named(rows.name):
        design, names = as_design(rows.X)
        names = names or rows.feature_names
        dtype, d = computed_in(design), int(design.shape[1])
        if rows.y is None:
            raise InputError("y: expected targets; got None")
        labels = None
        if isinstance(loss, OF_LABELS) and classes is None and not is_table(rows.y):
            column, labels = as_labels("y", rows.y, n, loss.name)
            targets = np.searchsorted(labels, column).astype(dtype)
        else:
            loss, targets, classes = loss.prepare(rows.y, n, dtype, classes)
        weights = None if rows.sample_weight is None else weights_of(rows.sample_weight, n)
        largest = 1.0 if weights is None else float(weights.max())
        if weights is not None and largest > 0:
            weights = weights / largest
        problem = Problem(
            design=design,
            targets=targets,
            sample_weight=None if weights is None else weights.astype(dtype),
            offset=None if rows.offset is None else as_offset(rows.offset, n, dtype, loss.width),
            loss=loss,
            penalty=ElasticNet(0.0, 0.0),
            fit_intercept=True,
            precondition=False,
            classes=classes,
            feature_names=names,
        )
        mean, squares = _column_moments(design, weights)
        if not np.isfinite(squares).all():
            check_finite(design, names)
        moments = None
        if with_moments and d + loss.width <= MOST_MOMENT_COLUMNS and not is_on_gpu(design):
            moments = Moments.of(problem, n_threads).times(largest)
            moments.check_range()
    return Survey(
        name=rows.name,
        loss=loss,
        n_features=d,
        dtype=dtype,
        feature_names=names,
        labels=labels,
        classes=classes,
        lengths=(0 if largest == 0 else n,),
        weight=largest * (n if weights is None else float(weights.sum())),
        largest=largest,
        sizes=problem.sizes,
        mean=mean,
        squares=largest * squares,
        moments=moments,
        fingerprint=problem.fingerprint(),
    )


def _column_moments(
    design: NDArray[Any] | Csr, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted mean of each column, and its squared deviations from there, weighted and added up."""
    n, d = design.shape
    total = n if weights is None else float(weights.sum())
    if total == 0:
        return np.zeros(d), np.zeros(d)
    if isinstance(design, Csr):
        return _sparse_moments(design, np.ones(n) if weights is None else weights, total)
    chunk = max(1, min(CHUNK_ENTRIES // d, SCAN_ROWS))
    # Deviations from about the mean, so that no square of a mean is subtracted.
    center = to_host(design[:chunk]).mean(axis=0, dtype=np.float64)
    sums, squares = np.zeros(d), np.zeros(d)
    with np.errstate(all="ignore"):
        for start in range(0, n, chunk):
            apart = to_host(design[start : start + chunk]).astype(np.float64) - center
            weighed = apart if weights is None else apart * weights[start : start + chunk, np.newaxis]
            sums += weighed.sum(axis=0)
            squares += np.einsum("ij,ij->j", weighed, apart)
        return center + sums / total, squares - sums**2 / total


def _sparse_moments(
    design: Csr, weights: NDArray[np.float64], total: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    matrix = design.to_scipy().astype(np.float64)
    matrix.sum_duplicates()
    d, columns, data = design.shape[1], matrix.indices, matrix.data
    of_entries = np.repeat(weights, np.diff(matrix.indptr))
    with np.errstate(all="ignore"):
        mean = np.bincount(columns, of_entries * data, minlength=d) / total
        squares = np.bincount(columns, of_entries * (data - mean[columns]) ** 2, minlength=d)
        return mean, np.asarray(squares + mean**2 * (total - np.bincount(columns, of_entries, minlength=d)))


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockedProblem(Problem):
    """A problem whose rows lie in blocks: `design`, `targets` and all else that has rows have none here."""

    blocks: Blocks
    """Of `Problem`, each with some of the rows and no penalty; None where no row weighs anything."""
    survey: Survey

    @property
    def n_samples(self) -> int:
        """Number of rows, without the blocks where no row weighs anything."""
        return sum(self.survey.lengths)

    @property
    def total_weight(self) -> float:
        """Σ s, in the unit of the blocks' weights."""
        return self.survey.weight / _unit(self.survey.largest)

    @property
    def sizes(self) -> Sizes:
        """How large targets and offsets are."""
        return self.survey.sizes

    def fingerprint(self) -> int:
        """Return a checksum of some rows of every block."""
        return self.survey.fingerprint

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return how many mini-batches an epoch has; none goes across blocks."""
        return sum(-(-length // batch_size) for length in self.survey.lengths)

    def compressed(self) -> Problem | None:
        """Return a problem of a few rows with the same squared errors, if the moments of all rows are known."""
        moments = self.survey.moments
        if moments is None:
            return None
        X, y, weights = moments.rows(self.loss.width)
        return Problem(
            design=X,
            targets=y if self.targets.ndim > 1 else np.ascontiguousarray(y[:, 0]),
            sample_weight=weights / weights[0],
            offset=None,
            loss=self.loss,
            penalty=self.penalty,
            fit_intercept=self.fit_intercept,
            precondition=self.precondition,
            classes=None,
            feature_names=self.feature_names,
        )


def survey_blocks(
    blocks: Blocks,
    *,
    loss: str | Loss,
    alpha: float,
    l1_ratio: float,
    fit_intercept: bool,
    classes: Any,
    precondition: bool,
    with_moments: bool,
    n_threads: int,
) -> BlockedProblem:
    """Look at every block once and put together the problem that they are. With moments, none need be read again."""
    chosen = as_loss(loss)
    spread, threads = blocks.spread(n_threads, math.inf if with_moments else 0)
    survey: Survey | None = spread.reduce(_survey_task, Survey.merge, chosen, classes, threads, with_moments)
    if survey is None:
        raise InputError(
            "X: expected at least one row; all blocks are empty, or there are none; a generator gives them only once"
        )
    if survey.weight <= 0:
        raise InputError("sample_weight: expected at least one weight > 0; all are 0")
    prepared, order = survey.loss, survey.classes
    if survey.labels is not None:
        prepared, _, order = chosen.prepare(survey.labels, len(survey.labels), survey.dtype, None)
    several = prepared.width > 1
    head = Problem(
        design=np.empty((0, survey.n_features), survey.dtype),
        targets=np.empty((0, prepared.width) if several else 0, survey.dtype),
        sample_weight=None,
        offset=None,
        loss=prepared,
        penalty=ElasticNet.from_ratio(alpha, l1_ratio),
        fit_intercept=flag("fit_intercept", fit_intercept),
        precondition=precondition,
        classes=order,
        feature_names=survey.feature_names,
    )
    return BlockedProblem(**vars(head), blocks=blocks.map(as_problem, head, _unit(survey.largest)), survey=survey)


def _survey_task(rows: Rows, loss: Loss, classes: Any, n_threads: int, with_moments: bool) -> Survey | None:  # noqa: FBT001
    return survey_of(rows, loss, classes, n_threads, with_moments=with_moments)


def as_problem(rows: Rows, head: Problem, unit: float) -> Problem | None:
    """Return a block as a problem of its own with the loss of `head` and no penalty; None if no row weighs anything."""
    n = rows.n_rows
    if n == 0:
        return None
    with named(rows.name):
        design, _ = as_design(rows.X)
        if design.shape[1] != head.design.shape[1] or computed_in(design) != head.dtype:
            raise InputError(
                f"X: expected {head.design.shape[1]} columns of {head.dtype}, as in the pass before; "
                f"got {design.shape[1]} of {design.dtype}"
            )
        _, targets, _ = head.loss.prepare(rows.y, n, head.dtype, head.classes)
        weights = None if rows.sample_weight is None else weights_of(rows.sample_weight, n) / unit
        if weights is None and unit != 1:
            weights = np.full(n, 1 / unit)
        if weights is not None and not weights.any():
            return None
        return replace(
            head,
            design=design,
            targets=targets,
            sample_weight=None if weights is None else weights.astype(head.dtype),
            offset=None if rows.offset is None else as_offset(rows.offset, n, head.dtype, head.loss.width),
            penalty=ElasticNet(0.0, 0.0),
            precondition=False,
        )


def _unit(largest: float) -> float:
    """Return what weights are divided by, so that the largest is in the range of the type of X."""
    return 1.0 if weights_in_range(largest) else largest
