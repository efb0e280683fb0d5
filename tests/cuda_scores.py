"""Passes over scores that are there, case by case: a module for the tests, and for a process with a sanitizer.

Each case runs under several orders of threads and several grids, whose results must be the same bits, and is held to
the formulas of the textbooks in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fake_gpu import SCHEDULES, FakeCupy
from samples import Sample, point
from steepest.backends import kernels
from steepest.backends.scores import ScorePass
from steepest.losses import Loss
from strategies import KINDS, Kind
from tolerance import tolerance

#: Blocks: one for all chunks, so that it goes from one to the next, and one each.
GRIDS = (1, 1 << 16)


class ScoreCase(NamedTuple):
    """A loss, the type of scores, how many rows and columns; with weights, an offset, an intercept, and kept scores."""

    kind: str
    dtype: str
    n: int
    width: int = 1
    everything: bool = False


#: Every loss, both types, rows on one lane, on some and on all, of one score a lane and more, and wide ones; borders of
#: chunks.
SCORE_CASES = [
    ScoreCase("softmax", "float32", 515, 9, everything=True),
    ScoreCase("softmax", "float64", 1030, 10),
    ScoreCase("softmax", "float32", 1, 3),
    ScoreCase("softmax", "float32", 70, 100, everything=True),
    ScoreCase("softmax", "float32", 35, 512),
    ScoreCase("softmax", "float64", 35, 129, everything=True),
    ScoreCase("softmax", "float32", 5, 513, everything=True),
    ScoreCase("softmax", "float64", 5, 257),
    ScoreCase("probabilities", "float64", 515, 3, everything=True),
    ScoreCase("probabilities", "float32", 70, 40),
    ScoreCase("probabilities", "float32", 5, 600),
    ScoreCase("two targets", "float32", 1100, 2, everything=True),
    ScoreCase("two targets", "float64", 70, 17),
    ScoreCase("two targets", "float64", 514, 300, everything=True),
    ScoreCase("mse", "float32", 600),
    ScoreCase("binary", "float32", 1025, everything=True),
    ScoreCase("huber", "float64", 515),
    ScoreCase("poisson", "float32", 70, everything=True),
    ScoreCase("squared_hinge", "float64", 70, everything=True),
]
#: By kernel, those that bugs are planted for; a sanitizer gets the last one.
FEW_SCORES = {
    "scores": [
        ScoreCase("two targets", "float64", 35, 5, everything=True),
        ScoreCase("softmax", "float32", 545, 20, everything=True),
    ],
    "wide": [ScoreCase("softmax", "float64", 3, 300, everything=True)],
}


def posed(case: ScoreCase) -> tuple[Sample, Loss, NDArray[Any]]:
    """Return a sample whose scores matter alone, its loss, and its targets in the type of the scores."""
    loss, n_classes, n_columns = KINDS[case.kind]
    kind = Kind(loss, case.width if n_classes > 2 else n_classes, case.width if n_columns > 1 else 1)
    generator = np.random.default_rng(case.n)
    y: NDArray[Any]
    if kind.n_columns > 1:
        y = generator.random((case.n, case.width))
        y = y / y.sum(axis=1, keepdims=True) if n_classes else y
    elif n_classes:
        y = ((7 * np.arange(case.n) + 5) % kind.n_classes).astype(np.float64)
    else:
        y = np.round(np.exp(generator.normal(size=case.n)))
    weights = generator.integers(0, 3, case.n).astype(np.float64) if case.everything else None
    if weights is not None:
        weights[0] = 1
    sample = Sample(
        loss,
        np.zeros((case.n, 1), case.dtype),
        y.astype(case.dtype),
        np.zeros((case.width, 1)),
        0.0,
        weights=weights,
        n_classes=kind.n_classes,
    )
    problem = sample.problem()
    return sample, problem.loss, problem.targets


def check_scores(xp: Any, case: ScoreCase, schedules: Sequence[int] = SCHEDULES) -> str:
    """Assert that losses and slopes are the definition's, always the same bits; return the kernel that found them."""
    sample, loss, targets = posed(case)
    generator = np.random.default_rng(case.width)
    scores = generator.normal(size=(case.n, case.width)).astype(case.dtype)
    if case.width > 1 and "targets" not in case.kind:
        # Beyond the range of the exponential.
        scores[::3] += 1000
    more = generator.normal(size=(case.n + 1, case.width)).astype(case.dtype)
    intercept, offset = (more[0], more[1:]) if case.everything else (None, None)
    weights = None if sample.weights is None else sample.weights.astype(case.dtype)
    rows: Any = tuple(None if part is None else xp.asarray(part) for part in (targets, weights, offset))
    over_scores = ScorePass(xp, loss, case.dtype, 1)
    found = set()
    for schedule in schedules:
        for most_blocks in GRIDS:
            if isinstance(xp, FakeCupy):
                xp.schedule = schedule
            over_scores.most_blocks = most_blocks
            there, kept = xp.asarray(scores), xp.asarray(np.full_like(scores, np.nan))
            if intercept is None:
                sums = over_scores(there, rows).get()
            else:
                sums = over_scores(there, rows, xp.asarray(intercept), kept).get()
            slopes = there.get()
            found.add((sums.tobytes(), slopes.tobytes(), kept.get().tobytes()))
    assert len(found) == 1, f"{case}: the result depends on the order of threads"
    assert np.array_equal(kept.get(), np.nan * scores if intercept is None else scores + intercept, equal_nan=True), (
        case
    )
    parts = [part for part in (scores, intercept, offset) if part is not None]
    compare(case, sample, parts, slopes, sums)
    return str(over_scores.line.partition("(")[0])


