"""``strategy="gram"``: the steps of streaming, made without the rows; `test_nist.py` has the closed form."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies

import steepest as st
from samples import Evaluation, Sample, define
from steepest.methods import METHODS
from strategies import Floats, LeastSquares, problems, samples
from tolerance import tolerance

#: A few steps, as in `test_descend.py`, however a search for a step size or a momentum magnifies their rounding.
SAME_STEPS = tolerance(np.float64, 1000, condition=100)
KINDS = ["mse", "two targets"]
GRAM: dict[str, Any] = {"strategy": "gram"}

every_kind = pytest.mark.parametrize("kind", KINDS)
#: A few steps of momentum or of Adam need not descend.
rising = pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Recipe(NamedTuple):
    """A method and a penalty that go together."""

    method: str
    alpha: float
    l1_ratio: float

    @property
    def options(self) -> dict[str, Any]:
        """What `descend` is told: a rate below 1/L for `numbers`, because strategies differ in how they bound L."""
        return self._asdict() | ({"learning_rate": 0.02} if METHODS[self.method].takes_learning_rate else {})


SMOOTH = [(0.0, 0.0), (0.3, 0.0)]
ROUGH = [(0.3, 1.0), (0.3, 0.5)]
RECIPES = [
    *(Recipe(name, *penalty) for name in ("gd", "momentum", "nesterov", "adam") for penalty in SMOOTH + ROUGH),
    *(Recipe(name, *penalty) for name in ("lbfgs", "newton") for penalty in SMOOTH),
]
BY_COORDINATES = [Recipe("coordinate", *penalty) for penalty in SMOOTH + ROUGH]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: "-".join(map(str, recipe)))
every_recipe_of_gram = pytest.mark.parametrize(
    "recipe", RECIPES + BY_COORDINATES, ids=lambda recipe: "-".join(map(str, recipe))
)


class Numbers(NamedTuple):
    """Rows, targets, weights, some of them zero, and offsets, all of which float32 holds exactly."""

    X: Floats
    y: Floats
    weights: Floats
    offset: Floats


def numbers(n: int = 60, d: int = 4, n_targets: int = 1) -> Numbers:
    """Return columns off centre and of different scales, a third of whose entries are zero."""
    generator = np.random.default_rng(n + d + n_targets)
    X = (generator.normal(size=(n, d)) + 0.5 * np.arange(d)) * (generator.uniform(size=(n, d)) > 0.3)
    shape = (n, n_targets) if n_targets > 1 else (n,)
    y = (generator.normal(size=(n, *shape[1:])).T + X @ np.linspace(1, -1, d)).T
    weights = np.where(np.arange(n) % 7 == 3, 0.0, generator.uniform(0.5, 2, n))
    offset = generator.normal(size=shape)
    return Numbers(*(part.astype(np.float32).astype(np.float64) for part in (X, y, weights, offset)))


def jumbled(X: Floats) -> Any:
    """Return a CSR matrix whose rows have the first column at their end, in two halves, and zeros that are stored."""
    n, d = X.shape
    matrix = sp.csr_array((n, d))
    matrix.data = np.column_stack([X[:, :0:-1], 0.5 * X[:, :1], 0.5 * X[:, :1]]).ravel()
    matrix.indices = np.tile(np.append(np.arange(d)[:0:-1], [0, 0]), n).astype(np.int32)
    matrix.indptr = np.arange(0, n * (d + 1) + 1, d + 1).astype(np.int32)
    return matrix


LAYOUTS: dict[str, Any] = {"C": np.ascontiguousarray, "F": np.asfortranarray, "CSR": jumbled}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def close(found: Any, expected: Any) -> None:
    """Assert that arrays agree relative to the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= SAME_STEPS * np.abs(expected).max()


def same_way(gram: st.Fit, stream: st.Fit) -> None:
    """Assert that two descents made the same steps, up to rounding."""
    assert (gram.strategy, stream.strategy) == ("gram", "stream")
    assert gram.n_steps == stream.n_steps
    close(gram.parameters, stream.parameters)
    for name in ("loss", "gradient_norm", "step_size"):
        close(getattr(gram.history, name), getattr(stream.history, name))
    close([gram.loss, gram.gradient_norm], [stream.loss, stream.gradient_norm])


def end(fit: st.Fit) -> list[bytes]:
    """What two descents have in common that ended at the same point with the same memory."""
    parts = [fit.coef, fit.intercept, fit.parameters, fit.loss, fit.gradient_norm]
    return [np.asarray(part).tobytes() for part in [*parts, *(fit.state[name] for name in sorted(fit.state))]]


