"""The descent, step by step: literal, the same on every backend and any number of threads, and easy to stop."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, strategies
from numpy.typing import NDArray

import steepest as st
from properties import descends, steps_are_literal
from samples import Sample, define
from steepest.methods import METHODS
from strategies import BOUNDED, KINDS, example, samples
from tolerance import tolerance

DTYPES = [np.float32, np.float64]
#: Steps that tell an error of bookkeeping from one of rounding, which only adds up later.
FIRST_STEPS = 5
#: Rounding after so few steps, however a search for a step size or a Hessian magnifies it.
SAME_STEPS = tolerance(np.float64, 1000, condition=100)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_kind = pytest.mark.parametrize("kind", KINDS)


def run(sample: Sample, backend: str, **options: Any) -> st.Fit:
    """Descend from the sample's own point."""
    start = {"start": (sample.coef, sample.intercept)}
    return st.descend(
        sample.X,
        sample.y,
        loss=sample.loss,
        alpha=sample.alpha,
        l1_ratio=sample.l1_ratio,
        sample_weight=sample.weights,
        offset=sample.offset,
        classes=sample.classes,
        backend=backend,
        **(start | options),
    )


def safe_rate(sample: Sample) -> float:
    """Return a step size a little below 1/L, by the bound on the largest eigenvalue that a trace is."""
    squares = 1 + (sample.X.astype(np.float64) ** 2).sum(axis=1)
    return 0.9 / (2 * float(np.average(squares, weights=sample.weights)) + sample.alpha)


def bits(fit: st.Fit) -> list[bytes]:
    """What two descents have in common that made the same steps."""
    arrays = [fit.coef, fit.intercept, fit.loss, fit.gradient_norm]
    arrays += [fit.history.loss, fit.history.gradient_norm, fit.history.step_size]
    return [np.asarray(array).tobytes() for array in arrays]


@every_dtype
@pytest.mark.parametrize("kind", BOUNDED)
@given(data=strategies.data())
def test_first_steps_of_both_backends(kind: str, dtype: Any, data: strategies.DataObject) -> None:
    sample = data.draw(samples(kind)).smooth.cast(dtype, data.draw(strategies.sampled_from("CF")))
    rate, slack = safe_rate(sample), tolerance(dtype, sample.terms)
    worst_slope = drift = 0.0
    for n_steps in range(FIRST_STEPS + 1):
        core, portable = (run(sample, name, learning_rate=rate, n_steps=n_steps) for name in ("rust", "numpy"))
        # A step no longer than 1/L brings no two points further apart, so only the errors of slopes add up.
        gap = np.linalg.norm(core.coef - portable.coef) + np.linalg.norm(core.intercept - portable.intercept)
        here = define(sample.but(coef=portable.coef, intercept=portable.intercept))
        held = np.finfo(dtype).eps * (np.linalg.norm(portable.coef) + np.linalg.norm(portable.intercept))
        assert gap <= 2 * (drift + held)
        steepness = float(np.linalg.norm(here.gradient))
        worst_slope = max(worst_slope, slack * float(np.linalg.norm(here.gradient_magnitude)))
        assert abs(core.loss - portable.loss) <= slack * here.value_magnitude + 2 * drift * (steepness + drift / rate)
        assert abs(core.gradient_norm - portable.gradient_norm) <= 2 * worst_slope + 2 * drift / rate
        drift += rate * worst_slope
    assert np.array_equal(core.history.step_size, np.full(FIRST_STEPS, rate))
    assert np.array_equal(portable.history.step_size, core.history.step_size)


def plans() -> list[tuple[str, Any, Any]]:
    """Every method with every rule for step sizes that it takes, at a rate that is safe for `example`."""
    rate = 2e-3
    schedules = [rate, st.InverseScaling(rate), st.Exponential(rate, decay=0.5), st.Cosine(rate, n_steps=4), "auto"]
    batches: list[Any] = [st.StochasticGradientDescent(batch_size=8), st.Adam(batch_size=8)]
    found: list[tuple[str, Any, Any]] = []
    for method in [*METHODS, *batches]:
        kind = method if isinstance(method, str) else method.name
        rules = schedules if METHODS[kind].takes_learning_rate else ["auto"]
        searches = ["armijo", "barzilai_borwein"] if kind == "gd" else []
        found += [(f"{kind}-{getattr(rule, 'name', rule)}", method, rule) for rule in [*rules, *searches]]
    return found


