"""Smaller models: what is left out, how much smaller they are, and that the loss they report is theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, strategies
from numpy.typing import NDArray
from scipy import sparse, special

import steepest as st
from samples import Sample, define
from steepest import InputError, LinearModel
from steepest.compression import Smaller
from steepest.model import as_model
from steepest.preprocessing import Categorical, Encoder, Numeric
from strategies import KINDS
from tolerance import tolerance

N, D = 80, 6
GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(N, D)) * [1.0, 3.0, 0.1, 1.0, 1.0, 0.5] + [0, 2, 0, -1, 0, 5]
NUMBERS = GENERATOR.integers(0, 12, N)
PROBABILITIES = GENERATOR.dirichlet(np.ones(3), N)
#: The targets of each kind of sample.
TARGETS: dict[str, NDArray[Any]] = {
    "mse": NUMBERS.astype(float),
    "two targets": np.column_stack([NUMBERS, X[:, 0] - 3]),
    "binary": NUMBERS % 2,
    "binary probabilities": np.column_stack([NUMBERS / 11, 1 - NUMBERS / 11]),
    "softmax": NUMBERS % 4,
    "probabilities": PROBABILITIES,
    "huber": NUMBERS.astype(float),
    "poisson": NUMBERS.astype(float),
    "squared_hinge": NUMBERS % 2,
}
WAYS: dict[str, Callable[..., Smaller]] = {
    "pruned": lambda model, X, y: st.prune(model, X, y, n_features=3),
    "by threshold": lambda model, X, y: st.prune(model, X, y, threshold=0.1),
    "int8": st.quantize,
    "float16": lambda model, X, y: st.quantize(model, X, y, to="float16"),
    "pruned int8": lambda model, X, y: st.quantize(st.prune(model, X, y, n_features=3).model, X, y),
    "int8 pruned": lambda model, X, y: st.prune(st.quantize(model, X, y).model, X, y, n_features=3),
    "pruned twice": lambda model, X, y: st.prune(st.prune(model, X, y, n_features=5).model, X, y, n_features=2),
}


def fitted(kind: str, dtype: Any = np.float64) -> Any:
    return st.descend(X.astype(dtype), TARGETS[kind], loss=KINDS[kind].loss, method="auto", n_steps=40, tol=1e-4)


def numbers_of(model: LinearModel) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return all coefficients and the intercept in float64, by what the fields say and nothing else."""
    coef = np.zeros((len(model.coef), model.n_features))
    scale = 1.0 if model.scale is None else model.scale.astype(np.float64)[:, None]
    coef[:, slice(None) if model.kept is None else model.kept] = model.coef.astype(np.float64) * scale
    return coef, model.intercept.astype(np.float64)


def defined_loss(kind: str, model: LinearModel) -> float:
    coef, intercept = numbers_of(model)
    width = KINDS[kind].width
    sample = Sample(
        loss=KINDS[kind].loss,
        X=X,
        y=TARGETS[kind].astype(np.float64),
        coef=coef if width > 1 else coef[0],
        intercept=intercept,
        n_classes=KINDS[kind].n_classes,
    )
    return define(sample).value


@pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", TARGETS)
def test_the_reported_loss_is_that_of_the_smaller_model(tmp_path: Path, kind: str, way: str, dtype: Any) -> None:
    """By the textbook's formula and numbers that the fields alone give; after a file too."""
    model = fitted(kind, dtype)
    smaller = WAYS[way](model, X, TARGETS[kind])
    st.save(smaller.model, tmp_path / "m")
    loaded = st.load(tmp_path / "m")
    share = 100 * tolerance(dtype, D)
    for one in (smaller.model, loaded):
        assert smaller.loss == pytest.approx(defined_loss(kind, one), rel=share, abs=share)
    if way in {"pruned", "by threshold", "int8", "float16"}:
        assert smaller.loss_before == pytest.approx(defined_loss(kind, as_model(model)), rel=share, abs=share)
    assert smaller.loss_change == smaller.loss - smaller.loss_before
    assert np.array_equal(loaded.predict(X), smaller.model.predict(X))
    assert loaded.intercept.dtype == dtype
    expected = {"int8": np.int8, "float16": np.float16}.get(way.replace("pruned", "").strip(), dtype)
    assert loaded.coef.dtype == expected