def bits(fit: st.Fit) -> list[bytes]:
    """And that went the same way."""
    return end(fit) + [column.tobytes() for column in (fit.history.loss, fit.history.step_size)]


# --- The steps of streaming ---


@every_recipe
@every_layout
@either_dtype
@rising
def test_steps_are_those_of_streaming(backend: str, recipe: Recipe, layout: str, dtype: Any) -> None:
    """Statistics are in double precision: of float32 too, the steps are those of the same numbers in float64."""
    # Newton's method is done after one step; what it does then is a matter of rounding.
    options: dict[str, Any] = recipe.options | {"n_steps": 1 if recipe.method == "newton" else 5, "backend": backend}
    for n_targets, fit_intercept, precondition, plain in product((1, 3), *[(False, True)] * 3):
        X, y, weights, offset = numbers(n_targets=n_targets)
        options |= {"fit_intercept": fit_intercept, "precondition": precondition}
        options |= {} if plain else {"sample_weight": weights, "offset": offset}
        gram = st.descend(LAYOUTS[layout](X).astype(dtype), y, strategy="gram", **options)
        same_way(gram, st.descend(X, y, strategy="stream", **options))
        assert gram.coef.dtype == dtype


@every_kind
@either_dtype
def test_auto_is_the_same_step_size(backend: str, kind: str, dtype: Any) -> None:
    """Streaming bounds the curvature to a millionth by iteration; the matrix has it exactly."""
    X, y, weights, _ = numbers(n_targets=1 + KINDS.index(kind))
    options: dict[str, Any] = {"sample_weight": weights, "alpha": 0.5, "n_steps": 1, "backend": backend}
    gram, stream = (st.descend(X.astype(dtype), y, strategy=name, **options) for name in ("gram", "stream"))
    size, other = gram.history.step_size[0], stream.history.step_size[0]
    assert size == pytest.approx(other, rel=1e-6 + tolerance(dtype, 4 * sum(X.shape)))


def look(backend: str, sample: Sample) -> Evaluation:
    """Return what a step of length one from the sample's own point tells of value and gradient there."""
    options: dict[str, Any] = {"strategy": "gram", "learning_rate": 1.0, "n_steps": 1, "backend": backend}
    options |= {"alpha": sample.alpha, "sample_weight": sample.weights, "offset": sample.offset}
    fit = st.descend(sample.X, sample.y, start=(sample.coef, sample.intercept), **options)
    here = np.append(np.ravel(sample.coef), sample.intercept)
    return Evaluation(float(fit.history.loss[0]), here - fit.parameters)


@every_kind
@either_dtype
@rising
@given(data=strategies.data())
def test_value_and_gradient_are_the_formulas(backend: str, kind: str, dtype: Any, data: strategies.DataObject) -> None:
    """Also of columns that repeat others, of constant ones, and of fewer rows than columns."""
    sample = data.draw(samples(kind, exact=True)).smooth
    order = data.draw(strategies.permutations(range(len(sample.y))))
    rows_again = np.repeat(order, 1 if sample.weights is None else sample.weights[order].astype(int))
    expected = define(sample)
    # The way to the point is from the minimum, as far away as the condition number of whole numbers lets it be.
    slack = tolerance(np.float64, sample.terms, condition=1e3)
    again = sample.rows(rows_again).but(weights=None)
    for other in (sample.cast(dtype), sample.cast(dtype, "F"), again.cast(dtype)):
        found = look(backend, other)
        assert abs(found.value - expected.value) <= slack * (1 + expected.value_magnitude)
        assert np.all(np.abs(found.gradient - expected.gradient) <= slack * (1 + expected.gradient_magnitude))


# --- Odd data ---


def test_rows_that_weigh_nothing_change_nothing(backend: str) -> None:
    X, y, weights, offset = numbers()
    fits = []
    for hole in (0.0, 1e300):
        out = weights == 0
        one, target, shift = (np.where(out, hole, part.T).T for part in (X, y, offset))
        options: dict[str, Any] = {"sample_weight": weights, "offset": shift, "backend": backend, "n_steps": 5}
        fits += [bits(st.descend(one, target, method=name, **options, **GRAM)) for name in ("gd", "newton")]
    assert fits[:2] == fits[2:]


@pytest.mark.parametrize("method", ["gd", "newton", "lbfgs"])
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_hole_is_named(backend: str, method: str, hole: float) -> None:
    X, y, *_ = numbers()
    X[17, 2] = hole
    with pytest.raises(st.InputError, match=r"X\[17, 2\] is (nan|inf)"):
        st.descend(X, y, method=method, backend=backend, **GRAM)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6])