every_plan = pytest.mark.parametrize(
    ("method", "rule"), [plan[1:] for plan in plans()], ids=[plan[0] for plan in plans()]
)


@every_plan
@every_kind
@pytest.mark.parametrize("precondition", [False, True])
def test_first_steps_of_every_plan(kind: str, method: Any, rule: Any, *, precondition: bool) -> None:
    """Both backends make the same steps, where errors of bookkeeping cannot yet be mistaken for rounding."""
    sample = example(kind)
    options: dict[str, Any] = {"method": method, "learning_rate": rule, "precondition": precondition}
    described = METHODS[method] if isinstance(method, str) else method
    if described.needs_statistics and sample.loss != "mse":
        with pytest.raises(st.InputError, match="needs the sufficient statistics of squared errors"):
            run(sample, "rust", n_steps=1, **options)
        return
    if described.takes_l1:
        sample = sample.but(l1_ratio=0.5)
    for n_steps in range(1, FIRST_STEPS + 1):
        with warnings.catch_warnings():
            # A rate for all kinds is too long for some.
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            core, portable = (run(sample, name, n_steps=n_steps, **options) for name in ("rust", "numpy"))
        scale = 1 + float(np.abs(portable.coef).max())
        assert np.abs(core.coef - portable.coef).max() <= SAME_STEPS * scale
        assert np.abs(core.intercept - portable.intercept).max() <= SAME_STEPS * scale
        assert core.loss == pytest.approx(portable.loss, rel=SAME_STEPS)
        if "stalled" in {core.status, portable.status}:
            # At the optimum; whether another step was found there is a matter of rounding.
            return
        assert core.n_steps == portable.n_steps == n_steps
        # At the optimum the size of a step is a matter of rounding too.
        tells = portable.history.gradient_norm > 1e-7 * portable.history.gradient_norm[0]
        assert core.history.step_size[tells] == pytest.approx(portable.history.step_size[tells], rel=SAME_STEPS)


@every_dtype
@given(data=strategies.data())
def test_auto_is_one_number_for_all_steps(backend: str, dtype: Any, data: strategies.DataObject) -> None:
    sample = data.draw(strategies.sampled_from(BOUNDED).flatmap(samples)).smooth.cast(dtype)
    automatic = run(sample, backend, n_steps=3)
    rate = automatic.history.step_size[0]
    # Where the minimum was met before, nothing but rounding tells whether a step is too long.
    assume(automatic.history.gradient_norm[-1] > 1e-6 * automatic.history.gradient_norm[0])
    assert bits(run(sample, backend, n_steps=3, learning_rate=float(rate))) == bits(automatic)


@every_dtype
@given(data=strategies.data())
def test_auto_is_the_same_number_on_both_backends(dtype: Any, data: strategies.DataObject) -> None:
    sample = data.draw(samples()).cast(dtype)
    core, portable = (run(sample, name, n_steps=1).history.step_size[0] for name in ("rust", "numpy"))
    # Either may end its iteration one product before the other, with a bound that may be off by a millionth.
    assert core == pytest.approx(portable, rel=1e-6 + tolerance(dtype, 4 * sample.terms))


@every_dtype
@every_kind
@given(data=strategies.data())
def test_a_safe_step_descends(backend: str, kind: str, dtype: Any, data: strategies.DataObject) -> None:
    descends(backend, data.draw(samples(kind)).cast(dtype))


@every_kind
@given(data=strategies.data())
def test_steps_are_literal(backend: str, kind: str, data: strategies.DataObject) -> None:
    steps_are_literal(backend, data.draw(samples(kind)))


def textbook(
    x: NDArray[np.float64], y: NDArray[np.float64], rate: float, n_steps: int
) -> tuple[list[float], float, float]:
    """Gradient descent as it stands in every textbook."""
    w = b = 0.0
    losses = []
    for _ in range(n_steps):
        residual = w * x + b - y
        losses.append(float(np.mean(residual**2)))
        w -= rate * 2 * float(np.mean(residual * x))
        b -= rate * 2 * float(np.mean(residual))
    return losses, w, b


