"""The strategies keep what they promise: a property test is worth no more than what it is run on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from samples import Sample
from strategies import LAYOUTS, Floats, Layout, LeastSquares, integers, layouts, problems, samples, scores, weights
from tolerance import tolerance

LARGEST_CONDITION = 50.0


@given(st.booleans().flatmap(lambda centred: st.tuples(st.just(centred), problems(max_cond=50.0, centred=centred))))
def test_problems_have_the_spectrum_they_name(drawn: tuple[bool, LeastSquares]) -> None:
    centred, (X, y, singular_values) = drawn
    n, d = X.shape
    # Five reflections and a singular value decomposition, each as exact as one sum.
    slack = tolerance(X.dtype, 8 * n) * singular_values[0]
    assert X.flags.c_contiguous
    assert n >= d + centred
    assert np.allclose(np.linalg.svd(X, compute_uv=False), singular_values, rtol=0, atol=slack)
    assert np.all(singular_values >= (1 - slack) * np.sqrt(n))
    assert singular_values[0] <= (LARGEST_CONDITION + slack) * np.sqrt(n)
    assert np.array_equal(y, np.round(y))
    if centred:
        augmented = np.linalg.svd(np.column_stack([X, np.ones(n)]), compute_uv=False)
        expected = np.sort(np.append(singular_values, np.sqrt(n)))[::-1]
        assert np.allclose(augmented, expected, rtol=0, atol=slack)


def test_problems_become_simple_and_hard() -> None:
    simplest = find(problems(), lambda _: True)
    assert simplest.X.shape == (1, 1)
    assert simplest.X[0, 0] == 1
    hard = find(problems(max_cond=1e3), lambda p: bool(p.singular_values[0] > 900 * p.singular_values[-1]))
    assert hard.X.shape[1] == 2


@given(integers((5, 3)))
def test_integers_add_up_exactly(values: Floats) -> None:
    assert np.array_equal(values, np.round(values))
    assert np.abs(values).max() <= 8
    single = values.astype(np.float32)
    assert np.array_equal(single.T @ single, values.T @ values)
    assert single.sum() == single[::-1].sum() == values.sum()


@given(st.integers(1, 9).flatmap(weights))
def test_weights_are_whole_and_positive(values: Floats) -> None:
    assert set(values) <= {1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_reach_every_end(dtype: Any) -> None:
    info = np.finfo(dtype)
    ends = [
        lambda z: z == info.max,
        lambda z: z == -info.max,
        lambda z: 0 < abs(z) < info.tiny,
        lambda z: z == 0 and np.signbit(z),
        lambda z: 1 < abs(z) < 50 and z != round(z),
    ]
    for end in ends:
        assert np.isfinite(find(scores(dtype), end))


@given(scores(np.float32))
def test_single_scores_are_single(score: float) -> None:
    assert float(np.float32(score)) == score


@given(samples())
def test_samples_are_held_exactly_by_single_precision(sample: Sample) -> None:
    assert sample.X.shape == (len(sample.y), sample.coef.shape[-1])
    for values in (sample.X, sample.y, sample.coef, sample.intercept):
        assert np.array_equal(values.astype(np.float32), values)
    if sample.n_classes and sample.y.ndim == 1:
        assert set(sample.y) <= set(range(sample.n_classes))
    elif sample.n_classes:
        assert np.array_equal(sample.y.sum(axis=1), np.ones(len(sample.y)))
        assert sample.y.min() >= 0
    if sample.loss == "poisson":
        assert sample.y.min() >= 0


@given(samples("mse", exact=True))
def test_exact_samples_sum_exactly_in_single_precision(sample: Sample) -> None:
    def sums(dtype: Any) -> tuple[Any, Any]:
        X, y, coef, shares = (
            np.asarray(values, dtype=dtype) for values in (sample.X, sample.y, sample.coef, np.ones(len(sample.y)) * 4)
        )
        residual = X @ coef + dtype(sample.intercept[0]) - y
        return np.sum(shares * residual**2, dtype=dtype), X.T @ (shares * residual)

    (single, single_slope), (double, slope) = sums(np.float32), sums(np.float64)
    assert single == double == round(double)
    assert np.array_equal(single_slope, slope)


@given(layouts())
def test_layouts_hold_the_same_numbers(layout: Layout) -> None:
    assert np.array_equal(np.asarray(layout.stored, dtype=np.float64), layout.values)


def test_layouts_are_what_they_are_called() -> None:
    stored = {name: layout(np.eye(3, 2)) for name, layout in LAYOUTS.items()}
    assert stored["c"].flags.c_contiguous
    assert stored["fortran"].flags.f_contiguous
    assert not stored["fortran"].flags.c_contiguous
    assert not stored["strided"].flags.forc
    assert max(stored["negative stride"].strides) < 0
    assert not stored["read-only"].flags.writeable
    assert not stored["unaligned"].flags.aligned
    assert stored["big-endian"].dtype.str == ">f8"
    assert isinstance(stored["lists"], list)
    for name in ("float32", "float16", "int64", "uint8", "bool"):
        assert stored[name].dtype == np.dtype(name)