def test_a_constant_column_is_left_alone(backend: str, constant: float) -> None:
    X, y, *_ = numbers()
    X[:, 2] = constant
    fit, without = (st.descend(of, y, method="newton", backend=backend, **GRAM) for of in (X, np.delete(X, 2, axis=1)))
    assert fit.coef[2] == 0
    close(np.delete(fit.coef, 2), without.coef)
    assert fit.loss == pytest.approx(without.loss, rel=SAME_STEPS)


def repeated() -> tuple[Floats, Floats]:
    """Return rows whose last column is the first, and targets."""
    X, y, *_ = numbers()
    return np.column_stack([X, X[:, 0]]), y


def test_columns_that_repeat_others_are_warned_of(backend: str) -> None:
    X, y = repeated()
    with pytest.warns(st.IllConditionedWarning, match="do not determine the coefficients"):
        fit = st.descend(X, y, method="newton", backend=backend, **GRAM)
    once = st.descend(X[:, :-1], y, method="newton", backend=backend, **GRAM)
    assert fit.condition == np.inf
    assert fit.loss == pytest.approx(once.loss, rel=1e-12)


def test_what_determines_them_is_not_warned_of(backend: str) -> None:
    """A penalty does, and a descent that only goes downhill need not."""
    X, y = repeated()
    ridge = st.descend(X, y, method="newton", alpha=1e-3, backend=backend, **GRAM)
    assert ridge.coef[0] == pytest.approx(ridge.coef[-1], rel=1e-9)
    assert ridge.condition is not None
    assert ridge.condition < 1e6
    assert st.descend(X, y, method="gd", n_steps=20, backend=backend, **GRAM).condition == np.inf


# --- What a fit says ---