def test_the_loss_of_huber_has_the_delta_that_was_fitted() -> None:
    y = TARGETS["huber"]
    fit = st.descend(X, y, loss=st.Huber(delta=0.25), n_steps=40)
    smaller = st.quantize(fit, X, y)
    coef, intercept = numbers_of(smaller.model)
    assert smaller.loss == pytest.approx(special.huber(0.25, X @ coef[0] + intercept[0] - y).mean(), rel=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_scores_keep_their_average_and_sparse_data_says_the_same(way: str) -> None:
    model, y = fitted("softmax"), TARGETS["softmax"]
    smaller, of_sparse = WAYS[way](model, X, y), WAYS[way](model, sparse.csr_array(X), y)
    before = as_model(model).scores(X).mean(axis=0)
    assert smaller.model.scores(X).mean(axis=0) == pytest.approx(before, abs=1e-12)
    assert np.array_equal(smaller.model.coef, of_sparse.model.coef)
    assert smaller.loss == pytest.approx(of_sparse.loss, rel=1e-12)


def test_what_matters_least_is_left_out() -> None:
    """A large coefficient of a column that hardly varies does less than a small one of a column that does."""
    rows = np.column_stack([X[:, 0] * 1e-3, X[:, 1], np.ones(N), X[:, 3]])
    model = LinearModel("mse", "y", None, None, np.array([[50.0, 0.5, 9.0, -0.4]]), np.array([1.0]))
    y = model.predict(rows)
    effect = np.abs(model.coef[0]) * rows.std(axis=0)
    for n_features, kept in ((1, [1]), (2, [1, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])):
        assert st.prune(model, rows, y, n_features=n_features).model.kept == pytest.approx(kept)
    smaller = st.prune(model, rows, y, threshold=effect[3])
    assert smaller.model.kept == pytest.approx([1, 3])
    assert smaller.loss_before == 0
    # The mean of what is left out is in the intercept: what is lost is the variance of the first column's part.
    assert smaller.loss_change == pytest.approx(effect[0] ** 2, rel=1e-9)
    assert st.prune(model, rows, y, n_features=3).loss == pytest.approx(0, abs=1e-25)


def test_to_prune_twice_is_to_prune_once() -> None:
    model, y = as_model(fitted("softmax")), TARGETS["softmax"]
    once = st.prune(model, X, y, n_features=2).model
    twice = st.prune(st.prune(model, X, y, n_features=4).model, X, y, n_features=2).model
    assert once.kept is not None
    assert np.array_equal(twice.kept, once.kept)  # type: ignore[arg-type]
    assert np.array_equal(once.coef, model.coef[:, once.kept])
    assert np.array_equal(twice.coef, once.coef)
    assert twice.intercept == pytest.approx(once.intercept, rel=1e-12)


FINITE = strategies.floats(-1e6, 1e6)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=FINITE))
def test_rounding_is_to_the_nearest(coef: NDArray[np.float64]) -> None:
    width, n_features = coef.shape
    model = LinearModel("mse", "y", None, None, coef, np.zeros(width))
    rows = np.zeros((2, n_features))
    y = np.zeros((2, width) if width > 1 else 2)
    eight = st.quantize(model, rows, y).model
    scale = eight.scale
    assert scale is not None
    assert (np.abs(eight.weights - coef) <= scale[:, None] * (0.5 + 1e-9)).all()
    assert (scale <= np.maximum(np.abs(coef).max(axis=1) / 127, 1)).all()
    within = np.abs(coef) <= 65504
    if within.all():
        half = st.quantize(model, rows, y, to="float16").model
        assert np.array_equal(half.weights, coef.astype(np.float16).astype(np.float64))
    else:
        with pytest.raises(InputError, match="beyond float16; to='int8' takes it"):
            st.quantize(model, rows, y, to="float16")