def compare(
    case: ScoreCase, sample: Sample, parts: list[NDArray[Any]], slopes: NDArray[Any], sums: NDArray[np.float64]
) -> None:
    """Assert that slopes and sums are those of scores in several parts."""
    z = np.asarray(sum(part.astype(np.float64) for part in parts))
    weights = np.ones(case.n) if sample.weights is None else sample.weights
    expected = point(sample, z)
    y = sample.y.reshape(case.n, -1).astype(np.float64)
    # Of scores and targets, then of the row, whose exponentials are added up.
    reach = sum(np.abs(part) for part in parts) + (np.abs(y) if case.kind in {"two targets", "mse", "huber"} else 1)
    if sample.width > 1 and sample.loss == "log_loss":
        reach = reach.max(axis=1, keepdims=True) + reach
    size = np.abs(expected.slopes) + expected.curvature * reach + expected.slope_magnitude
    slack = tolerance(case.dtype, case.width) * weights[:, None] * size
    assert np.all(np.abs(slopes - weights[:, None] * expected.slopes) <= slack), case
    rounding = tolerance(case.dtype, case.width) * np.abs(expected.slopes) * reach
    terms = np.abs(expected.losses) + expected.loss_magnitude
    rounding = rounding.sum(axis=1) + tolerance(case.dtype, case.width) * terms
    second = np.sum(expected.curvature * (tolerance(case.dtype, case.width) * reach) ** 2, axis=1)
    assert abs(sums[-1] - weights @ expected.losses) <= weights @ (rounding + second), case
    # Sums are of the slopes that were written, in double precision.
    double = slopes.astype(np.float64)
    assert np.all(np.abs(sums[:-1] - double.sum(axis=0)) <= tolerance(np.float64, case.n) * np.abs(double).sum(axis=0))


def kernels_of_scores(cases: Sequence[ScoreCase]) -> list[str]:
    """Return the lines of the kernels that cases need."""
    return sorted(
        {kernels.score_pass(kernels.formula_by_columns(posed(case)[1]), case.dtype, case.width) for case in cases}
        | {kernels.fold("float64")}
    )