@given(problem=problems(max_cond=1e3, centred=True), alpha=strategies.sampled_from([0.0, 1e-4, 1.0]))
def test_condition_is_that_of_the_scaled_normal_equations(backend: str, problem: LeastSquares, alpha: float) -> None:
    X, y, _ = problem
    matrix = 2 / len(X) * X.T @ X + alpha * np.eye(X.shape[1])
    scale = np.sqrt(np.diag(matrix))
    exact = float(np.linalg.cond(matrix / scale / scale[:, np.newaxis]))
    fit = st.descend(X, y, alpha=alpha, n_steps=0, backend=backend, **GRAM)
    assert fit.strategy == "gram"
    assert st.descend(X, y, alpha=alpha, n_steps=0, backend=backend).condition is None
    assert fit.condition is not None
    assert exact / 10 <= fit.condition <= 10 * exact


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"loss": "huber"}, "loss 'huber' has none"),
        ({"loss": "poisson", "method": "newton"}, "loss 'poisson' has none"),
        ({"method": "sgd"}, "method 'sgd' uses mini-batches"),
        ({"method": "adam", "batch_size": 2}, "method 'adam' uses mini-batches"),
    ],
)
def test_what_has_no_statistics_is_an_error(backend: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(st.InputError, match=f"strategy: 'gram' needs .*; {reason}; pass 'stream'"):
        st.descend(np.ones((4, 1)), np.ones(4), backend=backend, **options, **GRAM)


def test_too_many_columns_are_an_error(backend: str) -> None:
    X, y = np.zeros((2, 4097)), np.ones(2)
    with pytest.raises(st.InputError, match=r"strategy: 'gram' takes at most 4096 columns.*; X has 4097"):
        st.descend(X, y, backend=backend, **GRAM)
    assert st.descend(X, y, n_steps=1, backend=backend).strategy == "stream"


# --- Threads, resuming, callbacks, signals ---


@every_layout
@pytest.mark.parametrize("method", ["gd", "nesterov", "lbfgs", "newton"])
@pytest.mark.parametrize("strategy", ["auto", "stream"])
def test_bits_do_not_depend_on_threads(layout: str, method: str, strategy: str) -> None:
    """Nor do those of a factorisation of the rows, which the last column asks for."""
    X, y, weights, _ = numbers(20_011, 13)
    X[:, 12] = X[:, 0] + 1e-5 * X[:, 12]
    stored = LAYOUTS[layout](X)
    options: dict[str, Any] = {"method": method, "strategy": strategy, "sample_weight": weights, "n_steps": 4}
    fits = [st.descend(stored, y, backend="rust", n_threads=n_threads, **options) for n_threads in (1, 2, 3, 8)]
    assert {fit.strategy for fit in fits} == {"gram" if strategy == "auto" else "stream"}
    assert all(bits(fit) == bits(fits[0]) for fit in fits)


@every_recipe_of_gram
@every_kind
@either_dtype
@rising
def test_a_descent_goes_on_as_if_it_had_never_stopped(backend: str, recipe: Recipe, kind: str, dtype: Any) -> None:
    for precondition in (False, True):
        X, y, weights, offset = numbers(n_targets=1 + KINDS.index(kind))
        options: dict[str, Any] = {"sample_weight": weights, "offset": offset, "precondition": precondition}
        options |= recipe.options | GRAM | {"backend": backend}
        whole = st.descend(X.astype(dtype), y, n_steps=10, **options)
        start: st.Fit | None = None
        losses: list[float] = []
        for n_steps in (3, 1, 0, 6):
            start = st.descend(X.astype(dtype), y, n_steps=n_steps, start=start, **options)
            losses.extend(start.history.loss)
        assert losses == whole.history.loss.tolist()
        assert start is not None
        assert end(start) == end(whole)


@every_recipe
@rising
def test_another_strategy_begins_afresh_from_the_coefficients(backend: str, recipe: Recipe) -> None:
    X, y, *_ = numbers()
    options: dict[str, Any] = recipe.options | {"n_steps": 4, "backend": backend}
    for first, then in (("stream", "gram"), ("gram", "stream")):
        fit = st.descend(X, y, strategy=first, **options)
        starts = fit, (fit.coef, fit.intercept)
        on, pair = (st.descend(X, y, strategy=then, start=start, **options) for start in starts)
        assert bits(on) == bits(pair)
        assert np.append(on.history.loss, on.loss)[0] == pytest.approx(fit.loss, rel=1e-12)


def test_a_callback_sees_every_step_and_stops(backend: str) -> None:
    X, y, *_ = numbers()
    seen: list[st.StepInfo] = []
    fit = st.descend(X, y, n_steps=6, callback=seen.append, backend=backend, **GRAM)
    assert [info.loss for info in seen] == fit.history.loss.tolist()
    stopped = st.descend(X, y, n_steps=9, callback=lambda info: info.step == 4, backend=backend, **GRAM)
    assert (stopped.n_steps, stopped.status) == (4, "stopped")
    assert bits(stopped) == bits(st.descend(X, y, n_steps=4, backend=backend, **GRAM))


def test_validation_data_is_judged_by_its_rows(backend: str) -> None:
    X, y, *_ = numbers()
    options: dict[str, Any] = {"eval_set": (X[40:], y[40:]), "learning_rate": 0.02, "n_steps": 9, "backend": backend}
    gram, stream = (st.descend(X[:40], y[:40], strategy=name, **options) for name in ("gram", "stream"))
    close(gram.history.validation_loss, stream.history.validation_loss)


#: Steps of a few microseconds each, so that the history stays short.
SCRIPT = """
import numpy as np
import steepest as st
X = np.random.default_rng(0).normal(size=(400, 200))
print("ready", flush=True)
try:
    st.descend(X, X[:, 0], strategy="gram", learning_rate=1e-9, n_steps=2**40)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process alone")
def test_interrupt() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)
            assert process.poll() is None
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert time.monotonic() - sent < 1.0
        finally:
            process.kill()


@pytest.mark.parametrize("n", [30, 3000, 100_000])
@pytest.mark.parametrize("n_kinds", [2, 7])
def test_a_column_for_every_kind_beside_an_intercept(backend: str, n: int, n_kinds: int) -> None:
    """Their sum is the intercept's column. What rounding leaves of the last one is no direction to go far in."""
    for seed in range(4 if n < 100_000 else 1):
        generator = np.random.default_rng(seed)
        X = np.eye(n_kinds)[generator.integers(0, n_kinds, n)]
        y = X[:, 0] + generator.normal(size=n)
        weight = generator.uniform(0.5, 2, n)
        for sample_weight in (None, weight):
            root = np.ones(n) if sample_weight is None else np.sqrt(weight)
            best = root * (y - X @ np.linalg.lstsq(root[:, None] * X, root * y)[0])
            lowest = np.sum(best**2) / np.sum(root**2)
            with pytest.warns(st.IllConditionedWarning, match="do not determine the coefficients"):
                fit = st.descend(X, y, sample_weight=sample_weight, method="auto", tol=1e-6, backend=backend)
            residual = root * (y - X @ fit.coef - fit.intercept)
            assert np.sum(residual**2) / np.sum(root**2) == pytest.approx(lowest, rel=1e-12)
            assert fit.loss == pytest.approx(lowest, rel=1e-12)
            assert np.abs(fit.coef).max() < 10