@pytest.mark.parametrize(
    ("width", "n_features", "dtype", "most"),
    [(10, 784, np.float32, 0.3), (10, 784, np.float64, 0.16), (1, 4096, np.float32, 0.3), (1, 768, np.float64, 0.3)],
)
def test_int8_takes_less_than_three_tenths(
    tmp_path: Path, width: int, n_features: int, dtype: Any, most: float
) -> None:
    """Of the whole file, with the description; digits by pixels, and heads on embeddings."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, n_features)).astype(dtype)
    y = np.arange(200) % max(width, 2)
    model = st.descend(rows, y, loss="log_loss", n_steps=5)
    st.save(model, tmp_path / "whole")
    smaller = st.quantize(model, rows, y)
    st.save(smaller.model, tmp_path / "int8")
    assert (tmp_path / "int8").stat().st_size <= most * (tmp_path / "whole").stat().st_size
    # Five steps are not at the optimum: rounding may as well lower the loss.
    assert abs(smaller.loss_change) < 0.01


def test_a_model_of_a_table_stays_one(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    encoder = Encoder((Numeric("size"), Categorical("colour", ("red", "blue", "green"))))
    frame = pandas.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "green", "red"]})
    model = LinearModel("mse", "price", None, encoder, np.array([[2.0, 0.01, 5.0]]), np.array([1.0]))
    smaller = st.prune(model, frame, model.predict(frame), n_features=2)
    assert smaller.model.kept == pytest.approx([0, 2])
    st.save(smaller.model, tmp_path / "m")
    assert np.array_equal(st.load(tmp_path / "m").predict(frame), smaller.model.predict(frame))
    assert smaller.loss_change == pytest.approx(0.01**2 * 3 / 16)


def test_labels_and_estimators() -> None:
    """Text labels, and fractional ones as tables have; an estimator is as good as what it fitted."""
    y = np.where(NUMBERS > 5, "many", "few")
    estimator = st.GDClassifier().fit(X, y)
    text = st.quantize(estimator, X, y)
    numbers = LinearModel("log_loss", "y", [0.5, 1.5], None, estimator.coef_, estimator.intercept_)
    halves = st.quantize(numbers, X, np.where(NUMBERS > 5, 1.5, 0.5))
    assert isinstance(text, Smaller)
    assert text.loss == halves.loss
    assert text.model.training["quantized"] == "int8"


SMALL = LinearModel("mse", "y", None, None, np.array([[1.0, 2.0]]), np.array([0.0]))
ROWS, Y = np.eye(2), np.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.prune(SMALL, ROWS, Y), "threshold, n_features: expected one of the two"),
        (lambda: st.prune(SMALL, ROWS, Y, threshold=1, n_features=1), "threshold, n_features: expected one of the two"),
        (lambda: st.prune(SMALL, ROWS, Y, threshold=-1), "threshold: expected a finite number ≥ 0; got -1"),
        (lambda: st.prune(SMALL, ROWS, Y, threshold=9), "expected one that leaves a feature; the largest effect is 1"),
        (lambda: st.prune(SMALL, ROWS, Y, n_features=0), "n_features: expected an integer ≥ 1; got 0"),
        (lambda: st.prune(SMALL, ROWS, Y, n_features=3), "n_features: expected at most 2, those of the model; got 3"),
        (lambda: st.prune(SMALL, ROWS * np.nan, Y, n_features=1), r"X\[0, 0\] is nan"),
        (lambda: st.prune(SMALL, ROWS, Y * np.nan, n_features=1), r"y\[0\] is nan"),
        (lambda: st.prune(SMALL, ROWS, np.ones(3), n_features=1), r"y: expected shape \(2,\); got \(3,\)"),
        (lambda: st.prune(SMALL, ROWS, np.ones((2, 2)), n_features=1), "y: expected 1 columns, as in training; got 2"),
        (lambda: st.prune(SMALL, ROWS[:0], Y[:0], n_features=1), "X: expected at least one row to measure on"),
        (lambda: st.prune(SMALL, np.eye(3), np.ones(3), n_features=1), r"X: expected shape \(n_samples, 2\)"),
        (lambda: st.prune("model", ROWS, Y, n_features=1), "model: expected a LinearModel"),
        (lambda: st.quantize(SMALL, ROWS, Y, to="int4"), "to: expected one of float16, int8; got 'int4'"),
        (lambda: st.quantize(fitted("binary"), X, NUMBERS), "label .* was not there in training"),
        (lambda: st.quantize(fitted("binary"), X, NUMBERS[:, None] % 2), r"y: expected one label a row; got shape \("),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