def test_a_thousand_steps_on_a_hundred_points_are_the_textbooks(backend: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 3, 100)
    y = 2.5 * x - 1 + generator.normal(scale=0.3, size=100)
    fit = st.descend(x, y, loss="mse", method="gd", learning_rate=0.01, n_steps=1000, backend=backend)
    losses, w, b = textbook(x, y, 0.01, 1000)
    slack = tolerance(np.float64, 1000)
    assert len(fit.history.loss) == 1000
    assert fit.history.loss == pytest.approx(losses, rel=slack)
    assert fit.coef == pytest.approx([w], rel=slack)
    assert fit.intercept == pytest.approx(b, rel=slack)
    assert fit.loss == pytest.approx(np.mean((w * x + b - y) ** 2), rel=slack)
    assert np.all(np.diff(fit.history.loss) < 0)


#: Kinds, types, and whether a descent goes on from a pair. A pair of float32 arrays has lost what the descent knew in
#: float64; a Fit could have it still. No pair remembers a step size that is found where the descent starts.
STARTS = [
    *((kind, dtype, False) for kind in KINDS for dtype in DTYPES),
    *((kind, np.float64, True) for kind in KINDS if kind != "poisson"),
]


@pytest.mark.parametrize(
    ("kind", "dtype", "as_tuple"),
    STARTS,
    ids=[f"{'pair' if as_tuple else 'fit'}-{np.dtype(dtype)}-{kind}" for kind, dtype, as_tuple in STARTS],
)
def test_a_descent_goes_on_where_it_stopped(backend: str, kind: str, dtype: Any, *, as_tuple: bool) -> None:
    """k steps and then m more are k + m steps, bit for bit."""
    sample = example(kind).cast(dtype)
    whole = run(sample, backend, n_steps=12)
    first = run(sample, backend, n_steps=5)
    start = (first.coef, first.intercept) if as_tuple else first
    second = run(sample, backend, n_steps=7, start=start)
    assert second.loss == whole.loss
    assert second.coef.tobytes() == whole.coef.tobytes()
    assert np.asarray(second.intercept).tobytes() == np.asarray(whole.intercept).tobytes()
    assert np.array_equal(np.append(first.history.loss, second.history.loss), whole.history.loss)
    assert np.array_equal(np.append(first.history.step_size, second.history.step_size), whole.history.step_size)


def test_start_is_zero_by_default(backend: str) -> None:
    sample = example("softmax")
    assert bits(run(sample, backend, n_steps=3, start=None)) == bits(run(sample, backend, n_steps=3))


def test_one_intercept_serves_all_classes_at_the_start(backend: str) -> None:
    sample = example("softmax")
    one, each = (run(sample, backend, n_steps=2, start=(sample.coef, b)) for b in (0.5, np.full(4, 0.5)))
    assert bits(one) == bits(each)


@every_dtype
@every_kind
def test_no_steps_return_the_start(backend: str, kind: str, dtype: Any) -> None:
    sample = example(kind).cast(dtype)
    point = sample.but(coef=sample.coef + 0.25, intercept=sample.intercept - 0.5)
    fit = run(point, backend, n_steps=0)
    evaluation = point.evaluate(backend)
    assert np.array_equal(fit.coef, point.coef)
    assert np.array_equal(np.atleast_1d(fit.intercept), point.intercept)
    assert fit.loss == evaluation.value
    assert fit.gradient_norm == pytest.approx(np.linalg.norm(evaluation.gradient), rel=tolerance(np.float64, 4))
    assert (fit.n_steps, fit.status, fit.converged) == (0, "max_steps", False)
    assert len(fit.history) == 0


@every_dtype
@every_kind
def test_shapes_and_types_of_a_fit(backend: str, kind: str, dtype: Any) -> None:
    sample = example(kind).cast(dtype)
    fit = run(sample, backend, n_steps=4)
    history = fit.history
    assert fit.coef.shape == sample.coef.shape
    assert fit.coef.dtype == np.asarray(fit.intercept).dtype == dtype
    assert np.shape(fit.intercept) == ((sample.width,) if sample.width > 1 else ())
    assert len(history) == fit.n_steps == 4
    assert history.step.tolist() == [0, 1, 2, 3]
    assert history.step.dtype == np.int64
    for column in (history.loss, history.gradient_norm, history.step_size, history.seconds):
        assert column.dtype == np.float64
        assert column.shape == (4,)
    assert np.all(np.diff(history.seconds) >= 0)
    assert history.seconds[0] >= 0
    assert fit.loss < history.loss[-1] < history.loss[0]
    expected = (sample.loss, backend, "gd", "stream", "max_steps")
    assert (fit.loss_name, fit.backend, fit.method, fit.strategy, fit.status) == expected


