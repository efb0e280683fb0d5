"""The seam of data in blocks: what is merged with what, what is known of all rows, and that blocks add up to them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import steepest
from steepest.blocks import Rows, merged, reduced
from steepest.losses import as_loss
from steepest.survey import Survey, survey_of
from strategies import KINDS, example
from tolerance import tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samples import Sample

every_kind = pytest.mark.parametrize("kind", KINDS)


def merged_by_strides(parts: list[str]) -> str:
    """Return what the tree of ``src/reduce.rs`` makes of the parts."""
    stride = 1
    while stride < len(parts):
        for left in range(0, len(parts) - stride, 2 * stride):
            parts[left] = f"({parts[left]}{parts[left + stride]})"
        stride *= 2
    return parts[0]


@given(st.integers(1, 200))
def test_the_tree_is_that_of_the_core(n: int) -> None:
    parts = [f"{i}." for i in range(n)]
    assert merged(iter(parts), lambda a, b: f"({a}{b})") == merged_by_strides(parts)


@given(st.lists(st.none() | st.text(min_size=1)))
def test_nothing_merges_as_nothing(parts: list[str | None]) -> None:
    assert merged(parts, str.__add__) == ("".join(part for part in parts if part is not None) or None)
    assert reduced(parts, len, int.__add__) == (sum(len(part) for part in parts if part is not None) or None)


def cut(sample: Sample, borders: list[int]) -> list[tuple[Any, ...]]:
    """Return the rows of a sample in blocks; a border that is there twice makes an empty one."""
    edges = [0, *sorted(borders), len(sample.X)]
    columns = [sample.X, sample.y, *([] if sample.weights is None else [sample.weights])]
    return [tuple(column[a:b] for column in columns) for a, b in pairwise(edges)]


@every_kind
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_survey_of_blocks_is_that_of_all_rows(kind: str, weighted: bool, dtype: Any) -> None:  # noqa: FBT001
    sample = example(kind, 41).cast(dtype)
    if weighted:
        sample = sample.but(weights=np.arange(41.0) % 3)
    loss = as_loss(sample.loss)

    def survey(block: tuple[Any, ...]) -> Survey | None:
        return survey_of(Rows("block", *block), loss, None, 1, with_moments=sample.loss == "mse")

    (whole,) = (survey(block) for block in cut(sample, []))
    parts = merged([survey(block) for block in cut(sample, [0, 1, 7, 7, 30])], Survey.merge)
    assert whole is not None
    assert parts is not None
    close = tolerance(np.float64, 41, 100)
    for name in ("mean", "squares", "weight", "largest"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=close)
    np.testing.assert_allclose(parts.sizes, whole.sizes, rtol=close)
    # The first row weighs nothing where there are weights.
    assert parts.lengths == (0 if weighted else 1, 6, 23, 11)
    if whole.moments is not None and parts.moments is not None:
        np.testing.assert_allclose(parts.moments.matrix, whole.moments.matrix, rtol=close, atol=close)
    assert (None if whole.labels is None else whole.labels.tolist()) == (
        None if parts.labels is None else parts.labels.tolist()
    )
    weights = np.ones(41) if sample.weights is None else sample.weights
    mean: NDArray[Any] = np.average(sample.X.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(whole.mean, mean, rtol=close)
    squares = weights @ (sample.X.astype(np.float64) - mean) ** 2
    np.testing.assert_allclose(whole.squares, squares, rtol=close)


@every_kind
@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam", "lbfgs", "newton"])
def test_a_descent_on_blocks_is_that_on_all_rows(kind: str, method: str) -> None:
    sample = example(kind, 41).but(weights=np.arange(41.0) % 3)
    options: dict[str, Any] = {"loss": sample.loss, "alpha": 0.01, "method": method, "precondition": True, "n_steps": 4}
    whole = steepest.descend(sample.X, sample.y, sample_weight=sample.weights, strategy="stream", **options)
    blocks = cut(sample, [0, 1, 7, 7, 30])
    fit = steepest.descend(blocks, strategy="stream", **options)
    close = tolerance(np.float64, 41, 1e4)
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=close, atol=close)
    # Where newton is at the optimum, rounding decides whether it makes one more step.
    n = min(len(fit.history), len(whole.history)) if method == "newton" else 4
    np.testing.assert_allclose(fit.history.loss[:n], whole.history.loss[:n], rtol=close)
    np.testing.assert_allclose(fit.history.step_size[:n], whole.history.step_size[:n], rtol=close)
    again = steepest.descend(lambda: iter(blocks), strategy="stream", **options)
    assert again.parameters.tobytes() == fit.parameters.tobytes()
    assert again.history.loss.tobytes() == fit.history.loss.tobytes()
