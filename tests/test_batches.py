"""Mini-batches: both backends draw the same rows, every epoch has each of them once, and the seed settles it all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

import steepest as st
from samples import Sample, define
from steepest.batches import MOST_BLOCK_ROWS, Batches
from strategies import Floats, integers, weights
from tolerance import tolerance

#: (n, batch): one row, one batch, blocks that come out even and blocks that do not, primes, more than one pass holds.
SIZES = [(1, 1), (2, 1), (7, 7), (10, 3), (40, 16), (41, 16), (64, 24), (97, 13), (100, 34), (257, 32), (1000, 256)]
SEEDS = [0, 1, 2**31, 2**63 - 1]

every_size = pytest.mark.parametrize(("n", "batch"), SIZES)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def epoch(batches: Batches, number: int) -> list[list[int]]:
    return [batches.rows(number * batches.per_epoch + place).tolist() for place in range(batches.per_epoch)]


@strategies.composite
def plans(draw: strategies.DrawFn) -> Batches:
    """Promises batches of at most as many rows as there are."""
    n = draw(strategies.integers(1, 300))
    return Batches(
        n_rows=n,
        batch_rows=draw(strategies.integers(1, n)),
        seed=draw(strategies.integers(0, 2**63 - 1)),
        replacement=draw(strategies.booleans()),
    )


# --- The plan ---


@given(plan=plans(), number=strategies.integers(0, 10**6))
def test_every_epoch_has_each_row_once(plan: Batches, number: int) -> None:
    drawn = epoch(plan, number)
    rows = sorted(row for batch in drawn for row in batch)
    if plan.replacement:
        assert set(rows) <= set(range(plan.n_rows))
    else:
        assert rows == list(range(plan.n_rows))
    # All are full but those with the last block, which may be short, and the last, which has what is left.
    short = plan.n_blocks * plan.block_rows - plan.n_rows
    assert all(0 < len(batch) <= plan.batch_rows for batch in drawn)
    if not plan.replacement:
        assert sum(len(batch) < plan.batch_rows for batch in drawn) <= 2
        assert all(len(batch) >= plan.batch_rows - short for batch in drawn[:-1])


@given(plan=plans(), step=strategies.integers(0, 10**9))
def test_batches_are_blocks_of_neighbours(plan: Batches, step: int) -> None:
    """As many rows as possible together, from where memory is read in a stream."""
    size = plan.block_rows
    assert 1 <= size <= MOST_BLOCK_ROWS
    assert plan.batch_rows % size == 0
    assert all(plan.batch_rows % larger for larger in range(size + 1, MOST_BLOCK_ROWS + 1))
    rows = plan.rows(step)
    firsts = rows[rows % size == 0]
    whole = (firsts[:, np.newaxis] + np.arange(size)).ravel()
    assert rows.tolist() == whole[whole < plan.n_rows].tolist()


@given(plan=plans(), steps=strategies.lists(strategies.integers(0, 10**6), min_size=2, max_size=6))
def test_a_batch_depends_on_its_step_alone(plan: Batches, steps: list[int]) -> None:
    """Not on what was drawn before: a descent that goes on sees the batches that it would have seen."""
    forwards = [plan.rows(step).tolist() for step in steps]
    backwards = [plan.rows(step).tolist() for step in reversed(steps)]
    assert forwards == backwards[::-1]


@every_seed
@pytest.mark.parametrize("replacement", [False, True])
def test_orders_differ_by_seed_and_epoch(seed: int, *, replacement: bool) -> None:
    plan = Batches(1000, 10, seed, replacement)
    orders = [epoch(plan, number) for number in range(20)] + [epoch(Batches(1000, 10, seed + 1, replacement), 0)]
    assert len({str(order) for order in orders}) == len(orders)


@pytest.mark.parametrize("replacement", [False, True])
def test_every_row_is_as_likely_in_every_place(*, replacement: bool) -> None:
    """χ² of where a row stands, over many epochs: it is near the number of cells, with a deviation of √(2 cells)."""
    n, epochs = 20, 4000
    plan = Batches(n, 1, 12, replacement)
    counts = np.zeros((n, n))
    for number in range(epochs):
        order = np.concatenate([plan.rows(number * n + place) for place in range(n)])
        counts[np.arange(n), order] += 1
    assert counts.sum(axis=1).tolist() == [epochs] * n
    chi_squared = float(np.sum((counts - epochs / n) ** 2) / (epochs / n))
    cells = n * (n - 1)
    assert abs(chi_squared - cells) < 6 * np.sqrt(2 * cells)


def test_with_replacement_some_are_twice_and_some_are_not_there() -> None:
    rows = np.concatenate(epoch(Batches(1000, 10, 0, replacement=True), 0))
    assert len(rows) == 1000
    # The share that is not drawn is near 1/e.
    assert 0.55 < len(np.unique(rows)) / 1000 < 0.7


# --- Both backends ---


def data(n: int, d: int = 3) -> tuple[Floats, Floats]:
    """Return rows of which no two are alike."""
    generator = np.random.default_rng(n)
    return generator.normal(size=(n, d)), generator.normal(size=n)


def both(n: int, options: dict[str, Any]) -> tuple[st.Fit, st.Fit]:
    X, y = data(n)
    rust, numpy = (st.descend(X, y, backend=backend, **options) for backend in ("rust", "numpy"))
    return rust, numpy


def assert_close(one: st.Fit, other: st.Fit, n_steps: int) -> None:
    slack = tolerance(np.float64, 300 * (n_steps + 1))
    assert one.coef == pytest.approx(other.coef, rel=slack, abs=slack)
    assert one.intercept == pytest.approx(other.intercept, rel=slack, abs=slack)


@every_size
@every_seed
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
def test_both_backends_make_the_same_steps(n: int, batch: int, seed: int, *, replacement: bool) -> None:
    """One other row, and the parameters would differ in their first digits; also in the second epoch and the third."""
    per_epoch = Batches(n, batch, seed, replacement).per_epoch
    method = st.StochasticGradientDescent(0.5, batch_size=batch, replacement=replacement)
    for n_steps in sorted({1, 2, per_epoch, per_epoch + 1, 2 * per_epoch + 1}):
        options: dict[str, Any] = {"method": method, "learning_rate": 0.01, "n_steps": n_steps, "random_state": seed}
        rust, numpy = both(n, options)
        assert_close(rust, numpy, n_steps)
        assert rust.history.step.tolist() == numpy.history.step.tolist() == list(range(0, n_steps, per_epoch))


@every_size
@pytest.mark.parametrize("loss", ["mse", "log_loss"])
@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
def test_adam_draws_the_same_batches(n: int, batch: int, loss: str) -> None:
    X, y = data(n)
    y = y if loss == "mse" else (y > 0).astype(np.float64)
    options: dict[str, Any] = {"loss": loss, "method": st.Adam(batch_size=batch), "n_steps": 7, "random_state": 5}
    options |= {} if loss == "mse" else {"classes": [0, 1]}
    rust, numpy = (st.descend(X, y, backend=backend, **options) for backend in ("rust", "numpy"))
    # Adam divides by the size of a gradient, which may be all rounding.
    assert rust.coef == pytest.approx(numpy.coef, rel=1e-6, abs=1e-9)


@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
@given(case=strategies.data())
def test_a_step_is_the_gradient_of_the_rows_that_were_drawn(backend: str, case: strategies.DataObject) -> None:
    """By the definition of F on those rows, weights over the mean weight of all, so that the mean step is unbiased."""
    plan = case.draw(plans())
    n = min(plan.n_rows, 60)
    plan = Batches(n, min(plan.batch_rows, n), plan.seed, plan.replacement)
    X, y = case.draw(integers((n, 2))), case.draw(integers(n))
    shares = case.draw(strategies.none() | weights(n))
    method = st.StochasticGradientDescent(0.0, batch_size=plan.batch_rows, replacement=plan.replacement)
    rate, alpha = 2.0**-8, 0.5
    fit = st.descend(
        X,
        y,
        sample_weight=shares,
        alpha=alpha,
        method=method,
        learning_rate=rate,
        n_steps=1,
        random_state=plan.seed,
        start=([1.0, -1.0], 0.5),
        backend=backend,
    )
    rows = plan.rows(0)
    sample = Sample("mse", X[rows], y[rows], np.array([1.0, -1.0]), 0.5)
    if shares is not None:
        sample = sample.but(weights=shares[rows])
    share = 1.0 if shares is None else float(shares[rows].mean() / shares.mean())
    gradient = define(sample).gradient * share + alpha * np.array([1.0, -1.0, 0.0])
    moved = np.array([1.0, -1.0, 0.5]) - rate * gradient
    slack = tolerance(np.float64, n + 2) * (1 + rate * float(np.abs(gradient).max()))
    assert np.append(fit.coef, fit.intercept) == pytest.approx(moved, abs=slack)


# --- What is promised of a descent ---


def test_the_same_seed_is_the_same_descent(backend: str) -> None:
    X, y = data(200)
    options: dict[str, Any] = {"method": "sgd", "batch_size": 8, "n_steps": 40, "backend": backend}
    one, same, other = (st.descend(X, y, random_state=seed, **options) for seed in (1, 1, 2))
    assert one.parameters.tobytes() == same.parameters.tobytes()
    assert one.parameters.tobytes() != other.parameters.tobytes()


@pytest.mark.parametrize("n", [2000, 40_000])
def test_bits_do_not_depend_on_threads(n: int) -> None:
    X, y = data(n, 40)
    options: dict[str, Any] = {"method": "sgd", "batch_size": n // 2, "n_steps": 5, "backend": "rust"}
    alone = st.descend(X, y, n_threads=1, **options)
    for n_threads in (2, 3, 8):
        fit = st.descend(X, y, n_threads=n_threads, **options)
        assert fit.parameters.tobytes() == alone.parameters.tobytes()


def test_one_batch_of_all_rows_is_momentum(backend: str) -> None:
    X, y = data(50)
    options: dict[str, Any] = {"learning_rate": 0.02, "n_steps": 6, "backend": backend}
    batches = st.descend(X, y, method=st.StochasticGradientDescent(0.8, batch_size=50), **options)
    whole = st.descend(X, y, method=st.Momentum(0.8), **options)
    assert_close(batches, whole, 6)
    assert batches.history.loss == pytest.approx(whole.history.loss, rel=1e-12)


def test_batches_are_256_rows_or_all_there_are(backend: str) -> None:
    for n, batch in ((100, 100), (1000, 256)):
        X, y = data(n)
        options: dict[str, Any] = {"n_steps": 4, "backend": backend}
        fit = st.descend(X, y, method="sgd", **options)
        assert (
            fit.parameters.tobytes() == st.descend(X, y, method="sgd", batch_size=batch, **options).parameters.tobytes()
        )


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_batch_size_is_checked(method: str) -> None:
    X, y = data(10)
    with pytest.raises(st.InputError, match="batch_size: expected at most the number of rows, 10; got 11"):
        st.descend(X, y, method=method, batch_size=11)
    with pytest.raises(st.InputError, match="batch_size"):
        st.descend(X, y, method=method, batch_size=0)
    for name in ("gd", "momentum", "nesterov", "lbfgs", "newton"):
        with pytest.raises(st.InputError, match=f"batch_size: method '{name}' uses all rows .*: adam, sgd"):
            st.descend(X, y, method=name, batch_size=5)
