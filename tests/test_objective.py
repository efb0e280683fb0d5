"""The objective: every backend computes its definition, and obeys the laws of a weighted average."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from numpy.typing import NDArray

import steepest
from properties import (
    curvature_is_the_spectrums,
    matches_definition,
    parts_make_the_whole,
    penalty_spares_the_intercept,
    same,
    weights_are_relative,
    weights_are_repetitions,
)
from samples import Sample, define, engine
from steepest.backends import objective
from strategies import KINDS, LAYOUTS, Layout, LeastSquares, integers, layouts, observed, problems, samples, scores
from tolerance import tolerance

DTYPES = [np.float32, np.float64]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_order = pytest.mark.parametrize("order", ["C", "F"])
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_dtype
@every_kind
@given(data=st.data())
def test_core_is_the_portable_formula_is_the_definition(kind: str, dtype: Any, data: st.DataObject) -> None:
    sample = data.draw(samples(kind)).cast(dtype, data.draw(st.sampled_from("CF")))
    matches_definition("rust", sample)
    matches_definition("numpy", sample)
    core, portable, expected = sample.evaluate("rust"), sample.evaluate("numpy"), define(sample)
    slack = tolerance(dtype, sample.terms)
    assert abs(core.value - portable.value) <= slack * expected.value_magnitude
    assert np.all(np.abs(core.gradient - portable.gradient) <= slack * expected.gradient_magnitude)


@every_dtype
@given(data=st.data())
def test_core_and_portable_formula_are_equal_where_sums_are_exact(dtype: Any, data: st.DataObject) -> None:
    sample = data.draw(samples("mse", exact=True)).cast(dtype)
    core, portable = sample.evaluate("rust"), sample.evaluate("numpy")
    assert core.value == portable.value
    assert np.array_equal(core.gradient, portable.gradient)


@given(samples())
def test_portable_formula_needs_the_standard_only(sample: Sample) -> None:
    one, other = sample.evaluate("strict"), sample.evaluate("numpy")
    assert one.bits() == other.bits()


@every_kind
@given(data=st.data())
def test_weights_are_repetitions(backend: str, kind: str, data: st.DataObject) -> None:
    sample = data.draw(samples(kind, exact=True, weighted=True))
    weights_are_repetitions(backend, sample.cast(data.draw(st.sampled_from(DTYPES))))


@given(samples(weighted=True), st.sampled_from([0.125, 4.0, 1024.0, 3.0, 0.1, 1e-6]))
def test_weights_are_relative(backend: str, sample: Sample, factor: float) -> None:
    weights_are_relative(backend, sample, factor)


@given(samples(exact=True, weighted=True), st.data())
def test_weight_zero_is_a_row_less(backend: str, sample: Sample, data: st.DataObject) -> None:
    assert sample.weights is not None
    kept = data.draw(hnp.arrays(np.bool_, len(sample.y)).filter(lambda mask: bool(mask.any())))
    zeroed = sample.but(weights=sample.weights * kept)
    same(backend, sample.rows(kept), zeroed, exact=sample.is_exact)


@given(samples())
def test_unit_weights_are_no_weights(backend: str, sample: Sample) -> None:
    unweighted = sample.but(weights=None)
    same(backend, unweighted, sample.but(weights=np.ones(len(sample.y))), exact=True)


@given(samples(exact=True), st.data())
def test_rows_come_in_any_order(backend: str, sample: Sample, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(sample.y)))))
    same(backend, sample, sample.rows(order), exact=sample.is_exact)


@given(samples(exact=True), st.data())
def test_columns_carry_their_coefficients(backend: str, sample: Sample, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(sample.X.shape[1]))))
    n = sample.coef.size
    one = sample.evaluate(backend)
    other = sample.but(X=sample.X[:, order], coef=sample.coef[..., order]).evaluate(backend)
    carried = one.gradient[:n].reshape(sample.coef.shape)[..., order].ravel()
    # Whole scores do not depend on the order of columns; sums over rows run in other lanes.
    slack = 0.0 if sample.is_exact else tolerance(np.float64, sample.terms)
    magnitude = define(sample).gradient_magnitude.max()
    assert abs(other.value - one.value) <= slack * define(sample).value_magnitude
    assert np.all(np.abs(other.gradient[:n] - carried) <= slack * magnitude)
    assert np.all(np.abs(other.gradient[n:] - one.gradient[n:]) <= slack * magnitude)


@given(samples(), st.data())
def test_parts_make_the_whole(backend: str, sample: Sample, data: st.DataObject) -> None:
    if len(sample.y) > 1:
        parts_make_the_whole(backend, sample, data.draw(st.integers(1, len(sample.y) - 1)))


@every_dtype
@given(data=st.data())
def test_intercept_is_an_unpenalised_column_of_ones(backend: str, dtype: Any, data: st.DataObject) -> None:
    sample = data.draw(samples(exact=True)).but(alpha=0.0).cast(dtype)
    ones = np.ones((len(sample.y), 1), dtype)
    intercept = np.broadcast_to(sample.intercept, sample.width)
    column = intercept[:, np.newaxis] if sample.width > 1 else intercept
    extended = sample.but(
        X=np.hstack([sample.X, ones]), coef=np.concatenate([sample.coef, column], axis=-1), intercept=0.0
    )
    n, d = sample.coef.size, sample.X.shape[1]
    one, other = sample.evaluate(backend), extended.evaluate(backend)
    slopes = other.gradient[: n + sample.width].reshape(sample.width, d + 1)
    # Whole scores are the same numbers either way; only the sums over rows may be made in another order.
    slack = 0.0 if sample.is_exact else tolerance(dtype, sample.terms)
    expected = define(extended)
    magnitude = expected.gradient_magnitude.max()
    assert abs(other.value - one.value) <= slack * expected.value_magnitude
    assert np.all(np.abs(slopes[:, :d].ravel() - one.gradient[:n]) <= slack * magnitude)
    assert np.all(np.abs(slopes[:, d] - one.gradient[n:]) <= slack * magnitude)
    assert np.all(np.abs(slopes[:, d] - other.gradient[n + sample.width :]) <= slack * magnitude)


@given(samples(exact=True))
def test_penalty_spares_the_intercept(backend: str, sample: Sample) -> None:
    penalty_spares_the_intercept(backend, sample)


@given(scores())
@example(1e300)
def test_no_penalty_at_any_coefficient(backend: str, coef: float) -> None:
    """α = 0 is no penalty, even where ‖W‖² is more than a float can hold."""
    sample = Sample("mse", np.zeros((1, 1)), np.ones(1), np.array([coef]), 0.0)
    assert sample.evaluate(backend).value == 1


@every_dtype
@given(data=st.data())
def test_curvature_is_the_spectrums(backend: str, dtype: Any, data: st.DataObject) -> None:
    alpha = data.draw(st.sampled_from([0.0, 0.5, 100.0]))
    problem: LeastSquares = data.draw(problems(max_rows=20, max_columns=6, max_cond=100))
    curvature_is_the_spectrums(backend, problem, dtype, alpha)


@every_dtype
@given(data=st.data())
def test_any_division_into_blocks(dtype: Any, data: st.DataObject) -> None:
    """Where sums are exact the length of a block does not matter, a shorter last block included."""
    sample = data.draw(samples("mse", exact=True, max_rows=40)).cast(dtype)
    whole = sample.evaluate("numpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "BLOCK_ROWS", data.draw(st.integers(1, 9)))
        assert sample.evaluate("numpy").bits() == whole.bits()


@every_dtype
@every_order
@pytest.mark.parametrize(("n", "d"), [(1, 1), (7, 1), (515, 3), (4099, 2), (70_001, 1), (33, 700), (2, 9001)])
def test_shapes_that_span_blocks(n: int, d: int, order: Any, dtype: Any) -> None:
    """Around the borders of blocks and chunks, with whole numbers: equal to the formula, not close to it."""
    generator = np.random.default_rng(n + d)
    # Ones and zeros, so that sums over all rows stay exact in single precision.
    X = np.asarray(generator.integers(0, 2, (n, d)), dtype=dtype, order=order)
    y, coef = generator.integers(0, 2, n), np.zeros(d)
    coef[:5] = 1
    residual = X @ coef - y
    for n_threads in (1, 2):
        value, slope, intercept_slope = steepest.loss_and_gradient(X, y, coef, backend="rust", n_threads=n_threads)
        assert value == float(residual @ residual) / n
        assert np.array_equal(slope, 2 * (X.T.astype(np.float64) @ residual) / n)
        assert intercept_slope == 2 * residual.sum() / n


def spread(kind: str, n: int, d: int, dtype: Any, order: Any, *, weighted: bool) -> Sample:
    """Numbers whose sums depend on the order of additions."""
    generator, kind_of = np.random.default_rng(d), KINDS[kind]
    shape = (kind_of.width, d) if kind_of.width > 1 else (d,)
    return Sample(
        loss=kind_of.loss,
        X=np.asarray(generator.normal(size=(n, d)), dtype=dtype, order=order),
        y=observed(kind, n, generator),
        coef=generator.normal(size=shape) / 4,
        intercept=generator.normal(size=shape[:-1] or 1),
        weights=generator.uniform(0.1, 2, n) if weighted else None,
        alpha=0.1,
        n_classes=kind_of.n_classes,
        l1_ratio=0.5,
        offset=generator.normal(size=(n, kind_of.width) if kind_of.width > 1 else n),
    )


@every_order
@every_dtype
@every_kind
@pytest.mark.parametrize("weighted", [False, True])
def test_bits_do_not_depend_on_threads(kind: str, dtype: Any, order: str, *, weighted: bool) -> None:
    sample = spread(kind, 20_011, 13, dtype, order, weighted=weighted)
    matches_definition("rust", sample)
    alone = sample.evaluate("rust", n_threads=1)
    for n_threads in (2, 3, 8):
        assert sample.evaluate("rust", n_threads).bits() == alone.bits()


def test_sums_over_threads_are_not_exact_by_luck() -> None:
    """The test above can fail: another order of the same rows has other bits."""
    sample = spread("mse", 20_011, 13, np.float32, "C", weighted=False)
    assert sample.rows(slice(None, None, -1)).evaluate("rust").bits() != sample.evaluate("rust").bits()


@given(layouts())
def test_layouts_of_the_design(backend: str, layout: Layout) -> None:
    y = np.arange(len(layout.values), dtype=np.float64)
    coef = np.ones(layout.values.shape[1])
    expected = Sample("mse", layout.values, y, coef, 1.0).evaluate(backend)
    # Whole numbers: neither the order of sums nor single precision rounds them.
    assert Sample("mse", layout.stored, y, coef, 1.0).evaluate(backend).bits() == expected.bits()


@given(samples(weighted=True), st.sampled_from(["strided", "negative stride", "read-only", "unaligned", "big-endian"]))
def test_layouts_take_the_same_path(backend: str, sample: Sample, name: str) -> None:
    """The same type, made contiguous by rows: not a bit differs, whatever the numbers."""

    def stored(values: NDArray[Any]) -> Any:
        return LAYOUTS[name](values.reshape(len(values), -1)).reshape(values.shape)

    # A single row or column is contiguous either way, and one way is as good as the other.
    if min(sample.X.shape) > 1:
        assert sample.weights is not None
        other = sample.but(X=LAYOUTS[name](sample.X), y=stored(sample.y), weights=stored(sample.weights))
        assert other.evaluate(backend).bits() == sample.evaluate(backend).bits()


@every_dtype
def test_one_dimension_is_one_feature(backend: str, dtype: Any) -> None:
    x, y = np.arange(5, dtype=dtype), np.ones(5)
    cases: list[Any] = [(x, 0.5, 1.0), (x[:, np.newaxis], [0.5], [1.0])]
    for X, coef, intercept in cases:
        value, (slope,), intercept_slope = steepest.loss_and_gradient(X, y, coef, intercept, backend=backend)
        # Residuals x / 2: means of x² / 4, x², x.
        assert (value, slope, intercept_slope) == (1.5, 6.0, 2.0)


@given(integers((6, 2)))
def test_input_is_never_written_to(backend: str, X: NDArray[np.float64]) -> None:
    y, weights = X[:, 0].copy(), np.abs(X[:, 1]) + 1
    before = [values.tobytes() for values in (X, y, weights)]
    steepest.descend(X, y, sample_weight=weights, n_steps=3, backend=backend)
    assert [values.tobytes() for values in (X, y, weights)] == before


def test_curvature_where_the_first_direction_misses_the_largest_eigenvector(backend: str) -> None:
    """Above the dimension of the exact spectrum, and with a start that lies in the space of the smaller eigenvalue."""
    d = 100
    start = np.arange(1, d + 1) * 0.6180339887498949 % 1 - 0.5
    top = np.cos(np.arange(d))
    top -= start * (start @ top) / (start @ start)
    top /= np.linalg.norm(top)
    X = np.sqrt(d) * (np.eye(d) + 29 * np.outer(top, top))
    sample = Sample("mse", X, np.ones(d), np.zeros(d), 0.0)
    description = sample.problem()
    object.__setattr__(description, "fit_intercept", False)
    assert engine(backend).curvature(description, 1) == pytest.approx(2 * 900, rel=1e-6)


def test_a_curvature_that_is_too_small_shortens_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    curvature = objective.ArrayObjective.curvature
    monkeypatch.setattr(objective.ArrayObjective, "curvature", lambda self, at: curvature(self, at) / 1000)
    generator = np.random.default_rng(1)
    X = generator.normal(size=(50, 4))
    for method in ("gd", "momentum", "nesterov"):
        fit = steepest.descend(X, X @ np.arange(4) + 1, method=method, n_steps=200, backend="numpy")
        assert fit.loss < 1e-3 * fit.history.loss[0]
        if method == "gd":
            assert np.all(np.diff(fit.history.loss[:10]) < 0)


@every_dtype
@given(X=integers((8, 3)), y=integers(8), coef=integers(3, 2))
def test_parts_make_the_whole_exactly(backend: str, dtype: Any, X: Any, y: Any, coef: Any) -> None:
    """Whole numbers, and shares that are halves and quarters: what streams and clusters add up is the same bits."""
    sample = Sample("mse", X, y, coef, 1.0).cast(dtype)
    whole = sample.evaluate(backend)
    for cuts in ([0, 4, 8], [0, 2, 4, 8]):
        parts = [sample.rows(slice(*cut)) for cut in itertools.pairwise(cuts)]
        values = [(len(part.y) / 8, part.evaluate(backend)) for part in parts]
        assert whole.value == sum(share * part.value for share, part in values)
        assert np.array_equal(whole.gradient, sum(share * part.gradient for share, part in values))