def test_without_intercept_there_is_none(backend: str) -> None:
    fit = run(example("mse"), backend, fit_intercept=False, start=None, n_steps=3)
    assert fit.intercept == 0
    several = run(example("softmax"), backend, fit_intercept=False, start=None, n_steps=3)
    assert np.array_equal(several.intercept, np.zeros(4))


@every_dtype
@every_kind
@pytest.mark.parametrize("order", ["C", "F"])
def test_bits_of_a_descent_do_not_depend_on_threads(kind: str, dtype: Any, order: str) -> None:
    sample = example(kind, n=20_011, d=7).cast(dtype, order)
    sample = sample.but(weights=np.random.default_rng(1).uniform(0.5, 2, 20_011))
    alone = bits(run(sample, "rust", n_steps=6, n_threads=1))
    for n_threads in (2, 3, 8):
        assert bits(run(sample, "rust", n_steps=6, n_threads=n_threads)) == alone


def test_tol_is_relative_to_the_first_gradient(backend: str) -> None:
    sample = example("mse")
    fit = run(sample, backend, tol=0.1, n_steps=10_000)
    assert (fit.status, fit.converged) == ("converged", True)
    first = fit.history.gradient_norm[0]
    assert fit.gradient_norm <= 0.1 * first < fit.history.gradient_norm.min()
    assert bits(run(sample, backend, n_steps=fit.n_steps)) == bits(fit)


def test_at_the_optimum_there_is_nothing_to_do(backend: str) -> None:
    fit = st.descend([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], start=([2.0], 1.0), tol=1e-9, backend=backend)
    assert (fit.n_steps, fit.status, fit.loss) == (0, "converged", 0)


def test_callback_sees_every_step(backend: str) -> None:
    seen: list[st.StepInfo] = []
    fit = run(example("binary"), backend, n_steps=6, callback=seen.append)
    assert [info.step for info in seen] == list(range(6))
    for name in ("loss", "gradient_norm", "step_size", "seconds"):
        assert [getattr(info, name) for info in seen] == getattr(fit.history, name).tolist()
    assert bits(fit) == bits(run(example("binary"), backend, n_steps=6))


@pytest.mark.parametrize("answer", [True, 1, "stop", np.True_])
def test_callback_stops_before_its_step(backend: str, answer: object) -> None:
    fit = run(example("mse"), backend, n_steps=9, callback=lambda info: answer if info.step == 4 else None)
    assert (fit.n_steps, fit.status, fit.converged) == (4, "stopped", False)
    assert bits(fit) == bits(run(example("mse"), backend, n_steps=4))


@pytest.mark.parametrize("answer", [None, False, 0, "", np.False_])
def test_callback_that_answers_false_changes_nothing(backend: str, answer: object) -> None:
    assert run(example("mse"), backend, n_steps=3, callback=lambda _: answer).n_steps == 3


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), SystemExit(3), StopIteration()])
def test_exception_of_a_callback_passes_unchanged(backend: str, error: BaseException) -> None:
    calls = []

    def fail(info: st.StepInfo) -> None:
        calls.append(info.step)
        if info.step == 2:
            raise error

    with pytest.raises(type(error)) as caught:
        run(example("mse"), backend, callback=fail)
    assert caught.value is error
    assert calls == [0, 1, 2]


def test_exception_of_a_callbacks_answer_passes_unchanged(backend: str) -> None:
    with pytest.raises(ValueError, match="truth value of an array") as caught:
        run(example("mse"), backend, callback=lambda _: np.ones(2))
    assert not isinstance(caught.value, st.SteepestError)


def test_a_descent_within_a_descent(backend: str) -> None:
    """The core is not locked while it asks the callback."""
    sample = example("mse", n=20_011, d=7)
    inner: list[list[bytes]] = []
    outer = run(
        sample, backend, n_steps=2, callback=lambda _: inner.append(bits(run(sample, backend, n_steps=2, n_threads=3)))
    )
    assert inner == [bits(outer), bits(outer)]
