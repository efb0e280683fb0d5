"""Sufficient statistics taken part by part stand for all rows."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies

import steepest as st

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(400, 4)) * [1e-2, 1.0, 30.0, 1.0] + [0.0, 5.0, -100.0, 1.0]
Y = X @ [30.0, 1.0, 0.02, -2.0] + GENERATOR.normal(size=400)
WEIGHT = GENERATOR.uniform(0, 3, size=400)


def taken(cuts: list[int], **rows: Any) -> st.SufficientStatistics:
    """Return the statistics of the rows between the cuts, taken one part after the other."""
    statistics = st.SufficientStatistics()
    borders = [0, *sorted(cuts), len(rows["y"])]
    for start, end in pairwise(borders):
        if end > start:
            part = {name: values[start:end] for name, values in rows.items()}
            statistics.update(part.pop("X"), part.pop("y"), **part)
    return statistics


@given(cuts=strategies.lists(strategies.integers(1, 399), max_size=6))
def test_any_cut_gives_the_same_statistics(cuts: list[int]) -> None:
    whole, parts = taken([], X=X, y=Y, sample_weight=WEIGHT), taken(cuts, X=X, y=Y, sample_weight=WEIGHT)
    columns = np.column_stack([X, Y])
    exact = np.cov(columns.T, aweights=WEIGHT, ddof=0) * WEIGHT.sum()
    for statistics in (whole, parts):
        assert statistics.weight == pytest.approx(WEIGHT.sum(), rel=1e-14)
        assert statistics.mean == pytest.approx(np.average(columns, axis=0, weights=WEIGHT), rel=1e-12)
        spread = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        assert statistics.moments is not None
        assert np.abs(statistics.moments - exact).max(initial=0, where=spread > 0) <= 1e-12 * spread.max()


@pytest.mark.parametrize(
    "options",
    [
        {"method": "newton", "tol": 1e-9},
        {"method": "newton", "tol": 1e-9, "alpha": 0.1},
        {"method": "newton", "tol": 1e-9, "fit_intercept": False},
        {"method": "nesterov", "alpha": 0.2, "l1_ratio": 1.0, "precondition": True, "tol": 1e-11, "n_steps": 9999},
        {"method": "lbfgs", "precondition": True, "tol": 1e-10, "n_steps": 999},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
@pytest.mark.parametrize("kind", ["dense", "sparse", "weights and offset", "two targets"])
def test_a_descent_needs_nothing_else(options: dict[str, Any], kind: str) -> None:
    rows: dict[str, Any] = {"X": X, "y": Y}
    if kind == "sparse":
        rows["X"] = sp.csr_array(np.where(np.abs(X) > 1, X, 0))
    if kind == "weights and offset":
        rows |= {"sample_weight": WEIGHT, "offset": np.sin(np.arange(400.0))}
    if kind == "two targets":
        rows["y"] = np.column_stack([Y, Y**2])
    parts = taken([10, 333], **rows)
    fit = parts.descend(**options)
    whole = st.descend(rows.pop("X"), rows.pop("y"), **rows, **options)
    assert fit.converged
    assert fit.coef == pytest.approx(whole.coef, rel=1e-7, abs=1e-9)
    assert fit.intercept == pytest.approx(whole.intercept, rel=1e-7)
    assert fit.loss == pytest.approx(whole.loss, rel=1e-9)
    assert fit.coef.shape == whole.coef.shape


def test_literal_steps_have_the_same_history() -> None:
    """Not only the end: every loss, gradient and step size on the way."""
    options: dict[str, Any] = {"learning_rate": 1e-5, "n_steps": 50}
    fit, whole = taken([99], X=X, y=Y).descend(**options), st.descend(X, Y, **options)
    assert fit.history.loss == pytest.approx(whole.history.loss, rel=1e-10)
    assert fit.history.gradient_norm == pytest.approx(whole.history.gradient_norm, rel=1e-10)


def test_statistics_of_machines_are_merged() -> None:
    """They go through pickle, as between processes; names stay; an empty one changes nothing."""
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    parts = [st.SufficientStatistics().update(frame[k::3], Y[k::3]) for k in range(3)]
    total = st.SufficientStatistics()
    for part in parts:
        total.merge(pickle.loads(pickle.dumps(part))).merge(st.SufficientStatistics())  # noqa: S301
    assert total.weight == 400
    fit = total.descend(method="newton")
    assert fit.feature_names == ["a", "b", "c", "d"]
    assert fit.coef == pytest.approx(st.descend(X, Y, method="newton").coef, rel=1e-9)
    assert repr(total) == "<400 rows of 4 features and one target>"
    assert repr(st.SufficientStatistics()) == "SufficientStatistics()"


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e9])
def test_weights_of_parts_keep_their_ratio(size: float) -> None:
    """Also where those of one part alone would leave the range of the type of X."""
    weight = WEIGHT * np.where(np.arange(400) < 150, size, 1.0)
    parts = taken([150], X=X, y=Y, sample_weight=weight)
    whole = st.descend(X, Y, sample_weight=weight, method="newton", tol=1e-9)
    assert parts.weight == pytest.approx(weight.sum())
    assert parts.descend(method="newton", tol=1e-9).coef == pytest.approx(whole.coef, rel=1e-7)


@given(constant=strategies.sampled_from([0.1, 1 / 3, 7.0, 100.1]), n=strategies.integers(3, 40))
def test_constant_columns_with_weights(constant: float, n: int) -> None:
    rows = np.c_[np.arange(float(n)), np.full(n, constant)]
    statistics = st.SufficientStatistics().update(rows, 2 * rows[:, 0], sample_weight=np.linspace(0.5, 1.5, n))
    assert np.diag(statistics.moments).min() >= 0
    assert statistics.descend(method="newton").coef[0] == pytest.approx(2.0)


def test_a_model_says_how_many_rows_there_were(tmp_path: Path) -> None:
    statistics = taken([7], X=X, y=Y, sample_weight=WEIGHT)
    st.save(statistics.descend(method="newton"), tmp_path / "line.safetensors")
    assert st.load(tmp_path / "line.safetensors").training["rows"] == statistics.n_samples == 400


def test_constant_columns_and_single_rows() -> None:
    statistics = st.SufficientStatistics()
    for row, y in [([1.0, 7.0], 3.0), ([2.0, 7.0], 5.0), ([4.0, 7.0], 9.0)]:
        statistics.update([row], [y])
    fit = statistics.descend(method="newton")
    assert fit.coef[0] == pytest.approx(2.0)
    assert fit.loss == pytest.approx(0.0, abs=1e-20)


#: Finite by themselves, but not as far from X as they are.
FAR = np.full((400, 4), 1e200)


class OnGpu:
    """What speaks of itself as an array in the memory of a GPU."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


BEFORE = st.SufficientStatistics().update(pd.DataFrame(X, columns=["a", "b", "c", "d"]), Y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.update(X[:, :3], Y), "X, y: expected 4 features and one target, as before; got 3 features"),
        (lambda s: s.update(X, np.column_stack([Y, Y])), "got 4 features and 2 targets"),
        (lambda s: s.update(pd.DataFrame(X, columns=["a", "b", "c", "e"]), Y), "missing: 'd'; unexpected: 'e'"),
        (lambda s: s.update(np.where(X > 5, np.nan, X), Y), "X: expected finite"),
        (lambda s: s.update(X * 1e200, Y), "their squares are beyond the largest number"),
        (lambda s: s.update(X, None), "y: expected targets; got None"),
        (lambda s: s.update(X, Y, sample_weight=-WEIGHT), "sample_weight"),
        (lambda s: s.descend(loss="huber"), "loss: statistics stand for squared errors"),
        (lambda s: s.descend(batch_size=3), "batch_size: statistics stand for"),
        (lambda s: s.descend(method="sgd"), "method: statistics stand for"),
        (lambda s: s.descend(method=st.Adam(batch_size=2)), "method: statistics stand for"),
        (lambda s: s.update(sp.csr_array((2, 1_000_000)), [1.0, 2.0]), "at most 4096 columns"),
        (lambda s: s.update(OnGpu(), Y), "X: expected an array in main memory"),
        (lambda s: s.merge(3), "other: expected SufficientStatistics; got int"),
        (lambda s: s.merge(st.SufficientStatistics().update(FAR, Y)), "beyond the largest number"),
        (lambda _: st.SufficientStatistics().descend(), "at least one row that weighs something"),
        (lambda _: st.SufficientStatistics().update(X, Y, sample_weight=0 * Y).descend(), "weigh"),
    ],
)
def test_errors_change_nothing(call: Any, message: str) -> None:
    before = pickle.dumps(BEFORE)
    with pytest.raises(st.InputError, match=message):
        call(BEFORE)
    assert pickle.dumps(BEFORE) == before


@pytest.mark.filterwarnings("ignore:the columns of X:steepest.IllConditionedWarning")
def test_a_column_for_every_kind_beside_an_intercept() -> None:
    """Their sum is the intercept's column, and some kinds were never seen: neither is a direction to go far in."""
    for seed in range(60):
        generator = np.random.default_rng(seed)
        kinds = np.eye(7)[generator.integers(0, 7, 30)]
        y, weight = kinds[:, 0] + generator.normal(size=30), generator.uniform(0.5, 2, 30)
        root = np.sqrt(weight)
        best = root * (y - kinds @ np.linalg.lstsq(root[:, None] * kinds, root * y)[0])
        fit = taken([7, 20], X=kinds, y=y, sample_weight=weight).descend(method="newton", n_steps=9)
        residual = root * (y - kinds @ fit.coef - fit.intercept)
        assert residual @ residual == pytest.approx(best @ best, rel=1e-12)
        assert np.abs(fit.coef).max() < 10
